"""How does a photograph become the model input, and which part of it does the input show?

The steps are those of timm's evaluation transform: resize, centre crop, normalise. The numbers are
those of the model's own data configuration. Only the part inside the crop is resized: a whole
picture of 10,000 × 3 px would become enormous. Pillow rounds between its two passes, so some pixels
differ from timm's by one grey level.

A model of transformers has an image processor, and this makes the pixels: libraries round in
different ways, and the model is meant to get the processor's pixels.

A crop can cut off what matters. The fit "whole" squeezes the whole picture into the input instead.

A model of three channels takes pictures in colour, a model of one channel takes them in grey. Other
models take no pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from vit_inspect.errors import BadImage, BadParameter
from vit_inspect.layout import Box
from vit_inspect.limits import MAX_PIXELS

Fit = Literal["crop", "whole"]
"""Which part of a photograph a model sees: its usual crop, or all of it, with other proportions."""

CropMode = Literal["center", "squash", "pad"]

AS_GREY = "Its input has one channel. Pictures are converted to grey (luma of ITU-R 601)."
"""The notice of a model of one channel."""


@dataclass(frozen=True)
class Recipe:
    """How a photograph becomes the model input.

    mean, std: a number for each channel, for values in [0, 1]. If all numbers are equal, they hold
        for any number of channels.
    interpolation: a filter of Pillow, "bicubic", "bilinear", "lanczos", ...
    crop_fraction: share of the resized picture's side that the centre crop keeps.
    crop_mode: "center" keeps the aspect ratio and crops, "squash" stretches to the input's shape,
        "pad" keeps the aspect ratio and shows all, whatever `crop_fraction` is: the input is
        filled up at the bottom or at the right with the mean colour.
    fit: "crop" uses `crop_fraction` and `crop_mode`; "whole" ignores both and stretches the whole
        picture to the input's shape.
    processor: an image processor of transformers, which makes the pixels; the numbers above are
        given to it. None makes them as timm does.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_fraction: float
    crop_mode: CropMode
    fit: Fit = "crop"
    processor: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    def check(self) -> None:
        """Raises `BadParameter` for values that no picture can be prepared with."""
        filters = [each.name.lower() for each in Image.Resampling]
        for name, fits, expected in (
            ("mean", _each_channel(self.mean), "a tuple with a number for each channel"),
            (
                "std",
                _each_channel(self.std) and min(self.std) > 0,
                "a tuple with a positive number for each channel",
            ),
            (
                "interpolation",
                str(self.interpolation).lower() in filters,
                f"one of {', '.join(filters)}",
            ),
            (
                "crop_fraction",
                isinstance(self.crop_fraction, Real) and 0 < self.crop_fraction <= 1,
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
                found = f"the {name} {getattr(self, name)!r} of a recipe"
                raise BadParameter(found, expected, "correct it")

    def of_channels(self, count: int) -> Recipe:
        """This recipe, with `count` numbers in mean and std, as floats of Python.

        If all numbers are equal, there may be more or fewer of them. Raises `BadParameter` as
        `check` does, and for another count of numbers that differ.
        """
        self.check()
        numbers: dict[str, Any] = {}
        for name in ("mean", "std"):
            values = tuple(map(float, getattr(self, name)))
            if len(values) != count and len(set(values)) > 1:
                raise BadParameter(
                    f"the {name} {values} for an input of {channels(count)}",
                    "a number for each channel, or the same for all",
                    f"give {count} numbers",
                )
            numbers[name] = values if len(values) == count else values[:1] * count
        return replace(self, **numbers, crop_fraction=float(self.crop_fraction))


def channels(count: int) -> str:
    """The number of channels in words."""
    return f"{count} channel{'s' * (count != 1)}"


def _each_channel(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) > 0
        and all(isinstance(each, Real) and math.isfinite(each) for each in values)
    )


def in_words(recipe: Recipe) -> dict[str, str]:
    """What a recipe says, for notices, by the names of its fields."""
    return {
        "mean": f"mean {_listed(recipe.mean)}",
        "std": f"standard deviation {_listed(recipe.std)}",
        "crop_fraction": f"crop to {recipe.crop_fraction:g}",
        "interpolation": f"{recipe.interpolation} filter",
    }


def _listed(numbers: Sequence[float]) -> str:
    same = len(set(numbers)) == 1
    return f"{numbers[0]:g}" if same else f"({', '.join(f'{each:g}' for each in numbers)})"


def prepare(
    image: Image.Image, recipe: Recipe, input_px: tuple[int, int]
) -> tuple[Float[Tensor, "1 channel row column"], Box]:
    """The model input of an RGB picture, and the box of the picture that it shows.

    input_px: (rows px, columns px). The pixels are float32 and normalised. For an input of one
    channel the picture is converted to grey (luma).

    Raises `BadImage` for a picture so long that an image processor would enlarge it beyond
    `MAX_PIXELS`, and `BadParameter` if the input has 2 channels or more than 3.
    """
    count = len(recipe.mean)
    if count not in (1, 3):
        raise BadParameter(
            f"a picture for a network of {channels(count)}",
            "its input as a tensor",
            "in Python, use vi.capture(model, pixels=tensor, "
            f"bands={(3, 2, 1) if count > 3 else (0,)}), or shown=picture",
        )
    if count == 1:
        # Image processors take three channels only. They are equal; one is kept at the end.
        image = image.convert("L").convert("RGB")
        recipe = replace(recipe, mean=recipe.mean * 3, std=recipe.std * 3)
    size = image.height, image.width
    if recipe.fit == "whole":
        resized, seen = input_px, Box(0.0, 0.0, float(image.width), float(image.height))
    else:
        resized = _resized_size(size, recipe, input_px)
        seen = _crop_box(size, resized, input_px, recipe)
    padded = recipe.fit == "crop" and recipe.crop_mode == "pad"
    if recipe.processor is not None and _makes(recipe.processor, size, input_px, padded=padded):
        pixels = _processed(recipe.processor, image, recipe, resized, input_px, padded=padded)
        return pixels[:, :count], seen
    rows, columns = resized if padded else input_px
    resample = Image.Resampling[recipe.interpolation.upper()]
    picture = image.resize((columns, rows), resample, box=None if padded else seen)
    values = torch.from_numpy(np.array(picture, dtype=np.float32)).div_(255)
    mean, std = torch.tensor(recipe.mean), torch.tensor(recipe.std)
    pixels = ((values - mean) / std).permute(2, 0, 1)[None, :count].contiguous()
    return pad(pixels, (0, input_px[1] - columns, 0, input_px[0] - rows)), seen


def _makes(
    processor: Any, size: tuple[int, int], input_px: tuple[int, int], *, padded: bool
) -> bool:
    """Whether an image processor can make this input of a picture of `size`.

    One that fills pictures up does nothing else, makes squares only, and fails where a side of the
    picture would be rounded to 0 px.
    """
    if not padded or not getattr(processor, "do_pad", None):
        return not padded and not getattr(processor, "do_pad", None)
    return input_px[0] == input_px[1] and min(size) * input_px[0] >= 0.5 * max(size)


def _processed(
    processor: Any,
    image: Image.Image,
    recipe: Recipe,
    resized: tuple[int, int],
    input_px: tuple[int, int],
    *,
    padded: bool,
) -> Float[Tensor, "1 channel row column"]:
    """The pixels by an image processor of transformers, which resizes the whole picture."""
    if resized[0] * resized[1] > MAX_PIXELS:
        raise BadImage(
            f"a picture of {image.width} × {image.height} px, which the model's image processor "
            f"enlarges to {resized[1]} × {resized[0]} px",
            f"at most {MAX_PIXELS // 10**6} megapixels",
            "cut the picture, or show the whole picture (fit='whole')",
        )
    plain = not any(recipe.mean) and set(recipe.std) == {1.0}
    sides = dict(zip(("height", "width"), input_px, strict=True))
    size: dict[str, Any]
    if padded:
        size = {"size": {"longest_edge": max(input_px)}, "pad_size": sides}
    else:
        size = {
            "size": dict(zip(("height", "width"), resized, strict=True)),
            "do_center_crop": resized != input_px,
            "crop_size": sides,
        }
    answer = processor(
        image,
        **size,
        resample=Image.Resampling[recipe.interpolation.upper()],
        do_normalize=processor.do_normalize or not plain,
        image_mean=list(recipe.mean),
        image_std=list(recipe.std),
        return_tensors="pt",
    )
    return answer["pixel_values"]


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
    if recipe.crop_mode == "pad":
        # As SAM's own preparation rounds.
        scale = min(input_px[0] / rows, input_px[1] / columns)
        return max(1, int(rows * scale + 0.5)), max(1, int(columns * scale + 0.5))
    if target[0] != target[1]:
        ratio = min(rows / target[0], columns / target[1])
        return round(rows / ratio), round(columns / ratio)
    if rows <= columns:
        return target[0], int(target[0] * columns / rows)
    return int(target[0] * rows / columns), target[0]


def _crop_box(
    size: tuple[int, int], resized: tuple[int, int], input_px: tuple[int, int], recipe: Recipe
) -> Box:
    """The part of the resized picture that is kept, in pixels of the original.

    Where the input is filled up, the box reaches over the edge of the picture.
    """
    if recipe.crop_mode == "pad":
        bottom, right = (
            float(side) if scaled == kept else side * kept / scaled
            for side, scaled, kept in zip(size, resized, input_px, strict=True)
        )
        return Box(0.0, 0.0, right, bottom)
    # transformers rounds half a pixel down, timm to an even number.
    down = recipe.processor is not None
    edges = []
    for side, scaled, kept in zip(size, resized, input_px, strict=True):
        start = (scaled - kept) // 2 if down else round((scaled - kept) / 2)
        scale = side / scaled
        # A rounding error can put the edge outside of the picture, which Pillow refuses.
        edges.append((max(0.0, start * scale), min(float(side), (start + kept) * scale)))
    (top, bottom), (left, right) = edges
    return Box(left, top, right, bottom)
