"""Which functions does a network call in one pass, and which of them takes the outputs of which?

The pass runs on a copy of the modules, whose weights are shared: so hooks can be set on it while
other threads use the network.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary

from vit_inspect.device import memory_refusal
from vit_inspect.model import Model
from vit_inspect.recording.hooks import CallWatch
from vit_inspect.recording.written_out import Follower
from vit_inspect.records.anatomy import Attention, Convolution, Linear, Normalisation, Part, Pooling

ATTENTION, LINEAR = "attention", "linear"
"""The names of calls that complete an attention or apply a matrix, however they are written."""

NORMS = {
    "layer_norm": "LayerNorm",
    "rms_norm": "RMSNorm",
    "group_norm": "GroupNorm",
    "batch_norm": "BatchNorm",
}

_OWN_NORM = re.compile(r"Norm(2d|Act)?$")
"""Ends the class names of normalisations that are written out."""

_IN_PLACE = re.compile("[^_]_$|__setitem__")
"""In the names of functions that change their first argument."""

_STANDARDISING = {"batch_norm", "var_mean", "std_mean", "var", "std"}
"""Functions by which networks standardise the weights of a convolution."""

Weights = frozenset[int]
"""Trained tensors, by `id`."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the pixels, as the argument of a call.

    names: of the functions that made it from `weights`.
    """

    shape: tuple[int, ...]
    weights: Weights
    names: frozenset[str]

    @property
    def size(self) -> int:
        """Number of its values."""
        return int(torch.Size(self.shape).numel())


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a function that depends on the pixels.

    name: of the function, without underscores, or `ATTENTION` or `LINEAR`.
    parents: calls whose outputs it takes.
    ancestors: bits of the indices of all calls before it that it depends on, and its own.
    numbers: its arguments that are numbers.
    part: what the function alone tells of a part of the network.
    """

    index: int
    name: str
    parents: tuple[Call, ...]
    ancestors: int
    constants: tuple[Constant, ...]
    shape: tuple[int, ...]
    numbers: tuple[float, ...] = ()
    part: Part | None = None

    def follows(self, other: Call) -> bool:
        """Whether it depends on another call, or is that call."""
        return bool(self.ancestors >> other.index & 1)

    @property
    def weights(self) -> Weights:
        """The trained tensors that it uses."""
        return frozenset().union(*(each.weights for each in self.constants))


@dataclass(frozen=True, eq=False)
class Pass:
    """The calls of one pass that depend on the pixels, in order; the first one is the input.

    spans: for each stage and block the range of its calls.
    output: shape of what the network returned.
    """

    calls: tuple[Call, ...]
    spans: tuple[tuple[range, ...], ...]
    output: tuple[int, ...]


def one_pass(model: Model) -> Pass:
    """The calls of a pass on a uniform input of the model's size."""
    memo: dict[int, Any] = {
        id(each): each for each in (*model.module.parameters(), *model.module.buffers())
    }
    twin = copy.deepcopy(model.module, memo)
    stages = [each.blocks for each in model.stages] or [model.blocks]
    blocks = [[memo[id(block)] for block in stage] for stage in stages]
    rows, columns = model.layout.input_px
    pixels = torch.zeros(1, model.channels, rows, columns, dtype=model.dtype, device=model.device)
    watch = _Watch(twin)
    with (
        memory_refusal(1, model.layout.token_count, pixels.device),
        torch.inference_mode(),
        watch.on(pixels),
    ):
        output = twin(pixels)
    return Pass(
        tuple(watch.calls),
        tuple(tuple(watch.spans[block] for block in stage) for stage in blocks),
        tuple(output.shape),
    )


class _Watch(CallWatch):
    """Notes the calls of a network that has no other user."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.spans: dict[nn.Module, range] = {}
        self._weights = {id(each) for each in network.parameters()}
        self._known = WeakTensorKeyDictionary()
        self._follower = Follower()
        self._starts: list[int] = []
        for part in network.modules():
            part.register_forward_pre_hook(self._enter)
            part.register_forward_hook(self._leave)

    def on(self, pixels: Tensor) -> _Watch:
        """This watch, for a pass on these pixels."""
        self._add("input", [], pixels)
        return self

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """Note a call; its output is returned unchanged."""
        name = function.__name__.strip("_")
        given = list(_tensors((args, kwargs)))
        result = args[0] if args and _IN_PLACE.search(function.__name__) else output
        followed = self._follower.called(function, args, kwargs, output)
        part: Part | None = None
        if name in _PARTS:
            part = _PARTS[name](*args, **kwargs)
        elif followed is not None:
            part = _attention(followed.queries, followed.keys)
        elif name == "matmul" and id(given[-1]) in self._weights and given[-1].dim() == 2:
            inputs, outputs = given[-1].shape
            part, name = Linear(inputs, outputs, bias=False), LINEAR
        if isinstance(part, Attention):
            name = ATTENTION
            if function is scaled_dot_product_attention:
                part = replace(part, relative=self._is_biased(*args, **kwargs))
        if isinstance(part, Convolution):
            made = self._known.get(given[1])
            standardised = isinstance(made, Constant) and bool(made.names & _STANDARDISING)
            part = replace(part, standardised=standardised)
        if kwargs.get("approximate") == "tanh":
            name = f"{name}_tanh"
        numbers = tuple(each for each in args if isinstance(each, float | int))
        self._add(name, given, result, numbers=numbers, part=part)
        return output

    def _is_biased(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, *_: Any, **__: Any
    ) -> bool:
        """Whether scores get more than a mask: what depends on the pixels or on weights."""
        made = self._known.get(attn_mask) if isinstance(attn_mask, Tensor) else None
        own = id(attn_mask) in self._weights
        return own or isinstance(made, Call) or (made is not None and bool(made.weights))

    def _add(self, name: str, given: list[Tensor], output: Any, **facts: Any) -> None:
        parents, constants = [], []
        for tensor in given:
            known = self._known.get(tensor)
            if isinstance(known, Call):
                parents.append(known)
            else:
                constants.append(known or self._constant(tensor))
        results = list(_tensors(output))
        if not results:
            return
        made: Call | Constant
        if not parents and name != "input":
            weights = frozenset().union(*(each.weights for each in constants))
            names = frozenset({name}).union(*(each.names for each in constants))
            for result in results:
                self._known[result] = Constant(tuple(result.shape), weights, names)
            return
        ancestors = 1 << len(self.calls)
        for parent in parents:
            ancestors |= parent.ancestors
        made = Call(
            index=len(self.calls),
            name=name,
            parents=tuple(dict.fromkeys(parents)),
            ancestors=ancestors,
            constants=tuple(constants),
            shape=tuple(results[0].shape),
            **facts,
        )
        self.calls.append(made)
        if len(results) == 1:
            self._known[results[0]] = made
            return
        # Each of several outputs, such as the halves of a gated MLP, is a call of its own.
        for result in results:
            index = len(self.calls)
            own = Call(index, "output", (made,), ancestors | 1 << index, (), tuple(result.shape))
            self.calls.append(own)
            self._known[result] = own

    def _constant(self, tensor: Tensor) -> Constant:
        own = {id(tensor)} & self._weights
        return Constant(tuple(tensor.shape), frozenset(own), frozenset())

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._starts.append(len(self.calls))

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        start = self._starts.pop()
        self.spans[module] = range(start, len(self.calls))
        if (
            _OWN_NORM.search(type(module).__name__)
            and not list(module.children())
            and isinstance(output, Tensor)
            and not any(call.name in NORMS for call in self.calls[start:])
        ):
            # It is one call, in the place of those that it is written in.
            del self.calls[start:]
            given = list(_tensors((args, list(module.parameters()))))
            self._add("rms_norm", given, output, part=_written_norm(module))


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from _tensors(tuple(values.values()))
    elif isinstance(values, tuple | list):
        for each in values:
            yield from _tensors(each)


def _written_norm(module: Any) -> Normalisation:
    own = list(module.parameters())
    kind = type(module).__name__
    epsilon = next(
        (getattr(module, name) for name in ("eps", "variance_epsilon") if hasattr(module, name)),
        None,
    )
    return Normalisation(
        "RMSNorm" if "rms" in kind.lower() else kind, own[0].numel() if own else None, epsilon
    )


def _linear(_: Tensor, weight: Tensor, bias: Tensor | None = None) -> Linear:
    return Linear(weight.shape[1], weight.shape[0], bias is not None)


def _convolution(
    _: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Convolution:
    return Convolution(
        kernel_px=_pair(weight.shape[2:]),
        stride_px=_pair(stride),
        inputs=weight.shape[1] * groups,
        outputs=weight.shape[0],
        groups=groups,
        bias=bias is not None,
    )


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else (value * 2)[:2]
    return int(rows), int(columns)


def _pooling(kind: str) -> Callable[..., Pooling]:
    def part(_: Tensor, kernel_size: Any, stride: Any = None, *__: Any, **___: Any) -> Pooling:
        return Pooling(kind, _pair(kernel_size), _pair(stride or kernel_size))

    return part


def _normalised(kind: str) -> Callable[..., Normalisation]:
    def part(
        _: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5
    ) -> Normalisation:
        return Normalisation(kind, int(torch.Size(shape).numel()), eps)

    return part


def _group_norm(
    values: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Normalisation:
    return Normalisation("GroupNorm", values.shape[1], eps, groups)


def _batch_norm(values: Tensor, *_: Any, eps: float = 1e-5, **__: Any) -> Normalisation:
    return Normalisation("BatchNorm", values.shape[1], eps)


def _attention(query: Tensor, key: Tensor, *_: Any, **__: Any) -> Attention:
    """What queries and keys (..., token, width) tell; heads follow from the projection."""
    return Attention(
        heads=query.shape[-3] if query.dim() == 4 else None,
        key_heads=key.shape[-3] if key.dim() == 4 else None,
        head_width=query.shape[-1],
        inputs=None,
        output=None,
        bias=False,
    )


def _joint_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    in_weight: Tensor | None,
    in_bias: Tensor | None,
    *_: Any,
    **__: Any,
) -> Attention:
    """That of `nn.MultiheadAttention`, whose projections are in the same call."""
    return Attention(
        heads=heads,
        key_heads=heads,
        head_width=width // heads,
        inputs=query.shape[-1],
        output=width,
        bias=in_bias is not None,
    )


_PARTS: Mapping[str, Callable[..., Part]] = {
    LINEAR: _linear,
    "conv2d": _convolution,
    "layer_norm": _normalised("LayerNorm"),
    "rms_norm": _normalised("RMSNorm"),
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    "max_pool2d": _pooling("maximum"),
    "avg_pool2d": _pooling("mean"),
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": _joint_attention,
}
