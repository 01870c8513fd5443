"""Are predictions the softmax of the output with the right names, or refused?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import capture_of, layout_of, peaked
from vit_inspect.recording.recorder import Capture


def scored(scores: torch.Tensor, labels: tuple[str, ...] | None) -> Capture:
    """A capture of a model without a network that gives these scores, (image, class)."""
    attention = peaked(np.random.default_rng(0), 1, len(scores), 1, 7, 7)
    capture = capture_of(attention, layout_of("cls"))
    return replace(capture, model=replace(capture.model, labels=labels), output=scores)


def letters(count: int) -> tuple[str, ...]:
    return tuple("abcdefghijklmnopqrstuvwxyz"[:count])


def test_they_are_the_best_of_the_softmax_of_what_the_model_returns(
    small: Callable[..., vi.Model],
) -> None:
    model = small("vit_tiny_patch16_224", (32, 48))
    images = [noise((90, 60), seed) for seed in (1, 2)]
    found = vi.predictions(vi.capture(model, images))
    pixels = torch.cat([model.prepare(image) for image in images])
    best = model.module(pixels).softmax(dim=1).topk(5)
    np.testing.assert_allclose(found.probability, best.values, rtol=1e-12)
    np.testing.assert_array_equal(found.class_index, best.indices)
    assert found.class_index[0].tolist() != found.class_index[1].tolist()
    assert found.labels == tuple(
        tuple(model.labels[place] for place in image) for image in best.indices.tolist()
    )
    assert found.model == "vit_tiny_patch16_224"


def test_the_most_probable_comes_first_with_its_name() -> None:
    scores = torch.tensor([[1, 4, 2, 3], [5, 0, 1, 2]], dtype=torch.float64).log()
    found = vi.predictions(scored(scores, letters(4)), count=3)
    assert found.labels == (("b", "d", "c"), ("a", "d", "c"))
    assert found.class_index.tolist() == [[1, 3, 2], [0, 3, 2]]
    np.testing.assert_allclose(
        found.probability, [[0.4, 0.3, 0.2], [0.625, 0.25, 0.125]], rtol=1e-12
    )


def test_fewer_classes_than_asked_for_are_all_there() -> None:
    found = vi.predictions(scored(torch.randn(3, 2), letters(2)))
    assert found.probability.shape == (3, 2)
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, rtol=1e-12)


def test_great_scores_do_not_overflow() -> None:
    found = vi.predictions(scored(torch.tensor([[1e4, 1e4, -1e4]]), letters(3)))
    np.testing.assert_allclose(found.probability, [[0.5, 0.5, 0]], rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_of_half_precision_give_exact_probabilities(dtype: torch.dtype) -> None:
    scores = torch.randn(1, 26, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = vi.predictions(scored(scores, letters(26)), count=26)
    wanted = scores.double().softmax(dim=1).sort(descending=True).values
    np.testing.assert_allclose(found.probability, wanted, rtol=1e-12)


def test_one_image_of_a_batch_keeps_its_own_names() -> None:
    scores = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    alone = vi.predictions(scored(scores, letters(2))).of_image(1)
    assert alone.labels == (("a", "b"),)
    assert alone.class_index.tolist() == [[0, 1]]
    assert not alone.probability.flags.writeable


def test_a_model_without_a_head_is_refused(dinov2: vi.Model) -> None:
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.predictions(vi.capture(dinov2, noise((60, 40), 0)))
    words = "dinov2_small, which has no known classes"
    assert refusal.value.found == words
    assert refusal.value.expected == "a classifier"
    assert "'fashion_vit'" in refusal.value.remedy


@pytest.mark.parametrize("count", [0, -1])
def test_no_class_is_refused(count: int) -> None:
    with pytest.raises(vi.BadParameter, match=f"Found {count} classes; expected 1 or more"):
        vi.predictions(scored(torch.zeros(1, 3), letters(3)), count=count)
