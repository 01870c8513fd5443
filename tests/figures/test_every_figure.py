"""Laws that hold for every figure, of the catalogue and of a choice.

Its record is found by its type in `tests.helpers.records`: a new figure needs no line here.
"""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.helpers.records import all_made, made
from vit_inspect.catalog import FIGURES, UNBUNDLED
from vit_inspect.figures import print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.layout import Box
from vit_inspect.records.base import Photograph, Result
from vit_inspect.records.evidence import Ablation, Faithfulness

EVERY = {
    f"{figure.slug}-{number}" if number else figure.slug: (figure, record)
    for figure in (*(entry.figure for entry in FIGURES), *UNBUNDLED)
    for number, record in enumerate(all_made(figure.record))
}
"""Each figure with each made record of its kind."""

LONG_ID = "vit_large_patch14_clip_quickgelu_336.openai_ft"
LONG_NAME = "IMG_20240817_a_photograph_that_nobody_ever_gave_a_short_name.jpeg"
LONG_CLASS = "Staffordshire bullterrier, Staffordshire bull terrier, of a race with a long name"


def with_long_names(result: Result, size_px: tuple[int, int]) -> Result:
    """The same record of a model, of photographs and of classes that have long names."""
    middle = Box(size_px[1] / 4, 0.0, size_px[1] * 3 / 4, float(size_px[0]))
    first, other = (
        Photograph(name, np.full((*size_px, 3), 128, np.uint8), size_px, middle)
        for name in (LONG_NAME, LONG_NAME[::-1])
    )
    ranks = getattr(result, "top_value", np.zeros(1)).shape[-1]
    long: dict[str, Any] = {
        "model": LONG_ID,
        "other_model": LONG_ID[::-1],
        "photographs": (first, other),
        "origins": (other, first),
        "labels": ((LONG_CLASS,) * 2,) * 2 if isinstance(result, Ablation) else (LONG_CLASS,) * 2,
        "off": tuple(f"layer {layer}, all heads" for layer in range(24)),
        "kind": f"relevance for {LONG_CLASS}",
        "target": (LONG_CLASS,) * 2,
        "targets": (LONG_CLASS,) * 2,
        "top_labels": (((LONG_CLASS,) * ranks,) * 3,) * 2,
        "state": "as the block returned them",
        "maps": (LONG_ID, "input × gradient", *getattr(result, "maps", ())[2:]),
    }
    if not getattr(result, "labels", (True,))[0]:
        del long["labels"]
    return replace(
        result, **{each.name: long[each.name] for each in fields(result) if each.name in long}
    )


@pytest.fixture(scope="module", params=EVERY)
def figure_and_result(request: pytest.FixtureRequest) -> tuple[FigureSpec[Any], Result]:
    return EVERY[request.param]


@pytest.fixture(
    scope="module", params=[None, (60, 40), (20, 60)], ids=["given names", "upright", "wide"]
)
def dressed(request: pytest.FixtureRequest, figure_and_result: Any) -> Any:
    """A figure and a record, also of long names and of photographs of extreme shapes."""
    figure, result = figure_and_result
    if request.param:
        result = with_long_names(result, request.param)
        # The mean over several pictures names none.
        result = result.of_image(0) if isinstance(result, Faithfulness) else result
    return figure, result


@pytest.fixture(scope="module")
def sheet(dressed: Any) -> Figure:
    """The print, laid out but not painted, which would take most of the time."""
    figure, result = dressed
    drawn: Figure = figure.draw(result)
    # As coarse as a figure is ever saved: letters that snap to pixels are widest there.
    drawn.set_dpi(150)
    drawn.draw_without_rendering()
    return drawn


def svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vit-inspect"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def values(node: Any) -> Iterator[Any]:
    """All leaves of a plotly figure, its packed arrays unpacked."""
    if isinstance(node, dict) and "bdata" in node:
        yield from np.frombuffer(base64.b64decode(node["bdata"]), node["dtype"]).tolist()
    elif isinstance(node, dict):
        for child in node.values():
            yield from values(child)
    elif isinstance(node, list):
        for child in node:
            yield from values(child)
    else:
        yield node


def test_a_record_that_nobody_made_is_asked_for_in_words() -> None:
    class New(Result):
        pass

    with pytest.raises(LookupError, match=r"no made record of New: add .* tests/helpers/records"):
        made(New)


@pytest.mark.slow
def test_two_draws_are_the_same_bytes_and_change_no_global_setting(figure_and_result: Any) -> None:
    figure, result = figure_and_result
    before = dict(matplotlib.rcParams)
    first = svg(figure.draw(result))
    figure.plot(result).to_json()
    assert dict(matplotlib.rcParams) == before
    assert svg(figure.draw(result)) == first


@pytest.mark.slow
def test_nothing_is_cut_off_at_the_edge_of_the_sheet(sheet: Figure) -> None:
    box = sheet.get_tightbbox()
    width, height = sheet.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    assert width <= print_sheet.PAGE_IN + 0.01


@pytest.mark.slow
def test_words_lie_on_nothing_else(sheet: Figure) -> None:
    renderer = sheet._get_renderer()  # type: ignore[attr-defined]
    words = [(text.get_text(), text.get_window_extent(renderer)) for text in sheet.texts]
    panels = [(axes.get_title(), axes.get_tightbbox(renderer)) for axes in sheet.axes]
    for (text, box), (other, place) in [
        *combinations(words, 2),
        *((each, panel) for each in words for panel in panels),
    ]:
        assert not box.overlaps(place), (text, other)


def test_a_minus_is_no_hyphen_and_names_of_axes_have_a_capital(sheet: Figure) -> None:
    for text in sheet.findobj(Text):
        assert not re.search(r"(?<!\w)-(?=[\d ])", text.get_text()), text
    for axes in sheet.axes:
        for name in (axes.get_xlabel(), axes.get_ylabel()):
            assert not name[:1].islower(), name


def test_words_on_a_screen_are_no_wider_than_the_figure(dressed: Any) -> None:
    figure, result = dressed
    screen = figure.plot(result)
    free = screen_sheet.SCREEN_PX - screen_sheet.MARGIN_LEFT_PX - screen_sheet.MARGIN_RIGHT_PX
    heading, small = re.findall(r"px[^>]*>(.*?)</span>", screen.layout.annotations[0].text)
    for text, size in ((heading, screen_sheet.TITLE_PX), (small, screen_sheet.TEXT_PX)):
        assert max(map(len, text.split("<br>"))) * size * 0.53 <= free
    lines = 2 + heading.count("<br>") + small.count("<br>")
    assert screen.layout.margin.t >= 26 + 20 * lines
    # What is shown is what is told, but for names in the middle of which letters are left out.
    assert len(screen.layout.meta) <= lines


def test_print_sizes_are_those_of_papers(figure_and_result: Any) -> None:
    figure, result = figure_and_result
    texts = figure.draw(result).findobj(Text)
    sizes = {text.get_fontsize() for text in texts if text.get_text() and text.get_visible()}
    assert max(sizes) <= print_sheet.TITLE_PT
    assert min(sizes) >= 4


def test_the_screen_figure_has_no_hole_and_no_template(figure_and_result: Any) -> None:
    figure, result = figure_and_result
    drawn = json.loads(figure.plot(result).to_json(), parse_constant=pytest.fail)
    assert not [leaf for leaf in values(drawn) if isinstance(leaf, float) and leaf != leaf]
    assert "color" not in str(drawn["layout"]["template"])
    assert drawn["layout"]["font"]["family"] == screen_sheet.SCREEN_FONT


def test_figures_need_neither_torch_nor_pyplot() -> None:
    modules = {figure.draw.__module__ for figure, _ in EVERY.values()}
    code = (
        "import sys\n"
        f"import {', '.join(sorted(modules))}\n"
        "bad = {'torch', 'timm', 'matplotlib.pyplot', 'streamlit'} & set(sys.modules)\n"
        "bad |= {name for name in sys.modules if name.startswith('vit_inspect.analyses')}\n"
        "sys.exit(str(sorted(bad)) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
