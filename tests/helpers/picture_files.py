"""Picture files that Pillow does not write, by hand: TIFFs of any numbers, PNGs of 16 bits."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL.TiffImagePlugin import STRIPBYTECOUNTS, STRIPOFFSETS

from vit_inspect.pictures.tiff import tags_of


def png_of_16_bits(
    values: np.ndarray,
    *,
    significant: int | None = None,
    clear: tuple[int, ...] = (),
    interlaced: bool = False,
) -> bytes:
    """A PNG of 1 to 4 bands (row, column, band), with the chunks sBIT and tRNS if they are given.

    Row by row, another of the five filters is used.
    """
    height, width, bands = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    header = struct.pack(">LLBBBBB", width, height, 16, kind, 0, 0, interlaced)
    chunks = [(b"IHDR", header)]
    if significant is not None:
        chunks.append((b"sBIT", bytes([significant] * bands)))
    if clear:
        chunks.append((b"tRNS", struct.pack(f">{bands}H", *clear)))
    parts = [values]
    if interlaced:
        steps = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))
        starts = ((0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0))
        parts = [
            values[row::down, column::right]
            for (row, column), (down, right) in zip(starts, steps, strict=True)
        ]
    packed = zlib.compress(b"".join(_filtered(part) for part in parts if part.size))
    chunks += [(b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _filtered(values: np.ndarray) -> bytes:
    height, _, bands = values.shape
    raw = values.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    step = 2 * bands
    left = np.pad(raw, ((0, 0), (step, 0)))[:, :-step]
    above = np.pad(raw, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(raw, ((1, 0), (step, 0)))[:-1, :-step]
    guess = left + above - corner
    nearest = np.argmin([abs(guess - each) for each in (left, above, corner)], axis=0)
    paeth = np.choose(nearest, (left, above, corner))
    predictions = (0 * raw, left, above, (left + above) // 2, paeth)
    return b"".join(
        bytes((row % 5, *((raw[row] - predictions[row % 5][row]) % 256))) for row in range(height)
    )


def tiff_of(
    values: np.ndarray,
    number: str,
    *,
    photometric: int = 1,
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    rows: int | None = None,
    bits: int | None = None,
    packed: bool = False,
    predictor: int = 1,
    extra: tuple[int, ...] | None = None,
    tags: dict[int, tuple[int, ...]] | None = None,
) -> bytes:
    """A TIFF of values (row, column, band), by TIFF 6.0.

    number: order and type as in numpy, such as ">u2".
    tile: rows and columns of a tile; rows: of a strip.
    bits: of each value, where they fill no bytes.
    packed: by deflate. predictor: 2 stores differences of neighbours, 3 those of sorted bytes.
    extra: what the extra bands are; by default of unknown meaning, 0. tags: any others.
    """
    order, kind = number[0], number[1:]
    height, width, bands = values.shape
    planes = [values[..., [band]] for band in range(bands)] if planar else [values]
    part_height, part_width = tile or (rows or height, width)
    parts = []
    for plane in planes:
        for top in range(0, height, part_height):
            for start in range(0, width, part_width):
                part = plane[top : top + part_height, start : start + part_width]
                if tile:
                    missing = [(0, tile[side] - part.shape[side]) for side in (0, 1)]
                    part = np.pad(part, (*missing, (0, 0)), constant_values=77)
                raw = _raw(part.astype(kind), order, bits, predictor)
                parts.append(zlib.compress(raw) if packed else raw)
    base = {2: 3, 5: 4}.get(photometric, 1)
    unknown = (0,) * (bands - base)
    entries = {
        256: (width,),
        257: (height,),
        258: (bits or 8 * np.dtype(kind).itemsize,) * bands,
        259: (8 if packed else 1,),
        262: (photometric,),
        277: (bands,),
        284: (2 if planar else 1,),
        317: (predictor,),
        338: unknown if extra is None else extra,
        339: ({"u": 1, "i": 2, "f": 3}[kind[0]],) * bands,
        **({322: (tile[1],), 323: (tile[0],)} if tile else {278: (part_height,)}),
        **(tags or {}),
    }
    where, sizes = (324, 325) if tile else (273, 279)
    entries[sizes] = tuple(map(len, parts))
    body = b"".join(parts)
    entries[where] = tuple(8 + len(b"".join(parts[:before])) for before in range(len(parts)))
    entries = {tag: entry for tag, entry in entries.items() if entry}
    start = 8 + len(body) + 2 + 12 * len(entries) + 4
    table, after = b"", b""
    for tag, entry in sorted(entries.items()):
        longs = struct.pack(f"{order}{len(entry)}L", *entry)
        if len(entry) > 1:
            longs, after = struct.pack(order + "L", start + len(after)), after + longs
        table += struct.pack(order + "HHL", tag, 4, len(entry)) + longs
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8 + len(body))
    return header + body + struct.pack(order + "H", len(entries)) + table + bytes(4) + after


def _raw(part: np.ndarray, order: str, bits: int | None, predictor: int) -> bytes:
    """The bytes of a strip or tile."""
    if bits is not None:
        places = np.arange(bits)[::-1]
        spread = (part.astype(np.uint32)[..., None] >> places & 1).astype(np.uint8)
        return np.packbits(spread.reshape(len(part), -1), axis=1).tobytes()
    if predictor == 3:
        whole = part.astype(part.dtype.newbyteorder(">")).view(np.uint8)
        bytes_ = whole.reshape(len(part), -1, part.itemsize).swapaxes(1, 2)
        return np.diff(
            bytes_.reshape(len(part), -1, part.shape[2]), axis=1, prepend=np.uint8(0)
        ).tobytes()
    if predictor == 2:
        part = np.diff(part, axis=1, prepend=part.dtype.type(0))
    return part.astype(part.dtype.newbyteorder(order)).tobytes()


def damaged_at_its_end(data: bytes) -> bytes:
    """A TIFF whose last strip is no packed data."""
    tags = tags_of(data)
    place, size = tags[STRIPOFFSETS][-1], tags[STRIPBYTECOUNTS][-1]
    return data[:place] + b"\xff" * size + data[place + size :]
