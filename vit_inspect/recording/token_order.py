"""In which order does a network keep its tokens, and in which are they recorded?

Some networks put registers after the patches. A layout has all special tokens first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vit_inspect.layout import TokenLayout


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
