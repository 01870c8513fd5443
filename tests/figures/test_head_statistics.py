from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.helpers.records import Size, made
from vit_inspect.figures import looks
from vit_inspect.figures.head_statistics import COLOUR_MAP, STATISTICS, draw, limits_of, means, plot
from vit_inspect.records.evidence import HeadStatistics

pytestmark = pytest.mark.slow


def panels_of(figure):
    """The cells of each panel and the marks on them, by the title of the panel's colour bar."""
    cells, marks = figure.data[::2], figure.data[1::2]
    titles = [each.colorbar.title.text.replace("<br>", " ") for each in cells]
    return dict(zip(titles, zip(cells, marks, strict=True), strict=True))


def names_above(sheet):
    """The names of the panels of a print, above their colour bars, in one line each."""
    return [bar.get_xlabel().replace("\n", " ") for bar in sheet.axes[::2]]


def test_every_number_of_the_record_has_a_panel(statistics):
    assert set(STATISTICS) == set(statistics.arrays())
    titles = {statistic.title for statistic in STATISTICS.values()}
    assert set(panels_of(plot(statistics))) == titles
    for width_in in (3.25, 5.5, 6.9):
        assert set(names_above(draw(statistics, width_in=width_in))) == titles


@pytest.mark.parametrize("width_in", [3.25, 5.5, 6.9])
def test_every_panel_names_its_axes(statistics, width_in):
    panels = draw(statistics, width_in=width_in).axes[1::2]
    assert {(each.get_xlabel(), each.get_ylabel()) for each in panels} == {("Head", "Layer")}
    layout = plot(statistics).layout
    for number in ("", *range(2, 8)):
        across, down = layout[f"xaxis{number}"], layout[f"yaxis{number}"]
        assert (across.title.text, down.title.text) == ("Head", "Layer")
        # Numbers stand clear of the cells.
        assert min(across.ticklabelstandoff, down.ticklabelstandoff) > 0


@pytest.mark.parametrize("large", ["entropy", "nmi"])
def test_print_cells_are_the_means_and_come_in_the_order_of_the_screen(statistics, large):
    sheet = draw(statistics, large=large)
    axes = sheet.axes
    shown = panels_of(plot(statistics, large=large))
    assert names_above(sheet) == list(shown)
    names = [large, *(name for name in STATISTICS if name != large)]
    for name, bar, panel in zip(names, axes[::2], axes[1::2], strict=True):
        assert bar.get_xlabel().replace("\n", " ") == STATISTICS[name].title
        values = statistics.arrays()[name].mean(axis=0)
        limits = (0.0, float(values.max()))
        colours = looks.colour(values, COLOUR_MAP, limits)
        assert bar.get_xlim() == pytest.approx(limits)
        picture = panel.images[0].get_array()
        left, right, bottom, top = panel.images[0].get_extent()
        for layer, head in np.ndindex(values.shape):
            row = int((layer - top) / (bottom - top) * picture.shape[0])
            column = int((head - left) / (right - left) * picture.shape[1])
            np.testing.assert_array_equal(picture[row, column], colours[layer, head])


@pytest.mark.parametrize("large", ["entropy", "nmi"])
def test_screen_cells_are_the_means_and_tell_all_numbers(statistics, large):
    figure = plot(statistics, large=large)
    panels = panels_of(figure)
    assert next(iter(panels)) == STATISTICS[large].title
    for name, statistic in STATISTICS.items():
        cells, marks = panels[statistic.title]
        values = statistics.arrays()[name].mean(axis=0)
        np.testing.assert_allclose(cells.z, values, rtol=1e-6)
        assert (cells.zmin, cells.zmax) == (0, pytest.approx(values.max()))
        assert (cells.xaxis, cells.yaxis) == (marks.xaxis, marks.yaxis)
        for x, y, (layer, head), text in zip(
            marks.x, marks.y, marks.customdata, marks.text, strict=True
        ):
            assert (x, y) == (head, layer)
            assert f"L{layer} H{head}" in text
            for other, numbers in statistics.arrays().items():
                mean = numbers[:, layer, head].mean()
                assert STATISTICS[other].words.format(mean) in text
        assert len(marks.x) == values.size


def test_the_first_layer_is_on_top_and_panels_do_not_overlap(statistics):
    layout = plot(statistics).layout
    boxes = []
    for number in ("", *range(2, 8)):
        across, down = layout[f"xaxis{number}"], layout[f"yaxis{number}"]
        assert down.range[0] > down.range[1]
        assert across.range[0] < across.range[1]
        boxes.append((*across.domain, *down.domain))
    assert min(bottom for _, _, bottom, _ in boxes[1:]) == pytest.approx(0)
    for index, (left, right, bottom, top) in enumerate(boxes):
        assert 0 <= left < right <= 1
        assert 0 <= bottom < top <= 1
        for other in boxes[:index]:
            assert left >= other[1] or other[0] >= right or bottom >= other[3] or other[2] >= top


@pytest.mark.parametrize(
    ("largest", "words"), [(181.65, "182"), (5.2, "5.2"), (0.7981, "0.8"), (0.00999, "0.01")]
)
def test_the_ends_of_a_small_scale_are_short_words(statistics, largest, words):
    """Plotly hides labels that would stand out beyond the edge of the figure."""
    scaled = statistics.self_mass / statistics.self_mass.mean(axis=0).max() * largest
    cells, _ = panels_of(plot(replace(statistics, self_mass=scaled)))["Share on itself"]
    assert list(cells.colorbar.ticktext) == ["0", words]
    assert list(cells.colorbar.tickvals) == [0, cells.zmax]


def test_two_figures_can_share_one_scale(statistics):
    figure = plot(statistics, limits=(0.0, 9.0))
    [(title, (cells, _))] = panels_of(figure).items()
    assert title == STATISTICS["entropy"].title
    assert (cells.zmin, cells.zmax) == (0, 9)
    assert "own scale" in "".join(plot(statistics).layout.meta)
    assert "own scale" not in "".join(figure.layout.meta)
    assert limits_of(statistics) == (0, pytest.approx(means(statistics)["entropy"].max()))


def test_the_caption_says_what_the_numbers_rest_on(statistics):
    words = " ".join(text.get_text() for text in draw(statistics).texts)
    assert "mean over 2 images" in words
    assert f"8 tokens: {np.log(8):.2f} nats" in words
    assert "Special tokens: cls, reg1." in words
    alone = replace(
        statistics.of_image(0),
        layout=replace(statistics.layout, prefix=(), readout="mean of the patches"),
    )
    words = " ".join(plot(alone).layout.meta)
    assert "one image" in words
    assert "Special tokens: none." in words


@pytest.mark.parametrize("shape", [(1, 1), (12, 3), (40, 16)], ids=str)
def test_names_of_many_heads_and_layers_do_not_run_into_each_other(shape):
    figure = draw(made(HeadStatistics, Size(1, *shape)))
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height <= 9
    for axes in figure.axes:
        for labels, side in ((axes.get_xticklabels(), "x"), (axes.get_yticklabels(), "y")):
            boxes = sorted(
                (getattr(box, f"{side}0"), getattr(box, f"{side}1"))
                for label in labels
                if label.get_text() and label.get_visible()
                for box in [label.get_window_extent()]
            )
            assert all(first[1] <= second[0] for first, second in pairwise(boxes))


def test_heads_that_all_say_nothing_can_be_drawn(statistics):
    zeros = {name: np.zeros_like(array) for name, array in statistics.arrays().items()}
    flat = replace(statistics, **zeros)
    draw(flat).draw_without_rendering()
    assert plot(flat).data[0].zmax == 1


@pytest.mark.parametrize(("width_in", "rows"), [(3.0, 4), (3.25, 3), (5.5, 2), (6.9, 2), (10, 1)])
def test_print_has_as_many_panels_in_a_row_as_its_width_allows(statistics, width_in, rows):
    sheet = draw(statistics, width_in=width_in)
    assert len({round(panel.get_position().y1, 3) for panel in sheet.axes[1::2]}) == rows
    assert max(panel.get_position().x1 for panel in sheet.axes) <= 1


def test_a_single_panel_stands_in_the_middle_of_a_given_width() -> None:
    statistics = made(HeadStatistics, Size(layers=12, heads=6))
    bar, panel = (
        axes.get_position() for axes in draw(statistics, limits=(0.0, 6.0), width_in=5.5).axes
    )
    assert (panel.x0, panel.x1) == pytest.approx((bar.x0, bar.x1))
    assert panel.x0 > 0.2
    assert panel.x0 + panel.x1 == pytest.approx(1, abs=0.1)
