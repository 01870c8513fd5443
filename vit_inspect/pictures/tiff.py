"""Which values are stored in the first picture of a TIFF?

Pillow reads TIFFs as pictures of 8 bits, and only some layouts. Here it only unpacks: the header is
replaced by that of a grey picture of 8 bits, which is as wide as a row has bytes. The bytes are
then read as numbers. So all depths are read, in all lossless compressions that Pillow has.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    FILLORDER,
    IMAGELENGTH,
    IMAGEWIDTH,
    MM,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    PREFIXES,
    ROWSPERSTRIP,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from vit_inspect.errors import BadImage
from vit_inspect.pictures.bands import Layout, counted

MAX_UNPACKED = 400_000_000
"""Most bytes of unpacked values: 5 bands of 16 bits at 40 megapixels."""

_MAX_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE = 281, 341

_COLOURS: dict[int, Literal["L", "RGB", "CMYK"]] = {0: "L", 1: "L", 2: "RGB", 5: "CMYK"}
"""The photometric tags whose values are read here; 0 is grey with white as zero."""

_NO_COMPRESSION, _PACKBITS = 1, 32773
_LOSSLESS = (_NO_COMPRESSION, 5, 8, _PACKBITS, 32946, 34925, 50000)
"""Compressions of bytes: none, LZW, deflate (of two numbers), PackBits, LZMA, Zstandard."""

_HORIZONTAL, _FLOATING_POINT = 2, 3
"""Predictors: differences of neighbours; the same for the bytes of floats, sorted by weight."""

_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
"""The sample formats; 4 is undefined."""

_WHOLE = (8, 16, 32, 64)
_DEPTHS = {"u": (*range(1, 17), 32, 64), "i": _WHOLE, "f": (16, 32, 64)}

_PREMULTIPLIED, _ALPHA = 1, 2
"""The extra samples that are transparency."""

_BLOCK = 1 << 22
"""Values that become numbers at once: on the way they take up to 16 bytes each."""


def is_tiff(data: bytes) -> bool:
    """Whether these bytes start like a TIFF."""
    return data.startswith(tuple(PREFIXES))


def tags_of(data: bytes) -> ImageFileDirectory_v2:
    """The tags of the first picture."""
    # A BigTIFF's header has 43 and is twice as long. Pillow looks for it in the third byte only,
    # where a big-endian file has 0.
    header = b"II+\0" + data[4:16] if 43 in data[2:4] else data[:8]
    tags = ImageFileDirectory_v2(header, prefix=data[:2])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def layout_of(tags: ImageFileDirectory_v2, name: str) -> Layout | None:
    """How the values are stored; None for what Pillow shows itself, such as palettes and JPEG.

    Raises `BadImage` for numbers that are not read, such as complex ones.
    """
    photometric = tags.get(PHOTOMETRIC_INTERPRETATION)
    compression = tags.get(COMPRESSION, _NO_COMPRESSION)
    if photometric not in _COLOURS or compression not in _LOSSLESS:
        return None
    colours, bands = _COLOURS[photometric], tags.get(SAMPLESPERPIXEL, 1)
    all_bits, formats = {*_each(tags, BITSPERSAMPLE, 1)}, {*_each(tags, SAMPLEFORMAT, 1)}
    bits, number, predictor = min(all_bits), min(formats), _predictor(tags)
    kind = _KINDS.get(number)
    if (
        max(len(all_bits), len(formats)) > 1
        or kind is None
        or bits not in _DEPTHS[kind]
        or predictor not in (1, _HORIZONTAL, _FLOATING_POINT)
        or (predictor == _HORIZONTAL and bits not in _WHOLE)
        or (predictor == _FLOATING_POINT and kind != "f")
    ):
        raise unsupported(tags, name)
    extras = _each(tags, EXTRASAMPLES)
    if not extras and (colours, bands) == ("RGB", 4):
        # Old files lack the tag, and their fourth band is transparency.
        extras = (_ALPHA,)
    if not len(extras) < bands < 1 << 16:
        raise ValueError(f"{bands} bands, of which {len(extras)} are extra ones")
    alphas = {
        place: extra
        for place, extra in enumerate(extras, bands - len(extras))
        if extra in (_PREMULTIPLIED, _ALPHA) and colours != "CMYK"
    }
    alpha = min(alphas, default=None)
    white = max(_each(tags, _S_MAX_SAMPLE_VALUE) or _each(tags, _MAX_SAMPLE_VALUE, 0))
    return Layout(
        colours,
        bands,
        bits,
        kind,
        alpha=alpha,
        premultiplied=alpha is not None and alphas[alpha] == _PREMULTIPLIED,
        white_is_zero=photometric == 0,
        # The largest value of the container says nothing about what it holds.
        white=int(white) if bits == 16 and 0 < white < 0xFFFF else None,
        first_page=bool(tags.next),
    )


def is_complete(tags: ImageFileDirectory_v2) -> bool:
    """Whether they say what the values are and where they lie."""
    return PHOTOMETRIC_INTERPRETATION in tags and (STRIPOFFSETS in tags or TILEOFFSETS in tags)


def unsupported(tags: ImageFileDirectory_v2, name: str) -> BadImage:
    """The error for a TIFF of a kind that is not read; `ValueError` where its tags are damaged."""
    all_bits, bands = _each(tags, BITSPERSAMPLE, 1), tags.get(SAMPLESPERPIXEL, 1)
    details = {
        "photometric tag": tags.get(PHOTOMETRIC_INTERPRETATION),
        "compression": tags.get(COMPRESSION, _NO_COMPRESSION),
        "sample format": max(_each(tags, SAMPLEFORMAT, 1)),
        "predictor": _predictor(tags),
    }
    # A tag of another type may hold any text.
    if not all(isinstance(each, int | None) for each in (*details.values(), *all_bits, bands)):
        raise ValueError("tags that are no numbers")
    bits = " and ".join(str(depth) for depth in sorted({*all_bits}))
    told = ", ".join(f"{what} {value}" for what, value in details.items())
    return BadImage(
        f"a TIFF of {counted(bands, bits)} ({told}) in '{name}'",
        "real numbers in grey, RGB or CMYK, or 8 bits of other colours",
        "save it again as grey or RGB without compression",
    )


def read_values(
    data: bytes, tags: ImageFileDirectory_v2, layout: Layout, bands: tuple[int, ...], name: str
) -> Shaped[np.ndarray, "row column band"]:
    """The values of some bands, in their order.

    Raises `BadImage` where they would fill the memory, and any error where they are damaged.
    """
    width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
    planar = tags.get(PLANAR_CONFIGURATION, 1) == 2
    parts = _parts_of(tags, layout.bits, 1 if planar else layout.bands)
    dtype = np.dtype(f"{layout.kind}{_container(layout.bits) // 8}")
    size = max(parts.columns * parts.rows, height * width * len(bands) * dtype.itemsize)
    if size > MAX_UNPACKED:
        raise BadImage(
            f"{size / 1e6:,.0f} MB of values in '{name}'",
            f"at most {MAX_UNPACKED // 10**6} MB of them",
            "make it smaller first",
        )
    values = np.empty((height, width, len(bands)), dtype)
    # All bands lie in one plane, or each in its own.
    sources: list[tuple[slice, int, list[int]]] = [(slice(None), 0, list(bands))]
    if planar:
        sources = [(slice(place, place + 1), band, [0]) for place, band in enumerate(bands)]
    step = max(1, _BLOCK // (parts.across * parts.width * parts.bands))
    for places, plane, inside in sources:
        packed = _unpacked(data, tags, parts, plane)
        for top in range(0, height, step):
            below = min(top + step, height)
            raw = np.asarray(packed.crop((0, top, parts.columns, below)))
            numbers = _numbers(raw.reshape(below - top, parts.across, -1), tags, layout, parts)
            values[top:below, :, places] = numbers[:, :width, inside]
    return values


@dataclass(frozen=True)
class _Parts:
    """The strips or tiles of one plane.

    tiled: whether they are tiles; a strip is as wide as the picture.
    across, down: how many there are.
    width, height: of one, in pixels.
    bands: how many the plane holds.
    columns, rows: of the plane, in bytes and pixels, with those that fill up the last tiles.
    """

    tiled: bool
    across: int
    down: int
    width: int
    height: int
    bands: int
    columns: int
    rows: int


def _parts_of(tags: ImageFileDirectory_v2, bits: int, bands: int) -> _Parts:
    width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
    tiled = TILEOFFSETS in tags
    part_width, part_height = width, min(tags.get(ROWSPERSTRIP, height), height)
    if tiled:
        part_width, part_height = tags[TILEWIDTH], tags[TILELENGTH]
    across, down = -(-width // part_width), -(-height // part_height)
    return _Parts(
        tiled,
        across,
        down,
        part_width,
        part_height,
        bands,
        columns=across * -(-part_width * bands * bits // 8),
        rows=down * part_height if tiled else height,
    )


def _unpacked(data: bytes, tags: ImageFileDirectory_v2, parts: _Parts, plane: int) -> Image.Image:
    """The bytes of one plane, as a grey picture of 8 bits."""
    count = parts.across * parts.down
    own = slice(plane * count, (plane + 1) * count)
    where, how_long = STRIPOFFSETS, STRIPBYTECOUNTS
    entries: dict[int, tuple[int, ...]] = {ROWSPERSTRIP: (parts.height,)}
    if parts.tiled:
        where, how_long = TILEOFFSETS, TILEBYTECOUNTS
        entries = {TILEWIDTH: (parts.columns // parts.across,), TILELENGTH: (parts.height,)}
    offsets, sizes = _each(tags, where)[own], _each(tags, how_long)[own]
    if len(offsets) != count:
        raise ValueError(f"{len(offsets)} of {count} strips or tiles")
    entries |= {
        IMAGEWIDTH: (parts.columns,),
        IMAGELENGTH: (parts.rows,),
        BITSPERSAMPLE: (8,),
        COMPRESSION: (tags.get(COMPRESSION, _NO_COMPRESSION),),
        PHOTOMETRIC_INTERPRETATION: (1,),
        FILLORDER: (tags.get(FILLORDER, 1),),
        where: offsets,
    }
    if sizes:
        entries[how_long] = sizes
    # The new header goes before the file, so that a file that is cut off still ends where it ends.
    shift = len(_header(entries))
    entries[where] = tuple(offset + shift for offset in offsets)
    # Not Image.open, which limits the pixels.
    packed = _Bytes(io.BytesIO(_header(entries) + data))
    packed.load()
    return packed


class _Bytes(TiffImageFile):
    """A picture whose pixels are bytes; `MAX_UNPACKED` limits them in place of Pillow."""

    def load_prepare(self) -> None:
        ImageFile.ImageFile.load_prepare(self)


def _header(entries: dict[int, tuple[int, ...]]) -> bytes:
    """The header of a little-endian TIFF and its tags, all of them of 32 bits."""
    table, after = b"", b""
    start = 8 + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}L", *values)
        if len(values) > 1:
            packed, after = struct.pack("<L", start + len(after)), after + packed
        table += struct.pack("<HHL", tag, 4, len(values)) + packed
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + table + bytes(4) + after


def _numbers(
    raw: UInt8[np.ndarray, "row part byte"],
    tags: ImageFileDirectory_v2,
    layout: Layout,
    parts: _Parts,
) -> Shaped[np.ndarray, "row column band"]:
    """The numbers in some rows of bytes; with the columns that fill up the last tiles."""
    predictor, bits = _predictor(tags), layout.bits
    whole = f"{_container(bits) // 8}"
    if bits not in _WHOLE:
        values = _of_few_bits(raw, bits, parts.width * parts.bands)
    elif predictor == _FLOATING_POINT:
        sums = raw.reshape(*raw.shape[:2], -1, parts.bands).cumsum(axis=2, dtype=np.uint8)
        by_weight = sums.reshape(*raw.shape[:2], bits // 8, -1)
        values = np.ascontiguousarray(by_weight.swapaxes(2, 3)).view(f">u{whole}")
    else:
        values = raw.view(f"{'>' if tags.prefix == MM else '<'}u{whole}")
    values = values.reshape(*raw.shape[:2], parts.width, parts.bands).astype(f"u{whole}")
    if predictor == _HORIZONTAL:
        values = values.cumsum(axis=2, dtype=values.dtype)
    return values.view(f"{layout.kind}{whole}").reshape(len(raw), -1, parts.bands)


def _of_few_bits(
    raw: UInt8[np.ndarray, "row part byte"], bits: int, count: int
) -> Shaped[np.ndarray, "value"]:
    """Numbers that do not fill their bytes; each row of a part starts with a new byte."""
    apart = np.unpackbits(raw, axis=2)[:, :, : count * bits].reshape(-1, bits)
    padded = np.pad(apart, ((0, 0), (_container(bits) - bits, 0)))
    return np.packbits(padded).view(f">u{_container(bits) // 8}")


def _container(bits: int) -> int:
    """The bits of the smallest type of numpy that holds so many."""
    return next(size for size in _WHOLE if bits <= size)


def _predictor(tags: ImageFileDirectory_v2) -> int:
    """What was done to the values before they were compressed; only some compressions do it."""
    plain = tags.get(COMPRESSION, _NO_COMPRESSION) in (_NO_COMPRESSION, _PACKBITS)
    return 1 if plain else tags.get(PREDICTOR, 1)


def _each(tags: ImageFileDirectory_v2, tag: int, *default: int) -> tuple[Any, ...]:
    """All values of a tag, of which Pillow gives a single one without a tuple."""
    values = tags.get(tag, default)
    return values if isinstance(values, tuple) else (values,)
