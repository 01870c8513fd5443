"""What is a record? A small frozen result of read-only arrays, which figures draw.

Units are in the names, axes in the annotations and in `axes()`. Images, layers, heads, rows and
columns count from 0. What a figure leaves out (the attention on special tokens) is in its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeVar, get_args, get_type_hints

import numpy as np
from jaxtyping import UInt8

from vit_inspect.layout import Box, TokenLayout


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture as the user gave it, and the part of it that the model saw.

    pixels: upright RGB, scaled down to at most 1024 px per side, for display. At the bottom or at
        the right, what fills the model's input up is added.
    size_px: (rows px, columns px) of the original, with what is added; `seen` is in its pixels.
    original_px: the same of the original alone, where something is added; else None.
    seen: the part on which a map lies: the cells of all patches (`TokenLayout.mapped`).
    sha256: hash of the original's bytes.
    notices: what a reader should know, such as that transparent parts became white.
    """

    name: str
    pixels: UInt8[np.ndarray, "row column 3"]
    size_px: tuple[int, int]
    seen: Box
    sha256: str = ""
    notices: tuple[str, ...] = ()
    original_px: tuple[int, int] | None = None

    @property
    def picture_px(self) -> tuple[int, int]:
        """Size of the original as (rows px, columns px)."""
        return self.original_px or self.size_px

    @property
    def seen_aspect(self) -> float:
        """Width by height of what the model saw."""
        left, top, right, bottom = self.seen
        return (right - left) / (bottom - top)

    def __post_init__(self) -> None:
        self.pixels.setflags(write=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # As for `Result`.
        self.__dict__.update(state)
        self.__post_init__()


@dataclass(frozen=True, eq=False)
class Result:
    """The base of all records. Its arrays are read-only, so that a cached one cannot be changed.

    model: the name that loads the model.
    """

    per_image: ClassVar[tuple[str, ...]] = ("photographs",)
    """The names of tuples with one entry per image (or none); not every record has all of them."""

    model: str

    def __post_init__(self) -> None:
        for array in self.arrays().values():
            array.setflags(write=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy and a record from another process come without `__post_init__`.
        self.__dict__.update(state)
        self.__post_init__()

    def arrays(self) -> dict[str, np.ndarray]:
        """The record's arrays by name, in order."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, np.ndarray)}

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes."""
        kinds = get_type_hints(type(self))
        # An array that may be missing is of two types.
        arrays = {
            name: next(
                each for each in (kinds[name], *get_args(kinds[name])) if hasattr(each, "dim_str")
            )
            for name in self.arrays()
        }
        return {name: tuple(kind.dim_str.split()) for name, kind in arrays.items()}

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        layout: TokenLayout | None = getattr(self, "layout", None)
        return {"prefix": layout.key_prefix} if layout else {}

    def written(self) -> dict[str, np.ndarray]:
        """The arrays for files: the record's own, and those computed from them for the figure."""
        return self.arrays()

    def words(self) -> dict[str, Any]:
        """Texts and numbers of the record by name; photographs are given by their names."""
        values = ((field.name, _named(getattr(self, field.name))) for field in fields(self))
        return {name: value for name, value in values if value is not None}

    def _repr_html_(self) -> str:
        """The record's figure with its words, as notebooks show it."""
        # By the public door, and only when a notebook asks: records do not depend on figures.
        import vit_inspect

        return vit_inspect.html(self)

    def of_image(self, image: int) -> Self:
        """The same record of one image of the batch."""
        parts: dict[str, Any] = {name: array[[image]] for name, array in self.arrays().items()}
        parts |= {name: own[image : image + 1] for name, own in self.tuples().items()}
        return replace(self, **parts)

    def tuples(self) -> dict[str, tuple[Any, ...]]:
        """The record's tuples of one entry per image, by name."""
        return {name: getattr(self, name) for name in self.per_image if hasattr(self, name)}


def _named(value: object) -> Any:
    """The value as text and numbers; None if it is something else."""
    if isinstance(value, Photograph):
        return value.name
    if isinstance(value, tuple):
        named = tuple(map(_named, value))
        return None if None in named else named
    return value if isinstance(value, str | int | float) else None


Joint = TypeVar("Joint", bound=Result)


def join(parts: Sequence[Joint]) -> Joint:
    """One record of all images, from records of batches of the same model and input size."""
    joined: dict[str, Any] = {
        name: np.concatenate([part.arrays()[name] for part in parts]) for name in parts[0].arrays()
    }
    joined |= {
        name: tuple(entry for part in parts for entry in part.tuples()[name])
        for name in parts[0].tuples()
    }
    return replace(parts[0], **joined)
