"""Is the bundled classifier one click away where classes are asked for, with its own pictures?"""

from __future__ import annotations

import json
import re

import pytest

import vit_inspect as vi
from tests.dashboard.apps import charts, opened, press
from tests.dashboard.serving import ROOT
from vit_inspect_dashboard import pictures

pytestmark = pytest.mark.slow

OFFER = "Open the bundled classifier"


@pytest.mark.parametrize("view", ["logit_lens", "learn", "about", "head_importance"])
def test_a_page_that_needs_classes_offers_it_in_one_click(view: str) -> None:
    app = opened(view, model="dinov2_small", step="8")
    app.button(key=next(each.key for each in app.button if each.label == OFFER)).click().run()
    assert not app.exception
    assert not app.error
    shown = app.session_state["subject"]
    assert (shown.model, shown.picture.name) == ("fashion_vit", "canvas_14")
    assert all(each.label != OFFER for each in app.button)


def test_its_own_pictures_come_first_and_other_models_have_none_but_the_one_of_a_link() -> None:
    def offered(**asked: str) -> list[str]:
        return list(opened("attention_rollout", **asked).selectbox(key="image").options)

    assert offered(model="fashion_vit@400") == [*vi.CANVASES, *vi.SAMPLES]
    assert offered(model="dinov2_small") == list(vi.SAMPLES)
    assert offered(model="dinov2_small", image="canvas_05") == [*vi.SAMPLES, "canvas_05"]
    # Figures over many pictures are over those that the model is for.
    app = opened("attention_distance", model="fashion_vit@400", over="all samples")
    words = json.dumps(charts(app))
    assert f"{len(vi.CANVASES)} images" in words
    assert pictures.sample("canvas_03").title == "Sandal, pullover"


def test_its_steps_are_a_slider_that_keeps_all_else() -> None:
    app = opened("attention_rollout", model="fashion_vit", image="canvas_03", start="2")
    slider = app.select_slider(key="steps_of_training")
    assert slider.value == 8_000
    slider.set_value(400).run()
    assert not app.exception
    shown = app.session_state["subject"]
    assert (shown.model, shown.picture.name) == ("fashion_vit@400", "canvas_03")
    app.select_slider(key="steps_of_training").set_value(8_000).run()
    assert app.session_state["subject"].model == "fashion_vit"
    assert not opened("attention_rollout", model="dinov2_small").select_slider


def test_the_tour_asks_which_squares_speak_for_a_class_and_tells_what_was_measured() -> None:
    app = opened("learn", model="fashion_vit", step="8", image="canvas_14")
    assert not app.exception
    said = " ".join(str(each.value) for each in (*app.markdown, *app.caption, *app.subheader))
    assert "Which squares speak for this class?" in said
    table = (ROOT / "docs" / "truth.md").read_text(encoding="utf-8")
    [share, *_] = re.findall(r"^\| relevance \| ([\d.]+) ", table, re.MULTILINE)
    assert f"{float(share):.0%} of this map" in said
    choice = next(each for each in app.selectbox if each.label == "Patches that support")
    labels = {thing.label for thing in vi.CANVASES["canvas_14"].things}
    assert labels <= {str(each) for each in choice.options}


def test_the_class_that_was_chosen_in_the_tour_stays_on_the_full_page() -> None:
    app = opened("learn", model="fashion_vit", step="8", image="canvas_14")
    [choice] = [each for each in app.selectbox if each.label == "Patches that support"]
    choice.select("coat").run()
    press(app, "Open the full page")
    assert not app.exception
    assert app.selectbox(key="class").value == "coat"
    assert any("Probability of coat" in str(each.value) for each in app.caption)


@pytest.mark.parametrize(("image", "faded"), [("canvas_14", False), ("chelsea", True)])
def test_a_part_that_was_not_seen_is_told_where_there_is_one(image: str, faded: bool) -> None:
    app = opened("about", model="fashion_vit", image=image)
    [told] = [each.value for each in app.caption if "patches of" in str(each.value)]
    assert ("never saw the faded part" in told) == faded
