"""Which token is what, and where it lies on the image.

The one home of the token layout: prefix tokens first (class token, distillation token,
registers; may be none), then the patches in raster order. Pixel coordinates are
(row, column), counted from the top left corner of the model input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vit_inspect.errors import BadParameter

MEAN = "mean of the patches"
"""Read-out of a model that averages its patch tokens."""

MEAN_STAGE = "mean of this stage's patches"
"""What stands in for the read-out in a stage that only the next one reads."""

MEAN_ALL = "mean of all tokens"
"""Read-out of a model that averages its prefix tokens too."""

MEAN_PREFIX = "mean of the prefix tokens"
"""Read-out of a distilled model, which averages the heads of its class and distillation tokens."""

CLS_MEAN = "class token and mean of the patches"
"""Read-out of a model whose head takes the two side by side, each as half of what it reads."""

POOL = "attention pool"
"""Read-out of a model that pools its tokens by one more attention."""

MERGED = "merge of neighbouring patches"
"""Read-out of a model that joins neighbouring patches by a perceptron before it reads them."""

NONLINEAR = "maximum"
"""Read-out of a model that takes maxima, which no weights on the tokens describe."""

PADDING = "padding"
"""Token that stands for all places which fill up the windows beyond the edge of the grid.

The network lays it there; it is looked at, as no part of the picture, and is nobody's query.
"""

READOUT = "readout"
"""The query that stands for the model's own read-out."""

READOUTS = (MEAN, MEAN_STAGE, MEAN_ALL, MEAN_PREFIX, POOL, MERGED, NONLINEAR)

Query = str | tuple[int, int]
"""`READOUT`, a prefix token by name, or a patch as (row, column)."""


class Box(NamedTuple):
    """A rectangle on a photograph, in its pixels; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class TokenLayout:
    """The order and the geometry of a vision transformer's tokens.

    prefix: names of the tokens before the patches, in order, such as ("cls", "reg1").
    grid: patches as (rows, columns).
    patch_px: size of a patch as (rows px, columns px) of the model input.
    readout: how the model reads its tokens: a prefix token's name or one of the words above.
    """

    prefix: tuple[str, ...]
    grid: tuple[int, int]
    patch_px: tuple[int, int]
    readout: str

    def __post_init__(self) -> None:
        if min(self.grid) < 1 or min(self.patch_px) < 1:
            raise ValueError(f"empty grid {self.grid} or patch {self.patch_px}")
        beside = (CLS_MEAN,) if "cls" in self.prefix else ()
        if self.readout not in (*self.prefix, *READOUTS, *beside):
            raise ValueError(f"read-out {self.readout!r} is no token of {self.prefix}")

    @property
    def prefix_count(self) -> int:
        """Tokens before the first patch."""
        return len(self.prefix)

    @property
    def patch_count(self) -> int:
        """Patches of the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def token_count(self) -> int:
        """Tokens in all."""
        return self.prefix_count + self.patch_count

    @property
    def readout_words(self) -> str:
        """What the query `READOUT` is called in a sentence."""
        return self.readout if self.readout == MEAN_STAGE else f"read-out ({self.readout})"

    @property
    def input_px(self) -> tuple[int, int]:
        """Size of the model input as (rows px, columns px)."""
        return self.grid[0] * self.patch_px[0], self.grid[1] * self.patch_px[1]

    @property
    def diagonal_px(self) -> float:
        """Length of the model input's diagonal, the unit that compares input sizes."""
        return float(np.hypot(*self.input_px))

    def readout_weights(self) -> Float[np.ndarray, "token"] | None:
        """Share of each token in what the model reads; sums to 1.

        None where the share depends on the image (`POOL`) or does not exist (`MERGED`,
        `NONLINEAR`).
        """
        weights = np.zeros(self.token_count)
        if self.readout in self.prefix:
            weights[self.prefix.index(self.readout)] = 1
        elif self.readout in (MEAN, MEAN_STAGE):
            weights[self.prefix_count :] = 1 / self.patch_count
        elif self.readout == MEAN_ALL:
            weights[:] = 1 / self.token_count
        elif self.readout == MEAN_PREFIX:
            weights[: self.prefix_count] = 1 / self.prefix_count
        elif self.readout == CLS_MEAN:
            weights[self.prefix_count :] = 1 / (2 * self.patch_count)
            weights[self.prefix.index("cls")] = 1 / 2
        else:
            return None
        return weights

    def token(self, query: str | tuple[int, int]) -> int:
        """Index in the token sequence of a prefix token (by name) or a patch (row, column)."""
        if isinstance(query, str):
            looking = [name for name in self.prefix if name != PADDING]
            if query not in looking:
                names = ", ".join(repr(name) for name in looking) or "none at all"
                raise BadParameter(
                    f"the token name {query!r}",
                    f"a prefix token of this model ({names}) or a patch (row, column)",
                    "choose one of these",
                )
            return self.prefix.index(query)
        (rows, columns), (row, column) = self.grid, query
        if not (0 <= row < rows and 0 <= column < columns):
            raise BadParameter(
                f"the patch ({row}, {column})",
                f"a row of 0..{rows - 1} and a column of 0..{columns - 1}",
                "choose a patch inside the grid",
            )
        return self.prefix_count + row * columns + column

    def offset_distances_px(self) -> Float[np.ndarray, "offset_row offset_column"]:
        """Distance between the centres of two patches, by their offset, in px.

        Shape (2 rows - 1, 2 columns - 1), zero offset in the middle. The whole table of patch
        pairs is a sliding window over it, so nobody needs to store that one.
        """
        rows, columns = self.grid
        down = np.arange(1 - rows, rows) * self.patch_px[0]
        right = np.arange(1 - columns, columns) * self.patch_px[1]
        return np.hypot(down[:, None], right[None, :])

    def uniform_distance_px(self) -> float:
        """Mean distance of a head that attends to every patch alike, in px.

        An offset (i, j) occurs (rows - |i|) (columns - |j|) times among all pairs.
        """
        rows, columns = self.grid
        down = rows - np.abs(np.arange(1 - rows, rows))
        right = columns - np.abs(np.arange(1 - columns, columns))
        total = float(np.sum(self.offset_distances_px() * np.outer(down, right)))
        return total / self.patch_count**2
