"""Are artefacts and the similarity of layers those of the same pictures in a capture?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.surveys.test_survey import bytes_of
from vit_inspect.surveys import parts

Make = Callable[..., vi.Model]
BOTH = {"statistics": ["nmi"], "tokens": ["cka", "artefacts"]}
PLANTED = 30, 50, 51
"""Patches that become artefacts after block 1."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CHUNK", 2)


@pytest.fixture(scope="module")
def with_artefacts(small: Make) -> vi.Model:
    """A model of 96 patches, in the second half of which bright pictures have artefacts."""
    model = small("vit_tiny_patch16_224", (128, 192), depth=4)
    places = [model.layout.prefix_count + patch for patch in PLANTED]
    bright = torch.zeros(1, dtype=torch.bool)

    def look(block: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        nonlocal bright
        bright = args[0].mean(dim=(1, 2, 3)) > 0

    def add(block: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        far = 3 * output.norm(dim=-1).median(dim=1).values * bright
        output[:, places] += far[:, None, None] * torch.linspace(-1, 1, output.shape[-1])
        return output

    model.module.register_forward_pre_hook(look)
    model.blocks[1].mlp.register_forward_hook(add)
    return model


@pytest.fixture(scope="module")
def plain(small: Make) -> vi.Model:
    """A model of 24 patches."""
    return small("vit_tiny_patch16_224", (64, 96))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures, the last four of which are bright, and a file that is none."""
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(6):
        picture = noise((96, 64), index)
        picture.point(lambda value, bright=index > 1: value // 2 + 127 * bright).save(
            root / f"{index}.png"
        )
    (root / "bad.png").write_bytes(b"not a picture")
    return root


def images_of(found: vi.Survey, photos: Path) -> list:
    refused = {name for name, _ in found.refused}
    return [
        vi.read_image(photos / entry.name) for entry in found.entries if entry.name not in refused
    ]


@pytest.mark.slow
def test_artefacts_are_those_of_token_norms(
    with_artefacts: vi.Model, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = vi.survey(with_artefacts, photos, out, batch=4, **BOTH)
    capture = vi.capture(with_artefacts, images_of(found, photos))
    wanted = np.stack(
        [vi.token_norms(capture, layer=layer).artefact.sum(axis=(1, 2)) for layer in range(4)], 1
    )
    assert wanted.tolist() == [[0, 0, 0, 0]] * 2 + [[0, 3, 3, 3]] * 4
    table = pq.read_table(out / "parts").to_pydict()
    assert table["artefacts"] == [*wanted.tolist(), None]
    rate = found.artefacts()
    np.testing.assert_allclose(rate.share, (wanted > 0).mean(axis=0))
    np.testing.assert_allclose(rate.mean, wanted.mean(axis=0))
    assert (rate.maximum.tolist(), rate.count, rate.over) == ([0, 3, 3, 3], 6, "out")
    said = json.loads((out / "survey.json").read_text())["tokens"]
    assert said["artefacts"] == {name: each.tolist() for name, each in rate.arrays().items()}
    assert vi.open_survey(out).artefacts().share.tolist() == rate.share.tolist()


def test_the_similarity_of_layers_is_that_of_a_capture(plain: vi.Model, photos: Path) -> None:
    found = vi.survey(plain, photos, batch=4, **BOTH)
    cka, wanted = found.cka(), vi.layer_cka(vi.capture(plain, images_of(found, photos)))
    np.testing.assert_allclose(cka.hsic[0], wanted.hsic.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(cka.similarity, wanted.similarity, rtol=1e-9)
    assert 0.2 < cka.similarity[0, 2] < 0.99
    assert cka.samples.tolist() == wanted.samples[:1].tolist()
    assert "6 pictures of a survey, 24 patches in each." in vi.plot(cka).layout.meta


@pytest.mark.slow
def test_bytes_do_not_depend_on_attempts_and_means_not_on_parts(
    plain: vi.Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = vi.survey(plain, photos, out, batch=1, **BOTH)
    before = bytes_of(out)
    for lost in ("parts/000001.parquet", "survey.json"):
        (out / lost).unlink()
    again = vi.survey(plain, photos, out, batch=1, **BOTH)
    assert bytes_of(out) == before
    assert again.cka().hsic.tobytes() == whole.cka().hsic.tobytes()
    monkeypatch.setattr(parts, "CHUNK", 64)
    other = vi.survey(plain, photos, batch=1, **BOTH)
    np.testing.assert_allclose(other.cka().hsic, whole.cka().hsic, rtol=1e-12)


def test_what_was_not_asked_for_is_not_there(plain: vi.Model, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = vi.survey(plain, photos, out, statistics=["nmi"])
    assert {"artefacts", "hsic"}.isdisjoint(pq.read_table(out / "parts").column_names)
    with pytest.raises(vi.BadParameter, match=r"made without it.*tokens=\['cka'\]"):
        found.cka()
    with pytest.raises(vi.BadParameter, match="with other numbers of tokens in"):
        vi.survey(plain, photos, out, statistics=["nmi"], tokens=["cka"])


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_taken_is_refused_before_a_picture_is_read(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small("vit_tiny_patch16_224", (32, 48))
    for wrong in (["norms"], "cka"):
        with pytest.raises(vi.BadParameter, match="tokens="):
            vi.survey(model, ["nowhere.png"], tokens=wrong)
    padded = replace(model, recipe=replace(model.recipe, crop_mode="pad"))
    with pytest.raises(vi.UnsupportedModel, match="do not fill its input"):
        vi.survey(padded, ["nowhere.png"], tokens=["cka"])
    forward = model.blocks[2].forward
    monkeypatch.setattr(
        model.blocks[2], "forward", lambda tokens: torch.cat([forward(tokens), tokens], dim=1)
    )
    with pytest.raises(vi.UnsupportedModel, match="do not return one row for each token"):
        vi.survey(model, ["nowhere.png"], tokens=["artefacts"])
