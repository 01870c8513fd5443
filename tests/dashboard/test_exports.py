"""Is a figure exported as a journal wants it?"""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable

import pytest
from PIL import Image

from tests.dashboard.apps import command, go, opened, refusals
from vit_inspect.figures.print_sheet import PRINT_DPI

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("random_weights")]

Files = dict[str, Callable[[], bytes]]


def of(files: Files, ending: str) -> bytes:
    [make] = (each for name, each in files.items() if name.endswith(ending))
    return make()


def test_one_choice_of_width_font_and_words_is_that_of_all_files(files: Files) -> None:
    app = opened("explore")
    app.selectbox(key="patch_map_None_width").set_value("3.25").run()
    app.selectbox(key="patch_map_None_font").set_value("computer modern").run()
    app.toggle(key="patch_maps_None_title").set_value(False).run()
    assert not app.exception
    chosen = {name: app.query_params[name] for name in ("width", "font", "title")}
    assert chosen == {"width": "3.25", "font": "computer modern", "title": "False"}
    for ending in ("_patch_map", "_patch_maps"):
        picture = Image.open(io.BytesIO(of(files, f"{ending}.png")))
        assert picture.width == round(3.25 * PRINT_DPI)
        assert b"CMUSerif" in of(files, f"{ending}.pdf")
        svg = of(files, f"{ending}.svg")
        assert b'id="title"' not in svg
        assert b'id="caption"' in svg
    lines = app.code[0].value
    assert "vi.draw(shown, width_in=3.25, font='computer modern', title=False, look=" in lines
    # Other views print in the same way.
    files.clear()
    go(app, "layer_cka")
    assert b"CMUSerif" in of(files, "_layer_cka.pdf")


def test_the_archive_is_printed_as_chosen_and_so_are_its_lines() -> None:
    app = opened("export", width="3.25", font="computer modern", title="False")
    assert not app.exception
    words = shlex.split(command(app))
    chosen = ["--width-in", "3.25", "--font", "computer modern", "--no-title"]
    assert words[-len(chosen) :] == chosen
    assert "--font" not in opened("export").code[0].value


@pytest.mark.parametrize("width", ["wide", "1", "nan"])
def test_a_width_that_is_none_is_refused_where_it_is_chosen(files: Files, width: str) -> None:
    app = opened("explore", width=width)
    assert not app.exception
    assert any("3 to 12 inches" in each or "number of inches" in each for each in refusals(app))
    assert not files
    paper = opened("paper", width=width)
    assert refusals(paper)
    assert not paper.image


def test_a_width_may_be_typed_with_a_comma(files: Files) -> None:
    opened("explore", width="4,2")
    assert Image.open(io.BytesIO(of(files, "_patch_map.png"))).width == round(4.2 * PRINT_DPI)
