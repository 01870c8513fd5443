"""Are the surveys of a training read as the curves that they are, and others refused?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise

Make = Callable[..., vi.Model]


@pytest.fixture
def model(small: Make) -> vi.Model:
    return small("vit_tiny_patch16_224", (32, 48), dtype=torch.float32)


@pytest.fixture
def run(model: vi.Model, photos: Path, tmp_path: Path) -> Path:
    """The folder of a training whose weights change between its three surveys."""
    tracker = vi.Tracker(model, photos, tmp_path / "run", every=5, statistics=["entropy"])
    for step in (0, 5, 100_000_000):
        tracker(step)
        with torch.no_grad():
            model.blocks[0].attn.qkv.weight.mul_(2)
    return tmp_path / "run"


def test_steps_are_the_means_of_their_surveys_in_order(run: Path) -> None:
    # A survey that is not done, and what is none.
    (run / "step-00000010").mkdir()
    (run / "notes.txt").write_text("none")
    found = vi.open_steps(run)
    assert list(found) == ["entropy", "effective_tokens"]
    steps = found["entropy"]
    assert (steps.statistic, steps.count, steps.step.tolist()) == ("entropy", 6, [0, 5, 10**8])
    surveys = [vi.open_survey(run / f"step-{step:08d}") for step in steps.step]
    means = [each.statistics["entropy"].mean for each in surveys]
    np.testing.assert_array_equal(steps.mean, means)
    assert not np.array_equal(means[0], means[1])
    assert steps.layout == surveys[0].layout
    np.testing.assert_allclose(steps.layer_mean, steps.mean.mean(axis=2))
    np.testing.assert_allclose(steps.layer_std, steps.mean.std(axis=2))


def test_a_training_that_goes_on_is_read_on(
    run: Path, model: vi.Model, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vi.open_steps(run)
    vi.Tracker(model, photos, run, statistics=["entropy"])(6)
    read: list[str] = []
    usual = Path.read_text

    def watched(path: Path, *given: str, **named: str) -> str:
        read.append(path.parent.name)
        return usual(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", watched)
    assert vi.open_steps(run)["entropy"].step.tolist() == [0, 5, 6, 10**8]
    # The first one says for all what the model is.
    assert sorted(read) == ["step-00000000", "step-00000006"]


def test_numbers_of_tokens_are_read_from_the_merge_alone(
    run: Path, model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    assert vi.open_layer_steps(run) == {}
    deep = tmp_path / "deep"
    tracker = vi.Tracker(
        model, photos, deep, statistics=["entropy"], tokens=["cka", "artefacts"], batch=2
    )
    for step in (0, 7):
        tracker(step)
        with torch.no_grad():
            model.blocks[1].mlp.fc2.weight.mul_(4)
    surveys = [vi.open_survey(each) for each in sorted(deep.iterdir())]
    wanted = [[each.cka().similarity[layer, layer + 1] for layer in range(2)] for each in surveys]
    assert wanted[0][0] - wanted[1][0] > 0.005
    # No token is an artefact here: a share tells itself from all else in the file.
    path = deep / "step-00000007" / "survey.json"
    said = json.loads(path.read_text())
    said["tokens"]["artefacts"]["share"] = [0.0, 0.25, 0.5]
    path.write_text(json.dumps(said, indent=1))
    for each in deep.glob("*/parts"):
        shutil.rmtree(each)
    found = vi.open_layer_steps(deep)
    assert list(found) == ["artefacts", "cka"]
    assert (found["cka"].step.tolist(), found["cka"].count) == ([0, 7], 6)
    np.testing.assert_allclose(found["cka"].value, wanted, rtol=1e-12)
    assert found["artefacts"].value.tolist() == [[0, 0, 0], [0, 0.25, 0.5]]
    assert list(vi.open_steps(deep)) == ["entropy", "effective_tokens"]


@pytest.mark.parametrize("other", ["pictures", "statistics", "batch"])
def test_steps_of_another_training_are_refused(
    run: Path, model: vi.Model, photos: Path, other: str
) -> None:
    if other == "pictures":
        noise((30, 30), 99).save(photos / "cats" / "0.png.png")
    options = {"statistics": ["entropy", "nmi"] if other == "statistics" else ["entropy"]}
    vi.survey(model, photos, run / "step-00000007", batch=3 if other == "batch" else 4, **options)
    words = {"batch": "another batch"}.get(other, f"other {other}")
    with pytest.raises(
        vi.BadParameter, match=f"'step-00000007' is of {words} than 'step-00000000'"
    ):
        vi.open_steps(run)


def test_damaged_files_and_folders_without_steps_are_refused(run: Path, tmp_path: Path) -> None:
    path = run / "step-00000005" / "survey.json"
    whole = path.read_text()
    said = json.loads(whole)
    del said["pictures_sha256"]
    cut = whole[: whole.rindex('"mean"')]
    for number, text in enumerate((json.dumps(said, indent=1), cut, "")):
        path.write_text(text)
        os.utime(path, (number, number))
        with pytest.raises(vi.BadParameter, match=r"step-00000005.*damaged"):
            vi.open_steps(run)
    shutil.rmtree(run / "step-00000005")
    assert vi.open_steps(run)["entropy"].step.tolist() == [0, 10**8]
    for none in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(vi.BadParameter, match="no survey of a training"):
            vi.open_steps(none)
