"""Which patches have similar features? Principal components of tokens (DINOv2, 2304.07193)."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from vit_inspect.analyses.tokens import patch_tokens
from vit_inspect.errors import BadParameter
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import FeaturePca

Basis = Literal["each", "common"]
COUNT = 3
"""One component for each of red, green and blue."""
PERCENTILES = (2, 98)
"""Scores outside these percentiles are clipped, so that a few outliers do not set the colours."""


@of_capture
def feature_pca(capture: Capture, *, layer: int | None = None, basis: Basis = "each") -> FeaturePca:
    """Scores of the patch tokens along the three directions in which they vary most.

    layer: from 0; None for the last one, whose tokens are taken after the model's final norm where
        that is known (`state` says so).
    basis: "each" fits directions to each image alone; "common" fits them to all images of the
        batch, so that their scores can be compared.

    The mean token is subtracted; tokens are not normalised. Signs are arbitrary and fixed so that
    the largest weight of a direction is positive. Where tokens vary in fewer than three
    directions, the other scores are 0. Raises `BadParameter` for a layer or a basis that does not
    exist, `UnsupportedModel` where blocks do not return one row for each token.
    """
    if basis not in get_args(Basis):
        raise BadParameter(f"the basis {basis!r}", "'each' or 'common'", "choose one of these")
    seen = patch_tokens(capture, layer)
    tokens = seen.values.cpu().double().numpy()
    groups = [tokens] if basis == "common" else np.split(tokens, len(tokens))
    found = [_principal(group) for group in groups]
    scores = np.concatenate([each for each, _ in found])
    shares = [np.broadcast_to(share, (len(each), COUNT)) for each, share in found]
    # Without interpolation between scores, copies of an image do not change the percentiles.
    ends = [
        np.percentile(each, PERCENTILES, axis=(0, 1), method="inverted_cdf").T for each, _ in found
    ]
    repeated = [
        np.broadcast_to(end, (len(each), *end.shape))
        for end, (each, _) in zip(ends, found, strict=True)
    ]
    return FeaturePca(
        model=capture.model.id,
        layout=capture.layout,
        photographs=capture.photographs,
        layer=seen.layer,
        state=seen.state,
        basis=basis,
        components=scores.reshape(len(tokens), *capture.layout.grid, COUNT),
        ends=np.concatenate(repeated),
        explained_variance_ratio=np.concatenate(shares),
    )


def _principal(
    tokens: Float[np.ndarray, "image patch width"],
) -> tuple[Float[np.ndarray, "image patch component"], Float[np.ndarray, "component"]]:
    """Scores along the first principal directions of all tokens, and their shares of variance."""
    centred = tokens - tokens.mean(axis=(0, 1))
    samples = centred.reshape(-1, tokens.shape[2])
    # By the covariance, not the samples: more patches do not make it slower.
    variances, directions = np.linalg.eigh(samples.T @ samples)
    strongest = directions[:, ::-1][:, :COUNT]
    peaks = np.abs(strongest).argmax(axis=0)
    strongest = strongest * np.sign(strongest[peaks, np.arange(strongest.shape[1])])
    total = np.square(samples).sum()
    shares = np.clip(variances[::-1][:COUNT], 0, None) / (total or 1.0)
    # Rounding errors must not become a colour where no direction is left.
    shares = np.where(shares > 1e-12, shares, 0.0)
    scores = centred @ (strongest * (shares > 0))
    missing = COUNT - len(shares)
    return np.pad(scores, ((0, 0), (0, 0), (0, missing))), np.pad(shares, (0, missing))
