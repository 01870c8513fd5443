"""Is a print in the font that was asked for, on every computer?"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.text import Text

import vit_inspect as vi
from tests.helpers.printed import words
from tests.helpers.records import made
from vit_inspect.figures.layer_cka import FIGURE
from vit_inspect.figures.printing import FAMILIES, Font, Print, _fonts, printed
from vit_inspect.records.evidence import LayerCka
from vit_inspect.records.paper import EmbeddingFilters

FILES = {"sans": "DejaVuSans.ttf", "times": "STIXGeneral.ttf", "computer modern": "cmu_serif.ttf"}


@pytest.mark.parametrize("font", FAMILIES)
def test_a_font_is_found_where_matplotlib_lists_none_of_its_own(
    font: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    others = [each for each in fontManager.ttflist if Path(each.fname).name not in FILES.values()]
    monkeypatch.setattr(fontManager, "ttflist", others)
    _fonts.cache_clear()
    with caplog.at_level(logging.WARNING, "matplotlib.font_manager"):
        drawn = printed(FIGURE, made(LayerCka), Print(font=font))
        drawn.draw_without_rendering()
    _fonts.cache_clear()
    assert not caplog.records
    words = [text for text in drawn.findobj(Text) if text.get_text().strip()]
    names = {fontManager.findfont(FontProperties(text.get_fontfamily()[0])) for text in words}
    assert {Path(name).name for name in names} == {FILES[font]}


@pytest.mark.parametrize("font", FAMILIES)
def test_a_font_is_the_same_whatever_matplotlib_is_set_to(font: Font) -> None:
    shown = replace(made(LayerCka), model=" ".join(["narrow"] * 40))
    usual = printed(FIGURE, shown, Print(font=font))
    with matplotlib.rc_context({"font.family": "serif", "font.serif": ["STIXGeneral"]}):
        other = printed(FIGURE, shown, Print(font=font))
    assert words(other)
    assert {tuple(text.get_fontfamily()) for text in words(other)} == {tuple(FAMILIES[font])}
    assert [text.get_text() for text in words(other)] == [text.get_text() for text in words(usual)]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"width_in": "3.25"}, "type str as width_in; expected a number of inches"),
        ({"width_in": np.nan}, "a width of nan inches"),
        ({"width_in": True}, "a width of 1 inches"),
        ({"font": ["sans"]}, "type list as font; expected the name of a font"),
        ({"font": "Times"}, "the font 'Times'; expected 'sans', 'times', 'computer modern'"),
        ({"title": "My figure"}, "type str as title; expected True or False"),
        ({"caption": None}, "type NoneType as caption; expected True or False"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_print_is_told_in_words(wrong: dict[str, Any], told: str) -> None:
    for draw in (partial(vi.draw, made(LayerCka)), Print):
        with pytest.raises(vi.BadParameter, match=re.escape(told)):
            draw(**wrong)


@pytest.mark.parametrize("font", FAMILIES)
def test_lines_of_a_name_are_as_close_in_every_font(font: Font) -> None:
    drawn = vi.draw(made(EmbeddingFilters), font=font)
    name = drawn.axes[0].title
    assert "\n" in name.get_text()
    both = name.get_window_extent().height
    name.set_text("Lines")
    between = both - name.get_window_extent().height
    assert between / drawn.dpi * 72 == pytest.approx(1.4 * name.get_fontsize(), rel=0.05)
