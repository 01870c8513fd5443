from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures import looks
from vit_inspect.figures.logit_lens import FIGURE, _tiles, draw, limits_of, plot, plot_layer
from vit_inspect.figures.printing import Print, printed

pytestmark = pytest.mark.slow


def test_bars_are_the_read_outs_probability_from_zero(lens):
    bars = draw(lens, image=1).axes[3]
    assert bars.get_xlim() == (0, 0.5)
    assert [bar.get_width() for bar in bars.patches] == lens.readout_value[1].tolist()
    assert [bar.get_y() + 0.3 for bar in bars.patches] == pytest.approx([0, 1, 2])
    screen = plot(lens, image=1)
    assert bars.get_xlabel() == "Probability"
    assert "Probability" in [each.text for each in screen.layout.annotations]
    assert screen.data[1].x.tolist() == lens.readout_value[1].tolist()
    assert screen.layout.xaxis2.range == (0, 0.5)


@pytest.mark.parametrize("largest", [0.9, 0.4, 0.09, 0.01, 0.004])
def test_the_axis_of_bars_has_a_number_between_its_ends(lens, largest):
    values = lens.readout_value / lens.readout_value[1].max()
    bars = draw(replace(lens, readout_value=largest * values), image=1).axes[3]
    low, high = bars.get_xlim()
    assert sum(low <= tick <= high for tick in bars.get_xticks()) >= 3


def test_small_probabilities_are_seen_and_told(lens):
    small = {
        name: getattr(lens, name) / 200 for name in ("readout_value", "patch_value", "top_value")
    }
    faint = replace(lens, **small)
    assert draw(faint, image=1).axes[3].get_xlim() == (0, 0.005)
    assert plot(faint, image=1).layout.xaxis2.range == (0, 0.005)
    assert "ant 0.3%" in plot(faint, image=1).data[3].text
    assert (
        plot(faint, image=1)
        .layout.meta[3]
        .endswith(f"to {looks.percent(faint.patch_value[1].max())}.")
    )


def test_maps_of_all_layers_share_a_scale_from_zero(lens):
    assert limits_of(lens, 1) == (0, lens.patch_value[1].max())
    picture = draw(lens, image=1).axes[2].images[0].get_array()
    colours = looks.colour(lens.patch_value[1], looks.WEIGHT_MAP, limits_of(lens, 1))
    pitch = _tiles(lens, 1, limits_of(lens, 1)).pitch_px[0]
    height = picture.shape[0] - 2 * pitch
    for layer in range(3):
        # The middle of patch (0, 1), of the two rows and three columns of a tile.
        cell = picture[layer * pitch + height // 4, picture.shape[1] // 2]
        assert cell.tolist() == colours[layer, 0, 1].tolist()
    assert plot(lens, limits=(0.0, 0.9)).data[0].marker.cmax == 0.9


def test_what_the_colours_of_the_maps_span_is_told_in_words(lens):
    words = f"Maps: shared scale, 0 to {lens.patch_value[1].max():.1%}."
    assert plot(lens, image=1).layout.meta[3] == words
    assert words in draw(lens, image=1).texts[1].get_text()
    assert plot(lens, limits=(0.0, 0.9)).layout.meta[3] == "Maps: shared scale, 0 to 90.0%."


def test_the_class_that_is_followed_stands_out_among_the_most_probable(lens):
    texts = {
        text.get_text(): text.get_color()
        for image in (0, 1)
        for text in draw(lens, image=image).axes[4].texts
    }
    assert texts["bee 70.0%"] == looks.ACCENT
    assert texts["ant 60.0%"] == looks.QUIET
    assert texts["Rank"] == texts["Most probable class"] == looks.INK
    ranks, classes = plot(lens, image=1).data[2:]
    assert (ranks.text[-1], classes.text[-1]) == ("2", "ant 60.0%")
    assert classes.textfont.color[-1] == looks.QUIET
    headings = {each.text: each.x for each in plot(lens).layout.annotations}
    assert headings["Rank"] == ranks.x[0]
    assert headings["Most probable class"] == classes.x[0]


def test_long_names_are_shortened_and_whole_where_pointed_at(lens):
    name = "a dog of a race with a long name"
    named = replace(lens, top_labels=(((name, "ant", "bee", "cat"),) * 3,) * 2)
    figure = plot(named)
    assert "a dog of a r…a long name " in figure.data[3].text[0]
    assert name in figure.data[0].text[0]


def test_a_name_is_text_and_no_markup(lens):
    named = replace(lens, top_labels=((("<b>x</b>",) * 4,) * 3,) * 2, labels=("<i>y</i>",) * 2)
    figure = plot(named)
    assert "&lt;b&gt;x" in figure.data[0].text[0]
    assert "&lt;b&gt;x" in figure.data[3].text[0]
    assert "<i>" not in figure.layout.annotations[0].text
    assert "<i>" not in plot_layer(named, 0).layout.annotations[0].text


def test_from_which_layer_on_the_class_is_first_is_told(lens):
    ranks = np.array([[1, 4, 1], [1, 1, 2]])
    some = replace(lens, readout_rank=ranks)
    first, second = (plot(some, image=image).layout.meta for image in (0, 1))
    assert first[0] == "bee in every layer"
    assert first[2] == "Most probable class from layer 2 on"
    assert second[2] == "Rank 2 in the model's output"
    always = replace(lens, readout_rank=np.ones_like(ranks))
    assert plot(always).layout.meta[2].endswith("from layer 0 on")


def test_a_layer_is_clicked_by_its_map_or_its_bar(lens):
    figure = plot(lens)
    for trace in figure.data[:2]:
        assert [list(each) for each in trace.customdata] == [[0], [1], [2]]


def test_one_layer_lies_over_the_photograph_on_the_scale_of_all(lens, photograph):
    cells = plot_layer(lens, 1, image=1).data[0]
    assert np.allclose(cells.z, lens.patch_value[1, 1])
    assert (cells.zmin, cells.zmax) == limits_of(lens, 1)
    assert cells.x0 - cells.dx / 2 == pytest.approx(photograph.seen.left)
    assert cells.customdata[1][2] == [1, 2, lens.patch_rank[1, 1, 1, 2]]
    words = plot_layer(lens, 1, image=1).layout.meta[2]
    first = (lens.patch_rank[1, 1] == 1).sum()
    assert words == (
        f"Most probable class in {first} of 6 patches; best rank {lens.patch_rank[1, 1].min()}"
    )


def test_many_layers_fit_on_a_page(lens):
    figure = draw(deep(lens, 16))
    figure.draw_without_rendering()
    assert figure.get_size_inches()[1] < 9
    assert plot(deep(lens, 16)).layout.height < 1200


def deep(lens, times):
    """The same record of many times as many layers."""
    many = {
        name: array.repeat(times, axis=1) for name, array in lens.arrays().items() if array.ndim > 1
    }
    return replace(lens, **many, top_labels=tuple(each * times for each in lens.top_labels))


@pytest.mark.parametrize("width_in", [None, 3.25])
def test_of_many_layers_words_stand_in_some_and_are_not_small(lens, width_in):
    sheet = draw(deep(lens, 30), width_in=width_in)
    maps, _, lists = sheet.axes[2:]
    numbered = [place for place, text in enumerate(maps.get_yticklabels()) if text.get_text()]
    words = [text for text in lists.texts if "%" in text.get_text()]
    assert [text.get_position()[1] for text in words] == numbered
    assert len(words) < 90
    assert {text.get_fontsize() for text in words} == {7}


@pytest.mark.parametrize("width_in", [3.0, 3.25, 5.2])
def test_long_names_end_on_the_sheet(lens, width_in):
    name = "Mexican hairless, a dog of a race with a long name"
    named = replace(lens, top_labels=(((name, "ant", "bee", "cat"),) * 3,) * 2)
    sheet = draw(named, width_in=width_in)
    sheet.draw_without_rendering()
    assert max(text.get_window_extent().x1 for text in sheet.axes[4].texts) <= sheet.bbox.x1


@pytest.mark.parametrize("width_in", [None, 3.25])
def test_without_words_the_photograph_lies_on_nothing_else(lens, width_in):
    sheet = printed(FIGURE, lens, Print(width_in=width_in, title=False, caption=False))
    photograph, *panels = (axes.get_tightbbox() for axes in sheet.axes)
    assert not [panel for panel in panels if panel.overlaps(photograph)]


@pytest.mark.parametrize("width_in", [5.5, 6.9])
def test_a_name_is_whole_in_print_where_it_has_room(lens, width_in):
    name = "a dog of a race with a long name"
    named = replace(lens, top_labels=(((name, "ant", "bee", "cat"),) * 3,) * 2)
    bars, lists = draw(named, image=1, width_in=width_in).axes[3:]
    assert f"{name} 60.0%" in [text.get_text() for text in lists.texts]
    assert bars.get_position().width * width_in >= 1.25
