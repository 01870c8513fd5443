"""How does a network encode where a patch lies? Read from its modules.

There are three ways, and a network may use several: a table that is added to the patch tokens, a
bias that is added to the scores by the offset of key and query, and rotations of queries and keys.
Only this module has timm's names for them, and transformers' names for its biases; bias and
rotation come from the modules' own methods.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vit_inspect.errors import UnsupportedModel
from vit_inspect.loading.timm_parts import embedding_of, trunk_of
from vit_inspect.model import Blocks, Rotation, ScoreBias

STEADY = 1e-3
"""Largest allowed difference of a rotation from one that grows evenly with row and column."""


RELATIVE_RESAMPLED = "Tables of relative positions were resampled to this input size."


def resampled(held: tuple[int, int], wanted: tuple[int, int]) -> tuple[str, ...]:
    """A notice where a table of positions on one grid is used on another, (rows, columns)."""
    told = (" × ".join(map(str, grid)) for grid in (held, wanted))
    return () if held == wanted else ("Position table resampled from {} to {}.".format(*told),)


def are_axes_resampled(blocks: Iterable[Any], grid: tuple[int, int]) -> bool:
    """Whether tables of relative rows and columns, as SAM's, are resampled to a grid.

    Those of blocks with windows stay as they are.
    """
    steps = tuple(2 * side - 1 for side in grid)
    for block in blocks:
        part: Any = getattr(block, "attn", getattr(block, "attention", None))
        if getattr(block, "window_size", 1) == 0 and hasattr(part, "rel_pos_h"):
            return (len(part.rel_pos_h), len(part.rel_pos_w)) != steps
    return False


def table(trunk: Any, grid: tuple[int, int]) -> Tensor | None:
    """The table of absolute positions on its own grid, without the rows of special tokens.

    grid: of the model, (rows, columns); needed for tables that cover grids of any size.
    """
    embed = embedding_of(trunk)
    if hasattr(embed, "position_embedding_table"):
        # One vector for each column and one for each row, for pictures of any size.
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
    """The function `Model.score_bias` of this network; None if it has no such bias."""
    return partial(_score_bias, module) if _biases(module, blocks) else None


def transformers_score_bias(module: Any, blocks: Blocks, grid: tuple[int, int]) -> ScoreBias | None:
    """The same for a network of transformers on a grid of (rows, columns)."""
    shared = getattr(module.base_model, "shared_position_bias", None)
    common = [] if shared is None else [shared]
    if not common and not any(_added(block) for block in blocks):
        return None
    return partial(_transformers_score_bias, common, grid)


def _transformers_score_bias(
    common: list[nn.Module], grid: tuple[int, int], blocks: Blocks
) -> Float[Tensor, "layer head row_offset column_offset"]:
    own = any(_added(block) for block in blocks)
    layers = [[*_added(block), *common] for block in blocks] if own else [common]
    return torch.stack(
        [
            torch.stack([_added_by_offset(part, grid) for part in parts]).sum(dim=0)
            for parts in layers
        ]
    )


def _added(block: Any) -> list[nn.Module]:
    """The modules of a block of transformers that add to its scores."""
    attention = getattr(block, "attention", None)
    found = [getattr(each, "relative_position_bias", None) for each in (block, attention)]
    inner = getattr(attention, "self", None)
    found.append(inner if hasattr(inner, "continuous_position_bias_mlp") else None)
    return [each for each in found if each is not None]


def _added_by_offset(
    part: Any, grid: tuple[int, int]
) -> Float[Tensor, "head row_offset column_offset"]:
    if hasattr(part, "continuous_position_bias_mlp"):
        return _by_offset(_continuous(part, part.continuous_position_bias_mlp), part.window_size)
    if hasattr(part, "window_area"):
        return _by_offset(part()[0], part.window_size)
    # BEiT resamples its table to the grid.
    return _by_offset(part(grid)[0], grid)


def rotation(module: nn.Module, *, name: str) -> Rotation | None:
    """The function `Model.rotation` of this network; None if it has no rotation."""
    rope = getattr(trunk_of(module), "rope", None)
    return partial(_rotation, rope, name) if hasattr(rope, "get_embed") else None


def _score_bias(
    module: nn.Module, blocks: Blocks
) -> Float[Tensor, "layer head row_offset column_offset"]:
    """The sum of the modules' biases, layer by layer.

    Biases of special tokens have no offset and are left out.
    """
    layers = [
        [_by_offset(_pair_bias(each), each.window_size) for each in parts]
        for parts in _biases(module, blocks)
    ]
    return torch.stack([torch.stack(parts).sum(dim=0) for parts in layers])


def _rotation(
    rope: Any, name: str, blocks: Blocks, grid: tuple[int, int]
) -> Float[Tensor, "layer head pair axis"]:
    """The angle from one patch to the next, in -pi..pi; 0 along an axis with one patch.

    Whole turns are lost. Read from the rotations at neighbouring patches, in float64 on the CPU.
    Raises `UnsupportedModel` where equal steps do not give the rotation at every patch.
    """
    rows, columns = grid
    embedded = rope.get_embed(shape=[rows, columns], dtype=torch.float32).to("cpu", torch.float64)
    embedded = embedded[(None,) * (4 - embedded.dim())][: len(blocks)]
    # Both dimensions of a pair hold the same value: next to each other, or half a head apart.
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
            "an angle that depends on the offset alone",
            "look at another figure",
        )
    return torch.stack([down, right], dim=-1)


def _biases(module: nn.Module, blocks: Blocks) -> list[list[Any]]:
    """The modules whose biases are added, layer by layer; one entry where all layers share them."""
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


def _by_offset(
    pairs: Float[Tensor, "*batch query key"], grid: tuple[int, int]
) -> Float[Tensor, "head row_offset column_offset"]:
    """The bias of every offset, taken from one pair of query and key with that offset.

    grid: the patches of the pairs as (rows, columns); special tokens come before them.
    """
    rows, columns = grid
    patches = pairs[..., -rows * columns :, -rows * columns :].reshape(-1, *(rows, columns) * 2)
    (query_row, key_row), (query_column, key_column) = _first_pairs(rows), _first_pairs(columns)
    return patches[:, query_row[:, None], query_column, key_row[:, None], key_column]


def _first_pairs(count: int) -> tuple[Tensor, Tensor]:
    """For each offset along an axis, the first query that has a key there, and that key."""
    offsets = torch.arange(1 - count, count)
    queries = (-offsets).clamp(min=0)
    return queries, queries + offsets


def _pair_bias(module: Any) -> Tensor:
    """The bias of every query and key of a window, special tokens first."""
    for method in ("_get_rel_pos_bias", "get_bias", "_relative_positional_encodings"):
        if hasattr(module, method):
            return getattr(module, method)()
    if not hasattr(module, "cpb_mlp"):
        return module()
    return _continuous(module, module.cpb_mlp)


def _continuous(module: Any, perceptron: nn.Module) -> Float[Tensor, "head query key"]:
    """The bias of Swin v2, which has no method for it; this is what its forward pass does."""
    of_offsets = perceptron(module.relative_coords_table).flatten(0, -2)
    count = module.window_size[0] * module.window_size[1]
    index = module.relative_position_index.reshape(count, count)
    return 16 * torch.sigmoid(of_offsets[index].permute(2, 0, 1))
