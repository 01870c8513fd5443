"""Does the planted model rest on its red patch, through its one head, as its tests assume?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.helpers.planted import GRID, OTHER_CLASS, picture, planted
from vit_inspect.recording.interventions import intervene


@pytest.mark.parametrize("patch", [(2, 4), (0, 0), (3, 5), (1, 2)])
def test_the_red_patch_is_found_wherever_it_lies(patch: tuple[int, int]) -> None:
    case = planted(patch)
    capture = vi.capture(case.model, case.image)
    found = vi.predictions(capture, count=2)
    assert found.class_index.tolist() == [[case.class_index, OTHER_CLASS]]
    assert found.probability[0, 0] == pytest.approx(0.98, abs=0.01)
    layer, head = case.head
    weights = vi.attention_maps(capture).weights[0]
    assert weights[layer, head][patch] > 1 - 1e-10
    # Other heads are peaked too, and look elsewhere: a mean over heads does not tell.
    others = np.delete(weights.reshape(-1, *GRID), 3 * layer + head, axis=0)
    assert np.median(others.max(axis=(1, 2))) > 0.5
    assert np.median(others[(slice(None), *patch)]) < 0.1


def test_without_red_it_is_another_class() -> None:
    case = planted()
    found = vi.predictions(vi.capture(case.model, picture(None)), count=2)
    assert found.class_index.tolist() == [[OTHER_CLASS, case.class_index]]
    assert found.probability[0, 1] < 0.02


def test_only_the_planted_patch_and_head_carry_the_score() -> None:
    case = planted()
    pixels = case.model.prepare(case.image)
    before = intervene(case.model, pixels)[0, case.class_index]
    token = case.model.layout.token(case.patch)

    def without_token(index: int) -> torch.Tensor:
        return intervene(
            case.model, pixels, embedded=lambda tokens: tokens.index_fill(1, torch.tensor(index), 0)
        )

    def without_head(place: tuple[int, int]) -> torch.Tensor:
        return intervene(
            case.model,
            pixels,
            attended=lambda layer, heads: (
                heads.index_fill(1, torch.tensor(place[1]), 0) if layer == place[0] else heads
            ),
        )

    tokens = {index: without_token(index) for index in range(1, 1 + GRID[0] * GRID[1])}
    heads = {place: without_head(place) for place in np.ndindex(3, 3)}
    for changed, carrier in ((tokens, token), (heads, case.head)):
        drops = {
            place: float(before - output[0, case.class_index]) for place, output in changed.items()
        }
        assert drops.pop(carrier) > 5
        assert max(map(abs, drops.values())) < 1e-9
