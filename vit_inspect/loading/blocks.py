"""Which modules of a network are its blocks, by what one forward pass shows?"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vit_inspect.errors import UnsupportedModel, lacks_memory
from vit_inspect.loading.hypotheses import are_equal
from vit_inspect.loading.tracing import Trace
from vit_inspect.recording.token_order import tensor_of


def found_blocks(module: nn.Module, seen: Trace, name: str) -> tuple[nn.Module, ...]:
    """The longest list of members that attend once each; of equally long ones, the outermost.

    A member may itself be a list, which is not called: then its part that attends is the block.
    """
    lists = [
        [_attending(member, seen) for member in part]
        for part in module.modules()
        if isinstance(part, nn.ModuleList | nn.Sequential)
    ]
    single = [each for each in lists if all(len(parts) == 1 for parts in each)]
    found = tuple(part for parts in max(single, key=len, default=[]) for part in parts)
    if not found:
        count = len(seen.attention)
        raise UnsupportedModel(
            f"{name} with {count or 'no'} attention call{'s' * (count != 1)} that can be seen, and "
            "no list of modules with one call each",
            "an nn.ModuleList or nn.Sequential of blocks with one softmax of queries and keys in "
            "each, in a network that is neither compiled nor scripted",
            "call scaled_dot_product_attention where the softmax is written out in other steps, or "
            "give the blocks as blocks=",
        )
    return found


def _attending(member: nn.Module, seen: Trace) -> list[nn.Module]:
    """The outermost part of a member that runs, for each attention call inside the member."""
    inside = set(member.modules())
    running = [[part for part in parts if part in inside] for parts in seen.attention]
    return [parts[0] for parts in running if parts]


def window_sides(blocks: tuple[nn.Module, ...], seen: Trace, grid: tuple[int, int]) -> list[int]:
    """The sides of the windows of each block, in tokens; 0 without windows.

    A block says it by `window_size`, and has as many queries in each of as many windows as cover
    the grid.
    """
    queries = {
        block: count
        for running, count in zip(seen.attention, seen.queries, strict=True)
        for block in running
    }
    sides = []
    for block in blocks:
        side, (count, inputs) = getattr(block, "window_size", None), queries[block]
        if type(side) is not int or side < 1 or count != side**2:
            sides.append(0)
            continue
        windows = -(-grid[0] // side) * -(-grid[1] // side)
        sides.append(side if inputs % windows == 0 else 0)
    return sides


def check_order(blocks: tuple[nn.Module, ...], seen: Trace, name: str) -> None:
    """Refuse blocks that are not the whole transformer, in the order in which they run."""
    order = [
        next((layer for layer, block in enumerate(blocks) if block in running), None)
        for running in seen.attention
    ]
    counts = [order.count(layer) for layer in range(len(blocks))]
    if counts != [1] * len(blocks):
        layer, count = next((each for each in enumerate(counts) if each[1] != 1), (0, 0))
        raise UnsupportedModel(
            f"{count or 'no'} attention calls in block {layer} of {name}",
            "one softmax of queries and keys in every block",
            "choose a network whose blocks have one attention each, or give others as blocks=",
        )
    if order != list(range(len(blocks))):
        elsewhere, calls = order.count(None), f"attention call{'s' * (order.count(None) != 1)}"
        raise UnsupportedModel(
            f"{elsewhere} {calls} of {name} outside of its {len(blocks)} blocks"
            if elsewhere
            else f"blocks of {name} that run in another order than they are listed",
            "all its attention in the blocks, the first layer first",
            "give all blocks as blocks=, in the order in which they run",
        )


def are_branches(
    blocks: tuple[nn.Module, ...], network: nn.Module, pixels: Float[Tensor, "1 channel row column"]
) -> bool:
    """Whether pixels reach the second block, or the output, around the first block.

    They do not where the second block takes what the first one returns. Else the gradient tells: it
    is cut at the output of the first block. True also where autograd cannot follow the network.
    """
    returned: list[Tensor] = []
    entering: list[Any] = []

    def cut(block: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(tensor_of(output), Tensor):
            return output
        returned.append(tensor_of(output))
        if isinstance(output, tuple):
            return tuple(each.detach() if isinstance(each, Tensor) else each for each in output)
        return output.detach()

    def enter(block: nn.Module, args: tuple[Any, ...]) -> None:
        entering.extend(args[:1])
        if args:
            # What follows need not be kept for a gradient.
            torch.set_grad_enabled(False)

    hooks = [
        blocks[0].register_forward_hook(cut),
        *(block.register_forward_pre_hook(enter) for block in blocks[1:2]),
    ]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            pixels = pixels.clone().requires_grad_()
            # A copy, because a network may change its input in place.
            output = network(pixels.clone())
            after = entering[0] if entering else output
            if not returned or (entering and are_equal(after, returned[0])):
                return False
            if not returned[0].requires_grad:
                return True
            if not after.requires_grad:
                return False
            torch.set_grad_enabled(True)
            (gradient,) = torch.autograd.grad(after.sum(), pixels, allow_unused=True)
            return gradient is not None
    # Such as a change in place of what autograd needs.
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        return True
    finally:
        for hook in hooks:
            hook.remove()
