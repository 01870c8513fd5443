"""Does a network do what its description by hand says? Each part of it is tried.

A description that is wrong gives pictures that look right. So it is taken as a hypothesis: two
passes must agree, a change of one patch must move the token of that patch, the output must depend
on the tokens that are said to be read, each block must take what the one before returned, and
windows must lie where they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vit_inspect.device import memory_refusal
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import CLS_MEAN, MEAN, MEAN_ALL, NONLINEAR, TokenLayout
from vit_inspect.model import Model
from vit_inspect.recording.hooks import CallWatch
from vit_inspect.recording.recorder import Capture, capture
from vit_inspect.recording.token_order import as_returned, tensor_of, token_rows

ROUNDING = 1e-3
"""Largest difference of two passes on an accelerator, where sums may change their order."""

_UNCHECKED = "Whether it reads its {} could not be checked."


def try_tokens(model: Model) -> None:
    """Refuse a network that is not the same twice, and a layout that has its tokens elsewhere.

    Raises `BadParameter`.
    """
    places = _places(model.layout)
    pixels = _inputs(model, places)
    first, second = (capture(model, pixels=pixels, bands=(0,)) for _ in range(2))
    if not _same(first, second):
        raise BadParameter(
            f"{model.id}, which computes something else when it sees the same picture again",
            "a network without chance, such as random masks, shuffles or dropout",
            "turn that off in the network, or wrap a module whose forward goes without it",
        )
    alone = capture(model, pixels=pixels[:1], bands=(0,))
    _try_axes(model.id, first, alone)
    _try_edges(model, alone)
    if model.stages:
        _try_windows(model)
    # Values of the first layer are a token's own, before any token has seen another.
    if found := _misplaced(first, 0, places):
        place, token, moved = found
        raise BadParameter(
            f"a layout in which patch {place} is token {token} of {model.id}, but a change of "
            f"that patch moves token {moved} most",
            "the special tokens (prefix) first, then the patches row by row",
            "correct the prefix, the grid or patch_px of the layout, or add trailing= for "
            "special tokens after the patches; another order is not supported",
        )
    _try_order(model)


def _try_order(model: Model) -> None:
    """Refuse a network in which any patch is another token than in the layout.

    Half of the patches are changed at a time, so that each has a code of its own: the digits of its
    number. Where a change reaches other tokens too, the places that were tried before must do.
    Raises `BadParameter`.
    """
    layout = model.layout
    if layout.cell_px != layout.patch_px:
        return
    numbers = np.arange(layout.patch_count)
    digits = [numbers >> digit & 1 == 1 for digit in range(max(1, int(numbers[-1]).bit_length()))]
    codes = np.array([each for digit in digits for each in (digit, ~digit)])
    plain = _inputs(model, [])
    (height, width), (rows, columns) = layout.patch_px, layout.covered_px
    still = _embedded(model, plain)
    if still is None:
        return
    moved = []
    for code in codes:
        whole = np.kron(code.reshape(layout.grid), np.ones((height, width), bool))
        pixels = plain.clone()
        part = pixels[..., :rows, :columns]
        # Not a sum: a norm of each patch would take it away.
        part[..., torch.from_numpy(whole).to(pixels.device)] *= -1
        changed = _embedded(model, pixels)
        if changed is None:
            return
        moved.append((changed - still)[0].norm(dim=-1))
    seen = torch.stack(moved).cpu().double()
    seen = seen > 1e-3 * seen.max()
    if seen[:, : layout.prefix_count].any():
        return
    told = seen[:, layout.prefix_count :].numpy()
    wrong = (told != codes).any(axis=0)
    # A network that mixes neighbours moves more tokens than half of them.
    if wrong.any() and (told.sum(axis=0) == len(digits)).all():
        row, column = divmod(int(np.flatnonzero(wrong)[0]), layout.grid[1])
        raise BadParameter(
            f"a layout in which patch {(row, column)} is token {layout.token((row, column))} of "
            f"{model.id}, but another patch moves that token",
            "the special tokens (prefix) first, then the patches row by row",
            "put the tokens into this order; another one is not supported",
        )


class _Enough(Exception):
    """Ends a forward pass of which no more is needed."""


def _embedded(model: Model, pixels: Tensor) -> Float[Tensor, "image token width"] | None:
    """The tokens that enter the first block, if they are one row for each token."""
    found: list[Tensor | None] = []

    def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
        found.append(token_rows(args[0], len(pixels), model.layout) if args else None)
        raise _Enough

    hook = model.blocks[0].register_forward_pre_hook(enter)
    try:
        with torch.inference_mode():
            model.module(pixels)
    except _Enough:
        return found[0]
    finally:
        hook.remove()
    return None


def _try_windows(model: Model) -> None:
    """Refuse windows that lie elsewhere than they are drawn; raises `BadParameter`.

    One token is changed in the input of every block, and its own values must change most. Nothing
    else would show it: inside its windows, such attention is exact.
    """
    layout, places = model.layout, _places(model.layout)

    def change(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        rows = token_rows(args[0], len(places) + 1, layout) if args else None
        if rows is None:
            return None
        rows = rows[:1].repeat(len(rows), 1, 1)
        for index, place in enumerate(places, start=1):
            rows[index, layout.token(place)] *= -1
        return as_returned(rows, args[0], layout), *args[1:]

    hooks = [block.register_forward_pre_hook(change) for block in model.blocks]
    try:
        pixels = _inputs(model, []).repeat(len(places) + 1, 1, 1, 1)
        seen = capture(model, pixels=pixels, bands=(0,))
    finally:
        for hook in hooks:
            hook.remove()
    for layer in range(len(model.blocks)):
        if found := _misplaced(seen, layer, places):
            raise BadParameter(
                f"windows in block {layer} of {model.id} that do not have patch {found[0]} where "
                "they should",
                "squares of window_size tokens, side by side from the top left corner on, in "
                "blocks that take the tokens as their first argument",
                "choose a network without shifted or spread windows",
            )


def _misplaced(
    seen: Capture, layer: int, places: list[tuple[int, int]]
) -> tuple[tuple[int, int], int, int] | None:
    """A place whose change moved another token's values more: (place, its token, that token).

    The first image of the capture is unchanged, each of the others in one of the places. Next to
    the place others may move as much, where patches overlap or a stem of convolutions mixes them.
    """
    layout = seen.layout
    sides = zip(layout.patch_px, layout.cell_px, strict=True)
    overlap = [-(-patch // cell) for patch, cell in sides]
    reach = [each + 1 for each in overlap]
    # Not every device has float64.
    values = seen.layers[layer].values[:, :, int(layout.padded) :].cpu().double()
    for index, (row, column) in enumerate(places, start=1):
        moved = (values[0] - values[index]).square().sum(dim=(0, 2)).sqrt()
        token = layout.token((row, column))
        far = torch.ones(layout.grid, dtype=torch.bool)
        far[max(0, row - reach[0]) : row + reach[0] + 1][
            :, max(0, column - reach[1]) : column + reach[1] + 1
        ] = False
        elsewhere = moved.clone()
        elsewhere[layout.prefix_count :][~far.flatten()] = 0
        for others in (moved / (2 * max(overlap)), elsewhere):
            if not moved[token] > others.max():
                return (row, column), token, int(others.argmax())
    return None


def try_readout(model: Model) -> tuple[str, ...]:
    """Refuse a read-out that is not where the output comes from; raises `BadParameter`.

    Returns a notice where that cannot be seen, because no gradient reaches any token.
    """
    weights = model.layout.readout_weights()
    if weights is None:
        return ()
    output, gradient = _after_last_block(model)
    # Of an output that still has all tokens, nothing is read yet.
    if output.dim() > 2:
        return ()
    rows = None if gradient is None else token_rows(gradient, len(output), model.layout)
    # A head of zeros, as before training, depends on nothing.
    if rows is None or not rows.any():
        return (_UNCHECKED.format(model.layout.readout),)
    reached = (rows[0].abs().amax(-1) > 0).cpu().numpy()
    if not np.array_equal(reached, weights > 0):
        raise BadParameter(
            f"the read-out {model.layout.readout!r} of {model.id}, whose output depends on "
            f"{_tokens(reached, model.layout)}",
            "the read-out that the network has",
            f"correct the layout's readout ({NONLINEAR!r} if it is no weighted mean of tokens), or "
            "wrap a module that returns what you look at",
        )
    return _try_mean(model)


def _try_mean(model: Model) -> tuple[str, ...]:
    """Refuse a mean of patches whose weights depend on the picture; raises `BadParameter`.

    Returns a notice where more than a mean is read: the order of the patches changes the output.
    """
    layout = model.layout
    if layout.readout not in (MEAN, MEAN_ALL, CLS_MEAN):
        return ()
    pixels = _inputs(model, []).repeat(5, 1, 1, 1)
    tokens = capture(model, pixels=pixels, bands=(0,)).tokens
    if not tokens:
        return (_UNCHECKED.format(layout.readout),)
    changed = _changed(tokens[-1], layout)
    plain, cut = (_Ending(layout, tokens[-1], changed, cut=cut) for cut in (False, True))
    output = _run(model, [], pixels, plain)
    if not plain.found:
        return (_UNCHECKED.format(layout.readout),)
    size = ROUNDING * output.abs().max()
    if (output[4] - output[0]).abs().max() > size:
        return (
            f"Its output is more than the {layout.readout}: the order of the patches after the "
            "last block changes it.",
        )
    output = _run(model, [], pixels, cut)
    if (output - output[:1]).abs().max() > size:
        raise BadParameter(
            f"the read-out {layout.readout!r} of {model.id}, in which the share of a patch depends "
            "on what the patches hold, as for a maximum or weights by attention",
            "a mean in which all patches have the same share",
            f"give {NONLINEAR!r} as the layout's readout",
        )
    return ()


def _changed(
    tokens: Float[Tensor, "5 token width"], layout: TokenLayout
) -> Float[Tensor, "5 token width"]:
    """The tokens of one picture with some patches changed.

    None, every second one, the others, all; and last, the patches as they are in reverse order.
    """
    tokens = tokens.clone()
    patches = tokens[:, layout.prefix_count :]
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=patches.shape[1:]))
    moved = patches[0] + 2 * patches[0].std() * noise.to(patches)
    patches[1, ::2], patches[2, 1::2] = moved[::2], moved[1::2]
    patches[3], patches[4] = moved, patches[0].flip(0)
    return tokens


class _Ending(CallWatch):
    """Changes the tokens after the last block, and may cut off what follows from means of them.

    found: whether the tokens were met.
    """

    def __init__(self, layout: TokenLayout, tokens: Tensor, changed: Tensor, *, cut: bool) -> None:
        super().__init__()
        self.layout, self.tokens, self.changed, self.cut = layout, tokens, changed, cut
        self.found = False

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        if not isinstance(output, Tensor) or output.shape[:1] != self.tokens.shape[:1]:
            return output
        if not self.found:
            rows = token_rows(output, len(self.tokens), self.layout)
            if rows is not None and torch.equal(rows, self.tokens):
                self.found = True
                # In place, because a network need not use what a function in place returns.
                output.copy_(as_returned(self.changed, output, self.layout))
        elif self.cut and output.is_floating_point() and output.numel() and _is_sum(output):
            return output[:1].expand_as(output).clone()
        return output


def _is_sum(values: Float[Tensor, "5 *_"]) -> bool:
    """Whether values for the tokens of `_changed` are a sum of functions of each patch.

    The same function for all patches: then their order does not matter, and changes add up.
    """
    plain, even, odd, both, turned = values
    size = max((each - plain).abs().max() for each in (even, odd, both))
    size = ROUNDING * size + 8 * torch.finfo(values.dtype).eps * plain.abs().max()
    return bool(
        (turned - plain).abs().max() <= size and (both - even - odd + plain).abs().max() <= size
    )


def try_blocks(model: Model) -> None:
    """Refuse blocks of which one does not take what the one before it returned.

    What is no tensor is not followed, and shown nowhere. Raises `BadParameter`.
    """
    taken: list[object] = []
    returned: list[object] = []

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        taken.append(given[0].clone() if given else None)

    def leave(_: nn.Module, args: tuple[Any, ...], output: object) -> None:
        tokens = tensor_of(output)
        returned.append(tokens.clone() if isinstance(tokens, Tensor) else None)

    hooks = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in model.blocks]
    hooks += [block.register_forward_hook(leave) for block in model.blocks]
    _run(model, hooks)
    for layer, (output, given) in enumerate(zip(returned, taken[1:], strict=False)):
        if isinstance(output, Tensor) and not are_equal(output, given):
            raise BadParameter(
                f"blocks of {model.id} of which {layer + 1} does not take what {layer} returns",
                "the transformer's blocks with their skip connections, one after the other",
                "wrap a network with a module for each whole block, or give them as blocks=",
            )


def are_equal(first: object, second: object) -> bool:
    """Whether both are tensors of the same values, to the bit, in whatever shape."""
    return (
        isinstance(first, Tensor)
        and isinstance(second, Tensor)
        and torch.equal(first.flatten(), second.flatten())
    )


def _places(layout: TokenLayout) -> list[tuple[int, int]]:
    """Patches that show swapped axes, another start and another order: corners, and some inside."""
    rows, columns = layout.grid
    found = ((0, columns - 1), (rows - 1, 0), (rows // 3, columns // 2), (rows // 2, columns // 4))
    return list(dict.fromkeys(found))


def _inputs(
    model: Model, places: list[tuple[int, int]]
) -> Float[Tensor, "image channel row column"]:
    """Noise, and the same with one patch inverted, for each of the places."""
    (height, width), (down, right) = model.layout.patch_px, model.layout.cell_px
    plain = np.random.default_rng(0).random((model.channels, *model.layout.input_px))
    values = np.stack([plain] * (len(places) + 1))
    for each, (row, column) in zip(values[1:], places, strict=True):
        top, left = row * down, column * right
        patch = each[:, top : top + height, left : left + width]
        patch[:] = 1 - patch
    mean, std = (np.array(each)[:, None, None] for each in (model.recipe.mean, model.recipe.std))
    return torch.from_numpy((values - mean) / std).to(model.device, model.dtype)


def _same(first: Capture, second: Capture) -> bool:
    """Whether two passes agree: to the bit on a CPU."""
    pairs = [
        (first.output, second.output),
        *((a.queries, b.queries) for a, b in zip(first.layers, second.layers, strict=True)),
    ]
    if first.output.device.type == "cpu":
        return all(torch.equal(a, b) for a, b in pairs)
    return all(float((a - b).abs().max()) <= ROUNDING * float(a.abs().max()) for a, b in pairs)


def _try_edges(model: Model, alone: Capture) -> None:
    """Refuse a margin that the network sees, and patches that it does not see to their end.

    Raises `BadParameter`.
    """
    layout = model.layout
    for axis, side in ((2, "the bottom"), (3, "the right")):
        covered, margin = layout.covered_px[axis - 2], layout.margin_px[axis - 2]
        for start, stop, unseen in (
            (covered, covered + margin, True),
            (covered - max(1, layout.cell_px[axis - 2] // 4), covered, False),
        ):
            if start == stop:
                continue
            pixels = alone.pixels.clone()
            pixels.narrow(axis, start, stop - start).add_(1)
            if _same(alone, capture(model, pixels=pixels, bands=(0,))) == unseen:
                continue
            raise BadParameter(
                f"a layout of {model.id} with a margin of {margin} px at {side}, which the network "
                "sees"
                if unseen
                else f"a layout of {model.id} whose patches cover {stop - start} px at {side} that "
                "the network does not see",
                "patches that cover what the network sees, and a margin for the rest",
                "correct the grid, patch_px, stride_px or margin_px of the layout",
            )


def _try_axes(name: str, batch: Capture, alone: Capture) -> None:
    """Refuse attention whose axes are not image, head, token, width: it has other numbers."""
    seen, own = batch.layers[0], alone.layers[0]
    if (seen.queries[0] - own.queries[0]).abs().max() > 0.1 * own.queries.abs().max():
        raise UnsupportedModel(
            f"{name}, in which the queries of a picture depend on the other pictures in the batch",
            "attention whose first axis is images, or images and then heads in one axis",
            "put the axes of queries, keys and values in the order image, head, token, width",
        )
    moved = (seen.values[0] - seen.values[1]).abs().cpu().double()
    tokens, channels = moved.amax(dim=(0, 2)), moved.amax(dim=(0, 1))
    if len(tokens) == len(channels) and tokens.median() > channels.median():
        raise UnsupportedModel(
            f"{name}, in which one patch is one dimension of all values, not one value",
            "attention between tokens, not between channels",
            "choose a model in which every token attends to all tokens",
        )


def _after_last_block(model: Model) -> tuple[Tensor, Tensor | None]:
    """The output, and the gradient of a mixture of it with respect to the last block's output."""
    found: list[Tensor] = []

    def leave(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        tokens = tensor_of(output)
        if not isinstance(tokens, Tensor):
            return output
        leaf = tokens.detach().clone().requires_grad_()
        found.append(leaf)
        # Only what follows is differentiated.
        torch.set_grad_enabled(True)
        return (leaf, *output[1:]) if isinstance(output, tuple) else leaf

    output = _run(model, [model.blocks[-1].register_forward_hook(leave)])
    if not found or not output.requires_grad:
        return output.detach(), None
    mixture = torch.from_numpy(np.random.default_rng(0).normal(size=output.shape))
    score = (output * mixture.to(output.device, output.dtype)).sum()
    (gradient,) = torch.autograd.grad(score, found, allow_unused=True)
    return output.detach(), torch.zeros_like(found[0]) if gradient is None else gradient


def _run(
    model: Model,
    hooks: list[Any],
    pixels: Tensor | None = None,
    watch: AbstractContextManager[object] | None = None,
) -> Tensor:
    """The output of one pass with these hooks, which are removed; by default on noise."""
    pixels = _inputs(model, []) if pixels is None else pixels
    try:
        with (
            memory_refusal(len(pixels), model.layout.token_count, model.device),
            torch.inference_mode(False),
            torch.no_grad(),
            watch or nullcontext(),
        ):
            output: Tensor = model.module(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return output


def _tokens(reached: np.ndarray, layout: TokenLayout) -> str:
    """The tokens that an output depends on, in words."""
    names = [name for name, each in zip(layout.prefix, reached, strict=False) if each]
    count = int(reached[layout.prefix_count :].sum())
    if count:
        names.append("all patches" if count == layout.patch_count else f"{count} patches")
    return ", ".join(names)
