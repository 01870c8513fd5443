"""Are the paper's figures composed as the paper prints them, and does all fit on the sheet?"""

from __future__ import annotations

import io
import re
from dataclasses import fields as fields_of
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import vit_inspect as vi
from tests.helpers.printed import check_sheet, words
from tests.helpers.records import NOTHING, Size, all_made, made
from vit_inspect.catalog import COMPOSED, figure_of
from vit_inspect.exporting.render import render, render_all
from vit_inspect.exporting.saving import PRINT_FORMATS
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.records.paper import (
    AttentionDistance,
    AttentionRollout,
    PositionBias,
    PositionSimilarity,
)
from vit_inspect.records.paper_figures import (
    PaperFigure,
    PaperFigure6,
    PaperFigure7,
    PaperFigure10,
    PaperFigure11,
)

LONG_ID = "vit_large_patch14_clip_quickgelu_336.openai_ft_in12k_in1k"

EVERY = {
    f"{figure.slug}-{number}": record
    for figure in COMPOSED
    for number, record in enumerate(all_made(figure.record))
}


def with_long_names(record: PaperFigure) -> PaperFigure:
    """The same record of models that have long names."""

    def named(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(named, value))
        return replace(value, model=LONG_ID) if isinstance(value, vi.Result) else value

    fields = {each.name: named(getattr(record, each.name)) for each in fields_of(record)}
    return replace(record, **(fields | {"model": LONG_ID}))


@cache
def usual(name: str) -> Figure:
    """The print of one of `EVERY`, which the tests share and may not change."""
    return vi.draw(EVERY[name])


@pytest.mark.slow
@pytest.mark.parametrize("width_in", [None, 5.5, 3.25], ids=["usual", "page", "column"])
@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_clipped_overlapping_or_small(name: str, width_in: float | None) -> None:
    if width_in is None:
        figure, width_in = usual(name), 5.5
    else:
        # Long names are the harder case, at each width.
        figure = vi.draw(with_long_names(EVERY[name]), width_in=width_in)
    assert figure.get_size_inches()[0] == pytest.approx(width_in)
    assert min(text.get_fontsize() for text in check_sheet(figure)) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("figure", COMPOSED, ids=lambda figure: figure.slug)
def test_files_are_the_same_bytes_each_time(figure: FigureSpec[Any]) -> None:
    # Each panel is drawn as its own figure, which `test_every_figure` draws twice.
    record = made(figure.record)
    first, second = (render_all(figure, record, PRINT_FORMATS) for _ in range(2))
    assert first == second


def test_files_of_numbers_hold_every_panel_under_its_name() -> None:
    record = made(PaperFigure7, Size(grid=(20, 3)))
    assert isinstance(record.positions, PositionSimilarity)
    stored = np.load(io.BytesIO(render(figure_of(record), record, "npz")))
    np.testing.assert_array_equal(stored["distance_distance_px"], record.distance.distance_px)
    np.testing.assert_array_equal(stored["positions_similarity"], record.positions.similarity)
    head, *lines = render(figure_of(record), record, "csv").decode().splitlines()
    assert head.startswith("quantity,filters_component,")
    # The rows that are drawn, one in two.
    shown = [line for line in lines if line.startswith("positions_similarity,")]
    assert len(shown) == 10 * 2 * 20 * 3


def test_the_sentence_of_an_empty_panel_is_printed_and_stored() -> None:
    record = replace(made(PaperFigure7), filters=NOTHING)
    printed = [" ".join(text.get_text().split()) for text in words(vi.draw(record))]
    sentence = r"Not shown: found vit_large_\S+ without a convolution"
    assert any(re.match(sentence, text) for text in printed)
    assert record.words()["filters"] == NOTHING
    assert "filters_components" not in record.arrays()


def test_a_figure_for_print_is_not_plotted_and_says_what_is() -> None:
    record = made(PaperFigure11)
    with pytest.raises(vi.BadParameter, match="with 'distance_0' or 'distance_1'"):
        vi.plot(record)
    with pytest.raises(vi.BadParameter, match="expected 3 to 12 inches"):
        vi.draw(record, width_in=2)
    with pytest.raises(vi.BadParameter, match="expected no option for this figure"):
        vi.draw(record, image=0)
    with pytest.raises(vi.BadParameter, match="image 1 of a composed figure"):
        record.of_image(1)


@pytest.mark.slow
def test_a_caption_can_be_left_out() -> None:
    record = made(PaperFigure7)
    with_words, without = vi.draw(record), vi.draw(record, caption=False)
    assert any("attended area by head" in text.get_text() for text in with_words.texts)
    assert not without.texts
    assert without.get_size_inches()[1] < with_words.get_size_inches()[1] - 0.5


# Figure 6


def test_pairs_are_the_input_and_the_same_times_attention() -> None:
    rollout = made(AttentionRollout)
    even = replace(rollout, relevance=np.full_like(rollout.relevance, 0.1))
    axes = vi.draw(PaperFigure6("toy", (even,))).axes
    assert [each.get_title() for each in axes] == ["Input", "Attention"] * 2
    for before, after in zip(axes[::2], axes[1::2], strict=True):
        # Attention that is everywhere the same leaves every pixel as it is.
        np.testing.assert_allclose(
            before.images[0].get_array(), after.images[0].get_array(), atol=1
        )
    peaked = replace(rollout, relevance=np.zeros_like(rollout.relevance))
    relevance = peaked.relevance.copy()
    relevance[:, 0, 0] = 1
    axes = vi.draw(PaperFigure6("toy", (replace(peaked, relevance=relevance),))).axes
    lit = np.asarray(axes[1].images[0].get_array(), np.float64)
    assert lit[:8, :8].mean() > 4 * lit[-8:, -8:].mean()


def test_its_scale_is_not_clipped_and_says_so() -> None:
    rollout = made(AttentionRollout, Size(grid=(12, 12)))
    relevance = np.zeros_like(rollout.relevance)
    relevance[:, 2, 2], relevance[:, 9, 9] = 1, 0.5
    white = replace(rollout.photographs[0], pixels=np.full_like(rollout.photographs[0].pixels, 255))
    photographs = (white,) * len(relevance)
    bright = replace(rollout, relevance=relevance, photographs=photographs)
    drawn = vi.draw(PaperFigure6("toy", (bright,)))
    # Of two bright patches the one of half the value has half the light.
    lit = np.asarray(drawn.axes[1].images[0].get_array(), np.float64)[..., 0]
    half = len(lit) // 2
    assert lit.max() == 255
    assert lit[half:, half:].max() == pytest.approx(127.5, abs=3)
    caption = " ".join(drawn.texts[-1].get_text().split())
    assert "bright at its largest: it is not clipped." in caption


def test_a_caution_tells_of_few_patches_that_hold_most() -> None:
    rollout = made(AttentionRollout)
    relevance = np.zeros_like(rollout.relevance)
    relevance[0, 0, 0] = relevance[1] = 1
    drawn = vi.draw(PaperFigure6("toy", (replace(rollout, relevance=relevance),)))
    assert "in 1 of 2 photographs" in " ".join(drawn.texts[-1].get_text().split())


@pytest.mark.slow
def test_many_photographs_become_small_and_too_many_are_refused() -> None:
    one = made(AttentionRollout, Size(images=24))
    few, many = PaperFigure6("toy", (one,)), PaperFigure6("toy", (one,) * 12)
    assert len(vi.draw(few).axes) == 48
    assert vi.draw(few, width_in=3.25).get_size_inches()[1] < 9.5
    with pytest.raises(vi.BadParameter, match="288 photographs on a sheet"):
        vi.draw(many)


# Figures 7, 10 and 11


def test_three_panels_stand_side_by_side_or_stacked() -> None:
    record = made(PaperFigure7)
    for width_in, apart in ((5.5, "x0"), (3.25, "y0")):
        filters, positions, _bar, area = vi.draw(record, width_in=width_in).axes
        assert re.match(r"RGB embedding filters\n\(first 28", filters.get_title())
        assert positions.get_title() == "Position embedding similarity"
        assert positions.get_xlabel() == "Input patch column"
        assert area.get_xlabel() == "Network depth (layer)"
        starts = [getattr(each.get_window_extent(), apart) for each in (filters, positions, area)]
        assert starts == sorted(starts, reverse=apart == "y0")
        assert min(abs(np.diff(starts))) > 100


@pytest.mark.parametrize("width_in", [3.25, 5.5, 6.9])
def test_a_bar_is_as_high_as_its_tiles_and_the_legend_names_all_heads(width_in: float) -> None:
    record = made(PaperFigure7, Size(heads=6, grid=(4, 4)))
    _, positions, bar, area = vi.draw(record, width_in=width_in).axes
    assert bar.get_window_extent().height == pytest.approx(positions.get_window_extent().height)
    legend = area.get_legend()
    assert legend is not None
    assert {each.get_text() for each in legend.get_texts()} == {"Head 0", *"12345", "Uniform"}


def test_the_caption_says_that_components_of_filters_are_shown() -> None:
    caption = " ".join(usual("paper_figure_7-0").texts[-1].get_text().split())
    assert "Left: the first 28 principal components of the filters, each on its own sc" in caption


def test_similarities_have_one_bar_and_a_bias_its_own() -> None:
    bars = {
        count: [each.get_ylabel() for each in usual(f"paper_figure_10-{count}").axes]
        for count in range(2)
    }
    assert bars[0].count("Cosine similarity") == 1
    assert bars[1].count("Cosine similarity") == bars[1].count("Added to the score") == 1


@pytest.mark.parametrize("width_in", [3.25, 5.5])
def test_long_numbers_of_a_bias_do_not_push_their_name_off_the_sheet(width_in: float) -> None:
    bias = made(PositionBias)
    faint = replace(bias, bias=bias.bias * 0.0123)
    check_sheet(vi.draw(PaperFigure10("toy", (faint,) * 3), width_in=width_in))


def test_the_legend_of_many_heads_is_wide_and_not_high() -> None:
    drawn = vi.draw(made(PaperFigure7, Size(heads=16, grid=(4, 4))), width_in=5.5)
    check_sheet(drawn)
    legend, panel = drawn.axes[-1].get_legend(), drawn.axes[-1].get_window_extent()
    assert legend is not None
    assert legend.get_window_extent().height < 0.5 * panel.height
    assert legend.get_window_extent().x0 > drawn.axes[0].get_window_extent().x1


def test_attended_areas_have_the_same_axes() -> None:
    record = EVERY["paper_figure_11-0"]
    assert isinstance(record, PaperFigure11)
    first, other = usual("paper_figure_11-0").axes
    assert first.get_xlim() == other.get_xlim() == pytest.approx((-0.6, 23.6))
    assert first.get_ylim() == other.get_ylim()
    for axes, distance in zip((first, other), record.distance, strict=True):
        assert isinstance(distance, AttentionDistance)
        dots = np.concatenate([each.get_offsets() for each in axes.collections])
        assert sorted(dots[:, 1]) == pytest.approx(sorted(distance.distance_px.mean(0).ravel()))
