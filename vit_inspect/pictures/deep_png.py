"""Which values are stored in a PNG of 16 bits?

Pillow reads its colours in 8 bits: it keeps one of the two bytes of each value. Here it reads them
twice, once for each byte.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Literal

import numpy as np
from jaxtyping import UInt16
from PIL import Image, ImageFile

from vit_inspect.pictures.bands import Layout

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

    file: the picture in these bytes, opened and not yet loaded. A colour of it that stands for
        transparency is made a band.
    """
    raw_mode = file.tile[0].args if file.tile else None
    if file.format != "PNG" or not isinstance(raw_mode, str) or raw_mode not in _COLOURS:
        return None
    colours = _COLOURS[raw_mode]
    if raw_mode == "I;16B":
        values = np.asarray(file)[..., None]
    elif raw_mode == "LA;16B":
        values = _grey_with_alpha(data)
    else:
        high = np.asarray(file)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
            # The order of bytes in a TIFF, the other way round: so the low bytes are kept.
            again.tile = [again.tile[0]._replace(args=raw_mode[:-1] + "L")]
            values = high.astype(np.uint16) << 8 | np.asarray(again)
    shown = values[..., : len(colours)]
    white = _white(data, shown)
    if (clear := file.info.get("transparency")) is not None:
        opaque = (shown != np.array(clear)).any(axis=2, keepdims=True)
        values = np.concatenate([shown, opaque * np.uint16(0xFFFF)], axis=2)
    alpha = len(colours) if values.shape[2] > len(colours) else None
    return values, Layout(colours, values.shape[2], 16, alpha=alpha, white=white)


def _grey_with_alpha(data: bytes) -> UInt16[np.ndarray, "row column 2"]:
    """Two values of two bytes, read as four values of one byte: they are packed alike."""
    start = _SIGNATURE + 4
    header = bytearray(data[start : start + 4 + 13])
    # Depth and colour type.
    header[12:14] = 8, 6
    chunk = bytes(header) + struct.pack(">L", zlib.crc32(header))
    with Image.open(io.BytesIO(data[:start] + chunk + data[start + len(chunk) :])) as file:
        return np.asarray(file).view(">u2").astype(np.uint16)


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
            return (1 << bits) - 1 if (values & (0xFFFF >> bits)).any() else 0xFFFF
        place += 12 + length
    return None
