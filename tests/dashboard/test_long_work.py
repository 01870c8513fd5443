"""Is long work done when asked for, told, kept when cancelled, and never done twice?"""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from types import FunctionType, ModuleType

import pytest
import streamlit as st
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.dashboard.apps import (
    CLASSIFIER,
    FEATURES,
    LAYERS,
    POOLED,
    choose_model,
    labels_of_buttons,
    opened,
    press,
    subject,
)
from vit_inspect.analyses.faithfulness import Curves
from vit_inspect.analyses.head_importance import Batch, HeadTrials
from vit_inspect_dashboard import kept, trials
from vit_inspect_dashboard.pictures import sample

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("random_weights")]


def shown_metrics(app: AppTest) -> list[str]:
    return [each.value for each in app.metric]


@pytest.mark.parametrize("model", [CLASSIFIER, FEATURES])
def test_parts_are_ablated_and_restored(model: str) -> None:
    app = opened("head_importance", model=model)
    assert shown_metrics(app) == ["1.0000", "0.00%"]
    app.multiselect(key="off_layers").set_value(["Layer 1"]).run()
    assert not app.exception
    layer = shown_metrics(app)
    assert layer != ["1.0000", "0.00%"]
    app.multiselect(key="off_tokens").set_value(["Class token (CLS)", "Patch (0, 1)"]).run()
    assert shown_metrics(app) != layer
    assert any("1 of them ablated" in str(each.proto) for each in app.get("plotly_chart"))
    app.button_group(key="replacement").set_value("zero").run()
    app.multiselect(key="off_layers").set_value([]).run()
    app.multiselect(key="off_tokens").set_value([]).run()
    assert shown_metrics(app) == ["1.0000", "0.00%"]
    featured = any("No classifier" in each.value for each in app.caption)
    assert featured == (model == FEATURES)


def test_parts_that_another_model_has_not_are_let_go() -> None:
    asked = {"off_heads": ["L2 H2", "L2 H3"], "off_tokens": ["Patch (9, 9)"]}
    app = opened("head_importance", **asked)
    assert not app.exception
    assert app.multiselect(key="off_heads").value == ["L2 H2"]
    assert app.multiselect(key="off_tokens").value == []
    app.multiselect(key="off_tokens").set_value(["Class token (CLS)"]).run()
    choose_model(app, POOLED)
    assert not app.exception
    assert app.multiselect(key="off_tokens").value == []


def test_every_head_is_tested_when_asked_and_a_click_switches_it_off() -> None:
    app = opened("head_importance")
    assert not [each for each in app.get("popover") if "Export" in each.proto.popover.label]
    [test] = [each for each in app.button if each.label == "Test every head"]
    test.click().run()
    assert not app.exception
    # The board, the bars, and the map of every head.
    assert len(app.get("plotly_chart")) == 3
    assert not [each for each in app.button if each.label in ("Test every head", "Cancel")]
    # Zeros are another question.
    app.button_group(key="replacement").set_value("zero").run()
    assert len(app.get("plotly_chart")) == 2
    app.button_group(key="replacement").set_value("mean").run()
    assert len(app.get("plotly_chart")) == 3


def test_heads_that_were_tested_before_a_cancel_are_not_tested_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tested: list[int] = []
    real = HeadTrials.effect

    def effect(trials: HeadTrials, batch: Batch) -> object:
        if len(tested) == 2:
            tested.append(-1)
            raise vi.OutOfMemory("no memory left", "room", "take another device")
        tested.append(batch.layer)
        return real(trials, batch)

    monkeypatch.setattr(HeadTrials, "effect", effect)
    app = opened("head_importance")
    monkeypatch.setattr(trials, "on_device", lambda work, *given, **named: work(*given, **named))
    [test] = [each for each in app.button if each.label == "Test every head"]
    test.click().run()
    assert "no memory left" in app.error[0].value
    app.run()
    assert not app.error
    assert tested == [0, 1, -1, *range(2, LAYERS)]


def test_curves_are_run_when_asked_and_then_kept() -> None:
    app = opened("faithfulness")
    assert not app.get("plotly_chart")
    app.button_group(key="steps").set_value(10).run()
    (run,) = (each for each in app.button if each.label == "Test all maps")
    run.click().run()
    assert not app.exception
    assert not app.error
    assert len(app.get("plotly_chart")) == 1
    app.run()
    assert len(app.get("plotly_chart")) == 1
    assert "Test all maps" not in [each.label for each in app.button]
    app.button_group(key="steps").set_value(20).run()
    assert "Test all maps" in [each.label for each in app.button]


def test_a_picture_of_one_colour_has_no_curves_and_a_sentence() -> None:
    """Also when its work is done and kept."""
    app = opened("faithfulness")
    file = io.BytesIO()
    Image.new("RGB", (60, 40), (200, 10, 10)).save(file, "PNG")
    app.file_uploader(key="uploads").upload("red.png", file.getvalue(), "image/png").run()
    app.button_group(key="steps").set_value(10).run()
    next(each for each in app.button if each.label == "Test all maps").click().run()
    for _ in range(2):
        assert not app.exception
        [error] = app.error
        assert "changes by no more than rounding" in error.value
        assert "try a picture of more than one colour" in error.value
        app.run()


def test_curves_of_all_samples_are_of_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit_inspect.analyses.faithfulness.RANDOM_ORDERS", 2)
    app = opened("faithfulness")
    app.button_group(key="over").set_value("all samples").run()
    app.button_group(key="steps").set_value(10).run()
    told: list[str] = []
    real = st.delta_generator.DeltaGenerator.progress

    def progress(self: object, value: float, text: str) -> object:
        told.append(text)
        return real(self, value, text)

    monkeypatch.setattr(st.delta_generator.DeltaGenerator, "progress", progress)
    next(each for each in app.button if each.label == "Test all maps").click().run()
    assert not app.exception
    count = len(vi.SAMPLES)
    for number in range(count):
        assert any(text.startswith(f"Picture {number + 1} of {count}: 0 of ") for text in told)
    assert len(app.get("plotly_chart")) == 1


def test_what_a_cancelled_run_has_done_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, begun, told = [sample("chelsea"), sample("coffee")], {}, []

    def stop(number: int, done: int, total: int) -> None:
        told.append((number, done))
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trials.curves(subject(), pictures, stop, begun, steps=3)
    assert trials.kept_curves(subject(), pictures, steps=3) is None
    assert trials.kept_curves(subject(), pictures[:1], steps=3) is not None
    told.clear()
    found = trials.curves(subject(), pictures, lambda *each: told.append(each[:2]), begun, steps=3)
    assert not begun
    assert {number for number, _ in told} == {1}
    assert [each.name for each in found.photographs] == ["chelsea.png", "coffee.png"]
    assert len(found.targets) == len(found.deletion) == 2


def held_by(thing: object) -> Iterator[object]:
    """What is kept alive by a thing, the thing itself included; of code, what it encloses."""
    seen: set[int] = set()
    rest = [thing]
    while rest:
        each = rest.pop()
        if id(each) in seen or isinstance(each, type | ModuleType):
            continue
        seen.add(id(each))
        yield each
        code = isinstance(each, FunctionType)
        rest += list(each.__closure__ or ()) if code else gc.get_referents(each)


def test_curves_go_on_within_a_picture_and_keep_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vit_inspect.device.PASS_TOKENS", {"cpu": 1})
    at: list[int] = []
    real = Curves.advance

    def advance(curves: Curves, model: vi.Model) -> None:
        if len(at) == 5:
            at.append(-1)
            raise vi.OutOfMemory("no memory left", "room", "take another device")
        at.append(curves.done)
        real(curves, model)

    monkeypatch.setattr(Curves, "advance", advance)
    app = opened("faithfulness", steps=10)
    monkeypatch.setattr(trials, "on_device", lambda work, *given, **named: work(*given, **named))
    press(app, "Test all maps")
    assert "no memory left" in app.error[0].value
    [work] = app.session_state["begun_curves"].values()
    assert not any(isinstance(each, torch.nn.Module) for each in held_by(work))
    # Whatever is clicked meanwhile, it goes on.
    app.button_group(key="map").set_value("relevance").run()
    assert not app.error
    assert at == [0, 1, 2, 3, 4, -1, *range(5, at[-1] + 1)]
    assert at[-1] == work.total - 1
    assert not app.session_state["begun_curves"]
    assert "Test all maps" not in labels_of_buttons(app)
    assert len(app.get("plotly_chart")) == 1


def test_a_cancelled_run_waits_to_be_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("faithfulness", steps=10)
    real = Curves.advance

    def fail(curves: Curves, model: vi.Model) -> None:
        raise vi.OutOfMemory("no memory left", "room", "take another device")

    monkeypatch.setattr(Curves, "advance", fail)
    press(app, "Test all maps")
    assert app.error
    monkeypatch.setattr(Curves, "advance", real)
    press(app, "Cancel")
    assert not app.error
    assert len(app.get("plotly_chart")) == 0
    assert "Test all maps" in labels_of_buttons(app)


@pytest.mark.parametrize(
    ("view", "label"), [("head_importance", "Test every head"), ("faithfulness", "Test all maps")]
)
def test_long_work_is_done_for_what_it_was_asked_for_alone(view: str, label: str) -> None:
    app = opened(view)
    press(app, label)
    assert label not in labels_of_buttons(app)
    app.button_group(key="fit").set_value("whole").run()
    assert label in labels_of_buttons(app)
    app.button_group(key="fit").set_value("crop").run()
    assert label not in labels_of_buttons(app)
    # What was found is forgotten, as when others need the room.
    kept.results().drop()
    app.run()
    assert label in labels_of_buttons(app)
    press(app, label)
    app.selectbox(key="size").set_value(224).run()
    assert label in labels_of_buttons(app)
