"""Does a figure on a screen grow with its words, and take no names for markup?"""

from __future__ import annotations

import re
from html import unescape
from itertools import combinations
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from tests.helpers.records import Size, all_made
from vit_inspect.catalog import FIGURES
from vit_inspect.figures import looks, narrow_sheet, screen_sheet


def test_a_figure_on_a_screen_grows_by_the_lines_that_are_broken():
    plain = screen_sheet.screen("a", "b", height=100)
    words = " ".join(["word"] * 40)
    grown = screen_sheet.screen(words, f"{words}\nb", height=100, width=400)
    heading, small = grown.layout.annotations[0].text.split("</span><br>")
    added = heading.count("<br>") + small.count("<br>")
    assert added > 5
    assert grown.layout.height == 100 + 20 * (added - 1)
    assert grown.layout.margin.t == plain.layout.margin.t + 20 * added
    assert list(grown.layout.meta) == [words, words, "b"]


def test_names_from_strangers_are_no_markup():
    figure = screen_sheet.screen("<b>a</b>", "x & y", height=100)
    assert "&lt;b&gt;a&lt;/b&gt;" in figure.layout.annotations[0].text
    assert "x &amp; y" in figure.layout.annotations[0].text


def test_a_dark_page_changes_ink_paper_and_small_words():
    plain = screen_sheet.screen("a", "b", height=100)
    plain.add_annotation(text="c", font_color=looks.QUIET)
    figure = screen_sheet.theme(plain, ink="#eeeeee", quiet="#aaaaaa", paper="#111111")
    assert figure.layout.font.color == "#eeeeee"
    assert figure.layout.paper_bgcolor == "#111111"
    assert "color:#aaaaaa" in figure.layout.annotations[0].text
    assert figure.layout.annotations[1].font.color == "#aaaaaa"
    assert looks.QUIET not in str(figure.layout.annotations)


def test_a_picture_has_a_proportion_and_a_chart_of_lines_has_none():
    figure = screen_sheet.screen("a", "b", height=100)
    assert narrow_sheet.proportion(figure) is None
    figure.update_layout(xaxis_range=[0, 40], yaxis={"range": [30, 0], "scaleanchor": "x"})
    assert narrow_sheet.proportion(figure) == 0.75
    figure.update_layout(yaxis_scaleratio=2, xaxis_domain=(0.2, 0.6))
    assert abs(narrow_sheet.proportion(figure) - 0.6) < 1e-12


def test_a_legend_stands_below_the_drawing_and_its_axis():
    figure = screen_sheet.screen("a", "b", height=300)
    margin, legend = figure.layout.margin, screen_sheet.screen_legend(figure)
    assert -legend["y"] * (300 - margin.t - margin.b) > margin.b


def beside(**left: Any) -> go.Figure:
    """Two drawings side by side: one with a colour bar and a name, one of a curve with a name."""
    figure = screen_sheet.screen("a", "b", height=500, above=40)
    bar = screen_sheet.screen_colour_bar("c", lenmode="fraction", len=0.5)
    figure.add_heatmap(z=[[1, 2], [3, 4]], colorbar=bar)
    figure.add_scatter(x=[0, 1], y=[0, 1], xaxis="x2", yaxis="y2")
    screen_sheet.name_below(figure, "d", (0.7, 1.0))
    return figure.update_layout(
        xaxis={"domain": (0, 0.5), "range": [0, 2]},
        yaxis={"range": [0, 4]} | left,
        xaxis2={"domain": (0.7, 1), "anchor": "y2"},
        yaxis2={"anchor": "x2"},
    )


def heights(figure: go.Figure) -> list[tuple[float, float]]:
    """Upper and lower end of each drawing, in px below the upper end of the first."""
    layout = figure.layout
    drawn = layout.height - layout.margin.t - layout.margin.b
    return [tuple(drawn * (1 - end) for end in reversed(axis.domain)) for axis in axes(figure)]


def axes(figure: go.Figure) -> list[Any]:
    return [figure.layout.yaxis, figure.layout.yaxis2]


def test_on_a_narrow_screen_drawings_stand_below_each_other_as_high_as_they_were() -> None:
    before = beside()
    high = before.layout.height - before.layout.margin.t - before.layout.margin.b
    figure = narrow_sheet.narrow(beside(), 390)
    assert [figure.layout.xaxis.domain, figure.layout.xaxis2.domain] == [(0, 1), (0, 1)]
    first, second = heights(figure)
    assert np.allclose([first[1] - first[0], second[1] - second[0]], high)
    # Between them is room for the axis of the first and what is above the second.
    assert second[0] >= first[1] + figure.layout.margin.b + 40
    assert np.isclose(second[1], figure.layout.height - figure.layout.margin.t - 56)
    [bar] = [trace.colorbar for trace in figure.data if trace.type == "heatmap"]
    assert (bar.x, bar.y, bar.len) == (0, 1, 1)
    name = figure.layout.annotations[1]
    assert np.allclose((name.x, name.y), (0.5, 0))


def test_a_picture_keeps_its_proportion_where_it_stands_above_another_drawing() -> None:
    figure = narrow_sheet.narrow(beside(scaleanchor="x", scaleratio=0.25), 390)
    first, second = heights(figure)
    margin = figure.layout.margin
    assert np.isclose(first[1] - first[0], (390 - margin.l - margin.r) / 2)
    assert second[0] > first[1]


def test_a_wide_screen_leaves_drawings_side_by_side_and_shared_rows_are_never_parted() -> None:
    assert narrow_sheet.narrow(beside(), 700).layout.xaxis2.domain == (0.7, 1)
    shared = beside().update_layout(xaxis2_anchor="y")
    assert narrow_sheet.narrow(shared, 390).layout.xaxis2.domain == (0.7, 1)
    assert narrow_sheet.least_width(shared) > 390 > narrow_sheet.least_width(beside())


def test_words_are_broken_for_a_narrow_screen_and_begin_at_its_edge() -> None:
    words = " ".join(["word"] * 30)
    figure = screen_sheet.screen("a", words, height=300)
    drawn = figure.layout.height - figure.layout.margin.t
    narrow_sheet.narrow(figure, 390)
    [head] = figure.layout.annotations
    small = head.text.split("</span><br>")[1]
    assert small.count("<br>") == 2
    assert head.xshift == -figure.layout.margin.l
    # The drawing is as high as it was.
    assert figure.layout.height - figure.layout.margin.t == drawn


def test_cells_that_a_finger_could_not_meet_need_more_room() -> None:
    figure = screen_sheet.screen("a", "b", height=300)
    screen_sheet.add_squares(figure, size=8, x=[*range(40)] * 2, y=[0] * 40 + [1] * 40)
    assert narrow_sheet.least_width(figure) > 40 * 10


@pytest.mark.parametrize("entry", FIGURES, ids=lambda entry: entry.figure.slug)
def test_nothing_of_a_figure_lies_on_another_drawing_on_a_narrow_screen(entry: Any) -> None:
    for record in all_made(entry.figure.record, Size(layers=12, heads=6)):
        figure = narrow_sheet.narrow(entry.figure.plot(record), 366)
        boxes = []
        for across in figure.select_xaxes():
            down = figure.layout[(across.anchor or "y").replace("y", "yaxis")]
            boxes.append((*(across.domain or (0, 1)), *(down.domain or (0, 1))))
        assert np.all((np.array(boxes) >= 0) & (np.array(boxes) <= 1)), boxes
        for one, other in combinations(boxes, 2):
            apart = one[1] <= other[0] or other[1] <= one[0]
            assert apart or one[3] <= other[2] or other[3] <= one[2], boxes
        for words in figure.select_annotations(
            lambda each: (each.name or "").startswith(screen_sheet.BELOW)
        ):
            assert words.y == 0, "words below the figure lie on a drawing"
            lines = re.sub("<span[^>]*>|</span>", "", words.text).split("<br>")
            assert max(map(len, lines)) * 13 * 0.53 <= 366
            assert figure.layout.margin.b >= 20 * len(lines)
        heat = [trace.colorbar for trace in figure.select_traces({"type": "heatmap"})]
        for bar in (bar for bar in heat if bar.y is not None):
            assert 0 <= bar.x < 1, "the colour bar is not on the sheet"


def test_words_below_keep_their_lines_at_another_width() -> None:
    figure = screen_sheet.screen("a", "b", height=100)
    words = "First <i> & more words than a narrow screen has room for in a line.\nSecond."
    screen_sheet.write_below(figure, words)
    narrowed = narrow_sheet.narrow(figure, 220)
    [below] = [each.text for each in narrowed.layout.annotations if "Second" in each.text]
    *lines, last = re.sub("</?span[^>]*>", "", below).split("<br>")
    assert last == "Second."
    assert len(lines) > 1
    assert unescape(" ".join(lines)) == words.split("\n")[0]
