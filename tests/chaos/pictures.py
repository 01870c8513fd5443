"""Which picture files does a stranger send? Hostile ones of all accepted formats, by number."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from tests.chaos.accidents import COUNTS, polyglot, struck
from tests.helpers.picture_files import damaged_at_its_end, tiff_of
from tests.helpers.picture_seeds import PNG_START, PROFILE, SEEDS, encoded, with_checksums

KINDS = {
    "png": (PNG_START,),
    "jpeg": (b"\xff\xd8",),
    "webp": (b"RIFF",),
    "bmp": (b"BM",),
    "gif": (b"GIF",),
    "tiff": (b"II", b"MM"),
}

LARGE = 6300
"""Pixels a side of a picture that is just not too large."""

LARGE_OF_8 = 6000
"""The same of a kind that takes 8 bytes for each pixel before damage is found."""

CLAIMS = (LARGE, LARGE_OF_8, 40_000_000, *COUNTS)
"""Sides that headers claim: some just fit, so that the body is looked at."""

TIFF_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323)
TIFF_TAGS += (324, 325, 330, 338, 339, 340, 341, 347, 530, 532, 700, 34665, 34675, 42112)


def hostile(draw: random.Random, kind: str) -> bytes:
    """A file that begins as one of this kind, most often after accidents."""
    seeds = [each for each in SEEDS if each.startswith(KINDS[kind])]
    if draw.random() < 0.03:
        name = draw.choice([each for each in BOMBS if each.startswith(kind)])
        data = BOMBS[name]()
        return data if draw.random() < 0.3 else struck(draw, data, seeds, 40)
    return damaged(draw, kind, draw.choice(seeds))


def damaged(draw: random.Random, kind: str, data: bytes) -> bytes:
    """A file of this kind after accidents to its headers, to any of its bytes, or as a polyglot."""
    way = draw.choices(("header", "bytes", "both", "polyglot"), (40, 30, 20, 7))[0]
    if way in ("header", "both"):
        for _ in range(draw.choice((1, 1, 2, 3))):
            data = _HEADERS[kind](draw, data)
    if way in ("bytes", "both"):
        data = struck(draw, data, SEEDS)
    if way == "polyglot":
        data = polyglot(draw, data, SEEDS)
    return with_checksums(data) if draw.random() < 0.9 else data


def _number(draw: random.Random, form: str, among: tuple[int, ...] = CLAIMS) -> bytes:
    """One of these numbers, or of its last bytes, in this form of `struct`."""
    return struct.pack(form, draw.choice(among) & (1 << 8 * struct.calcsize(form)) - 1)


def _put(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def chunks_of(data: bytes) -> list[bytes]:
    """The chunks of a PNG, each with its kind and without its checksum."""
    found, place = [], 8
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        found.append(data[place + 4 : place + 8 + length])
        place += 12 + length
    return found


def png(chunks: list[bytes]) -> bytes:
    """A PNG of these chunks."""
    return PNG_START + b"".join(
        struct.pack(">L", max(0, len(each) - 4)) + each + struct.pack(">L", zlib.crc32(each))
        for each in chunks
    )


def _png(draw: random.Random, data: bytes) -> bytes:
    chunks = chunks_of(data) or [b"IHDR"]
    place = draw.randrange(len(chunks))
    match draw.randrange(6):
        case 0:
            new = _number(draw, ">L")
            chunks[0] = _put(chunks[0], draw.choice((4, 8)), new)
        case 1:
            # Depth, colours, compression, filter, interlacing.
            new = bytes((draw.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)),))
            chunks[0] = _put(chunks[0], draw.randrange(12, 17), new)
        case 2:
            chunks.insert(place, _metadata_of_png(draw))
        case 3:
            chunks.insert(place, chunks[draw.randrange(len(chunks))])
        case 4:
            chunks.pop(place)
        case _:
            chunks[place] = chunks[place][:4] + struck(draw, chunks[place][4:], SEEDS, 0)
    return png(chunks)


def _metadata_of_png(draw: random.Random) -> bytes:
    many = zlib.compress(bytes(draw.choice((10, 10**6, 2 * 10**7))))
    return draw.choice(
        (
            b"iCCP" + b"x\0\0" + zlib.compress(profile(draw)),
            b"iCCP" + b"x\0\0" + many,
            b"zTXt" + b"x\0\0" + many,
            b"iTXt" + b"x\0\1\0\0\0" + many,
            b"tEXt" + b"x\0" + bytes(10),
            b"eXIf" + exif(draw),
            b"acTL" + _number(draw, ">L") + _number(draw, ">L"),
            b"fcTL" + b"".join(_number(draw, ">L") for _ in range(6)) + bytes(2),
            b"fdAT" + bytes(4) + many[:50],
            b"tRNS" + bytes(draw.choice((0, 1, 2, 6, 256, 300))),
            b"PLTE" + bytes(draw.choice((0, 1, 3, 768, 3000))),
            b"sBIT" + bytes(draw.choices((0, 1, 8, 12, 16, 255), k=4)),
            b"gAMA" + _number(draw, ">L"),
            b"cHRM" + bytes(32),
            b"pHYs" + _number(draw, ">L") * 2 + b"\1",
            b"IEND",
        )
    )


def profile(draw: random.Random) -> bytes:
    """A colour profile, whole or damaged."""
    # The tags, their places and sizes.
    whole = draw.choice((PROFILE, _LAB))
    if draw.random() < 0.2:
        return whole
    if draw.random() < 0.6:
        return _put(whole, 128 + 4 * draw.randrange(40), _number(draw, ">L"))
    return struck(draw, whole, SEEDS, 0)


_LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def exif(draw: random.Random) -> bytes:
    """EXIF data, which is a TIFF of tags alone, damaged."""
    tags = Image.Exif()
    tags.update({0x0112: draw.randint(0, 9), 0x010F: "A camera", 0x011A: 72.0})
    tags.get_ifd(0x8769).update({0x9000: b"0231", 0x829A: 0.01})
    return _tiff(draw, tags.tobytes()[6:])


def _tiff(draw: random.Random, data: bytes) -> bytes:
    """One tag of a TIFF that is not large: another number, type, count, value or place."""
    order = "<" if data.startswith(b"II") else ">"
    table = int.from_bytes(data[4:8], "little" if order == "<" else "big")
    if data[2:4] not in (b"*\0", b"\0*") or table + 2 > len(data):
        return struck(draw, data, SEEDS)
    (count,) = struct.unpack_from(order + "H", data, table)
    if not count or draw.random() < 0.1:
        return _put(data, draw.choice((4, table)), _number(draw, order + "L"))
    entry = table + 2 + 12 * draw.randrange(count)
    match draw.randrange(5):
        case 0:
            return _put(data, entry, struct.pack(order + "H", draw.choice(TIFF_TAGS)))
        case 1:
            return _put(data, entry + 2, struct.pack(order + "H", draw.randint(0, 18)))
        case 2:
            return _put(data, entry + 4, _number(draw, order + "L"))
        case 3:
            return _put(data, entry + 8, _number(draw, order + "H") + bytes(2))
        case _:
            return _put(data, entry + 8, _number(draw, order + "L"))


def _jpeg(draw: random.Random, data: bytes) -> bytes:
    places, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        places.append(place)
        if data[place + 1] == 0xDA:
            break
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    place = draw.choice(places or [2])
    match draw.randrange(6):
        case 0:
            frames = [each for each in places if data[each + 1] in (0xC0, 0xC1, 0xC2)]
            return _put(data, draw.choice(frames or [2]) + draw.choice((5, 7)), _number(draw, ">H"))
        case 1:
            return _put(data, place + 2, _number(draw, ">H"))
        case 2:
            return _put(data, place + 1, bytes((draw.randint(0xC0, 0xFE),)))
        case 3:
            new = draw.choice((b"Exif\0\0" + exif(draw), b"ICC_PROFILE\0\1\1" + profile(draw)))
            new += bytes(draw.choice((0, 0, 60_000)))
            marker = b"\xff\xe2" if new.startswith(b"ICC") else b"\xff\xe1"
            length = struct.pack(">H", min(len(new) + 2, 65535))
            return data[:2] + marker + length + new[:65533] + data[2:]
        case 4:
            end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
            return data[:end] + data[place:end] * draw.choice((1, 5, 200)) + data[end:]
        case _:
            return _put(data, place + 4 + draw.randint(0, 30), bytes((draw.randrange(256),)))


def _webp(draw: random.Random, data: bytes) -> bytes:
    chunks, place = [], 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        chunks.append(data[place : place + 8 + size + size % 2])
        place += 8 + size + size % 2
    if not chunks:
        return struck(draw, data, SEEDS, 12)
    place = draw.randrange(len(chunks))
    match draw.randrange(6):
        case 0:
            chunks[place] = _put(chunks[place], 4, _number(draw, "<L"))
        case 1:
            new = draw.choice((b"ICCP", b"EXIF", b"XMP ", b"ALPH", b"ANIM", b"VP8X", b"VP8L"))
            made = exif(draw) if new == b"EXIF" else profile(draw)
            chunks.insert(place, new + struct.pack("<L", len(made)) + made + bytes(len(made) % 2))
        case 2:
            chunks.insert(place, chunks[draw.randrange(len(chunks))])
        case 3:
            chunks.pop(place)
        case 4:
            # Sides, and what there is.
            chunks[0] = _put(chunks[0], draw.choice((8, 11, 12, 14, 15)), _number(draw, "<H"))
        case _:
            chunks[place] = chunks[place][:8] + struck(draw, chunks[place][8:], SEEDS, 0)
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def _gif(draw: random.Random, data: bytes) -> bytes:
    frame = data.find(b"\x2c", 13)
    places = [6, 8, 10, 11, frame + 1, frame + 3, frame + 5, frame + 7, frame + 9, frame + 10]
    return _put(data, draw.choice(places), _number(draw, draw.choice(("<H", "<H", "B"))))


def _bmp(draw: random.Random, data: bytes) -> bytes:
    # Where the pixels begin, the header's size, sides, planes, depth, compression, sizes, colours.
    place = draw.choice((10, 14, 18, 22, 26, 28, 30, 34, 46, 50))
    return _put(data, place, _number(draw, draw.choice(("<L", "<L", "<H"))))


_HEADERS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "png": _png,
    "jpeg": _jpeg,
    "webp": _webp,
    "bmp": _bmp,
    "gif": _gif,
    "tiff": _tiff,
}


@cache
def _large(mode: str, format: str, side: int = LARGE, **options: object) -> bytes:
    return encoded(Image.new(mode, (side, side)), format, **options)


@cache
def _png_of(depth: int, colours: int, side: int = LARGE, *, rows: int = LARGE) -> bytes:
    """A PNG in one colour, with pixels for its first rows."""
    bands = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    packed = zlib.compress(bytes(min(rows, side) * (1 + side * bands * depth // 8)), 1)
    header = b"IHDR" + struct.pack(">LLBBBBB", side, side, depth, colours, 0, 0, 0)
    return png([header, b"IDAT" + packed, b"IEND"])


def _with_clear(data: bytes) -> bytes:
    """A PNG of colours in 16 bits, of which one is transparent."""
    header, *rest = chunks_of(data)
    return png([header, b"tRNS" + struct.pack(">3H", 1, 2, 3), *rest])


@cache
def _jpeg_of(scans: int) -> bytes:
    """A JPEG whose last pass is repeated."""
    data = _large("L", "JPEG", progressive=True)
    start, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:end] + data[start:end] * scans + data[end:]


@cache
def _tiff_of(side: int, number: str, bands: int = 1, **options: object) -> bytes:
    values = np.broadcast_to(np.zeros((1, 1, bands)), (side, side, bands))
    return tiff_of(values, number, packed=True, **options)


@cache
def _pillow_tiff(compression: str, side: int = LARGE, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    image = Image.new(mode, (side, side))
    image.save(file, "TIFF", compression=compression, strip_size=2**30)
    return file.getvalue()


def _within(kind: bytes, place: int, piece: bytes) -> bytes:
    """A small file of this kind with ten megabytes of such pieces at a place inside."""
    data = next(each for each in SEEDS if each.startswith(kind))
    return data[:place] + piece * (10_000_000 // len(piece)) + data[place:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "png of many pieces": lambda: _within(PNG_START, 33, png([b"abCd"])[8:]),
    "jpeg of many pieces": lambda: _within(b"\xff\xd8", 2, b"\xff\xe5\0\2"),
    "gif of many pieces": lambda: _within(b"GIF", -1, b"\0"),
    "png": lambda: _png_of(8, 2),
    "png that ends early": lambda: _png_of(8, 6, rows=5000),
    "png of 16 bits": lambda: _png_of(16, 0),
    "png of 16 bits in colours": lambda: _png_of(16, 2, 5160),
    "png of 16 bits and a clear colour": lambda: _with_clear(_png_of(16, 2, 4470)),
    "png of 16 bits that ends early": lambda: _png_of(16, 6, 4470, rows=4400),
    "png with text": lambda: png(
        [*chunks_of(SEEDS[0])[:1], *[b"zTXtx\0\0" + zlib.compress(bytes(10**6))] * 70]
    ),
    "jpeg": lambda: _large("RGB", "JPEG"),
    "jpeg of several passes": lambda: _large("L", "JPEG", progressive=True),
    "jpeg of several passes that ends early": lambda: _large("L", "JPEG", progressive=True)[:-90],
    "jpeg of many passes": lambda: _jpeg_of(90),
    "webp": lambda: _large("RGB", "WEBP", side=3000, method=0),
    "webp without loss": lambda: _large(
        "RGBA", "WEBP", LARGE_OF_8, lossless=True, method=0, quality=0
    ),
    "webp that ends early": lambda: _large("RGB", "WEBP", side=3000, method=0)[:-3000],
    "bmp": lambda: encoded(Image.new("1", (LARGE, LARGE)), "BMP"),
    "gif": lambda: _large("P", "GIF"),
    "gif that ends early": lambda: _large("P", "GIF")[:-900],
    "tiff of floats": lambda: _tiff_of(4000, "<f4"),
    "tiff of bands": lambda: _tiff_of(2000, "<u2", 9),
    "tiff of lzw": lambda: _pillow_tiff("tiff_lzw"),
    "tiff of lzw that ends early": lambda: _pillow_tiff("tiff_lzw")[:-5000],
    "tiff of 16 bits that is damaged at its end": lambda: damaged_at_its_end(
        _tiff_of(LARGE, "<u2", 4, photometric=2, extra=(2,), rows=64)
    ),
    "tiff of large numbers that is damaged at its end": lambda: damaged_at_its_end(
        _tiff_of(LARGE, "<f8", rows=64)
    ),
    "tiff of zstd": lambda: _pillow_tiff("zstd"),
    "tiff of lzma": lambda: _pillow_tiff("lzma", 3000),
    "tiff of jpeg": lambda: _pillow_tiff("jpeg", 3000),
    "tiff of fax": lambda: _pillow_tiff("group4", mode="1"),
}
"""Small files of large pictures; they are made when they are asked for."""
