"""How does a network know where a patch lies? Read off what its modules are.

Three ways, of which a network may go several: a table that is added to the patch tokens, a bias
that is added to the scores by the offset of key and query, and rotations of queries and keys. The
one home of timm's names for them; bias and rotation are taken from the modules' own methods.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vit_inspect.errors import UnsupportedModel
from vit_inspect.loading.families import embedding_of, trunk_of
from vit_inspect.model import Blocks, Rotation, ScoreBias

STEADY = 1e-3
"""Largest difference of a rotation from one that turns evenly with row and column."""


def table(trunk: Any, grid: tuple[int, int]) -> Tensor | None:
    """The table of absolute positions on its own grid, without the rows of prefix tokens.

    grid: of the model, (rows, columns); some tables cover grids of any size.
    """
    embed = embedding_of(trunk)
    if hasattr(embed, "position_embedding_table"):
        # One row for every column, one for every row of pictures of any size.
        across, down = embed.position_embedding_table
        return down[: grid[0], None] + across[None, : grid[1]]
    if getattr(embed, "pos_embed_y", None) is not None:
        return embed.pos_embed_y[0, :, None] + embed.pos_embed_x[0, None]
    table = getattr(trunk, "pos_embed", getattr(embed, "pos_embed", None))
    if not isinstance(table, Tensor):
        return None
    # SAM's and NaFlexViT's tables are a grid already.
    if table.dim() == 4:
        return table[0]
    side = getattr(trunk, "pos_embed_grid_size", None)
    rows, columns = (side, side) if side else embed.grid_size
    return table[0, table.shape[1] - rows * columns :].unflatten(0, (rows, columns))


def score_bias(module: nn.Module, blocks: Blocks) -> ScoreBias | None:
    """What reads the bias of some blocks of this network, as a `Model` has it; None without one."""
    return partial(_score_bias, module) if _biases(module, blocks) else None


def rotation(module: nn.Module, *, name: str) -> Rotation | None:
    """What reads the rotation in some blocks on a grid, as a `Model` has it; None without one."""
    rope = getattr(trunk_of(module), "rope", None)
    return partial(_rotation, rope, name) if hasattr(rope, "get_embed") else None


def _score_bias(
    module: nn.Module, blocks: Blocks
) -> Float[Tensor, "layer head row_offset column_offset"]:
    """The sum of the modules' biases, layer by layer.

    What the same modules add to the scores of prefix tokens has no offset and is left out.
    """
    layers = [[_by_offset(each) for each in parts] for parts in _biases(module, blocks)]
    return torch.stack([torch.stack(parts).sum(dim=0) for parts in layers])


def _rotation(
    rope: Any, name: str, blocks: Blocks, grid: tuple[int, int]
) -> Float[Tensor, "layer head pair axis"]:
    """Up to whole turns, in -pi..pi; 0 along an axis with one patch.

    Read from the rotation itself at neighbouring patches, in float64 on the CPU. Raises
    `UnsupportedModel` where no such steps give the rotation at every patch.
    """
    rows, columns = grid
    embedded = rope.get_embed(shape=[rows, columns], dtype=torch.float32).to("cpu", torch.float64)
    embedded = embedded[(None,) * (4 - embedded.dim())][: len(blocks)]
    # Both dimensions of a pair hold the same value: side by side, or half a head apart.
    attention: Any = blocks[0].attn
    sine, cosine = (
        part[..., : part.shape[-1] // 2]
        if getattr(attention, "rotate_half", False)
        else part[..., ::2]
        for part in embedded.unflatten(2, (rows, columns)).chunk(2, dim=-1)
    )
    turned = torch.complex(cosine, sine)
    start = turned[:, :, 0, 0]
    none = torch.zeros_like(sine[:, :, 0, 0])
    down = torch.angle(turned[:, :, 1, 0] / start) if rows > 1 else none
    right = torch.angle(turned[:, :, 0, 1] / start) if columns > 1 else none
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angle = row[..., None] * down[:, :, None, None] + column[..., None] * right[:, :, None, None]
    steady = start[:, :, None, None] * torch.polar(torch.ones_like(angle), angle)
    if (steady - turned).abs().max() > STEADY:
        raise UnsupportedModel(
            f"rotations of {name} that do not grow evenly with row and column",
            "an angle that is the same for the same offset",
            "look at another figure",
        )
    return torch.stack([down, right], dim=-1)


def _biases(module: nn.Module, blocks: Blocks) -> list[list[nn.Module]]:
    """The modules whose biases add up, layer by layer; one layer where all share one module."""
    network = trunk_of(module)
    shared = [getattr(network, name, None) for name in ("rel_pos_bias", "shared_rel_pos")]
    common = [each for each in shared if each is not None]
    own = [[each for each in _own(block) if _has_bias(each)] for block in blocks]
    if not any(own):
        return [common] if common else []
    return [[*each, *common] for each in own]


def _own(block: nn.Module) -> list[Any]:
    attention = getattr(block, "attn", None)
    return [attention, getattr(attention, "rel_pos", None)]


def _has_bias(module: Any) -> bool:
    names = ("relative_position_bias_table", "cpb_mlp", "meta_mlp", "rel_coords_log")
    return any(getattr(module, name, None) is not None for name in names)


def _by_offset(module: Any) -> Float[Tensor, "head row_offset column_offset"]:
    """One query and key of every offset, picked from what the module adds to all pairs."""
    rows, columns = module.window_size
    pairs = _of_pairs(module)
    patches = pairs[..., -rows * columns :, -rows * columns :].reshape(-1, *(rows, columns) * 2)
    (query_row, key_row), (query_column, key_column) = (_ends(rows), _ends(columns))
    return patches[:, query_row[:, None], query_column, key_row[:, None], key_column]


def _ends(count: int) -> tuple[Tensor, Tensor]:
    """The first query along an axis that has a key at each offset, and that key."""
    offsets = torch.arange(1 - count, count)
    queries = (-offsets).clamp(min=0)
    return queries, queries + offsets


def _of_pairs(module: Any) -> Tensor:
    """The bias of every query and key of a window, prefix tokens first."""
    for method in ("_get_rel_pos_bias", "get_bias", "_relative_positional_encodings"):
        if hasattr(module, method):
            return getattr(module, method)()
    if not hasattr(module, "cpb_mlp"):
        return module()
    # Swin v2 has no method for it; this is what its forward pass does.
    of_offsets = module.cpb_mlp(module.relative_coords_table).flatten(0, -2)
    return 16 * torch.sigmoid(of_offsets[module.relative_position_index].permute(2, 0, 1))
