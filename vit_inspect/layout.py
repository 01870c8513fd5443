"""What does each token stand for, and where is it on the image?

The order of tokens is defined only here: special tokens first, called `prefix` in the code (class
token, distillation token, registers; there may be none), then the patches in raster order. Pixel
coordinates are (row, column), counted from the top left corner of the model input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vit_inspect.arguments import in_words, several, whole
from vit_inspect.errors import BadParameter

MEAN = "mean of the patches"
"""Read-out of a model that averages its patch tokens."""

MEAN_STAGE = "mean of this stage's patches"
"""Replaces the read-out in a stage that is not the last."""

MEAN_ALL = "mean of all tokens"
"""Read-out of a model that averages patches and special tokens."""

MEAN_PREFIX = "mean of the special tokens"
"""Read-out of a distilled model, which averages the heads of its class and distillation tokens."""

CLS_MEAN = "class token and mean of the patches"
"""Read-out of a model whose head takes both, concatenated; each counts as half."""

POOL = "attention pool"
"""Read-out of a model that pools its tokens by one more attention at the end."""

MERGED = "merge of neighbouring patches"
"""Read-out of a model that merges neighbouring patches by a perceptron before it reads them."""

NONLINEAR = "maximum"
"""Read-out of a model that takes maxima, or mixes tokens otherwise: no weighted mean of them."""

PADDING = "padding"
"""Key that stands for all places of windows outside of the grid.

Padding added by the network: it can receive attention, but it is no token. It comes from no part of
the image, and nothing of it is kept from layer to layer.
"""

READOUT = "readout"
"""The query that stands for the model's own read-out."""

READOUTS = (MEAN, MEAN_STAGE, MEAN_ALL, MEAN_PREFIX, POOL, MERGED, NONLINEAR)


class Region(NamedTuple):
    """A rectangle of patches: rows `top` to `bottom`, columns `left` to `right`, ends included."""

    top: int
    left: int
    bottom: int
    right: int


Query = str | tuple[int, int]
"""`READOUT`, a special token by name, or a patch as (row, column)."""


class Box(NamedTuple):
    """A rectangle on a photograph, in its pixels; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float


def _wrong(found: str, expected: str) -> BadParameter:
    return BadParameter(f"a layout with {found}", expected, "correct it")


@dataclass(frozen=True)
class TokenLayout:
    """The order and the geometry of a vision transformer's tokens.

    prefix: names of the special tokens before the patches, in order, such as ("cls", "reg1").
    grid: patches as (rows, columns).
    patch_px: size of a patch as (rows px, columns px) of the model input.
    readout: how the model reads its tokens: the name of a special token, or a constant above.
    margin_px: (rows px, columns px) of the model input, at its bottom and right, that no patch
        covers and the network does not see; 0 where patches tile the input.
    stride_px: (rows px, columns px) from one patch to the next; by default `patch_px`. Patches
        overlap where it is smaller. A map then shows each patch as its *cell*: as many pixels as
        the stride, around the patch's centre.
    trailing: how many of the special tokens, the last ones of `prefix`, the network itself keeps
        after the patches. They are recorded before them, as all special tokens.
    padded: whether tokens attend inside windows that reach over the edge of the grid. Each row of
        attention then begins with the padding, as one key.

    Raises `BadParameter` for values that make no layout.
    """

    prefix: tuple[str, ...]
    grid: tuple[int, int]
    patch_px: tuple[int, int]
    readout: str
    margin_px: tuple[int, int] = (0, 0)
    stride_px: tuple[int, int] | None = None
    trailing: int = 0
    padded: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.prefix, str):
            raise _wrong(f"the prefix {self.prefix!r}", "a tuple of names, such as ('cls',)")
        object.__setattr__(self, "prefix", several(self.prefix, "prefix", "('cls',)"))
        for name, least in (("grid", 1), ("patch_px", 1), ("margin_px", 0), ("stride_px", 1)):
            given = getattr(self, name)
            if name == "stride_px" and given is None:
                continue
            pair = tuple(map(whole, given)) if np.shape(given) == (2,) else ()
            if len(pair) != 2 or not all(each is not None and each >= least for each in pair):
                raise _wrong(
                    f"the {name} {in_words(given)}",
                    f"two whole numbers of at least {least}, as (rows, columns)",
                )
            object.__setattr__(self, name, pair)
        trailing = whole(self.trailing)
        if trailing not in range(len(self.prefix) + 1):
            raise _wrong(
                f"{in_words(self.trailing)} trailing tokens",
                f"0..{len(self.prefix)} of its {len(self.prefix)} special tokens",
            )
        object.__setattr__(self, "trailing", trailing)
        if any(cell > patch for cell, patch in zip(self.cell_px, self.patch_px, strict=True)):
            raise _wrong(
                f"a stride of {self.stride_px} px, with gaps between patches of {self.patch_px} px",
                "a stride of at most the patch",
            )
        both = (CLS_MEAN,) if "cls" in self.prefix else ()
        readouts = (*self.prefix, *READOUTS, *both)
        if not isinstance(self.readout, str) or self.readout not in readouts:
            raise _wrong(
                f"the read-out {in_words(self.readout)}", f"one of {', '.join(map(repr, readouts))}"
            )

    @property
    def prefix_count(self) -> int:
        """Number of special tokens before the first patch."""
        return len(self.prefix)

    @property
    def patch_count(self) -> int:
        """Number of patches."""
        return self.grid[0] * self.grid[1]

    @property
    def token_count(self) -> int:
        """Number of all tokens."""
        return self.prefix_count + self.patch_count

    @property
    def key_prefix(self) -> tuple[str, ...]:
        """Names of the keys before the patches: the padding, if there is one, and `prefix`."""
        return (PADDING, *self.prefix) if self.padded else self.prefix

    @property
    def input_px(self) -> tuple[int, int]:
        """Size of the model input as (rows px, columns px)."""
        return (
            self.covered_px[0] + self.margin_px[0],
            self.covered_px[1] + self.margin_px[1],
        )

    @property
    def covered_px(self) -> tuple[int, int]:
        """Size of the part of the input that patches cover, from its top left corner on."""
        rows, columns = (
            (count - 1) * cell + patch
            for count, cell, patch in zip(self.grid, self.cell_px, self.patch_px, strict=True)
        )
        return rows, columns

    @property
    def cell_px(self) -> tuple[int, int]:
        """What a map shows of each patch, as (rows px, columns px): the patch, or its stride."""
        return self.stride_px or self.patch_px

    @property
    def mapped(self) -> Box:
        """The part of the input that the cells of all patches tile."""
        (rows, columns), (height, width) = self.grid, self.cell_px
        top, left = (self.patch_px[0] - height) // 2, (self.patch_px[1] - width) // 2
        return Box(left, top, left + columns * width, top + rows * height)

    def cell_of_px(self) -> tuple[Int[np.ndarray, "row_px"], Int[np.ndarray, "column_px"]]:
        """The row and the column of the nearest cell, for each row and column of the input."""
        rows, columns = (np.arange(side) for side in self.input_px)
        down = (rows - int(self.mapped.top)) // self.cell_px[0]
        right = (columns - int(self.mapped.left)) // self.cell_px[1]
        return down.clip(0, self.grid[0] - 1), right.clip(0, self.grid[1] - 1)

    @property
    def diagonal_px(self) -> float:
        """Length of the model input's diagonal; the unit for comparing different input sizes."""
        return float(np.hypot(*self.input_px))

    def mapped_of(self, box: Box) -> Box:
        """The part of a box on which a map lies, where the whole box becomes the input."""
        mapped, (rows, columns) = self.mapped, self.input_px
        if mapped == (0, 0, columns, rows):
            return box
        right, down = (box.right - box.left) / columns, (box.bottom - box.top) / rows
        return Box(
            box.left + mapped.left * right,
            box.top + mapped.top * down,
            box.left + mapped.right * right,
            box.top + mapped.bottom * down,
        )

    def readout_weights(self) -> Float[np.ndarray, "token"] | None:
        """Share of each token in the read-out; sums to 1.

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
        """Index in the token sequence of a special token (by name) or a patch (row, column)."""
        if isinstance(query, str):
            if query not in self.prefix:
                names = ", ".join(map(repr, self.prefix)) or "it has none"
                raise BadParameter(
                    f"the token name {query!r}",
                    f"a special token of this model ({names}) or a patch (row, column)",
                    "choose one of these",
                )
            return self.prefix.index(query)
        row, column = self.patch(query)
        return self.prefix_count + row * self.grid[1] + column

    def patch(self, query: object) -> tuple[int, int]:
        """Row and column of a patch; raises `BadParameter` for a patch that does not exist."""
        try:
            row, column = map(whole, query)  # type: ignore[call-overload]
        except (TypeError, ValueError):
            row = column = None
        if row is None or column is None:
            raise BadParameter(
                f"the token {in_words(query)}",
                "the name of a special token, or a patch as (row, column)",
                "give two whole numbers",
            )
        rows, columns = self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise BadParameter(
                f"the patch ({row}, {column})",
                f"a row of 0..{rows - 1} and a column of 0..{columns - 1}",
                "choose a patch inside the grid",
            )
        return row, column

    def region(self, region: Region) -> list[int]:
        """Indices in the token sequence of all patches of a region."""
        corners = (region.top, region.left), (region.bottom, region.right)
        first, last = (self.token(corner) - self.prefix_count for corner in corners)
        columns = self.grid[1]
        rows = range(first // columns, last // columns + 1)
        across = range(first % columns, last % columns + 1)
        if not rows or not across:
            raise BadParameter(
                f"the region {tuple(region)}",
                "(top, left, bottom, right) with bottom and right not before top and left",
                "exchange its corners",
            )
        return [self.token((row, column)) for row in rows for column in across]

    def offset_distances_px(self) -> Float[np.ndarray, "offset_row offset_column"]:
        """Distance between the centres of two patches, by their offset, in px.

        Shape (2 rows - 1, 2 columns - 1), with offset 0 in the middle. The table of all pairs of
        patches is a sliding window over it and need not be stored.
        """
        rows, columns = self.grid
        down = np.arange(1 - rows, rows) * self.cell_px[0]
        right = np.arange(1 - columns, columns) * self.cell_px[1]
        return np.hypot(down[:, None], right[None, :])

    def uniform_distance_px(self) -> float:
        """Mean attention distance of a head that attends equally to every patch, in px.

        An offset (i, j) occurs (rows - |i|) (columns - |j|) times among all pairs.
        """
        rows, columns = self.grid
        down = rows - np.abs(np.arange(1 - rows, rows))
        right = columns - np.abs(np.arange(1 - columns, columns))
        total = float(np.sum(self.offset_distances_px() * np.outer(down, right)))
        return total / self.patch_count**2
