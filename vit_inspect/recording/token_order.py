"""In which order does a network keep its tokens, and in which are they recorded?

Some networks put registers after the patches, or keep patches on their grid. A layout has all
tokens in a row, with the special ones first.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.errors import UnsupportedModel
from vit_inspect.layout import TokenLayout
from vit_inspect.model import Model


def tensor_of(output: Any) -> Any:
    """The part of a block's output that the next block gets."""
    return output[0] if isinstance(output, tuple) else output


def token_rows(
    output: object, images: int, layout: TokenLayout
) -> Float[Tensor, "image token width"] | None:
    """The output of a block as one row for each token; None if it has another form."""
    tokens = tensor_of(output)
    if not isinstance(tokens, Tensor):
        return None
    # SAM keeps its patches on their grid, ViTDet with the width before the rows.
    if tokens.shape[1:-1] == layout.grid:
        tokens = tokens.flatten(1, 2)
    elif tokens.shape[2:] == layout.grid:
        tokens = tokens.flatten(2).mT
    if tokens.shape[:-1] != (images, layout.token_count):
        return None
    return as_recorded(tokens, layout, 1)


def no_rows(model: Model) -> UnsupportedModel:
    """That blocks of a model return something else than one row for each token."""
    rows, columns = model.layout.grid
    return UnsupportedModel(
        f"{model.id}, whose blocks do not return one row for each token of its "
        f"{rows} × {columns} patches",
        "one row for each token, in the order of the layout",
        "choose a plain vision transformer of timm or transformers",
    )


def as_returned(
    rows: Float[Tensor, "image token width"], like: Tensor, layout: TokenLayout
) -> Tensor:
    """The inverse of `token_rows`, in the form of `like`."""
    rows = as_in_network(rows, layout, 1)
    on_grid = like.dim() == 4 and like.shape[1:-1] != layout.grid
    return (rows.mT if on_grid else rows).reshape(like.shape)


def as_recorded(values: Tensor, layout: TokenLayout, axis: int) -> Tensor:
    """Values of the tokens, in the order of the layout; an axis of another size stays."""
    return _exchanged(values, layout, axis, (layout.patch_count, layout.trailing))


def as_in_network(values: Tensor, layout: TokenLayout, axis: int) -> Tensor:
    """The inverse of `as_recorded`."""
    return _exchanged(values, layout, axis, (layout.trailing, layout.patch_count))


def _exchanged(values: Tensor, layout: TokenLayout, axis: int, sizes: tuple[int, int]) -> Tensor:
    """Two groups of tokens, of these sizes, in the other order."""
    if not layout.trailing or values.shape[axis] != layout.token_count:
        return values
    leading = layout.prefix_count - layout.trailing
    first, second, third = values.split([leading, *sizes], axis)
    return torch.cat([first, third, second], axis)
