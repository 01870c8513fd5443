"""Does the dashboard do what a user wants of it, in a real browser?"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import time
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Position, expect

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.serving import ROOT
from tests.dashboard.test_explorer import LOOK, PHOTOGRAPH
from tests.dashboard.windows import PHONE, SECONDS, ready, show, user_with
from tests.helpers.made import layout_of
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect.attention.rows import rows
from vit_inspect.figures import looks
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.figures.lit import covered
from vit_inspect.records.base import Photograph
from vit_inspect_dashboard.components import component, explorer, screen
from vit_inspect_dashboard.components.explorer import pack
from vit_inspect_dashboard.sheets import still

pytestmark = pytest.mark.slow

FIGURES = {entry.figure.slug: entry.figure for entry in vi.FIGURES}
SETTINGS = ROOT / "dashboard/.streamlit/config.toml"
HOUR = 3_600_000
"""In ms; later than it is when a clock is stopped."""
LIMIT_MB = tomllib.loads(SETTINGS.read_text())["server"]["maxUploadSize"]


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option", name=option, exact=True).click()
    ready(page)


def turn_to(page: Page, title: str) -> None:
    """Opens a place, or a view of the place that is open."""
    page.locator(".st-key-place, .st-key-view").get_by_text(title, exact=True).click()
    ready(page)


def at(canvas: Locator, row: int, column: int, grid: int = 16) -> Position:
    """Where a patch lies on a canvas of so many patches a side, in CSS px."""
    box = canvas.bounding_box()
    assert box
    x = (column + 0.5) / grid * box["width"]
    return {"x": x, "y": (row + 0.5) / grid * box["height"]}


def pixels_of(canvas: Locator) -> np.ndarray:
    """What a canvas shows, (row, column, channel)."""
    told = canvas.evaluate("c => c.toDataURL()").partition("base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(told))))


def leave(page: Page) -> None:
    """Moves the cursor away from everything, so that what is pinned shows."""
    page.mouse.move(1, 1)


def short(value: float) -> str:
    """A number as the browser writes it: three digits that count, and no zeros behind them."""
    return f"{float(f'{value:.3g}'):.12f}".rstrip("0").rstrip(".").replace("-", "−")


@pytest.fixture(scope="module")
def capture() -> vi.Capture:
    return vi.capture(vi.load(img_size=224, device="cpu"), vi.sample("chelsea"))


@pytest.fixture(scope="module")
def maps(capture: vi.Capture) -> vi.AttentionMaps:
    """The maps of what the model reads: the class token."""
    return vi.attention_maps(capture)


def test_the_first_screen_is_the_map_of_a_telling_head_with_exact_numbers(
    page: Page, capture: vi.Capture, maps: vi.AttentionMaps
) -> None:
    asked: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: asked.append(frame)))
    show(page, "/")
    canvas, line = page.locator("canvas.picture"), page.locator(".explorer .line")
    layer, head = telling_head(maps)
    expect(canvas).to_have_attribute("data-place", f"L{layer} H{head}")
    expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")
    weights = maps.weights[0, layer, head]
    most = np.unravel_index(weights.argmax(), weights.shape)
    mass = maps.prefix_mass[0, layer, head, 0]
    expect(line).to_have_text(
        f"Class token (CLS) attends {1 - mass:.1%} to patches, {mass:.1%} to CLS; "
        f"most to patch ({most[0]}, {most[1]}): {short(weights.max())}"
    )
    end = np.percentile(weights, 98.5)
    expect(page.locator(".explorer .end")).to_have_text(f"≥ {short(end)}")
    expect(page.get_by_text(re.compile("Attention verified to .e-0[67]"))).to_be_visible()
    box = canvas.bounding_box()
    assert box
    assert box["height"] > 450
    assert box["y"] + box["height"] < 900, "the photograph does not fit the screen"

    assert asked
    asked.clear()
    for patch in ((8, 5), (3, 12), (11, 5)):
        canvas.hover(position=at(canvas, *patch))
        expect(canvas).to_have_attribute("data-shown", f"({patch[0]}, {patch[1]})")
        row = rows(capture.layers[layer], [capture.layout.token(patch)])[0, head, 0].numpy()
        most = divmod(int(row[1:].argmax()), 16)
        expect(line).to_have_text(
            f"Patch ({patch[0]}, {patch[1]}) attends {row[1:].sum():.1%} to patches, "
            f"{row[0]:.1%} to CLS; most to patch ({most[0]}, {most[1]}): {short(row[1:].max())}"
        )
        times = row[1:].max() / np.percentile(row[1:], 98.5)
        beyond = f", {times:.2g} × the end of the scale" if times >= 2 else ""
        expect(page.locator(".explorer .unit")).to_have_text(
            f"attention weight; clipped at percentile 98.5, largest {short(row[1:].max())}{beyond}"
        )
    assert beyond
    # The small maps do not follow the cursor.
    expect(page.locator(".explorer .maps")).to_have_text(
        "Rows are layers, columns are heads. Query: Class token (CLS)."
    )
    # In another head the rows are not there yet: the cursor reads the map that is.
    page.keyboard.press("j")
    canvas.hover(position=at(canvas, 6, 5))
    expect(canvas).to_have_attribute("data-place", f"L{layer + 1} H{head}")
    assert not asked, "hovering went to the server"


def test_a_demonstration_moves_over_the_picture_until_the_cursor_arrives(
    browser: Browser, address: str
) -> None:
    with user_with(browser, address) as window:
        canvas, line = window.locator("canvas.picture"), window.locator(".explorer .line")

        def passes_until(shown: str) -> str:
            """Lets time pass until the canvas shows this."""
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                found = str(canvas.evaluate_all("all => all[0]?.dataset.shown"))
                if re.fullmatch(shown, found):
                    return found
                window.clock.run_for(20)
            raise AssertionError(found)

        # It lasts five seconds, which pass when this test lets them.
        window.clock.install(time=0)
        window.clock.pause_at(HOUR)
        window.goto("/?size=224")
        first = passes_until(r"\(\d+, \d+\)")
        assert line.inner_text().startswith(f"For example: Patch {first} attends")
        passes_until(rf"(?!{re.escape(first)})\(\d+, \d+\)")
        window.mouse.move(3, 3)
        passes_until(r"Class token \(CLS\)")
        # Once it is over and nothing moves, what draws charts is loaded before one is asked for.
        with window.expect_request(f"**/{screen.chart_file()}"):
            window.clock.run_for(6000)
        assert passes_until(".*") == "Class token (CLS)"
        # It is for who has just come: another canvas of what a token attends to has none.
        window.clock.resume()
        turn_to(window, "Learn")
        window.get_by_role("radio", name="4", exact=True).click()
        shown = window.locator("canvas.picture")
        expect(shown).to_have_attribute("data-shown", "Class token (CLS)")
        ready(window)
        for _ in range(10):
            window.clock.run_for(300)
            assert shown.get_attribute("data-shown") == "Class token (CLS)"


def test_the_looks_are_drawn_and_stay_in_the_link(page: Page, maps: vi.AttentionMaps) -> None:
    show(page, "/?layer=7&head=2&edges=blocks&clip=100")
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-place", "L7 H2")
    weights, photograph = maps.weights[0, 7, 2], maps.photographs[0]
    expect(page.locator(".explorer .end")).to_have_text(short(weights.max()))
    heat = pixels_of(canvas)
    assert_lit(heat, weights / weights.max(), "heat", photograph)

    page.get_by_label("Look", exact=True).select_option("spotlight")
    expect(page).to_have_url(re.compile("look=spotlight"))
    assert_lit(pixels_of(canvas), weights / weights.max(), "spotlight", photograph)
    page.get_by_label("Edges", exact=True).select_option("smooth")
    expect(page).not_to_have_url(re.compile("edges="))
    smooth = pixels_of(canvas)
    # Enlarged as a file of it is: linear between the centres of patches.
    ends = (0.0, float(weights.max()))
    file = covered(photograph, weights, ends, "spotlight", "smooth", long_side_px=max(smooth.shape))
    # 0.26 of 255; a cubic curve, or one that is coarse, would differ by more than 0.6.
    assert np.abs(coarse(smooth) - coarse(file)).mean() < 0.45
    page.get_by_label("Clip", exact=True).select_option("95")
    expect(page).to_have_url(re.compile("clip=95"))
    expect(page.locator(".explorer .end")).to_have_text(f"≥ {short(np.percentile(weights, 95))}")
    expect(page.locator(".explorer .unit")).to_contain_text(
        f"clipped at percentile 95, largest {short(weights.max())}"
    )
    page.get_by_label("Scale", exact=True).select_option("shared")
    shared = np.percentile(maps.weights[0], 95)
    expect(page.locator(".explorer .end")).to_have_text(f"≥ {short(shared)}")
    expect(page).to_have_url(re.compile("scale=shared"))
    ready(page)
    before = coarse(pixels_of(canvas))
    page.reload()
    expect(canvas).to_have_attribute("data-place", "L7 H2")
    expect(page.get_by_label("Look", exact=True)).to_have_value("spotlight")
    expect(page.get_by_label("Clip", exact=True)).to_have_value("95")
    ready(page)
    assert np.abs(coarse(pixels_of(canvas)) - before).mean() < 2


def test_what_comes_above_the_photograph_takes_room_from_it(page: Page) -> None:
    show(page, "/")
    canvas = page.locator("canvas.picture")
    height = canvas.evaluate("canvas => canvas.height")
    page.get_by_test_id("stMainBlockContainer").evaluate(
        "page => page.insertAdjacentHTML('afterbegin', '<div style=\"height: 40px\"></div>')"
    )
    expect(canvas).to_have_js_property("height", height - 40)


def coarse(picture: np.ndarray) -> np.ndarray:
    """The mean colours of its 64 × 64 parts: pictures of any size can be compared."""
    small = Image.fromarray(picture[..., :3]).resize((64, 64), Image.Resampling.BOX)
    return np.asarray(small).astype(float)


def assert_lit(picture: np.ndarray, shares: np.ndarray, look: str, photograph: Photograph) -> None:
    """The picture is the photograph in colour as the model saw it, each patch lit by its share."""
    side = len(picture)
    seen = [round(each) for each in photograph.seen]
    crop = vi.sample("chelsea").crop(seen).resize((side, side))
    lit = looks.lit(shares, look)[..., None, None, :]
    for row, column in np.ndindex(shares.shape):
        middle = [
            slice(int((each + 0.25) * side / 16), int((each + 0.75) * side / 16))
            for each in (row, column)
        ]
        colour = np.asarray(crop)[tuple(middle)].mean((0, 1))
        *hue, opacity = lit[row, column, 0, 0]
        wanted = opacity * 255 * np.array(hue) + (1 - opacity) * colour
        np.testing.assert_allclose(picture[tuple(middle)][..., :3].mean((0, 1)), wanted, atol=8)


def test_marked_patches_are_outlined_in_the_layer_that_they_are_of(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server: the bundled model has no artefacts to mark."""
    parts: dict[str, str] = {}
    monkeypatch.setattr(st.components.v2, "component", lambda name, **given: parts.update(given))
    component.__wrapped__(explorer.__file__, "maps.js")
    norms = np.ones((2, 2, 3), np.float32)
    sheet = still("Norm", "L2 norm", PHOTOGRAPH, layout_of("cls"), norms, 1)
    outlined = (0, 1), (1, 2)
    data = pack(replace(sheet, outlined=outlined), LOOK)
    page = browser.new_page()
    page.set_content(parts["html"])
    page.evaluate(
        """async ([script, packed]) => {
          const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
          const data = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
          const place = { data, parentElement: document.body, setTriggerValue() {} };
          (await import(url)).default(place);
        }""",
        [parts["js"], base64.b64encode(data).decode()],
    )
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-place", "L1")
    picture = pixels_of(canvas)
    height, width = picture.shape[0] // 2, picture.shape[1] // 3
    accent = [int(looks.ACCENT[place : place + 2], 16) for place in (1, 3, 5)]
    marked = np.abs(picture[..., :3].astype(int) - accent).sum(axis=-1) < 12
    for row, column in np.ndindex(2, 3):
        # The middle of its upper and lower edge, which no other marked patch shares.
        x = int((column + 0.5) * width)
        edges = [marked[max(0, y - 3) : y + 3, x].any() for y in (row * height, (row + 1) * height)]
        assert all(edges) == ((row, column) in outlined), (row, column)
    page.keyboard.press("k")
    expect(canvas).to_have_attribute("data-place", "L0")
    assert np.abs(pixels_of(canvas)[..., :3].astype(int) - accent).sum(axis=-1).min() > 12
    page.close()


def test_opens_about_a_real_model_from_the_places(page: Page) -> None:
    show(page, "/overview")
    expect(page.get_by_role("heading", name="dinov2_small")).to_be_visible()
    expect(page.get_by_text("22,056,192")).to_be_visible()
    expect(page.get_by_role("radio", name="About this model")).to_be_checked()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()


def test_what_is_said_of_a_model_stays_in_the_address(page: Page) -> None:
    show(page, "/?at=export")
    page.get_by_role("button", name="What the weights do not say").click()
    page.get_by_role("textbox", name="Standard deviation").fill("0.25, 0.5, 0.5")
    page.get_by_role("button", name="Load it so").click()
    ready(page)
    told = page.locator("code").filter(has_text="vit_inspect figures")
    expect(told).to_contain_text("--std 0.25,0.5,0.5")
    page.reload()
    expect(told).to_contain_text("--std 0.25,0.5,0.5")
    page.get_by_role("button", name="What the weights do not say (1 said)").click()
    page.get_by_role("button", name="Forget what was said").click()
    expect(told).not_to_contain_text("--std")
    expect(page).not_to_have_url(re.compile("std"))


def test_a_click_pins_a_patch_and_keeps_the_colours(page: Page, browser, address) -> None:
    show(page, "/?scale=shared")
    canvas, query = page.locator("canvas.picture"), page.get_by_label("Query", exact=True)
    end, unpin = page.locator(".explorer .end"), page.get_by_role("button", name="Unpin")
    expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")
    # Whether values lie above it depends on the map.
    as_before = re.compile(f"^(≥ )?{re.escape(end.inner_text().removeprefix('≥ '))}$")
    expect(unpin).to_be_disabled()

    def pin() -> None:
        canvas.click(position=at(canvas, 8, 5))
        expect(page).to_have_url(re.compile(r"query=Patch\+%288%2C\+5%29"))
        ready(page)
        leave(page)
        expect(canvas).to_have_attribute("data-shown", "(8, 5)")
        expect(query.locator("option:checked")).to_have_text("Patch (8, 5)")
        expect(end).to_have_text(as_before)

    def is_let_go() -> None:
        expect(page).not_to_have_url(re.compile("query="))
        ready(page)
        leave(page)
        expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")
        expect(unpin).to_be_disabled()
        expect(end).to_have_text(as_before)

    pin()
    page.get_by_role("button", name="Next layer").click()
    expect(page).to_have_url(re.compile("layer=11"))
    ready(page)
    with user_with(browser, address) as other:
        show(other, page.url)
        expect(other.locator("canvas.picture")).to_have_attribute("data-shown", "(8, 5)")
        expect(other.locator("canvas.picture")).to_have_attribute("data-place", "L11 H5")

    canvas.click(position=at(canvas, 8, 5))
    is_let_go()
    pin()
    unpin.click()
    is_let_go()
    # Wherever the focus is: on the title of a place, for example.
    pin()
    page.get_by_role("radio", name="Learn").focus()
    page.keyboard.press("Escape")
    is_let_go()


def test_a_region_that_is_dragged_is_the_mean_of_its_rows(page: Page, capture: vi.Capture) -> None:
    show(page, "/?layer=7&head=2")
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-place", "L7 H2")
    canvas.hover(position=at(canvas, 6, 4))
    page.mouse.down()
    canvas.hover(position=at(canvas, 8, 5))
    page.mouse.up()
    expect(page).to_have_url(re.compile("query=Region"))
    leave(page)
    tokens = [capture.layout.token((row, column)) for row in (6, 7, 8) for column in (4, 5)]
    row = rows(capture.layers[7], tokens)[0, 2].mean(0).numpy()
    line = page.locator(".explorer .line")
    expect(line).to_contain_text(re.compile(r"\(6, 4\) to \(8, 5\) attends"))
    expect(line).to_contain_text(f"{row[0]:.1%} to CLS")
    expect(line).to_contain_text(f": {short(row[1:].max())}")


def test_the_tile_under_the_cursor_is_large_and_a_click_opens_it(page: Page) -> None:
    show(page, "/?at=position_similarity")
    sheet = page.locator(".magnifier .stage")
    expect(page.locator(".magnifier .lens")).to_be_hidden()
    box = sheet.bounding_box()
    assert box
    # Of ten tiles a side, the fourth in the seventh row.
    sheet.hover(position={"x": 0.345 * box["width"], "y": 0.645 * box["height"]})
    expect(page.locator(".magnifier .lens")).to_be_visible()
    result = vi.position_similarity(vi.load(img_size=224, device="cpu"))
    marks = FIGURES["position_similarity"].plot(result).data[0]
    tile = [list(each) for each in marks.customdata].index([24, 12])
    words = marks.text[tile]
    expect(page.locator(".magnifier .words")).to_have_text(words.replace("<br>", "\n"))

    tile = looks.colour(
        result.similarity[24, 12], looks.SIMILARITY_MAP, looks.SIMILARITY_LIMITS
    ).astype(int)
    lens = page.locator(".magnifier canvas")
    size = lens.evaluate("c => [c.height, c.width]")
    pixels = lens.evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    )
    shown = np.array(pixels).reshape(*size, 4)
    middles = [int((patch + 0.5) * size[0] / 37) for patch in range(37)]
    assert np.abs(shown[np.ix_(middles, middles)] - tile).max() <= 1

    sheet.click(position={"x": 0.345 * box["width"], "y": 0.645 * box["height"]})
    expect(page).to_have_url(re.compile(r"patch=Patch\+%2824%2C\+12%29"))
    expect(page.get_by_label("Patch", exact=True)).to_have_value("Patch (24, 12)")
    # It stays outlined: its middle is where the cursor was, to a part of a tile.
    ready(page)
    page.mouse.move(0, 0)
    mark, box = page.locator(".magnifier .opened").bounding_box(), sheet.bounding_box()
    assert mark
    assert box
    across = (mark["x"] + mark["width"] / 2 - box["x"]) / box["width"]
    assert across == pytest.approx(0.345, abs=0.03)
    assert (mark["y"] + mark["height"] / 2 - box["y"]) / box["height"] == pytest.approx(
        0.645, abs=0.03
    )


def test_six_quick_presses_are_six_layers_and_one_step_back(browser: Browser, address: str) -> None:
    with user_with(browser, address, reduced_motion="reduce") as page:
        show(page, "/?layer=0&head=2")
        canvas = page.locator("canvas.picture")
        expect(canvas).to_have_attribute("data-place", "L0 H2")
        # Quick on any machine: its time stands still but for what is said here.
        page.clock.install(time=0)
        page.clock.pause_at(HOUR)
        for _ in range(6):
            page.keyboard.press("j")
            page.clock.run_for(100)
        page.clock.resume()
        expect(canvas).to_have_attribute("data-place", "L6 H2")
        expect(page).to_have_url(re.compile("layer=6"))
        ready(page)
        expect(canvas).to_have_attribute("data-place", "L6 H2")
        page.keyboard.press("l")
        expect(page).to_have_url(re.compile("head=3"))
        ready(page)
        page.keyboard.press("n")
        expect(page).to_have_url(re.compile("image=astronaut"))
        expect(canvas).to_have_attribute("data-place", "L6 H3")
        ready(page)
        for place, image in (("L6 H3", "chelsea"), ("L6 H2", "chelsea"), ("L0 H2", "chelsea")):
            page.go_back()
            expect(canvas).to_have_attribute("data-place", place)
            expect(page.get_by_label("Picture", exact=True).first).to_have_value(image)
            ready(page)


def test_back_and_forward_undo_one_step_each(page: Page) -> None:
    show(page, "/?layer=4&head=2")
    canvas, picture = page.locator("canvas.picture"), page.get_by_label("Picture", exact=True).first
    place = page.locator(".st-key-place [aria-checked=true]")
    expect(canvas).to_have_attribute("data-place", "L4 H2")
    states = [("L4 H2", "Explore", "chelsea")]

    def stands(state: tuple[str, str, str]) -> None:
        expect(place).to_have_text(state[1])
        expect(picture).to_have_value(state[2])
        if state[1] == "Explore":
            expect(canvas).to_have_attribute("data-place", state[0])
        ready(page)

    def did(*state: str) -> None:
        stands(state)
        states.append(state)

    page.get_by_role("button", name="Next layer").click()
    expect(page).to_have_url(re.compile("layer=5"))
    did("L5 H2", "Explore", "chelsea")
    page.get_by_role("button", name="coffee").click()
    expect(page).to_have_url(re.compile("image=coffee"))
    did("L5 H2", "Explore", "coffee")
    turn_to(page, "Heads and layers")
    did("", "Heads and layers", "coffee")
    turn_to(page, "Explore")
    did("L5 H2", "Explore", "coffee")
    for state in reversed(states[:-1]):
        page.go_back()
        stands(state)
    for state in states[1:]:
        page.go_forward()
        stands(state)


def test_playing_through_layers_ends_at_the_last_one(page: Page) -> None:
    show(page, "/?layer=9&head=1")
    canvas, play = page.locator("canvas.picture"), page.locator(".explorer .play")
    expect(canvas).to_have_attribute("data-place", "L9 H1")
    # What its button says on the way may be over before it is looked for.
    play.evaluate("""play => {
      window.said = [];
      new MutationObserver(() => said.push(play.textContent)).observe(play, { childList: true });
    }""")
    play.click()
    page.wait_for_function("said.length === 2")
    assert page.evaluate("said") == ["Pause", "Play"]
    expect(canvas).to_have_attribute("data-place", "L11 H1")
    expect(page).to_have_url(re.compile("layer=11"))
    ready(page)
    expect(canvas).to_have_attribute("data-place", "L11 H1")
    # The whole way is one step.
    page.go_back()
    expect(canvas).to_have_attribute("data-place", "L9 H1")


def test_an_old_address_opens_its_view(page: Page) -> None:
    show(page, "/attention_maps?layer=4&head=2&image=coffee")
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-place", "L4 H2")
    expect(page.get_by_label("Picture", exact=True).first).to_have_value("coffee")
    turn_to(page, "Heads and layers")
    expect(page.locator(".st-key-place [aria-checked=true]")).to_have_text("Heads and layers")


def test_on_a_phone_the_photograph_comes_before_the_tools(browser: Browser, address: str) -> None:
    with user_with(browser, address, **PHONE) as page:
        show(page, "/")
        canvas, tools = page.locator("canvas.picture"), page.locator(".explorer .tools")
        expect(page.locator("h1")).to_have_text(re.compile("^Tap the picture"))
        boxes = [each.bounding_box() for each in (canvas, tools, page.locator("canvas.overview"))]
        photograph, below, overview = boxes
        assert photograph
        assert below
        assert overview
        assert photograph["y"] + photograph["height"] <= below["y"] < overview["y"]
        assert photograph["y"] + photograph["height"] < 844
        assert photograph["width"] > 300


def test_a_dot_of_the_distance_plot_opens_that_heads_maps(page: Page) -> None:
    show(page, "/?at=attention_distance")
    # Head 2 of layer 9: the one that attends farther than uniform attention.
    dot = page.locator(".js-plotly-plot .scatterlayer .trace").nth(2).locator("path.point").nth(9)
    dot.click(force=True)
    expect(page.locator("canvas.picture")).to_have_attribute("data-place", "L9 H2")
    expect(page).to_have_url(re.compile(r"at=explore.*head=2"))
    # And coming back does not leave again.
    page.go_back()
    expect(page.get_by_role("heading", name="Attention distance")).to_be_visible()
    ready(page)
    expect(page.get_by_role("heading", name="Attention distance")).to_be_visible()


def test_another_input_size_has_more_patches_on_every_page(page: Page) -> None:
    show(page, "/?at=attention_rollout")
    choose(page, "Model input in px", "336")
    expect(page.get_by_text("577 tokens: cls, 576 patches")).to_be_visible()
    ready(page)
    turn_to(page, "About this model")
    expect(page.get_by_text("336 × 336 px", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("size=336"))


def test_an_upload_is_shown_and_its_name_is_plain_text(page: Page, tmp_path: Path) -> None:
    name = "<b>bold</b> **star** $x$ [a](http:b).png"
    picture = io.BytesIO()
    noise((90, 60), 0).save(picture, "PNG")
    show(page, "/")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="+ your photo").click()
    chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": picture.getvalue()})
    # As it stands: in the list of pictures, and under its own.
    expect(page.get_by_label("Picture", exact=True).first).to_have_value(name)
    expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    ready(page)
    expect(page.locator("canvas.picture")).to_be_visible()
    assert page.locator("main b, section b").count() == 0
    turn_to(page, "About this model")
    expect(page.get_by_role("heading", name="dinov2_small")).to_be_visible()
    assert page.locator("main b, section b").count() == 0
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_a_link_to_an_upload_that_is_gone_opens_once_it_is_given_again(page: Page) -> None:
    picture = io.BytesIO()
    noise((80, 80), 1).save(picture, "PNG")
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    show(page, "/?image=mine.png&layer=7&head=2")
    told = page.get_by_text("This link shows mine.png, which was uploaded elsewhere.")
    expect(told).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="+ your photo").click()
    chooser.value.set_files(file)
    expect(told).to_have_count(0)
    expect(page.get_by_role("button", name="mine.png", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    # What else the link says goes on to hold.
    expect(page.locator("canvas.picture")).to_have_attribute("data-place", "L7 H2")


def test_what_is_no_picture_is_a_sentence(page: Page) -> None:
    show(page, "/")
    expect(page.get_by_text(re.compile(f"{LIMIT_MB} ?MB per file"))).to_be_visible()
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').set_input_files(
        {"name": "text.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    told = page.get_by_text("text in 'text.png'")
    expect(told).to_be_visible()
    # The one limit that the place to drop pictures names too.
    expect(told).to_contain_text(f"{LIMIT_MB} MB")
    expect(page.locator("canvas.picture")).to_be_visible()


def test_nonsense_in_the_address_is_told_and_goes_out_of_it(
    page: Page, maps: vi.AttentionMaps
) -> None:
    show(page, "/?image=coffee")
    show(
        page,
        "/?at=../../x&layer=99&head=-1&query=Patch+99,99&image=../../etc/passwd&size=7&fit=x&"
        "look=%3Cb%3E&clip=7&scale=1&stage=9",
    )
    canvas, (layer, head) = page.locator("canvas.picture"), telling_head(maps)
    expect(canvas).to_have_attribute("data-place", f"L{layer} H{head}")
    expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")
    expect(page.get_by_label("Look", exact=True)).to_have_value("heat")
    expect(page.get_by_text("257 tokens")).to_be_visible()
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)
    told = page.get_by_text(
        "“size=7” of the address is not possible here. Chosen instead: 224. "
        "Possible: 224, 252, 336, 378, 448, 518."
    )
    expect(told).to_be_visible()
    # But for the picture, which may be given yet.
    expect(page).to_have_url(re.compile(r"/\?image=[^&]*$"))
    # Back leads out of a link that was mended.
    for _ in range(2):
        page.go_back()
        ready(page)
    expect(page).to_have_url(re.compile(r"image=coffee$"))
    expect(told).to_have_count(0)


def test_a_model_that_cannot_be_had_is_a_sentence_with_a_way_back(page: Page) -> None:
    show(page, "/?model=vit_bse_patch16_224&image=coffee")
    told = page.get_by_text("unknown model 'vit_bse_patch16_224'")
    expect(told).to_be_visible()
    expect(page.get_by_text("--model vit_bse_patch16_224")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    ready(page)
    expect(told).to_be_visible()
    page.get_by_role("button", name="Back to dinov2_small").click()
    expect(told).to_have_count(0)
    expect(page.locator("canvas.picture")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?image=coffee$"))


def test_figure_7_is_one_file_as_wide_as_a_column(page: Page, tmp_path: Path) -> None:
    show(page, "/?at=paper&paper=7&width=3.25&font=times")
    page.get_by_role("button", name=re.compile("Export$")).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG", exact=True).click()
    download.value.save_as(tmp_path / "figure.svg")
    root = ElementTree.parse(tmp_path / "figure.svg").getroot()
    assert root.get("width") == f"{72 * 3.25:g}pt"
    # The filters, the similarity of positions with its scale, the attended area, the caption.
    names = [each.get("id") or "" for each in root.iter("{http://www.w3.org/2000/svg}g")]
    assert sum(name.startswith("axes_") for name in names) >= 4
    assert "caption" in names


def test_what_is_pointed_at_in_one_explorer_is_shown_in_the_linked_one(page: Page) -> None:
    show(page, "/?at=compare&right_image=coffee")
    left, right = (page.locator("canvas.picture").nth(side) for side in (0, 1))
    left.hover(position=at(left, 4, 9))
    for canvas in (left, right):
        expect(canvas).to_have_attribute("data-shown", "(4, 9)")
    layer, head = re.findall(r"\d+", str(left.get_attribute("data-place")))
    page.keyboard.press("k")
    for canvas in (left, right):
        expect(canvas).to_have_attribute("data-place", f"L{int(layer) - 1} H{head}")
    leave(page)
    for canvas in (left, right):
        expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")


def test_a_survey_over_the_samples_is_shown(page: Page) -> None:
    show(page, "/?at=attention_distance")
    page.get_by_text("all samples").click()
    expect(page.get_by_text("Mean over 7 images, paper definition.")).to_be_visible()


def test_a_cancelled_survey_leaves_the_page_as_it_was(page: Page) -> None:
    show(page, "/?at=attention_distance&size=448")
    page.get_by_text("all samples").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("One image, paper definition.")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("over="))
    # Nothing of it waits for the device: the next figure comes.
    turn_to(page, "Explore")
    expect(page.locator("canvas.picture")).to_have_attribute("data-shown", "Class token (CLS)")


def test_a_figure_is_downloaded_in_every_format(
    page: Page, capture: vi.Capture, tmp_path: Path
) -> None:
    show(page, "/?at=attention_rollout&fusion=max")
    page.get_by_role("button", name=re.compile("Export the paper's figure$")).click()
    data: dict[str, bytes] = {}
    for kind in ("svg", "pdf", "png", "html", "npz", "csv"):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind.upper(), exact=True).click()
        name = f"dinov2_small_chelsea_attention_rollout.{kind}"
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        data[kind] = (tmp_path / name).read_bytes()
    wanted = vi.attention_rollout(capture, fusion="max").relevance
    np.testing.assert_allclose(np.load(io.BytesIO(data["npz"]))["relevance"], wanted, atol=1e-6)
    values = [
        float(row["value"])
        for row in csv.DictReader(io.StringIO(data["csv"].decode()))
        if row["quantity"] == "relevance"
    ]
    np.testing.assert_allclose(values, wanted.ravel(), atol=1e-6)
    starts = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG", "html": b"<!doctype html>"}
    assert all(data[kind].startswith(start) for kind, start in starts.items())


def test_the_bundle_holds_whole_files_with_the_right_numbers(
    page: Page, capture: vi.Capture, tmp_path: Path
) -> None:
    show(page, "/?at=export")
    page.get_by_role("button", name="Make the archive").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the archive").click()
    assert download.value.suggested_filename == "vit_inspect_dinov2_small_chelsea.zip"
    download.value.save_as(tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        assert bundle.testzip() is None
        not_there = {"position_bias", "rotary_similarity", "logit_lens"}
        made = {entry.figure.slug for entry in vi.FIGURES if not entry.thorough} - not_there
        assert len(bundle.namelist()) == 2 + 5 * len(made)
        facts = json.loads(bundle.read("provenance.json"))
        assert facts["photographs"][0]["name"] == "chelsea.png"
        stored = np.load(io.BytesIO(bundle.read("attention_distance.npz")))["distance_px"]
    np.testing.assert_allclose(stored, vi.attention_distance(capture).distance_px, atol=1e-3)


def test_relevance_is_asked_for_a_patch_and_for_another_picture(
    page: Page, capture: vi.Capture
) -> None:
    show(page, "/?at=attention_relevance")
    line = page.locator(".explorer .line")

    def is_that_of(found: vi.AttentionRelevance, way: str = "relevance") -> None:
        values = getattr(found, way)[0].clip(0)
        most = np.unravel_index(values.argmax(), values.shape)
        expect(line).to_have_text(re.compile(rf"most \S+ at patch \({most[0]}, {most[1]}\)$"))
        told = re.findall(r"-?\d[\d.]*(?:e-\d+)?", line.inner_text().split(" at patch")[0])
        np.testing.assert_allclose(
            [float(each) for each in told], [values.min(), values.max()], rtol=0.02, atol=1e-6
        )

    is_that_of(vi.attention_relevance(capture))
    page.get_by_text("a patch", exact=True).click()
    expect(page).to_have_url(re.compile("target=a\\+patch"))
    ready(page)
    is_that_of(vi.attention_relevance(capture, target=(8, 8)))
    page.get_by_text("another picture", exact=True).click()
    expect(page).to_have_url(re.compile("target=another"))
    ready(page)
    found = vi.attention_relevance(capture, target=vi.sample("astronaut"))
    is_that_of(found)
    # The simpler methods stand beside it, and are opened as heads are.
    page.keyboard.press("l")
    page.keyboard.press("l")
    is_that_of(found, "input_gradient")
    expect(page).to_have_url(re.compile("way=Input"))
    ready(page)
    is_that_of(found, "input_gradient")


def test_the_tour_leads_from_patches_to_the_answer(page: Page) -> None:
    show(page, "/tour")
    expect(page.get_by_role("heading", name="1. A photograph becomes patches")).to_be_visible()
    for number in range(2, 9):
        page.get_by_role("button", name=re.compile("^Next.*F$")).click()
        expect(page.get_by_role("heading", name=re.compile(f"^{number}\\. "))).to_be_visible()
        ready(page)
        expect(page).to_have_url(re.compile(f"step={number}"))
        expect(page.locator("[data-testid=stAlertContentError]")).to_have_count(0)
        expect(page.locator(".js-plotly-plot, canvas.picture, img.picture").first).to_be_visible()


def test_similar_patches_follow_the_cursor_and_a_click_pins_one(
    page: Page, capture: vi.Capture
) -> None:
    show(page, "/?at=token_similarity")
    canvas, line = page.locator("canvas.picture"), page.locator(".explorer .line")
    expect(canvas).to_have_attribute("data-place", "L11")

    def is_that_of(patch: tuple[int, int]) -> None:
        expect(canvas).to_have_attribute("data-shown", f"({patch[0]}, {patch[1]})")
        values = vi.token_similarity(capture, patch=patch).similarity[0]
        expect(line).to_have_text(
            f"Patch ({patch[0]}, {patch[1]}): least {short(values.min())}, "
            f"most 1 at patch ({patch[0]}, {patch[1]})"
        )

    is_that_of((8, 8))
    canvas.hover(position=at(canvas, 3, 12))
    is_that_of((3, 12))
    canvas.click(position=at(canvas, 5, 9))
    expect(page).to_have_url(re.compile(r"query=Patch\+%285%2C\+9%29"))
    leave(page)
    is_that_of((5, 9))
    # It is the query of attention too.
    turn_to(page, "Attention")
    expect(page.get_by_label("Query", exact=True).locator("option:checked")).to_have_text(
        "Patch (5, 9)"
    )


def test_layers_are_compared_with_each_other(page: Page) -> None:
    show(page, "/?at=layer_cka")
    expect(page.get_by_text(re.compile("^One image, 256 patches"))).to_be_visible()
    page.get_by_text("all samples").click()
    expect(page.get_by_text(re.compile("^7 images, 256 patches"))).to_be_visible()


def test_token_norms_of_the_bundled_model_hold_no_artefacts(
    page: Page, capture: vi.Capture
) -> None:
    show(page, "/?at=token_norms")
    expect(page.get_by_text("nothing to remove from rollout")).to_be_visible()
    ready(page)
    page.keyboard.press("k")
    expect(page).to_have_url(re.compile("layer=10"))
    ready(page)
    values = vi.token_norms(capture, layer=10).norm[0, 10]
    most = np.unravel_index(values.argmax(), values.shape)
    expect(page.locator(".explorer .line")).to_have_text(
        f"least {short(values.min())}, most {short(values.max())} at patch ({most[0]}, {most[1]})"
    )


def test_a_patch_and_a_head_are_switched_off_by_a_click(page: Page) -> None:
    show(page, "/?at=head_importance&off_heads=L3+H4")
    expect(page.get_by_text("Cosine of the outputs")).to_be_visible()
    cosine = page.locator('[data-testid="stMetricValue"]').first
    alone = cosine.inner_text()
    # The middle of the board, which is a patch's corner: any of its four.
    page.locator(".js-plotly-plot").first.locator(".nsewdrag").click()
    expect(page).to_have_url(re.compile(r"off_tokens=Patch\+%28[78]%2C\+[78]%29"))
    expect(cosine).not_to_have_text(alone)

    page.get_by_role("button", name="Test every head").click()
    board = page.get_by_role("figure", name="The effect of ablating each head")
    expect(board).to_be_visible()
    ready(page)
    # The first bar is the head that matters most, which is off already.
    board.locator(".barlayer path").first.click(force=True)
    expect(page).not_to_have_url(re.compile("off_heads"))
    ready(page)
    # Of the tiles, the one of head 3 of layer 11.
    board.locator(".scatterlayer path.point").nth(11 * 6 + 3).click(force=True)
    expect(page).to_have_url(re.compile(r"off_heads=L11\+H3"))


def test_curves_are_run_on_a_click_and_can_be_cancelled(page: Page) -> None:
    show(page, "/?at=faithfulness&steps=10")
    expect(page.locator("canvas.picture")).to_have_count(1)
    page.get_by_role("button", name="Test all maps").click()
    expect(page.get_by_text(re.compile(r"Picture 1 of 1: \d+ of \d+ runs"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Test all maps")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.get_by_text("Sanity check: randomised weights").click()
    expect(page.get_by_text("Rank correlation of the two maps")).to_be_visible()
    expect(page.locator("canvas.picture")).to_have_count(2)


@pytest.mark.parametrize("view", ["attention_distance", "head_statistics"])
def test_a_click_keeps_what_else_was_chosen(page: Page, view: str) -> None:
    show(page, f"/?at={view}&image=coffee&over=all+samples")
    page.locator(".js-plotly-plot path.point").nth(7).click(force=True)
    expect(page.locator("canvas.picture")).to_have_attribute(
        "data-place", re.compile(r"^L\d+ H\d+$")
    )
    expect(page).to_have_url(re.compile("at=explore"))
    expect(page).to_have_url(re.compile("image=coffee"))
    expect(page.get_by_label("Picture", exact=True).first).to_have_value("coffee")


def test_heads_are_told_and_open_their_maps_from_the_figure_and_the_table(page: Page) -> None:
    show(page, f"/?at=head_statistics&{urlencode({'large': STATISTICS['nmi'].title})}")
    # Head 1 of layer 1: the most local of all.
    cell = page.locator(".js-plotly-plot path.point").nth(6 + 1)
    cell.hover(force=True)
    expect(page.locator(".js-plotly-plot .hoverlayer")).to_contain_text("0.798")
    cell.click(force=True)
    expect(page.locator("canvas.picture")).to_have_attribute("data-place", "L1 H1")

    show(page, "/?at=head_statistics&ranking=most+local")
    table = page.locator("[data-testid=stDataFrame]")
    table.scroll_into_view_if_needed()
    expect(table.locator("canvas").first).to_be_visible()
    ready(page)
    box = table.bounding_box()
    assert box
    # The box at the left end of the first row.
    page.mouse.click(box["x"] + 18, box["y"] + 52)
    expect(page.locator("canvas.picture")).to_have_attribute("data-place", "L1 H1")
    expect(page).to_have_url(re.compile("at=explore"))
    # And coming back does not leave again.
    page.go_back()
    expect(page.get_by_role("heading", name="Head statistics")).to_be_visible()
    ready(page)
    expect(page.get_by_role("heading", name="Head statistics")).to_be_visible()


def test_a_patch_clicked_in_the_tour_stays_and_goes_along(page: Page) -> None:
    show(page, "/?at=learn&step=4")
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")
    canvas.click(position=at(canvas, 3, 12))
    expect(page).to_have_url(re.compile(r"query=Patch\+%283"))
    ready(page)
    leave(page)
    expect(canvas).to_have_attribute("data-shown", "(3, 12)")
    page.get_by_role("button", name="Open the full page").click()
    expect(page.locator(".st-key-place [aria-checked=true]")).to_have_text("Explore")
    expect(page.get_by_label("Query", exact=True).locator("option:checked")).to_have_text(
        "Patch (3, 12)"
    )


def test_a_link_keeps_its_size_however_often_it_is_opened(page: Page) -> None:
    show(page, "/?size=336&layer=5")
    for _ in range(2):
        expect(page.get_by_text("577 tokens")).to_be_visible()
        expect(page).to_have_url(re.compile("layer=5.*size=336|size=336.*layer=5"))
        page.reload()
        ready(page)
    expect(page.get_by_text("577 tokens")).to_be_visible()


def test_controls_of_one_row_are_equally_high_and_numbers_end_below_each_other(page: Page) -> None:
    show(page, "/?at=layer_cka")
    chosen = page.locator(".stMain .stSelectbox [role=combobox]").first.bounding_box()
    button = page.get_by_role("radio", name="this picture").bounding_box()
    assert chosen
    assert button
    # The frame of the list is around its field.
    assert abs(button["y"] - chosen["y"]) <= 2
    assert abs(button["height"] - chosen["height"]) <= 3
    show(page, "/?at=about")
    cells = page.locator(".st-key-table_1 tr:last-child td")
    aligned = [cell.evaluate("e => getComputedStyle(e).textAlign") for cell in cells.all()]
    assert aligned == ["left"] + ["right"] * 5
