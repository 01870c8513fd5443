"""Do garments lie on a canvas where its boxes say, without overlap? On garments made up here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.fashion_canvases import CANVAS_PX, Canvas, Garments, canvas, garments, places_by_class

GARMENTS = 40


@pytest.fixture(scope="module")
def made() -> Garments:
    """Every garment fills its square with one grey of its own, darker at its left edge."""
    pictures = np.full((GARMENTS, 28, 28), 0, np.uint8)
    pictures[:] = np.arange(GARMENTS, dtype=np.uint8)[:, None, None] * 5 + 50
    pictures[:, :, 0] -= 1
    return Garments(pictures, np.arange(GARMENTS) % 10)


@pytest.fixture(scope="module")
def canvases(made: Garments) -> list[Canvas]:
    places = places_by_class(made)
    return [canvas(made, places, [7, i]) for i in range(400)]


def test_each_garment_is_in_its_box_whole_and_of_its_class(
    made: Garments, canvases: list[Canvas]
) -> None:
    for each in canvases:
        rest = each.picture.copy()
        for (left, top, right, bottom), label in zip(each.boxes, each.labels, strict=True):
            assert 0 <= left < right == left + 28 <= CANVAS_PX
            assert 0 <= top < bottom == top + 28 <= CANVAS_PX
            own = rest[top:bottom, left:right]
            which = (int(own.max()) - 50) // 5
            assert made.labels[which] == label
            assert any(np.array_equal(own, made.pictures[which][:, ::step]) for step in (1, -1))
            rest[top:bottom, left:right] = 0
        assert not rest.any()


def test_places_are_all_that_there_are(canvases: list[Canvas]) -> None:
    counts = np.bincount([len(each.labels) for each in canvases], minlength=5)
    assert counts[0] == 0
    assert (counts[1:] > 60).all()
    assert all(len(set(each.labels.tolist())) == len(each.labels) for each in canvases)
    alone = np.array([each.boxes[0] for each in canvases if len(each.labels) == 1])
    assert len(np.unique(alone[:, 0])) > 20
    assert len(np.unique(alone[:, 1])) > 20
    two = [each.boxes for each in canvases if len(each.labels) == 2]
    # Either at the left and the right edge, each at any height, or above each other.
    beside = [set(boxes[:, 0].tolist()) == {0, 28} for boxes in two]
    above = [set(boxes[:, 1].tolist()) == {0, 28} for boxes in two]
    assert all(np.array(beside) | np.array(above))
    assert min(np.mean(beside), np.mean(above)) > 0.3


def test_a_seed_is_a_canvas_for_ever(made: Garments) -> None:
    first, again, other = (
        canvas(made, places_by_class(made), [3, number]).picture for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_what_is_not_installed_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"install the package dataset-fashion-mnist"):
        garments("train", tmp_path)


@pytest.mark.slow
def test_the_script_says_so_too_and_writes_nothing(tmp_path: Path) -> None:
    words = ["-m", "scripts.train_fashion_vit", str(tmp_path / "out"), "--data", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Found no Fashion-MNIST in ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
