"""Is the bias by offset what the model's own attention was given, for every pair of patches?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import layout_of, model_of
from vit_inspect.loading.positions import score_bias

RELATIVE = {
    "beit_base_patch16_224": 3,
    "vit_relpos_small_patch16_224": 3,
    "vit_relpos_base_patch16_rpn_224": 3,
    "vit_srelpos_small_patch16_224": 1,
    "vit_relpos_base_patch32_plus_rpn_256": 3,
}
"""How many layers of bias the model has, of three."""


def pairs_of(bias: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(head, query, key), by looking up the offset of each pair in a plain loop."""
    places = list(np.ndindex(grid))
    pairs = np.empty((len(bias), len(places), len(places)), bias.dtype)
    for q, (query_row, query_column) in enumerate(places):
        for k, (key_row, key_column) in enumerate(places):
            row, column = key_row - query_row + grid[0] - 1, key_column - query_column + grid[1] - 1
            pairs[:, q, k] = bias[:, row, column]
    return pairs


@pytest.mark.parametrize("architecture", RELATIVE)
def test_equals_what_the_attention_was_given(
    small: Callable[..., vi.Model], architecture: str
) -> None:
    model = small(architecture, (64, 96), dtype=torch.float32)
    result = vi.position_bias(model)
    assert len(result.bias) == RELATIVE[architecture]
    layout = model.layout
    capture = vi.capture(model, noise((90, 60), 0))
    given = [
        each.bias[0, :, layout.prefix_count :, layout.prefix_count :] for each in capture.layers
    ]
    for layer, wanted in enumerate(given):
        bias = result.bias[layer % len(result.bias)]
        assert len(np.unique(bias)) > 0.9 * bias.size
        np.testing.assert_array_equal(pairs_of(bias, layout.grid), wanted.numpy())


def test_offset_zero_is_in_the_middle(small: Callable[..., vi.Model]) -> None:
    result = vi.position_bias(small("beit_base_patch16_224", (32, 48)))
    assert result.row_offset.tolist() == [-1, 0, 1]
    assert result.column_offset.tolist() == [-2, -1, 0, 1, 2]
    assert result.bias.shape == (3, 12, 3, 5)


def test_a_shared_and_an_own_bias_add_up() -> None:
    torch.manual_seed(0)
    module = timm.models.beit.Beit(
        img_size=32,
        embed_dim=24,
        depth=2,
        num_heads=2,
        use_rel_pos_bias=True,
        use_shared_rel_pos_bias=True,
    )
    model = network(module, module.blocks)
    for part in (module.rel_pos_bias, *(block.attn for block in module.blocks)):
        nn.init.normal_(part.relative_position_bias_table)
    given = masks_of(module, torch.rand(1, 3, 32, 32))
    result = vi.position_bias(model)
    for layer in range(2):
        wanted = given[layer][0, :, 1:, 1:].numpy()
        np.testing.assert_array_equal(pairs_of(result.bias[layer], (2, 2)), wanted)


@pytest.mark.parametrize("window", [(3, 4), (1, 2)])
def test_a_swin_window_has_the_bias_of_its_table(window: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = timm.models.swin_transformer.WindowAttention(8, 2, window_size=window)
    nn.init.normal_(attention.relative_position_bias_table)
    result = vi.position_bias(of_attention(attention))
    rows, columns = (2 * side - 1 for side in window)
    # The table is indexed by the offset of query minus key.
    table = attention.relative_position_bias_table.detach().reshape(rows, columns, 2).flip(0, 1)
    np.testing.assert_array_equal(result.bias[0], table.permute(2, 0, 1).numpy())


@pytest.mark.parametrize(
    "attention",
    [
        lambda: timm.models.swin_transformer_v2.WindowAttention(8, (3, 4), 2),
        lambda: timm.models.swin_transformer_v2_cr.WindowMultiHeadAttention(8, 2, (3, 4)),
    ],
    ids=["swin v2", "swin v2 cr"],
)
def test_a_bias_made_by_a_network_is_what_tells_equal_keys_apart(
    attention: Callable[[], nn.Module],
) -> None:
    """Tokens that are all zero leave softmax(bias), seen where the network drops attention out."""
    torch.manual_seed(0)
    module = attention().eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if "mlp" in name:
            nn.init.normal_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    seen: list[Tensor] = []
    module.attn_drop.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(torch.zeros(1, 12, 8))
    bias = pairs_of(vi.position_bias(of_attention(module)).bias[0], (3, 4))
    wanted = np.exp(bias - bias.max(axis=-1, keepdims=True))
    wanted /= wanted.sum(axis=-1, keepdims=True)
    assert wanted.max() > 0.2
    np.testing.assert_allclose(seen[0][0].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "instead"),
    [
        ("vit_tiny_patch16_224", "look at the similarity of its position embeddings instead"),
        ("vit_small_patch16_rope_224", "look at its rotary positions instead"),
        ("eva02_tiny_patch14_224", "its position embeddings or its rotary positions instead"),
        ("samvit_base_patch16_224", "no position information of the known kinds"),
    ],
)
def test_a_model_without_one_is_told_what_it_has(
    small: Callable[..., vi.Model], architecture: str, instead: str
) -> None:
    size = 56 if "14" in architecture else 224 if "sam" in architecture else 64
    with pytest.raises(vi.UnsupportedModel, match=f"without a bias by offset.*{instead}"):
        vi.position_bias(small(architecture, size, depth=1))


def network(module: nn.Module, blocks: nn.ModuleList) -> vi.Model:
    """A model of a network and its blocks, whatever else there is to a model."""
    model = model_of(layout_of("cls"))
    module.eval().requires_grad_(False)
    return replace(
        model,
        module=module,
        blocks=tuple(blocks),
        score_bias=score_bias(module, tuple(blocks)),
    )


def of_attention(attention: nn.Module) -> vi.Model:
    block = nn.Module()
    block.attn = attention
    return network(nn.Module(), nn.ModuleList([block]))


def masks_of(module: nn.Module, pixels: Tensor) -> list[Tensor]:
    """What the network adds to its scores, layer by layer, when its fused attention is off."""
    masks: list[Tensor] = []
    real = nn.functional.scaled_dot_product_attention

    def attend(*args: Tensor, attn_mask: Tensor, **options: float) -> Tensor:
        masks.append(attn_mask)
        return real(*args, attn_mask=attn_mask, **options)

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(nn.functional, "scaled_dot_product_attention", attend)
        module(pixels)
    return masks
