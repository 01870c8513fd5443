"""Does a fitted model see what it says, and leave the model that it came from as it was?"""

from __future__ import annotations

import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise

WIDE = noise((90, 40), 0)


@pytest.fixture(scope="module")
def tiny() -> vi.Model:
    return vi.load("vit_tiny_patch16_224", img_size=(32, 48), pretrained=False, device="cpu")


def test_a_fitted_model_sees_the_whole_photograph(tiny: vi.Model) -> None:
    capture = vi.capture(tiny.fitted("whole"), WIDE)
    assert capture.photographs[0].seen == (0, 0, 90, 40)
    assert capture.model.recipe.fit == "whole"


def test_the_network_is_shared(tiny: vi.Model) -> None:
    whole = tiny.fitted("whole")
    assert whole.module is tiny.module
    assert whole.filters is tiny.filters
    assert (whole.id, whole.layout, whole.labels) == (tiny.id, tiny.layout, tiny.labels)


def test_the_model_it_came_from_is_unchanged(tiny: vi.Model) -> None:
    before = tiny.prepare(WIDE)
    whole = tiny.fitted("whole")
    assert tiny.recipe.fit == "crop"
    assert torch.equal(tiny.prepare(WIDE), before)
    assert not torch.equal(whole.prepare(WIDE), before)


def test_the_crop_of_a_fitted_model_is_the_models_own(tiny: vi.Model) -> None:
    assert tiny.fitted("whole").fitted("crop").recipe == tiny.recipe


@pytest.mark.usefixtures("unchecked")
def test_another_fit_is_refused(tiny: vi.Model) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        tiny.fitted("stretch")
    assert refusal.value.found == "the fit 'stretch' of a recipe"
    assert refusal.value.expected == "one of crop, whole"
