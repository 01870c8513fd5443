"""Which values are stored in a PNG of 16 bits?

Pillow reads its colours in 8 bits: it keeps one of the two bytes of each value. Here it reads them
twice, once for each byte.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import UInt16
from PIL import Image, ImageFile

from vit_inspect.pictures.bands import Layout
from vit_inspect.pictures.blocks import blocks
from vit_inspect.pictures.pieces import Pieces
from vit_inspect.pictures.tones import row_blocks

_COLOURS: dict[str, Literal["L", "RGB"]] = {
    "I;16B": "L",
    "LA;16B": "L",
    "RGB;16B": "RGB",
    "RGBA;16B": "RGB",
}
"""The colours of raw values, by what Pillow calls these."""

_SIGNATURE = 8


def read_deep_png(
    file: ImageFile.ImageFile, data: bytes
) -> tuple[UInt16[np.ndarray, "row column band"], Layout] | None:
    """All values of a PNG of 16 bits and their layout; None for any other picture.

    file: the picture in these bytes, opened and not yet loaded; it is loaded then. A colour of it
        that stands for transparency is made a band.
    """
    raw_mode = _raw_mode(file)
    if raw_mode is None:
        return None
    clear = file.info.get("transparency")
    bands = _bands(raw_mode, clear)
    colours = _COLOURS[raw_mode]
    values = np.empty((file.height, file.width, bands), np.uint16)
    if raw_mode == "I;16B":
        for rows, part in blocks(file):
            values[rows, :, 0] = np.asarray(part)
    elif raw_mode == "LA;16B":
        # Two values of two bytes, read as four values of one byte: they are packed alike.
        for rows, part in blocks(_read_as(file, "RGBA")):
            values[rows, :, :2] = np.asarray(part).view(">u2")
    else:
        stored = 3 if raw_mode == "RGB;16B" else 4
        # The order of bytes in a TIFF, the other way round: so the low bytes are kept.
        again = Image.open(Pieces(data), formats=("PNG",))
        for rows, part in blocks(_read_as(again, raw_mode[:-1] + "L")):
            values[rows, :, :stored] = np.asarray(part)
        # So the pixels of one picture at a time are in memory.
        del again
        for rows, part in blocks(file):
            values[rows, :, :stored] |= np.asarray(part).astype(np.uint16) << 8
    white = _white(data, values[..., : len(colours)])
    if clear is not None:
        for rows in row_blocks(values):
            shown = values[rows, :, : len(colours)]
            values[rows, :, -1] = (shown != np.array(clear)).any(axis=2) * np.uint16(0xFFFF)
    alpha = len(colours) if bands > len(colours) else None
    return values, Layout(colours, bands, 16, alpha=alpha, white=white)


def deep_bands(file: ImageFile.ImageFile) -> int:
    """How many bands `read_deep_png` would read; 0 for a picture that is none of 16 bits."""
    raw_mode = _raw_mode(file)
    return 0 if raw_mode is None else _bands(raw_mode, file.info.get("transparency"))


def _raw_mode(file: ImageFile.ImageFile) -> str | None:
    """What Pillow calls the values of a PNG of 16 bits."""
    raw_mode = file.tile[0].args if file.tile else None
    if file.format != "PNG" or not isinstance(raw_mode, str) or raw_mode not in _COLOURS:
        return None
    return raw_mode


def _bands(raw_mode: str, clear: object) -> int:
    """With that of transparency."""
    return len(_COLOURS[raw_mode]) + (raw_mode in ("LA;16B", "RGBA;16B") or clear is not None)


def _read_as(file: ImageFile.ImageFile, raw_mode: str) -> ImageFile.ImageFile:
    """A picture that is not loaded yet, whose values Pillow will take for others."""
    file.tile = [file.tile[0]._replace(args=raw_mode)]
    return file


def _white(data: bytes, values: UInt16[np.ndarray, "row column band"]) -> int | None:
    """The largest possible value, if the chunk sBIT states how many bits are significant.

    They are the upper bits by the standard, but some programs store them as the lower ones.
    """
    place = _SIGNATURE
    while (chunk := data[place : place + 8]) and chunk[4:] not in (b"IDAT", b"IEND"):
        length = int.from_bytes(chunk[:4], "big")
        if chunk[4:] == b"sBIT":
            bits = max(data[place + 8 : place + 8 + length], default=16)
            if bits >= 16:
                # All bits: what programs state that do not know.
                return None
            low = any((values[rows] & (0xFFFF >> bits)).any() for rows in row_blocks(values))
            return (1 << bits) - 1 if low else 0xFFFF
        place += 12 + length
    return None
