"""How does the model read its tokens at the end?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.attention.layer import compute_type
from vit_inspect.attention.rows import rows
from vit_inspect.errors import UnsupportedModel
from vit_inspect.layout import MERGED, POOL
from vit_inspect.recording.recorder import Capture


def readout_weights(capture: Capture) -> Float[Tensor, "image token"]:
    """Share of each token in the read-out; each row sums to 1.

    One-hot for a class token, uniform for averages, and the pool's attention (mean over its heads)
    for an attention pool. Raises `UnsupportedModel` where the model takes maxima or merges
    neighbouring patches.
    """
    layout, queries = capture.layout, capture.layers[0].queries
    kind = compute_type(queries.dtype)
    fixed = layout.readout_weights()
    if fixed is not None:
        weights = torch.from_numpy(fixed).to(kind).to(queries.device)
        return weights.expand(len(queries), -1)
    if layout.readout != POOL or capture.pool is None:
        reads = "merges neighbouring" if layout.readout == MERGED else "takes maxima over"
        raise UnsupportedModel(
            f"the read-out of {capture.model.id}, which {reads} tokens",
            "a token, an average or an attention pool",
            "choose a patch or a special token as the query instead",
        )
    pooled = rows(capture.pool, range(capture.pool.queries.shape[2])).mean(dim=(1, 2))
    missing = layout.token_count - pooled.shape[1]
    # Some pools do not read the special tokens.
    return torch.nn.functional.pad(pooled, (missing, 0))


def checked_head(capture: Capture) -> Callable[[Tensor], Tensor]:
    """The function from the last block's tokens to the output, checked on this capture.

    It takes (image, token, width), with the model's number of special tokens and any number of
    patches. Raises `UnsupportedModel` where the function is not known or gives another output.
    """
    head = capture.model.head
    with torch.no_grad():
        if head and capture.tokens:
            # Not every device has float64.
            again, output = head(capture.tokens[-1]).cpu().double(), capture.output.cpu().double()
            if (again - output).abs().max() <= 1e-5 * output.abs().max():
                return head
    raise UnsupportedModel(
        f"{capture.model.id}, whose last steps from its tokens to its output are not known",
        "a final norm and a head that can be applied to any tokens",
        "choose a plain vision transformer of timm",
    )
