"""Are the words of strangers in files shown as they are, or cut, and never read?"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vit_inspect as vi
from tests.helpers.records import made
from tests.helpers.words import CONTROLS, LITERAL, LONG
from vit_inspect.exporting.render import render
from vit_inspect.figures.chosen_classes import FIGURE as CHOSEN_CLASSES
from vit_inspect.figures.logit_lens import FIGURE as LOGIT_LENS
from vit_inspect.loading.bundled import FASHION_NAMES
from vit_inspect.records.evidence import LogitLens
from vit_inspect.records.survey import ChosenClasses

pytestmark = pytest.mark.slow

NAME = next(iter(FASHION_NAMES.values()))
TITLE = "{http://purl.org/dc/elements/1.1/}title"


class Tags(HTMLParser):
    """The tags of a page, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Iterable[object]) -> None:
        self.found.append(tag)


def lens_of(word: str) -> LogitLens:
    """A record whose model and classes have this name."""
    lens = made(LogitLens)
    top = tuple(tuple((word,) * len(each) for each in image) for image in lens.top_labels)
    return replace(lens, model=word, labels=(word,) * len(lens.labels), top_labels=top)


@pytest.mark.parametrize("word", [*LITERAL.values(), LONG], ids=[*LITERAL, "long"])
def test_a_figure_is_what_it_says_whatever_its_names_are(word: str) -> None:
    lens = lens_of(word)
    drawing = ElementTree.fromstring(render(LOGIT_LENS, lens, "svg"))
    title = next(drawing.iter(TITLE))
    assert title.text == f"{LOGIT_LENS.title}: {word}"
    document = render(LOGIT_LENS, lens, "pdf")
    assert document.startswith(b"%PDF")
    assert document.rstrip().endswith(b"%%EOF")
    plain = Tags(render(LOGIT_LENS, lens_of("a"), "html").decode())
    assert Tags(render(LOGIT_LENS, lens, "html").decode()).found == plain.found


@pytest.mark.parametrize("word", LITERAL.values(), ids=LITERAL)
def test_a_table_has_the_names_as_they_are(word: str) -> None:
    classes = made(ChosenClasses)
    named = replace(classes, class_names=(word, *classes.class_names[1:]))
    table = io.StringIO(render(CHOSEN_CLASSES, named, "csv").decode(), newline="")
    rows = list(csv.reader(table))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert any(word in row for row in rows)


@pytest.mark.parametrize("word", CONTROLS.values(), ids=CONTROLS)
def test_a_model_has_no_name_that_a_file_or_a_terminal_cannot_take(word: str) -> None:
    model = replace(vi.load(NAME, labels=[word] * 10), id=word)
    assert model.labels
    for name in (model.id, *model.labels):
        assert name.isprintable()
        assert name == "".join(each for each in word if each in name)


def test_a_report_has_no_tag_of_a_strangers(tmp_path: Path) -> None:
    found = []
    for name, word in (("a", "b"), (LITERAL["plotly"], LITERAL["HTML"] + LITERAL["Jinja"])):
        path = tmp_path / f"{name.replace('/', '')[:80]}.png"
        vi.sample(next(iter(vi.CANVASES))).save(path)
        model = vi.load(NAME, labels=[word, *"cdefghijk"])
        folder = tmp_path / f"out {len(found)}"
        vi.export(vi.capture(model, path), folder, formats=())
        page = (folder / "report.html").read_text()
        found.append(Tags(page).found)
        [told] = json.loads((folder / "provenance.json").read_text())["photographs"]
        assert told["name"] == path.name
        assert "49" not in told["name"]
    assert found[0] == found[1]
