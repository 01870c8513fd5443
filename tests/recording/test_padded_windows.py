"""Are SAM's windows put where they lie, with padding that is no token?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import vit_inspect as vi
from tests.helpers.observed import check_observation
from tests.helpers.padded import GLOBAL, GRID, IMAGES, WINDOW, explicit_maps, sam
from vit_inspect.attention.layer import AxisBias
from vit_inspect.attention.rows import rows
from vit_inspect.layout import MEAN, PADDING
from vit_inspect.recording.arranging import axis_bias


def test_the_layout_has_patches_alone_and_the_padding_is_a_key() -> None:
    model = sam()
    assert model.layout == vi.TokenLayout((), GRID, (8, 8), MEAN, padded=True)
    assert model.layout.key_prefix == (PADDING,)
    assert model.stage_count == 1


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "written out"])
def test_rows_are_the_reassembled_windows(fused: bool) -> None:
    model = sam(fused=fused)
    with torch.inference_mode():
        alone = model.module(torch.cat([model.prepare(image) for image in IMAGES]))
    capture = vi.capture(model, IMAGES)
    assert torch.equal(capture.output, alone)
    assert capture.error < 1e-12
    check_observation(model, IMAGES, capture)
    for layer, wanted in enumerate(explicit_maps()):
        found = rows(capture.layers[layer], range(80)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-12)
        assert wanted.max(axis=-1).mean() > 0.5
        assert (wanted[..., 0].max() > 0.5) == (layer != GLOBAL)
        # The scores' bias differs for each query, and is kept as two small parts.
        bias = capture.layers[layer].bias
        assert isinstance(bias, AxisBias)
        side = GRID if layer == GLOBAL else (WINDOW, WINDOW)
        assert tuple(each.shape[-1] for each in bias) == side


def test_windows_that_fill_the_grid_have_no_padding() -> None:
    model = sam(window_size=2)
    assert not model.layout.padded
    capture = vi.capture(model, IMAGES)
    assert capture.error < 1e-12
    assert vi.attention_maps(capture).prefix_mass.shape[-1] == 0


@pytest.mark.slow
def test_tokens_are_what_the_blocks_return() -> None:
    model = sam()
    capture = vi.capture(model, IMAGES)
    tokens: list[Tensor] = []
    handles = [
        block.register_forward_hook(lambda _, args, output: tokens.append(output))
        for block in model.blocks
    ]
    with torch.inference_mode():
        model.module(capture.pixels)
    for handle in handles:
        handle.remove()
    for found, wanted in zip(capture.tokens, tokens, strict=True):
        assert torch.equal(found, wanted.flatten(1, 2))
    assert vi.token_norms(capture).norm.shape == (2, 3, *GRID)
    assert vi.token_similarity(capture, patch=(2, 3)).similarity.shape == (2, *GRID)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_bias_is_two_parts_only_if_it_is_their_sum(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(3)
    by_row = torch.randn(2, 3, 12, 4, 1, generator=random, dtype=torch.float64).to(dtype)
    by_column = torch.randn(2, 3, 12, 1, 3, generator=random, dtype=torch.float64).to(dtype)
    whole = (by_row + by_column).flatten(-2)
    found = axis_bias(whole, 3)
    assert found is not None
    again = (found.rows[..., None] + found.columns[..., None, :]).flatten(-2)
    difference = (again - whole).to(torch.float64)
    bound = 4 * torch.finfo(dtype).eps * float(whole.abs().max())
    assert difference.abs().max() <= bound
    # Large values elsewhere hide nothing.
    whole[0] *= 1e4
    assert axis_bias(whole, 3) is not None
    for number in (0.3, -torch.inf, torch.nan):
        other = whole.clone()
        other[1, 2, 11, 7] += number
        assert axis_bias(other, 3) is None


@pytest.mark.parametrize("side", [2, 4])
def test_windows_of_two_sizes_share_one_padding(side: int) -> None:
    """Windows of 2 × 2 tile the grid of 8 × 10; those of 3 × 3 and 4 × 4 do not."""
    network = sam().module
    network.blocks[2].window_size = side
    capture = vi.capture(vi.wrap(network), IMAGES)
    assert capture.error < 1e-12
    assert capture.layout.padded
    for layer, (size, keys) in enumerate([(3, 81), (0, 81), (side, 81)]):
        found = rows(capture.layers[layer], range(80)).numpy()
        assert found.shape[-1] == keys
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-12)
        patches = (found[..., 1:] > 0).any(axis=(0, 1))
        assert patches.sum(axis=-1).max() == (size**2 or 80)
        assert (found[..., 0].max() > 0) == (size in (3, 4))
