"""Which values are stored in a PNG of 16 bits?

Pillow reads its colours in 8 bits: it keeps one of the two bytes of each value. But a filter of a
PNG works on each byte of a value alone, so the first bytes of all values are a picture of 8 bits,
and the second ones are another. Here the file is unpacked once, and Pillow reads these two.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Literal

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageFile

from vit_inspect.pictures.bands import Layout
from vit_inspect.pictures.tones import row_blocks

_STORED: dict[str, Literal["L", "LA", "RGB", "RGBA"]] = {
    "I;16B": "L",
    "LA;16B": "LA",
    "RGB;16B": "RGB",
    "RGBA;16B": "RGBA",
}
"""The bands in the file, as a mode of Pillow, by what Pillow calls raw values of 16 bits."""

_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and steps to the next ones, of the pictures of which an interlaced one is
made (PNG specification, 8.1)."""

_SIGNATURE = 8

_PART = 1 << 16
"""Bytes of the file that are unpacked at once: of them, what is not needed yet is copied."""

_BLOCK = 1 << 18
"""Pixels that are read at once."""


def read_deep_png(
    file: ImageFile.ImageFile, data: bytes
) -> tuple[UInt16[np.ndarray, "row column band"], Layout] | None:
    """All values of a PNG of 16 bits and their layout; None for any other picture.

    file: the picture in these bytes, opened and not yet loaded. What stands after its pixels is
        read then, but not its pixels. A colour of it that stands for transparency is made a band.

    Raises `ValueError` or `zlib.error` for damaged pixels.
    """
    mode, clear = _stored(file), file.info.get("transparency")
    if mode is None:
        return None
    _read_to_its_end(file)
    colours: Literal["L", "RGB"] = "L" if mode[0] == "L" else "RGB"
    bands = len(mode) + (clear is not None)
    values = np.empty((file.height, file.width, bands), np.uint16)
    unpacked = _Unpacked(data)
    for column, row, right, down in _ADAM7 if file.info.get("interlace") else _WHOLE:
        _read(values[row::down, column::right, : len(mode)], mode, unpacked)
    unpacked.check_end()
    white = _white(data, values[..., : len(colours)])
    if clear is not None:
        for rows in row_blocks(values):
            # Band by band: numpy takes much longer for all three of a pixel at once.
            other = np.zeros(values[rows].shape[:2], bool)
            for band, value in enumerate(np.atleast_1d(clear)):
                other |= values[rows, :, band] != value
            values[rows, :, -1] = other * np.uint16(0xFFFF)
    alpha = len(colours) if bands > len(colours) else None
    return values, Layout(colours, bands, 16, alpha=alpha, white=white)


def deep_bands(file: ImageFile.ImageFile) -> int:
    """How many bands `read_deep_png` would read; 0 for a picture that is none of 16 bits."""
    mode = _stored(file)
    return len(mode) + (file.info.get("transparency") is not None) if mode else 0


def memory_for_block(width: int, bands: int) -> int:
    """Bytes that `read_deep_png` takes at most beside the values."""
    # Unpacked bytes and values; of 8 bits: filtered, packed, a picture, and its values twice.
    return (4 * bands + 2 * bands + 4 + 2 * bands) * (_BLOCK + 2 * width)


def _stored(file: ImageFile.ImageFile) -> Literal["L", "LA", "RGB", "RGBA"] | None:
    """The bands of a PNG of 16 bits that is not loaded yet."""
    raw_mode = file.tile[0].args if file.tile and file.format == "PNG" else None
    return _STORED.get(raw_mode) if isinstance(raw_mode, str) else None


def _read_to_its_end(file: ImageFile.ImageFile) -> None:
    """Read what stands after the pixels, such as EXIF data, and one row of these at most."""
    interlace = file.info.pop("interlace", 0)
    file.tile = [file.tile[0]._replace(extents=(0, 0, file.width, 1))]
    file.load()
    file.info["interlace"] = interlace


def _read(
    values: UInt16[np.ndarray, "row column band"],
    mode: Literal["L", "LA", "RGB", "RGBA"],
    unpacked: _Unpacked,
) -> None:
    """Read a picture whose rows come next into these values."""
    rows, columns, bands = values.shape
    if not rows * columns:
        # Of an interlaced picture of few pixels.
        return
    step = max(1, _BLOCK // columns)
    # The bytes of the row above, which filters use: first, then second bytes.
    above = [np.zeros(columns * bands, np.uint8)] * 2
    for first in range(0, rows, step):
        above = _read_block(values[first : first + step], mode, unpacked, above)


def _read_block(
    values: UInt16[np.ndarray, "row column band"],
    mode: Literal["L", "LA", "RGB", "RGBA"],
    unpacked: _Unpacked,
    above: list[UInt8[np.ndarray, "byte"]],
) -> list[UInt8[np.ndarray, "byte"]]:
    """The same of some rows below the bytes of another one; returns those of the last."""
    rows, columns, bands = values.shape
    taken = unpacked.take(rows * (1 + 2 * columns * bands))
    packed = np.frombuffer(taken, np.uint8).reshape(rows, -1)
    last = []
    block = np.zeros(values.shape, np.uint16)
    for byte in range(2):
        filtered = np.zeros((1 + rows, 1 + columns * bands), np.uint8)
        filtered[0, 1:] = above[byte]
        filtered[1:, 0] = packed[:, 0]
        filtered[1:, 1:] = packed[:, 1 + byte :: 2]
        stored = zlib.compress(filtered.data, level=0)
        image = Image.frombytes(mode, (columns, 1 + rows), stored, "zip", mode)
        found = np.asarray(image).reshape(-1, columns, bands)
        last.append(found[-1].flatten())
        block <<= 8
        block |= found[1:]
    # Band by band: numpy takes much longer for the few values of each pixel where others lie
    # between them.
    for band in range(bands):
        values[..., band] = block[..., band]
    return last


class _Unpacked:
    """The bytes from which the pixels of a PNG were packed."""

    def __init__(self, data: bytes) -> None:
        self._parts = _parts_of_pixels(data)
        self._decoder = zlib.decompressobj()

    def take(self, count: int) -> bytearray:
        """The next bytes; raises `ValueError` where there are no more."""
        taken = bytearray()
        for part in self._rest():
            taken += self._decoder.decompress(part, count - len(taken))
            if len(taken) == count:
                return taken
        raise ValueError(f"{count - len(taken)} bytes are missing")

    def check_end(self) -> None:
        """Raises `zlib.error` for a wrong checksum of all bytes, `ValueError` where it is missing.

        More bytes are ignored, as by Pillow.
        """
        for part in self._rest():
            if self._decoder.decompress(part, 1):
                return
        if not self._decoder.eof:
            raise ValueError("the end is missing")

    def _rest(self) -> Iterator[bytes]:
        for part in chain([self._decoder.unconsumed_tail], self._parts):
            # It would keep, and copy each time, all that stands after the end.
            if self._decoder.eof:
                return
            yield part


def _parts_of_pixels(data: bytes) -> Iterator[bytes]:
    """What the chunks IDAT hold, which follow each other."""
    begun = False
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            begun = True
            for place in range(start, end, _PART):
                yield data[place : min(place + _PART, end)]
        elif begun:
            return


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk of a PNG."""
    place = _SIGNATURE
    while header := data[place : place + 8]:
        start = place + 8
        end = start + int.from_bytes(header[:4], "big")
        yield header[4:], start, end
        place = end + 4


def _white(data: bytes, values: UInt16[np.ndarray, "row column band"]) -> int | None:
    """The largest possible value, if the chunk sBIT states how many bits are significant.

    They are the upper bits by the standard, but some programs store them as the lower ones.
    """
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            break
        if kind == b"sBIT":
            bits = max(data[start : min(start + 4, end)], default=16)
            if bits >= 16:
                # All bits: what programs state that do not know.
                return None
            low = any((values[rows] & (0xFFFF >> bits)).any() for rows in row_blocks(values))
            return (1 << bits) - 1 if low else 0xFFFF
    return None
