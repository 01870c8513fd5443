"""Which pixels does the network get, and which copy of a picture is kept for figures?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vit_inspect.errors import BadParameter
from vit_inspect.layout import Box
from vit_inspect.model import Model
from vit_inspect.pictures.given import Picture, as_pictures
from vit_inspect.pictures.preparing import prepare
from vit_inspect.pictures.reading import describe
from vit_inspect.records.base import Photograph

SHOWN_PX = 1024
"""Longest side of the copy of a photograph that is kept for figures."""


Given = Picture | Tensor | Sequence[Picture | Tensor]
"""A picture, or several; or the model input itself, as a tensor."""


def prepared(
    model: Model, image: Given
) -> tuple[Float[Tensor, "image 3 row column"], tuple[Photograph, ...]]:
    """The model input on its device, and the photographs for figures.

    Raises `BadParameter` for what is no picture and no input of this model.
    """
    if isinstance(image, Tensor):
        return _from_input(model, image)
    if isinstance(image, list | tuple) and any(isinstance(each, Tensor) for each in image):
        inputs = [each for each in image if isinstance(each, Tensor) and each.dim() == 3]
        if len(inputs) < len(image) or len({each.shape for each in inputs}) > 1:
            raise BadParameter(
                "a list with tensors of several shapes, or with other things among them",
                "tensors (3, row, column) of one size",
                "stack them to one tensor (image, 3, row, column)",
            )
        return _from_input(model, torch.stack(inputs))
    images = as_pictures(image)  # type: ignore[arg-type]
    prepared = [prepare(each, model.recipe, model.layout.input_px) for each in images]
    pixels = torch.cat([each for each, _ in prepared]).to(model.device, model.dtype)
    return pixels, tuple(
        _photograph(each, model.layout.mapped_of(seen))
        for each, (_, seen) in zip(images, prepared, strict=True)
    )


def _from_input(
    model: Model, given: Tensor
) -> tuple[Float[Tensor, "image 3 row column"], tuple[Photograph, ...]]:
    """The input as it is given; the photographs undo its normalisation."""
    pixels = given[None] if given.dim() == 3 else given
    rows, columns = model.layout.input_px
    if (
        pixels.dim() != 4
        or not len(pixels)
        or pixels.shape[1:] != (3, rows, columns)
        or not pixels.is_floating_point()
        or not pixels.isfinite().all()
    ):
        sides = " x ".join(map(str, given.shape)) or "no axis"
        raise BadParameter(
            f"a tensor of {sides} of {str(given.dtype).removeprefix('torch.')}",
            f"the model's input, image x 3 x {rows} x {columns}, of finite floats",
            "use model.prepare(picture), or give the picture itself",
        )
    pixels = pixels.detach().to(model.device, model.dtype)
    mean, std = (
        torch.tensor(each)[:, None, None] for each in (model.recipe.mean, model.recipe.std)
    )
    values = (pixels.to("cpu", torch.float32) * std + mean).movedim(1, -1).clamp(0, 1).mul(255)
    shown = [Image.fromarray(each) for each in values.round().to(torch.uint8).numpy()]
    told = "Shown from the model input: its normalisation was taken to be that of the model."
    seen = model.layout.mapped_of(Box(0.0, 0.0, float(columns), float(rows)))
    return pixels, tuple(
        replace(_photograph(each, seen), name=f"tensor {index}", notices=(told,))
        for index, each in enumerate(shown)
    )


def _photograph(image: Image.Image, seen: Box) -> Photograph:
    origin = describe(image)
    shown = image.copy()
    shown.thumbnail((SHOWN_PX, SHOWN_PX))
    return Photograph(
        name=origin.name,
        pixels=np.array(shown),
        size_px=(image.height, image.width),
        seen=seen,
        sha256=origin.sha256,
        notices=origin.notices,
    )
