"""Is a model that is larger than allowed refused before its weights are read or fetched?"""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from torch import nn

import vit_inspect as vi
from tests.loading import test_from_open_clip, test_from_transformers
from vit_inspect.loading import ceiling
from vit_inspect.loading.ceiling import Ceiling, under

OPEN = Ceiling(inf, inf, inf)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of a hub that can be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of transformers and one of open_clip, as they lie on a hub."""
    folder = tmp_path_factory.mktemp("saved")
    test_from_transformers.saved(folder / "transformers")
    test_from_open_clip.saved(folder / "open_clip", "CLIP")
    return {each: folder / each for each in ("transformers", "open_clip")}


@pytest.mark.slow
@pytest.mark.parametrize("package", ["transformers", "open_clip"])
def test_other_packages_are_counted_too(folders: dict[str, Path], package: str) -> None:
    folder = folders[package]
    with under(OPEN):
        model = vi.load(checkpoint=folder, architecture=package, device="cpu")
    for weights in folder.glob("*model*.safetensors"):
        weights.rename(weights.with_suffix(".away"))
    # What is refused before the weights are missed was refused before they were read.
    with (
        under(OPEN._replace(parameters=100)),
        pytest.raises(vi.BadParameter, match="at most 100 on"),
    ):
        vi.load(checkpoint=folder, architecture=package, device="cpu")
    px = max(model.layout.input_px)
    with under(OPEN._replace(px=px - 1)), pytest.raises(vi.BadParameter, match=f"input of {px} px"):
        vi.load(checkpoint=folder, architecture=package, device="cpu")
    with under(OPEN._replace(px=px)), pytest.raises(vi.WeightsUnavailable):
        vi.load(checkpoint=folder, architecture=package, device="cpu")


@pytest.mark.parametrize("size", [28, (14, 28)])
def test_a_size_that_is_asked_for_is_no_larger_whatever_the_source(
    tmp_path: Path, size: Any
) -> None:
    for said in ({}, {"name": "transformers:a/b"}, {"checkpoint": tmp_path / "none.pth"}):
        with (
            under(OPEN._replace(px=27)),
            pytest.raises(
                vi.BadParameter, match=r"an input of 28 px for '.*'; expected at most 27"
            ),
        ):
            vi.load(**said, img_size=size)


def test_a_fetch_fills_no_more_than_the_disk(cache: Path) -> None:
    (cache / "blobs").mkdir(parents=True)
    (cache / "blobs" / "a").write_bytes(bytes(600))
    # A snapshot names the same file once more.
    (cache / "link").symlink_to(cache / "blobs" / "a")
    assert ceiling.fetched_bytes() == 600
    network = nn.Linear(100, 1, bias=False, device="meta")
    with under(OPEN._replace(disk=1000)):
        ceiling.check(network, 1, "fits", fetched=True)
    with under(OPEN._replace(disk=999)):
        ceiling.check(network, 1, "is here", fetched=False)
        with pytest.raises(vi.WeightsUnavailable, match=r"at most 0\.0 GB on the disk of this"):
            ceiling.check(network, 1, "too much", fetched=True)
    ceiling.check(network, 10**6, "in no server", fetched=True)
