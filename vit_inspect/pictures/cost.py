"""How much memory does reading a picture take at its peak? An estimate from its headers.

It is never less than what was measured (`tests/pictures/test_cost.py`). All numbers are bytes.
"""

from __future__ import annotations

import re
import struct

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import (
    ICCPROFILE,
    IMAGELENGTH,
    IMAGEWIDTH,
    ROWSPERSTRIP,
    TILELENGTH,
    TILEWIDTH,
    ImageFileDirectory_v2,
)

from vit_inspect.pictures import blocks, tiff
from vit_inspect.pictures.bands import Chosen, Layout
from vit_inspect.pictures.blocks import pixel_bytes
from vit_inspect.pictures.deep_png import deep_bands, memory_for_block
from vit_inspect.pictures.tones import memory_for_tones

_ALWAYS = 9_000_000
"""Buffers of decoders, and what the allocator keeps."""

_ROW = 16
"""Bytes for a row beside its pixels: Pillow keeps where they lie, in two pictures at once."""

_DEPTH_OF_PNG = 24
"""The byte of a PNG that tells the bits of a value."""

_WEBP_CANVASES = 13
"""Bytes for each pixel in libwebp: two canvases, what its decoders keep, what it hands over."""

_JPEG_COEFFICIENTS = 8
"""Bytes for each pixel of a JPEG of several passes: 2 for each of at most four colours."""


def memory_for_tiff(
    data: bytes, tags: ImageFileDirectory_v2, layout: Layout, chosen: Chosen, name: str
) -> int:
    """For a TIFF whose values are read here; raises `BadImage` where they would fill the memory."""
    width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
    values, reading = tiff.memory_for_values(data, tags, layout, chosen.bands, name)
    toning = values + memory_for_tones(width, height, len(chosen.bands), chosen.mode)
    after = _to_rgb(width * height, pixel_bytes(chosen.mode), profile=ICCPROFILE in tags)
    return len(data) + max(reading, toning, after) + _ROW * height + _ALWAYS


def size_before_opening(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP or an animated PNG; None for others and where no size is told.

    For these, Pillow takes memory for whole pictures already where it opens them.
    """
    if re.match(rb"RIFF....WEBPVP8X.{14}", data, re.DOTALL):
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if re.match(rb"RIFF....WEBPVP8L.{9}", data, re.DOTALL):
        both = int.from_bytes(data[21:25], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    if re.match(rb"RIFF....WEBPVP8 .{14}", data, re.DOTALL):
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if data.startswith(b"\x89PNG") and len(data) > _DEPTH_OF_PNG and b"acTL" in data:
        width, height = struct.unpack_from(">LL", data, 16)
        return width, height
    return None


def memory_before_opening(data: bytes, size: tuple[int, int], *, chosen: bool) -> int:
    """For a picture of this size that Pillow has not opened; for the most costly of its kind."""
    pixels = size[0] * size[1]
    of_pixel = 4 + _WEBP_CANVASES + 12 * chosen
    if not data.startswith(b"RIFF") and data[_DEPTH_OF_PNG] == 16:
        # Two loaded pictures, four bands of values, and what lies below the next frame.
        of_pixel = 2 * 4 + 4 * 2 + 8 + 8 * chosen
    tones = memory_for_tones(*size, 4, "RGBA") - 4 * pixels
    beside = max(3 * len(data), tones, blocks.MEMORY) + _ROW * size[1]
    return len(data) + of_pixel * pixels + beside + _ALWAYS


def memory_for_file(file: ImageFile.ImageFile, data: bytes, *, scans: int, chosen: bool) -> int:
    """For a picture that Pillow has opened.

    scans: passes over the pixels of a JPEG. chosen: whether bands of it are chosen.
    """
    pixels, own = file.width * file.height, pixel_bytes(file.mode)
    always = len(data) + _ROW * file.height + _ALWAYS
    profile = bool(file.info.get("icc_profile"))
    loading = own * pixels + _beside(file, data, scans)
    after = _to_rgb(pixels, own, profile=profile)
    if bands := deep_bands(file):
        kept = values = 2 * bands * pixels
        loading = values + memory_for_block(file.width, bands)
    elif chosen or file.mode == "F" or file.mode.startswith("I"):
        bands, values = 4, 4 * pixels
        # As RGB, if it was something else, and all blocks of its values before they are joined.
        loading += 4 * pixels + 2 * values
        kept = own * pixels + values
    else:
        return always + max(loading, after)
    copied = 3 * values // bands if chosen else 0
    tones = memory_for_tones(file.width, file.height, bands, "RGBA")
    return always + max(loading, kept + copied, kept + tones, after)


def unchecked_of_tiff(
    data: bytes, tags: ImageFileDirectory_v2, layout: Layout, chosen: Chosen
) -> int:
    """What a TIFF whose values are read here takes before damage is found."""
    return len(data) + tiff.memory_before_damage(data, tags, layout, chosen.bands)


def unchecked_before_opening(data: bytes, size: tuple[int, int]) -> int:
    """The same of a picture that Pillow has not opened.

    Of an animated PNG and of a WebP without loss, two pictures are kept.
    """
    two = not data.startswith(b"RIFF") or b"VP8L" in data
    deep = not data.startswith(b"RIFF") and data[_DEPTH_OF_PNG] == 16
    return len(data) + 8 * size[0] * size[1] * two + deep * memory_for_block(size[0], 4)


def unchecked_of_file(file: ImageFile.ImageFile, data: bytes, *, scans: int) -> int:
    """The same of a picture that Pillow has opened: of a JPEG, all passes come before a pixel."""
    if bands := deep_bands(file):
        values = 2 * bands * file.width * file.height
        return len(data) + values + memory_for_block(file.width, bands)
    kept = 2 * len(file.getbands()) if scans > 1 else pixel_bytes(file.mode)
    return len(data) + kept * file.width * file.height


def _to_rgb(pixels: int, own: int, *, profile: bool) -> int:
    """From the loaded picture to RGB: it is turned upright, and each step makes a new one."""
    return pixels * max(2 * own, own + 4 + 4 * profile) + blocks.MEMORY


def _beside(file: ImageFile.ImageFile, data: bytes, scans: int) -> int:
    """What the decoder takes beside the picture, all of it or its own buffers."""
    pixels = file.width * file.height
    if file.format in ("JPEG", "MPO"):
        return _JPEG_COEFFICIENTS * pixels if scans > 1 else 0
    if file.format == "TIFF":
        return len(data) + 4 * _strip_pixels(file)
    # Of animations, what lies below the next frame.
    return 8 * pixels if file.format == "GIF" else 0


def _strip_pixels(file: Image.Image) -> int:
    """Of a strip or tile, which is unpacked on its own."""
    # A damaged tag can be any number, or a fraction.
    rows, width, height = (
        tag if isinstance(tag, int) and tag > 0 else 0
        for tag in map(getattr(file, "tag_v2", {}).get, (ROWSPERSTRIP, TILEWIDTH, TILELENGTH))
    )
    return max(file.width * min(rows or file.height, file.height), width * height)
