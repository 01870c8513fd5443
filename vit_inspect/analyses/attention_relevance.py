"""Which patches speak for a class? Gradient-weighted attention (Chefer et al. 2021, 2103.15679)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity, normalize, relu

from vit_inspect.analyses.readout import checked_head, readout_weights
from vit_inspect.attention import RowBlock, compute_type, sweep
from vit_inspect.errors import BadParameter
from vit_inspect.model import Model
from vit_inspect.recorder import Capture, Gradients, capture, differentiate
from vit_inspect.results import AttentionRelevance

Target = int | str | tuple[int, int] | Image.Image | None
"""A class by number or name, a patch as (row, column), another picture, or what suits the model."""

LISTED = 5
"""Classes that a sentence names where several fit."""

Score = Callable[[Capture], Float[Tensor, "image"]]


def attention_relevance(
    model: Model | Capture,
    image: Image.Image | Sequence[Image.Image] | None = None,
    *,
    target: Target = None,
) -> AttentionRelevance:
    """What flows from each patch to the read-out through attention that raises a target.

    The read-out's row of the product over layers of I + E_h[(dA * A)^+], later layers on the left:
    A is the attention, dA the gradient of the target by it. From queries, keys, values and the
    gradient at the attention's output alone, as with O = A V it is dA = dO V^T.

    model, image: a model and a picture or a batch, or a capture alone.
    target: a class of the model, by number or by (part of) its name: its logit is differentiated.
        Or, for any model, a patch (row, column) or another picture: the cosine between what the
        model returns and what it would return if it read that patch, or saw that picture. By
        default each picture's most probable class; for a model without classes its own output,
        as the length of the output along its present direction.

    Beside it are two cheap references on the same gradient: input times gradient, summed over each
    patch, and Grad-CAM (Selvaraju et al. 2016, 1610.02391) on the tokens that enter the last block.
    Costs a forward and a backward pass. Raises `BadParameter` for a target that is not there, and
    `UnsupportedModel` where the read-out is no weighting of tokens or no gradient comes back.
    """
    seen = model if isinstance(model, Capture) else capture(model, _given(image))
    row = readout_weights(seen)
    score, names = _score(seen, target)
    gradients = differentiate(seen, score)
    relevance = _Relevance(gradients, row)
    sweep(gradients.capture.layers, relevance)
    layout = seen.layout
    found = relevance.row.cpu()
    shape = (-1, *layout.grid)
    return AttentionRelevance(
        model=seen.model.id,
        layout=layout,
        photographs=seen.photographs,
        target=names,
        relevance=found[:, layout.prefix_count :].reshape(shape).numpy(),
        prefix_relevance=found[:, : layout.prefix_count].numpy(),
        input_gradient=_input_gradient(gradients).cpu().numpy(),
        grad_cam=_grad_cam(gradients)[:, layout.prefix_count :].reshape(shape).cpu().numpy(),
    )


class _Relevance:
    """Carries the read-out's row back through the layers, block by block."""

    def __init__(self, gradients: Gradients, row: Float[Tensor, "image token"]) -> None:
        self.gradients = gradients
        self.values = [layer.values for layer in gradients.capture.layers]
        self.layer = len(self.values)
        self.row = self.later = row

    def add(self, layer: int, block: RowBlock) -> None:
        """Take in the rows of one block."""
        if layer != self.layer:
            self.layer, self.later = layer, self.row
            self.row = self.row.clone()
        kind = block.weights.dtype
        outer = self.gradients.attended[layer][block.images, :, block.queries].to(kind)
        by_attention = outer @ self.values[layer][block.images].to(kind).transpose(-2, -1)
        raising = by_attention.mul_(block.weights).clamp_(min=0).mean(dim=1)
        later = self.later[block.images, None, block.queries]
        self.row[block.images] += (later @ raising).squeeze(1)


def _given(
    image: Image.Image | Sequence[Image.Image] | None,
) -> Image.Image | Sequence[Image.Image]:
    if image is None:
        raise BadParameter(
            "a model without a picture", "a picture or a batch of them", "add it: (model, image)"
        )
    return image


def _score(seen: Capture, target: Target) -> tuple[Score, tuple[str, ...]]:
    """What is differentiated, and in words for each picture."""
    count = len(seen.pixels)
    if target is None and seen.model.labels is None:
        own = normalize(seen.output.flatten(1).clone(), dim=1)
        return lambda found: (found.output.flatten(1) * own).sum(dim=1), ("its own output",) * count
    if isinstance(target, Image.Image):
        other = capture(seen.model, target).output.clone()
        return _cosine(other), ("similarity to another picture",) * count
    if isinstance(target, tuple):
        return _cosine(_as_read(seen, target)), (f"similarity to patch {target}",) * count
    if target is None:
        classes = seen.output.argmax(dim=1).tolist()
    else:
        classes = [class_index(seen.model, target)] * count
    labels = seen.model.labels or ()
    chosen = torch.tensor(classes, device=seen.output.device)[:, None]
    return (
        lambda found: found.output.gather(1, chosen).squeeze(1),
        tuple(labels[index] for index in classes),
    )


def class_index(model: Model, target: int | str) -> int:
    """The class of the head with this number, this name, or the only one with it in its name."""
    labels = model.labels
    if labels is None:
        raise BadParameter(
            f"the class {target!r} of {model.id}, which has no classes that are known",
            "a patch (row, column) or another picture",
            "choose one of these, or load a classifier",
        )
    if isinstance(target, int):
        if target not in range(len(labels)):
            raise BadParameter(
                f"the class {target}", f"a class of 0..{len(labels) - 1}", "choose one of these"
            )
        return target
    wanted = target.casefold().strip()
    names = [label.casefold() for label in labels]
    fitting = [index for index, name in enumerate(names) if name == wanted] or [
        index for index, name in enumerate(names) if wanted in name
    ]
    if len(fitting) != 1:
        some = ", ".join(f"{index} {labels[index]!r}" for index in fitting[:LISTED])
        more = ", ..." if len(fitting) > LISTED else ""
        raise BadParameter(
            f"the class name {target!r}, which {len(fitting) or 'no'} classes have in theirs",
            f"one of {some}{more}" if fitting else "a name that the model knows",
            "give the number of the class",
        )
    return fitting[0]


def _cosine(other: Tensor) -> Score:
    return lambda found: cosine_similarity(found.output.flatten(1), other.flatten(1), dim=1)


def _as_read(seen: Capture, patch: tuple[int, int]) -> Tensor:
    """What the model would return if its last tokens all were this patch's."""
    head, token = checked_head(seen), seen.layout.token(patch)
    places = seen.layout.prefix_count + 1
    with torch.no_grad():
        return head(seen.tokens[-1][:, [token]].clone().expand(-1, places, -1))


def _input_gradient(gradients: Gradients) -> Float[Tensor, "image row column"]:
    """Input times gradient, summed over the pixels and channels of each patch."""
    patch = gradients.capture.layout.patch_px
    product = gradients.capture.pixels * gradients.pixels
    kind = compute_type(product.dtype)
    return avg_pool2d(product.to(kind), patch).sum(dim=1) * (patch[0] * patch[1])


def _grad_cam(gradients: Gradients) -> Float[Tensor, "image token"]:
    """Tokens weighted by the mean gradient of their dimensions; what lowers the target is cut off.

    After the last block nothing of the patches is read any more by a class token.
    """
    depth = max(0, len(gradients.tokens) - 2)
    tokens, gradient = gradients.capture.tokens[depth], gradients.tokens[depth]
    kind = compute_type(tokens.dtype)
    return relu((tokens.to(kind) * gradient.to(kind).mean(dim=1, keepdim=True)).sum(dim=2))
