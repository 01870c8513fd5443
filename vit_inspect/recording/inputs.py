"""Which pixels does the network get, and which copy of a picture is kept for figures?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vit_inspect.errors import BadParameter
from vit_inspect.layout import Box
from vit_inspect.model import Model
from vit_inspect.pictures.bands import checked_bands
from vit_inspect.pictures.given import Picture, as_pictures
from vit_inspect.pictures.preparing import channels, prepare
from vit_inspect.pictures.reading import describe
from vit_inspect.records.base import Photograph

SHOWN_PX = 1024
"""Longest side of the copy of a photograph that is kept for figures."""

FILLED = (
    "The picture does not fill the model's input: the rest is the model's mean colour, and counts "
    "like the picture."
)
"""What is told of a photograph whose input is filled up."""

Given = Picture | Tensor | Sequence[Picture | Tensor]
"""A picture, or several; or the model input itself, as a tensor."""


def prepared(
    model: Model,
    image: Given | None = None,
    *,
    pixels: Tensor | Sequence[Tensor] | None = None,
    shown: Picture | Sequence[Picture] | None = None,
    bands: Sequence[int] | None = None,
) -> tuple[Float[Tensor, "image channel row column"], tuple[Photograph, ...]]:
    """The model input on its device, and the photographs for figures.

    image, pixels, shown, bands: as for `capture`.

    Raises `BadParameter` for what is no picture and no input of this model.
    """
    given = _tensor(image if pixels is None else pixels)
    if pixels is not None and image is not None:
        raise BadParameter(
            "pixels= beside an image", "one of them", "give a picture to show as shown=picture"
        )
    if pixels is not None and given is None:
        raise BadParameter(
            f"pixels= of type {type(pixels).__name__}",
            "the model's input as a tensor",
            "use torch.from_numpy for an array",
        )
    if given is not None:
        return _from_input(model, given, shown, bands)
    if shown is not None:
        raise BadParameter(
            "shown= without the model's input as a tensor",
            "a tensor that the picture stands for",
            "give it as pixels=tensor, or leave out shown=",
        )
    if bands is not None:
        raise BadParameter(
            "bands= without the model's input as a tensor",
            "a tensor, of which figures show these bands",
            "for a file, use vit_inspect.read_image(file, bands=...); for a tensor, pixels=tensor",
        )
    images = as_pictures([] if image is None else image)  # type: ignore[arg-type]
    prepared = [prepare(each, model.recipe, model.layout.input_px) for each in images]
    pixels = torch.cat([each for each, _ in prepared]).to(model.device, model.dtype)
    return pixels, tuple(
        _photograph(each, model.layout.mapped_of(seen), model.recipe.mean)
        for each, (_, seen) in zip(images, prepared, strict=True)
    )


def refuse_both(image: Given | None) -> None:
    """Raises `BadParameter` for a picture beside a capture."""
    if image is not None:
        raise BadParameter(
            "a picture and a capture, which has its own pictures",
            "a capture alone, or a model and a picture",
            "leave one of them out",
        )


def input_of(
    model: Model, image: Given | None = None, pixels: Tensor | Sequence[Tensor] | None = None
) -> Float[Tensor, "image channel row column"]:
    """The model input alone, for who draws no figure; takes and raises what `prepared` does."""
    given = _tensor(image if pixels is None else pixels)
    if pixels is None and given is None:
        images = as_pictures([] if image is None else image)  # type: ignore[arg-type]
        return torch.cat([model.prepare(each) for each in images])
    if given is None or (image is not None and pixels is not None):
        return prepared(model, image, pixels=pixels)[0]
    return _checked_input(model, given)


def _tensor(given: object) -> Tensor | None:
    """The tensor that is given, or the tensors of a list as one; None for anything else."""
    if isinstance(given, Tensor):
        return given
    if not isinstance(given, list | tuple) or not any(isinstance(each, Tensor) for each in given):
        return None
    inputs = [each for each in given if isinstance(each, Tensor) and each.dim() == 3]
    if len(inputs) < len(given) or len({each.shape for each in inputs}) > 1:
        raise BadParameter(
            "a list with tensors of several shapes, or with other things among them",
            "tensors (channel, row, column) of one size",
            "stack them to one tensor (image, channel, row, column)",
        )
    return torch.stack(inputs)


def _from_input(
    model: Model,
    given: Tensor,
    shown: Picture | Sequence[Picture] | None,
    bands: Sequence[int] | None,
) -> tuple[Float[Tensor, "image channel row column"], tuple[Photograph, ...]]:
    """The input as it is given, and what figures show in its place."""
    pixels = _checked_input(model, given)
    if shown is None:
        pictures, told = _undone(pixels, model, _checked(bands, model.channels))
        names = [f"tensor {index}" for index in range(len(pictures))]
    else:
        pictures, told = _beside(shown, bands, len(pixels))
        names = [describe(each).name for each in pictures]
    photographs = []
    for picture, name in zip(pictures, names, strict=True):
        whole = Box(0.0, 0.0, float(picture.width), float(picture.height))
        photograph = _photograph(picture, model.layout.mapped_of(whole))
        notices = (*photograph.notices, told)
        photographs.append(replace(photograph, name=name, notices=notices))
    return pixels, tuple(photographs)


def _checked_input(model: Model, given: Tensor) -> Float[Tensor, "image channel row column"]:
    """The input, on the model's device; raises `BadParameter` for what is none of this model."""
    pixels = given[None] if given.dim() == 3 else given
    rows, columns = model.layout.input_px
    dense = given.layout == torch.strided and not given.is_meta
    fits = (
        pixels.dim() == 4
        and len(pixels) > 0
        and pixels.shape[1:] == (model.channels, rows, columns)
        and pixels.is_floating_point()
    )
    if not (fits and dense and pixels.isfinite().all()):
        sides = " × ".join(map(str, given.shape)) or "no axis"
        values = " with infinite or NaN values" if fits else ""
        raise BadParameter(
            f"a tensor of {sides} of {str(given.dtype).removeprefix('torch.')}"
            f"{values if dense else ', which is sparse or without values'}",
            f"the model's input, image × {model.channels} × {rows} × {columns}, of finite floats",
            "use model.prepare(picture), or give the picture itself"
            if model.channels in (1, 3)
            else "bring its axes into this order and its sides to this size",
        )
    return pixels.detach().to(model.device, model.dtype)


def _undone(
    pixels: Float[Tensor, "image channel row column"], model: Model, bands: tuple[int, ...]
) -> tuple[list[Image.Image], str]:
    """Some channels of the input with their normalisation undone, and a notice on it."""
    mean, std = (
        torch.tensor(each)[list(bands), None, None]
        for each in (model.recipe.mean, model.recipe.std)
    )
    values = pixels[:, list(bands)].to("cpu", torch.float32) * std + mean
    shown = values.expand(-1, 3, -1, -1).movedim(1, -1).clamp(0, 1).mul(255)
    which = ""
    if bands != tuple(range(model.channels)):
        kind = "as grey, channel" if len(bands) == 1 else "as red, green and blue, channels"
        which = f" ({kind} {', '.join(map(str, bands))})"
    told = (
        f"Shown from the model input{which}: its normalisation was taken to be that of the model."
    )
    return [Image.fromarray(each) for each in shown.round().to(torch.uint8).numpy()], told


def _checked(bands: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """The channels to show; raises `BadParameter` for what is none."""
    if bands is None:
        if count in (1, 3):
            return tuple(range(count))
        raise BadParameter(
            f"an input of {channels(count)}, and nothing that figures can show",
            "the channels to show as red, green and blue, or a picture",
            f"add bands={(3, 2, 1) if count > 3 else (0,)}, or shown=picture",
        )
    numbers = checked_bands(bands)
    if max(numbers) >= count:
        raise BadParameter(
            f"the bands {', '.join(map(str, numbers))} for an input of {channels(count)}",
            f"channels of 0..{count - 1}",
            "choose some of these",
        )
    return numbers


def _beside(
    shown: Picture | Sequence[Picture], bands: Sequence[int] | None, count: int
) -> tuple[list[Image.Image], str]:
    """The pictures to show for `count` images, and a notice on them."""
    if bands is not None:
        raise BadParameter(
            "a picture to show and bands to show", "one of them", "leave out bands= or shown="
        )
    pictures = as_pictures(shown)
    if len(pictures) not in (1, count):
        raise BadParameter(
            f"{len(pictures)} pictures to show for {count} input{'s' * (count != 1)}",
            "one for each, or one for all",
            "correct shown=",
        )
    told = (
        "The model input was given as a tensor; this picture is shown in its place, as if it "
        "showed exactly the same area."
    )
    return pictures * (count // len(pictures)), told


def _photograph(image: Image.Image, seen: Box, mean: Sequence[float] = (0.0,)) -> Photograph:
    """What figures show of a picture.

    mean: by channel, in 0..1; the colour that the input is filled up with where it reaches over the
        edge of the picture.
    """
    origin = describe(image)
    shown, size = image.copy(), (image.height, image.width)
    filled = max(size[0], ceil(seen.bottom - 1e-6)), max(size[1], ceil(seen.right - 1e-6))
    if filled == size:
        shown.thumbnail((SHOWN_PX, SHOWN_PX))
    else:
        scale = min(1, SHOWN_PX / max(filled))
        (height, width), (rows, columns) = (
            [max(1, round(side * scale)) for side in sides] for sides in (size, filled)
        )
        colour = tuple(round(255 * each) for each in mean) * (3 // len(mean))
        shown = Image.new("RGB", (columns, rows), colour)
        shown.paste(image.resize((width, height), reducing_gap=2.0))
    return Photograph(
        name=origin.name,
        pixels=np.array(shown),
        size_px=filled,
        seen=seen,
        sha256=origin.sha256,
        notices=(*origin.notices, *((FILLED,) if filled != size else ())),
        original_px=size if filled != size else None,
    )
