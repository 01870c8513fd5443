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
from functools import cache
from html import unescape
from typing import Any

import matplotlib
import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.helpers.printed import check_sheet
from tests.helpers.records import all_made, made
from vit_inspect.catalog import FIGURES, UNBUNDLED
from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.printing import FAMILIES, Font, Print, printed
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
LONG_NAME = r"IMG_$\frac{$_a_photograph_that_nobody_ever_gave_a_short_name.jpeg"
LONG_CLASS = r"$\frac{$ <b> Staffordshire, Staffordshire bull terrier, of a race with a long name"


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
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def figure_and_result(name: str) -> tuple[FigureSpec[Any], Result]:
    return EVERY[name]


def dressed_as(result: Result, size_px: tuple[int, int]) -> Result:
    """The record of long names and of photographs of this size."""
    result = with_long_names(result, size_px)
    # The mean over several pictures names none.
    return result.of_image(0) if isinstance(result, Faithfulness) else result


@cache
def usual_of(name: str) -> Figure:
    figure, result = EVERY[name]
    drawn: Figure = figure.draw(result)
    return drawn


@cache
def on_screen(name: str) -> go.Figure:
    """The same on a screen."""
    figure, result = EVERY[name]
    drawn: go.Figure = figure.plot(result)
    return drawn


@pytest.fixture(scope="module")
def usual(name: str) -> Figure:
    """The print as it is without a choice. The laws share it: they may not change it."""
    return usual_of(name)


@pytest.fixture(
    scope="module",
    params=[
        None,
        (3.25, None),
        (3.25, (60, 40)),
        (3.25, (20, 60)),
        (5.5, (20, 60)),
        (6.9, (60, 40)),
    ],
    ids=[
        "usual",
        "3.25 in",
        "3.25 in, upright",
        "3.25 in, wide",
        "5.5 in, wide",
        "6.9 in, upright",
    ],
)
def sheet(request: pytest.FixtureRequest, figure_and_result: Any, usual: Figure) -> Figure:
    """The usual print; and at each usual width one of long names, with an extreme photograph."""
    if request.param is None:
        return usual
    (figure, result), (width, size_px) = figure_and_result, request.param
    shown = dressed_as(result, size_px) if size_px else result
    drawn = printed(figure, shown, Print(width_in=width))
    assert drawn.get_size_inches()[0] == pytest.approx(width)
    return drawn


def svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.set_dpi(150)
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
def test_two_draws_are_the_same_bytes_and_change_no_global_setting(
    figure_and_result: Any, usual: Figure
) -> None:
    figure, result = figure_and_result
    before = dict(matplotlib.rcParams)
    drawn = figure.draw(result)
    figure.plot(result).to_json()
    assert dict(matplotlib.rcParams) == before
    assert svg(drawn) == svg(usual)


def check_sizes(sheet: Figure) -> None:
    """That words can be read in print, and are no larger than those of papers."""
    texts = sheet.findobj(Text)
    sizes = [
        text.get_fontsize() for text in texts if text.get_text().strip() and text.get_visible()
    ]
    assert min(sizes) >= 6
    assert max(sizes) <= print_sheet.TITLE_PT


def check_letters(sheet: Figure) -> None:
    """That a minus is no hyphen, and names of axes have a capital."""
    for text in sheet.findobj(Text):
        assert not re.search(r"(?<!\w)-(?=[\d ])", text.get_text()), text
    for axes in sheet.axes:
        for name in (axes.get_xlabel(), axes.get_ylabel()):
            assert not name[:1].islower(), name


@pytest.mark.slow
def test_a_print_fits_its_page_and_words_can_be_read_and_lie_on_nothing_else(
    sheet: Figure,
) -> None:
    assert sheet.get_size_inches()[0] <= print_sheet.PAGE_IN + 0.01
    assert sheet.get_size_inches()[1] <= 9.2
    check_sheet(sheet)  # Lays it out, which makes the numbers of its axes.
    check_sizes(sheet)
    check_letters(sheet)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (each, _) in EVERY.items() if each.limits])
def test_a_print_takes_the_scale_of_another_figure(name: str) -> None:
    figure, result = EVERY[name]
    assert figure.limits
    low, high = figure.limits(result)
    wider = low, high + (high - low)

    def scales(sheet: Figure) -> list[tuple[float, float]]:
        return [ends for axes in sheet.axes for ends in (axes.get_xlim(), axes.get_ylim())]

    drawn = figure.draw(result, limits=wider)
    assert pytest.approx(wider) in scales(drawn)
    assert pytest.approx(wider) not in scales(figure.draw(result))
    check_sheet(drawn)


@pytest.mark.slow
def test_a_font_is_that_of_all_words_and_has_all_characters(
    figure_and_result: Any, recwarn: pytest.WarningsRecorder
) -> None:
    # The one that has fewest; how fonts are found is tested in `test_printing`.
    font: Font = "computer modern"
    drawn = printed(*figure_and_result, Print(font=font))
    drawn.draw_without_rendering()
    for text in drawn.findobj(Text):
        if text.get_text().strip():
            assert text.get_fontfamily() == FAMILIES[font], text
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


@pytest.mark.slow
def test_title_and_caption_can_be_left_out_and_leave_no_gap(
    figure_and_result: Any, usual: Figure
) -> None:
    drawn = printed(*figure_and_result, Print(title=False))
    for sheet, parts in ((usual, {"title", "caption"}), (drawn, {"caption"})):
        found = {text.get_gid() for text in sheet.texts} & {"title", "caption"}
        assert found == parts & {text.get_gid() for text in usual.texts}
    bare = printed(*figure_and_result, Print(title=False, caption=False))
    check_sheet(bare)
    box, height = bare.get_tightbbox(), bare.get_size_inches()[1]
    assert not {text.get_gid() for text in bare.texts} & {"title", "caption"}
    assert max(box.y0, height - box.y1) < 0.15
    assert len(bare.axes) == len(usual.axes)


@pytest.mark.slow
@pytest.mark.parametrize("size_px", [None, (60, 40)], ids=["given names", "long names"])
def test_words_on_a_screen_are_no_wider_than_the_figure(
    name: str, size_px: tuple[int, int] | None
) -> None:
    figure, result = EVERY[name]
    screen = figure.plot(dressed_as(result, size_px)) if size_px else on_screen(name)
    free = screen_sheet.SCREEN_PX - screen_sheet.MARGIN_LEFT_PX - screen_sheet.MARGIN_RIGHT_PX
    heading, small = re.findall(r"px[^>]*>(.*?)</span>", screen.layout.annotations[0].text)
    for text, size in ((heading, screen_sheet.TITLE_PX), (small, screen_sheet.TEXT_PX)):
        assert max(map(len, unescape(text).split("<br>"))) * size * 0.53 <= free
    lines = 2 + heading.count("<br>") + small.count("<br>")
    assert screen.layout.margin.t >= 26 + 20 * lines
    # What is shown is what is told, but for names in the middle of which letters are left out.
    assert len(screen.layout.meta) <= lines


def test_heat_over_a_photograph_in_colour_is_not_read_as_brightness() -> None:
    heat = tuple(map(tuple, looks.heat_scale()))
    found = set()
    for name, (figure, result) in EVERY.items():
        traces = [each for drawn in (on_screen(name), *figure.plots(result)) for each in drawn.data]
        if any(each.type == "heatmap" and each.colorscale == heat for each in traces):
            found.add(figure.slug)
            # A sky that has no value is brighter than the largest one.
            assert "bright" not in figure.reading.lower()
    assert found >= {"attention_rollout", "attention_relevance", "token_norms", "ablation"}


def test_no_words_call_the_pale_end_of_heat_strong_or_what_is_faded_shaded(name: str) -> None:
    figure, _ = EVERY[name]
    said = f"{figure.reading} {figure.caveat}".lower()
    assert not re.search(r"strong\w* colour|shaded", said)


def test_the_screen_figure_has_no_hole_and_no_template(name: str) -> None:
    drawn = json.loads(on_screen(name).to_json(), parse_constant=pytest.fail)
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


@pytest.mark.slow
def test_names_are_not_read_on_a_screen(
    figure_and_result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LONG_ID", "LONG_NAME", "LONG_CLASS"):
        monkeypatch.setattr(sys.modules[__name__], name, '<b>q</b> "%{q} $q$')
    figure, result = figure_and_result
    result = dressed_as(result, (20, 40))
    for plotted in (figure.plot(result), *figure.plots(result)):
        spec = plotted.to_plotly_json()
        # The words as they are, for pages; plotly does not read them.
        spec["layout"].pop("meta", None)
        told = json.dumps(spec, default=str)
        for each in spec["layout"].get("annotations", ()):
            told = told.replace(json.dumps(each.get("name", ""))[1:-1] or "\0", "")
        for read in ("<b>q", "%{q", "$q", "&quot;"):
            assert read not in told
