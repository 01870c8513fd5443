"""Do the bars tell the probabilities, and does a click on the board name the patch?"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures import looks
from vit_inspect.figures.ablation import draw, plot, plot_board, plot_change
from vit_inspect.figures.overlay import patch_box
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import Ablation

ENDS = "Colours end at 0.739, percentile 98.5 (largest 0.75)."
LONG = "a class with a name that nobody would ever print"


def made(result: Ablation, before: list[float], after: list[float]) -> Ablation:
    """The same record of other probabilities, its second class of a long name."""
    return replace(
        result,
        labels=(("cat", LONG),) * 2,
        before=np.array([before] * 2),
        after=np.array([after] * 2),
    )


def test_each_class_has_a_bar_before_and_one_after(switched_off: Ablation) -> None:
    figure = plot(made(switched_off, [0.7, 0.1], [0.2, 0.6]))
    bars = {bar.name: bar for bar in figure.data}
    assert list(bars["before"].x) == [0.7, 0.1]
    assert list(bars["after"].x) == [0.2, 0.6]
    assert list(bars["after"].text) == ["20.0%", "60.0%"]
    assert bars["before"].marker.color != bars["after"].marker.color
    # The first class is on top, and its value before is above the one after.
    assert [bar.name for bar in figure.data] == ["before", "after"]
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.yaxis.ticktext[0] == "cat"
    assert len(figure.layout.yaxis.ticktext[1]) == 24
    assert figure.data[0].customdata[1] == LONG


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_legend_stands_just_below_the_bars_and_their_axis(
    switched_off: Ablation, count: int
) -> None:
    some = replace(
        switched_off,
        labels=(tuple("abcde"[:count]),) * 2,
        class_index=np.zeros((2, count), dtype=int),
        before=np.full((2, count), 0.3),
        after=np.full((2, count), 0.1),
    )
    layout = plot(some).layout
    # A browser refuses a place beyond these in silence, and takes another.
    assert -2 <= layout.legend.y <= 3
    bars_px = layout.height - layout.margin.t - layout.margin.b
    below_px = -layout.legend.y * bars_px
    # Numbers and name of the axis are above it, and the margin has room for it: plotly would take
    # this room from the bars, and with them the legend would move up.
    assert below_px >= 40
    assert layout.margin.b >= below_px + 20


def test_a_name_is_text_and_no_markup(switched_off: Ablation) -> None:
    named = replace(switched_off, labels=(('<b>x</b> <a href="y">', "cat"),))
    figure = plot(named)
    for shown in (figure.layout.yaxis.ticktext[0], *(bar.customdata[0] for bar in figure.data)):
        assert shown.startswith("&lt;b&gt;x")
        assert "<" not in shown


@pytest.mark.parametrize(("largest", "end"), [(0.01, 0.02), (0.3, 0.5), (0.51, 1.01), (1, 1.01)])
def test_the_axis_begins_at_zero_and_holds_every_bar(
    switched_off: Ablation, largest: float, end: float
) -> None:
    for pair in ([largest, 0.0], [0.0, 0.0]), ([0.0, 0.0], [0.0, largest]):
        assert plot(made(switched_off, *pair)).layout.xaxis.range == (0, end)


def test_patches_that_are_off_are_covered_and_all_can_be_picked(photograph: Photograph) -> None:
    figure = plot_board(photograph, (2, 3), [(1, 2), (0, 0)])
    markers = figure.data[-1]
    assert [tuple(each) for each in markers.customdata] == list(np.ndindex(2, 3))
    # The middle of the part that was seen, not of the photograph.
    box = patch_box(photograph, (2, 3), (1, 2))
    assert markers.x[5] == pytest.approx((box.left + box.right) / 2)
    assert markers.y[5] == pytest.approx((box.top + box.bottom) / 2)
    covers = [(shape.x0, shape.y0, shape.x1, shape.y1) for shape in figure.layout.shapes[-2:]]
    assert covers == [tuple(patch_box(photograph, (2, 3), each)) for each in ((1, 2), (0, 0))]
    assert len(plot_board(photograph, (2, 3), []).layout.shapes) == len(figure.layout.shapes) - 2


def test_the_map_of_changes_has_a_scale_of_its_own_from_zero(switched_off: Ablation) -> None:
    figure = plot_change(switched_off)
    [drawn] = [trace for trace in figure.data if trace.type == "heatmap"]
    np.testing.assert_allclose(drawn.z, switched_off.patch_change[0])
    end = np.percentile(switched_off.patch_change[0], looks.CLIP)
    assert (drawn.zmin, drawn.zmax) == (0, pytest.approx(end))
    assert figure.layout.meta[1] == f"Mean 0.375, maximum 0.75. {ENDS}"
    assert "%{z:.3g}<" in drawn.hovertemplate
    assert figure.data[1].marker.colorbar.ticktext == ("0", "0.369", "≥ 0.739")


def test_print_tells_what_was_off_and_shows_what_changed(switched_off: Ablation) -> None:
    sheet = draw(switched_off)
    picture, _, bars = sheet.axes
    np.testing.assert_array_equal(picture.images[-1].get_array(), switched_off.patch_change[0])
    widths = [[bar.get_width() for bar in pair] for pair in bars.containers]
    assert widths == [[0.7, 0.1], [0.2, 0.6]]
    assert [text.get_text() for text in bars.get_yticklabels()] == ["cat", "dog"]
    # The first class is on top, and its value before is above the one after.
    assert bars.get_ylim()[0] > bars.get_ylim()[1]
    assert bars.containers[0][0].get_y() < bars.containers[1][0].get_y()
    # The patch that is off is outlined.
    assert len(picture.patches) == len(draw(unmarked(switched_off)).axes[0].patches) + 2
    title, words = (plain(text.get_text()) for text in sheet.texts)
    assert title == "toy, without L1 H1; patch (0, 1)"
    assert (
        words == "Replaced by its mean. Cosine similarity of the outputs 0.9000, "
        f"relative change 40.00%. {ENDS}"
    )


def unmarked(result: Ablation) -> Ablation:
    return replace(result, patch_off=np.zeros_like(result.patch_off))


def plain(text: str) -> str:
    """Without line breaks, and with common spaces."""
    return text.replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


def test_of_many_parts_the_print_names_some_and_counts_the_rest(switched_off: Ablation) -> None:
    off = tuple(f"layer {layer}, all heads" for layer in range(20))
    title, words = (plain(text.get_text()) for text in draw(replace(switched_off, off=off)).texts)
    assert title == "toy, without 20 parts"
    assert words.endswith(f"Ablated: {'; '.join(off[:12])}; and 8 more. {ENDS}")
    nothing = draw(replace(switched_off, off=()))
    assert [plain(text.get_text()) for text in nothing.texts] == [
        "toy, nothing ablated",
        f"Cosine similarity of the outputs 0.9000, relative change 40.00%. {ENDS}",
    ]


def test_print_shows_what_is_known(switched_off: Ablation) -> None:
    headless = replace(
        switched_off,
        labels=((),) * 2,
        class_index=np.zeros((2, 0), dtype=int),
        before=np.zeros((2, 0)),
        after=np.zeros((2, 0)),
    )
    hidden = replace(switched_off, patch_change=np.zeros((2, 0, 0)))
    # The map and its colour bar; the bars alone.
    assert len(draw(headless).axes) == 2
    assert len(draw(hidden).axes) == 1
    # Words alone leave no empty sheet below them.
    words = draw(replace(headless, patch_change=hidden.patch_change))
    assert not words.axes
    assert words.get_figheight() < 1


@pytest.mark.parametrize(("width_in", "stacked"), [(3.25, True), (5.5, False), (10, False)])
def test_bars_stand_beside_the_map_where_both_have_room(
    switched_off: Ablation, width_in: float, stacked: bool
) -> None:
    change, scale, bars = (
        axes.get_position() for axes in draw(switched_off, width_in=width_in).axes
    )
    assert (bars.y1 < scale.y0) == stacked
    assert (bars.x0 > change.x1) == (not stacked)
    # In a column the map is as wide as the sheet, but for its margins.
    assert (change.width * width_in == pytest.approx(width_in - 0.1)) == stacked


def test_scores_at_the_ends_of_narrow_bars_lie_beside_the_names(switched_off: Ablation) -> None:
    scores = replace(made(switched_off, [310, -42.5], [295.25, -60]), outputs="scores")
    sheet = draw(scores, width_in=3.0)
    sheet.draw_without_rendering()
    bars = sheet.axes[-1]
    _, name = (label.get_window_extent() for label in bars.get_yticklabels())
    for text in bars.texts:
        if text.get_text().startswith("−"):
            assert text.get_window_extent().x0 > name.x1


def test_a_name_is_whole_in_print_where_it_has_room(switched_off: Ablation) -> None:
    name = "a dog of a race with a long name"
    named = replace(switched_off, labels=((name, "cat"),) * 2)
    wide, narrow = (draw(named, width_in=width_in).axes[-1] for width_in in (6.9, 3.25))
    assert wide.get_yticklabels()[0].get_text() == name
    assert re.fullmatch("a dog .*….* name", narrow.get_yticklabels()[0].get_text())
