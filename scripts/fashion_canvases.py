"""What is a canvas? One to four garments of Fashion-MNIST on black, with their classes and boxes.

The pictures come from Debian's package `dataset-fashion-mnist` (MIT, Zalando SE). Only scripts and
benchmarks read them; the package itself holds a few finished canvases.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from vit_inspect.assets import FASHION_CLASSES as CLASSES

FOLDER = Path("/usr/share/datasets/fashion-mnist")
GARMENT_PX = 28
CANVAS_PX = 56
MOST = 4
"""Garments of one canvas: as many as have room beside each other."""
FREE = CANVAS_PX - GARMENT_PX


class Garments(NamedTuple):
    """Grey pictures of single garments, and the class of each by its place in `CLASSES`."""

    pictures: UInt8[np.ndarray, "garment 28 28"]
    labels: Int64[np.ndarray, " garment"]


class Canvas(NamedTuple):
    """One picture, and what is where in it.

    boxes: of each garment (left, top, right, bottom) in px, right and bottom exclusive.
    labels: the class of each garment; no class is there twice.
    """

    picture: UInt8[np.ndarray, "56 56"]
    boxes: Int64[np.ndarray, "garment 4"]
    labels: Int64[np.ndarray, " garment"]


def garments(part: str, folder: Path = FOLDER) -> Garments:
    """All garments of `part`: "train" (60,000) or "t10k", those that are held out (10,000).

    Raises `FileNotFoundError` with what to install where they are not on this computer.
    """
    try:
        pictures = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Found no Fashion-MNIST in {folder}; on Debian, install the package "
            f"dataset-fashion-mnist, or give the folder of its four files."
        ) from error
    # An idx file begins with its sizes, four bytes each: 16 for pictures, 8 for labels.
    return Garments(
        np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, GARMENT_PX, GARMENT_PX),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )


def canvas(of: Garments, by_class: list[Int64[np.ndarray, " garment"]], seed: list[int]) -> Canvas:
    """The canvas that `seed` stands for, the same ever after.

    by_class: places in `of` of the garments of each class, as `places_by_class` gives them.
    """
    random = np.random.default_rng(seed)
    count = int(random.integers(1, MOST + 1))
    labels = random.permutation(len(CLASSES))[:count]
    corners = _corners(count, random)
    picture = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
    for label, (top, left) in zip(labels, corners, strict=True):
        garment = of.pictures[random.choice(by_class[label])]
        if random.random() < 0.5:
            garment = garment[:, ::-1]
        picture[top : top + GARMENT_PX, left : left + GARMENT_PX] = garment
    lefts_tops = corners[:, ::-1]
    return Canvas(picture, np.hstack([lefts_tops, lefts_tops + GARMENT_PX]), labels)


def places_by_class(of: Garments) -> list[Int64[np.ndarray, " garment"]]:
    """Of each class, where its garments are."""
    return [np.flatnonzero(of.labels == label) for label in range(len(CLASSES))]


def _corners(count: int, random: np.random.Generator) -> Int64[np.ndarray, "garment 2"]:
    """Places (top px, left px) without overlap, in any order.

    Two squares of half the canvas do not overlap only where one lies at one edge and the other at
    the edge across, so places are made and not tried: two rows with one or two garments each, one
    of them alone in its row at any place of it, and rows may be columns.
    """
    if count == 1:
        return random.integers(0, FREE + 1, (1, 2))
    rows = {2: (1, 1), 3: (2, 1), 4: (2, 2)}[count]
    places = []
    for row, garments_here in zip(random.permutation([0, FREE]), rows, strict=True):
        across = [0, FREE] if garments_here == 2 else [random.integers(0, FREE + 1)]
        places += [(row, each) for each in across]
    corners = np.array(places, np.int64)
    if random.random() < 0.5:
        corners = corners[:, ::-1]
    return random.permutation(corners)


def batch(
    of: Garments, by_class: list[Int64[np.ndarray, " garment"]], count: int, seed: list[int]
) -> tuple[UInt8[np.ndarray, "canvas 56 56"], Float32[np.ndarray, "canvas 10"]]:
    """Canvases and, for each class, whether it is there; canvas i has the seed (*seed, i)."""
    made = [canvas(of, by_class, [*seed, i]) for i in range(count)]
    present = np.zeros((count, len(CLASSES)), np.float32)
    for i, each in enumerate(made):
        present[i, each.labels] = 1
    return np.stack([each.picture for each in made]), present
