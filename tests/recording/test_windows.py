"""Are the windows of Swin transformers put where they lie, at every stage, size and shift?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

import vit_inspect as vi
from tests.helpers.observed import check_observation
from tests.helpers.oracle import mean_distance, pair_distances
from tests.helpers.windowed import (
    IMAGES,
    SWIN,
    SWIN_V2,
    SWIN_V2_CR,
    Grid,
    compared,
    explicit_windows,
    narrow_swin,
    on_grid,
    rows_of,
)
from vit_inspect.attention.blocks import row_blocks
from vit_inspect.attention.rows import rows
from vit_inspect.layout import MEAN, MEAN_STAGE, PADDING
from vit_inspect.recording.hooks import _running

pytestmark = pytest.mark.slow

CASES = [
    (SWIN, None),
    (SWIN, (256, 160)),
    ("swinv2_tiny_window16_256", None),
    (SWIN_V2, (96, 224)),
    (SWIN_V2_CR, (160, 224)),
]
"""What the windows tile, one of which shrinks its last windows, and what they do not."""


@pytest.mark.parametrize(("architecture", "img_size"), CASES, ids=str)
def test_rows_of_every_stage_are_the_reassembled_windows(architecture: str, img_size: Any) -> None:
    model = narrow_swin(architecture, img_size)
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    with torch.inference_mode():
        alone = model.module(pixels)
    shifted = 0
    for capture, layer, found, wanted in compared(model):
        assert torch.equal(capture.output, alone)
        assert capture.error < 1e-12
        if layer == 0:
            check_observation(capture.model, IMAGES, capture)
        block, layout = capture.model.blocks[layer], capture.layout
        shifted += any(block.shift_size)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-12)
        # The test sees something: peaks, and images that differ.
        assert found.max(axis=-1).mean() > 4 / np.prod(block.window_size)
        assert np.abs(found[0] - found[1]).max() > 0.05
        padded = any(side % step for side, step in zip(layout.grid, block.window_size, strict=True))
        assert layout.padded == padded
        assert layout.prefix == ()
        # The mask of shifted windows may hide the padding.
        assert padded or not found[..., 0].any()
        assert not padded or any(block.shift_size) or found[..., 0].max() > 0.01
    assert shifted


@pytest.mark.parametrize("architecture", [SWIN, SWIN_V2, SWIN_V2_CR])
@pytest.mark.parametrize("img_size", [224, (160, 96)], ids=str)
def test_a_window_is_what_a_block_mixes(architecture: str, img_size: Any) -> None:
    """What is not a number spreads from a token over its window, and no further."""
    model = narrow_swin(architecture, img_size).at_stage(1)
    (high, wide), prefix = model.layout.grid, int(model.layout.padded)
    for windows, block in zip(model.stages[1].windows, model.blocks, strict=True):
        home = {
            token: set(window.tolist()) - set(range(prefix))
            for window in windows
            for token in window.tolist()
        }
        for row, column in [(0, 0), (3, wide - 1), (high - 1, 4), (high // 2, wide // 2)]:
            tokens = torch.randn(1, high, wide, block.norm1.weight.shape[0], dtype=torch.float64)
            tokens[0, row, column] = torch.nan
            with torch.inference_mode():
                spread = block(tokens)[0].isnan().any(dim=-1).flatten()
            reached = {prefix + index for index in spread.nonzero().flatten().tolist()}
            assert reached == home[prefix + row * wide + column]


@pytest.mark.parametrize("img_size", [(96, 128), (224, 224)], ids=str)
@pytest.mark.parametrize("definition", ["paper", "renormalised"])
def test_distances_are_the_plain_double_loop(img_size: Grid, definition: str) -> None:
    model = narrow_swin(SWIN, img_size).at_stage(1)
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    explicit = explicit_windows(model, pixels)[1]
    distances = pair_distances(model.layout.grid, (8, 8))
    found = vi.attention_distance(vi.capture(model, IMAGES), definition=definition)
    for layer, block in enumerate(model.blocks):
        wanted = on_grid(explicit[layer], model.layout.grid, block, 2, range(len(distances)))
        expected = mean_distance(
            wanted[..., 1:], distances, 0, renormalised=definition == "renormalised"
        )
        np.testing.assert_allclose(found.distance_px[:, layer], expected, rtol=1e-6)
        np.testing.assert_allclose(
            found.prefix_mass[:, layer], wanted[..., 0].mean(axis=-1), rtol=1e-6, atol=1e-12
        )


def test_maps_are_rows_on_the_stages_own_grid() -> None:
    for index, patch_px in enumerate((4, 8, 16, 32)):
        model = narrow_swin(SWIN, (96, 160)).at_stage(index)
        assert model.layout.patch_px == (patch_px, patch_px)
        assert model.layout.input_px == (96, 160)
        capture = vi.capture(model, IMAGES)
        maps = vi.attention_maps(capture, query=(1, 2))
        assert maps.weights.shape[-2:] == (96 // patch_px, 160 // patch_px)
        token = model.layout.token((1, 2))
        for layer in range(len(model.blocks)):
            row = rows(capture.layers[layer], [token])[:, :, 0].numpy()
            prefix = int(model.layout.padded)
            np.testing.assert_array_equal(
                maps.weights[:, layer].reshape(2, row.shape[1], -1), row[..., prefix:]
            )
        mean = vi.attention_maps(capture)
        last = index == 3
        assert model.layout.readout == (MEAN if last else MEAN_STAGE)
        words = "mean of the patches" if last else "mean of this stage's patches"
        assert mean.query == words
        every = rows_of(capture, 0, range(model.layout.patch_count))[..., 1:].mean(axis=2)
        np.testing.assert_allclose(mean.weights[:, 0].reshape(every.shape), every, atol=1e-12)


def test_small_blocks_give_the_same_rows() -> None:
    capture = vi.capture(narrow_swin(SWIN, (256, 160)).at_stage(1), IMAGES)
    layer = capture.layers[1]
    whole = rows(layer, range(capture.layout.token_count))
    for budget in (1, 200_000):
        for block in row_blocks(layer, block_bytes=budget):
            torch.testing.assert_close(
                block.weights, whole[block.images, :, block.queries], rtol=0, atol=1e-14
            )


def test_a_model_opens_at_the_stage_with_the_most_blocks() -> None:
    model = narrow_swin(SWIN)
    assert (model.stage, model.stage_count) == (2, 4)
    assert [len(stage.blocks) for stage in model.stages] == [2, 2, 4, 2]
    assert model.at_stage(2) is model
    other = model.at_stage(0)
    assert other.module is model.module
    assert (other.stage, other.layout.grid) == (0, (56, 56))
    assert other.at_stage(2).layout == model.layout
    assert other.fitted("whole").stage == 0
    loaded = vi.load(SWIN, pretrained=False, device="cpu", stage=1)
    assert (loaded.stage, loaded.layout.grid) == (1, (28, 28))


def test_a_stage_that_is_not_there_is_refused() -> None:
    for index in (-1, 4):
        with pytest.raises(vi.BadParameter) as refusal:
            narrow_swin(SWIN).at_stage(index)
        assert str(refusal.value) == (
            f"Found the stage {index}; expected a stage of 0..3; choose one of these."
        )
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load("vit_tiny_patch16_224", pretrained=False, device="cpu", stage=1)
    assert str(refusal.value) == (
        "Found the stage 1; expected stage 0, the only one of vit_tiny_patch16_224; "
        "leave out the stage."
    )
    assert vi.load("vit_tiny_patch16_224", pretrained=False, device="cpu", stage=0).stage == 0


def test_an_input_that_would_not_merge_evenly_is_refused() -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(SWIN, img_size=(224, 240), pretrained=False, device="cpu")
    assert refusal.value.expected == "multiples of the last stage's patch, 32 × 32 px"
    assert refusal.value.remedy == "use 224 × 256"


def test_rollout_is_refused_because_tokens_merge() -> None:
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.attention_rollout(vi.capture(narrow_swin(SWIN), IMAGES[0]))
    assert str(refusal.value) == (
        f"Found {SWIN}, whose tokens merge from stage to stage; expected the same tokens in every "
        "layer; choose a plain vision transformer, or look at the attention maps of one stage."
    )


def test_padding_is_looked_at_and_asks_nothing() -> None:
    capture = vi.capture(narrow_swin(SWIN, (96, 64)), IMAGES[0])
    assert capture.layout.key_prefix == (PADDING,)
    assert vi.attention_maps(capture).prefix_mass.min() > 0
    with pytest.raises(vi.BadParameter, match=r"special token of this model \(it has none\)"):
        vi.attention_maps(capture, query=PADDING)


def test_filters_and_classes_are_the_models_own() -> None:
    model = narrow_swin(SWIN)
    assert torch.equal(model.filters, model.module.patch_embed.proj.weight)
    assert model.filters_name == "patch embedding"
    assert model.positions is None
    assert model.labels is not None
    assert len(model.labels) == 50
    at_first = vi.predictions(vi.capture(model.at_stage(0), IMAGES))
    at_last = vi.predictions(vi.capture(model.at_stage(3), IMAGES))
    np.testing.assert_array_equal(at_first.probability, at_last.probability)


def test_only_the_stage_that_is_looked_at_is_kept() -> None:
    capture = vi.capture(narrow_swin(SWIN).at_stage(3), IMAGES[0])
    assert [layer.queries.shape for layer in capture.layers] == [(1, 6, 49, 32)] * 2


class Corrupted(TorchFunctionMode):
    """A product with the values that returns something else, where there are so many windows."""

    def __init__(self, windows: int) -> None:
        super().__init__()
        self.windows = windows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "matmul" and args[0].shape[::2] == (self.windows, 49):
            output += 1e-6
        return output


@pytest.mark.parametrize("windows", [64, 16, 4, 1])
def test_a_product_that_gives_something_else_is_refused_in_every_stage(windows: int) -> None:
    model = narrow_swin(SWIN).at_stage(3)
    with Corrupted(windows), pytest.raises(vi.UnsupportedModel, match="recomputed from its"):
        vi.capture(model, IMAGES[0])


class Changed(nn.Module):
    """An attention that does something to its weights that no softmax of scores has."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        attention.attn_drop = nn.ReLU()  # type: ignore[assignment]

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.attention(tokens, mask=mask)  # type: ignore[no-any-return]


def test_scores_that_cannot_be_followed_are_refused() -> None:
    model = narrow_swin(SWIN)
    model.blocks[0].attn = Changed(model.blocks[0].attn)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.capture(model, IMAGES[0])
    assert refusal.value.found == f"no softmaxes of queries and keys in block 0 of {SWIN}"
    assert "written out in steps that can be followed" in refusal.value.expected
    assert _running.get() is None


def test_dropout_is_refused() -> None:
    model = narrow_swin(SWIN)
    for block in model.blocks:
        block.attn.attn_drop.p = 0.1
    model.module.train()
    with pytest.raises(vi.UnsupportedModel, match="attention with dropout"):
        vi.capture(model, IMAGES[0])


def test_windows_of_another_size_are_refused() -> None:
    model = narrow_swin(SWIN)
    wrong = tuple(
        replace(stage, windows=tuple(windows[:1] for windows in stage.windows))
        for stage in model.stages
    )
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.capture(replace(model, stages=wrong), IMAGES[0])
    assert refusal.value.found == f"64 windows of 49 tokens in a block of {SWIN}"
    assert refusal.value.expected == "1 windows of 49 tokens"


def test_a_fused_kernel_gives_the_same_rows() -> None:
    """timm fuses Swin's attention where TIMM_FUSED_ATTN is 2."""
    model = narrow_swin(SWIN, (224, 256))
    alone = vi.capture(model, IMAGES)
    for stage in model.stages:
        for block in stage.blocks:
            block.attn.fused_attn = True
    calls: list[object] = []

    class Counting(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is scaled_dot_product_attention:
                calls.append(func)
            return func(*args, **(kwargs or {}))

    with Counting():
        fused = vi.capture(model, IMAGES)
    assert len(calls) == 10
    for one, other in zip(alone.layers, fused.layers, strict=True):
        every = range(model.layout.token_count)
        torch.testing.assert_close(rows(one, every), rows(other, every), rtol=0, atol=1e-9)


def test_bfloat16_is_verified_or_refused() -> None:
    capture = vi.capture(narrow_swin(SWIN, 96, torch.bfloat16), IMAGES)
    assert 1e-6 < capture.error < 3e-2
