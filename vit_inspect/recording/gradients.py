"""What is the gradient of a score with respect to what a forward pass computed?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.device import memory_refusal
from vit_inspect.errors import UnsupportedModel
from vit_inspect.model import Model
from vit_inspect.recording.inputs import Given, prepared, refuse_both
from vit_inspect.recording.recorder import Capture, Recorder
from vit_inspect.recording.token_order import token_rows


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradient of each photograph's score with respect to what its forward pass computed.

    capture: that forward pass, as `capture` records it.
    attended: with respect to softmax(queries keys^T) values of each layer, first layer first.
    pool: the same for the attention pool, where the model has one.
    tokens: with respect to the output of each block.
    pixels: with respect to the model input.
    """

    capture: Capture
    attended: tuple[Float[Tensor, "image head token value_width"], ...]
    pool: Float[Tensor, "image head query pool_width"] | None
    tokens: tuple[Float[Tensor, "image token width"], ...]
    pixels: Float[Tensor, "image channel row column"]


def differentiate(
    model: Model | Capture,
    image: Given | None = None,
    *,
    score: Callable[[Capture], Float[Tensor, "image"]],
) -> Gradients:
    """Run the model once on a picture or a batch, and differentiate a score of each picture.

    model, image: as for `capture`, or a capture alone, whose pictures are run again.
    score: a differentiable function of `output` and `tokens` of a capture. Each score must depend
    on its own picture alone.

    No weight gets a gradient, and the graph is not kept. Raises what `capture` raises, and
    `UnsupportedModel` where no gradient flows.
    """
    if isinstance(model, Capture):
        refuse_both(image)
        pixels, photographs, model = model.pixels, model.photographs, model.model
    else:
        pixels, photographs = prepared(model, image)
    model.check_same_tokens()
    recorder = Recorder(model, len(photographs))
    with (
        memory_refusal(len(photographs), model.layout.token_count, model.device),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        # Tensors made in inference mode cannot be part of a graph.
        pixels = pixels.clone().requires_grad_()
        with recorder:
            output = model.module(pixels)
        found = recorder.checked(pixels.detach(), output, photographs)
        scores = score(found)
        places = [*model.blocks, None] if found.pool else [*model.blocks]
        attended = [recorder.attended[place] for place in places if place in recorder.attended]
        # Not `found.tokens`: where a block returns a grid, they are a view that the output does
        # not depend on.
        returned = recorder.outputs()
        wanted = [*(raw for raw, _ in attended), *returned, pixels]
        if (
            not found.tokens
            or len(attended) < len(places)
            or not all(each.requires_grad for each in (scores, *wanted))
        ):
            raise _no_gradient(model)
        gradients = torch.autograd.grad(scores.sum(), wanted, allow_unused=True)
    if any(each is None for each in gradients):
        raise _no_gradient(model)
    depth, ends = len(model.blocks), len(places)
    by_attended = tuple(
        arranged(each) for each, (_, arranged) in zip(gradients, attended, strict=False)
    )
    return Gradients(
        capture=replace(
            found,
            tokens=tuple(each.detach() for each in found.tokens),
            output=output.detach(),
        ),
        attended=by_attended[:depth],
        pool=by_attended[depth] if found.pool else None,
        tokens=tuple(
            rows
            for each in gradients[ends:-1]
            if (rows := token_rows(each, len(photographs), model.layout)) is not None
        ),
        pixels=gradients[-1],
    )


def _no_gradient(model: Model) -> UnsupportedModel:
    return UnsupportedModel(
        f"{model.id}, through which no gradient flows",
        "a network that autograd can follow, with one row for each token in every block",
        "choose a plain vision transformer of timm or transformers",
    )
