"""Does a figure on a screen grow with its words, and take no names for markup?"""

from __future__ import annotations

from vit_inspect.figures import screen_sheet


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


def test_a_dark_page_changes_ink_and_paper():
    figure = screen_sheet.theme(
        screen_sheet.screen("a", "b", height=100), ink="#eeeeee", paper="#111111"
    )
    assert figure.layout.font.color == "#eeeeee"
    assert figure.layout.paper_bgcolor == "#111111"
