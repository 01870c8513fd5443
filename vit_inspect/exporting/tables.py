"""How does a record become a table? In long form, so that any program can read it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

import numpy as np

from vit_inspect.records.base import Result


def table(result: Result, shown: Mapping[str, Sequence[int]]) -> str:
    """The arrays in long form: quantity, one column per axis, by name where it has some, value.

    shown: the positions along an axis that are told, by axis; all where none are given.
    """
    axes = result.axes()
    columns = list(dict.fromkeys(axis for names in axes.values() for axis in names))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["quantity", *columns, "value"])
    for quantity, array in result.written().items():
        sizes = dict(zip(axes[quantity], array.shape, strict=True))
        picked = {axis: list(shown.get(axis, range(size))) for axis, size in sizes.items()}
        values = array[np.ix_(*picked.values())].ravel().tolist()
        # Whole columns, which csv joins to rows in C: a loop over rows takes three times as long.
        places = _places(result, picked)
        cells = [places.get(axis, repeat("")) for axis in columns]
        writer.writerows(zip(repeat(quantity), *cells, map("{:.7g}".format, values), strict=False))
    return text.getvalue()


def _places(result: Result, picked: Mapping[str, Sequence[int]]) -> dict[str, Iterator[object]]:
    """Where each value of an array lies along each axis, in the order of the values."""
    names = result.names()
    shape = [len(positions) for positions in picked.values()]
    found: dict[str, Iterator[object]] = {}
    for place, (axis, positions) in enumerate(picked.items()):
        told = [names[axis][each] for each in positions] if axis in names else positions
        along = np.array(told, dtype=object).reshape(-1, *[1] * (len(shape) - place - 1))
        found[axis] = iter(np.broadcast_to(along, shape).ravel().tolist())
    return found
