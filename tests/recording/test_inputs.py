"""Is everything that people hand over as a picture taken for what it is, or refused in words?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vit_inspect as vi
from vit_inspect.recording.inputs import prepared


@pytest.fixture(scope="module")
def model() -> vi.Model:
    torch.manual_seed(0)
    return vi.load("test_vit", pretrained=False, img_size=64, device="cpu")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return vi.sample("chelsea").resize((80, 64))


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
        (np.zeros((3, 64, 80), np.uint8), "an array of 3 x 64 x 80 of uint8"),
        (np.zeros((64, 80), np.uint8), "an array of 64 x 80 of uint8"),
        (np.zeros((64, 80, 4), np.uint8), "an array of 64 x 80 x 4 of uint8"),
        (np.zeros((64, 80, 3), np.uint16), "an array of 64 x 80 x 3 of uint16"),
        (np.zeros((0, 80, 3)), "an array of 0 x 80 x 3 of float64"),
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
        (torch.zeros(1, 3, 32, 64), "a tensor of 1 x 3 x 32 x 64 of float32"),
        (torch.zeros(64, 64, 3), "a tensor of 64 x 64 x 3 of float32"),
        (torch.zeros(64, 64), "a tensor of 64 x 64 of float32"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), "a tensor of 3 x 64 x 64 of uint8"),
        (torch.full((3, 64, 64), torch.nan), "a tensor of 3 x 64 x 64 of float32"),
        (torch.zeros(0, 3, 64, 64), "a tensor of 0 x 3 x 64 x 64 of float32"),
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
