"""Are the Swin transformers of `transformers` seen as they compute, window by window?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import RECIPE
from tests.helpers.windowed import on_grid, rows_of
from vit_inspect.layout import MEAN, MEAN_STAGE, POOL

SIZE: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2, 4],
    "num_heads": [1, 2, 4],
    "window_size": 4,
}
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]
KINDS = (
    "SwinModel",
    "SwinForImageClassification",
    "Swinv2Model",
    "Swinv2ForImageClassification",
)


def network_of(kind: str, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
    """With peaked attention, and values of its own where all were alike."""
    torch.manual_seed(0)
    config = hf.Swinv2Config if "v2" in kind else hf.SwinConfig
    network = getattr(hf, kind)(config(**SIZE | options)).eval()
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.numel() > 1 and weights.std() < 1e-3:
                weights += 0.3 * torch.randn_like(weights)
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weights *= 0.6 / weights.std()
            if name.endswith("logit_scale"):
                weights += 2.5
    return network.to(dtype)


def explicit(network: Any, model: vi.Model, pixels: Tensor) -> list[list[Tensor]]:
    """The weights (image x window, head, place, place) of each block, by stage.

    By the other implementation of the same weights, where there is one.
    """
    found: list[list[Tensor]] = [[] for _ in model.stages]
    handles = []
    for kept, stage in zip(found, model.stages, strict=True):
        for block in stage.blocks:
            if "Swinv2" in type(block).__name__:
                part, keep = block.attention.self.dropout, lambda *given, kept=kept: given[1][0]
            else:
                part, keep = block.attention, lambda *given, kept=kept: given[2][1]
            handles.append(
                part.register_forward_hook(
                    lambda *given, kept=kept, keep=keep: kept.append(keep(*given))
                )
            )
    fused = network.config._attn_implementation == "sdpa"
    if fused:
        network.set_attn_implementation("eager")
    with torch.inference_mode():
        network(pixel_values=pixels)
    if fused:
        network.set_attn_implementation("sdpa")
    for handle in handles:
        handle.remove()
    return found


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """The eager attention of Swin goes through float32, whatever its type."""

    def softmax(scores: Tensor, dim: int, dtype: object = None) -> Tensor:
        return torch.softmax(scores, dim)

    monkeypatch.setattr(nn.functional, "softmax", softmax)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "size"),
    [(4, None), (4, (64, 128)), (3, (64, 48))],
    ids=["tiled", "no square", "padded"],
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("exact_softmax")
def test_rows_of_every_stage_are_the_reassembled_windows(
    tmp_path: Path, kind: str, window: int, size: Any
) -> None:
    network = network_of(kind, window_size=window, image_size=size or 64)
    network.save_pretrained(tmp_path)
    model = vi.load(
        checkpoint=tmp_path, architecture="transformers", dtype=torch.float64, device="cpu"
    )
    assert (model.stage_count, model.stage) == (3, 2)
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    with torch.inference_mode():
        alone = network(pixel_values=pixels)
    weights = explicit(model.module.network, model, pixels)
    shifted = padded = 0
    for index, stage in enumerate(model.stages):
        capture = vi.capture(model.at_stage(index), IMAGES)
        output = alone.logits if "For" in kind else alone.pooler_output
        assert torch.equal(capture.output, output)
        assert capture.error < 1e-12
        assert capture.layout.prefix == ()
        assert len(capture.tokens) == len(stage.blocks)
        grid = tuple(side // (4 * 2**index) for side in pixels.shape[2:])
        assert capture.layout.grid == grid
        assert capture.layout.readout == (MEAN if index == 2 else MEAN_STAGE)
        for layer, block in enumerate(stage.blocks):
            sides = (block.window_size,) * 2
            place = SimpleNamespace(window_size=sides, shift_size=(block.shift_size,) * 2)
            shifted += bool(block.shift_size)
            padded += capture.layout.padded
            queries = range(grid[0] * grid[1])
            wanted = on_grid(
                weights[index][layer], grid, place, len(IMAGES), queries, padded_first=True
            )
            found = rows_of(capture, layer, queries)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
            assert wanted.max(axis=-1).mean() > 2 / block.window_size**2
    assert shifted
    assert bool(padded) == (window == 3)


@pytest.mark.parametrize("window", [4, 3], ids=["tiled", "padded"])
@pytest.mark.parametrize("kind", ["SwinModel", "Swinv2Model"])
def test_a_window_is_what_a_block_mixes(kind: str, window: int) -> None:
    """What is not a number spreads from a token over its window, and no further."""
    model = vi.wrap(network_of(kind, window_size=window), transform=RECIPE).at_stage(0)
    (high, wide), prefix = model.layout.grid, int(model.layout.padded)
    assert prefix == (window == 3)
    for windows, block in zip(model.stages[0].windows, model.blocks, strict=True):
        home = {
            token: set(window.tolist()) - set(range(prefix))
            for window in windows
            for token in window.tolist()
        }
        for row, column in [(0, 0), (3, wide - 1), (high - 1, 4), (high // 2, wide // 2)]:
            tokens = torch.randn(1, high * wide, 16, dtype=torch.float64)
            tokens[0, row * wide + column] = torch.nan
            with torch.inference_mode():
                spread = block(tokens, (high, wide))[0][0].isnan().any(dim=-1)
            reached = {prefix + index for index in spread.nonzero().flatten().tolist()}
            assert reached == home[prefix + row * wide + column]


@pytest.mark.parametrize("kind", ["SwinModel", "Swinv2Model"])
def test_the_bias_by_offset_is_what_is_added_to_the_scores(kind: str) -> None:
    model = vi.wrap(network_of(kind), transform=RECIPE).at_stage(1)
    bias = vi.position_bias(model).bias
    assert bias.shape == (2, 2, 7, 7)
    # The first block has no shift, and so no mask besides.
    [seen, _] = vi.capture(model, IMAGES[0]).layers
    places = list(np.ndindex(4, 4))
    for query, (row, column) in enumerate(places):
        for key, (other_row, other_column) in enumerate(places):
            offset = other_row - row + 3, other_column - column + 3
            expected = seen.bias[0, :, query, key].numpy()
            np.testing.assert_allclose(bias[(0, slice(None), *offset)], expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_off_the_network(kind: str) -> None:
    names = {"id2label": {0: "cat", 1: "dog", 2: "emu"}}
    # Swin v2 of transformers fails with a table of absolute positions.
    table = "v2" not in kind
    network = network_of(kind, use_absolute_embeddings=table, **names)
    model = vi.wrap(network, transform=RECIPE)
    assert model.labels == (("cat", "dog", "emu") if "For" in kind else None)
    assert (model.positions is not None) == table
    assert model.filters_name == "patch embedding"
    assert model.input_step_px == (16, 16)


def test_another_size_is_a_multiple_of_the_last_patch(tmp_path: Path) -> None:
    network_of("SwinModel", torch.float32).save_pretrained(tmp_path)
    options = {"checkpoint": tmp_path, "architecture": "transformers", "device": "cpu"}
    model = vi.load(img_size=(96, 64), **options)
    assert [stage.layout.grid for stage in model.stages] == [(24, 16), (12, 8), (6, 4)]
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(img_size=72, **options)
    assert refusal.value.expected == "multiples of the last stage's patch, 16 × 16 px"
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(img_size=70, **options)
    assert refusal.value.remedy == "use 64 × 64"


@pytest.mark.parametrize(("kind", "served"), [("SwinModel", False), ("Swinv2Model", True)])
def test_windows_larger_than_the_last_stage(kind: str, served: bool, tmp_path: Path) -> None:
    """Version 2 makes them smaller."""
    network_of(kind, torch.float32).save_pretrained(tmp_path)
    options = {"checkpoint": tmp_path, "architecture": "transformers", "device": "cpu"}
    if served:
        assert vi.load(img_size=48, **options).stages[-1].layout.grid == (3, 3)
        return
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(img_size=48, **options)
    assert refusal.value.expected == "at least 64 × 64 px: one window in the last stage"


@pytest.mark.parametrize(
    "layout",
    [
        vi.TokenLayout((), (32, 8), (2, 8), MEAN),
        vi.TokenLayout((), (16, 16), (4, 4), POOL),
        vi.TokenLayout(("cls",), (16, 16), (4, 4), "cls"),
    ],
)
def test_another_layout_than_its_own_is_refused(layout: vi.TokenLayout) -> None:
    with pytest.raises(vi.BadParameter, match="another layout of SwinModel than its configuration"):
        vi.wrap(network_of("SwinModel"), layout=layout, transform=RECIPE)


def test_blocks_of_ones_own_are_refused() -> None:
    network: Any = network_of("SwinModel")
    with pytest.raises(vi.BadParameter, match="blocks for SwinModel, whose stages have their own"):
        vi.wrap(network, blocks=list(network.encoder.layers[0].blocks), transform=RECIPE)
