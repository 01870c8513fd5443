"""Is a print in the font that was asked for, on every computer?"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.text import Text

from tests.helpers.records import made
from vit_inspect.figures.layer_cka import FIGURE
from vit_inspect.figures.printing import FAMILIES, Print, _fonts, printed
from vit_inspect.records.evidence import LayerCka

FILES = {"times": "STIXGeneral.ttf", "computer modern": "cmu_serif.ttf"}


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
