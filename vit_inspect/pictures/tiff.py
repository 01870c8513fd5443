"""Which values are stored in the first picture of a TIFF?

Pillow reads TIFFs as pictures of 8 bits, and only some layouts. Here it only unpacks: the header is
replaced by that of a grey picture of 8 bits, which is as wide as a row has bytes. The bytes are
then read as numbers. So all depths are read, in all lossless compressions that Pillow has.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
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
from vit_inspect.pictures.pieces import Pieces

MAX_UNPACKED = 400_000_000
"""Most bytes of unpacked values: 5 bands of 16 bits at 40 megapixels."""

_MAX_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE = 281, 341

_COLOURS: dict[int, Literal["L", "RGB", "CMYK"]] = {0: "L", 1: "L", 2: "RGB", 5: "CMYK"}
"""The photometric tags whose values are read here; 0 is grey with white as zero."""

_NO_COMPRESSION, _PACKBITS = 1, 32773
_DEFLATE = (8, 32946)
_WITH_WINDOW = (34925, 50000)
_LOSSLESS = (_NO_COMPRESSION, 5, *_DEFLATE, _PACKBITS, *_WITH_WINDOW)
"""Compressions of bytes: none, LZW, deflate (of two numbers), PackBits, LZMA, Zstandard."""

_HORIZONTAL, _FLOATING_POINT = 2, 3
"""Predictors: differences of neighbours; the same for the bytes of floats, sorted by weight."""

_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
"""The sample formats; 4 is undefined."""

_WHOLE = (8, 16, 32, 64)
_DEPTHS = {"u": (*range(1, 17), 32, 64), "i": _WHOLE, "f": (16, 32, 64)}

_PREMULTIPLIED, _ALPHA = 1, 2
"""The extra samples that are transparency."""

_BLOCK = 1 << 20
"""Values that become numbers at once."""

_AT_ONCE = 40
"""Most bytes that each of them takes on the way: those of few bits are spread to a byte a bit."""

_FED = 1 << 16
"""Bytes that are given to zlib at once: it copies what it did not need."""

_LARGE = 1 << 23
"""Bytes of a strip that is unpacked in pieces, and of the strips or tiles that are together."""

_TWICE = 200_000_000
"""Bytes of values and file from which on all is unpacked twice, the first time to find damage."""


def is_tiff(data: bytes) -> bool:
    """Whether these bytes start like a TIFF."""
    return data.startswith(tuple(PREFIXES))


def tags_of(data: bytes) -> ImageFileDirectory_v2:
    """The tags of the first picture."""
    # A BigTIFF's header has 43 and is twice as long. Pillow looks for it in the third byte only,
    # where a big-endian file has 0.
    header = b"II+\0" + data[4:16] if 43 in data[2:4] else data[:8]
    tags = ImageFileDirectory_v2(header, prefix=data[:2])
    stream = Pieces(data)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def layout_of(tags: ImageFileDirectory_v2, name: str) -> Layout | None:
    """How the values are stored; None for what Pillow shows itself, such as palettes and JPEG.

    Raises `BadImage` for numbers that are not read, such as complex ones.
    """
    photometric = tags.get(PHOTOMETRIC_INTERPRETATION)
    compression = _compression(tags)
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
        "compression": _compression(tags),
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


def memory_for_values(
    data: bytes, tags: ImageFileDirectory_v2, layout: Layout, bands: tuple[int, ...], name: str
) -> tuple[int, int]:
    """Bytes of the values of some bands, and what they take at most while they are read.

    Raises `BadImage` where they would fill the memory.
    """
    width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
    parts = _parts_of(tags, layout)
    values = height * width * len(bands) * _container(layout.bits) // 8
    if (size := max(parts.columns * parts.rows, values)) > MAX_UNPACKED:
        raise BadImage(
            f"{size / 1e6:,.0f} MB of values in '{name}'",
            f"at most {MAX_UNPACKED // 10**6} MB of them",
            "make it smaller first",
        )
    row = parts.across * parts.width * parts.bands
    numbers = _AT_ONCE * max(row, min(_BLOCK, row * height))
    most = 0
    for place, plane in enumerate(_planes(parts, bands)):
        for run in _runs(data, tags, parts, plane):
            # Of the values, only those that are read are in memory: the first plane fills it.
            before, after = (
                values if place else values * min(rows * parts.height, height) // height
                for rows in (run.rows.start, run.rows.stop)
            )
            unpacking, unpacked = _memory_for(run, data, tags, parts)
            most = max(most, before + unpacking, after + unpacked + numbers)
    return values, most


def memory_before_damage(
    data: bytes, tags: ImageFileDirectory_v2, layout: Layout, bands: tuple[int, ...]
) -> int:
    """Bytes that are taken at most, beside the file, before all of it was unpacked once."""
    parts = _parts_of(tags, layout)
    runs = (run for plane in _planes(parts, bands) for run in _runs(data, tags, parts, plane))
    return max(_before_damage(run, data, tags, parts) for run in runs)


def read_values(
    data: bytes, tags: ImageFileDirectory_v2, layout: Layout, bands: tuple[int, ...]
) -> Shaped[np.ndarray, "row column band"]:
    """The values of some bands, in their order; raises any error where they are damaged."""
    width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
    parts = _parts_of(tags, layout)
    dtype = np.dtype(f"{layout.kind}{_container(layout.bits) // 8}")
    values = np.empty((height, width, len(bands)), dtype)
    # All bands lie in one plane, or each in its own.
    shown = [slice(None)]
    if parts.planar:
        shown = [slice(place, place + 1) for place in range(len(bands))]
    planes = _planes(parts, bands)
    if values.nbytes + len(data) > _TWICE:
        # What was not written takes no memory yet.
        for plane in planes:
            for run in _runs(data, tags, parts, plane):
                for _ in _rows_of(run, data, tags, parts):
                    pass
    # Values are copied one by one where a list chooses among them.
    every = parts.planar or bands == tuple(range(parts.bands))
    inside = slice(None) if every else list(bands)
    for places, plane in zip(shown, planes, strict=True):
        for run in _runs(data, tags, parts, plane):
            top = run.rows.start * parts.height
            for raw in _rows_of(run, data, tags, parts):
                # Without those that fill up the last tiles.
                apart = raw[: height - top].reshape(-1, parts.across, parts.columns // parts.across)
                if len(apart):
                    numbers = _numbers(apart, tags, layout, parts)[:, :width, inside]
                    values[top : top + len(apart), :, places] = numbers
                top += len(apart)
    return values


@dataclass(frozen=True)
class _Parts:
    """The strips or tiles of one plane.

    planar: whether each band has a plane of its own.
    tiled: whether they are tiles; a strip is as wide as the picture.
    across, down: how many there are.
    width, height: of one, in pixels.
    bands: how many the plane holds.
    columns, rows: of the plane, in bytes and pixels, with those that fill up the last tiles.
    """

    planar: bool
    tiled: bool
    across: int
    down: int
    width: int
    height: int
    bands: int
    columns: int
    rows: int

    @property
    def size(self) -> int:
        """Bytes of a strip, or of a row of tiles."""
        return self.columns * self.height


@dataclass(frozen=True)
class _Run:
    """Strips or rows of tiles that are unpacked together.

    rows: their numbers.
    offsets, sizes: where each strip or tile lies in the file; the sizes can be missing.
    whole: whether all of them lie inside of the file.
    """

    rows: range
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    whole: bool


def _parts_of(tags: ImageFileDirectory_v2, layout: Layout) -> _Parts:
    width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
    planar = tags.get(PLANAR_CONFIGURATION, 1) == 2
    bands = 1 if planar else layout.bands
    tiled = TILEOFFSETS in tags
    part_width, part_height = width, min(tags.get(ROWSPERSTRIP, height), height)
    if tiled:
        part_width, part_height = tags[TILEWIDTH], tags[TILELENGTH]
    across, down = -(-width // part_width), -(-height // part_height)
    return _Parts(
        planar,
        tiled,
        across,
        down,
        part_width,
        part_height,
        bands,
        columns=across * -(-part_width * bands * layout.bits // 8),
        rows=down * part_height if tiled else height,
    )


def _planes(parts: _Parts, bands: tuple[int, ...]) -> tuple[int, ...]:
    return bands if parts.planar else (0,)


def _runs(data: bytes, tags: ImageFileDirectory_v2, parts: _Parts, plane: int) -> list[_Run]:
    """All strips or tiles of a plane, a few together, so that it is never unpacked as a whole.

    They are all together if the file does not say where each of them ends, or is cut off: Pillow
    knows what can be read then.
    """
    count = parts.across * parts.down
    own = slice(plane * count, (plane + 1) * count)
    where, how_long = STRIPOFFSETS, STRIPBYTECOUNTS
    if parts.tiled:
        where, how_long = TILEOFFSETS, TILEBYTECOUNTS
    offsets, sizes = _each(tags, where)[own], _each(tags, how_long)[own]
    if len(offsets) != count:
        raise ValueError(f"{len(offsets)} of {count} strips or tiles")
    if _compression(tags) == _NO_COMPRESSION:
        # What the file says of their sizes may be wrong, and nobody needs it.
        each = parts.size // parts.across
        sizes = (
            *[each] * (count - 1),
            each - (parts.down * parts.height - parts.rows) * parts.columns,
        )
    if len(sizes) != count or not all(
        size > 0 and start + size <= len(data) for start, size in zip(offsets, sizes, strict=True)
    ):
        return [_Run(range(parts.down), offsets, sizes, whole=False)]
    step = max(1, _LARGE // parts.size)
    return [
        _Run(
            range(top, min(top + step, parts.down)),
            offsets[top * parts.across : (top + step) * parts.across],
            sizes[top * parts.across : (top + step) * parts.across],
            whole=True,
        )
        for top in range(0, parts.down, step)
    ]


def _in_pieces(run: _Run, tags: ImageFileDirectory_v2, parts: _Parts) -> bool:
    """Whether this is one large strip, which would be a large block for Pillow.

    Python itself can unpack only some kinds of it.
    """
    return (
        run.whole
        and not parts.tiled
        and len(run.rows) == 1
        and parts.size > _LARGE
        and tags.get(FILLORDER, 1) == 1
        and _compression(tags) in (_NO_COMPRESSION, *_DEFLATE)
    )


def _memory_for(
    run: _Run, data: bytes, tags: ImageFileDirectory_v2, parts: _Parts
) -> tuple[int, int]:
    """Bytes that are taken at most while it is unpacked, and while its bytes become numbers."""
    if _in_pieces(run, tags, parts):
        return 4 * _LARGE, 4 * _LARGE
    unpacked = (sum(run.sizes) if run.whole else len(data)) + len(run.rows) * parts.size
    # Pillow unpacks a strip or tile on its own before it stands in the picture, and some
    # compressions keep a window of what was unpacked.
    buffers = 2 if _compression(tags) in _WITH_WINDOW else 1
    return unpacked + buffers * parts.size, unpacked


def _before_damage(run: _Run, data: bytes, tags: ImageFileDirectory_v2, parts: _Parts) -> int:
    """Bytes that are taken at most before its last strip or row of tiles is found damaged."""
    most, _ = _memory_for(run, data, tags, parts)
    # A damaged one does not get into the picture.
    return most if _in_pieces(run, tags, parts) else most - parts.size


def _rows_of(
    run: _Run, data: bytes, tags: ImageFileDirectory_v2, parts: _Parts
) -> Iterator[UInt8[np.ndarray, "row byte"]]:
    """The bytes of its rows, some rows at a time."""
    step = max(1, _BLOCK // (parts.across * parts.width * parts.bands))
    if not _in_pieces(run, tags, parts):
        packed = _unpacked(run, data, tags, parts)
        for top in range(0, packed.height, step):
            below = min(top + step, packed.height)
            yield np.asarray(packed.crop((0, top, parts.columns, below)))
        return
    (start,), (size,) = run.offsets, run.sizes
    stored = memoryview(data)[start : start + size]
    count = min(parts.height, parts.rows - run.rows.start * parts.height)
    wanted = [parts.columns * min(step, count - top) for top in range(0, count, step)]
    pieces = _cut if _compression(tags) == _NO_COMPRESSION else _inflated
    for piece in pieces(stored, wanted):
        yield np.frombuffer(piece, np.uint8).reshape(-1, parts.columns)


def _cut(stored: memoryview, wanted: list[int]) -> Iterator[memoryview]:
    """Pieces of these sizes."""
    for size, end in zip(wanted, itertools.accumulate(wanted), strict=True):
        yield stored[end - size : end]


def _inflated(stored: memoryview, wanted: list[int]) -> Iterator[bytes]:
    """Pieces of these sizes of what was packed by deflate."""
    unpack = zlib.decompressobj()
    given = b""
    for size in wanted:
        piece = bytearray()
        while len(piece) < size:
            if not given:
                given, stored = bytes(stored[:_FED]), stored[_FED:]
            part = unpack.decompress(given, size - len(piece))
            if not part and not stored:
                raise ValueError(f"a strip that ends {size - len(piece)} bytes too early")
            piece += part
            given = unpack.unconsumed_tail
        yield bytes(piece)
    # The checksum of all pieces lies at the end, and raises an error of its own.
    unpack.decompress(given or stored[:_FED], 1)


def _unpacked(run: _Run, data: bytes, tags: ImageFileDirectory_v2, parts: _Parts) -> Image.Image:
    """Its bytes, as a grey picture of 8 bits."""
    where, how_long = STRIPOFFSETS, STRIPBYTECOUNTS
    entries: dict[int, tuple[int, ...]] = {ROWSPERSTRIP: (parts.height,)}
    if parts.tiled:
        where, how_long = TILEOFFSETS, TILEBYTECOUNTS
        entries = {TILEWIDTH: (parts.columns // parts.across,), TILELENGTH: (parts.height,)}
    offsets, stored = run.offsets, [memoryview(data)]
    if run.whole:
        spans = zip(run.offsets, run.sizes, strict=True)
        stored = [stored[0][start : start + size] for start, size in spans]
        offsets = (0, *itertools.accumulate(run.sizes[:-1]))
    top, below = run.rows.start * parts.height, run.rows.stop * parts.height
    entries |= {
        IMAGEWIDTH: (parts.columns,),
        IMAGELENGTH: (min(below, parts.rows) - top,),
        BITSPERSAMPLE: (8,),
        COMPRESSION: (_compression(tags),),
        PHOTOMETRIC_INTERPRETATION: (1,),
        FILLORDER: (tags.get(FILLORDER, 1),),
        where: offsets,
    }
    if run.sizes:
        entries[how_long] = run.sizes
    # The new header goes before the bytes, so that a file that is cut off still ends where it ends.
    shift = len(_header(entries))
    entries[where] = tuple(offset + shift for offset in offsets)
    # Not Image.open, which limits the pixels.
    packed = _Bytes(io.BytesIO(b"".join([_header(entries), *stored])))
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


def _compression(tags: ImageFileDirectory_v2) -> Any:
    return tags.get(COMPRESSION, _NO_COMPRESSION)


def _predictor(tags: ImageFileDirectory_v2) -> int:
    """What was done to the values before they were compressed; only some compressions do it."""
    plain = _compression(tags) in (_NO_COMPRESSION, _PACKBITS)
    return 1 if plain else tags.get(PREDICTOR, 1)


def _each(tags: ImageFileDirectory_v2, tag: int, *default: int) -> tuple[Any, ...]:
    """All values of a tag, of which Pillow gives a single one without a tuple."""
    values = tags.get(tag, default)
    return values if isinstance(values, tuple) else (values,)
