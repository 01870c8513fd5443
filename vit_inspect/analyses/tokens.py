"""What are the tokens of a layer? The output of its block, or, after the norm, the head's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.analyses.readout import checked_head
from vit_inspect.errors import UnsupportedModel
from vit_inspect.recording.recorder import Capture
from vit_inspect.recording.token_order import no_rows


class PatchTokens(NamedTuple):
    """The patch tokens of one layer, and their state in words: with or without the final norm."""

    layer: int
    state: str
    values: Float[Tensor, "image patch width"]


def patch_tokens(capture: Capture, layer: int | None) -> PatchTokens:
    """The patch tokens of a layer, from 0; None for the last one.

    Tokens of the last layer are taken after the model's final norm, if the norm is known and was
    checked against the output; others as their block returned them. Raises `BadParameter` for a
    layer that does not exist, `UnsupportedModel` where blocks do not return one row for each
    token.
    """
    tokens = block_tokens(capture)
    last = len(tokens) - 1
    layer = last if layer is None else capture.check_layer(layer)
    patches = tokens[layer][:, capture.layout.prefix_count :]
    if layer == last and capture.model.norm and _is_head_known(capture):
        with torch.inference_mode():
            return PatchTokens(layer, "after the final norm", capture.model.norm(patches))
    return PatchTokens(layer, "as the block returned them", patches)


def block_tokens(capture: Capture) -> tuple[Float[Tensor, "image token width"], ...]:
    """The output of each block; raises `UnsupportedModel` if it is not one row for each token."""
    if not capture.tokens:
        raise no_rows(capture.model)
    return capture.tokens


def concatenate(captures: Sequence[Capture], *, layer: int) -> Capture:
    """The tokens of one layer of several captures of one model as one batch.

    To save memory, their attention is left out, and the tokens of other layers are NaN.
    """
    pixels = torch.cat([capture.pixels for capture in captures])
    unknown = pixels.new_full((), torch.nan)
    return replace(
        captures[0],
        photographs=tuple(each for capture in captures for each in capture.photographs),
        pixels=pixels,
        layers=(),
        pool=None,
        tokens=tuple(
            torch.cat(tokens)
            if index == layer
            else unknown.expand(len(pixels), *tokens[0].shape[1:])
            for index, tokens in enumerate(zip(*(each.tokens for each in captures), strict=True))
        ),
        output=torch.cat([capture.output for capture in captures]),
        error=max(capture.error for capture in captures),
    )


def _is_head_known(capture: Capture) -> bool:
    try:
        checked_head(capture)
    except UnsupportedModel:
        return False
    return True
