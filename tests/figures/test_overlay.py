from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.overlay import (
    INPUT_PX,
    MAX_SCREEN_PX,
    beyond_words,
    clip_words,
    crop,
    draw_map,
    draw_patch,
    draw_photograph,
    draw_scale,
    draw_scale_beside,
    height_px,
    input_picture,
    pair,
    patch_box,
    plot_input,
    plot_map,
    plot_photograph,
    unseen,
)
from vit_inspect.layout import Box
from vit_inspect.records.base import Photograph

BOXES = [
    Box(0, 0, 80, 40),
    Box(20, 0, 60, 40),
    Box(0, 5.5, 80, 33),
    Box(11.5, 2, 68.5, 40),
    Box(3, 4, 5, 6),
]


def inside(box, x, y):
    return box.left <= x < box.right and box.top <= y < box.bottom


@pytest.fixture
def axes():
    return print_sheet.place(Figure(), left=0.0, top=0.0, width=2.0, height=2.0)


@pytest.mark.parametrize("seen", BOXES)
def test_every_point_is_either_seen_or_in_exactly_one_veil(seen):
    photograph = Photograph("a", np.zeros((20, 40, 3), np.uint8), (40, 80), seen)
    veils = unseen(photograph)
    for x, y in np.random.default_rng(0).uniform((0, 0), (80, 40), (500, 2)):
        assert inside(seen, x, y) + sum(inside(veil, x, y) for veil in veils) == 1


def test_veils_are_drawn_where_nothing_was_seen(axes, photograph):
    draw_photograph(axes, photograph)
    drawn = {
        # As far as the photograph goes.
        Box(max(left, 0), max(top, 0), min(left + width, 80), min(top + height, 40))
        for patch in axes.patches
        if isinstance(patch, Rectangle) and patch.get_fill()
        for left, top, width, height in [
            (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
        ]
    }
    assert sorted(drawn) == [pytest.approx(box) for box in sorted(unseen(photograph))]
    assert len(drawn) == 3


@pytest.mark.parametrize("dpi", [110, 150, 300])
@pytest.mark.parametrize("left", [0.22, 0.23, 0.27, 0.31])
def test_no_line_of_pixels_at_the_border_stays_without_a_veil(left, dpi):
    dark = Photograph(
        "a", np.zeros((30, 45, 3), np.uint8), (300, 450), Box(75.0, 10.0, 375.0, 290.0)
    )
    sheet = print_sheet.page(3, 2.5)
    sheet.set_dpi(dpi)
    place = print_sheet.place(sheet, left=left, top=0.303, width=2.0, height=4 / 3)
    draw_photograph(place, dark)
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    light = np.asarray(canvas.buffer_rgba())[..., :3].min(axis=-1)
    # What was not seen is three quarters white, and the paper is white.
    seen = light < 180
    (rows,), (columns,) = (np.nonzero(seen.any(axis=axis)) for axis in (1, 0))
    assert np.ptp(columns) == pytest.approx(300 / 450 * 2.0 * dpi, abs=3)
    assert np.ptp(rows) == pytest.approx(280 / 450 * 2.0 * dpi, abs=3)


def test_the_photograph_fills_its_own_size(axes, photograph):
    draw_photograph(axes, photograph)
    assert tuple(axes.images[0].get_extent()) == (0, 80, 40, 0)
    assert np.array_equal(axes.images[0].get_array(), photograph.pixels)
    assert axes.get_xlim() == (0, 80)
    assert axes.get_ylim() == (40, 0)


def test_a_map_fills_what_was_seen_and_keeps_its_values(axes, photograph):
    values = np.arange(6.0).reshape(2, 3)
    draw_photograph(axes, photograph)
    image = draw_map(axes, photograph, values, (0.0, 4.0))
    left, top, right, bottom = photograph.seen
    assert tuple(image.get_extent()) == (left, right, bottom, top)
    assert np.array_equal(image.get_array(), values)
    assert image.get_clim() == (0, 4)
    # Heat hides nothing of the photograph where there is no value.
    clear, opaque = image.cmap([0.0, 1.0])[:, 3]
    assert (clear, opaque) == (0, looks.HEAT_OPACITY)
    signed = draw_map(axes, photograph, values, (-4.0, 4.0), colour_map=looks.SIMILARITY_MAP)
    assert (signed.cmap.name, signed.get_alpha()) == (looks.SIMILARITY_MAP, looks.MAP_OPACITY)
    assert axes.get_xlim() == (0, 80)


@pytest.mark.parametrize("colour_map", [None, looks.SIMILARITY_MAP])
def test_the_colour_bar_on_a_screen_is_that_of_print(photograph, colour_map):
    values = np.arange(6.0).reshape(2, 3)
    figure = screen_sheet.screen("", "", height=300)
    limits = (0.0, 4.0)
    plot_map(figure, photograph, values, limits, unit="u", percent=False, colour_map=colour_map)
    heat, bar = figure.data
    assert not heat.showscale
    assert (heat.zmin, heat.zmax) == (bar.marker.cmin, bar.marker.cmax) == limits
    # Over a middle grey, as a photograph has it; on the paper small values would have no colour.
    first = "rgba(144,144,144,1.0)" if colour_map is None else f"rgba(68,1,84,{looks.MAP_OPACITY})"
    assert bar.marker.colorscale[0] == (0, first)
    assert bar.marker.colorbar.ticktext == ("0", "2", "≥ 4")
    sheet = print_sheet.page(3, 1)
    look = {"name": "u", "left": 0, "top": 0, "colour_map": colour_map, "above": True}
    draw_scale(sheet, limits, width=3, **look)
    draw_scale(sheet, limits, width=1, **look)
    draw_scale_beside(sheet, limits, height=1, **look)
    across, short, upright = sheet.axes
    printed = across.collections[-1]
    assert [
        [text.get_text() for text in names]
        for names in (across.get_xticklabels(), short.get_xticklabels(), upright.get_yticklabels())
    ] == [["0", "2", "≥ 4"], ["0", "≥ 4"], ["0", "2", "≥ 4"]]
    red, green, blue, opacity = printed.cmap(0.0, bytes=True)
    assert first == f"rgba({red},{green},{blue},{printed.get_alpha()})"
    assert opacity == 255


def test_an_even_map_tells_one_number_and_has_the_colour_of_the_start(axes, photograph):
    values = np.full((2, 3), 0.2)
    limits = looks.ends_of(values, from_zero=False)
    shown = draw_map(axes, photograph, values, limits)
    assert shown.cmap(shown.norm(values))[..., 3].max() == 0
    look = {"name": "u", "left": 0, "top": 0, "above": False}
    draw_scale(axes.figure, limits, width=2, **look)
    draw_scale_beside(axes.figure, limits, height=2, **look)
    across, upright = axes.figure.axes[1:]
    assert (list(across.get_xticks()), list(upright.get_yticks())) == ([0.2], [0.2])
    figure = plot_map(screen_sheet.screen("", "", height=300), photograph, values, limits, unit="u")
    heat, bar = figure.data
    assert heat.zmin == pytest.approx(heat.z.max())
    assert heat.zmax > heat.zmin
    assert bar.marker.colorbar.ticktext == ("20%",)
    assert bar.marker.cmin < bar.marker.colorbar.tickvals[0] == 0.2 < bar.marker.cmax


@pytest.mark.parametrize(
    ("largest", "told"),
    [
        (4.0, ""),
        (5.0, " Colours end at 4, percentile 98.5 (largest 5)."),
        (44.4, " Colours end at 4, percentile 98.5 (largest 44.4, 11 × the end of the scale)."),
        (
            8888.0,
            " Colours end at 4, percentile 98.5 (largest 8.89e+03, 2,200 × the end of the sca",
        ),
    ],
)
def test_it_is_told_how_far_values_lie_beyond_the_scale(largest, told):
    words = clip_words(np.array([1.0, largest]), (0.0, 4.0))
    assert words.startswith(told)
    assert bool(words) == bool(told)


def test_of_a_scale_that_ends_at_0_no_multiple_is_told():
    assert beyond_words(3.0, 0.0) == beyond_words(3.0, -1.0) == ""


def test_a_patch_lights_up_where_its_outline_is():
    dark = Photograph("a", np.zeros((40, 80, 3), np.uint8), (40, 80), Box(11.5, 2.0, 68.5, 40.0))
    sheet = Figure(figsize=(8, 4), dpi=100)
    axes = sheet.add_axes((0, 0, 1, 1))
    values = np.zeros((2, 3))
    values[1, 2] = 1
    draw_photograph(axes, dark)
    draw_map(axes, dark, values, (0.0, 1.0))
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    light = np.asarray(canvas.buffer_rgba())[..., :3].sum(axis=-1)
    for row, column in np.ndindex(2, 3):
        box = patch_box(dark, (2, 3), (row, column))
        x, y = int(5 * (box.left + box.right)), int(5 * (box.top + box.bottom))
        assert (light[y, x] > 300) == ((row, column) == (1, 2))


def test_patches_tile_what_was_seen(photograph):
    first, last = patch_box(photograph, (2, 3), (0, 0)), patch_box(photograph, (2, 3), (1, 2))
    assert first[:2] == photograph.seen[:2]
    assert last[2:] == pytest.approx(photograph.seen[2:])
    assert patch_box(photograph, (2, 3), (1, 0)).top == pytest.approx(first.bottom)
    assert patch_box(photograph, (2, 3), (0, 1)).left == pytest.approx(first.right)


def test_the_outline_is_the_patch(axes, photograph):
    draw_patch(axes, photograph, grid=(2, 3), patch=(1, 2))
    box = patch_box(photograph, (2, 3), (1, 2))
    assert all(patch.get_xy() == (box.left, box.top) for patch in axes.patches)
    assert {patch.get_width() for patch in axes.patches} == {box.right - box.left}


def test_a_crop_shows_the_seen_part_at_the_size_of_the_input():
    row, column = np.mgrid[:20, :40]
    pixels = np.stack([10 * row, 5 * column, 0 * row], axis=-1).astype(np.uint8)
    photograph = Photograph("a", pixels, (40, 80), Box(20.0, 10.0, 60.0, 30.0))
    picture = crop(photograph, (16, 24)).astype(float)
    assert picture.shape == (16, 24, 3)
    down = 5 + (np.arange(16) + 0.5) * 10 / 16 - 0.5
    right = 10 + (np.arange(24) + 0.5) * 20 / 24 - 0.5
    assert np.abs(picture[:, 0, 0] - 10 * down).max() < 2
    assert np.abs(picture[0, :, 1] - 5 * right).max() < 2


@pytest.mark.parametrize(
    ("pixels", "size", "seen"),
    [((1, 1), (1, 1), Box(0, 0, 1, 1)), ((1024, 1), (10000, 3), Box(0, 4998.5, 3, 5001.5))],
)
def test_extreme_photographs_can_be_cropped_and_drawn(axes, pixels, size, seen):
    photograph = Photograph("a", np.full((*pixels, 3), 7, np.uint8), size, seen)
    assert np.array_equal(crop(photograph, (4, 4)), np.full((4, 4, 3), 7))
    draw_photograph(axes, photograph)
    draw_map(axes, photograph, np.ones((2, 2)), (0.0, 1.0))
    axes.figure.draw_without_rendering()
    assert plot_photograph(screen_sheet.screen("", "", height=300), photograph).to_json()


def test_a_box_a_hair_outside_is_cropped_at_the_edge(photograph):
    seen = Box(0, -1e-9, 80 + 1e-9, 40)
    wide = Photograph("a", photograph.pixels, (40, 80), seen)
    assert np.array_equal(crop(wide, (20, 40)), photograph.pixels)


def test_the_screen_has_the_same_places(photograph):
    figure = plot_photograph(screen_sheet.screen("", "", height=300), photograph)
    image = figure.layout.images[0]
    assert (image.x, image.y, image.sizex, image.sizey) == (0, 0, 80, 40)
    shapes = {Box(s.x0, s.y0, s.x1, s.y1) for s in figure.layout.shapes}
    assert shapes == set(unseen(photograph))
    assert figure.layout.yaxis.range == (40, 0)
    assert figure.layout.yaxis.scaleanchor == "x"


def test_the_input_is_cut_along_the_borders_of_its_patches(photograph):
    lines = plot_input(photograph, (2, 3)).data[0]
    boxes = [patch_box(photograph, (2, 3), (row, column)) for row in (0, 1) for column in (0, 1, 2)]
    for found, borders in (
        (lines.x, {box.left for box in boxes} | {boxes[-1].right}),
        (lines.y, {box.top for box in boxes} | {boxes[-1].bottom}),
    ):
        assert sorted(set(found[~np.isnan(found)])) == pytest.approx(sorted(borders))


def test_the_input_as_a_picture_has_the_same_borders(photograph):
    plain = np.full_like(photograph.pixels, 50)
    dark = replace(photograph, pixels=plain)
    found = np.asarray(input_picture(dark, (2, 3)).convert("L")).astype(int)
    scale = found.shape[1] / photograph.size_px[1]
    assert max(found.shape) == INPUT_PX
    inside = patch_box(photograph, (2, 3), (1, 1))
    middle = [scale * (inside.top + inside.bottom) / 2, scale * (inside.left + inside.right) / 2]
    row, column = map(round, middle)
    assert found[row, column] == 50
    # Along a row through its middle: the border at its left, and the next one at its right.
    bright = np.flatnonzero(found[row] > 120)
    for edge in (inside.left, inside.right):
        assert np.abs(bright - scale * edge).min() <= 2
    left, top, right, bottom = (round(scale * each) for each in unseen(photograph)[0])
    assert found[(top + bottom) // 2, (left + right) // 2] > 180


def test_a_photograph_on_a_screen_needs_no_scrolling(photograph):
    assert height_px(photograph, 720) == 360
    assert height_px(replace(photograph, size_px=(8000, 80)), 720) == MAX_SCREEN_PX


@pytest.mark.parametrize(
    ("aspects", "width", "beside"),
    [((1.5, 1.5), 3.15, True), ((3, 3), 3.15, False), ((0.5, 3), 6.8, True), ((0.3, 0.3), 9, True)],
)
def test_two_pictures_keep_their_shapes_and_stand_apart_within_their_width(aspects, width, beside):
    boxes = first, second = pair(aspects, width=width, highest=2.4)
    for box, wide in zip(boxes, aspects, strict=True):
        height = box.bottom - box.top
        assert (box.right - box.left) / height == pytest.approx(wide)
        assert 0 <= box.left <= box.right <= width + 1e-9
        assert height <= 2.4 + 1e-9
    assert (second.left > first.right and second.top == first.top) == beside
    assert (second.top > first.bottom and second.left == first.left) != beside
