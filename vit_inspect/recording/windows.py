"""Which tokens are in one window, and so attend to each other?

Swin transformers, SAM and ViTDet cut the grid of tokens into windows. Inside a window, all tokens
attend to all.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vit_inspect.attention.rows import places


def window_table(
    grid: tuple[int, int],
    *,
    size: tuple[int, int],
    shift: tuple[int, int] = (0, 0),
    padded: bool,
    padded_first: bool = False,
) -> Int[Tensor, "window place"]:
    """The key at each place of each window; windows and places are in raster order.

    As in the network, the grid is rolled by `shift` (rows, columns) to the top left, padded at the
    bottom and the right, and cut into windows of `size`.

    padded: whether the padding is a key, the first one, before the patches.
    padded_first: whether the padding is rolled too.
    """
    rows, columns = grid
    keys = int(padded) + torch.arange(rows * columns).reshape(grid)
    padding = (0, -columns % size[1], 0, -rows % size[0])
    back = (-shift[0], -shift[1])
    if padded_first:
        filled = pad(keys, padding).roll(back, (0, 1))
    else:
        filled = pad(keys.roll(back, (0, 1)), padding)
    cut = filled.unfold(0, size[0], size[0]).unfold(1, size[1], size[1])
    return cut.flatten(0, 1).flatten(1)


def by_key(
    values: Float[Tensor, "images_windows head place width"], windows: Int[Tensor, "window place"]
) -> Float[Tensor, "image head key width"]:
    """Values of windows in the order of the keys; of the padding, those at one of its places."""
    each_image = values.unflatten(0, (-1, len(windows))).transpose(1, 2).flatten(2, 3)
    return each_image.index_select(2, places(windows))
