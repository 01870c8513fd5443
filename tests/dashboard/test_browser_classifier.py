"""Does the bundled classifier do what a user wants of it, in a real browser?"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import vit_inspect as vi
from tests.dashboard.test_browser import choose, leave, pixels_of, turn_to
from tests.dashboard.test_browser_pages import DRAWN, PAUSE_MS
from tests.dashboard.windows import ready, show
from vit_inspect.pictures.samples import Thing

pytestmark = pytest.mark.slow

PICTURE = "canvas_14"
THINGS = vi.CANVASES[PICTURE].things
"""Three garments, apart from each other."""
GRID = 8
OPENED = f"model=fashion_vit&image={PICTURE}"


def inside(thing: Thing, row: float, column: float) -> bool:
    """Whether a place, as shares of the canvas, is in the box of a garment."""
    left, top, right, bottom = (each / 56 for each in thing.box)
    return left <= column < right and top <= row < bottom


def drawn_on(page: Page) -> str:
    """The garment with most colour in its box: the canvases are grey, and only the map has any."""
    pixels = pixels_of(page.locator("canvas.picture"))[..., :3].astype(int)
    side = len(pixels)
    colour = pixels.max(axis=-1) - pixels.min(axis=-1)
    places = (np.arange(side) + 0.5) / side
    amounts = {
        thing.label: sum(
            colour[row, [inside(thing, places[row], column) for column in places]].sum()
            for row in range(side)
        )
        for thing in THINGS
    }
    return max(amounts, key=amounts.__getitem__)


def is_on(page: Page, label: str) -> None:
    """The largest value, and most of what is drawn, lie in the box of this garment."""
    [thing] = [each for each in THINGS if each.label == label]
    told = page.locator(".explorer .line").inner_text()
    [(row, column)] = re.findall(r"at patch \((\d), (\d)\)$", told)
    assert inside(thing, (int(row) + 0.5) / GRID, (int(column) + 0.5) / GRID), told
    assert drawn_on(page) == label


def test_the_offer_opens_it_on_garments_and_the_map_moves_with_the_class(page: Page) -> None:
    show(page, "/?at=logit_lens")
    page.get_by_role("button", name="Open the bundled classifier").click()
    expect(page).to_have_url(re.compile(f"model=fashion_vit.*image={PICTURE}"))
    ready(page)
    expect(page.locator(".st-key-choose_model button:visible")).to_contain_text("fashion_vit")
    expect(page.get_by_label("Picture", exact=True).first).to_have_value(PICTURE)
    small = page.get_by_role("button", name=vi.CANVASES[PICTURE].title, exact=True)
    expect(small).to_have_attribute("aria-pressed", "true")
    expect(small).to_be_in_viewport()
    sides = "e => [e, e.parentElement].map((each) => each.getBoundingClientRect().right)"
    right, end = small.evaluate(sides)
    assert right + 2.5 <= end, "its outline is cut"
    page.wait_for_function(DRAWN, polling=PAUSE_MS)

    turn_to(page, "Learn")
    page.get_by_role("radio", name="8", exact=True).click()
    expect(page.get_by_text("Which squares speak for this class?")).to_be_visible()
    ready(page)
    is_on(page, "bag")
    for label, written in (("T-shirt", "T-shirt"), ("coat", "coat")):
        choose(page, "Patches that support", label)
        expect(page).to_have_url(re.compile(f"class={written}"))
        is_on(page, label)
    page.get_by_role("button", name="Open the full page").click()
    expect(page.get_by_text("Probability of coat")).to_be_visible()
    ready(page)
    is_on(page, "coat")


def test_a_step_of_its_training_is_one_move_that_back_undoes(page: Page) -> None:
    show(page, f"/?at=explore&{OPENED}&layer=2&head=1")
    canvas, steps = page.locator("canvas.picture"), page.get_by_role("slider")
    page.get_by_role("button", name="Next layer").click()
    expect(page).to_have_url(re.compile("layer=3"))
    ready(page)
    leave(page)
    before, trained = page.url, pixels_of(canvas)
    steps.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"model=fashion_vit(@|%40)2500"))
    ready(page)
    expect(steps).to_have_attribute("aria-valuetext", "2,500")
    expect(canvas).to_have_attribute("data-place", "L3 H1")
    earlier = pixels_of(canvas)
    assert np.abs(earlier.astype(int) - trained).max() > 50
    page.go_back()
    expect(page).to_have_url(before)
    ready(page)
    expect(steps).to_have_attribute("aria-valuetext", "8,000")
    expect(canvas).to_have_attribute("data-place", "L3 H1")
    np.testing.assert_array_equal(pixels_of(canvas), trained)
    page.go_forward()
    expect(steps).to_have_attribute("aria-valuetext", "2,500")
    ready(page)
    np.testing.assert_array_equal(pixels_of(canvas), earlier)


def test_pages_of_classes_tests_and_comparison_show_their_figures(page: Page) -> None:
    """What is asked of each, and the figures that come then."""
    asked = {
        "at=logit_lens": (None, ["bag in every layer", "bag, from single patches"]),
        "at=head_importance&off_heads=L3+H1": (
            "Test every head",
            ["Before and after", "What changed at each patch", "the effect of each head"],
        ),
        "at=faithfulness&steps=10": ("Test all maps", ["deletion and insertion"]),
        "at=compare&against=model&right_model=fashion_vit@400": (None, ["right − left"]),
    }
    for view, (button, titles) in asked.items():
        show(page, f"/?{view}&{OPENED}")
        if button:
            page.get_by_role("button", name=button).click()
        for title in titles:
            expect(page.locator(".js-plotly-plot", has_text=title)).to_be_visible()
        ready(page)
        page.wait_for_function(DRAWN, polling=PAUSE_MS)
        expect(page.locator("[data-testid=stException], [data-testid=stAlert]")).to_have_count(0)


def test_relevance_for_a_class_is_a_file_that_names_the_class(page: Page, tmp_path: Path) -> None:
    show(page, f"/?at=attention_relevance&{OPENED}")
    choose(page, "Class", "coat")
    page.get_by_role("button", name=re.compile("Export this map$")).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG", exact=True).click()
    assert "coat" in download.value.suggested_filename
    download.value.save_as(tmp_path / "map.svg")
    written = (tmp_path / "map.svg").read_text(encoding="utf-8")
    # Words are drawn as outlines, and told beside them.
    assert re.search("<!-- .*coat.* -->", written)
    root = ElementTree.fromstring(written)
    assert root.findall(".//{http://www.w3.org/2000/svg}image")
