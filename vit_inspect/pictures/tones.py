"""How do values of any depth become a picture of 8 bits, and what is assumed on the way?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from vit_inspect.pictures.bands import Layout
from vit_inspect.pictures.blocks import pixel_bytes

DEPTHS = (8, 10, 12, 14, 16)
"""Depths of cameras and scanners, whose values are stored in 16 bits as they are."""

NOT_FINITE = "Values that are no numbers are black; infinite ones get the end of the range."
NOTHING_FINITE = "It holds no finite value; it is shown black."

_LABELS = 32
"""A picture of so few values can be one of labels."""

_BLOCK = 1 << 20
_AT_ONCE = 40
"""Most bytes that a value takes while a block of them becomes tones: five numbers of 8 bytes."""

Values = Shaped[np.ndarray, "row column band"]
Tones = UInt8[np.ndarray, "row column band"]
Toning = Callable[[Values], Tones]
"""What makes tones of some rows; so no more of them than a block is ever a number of 8 bytes."""


def memory_for_tones(width: int, height: int, bands: int, mode: str) -> int:
    """Bytes that `picture_of` takes at most beside the values; `bands` are those it gets."""
    picture = width * height * pixel_bytes(mode)
    return picture + _AT_ONCE * min(height * width * bands, max(_BLOCK, width * bands))


def picture_of(values: Values, layout: Layout, mode: str) -> tuple[Image.Image, list[str]]:
    """The chosen bands as a picture of 8 bits of this mode; and notices.

    Unsigned integers of up to 16 bits are scaled by their depth. Where 16 bits are not used, the
    depth is the smallest of `DEPTHS` that holds the largest value. Other numbers are scaled by
    their own range: floats in 0..1 that reach a quarter by 0..1, all others from the least to the
    largest. A single value that is far from all others, such as -9999, is left out of the range and
    told. All colours of a picture have one scale; if they are multiplied by their opacity, it
    is that of the opacity. Infinite values get the end of the range, and NaN becomes black. A
    constant picture of such numbers is black.
    """
    with_alpha, premultiplied = mode[-1] in "Aa", mode[-1] == "a"
    colours = values[..., :-1] if with_alpha else values
    stated = None
    if layout.kind == "u" and layout.bits <= 16:
        # No camera makes ink: a print that is pale all over is one of 16 bits.
        stated = 0xFFFF if mode == "CMYK" else layout.white
        if premultiplied:
            stated = max(stated or 0, int(values.max()))
        largest = "black" if layout.white_is_zero else "white"
        tones, notices = _by_depth(colours, layout.bits, stated, largest=largest)
        if layout.white_is_zero:
            tones = _inverted(tones)
    else:
        white = _opaque(values[..., -1:]) if premultiplied else None
        tones, notices = _by_range(colours, white, inverted=layout.white_is_zero)
    opacities = None
    if with_alpha:
        opacities, more = _opacity(values[..., -1:], layout, stated if premultiplied else None)
        notices += more
    image = Image.new(mode.upper(), values.shape[1::-1])
    for rows in row_blocks(values):
        block = tones(colours[rows])
        if opacities is not None:
            block = np.concatenate([block, opacities(values[rows][..., -1:])], axis=2)
        part = Image.frombytes(mode, block.shape[1::-1], block.tobytes())
        image.paste(part.convert(mode.upper()) if premultiplied else part, (0, rows.start))
    return image, notices


def _by_depth(
    values: Values,
    bits: int,
    stated: int | None = None,
    *,
    what: str = "values",
    largest: str,
) -> tuple[Toning, list[str]]:
    """Unsigned integers, the largest of their depth as 255; and a notice where that is a guess."""
    notices = []
    if bits == 16 and (reached := int(values.max())):
        bits = next(depth for depth in DEPTHS if max(reached, stated or 0) < 1 << depth)
        if bits < 16:
            notices.append(
                f"Its {what} reach {reached:,} of 65,535: taken as {bits} bits,"
                f" {(1 << bits) - 1:,} is {largest}."
            )
    if bits == 8:
        return lambda part: part.astype(np.uint8, copy=False), notices
    white = (1 << bits) - 1
    # Such as 12 bits with a few pixels of 65,535 that stand for no value.
    most = int(np.quantile(_some(values), 0.99))
    if what == "values" and stated is None and 0 < most < white >> 4:
        looks = "white" if largest == "black" else "black"
        notices.append(f"99 % of its values are at most {most:,} of {white:,}: it looks {looks}.")
    table = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    # Not `table[part]`, which takes twice as long: it checks that each value has a place there.
    return lambda part: table.take(part, mode="wrap"), notices


def _inverted(tones: Toning) -> Toning:
    return lambda part: 255 - tones(part)


def _by_range(values: Values, white: float | None, *, inverted: bool) -> tuple[Toning, list[str]]:
    """Any real numbers, their range or 0 to `white` as 0 to 255; and what was assumed."""
    low, high, all_finite = _range_of(values)
    if low > high:
        return lambda part: np.zeros(part.shape, np.uint8), [NOTHING_FINITE]
    alone = None
    if white is None:
        low, high, alone = _without_one(values, low, high)
        if values.dtype.kind == "f" and low >= 0 and 0.25 < high <= 1:
            white = 1.0
    notice = f"Its values, {low:g} to {high:g}, were "
    if white is None:
        notice += "scaled to the range from black to white"
    else:
        notice += f"taken as 0 for black to {white:g} for white"
        notice += "; higher ones are white" if high > white else ""
        low, high = 0.0, white
    notice += ", and inverted." if inverted else "."
    notices = [notice] if all_finite else [notice, NOT_FINITE]
    if alone is not None:
        notices.append(
            f"Its value {alone:g} is far from all others: it is taken to stand for no value, and "
            "gets the nearer end of the range."
        )
    return partial(_scaled, low=low, high=high, inverted=inverted), notices


def _range_of(values: Values) -> tuple[float, float, bool]:
    """The least and the largest finite value, the wrong way round without any; whether all are."""
    low, high, all_finite = math.inf, -math.inf, True
    for rows in row_blocks(values):
        part = values[rows]
        if part.dtype.kind == "f":
            finite = np.isfinite(part)
            all_finite = all_finite and bool(finite.all())
            part = part[finite]
        if part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    return low, high, all_finite


def _without_one(values: Values, low: float, high: float) -> tuple[float, float, float | None]:
    """The range without its least or largest value, and this value, if it is far from all others.

    Such as -9999 for places that were not measured: three quarters of the range are empty beside
    it. Labels, of which there are few, may lie so.
    """
    above, below = high, low
    for rows in row_blocks(values):
        part = values[rows]
        inside = part[(part > low) & (part < high)]
        if inside.size:
            above, below = min(above, float(inside.min())), max(below, float(inside.max()))
    # Halves, because the difference of two floats can be more than the largest float.
    empty = 0.75 * (high / 2 - low / 2)
    at_start, at_end = above / 2 - low / 2 > empty, high / 2 - below / 2 > empty
    if at_start == at_end or len(np.unique(_some(values))) <= _LABELS:
        return low, high, None
    return (above, high, low) if at_start else (low, below, high)


def _scaled(part: Values, *, low: float, high: float, inverted: bool = False) -> Tones:
    """Real numbers, this range as 0 to 255."""
    # Halves, because the difference of two floats can be more than the largest float.
    span = high / 2 - low / 2
    if not span > 0:
        return np.zeros(part.shape, np.uint8)
    # In one array: to write each step into a new one takes longer than the step.
    share = part.astype(np.float64)
    np.clip(share, low, high, out=share)
    share /= 2
    share -= low / 2
    share /= span
    if inverted:
        np.subtract(1, share, out=share)
    share[np.isnan(share)] = 0
    share *= 255
    return np.rint(share, out=share).astype(np.uint8)


def _opacity(alpha: Values, layout: Layout, stated: int | None) -> tuple[Toning, list[str]]:
    """Transparency, whose largest value is opaque; of floats at least 1."""
    if layout.kind == "u" and layout.bits <= 16:
        return _by_depth(alpha, layout.bits, stated, what="opacities", largest="opaque")
    return partial(_scaled, low=0.0, high=_opaque(alpha)), []


def _opaque(alpha: Values) -> float:
    """The opacity that is opaque, of numbers without a depth."""
    largest = (np.nan_to_num(alpha[rows], posinf=1.0).max() for rows in row_blocks(alpha))
    return max(1.0, *map(float, largest))


def _some(values: Values) -> Shaped[np.ndarray, "value"]:
    """Every value, or one of each few, about a million of them."""
    # Not `ravel`, which copies all values where bands between them are left out.
    return values.flat[:: max(1, values.size >> 20)]


def row_blocks(values: Values) -> Iterator[slice]:
    """Ranges of rows of about a million values: numbers of 8 bytes of a whole picture are much."""
    step = max(1, _BLOCK // max(1, values[0].size))
    for start in range(0, len(values), step):
        yield slice(start, start + step)
