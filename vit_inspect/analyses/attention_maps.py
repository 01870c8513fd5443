"""Where does one token look? Raw attention of a query in every layer and head."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float

from vit_inspect.analyses.readout import readout_weights
from vit_inspect.attention import row_product, rows
from vit_inspect.errors import BadParameter
from vit_inspect.layout import READOUT, Query
from vit_inspect.recorder import Capture
from vit_inspect.results import AttentionMaps


def attention_maps(capture: Capture, *, query: Query = READOUT) -> AttentionMaps:
    """Attention of one query on every token, in all layers and heads.

    query: "readout" (the class token's row, or the mean of the rows that the model pools), a
    prefix token's name, or a patch as (row, column). Each map and its prefix masses sum to 1.
    """
    layout = capture.layout
    if query == READOUT and layout.readout not in layout.prefix:
        with torch.inference_mode():
            start = readout_weights(capture)
            weights = [row_product(layer, start) for layer in capture.layers]
        words = f"read-out ({layout.readout})"
    else:
        token = layout.readout if query == READOUT else query
        index = layout.token(token)
        with torch.inference_mode():
            weights = [rows(layer, [index])[:, :, 0] for layer in capture.layers]
        words = f"token {token!r}" if isinstance(token, str) else f"patch {token}"
    values = torch.stack(weights, dim=1).cpu().numpy()
    return AttentionMaps(
        model=capture.model.id,
        layout=layout,
        photographs=capture.photographs,
        query=words,
        weights=values[..., layout.prefix_count :].reshape(*values.shape[:3], *layout.grid),
        prefix_mass=values[..., : layout.prefix_count],
    )


def mass_mask(
    weights: Float[np.ndarray, "*map row column"], *, mass: float = 0.6
) -> Bool[np.ndarray, "*map row column"]:
    """The smallest set of patches that holds a share `mass` of each map (DINO, Caron et al. 2021).

    The share is of the mass on the patches. Dropping the weakest patch kept falls below it.
    """
    if not 0 < mass <= 1:
        raise BadParameter(
            f"the mass {mass}", "a share above 0 and up to 1", "use 0.6, as DINO does"
        )
    flat = weights.reshape(*weights.shape[:-2], -1).astype(np.float64)
    order = np.argsort(-flat, axis=-1, kind="stable")
    ranked = np.take_along_axis(flat, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    kept = before < mass * ranked.sum(axis=-1, keepdims=True)
    mask = np.zeros_like(kept)
    np.put_along_axis(mask, order, kept, axis=-1)
    return mask.reshape(weights.shape)
