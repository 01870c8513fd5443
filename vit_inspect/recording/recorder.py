"""What did the attention of every block compute in one forward pass?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import multi_head_attention_forward, scaled_dot_product_attention

from vit_inspect.arguments import one_of, takes
from vit_inspect.attention.layer import AxisBias, LayerAttention, compute_type
from vit_inspect.device import memory_refusal
from vit_inspect.errors import UnsupportedModel
from vit_inspect.layout import POOL, TokenLayout
from vit_inspect.model import Model, of_model
from vit_inspect.pictures.given import Picture
from vit_inspect.recording.arranging import arrangements
from vit_inspect.recording.hooks import Watch
from vit_inspect.recording.inputs import Given, prepared
from vit_inspect.recording.multihead import multihead_attention
from vit_inspect.recording.stream import Stream
from vit_inspect.recording.token_order import as_recorded, tensor_of, token_rows
from vit_inspect.recording.verification import TOLERANCE, verified_error
from vit_inspect.recording.written_out import Follower
from vit_inspect.records.base import Photograph


@dataclass(frozen=True, eq=False)
class Capture:
    """One forward pass: all that the analyses of a batch of photographs need, on its device.

    model, photographs: the model, and the photographs in the order of the batch.
    pixels: the model input.
    layers: first layer first. Tokens are in the order of `layout`.
    pool: the attention pool at the end, where the model has one.
    tokens: those after each block, before the final norm; empty where a block does not return one
        row for each token of the layout, or they are not known.
    output: output of the model, (image, ...).
    error: the largest difference, relative to the largest value, between the model's attention
        output and the one recomputed from the recorded queries, keys and values, in
        `VERIFIED_ROWS` query rows of every block.
    """

    model: Model
    photographs: tuple[Photograph, ...]
    pixels: Float[Tensor, "image channel row column"]
    layers: tuple[LayerAttention, ...]
    pool: LayerAttention | None
    tokens: tuple[Float[Tensor, "image token width"], ...]
    output: Tensor
    error: float

    @property
    def layout(self) -> TokenLayout:
        """The order and the geometry of the tokens."""
        return self.model.layout

    @property
    def heads(self) -> Heads:
        """All heads, for sums over their rows."""
        # Captures made by hand may have fewer layers than their model has blocks.
        return Heads.of(self.model, self.layers[0])._replace(layers=len(self.layers))

    @property
    def layer_count(self) -> int:
        """Number of layers, of the model's stage."""
        return len(self.model.blocks)

    @property
    def head_count(self) -> int:
        """Number of heads in each layer."""
        return self.layers[0].queries.shape[1]

    def check_layer(self, layer: int) -> int:
        """The number of a layer; raises `BadParameter` for one that does not exist."""
        return one_of(layer, self.layer_count, "layer")

    def check_head(self, layer: int, head: int) -> tuple[int, int]:
        """The numbers of a layer and a head; raises `BadParameter` for one that does not exist."""
        layer = self.check_layer(layer)
        return layer, one_of(head, self.head_count, "head", f" of layer {layer}")


class Heads(NamedTuple):
    """The heads of a forward pass, and where sums over their rows are kept."""

    model: Model
    images: int
    layers: int
    heads: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, model: Model, layer: LayerAttention) -> Heads:
        """Those of a model, one of whose layers is known."""
        images, heads = layer.queries.shape[:2]
        kind = compute_type(layer.queries.dtype)
        return cls(model, images, len(model.blocks), heads, kind, layer.queries.device)

    @property
    def layout(self) -> TokenLayout:
        """The order and the geometry of the tokens."""
        return self.model.layout

    def zeros(self, *axes: int) -> Float[Tensor, "image layer head *axes"]:
        """A sum for each head, of numbers along these axes."""
        shape = (self.images, self.layers, self.heads, *axes)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)


of_capture = takes(Capture, "what vit_inspect.capture(model, picture) returns")
"""Decorates functions of a capture."""


@of_model
def capture(
    model: Model,
    image: Given | None = None,
    *,
    pixels: Tensor | Sequence[Tensor] | None = None,
    shown: Picture | Sequence[Picture] | None = None,
    bands: Sequence[int] | None = None,
) -> Capture:
    """Run the model once on a picture or a batch of pictures, and record its attention.

    image: an RGB picture of Pillow, a path, or an array (row, column, 3) of uint8 or of floats in
        0..1; or a list of these. A network of one channel sees it as grey; a network
        with another number of channels than 1 or 3 takes no pictures. A tensor is taken as
        `pixels`.
    pixels: in place of `image`, the model's input itself, a normalised tensor (image, channel, row,
        column) as `Model.prepare` makes it, or a list of tensors (channel, row, column).
    shown: what figures show in place of `pixels`: a picture of the same scene, all of which became
        the input, or a list with one for each image.
    bands: which channels of `pixels` figures show, from 0, where nothing is `shown`: three as red,
        green and blue, or one as grey. Their normalisation is undone, and values are cut to 0..1.
        By default all channels, if there are one or three.

    The output is the same as without recording, to the bit. Raises `BadParameter` for an
    `image` or `pixels` that this model cannot take; `UnsupportedModel` where a block does not have
    exactly one softmax over all tokens (or over those of the model's known windows), or where the
    recorded queries, keys and values do not give the attention's output; `OutOfMemory` where the
    device is too small.
    """
    pixels, photographs = prepared(model, image, pixels=pixels, shown=shown, bands=bands)
    recorder = Recorder(model, len(photographs))
    with (
        memory_refusal(len(photographs), model.layout.token_count, model.device),
        torch.inference_mode(),
        recorder,
    ):
        output = model.module(pixels)
    return recorder.checked(pixels, output, photographs)


class Recorder(Watch):
    """Keeps the inputs of every attention call in this thread, by block.

    Blocks of other stages than the model's are verified, but not kept.
    """

    def __init__(self, model: Model, images: int) -> None:
        self.model = model
        self.images = images
        self.arrangements = arrangements(model, self.images)
        super().__init__([each for each in self.arrangements if each])
        self.follower = Follower()
        self.calls: dict[nn.Module | None, list[LayerAttention]] = {
            block: [] for block in (None, *model.blocks)
        }
        # Output of attention, and a function that brings its gradient into the order of queries.
        self.attended: dict[nn.Module | None, tuple[Tensor, Callable[[Tensor], Tensor]]] = {}
        self.returned: dict[nn.Module, Any] = {}
        self.stream = Stream() if model.branches else None
        self.error = 0.0
        self.tolerance = 0.0

    def enter(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Remember which block is running."""
        if self.stream:
            self.stream.enter(args)
        return super().enter(block, args)

    def leave(self, block: nn.Module, output: Any) -> None:
        """Keep the output of the block."""
        self.block = None
        if block in self.calls:
            self.returned[block] = output

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """Keep the inputs of attention; return the output unchanged."""
        if self.stream and self.block is None:
            self.stream.called(function, args, output)
        if function is scaled_dot_product_attention:
            self._record(output, *args, **kwargs)
        elif function is multi_head_attention_forward:
            # A function mode does not see the call of the kernel inside it.
            arrangement = self.arrangements[self.block]
            with torch.no_grad():
                made, project = multihead_attention(*args, **kwargs)
                parts = made.queries, made.keys, made.values, made.bias, made.scale
                layer = self._ordered(arrangement.layer(*parts, name=self.model.id))
                # The projection has made the heads one.
                joint = as_recorded(
                    arrangement.tokens(output[0].transpose(0, 1)[:, None]), self.model.layout, -2
                )
                self._keep(layer, joint[:, 0], project)
            before = partial(_before_projection, project, made.values)
            self._mark(output[0], lambda gradient: arrangement.tokens(before(gradient)))
        elif (followed := self.follower.called(function, args, kwargs, output)) and len(
            followed.queries
        ) % self.images == 0:
            self._record(
                output,
                followed.queries,
                followed.keys,
                followed.values,
                attn_mask=followed.bias,
                dropout_p=followed.dropout,
                scale=followed.scale,
                heads=followed.heads,
                dtypes=followed.dtypes,
            )
        return output

    def _record(
        self,
        output: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | AxisBias | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        heads: Callable[[Tensor], Tensor] = lambda output: output,
        dtypes: frozenset[torch.dtype] = frozenset(),
    ) -> None:
        """Keep an attention.

        heads: brings its output into the order of the queries.
        dtypes: of the scores, where they are not those of queries and values.
        """
        parts = query, key, value, attn_mask
        layer = self.arranged(
            *parts, scale=scale, dropout_p=dropout_p, is_causal=is_causal, enable_gqa=enable_gqa
        )
        arrangement = self.arrangements[self.block]
        with torch.no_grad():
            arranged = as_recorded(
                arrangement.tokens(heads(output.detach())), self.model.layout, -2
            )
        self._mark(output, lambda gradient: arrangement.tokens(heads(gradient)))
        self._keep(layer, arranged, lambda heads: heads, dtypes)

    def arranged(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | AxisBias | None,
        *,
        scale: float | None,
        dropout_p: float,
        is_causal: bool,
        enable_gqa: bool,
    ) -> LayerAttention:
        """The attention that the network's own tensors are, its tokens in the layout's order."""
        for name, present, remedy in (
            ("dropout", dropout_p > 0, "call module.eval() before the capture"),
            ("a causal mask", is_causal, "choose a model in which every token attends to all"),
            ("grouped queries", enable_gqa, "choose a model with as many keys as queries"),
        ):
            if present:
                raise UnsupportedModel(
                    f"attention with {name}", "plain attention of all tokens to all tokens", remedy
                )
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        with torch.no_grad():
            parts = query, key, value, bias, scale
            return self._ordered(self.arrangements[self.block].layer(*parts, name=self.model.id))

    def _mark(self, output: Tensor, arranged: Callable[[Tensor], Tensor]) -> None:
        """Keep the output of attention, if gradients are enabled."""
        if torch.is_grad_enabled():
            layout = self.model.layout
            self.attended[self.block] = (
                output,
                lambda gradient: as_recorded(arranged(gradient), layout, -2),
            )

    def _keep(
        self,
        layer: LayerAttention,
        output: Tensor,
        project: Callable[[Tensor], Tensor],
        dtypes: frozenset[torch.dtype] = frozenset(),
    ) -> None:
        if self.block in self.calls:
            self.calls[self.block].append(layer)
        error = verified_error(layer, output, project)
        self._take(error, {layer.queries.dtype, layer.values.dtype, *dtypes})

    def _take(self, error: float, dtypes: Set[torch.dtype]) -> None:
        """Keep the largest error, and what is allowed for the narrowest of all types."""
        self.error = max(self.error, error)
        self.tolerance = max(self.tolerance, *(TOLERANCE[each] for each in dtypes))

    def _ordered(self, layer: LayerAttention) -> LayerAttention:
        """An attention with its tokens in the order of the layout."""
        return _reordered(layer, self.model.layout) if self.model.layout.trailing else layer

    def checked(
        self, pixels: Tensor, output: Tensor, photographs: tuple[Photograph, ...]
    ) -> Capture:
        """The capture; raises `UnsupportedModel` if it cannot be trusted."""
        layers, pool, tokens = self.checked_layers(), self.checked_pool(), self.checked_tokens()
        found = [each.isfinite().all() for each in (*tokens, output)]
        if not torch.stack(found).all():
            raise self._undefined("the tokens or the output")
        return Capture(
            model=self.model,
            photographs=photographs,
            pixels=pixels,
            layers=layers,
            pool=pool,
            tokens=tokens,
            output=output,
            error=self.error,
        )

    def _undefined(self, where: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"infinite or NaN values in {where} of {self.model.id}",
            "finite values",
            "check the weights, or load the model with dtype=torch.float32",
        )

    def checked_layers(self) -> tuple[LayerAttention, ...]:
        """The layers in order; raises `UnsupportedModel` if they cannot be trusted."""
        model = self.model
        for index, block in enumerate(model.blocks):
            calls = self.calls[block]
            if len(calls) != 1:
                raise UnsupportedModel(
                    f"{len(calls) or 'no'} softmaxes of queries and keys in block {index} of "
                    f"{model.id}",
                    "one in every block: in a fused kernel, or written out in steps that can be "
                    "followed",
                    "load the model neither compiled nor scripted, or choose another one",
                )
            self.check_shape(index, calls[0])
        if not isfinite(self.error):
            raise self._undefined("the attention")
        if self.error > self.tolerance:
            raise UnsupportedModel(
                f"attention outputs of {model.id} that differ by {self.error:.1e} from those "
                "recomputed from its queries and keys",
                f"at most {self.tolerance:.0e}",
                "load the model with a wider dtype, or choose a model whose attention is one "
                "plain softmax"
                + (", with windows filled up by zeros" if model.layout.padded else ""),
            )
        return tuple(self.calls[block][0] for block in model.blocks)

    def check_shape(self, index: int, layer: LayerAttention) -> None:
        """Refuse an attention that is not over the tokens of the layout."""
        model = self.model
        if len(layer.queries) != self.images:
            raise UnsupportedModel(
                f"queries of {len(layer.queries)} images in block {index} of {model.id}",
                f"{self.images}, one for each picture, on the first axis",
                "choose a model whose attention has its axes in the order image, head, token; "
                "square windows need the attribute window_size, their side, of each block",
            )
        layout = model.layout
        counts = {layer.queries.shape[2], layer.keys.shape[2] - int(layout.padded)}
        if counts != {layout.token_count}:
            found = " and ".join(str(count) for count in sorted(counts))
            raise UnsupportedModel(
                f"attention over {found} tokens in block {index} of {model.id}",
                f"{layout.token_count} ({layout.prefix_count} special tokens and "
                f"{layout.grid[0]} × {layout.grid[1]} patches)",
                "choose a model in which every token attends to all tokens, or correct the "
                "layout that you gave",
            )

    def checked_pool(self) -> LayerAttention | None:
        """The attention pool, if the layout has one."""
        calls, layout = self.calls[None], self.model.layout
        if layout.readout != POOL:
            return None
        if len(calls) != 1 or calls[0].keys.shape[2] not in (
            layout.token_count,
            layout.patch_count,
        ):
            raise UnsupportedModel(
                f"{len(calls)} attention calls after the last block",
                "one, which pools the tokens",
                "choose a model with a class token or average pooling",
            )
        return calls[0]

    def outputs(self) -> list[Any]:
        """The tokens after each block, as the network has them; empty if they are not known."""
        if self.stream:
            return self.stream.tokens()
        return [tensor_of(self.returned[block]) for block in self.model.blocks]

    def checked_tokens(self) -> tuple[Tensor, ...]:
        """The tokens after each block, if each has one row for each token; else empty."""
        outputs = self.outputs()
        found = [token_rows(each, self.images, self.model.layout) for each in outputs]
        rows = tuple(each for each in found if each is not None)
        if len(rows) < len(found):
            return ()
        # If a block changes its input in place, the output of the block before is lost.
        places = {each.untyped_storage().data_ptr() for each in outputs}
        return rows if len(places) == len(rows) else ()


def _reordered(layer: LayerAttention, layout: TokenLayout) -> LayerAttention:
    """An attention with its tokens in the order of the layout."""
    bias = layer.bias
    return replace(
        layer,
        queries=as_recorded(layer.queries, layout, 2),
        keys=as_recorded(layer.keys, layout, 2),
        values=as_recorded(layer.values, layout, 2),
        bias=as_recorded(as_recorded(bias, layout, 2), layout, 3)
        if isinstance(bias, Tensor)
        else bias,
    )


def _before_projection(
    project: Callable[[Tensor], Tensor],
    values: Float[Tensor, "image head key value_width"],
    gradient: Float[Tensor, "query image all_widths"],
) -> Float[Tensor, "image head query value_width"]:
    """The gradient at the input of the linear output projection, from that at its output."""
    with torch.enable_grad():
        # A pool has fewer queries than keys.
        shape = (*values.shape[:2], len(gradient), values.shape[-1])
        heads = values.new_zeros(shape, requires_grad=True)
        (before,) = torch.autograd.grad(project(heads), heads, gradient.transpose(0, 1))
    return before
