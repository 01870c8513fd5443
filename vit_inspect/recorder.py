"""One forward pass, and what the softmax of every attention was computed from.

A mode of `torch.overrides` sees each call of `scaled_dot_product_attention` with the very queries,
keys, bias and scale that the model uses, after normalisation, rotation and relative positions,
while the model keeps its fused kernel. Where a block attends inside windows without a fused kernel,
the mode follows its scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import multi_head_attention_forward, scaled_dot_product_attention

from vit_inspect.attention import LayerAttention, memory_refusal, rows
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.images import describe
from vit_inspect.layout import POOL, Box, TokenLayout
from vit_inspect.model import Model
from vit_inspect.multihead import multihead_attention
from vit_inspect.preprocessing import prepare
from vit_inspect.results import Photograph
from vit_inspect.running import Watch
from vit_inspect.windows import Scores, by_token

SHOWN_PX = 1024
"""Longest side of the copy of a photograph that is kept for showing."""

VERIFIED_ROWS = 4
"""Query rows of every block that a capture recomputes, spread evenly; all heads and images."""

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest verified error that a capture may have, by the type of the queries."""


@dataclass(frozen=True, eq=False)
class Capture:
    """Everything the analyses of one batch of photographs start from, on the model's device.

    model, photographs: what was run on what, in the order of the batch.
    pixels: the model input.
    layers: first layer first. Tokens are in the order of `layout`.
    pool: the attention that reads the tokens at the end, where the model has one.
    tokens: what each block returned, before the final norm; none where that is not a row for each
        token of the layout.
    output: what the model returned, (image, ...).
    error: the largest difference, relative to the largest value, between the model's attention
        output and the one recomputed from the recorded queries, keys and values, in
        `VERIFIED_ROWS` query rows of every block.
    """

    model: Model
    photographs: tuple[Photograph, ...]
    pixels: Float[Tensor, "image 3 row column"]
    layers: tuple[LayerAttention, ...]
    pool: LayerAttention | None
    tokens: tuple[Float[Tensor, "image token width"], ...]
    output: Tensor
    error: float

    @property
    def layout(self) -> TokenLayout:
        """The order and the geometry of the tokens."""
        return self.model.layout


def capture(model: Model, image: Image.Image | Sequence[Image.Image]) -> Capture:
    """Run the model once on a picture or a batch of pictures, and record its attention.

    The output is what the model returns without the recording, to the bit. Raises
    `UnsupportedModel` where what was seen is not one softmax over all tokens in every block, or
    over those of the windows that the model is known to have, or does not explain what the
    attention returned, `OutOfMemory` where the device is too small.
    """
    pixels, photographs = _prepared(model, image)
    recorder = _Recorder(model, photographs)
    with (
        memory_refusal(len(photographs), model.layout.token_count, model.device),
        torch.inference_mode(),
        recorder,
    ):
        output = model.module(pixels)
    return recorder.checked(pixels, output)


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradient of a score of each photograph by what its forward pass computed.

    capture: that forward pass, as `capture` records it.
    attended: by softmax(queries keys^T) values of each layer, first layer first.
    pool: by those of the attention that reads the tokens at the end, where the model has one.
    tokens: by what each block returned.
    pixels: by the model input.
    """

    capture: Capture
    attended: tuple[Float[Tensor, "image head token value_width"], ...]
    pool: Float[Tensor, "image head query pool_width"] | None
    tokens: tuple[Float[Tensor, "image token width"], ...]
    pixels: Float[Tensor, "image 3 row column"]


def differentiate(
    model: Model | Capture,
    image: Image.Image | Sequence[Image.Image] | None = None,
    *,
    score: Callable[[Capture], Float[Tensor, "image"]],
) -> Gradients:
    """Run the model once on a picture or a batch, and back from a score of each.

    model, image: as of `capture`, or a capture alone, whose pictures are run once more.
    score: differentiable in `output` and `tokens` of the capture that it is given. A score must
    depend on its own picture alone. No weight gets a gradient, and nothing of the graph is kept.
    Raises what `capture` raises, and `UnsupportedModel` where no gradient comes back.
    """
    if isinstance(model, Capture):
        if image is not None:
            raise BadParameter(
                "a picture beside a capture, which has its own",
                "a capture alone, or a model and a picture",
                "leave one of them out",
            )
        pixels, photographs, model = model.pixels, model.photographs, model.model
    else:
        pixels, photographs = _prepared(model, [] if image is None else image)
    if model.stages:
        raise UnsupportedModel(
            f"{model.id}, whose tokens merge from stage to stage",
            "the same tokens in every layer",
            "choose a plain vision transformer",
        )
    recorder = _Recorder(model, photographs)
    with (
        memory_refusal(len(photographs), model.layout.token_count, model.device),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        # What was made in inference mode takes no part in a graph.
        pixels = pixels.clone().requires_grad_()
        with recorder:
            output = model.module(pixels)
        found = recorder.checked(pixels.detach(), output)
        scores = score(found)
        places = [*model.blocks, None] if found.pool else [*model.blocks]
        attended = [recorder.attended[place] for place in places if place in recorder.attended]
        # Not the rows of a grid, which are a view beside the way to the output.
        returned = [_tensor_of(recorder.returned[block]) for block in model.blocks]
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
            each.reshape(rows.shape)
            for each, rows in zip(gradients[ends:-1], found.tokens, strict=True)
        ),
        pixels=gradients[-1],
    )


def _no_gradient(model: Model) -> UnsupportedModel:
    return UnsupportedModel(
        f"{model.id}, through which no gradient comes back",
        "a network that autograd can follow, with a row of its own for each token in every block",
        "choose a plain vision transformer of timm or transformers",
    )


def _prepared(
    model: Model, image: Image.Image | Sequence[Image.Image]
) -> tuple[Float[Tensor, "image 3 row column"], tuple[Photograph, ...]]:
    """The model input on its device, and the pictures for showing."""
    images = [image] if isinstance(image, Image.Image) else list(image)
    if not images:
        raise BadParameter("no image", "one image or a list of images", "give at least one")
    for each in images:
        if each.mode != "RGB":
            raise BadParameter(
                f"an image of mode {each.mode}",
                "an RGB image",
                "open it with vit_inspect.read_image, or call convert('RGB')",
            )
    prepared = [prepare(each, model.recipe, model.layout.input_px) for each in images]
    pixels = torch.cat([each for each, _ in prepared]).to(model.device, model.dtype)
    return pixels, tuple(
        _photograph(each, seen) for each, (_, seen) in zip(images, prepared, strict=True)
    )


class _Recorder(Watch):
    """Keeps what the attention of this thread was given, by running block.

    Blocks of another stage than the one that is looked at are verified, and not kept.
    """

    def __init__(self, model: Model, photographs: tuple[Photograph, ...]) -> None:
        self.model = model
        self.photographs = photographs
        self.images = len(photographs)
        self.windows: dict[nn.Module, Int[Tensor, "window place"]] = {
            block: windows
            for stage in model.stages
            for block, windows in zip(stage.blocks, stage.windows, strict=True)
        }
        super().__init__({*model.blocks, *self.windows})
        self.scores: Scores | None = None
        self.calls: dict[nn.Module | None, list[LayerAttention]] = {
            block: [] for block in (None, *model.blocks)
        }
        # With what brings a gradient of it into the order of queries.
        self.attended: dict[nn.Module | None, tuple[Tensor, Callable[[Tensor], Tensor]]] = {}
        self.returned: dict[nn.Module, Any] = {}
        self.error = 0.0
        self.tolerance = 0.0

    def leave(self, block: nn.Module, output: Any) -> None:
        """Keep what the block returned."""
        self.block = self.scores = None
        if block in self.calls:
            self.returned[block] = output

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is scaled_dot_product_attention:
            self._record(output, *args, **(kwargs or {}))
        elif func is multi_head_attention_forward:
            # The kernel's call inside it is hidden from a function mode.
            with torch.no_grad():
                layer, project = multihead_attention(*args, **(kwargs or {}))
                self._keep(layer, output[0].transpose(0, 1), project)
            self._mark(output[0], partial(_before_projection, project, layer.values))
        elif self.block in self.windows and args:
            self._follow(getattr(func, "__name__", ""), args, kwargs or {}, output)
        return output

    def _follow(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
    ) -> None:
        """Watch the scores of an attention that no fused kernel computes."""
        scores = self.scores
        if not isinstance(output, Tensor):
            return
        if scores is None or args[0] is not scores.tensor:
            if name == "matmul" and output.dim() == 4:
                self.scores = Scores(output, args[0], args[1].transpose(-2, -1))
        elif name == "matmul" and scores.weights:
            self.scores = None
            self._record(
                output,
                scores.queries,
                scores.keys,
                args[1],
                attn_mask=scores.bias,
                dropout_p=scores.dropout,
                scale=1.0,
            )
        else:
            self.scores = scores.after(name, args[1:], kwargs, output)

    def _record(
        self,
        output: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        for name, present, remedy in (
            ("dropout", dropout_p > 0, "call module.eval() before the capture"),
            ("a causal mask", is_causal, "choose a model in which every token sees all tokens"),
            ("grouped queries", enable_gqa, "choose a model with as many keys as queries"),
        ):
            if present:
                raise UnsupportedModel(
                    f"attention with {name}", "plain attention of all tokens to all tokens", remedy
                )
        bias, windows = attn_mask, None
        if self.block in self.windows:
            windows = self.windows[self.block]
            if query.shape[::2] != (self.images * len(windows), windows.shape[1]):
                raise UnsupportedModel(
                    f"{query.shape[0]} windows of {query.shape[2]} tokens in a block of "
                    f"{self.model.id}",
                    f"{self.images * len(windows)} windows of {windows.shape[1]} tokens",
                    "choose a model whose blocks attend inside the windows that they name",
                )
            query, key, value, output = (
                by_token(each, windows) for each in (query, key, value, output)
            )
            # A mask that is laid out for every image is the same for each.
            bias = None if bias is None else bias[: len(windows)]
        elif query.dim() == 3:
            # SAM joins images and heads in one axis.
            split = (self.images, -1)
            self._mark(output, lambda gradient: gradient.unflatten(0, split))
            query, key, value, output = (
                each.unflatten(0, split) for each in (query, key, value, output)
            )
            bias = None if bias is None else bias.unflatten(0, split)
        else:
            self._mark(output, lambda gradient: gradient)
        if bias is not None:
            if bias.dtype == torch.bool:
                bias = torch.zeros_like(bias, dtype=query.dtype).masked_fill_(~bias, -torch.inf)
            bias = bias[(None,) * (4 - bias.dim())]
        layer = LayerAttention(
            # A network that is being trained may hand over its very parameters.
            queries=query.detach(),
            keys=key.detach(),
            values=value.detach(),
            bias=None if bias is None else bias.detach(),
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            windows=windows,
        )
        self._keep(layer, output.detach(), lambda heads: heads)

    def _mark(self, output: Tensor, arranged: Callable[[Tensor], Tensor]) -> None:
        """Remember what attention returned, if a gradient will be asked for."""
        if torch.is_grad_enabled():
            self.attended[self.block] = output, arranged

    def _keep(
        self, layer: LayerAttention, output: Tensor, project: Callable[[Tensor], Tensor]
    ) -> None:
        if self.block in self.calls:
            self.calls[self.block].append(layer)
        self.error = max(self.error, _verified_error(layer, output, project))
        self.tolerance = TOLERANCE[layer.queries.dtype]

    def checked(self, pixels: Tensor, output: Tensor) -> Capture:
        """The capture, or the reason why it cannot be trusted."""
        layers, pool, tokens = self.checked_layers(), self.checked_pool(), self.checked_tokens()
        found = [each.isfinite().all() for each in (*tokens, output)]
        if not torch.stack(found).all():
            raise self._undefined("the tokens or the output")
        return Capture(
            model=self.model,
            photographs=self.photographs,
            pixels=pixels,
            layers=layers,
            pool=pool,
            tokens=tokens,
            output=output,
            error=self.error,
        )

    def _undefined(self, where: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"infinite or undefined numbers in {where} of {self.model.id}",
            "finite ones",
            "check the weights, or load the model with dtype=torch.float32",
        )

    def checked_layers(self) -> tuple[LayerAttention, ...]:
        """The layers in order, or the reason why they cannot be trusted."""
        model = self.model
        for index, block in enumerate(model.blocks):
            calls = self.calls[block]
            if len(calls) != 1 and block in self.windows:
                raise UnsupportedModel(
                    f"{len(calls) or 'no'} softmaxes of queries and keys in block {index} of "
                    f"{model.id}",
                    "one in every block, whose scores can be followed from product to product",
                    "load the model neither compiled nor scripted, or choose another one",
                )
            if len(calls) != 1:
                raise UnsupportedModel(
                    f"{len(calls) or 'no'} fused attention calls in block {index} of {model.id}",
                    "one call of scaled_dot_product_attention in every block",
                    "load a plain vision transformer that is neither compiled nor scripted, with "
                    "fused attention on (environment variable TIMM_FUSED_ATTN unset or 1)",
                )
            counts = {calls[0].queries.shape[2], calls[0].keys.shape[2]}
            layout = model.layout
            if counts != {layout.token_count}:
                found = " and ".join(str(count) for count in sorted(counts))
                raise UnsupportedModel(
                    f"attention over {found} tokens in block {index} of {model.id}",
                    f"{layout.token_count} ({layout.prefix_count} prefix tokens and "
                    f"{layout.grid[0]} x {layout.grid[1]} patches)",
                    "choose a model in which every token attends to all tokens, or correct the "
                    "layout that was given by hand",
                )
        if not isfinite(self.error):
            raise self._undefined("the attention")
        if self.error > self.tolerance:
            raise UnsupportedModel(
                f"attention outputs of {model.id} that differ by {self.error:.1e} from those "
                "recomputed from its queries and keys",
                f"at most {self.tolerance:.0e}",
                "load the model with a wider dtype, or choose a model whose attention is one "
                "plain softmax",
            )
        return tuple(self.calls[block][0] for block in model.blocks)

    def checked_pool(self) -> LayerAttention | None:
        """The attention that reads the tokens, if the layout says that there is one."""
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

    def checked_tokens(self) -> tuple[Tensor, ...]:
        """What the blocks returned, where it is a row of its own for each token."""
        found = [
            token_rows(self.returned[block], self.images, self.model.layout)
            for block in self.model.blocks
        ]
        rows = tuple(each for each in found if each is not None)
        # What is changed in place by the next block is lost.
        places = {each.untyped_storage().data_ptr() for each in rows}
        return rows if len(places) == len(found) else ()


def token_rows(
    output: object, images: int, layout: TokenLayout
) -> Float[Tensor, "image token width"] | None:
    """What a block returned, as a row for each token; None where it is something else."""
    tokens = _tensor_of(output)
    if isinstance(tokens, Tensor) and tokens.shape[1:-1] == layout.grid:
        # SAM keeps its patches on their grid.
        tokens = tokens.flatten(1, 2)
    if isinstance(tokens, Tensor) and tokens.shape[:-1] == (images, layout.token_count):
        return tokens
    return None


def _tensor_of(output: Any) -> Any:
    """Of what a block returned, what the next one is given."""
    return output[0] if isinstance(output, tuple) else output


def _before_projection(
    project: Callable[[Tensor], Tensor],
    values: Float[Tensor, "image head token value_width"],
    gradient: Float[Tensor, "token image all_widths"],
) -> Float[Tensor, "image head token value_width"]:
    """From the gradient by what the linear output projection returned to that by what it took."""
    with torch.enable_grad():
        heads = torch.zeros_like(values, requires_grad=True)
        (before,) = torch.autograd.grad(project(heads), heads, gradient.transpose(0, 1))
    return before


def _verified_error(
    layer: LayerAttention, output: Tensor, project: Callable[[Tensor], Tensor]
) -> float:
    """Largest difference of some output rows from softmax(q k^T) v, relative to the values.

    `project` makes of the heads' rows what the output holds of them.
    """
    last = layer.queries.shape[2] - 1
    chosen = sorted({round(last * part / (VERIFIED_ROWS - 1)) for part in range(VERIFIED_ROWS)})
    weights = rows(layer, chosen)
    values = layer.values.to(weights.dtype)
    difference = project(weights @ values) - output[..., chosen, :].to(weights.dtype)
    # nan must count as the largest error, not as none.
    error = float(difference.abs().amax() / project(values).abs().amax().clamp_min(1e-30))
    return error if error == error else float("inf")


def _photograph(image: Image.Image, seen: Box) -> Photograph:
    origin = describe(image)
    shown = image.copy()
    shown.thumbnail((SHOWN_PX, SHOWN_PX))
    return Photograph(
        name=origin.name,
        pixels=np.array(shown),
        size_px=(image.height, image.width),
        seen=seen,
        sha256=origin.sha256,
        notices=origin.notices,
    )
