"""Colours are what the file or the caller says; what is left out is told or refused."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers.picture_files import png_of_16_bits, tiff_of
from vit_inspect.errors import BadImage, BadParameter
from vit_inspect.pictures.reading import describe, read_image

RANDOM = np.random.default_rng(0)
# Up to the largest of 16 bits, so that none of them is taken as fewer.
SIX = RANDOM.integers(0, 65536, (5, 7, 6))
SIX[0, 0] = 65535
SHOWN = "Bands {} of its {} (counted from 0) are shown as red, green and blue{}."


def tones(values: np.ndarray) -> np.ndarray:
    return np.rint(values / 257).astype(np.uint8)


def seen(data: bytes, **options: object) -> tuple[np.ndarray, tuple[str, ...]]:
    picture = read_image(data, name="x", **options)
    return np.asarray(picture), describe(picture).notices


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("photometric", [1, 2])
def test_six_bands_are_refused_or_chosen(planar: bool, photometric: int) -> None:
    data = tiff_of(SIX, "<u2", planar=planar, photometric=photometric)
    with pytest.raises(BadImage) as refused:
        read_image(data, name="x")
    assert str(refused.value) == (
        "Found 6 bands of 16 bits in 'x'; expected one band of grey, or three of red, green and"
        " blue; choose one or three of them, counted from 0: vit_inspect.read_image(file,"
        " bands=(0,)), or --bands 3,2,1 on the command line."
    )
    pixels, notices = seen(data, bands=(3, 2, 1))
    np.testing.assert_array_equal(pixels, tones(SIX[..., [3, 2, 1]]))
    assert notices == (SHOWN.format("3, 2 and 1", 6, "; the others are left out"),)
    pixels, notices = seen(data, bands=[5])
    np.testing.assert_array_equal(pixels, tones(SIX[..., [5, 5, 5]]))
    told = "Band 5 of its 6 (counted from 0) is shown as grey; the others are left out."
    assert notices == (told,)


def test_one_scale_holds_for_all_chosen_colours() -> None:
    six = SIX % 1000
    six[0, 0] = [40_000, 4095, 100, 900, 0, 0]
    pixels, notices = seen(tiff_of(six, "<u2"), bands=(3, 2, 1))
    np.testing.assert_array_equal(pixels, np.rint(six[..., [3, 2, 1]] * (255 / 4095)))
    assert notices[1] == "Its values reach 4,095 of 65,535: taken as 12 bits, 4,095 is white."


@pytest.mark.parametrize(
    ("bands", "extra", "photometric", "found"),
    [
        (2, (0,), 1, "2 bands"),
        (4, (0, 0, 0), 1, "4 bands"),
        (3, (0, 2), 1, "3 bands"),
        (2, (), 2, "2 bands"),
        (7, (0, 0, 0), 5, "7 bands"),
    ],
)
def test_bands_without_a_meaning_are_counted(
    bands: int, extra: tuple[int, ...], photometric: int, found: str
) -> None:
    values = np.ones((2, 3, bands))
    data = tiff_of(values, ">i2", extra=extra, photometric=photometric)
    with pytest.raises(BadImage, match=f"^Found {found} of 16 bits in 'x'"):
        read_image(data, name="x")


@pytest.mark.parametrize(("number", "largest"), [("<u1", 255), (">u2", 65535)])
@pytest.mark.parametrize("planar", [False, True])
def test_a_fourth_band_that_is_no_transparency_is_left_out_and_told(
    number: str, largest: int, planar: bool
) -> None:
    values = SIX[..., :4] % largest
    values[0, 0] = largest
    data = tiff_of(values, number, photometric=2, planar=planar)
    pixels, notices = seen(data)
    np.testing.assert_array_equal(pixels, np.rint(values[..., :3] * (255 / largest)))
    assert notices == (SHOWN.format("0, 1 and 2", 4, "; band 3 is left out"),)


@pytest.mark.parametrize("premultiplied", [False, True])
@pytest.mark.parametrize(
    ("bands", "photometric", "told"),
    [
        (2, 1, ()),
        (4, 2, ()),
        (4, 1, (SHOWN.format("0, 1 and 2", 4, ""),)),
        (5, 2, (SHOWN.format("0, 1 and 2", 5, "; band 3 is left out"),)),
    ],
)
def test_transparency_is_replaced_by_white(
    bands: int, photometric: int, told: tuple[str, ...], premultiplied: bool
) -> None:
    values = SIX[..., :bands].copy()
    colours, share = values[..., :-1], values[..., -1:] / 65535
    stored = np.rint(colours * share) if premultiplied else colours
    unknown = (0,) * (bands - (2 if photometric == 1 else 4))
    extra = (*unknown, 1 if premultiplied else 2)
    data = tiff_of(
        np.concatenate([stored, values[..., -1:]], 2), "<u2", photometric=photometric, extra=extra
    )
    pixels, notices = seen(data)
    on_white = (colours * share + 65535 * (1 - share)) / 257
    expected = np.broadcast_to(on_white[..., :3], pixels.shape)
    # Where little is opaque, 8 bits of it say little about the colour.
    np.testing.assert_allclose(pixels, expected, atol=2)
    assert notices == (*told, "Its transparency was replaced by white.")


@pytest.mark.parametrize("number", ["<u1", "<u2"])
def test_a_fourth_band_of_an_old_file_is_transparency(number: str) -> None:
    pixels, notices = seen(tiff_of(np.zeros((2, 3, 4)), number, photometric=2, extra=()))
    assert pixels.min() == 255
    assert notices == ("Its transparency was replaced by white.",)


def test_three_bands_of_grey_are_taken_as_colours_and_told() -> None:
    pixels, notices = seen(tiff_of(SIX[..., :3], "<u2", photometric=1))
    np.testing.assert_array_equal(pixels, tones(SIX[..., :3]))
    assert notices == (SHOWN.format("0, 1 and 2", 3, ""),)


def test_a_band_beside_the_inks_is_left_out_and_told() -> None:
    inks = np.zeros((2, 3, 5))
    inks[..., 0] = 255
    pixels, notices = seen(tiff_of(inks, "<u1", photometric=5))
    np.testing.assert_allclose(pixels[0, 0], (0, 255, 255), atol=2)
    assert notices[0] == (
        "Bands 0, 1, 2 and 3 of its 5 (counted from 0) are shown as cyan, magenta, yellow and"
        " black; band 4 is left out."
    )


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP"])
def test_bands_of_any_format_can_be_chosen(format: str) -> None:
    colours = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).save(file, format, **({"lossless": True} if format == "WEBP" else {}))
    pixels, notices = seen(file.getvalue(), bands=(2, 1, 0))
    np.testing.assert_array_equal(pixels, colours[..., ::-1])
    assert notices == (SHOWN.format("2, 1 and 0", 3, ""),)


def test_bands_of_a_png_of_16_bits_can_be_chosen() -> None:
    pixels, notices = seen(png_of_16_bits(SIX[..., :4]), bands=(0, 0, 3))
    np.testing.assert_array_equal(pixels, tones(SIX[..., [0, 0, 3]]))
    assert notices == (SHOWN.format("0, 0 and 3", 4, "; the others are left out"),)


def test_a_palette_has_the_bands_of_its_colours() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    file = io.BytesIO()
    image.save(file, "PNG")
    np.testing.assert_array_equal(seen(file.getvalue(), bands=(2, 1, 0))[0][0, 0], (30, 20, 10))


def test_a_band_that_is_missing_is_named() -> None:
    with pytest.raises(BadImage) as refused:
        read_image(tiff_of(SIX, "<u2"), name="x", bands=(5, 6, 7))
    assert str(refused.value) == (
        "Found 6 bands of 16 bits in 'x', and no band 6; expected bands of 0 to 5; choose among"
        " these."
    )


@pytest.mark.parametrize("bands", [(), (1, 2), (0, 1, 2, 3), (-1,)])
def test_other_than_one_or_three_numbers_are_refused(bands: tuple[int, ...]) -> None:
    with pytest.raises(BadParameter, match=re.escape(f"Found {bands!r} as bands")):
        read_image(b"", bands=bands)
