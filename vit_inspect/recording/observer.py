"""What do the heads do in one forward pass, of which no attention is kept?

The pass gets the output of each attention from blocks of rows, and sums over the rows are taken
from the same block while it is in the cache: queries and keys are multiplied once, and memory is
that of the plain pass and one block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from vit_inspect.attention.blocks import row_blocks
from vit_inspect.attention.layer import LayerAttention, compute_type
from vit_inspect.attention.sweep import Reduction, sweep
from vit_inspect.device import memory_refusal
from vit_inspect.model import Model
from vit_inspect.recording.inputs import Given, input_of, refuse_both
from vit_inspect.recording.recorder import Capture, Heads, Recorder
from vit_inspect.recording.token_order import as_in_network, no_rows, token_rows
from vit_inspect.recording.verification import relative_error, spread_rows

Sums = TypeVar("Sums", bound=Reduction)


@runtime_checkable
class TokenSums(Protocol):
    """Takes what it needs of the tokens after each block."""

    def add(self, layer: int, tokens: Float[Tensor, "image token width"]) -> None:
        """Take the tokens after a block; they may change later."""


class Observer(Recorder, Generic[Sums]):
    """Adds all rows of the model's blocks to a reduction, as they are computed in this thread.

    begin: makes the reduction, once it is known how many heads there are.
    tokens: is given what each block returns, in order.
    """

    def __init__(
        self,
        model: Model,
        images: int,
        begin: Callable[[Heads], Sums],
        tokens: TokenSums | None = None,
    ) -> None:
        super().__init__(model, images)
        self.tokens = tokens
        self.begin = begin
        self.numbers = {block: layer for layer, block in enumerate(model.blocks)}
        self.reduction: Sums | None = None

    def leave(self, block: nn.Module, output: Any) -> None:
        """What a block returns is seen, where somebody asks for it, and not kept."""
        self.block = None
        if self.tokens and not self.stream and block in self.numbers:
            self._see(self.numbers[block], output)

    def call(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Attention of a block in blocks of rows; all else as the network computes it."""
        if function is scaled_dot_product_attention and self.block in self.numbers:
            return self._attend(*args, **kwargs)
        return super().call(function, args, kwargs)

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """Attention that was not computed here is recorded, added, and let go."""
        if function is scaled_dot_product_attention and self.block in self.numbers:
            return output
        return super().called(function, args, kwargs, output)

    def ended(self, output: Tensor) -> Sums:
        """The reduction; raises `UnsupportedModel` if what it holds cannot be trusted."""
        self.checked_layers()
        if self.tokens and self.stream:
            returned = self.stream.tokens()
            if not returned:
                raise no_rows(self.model)
            for layer, each in enumerate(returned):
                self._see(layer, each)
        if self.reduction is None or not output.isfinite().all():
            raise self._undefined("the output")
        return self.reduction

    def _see(self, layer: int, output: Any) -> None:
        """Show the tokens after a block to who asks for them."""
        assert self.tokens is not None
        rows = token_rows(output, self.images, self.model.layout)
        if rows is None:
            raise no_rows(self.model)
        if not rows.isfinite().all():
            raise self._undefined("the tokens")
        self.tokens.add(layer, rows)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """The output of an attention; its rows are added on the way."""
        layer = self.arranged(
            query,
            key,
            value,
            attn_mask,
            scale=scale,
            dropout_p=dropout_p,
            is_causal=is_causal,
            enable_gqa=enable_gqa,
        )
        heads = self._added(layer)
        like = query.new_empty((*query.shape[:-1], value.shape[-1]), device="meta")
        output = self.arrangements[self.block].given(
            as_in_network(heads, self.model.layout, -2), like
        )
        self._verify(output, query, key, value, attn_mask, layer.scale)
        return output

    def _added(self, layer: LayerAttention) -> Tensor:
        """The output of the heads, after all rows of a layer were added."""
        assert self.block is not None
        number = self.numbers[self.block]
        self.check_shape(number, layer)
        if self.reduction is None:
            self.reduction = self.begin(Heads.of(self.model, layer))
        images, heads, queries, _ = layer.queries.shape
        # Heads of a token lie together, as in the output of torch's kernel: nothing is moved again.
        output = layer.values.new_empty(images, queries, heads, layer.values.shape[3])
        output = output.transpose(1, 2)
        values = layer.values.to(compute_type(layer.queries.dtype)).contiguous()
        for block in row_blocks(layer, entropy=self.reduction.needs_entropy):
            output[block.images, :, block.queries] = block.weights @ values[block.images]
            self.reduction.add(number, block)
        # What is checked in the end is their shape.
        self.calls[self.block].append(_empty(layer))
        return output

    def _verify(
        self,
        output: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float,
    ) -> None:
        """Compare some rows with those of the model's own kernel."""
        chosen = spread_rows(query.shape[-2])
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., chosen, :]
        own = scaled_dot_product_attention(
            query[..., chosen, :], key, value, attn_mask=mask, scale=scale
        )
        difference = self.arrangements[self.block].without_padding(
            own - output[..., chosen, :], chosen
        )
        self._take(relative_error(difference, value), {query.dtype, value.dtype})

    def _keep(
        self,
        layer: LayerAttention,
        output: Tensor,
        project: Callable[[Tensor], Tensor],
        dtypes: frozenset[torch.dtype] = frozenset(),
    ) -> None:
        """Attention outside of the kernel: as in a capture, and then added block by block."""
        super()._keep(layer, output, project, dtypes)
        if self.block in self.numbers:
            self._added(self.calls[self.block].pop())


@dataclass(frozen=True, eq=False)
class Pass(Generic[Sums]):
    """One forward pass: the sums over its rows, the model's output, and the error."""

    sums: Sums
    output: Tensor
    error: float


def observed(
    model: Model,
    pixels: Float[Tensor, "image channel row column"],
    begin: Callable[[Heads], Sums],
    tokens: TokenSums | None = None,
) -> Pass[Sums]:
    """Run the model once and sum over all rows of its blocks; parameters as of an `Observer`.

    Raises what `capture` raises of a network.
    """
    observer = Observer(model, len(pixels), begin, tokens)
    with (
        memory_refusal(len(pixels), model.layout.token_count, model.device),
        # Not inference mode: what a network keeps of its first pass, such as a table of positions,
        # could not be trained with afterwards.
        torch.no_grad(),
        observer,
    ):
        output = model.module(pixels)
    return Pass(observer.ended(output), output, observer.error)


def summed(
    of: Model | Capture,
    image: Given | None,
    begin: Callable[[Heads], Sums],
) -> Sums:
    """Sums over all rows: of a capture, or of pictures inside the forward pass of a model.

    Raises `BadParameter` for a picture beside a capture, and what `observed` raises.
    """
    if isinstance(of, Capture):
        refuse_both(image)
        sums = begin(of.heads)
        sweep(of.layers, sums)
        return sums
    return observed(of, input_of(of, image), begin).sums


def _empty(layer: LayerAttention) -> LayerAttention:
    """A layer without its numbers, whose tensors have a shape alone."""
    shapes = {name: getattr(layer, name).to("meta") for name in ("queries", "keys", "values")}
    return replace(layer, bias=None, **shapes)
