"""Where do two records of one kind differ? The right one minus the left one, value by value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from vit_inspect.arguments import of_kind, one_of, several
from vit_inspect.errors import BadParameter
from vit_inspect.records.base import Result

PLACES = (("layer", "head"), ("row", "column"))
"""What has a value or a map of its own, where two records can be compared."""


@dataclass(frozen=True, eq=False)
class Difference(Result):
    """One quantity of a record minus the same one of another record: right - left.

    model, other_model: of the left and of the right record.
    quantity: what the values are, in words.
    left, right: what each record is of, as far as it differs from the other one; both: the rest.
    along: the names of the axes of `values`.
    values: right - left.
    shown: the places along an axis that the figure shows, by axis; all where none are given.
    offsets: what the places along an axis are, where they are not counted from 0.
    """

    other_model: str
    quantity: str
    left: str
    right: str
    both: str
    along: tuple[str, ...]
    values: Float[np.ndarray, "..."]
    shown: Mapping[str, Sequence[int]] = field(default_factory=dict)
    offsets: Mapping[str, np.ndarray] = field(default_factory=dict)

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes."""
        return {"values": self.along} | {axis: (axis,) for axis in self.offsets}

    def written(self) -> dict[str, np.ndarray]:
        """The arrays for files: the values, and what the places along their axes are."""
        return {**self.arrays(), **self.offsets}


def difference(
    left: Result,
    right: Result,
    quantity: str,
    *,
    words: str = "",
    pictures: tuple[str, str] = ("", ""),
    shown: Mapping[str, Sequence[int]] | None = None,
) -> Difference:
    """The right record minus the left one, of the first image of each.

    quantity: the name of an array of both, such as "weights", that has a value or a map for each
    head or patch. words: what it is called in the figure, if not by its name. pictures: names of
    the left and the right picture, for records that hold no photographs. shown: as in `Difference`.
    The difference of a record and itself is 0 everywhere.

    Raises `BadParameter` for records of two kinds, for another quantity, where the shapes differ,
    and for a place that is not there.
    """
    for name, record in (("left", left), ("right", right)):
        of_kind(record, Result, name, "a record, such as vi.attention_maps(capture) returns")
    if type(left) is not type(right):
        kinds = (type(each).__name__ for each in (left, right))
        raise BadParameter(
            f"records of two kinds, {' and '.join(kinds)}",
            "two of one kind",
            "call the same analysis twice",
        )
    axes = {
        name: tuple(axis for axis in left.axes()[name] if axis != "image")
        for name, array in left.arrays().items()
        if np.issubdtype(array.dtype, np.floating)
    }
    known = {name: own for name, own in axes.items() if own[:2] in PLACES and len(own) in (2, 4)}
    if quantity not in known:
        raise BadParameter(
            f"the quantity {quantity!r}",
            f"one of {', '.join(known)}" if known else "a record of heads or of patches",
            "choose one of these" if known else "compare other records",
        )
    arrays, along = (left.arrays()[quantity], right.arrays()[quantity]), known[quantity]
    if arrays[0].ndim > len(along):
        arrays = arrays[0][0], arrays[1][0]
    if arrays[0].shape != arrays[1].shape:
        sizes = [" × ".join(map(str, array.shape)) for array in arrays]
        raise BadParameter(
            f"{' × '.join(along)} of {sizes[0]} and of {sizes[1]}",
            "the same shape for both",
            "choose models and input sizes with the same grid, layers and heads",
        )
    sizes_of = dict(zip(along, arrays[0].shape, strict=True))
    for axis, places in (shown or {}).items():
        if axis not in sizes_of:
            raise BadParameter(
                f"the axis {axis!r}", f"one of {', '.join(along)}", "choose one of these"
            )
        for place in several(places, axis, "[0, 2]"):
            one_of(place, sizes_of[axis], axis)
    pairs = list(zip(_told(left, pictures[0]), _told(right, pictures[1]), strict=True))
    # Of a record and itself all is told on both sides.
    unlike = [pair for pair in pairs if len(set(pair)) > 1] or pairs
    return Difference(
        left.model,
        other_model=right.model,
        quantity=words or quantity.replace("_px", " (px)").replace("_", " "),
        left=_joined(first for first, _ in unlike),
        right=_joined(second for _, second in unlike),
        both=_joined(pair[0] for pair in pairs if pair not in unlike),
        along=along,
        values=arrays[1] - arrays[0],
        shown=shown or {},
        offsets={axis: array for axis, array in left.arrays().items() if axis in along},
    )


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(filter(None, parts))


def _told(record: Result, picture: str) -> tuple[str, str, str]:
    """The model, the picture and the kind of a record, as far as it has them."""
    photographs = [each.name for each in getattr(record, "photographs", ())[:1]]
    return record.model, *(photographs or [picture]), getattr(record, "kind", "")
