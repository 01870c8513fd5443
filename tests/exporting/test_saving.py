"""Files of a drawing are those of matplotlib's own `savefig`, from fresh figures, whoever asks.

A PDF, whose fonts have some letters more, shows the same pixels and says the same text.
"""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import matplotlib
import numpy as np
import pypdfium2
import pytest
from matplotlib.backends import _backend_pdf_ps as pdf_fonts
from matplotlib.figure import Figure

from vit_inspect.exporting import saving
from vit_inspect.exporting.saving import PRINT_FORMATS, save
from vit_inspect.figures import print_sheet

pytestmark = pytest.mark.slow

TITLE = "Title <of> a figure"
OPTIONS: dict[str, Any] = {"png": {"pil_kwargs": {"compress_level": 4}}}
TOLD: dict[str, dict[str, Any]] = {
    "svg": {"Title": TITLE, "Date": None},
    "pdf": {"Title": TITLE, "CreationDate": None},
    "png": {},
}


SETTINGS: Any = {"svg.hashsalt": "vit_inspect", "pdf.fonttype": 42}


def drawn(number: int = 0) -> Figure:
    """Everything whose place a renderer finds: ticks, a colour bar, formulas, folded words."""
    figure = print_sheet.page(3.3, 2.4)
    axes = print_sheet.place(figure, left=0.5, top=0.5, width=1.6, height=1.4)
    values = np.random.default_rng(number).normal(size=(7, 5))
    axes.imshow(values, cmap="magma", interpolation="none")
    axes.plot([0.1, 3.7], [1e-4, 5.3], marker="o", label=f"$x_{number}$ −")
    axes.legend()
    print_sheet.label(axes, x="Layer", y="Attention × 10", title=f"Figure {number}")
    bar = print_sheet.place(figure, left=2.3, top=0.5, width=0.1, height=1.4)
    print_sheet.colour_bar(bar, "magma", (-3.0, 3.0), name="weight")
    print_sheet.write_head(
        figure, TITLE, "Words that are far too long for one line of the sheet. " * 3
    )
    return figure


def plainly(kind: str, number: int = 0) -> bytes:
    """What matplotlib itself makes of a figure of which nothing was saved before."""
    file = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        drawn(number).savefig(file, format=kind, metadata=TOLD[kind], **OPTIONS.get(kind, {}))
    return file.getvalue()


def check_same(kind: str, found: bytes, expected: bytes) -> None:
    """PDFs are compared as a viewer shows them, the others by their bytes."""
    if kind != "pdf":
        assert found == expected, kind
        return
    pages = [pypdfium2.PdfDocument(each)[0] for each in (found, expected)]
    texts = [page.get_textpage().get_text_range() for page in pages]
    assert texts[0] == texts[1]
    assert "Words that are far too long" in texts[0]
    pixels = [page.render(scale=3).to_numpy() for page in pages]
    np.testing.assert_array_equal(*pixels)
    assert np.ptp(pixels[0]) > 100


@pytest.mark.parametrize("kept", [False, True], ids=["first subset", "kept subset"])
def test_all_formats_of_one_figure_are_those_of_fresh_ones(kept: bool) -> None:
    saving._subset.cache_clear()
    if kept:
        save(drawn(), ["pdf"], title="Another")
    made = saving._subset.cache_info().misses
    expected = {kind: plainly(kind) for kind in PRINT_FORMATS}
    found = save(drawn(), PRINT_FORMATS, title=TITLE)
    assert list(found) == list(PRINT_FORMATS)
    for kind, data in expected.items():
        check_same(kind, found[kind], data)
    assert (made > 0) == kept
    assert (saving._subset.cache_info().misses == made) == kept


def test_figures_of_the_usual_characters_share_their_fonts() -> None:
    saving._subset.cache_clear()
    save(drawn(0), ["pdf"], title=TITLE)
    first = saving._subset.cache_info().misses
    figure = drawn()
    figure.text(0.3, 0.3, "JQ 50 %")
    save(figure, ["pdf"], title=TITLE)
    assert saving._subset.cache_info().misses == first


def test_a_character_that_is_not_usual_is_in_the_font() -> None:
    figure = drawn()
    figure.text(0.3, 0.3, "Ω ж ∂")
    file = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(file, format="pdf", metadata=TOLD["pdf"])
    found = save(figure, ["pdf"], title=TITLE)["pdf"]
    check_same("pdf", found, file.getvalue())
    assert "Ω ж ∂" in pypdfium2.PdfDocument(found)[0].get_textpage().get_text_range()


def test_the_order_of_the_formats_changes_nothing() -> None:
    backwards = save(drawn(), PRINT_FORMATS[::-1], title=TITLE)
    assert backwards == save(drawn(), PRINT_FORMATS, title=TITLE)


def test_a_figure_is_drawn_for_what_is_asked_alone() -> None:
    assert save(drawn(), (), title=TITLE) == {}
    assert save(drawn(), ["png"], title=TITLE) == {"png": plainly("png")}


def test_threads_give_the_same_bytes() -> None:
    numbers = [0, 1, 2, 0, 1, 2]
    saving._subset.cache_clear()
    with ThreadPoolExecutor(3) as pool:
        found = list(
            pool.map(lambda number: save(drawn(number), ["svg", "pdf"], title=TITLE), numbers)
        )
    alone = [save(drawn(number), ["svg", "pdf"], title=TITLE) for number in range(3)]
    for number, files in zip(numbers, found, strict=True):
        assert files == alone[number]
        for kind, data in files.items():
            check_same(kind, data, plainly(kind, number))


def test_one_figure_is_saved_at_a_time() -> None:
    inside: list[int] = []
    most = 0

    def slowly(renderer: object) -> None:
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        time.sleep(0.05)
        inside.pop()

    def saved(_: int) -> None:
        figure = drawn()
        figure.draw = slowly  # type: ignore[method-assign, assignment]
        save(figure, ["svg"], title=TITLE)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(saved, range(4)))
    assert most == 1


def test_matplotlib_is_left_as_it_was() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a figure that cannot be drawn")

    own, settings = pdf_fonts.get_glyphs_subset, dict(matplotlib.rcParams)
    save(drawn(), ["pdf"], title=TITLE)
    figure = drawn()
    figure.draw = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="cannot be drawn"):
        save(figure, ["pdf"], title=TITLE)
    assert pdf_fonts.get_glyphs_subset is own
    assert dict(matplotlib.rcParams) == settings


def test_without_the_function_of_matplotlib_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saving, "_make_subset", None)
    saving._subset.cache_clear()
    assert save(drawn(), ["pdf"], title=TITLE)["pdf"] == plainly("pdf")
    assert saving._subset.cache_info().currsize == 0
