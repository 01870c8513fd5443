"""Can a chart be read and used on a phone, in a real browser?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.serving import CLASSIFIER
from tests.dashboard.windows import PHONE, ready, show, user_with
from vit_inspect_dashboard import places

pytestmark = pytest.mark.slow


OVER = """() => {
  const page = document.querySelector("[data-testid=stMain]");
  return Math.max(...[document.documentElement, page].map((e) => e.scrollWidth - e.clientWidth));
}"""
"""By how many px the page can be moved sideways."""

WIDE = "[class*=st-key-wide_]"
"""What keeps its width, and is moved sideways."""


@pytest.fixture(scope="module")
def phone(browser: Browser, address: str) -> Iterator[Page]:
    with user_with(browser, address, **PHONE) as page:
        yield page


def swipe(page: Page, start: tuple[float, float], by: tuple[float, float]) -> None:
    """Moves a finger over the screen, in CSS px."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    send("touchStart", start)
    for step in range(1, 11):
        send("touchMove", (start[0] + by[0] * step / 10, start[1] + by[1] * step / 10))
    # A finger that lifts while it moves throws the page, nobody knows how far.
    page.wait_for_timeout(100)
    send("touchEnd")


def rests(page: Page, selector: str, side: str, *, above: float) -> None:
    """Waits until something has been scrolled so far, and glides no more."""
    moved = """async ([selector, side, above]) => {
      const place = document.querySelector(selector);
      const before = place[side];
      for (let times = 0; times < 10; times++) await new Promise(requestAnimationFrame);
      return place[side] === before && before > above;
    }"""
    page.wait_for_function(moved, arg=[selector, side, above])


STACKED = """() => {
  const drawings = [...document.querySelectorAll(".stPlotlyChart .nsewdrag")];
  const [first, second] = drawings.map((each) => each.getBoundingClientRect());
  return second && second.top > first.bottom;
}"""
"""Whether the second drawing of a chart is below the first, and no longer beside it."""


def test_drawings_stand_below_each_other_and_a_tap_on_one_opens_the_head(phone: Page) -> None:
    show(phone, "/?at=head_statistics")
    phone.wait_for_function(STACKED)
    ready(phone)
    assert phone.get_by_text("Tap a head").is_visible()
    drawing = phone.locator(".stPlotlyChart .nsewdrag").first
    box = drawing.bounding_box()
    assert box
    swipe(phone, (150, box["y"] + 150), (0, -300))
    rests(phone, "[data-testid=stMain]", "scrollTop", above=200)
    box = drawing.bounding_box()
    assert box
    # The cell of head 3 in layer 6, of six heads and twelve layers.
    phone.touchscreen.tap(box["x"] + box["width"] * 3.5 / 6, box["y"] + box["height"] * 6.5 / 12)
    phone.wait_for_url("**at=explore**")
    opened = parse_qs(urlparse(phone.url).query)
    assert (opened["layer"], opened["head"]) == (["6"], ["3"])


def test_a_tapped_tile_is_large_until_it_is_tapped_again(phone: Page) -> None:
    show(phone, "/?at=learn&step=3")
    expect(phone.get_by_text("Do: Tap the tiles")).to_be_visible()
    sheet, lens = phone.locator(".magnifier .stage"), phone.locator(".magnifier .lens")
    box = sheet.bounding_box()
    assert box
    # Of ten tiles a side, the fourth in the first row.
    place = {"x": 0.345 * box["width"], "y": 0.045 * box["height"]}
    sheet.tap(position=place)
    expect(lens).to_be_visible()
    expect(phone.locator(".magnifier .words")).to_contain_text("Patch (0, 12)")
    sheet.tap(position=place)
    expect(lens).to_be_hidden()


def test_a_chart_that_is_cut_fades_there_and_a_finger_moves_it_to_its_end(phone: Page) -> None:
    show(phone, f"/?at=logit_lens&model={CLASSIFIER}")
    place = phone.locator(WIDE)
    place.scroll_into_view_if_needed()
    ready(phone)
    expect(place).to_have_css("mask-image", re.compile(r"linear-gradient\(to left"))
    box = place.bounding_box()
    assert box
    swipe(phone, (200, max(box["y"], 100) + 100), (-100, 0))
    rests(phone, WIDE, "scrollLeft", above=40)
    ends = """e => {
      e.scrollLeft = e.scrollWidth;
      const [fade] = getComputedStyle(e).maskImage.match(/[0-9.]+px/);
      const chart = e.querySelector(".stPlotlyChart").getBoundingClientRect();
      return [chart.right + parseFloat(fade), e.getBoundingClientRect().right];
    }"""
    last, edge = place.evaluate(ends)
    assert last <= edge + 1, "the end of the chart still fades"


def test_no_page_can_be_moved_sideways_and_the_title_that_is_open_is_seen_in_its_place(
    phone: Page,
) -> None:
    """One after the other, of the smallest input: what is wrong is told of all views at once."""
    wrong = []
    for view in places.VIEW_NAMES:
        show(phone, f"/?size=224&at={view}")
        if phone.evaluate(OVER) > 0:
            wrong.append(f"{view} is {phone.evaluate(OVER)} px too wide")
        titles = list(places.place_of(view).views.values())
        row = phone.locator(".st-key-view [role=radio]")
        if len(titles) > 1:
            # Both come when they come on a busy machine.
            expect(row).to_have_text(titles)
            opened = phone.locator(".st-key-view [aria-checked=true]")
            expect(opened).to_be_in_viewport(ratio=0.99)
    assert not wrong


def test_a_title_that_is_drawn_late_is_brought_into_sight(phone: Page) -> None:
    show(phone, "/?size=224&at=layer_cka")
    titles = phone.locator(".st-key-view [role=radio]")
    far, near = titles.last, titles.first
    expect(far).to_be_in_viewport(ratio=0.99)
    # As on a slow machine: another title is open, long after the page was drawn.
    far.evaluate("e => e.setAttribute('aria-checked', false)")
    near.evaluate("e => e.setAttribute('aria-checked', true)")
    expect(near).to_be_in_viewport(ratio=0.99)
    expect(far).not_to_be_in_viewport()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/?at=layer_cka", "cka"),
        ("/?at=token_similarity&beside=coffee", "similar_there"),
        (f"/?at=head_importance&model={CLASSIFIER}", "board"),
    ],
)
def test_below_a_picture_in_a_chart_is_no_empty_room(phone: Page, path: str, key: str) -> None:
    show(phone, path)
    # What asks for more after it was drawn is drawn anew: the chart that stays is looked at.
    below = """key => {
      const drawing = document.querySelector(`.st-key-${key} .stPlotlyChart .nsewdrag`);
      const place = drawing?.closest(".stElementContainer").getBoundingClientRect();
      const room = place && place.bottom - drawing.getBoundingClientRect().bottom;
      return 0 <= room && room < 80;
    }"""
    phone.wait_for_function(below, arg=key)


def test_the_legend_of_a_chart_is_on_the_screen(phone: Page) -> None:
    show(phone, "/?at=attention_distance")
    phone.wait_for_function("""() => {
      const names = [...document.querySelectorAll(".stPlotlyChart .legendtext")];
      const heads = names.slice(0, 6).map((name) => name.textContent);
      return heads.join() === [0, 1, 2, 3, 4, 5].map((head) => `Head ${head}`).join()
        && names.map((name) => name.getBoundingClientRect())
          .every((box) => box.width > 0 && box.left >= 0 && box.right <= 390);
    }""")
