"""How does a map look on the photograph in colour, as on the canvas of the dashboard?

"heat" lays a colour scale over the photograph whose opacity follows the value; "heat on grey" does
so where colours of the photograph could be taken for values. "spotlight" darkens what has a small
value, as Figure 6 of the ViT paper does. All show the part of the photograph that the model saw,
and nothing else.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks
from vit_inspect.figures.overlay import crop
from vit_inspect.records.base import Photograph

Look = Literal["heat", "heat on grey", "spotlight"]
Edges = Literal["smooth", "blocks"]

LONG_SIDE_PX = 1024
"""Of the picture in a file."""


def covered(
    photograph: Photograph,
    values: Float[np.ndarray, "row column"],
    limits: looks.Limits,
    look: Look,
    edges: Edges,
    *,
    long_side_px: int = LONG_SIDE_PX,
) -> UInt8[np.ndarray, "row_px column_px 3"]:
    """The part of the photograph that the model saw, with the map over it."""
    _check("look", look, get_args(Look))
    way = resampling(edges)
    aspect = photograph.seen_aspect
    size = (long_side_px, round(long_side_px * min(aspect, 1 / aspect)))
    rows, columns = sorted(size, reverse=aspect < 1)
    behind = crop(photograph, (max(rows, 1), max(columns, 1))).astype(np.float32)
    if look == "heat on grey":
        grey = behind @ np.asarray(looks.GREY_WEIGHTS, np.float32)
        behind = np.repeat(grey[..., None], 3, axis=-1)
    colours = looks.lit(scaled(values, limits), look).astype(np.float32)
    # Weighted by their opacity, so that colours without any do not bleed into others.
    weighted = np.concatenate([colours[..., :3] * colours[..., 3:], colours[..., 3:]], axis=-1)
    large = np.stack(
        [
            np.asarray(Image.fromarray(weighted[..., channel]).resize(behind.shape[1::-1], way))
            for channel in range(4)
        ],
        axis=-1,
    )
    mixed = 255 * large[..., :3] + behind * (1 - large[..., 3:])
    return np.round(mixed).clip(0, 255).astype(np.uint8)


def resampling(edges: Edges) -> Image.Resampling:
    """How Pillow enlarges a picture of one pixel a patch.

    Raises `BadParameter` for other edges.
    """
    _check("edges", edges, get_args(Edges))
    return Image.Resampling.BILINEAR if edges == "smooth" else Image.Resampling.NEAREST


def _check(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        words = " or ".join(map(repr, known))
        raise BadParameter(f"the {name} {value!r}", words, "choose one of these")


def scaled(
    values: Float[np.ndarray, "*shape"], limits: looks.Limits
) -> Float[np.ndarray, "*shape"]:
    """Values as shares of a scale; beyond its ends they are 0 or 1."""
    low, high = limits
    shares: Float[np.ndarray, "*shape"] = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return shares
