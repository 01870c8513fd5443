"""Is the effect of each head that of switching it off alone?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.analyses.test_ablation import outspoken
from tests.conftest import noise
from tests.helpers.planted import OTHER_CLASS, planted
from tests.helpers.windowed import SWIN, narrow_swin
from vit_inspect.analyses import head_importance as home
from vit_inspect.errors import OutOfMemory
from vit_inspect.figures.head_importance import ranking
from vit_inspect.records.evidence import LOG_PROBABILITY, TURNED

pytestmark = pytest.mark.slow

IMAGES = [noise((90, 60), 1), vi.sample("chelsea")]


@pytest.fixture(scope="module")
def capture(small: Callable[..., vi.Model]) -> vi.Capture:
    return vi.capture(outspoken(small("vit_tiny_patch16_224", (32, 48))), IMAGES)


def test_the_planted_head_is_first_and_no_other_matters() -> None:
    case = planted()
    found = vi.head_importance(vi.capture(case.model, case.image))
    assert found.measure == LOG_PROBABILITY
    assert found.targets == ("golden retriever",)
    assert ranking(found)[0] == case.head
    effect = found.effect[0].copy()
    assert effect[case.head] > 3
    effect[case.head] = 0
    assert np.abs(effect).max() < 1e-9
    # What speaks for one class speaks against the other.
    other = vi.head_importance(vi.capture(case.model, case.image), target=OTHER_CLASS)
    assert other.targets == ("corkscrew",)
    assert other.effect[0][case.head] < -3


@pytest.fixture(scope="module", params=["mean", "zero"])
def drops(request: pytest.FixtureRequest, capture: vi.Capture) -> tuple[str, np.ndarray]:
    """A replacement, and the drop (image, layer, head) of the class by ablations one by one."""
    best, wanted = vi.predictions(capture, count=1).class_index[:, 0], np.empty((2, 3, 3))
    for layer, head in np.ndindex(3, 3):
        one = vi.ablate(capture, heads=[(layer, head)], replacement=request.param)
        for image in range(2):
            rank = one.class_index[image].tolist().index(best[image])
            drop = math.log(one.before[image, rank] / one.after[image, rank])
            wanted[image, layer, head] = drop
    return request.param, wanted


@pytest.mark.parametrize("tokens", [1, 14, 10**6])
def test_it_is_the_drop_that_ablation_gives_head_by_head(
    capture: vi.Capture,
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
    drops: tuple[str, np.ndarray],
) -> None:
    monkeypatch.setattr("vit_inspect.device.PASS_TOKENS", {"cpu": tokens})
    replacement, wanted = drops
    found = vi.head_importance(capture, replacement=replacement)
    assert found.replacement == replacement
    assert found.effect.shape == (2, 3, 3)
    np.testing.assert_allclose(found.effect, wanted, rtol=1e-7, atol=1e-12)
    best = vi.predictions(capture, count=1)
    assert found.targets == tuple(labels[0] for labels in best.labels)


def test_without_classes_it_is_how_far_the_feature_turns(small: Callable[..., vi.Model]) -> None:
    capture = vi.capture(small("vit_small_patch14_reg4_dinov2", (28, 42)), IMAGES)
    found = vi.head_importance(capture)
    assert found.measure == TURNED
    assert found.targets == found.of_image(1).targets == ()
    assert found.effect.min() > 0
    for layer, head in ((0, 5), (2, 1)):
        cosine = vi.ablate(capture, heads=[(layer, head)]).cosine
        np.testing.assert_allclose(found.effect[:, layer, head], 1 - cosine, rtol=1e-7)


def test_each_batch_is_told_and_what_is_raised_ends_the_work(
    capture: vi.Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.device.PASS_TOKENS", {"cpu": 2 * 7})
    told: list[tuple[int, int]] = []
    vi.head_importance(capture, on_progress=lambda *state: told.append(state))
    assert told == [(done, 9) for done in (0, 2, 3, 5, 6, 8, 9)]

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done:
            raise KeyboardInterrupt

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        vi.head_importance(capture, on_progress=stop)
    assert told == [(0, 9), (2, 9)]


def test_a_batch_that_memory_does_not_hold_is_halved(
    capture: vi.Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = vi.head_importance(capture).effect
    real, room = home.intervene, [1]

    def small_device(model: vi.Model, pixels: torch.Tensor, **changes: object) -> torch.Tensor:
        if len(pixels) > room[0]:
            raise OutOfMemory("no memory left", "room", "take fewer")
        return real(model, pixels, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(home, "intervene", small_device)
    np.testing.assert_allclose(vi.head_importance(capture).effect, wanted, rtol=1e-9)
    room[0] = 0
    with pytest.raises(OutOfMemory, match="no memory left"):
        vi.head_importance(capture)


def test_one_image_of_a_batch_keeps_its_own_class(capture: vi.Capture) -> None:
    found = vi.head_importance(capture)
    assert found.targets[0] != found.targets[1]
    alone = found.of_image(1)
    assert alone.targets == found.targets[1:]
    np.testing.assert_array_equal(alone.effect, found.effect[[1]])
    assert [each.name for each in alone.photographs] == [found.photographs[1].name]


@pytest.mark.parametrize("target", [-1, 1000])
def test_a_class_that_is_not_there_is_refused(capture: vi.Capture, target: int) -> None:
    words = f"Found the class {target}; expected a class of 0..999; choose one of these."
    with pytest.raises(vi.BadParameter, match=words):
        vi.head_importance(capture, target=target)


def test_a_class_of_a_model_without_classes_is_refused(small: Callable[..., vi.Model]) -> None:
    capture = vi.capture(small("vit_small_patch14_reg4_dinov2", (28, 42)), IMAGES[0])
    with pytest.raises(vi.BadParameter) as refusal:
        vi.head_importance(capture, target=3)
    assert refusal.value.found == (
        "the class 3 of vit_small_patch14_reg4_dinov2, which has no known classes"
    )
    assert refusal.value.remedy == "leave it out, or load a classifier"


@pytest.mark.usefixtures("unchecked")
def test_another_replacement_is_refused(capture: vi.Capture) -> None:
    with pytest.raises(vi.BadParameter, match="Found the replacement 'median'; expected 'mean'"):
        vi.head_importance(capture, replacement="median")  # type: ignore[arg-type]


def test_stages_are_refused() -> None:
    capture = vi.capture(narrow_swin(SWIN), IMAGES)
    with pytest.raises(vi.UnsupportedModel, match="whose tokens merge from stage to stage"):
        vi.head_importance(capture)
