"""Whatever bytes a stranger sends, the answer is an RGB picture within the cap, or `BadImage`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.picture_seeds import NUMBERS, PNG_START, SEEDS, with_checksums
from vit_inspect.errors import BadImage
from vit_inspect.limits import MAX_PIXELS
from vit_inspect.pictures.reading import describe, read_image


@st.composite
def hostile_files(draw: st.DrawFn) -> bytes:
    """A seed after one to five accidents, most of them near its start, where the headers are."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 5))):
        near = draw(st.sampled_from((64, 256, len(data))))
        # The first bytes name the format: without them nothing else is read.
        place = min(len(data), draw(st.sampled_from((0, 4, 12, 12))) + draw(st.integers(0, near)))
        accident = draw(st.sampled_from(("flip", "number", "number", "cut", "drop", "splice")))
        if accident == "flip" and place < len(data):
            flipped = data[place] ^ 1 << draw(st.integers(0, 7))
            data = data[:place] + bytes((flipped,)) + data[place + 1 :]
        elif accident == "number":
            number = draw(st.sampled_from(NUMBERS))
            data = data[:place] + number + data[place + len(number) :]
        elif accident == "cut":
            data = data[: len(data) - place // 2]
        elif accident == "drop":
            data = data[:place] + data[place + draw(st.integers(1, 40)) :]
        elif accident == "splice":
            other = draw(st.sampled_from(SEEDS))
            start = draw(st.integers(0, len(other)))
            data = data[:place] + other[start : start + draw(st.integers(1, 400))] + data[place:]
    return with_checksums(data) if draw(st.integers(0, 9)) else data


def check(data: bytes) -> bool:
    """The one law; tells whether the bytes were accepted."""
    try:
        picture = read_image(data, name="x")
    except BadImage as refused:
        words = str(refused)
        assert words.startswith("Found ")
        assert " in 'x'; expected " in words
        assert words.isprintable()
        return False
    assert type(picture) is Image.Image
    assert picture.mode == "RGB"
    assert 1 <= picture.width * picture.height <= MAX_PIXELS
    assert np.asarray(picture).shape == (picture.height, picture.width, 3)
    assert list(picture.info) == ["origin"]
    assert describe(picture).name == "x"
    return True


def test_every_seed_is_a_picture() -> None:
    assert all(check(data) for data in SEEDS)


@pytest.mark.slow
@settings(
    max_examples=5000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(hostile_files())
def test_a_damaged_file_is_a_picture_or_refused(data: bytes) -> None:
    check(data)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from((b"", PNG_START, b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"MM\0+")),
    st.binary(max_size=300),
)
def test_noise_is_refused(start: bytes, noise: bytes) -> None:
    assert not check(start + noise)
