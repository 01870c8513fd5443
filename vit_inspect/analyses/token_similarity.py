"""Which patches have features similar to this one's? Cosine similarity of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vit_inspect.analyses.tokens import patch_tokens
from vit_inspect.arguments import one_of
from vit_inspect.attention.layer import compute_type
from vit_inspect.errors import BadParameter
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import TokenSimilarity


@of_capture
def token_similarity(
    capture: Capture,
    *,
    patch: tuple[int, int] | None = None,
    image: int | None = None,
    layer: int | None = None,
) -> TokenSimilarity:
    """Cosine similarity of one patch's token to the tokens of all patches.

    patch: (row, column) from 0; None for the middle one.
    image: the image of that patch, from 0, with which all images of the batch are compared; None
        compares each image with its own patch.
    layer: from 0; None for the last one, whose tokens are taken after the model's final norm where
        that is known (`state` says so).

    Values lie in [-1, 1]; no mean is subtracted. A token of zeros has similarity 0 to all. Raises
    `BadParameter` for a patch, an image or a layer that does not exist, `UnsupportedModel` where
    blocks do not return one row for each token.
    """
    layout, photographs = capture.layout, capture.photographs
    (rows, columns), images = layout.grid, len(photographs)
    patch = (rows // 2, columns // 2) if patch is None else patch
    if isinstance(patch, str):
        raise BadParameter(
            f"the token {patch!r}", "a patch as (row, column)", "choose one of the patches"
        )
    patch = layout.patch(patch)
    place = layout.token(patch) - layout.prefix_count
    image = None if image is None else one_of(image, images, "image")
    seen = patch_tokens(capture, layer)
    with torch.inference_mode():
        units = _units(seen.values)
        chosen = units[:, place] if image is None else units[[image], place]
        similarity = (units @ chosen[..., None]).clamp(-1, 1)
    return TokenSimilarity(
        model=capture.model.id,
        layout=layout,
        photographs=photographs,
        layer=seen.layer,
        state=seen.state,
        patch=patch,
        origins=photographs if image is None else (photographs[image],) * images,
        similarity=similarity.reshape(images, rows, columns).cpu().numpy(),
    )


def similarities(
    capture: Capture, patches: Sequence[tuple[int, int]], *, layer: int | None = None
) -> Float32[np.ndarray, "image patch row column"]:
    """The same for many patches of each image at once, as an array."""
    layout = capture.layout
    places = [layout.token(patch) - layout.prefix_count for patch in patches]
    with torch.inference_mode():
        units = _units(patch_tokens(capture, layer).values)
        found = (units[:, places] @ units.mT).clamp(-1, 1).float().cpu().numpy()
    return found.reshape(len(units), len(places), *layout.grid)


def _units(values: Float[Tensor, "image patch width"]) -> Float[Tensor, "image patch width"]:
    """Tokens of unit length; a token of zeros stays as it is."""
    return torch.nn.functional.normalize(values.to(compute_type(values.dtype)), dim=2)
