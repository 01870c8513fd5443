"""Are the windows of Swin transformers put where they lie, at every stage, size and shift?

The oracle takes the softmax out of timm's own attention and lays it on the grid with plain loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

import vit_inspect as vi
from tests.conftest import noise
from tests.oracle import mean_distance, pair_distances
from vit_inspect.attention import row_blocks, rows
from vit_inspect.layout import MEAN, MEAN_STAGE, PADDING
from vit_inspect.recorder import _running

SWIN = "swin_tiny_patch4_window7_224"
SWIN_V2 = "swinv2_tiny_window8_256"
SWIN_V2_CR = "swinv2_cr_tiny_224"
IMAGES = [noise((320, 256), 1), noise((260, 300), 2)]

Make = Callable[..., vi.Model]
Grid = tuple[int, int]


@pytest.fixture(scope="module")
def swin() -> Make:
    """Makes a narrow random Swin transformer with peaked attention, by timm id and input size."""
    narrow = partial(
        timm.create_model, embed_dim=24, depths=(2, 2, 4, 2), num_heads=(1, 2, 3, 6), num_classes=50
    )

    def make(
        architecture: str, img_size: Any = None, dtype: torch.dtype = torch.float64
    ) -> vi.Model:
        torch.manual_seed(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(timm, "create_model", narrow)
            model = vi.load(
                architecture, img_size=img_size, pretrained=False, device="cpu", dtype=dtype
            )
        with torch.no_grad():
            # What starts as constant would hide mistakes, as would attention that is near uniform.
            for parameter in model.module.parameters():
                if parameter.numel() > 1 and parameter.std() < 1e-3:
                    parameter += 0.05 * torch.randn_like(parameter)
            for stage in model.stages:
                for block in stage.blocks:
                    width = block.attn.qkv.weight.shape[1]
                    block.attn.qkv.weight[:width] *= 6000 / width
                    if hasattr(block.attn, "relative_position_bias_table"):
                        block.attn.relative_position_bias_table *= 30
                    if hasattr(block.attn, "logit_scale"):
                        block.attn.logit_scale += torch.rand_like(block.attn.logit_scale) + 0.5
        return model

    return make


def explicit_windows(model: vi.Model, pixels: Tensor) -> list[list[Tensor]]:
    """What each block's attention multiplied its values with, by stage and block.

    Each is (image x window, head, place, place), as timm's softmax returned it.
    """
    found: list[list[Tensor]] = []
    handles = []
    for stage in model.stages:
        kept: list[Tensor] = []
        found.append(kept)
        for block in stage.blocks:
            keep = partial(lambda kept, _, args: kept.append(args[0]), kept)
            handles.append(block.attn.attn_drop.register_forward_pre_hook(keep))
    with torch.inference_mode():
        model.module(pixels)
    for handle in handles:
        handle.remove()
    return found


def on_grid(
    weights: Tensor, grid: Grid, block: Any, images: int, queries: Sequence[int]
) -> np.ndarray:
    """(image, head, query, 1 + patch): rows of some patches on the grid, padding first.

    A patch at (row, column) lies, after the roll to the top left, at ((row - shift) mod rows,
    (column - shift) mod columns), and there in the window of its place.
    """
    (high, wide), (size_down, size_right) = grid, block.window_size
    down, right = block.shift_size
    across = -(-wide // size_right)
    count = -(-high // size_down) * across
    home: dict[tuple[int, int], int] = {}
    for row in range(high):
        for column in range(wide):
            at_row, at_column = (row - down) % high, (column - right) % wide
            window = at_row // size_down * across + at_column // size_right
            place = at_row % size_down * size_right + at_column % size_right
            home[window, place] = row * wide + column
    lies = {patch: where for where, patch in home.items()}
    values = weights.double().numpy().reshape(images, count, *weights.shape[1:])
    result = np.zeros((images, values.shape[2], len(queries), 1 + high * wide))
    for index, query in enumerate(queries):
        window, place = lies[query]
        for other in range(values.shape[-1]):
            key = home.get((window, other))
            column = 0 if key is None else 1 + key
            result[:, :, index, column] += values[:, window, :, place, other]
    return result


def rows_of(capture: vi.Capture, layer: int, queries: Sequence[int]) -> np.ndarray:
    """The same rows as the capture tells them."""
    prefix = capture.layout.prefix_count
    found = rows(capture.layers[layer], [prefix + query for query in queries]).numpy()
    return found if prefix else np.pad(found, ((0, 0), (0, 0), (0, 0), (1, 0)))


def some_patches(grid: Grid) -> list[int]:
    """All patches of a small grid; of a large one, enough to meet each row and each column."""
    patches = range(grid[0] * grid[1])
    return [*patches] if len(patches) < 300 else [*patches[::13], *patches[-9:]]


CASES = [
    (SWIN, None),
    (SWIN, (256, 160)),
    ("swinv2_tiny_window16_256", None),
    (SWIN_V2, (96, 224)),
    (SWIN_V2_CR, (160, 224)),
]
"""What the windows tile, one of which shrinks its last windows, and what they do not."""


@pytest.mark.parametrize(("architecture", "img_size"), CASES, ids=str)
def test_rows_of_every_stage_are_the_reassembled_windows(
    swin: Make, architecture: str, img_size: Any
) -> None:
    model = swin(architecture, img_size)
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    with torch.inference_mode():
        alone = model.module(pixels)
    explicit = explicit_windows(model, pixels)
    shifted = 0
    for index in range(model.stage_count):
        looked = model.at_stage(index)
        capture = vi.capture(looked, IMAGES)
        assert torch.equal(capture.output, alone)
        assert capture.error < 1e-12
        assert len(capture.layers) == len(explicit[index]) == len(looked.blocks)
        for layer, block in enumerate(looked.blocks):
            shifted += any(block.shift_size)
            queries = some_patches(looked.layout.grid)
            wanted = on_grid(explicit[index][layer], looked.layout.grid, block, 2, queries)
            found = rows_of(capture, layer, queries)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
            np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-12)
            # The test sees something: peaks, and images that differ.
            assert found.max(axis=-1).mean() > 4 / np.prod(block.window_size)
            assert np.abs(found[0] - found[1]).max() > 0.05
            padded = any(
                side % step
                for side, step in zip(looked.layout.grid, block.window_size, strict=True)
            )
            assert looked.layout.prefix == ((PADDING,) if padded else ())
            # The mask of shifted windows may hide the padding.
            assert padded or not found[..., 0].any()
            assert not padded or any(block.shift_size) or found[..., 0].max() > 0.01
    assert shifted


@pytest.mark.parametrize("architecture", [SWIN, SWIN_V2, SWIN_V2_CR])
@pytest.mark.parametrize("img_size", [224, (160, 96)], ids=str)
def test_a_window_is_what_a_block_mixes(swin: Make, architecture: str, img_size: Any) -> None:
    """What is not a number spreads from a token over its window, and no further."""
    model = swin(architecture, img_size).at_stage(1)
    (high, wide), prefix = model.layout.grid, model.layout.prefix_count
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
def test_distances_are_the_plain_double_loop(swin: Make, img_size: Grid, definition: str) -> None:
    model = swin(SWIN, img_size).at_stage(1)
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


def test_maps_are_rows_on_the_stages_own_grid(swin: Make) -> None:
    for index, patch_px in enumerate((4, 8, 16, 32)):
        model = swin(SWIN, (96, 160)).at_stage(index)
        assert model.layout.patch_px == (patch_px, patch_px)
        assert model.layout.input_px == (96, 160)
        capture = vi.capture(model, IMAGES)
        maps = vi.attention_maps(capture, query=(1, 2))
        assert maps.weights.shape[-2:] == (96 // patch_px, 160 // patch_px)
        token = model.layout.token((1, 2))
        for layer in range(len(model.blocks)):
            row = rows(capture.layers[layer], [token])[:, :, 0].numpy()
            prefix = model.layout.prefix_count
            np.testing.assert_array_equal(
                maps.weights[:, layer].reshape(2, row.shape[1], -1), row[..., prefix:]
            )
        mean = vi.attention_maps(capture)
        last = index == 3
        assert model.layout.readout == (MEAN if last else MEAN_STAGE)
        words = "read-out (mean of the patches)" if last else "mean of this stage's patches"
        assert mean.query == words
        every = rows_of(capture, 0, range(model.layout.patch_count))[..., 1:].mean(axis=2)
        np.testing.assert_allclose(mean.weights[:, 0].reshape(every.shape), every, atol=1e-12)


def test_small_blocks_give_the_same_rows(swin: Make) -> None:
    capture = vi.capture(swin(SWIN, (256, 160)).at_stage(1), IMAGES)
    layer = capture.layers[1]
    whole = rows(layer, range(capture.layout.token_count))
    for budget in (1, 200_000):
        for block in row_blocks(layer, block_bytes=budget):
            torch.testing.assert_close(
                block.weights, whole[block.images, :, block.queries], rtol=0, atol=1e-14
            )


def test_a_model_opens_at_the_stage_with_the_most_blocks(swin: Make) -> None:
    model = swin(SWIN)
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


def test_a_stage_that_is_not_there_is_refused(swin: Make) -> None:
    for index in (-1, 4):
        with pytest.raises(vi.BadParameter) as refusal:
            swin(SWIN).at_stage(index)
        assert str(refusal.value) == (
            f"Found the stage {index}; expected a stage of 0..3; choose one of these."
        )
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load("vit_tiny_patch16_224", pretrained=False, device="cpu", stage=1)
    assert str(refusal.value) == (
        "Found the stage 1; expected stage 0, the only one of vit_tiny_patch16_224; "
        "leave the stage out."
    )
    assert vi.load("vit_tiny_patch16_224", pretrained=False, device="cpu", stage=0).stage == 0


def test_an_input_that_would_not_merge_evenly_is_refused() -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(SWIN, img_size=(224, 240), pretrained=False, device="cpu")
    assert refusal.value.expected == "multiples of the last stage's patch, 32 x 32 px"
    assert refusal.value.remedy == "use 224 x 256"


def test_rollout_is_refused_because_tokens_merge(swin: Make) -> None:
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.attention_rollout(vi.capture(swin(SWIN), IMAGES[0]))
    assert str(refusal.value) == (
        f"Found {SWIN}, whose tokens merge from stage to stage; expected the same tokens in every "
        "layer, so that attention can be multiplied through them; look at the attention maps of "
        "one stage instead."
    )


def test_padding_is_looked_at_and_asks_nothing(swin: Make) -> None:
    capture = vi.capture(swin(SWIN, (96, 64)), IMAGES[0])
    assert capture.layout.prefix == (PADDING,)
    assert vi.attention_maps(capture).prefix_mass.min() > 0
    with pytest.raises(vi.BadParameter, match=r"prefix token of this model \(none at all\)"):
        vi.attention_maps(capture, query=PADDING)


def test_filters_and_classes_are_the_models_own(swin: Make) -> None:
    model = swin(SWIN)
    assert torch.equal(model.filters, model.module.patch_embed.proj.weight)
    assert model.filters_name == "patch embedding"
    assert model.positions is None
    assert model.labels is not None
    assert len(model.labels) == 50
    at_first = vi.predictions(vi.capture(model.at_stage(0), IMAGES))
    at_last = vi.predictions(vi.capture(model.at_stage(3), IMAGES))
    np.testing.assert_array_equal(at_first.probability, at_last.probability)


def test_only_the_stage_that_is_looked_at_is_kept(swin: Make) -> None:
    capture = vi.capture(swin(SWIN).at_stage(3), IMAGES[0])
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
def test_a_product_that_gives_something_else_is_refused_in_every_stage(
    swin: Make, windows: int
) -> None:
    model = swin(SWIN).at_stage(3)
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


def test_scores_that_cannot_be_followed_are_refused(swin: Make) -> None:
    model = swin(SWIN)
    model.blocks[0].attn = Changed(model.blocks[0].attn)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.capture(model, IMAGES[0])
    assert refusal.value.found == f"no softmaxes of queries and keys in block 0 of {SWIN}"
    assert "followed from product to product" in refusal.value.expected
    assert _running.get() is None


def test_dropout_is_refused(swin: Make) -> None:
    model = swin(SWIN)
    for block in model.blocks:
        block.attn.attn_drop.p = 0.1
    model.module.train()
    with pytest.raises(vi.UnsupportedModel, match="attention with dropout"):
        vi.capture(model, IMAGES[0])


def test_windows_of_another_size_are_refused(swin: Make) -> None:
    model = swin(SWIN)
    wrong = tuple(
        replace(stage, windows=tuple(windows[:1] for windows in stage.windows))
        for stage in model.stages
    )
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.capture(replace(model, stages=wrong), IMAGES[0])
    assert refusal.value.found == f"64 windows of 49 tokens in a block of {SWIN}"
    assert refusal.value.expected == "1 windows of 49 tokens"


def test_a_fused_kernel_gives_the_same_rows(swin: Make) -> None:
    """timm fuses Swin's attention where TIMM_FUSED_ATTN is 2."""
    model = swin(SWIN, (224, 256))
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


def test_bfloat16_is_verified_or_refused(swin: Make) -> None:
    capture = vi.capture(swin(SWIN, 96, torch.bfloat16), IMAGES)
    assert 1e-6 < capture.error < 3e-2
