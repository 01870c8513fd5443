"""A PNG of 16 bits is read to the last bit, whatever its colours, filters and chunks."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.chaos.pictures import chunks_of, png
from tests.helpers.picture_files import png_of_16_bits
from vit_inspect.errors import BadImage
from vit_inspect.limits import MAX_READING, MAX_SIDE, MAX_UNCHECKED
from vit_inspect.pictures import deep_png, planning
from vit_inspect.pictures.deep_png import read_deep_png
from vit_inspect.pictures.reading import describe, read_image

VALUES = np.random.default_rng(0).integers(0, 65536, (11, 7, 4))
TWELVE = np.random.default_rng(1).integers(0, 4096, (11, 7, 3))
TWELVE[0, 0] = 4095
TAKEN = "Its values reach 4,095 of 65,535: taken as 12 bits, 4,095 is white."


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_all_bits_of_all_bands_are_read(bands: int) -> None:
    data = png_of_16_bits(VALUES[..., :bands])
    with Image.open(io.BytesIO(data)) as file:
        values, layout = read_deep_png(file, data)
    np.testing.assert_array_equal(values, VALUES[..., :bands])
    assert (layout.bands, layout.bits) == (bands, 16)
    assert layout.alpha == {1: None, 2: 1, 3: None, 4: 3}[bands]


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("pixels", [1, 14, 21, 1000])
def test_blocks_of_rows_make_no_difference(
    bands: int, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep_png, "_BLOCK", pixels)
    data = png_of_16_bits(VALUES[..., :bands])
    for each in (data, png_of_16_bits(VALUES[..., :bands], interlaced=True)):
        with Image.open(io.BytesIO(each)) as file:
            values, _ = read_deep_png(file, each)
        np.testing.assert_array_equal(values, VALUES[..., :bands])


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (5, 1), (11, 7)])
def test_an_interlaced_picture_is_read_to_the_last_bit(bands: int, size: tuple[int, int]) -> None:
    part = VALUES[: size[0], : size[1], :bands]
    data = png_of_16_bits(part, interlaced=True)
    with Image.open(io.BytesIO(data)) as file:
        values, _ = read_deep_png(file, data)
    np.testing.assert_array_equal(values, part)
    # As another reader sees it, which keeps the first bytes of colours.
    if bands > 2:
        shown = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(shown, part >> 8)


@pytest.mark.parametrize("interlaced", [False, True])
def test_chunks_may_be_of_any_size_and_some_stand_after_the_pixels(interlaced: bool) -> None:
    values = VALUES[..., :3]
    header, pixels, end = chunks_of(png_of_16_bits(values, interlaced=interlaced))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    cut = [b"IDAT" + pixels[place : place + 7] for place in range(4, len(pixels), 7)]
    after = b"eXIf" + exif.tobytes()[6:]
    picture = read_image(png([header, b"IDAT", *cut, b"IDAT", after, end]))
    expected = np.rint(values / 257)[::-1, ::-1]
    np.testing.assert_array_equal(np.asarray(picture), expected)


def test_a_side_of_millions_of_pixels_is_refused_by_its_header() -> None:
    header, pixels, end = chunks_of(png_of_16_bits(VALUES[..., :1]))
    for size in ((MAX_SIDE, 1), (1, MAX_SIDE)):
        data = png([b"IHDR" + struct.pack(">LL", *size) + header[12:], pixels, end])
        assert planning.plan_of(data, "x", None).memory < MAX_READING
        more = tuple(side + (side > 1) for side in size)
        with pytest.raises(BadImage) as refused:
            read_image(
                png([b"IHDR" + struct.pack(">LL", *more) + header[12:], pixels, end]), name="x"
            )
        assert str(refused.value) == (
            f"Found {more[0]} × {more[1]} px in 'x'; expected sides of at most 2,000,000 px; "
            "cut it into pieces first."
        )


def test_pixels_end_where_other_chunks_begin() -> None:
    header, pixels, end = chunks_of(png_of_16_bits(VALUES))
    # Some rows are in the first one: Pillow reads one too.
    first, second = pixels[:300], b"IDAT" + pixels[300:]
    read_image(png([header, first, second, end]))
    for between in (b"tEXtof\0it", end):
        with pytest.raises(BadImage, match="damaged or cut off"):
            read_image(png([header, first, between, second, end]))


def test_a_colour_that_is_transparent_counts_as_a_band() -> None:
    header, pixels, end = chunks_of(png_of_16_bits(VALUES[..., :3]))
    clear = b"tRNS" + struct.pack(">3H", 1, 2, 3)
    large = b"IHDR" + struct.pack(">LL", 5000, 5000) + header[12:]
    planning.plan_of(png([large, pixels, end]), "x", None)
    with pytest.raises(BadImage, match="100,000,000 values of 16 bits"):
        planning.plan_of(png([large, clear, pixels, end]), "x", None)


def test_each_byte_is_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked, take = [], deep_png._Unpacked.take

    def counted(self: deep_png._Unpacked, count: int) -> bytearray:
        unpacked.append(count)
        return take(self, count)

    monkeypatch.setattr(deep_png, "_BLOCK", 21)
    monkeypatch.setattr(deep_png._Unpacked, "take", counted)
    read_image(png_of_16_bits(VALUES))
    # Blocks of three rows.
    assert [each // (1 + 7 * 4 * 2) for each in unpacked] == [3, 3, 3, 2]


@pytest.mark.parametrize(("bands", "side"), [(1, 6324), (2, 6324), (3, 5163), (4, 4472)])
def test_the_largest_ones_are_read_and_larger_ones_refused_by_their_headers(
    bands: int, side: int
) -> None:
    header, pixels, end = chunks_of(png_of_16_bits(VALUES[..., :bands]))

    def of_size(side: int) -> bytes:
        return png([b"IHDR" + struct.pack(">LL", side, side) + header[12:], pixels, end])

    plan = planning.plan_of(of_size(side), "x", None)
    assert plan.memory <= MAX_READING
    assert plan.unchecked <= MAX_UNCHECKED
    with pytest.raises(BadImage) as refused:
        read_image(of_size(side + 1), name="x")
    if bands > 2:
        assert str(refused.value) == (
            f"Found {bands * (side + 1) ** 2:,} values of 16 bits in 'x', a PNG of {side + 1} × "
            f"{side + 1} px; expected at most 80,000,000; save it with 8 bits, or make it smaller "
            "first."
        )


def test_a_wrong_or_missing_checksum_is_damage_and_more_bytes_are_not() -> None:
    header, pixels, end = chunks_of(png_of_16_bits(VALUES))
    good = read_image(png([header, pixels, end])).tobytes()
    more = b"IDAT" + zlib.compress(zlib.decompress(pixels[4:]) + b"more") + bytes(9)
    assert read_image(png([header, more, end])).tobytes() == good
    assert read_image(png([header, pixels, b"IDAT" + bytes(10**6), end])).tobytes() == good
    wrong = pixels[:-1] + bytes([pixels[-1] ^ 1])
    for damaged in (wrong, pixels[:-1], pixels[:-40]):
        with pytest.raises(BadImage, match="damaged or cut off"):
            read_image(png([header, damaged, end]))


@pytest.mark.parametrize("chunk", [b"tRNS\0\1", b"sBIT\x0c"])
def test_a_picture_of_one_column_takes_no_longer_than_one_of_one_row(chunk: bytes) -> None:
    seconds = []
    for width, height in ((200_000, 1), (1, 200_000)):
        header = b"IHDR" + struct.pack(">LLBBBBB", width, height, 16, 0, 0, 0, 0)
        body = b"IDAT" + zlib.compress(bytes(height * (1 + 2 * width)))
        data = png([header, chunk, body, b"IEND"])
        start = time.process_time()
        assert read_image(data).size == (width, height)
        seconds.append(time.process_time() - start)
    # A step of Python for each row takes a second.
    assert seconds[1] < seconds[0] + 0.4


def test_other_pictures_are_left_to_pillow() -> None:
    for mode in ("L", "RGB", "P"):
        file = io.BytesIO()
        Image.new(mode, (3, 2)).save(file, "PNG")
        with Image.open(file) as opened:
            assert read_deep_png(opened, file.getvalue()) is None


@pytest.mark.parametrize("bands", [1, 3])
def test_12_bits_in_16_are_scaled_and_told(bands: int) -> None:
    picture = read_image(png_of_16_bits(TWELVE[..., :bands]))
    expected = np.broadcast_to(np.rint(TWELVE[..., :bands] * (255 / 4095)), TWELVE.shape)
    np.testing.assert_array_equal(np.asarray(picture), expected)
    assert describe(picture).notices == (TAKEN,)


def test_colours_of_all_16_bits_keep_their_scale() -> None:
    picture = read_image(png_of_16_bits(VALUES[..., :3]))
    np.testing.assert_array_equal(np.asarray(picture), np.rint(VALUES[..., :3] / 257))
    assert describe(picture).notices == ()


def test_the_significant_bits_of_the_file_are_used() -> None:
    dark = TWELVE[..., :3] // 16
    low = read_image(png_of_16_bits(dark, significant=12))
    np.testing.assert_array_equal(np.asarray(low), np.rint(dark * (255 / 4095)))
    told = "Its values reach 255 of 65,535: taken as 12 bits, 4,095 is white."
    assert describe(low).notices == (told,)
    # By the standard they are the upper bits, and the lower ones repeat them.
    high = read_image(png_of_16_bits(dark * 16, significant=12))
    np.testing.assert_array_equal(np.asarray(high), np.rint(dark * (16 / 257)))
    assert describe(high).notices == ()
    # All 16 are what programs state that do not know.
    assert describe(read_image(png_of_16_bits(TWELVE, significant=16))).notices == (TAKEN,)


@pytest.mark.parametrize("bands", [1, 3])
def test_the_one_colour_that_is_transparent_becomes_white(bands: int) -> None:
    values = VALUES[..., :bands].copy()
    values[2, 3] = values[0, 0]
    # Of the same 8 bits, but another colour.
    values[1, 1] = values[0, 0] ^ 1
    picture = np.asarray(read_image(png_of_16_bits(values, clear=tuple(values[0, 0]))))
    expected = np.broadcast_to(np.rint(values / 257), picture.shape).copy()
    expected[0, 0] = expected[2, 3] = 255
    np.testing.assert_array_equal(picture, expected)


def test_transparency_is_scaled_by_its_own_depth() -> None:
    half = np.concatenate([TWELVE, np.full((11, 7, 1), 65535)], axis=2)
    half[3, 3, 3] = 0
    picture = read_image(png_of_16_bits(half))
    expected = np.rint(TWELVE * (255 / 4095))
    expected[3, 3] = 255
    np.testing.assert_array_equal(np.asarray(picture), expected)
    assert describe(picture).notices == (TAKEN, "Its transparency was replaced by white.")


def test_a_file_that_is_cut_off_is_refused() -> None:
    data = png_of_16_bits(VALUES[..., :3])
    for length in (len(data) - 30, 60, 20):
        with pytest.raises(BadImage, match="damaged or cut off"):
            read_image(data[:length])
