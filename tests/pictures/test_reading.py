"""Pictures of every kind are shown right or refused in words; the gallery needs no download."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.helpers.picture_files import png_of_16_bits
from tests.helpers.picture_seeds import SEEDS
from vit_inspect.errors import BadImage
from vit_inspect.limits import MAX_BYTES
from vit_inspect.pictures import pieces, planning, reading
from vit_inspect.pictures.planning import MAX_RUNS, MAX_SCANS, MAX_TIFF_PARTS
from vit_inspect.pictures.reading import describe, read_image

LOSSLESS = ("PNG", "BMP", "GIF", "TIFF", "WEBP")
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
FEW_COLOURS = RGB // 64 * 64  # so that a GIF's palette holds them all


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if format == "WEBP":
        options = {"lossless": True, "exact": True, **options}
    image.save(buffer, format, **options)
    return buffer.getvalue()


def array(image: Image.Image) -> np.ndarray:
    assert type(image) is Image.Image
    assert image.mode == "RGB"
    assert list(image.info) == ["origin"]
    return np.asarray(image)


def refusal(source: object, **options: object) -> str:
    with pytest.raises(BadImage) as refused:
        read_image(source, **options)
    return str(refused.value)


def tiff(tags: dict[int, tuple[int, int, int]], after: bytes = b"") -> bytes:
    """A little-endian TIFF by hand: {tag: (type, count, value)}, then some bytes."""
    body = b"".join(struct.pack("<HHLL", tag, *tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + body + bytes(4) + after


def png(width: int, height: int) -> bytes:
    """A PNG of zero grey pixels, well packed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">L", zlib.crc32(kind + data))
        return struct.pack(">L", len(data)) + kind + data + check

    header = struct.pack(">LLBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def icc(name: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A colour profile by hand (ICC.1:2001, version 2)."""
    white = struct.pack(">3l", 63190, 65536, 54061)
    described = struct.pack(">L", len(name) + 1) + name + bytes(79)
    tags = {b"desc": b"desc\0\0\0\0" + described, **tags}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + white
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">LL", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    rest = struct.pack(">L", len(tags)) + table + data
    header = struct.pack(">L", 128 + len(rest)) + bytes(4) + b"\x02\x10\0\0"
    header += (b"mntr" if space == b"RGB " else b"prtr") + space + connection + bytes(12)
    header += b"acsp" + bytes(28) + white
    return header + bytes(128 - len(header)) + rest


def swapped_rgb_profile(name: bytes) -> bytes:
    """Like sRGB with a gamma of 2.2, but its red is green and its green is red."""
    primaries = {b"g": (0.4361, 0.2225, 0.0139), b"r": (0.3851, 0.7169, 0.0971)}
    primaries[b"b"] = (0.1431, 0.0606, 0.7141)
    tags = {}
    for colour, xyz in primaries.items():
        fixed = struct.pack(">3l", *(round(value * 65536) for value in xyz))
        tags[colour + b"XYZ"] = b"XYZ \0\0\0\0" + fixed
        tags[colour + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">LH", 1, 563)
    return icc(name, b"RGB ", b"XYZ ", tags)


def blind_cmyk_profile() -> bytes:
    """A press whose coloured inks are invisible: only black counts."""
    identity = bytes(range(256))
    matrix = struct.pack(">9l", *(np.eye(3, dtype=int) * 65536).ravel())
    corners = b"".join(bytes((0 if corner & 1 else 255, 128, 128)) for corner in range(16))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + identity * 4 + corners + identity * 3
    return icc(b"press", b"CMYK", b"Lab ", {b"A2B0": table})


# --- where it came from


def test_a_file_bytes_and_an_open_file_give_one_picture_with_its_origin(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(RGB), "PNG")
    path = tmp_path / "cat.png"
    path.write_bytes(data)
    with path.open("rb") as file, io.BytesIO(data) as memory:
        file.read(10)
        sources = (path, str(path), data, memory, file)
        pictures = [read_image(source) for source in sources]
    for picture in pictures:
        np.testing.assert_array_equal(array(picture), RGB)
        assert describe(picture).sha256 == hashlib.sha256(data).hexdigest()
        assert describe(picture).notices == ()
    assert [describe(picture).source for picture in pictures] == [
        str(path),
        str(path),
        None,
        None,
        None,
    ]
    names = ["cat.png", "cat.png", "image", "image", "cat.png"]
    assert [describe(picture).name for picture in pictures] == names


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("dog.png", "dog.png"),
        ("../../etc/a.png", "a.png"),
        (r"C:\Users\me\b.png", "b.png"),
        ("c\n\x1b[31m\u202egnp.exe", "c[31mgnp.exe"),
        ("d" * 300, "d" * 80),
        ("folder/", "image"),
        ("", "image"),
    ],
)
def test_names_of_strangers_are_plain_text(given: str, shown: str) -> None:
    data = encoded(Image.fromarray(RGB), "PNG")
    assert describe(read_image(data, name=given)).name == shown
    assert refusal(b"", name=given).startswith(f"Found 0 bytes in '{shown}';")


def test_the_origin_survives_a_copy_and_tells_an_edited_picture() -> None:
    picture = read_image(encoded(Image.fromarray(RGB), "PNG"), name="cat.png")
    origin = describe(picture)
    assert describe(picture.copy()) == origin
    edited = picture.copy()
    edited.putpixel((6, 4), (1, 2, 3))
    for other in (
        picture.crop((0, 0, 3, 3)),
        picture.transpose(Image.Transpose.ROTATE_180),
        edited,
    ):
        assert describe(other).name == "cat.png"
        assert describe(other).sha256 not in (origin.sha256, origin.pixels_sha256)
        assert describe(other).source is None
        assert describe(other).notices == ("The picture was changed after it was read.",)


def test_any_pillow_image_has_an_origin() -> None:
    wide, tall = (describe(Image.new("RGB", size)) for size in ((2, 3), (3, 2)))
    assert (wide.name, wide.source, wide.notices) == ("image", None, ())
    assert wide.sha256 == hashlib.sha256(b"2 x 3:" + bytes(18)).hexdigest()
    assert wide.sha256 != tall.sha256
    assert describe(Image.new("I;16", (2, 3))).sha256 == wide.sha256


# --- every kind of pixel


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_come_back_to_the_pixel(format: str) -> None:
    data = encoded(Image.fromarray(FEW_COLOURS), format)
    np.testing.assert_array_equal(array(read_image(data)), FEW_COLOURS)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 3), (3, 10_000)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        array(read_image(encoded(Image.fromarray(pixels), "PNG"))), pixels
    )


def test_jpeg_is_what_pillow_decodes() -> None:
    data = encoded(Image.fromarray(RGB), "JPEG")
    np.testing.assert_array_equal(array(read_image(data)), np.asarray(Image.open(io.BytesIO(data))))


def test_black_and_white_and_grey() -> None:
    mask = RGB[..., 0] > 100
    bits = array(read_image(encoded(Image.fromarray(mask), "PNG")))
    np.testing.assert_array_equal(bits, np.repeat(mask[..., None] * 255, 3, axis=2))
    grey = array(read_image(encoded(Image.fromarray(RGB[..., 0]), "PNG")))
    np.testing.assert_array_equal(grey, np.repeat(RGB[..., :1], 3, axis=2))


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_look_as_the_original(mode: str) -> None:
    colour = Image.new("RGB", (4, 4), (200, 100, 50))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(colour, *profiles, outputMode="LAB")
    else:
        image = colour.convert(mode)
    seen = array(read_image(encoded(image, "TIFF")))
    np.testing.assert_allclose(seen, np.asarray(colour), atol=3)


GRADIENT = np.linspace(0, 65535, 400).reshape(4, 100).astype(np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_16_bit_gradient_stays_a_gradient(format: str, order: str) -> None:
    image = Image.fromarray(GRADIENT)
    if order == ">":
        image = Image.frombytes("I;16B", image.size, GRADIENT.astype(">u2").tobytes())
    picture = read_image(encoded(image, format))
    expected = np.round(GRADIENT / 257)
    np.testing.assert_array_equal(array(picture), np.repeat(expected[..., None], 3, axis=2))
    assert describe(picture).notices == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.linspace(-0.5, 0.25, 256, dtype=np.float32), "-0.5 to 0.25"),
        (np.linspace(-(2**31), 2**31 - 1, 256).astype(np.int32), "-2.14748e+09 to 2.14748e+09"),
        (np.arange(1000, 1256, dtype=np.int32), "1000 to 1255"),
    ],
)
def test_float_and_32_bit_are_scaled_by_their_own_range(values: np.ndarray, words: str) -> None:
    picture = read_image(encoded(Image.fromarray(values[None]), "TIFF"))
    np.testing.assert_array_equal(array(picture)[0, :, 1], np.arange(256))
    expected = f"Its values, {words}, were scaled to the range from black to white."
    assert describe(picture).notices == (expected,)


def test_numbers_that_are_none_do_not_spoil_the_rest() -> None:
    values = np.array([[np.nan, -np.inf, 0, 1, np.inf]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = read_image(encoded(Image.fromarray(values), "TIFF"))
        flat = read_image(encoded(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))
    np.testing.assert_array_equal(array(picture)[0, :, 0], [0, 0, 0, 255, 255])
    assert not array(flat).any()


# --- transparency, colour profiles


def laid_on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return pixels * share + 255 * (1 - share)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_laid_on_white(mode: str) -> None:
    pixels = np.repeat(FEW_COLOURS[..., :1], 3, axis=2)
    alpha = np.broadcast_to(np.linspace(0, 255, 7).astype(np.uint8), (5, 7))
    image = Image.fromarray(np.dstack([pixels, alpha]))
    if mode == "PA":
        index, alpha_band = image.convert("RGB").convert("P"), image.getchannel("A")
        palette = index.getpalette()
        image = Image.merge("PA", (Image.fromarray(np.asarray(index)), alpha_band))
        image.putpalette(palette)
        pixels = np.asarray(index.convert("RGB"))
    else:
        image = image.convert(mode)
    picture = read_image(encoded(image, "PNG" if mode != "PA" else "TIFF"))
    np.testing.assert_allclose(array(picture), laid_on_white(pixels, alpha), atol=1)
    assert describe(picture).notices == ("Its transparency was replaced by white.",)


def test_palette_and_single_colour_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.putpixel((1, 0), 1)
    data = encoded(palette, "PNG", transparency=bytes((0, 128)))
    np.testing.assert_allclose(array(read_image(data))[0], [[255] * 3, [227, 177, 127]], atol=1)
    gif = encoded(palette, "GIF", transparency=0)
    np.testing.assert_array_equal(array(read_image(gif))[0], [[255] * 3, [200, 100, 0]])
    rgb = encoded(palette.convert("RGB"), "PNG", transparency=(200, 100, 0))
    np.testing.assert_array_equal(array(read_image(rgb))[0], [[10, 20, 30], [255] * 3])


def test_an_opaque_alpha_channel_is_no_news() -> None:
    picture = read_image(encoded(Image.fromarray(RGB).convert("RGBA"), "PNG"))
    np.testing.assert_array_equal(array(picture), RGB)
    assert describe(picture).notices == ()


def test_an_rgb_profile_is_applied() -> None:
    image = Image.new("RGB", (2, 2), (220, 30, 60))
    picture = read_image(encoded(image, "PNG", icc_profile=swapped_rgb_profile(b"odd")))
    np.testing.assert_allclose(array(picture)[0, 0], (30, 220, 60), atol=6)
    assert describe(picture).notices == ()


def test_a_picture_tagged_srgb_keeps_its_pixels() -> None:
    profile = swapped_rgb_profile(b"sRGB IEC61966-2.1")
    picture = read_image(encoded(Image.fromarray(RGB), "PNG", icc_profile=profile))
    np.testing.assert_array_equal(array(picture), RGB)


def test_a_broken_profile_is_left_out_with_a_notice() -> None:
    picture = read_image(encoded(Image.fromarray(RGB), "PNG", icc_profile=b"nonsense"))
    np.testing.assert_array_equal(array(picture), RGB)
    assert describe(picture).notices == ("Its colour profile could not be applied.",)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile_or_says_so(format: str) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    plain = read_image(encoded(cyan, format))
    np.testing.assert_allclose(array(plain)[0, 0], (0, 255, 255), atol=2)
    notice = "Its print colours (CMYK) were converted without a profile."
    assert describe(plain).notices == (notice,)
    profiled = read_image(encoded(cyan, format, icc_profile=blind_cmyk_profile()))
    np.testing.assert_allclose(array(profiled)[0, 0], (255, 255, 255), atol=3)
    assert describe(profiled).notices == ()


# --- upright, frames

ORIENTED = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}
"""EXIF 2.3, 4.6.4 A: where the stored row 0 and column 0 lie (6: right side, top)."""


@pytest.mark.parametrize("orientation", [*ORIENTED, 0, 9])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_turned_upright(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    grey = Image.fromarray(RGB[..., 0]).convert("RGB")
    data = encoded(grey, format, exif=exif, **options)
    stored = np.asarray(grey)
    expected = ORIENTED.get(orientation, ORIENTED[1])(stored)
    np.testing.assert_allclose(array(read_image(data)), expected, atol=3)


def test_exif_that_is_damaged_costs_no_picture() -> None:
    data = encoded(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0no tags at all")
    picture = read_image(data)
    np.testing.assert_array_equal(array(picture), RGB)
    expected = ("Its EXIF data is damaged, so it may not be upright.",)
    assert describe(picture).notices == expected


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_shown_and_said_so(format: str) -> None:
    later = [Image.new("RGB", (7, 5), colour) for colour in ("red", "blue")]
    data = encoded(Image.fromarray(FEW_COLOURS), format, save_all=True, append_images=later)
    picture = read_image(data)
    np.testing.assert_array_equal(array(picture), FEW_COLOURS)
    assert describe(picture).notices == ("It has several frames; the first one is shown.",)


def test_a_phone_picture_with_companions_is_its_main_picture() -> None:
    main = Image.new("RGB", (16, 16), (200, 100, 50))
    data = encoded(main, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    picture = read_image(data)
    np.testing.assert_allclose(array(picture), np.asarray(main), atol=3)
    assert describe(picture).notices == ()


# --- refusals

ACCEPTED = "a PNG, JPEG, WebP, BMP, GIF or TIFF picture of at most 40 megapixels and 100 MB"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "0 bytes"),
        (b"Dear Sir, \xc3\xa4\n", "text"),
        (b"MMXXVI is a year", "text"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing"),
        (b"%PDF-1.7\n\x00", "a PDF document"),
        (b"PK\x03\x04\x14\0", "a ZIP archive"),
        (b"\0\0\0\x18ftypheic\0", "a HEIC picture"),
        (b"\0\0\0\x18ftypavif\0", "an AVIF picture"),
        (b"\0\0\0\x18ftypisom\0", "a video"),
        (b"P6 2 2 255\n" + bytes(12), "a file of another kind"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, found: str) -> None:
    expected = f"Found {found} in 'cat.jpg'; expected {ACCEPTED}; choose another file."
    assert refusal(data, name="cat.jpg") == expected


@pytest.mark.parametrize("size", [(9000, 9000), (40_000, 1001), (30_000, 30_000)])
def test_decompression_bombs_are_refused_by_their_header(size: tuple[int, int]) -> None:
    data = png(*size)
    assert len(data) < 120_000
    found = (
        f"{size[0]} × {size[1]} px" if size[0] * size[1] < 2e8 else "far more than 40 megapixels"
    )
    expected = f"Found {found} in 'image'; expected {ACCEPTED}; make it smaller first."
    assert refusal(data) == expected


def test_40_megapixels_are_accepted() -> None:
    assert read_image(png(40_000, 1000)).size == (40_000, 1000)


def test_too_many_bytes_are_refused_and_not_read_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 10)
    expected = f"Found more than 100 MB in 'huge.png'; expected {ACCEPTED}; make it smaller first."
    assert refusal(path) == expected
    with path.open("rb") as file:
        assert refusal(file) == expected
        assert file.tell() == MAX_BYTES + 1


@pytest.mark.parametrize("format", ["JPEG", *LOSSLESS])
def test_a_cut_file_is_refused_or_whole(format: str) -> None:
    data = encoded(Image.fromarray(RGB), format)
    whole = array(read_image(data))
    refused = 0
    for length in range(1, len(data)):
        try:
            picture = read_image(data[:length])
        except BadImage:
            refused += 1
        else:
            np.testing.assert_array_equal(array(picture), whole)
    assert refused > len(data) // 2
    expected = (
        "Found a damaged or cut off picture in 'cat.x'; expected a complete file;"
        " save or download it again, or choose another file."
    )
    assert refusal(data[: len(data) * 3 // 4], name="cat.x") == expected


def test_a_jpeg_of_endless_passes_is_refused() -> None:
    data = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    last_pass = data[data.rindex(b"\xff\xda") : -2]
    passes = data.count(b"\xff\xda")
    bomb = data[:-2] + last_pass * (MAX_SCANS + 1 - passes) + data[-2:]
    expected = "Found a JPEG of 101 passes in 'image'; "
    assert refusal(bomb).startswith(expected)
    assert refusal(bomb).endswith("; save it again with common settings.")


def test_a_jpeg_of_many_passes_over_many_pixels_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    passes = data.count(b"\xff\xda")
    monkeypatch.setattr(planning, "MAX_SCANNED", passes * 64 * 64)
    assert read_image(data).size == (64, 64)
    monkeypatch.setattr(planning, "MAX_SCANNED", passes * 64 * 64 - 1)
    assert refusal(data).startswith(f"Found a JPEG of {passes} passes over 64 × 64 px in 'image'; ")


def test_a_bmp_of_so_many_runs_that_they_take_seconds_is_refused() -> None:
    (packed,) = (each for each in SEEDS if each.startswith(b"BM") and each[30] == 1)
    assert read_image(packed).size == (17, 12)
    wide = packed[:18] + struct.pack("<L", MAX_RUNS // 12 + 1) + packed[22:]
    expected = "Found a BMP of 250001 × 12 px packed in runs in 'image'; "
    assert refusal(wide).startswith(expected)


@pytest.mark.parametrize("kind", ["png", "deep png", "jpeg", "gif", "gif after", "tiff", "bmp"])
def test_a_file_of_endless_pieces_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = Image.fromarray(RGB)
    gif = encoded(Image.new("P", (5, 7)), "GIF")
    palette = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    in_runs = next(each for each in SEEDS if each.startswith(b"BM") and each[30] == 1)
    deep = png_of_16_bits(np.zeros((7, 5, 2)))
    many = 200
    chunks = (bytes(4) + b"abCd" + struct.pack(">L", zlib.crc32(b"abCd"))) * many
    grey = {256: 8, 257: 8, 258: 8, 262: 1}
    tags = [struct.pack("<HHLL", tag, 3, 1, value) for tag, value in grey.items()]
    table = struct.pack("<H", len(tags) + many) + b"".join(tags)
    table += b"".join(struct.pack("<HHLL", 50_000 + place, 3, 1, 1) for place in range(many))
    good, bomb = {
        "png": lambda: (png := encoded(colours, "PNG"), png[:33] + chunks + png[33:]),
        "deep png": lambda: (deep, deep[:-12] + chunks + deep[-12:]),
        "jpeg": lambda: (jpeg := encoded(colours, "JPEG"), jpeg[:2] + b"\xff" * many + jpeg[2:]),
        "gif": lambda: (gif, gif[:palette] + b"!\xfe\1a\0" * many + gif[palette:]),
        "gif after": lambda: (gif, gif[:-1] + bytes(many) + gif[-1:]),
        "tiff": lambda: (encoded(colours, "TIFF"), b"II*\0" + struct.pack("<L", 8) + table),
        "bmp": lambda: (in_runs, in_runs[:1078] + b"\1\7" * many),
    }[kind]()
    for module in (pieces, reading):
        monkeypatch.setattr(module, "MAX_PIECES", 180)
    read_image(good)
    assert refusal(bomb) == (
        "Found more than 180 pieces of a file in 'image'; expected "
        f"{planning.ACCEPTED}; save it again with common settings."
    )


def test_a_tiff_of_endless_strips_or_vast_tiles_is_refused() -> None:
    grey = {256: (4, 1, 9), 257: (4, 1, 9), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    count = MAX_TIFF_PARTS + 1
    start = len(tiff({**grey, 273: (4, count, 0)}))
    strips = tiff({**grey, 273: (4, count, start)}, bytes(4 * count))
    assert refusal(strips).startswith("Found a TIFF of 100001 strips or tiles in 'image'; ")
    side = (4, 1, 30_000)
    tiles = tiff({**grey, 322: side, 323: side, 324: (4, 1, 8)})
    assert refusal(tiles).startswith("Found a TIFF with tiles of 30000 × 30000 px in 'image'; ")


def test_files_that_cannot_be_opened_have_sentences_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "none.png"
    assert (
        refusal(missing)
        == f"Found nothing at '{missing}'; expected a picture file; check the path."
    )
    expected = f"Found a folder at '{tmp_path}'; expected a picture file; name a file inside it."
    assert refusal(tmp_path) == expected
    assert refusal("a\0.png").startswith("Found a file that cannot be opened at 'a.png' (embedded")
    assert "(File name too long)" in refusal("x" * 5000)
    expected = f"Found a device or pipe at '{os.devnull}'; expected a picture file; name a file."
    assert refusal(os.devnull) == expected

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", forbidden)
    expected = (
        "Found no permission to read 'mine.png'; expected a readable file;"
        " change its permissions or choose another file."
    )
    assert refusal("mine.png") == expected


def test_an_open_file_that_fails_is_refused() -> None:
    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(5, "Input/output error")

    assert "cannot be opened at 'the open file' (Input/output error)" in refusal(Broken())


# --- a good guest in the process


def test_warnings_neither_leak_nor_refuse() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        assert "far more" in refusal(png(30_000, 30_000))
        assert "12000 × 10000" in refusal(png(12_000, 10_000))
        assert warnings.filters == filters


def test_threads_read_alike_and_leave_the_process_as_it_was() -> None:
    warned = png(12_000, 10_000)
    sizes = [(11 + seed, 7) for seed in range(4)]
    files = [encoded(Image.new("RGB", size), "PNG") for size in sizes]
    before, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    seen: dict[int, set[tuple[int, int]]] = {thread: set() for thread in range(len(files))}

    def work(thread: int) -> None:
        for _ in range(20):
            seen[thread].add(read_image(files[thread]).size)
            with pytest.raises(BadImage):
                read_image(warned)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {thread: {size} for thread, size in enumerate(sizes)}
    assert warnings.filters == before
    assert limit == Image.MAX_IMAGE_PIXELS


def test_more_transparencies_than_colours_are_damage() -> None:
    file = io.BytesIO()
    Image.new("P", (4, 4)).save(file, "PNG")
    data, clear = file.getvalue(), b"tRNS" + bytes(300)
    place = data.index(b"IDAT") - 4
    chunk = (300).to_bytes(4, "big") + clear + zlib.crc32(clear).to_bytes(4, "big")
    with pytest.raises(BadImage, match="a damaged or cut off picture"):
        read_image(data[:place] + chunk + data[place:])
