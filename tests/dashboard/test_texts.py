"""Do the texts that a user writes become the classes of a model with a text tower?"""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from playwright.sync_api import Browser, expect
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.dashboard.apps import APP, canvas, canvases, labels_of_buttons, press, refusals
from tests.dashboard.serving import started
from tests.dashboard.windows import user_with
from tests.helpers import two_towers
from vit_inspect_dashboard import kept, models, offers, texts

pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

TEXTS = ["a cat", "red shoe"]
TEMPLATE = "photo: {}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    two_towers.saved(folder / "clip", "CLIPModel")
    two_towers.saved(folder / "siglip", "SiglipModel")
    return folder


@pytest.fixture(autouse=True)
def _offered(folders: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(offers, "_files", {})
    offers.offer_folder(folders, {"architecture": "transformers"})
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def opened(view: str, model: str = "clip", **held: object) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params.update({"at": view, "model": model} | held)
    return app.run()


def expected(folders: Path, words: list[str], name: str = "clip") -> np.ndarray:
    model = vi.with_texts(two_towers.load(folders / name), words, template=TEMPLATE)
    found = vi.predictions(vi.capture(model, vi.sample("chelsea")), count=len(words))
    return found.value[0][np.argsort(found.class_index[0])]


def shown(app: AppTest) -> np.ndarray:
    """The probabilities of the page's model, class by class."""
    capture = kept.captures().peek(app.session_state["subject"].key)
    assert capture is not None
    found = vi.predictions(capture, count=len(capture.model.labels))
    return found.value[0][np.argsort(found.class_index[0])]


@pytest.mark.parametrize("view", ["logit_lens", "about", "head_importance", "learn"])
def test_a_page_that_needs_classes_asks_for_words(view: str, folders: Path) -> None:
    app = opened(view, step="8")
    assert "Open the bundled classifier" not in labels_of_buttons(app)
    app.text_area(key="texts_page").set_value("\n".join(["", *TEXTS, " a cat "]))
    app.text_input(key="template_page").set_value(TEMPLATE)
    taken = [each for each in app.button if each.label == "Take these words"]
    next(each for each in taken if "page" in each.form_id).click().run()
    assert not app.exception
    assert not app.error
    assert app.query_params["text"] == TEXTS
    assert app.query_params["template"] == TEMPLATE
    np.testing.assert_allclose(shown(app), expected(folders, TEXTS), rtol=1e-6)
    assert all(each.key != "texts_page" for each in app.text_area)


def test_relevance_for_a_text_is_that_of_its_score(folders: Path) -> None:
    held = {"text": TEXTS, "template": TEMPLATE, "target": "a text", "class": TEXTS[1]}
    app = opened("attention_relevance", "siglip", **held)
    model = vi.with_texts(two_towers.load(folders / "siglip"), TEXTS, template=TEMPLATE)
    found = vi.attention_relevance(vi.capture(model, vi.sample("chelsea")), target=1)
    drawn = canvas(app)
    np.testing.assert_allclose(drawn.maps[0, 0], found.relevance[0], atol=2e-4)


def test_patches_are_compared_with_each_text_as_the_model_reads_it(folders: Path) -> None:
    app = opened("token_similarity", like="a text", text=TEXTS, template=TEMPLATE, match=TEXTS[1])
    assert not app.exception
    capture = vi.capture(two_towers.load(folders / "clip"), vi.sample("chelsea"))
    for drawn, text in zip(canvas(app).maps[0], TEXTS, strict=True):
        found = vi.text_similarity(capture, TEMPLATE.replace("{}", text))
        np.testing.assert_allclose(drawn, found.values[0], atol=1e-4)


@pytest.mark.parametrize("view", ["token_similarity", "attention_relevance"])
def test_the_lines_of_a_page_make_the_same_map(
    view: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {"like": "a text", "target": "a text", "match": TEXTS[1], "class": TEXTS[1]}
    app = opened(view, text=TEXTS, template=TEMPLATE, **held)
    lines = next(each.value for each in app.code if "vi.with_texts" in each.value)
    (tmp_path / "clip").symlink_to(folders / "clip")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(lines, scope)
    assert (tmp_path / "map.pdf").stat().st_size > 10_000
    column = 1 if view == "token_similarity" else 0
    made, drawn = scope["shown"].values[0], canvas(app).maps[0, column]
    np.testing.assert_allclose(drawn, made, atol=1e-4)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"text": ["x" * (texts.LETTERS + 1)]}, f"at most {texts.LETTERS} letters"),
        ({"text": [f"cat {number}" for number in range(texts.MOST + 1)]}, f"at most {texts.MOST}"),
        ({"text": "a cat", "template": "{} and {}"}, "one {}"),
        ({"text": "a cat", "template": "{}" + "x" * 100}, "at most 100 letters"),
        ({"text": "cat <|endoftext|>"}, "leave out signs"),
        ({"text": "a" * 40}, "at most 26 tokens"),
        ({"text": " "}, "an empty text"),
    ],
)
def test_texts_that_cannot_be_taken_are_refused_and_can_be_mended(
    held: dict[str, object], said: str
) -> None:
    app = opened("explore", **held)
    assert not app.exception
    [refusal] = refusals(app)
    assert said in refusal
    assert not canvases(app)
    app.text_area(key="texts_refused").set_value("a dog")
    app.text_input(key="template_refused").set_value("{}")
    taken = [each for each in app.button if each.label == "Take these words"]
    next(each for each in taken if "refused" in each.form_id).click().run()
    assert not app.error
    assert app.session_state["subject"].texts == ("a dog",)


def test_words_can_be_left_out_and_do_not_hinder_a_model_that_takes_none() -> None:
    app = opened("about", text=["a" * 40])
    press(app, "Leave out the words")
    assert app.session_state["subject"].texts == ()
    app = opened("attention_rollout", "dinov2_small", text=TEXTS)
    assert not app.exception
    assert not app.error
    assert app.session_state["subject"].texts == ()


def test_a_model_beside_it_needs_no_text_tower_and_nothing_outlives_the_network() -> None:
    app = opened("compare", text=TEXTS, against="model", right_model="dinov2_small")
    assert not app.exception
    assert not app.error
    subject = app.session_state["subject"]
    assert models.model(subject).labels == tuple(TEXTS)
    there = {each.model.id for each in kept.captures().values()}
    assert there == {"clip", "dinov2_small"}
    network = weakref.ref(models.model(subject).module)
    models.let_go(models.model(subject._replace(texts=())))
    gc.collect()
    assert network() is None
    assert {each.model.id for each in kept.captures().values()} == {"dinov2_small"}


def test_words_are_typed_in_a_browser_and_back_takes_them_away(
    folders: Path, browser: Browser
) -> None:
    server = started("--checkpoints", str(folders), "--architecture", "transformers")
    with server as address, user_with(browser, address) as page:
        page.goto("/?model=clip&at=token_similarity&like=a text")
        words = page.get_by_role("textbox", name="Words as classes")
        words.fill("\n".join(TEXTS))
        page.get_by_role("textbox", name="Read as").fill(TEMPLATE)
        page.get_by_role("button", name="Take these words").click()
        shown = page.get_by_text("Which patches match each text?")
        expect(shown).to_be_visible()
        expect(page).to_have_url(re.compile(r"text=a\+cat&text=red\+shoe"))
        page.go_back()
        expect(words).to_have_value("")
        page.go_forward()
        expect(shown).to_be_visible()
