"""Does every page open, say what it shows, and count from 0?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.dashboard.apps import (
    AVERAGED,
    CLASSIFIER,
    FEATURES,
    PAGES,
    POOLED,
    ROTATED,
    STAGED,
    VIEWS,
    canvas,
    canvases,
    go,
    opened,
    press,
    refusals,
)
from vit_inspect.catalog import COMPOSED, FIGURES
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect_dashboard import places
from vit_inspect_dashboard.wording import COUNTING

pytestmark = pytest.mark.slow

KINDS = {
    "class token": CLASSIFIER,
    "averaged, no special tokens, positions as a bias": AVERAGED,
    "positions by rotation": ROTATED,
    "attention pool": POOLED,
    "registers, no classes": FEATURES,
    "windows, positions as a bias": STAGED,
}
NOT_OF_STAGES = {
    "attention_rollout",
    "attention_relevance",
    "token_norms",
    "head_importance",
    "logit_lens",
}
REFUSED = {STAGED: NOT_OF_STAGES}
"""Pages that refuse a hierarchical model."""
FOLLOWING = ("explore", "token_similarity")
"""Pages whose map follows the cursor."""


@pytest.mark.slow
@pytest.mark.usefixtures("random_weights")
@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_every_page_opens_for_every_kind_of_model(model: str) -> None:
    app = opened(model=model)
    for view in VIEWS:
        go(app, view)
        assert not app.exception, (view, app.exception)
        if view in REFUSED.get(model, ()):
            [refusal] = refusals(app)
            assert model in refusal
        else:
            assert refusals(app) == []
            assert app.title or canvas(app).header["lead"]


@pytest.mark.usefixtures("random_weights")
def test_every_page_opens_says_what_it_asks_and_cannot_tell_and_explains_its_controls() -> None:
    app = opened()
    figures = {places.OLD.get(each.figure.slug, each.figure.slug): each.figure for each in PAGES}
    every_figure = (*COMPOSED, *(entry.figure for entry in FIGURES))
    of_figures = {words for figure in every_figure for words in words_of_figure(figure)}
    for view in VIEWS:
        go(app, view)
        assert not app.exception, (view, app.exception)
        assert refusals(app) == []
        assert app.title or canvas(app).header["lead"]
        check_help(app, view)
        said = set(words_of(app))
        if view in FOLLOWING:
            # Its one line above the map says what to do, in place of what it asks.
            assert any(words.startswith("Move over the picture: ") for words in said)
        for words in words_of_figure(figures[view])[view in FOLLOWING :] if view in figures else ():
            assert any(words in each for each in said), (view, words)
        for words in said - of_figures:
            assert not [old for old in OLD_WORDS if old in words.lower()], (view, words)
    go(app, "learn")
    for number in range(2, 9):
        app.button_group(key="step").set_value(number).run()
        assert not app.exception, (number, app.exception)
        check_help(app, number)
        for words in set(words_of(app)) - of_figures:
            assert not [old for old in OLD_WORDS if old in words.lower()], (number, words)


def check_help(app: AppTest, view: object) -> None:
    for kind in (
        "selectbox",
        "multiselect",
        "slider",
        "radio",
        "toggle",
        "button_group",
        "file_uploader",
        "download_button",
    ):
        for control in app.get(kind):
            if control.key in ("place", "view"):
                # Where to go, whose titles say it.
                continue
            assert control.proto.help or "export_" in control.proto.id, (view, control.label)


@pytest.mark.usefixtures("random_weights")
def test_the_entry_of_a_checkout_opens_it() -> None:
    entry = Path(__file__).parents[2] / "dashboard" / "app.py"
    app = AppTest.from_file(str(entry), default_timeout=120)
    app.query_params["model"] = CLASSIFIER
    app.run()
    assert not app.exception
    assert canvas(app).header["kind"] == "Attention"
    go(app, "about")
    [title] = app.title
    assert [title.value] == [each.value for each in opened().title]


@pytest.mark.usefixtures("random_weights")
def test_a_classifier_names_the_five_most_probable_classes() -> None:
    app = opened()
    assert any("Five most probable classes" in each.value for each in app.markdown)
    assert len(app.get("progress")) == 5
    app = opened(model=FEATURES)
    assert any("outputs a feature vector" in each.value for each in app.markdown)


@pytest.mark.usefixtures("random_weights")
def test_what_a_reader_should_know_of_the_model_is_told() -> None:
    app = opened(model=FEATURES)
    words = [each.value.replace("\\", "") for each in app.caption]
    assert ":material/info: Position table resampled from 37 × 37 to 3 × 3." in words


@pytest.mark.usefixtures("random_weights")
def test_what_the_archive_leaves_out_is_told() -> None:
    app = opened("export")
    words, *_ = (each.value for each in app.markdown if "archive" in each.value)
    slow = " and ".join(entry.figure.title for entry in FIGURES if entry.thorough)
    assert words.endswith(f"{slow} run the model many times; export them on their own pages.")
    assert f"With `--thorough` it also makes {slow}." in [each.value for each in app.caption]


def words_of(app: AppTest) -> Iterator[str]:
    """All that a page says and offers: its words, labels, options, help and tables."""
    for kind in ("title", "header", "subheader", "markdown", "caption", "text", "info", "warning"):
        yield from (each.value.replace("\\", "") for each in app.get(kind))
    for kind in ("selectbox", "multiselect", "button_group"):
        for each in app.get(kind):
            yield from (each.label, each.proto.help, *map(str, each.options))
    for each in canvases(app):
        yield from (each.header["lead"], each.header["why"])
    yield from (each.label for each in app.button)
    yield from (each.proto.popover.label for each in app.get("popover"))
    yield from (each.proto.text for each in app.get("progress"))


NUMBERED = {
    "layer": r"\b(?:[Ll]ayers? |L)(\d+)\b",
    "head": r"\b(?:[Hh]ead |H)(\d+)\b",
    "row": r"\b(?:[Pp]atch \(|[Rr]ow )(\d+)\b",
    "column": r"\b(?:[Pp]atch \(\d+, |[Cc]olumn )(\d+)\b",
}
"""How layers, heads and patches are named with their number."""


def numbers_on_all_pages(*, model: str) -> dict[str, set[int]]:
    """The numbers of layers, heads, rows and columns that are read anywhere on the pages."""
    found: dict[str, set[int]] = {name: set() for name in NUMBERED}
    app = opened(model=model)
    for view in VIEWS:
        go(app, view)
        assert not app.exception
        if view == "head_importance":
            press(app, "Test every head")
        if view == "about":
            # The sentence that explains the convention has an example, of any model.
            assert any(each.value.startswith(COUNTING) for each in app.caption)
            continue
        for words in words_of(app):
            for name, pattern in NUMBERED.items():
                found[name] |= set(map(int, re.findall(pattern, words)))
        for control in app.selectbox:
            if control.key in ("layer", "start"):
                found["layer"] |= set(map(int, control.options))
        for header in (each.header for each in canvases(app)):
            found["layer"] |= set(range(header["layers"]))
            found["head"] |= {int(name) for name in header["columns"] if name.isdecimal()}
        for table in app.dataframe:
            for name in ("layer", "head"):
                found[name] |= set(map(int, table.value[name]))
    return found


@pytest.mark.slow
def test_layers_heads_and_patches_of_the_bundled_model_count_from_0() -> None:
    model = vi.load(DEFAULT, img_size=224)
    heads = vi.capture(model, vi.sample("chelsea")).head_count
    found = numbers_on_all_pages(model=DEFAULT)
    assert found["layer"] == set(range(len(model.blocks)))
    assert found["head"] == set(range(heads))
    # The position table is larger than the grid at this size.
    rows, columns = vi.position_similarity(model).similarity.shape[:2]
    assert found["row"] == set(range(rows))
    assert found["column"] == set(range(columns))


def test_a_head_that_is_counted_from_1_is_seen() -> None:
    assert re.findall(NUMBERED["head"], "Layer 3, head 12; L0 H7; head importance") == ["12", "7"]
    assert re.findall(NUMBERED["layer"], "Layer 3, head 12; L0 H7; layers 2") == ["3", "0", "2"]
    assert re.findall(NUMBERED["column"], "Patch (3, 12); row 4, column 5") == ["12", "5"]


OLD_WORDS = (
    "read-out",
    "looks",
    "prefix token",
    "speaks for",
    "take home",
    "less first",
    "switch off",
    "lets go",
    "fused by",
)
"""Riddles that the plain words of the pages have replaced; words of figures are their own."""


def words_of_figure(figure: FigureSpec) -> tuple[str, ...]:
    return (figure.question, figure.reading, figure.caveat, figure.formula, figure.source)
