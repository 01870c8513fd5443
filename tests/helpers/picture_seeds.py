"""Small real picture files of every accepted format, from which hostile ones are made."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from tests.helpers.picture_files import png_of_16_bits, tiff_of

COLOURS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PNG_START = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    # Pillow leaves its JPEG encoder's settings on a picture, over which its TIFF encoder trips.
    image.copy().save(buffer, format, **options)
    return buffer.getvalue()


def film() -> dict[str, object]:
    """Options that save two more frames, new ones each time, for the same reason."""
    return {"save_all": True, "append_images": [COLOURS.rotate(90), COLOURS.rotate(180)]}


def seeds() -> list[bytes]:
    """Small real files of every accepted format and of every way through the reader."""
    values = np.arange(17 * 12).reshape(12, 17)
    deep = Image.fromarray((values * 300).astype(np.uint16))
    real = Image.fromarray(values.astype(np.float32))
    palette = COLOURS.convert("P")
    clear = COLOURS.convert("RGBA")
    clear.putalpha(COLOURS.getchannel("R"))
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "A camera with a long name", 0x011A: 72.0})
    runs = bytes((17, 5, 0, 0)) * 11 + bytes((0, 4, 1, 2, 3, 4, 0, 2, 3, 0, 10, 7, 0, 1))
    rle = bytearray(encoded(palette.convert("L"), "BMP")[: 14 + 40 + 1024] + runs)
    rle[30:34] = struct.pack("<L", 1)
    return [
        encoded(COLOURS, "PNG", exif=exif, icc_profile=PROFILE),
        encoded(palette, "PNG", transparency=bytes(range(200))),
        encoded(deep, "PNG"),
        encoded(clear, "PNG", **film()),
        encoded(COLOURS, "JPEG", exif=exif, icc_profile=PROFILE),
        encoded(COLOURS, "JPEG", progressive=True),
        encoded(COLOURS.convert("CMYK"), "JPEG"),
        encoded(COLOURS, "MPO", **film()),
        encoded(COLOURS, "WEBP", exif=exif),
        encoded(clear, "WEBP", lossless=True, icc_profile=PROFILE),
        encoded(COLOURS, "WEBP", **film()),
        encoded(COLOURS, "BMP"),
        encoded(palette, "BMP"),
        bytes(rle),
        encoded(COLOURS, "GIF", **film()),
        encoded(palette, "GIF", transparency=3, interlace=True),
        encoded(COLOURS, "TIFF", exif=exif, **film()),
        encoded(deep, "TIFF", compression="tiff_lzw"),
        encoded(real, "TIFF", compression="tiff_adobe_deflate"),
        encoded(Image.fromarray(values.astype(np.int32)), "TIFF", big_tiff=True),
        encoded(COLOURS.convert("CMYK"), "TIFF", compression="packbits", icc_profile=PROFILE),
        encoded(COLOURS, "TIFF", compression="jpeg"),
        encoded(COLOURS.convert("1"), "TIFF", compression="group4"),
        encoded(COLOURS.convert("YCbCr"), "TIFF"),
        encoded(clear, "TIFF", tile=(16, 16)),
        encoded(palette, "TIFF"),
        png_of_16_bits(values[..., None] * [3, 5, 7] % 4096),
        png_of_16_bits(values[..., None] * [300, 0] + [0, 9000]),
        tiff_of(values[..., None] * [3, 5, 7] % 4096, "<u2", photometric=2, planar=True),
        tiff_of(
            values[..., None] * [3, 5, 7, 9], ">f4", tile=(16, 16), packed=True, extra=(0, 0, 2)
        ),
        tiff_of(values[..., None] * [3, 5, 7], "<i2", rows=5, packed=True, predictor=2),
        tiff_of(values[..., None] % 1000, ">u2", photometric=0, bits=12),
    ]


SEEDS = seeds()
NUMBERS = [
    struct.pack(order + kind, value)
    for order in "<>"
    for kind, values in {
        "B": (0, 1, 127, 255),
        "H": (0, 1, 2, 255, 6000, 32767, 65535),
        "L": (0, 1, 6000, 65536, 2**31 - 1, 2**31, 2**32 - 1),
    }.items()
    for value in values
]


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks carry their right checksums, without which nothing in them is read."""
    if not data.startswith(PNG_START):
        return data
    fixed, place = bytearray(data), 8
    while place + 12 <= len(fixed):
        end = place + 8 + int.from_bytes(fixed[place : place + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">L", zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return bytes(fixed)
