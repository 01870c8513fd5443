"""Which parts do the calls of a pass make up, in which order?

A part is told where the calls show it: what is not recognised is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isclose, prod
from typing import NamedTuple

from vit_inspect.loading.calls import ATTENTION, LINEAR, Call, Weights
from vit_inspect.records.anatomy import (
    Attention,
    Chain,
    Convolution,
    ConvolutionStage,
    LayerScale,
    Linear,
    Mlp,
    Normalisation,
    Part,
    Pooling,
    Position,
    Skip,
    Tokens,
)

ACTIVATIONS = {
    "gelu": "GELU",
    "gelu_tanh": "GELU (tanh)",
    "silu": "SiLU",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "hardswish": "hard swish",
    "tanh": "tanh",
}

_CONVOLUTION = "conv2d"
_SUMS = {"add", "iadd", "radd"}
_PRODUCTS = {"mul", "imul", "rmul"}
_SCORES = {"matmul", "bmm", "baddbmm", "einsum"}
_REPEATS = {"repeat_interleave", "expand", "repeat"}
_QUICK = 1.702

Found = tuple[int, Part, Weights]
"""The index of the call that completes a part, the part, and the trained tensors that it uses."""


class Read(NamedTuple):
    """The parts of some calls.

    weights: the trained tensors that each part uses.
    vectors: how many vectors each part returns, such as one for each token.
    """

    chain: Chain
    weights: tuple[Weights, ...]
    vectors: tuple[int, ...]


def read(calls: Sequence[Call], *, stem: bool = False) -> Read:
    """The parts of neighbouring calls.

    stem: whether sums are those of a convolutional stem; else they are skips.
    """
    if not calls:
        return Read(Chain(), (), ())
    found = sorted(_Segment(calls).found(stem=stem), key=lambda each: each[0])
    made = [calls[index - calls[0].index] for index, _, _ in found]
    return Read(
        _chain(tuple(part for _, part, _ in found), made),
        tuple(weights for _, _, weights in found),
        tuple(_vectors(part, call) for (_, part, _), call in zip(found, made, strict=True)),
    )


def _chain(parts: tuple[Part, ...], calls: Sequence[Call]) -> Chain:
    """The parts, and which of them are beside each other."""
    rows: list[list[Call]] = []
    beside = []
    for index, call in enumerate(calls):
        if rows and not call.follows(rows[-1][-1]):
            rows[-1].append(call)
            beside.append(index)
        else:
            rows.append([call])
    apart = not any(
        call.follows(other) for row in rows for call in row for other in row if call is not other
    )
    joined = all(
        call.follows(other)
        for before, after in pairwise(rows)
        for call in after
        for other in before
    )
    return Chain(parts, tuple(beside), ordered=apart and joined)


def _vectors(part: Part, call: Call) -> int:
    width = call.shape[-1]
    if isinstance(part, Attention):
        width = part.head_width * (part.heads or 1)
    return prod(call.shape) // width


@dataclass(frozen=True, eq=False)
class _Segment:
    calls: Sequence[Call]

    def found(self, *, stem: bool) -> list[Found]:
        """The parts, in no order."""
        used: set[Call] = set()
        skips = {} if stem else self._skips()
        found = self._stages(used) if stem else []
        found += [self._attention(call, skips, used) for call in self._named(ATTENTION)]
        found += self._matrices(skips, used)
        found += [
            (call.index, part, call.weights)
            for call in self.calls
            if call not in used and (part := _single(call))
        ]
        ends = sorted(index for index, _, _ in found)
        # Skips are parts too: where one begins is counted with those before it.
        for call, base in skips.items():
            before = [other.index for other in skips if other.index < call.index]
            start = sum(index <= base.index for index in (*ends, *before)) - 1
            found.append((call.index, Skip(start), frozenset()))
        return found

    def call(self, index: int) -> Call:
        """The call with this index in the pass."""
        return self.calls[index - self.calls[0].index]

    def _named(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    def _back(
        self, start: Iterable[Call], is_end: Callable[[Call], bool]
    ) -> tuple[list[Call], list[Call]]:
        """What some calls depend on, back to the first calls of a kind; and those."""
        between: dict[Call, None] = {}
        ends: dict[Call, None] = {}
        waiting = list(start)
        while waiting:
            call = waiting.pop()
            if call in between or call in ends or call.index < self.calls[0].index:
                continue
            if is_end(call):
                ends[call] = None
            else:
                between[call] = None
                waiting.extend(call.parents)
        return sorted(between, key=_index), sorted(ends, key=_index)

    def _skips(self) -> dict[Call, Call]:
        """The sums of two parents of which one depends on the other by weights, and that other."""
        found = {}
        for call in self.calls:
            if call.name not in _SUMS or len(call.parents) != 2:
                continue
            base, other = sorted(call.parents, key=_index)
            if base.shape != other.shape or not other.follows(base):
                continue
            passed = (each for each in self.calls if other.follows(each) and each.follows(base))
            kinds = {each.name for each in passed if each is not base}
            if kinds & {ATTENTION, LINEAR, _CONVOLUTION}:
                found[call] = base
        return found

    def _attention(self, call: Call, skips: Iterable[Call], used: set[Call]) -> Found:
        """An attention with its projections, and what is between them."""
        part = call.part
        assert isinstance(part, Attention)
        used.add(call)
        stops = {*skips, *self._named(_CONVOLUTION)}
        between, ends = self._back(call.parents, lambda each: each in stops or each.name == LINEAR)
        into = [each for each in ends if each.name == LINEAR]
        if part.inputs is not None or not into:
            return call.index, part, call.weights
        out, within = self._projection(call, stops)
        mine = (call, *between, *into, *within, *out)
        used.update(mine)
        first = into[0].part
        assert isinstance(first, Linear)
        if part.heads is None:
            # Images, windows and heads are on one axis.
            vectors = prod(into[0].shape) // first.outputs
            heads = prod(call.shape) // part.head_width // vectors
            part = replace(part, heads=heads, key_heads=heads)
        part = replace(
            part,
            key_heads=_key_heads(part, into, between),
            inputs=first.inputs,
            output=next((each.shape[-1] for each in out), None),
            bias=any(isinstance(each.part, Linear) and each.part.bias for each in into),
            query_norm=_norm_of(between),
            inner_norm=_norm_of(within),
            rotary=any(map(_is_rotation, between)),
            relative=part.relative or any(_is_relative(each, between) for each in between),
        )
        return call.index, part, _weights(mine)

    def _projection(self, attention: Call, stops: set[Call]) -> tuple[list[Call], list[Call]]:
        """The matrix that takes the outputs of an attention, and what is between; or nothing."""
        for call in self._named(LINEAR):
            if call.follows(attention):
                between, ends = self._back(
                    call.parents,
                    lambda each: each in stops or each.name in (LINEAR, ATTENTION),
                )
                if ends == [attention]:
                    return [call], between
        return [], []

    def _matrices(self, skips: Iterable[Call], used: set[Call]) -> list[Found]:
        """The matrices that are no part of an attention, those that feed each other together."""
        stops = {*skips, *self._named(_CONVOLUTION), *self._named(ATTENTION)}
        own = [call for call in self._named(LINEAR) if call not in used]
        # One matrix may make queries, keys, values and the hidden values of the MLP.
        joint = [call for call in self._named(LINEAR) if call in used and call not in own]
        before = {
            call: self._back(call.parents, lambda each: each in stops or each.name == LINEAR)
            for call in own
        }
        fed = {end for _, ends in before.values() for end in ends}
        found: list[Found] = []
        for last in own:
            if last in fed:
                continue
            group: dict[Call, None] = {}
            inner: list[Call] = []
            waiting = [last]
            while waiting:
                call = waiting.pop()
                group[call] = None
                between, ends = before.get(call, ([], []))
                feeding = [
                    end
                    for end in ends
                    if end in own or (end in joint and self._feeds_attention(end))
                ]
                if feeding:
                    inner += between
                    waiting += [end for end in feeding if end not in group]
            used.update(group, inner)
            found.append(
                (
                    last.index,
                    _mlp(sorted(group, key=_index), sorted(set(inner), key=_index)),
                    _weights((*group, *inner)),
                )
            )
        return found

    def _feeds_attention(self, call: Call) -> bool:
        return not any(call.follows(each) for each in self._named(ATTENTION))

    def _stages(self, used: set[Call]) -> list[Found]:
        """Neighbouring sums of maps of one size, with the convolutions before them."""
        found: list[tuple[Call, ConvolutionStage, Weights]] = []
        for call in self.calls:
            if call.name not in _SUMS or len(call.parents) != 2 or len(call.shape) != 4:
                continue
            first, other = call.parents
            common = first.ancestors & other.ancestors
            base = self.call(common.bit_length() - 1)
            mine = [each for each in self.calls if call.follows(each) and each.follows(base)]
            mine = [each for each in mine if each is not base and each not in used]
            convolutions = [each.part for each in mine if isinstance(each.part, Convolution)]
            if not convolutions:
                continue
            used.update(mine)
            _, channels, rows, columns = call.shape
            stage = ConvolutionStage(
                sums=1,
                convolutions=len(convolutions),
                channels=channels,
                grid=(rows, columns),
                standardised=all(each.standardised for each in convolutions),
                norms=_kinds(mine),
            )
            weights = _weights(mine)
            if found and self._joins(found[-1][0], base) and _is_alike(found[-1][1], stage):
                _, before, others = found.pop()
                stage = replace(
                    stage,
                    sums=before.sums + 1,
                    convolutions=before.convolutions + stage.convolutions,
                    standardised=before.standardised and stage.standardised,
                    norms=tuple(dict.fromkeys((*before.norms, *stage.norms))),
                )
                weights |= others
            found.append((call, stage, weights))
        return [(call.index, stage, weights) for call, stage, weights in found]

    def _joins(self, before: Call, base: Call) -> bool:
        """Whether nothing but activations is between two calls."""
        return base.follows(before) and not any(
            each.part for each in self.calls if each.follows(before) and base.follows(each)
        )


def _is_alike(stage: ConvolutionStage, other: ConvolutionStage) -> bool:
    return (stage.channels, stage.grid) == (other.channels, other.grid)


def _single(call: Call) -> Part | None:
    """The part that a call is by itself."""
    if isinstance(call.part, Normalisation | Convolution | Pooling):
        return call.part
    trained = [each for each in call.constants if each.weights]
    if call.name in ("cat", "concat", "concatenate") and trained:
        return Tokens()
    if len(call.parents) != 1 or len(call.constants) != 1:
        return None
    (given,), size = call.constants, prod(call.shape)
    width = given.shape[-1] if given.shape else 1
    # A bias has one value for each place of a vector; positions have one vector for each token.
    if call.name in _SUMS and given.size == size and size > width > 1:
        return Position(tokens=size // width, width=width)
    if call.name in _PRODUCTS and trained and given.size == call.shape[-1] > 1:
        return LayerScale(width=given.size)
    return None


def _mlp(matrices: Sequence[Call], inner: Sequence[Call]) -> Part:
    first, last = matrices[0].part, matrices[-1].part
    assert isinstance(first, Linear)
    assert isinstance(last, Linear)
    if len(matrices) == 1:
        return last
    kinds = [kind for call in inner if (kind := _activation(call))]
    return Mlp(
        inputs=first.inputs,
        hidden=last.inputs,
        outputs=last.outputs,
        activation=kinds[0] if kinds else None,
        gated=any(_is_gate(call) for call in inner),
        bias=last.bias,
        inner_norm=_norm_of(inner),
    )


def _activation(call: Call) -> str | None:
    """The activation that a call completes."""
    return ACTIVATIONS.get(call.name) or (_swish(call) if call.name in _PRODUCTS else None)


def _swish(product: Call) -> str | None:
    """The name of x times the sigmoid of x, or of 1.702 x."""
    for gate in product.parents:
        if gate.name != "sigmoid":
            continue
        (inner,) = gate.parents
        if inner in product.parents:
            return "SiLU"
        quick = any(isclose(number, _QUICK) for number in inner.numbers)
        if quick and set(inner.parents) <= set(product.parents):
            return "quick GELU"
    return None


def _key_heads(part: Attention, into: Sequence[Call], between: Sequence[Call]) -> int | None:
    """Heads of the keys, also where each is repeated for several heads of the queries."""
    if part.heads is None or not any(each.name in _REPEATS for each in between):
        return part.key_heads
    outputs = sum(each.shape[-1] for each in into)
    # Keys and values have as many heads.
    heads, rest = divmod(outputs - part.heads * part.head_width, 2 * part.head_width)
    return heads if not rest and heads and part.heads % heads == 0 else None


def _is_gate(call: Call) -> bool:
    """Whether two halves are multiplied, not values by a function of themselves."""
    if call.name not in _PRODUCTS or len(call.parents) != 2:
        return False
    first, other = call.parents
    return not (first.follows(other) or other.follows(first))


def _is_rotation(call: Call) -> bool:
    """Whether vectors are multiplied by a table with a row for each of several tokens."""
    return call.name in _PRODUCTS and any(
        len(each.shape) > 1 and 1 < each.shape[-1] < each.size for each in call.constants
    )


def _is_relative(call: Call, between: Sequence[Call]) -> bool:
    """Whether trained values for pairs of tokens are added to scores."""
    tables = [each for each in call.constants if each.weights and len(each.shape) > 1]
    if not tables:
        return False
    if call.name in _SCORES:
        return True
    products = [each for each in between if each.name in _SCORES]
    return call.name in _SUMS and any(call.follows(each) for each in products)


def _norm_of(calls: Iterable[Call]) -> Normalisation | None:
    return next((each.part for each in calls if isinstance(each.part, Normalisation)), None)


def _kinds(calls: Iterable[Call]) -> tuple[str, ...]:
    kinds = (each.part.kind for each in calls if isinstance(each.part, Normalisation))
    return tuple(dict.fromkeys(kinds))


def _weights(calls: Iterable[Call]) -> Weights:
    return frozenset().union(*(each.weights for each in calls))


def _index(call: Call) -> int:
    return call.index
