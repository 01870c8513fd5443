"""What does the model return when some of its heads or tokens are ablated?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vit_inspect.analyses.outputs import logarithms, output_values
from vit_inspect.arguments import in_words, several
from vit_inspect.errors import BadParameter
from vit_inspect.layout import Query
from vit_inspect.model import Model
from vit_inspect.recording.interventions import Attended, Embedded, intervene
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.recording.resume import with_last_kept
from vit_inspect.recording.token_order import token_rows
from vit_inspect.records.evidence import Ablation
from vit_inspect.records.names import patch_name, place_name

CLASSES = 5
"""How many classes are listed: those of the largest value before or after."""

Replacement = Literal["mean", "zero"]
"""What ablated parts are replaced by."""


@of_capture
def ablate(
    capture: Capture,
    *,
    heads: Sequence[tuple[int, int]] = (),
    layers: Sequence[int] = (),
    tokens: Sequence[Query] = (),
    replacement: Replacement = "mean",
) -> Ablation:
    """Run the model again with parts of it ablated, all at once.

    heads: as (layer, head), from 0. layers: all heads of these layers. tokens: special tokens by
    name, or patches as (row, column), ablated at the input of the first block; if the token
    contains its position embedding, this is removed too.
    replacement: "mean" replaces a head's output, softmax(queries keys^T) values, by its mean over
    the tokens of the same image, and a token by the mean of the patches; "zero" replaces by 0.

    With nothing ablated the output is the same to the bit. Probabilities, or raw scores, are those
    of `predictions`. Raises `BadParameter` for a head, layer or token that does not exist,
    `UnsupportedModel` for a hierarchical model, and if the model would not use the change.
    """
    check_replacement(replacement)
    count = capture.head_count
    layers = [capture.check_layer(each) for each in several(layers, "layers", "[2]")]
    heads = _checked(capture, several(heads, "heads", "[(2, 0)]"))
    tokens = several(tokens, "tokens", "[(0, 1)]")
    off = {(layer, head) for layer in layers for head in range(count)} | set(heads)
    indices = torch.tensor(sorted({capture.layout.token(token) for token in tokens}))
    tokens = [each if isinstance(each, str) else capture.layout.patch(each) for each in tokens]

    def attended(layer: int, given: Attended) -> Attended:
        chosen = [head for head in range(count) if (layer, head) in off]
        if not chosen:
            return given
        changed = given.clone()
        changed[:, chosen] = mean_or_zero(given[:, chosen], replacement)
        return changed

    def embedded(given: Embedded) -> Embedded:
        patches = given[:, capture.layout.prefix_count :]
        return given.index_copy(
            1,
            indices.to(given.device),
            mean_or_zero(patches, replacement).expand(-1, len(indices), -1),
        )

    model, last = with_last_kept(capture.model)
    after = intervene(
        model,
        capture.pixels,
        attended=attended if off else None,
        embedded=embedded if len(indices) else None,
    )
    cosine, change = compared(capture.output, after)
    outputs, first, second = capture.model.outputs, wide(capture.output), wide(after)
    places, labels = _classes(capture.model, first, second)
    return Ablation(
        model=capture.model.id,
        photographs=capture.photographs,
        off=(
            *(f"layer {layer}, all heads" for layer in sorted(set(layers))),
            *(place_name(layer, head) for layer, head in sorted(set(heads))),
            *dict.fromkeys(
                f"token {token}" if isinstance(token, str) else patch_name(*token)
                for token in tokens
            ),
        ),
        replacement=replacement,
        cosine=cosine.numpy(),
        relative_change=change.numpy(),
        labels=labels,
        class_index=places.numpy(),
        before=output_values(first.gather(1, places), first, outputs).numpy(),
        after=output_values(second.gather(1, places), second, outputs).numpy(),
        patch_change=_patch_change(capture, last.output).numpy(),
        patch_off=_patch_off(capture, tokens).numpy(),
        outputs=outputs,
    )


def _checked(capture: Capture, heads: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The heads, as numbers of Python; raises `BadParameter` for what is none."""
    for each in heads:
        if not np.shape(each) == (2,):
            raise BadParameter(
                f"the head {in_words(each)}",
                "a pair (layer, head)",
                "give heads=[(2, 0)], for example",
            )
    return [capture.check_head(*each) for each in heads]


def mean_or_zero(
    given: Float[Tensor, "*batch token width"], replacement: Replacement
) -> Float[Tensor, "*batch 1 width"]:
    """The replacement of rows: their mean, or 0."""
    mean = given.mean(dim=-2, keepdim=True)
    return mean if replacement == "mean" else torch.zeros_like(mean)


def compared(
    before: Float[Tensor, "image *output"], after: Float[Tensor, "image *output"]
) -> tuple[Float[Tensor, "image"], Float[Tensor, "image"]]:
    """Cosine between two outputs of each image, and |after - before| / |before|."""
    first, second = wide(before), wide(after)
    length, change = first.norm(dim=1), (second - first).norm(dim=1)
    # Exactly 1 for an unchanged output, also for an output of zeros.
    cosine = torch.cosine_similarity(first, second, dim=1).where(change != 0, 1.0)
    return cosine, change / length.clamp_min(torch.finfo(length.dtype).tiny)


def wide(output: Float[Tensor, "image *output"]) -> Float[Tensor, "image number"]:
    """The outputs of each image in the widest type."""
    # float64 does not exist on every device; there are few numbers.
    return output.cpu().double().flatten(1)


def check_replacement(replacement: str) -> None:
    """Refuse an unknown replacement."""
    if replacement not in get_args(Replacement):
        raise BadParameter(
            f"the replacement {replacement!r}", "'mean' or 'zero'", "choose one of these"
        )


def _patch_change(capture: Capture, output: object) -> Float[Tensor, "image row column"]:
    """1 - cosine similarity of each patch's last token; empty if it is not known."""
    after = token_rows(output, len(capture.output), capture.layout)
    if after is None or not capture.tokens or capture.model.branches:
        return torch.zeros(len(capture.output), 0, 0)
    first, second = (
        each[:, capture.layout.prefix_count :].flatten(0, 1) for each in (capture.tokens[-1], after)
    )
    cosine, _ = compared(first, second)
    return 1 - cosine.reshape(-1, *capture.layout.grid)


def _patch_off(capture: Capture, tokens: Sequence[Query]) -> Bool[Tensor, "image row column"]:
    """Which patches are among the tokens; the same in every image."""
    off = torch.zeros(len(capture.output), *capture.layout.grid, dtype=torch.bool)
    for token in tokens:
        if not isinstance(token, str):
            off[:, token[0], token[1]] = True
    return off


def _classes(
    model: Model, before: Float[Tensor, "image number"], after: Float[Tensor, "image number"]
) -> tuple[Int[Tensor, "image rank"], tuple[tuple[str, ...], ...]]:
    """Indices and names of the classes to list; none if the model has no known classes."""
    labels = model.labels
    if labels is None:
        return torch.zeros(len(after), 0, dtype=torch.long), ((),) * len(after)
    first, second = (logarithms(scores, scores, model.outputs) for scores in (before, after))
    either = torch.maximum(first, second)
    places = either.topk(min(CLASSES, len(labels)), dim=1).indices
    return places, tuple(tuple(labels[place] for place in image) for image in places.tolist())
