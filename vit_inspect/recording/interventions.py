"""What does a model return when something inside its forward pass is changed?

The network itself is not changed: interventions replace the output of its attention or embedding,
in this thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import multi_head_attention_forward, scaled_dot_product_attention

from vit_inspect.device import memory_refusal
from vit_inspect.errors import UnsupportedModel
from vit_inspect.model import Model
from vit_inspect.recording.arranging import arrangements
from vit_inspect.recording.hooks import Watch
from vit_inspect.recording.multihead import multihead_attention
from vit_inspect.recording.stream import is_sum
from vit_inspect.recording.token_order import (
    as_in_network,
    as_recorded,
    as_returned,
    token_rows,
)
from vit_inspect.recording.written_out import Follower

Attended = Float[Tensor, "image head token value_width"]
Embedded = Float[Tensor, "image token width"]


def intervene(
    model: Model,
    pixels: Float[Tensor, "image channel row column"],
    *,
    attended: Callable[[int, Attended], Attended] | None = None,
    embedded: Callable[[Embedded], Embedded] | None = None,
) -> Tensor:
    """Run the model on prepared pixels, and change what it computes inside.

    attended: takes a layer, from 0, and the output of its heads, softmax(queries keys^T) values,
        before heads are concatenated; its return value replaces that output.
    embedded: the same for the tokens that enter the first block.

    Returns the output of the model, (image, ...). Raises `UnsupportedModel` for a hierarchical
    model and where a change cannot be made, `OutOfMemory` where the device is too small.
    """
    model.check_same_tokens()
    intervention = _Intervention(model, len(pixels), attended, embedded)
    device = model.device
    with (
        memory_refusal(len(pixels), model.layout.token_count, device),
        torch.inference_mode(),
        intervention,
    ):
        output = model.module(pixels.to(device, model.dtype))
    intervention.check()
    return output


class _Intervention(Watch):
    def __init__(
        self,
        model: Model,
        images: int,
        attended: Callable[[int, Attended], Attended] | None,
        embedded: Callable[[Embedded], Embedded] | None,
    ) -> None:
        super().__init__(model.blocks)
        self.model = model
        self.images = images
        self.attended = attended
        self.embedded = embedded
        self.layers = {block: layer for layer, block in enumerate(model.blocks)}
        self.arrangements = arrangements(model, images)
        self.follower = Follower()
        self.changed: list[int] = []
        self.entered = False
        # Tokens that the network also adds to the output of the first block, and what they become.
        self.around: tuple[Any, Tensor] | None = None

    def enter(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The first block gets the changed tokens."""
        self.block = block
        if self.embedded is None or self.layers[block] != 0 or not args:
            return None
        tokens, layout = args[0], self.model.layout
        rows = token_rows(tokens, self.images, layout)
        if rows is None:
            return None
        changed = as_returned(self.embedded(rows), tokens, layout)
        if self.model.branches:
            self.around = tokens, changed
        else:
            self.entered = True
        return changed, *args[1:]

    def check(self) -> None:
        """Refuse a change that was not made."""
        seen = self.attended is None or self.changed == list(self.layers.values())
        if not seen or not (self.embedded is None or self.entered):
            raise UnsupportedModel(
                f"{self.model.id}, in which heads or tokens cannot be changed",
                "blocks that take one row for each token, and one attention in each",
                "choose a plain vision transformer of timm or transformers",
            )

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """The output of a block's attention, or of a sum around the first block, changed."""
        if self.around and any(each is self.around[0] for each in args):
            tokens, changed = self.around
            output = function(*(changed if each is tokens else each for each in args), **kwargs)
            self.entered |= is_sum(function)
        layer = self.layers.get(self.block) if self.block else None
        attended = self.attended
        if attended is None or layer is None:
            return output
        # No function of its own: the checks in tests would compile it at each of the many calls.
        changed_heads = partial(self._changed_heads, attended, layer)
        if function is scaled_dot_product_attention:
            return changed_heads(output)
        if function is multi_head_attention_forward:
            inside, project = multihead_attention(*args, **kwargs)
            heads = scaled_dot_product_attention(inside.queries, inside.keys, inside.values)
            return project(changed_heads(heads)).transpose(0, 1), *output[1:]
        followed = self.follower.called(function, args, kwargs, output)
        if followed is not None:
            return followed.product(changed_heads(followed.heads(output)))
        return output

    def _changed_heads(
        self, attended: Callable[[int, Attended], Attended], layer: int, heads: Tensor
    ) -> Tensor:
        """The output of a layer's heads, changed, as the network holds it."""
        layout, arrangement = self.model.layout, self.arrangements[self.block]
        self.changed.append(layer)
        changed = attended(layer, as_recorded(arrangement.tokens(heads), layout, -2))
        return arrangement.given(as_in_network(changed, layout, -2), heads)
