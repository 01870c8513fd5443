"""How far can a mean over images be trusted? The ends of its interval, by drawing images anew."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

DRAWS = 2_000
"""Draws of the bootstrap."""


def mean_ends(values: Float[np.ndarray, "image *rest"]) -> Float[np.ndarray, "end *rest"]:
    """The ends of the means over images in 95 of 100 draws of as many, with replacement.

    A percentile bootstrap (Efron 1979), the same for the same number of images. NaN counts as an
    image that is not there; the ends are NaN where there are fewer than two images.
    """
    count = len(values)
    flat = values.reshape(count, -1)
    there = np.isfinite(flat)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    weights = (drawn @ there).astype(float)
    sums = drawn @ np.where(there, flat, 0)
    enough = (there.sum(axis=0) > 1) & (weights > 0)
    means = np.divide(sums, weights, out=np.full_like(sums, np.nan), where=enough)
    ends = np.full((2, flat.shape[1]), np.nan)
    known = np.isfinite(means).any(axis=0)
    ends[:, known] = np.nanquantile(means[:, known], [0.025, 0.975], axis=0)
    return ends.reshape(2, *values.shape[1:])
