from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vit_inspect.figures import print_sheet, screen_sheet
from vit_inspect.figures.tiles import compose, data_uri, draw_tiles, fit, name_tiles, plot_tiles


def made(random, rows=2, columns=3, height=3, width=5):
    pictures = random.integers(0, 256, (rows, columns, height, width, 4), dtype=np.uint8)
    pictures[..., 3] = 255
    return pictures


def at(tiles, x, y):
    """The pixel that the picture shows at axis coordinates (x, y)."""
    left, right, bottom, top = tiles.extent
    rows, columns, _ = tiles.picture.shape
    return tiles.picture[
        int((y - top) / (bottom - top) * rows), int((x - left) / (right - left) * columns)
    ]


def test_each_pixel_lies_in_its_tile_round_the_integer_position(random):
    pictures = made(random)
    tiles = compose(pictures)
    down = 2 * -tiles.extent[3]
    right = 2 * -tiles.extent[0]
    for row, column, y, x in np.ndindex(2, 3, 3, 5):
        place = column + right * ((x + 0.5) / 5 - 0.5), row + down * ((y + 0.5) / 3 - 0.5)
        assert np.array_equal(at(tiles, *place), pictures[row, column, y, x])


def test_gaps_are_transparent_and_there_is_no_outer_border(random):
    tiles = compose(made(random))
    assert at(tiles, 0.5, 0)[3] == 0
    assert at(tiles, 0, 0.5)[3] == 0
    assert tiles.picture[[0, -1]][:, [0, -1], 3].min() == 255


def test_all_pixels_are_enlarged_alike(random):
    tiles = compose(made(random))
    opaque = (tiles.picture[..., 3] == 255).sum()
    enlarge = opaque / (2 * 3 * 3 * 5)
    assert enlarge == round(np.sqrt(enlarge)) ** 2
    assert max(tiles.picture.shape) >= 1200


def test_fit_keeps_the_proportions(random):
    tiles = compose(made(random))
    width, height = fit(tiles, width=4.0, height=1.0)
    assert height == pytest.approx(1)
    assert width / height == pytest.approx(tiles.picture.shape[1] / tiles.picture.shape[0])


def test_ticks_are_the_tiles(random):
    tiles = compose(made(random))
    axes = print_sheet.place(Figure(), left=0.0, top=0.0, width=2.0, height=2.0)
    draw_tiles(axes, tiles)
    assert list(axes.get_xticks()) == [0, 1, 2]
    assert list(axes.get_yticks()) == [0, 1]
    assert tuple(axes.images[0].get_extent()) == tiles.extent
    assert axes.images[0].origin == "upper"
    assert np.array_equal(axes.images[0].get_array(), tiles.picture)


def test_markers_of_the_screen_sit_on_their_tiles(random):
    tiles = compose(made(random))
    picked = [(row, column) for row in range(2) for column in range(3)]
    figure = screen_sheet.screen("t", "s", height=300)
    plot_tiles(figure, tiles, hover=[f"{row}, {column}" for row, column in picked], picked=picked)
    marker = figure.data[0]
    for x, y, index, text in zip(marker.x, marker.y, marker.customdata, marker.text, strict=True):
        assert (y, x) == tuple(index)
        assert text == f"{y}, {x}"
    image = figure.layout.images[0]
    left, right, bottom, top = tiles.extent
    assert (image.x, image.y, image.sizex, image.sizey) == (left, top, right - left, bottom - top)
    assert figure.layout.xaxis.range == (left, right)
    assert figure.layout.yaxis.range == (bottom, top)
    pixels = tiles.pitch_px
    assert figure.layout.yaxis.scaleratio == pytest.approx(pixels[0] / pixels[1])


def test_numbers_on_screen_name_their_rows_and_columns(random):
    tiles = compose(made(random))
    figure = screen_sheet.screen("t", "s", height=300)
    plot_tiles(figure, tiles, hover=["a"], picked=[(0, 0)])
    name_tiles(figure, tiles, rows=("Layer", [5, 9]), columns=("Head", [1, 2, 3]), side="top")
    assert figure.layout.yaxis.ticktext == ("5", "9")
    assert figure.layout.yaxis.tickvals == (0, 1)
    assert figure.layout.xaxis.ticktext == ("1", "2", "3")
    assert {note.text for note in figure.layout.annotations} >= {"Layer", "Head"}


def test_a_png_keeps_every_pixel(random):
    pixels = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    head, body = data_uri(Image.fromarray(pixels)).split(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), pixels)


def test_a_gap_has_no_dark_colour_that_a_reader_of_pdf_could_mix_in() -> None:
    picture = compose(np.full((2, 2, 3, 3, 4), 128, np.uint8)).picture
    assert set(map(tuple, picture[picture[..., 3] == 0].tolist())) == {(255, 255, 255, 0)}
