"""Is everything that people hand over as a picture taken for what it is, or refused in words?"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.recording.inputs import prepared


@pytest.fixture(scope="module")
def model() -> vi.Model:
    torch.manual_seed(0)
    return vi.load("test_vit", pretrained=False, img_size=64, device="cpu")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return vi.sample("chelsea").resize((80, 64))


def written(folder: Path) -> Path:
    noise((80, 64), 1).save(folder / "photo.png")
    return folder / "photo.png"


def closed_by_with(folder: Path) -> Image.Image:
    with Image.open(written(folder)) as picture:
        return picture


def closed_by_hand(folder: Path) -> Image.Image:
    picture = Image.open(written(folder))
    picture.close()
    return picture


def cut_off(folder: Path) -> Image.Image:
    return Image.open(io.BytesIO(written(folder).read_bytes()[:5000]))


@pytest.mark.parametrize("opened", [closed_by_with, closed_by_hand, cut_off])
def test_a_picture_of_pillow_without_pixels_is_refused_in_words(
    model: vi.Model, tmp_path: Path, opened: Callable[[Path], Image.Image]
) -> None:
    assert vi.capture(model, Image.open(written(tmp_path))).pixels.shape == (1, 3, 64, 64)
    with pytest.raises(vi.BadParameter, match="that is closed, or whose file cannot be read to"):
        vi.capture(model, opened(tmp_path))


def test_a_path_and_an_array_give_the_pixels_of_the_picture(
    model: vi.Model, picture: Image.Image, tmp_path: Path
) -> None:
    picture.save(tmp_path / "cat.png")
    array = np.asarray(picture)
    expected = model.prepare(picture)
    for given in (
        tmp_path / "cat.png",
        str(tmp_path / "cat.png"),
        array,
        array / 255,
        (array / 255).astype(np.float32),
        array[::-1].copy()[::-1],
        array[None],
        [array],
        (str(tmp_path / "cat.png"),),
    ):
        capture = vi.capture(model, given)
        assert torch.equal(capture.pixels, expected)
    assert torch.equal(model.prepare(tmp_path / "cat.png"), expected)
    assert vi.capture(model, str(tmp_path / "cat.png")).photographs[0].name == "cat.png"
    mixed = vi.capture(model, [picture, array, tmp_path / "cat.png"])
    assert torch.equal(mixed.pixels, expected.expand(3, -1, -1, -1))


def test_a_prepared_input_goes_in_as_it_is_and_is_shown(
    model: vi.Model, picture: Image.Image
) -> None:
    expected = vi.capture(model, picture)
    pixels = model.prepare(picture)
    for given in (pixels, pixels[0], [pixels[0]], pixels.double()):
        capture = vi.capture(model, given)
        assert torch.equal(capture.pixels, pixels)
        assert torch.equal(capture.output, expected.output)
    [shown] = capture.photographs
    assert shown.size_px == (64, 64)
    assert shown.seen == (0, 0, 64, 64)
    assert "normalisation was taken to be that of the model" in shown.notices[0]
    # What the model saw, to a rounding step of the resized picture.
    left, top, right, bottom = expected.photographs[0].seen
    crop = picture.resize((64, 64), Image.Resampling.BICUBIC, (left, top, right, bottom))
    assert np.abs(shown.pixels.astype(int) - np.asarray(crop)).max() <= 1
    pair = vi.capture(model, torch.cat([pixels, 0 * pixels]))
    assert [each.name for each in pair.photographs] == ["tensor 0", "tensor 1"]
    assert torch.equal(vi.capture(model, [pixels[0], 0 * pixels[0]]).pixels, pair.pixels)


def test_relevance_takes_a_prepared_input_too(model: vi.Model, picture: Image.Image) -> None:
    pixels = model.prepare(picture)
    np.testing.assert_array_equal(
        vi.attention_relevance(model, pixels).relevance,
        vi.attention_relevance(model, picture).relevance,
    )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        (np.zeros((3, 64, 80), np.uint8), "an array of 3 × 64 × 80 of uint8"),
        (np.zeros((64, 80), np.uint8), "an array of 64 × 80 of uint8"),
        (np.zeros((64, 80, 4), np.uint8), "an array of 64 × 80 × 4 of uint8"),
        (np.zeros((64, 80, 3), np.uint16), "an array of 64 × 80 × 3 of uint16"),
        (np.zeros((0, 80, 3)), "an array of 0 × 80 × 3 of float64"),
        (np.full((64, 80, 3), 255.0), "an array with values of 255 to 255"),
        (np.full((64, 80, 3), np.nan), "an array with values of nan to nan"),
        (np.full((64, 80, 3), -0.1), "an array with values of -0.1 to -0.1"),
        (np.zeros((0, 64, 80, 3)), "no image"),
        ([], "no image"),
        (5, "an object of type int in place of a picture"),
        ({"image": 1}, "an object of type dict in place of a picture"),
        ([None], "an object of type NoneType in place of a picture"),
        (Image.new("L", (9, 9)), "an image of mode L"),
        ("no such.jpg", "nothing at 'no such.jpg'"),
        (torch.zeros(1, 3, 32, 64), "a tensor of 1 × 3 × 32 × 64 of float32"),
        (torch.zeros(64, 64, 3), "a tensor of 64 × 64 × 3 of float32"),
        (torch.zeros(64, 64), "a tensor of 64 × 64 of float32"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), "a tensor of 3 × 64 × 64 of uint8"),
        (
            torch.full((3, 64, 64), torch.nan),
            "a tensor of 3 × 64 × 64 of float32 with infinite or NaN values",
        ),
        (
            torch.zeros(3, 64, 64).to_sparse(),
            "a tensor of 3 × 64 × 64 of float32, which is sparse or without values",
        ),
        (
            torch.zeros(3, 64, 64, device="meta"),
            "a tensor of 3 × 64 × 64 of float32, which is sparse or without values",
        ),
        (torch.zeros(0, 3, 64, 64), "a tensor of 0 × 3 × 64 × 64 of float32"),
        ([torch.zeros(3, 64, 64), "cat.png"], "a list with tensors of several shapes, or with"),
        ([torch.zeros(3, 64, 64), torch.zeros(3, 32, 64)], "a list with tensors of several"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_picture_is_refused_in_words(model: vi.Model, given: object, found: str) -> None:
    with pytest.raises((vi.BadParameter, vi.BadImage)) as refusal:
        vi.capture(model, given)  # type: ignore[arg-type]
    assert refusal.value.found.startswith(found)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("query", [5, (1.0, 2.0), (1,), (1, 2, 3), None, ("a", "b")])
def test_what_is_no_token_is_refused_in_words(
    model: vi.Model, picture: Image.Image, query: object
) -> None:
    capture = vi.capture(model, picture)
    with pytest.raises(
        vi.BadParameter, match=r"a patch as \(row, column\); give two whole numbers"
    ):
        vi.attention_maps(capture, query=query)  # type: ignore[arg-type]


def test_what_no_patch_covers_was_not_seen(model: vi.Model, picture: Image.Image) -> None:
    """In the picture, and in an input that is given as it is."""
    margin = replace(model, layout=replace(model.layout, grid=(3, 2), margin_px=(16, 32)))
    assert margin.layout.input_px == (64, 64)
    pixels, [photograph] = prepared(margin, picture)
    assert torch.equal(pixels, model.prepare(picture))
    _, [whole] = prepared(model, picture)
    left, top, right, bottom = whole.seen
    expected = (left, top, (left + right) / 2, top + (bottom - top) * 3 / 4)
    assert photograph.seen == pytest.approx(expected)
    _, [given] = prepared(margin, pixels)
    assert given.size_px == (64, 64)
    assert given.seen == (0, 0, 32, 48)


@pytest.fixture(scope="module")
def of_thirteen() -> vi.Model:
    """With another mean and standard deviation in each channel."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", in_chans=13, img_size=64).eval()
    each = np.arange(1, 14)
    mean, std = tuple(each / 20), tuple(each / 10)
    return vi.wrap(network, transform=vi.Recipe(mean, std, "bicubic", 1.0, "squash"))


def input_of(model: vi.Model, levels: np.ndarray) -> torch.Tensor:
    """The model input of (image, channel, row, column) levels of 0..255."""
    mean, std = (np.array(each)[:, None, None] for each in (model.recipe.mean, model.recipe.std))
    return torch.from_numpy((levels / 255 - mean) / std).float()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "bands", [(3, 2, 1), [12, 0, 12], (7,), range(4, 7), np.array([3, 2, 1])], ids=str
)
def test_figures_show_the_bands_that_are_chosen(
    of_thirteen: vi.Model, bands: Sequence[int]
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (2, 13, 64, 64))
    pixels = input_of(of_thirteen, levels)
    capture = vi.capture(of_thirteen, pixels=pixels, bands=bands)
    assert torch.equal(capture.pixels, pixels)
    for photograph, image in zip(capture.photographs, levels, strict=True):
        shown = image[list(bands)] if len(bands) == 3 else image[list(bands) * 3]
        assert np.array_equal(photograph.pixels, shown.transpose(1, 2, 0))
        assert photograph.seen == (0, 0, 64, 64)
        assert f"{', '.join(map(str, bands))})" in photograph.notices[0]
    as_image = vi.capture(of_thirteen, pixels, bands=bands)
    assert torch.equal(as_image.output, capture.output)
    assert np.array_equal(as_image.photographs[1].pixels, capture.photographs[1].pixels)


def test_values_beyond_black_and_white_are_cut(of_thirteen: vi.Model) -> None:
    levels = np.zeros((1, 13, 64, 64))
    levels[:, 3], levels[:, 2] = -90, 400
    pixels = input_of(of_thirteen, levels)
    [photograph] = vi.capture(of_thirteen, pixels=pixels, bands=(3, 2, 1)).photographs
    assert photograph.pixels[0, 0].tolist() == [0, 255, 0]


def test_figures_show_another_picture_of_the_same_scene(
    of_thirteen: vi.Model, picture: Image.Image, tmp_path: Path
) -> None:
    picture.save(tmp_path / "cat.png")
    pixels = torch.zeros(2, 13, 64, 64)
    for shown in (picture, [picture, picture], [tmp_path / "cat.png"] * 2):
        capture = vi.capture(of_thirteen, pixels=pixels, shown=shown)
        assert torch.equal(capture.pixels, pixels)
        for photograph in capture.photographs:
            assert np.array_equal(photograph.pixels, np.asarray(picture))
            assert photograph.size_px == (64, 80)
            assert photograph.seen == (0, 0, 80, 64)
            assert photograph.notices[-1] == (
                "The model input was given as a tensor; this picture is shown in its place, as if "
                "it showed exactly the same area."
            )
    assert capture.photographs[0].name == "cat.png"
    margin = replace(
        of_thirteen, layout=replace(of_thirteen.layout, grid=(3, 2), margin_px=(16, 32))
    )
    _, [photograph] = prepared(margin, pixels=pixels[:1], shown=picture)
    assert photograph.seen == (0, 0, 40, 48)


def test_a_tensor_of_three_channels_is_given_as_pixels_too(
    model: vi.Model, picture: Image.Image
) -> None:
    pixels = model.prepare(picture)
    one, other = vi.capture(model, pixels), vi.capture(model, pixels=pixels)
    assert torch.equal(one.output, other.output)
    assert np.array_equal(one.photographs[0].pixels, other.photographs[0].pixels)
    assert one.photographs[0].notices == other.photographs[0].notices
    swapped = vi.capture(model, pixels=[pixels[0]], bands=(2, 1, 0)).photographs[0]
    assert np.array_equal(swapped.pixels, one.photographs[0].pixels[..., ::-1])


@pytest.mark.parametrize(
    ("bands", "told"),
    [
        ((0,), " (as grey, channel 0)"),
        ((2, 1, 0), " (as red, green and blue, channels 2, 1, 0)"),
        ((0, 1, 2), ""),
        (None, ""),
    ],
)
def test_it_is_told_which_channels_are_shown_unless_it_is_all(
    model: vi.Model, bands: Sequence[int] | None, told: str
) -> None:
    [photograph] = vi.capture(model, pixels=torch.zeros(1, 3, 64, 64), bands=bands).photographs
    assert photograph.notices == (
        f"Shown from the model input{told}: its normalisation was taken to be that of the model.",
    )


def test_one_channel_is_shown_as_grey() -> None:
    network = timm.create_model("test_vit", in_chans=1, img_size=64).eval()
    model = vi.wrap(network)
    levels = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 64))
    [photograph] = vi.capture(model, pixels=input_of(model, levels)).photographs
    assert np.array_equal(photograph.pixels, np.repeat(levels[0, 0][..., None], 3, axis=2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "an input of 13 channels, and nothing that figures can show; .*add bands="),
        ({"bands": (3, 2)}, r"\(3, 2\) as bands"),
        (
            {"bands": (3, 2, 13)},
            "the bands 3, 2, 13 for an input of 13 channels; expected channels of 0..12; ",
        ),
        ({"bands": (3, 2, -1)}, r"\(3, 2, -1\) as bands"),
        ({"bands": 3}, "3 as bands"),
        ({"bands": "321"}, "'321' as bands"),
        ({"bands": (1,), "shown": Image.new("RGB", (9, 9))}, "a picture to show and bands to show"),
        ({"shown": [Image.new("RGB", (9, 9))] * 3}, "3 pictures to show for 2 inputs"),
        ({"shown": 5}, "an object of type int in place of a picture"),
        ({"image": Image.new("RGB", (9, 9))}, "pixels= beside an image"),
        ({"pixels": np.zeros((1, 13, 64, 64))}, "pixels= of type ndarray; .*torch.from_numpy"),
        ({"pixels": torch.zeros(1, 3, 64, 64)}, "a tensor of 1 × 3 × 64 × 64 .* image × 13 × 64"),
        (
            {"pixels": None, "image": "scene.tif", "bands": (3, 2, 1)},
            "bands= without the model's input as a tensor; .* for a file, use "
            r"vit_inspect.read_image\(file, bands=...\); for a tensor, pixels=tensor",
        ),
        (
            {"pixels": None, "image": Image.new("RGB", (9, 9)), "shown": 1},
            "shown= without .*leave out shown=",
        ),
        ({"pixels": None}, "no image"),
    ],
)
def test_what_does_not_fit_the_channels_is_refused_in_words(
    of_thirteen: vi.Model, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(vi.BadParameter, match=words):
        vi.capture(of_thirteen, **{"pixels": torch.zeros(2, 13, 64, 64)} | given)
