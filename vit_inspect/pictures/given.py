"""What may be handed over as a picture? A picture of Pillow, a path or an array; no other thing."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vit_inspect.errors import BadParameter
from vit_inspect.pictures.reading import memory_told_of, read_image

Picture = Image.Image | str | os.PathLike[str] | np.ndarray
"""An RGB picture of Pillow, a path, or an array (row, column, 3) of uint8 or of floats in 0..1."""


def as_pictures(given: Picture | Sequence[Picture]) -> list[Image.Image]:
    """One picture or several, as RGB pictures; an array with a fourth axis, the first, is a batch.

    Raises `BadParameter` for what is no picture; and as `read_image` does for a path: `BadImage` if
    it holds none, `OutOfMemory` where there is too little memory to read it.
    """
    if isinstance(given, str | os.PathLike | Image.Image) or not isinstance(
        given, Sequence | np.ndarray
    ):
        return [as_picture(given)]
    if isinstance(given, np.ndarray) and given.ndim != 4:
        return [as_picture(given)]
    if not len(given):
        raise BadParameter("no image", "one image or a list of images", "give at least one")
    return [as_picture(each) for each in given]


def as_picture(given: Picture) -> Image.Image:
    """The RGB picture; raises as `as_pictures` does."""
    if isinstance(given, str | os.PathLike):
        return read_image(given)
    with memory_told_of("a picture in memory"):
        return _of_array(given) if isinstance(given, np.ndarray) else _of_pillow(given)


def _of_pillow(given: object) -> Image.Image:
    """The picture itself, with its pixels."""
    if not isinstance(given, Image.Image):
        raise BadParameter(
            f"an object of type {type(given).__name__} in place of a picture",
            "a picture of Pillow, a path, or an array (row, column, 3)",
            "open a file with vit_inspect.read_image",
        )
    try:
        given.load()
    # Pillow reads a file when its pixels are first asked for.
    except (ValueError, OSError, SyntaxError, AssertionError) as error:
        raise BadParameter(
            "a picture of Pillow that is closed, or whose file cannot be read to its end",
            "a picture with pixels",
            "open it again, and close it after its use",
        ) from error
    if given.mode != "RGB":
        raise BadParameter(
            f"an image of mode {given.mode}",
            "an RGB image",
            "open it with vit_inspect.read_image, or call convert('RGB')",
        )
    return given


def _of_array(given: np.ndarray) -> Image.Image:
    """The picture in an array of uint8, or of floats in 0..1."""
    fits = given.ndim == 3 and given.shape[2] == 3 and min(given.shape) > 0
    if not fits or not (given.dtype == np.uint8 or given.dtype.kind == "f"):
        sides = " × ".join(map(str, given.shape)) or "no axis"
        raise BadParameter(
            f"an array of {sides} of {given.dtype}",
            "a picture as (row, column, 3) of uint8, or of floats in 0..1",
            "bring its axes into this order and its values into this range",
        )
    if given.dtype != np.uint8:
        # A value that is not a number is in no range.
        if not ((given >= 0) & (given <= 1)).all():
            raise BadParameter(
                f"an array with values of {np.min(given):.4g} to {np.max(given):.4g}",
                "floats in 0..1",
                "divide by the largest value there can be, or give uint8",
            )
        given = np.rint(given.astype(np.float64) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(given))
