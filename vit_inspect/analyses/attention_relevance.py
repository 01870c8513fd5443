"""Which patches support a target? Gradient-weighted attention (Chefer et al. 2021, 2103.15679)."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity, normalize, pad, relu

from vit_inspect.analyses.readout import checked_head, readout_weights
from vit_inspect.analyses.targets import class_index, target_classes
from vit_inspect.arguments import takes
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.layer import compute_type
from vit_inspect.attention.rows import rows
from vit_inspect.attention.sweep import Reduction, sweep
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.model import Model
from vit_inspect.recording.gradients import Gradients, differentiate
from vit_inspect.recording.inputs import Given
from vit_inspect.recording.recorder import Capture, capture
from vit_inspect.records.evidence import AttentionRelevance

Target = int | str | tuple[int, int] | Image.Image | None
"""A class by number or name, a patch as (row, column), another picture, or None: the default."""


STILL = 1e-4
"""A length is still that moves by no more than this share where each pixel moves by its value."""

SAME = 1e-6
"""A cosine this close to 1 compares a picture with itself; its gradient is 0."""


@takes(Model | Capture, "what vit_inspect.load or vit_inspect.capture returns")
def attention_relevance(
    model: Model | Capture,
    image: Given | None = None,
    *,
    target: Target = None,
) -> AttentionRelevance:
    """How much each patch supports a target, through attention; negative contributions are 0.

    The read-out's row of the product over layers of I + E_h[(dA * A)^+], later layers on the left:
    A is the attention, dA the gradient of the target with respect to A, E_h the mean over heads.
    Computed from queries, keys, values and the gradient at the attention's output: O = A V, so
    dA = dO V^T. The first row is one-hot for a class token and uniform for averages; for an
    attention pool it is E_h[(dA * A)^+] of the pool.

    model, image: a model and a picture or a batch, or a capture alone, whose pictures run again.
    target: a class of the model, by number or by (part of) its name: its logit, or its raw score,
        is differentiated, and no probability.
        Or, for any model, another picture: the cosine between the model's outputs for the two.
        Or, where the model's last steps are known, a patch (row, column): the cosine to its output
        if it read that patch alone. By default the class of each picture's largest output; for a
        model without classes, the length of its output along the output's own direction.

    The record also has two simple maps from the same gradient: input times gradient, summed over
    each patch, and Grad-CAM (Selvaraju et al. 2016, 1610.02391) on the tokens that enter the last
    block. Costs a forward and a backward pass. Raises `BadParameter` for a target that does not
    exist or is the picture itself, and `UnsupportedModel` where the read-out is not a weighted
    mean of tokens, no gradient flows, or the output of a model without classes always has the same
    length.
    """
    relevance = RelevanceReduction(model, image, target=target)
    sweep(relevance.gradients.capture.layers, relevance)
    return relevance.result()


class RelevanceReduction(Reduction):
    """Runs the model forward and back, then multiplies the read-out's row by the layers.

    Blocks of rows come last layer first. They can be from any capture of the same pictures.
    """

    def __init__(
        self,
        model: Model | Capture,
        image: Given | None = None,
        *,
        target: Target = None,
    ) -> None:
        if not (target is None or isinstance(target, Image.Image | tuple)):
            # Refuse a wrong class before anything runs.
            class_index(model.model if isinstance(model, Capture) else model, target)
        self.target = target
        self.gradients = differentiate(model, image, score=partial(_score, target))
        if target is None and self.gradients.capture.model.labels is None:
            _check_moves(self.gradients)
        self.values = [layer.values for layer in self.gradients.capture.layers]
        self.layer = len(self.values)
        self.row = self.later = _read(self.gradients)

    def add(self, layer: int, block: RowBlock) -> None:
        """Add the rows of one block."""
        if layer != self.layer:
            self.layer, self.later = layer, self.row
            self.row = self.row.clone()
        kind = block.weights.dtype
        outer = self.gradients.attended[layer][block.images, :, block.queries].to(kind)
        raising = _raising(block.weights, outer, self.values[layer][block.images])
        later = self.later[block.images, None, block.queries]
        # No token is behind the padding.
        padding = int(self.gradients.capture.layout.padded)
        self.row[block.images] += (later @ raising)[:, 0, padding:]

    def result(self) -> AttentionRelevance:
        """The record, after all blocks were added."""
        seen = self.gradients.capture
        layout = seen.layout
        found = self.row.cpu()
        shape = (-1, *layout.grid)
        grad_cam = _grad_cam(self.gradients)[:, layout.prefix_count :].reshape(shape)
        return AttentionRelevance(
            model=seen.model.id,
            layout=layout,
            photographs=seen.photographs,
            target=_in_words(self.target, seen),
            relevance=found[:, layout.prefix_count :].reshape(shape).numpy(),
            prefix_relevance=found[:, : layout.prefix_count].numpy(),
            input_gradient=_input_gradient(self.gradients).cpu().numpy(),
            grad_cam=grad_cam.cpu().numpy(),
        )


def _raising(
    weights: Float[Tensor, "image head query key"],
    outer: Float[Tensor, "image head query value_width"],
    values: Float[Tensor, "image head key value_width"],
) -> Float[Tensor, "image query key"]:
    """E_h[(dA * A)^+] of some rows of attention; `outer` is the gradient at their output."""
    by_attention = outer @ values.to(outer.dtype).transpose(-2, -1)
    return by_attention.mul_(weights).clamp_(min=0).mean(dim=1)


def _read(gradients: Gradients) -> Float[Tensor, "image token"]:
    """The read-out's row: how much it reads each token of the last block.

    All tokens reach the output through an attention pool only. Without the gradient, the pool's
    attention would be in every map, whatever the target.
    """
    pool, outer = gradients.capture.pool, gradients.pool
    if pool is None or outer is None:
        return readout_weights(gradients.capture)
    weights = rows(pool, range(pool.queries.shape[2]))
    row = _raising(weights, outer.to(weights.dtype), pool.values).sum(dim=1)
    # Some pools do not read the special tokens.
    return pad(row, (gradients.capture.layout.token_count - row.shape[1], 0))


def _score(target: Target, found: Capture) -> Float[Tensor, "image"]:
    """The target's score in one forward pass, which is differentiated."""
    output = found.output.flatten(1)
    if isinstance(target, Image.Image):
        # Tensors made in inference mode cannot be part of a graph.
        cosine = cosine_similarity(output, capture(found.model, target).output.clone().flatten(1))
        if cosine.max() > 1 - SAME:
            raise BadParameter(
                "a target picture with the same output as the picture itself",
                "another picture",
                "leave out the target, to explain the model's own output",
            )
        return cosine
    if isinstance(target, tuple):
        return cosine_similarity(output, _as_read(found, target).flatten(1))
    if classes := target_classes(found, target):
        return output.gather(1, torch.tensor(classes, device=output.device)[:, None]).squeeze(1)
    return (output * normalize(output.detach())).sum(dim=1)


def _check_moves(gradients: Gradients) -> None:
    """Refuse a length that is the same for all pictures, such as that of a normalised output.

    Its gradient is a rounding error. The changes are to first order, for each pixel its own value.
    """
    seen = gradients.capture
    changes = (seen.pixels * gradients.pixels).flatten(1).abs().sum(dim=1)
    if (changes <= STILL * seen.output.flatten(1).norm(dim=1)).all():
        raise UnsupportedModel(
            f"the output of {seen.model.id}, whose length is the same for all pictures",
            "an output whose length says something",
            "give a target: a patch, or another picture",
        )


def _in_words(target: Target, found: Capture) -> tuple[str, ...]:
    """The target of each picture, in words."""
    if isinstance(target, Image.Image | tuple):
        other = "another picture" if isinstance(target, Image.Image) else f"patch {target}"
        return (f"similarity to {other}",) * len(found.pixels)
    labels = found.model.labels or ()
    named = tuple(labels[index] for index in target_classes(found, target))
    return named or ("its own output",) * len(found.pixels)


def _as_read(seen: Capture, patch: tuple[int, int]) -> Tensor:
    """The output of the model if all its last tokens were the token of this patch."""
    head, token = checked_head(seen), seen.layout.token(patch)
    places = seen.layout.prefix_count + 1
    with torch.no_grad():
        return head(seen.tokens[-1][:, [token]].clone().expand(-1, places, -1))


def _input_gradient(gradients: Gradients) -> Float[Tensor, "image row column"]:
    """Input times gradient, summed over the pixels and channels of each patch.

    Patches that overlap share pixels, which count in each of them.
    """
    layout = gradients.capture.layout
    rows, columns = layout.covered_px
    product = (gradients.capture.pixels * gradients.pixels)[..., :rows, :columns]
    kind, (height, width) = compute_type(product.dtype), layout.patch_px
    means = avg_pool2d(product.to(kind), layout.patch_px, layout.cell_px)
    return means.sum(dim=1) * (height * width)


def _grad_cam(gradients: Gradients) -> Float[Tensor, "image token"]:
    """Tokens weighted by the mean gradient of each dimension; negative values are set to 0.

    The mean is over the patches. The tokens are those that enter the last block: after it, a class
    token reads no patches any more. With a single block, its output is used.
    """
    depth, prefix = max(0, len(gradients.tokens) - 2), gradients.capture.layout.prefix_count
    tokens, gradient = gradients.capture.tokens[depth], gradients.tokens[depth]
    kind = compute_type(tokens.dtype)
    weights = gradient[:, prefix:].to(kind).mean(dim=1, keepdim=True)
    return relu((tokens.to(kind) * weights).sum(dim=2))
