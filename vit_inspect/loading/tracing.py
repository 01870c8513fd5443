"""Where does an unknown network compute attention, and what does it apply to the pixels?

One forward pass with hooks on every part; they are removed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, multi_head_attention_forward, scaled_dot_product_attention

from vit_inspect.recording.hooks import CallWatch
from vit_inspect.recording.written_out import Follower


@dataclass(frozen=True, eq=False)
class Trace:
    """What was found in a forward pass.

    attention: for each attention call, in order, the parts that were running, outermost first.
        Calls with fewer queries than keys are left out: they read tokens, but change none.
    queries: of each of these calls the number of queries, and that of the images, windows or heads
        on the first axis.
    channels: number of channels of the input.
    filters: weights of the first convolution on the input's channels; None if there was none.
    stride: of that convolution, as (rows px, columns px).
    output: what the network returned.
    """

    attention: tuple[tuple[nn.Module, ...], ...]
    queries: tuple[tuple[int, int], ...]
    channels: int
    filters: Tensor | None
    stride: tuple[int, ...]
    output: object


def trace(module: nn.Module, pixels: Float[Tensor, "image channel row column"]) -> Trace:
    """Run the network once and record where its attention is; the network is not changed."""
    watch = _Watch(pixels.shape[1])
    hooks = []
    for part in module.modules():
        hooks.append(part.register_forward_pre_hook(watch.enter))
        hooks.append(part.register_forward_hook(watch.leave))
    try:
        with torch.inference_mode(), watch:
            output = module(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return Trace(
        tuple(watch.attention),
        tuple(watch.queries),
        watch.channels,
        watch.filters,
        watch.stride,
        output,
    )


class _Watch(CallWatch):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.running: list[nn.Module] = []
        self.attention: list[tuple[nn.Module, ...]] = []
        self.queries: list[tuple[int, int]] = []
        self.follower = Follower()
        self.filters: Tensor | None = None
        self.stride: tuple[int, ...] = ()

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.running.append(module)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        self.running.pop()

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """Record attention and the first convolution; return the output unchanged."""
        if function is scaled_dot_product_attention:
            self._attend(-2, *args, **kwargs)
        elif function is multi_head_attention_forward:
            self._attend(0, *args, **kwargs)
        elif function is conv2d and self.filters is None:
            self._convolve(*args, **kwargs)
        elif followed := self.follower.called(function, args, kwargs, output):
            self._attend(-2, followed.queries, followed.keys)
        return output

    def _attend(self, axis: int, query: Tensor, key: Tensor, *_: Any, **__: Any) -> None:
        if query.shape[axis] >= key.shape[axis]:
            self.attention.append(tuple(self.running))
            self.queries.append((query.shape[axis], query.shape[0 if axis else 1]))

    def _convolve(
        self,
        pixels: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        *_: Any,
        **__: Any,
    ) -> None:
        if weight.shape[1] == self.channels == pixels.shape[-3]:
            self.filters = weight
            self.stride = tuple(stride) if isinstance(stride, tuple | list) else (stride, stride)
