"""Which grid of patches has the position table of a file, and how does the network take it?"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from vit_inspect.errors import WeightsUnavailable

REGISTERS = (4, 8)
"""Numbers of registers that networks usually have."""

Pair = tuple[int, int]


def take_grid(
    module: Any, weights: dict[str, Tensor], size: Pair | None, name: str, notices: list[str]
) -> Pair | None:
    """Give the module the grid of the file's position table.

    size: the input that is asked for, in px, or None for the one that the table was trained for.
    name: of the file. notices: get a sentence where the grid was not asked for.

    Returns the input size in px, or None for the architecture's own. Raises `WeightsUnavailable`
    for a table of no known grid.
    """
    table, own = weights.get("pos_embed"), getattr(module, "pos_embed", None)
    # A table of another width is refused later; it could ask for any number of patches.
    if table is None or own is None or table.shape[-1:] != own.shape[-1:]:
        return size
    if table.dim() == own.dim() == 4:
        trained_px = _take_rectangle(module, (table.shape[1], table.shape[2]))
        if trained_px and size is None:
            notices.append(f"Input size {_px(trained_px)}, for which the position table was made.")
        return size or trained_px
    if not getattr(module, "dynamic_img_size", False):
        return size
    grid, step = module.patch_embed.grid_size, module.patch_embed.feat_ratio(as_scalar=False)
    count = table.shape[-2] - (own.shape[1] - grid[0] * grid[1]) if table.dim() == 3 else 0
    side = math.isqrt(max(count, 0))
    wanted = None if size is None else (size[0] // step[0], size[1] // step[1])
    # The same count fits several grids: the size that is asked for goes first.
    if wanted and math.prod(wanted) == count:
        trained = wanted
    elif count == grid[0] * grid[1]:
        return size
    elif count and side * side == count:
        trained = (side, side)
    else:
        raise WeightsUnavailable(
            f"a position table of {table.shape[-2]} tokens in {name!r}",
            "a square grid of patches, or the grid of the input",
            _advice(count, step),
        )
    px = (trained[0] * step[0], trained[1] * step[1])
    if trained != grid:
        module.set_input_size(img_size=px)
    if trained != wanted:
        told = f"the position table of {count} patches is taken for a square."
        notices.append(f"Input size {_px(px)}: {told}" if size is None else told.capitalize())
        if others := [each for each in _squarest(count, step) if each != px]:
            notices[-1] += (
                f" If it is not, give its input size as img_size, such as {_x(others[0])}."
            )
    return size or px


def _take_rectangle(module: Any, grid: Pair) -> Pair | None:
    """The same for SAM, whose table has rows and columns, and some blocks tables of their own."""
    if module.pos_embed.shape[1:3] == grid:
        return None

    def table(own: Tensor, *sides: int) -> nn.Parameter:
        return nn.Parameter(own.new_zeros(*sides, own.shape[-1]))

    module.pos_embed = table(module.pos_embed, 1, *grid)
    # Blocks with windows keep tables for their windows.
    whole = [each.attn for each in module.blocks if not each.window_size]
    for part in whole if getattr(module.blocks[0].attn, "use_rel_pos", False) else ():
        part.rel_pos_h = table(part.rel_pos_h, 2 * grid[0] - 1)
        part.rel_pos_w = table(part.rel_pos_w, 2 * grid[1] - 1)
    rows_px, columns_px = module.patch_embed.feat_ratio(as_scalar=False)
    px = (grid[0] * rows_px, grid[1] * columns_px)
    module.patch_embed.set_input_size(img_size=px)
    return px


def _advice(count: int, step: Pair) -> str:
    """What to say of a table of so many patches, which are no square; `step` is a patch in px."""
    nearest = ", ".join(_x(px) for px in _squarest(count, step))
    told = "give the input size (img_size) in px that it was trained for"
    told += f", such as {nearest}" if nearest else ""
    for registers in REGISTERS:
        rest = count - registers
        if rest > 0 and math.isqrt(rest) ** 2 == rest:
            return (
                f"if it has {registers} registers, give reg_tokens={registers} as an option of the "
                f"architecture; else {told}"
            )
    return told


def _squarest(count: int, step: Pair) -> list[Pair]:
    """At most six input sizes in px of grids of so many patches, those nearest to a square first.

    Rows and columns of one patch are left out.
    """
    sizes = [
        (rows * step[0], count // rows * step[1])
        for rows in range(2, max(count, 0))
        if count % rows == 0
    ]
    return sorted(sizes, key=lambda px: abs(math.log(px[0] / px[1])))[:6]


def _x(px: Pair) -> str:
    return f"{px[0]}x{px[1]}"


def _px(px: Pair) -> str:
    return f"{px[0]} × {px[1]} px"
