"""In which layer and in which patches does a class appear? The model's head on every layer.

The logit lens (nostalgebraist 2020), for vision transformers as in Vilas et al. (2310.18969).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vit_inspect.analyses.outputs import output_values
from vit_inspect.analyses.readout import checked_head
from vit_inspect.analyses.targets import checked_labels, target_classes
from vit_inspect.arguments import at_least_one
from vit_inspect.attention.layer import compute_type
from vit_inspect.device import memory_refusal
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import LogitLens, Outputs

BLOCK_BYTES = 16 * 2**20
"""Most bytes of scores that are held at once."""


class _Followed(NamedTuple):
    """Value and rank of one class in each row of scores."""

    value: Tensor
    rank: Tensor


@of_capture
def logit_lens(capture: Capture, *, target: int | str | None = None, top: int = 5) -> LogitLens:
    """Probability and rank of a class when the head reads the tokens of every layer.

    target: the class, by number or name; None for the predicted class of each image.
    top: number of the most probable classes to keep for each layer.

    If the model's outputs are raw scores, these stand in place of the probabilities.

    The read-out of a layer is the final norm and the head, applied to all tokens that its block
    returned; in the last layer, this is the model's own output. A patch is read alone: the head
    gets a sequence in which every token, also each special token, is that patch's token. So a
    class token, an average and an attention pool all read this patch only.

    Raises `UnsupportedModel` for a model without classes and where the last steps to its output
    are not known, `BadParameter` for a class that does not exist, `OutOfMemory` where the device
    is too small.
    """
    labels = checked_labels(capture.model)
    top = at_least_one(top, "classes")
    head = checked_head(capture)
    layout, images, outputs = capture.layout, len(capture.output), capture.model.outputs
    classes = torch.tensor(target_classes(capture, target), device=capture.output.device)
    top = min(top, len(labels))
    readout, patches, best = [], [], []
    with torch.inference_mode(), memory_refusal(images, layout.token_count, capture.model.device):
        for tokens in capture.tokens:
            scores = _wide(head(tokens))
            readout.append(_follow(scores, classes, outputs))
            highest, places = scores.topk(top, dim=1)
            best.append((output_values(highest, scores, outputs), places))
            patches.append(_patches(tokens[:, layout.prefix_count :], head, classes, capture))
    top_value, top_class = (
        torch.stack(each, dim=1).cpu().numpy() for each in zip(*best, strict=True)
    )
    readout_value, readout_rank, patch_value, patch_rank = (
        torch.stack(each, dim=1).cpu().numpy()
        for each in (*zip(*readout, strict=True), *zip(*patches, strict=True))
    )
    grid = images, len(capture.tokens), *layout.grid
    return LogitLens(
        model=capture.model.id,
        layout=layout,
        photographs=capture.photographs,
        labels=tuple(labels[index] for index in classes.tolist()),
        class_index=classes.cpu().numpy(),
        readout_value=readout_value,
        readout_rank=readout_rank,
        patch_value=patch_value.reshape(grid),
        patch_rank=patch_rank.reshape(grid),
        top_labels=tuple(
            tuple(tuple(labels[index] for index in layer) for layer in image)
            for image in top_class.tolist()
        ),
        top_class_index=top_class,
        top_value=top_value,
        outputs=outputs,
    )


def _patches(
    patches: Float[Tensor, "image patch width"],
    head: Callable[[Tensor], Tensor],
    classes: Int[Tensor, "image"],
    capture: Capture,
) -> _Followed:
    """The class in each patch read alone, (image, patch); in blocks, to keep few scores at once."""
    count = patches.shape[1]
    wanted = classes.repeat_interleave(count)
    alone = patches.flatten(0, 1)[:, None].expand(-1, capture.layout.prefix_count + 1, -1)
    row_bytes = 8 * max(len(capture.model.labels or ()), alone[0].numel())
    found = [
        _follow(_wide(head(alone[block])), wanted[block], capture.model.outputs)
        for block in _blocks(len(alone), max(1, BLOCK_BYTES // row_bytes))
    ]
    return _Followed(
        *(torch.cat(each).unflatten(0, (-1, count)) for each in zip(*found, strict=True))
    )


def _follow(
    scores: Float[Tensor, "row class"], classes: Int[Tensor, "row"], outputs: Outputs
) -> _Followed:
    """Value of a class in each row, and its rank: 1 where no other class scores higher."""
    wanted = scores.gather(1, classes[:, None])
    return _Followed(output_values(wanted, scores, outputs)[:, 0], 1 + (scores > wanted).sum(dim=1))


def _wide(scores: Tensor) -> Tensor:
    return scores.to(compute_type(scores.dtype))


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(0, count, size))
