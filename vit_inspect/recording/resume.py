"""How does a model go on from what a block returned, without computing that once more?

A copy of the network's outer shell, whose weights are shared, has blocks in the place of the first
ones that return what a capture holds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vit_inspect.model import Model
from vit_inspect.recording.interventions import intervene
from vit_inspect.recording.recorder import Capture


def can_resume(capture: Capture) -> bool:
    """Whether the model, resumed behind its first block, returns what it returned as a whole."""
    if capture.model.head is None or not capture.tokens or len(capture.layers) < 2:
        return False
    again = intervene(resumed(capture, 1, 0, copies=2), capture.pixels[:1])
    output = capture.output[:1]
    return bool((again - output).abs().max() <= 1e-5 * output.abs().max())


def resumed(capture: Capture, layer: int, image: int, copies: int = 1) -> Model:
    """The model from this layer on, which is its layer 0, for copies of one image of the capture.

    layer: from 1. Of its input only the size counts: a single picture is enough.
    """
    model = capture.model
    known = _Known(capture.tokens[layer - 1][[image]].expand(copies, -1, -1))
    module = _with(model.module, dict.fromkeys(model.blocks[:layer], known))
    return replace(model, module=module, blocks=model.blocks[layer:])


def with_last_kept(model: Model) -> tuple[Model, Kept]:
    """The model, and what keeps what its last block returns in a run of it."""
    last = Kept(model.blocks[-1])
    return replace(model, module=_with(model.module, {last.block: last})), last


class Kept(nn.Module):
    """A block, and what it returned last."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.output: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the block returns."""
        self.output = self.block(*args, **kwargs)
        return self.output


class _Known(nn.Module):
    """A block that returns what it is known to return, whatever it is given."""

    def __init__(self, tokens: Float[Tensor, "image token width"]) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, given: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.tokens


def _with(module: nn.Module, others: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The module with others in the place of some of its parts; all else is shared."""
    if module in others:
        return others[module]
    parts = {
        name: part if part is None else _with(part, others)
        for name, part in module._modules.items()
    }
    if all(parts[name] is part for name, part in module._modules.items()):
        return module
    shell = copy.copy(module)
    shell._modules = parts
    return shell
