"""Is each head of a survey drawn with its own mean and its own quantiles?"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests.helpers.printed import check_sheet
from tests.helpers.records import Size, spread_of
from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks
from vit_inspect.figures.head_statistics import COLOUR_MAP, STATISTICS
from vit_inspect.figures.spread import DEPTH_PX, draw, limits_of, plot, uniform_of
from vit_inspect.records.survey import QUANTILES, Spread

SHARES = {share: place for place, share in enumerate(QUANTILES)}
SIZES = [(12, 6), (24, 16), (3, 3)]


def of(layers: int, heads: int, statistic: str = "distance_px", count: int = 2000) -> Spread:
    """A spread whose numbers are all different, and skewed: no mean is a median."""
    values = np.random.default_rng(1).exponential(9, (21, layers, heads))
    size = Size(layers=layers, heads=heads)
    return spread_of(values, size, count=count, statistic=statistic)


def depths(sheet: Figure) -> list[Axes]:
    """The panels of dots, in order."""
    return [axes for axes in sheet.axes if any(each.get_offsets().size for each in dots_of(axes))]


def dots_of(axes: Axes) -> list:
    return [each for each in axes.collections if each.get_label().startswith("Head")]


def bars_of(axes: Axes) -> list:
    return [each for each in axes.collections if each.get_label().startswith("_")]


def drawn(sheet: Figure) -> tuple[np.ndarray, np.ndarray, dict[float, np.ndarray]]:
    """Where the dots of each head stand and how high, and the ends of its bars by their width."""
    across, means, bars = [], [], []
    for axes in depths(sheet):
        points = np.array([each.get_offsets() for each in dots_of(axes)])
        across.append(points[..., 0].T)
        means.append(points[..., 1].T)
        own: dict[float, list[np.ndarray]] = {}
        for each in bars_of(axes):
            own.setdefault(round(each.get_linewidth()[0], 6), []).append(each.get_segments())
        bars.append({width: np.array(each).swapaxes(0, 1) for width, each in own.items()})
    joined = {width: np.concatenate([each[width] for each in bars]) for width in bars[0]}
    return np.concatenate(across), np.concatenate(means), joined


@pytest.mark.parametrize(("layers", "heads"), SIZES)
@pytest.mark.parametrize("width_in", [3.25, 6.9])
def test_dots_in_print_are_means_and_bars_reach_from_quantile_to_quantile(layers, heads, width_in):
    spread = of(layers, heads)
    across, means, bars = drawn(draw(spread, width_in=width_in))
    np.testing.assert_allclose(means, spread.mean)
    assert len(bars) == 2
    for (_, ends), low, high in zip(sorted(bars.items()), (0.05, 0.25), (0.95, 0.75), strict=True):
        for end, share in enumerate((low, high)):
            np.testing.assert_allclose(ends[:, :, end, 1], spread.quantiles[SHARES[share]])
            np.testing.assert_allclose(ends[:, :, end, 0], across)
    # In order within their layer, which holds no head of another one.
    assert (np.diff(across, axis=1) > 0).all()
    assert (np.abs(across - np.arange(layers)[:, None]) < 0.5).all()


def test_a_head_has_one_colour_which_the_legend_tells():
    (axes,) = depths(draw(of(2, 12)))
    for head, dots in enumerate(dots_of(axes)):
        assert to_hex(dots.get_facecolor()[0]) == looks.head_colour(head)
    for place, bar in enumerate(bars_of(axes)):
        assert to_hex(bar.get_color()[0]) == looks.head_colour(place // 2)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"Heads 0, 10", "1, 11", "9", "Uniform"} <= set(names)


@pytest.mark.parametrize(("layers", "heads"), SIZES)
@pytest.mark.parametrize("width_in", [3.25, 6.9])
def test_cells_in_print_are_the_means_in_the_colours_of_the_bar(layers, heads, width_in):
    spread = of(layers, heads)
    sheet = draw(spread, width_in=width_in)
    *_, matrix = sheet.axes
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("Head", "Layer")
    picture = matrix.images[0].get_array()
    left, right, bottom, top = matrix.images[0].get_extent()
    colours = looks.colour(spread.mean, COLOUR_MAP, limits_of(spread))
    for layer, head in np.ndindex(layers, heads):
        row = int((layer - top) / (bottom - top) * picture.shape[0])
        column = int((head - left) / (right - left) * picture.shape[1])
        np.testing.assert_array_equal(picture[row, column], colours[layer, head])
    bar = sheet.axes[1]
    assert bar.get_ylim() == depths(sheet)[0].get_ylim() == limits_of(spread)


def on_screen(figure: go.Figure) -> tuple[list, list, object, object]:
    """The dots of each head, its bars, the matrix, and the marks on its cells."""
    (matrix,) = [each for each in figure.data if each.type == "heatmap"]
    points = [each for each in figure.data if each.type == "scatter"]
    dots = [each for each in points if each.mode == "markers" and each.yaxis is None]
    bars = [each for each in points if each.mode == "lines" and each.name is None]
    (marks,) = [each for each in points if each.yaxis == "y2"]
    return dots, bars, matrix, marks


@pytest.mark.parametrize(("layers", "heads"), SIZES)
def test_a_screen_shows_the_same_numbers(layers, heads):
    spread = of(layers, heads)
    dots, bars, matrix, marks = on_screen(plot(spread))
    across = np.array([each.x for each in dots]).T
    np.testing.assert_allclose(np.array([each.y for each in dots]).T, spread.mean)
    assert (np.diff(across, axis=1) > 0).all()
    assert (np.abs(across - np.arange(layers)[:, None]) < 0.5).all()
    for head, each in enumerate(dots):
        assert [list(place) for place in each.customdata] == [
            [layer, head] for layer in range(layers)
        ]
        assert each.marker.color == looks.head_colour(head)
        thin, thick = sorted(bars[2 * head : 2 * head + 2], key=lambda bar: bar.line.width)
        for bar, low, high in ((thin, 0.05, 0.95), (thick, 0.25, 0.75)):
            assert bar.line.color == looks.head_colour(head)
            for end, share in enumerate((low, high)):
                np.testing.assert_allclose(list(bar.x[end::3]), across[:, head])
                np.testing.assert_allclose(
                    list(bar.y[end::3]), spread.quantiles[SHARES[share], :, head]
                )
            # Else the bars of all layers would be one line.
            assert set(bar.y[2::3]) == {None}
    np.testing.assert_allclose(matrix.z, spread.mean, rtol=1e-6)
    assert (matrix.zmin, matrix.zmax) == limits_of(spread)
    for x, y, (layer, head) in zip(marks.x, marks.y, marks.customdata, strict=True):
        assert (x, y) == (head, layer)


def test_a_dot_and_a_cell_tell_all_numbers_of_their_head():
    spread = of(4, 3)
    dots, _, _, marks = on_screen(plot(spread))
    told = {tuple(place): text for place, text in zip(marks.customdata, marks.text, strict=True)}
    for head, each in enumerate(dots):
        for layer, text in enumerate(each.text):
            assert text == told[layer, head]
            assert f"L{layer} H{head}" in text
            mean = spread.mean[layer, head]
            share = f"{mean / np.hypot(16, 24):.1%} of the diagonal"
            assert f"distance {mean:.1f} px ({share}), mean over 2,000 pictures" in text
            low, lower, median, upper, high = spread.quantiles[:, layer, head]
            assert f"Standard deviation {spread.std[layer, head]:.1f}<br>" in text
            assert f"Median {median:.1f}<br>" in text
            assert f"25% to 75% quantile: {lower:.1f} to {upper:.1f}<br>" in text
            assert f"5% to 95% quantile: {low:.1f} to {high:.1f}<br>" in text
            ends = spread.minimum[layer, head], spread.maximum[layer, head]
            assert "Minimum {:.1f}, maximum {:.1f}".format(*ends) in text


def test_a_distance_is_a_share_of_the_diagonal_and_nothing_else_is():
    spread = of(2, 2)
    np.testing.assert_allclose(spread.diagonal_share, spread.mean / np.hypot(16, 24))
    assert "The diagonal of the input is 29 px." in " ".join(plot(spread).layout.meta)
    other = of(2, 2, "entropy")
    assert "diagonal" not in plot(other).to_json()
    with pytest.raises(BadParameter, match="of the diagonal of entropy"):
        _ = other.diagonal_share


def test_words_that_need_no_second_line_leave_a_figure_too():
    assert plot(of(2, 2), width=2500).layout.height > DEPTH_PX


def test_small_shares_are_told_with_enough_digits():
    spread = of(2, 2, "self_mass")
    *_, marks = on_screen(plot(replace(spread, std=np.full((2, 2), 0.0002))))
    assert "Standard deviation 0.02%" in marks.text[0]


@pytest.mark.slow
@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_axis_names_its_unit_starts_at_zero_and_holds_all_bars(statistic):
    spread = of(3, 2, statistic)
    sheet, screen = draw(spread), plot(spread)
    (axes,) = depths(sheet)
    assert axes.get_ylabel() == screen.layout.yaxis.title.text == STATISTICS[statistic].title
    assert axes.get_ylim() == tuple(screen.layout.yaxis.range) == limits_of(spread)
    low, high = limits_of(spread)
    assert low == 0
    assert high > max(spread.quantiles[-1].max(), spread.mean.max(), uniform_of(spread) or 0)
    assert STATISTICS[statistic].name in words(sheet)


def test_two_figures_can_share_one_scale():
    sheet, screen = (show(of(3, 2), limits=(0.0, 99.0)) for show in (draw, plot))
    (axes,) = depths(sheet)
    assert axes.get_ylim() == sheet.axes[1].get_ylim() == tuple(screen.layout.yaxis.range)
    _, _, matrix, _ = on_screen(screen)
    assert (matrix.zmin, matrix.zmax) == axes.get_ylim() == (0, 99)


def words(sheet: Figure) -> str:
    return " ".join(text.get_text() for text in sheet.texts).replace("\n", " ")


def both(spread: Spread) -> list[str]:
    return [words(draw(spread)), " ".join(plot(spread).layout.meta)]


def test_words_count_the_pictures_and_name_the_model():
    for told in both(of(3, 2)):
        assert "Attention distance over 2,000 pictures: toy" in told
        assert "the mean of one head over 2,000 pictures" in told
        assert "from the 25% to the 75% quantile of the pictures, its thin one from 5% to" in told
        assert "Special tokens: cls, reg1." in told


def test_one_picture_has_no_bars_and_the_words_say_so():
    spread = of(3, 2, count=1)
    (axes,) = depths(draw(spread))
    assert len(dots_of(axes)) == 2
    assert not bars_of(axes)
    dots, bars, _, _ = on_screen(plot(spread))
    assert (len(dots), bars) == (2, [])
    for told in both(spread):
        assert "Attention distance of one picture: toy" in told
        assert "no spread: there are no bars" in told
        assert "quantile" not in told
    assert "quantile" not in dots[0].text[0]
    assert "one picture" in dots[0].text[0]


@pytest.mark.slow
def test_uniform_attention_is_a_line_where_it_has_a_value_of_its_own():
    layout = of(1, 1).layout
    expected = {"distance_px": layout.uniform_distance_px(), "entropy": np.log(8)}
    for statistic in STATISTICS:
        spread = of(3, 2, statistic)
        (axes,) = depths(draw(spread))
        lines = [set(line.get_ydata()) for line in axes.lines]
        told = [set(each.y) for each in plot(spread).data if each.name == "Uniform"]
        wanted = [expected[statistic]] if statistic in expected else []
        for found in (lines, told):
            assert [value for each in found for value in each] == pytest.approx(wanted)
        assert all(("dashed line" in each) == bool(wanted) for each in both(spread))


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "heads"), [*SIZES, (12, 12), (2, 24), (40, 24), (1, 1)])
@pytest.mark.parametrize("width_in", [3.25, 5.5, 6.9])
def test_panels_stand_beside_or_below_each_other_and_fit_the_page(layers, heads, width_in):
    sheet = draw(of(layers, heads), width_in=width_in)
    texts = check_sheet(sheet)
    assert min(text.get_fontsize() for text in texts) >= 6
    assert sheet.get_size_inches()[1] <= 9.2
    *_, matrix = sheet.axes
    panels = depths(sheet)
    stacked = matrix.get_position().y1 < panels[-1].get_position().y0
    assert stacked == (width_in == 3.25 or (layers, heads) in ((24, 16), (40, 24)))
    # The lines of a page: every layer once, none that is not there.
    shown = [tick for axes in panels for tick in axes.get_xticks()]
    assert set(shown) <= set(range(layers))
    assert all(first < second for first, second in pairwise(shown))
    assert [bool(axes.get_xlabel()) for axes in panels] == [False] * (len(panels) - 1) + [True]


def test_many_layers_stand_in_several_rows_of_one_scale_where_a_sheet_is_narrow():
    panels = depths(draw(of(24, 16), width_in=3.25))
    assert [axes.get_xlim() for axes in panels] == [(-0.6, 11.6), (11.4, 23.6)]
    assert len({axes.get_ylim() for axes in panels}) == 1
    assert len(depths(draw(of(24, 16), width_in=6.9))) == 1


def test_on_a_narrow_screen_panels_and_legend_stand_below_each_other():
    usual, narrow = plot(of(12, 6)).layout, plot(of(12, 6), width=390).layout
    assert usual.xaxis.domain[1] < usual.xaxis2.domain[0]
    assert narrow.yaxis.domain[0] > narrow.yaxis2.domain[1]
    below = [
        layout.legend.y * (layout.height - layout.margin.t - layout.margin.b)
        for layout in (usual, narrow)
    ]
    assert below[0] == pytest.approx(below[1], abs=1)
    dense = plot(of(24, 16)).layout
    assert dense.yaxis.domain[0] > dense.yaxis2.domain[1]


def test_ticks_on_a_screen_are_layers_and_heads():
    for layers, heads in [*SIZES, (2, 24), (1, 1)]:
        layout = plot(of(layers, heads)).layout
        assert set(layout.xaxis.tickvals) | set(layout.yaxis2.tickvals) <= set(range(layers))
        assert set(layout.xaxis2.tickvals) <= set(range(heads))
