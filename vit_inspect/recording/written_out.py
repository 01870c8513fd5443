"""What is the softmax computed from, in attention without a fused kernel?

Much code computes attention step by step: a product of queries and keys, a softmax, a product with
the values. The scores are followed through the network's own operations, from the first product to
the last. A step that is not known ends the following: then no attention is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vit_inspect.attention.layer import AxisBias

_PRODUCTS = ("matmul", "bmm", "baddbmm", "einsum")

_UNCHANGED = (
    *("to", "type", "type_as", "float", "double", "half", "bfloat16"),
    *("contiguous", "clone", "detach", "data"),
)
_MOVED = ("transpose", "swapaxes", "swapdims", "permute", "movedim", "mT", "T")
_RESHAPED = ("view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze")

_HIDDEN = -1e4
"""A score as low as this, or lower, gives a weight of 0."""


@dataclass(frozen=True, eq=False)
class WrittenOut:
    """An attention whose last product has just been computed.

    queries, keys, values, bias, scale: as in `LayerAttention`; images and heads may be one axis.
    dropout: share of the weights that the network drops.
    dtypes: types that the scores and weights had on the way.
    axes: the axes of the product in the order of the queries.
    """

    queries: Float[Tensor, "*images_heads query width"]
    keys: Float[Tensor, "*images_heads key width"]
    values: Float[Tensor, "*images_heads key value_width"]
    bias: Float[Tensor, "*#images_heads #query key"] | AxisBias | None
    scale: float
    dropout: float
    dtypes: frozenset[torch.dtype]
    axes: tuple[int, ...]

    def heads(self, product: Tensor) -> Float[Tensor, "*images_heads query value_width"]:
        """The network's product, or its gradient, in the order of the queries."""
        return product.permute(self.axes)

    def product(self, heads: Float[Tensor, "*images_heads query value_width"]) -> Tensor:
        """The outputs of the heads as the network orders them."""
        return heads.permute([self.axes.index(axis) for axis in range(heads.dim())])


class Follower:
    """Follows the scores of all attention that is written out; it keeps none of them alive."""

    def __init__(self) -> None:
        self._scores = WeakTensorKeyDictionary()

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> WrittenOut | None:
        """The attention that this call of a torch function completes; else None."""
        name = getattr(function, "__name__", "")
        # Nearly all calls of a network with fused attention end here.
        if not (name in _PRODUCTS or self._scores) or not args:
            return None
        with torch.no_grad():
            if name in _PRODUCTS:
                return self._multiplied(name, args, kwargs, output)
            following = self._following(name, function, args, kwargs, output)
            if name == "__setitem__" or (name.endswith("_") and not name.endswith("__")):
                self._forget(args[0])
            if kwargs.get("inplace") is True:
                self._forget(args[0])
            self._forget(kwargs.get("out"))
            if following is not None:
                self._scores[output] = replace(following, dtypes=following.dtypes | {output.dtype})
        return None

    def _multiplied(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor
    ) -> WrittenOut | None:
        self._forget(kwargs.get("out"))
        product = _product(name, args)
        if product is None:
            return None
        for weights, values in (product.factors, product.factors[::-1]):
            followed = self._scores.get(weights.tensor)
            if followed is not None and followed.softmax:
                return followed.times(values, weights.axes, product.axes, output)
        scores = _scores(product, output)
        if scores is not None and name == "baddbmm":
            beta = kwargs.get("beta", 1)
            scores = scores.scaled(kwargs.get("alpha", 1))
            scores = scores.plus(args[0] * beta) if beta else scores
        if scores is not None:
            self._scores[output] = scores
        return None

    def _following(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: object,
    ) -> _Scores | None:
        for place, each in enumerate(args[:2]):
            if isinstance(each, Tensor) and each in self._scores and isinstance(output, Tensor):
                others = (*args[:place], *args[place + 1 :])
                return self._scores[each].after(name, function, place, others, kwargs, output)
        return None

    def _forget(self, changed: object) -> None:
        """Scores in the memory of a tensor that was changed are not those that were followed."""
        if isinstance(changed, Tensor):
            memory = changed.untyped_storage().data_ptr()
            for each in list(self._scores):
                if each.untyped_storage().data_ptr() == memory:
                    del self._scores[each]


@dataclass(frozen=True, eq=False)
class _Scores:
    """Attention scores after some of the operations from queries and keys to attention weights.

    They are scale * rows columns^T + bias. Which of the two the queries are, the softmax decides.

    shape: of the scores, as the network has them now.
    axes: their axes in the order (*batch, row, column).
    grid: rows and columns of the keys, while the network has them, and the queries, on two axes.
    softmax: whether they have passed the softmax, which is over the columns.
    dropout: share of the scores or weights that the network drops.
    dtypes: types that the scores and weights had so far.
    """

    rows: Float[Tensor, "*batch row width"]
    columns: Float[Tensor, "*batch column width"]
    shape: torch.Size
    axes: tuple[int, ...]
    bias: Float[Tensor, "*#batch #row #column"] | AxisBias | None = None
    scale: float = 1.0
    grid: tuple[int, int] | None = None
    softmax: bool = False
    dropout: float = 0.0
    dtypes: frozenset[torch.dtype] = frozenset()

    def after(
        self,
        name: str,
        function: Callable[..., Any],
        place: int,
        others: tuple[Any, ...],
        options: Mapping[str, Any],
        output: Tensor,
    ) -> _Scores | None:
        """These scores after a call of a function; None if it is not known.

        place: of the scores among the function's operands.
        others: its other operands.
        """
        if place and (name not in ("mul", "multiply", "add", "where") or "alpha" in options):
            return None
        if name == "__get__":
            name = function.__self__.__name__  # type: ignore[attr-defined]
        name = name.removesuffix("_")
        if self.grid:
            return self._on_grid(self.grid, name, others, options, output)
        if name in _MOVED:
            return self._moved(function, others, options)
        if name in _RESHAPED:
            return self._reshaped(output.shape)
        # All others are element by element.
        if output.shape != self.shape:
            return None
        if name in _UNCHANGED:
            return self
        if name == "dropout":
            return self._dropped(*others, **options)
        if name == "softmax":
            return self._normalised(options.get("dim", *others[:1]))
        if name == "masked_fill":
            return self._hidden(*others, **options)
        if name == "where":
            return self._hidden(others[0].logical_not(), *others[1:]) if place else None
        if len(others) != 1:
            return None
        (other,) = others
        if name in ("mul", "multiply"):
            return self._multiplied(other)
        if name in ("div", "divide", "true_divide") and not options.get("rounding_mode"):
            return self._multiplied(other.reciprocal() if isinstance(other, Tensor) else 1 / other)
        if name in ("add", "sub", "subtract") and not self.softmax:
            sign = (1 if name == "add" else -1) * options.get("alpha", 1)
            # The same number in all scores changes no weight.
            if not isinstance(other, Tensor):
                return self
            # A bias that layers share is not copied for each.
            return self.plus(other if sign == 1 else other * sign)
        return None

    def scaled(self, number: float) -> _Scores:
        """The scores times a number."""
        bias = self.bias
        if isinstance(bias, AxisBias):
            bias = AxisBias(*(each * number for each in bias))
        elif bias is not None:
            bias = bias * number
        return replace(self, scale=self.scale * number, bias=bias)

    def plus(self, part: Tensor) -> _Scores | None:
        """The scores plus a tensor that is broadcast to them; None if that cannot be followed."""
        if isinstance(self.bias, AxisBias):
            return None
        part = self._ordered(part)
        part = part.to(torch.promote_types(part.dtype, self.rows.dtype))
        return replace(self, bias=part if self.bias is None else self.bias + part)

    def times(
        self, values: _Factor, axes: str, product_axes: str, product: Tensor
    ) -> WrittenOut | None:
        """The attention, if the product of these weights with values is one; else None.

        axes, product_axes: the letters of the axes of the weights and of the product.
        """
        *batch, query, key = (axes[axis] for axis in self.axes)
        width = [letter for letter in values.axes if letter not in (*batch, key)]
        if (
            len(batch) > 2
            or len(width) != 1
            or {*values.axes} != {*batch, key, *width}
            or {*product_axes} != {*batch, query, *width}
        ):
            return None
        order = tuple(product_axes.index(letter) for letter in (*batch, query, *width))
        if tuple(product.shape[axis] for axis in order[:-2]) != self.rows.shape[:-2]:
            return None
        bias = self.bias
        if isinstance(bias, Tensor):
            bias = bias.expand(*bias.shape[:-1], self.columns.shape[-2])
            # What a softmax makes of a row without any key depends on how keys are hidden.
            if (bias == -inf).all(dim=-1).any():
                return None
        return WrittenOut(
            queries=self.rows,
            keys=self.columns,
            values=values.ordered((*batch, key, *width), self.rows.shape[:-2]),
            bias=bias,
            scale=self.scale,
            dropout=self.dropout,
            dtypes=self.dtypes,
            axes=order,
        )

    def _ordered(self, operand: Tensor) -> Float[Tensor, "*#batch #row #column"]:
        """A tensor that is broadcast to the scores, in the order of `axes`."""
        return operand[(None,) * (len(self.axes) - operand.dim())].permute(self.axes)

    def _multiplied(self, factor: Any) -> _Scores | None:
        if self.softmax:
            # Networks multiply the weights by a mask of heads, which is 1 everywhere.
            return self if (torch.as_tensor(factor) == 1).all() else None
        if not isinstance(factor, Tensor):
            return self.scaled(factor)
        factor = self._ordered(factor)
        if factor.shape[-1] != 1 or isinstance(self.bias, AxisBias):
            return None
        # Scaling a row of scores is the same as scaling its query.
        return replace(
            self,
            rows=(self.rows * factor).to(self.rows.dtype),
            bias=None if self.bias is None else self.bias * factor,
        )

    def _hidden(self, mask: Tensor, value: Any) -> _Scores | None:
        if self.softmax or torch.as_tensor(value).numel() != 1 or not value <= _HIDDEN:
            return None
        return self.plus(torch.zeros_like(mask, dtype=self.rows.dtype).masked_fill_(mask, -inf))

    def _dropped(
        self, p: float = 0.5, training: bool = True, inplace: bool = False, train: bool = True
    ) -> _Scores:
        return replace(self, dropout=p) if training and train and p else self

    def _normalised(self, axis: Any) -> _Scores | None:
        if self.softmax or axis is None:
            return None
        *batch, row, column = self.axes
        axis %= len(self.axes)
        if axis == column:
            return replace(self, softmax=True)
        if axis != row or isinstance(self.bias, AxisBias):
            return None
        return replace(
            self,
            rows=self.columns,
            columns=self.rows,
            axes=(*batch, column, row),
            bias=None if self.bias is None else self.bias.mT,
            softmax=True,
        )

    def _moved(
        self, function: Callable[..., Any], others: tuple[Any, ...], options: Mapping[str, Any]
    ) -> _Scores:
        # The size of each axis of this tensor names it.
        sizes = torch.empty(tuple(range(len(self.axes))), device="meta")
        source = tuple(function(sizes, *others, **options).shape)
        return replace(
            self,
            shape=torch.Size(self.shape[axis] for axis in source),
            axes=tuple(source.index(axis) for axis in self.axes),
        )

    def _reshaped(self, shape: torch.Size) -> _Scores | None:
        """The scores with other batch axes, or with rows and columns on a grid; else None."""
        if self.axes != tuple(range(len(self.axes))):
            return None
        *before, rows, columns = self.shape
        if [*shape[:-4], prod(shape[-4:-2]), prod(shape[-2:])] == [*before, rows, columns]:
            return replace(self, shape=shape, grid=(shape[-2], shape[-1]))
        if shape[-2:] != self.shape[-2:]:
            return None
        batch, bias = shape[:-2], self.bias
        if isinstance(bias, AxisBias):
            bias = AxisBias(*(each.reshape(*batch, *each.shape[-2:]) for each in bias))
        elif bias is not None:
            own = bias.shape[-2:]
            bias = bias.expand(*self.shape[:-2], *own).reshape(*batch, *own)
        return replace(
            self,
            rows=self.rows.reshape(*batch, *self.rows.shape[-2:]),
            columns=self.columns.reshape(*batch, *self.columns.shape[-2:]),
            shape=shape,
            axes=tuple(range(len(shape))),
            bias=bias,
        )

    def _on_grid(
        self,
        grid: tuple[int, int],
        name: str,
        others: tuple[Any, ...],
        options: Mapping[str, Any],
        output: Tensor,
    ) -> _Scores | None:
        """These scores, on a grid, plus a part for the rows or columns of keys, or off the grid."""
        whole = *self.rows.shape[:-1], self.columns.shape[-2]
        if name in _RESHAPED:
            shape = output.shape
            return replace(self, shape=shape, grid=None) if tuple(shape) == whole else None
        if (
            self.softmax
            or name != "add"
            or options
            or len(others) != 1
            or not isinstance(others[0], Tensor)
        ):
            return None
        if output.shape != self.shape or isinstance(self.bias, Tensor):
            return None
        part, kind = others[0], torch.promote_types(others[0].dtype, self.rows.dtype)
        zeros = [part.new_zeros(*whole[:-1], side, dtype=kind) for side in grid]
        by_row, by_column = self.bias or zeros
        if part.shape == (*self.shape[:-1], 1):
            by_row = by_row + part.reshape(by_row.shape)
        elif part.shape == (*self.shape[:-2], 1, grid[1]):
            by_column = by_column + part.reshape(by_column.shape)
        else:
            return None
        return replace(self, bias=AxisBias(by_row, by_column))


class _Factor(NamedTuple):
    """A factor of a product, and a letter for each of its axes."""

    tensor: Tensor
    axes: str

    def ordered(self, letters: Sequence[str], batch: Sequence[int]) -> Tensor:
        """The tensor with its axes in this order; those of the batch are broadcast."""
        ordered = self.tensor.permute([self.axes.index(letter) for letter in letters])
        return ordered.expand(*batch, *ordered.shape[-2:])


class _Product(NamedTuple):
    """A product of two tensors, as einsum writes it."""

    factors: tuple[_Factor, _Factor]
    axes: str


def _product(name: str, args: tuple[Any, ...]) -> _Product | None:
    """The product that a call computes; None if it is not one of two tensors."""
    equation, *tensors = args if name == "einsum" else ("...ij,...jk->...ik", *args[-2:])
    if len(tensors) != 2 or not isinstance(equation, str) or "->" not in equation:
        return None
    inputs, output = equation.replace(" ", "").split("->")
    named = inputs.split(",")
    unnamed = [
        tensor.dim() - len(letters.replace("...", ""))
        for tensor, letters in zip(tensors, named, strict=True)
    ]
    first, second = (
        _Factor(tensor, letters.replace("...", _letters(count)))
        for tensor, letters, count in zip(tensors, named, unnamed, strict=True)
    )
    if any(len({*each.axes}) != each.tensor.dim() for each in (first, second)):
        return None
    return _Product((first, second), output.replace("...", _letters(max(unnamed))))


def _letters(count: int) -> str:
    """What the axes of an ellipsis are called here; they are aligned at the last one."""
    return "".join(str(axis) for axis in reversed(range(count)))


def _scores(product: _Product, output: Tensor) -> _Scores | None:
    """The scores that a product of queries and keys gives; None if it is another product."""
    first, second = product.factors
    batch = [axis for axis in product.axes if axis in first.axes and axis in second.axes]
    row, column = {*first.axes} - {*second.axes}, {*second.axes} - {*first.axes}
    width = ({*first.axes} & {*second.axes}) - {*product.axes}
    if (
        not batch
        or [len(each) for each in (row, column, width)] != [1, 1, 1]
        or {*product.axes} != {*batch, *row, *column}
    ):
        return None
    axes = tuple(product.axes.index(letter) for letter in (*batch, *row, *column))
    sizes = [output.shape[axis] for axis in axes[:-2]]
    return _Scores(
        rows=first.ordered((*batch, *row, *width), sizes),
        columns=second.ordered((*batch, *column, *width), sizes),
        shape=output.shape,
        axes=axes,
    )
