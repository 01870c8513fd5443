"""How does a model continue from a recorded layer, without running the layers before it again?

The network is copied without its weights, which are shared. In the copy, the first blocks are
replaced by blocks that return recorded tokens.
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
    """Whether the model, resumed after its first block, gives the same output as a full run."""
    if capture.model.head is None or not capture.tokens or len(capture.layers) < 2:
        return False
    again = intervene(resumed(capture, 1, 0, copies=2), capture.pixels[:1])
    output = capture.output[:1]
    return bool((again - output).abs().max() <= 1e-5 * output.abs().max())


def resumed(capture: Capture, layer: int, image: int, copies: int = 1) -> Model:
    """The model from `layer` on, for copies of one image of the capture; `layer` becomes layer 0.

    layer: from 1. Only the size of the input matters: one picture is enough.
    """
    model = capture.model
    known = _Known(capture.tokens[layer - 1][[image]].expand(copies, -1, -1))
    module = _with(model.module, dict.fromkeys(model.blocks[:layer], known))
    return replace(model, module=module, blocks=model.blocks[layer:])


def with_last_kept(model: Model) -> tuple[Model, Kept]:
    """The model with its last block wrapped in a `Kept`, and that `Kept`."""
    last = Kept(model.blocks[-1])
    return replace(model, module=_with(model.module, {last.block: last})), last


class Kept(nn.Module):
    """A block that keeps its last output."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.output: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the block."""
        self.output = self.block(*args, **kwargs)
        return self.output


class _Known(nn.Module):
    """A block that returns recorded tokens, whatever its input."""

    def __init__(self, tokens: Float[Tensor, "image token width"]) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, given: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.tokens


def _with(module: nn.Module, others: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The module with some of its parts replaced; everything else is shared."""
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
