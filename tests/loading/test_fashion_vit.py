"""Is the bundled classifier the one of its README, and does it tell garments apart?"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

import vit_inspect as vi
from vit_inspect.assets import FASHION, FASHION_CLASSES, FASHION_STEPS
from vit_inspect.loading.bundled import BUNDLED, LAST_STEP


def outputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The outputs for all canvases, and which classes are there."""
    capture = vi.capture(vi.load(name), [vi.sample(each) for each in vi.CANVASES])
    present = [
        [c in {t.label for t in each.things} for c in FASHION_CLASSES]
        for each in vi.CANVASES.values()
    ]
    return capture.output.numpy(), np.array(present)


def test_files_are_the_ones_that_the_readme_names_and_small() -> None:
    readme = FASHION.with_name("README.md").read_text(encoding="utf-8")
    for step, file in FASHION_STEPS.items():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert f"| {step:,} | `{digest}` |" in readme
    sizes = [file.stat().st_size for file in FASHION.iterdir()]
    assert max(sizes) < 4e6
    assert sum(sizes) < 6e6


def test_its_precision_is_told_and_is_that_of_the_file() -> None:
    readme = FASHION.with_name("README.md").read_text(encoding="utf-8")
    told = json.loads((FASHION / "precision.json").read_text(encoding="utf-8"))
    mean, low, high = told["mean"]
    assert f"{mean:.3f} ({low:.3f} to {high:.3f})" in readme
    for name, (own, *ends) in told["classes"].items():
        assert f"| {name} | {own:.3f} ({ends[0]:.3f} to {ends[1]:.3f}) |" in readme


def test_it_has_its_classes_each_of_which_may_be_there_and_sees_a_canvas_as_it_is() -> None:
    model = vi.load("fashion_vit")
    assert model.labels == FASHION_CLASSES
    assert model.outputs == "multi-label"
    assert model.layout.grid == (8, 8)
    assert model.notices == ()
    image = vi.sample("canvas_00")
    capture = vi.capture(model, image)
    grey = torch.from_numpy(np.asarray(image).copy()).float().permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(capture.pixels[0], grey, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [each for each in BUNDLED if each.startswith("fashion")])
def test_its_filters_are_grey_as_canvases_are(name: str) -> None:
    filters = vi.load(name).filters
    assert filters is not None
    assert filters.std() > 0.01
    torch.testing.assert_close(filters, filters[:, :1].expand_as(filters), rtol=0, atol=0)


def test_it_finds_the_garments_of_canvases_that_it_never_saw_and_learned_to() -> None:
    found = {}
    for step in (0, 1_000, LAST_STEP):
        logits, present = outputs("fashion_vit" if step == LAST_STEP else f"fashion_vit@{step}")
        found[step] = average_precision_score(present, logits, average="micro")
    assert found[LAST_STEP] > 0.9
    assert found[LAST_STEP] > found[1_000] + 0.02 > found[0] + 0.2


def test_a_step_that_is_not_kept_is_refused() -> None:
    assert [name for name in BUNDLED if "@" in name][:2] == ["fashion_vit@0", "fashion_vit@100"]
    with pytest.raises(vi.BadParameter, match="perhaps you mean 'fashion_vit"):
        vi.load("fashion_vit@123")


def test_relevance_for_a_garment_lies_on_it_and_moves_with_the_class() -> None:
    model = vi.load("fashion_vit")
    gains = []
    for name, told in vi.CANVASES.items():
        capture = vi.capture(model, vi.sample(name))
        for thing in told.things:
            of_it = vi.localisation(capture, [thing.box], target=thing.label)
            inside = dict(zip(of_it.maps, of_it.inside[0], strict=True))
            gains.append(inside["relevance"] - max(inside["rollout"], of_it.area[0]))
    assert np.mean(gains) > 0.2
    assert np.mean(np.array(gains) > 0) > 0.9
