"""Does a figure on a screen grow with its words, and take no names for markup?"""

from __future__ import annotations

from vit_inspect.figures import looks, screen_sheet


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
    assert screen_sheet.proportion(figure) is None
    figure.update_layout(xaxis_range=[0, 40], yaxis={"range": [30, 0], "scaleanchor": "x"})
    assert screen_sheet.proportion(figure) == 0.75
    figure.update_layout(yaxis_scaleratio=2, xaxis_domain=(0.2, 0.6))
    assert abs(screen_sheet.proportion(figure) - 0.6) < 1e-12


def test_a_legend_stands_below_the_drawing_and_its_axis():
    figure = screen_sheet.screen("a", "b", height=300)
    margin, legend = figure.layout.margin, screen_sheet.screen_legend(figure)
    assert -legend["y"] * (300 - margin.t - margin.b) > margin.b
