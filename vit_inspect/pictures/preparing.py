"""How does a photograph become the model input, and which part of it does the input show?

Follows timm's evaluation transform: resize, centre crop, normalise, with the numbers of the model's
own data configuration. Only the part inside the crop is resized, so that a 10,000 x 3 px picture
needs no enormous intermediate picture. Because Pillow rounds between its two passes, some pixels
then differ from timm's by one grey level.

A crop can cut off what matters. The fit "whole" squeezes the whole picture into the input instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vit_inspect.errors import BadParameter
from vit_inspect.layout import Box

Fit = Literal["crop", "whole"]
"""Which part of a photograph a model sees: its usual crop, or all of it, with other proportions."""

CropMode = Literal["center", "squash"]


@dataclass(frozen=True)
class Recipe:
    """How a photograph becomes the model input.

    mean, std: per channel, for values in [0, 1].
    interpolation: a filter of Pillow, "bicubic", "bilinear", "lanczos", ...
    crop_fraction: share of the resized picture's side that the centre crop keeps.
    crop_mode: "center" keeps the aspect ratio and crops, "squash" stretches to the input's shape.
    fit: "crop" uses `crop_fraction` and `crop_mode`; "whole" ignores both and stretches the whole
        picture to the input's shape.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_fraction: float
    crop_mode: CropMode
    fit: Fit = "crop"

    def check(self) -> None:
        """Raises `BadParameter` for values that no picture can be prepared with."""
        filters = [each.name.lower() for each in Image.Resampling]
        for field, fits, expected in (
            ("mean", _each_channel(self.mean), "three numbers, of red, green and blue"),
            (
                "std",
                _each_channel(self.std) and min(self.std) > 0,
                "three positive numbers, of red, green and blue",
            ),
            (
                "interpolation",
                str(self.interpolation).lower() in filters,
                f"one of {', '.join(filters)}",
            ),
            (
                "crop_fraction",
                isinstance(self.crop_fraction, int | float) and 0 < self.crop_fraction <= 1,
                "more than 0 and at most 1",
            ),
            (
                "crop_mode",
                self.crop_mode in get_args(CropMode),
                f"one of {', '.join(get_args(CropMode))}",
            ),
            ("fit", self.fit in get_args(Fit), f"one of {', '.join(get_args(Fit))}"),
        ):
            if not fits:
                found = f"the {field} {getattr(self, field)!r} of a recipe"
                raise BadParameter(found, expected, "correct it")


def _each_channel(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(isinstance(each, int | float) and math.isfinite(each) for each in values)
    )


def prepare(
    image: Image.Image, recipe: Recipe, input_px: tuple[int, int]
) -> tuple[Float[Tensor, "1 3 row column"], Box]:
    """The model input of an RGB picture, and the box of the picture that it shows.

    input_px: (rows px, columns px). The pixels are float32 and normalised.
    """
    size = image.height, image.width
    if recipe.fit == "whole":
        seen = Box(0.0, 0.0, float(image.width), float(image.height))
    else:
        seen = _crop_box(size, _resized_size(size, recipe, input_px), input_px)
    resample = Image.Resampling[recipe.interpolation.upper()]
    picture = image.resize((input_px[1], input_px[0]), resample, box=seen)
    values = torch.from_numpy(np.array(picture, dtype=np.float32)).div_(255)
    mean, std = torch.tensor(recipe.mean), torch.tensor(recipe.std)
    return ((values - mean) / std).permute(2, 0, 1)[None].contiguous(), seen


def _resized_size(
    size: tuple[int, int], recipe: Recipe, input_px: tuple[int, int]
) -> tuple[int, int]:
    """(rows, columns) of the whole picture after timm's resize, before the crop.

    timm truncates for a square target, and rounds to the nearest otherwise.
    """
    target = tuple(math.floor(side / recipe.crop_fraction) for side in input_px)
    if recipe.crop_mode == "squash":
        return target[0], target[1]
    rows, columns = size
    if target[0] != target[1]:
        ratio = min(rows / target[0], columns / target[1])
        return round(rows / ratio), round(columns / ratio)
    if rows <= columns:
        return target[0], int(target[0] * columns / rows)
    return int(target[0] * rows / columns), target[0]


def _crop_box(size: tuple[int, int], resized: tuple[int, int], input_px: tuple[int, int]) -> Box:
    """The centre crop of the resized picture, in pixels of the original."""
    edges = []
    for side, scaled, kept in zip(size, resized, input_px, strict=True):
        start = round((scaled - kept) / 2)
        scale = side / scaled
        # A rounding error can put the edge outside of the picture, which Pillow refuses.
        edges.append((max(0.0, start * scale), min(float(side), (start + kept) * scale)))
    (top, bottom), (left, right) = edges
    return Box(left, top, right, bottom)
