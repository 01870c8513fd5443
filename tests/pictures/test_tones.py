"""Values become tones by one rule for each kind of number; every guess is told."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.picture_files import tiff_of
from vit_inspect.pictures import tones
from vit_inspect.pictures.bands import Layout
from vit_inspect.pictures.reading import describe, read_image


def seen(values: np.ndarray, number: str, **options: object) -> tuple[np.ndarray, tuple[str, ...]]:
    """The tones of a TIFF of these values; one band is enough where all are grey."""
    picture = read_image(tiff_of(values, number, **options))
    return np.asarray(picture)[..., : values.shape[2]], describe(picture).notices


def ramp(low: float, high: float, bands: int = 1) -> np.ndarray:
    return np.linspace(low, high, 15 * bands).reshape(3, 5, bands)


@pytest.mark.parametrize(
    ("reached", "bits"),
    [(1, 8), (200, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14)],
)
def test_16_bits_that_are_not_used_are_taken_as_fewer(reached: int, bits: int) -> None:
    values = np.rint(ramp(0, reached)).astype(int)
    pixels, notices = seen(values, "<u2")
    white = 2**bits - 1
    np.testing.assert_array_equal(pixels, np.rint(values * (255 / white)))
    told = f"Its values reach {reached:,} of 65,535: taken as {bits} bits, {white:,} is white."
    assert notices == (told,)


@pytest.mark.parametrize("reached", [0, 16384, 65535])
def test_16_bits_that_are_used_keep_their_scale(reached: int) -> None:
    values = np.rint(ramp(0, reached)).astype(int)
    pixels, notices = seen(values, ">u2")
    np.testing.assert_array_equal(pixels, np.rint(values / 257))
    assert notices == ()


def test_a_depth_that_the_file_states_is_used() -> None:
    values = np.rint(ramp(0, 200)).astype(int)
    for tag in (281, 341):
        pixels, notices = seen(values, "<u2", tags={tag: (4095,)})
        np.testing.assert_array_equal(pixels, np.rint(values * (255 / 4095)))
        assert "taken as 12 bits" in notices[0]
    # The largest of the container says nothing, and neither does less than there is.
    for stated in (65535, 100):
        assert "taken as 8 bits" in seen(values, "<u2", tags={281: (stated,)})[1][0]


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
@pytest.mark.parametrize("bands", [1, 3])
def test_other_depths_are_scaled_by_their_own(bits: int, bands: int) -> None:
    # Far from the largest: the depth is that of the file and no guess.
    values = np.rint(ramp(0, max(1, 2**bits // 5), bands)).astype(int)
    photometric = 2 if bands == 3 else 1
    pixels, notices = seen(values, "<u2", bits=bits, photometric=photometric)
    np.testing.assert_array_equal(pixels, np.rint(values * (255 / (2**bits - 1))))
    assert notices == ()


@pytest.mark.parametrize(
    ("number", "low", "high", "words"),
    [
        ("<i2", -1024, 3071, "-1024 to 3071"),
        (">i1", -100, 27, "-100 to 27"),
        ("<i4", -70_000, 70_000, "-70000 to 70000"),
        (">u4", 10, 1_000_000, "10 to 1e+06"),
        ("<f2", -2, 100, "-2 to 100"),
        (">f4", 0, 0.2, "0 to 0.2"),
        ("<f8", 0, 1.5, "0 to 1.5"),
    ],
)
@pytest.mark.parametrize("bands", [1, 3])
def test_other_numbers_are_scaled_by_their_range(
    number: str, low: float, high: float, words: str, bands: int
) -> None:
    values = ramp(low, high, bands).astype(number[1:]).astype(float)
    pixels, notices = seen(values, number, photometric=2 if bands == 3 else 1)
    np.testing.assert_allclose(pixels, (values - low) / (high - low) * 255, atol=0.51)
    assert notices == (f"Its values, {words}, were scaled to the range from black to white.",)


@pytest.mark.parametrize("bands", [1, 3])
def test_floats_from_0_to_1_are_taken_as_such(bands: int) -> None:
    values = ramp(0.25, 0.75, bands)
    pixels, notices = seen(values, "<f4", photometric=2 if bands == 3 else 1)
    np.testing.assert_allclose(pixels, values * 255, atol=0.51)
    assert notices == ("Its values, 0.25 to 0.75, were taken as 0 for black to 1 for white.",)


@pytest.mark.parametrize(
    ("number", "options", "white"),
    [
        ("<u1", {}, 255),
        ("<u1", {"bits": 4}, 15),
        ("<u2", {"bits": 12}, 4095),
        (">u2", {}, 65535),
        ("<u2", {"packed": True, "predictor": 2}, 65535),
        ("<i2", {}, 20_000),
        ("<f4", {}, 1.0),
    ],
)
def test_white_is_zero_is_inverted_at_every_depth(
    number: str, options: dict[str, object], white: float
) -> None:
    values = ramp(0, white)
    values = values if number[1] == "f" else np.rint(values)
    pixels, _ = seen(values, number, photometric=0, **options)
    np.testing.assert_allclose(pixels, 255 - values / white * 255, atol=0.51)


def test_white_is_zero_of_12_bits_in_16_is_inverted_and_told() -> None:
    values = np.rint(ramp(0, 4095))
    pixels, notices = seen(values, "<u2", photometric=0)
    np.testing.assert_allclose(pixels, 255 - values / 4095 * 255, atol=0.51)
    told = "Its values reach 4,095 of 65,535: taken as 12 bits, 4,095 is black."
    assert notices == (told,)


@pytest.mark.parametrize("inverted", [False, True])
def test_what_is_no_number_is_black(inverted: bool) -> None:
    values = np.array([[[np.nan], [-np.inf], [2], [4], [np.inf]]])
    pixels, notices = seen(values, "<f8", photometric=0 if inverted else 1)
    assert pixels.ravel().tolist() == ([0, 255, 255, 0, 0] if inverted else [0, 0, 0, 255, 255])
    assert notices == (
        "Its values, 2 to 4, were scaled to the range from black to white"
        + (", and inverted." if inverted else "."),
        "Values that are no numbers are black; infinite ones get the end of the range.",
    )


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("values", [[np.nan, np.nan], [np.nan, np.inf], [-np.inf, np.inf]])
def test_a_picture_without_a_finite_value_is_black(values: list[float], photometric: int) -> None:
    pixels, notices = seen(np.array(values).reshape(1, 2, 1), "<f4", photometric=photometric)
    assert pixels.max() == 0
    assert notices == ("It holds no finite value; it is shown black.",)


def test_the_largest_floats_have_a_range() -> None:
    largest = float(np.finfo(np.float64).max)
    pixels, _ = seen(np.array([[[-largest], [0], [largest]]]), "<f8")
    assert pixels.ravel().tolist() == [0, 128, 255]


def test_print_is_never_taken_as_fewer_bits() -> None:
    pale = np.full((2, 3, 4), 600)
    pixels, notices = seen(pale, "<u2", photometric=5)
    assert pixels.min() > 245
    assert notices == ("Its print colours (CMYK) were converted without a profile.",)


@pytest.mark.parametrize(
    ("number", "opaque"), [("<u1", 255), ("<u2", 255), ("<u2", 65535), ("<i2", 255), ("<f4", 1)]
)
def test_the_largest_opacity_is_opaque(number: str, opaque: int) -> None:
    values = np.concatenate([ramp(0, 100), np.full((3, 5, 1), opaque)], axis=2)
    values[1, 1, 1] = 0
    pixels, notices = seen(values, number, extra=(2,))
    assert notices[-1] == "Its transparency was replaced by white."
    assert pixels[1, 1, 0] == 255
    assert pixels[0, 0, 0] == 0
    told = "Its opacities reach 255 of 65,535: taken as 8 bits, 255 is opaque."
    assert (told in notices) == ((number, opaque) == ("<u2", 255))


@pytest.mark.parametrize(
    ("number", "opaque", "told"),
    [
        ("<u1", 255, ()),
        ("<u2", 65_535, ()),
        (
            "<u2",
            4095,
            (
                "Its values reach 642 of 65,535: taken as 12 bits, 4,095 is white.",
                "Its opacities reach 4,095 of 65,535: taken as 12 bits, 4,095 is opaque.",
            ),
        ),
        ("<u4", 4095, ("Its values, 0 to 642, were taken as 0 for black to 4095 for white.",)),
        ("<i2", 2040, ("Its values, 0 to 320, were taken as 0 for black to 2040 for white.",)),
        ("<f4", 1, ("Its values, 0 to 0.156863, were taken as 0 for black to 1 for white.",)),
        ("<f4", 8, ("Its values, 0 to 1.2549, were taken as 0 for black to 8 for white.",)),
    ],
)
def test_premultiplied_colours_have_the_scale_of_their_opacity(
    number: str, opaque: int, told: tuple[str, ...]
) -> None:
    """Dark colours stay dark; a fifth of opacity is exact in 8 bits."""
    tones = np.array([[[10, 20, 30, 255], [5, 0, 40, 51], [0, 0, 0, 0]]])
    values = tones * (opaque / 255)
    values = values if number[1] == "f" else np.rint(values)
    pixels, notices = seen(values, number, photometric=2, extra=(1,))
    assert pixels.tolist() == [[[10, 20, 30], [209, 204, 244], [255, 255, 255]]]
    assert notices == (*told, "Its transparency was replaced by white.")


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(9, 4, 3))
    layout = Layout("RGB", 3, 64, "f")
    at_once, _ = tones.picture_of(values, layout, "RGB")
    monkeypatch.setattr(tones, "_BLOCK", 24)
    assert tones.picture_of(values, layout, "RGB")[0] == at_once


@pytest.mark.parametrize("inverted", [False, True])
def test_a_few_large_values_that_make_the_rest_one_tone_are_told(inverted: bool) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 4096, (40, 50, 1), dtype=np.uint16)
    values[3, :4] = 65535
    layout = Layout("L", 1, 16, white_is_zero=inverted)
    image, notices = tones.picture_of(values, layout, "L")
    assert len(set(np.asarray(image).ravel().tolist())) <= 18
    looks = "white" if inverted else "black"
    assert notices[-1].endswith(f" of 65,535: it looks {looks}.")
    assert notices[-1].startswith("99 % of its values are at most 4,0")
    # Without them it has all its tones, and there is nothing to tell but its depth.
    values[3, :4] = 4095
    image, notices = tones.picture_of(values, layout, "L")
    assert len(set(np.asarray(image).ravel().tolist())) > 200
    assert len(notices) == 1


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("number", ["<f4", "<f8", "<i2", "<i4"])
@pytest.mark.parametrize(
    ("share", "missing"), [(1, -9999), (900, -9999), (1, -32768), (900, 32767)]
)
def test_a_value_that_stands_for_none_is_no_part_of_the_range(
    share: int, missing: int, number: str, inverted: bool
) -> None:
    values = np.linspace(100, 1500, 2000).reshape(40, 50, 1)
    whole = np.array(values, number)
    values.flat[-share:] = missing
    part = np.array(values, number)
    rest = whole.flat[: 2000 - share]
    pixels, notices = seen(part, number, photometric=int(not inverted))
    alone, told = seen(
        np.where(part == missing, rest.min() if missing < 0 else rest.max(), part).astype(number),
        number,
        photometric=int(not inverted),
    )
    np.testing.assert_array_equal(pixels, alone)
    assert notices == (
        *told,
        f"Its value {missing} is far from all others: it is taken to stand for no value, and gets "
        "the nearer end of the range.",
    )


def test_floats_from_0_to_1_are_taken_as_such_beside_a_value_for_none() -> None:
    values = np.append(np.linspace(0, 0.5, 99), -9999).reshape(10, 10, 1)
    pixels, notices = seen(values, "<f4")
    assert (pixels[-1, -2:, 0] == [128, 0]).all()
    assert notices[0] == "Its values, 0 to 0.5, were taken as 0 for black to 1 for white."
    assert len(notices) == 2


@pytest.mark.parametrize(
    "values",
    [[-9999.0, 5.0], [*range(20), 255.0], [*np.linspace(0, 1, 50), 2.0], [-1e5, *range(99), 1e5]],
)
def test_values_that_may_be_labels_or_light_stay_in_the_range(values: list[float]) -> None:
    _, notices = seen(np.tile(values, (3, 1))[..., None], "<f4")
    assert len(notices) == 1
    assert notices[0].startswith(f"Its values, {min(values):g} to {max(values):g}, were scaled")
