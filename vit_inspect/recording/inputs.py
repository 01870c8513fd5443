"""Which pixels does the network get, and which copy of a picture is kept for figures?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vit_inspect.errors import BadParameter
from vit_inspect.layout import Box
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import prepare
from vit_inspect.pictures.reading import describe
from vit_inspect.records.base import Photograph

SHOWN_PX = 1024
"""Longest side of the copy of a photograph that is kept for figures."""


def prepared(
    model: Model, image: Image.Image | Sequence[Image.Image]
) -> tuple[Float[Tensor, "image 3 row column"], tuple[Photograph, ...]]:
    """The model input on its device, and the photographs for figures."""
    images = [image] if isinstance(image, Image.Image) else list(image)
    if not images:
        raise BadParameter("no image", "one image or a list of images", "give at least one")
    for each in images:
        if each.mode != "RGB":
            raise BadParameter(
                f"an image of mode {each.mode}",
                "an RGB image",
                "open it with vit_inspect.read_image, or call convert('RGB')",
            )
    prepared = [prepare(each, model.recipe, model.layout.input_px) for each in images]
    pixels = torch.cat([each for each, _ in prepared]).to(model.device, model.dtype)
    return pixels, tuple(
        _photograph(each, seen) for each, (_, seen) in zip(images, prepared, strict=True)
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
