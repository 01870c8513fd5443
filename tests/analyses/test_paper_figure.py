"""Are the paper's figures put together from the records of the right analyses?"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.records.paper import PositionBias, PositionSimilarity, RotarySimilarity

pytestmark = pytest.mark.slow

Small = Callable[..., vi.Model]


@pytest.fixture(scope="module")
def capture(small: Small) -> vi.Capture:
    model = small("vit_tiny_patch16_224", (32, 48))
    return vi.capture(model, [noise((90, 60), seed) for seed in (1, 2)])


def same(found: Any, expected: vi.Result) -> None:
    assert type(found) is type(expected)
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)


def test_panels_are_what_the_analyses_return(capture: vi.Capture) -> None:
    seventh = vi.paper_figure(7, capture)
    assert isinstance(seventh, vi.PaperFigure7)
    same(seventh.filters, vi.embedding_filters(capture.model))
    same(seventh.positions, vi.position_similarity(capture.model))
    same(seventh.distance, vi.attention_distance(capture))
    assert seventh.model == capture.model.id
    sixth, eleventh = vi.paper_figure(6, capture, capture), vi.paper_figure(11, capture, capture)
    assert isinstance(sixth, vi.PaperFigure6)
    assert isinstance(eleventh, vi.PaperFigure11)
    for each in sixth.rollout:
        same(each, vi.attention_rollout(capture))
    for distance in eleventh.distance:
        same(distance, vi.attention_distance(capture))
    assert (len(sixth.rollout), len(eleventh.distance)) == (2, 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vit_tiny_patch16_224", PositionSimilarity),
        ("beit_base_patch16_224", PositionBias),
        ("vit_small_patch16_rope_224", RotarySimilarity),
    ],
)
def test_positions_are_those_that_the_model_has(name: str, kind: type) -> None:
    model = vi.load(name, img_size=32, pretrained=False, device="cpu")
    tenth = vi.paper_figure(10, model)
    assert isinstance(tenth, vi.PaperFigure10)
    assert type(tenth.positions[0]) is kind
    assert tenth.model == name


def test_what_a_model_has_not_is_a_sentence(capture: vi.Capture) -> None:
    bare = replace(capture.model, filters=None, positions=None)
    seventh = vi.paper_figure(7, replace(capture, model=bare))
    assert isinstance(seventh, vi.PaperFigure7)
    assert seventh.filters == (
        f"Not shown: found {bare.id} without a convolution on its pixels; "
        "expected a patch embedding or a convolutional stem."
    )
    assert isinstance(seventh.positions, str)
    assert seventh.positions.startswith(f"{bare.id} has no positions of the known kinds")
    large = replace(capture.model, positions=capture.model.positions.new_zeros(65, 65, 2))  # type: ignore[union-attr]
    tenth = vi.paper_figure(10, large, capture)
    assert isinstance(tenth, vi.PaperFigure10)
    assert "65 × 65 positions; expected at most 4096" in str(tenth.positions[0])
    same(tenth.positions[1], vi.position_similarity(capture.model))


def test_a_hierarchical_model_has_no_figure_6(small: Small) -> None:
    swin = vi.load("swin_tiny_patch4_window7_224", pretrained=False, device="cpu")
    capture = vi.capture(swin, noise((90, 60), 0))
    with pytest.raises(vi.UnsupportedModel, match="tokens merge from stage to stage"):
        vi.paper_figure(6, capture)
    seventh = vi.paper_figure(7, capture)
    assert isinstance(seventh, vi.PaperFigure7)
    assert isinstance(seventh.positions, PositionBias)


def test_what_a_figure_does_not_take_is_refused(capture: vi.Capture) -> None:
    # Without the checks of types, as users call it.
    figure: Any = inspect.unwrap(vi.paper_figure)
    for given, found in (
        ((5, capture), "Found Figure 5; expected one of 6, 7, 10, 11"),
        ((7,), "Found 0 captures for Figure 7; expected 1;"),
        ((7, capture, capture), "Found 2 captures for Figure 7; expected 1;"),
        ((10, *[capture] * 4), "Found 4 captures for Figure 10; expected 1 to 3;"),
        ((11, *[capture] * 3), "Found 3 captures for Figure 11; expected 1 to 2;"),
        ((6,), "Found 0 captures for Figure 6; expected at least 1;"),
        ((7, capture.model), "Found a Model for Figure 7; expected a capture;"),
    ):
        with pytest.raises(vi.BadParameter) as refusal:
            figure(*given)
        assert str(refusal.value).startswith(found)
