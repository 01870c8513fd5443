"""What is a network made of, and which named size is nearest?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from torch import nn

from vit_inspect.errors import memory_told
from vit_inspect.loading.calls import Call, Weights, one_pass
from vit_inspect.loading.parts import Read, read
from vit_inspect.loading.variants import is_exact, nearest
from vit_inspect.model import Model
from vit_inspect.records.anatomy import (
    Anatomy,
    Attention,
    Block,
    BlockStage,
    Chain,
    Mlp,
    Part,
    Row,
)


@memory_told()
def anatomy(model: Model) -> Anatomy:
    """What a model is made of: its parts in order, with the sizes that one pass shows.

    Works for every model, also for a network in memory: parts are recognised by the functions that
    are called, not by the names of attributes. One pass on a uniform input of the model's size.

    Blocks, stem and end are read apart. What is not recognised is left out, and its trained values
    are in `unread`. The nearest named size is the one with the smallest sum of |log2| of the ratios
    of layers, width, MLP and heads; there is none if one of them differs by more than a quarter.

    Raises `OutOfMemory` if the pass does not fit.
    """
    seen = one_pass(model)
    spans = [list(stage) for stage in seen.spans]
    notices: list[str] = []
    if model.branches:
        notices += _lengthen(spans[0], seen.calls)
    flat = [span for stage in spans for span in stage]
    stem = read(seen.calls[: flat[0].start], stem=True)
    end = read(seen.calls[flat[-1].stop :])
    merging = [
        read(seen.calls[before[-1].stop : after[0].start]) for before, after in pairwise(spans)
    ]
    blocks = [[read(seen.calls[span.start : span.stop]) for span in stage] for stage in spans]
    count = _Count(
        model.module, [stem, end, *merging, *(each for stage in blocks for each in stage)]
    )
    stages = tuple(
        BlockStage(
            merging=count.chain(merging[index - 1]) if index else Chain(),
            grid=own.layout.grid,
            blocks=tuple(
                Block(
                    tuple(_windowed(part, window) for part in count.chain(each).parts),
                    each.chain.beside,
                    each.chain.ordered,
                    _drop_path(block),
                )
                for each, block, window in zip(found, own.blocks, own.windows, strict=True)
            ),
        )
        for index, (own, found) in enumerate(zip(_stages(model), blocks, strict=True))
    )
    row = _row([block for stage in stages for block in stage.blocks], model.parameter_count)
    variant = nearest(row)
    return Anatomy(
        model=model.id,
        layout=model.layout,
        row=row,
        variant=variant,
        exact=is_exact(row, variant),
        stem=count.chain(stem),
        stages=stages,
        stage=model.stage,
        end=count.chain(end),
        readout=_stages(model)[-1].layout.readout,
        read_after=sum(vectors > 1 for vectors in end.vectors),
        output=seen.output[1:],
        shared=count.shared,
        unread=count.unread,
        notices=tuple(notices),
    )


class _Stage(NamedTuple):
    blocks: tuple[nn.Module, ...]
    layout: Any
    windows: tuple[int | None, ...]


def _stages(model: Model) -> list[_Stage]:
    """Blocks, tokens and tokens in a window of each stage."""
    return [
        _Stage(
            each.blocks,
            each.layout,
            tuple(None if table is None else table.shape[1] for table in each.windows),
        )
        for each in model.stages
    ] or [_Stage(model.blocks, model.layout, (None,) * len(model.blocks))]


def _lengthen(spans: list[range], calls: Sequence[Call]) -> list[str]:
    """Let each block reach to the next one, where blocks are attention alone.

    The last one is as long as the one before, if the same functions are called.
    """
    for layer, after in enumerate(spans[1:]):
        spans[layer] = range(spans[layer].start, after.start)
    if len(spans) > 1:
        last, before = spans[-1].start, spans[-2]
        names = [
            [call.name for call in calls[at : at + len(before)]] for at in (last, before.start)
        ]
        if names[0] == names[1]:
            spans[-1] = range(last, last + len(before))
            return []
    return [
        "Where the last block ends is not known: what follows its attention is told as the end."
    ]


class _Count:
    """Counts the trained values of parts: those that several parts use belong to none."""

    def __init__(self, module: nn.Module, reads: Sequence[Read]) -> None:
        self._sizes = {id(each): each.numel() for each in module.parameters()}
        uses = Counter(weight for each in reads for own in each.weights for weight in own)
        self._own = {weight for weight, times in uses.items() if times == 1}
        self.shared = sum(self._sizes[weight] for weight, times in uses.items() if times > 1)
        self.unread = tuple(
            (name, each.numel()) for name, each in module.named_parameters() if id(each) not in uses
        )

    def chain(self, found: Read) -> Chain:
        """The parts with the number of their own trained values."""
        parts = (
            replace(part, parameters=self._values(weights))
            for part, weights in zip(found.chain.parts, found.weights, strict=True)
        )
        return replace(found.chain, parts=tuple(parts))

    def _values(self, weights: Weights) -> int:
        return sum(self._sizes[weight] for weight in weights & self._own)


def _windowed(part: Part, window: int | None) -> Part:
    return replace(part, window=window) if isinstance(part, Attention) else part


def _drop_path(block: nn.Module) -> float | None:
    """The largest share of the modules that leave branches out."""
    rates = [
        getattr(part, "drop_prob", getattr(part, "p", None))
        for part in block.modules()
        if type(part).__name__.endswith(("DropPath", "StochasticDepth"))
    ]
    return max((float(rate or 0) for rate in rates), default=None)


def _row(blocks: Sequence[Block], parameters: int) -> Row:
    """The numbers of Table 1; None where the blocks differ."""

    def common(kind: type[Part], name: str) -> int | None:
        found = {
            tuple(getattr(part, name) for part in block.parts if isinstance(part, kind))
            for block in blocks
        }
        values = found.pop() if len(found) == 1 else ()
        return values[0] if len(values) == 1 else None

    return Row(
        layers=len(blocks),
        width=common(Attention, "inputs"),
        mlp=common(Mlp, "hidden"),
        heads=common(Attention, "heads"),
        parameters=parameters,
    )
