"""How similarly do two layers arrange the patches of a picture? Centred kernel alignment.

Minibatch CKA (Nguyen et al., arXiv 2010.15327) with the unbiased HSIC_1 of Song et al. (2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from vit_inspect.analyses.tokens import block_tokens
from vit_inspect.errors import BadParameter
from vit_inspect.layout import Box, TokenLayout
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import LayerCka

SIDE = 16
"""Most samples along each side of the picture: a Gram matrix is at most 256 × 256."""


@of_capture
def layer_cka(capture: Capture) -> LayerCka:
    """CKA between all layers of a model: `cka` of a capture with itself."""
    return cka(capture, capture)


@of_capture
def cka(capture: Capture, other: Capture) -> LayerCka:
    """CKA between the layers of two models over the same images.

    Samples are the patch tokens that the blocks returned. Each image is a minibatch of its own: a
    kernel between patches of different images would mostly compare the contents of the images.
    Patches are sampled at the same places of the photograph, on a regular raster over the part
    that both models saw. It has at most `SIDE` places along each side, and no more than the
    coarser grid, so that no patch is used twice. So models with any grids, widths and depths can
    be compared.

    The estimate is 1 for tokens that differ by a rotation, a common factor or a shift, and can be
    slightly below 0 for unrelated tokens. Raises `BadParameter` for captures of different images
    and for fewer than four common places, `UnsupportedModel` where blocks do not return one row
    for each token.
    """
    first, second = block_tokens(capture), block_tokens(other)
    _check_images(capture.photographs, other.photographs)
    samples, cross, own, others = [], [], [], []
    for image, (left, right) in enumerate(zip(capture.photographs, other.photographs, strict=True)):
        places = same_places(
            left.picture_px, (capture.layout, left.seen), (other.layout, right.seen)
        )
        count = len(places[0])
        mine = _centred_grams([layer[image] for layer in first], capture.layout, places[0])
        theirs = (
            mine
            if other is capture
            else _centred_grams([layer[image] for layer in second], other.layout, places[1])
        )
        pairs = count * (count - 3)
        samples.append(count)
        cross.append(mine @ theirs.T / pairs)
        own.append(np.square(mine).sum(axis=1) / pairs)
        others.append(np.square(theirs).sum(axis=1) / pairs)
    return LayerCka(
        model=capture.model.id,
        other_model=other.model.id,
        samples=np.array(samples),
        hsic=np.stack(cross),
        self_hsic=np.stack(own),
        other_self_hsic=np.stack(others),
    )


def _centred_grams(
    layers: Sequence[Float[Tensor, "token _"]],
    layout: TokenLayout,
    places: Int[np.ndarray, "sample"],
) -> Float[np.ndarray, "layer pair"]:
    """Every layer's Gram matrix without its diagonal, U-centred, flattened.

    HSIC_1 of two layers is the product of their rows divided by n (n - 3). This form, by Szekely
    and Rizzo (2014), equals Song's formula, which subtracts large numbers of similar size.
    """
    return np.stack([centred_gram(layer[layout.prefix_count + places]) for layer in layers])


def centred_gram(rows: Float[Tensor, "sample _"]) -> Float[np.ndarray, "pair"]:
    """One row of `_centred_grams`, of the tokens that are compared."""
    tokens = rows.cpu().double().numpy()
    # The mean does not change the estimate, but could be so large that digits are lost.
    tokens = tokens - tokens.mean(axis=0)
    gram = tokens @ tokens.T
    np.fill_diagonal(gram, 0)
    count = len(gram)
    sums = gram.sum(axis=0)
    gram -= (sums[:, None] + sums) / (count - 2)
    gram += sums.sum() / ((count - 1) * (count - 2))
    np.fill_diagonal(gram, 0)
    return np.asarray(gram.ravel())


def same_places(
    picture_px: tuple[int, int], *subjects: tuple[TokenLayout, Box]
) -> tuple[Int[np.ndarray, "sample"], ...]:
    """For each layout, the patches on a regular raster over the part that all models saw.

    picture_px: (rows px, columns px) of the picture, and in its px for each layout the part on
        which its patches lie.
    """
    boxes = [seen for _, seen in subjects]
    bottom, right = picture_px
    rows = _along(
        [(box.top, box.bottom) for box in boxes], [each.grid[0] for each, _ in subjects], bottom
    )
    columns = _along(
        [(box.left, box.right) for box in boxes], [each.grid[1] for each, _ in subjects], right
    )
    if rows[0].size * columns[0].size < 4:
        raise BadParameter(
            f"{rows[0].size} × {columns[0].size} patches to compare",
            "at least 4 that both models saw",
            "use a larger input",
        )
    return tuple(
        (down[:, None] * layout.grid[1] + across).ravel()
        for (layout, _), down, across in zip(subjects, rows, columns, strict=True)
    )


def _along(
    seen: Sequence[tuple[float, float]], counts: Sequence[int], edge: int
) -> list[Int[np.ndarray, "place"]]:
    """The patches at the same places along one side, for each seen part (start, end).

    edge: of the picture; what fills an input up behind it is not compared.
    """
    start, end = max(low for low, _ in seen), min(edge, *(high for _, high in seen))
    sizes = [(high - low) / count for (low, high), count in zip(seen, counts, strict=True)]
    # As many as the largest patches that fit; 1e-6 makes up for rounding.
    places = min(SIDE, int((end - start) / max(sizes) + 1e-6))
    middles = start + (np.arange(places) + 0.5) / max(places, 1) * (end - start)
    return [
        np.floor((middles - low) / size).astype(np.int64)
        for (low, _), size in zip(seen, sizes, strict=True)
    ]


def _is_same(one: Photograph, other: Photograph) -> bool:
    if one.picture_px != other.picture_px:
        return False
    # What fills an input up differs from model to model.
    if one.original_px or other.original_px:
        return one.sha256 == other.sha256
    return np.array_equal(one.pixels, other.pixels)


def _check_images(photographs: tuple[Photograph, ...], others: tuple[Photograph, ...]) -> None:
    same = len(photographs) == len(others) and all(map(_is_same, photographs, others))
    if not same:
        names = [", ".join(each.name for each in some) for some in (photographs, others)]
        raise BadParameter(
            f"captures of different photographs ({names[0]} and {names[1]})",
            "the same photographs in the same order",
            "capture them with both models",
        )
