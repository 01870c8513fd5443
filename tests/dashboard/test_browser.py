"""Does the dashboard do what a user wants of it, in a real browser?"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.serving import ROOT
from vit_inspect.attention.rows import rows
from vit_inspect.figures import looks
from vit_inspect.figures.head_statistics import STATISTICS

pytestmark = pytest.mark.slow

FIGURES = {entry.figure.slug: entry.figure for entry in vi.FIGURES}
SETTINGS = ROOT / "dashboard/.streamlit/config.toml"
LIMIT_MB = tomllib.loads(SETTINGS.read_text())["server"]["maxUploadSize"]


def ready(page: Page) -> None:
    """Waits until the script has run and nothing of the run before is left."""
    page.wait_for_timeout(300)
    page.wait_for_selector('[data-test-script-state="notRunning"]')
    expect(page.locator('[data-stale="true"]')).to_have_count(0)


def show(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_selector("h1, [data-testid=stAlert]")
    ready(page)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option", name=option, exact=True).click()
    ready(page)


def turn_to(page: Page, title: str, *, menu: str = "Paper figures") -> None:
    """Opens another page by the menu, in the same session."""
    page.get_by_text(menu, exact=True).click()
    page.get_by_role("menuitem", name=title).click()


def patch_at(canvas: Locator, row: int, column: int, seen: vi.layout.Box, size: tuple[int, int]):
    """Where a patch of the 16 x 16 grid lies on the canvas, in CSS px."""
    box = canvas.bounding_box()
    assert box
    x = (seen.left + (column + 0.5) * (seen.right - seen.left) / 16) / size[1] * box["width"]
    y = (seen.top + (row + 0.5) * (seen.bottom - seen.top) / 16) / size[0] * box["height"]
    return {"x": x, "y": y}


@pytest.fixture(scope="module")
def capture() -> vi.Capture:
    return vi.capture(vi.load(img_size=224, device="cpu"), vi.sample("chelsea"))


@pytest.fixture
def at(capture: vi.Capture):
    """Where a patch of chelsea lies on the canvas."""
    photograph = capture.photographs[0]
    return lambda canvas, row, column: patch_at(
        canvas, row, column, photograph.seen, photograph.size_px
    )


def test_opens_on_a_real_model_and_a_real_photograph(page: Page) -> None:
    show(page, "/")
    expect(page.get_by_role("heading", name="dinov2_small")).to_be_visible()
    expect(page.get_by_text("22,056,192")).to_be_visible()
    expect(page.get_by_text(re.compile("Attention verified to .e-0[67]"))).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_be_visible()


def test_what_is_said_of_a_model_stays_in_the_address(page: Page) -> None:
    show(page, "/export")
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


def test_the_map_follows_the_cursor_and_is_the_true_row(
    page: Page, capture: vi.Capture, at
) -> None:
    asked: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: asked.append(frame)))
    show(page, "/attention_maps?layer=7&head=2")
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")
    expect(page.get_by_text("Attention verified")).to_be_visible()
    assert asked
    asked.clear()
    canvas.hover(position=at(canvas, 8, 5))
    expect(canvas).to_have_attribute("data-shown", "8,5")
    canvas.hover(position=at(canvas, 3, 12))
    expect(canvas).to_have_attribute("data-shown", "3,12")
    assert not asked, "hovering went to the server"

    row = rows(capture.layers[7], [capture.layout.token((3, 12))])[0, 2, 0, 1:].numpy()
    photograph = capture.photographs[0]
    # The hue of the centre of a patch is that of its weight; grey shines through by a third.
    page.mouse.move(0, 0)
    canvas.hover(position=at(canvas, 3, 12))
    pixels = canvas.evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    )
    width = canvas.evaluate("c => c.width")
    picture = np.array(pixels, np.uint8).reshape(-1, width, 4)
    down = picture.shape[0] / photograph.size_px[0]
    limit = float(page.locator(".explorer .end").inner_text().removeprefix("≥ "))
    top, left = photograph.seen.top, photograph.seen.left
    step = (photograph.seen.bottom - top) / 16, (photograph.seen.right - left) / 16
    grey = np.asarray(
        vi.sample("chelsea").convert("L").resize((width, picture.shape[0])), np.float64
    )
    for patch in (int(row.argmax()), 0, 100, 255):
        y = int((top + (patch // 16 + 0.5) * step[0]) * down)
        x = int((left + (patch % 16 + 0.5) * step[1]) * down)
        colour = looks.colour(np.array(row[patch]), looks.WEIGHT_MAP, (0.0, limit))[:3]
        wanted = looks.MAP_OPACITY * colour + (1 - looks.MAP_OPACITY) * grey[y, x]
        np.testing.assert_allclose(picture[y, x, :3], wanted, atol=12)


def test_a_click_pins_the_patch_and_the_address_keeps_it(page: Page, browser, address, at) -> None:
    show(page, "/attention_maps")
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-shown", "Class token (CLS)")
    before = page.locator(".magnifier .picture").get_attribute("src")
    canvas.click(position=at(canvas, 8, 5))
    ready(page)
    expect(page.get_by_label("Query token", exact=True)).to_have_value("Patch (8, 5)")
    assert page.locator(".magnifier .picture").get_attribute("src") != before
    page.mouse.move(0, 0)
    expect(canvas).to_have_attribute("data-shown", "8,5")
    expect(page).to_have_url(re.compile("query=Patch"))

    choose(page, "Layer", "4")
    other = browser.new_context(base_url=address).new_page()
    show(other, page.url)
    expect(other.get_by_label("Query token", exact=True)).to_have_value("Patch (8, 5)")
    expect(other.get_by_text("L4 H0", exact=True)).to_be_visible()
    other.context.close()

    # A second click lets the class token be the query again.
    canvas.click(position=at(canvas, 8, 5))
    expect(page.get_by_label("Query token", exact=True)).to_have_value("Class token (CLS)")
    expect(page).not_to_have_url(re.compile("query="))


def test_the_tile_under_the_cursor_is_large_and_a_click_opens_it(page: Page) -> None:
    show(page, "/position_similarity")
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


def test_a_key_goes_to_the_next_layer_head_or_picture(page: Page) -> None:
    show(page, "/attention_maps?layer=4&head=2")
    # The last words of a run: from here on the page listens.
    expect(page.get_by_text("Attention verified")).to_be_visible()
    page.wait_for_timeout(2000)
    for key, words, kept in (
        ("j", "L3 H2", "layer=3"),
        ("l", "L3 H3", "head=3"),
        ("n", "L3 H3", "image=astronaut"),
    ):
        page.keyboard.press(key)
        expect(page).to_have_url(re.compile(kept))
        expect(page.get_by_text(words, exact=True)).to_be_visible()
        ready(page)


def test_a_dot_of_the_distance_plot_opens_that_heads_maps(page: Page) -> None:
    show(page, "/attention_distance")
    # Head 2 of layer 9: the one that attends farther than uniform attention.
    dot = page.locator(".js-plotly-plot .scatterlayer .trace").nth(2).locator("path.point").nth(9)
    dot.click(force=True)
    expect(page.get_by_text("L9 H2", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"/attention_maps.*head=2"))
    # And coming back does not leave again.
    turn_to(page, "Attention distance")
    ready(page)
    expect(page.get_by_role("heading", name="Attention distance")).to_be_visible()
    page.wait_for_timeout(1000)
    expect(page.get_by_role("heading", name="Attention distance")).to_be_visible()


def test_another_input_size_has_more_patches_on_every_page(page: Page) -> None:
    show(page, "/attention_rollout")
    choose(page, "Model input in px", "336")
    expect(page.get_by_text("577 tokens: cls, 576 patches")).to_be_visible()
    ready(page)
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("336 × 336 px")).to_be_visible()
    expect(page).to_have_url(re.compile("size=336"))


def test_an_upload_is_shown_and_its_name_is_plain_text(page: Page, tmp_path: Path) -> None:
    name = "<b>bold</b> **star** $x$ [a](http:b).png"
    picture = io.BytesIO()
    noise((90, 60), 0).save(picture, "PNG")
    show(page, "/")
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": picture.getvalue()}
    )
    ready(page)
    # As it stands: in the list of pictures, and under its own.
    expect(page.get_by_label("Picture", exact=True).first).to_have_value(name)
    expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert page.locator("main b, section b").count() == 0
    turn_to(page, "Attention maps")
    ready(page)
    expect(page.locator("canvas.picture")).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)


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
    expect(page.get_by_role("heading", name="dinov2_small")).to_be_visible()


@pytest.mark.parametrize(
    "query",
    ["layer=99&head=-1&query=Patch+99,99", "image=../../etc/passwd", "size=7&fit=x&scale=1"],
)
def test_nonsense_in_the_address_is_ignored(page: Page, query: str) -> None:
    show(page, f"/attention_maps?{query}")
    expect(page.get_by_label("Query token", exact=True)).to_have_value("Class token (CLS)")
    expect(page.locator(".magnifier .picture")).to_be_visible()
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)


def test_an_unknown_model_is_a_sentence(page: Page) -> None:
    show(page, "/?model=vit_bse_patch16_224")
    expect(page.get_by_text("unknown model 'vit_bse_patch16_224'")).to_be_visible()


def test_a_survey_over_the_samples_is_shown(page: Page) -> None:
    show(page, "/attention_distance")
    page.get_by_text("all samples").click()
    expect(page.get_by_text("Mean over 7 images, paper definition.")).to_be_visible()


def test_a_cancelled_survey_leaves_the_page_as_it_was(page: Page) -> None:
    show(page, "/attention_distance?size=448")
    page.get_by_text("all samples").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("One image, paper definition.")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert "over=" not in page.url
    # Nothing of it waits for the device: the next figure comes.
    turn_to(page, "Attention rollout")
    expect(page.get_by_role("heading", name="Attention rollout")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(3)


def test_a_figure_is_downloaded_in_every_format(
    page: Page, capture: vi.Capture, tmp_path: Path
) -> None:
    show(page, "/attention_rollout?fusion=max")
    page.locator("[data-testid=stPopoverButton]").first.click()
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
    show(page, "/export")
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


def test_relevance_is_asked_for_a_patch_and_for_another_picture(page: Page) -> None:
    show(page, "/attention_relevance")
    expect(page.get_by_text(re.compile("its own output$")).last).to_be_visible()
    page.get_by_text("a patch", exact=True).click()
    ready(page)
    expect(page.get_by_text(re.compile(r"similarity to patch \(8, 8\)$"))).to_be_visible()
    page.get_by_text("another picture", exact=True).click()
    ready(page)
    expect(page.get_by_text(re.compile("similarity to astronaut$"))).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(3)


def test_the_tour_leads_from_patches_to_the_answer(page: Page) -> None:
    show(page, "/tour")
    expect(page.get_by_role("heading", name="1. A photograph becomes patches")).to_be_visible()
    for number in range(2, 9):
        show(page, f"/tour?step={number}")
        expect(page.get_by_role("heading", name=re.compile(f"^{number}\\. "))).to_be_visible()
        expect(page.locator("[data-testid=stAlert]")).to_have_count(0)
        expect(page.locator(".js-plotly-plot, canvas.picture").first).to_be_visible()


def test_a_click_on_a_patch_compares_all_tokens_with_it(
    page: Page, capture: vi.Capture, at
) -> None:
    show(page, "/feature_pca")
    expect(page.get_by_role("heading", name=FIGURES["feature_pca"].title)).to_be_visible()
    expect(page.locator(".js-plotly-plot image")).to_have_count(4)
    page.get_by_text("similar patches").click()
    expect(page.get_by_text("Similarity to patch (8, 8)")).to_be_visible()
    ready(page)
    picture = page.locator(".js-plotly-plot .nsewdrag").first
    picture.click(position=at(picture, 3, 12))
    expect(page.get_by_text("Similarity to patch (3, 12)")).to_be_visible()
    expect(page).to_have_url(re.compile(r"token=Patch\+%283"))
    values = vi.token_similarity(capture, patch=(3, 12)).similarity
    told = f"From {values.min():.2f} to {values.max():.2f} in chelsea.png".replace("-", "−")
    expect(page.get_by_text(told)).to_be_visible()


def test_layers_are_compared_with_each_other(page: Page) -> None:
    show(page, "/layer_cka")
    expect(page.get_by_text(re.compile("^One image, 256 patches"))).to_be_visible()
    page.get_by_text("all samples").click()
    expect(page.get_by_text(re.compile("^7 images, 256 patches"))).to_be_visible()


def test_token_norms_of_the_bundled_model_hold_no_artefacts(page: Page) -> None:
    show(page, "/token_norms")
    expect(page.get_by_text("nothing to remove from rollout")).to_be_visible()
    ready(page)
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("layer=10"))
    ready(page)
    expect(page.locator(".js-plotly-plot")).to_have_count(2)


def test_a_patch_and_a_head_are_switched_off_by_a_click(page: Page) -> None:
    show(page, "/head_importance?off_heads=L3+H4")
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
    show(page, "/faithfulness?steps=10")
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text(re.compile(r"Picture 1 of 1: \d+ of \d+ runs"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Run")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.get_by_text("Sanity check: randomised weights").click()
    expect(page.get_by_text("Rank correlation of the two maps")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(2)


@pytest.mark.parametrize("view", ["attention_distance", "head_statistics"])
def test_a_click_keeps_what_else_was_chosen(page: Page, view: str) -> None:
    show(page, f"/{view}?image=coffee&over=all+samples")
    page.locator(".js-plotly-plot path.point").nth(7).click(force=True)
    expect(page.get_by_text(re.compile(r"^L\d+ H\d+$"))).to_be_visible()
    expect(page).to_have_url(re.compile("/attention_maps.*image=coffee"))
    expect(page.get_by_label("Picture", exact=True).first).to_have_value("coffee")


def test_heads_are_told_and_open_their_maps_from_the_figure_and_the_table(page: Page) -> None:
    show(page, f"/head_statistics?{urlencode({'large': STATISTICS['nmi'].title})}")
    # Head 1 of layer 1: the most local of all.
    cell = page.locator(".js-plotly-plot path.point").nth(6 + 1)
    cell.hover(force=True)
    expect(page.locator(".js-plotly-plot .hoverlayer")).to_contain_text("0.798")
    cell.click(force=True)
    expect(page.get_by_text("L1 H1", exact=True)).to_be_visible()

    show(page, "/head_statistics?ranking=most+local")
    table = page.locator("[data-testid=stDataFrame]")
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box
    # The box at the left end of the first row.
    page.mouse.click(box["x"] + 18, box["y"] + 52)
    expect(page.get_by_text("L1 H1", exact=True)).to_be_visible()
    # And coming back does not leave again.
    page.go_back()
    expect(page.get_by_role("heading", name="Head statistics")).to_be_visible()
    ready(page)
    expect(page.get_by_role("heading", name="Head statistics")).to_be_visible()


def test_a_patch_clicked_in_the_tour_stays_and_goes_along(page: Page, at) -> None:
    show(page, "/tour?step=4")
    canvas = page.locator("canvas.picture")
    expect(canvas).to_have_attribute("data-shown", "8,8")
    canvas.click(position=at(canvas, 3, 12))
    expect(page).to_have_url(re.compile(r"query=Patch\+%283"))
    ready(page)
    page.mouse.move(0, 0)
    expect(canvas).to_have_attribute("data-shown", "3,12")
    page.get_by_text("Open the full page").click()
    expect(page.get_by_role("heading", name="Attention maps")).to_be_visible()
    expect(page.get_by_label("Query token", exact=True)).to_have_value("Patch (3, 12)")


def test_a_link_keeps_its_size_however_often_it_is_opened(page: Page) -> None:
    show(page, "/attention_maps?size=336&layer=5")
    for _ in range(2):
        expect(page.get_by_text("577 tokens")).to_be_visible()
        expect(page).to_have_url(re.compile("layer=5.*size=336|size=336.*layer=5"))
        page.reload()
        ready(page)
    expect(page.get_by_text("577 tokens")).to_be_visible()
