"""What is a record? A small frozen result of read-only arrays, which figures draw.

Units are in the names, axes in the annotations and in `axes()`. Images, layers, heads, rows and
columns count from 0. What an analysis left out (the mass on special tokens) is part of its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeVar, get_type_hints

import numpy as np
from jaxtyping import UInt8

from vit_inspect.layout import Box, TokenLayout


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture as the user gave it, and the part of it that the model saw.

    pixels: upright RGB, scaled down to at most 1024 px a side, for showing.
    size_px: (rows px, columns px) of the original, the unit of `seen`.
    sha256: hash of the original's bytes.
    notices: what a reader of the picture should know of it, such as that transparency was laid
        on white.
    """

    name: str
    pixels: UInt8[np.ndarray, "row column 3"]
    size_px: tuple[int, int]
    seen: Box
    sha256: str = ""
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.pixels.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Result:
    """Makes every array of a record read-only, so that a cached one cannot be changed.

    model: the name that loads the model again.
    """

    per_image: ClassVar[tuple[str, ...]] = ("photographs",)
    """Tuples that hold one entry for each image, or none, where a record has them."""

    model: str

    def __post_init__(self) -> None:
        for array in self.arrays().values():
            array.setflags(write=False)

    def arrays(self) -> dict[str, np.ndarray]:
        """The record's arrays by name, in order."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, np.ndarray)}

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes."""
        kinds = get_type_hints(type(self))
        return {name: tuple(kinds[name].dim_str.split()) for name in self.arrays()}

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of what lies along an axis, where it has some, by axis."""
        layout: TokenLayout | None = getattr(self, "layout", None)
        return {"prefix": layout.prefix} if layout else {}

    def written(self) -> dict[str, np.ndarray]:
        """The arrays that go into files: the record's, and what its figure shows of them."""
        return self.arrays()

    def words(self) -> dict[str, Any]:
        """What the record holds beside arrays and geometry, by name; of pictures their names."""
        values = ((field.name, _named(getattr(self, field.name))) for field in fields(self))
        return {name: value for name, value in values if value is not None}

    def _repr_html_(self) -> str:
        """The record's figure with its words, as notebooks show it."""
        # Imported here: records know no figures until one asks to see them.
        from vit_inspect.drawing import notebook

        return notebook(self)

    def of_image(self, image: int) -> Self:
        """The same record of one image of the batch."""
        parts: dict[str, Any] = {name: array[[image]] for name, array in self.arrays().items()}
        parts |= {name: own[image : image + 1] for name, own in self.tuples().items()}
        return replace(self, **parts)

    def tuples(self) -> dict[str, tuple[Any, ...]]:
        """The record's tuples of one entry per image, by name."""
        return {name: getattr(self, name) for name in self.per_image if hasattr(self, name)}


def _named(value: object) -> Any:
    """The value in plain words and numbers; None where it is more than that."""
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
