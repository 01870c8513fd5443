"""The values of a TIFF are read to the last bit, however they are laid out; others are refused."""

from __future__ import annotations

import io
import itertools
import re
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.helpers.picture_files import tiff_of
from vit_inspect.errors import BadImage
from vit_inspect.pictures import tiff
from vit_inspect.pictures.bands import Layout
from vit_inspect.pictures.reading import describe, read_image

RANDOM = np.random.default_rng(0)
LAYOUTS = [
    {},
    {"planar": True},
    {"rows": 4},
    {"rows": 4, "planar": True, "packed": True, "predictor": 2},
    {"tile": (16, 32)},
    {"tile": (32, 16), "planar": True, "packed": True},
    {"tile": (16, 16), "packed": True, "predictor": 2},
]


def values_of(data: bytes, bands: tuple[int, ...]) -> tuple[np.ndarray, Layout]:
    tags = tiff.tags_of(data)
    layout = tiff.layout_of(tags, "x")
    return tiff.read_values(data, tags, layout, bands), layout


def numbers(kind: str, bands: int = 5) -> np.ndarray:
    """Values of all bits of a type."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return RANDOM.normal(size=(37, 41, bands)).astype(dtype)
    info = np.iinfo(dtype)
    return RANDOM.integers(info.min, info.max, (37, 41, bands), dtype, endpoint=True)


def refusal(data: bytes, **options: object) -> str:
    with pytest.raises(BadImage) as refused:
        read_image(data, name="x", **options)
    return str(refused.value)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_is_read_in_every_layout(kind: str, order: str) -> None:
    values = numbers(kind)
    for options in LAYOUTS:
        if kind[0] == "f" and "predictor" in options:
            options = {**options, "predictor": 3}
        read, layout = values_of(tiff_of(values, order + kind, **options), (4, 0, 2))
        np.testing.assert_array_equal(read, values[..., [4, 0, 2]])
        assert read.dtype == kind
        assert (layout.bands, layout.bits) == (5, 8 * values.itemsize)


@pytest.mark.parametrize("big", [False, True])
def test_files_of_another_writer_are_read(big: bool) -> None:
    for kind, order, tile, packed in itertools.product(
        ("u2", "f4"), "<>", (None, (16, 32)), (None, "zlib", "lzma")
    ):
        for planar, values in ((False, numbers(kind, 3)), (True, numbers(kind, 6))):
            file = io.BytesIO()
            tifffile.imwrite(
                file,
                values.transpose(2, 0, 1) if planar else values,
                byteorder=order,
                tile=tile,
                compression=packed,
                predictor=True if packed and kind == "u2" else None,
                photometric="minisblack" if planar else "rgb",
                planarconfig="separate" if planar else "contig",
                rowsperstrip=None if tile else 7,
                bigtiff=big,
            )
            read, _ = values_of(file.getvalue(), (2, 1, 0))
            np.testing.assert_array_equal(read, values[..., [2, 1, 0]])


@pytest.mark.parametrize(
    "packing", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd", "tiff_deflate"]
)
def test_every_lossless_compression_is_unpacked(packing: str) -> None:
    values = numbers("u2", 1)
    file = io.BytesIO()
    Image.fromarray(values[..., 0]).save(file, "TIFF", compression=packing)
    read, _ = values_of(file.getvalue(), (0,))
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("bits", [*range(1, 8), *range(9, 16)])
@pytest.mark.parametrize("options", [{}, {"rows": 5, "packed": True}, {"tile": (16, 16)}])
def test_bits_that_fill_no_bytes_are_read(bits: int, options: dict[str, object]) -> None:
    values = RANDOM.integers(0, 2**bits, (19, 21, 3))
    read, layout = values_of(tiff_of(values, ">u2", bits=bits, **options), (0, 1, 2))
    np.testing.assert_array_equal(read, values)
    assert layout.bits == bits


def test_bits_in_the_other_order_are_read() -> None:
    values = RANDOM.integers(0, 65536, (5, 7, 1))
    data = bytearray(tiff_of(values, "<u2", tags={266: (2,)}))
    pixels = np.frombuffer(bytes(data[8 : 8 + values.size * 2]), np.uint8)
    data[8 : 8 + pixels.size] = np.packbits(np.unpackbits(pixels), bitorder="little").tobytes()
    np.testing.assert_array_equal(values_of(bytes(data), (0,))[0], values)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = numbers("u2")
    monkeypatch.setattr(tiff, "_BLOCK", 600)
    for options in LAYOUTS:
        read, _ = values_of(tiff_of(values, "<u2", **options), (0, 1, 2, 3, 4))
        np.testing.assert_array_equal(read, values)


def test_profile_orientation_and_frames_are_those_of_the_file() -> None:
    values = numbers("u2", 3)
    data = tiff_of(values, "<u2", photometric=2, tags={274: (6,)})
    turned = np.asarray(read_image(data))
    np.testing.assert_array_equal(turned, np.rint(values / 257).swapaxes(0, 1)[:, ::-1])
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="rgb", iccprofile=b"nonsense")
    told = describe(read_image(file.getvalue())).notices
    assert told == ("Its colour profile could not be applied.",)
    file = io.BytesIO()
    tifffile.imwrite(file, np.stack([values] * 2), photometric="rgb")
    told = describe(read_image(file.getvalue())).notices
    assert told == ("It has several frames; the first one is shown.",)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({339: (6, 6, 6)}, "3 bands of 16 bits (photometric tag 2, compression 1, sample format 6"),
        ({258: (5, 6, 5)}, "3 bands of 5 and 6 bits"),
        ({258: (24, 24, 24)}, "3 bands of 24 bits"),
        ({259: (34887,)}, "3 bands of 16 bits (photometric tag 2, compression 34887"),
        ({259: (5,), 317: (9,)}, "predictor 9)"),
        ({262: (8,)}, "3 bands of 16 bits (photometric tag 8,"),
        ({262: (32803,)}, "(photometric tag 32803,"),
    ],
)
def test_kinds_that_are_not_read_are_named(tags: dict[int, tuple[int, ...]], words: str) -> None:
    told = refusal(tiff_of(numbers("u2", 3), "<u2", photometric=2, tags=tags))
    assert told.startswith("Found a TIFF of 3 bands of ")
    assert words in told
    assert told.endswith("; save it again as grey or RGB without compression.")


def test_bands_that_only_jpeg_holds_are_told_or_refused() -> None:
    file = io.BytesIO()
    four = Image.new("RGBX", (16, 16), (200, 100, 50, 7))
    four.save(file, "TIFF", compression="jpeg")
    assert describe(read_image(file.getvalue())).notices == ("Only 3 of its 4 bands are shown.",)
    assert refusal(file.getvalue(), bands=(3, 2, 1)) == (
        "Found 4 bands in 'x', of which only 3 can be read; expected a TIFF whose bands can all be"
        " read, to choose among them; save it again without JPEG compression and palette, or leave"
        " out the bands."
    )


def test_bands_that_are_pages_are_found_and_it_is_said_what_to_do() -> None:
    pages, bands = io.BytesIO(), io.BytesIO()
    values = numbers("u2", 4).transpose(2, 0, 1)
    tifffile.imwrite(pages, values, photometric="minisblack")
    assert refusal(pages.getvalue(), bands=(3, 2, 1)) == (
        "Found 1 band of 16 bits in the first of several pages of 'x', and no band 3; expected"
        " band 0; if each page is a band, save them as the bands of one page."
    )
    # As the documentation says.
    stack = tifffile.imread(io.BytesIO(pages.getvalue()))
    tifffile.imwrite(bands, stack, photometric="minisblack", planarconfig="separate")
    picture = read_image(bands.getvalue(), bands=(3, 2, 1))
    np.testing.assert_array_equal(picture, np.rint(values[[3, 2, 1]].transpose(1, 2, 0) / 257))


def test_values_that_would_fill_the_memory_are_refused_by_the_header() -> None:
    def claiming(side: int, bands: int, number: str) -> bytes:
        extra = (0,) * (bands - 3)
        claims = {256: (side,), 257: (side,), 277: (bands,), 338: extra}
        return tiff_of(np.ones((2, 2, 3)), number, photometric=2, tags=claims)

    told = refusal(claiming(6000, 4, "<f8"))
    assert told.startswith("Found 1,152 MB of values in 'x'; expected at most 400 MB of them; ")
    many = claiming(6000, 60_000, "<u1")
    assert refusal(many).startswith("Found 60000 bands of 8 bits in 'x'; ")
    assert refusal(many, bands=(0, 1, 2)).startswith("Found 2,160,000 MB of values in 'x'; ")
    assert refusal(claiming(60_000, 3, "<u1")).startswith("Found 60000 × 60000 px in 'x'; ")
    assert "damaged or cut off" in refusal(claiming(2, 1 << 20, "<u1"))


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("packed", [None, "zlib"])
@pytest.mark.parametrize("planar", [False, True])
def test_a_file_that_is_cut_off_is_refused(
    tile: tuple[int, int] | None, packed: str | None, planar: bool
) -> None:
    values = numbers("u2", 3)
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        values.transpose(2, 0, 1) if planar else values,
        tile=tile,
        compression=packed,
        photometric="rgb",
        planarconfig="separate" if planar else "contig",
    )
    data = file.getvalue()
    for length in (len(data) - 100, len(data) // 2, 120, 60):
        assert "damaged or cut off" in refusal(data[:length])


@pytest.mark.parametrize("tag", [273, 279, 278])
def test_strips_that_contradict_the_size_are_damaged(tag: int) -> None:
    values = numbers("u2", 1)
    data = tiff_of(values, "<u2", rows=37, tags={278: (10,)} if tag == 278 else {})
    if tag != 278:
        place = re.search(struct.pack("<HHL", tag, 4, 1), data).end()
        data = data[:place] + struct.pack("<L", 10**9) + data[place + 4 :]
    if tag == 279:
        # The size of one that is not compressed follows from the picture.
        np.testing.assert_array_equal(values_of(data, (0,))[0], values)
    else:
        assert "damaged or cut off" in refusal(data)


def test_tags_that_are_text_are_damaged_and_not_quoted() -> None:
    """The sample format is the text "\\a\\n" here."""
    numbers = {256: 4, 257: 4, 258: 16, 262: 1, 273: 8, 277: 1, 279: 32}
    entries = [(tag, struct.pack("<HHLL", tag, 4, 1, value)) for tag, value in numbers.items()]
    entries.append((339, struct.pack("<HHL", 339, 2, 3) + b"\a\n\0\0"))
    table = b"".join(entry for _, entry in sorted(entries))
    data = struct.pack("<2sHLH", b"II", 42, 8, len(entries)) + table + bytes(40)
    with pytest.raises(BadImage) as refusal:
        read_image(data, name="x")
    assert str(refusal.value).isprintable()
    assert refusal.value.found == "a damaged or cut off picture in 'x'"


@pytest.mark.parametrize("tag", [256, 257, 278])
def test_sizes_that_are_no_whole_numbers_are_damaged(tag: int) -> None:
    data = bytearray(tiff_of(numbers("u2", 1), "<u2"))
    place = re.search(struct.pack("<HHL", tag, 4, 1), data).start()
    # A fraction, of which the pixels are the two numbers.
    data[place : place + 12] = struct.pack("<HHLL", tag, 5, 1, 8)
    assert "damaged or cut off" in refusal(bytes(data))


def test_the_checksum_of_a_strip_that_is_unpacked_in_pieces_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = numbers("u2", 1)
    data = bytearray(tiff_of(values, "<u2", packed=True))
    for name, size in (("_LARGE", 100), ("_FED", 16), ("_BLOCK", 50)):
        monkeypatch.setattr(tiff, name, size)
    np.testing.assert_array_equal(values_of(bytes(data), (0,))[0], values)
    end = (
        8
        + struct.unpack(
            "<L", re.search(struct.pack("<HHL", 279, 4, 1) + b"(.{4})", data, re.DOTALL)[1]
        )[0]
    )
    cut = data[: end - 60] + bytes(60) + data[end:]
    data[end - 1] ^= 1
    for damaged in (data, cut):
        assert "damaged or cut off" in refusal(bytes(damaged))


def test_strips_and_tiles_that_are_unpacked_a_few_together_are_all_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = numbers("u2")
    monkeypatch.setattr(tiff, "_LARGE", 700)
    monkeypatch.setattr(tiff, "_FED", 16)
    for options in LAYOUTS:
        read, _ = values_of(tiff_of(values, "<u2", **options), (0, 1, 2, 3, 4))
        np.testing.assert_array_equal(read, values)
