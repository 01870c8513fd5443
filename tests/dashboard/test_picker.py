"""Does the dialog find a model by what is known of it, and put the choice into the address?"""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from tests.dashboard.apps import CLASSIFIER, FEATURES, choose_model, offered_models, opened
from vit_inspect.loading.recommended import ZOO
from vit_inspect.loading.timm_names import served
from vit_inspect_dashboard import allowed, offers, picker

pytestmark = pytest.mark.slow

MAE = "vit_base_patch16_224.mae"


def facts(name: str) -> str:
    return picker.entry(name, {}, {}).facts


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights but the bundled ones, and no checkpoints."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(offers, "_files", {})
    return tmp_path


def test_facts_are_one_line_before_anything_is_loaded(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a network was made, or a connection opened")

    monkeypatch.setattr("timm.create_model", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert facts("dinov2_small") == (
        "DINOv2 · small · patch 14 · 518 px · no classes · on this machine"
    )
    assert facts("vit_base_patch16_224.augreg_in21k_ft_in1k") == (
        "ViT · base · patch 16 · 224 px · 1,000 classes · needs a download"
    )
    assert "1024 × 768 px" in facts("vit_base_patch16_sapiens2")
    assert facts("hf-hub:someone/something") == ""
    assert len(picker.entries()) == len(served()) + 2


def test_what_is_on_this_machine_comes_first_then_what_is_recommended(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "_files", {"epoch1.pth": offers.File({}, None)})
    cached = empty_cache / f"models--timm--{MAE}" / "snapshots" / "main"
    cached.mkdir(parents=True)
    (cached / "model.safetensors").touch()
    found = picker.entries()
    recommended = [each.name for each in ZOO]
    here = ["dinov2_small", "fashion_vit", MAE]
    assert [each.name for each in found[:4]] == ["epoch1.pth", *here]
    assert [each.here for each in found[:5]] == [True, True, True, True, False]
    rest = [name for name in recommended if name not in here]
    assert [each.name for each in found[4:]][: len(rest)] == rest
    assert len({each.name for each in found}) == len(found)


def test_a_file_that_is_called_like_a_model_of_timm_has_none_of_its_facts() -> None:
    own = {"vit_base_patch16_224": offers.ON_DISK}
    assert picker.entry("vit_base_patch16_224", own, {}).facts == offers.ON_DISK
    chosen = picker.entry("vit_base_patch16_224", dict.fromkeys(own, offers.CHOSEN), {})
    assert chosen.facts.startswith("ViT · base")


@pytest.mark.parametrize(
    ("words", "first", "others"),
    [
        ("", "dinov2_small", None),
        ("DINOv3 small", "vit_small_patch16_dinov3.lvd1689m", r"dinov3|lingbot"),
        ("mae", MAE, None),
        ("figure 11 left", None, None),
        ("clip patch 32 1,000 classes", None, r"patch32_clip"),
        ("registers place", "vit_base_patch14_reg4_dinov2.lvd142m", None),
    ],
)
def test_each_word_must_be_found(
    empty_cache: Path, words: str, first: str | None, others: str | None
) -> None:
    found = [each.name for each in picker.matching(picker.entries(), words)]
    if first is not None:
        assert found[0] == first
    if others is not None:
        assert found
        assert all(re.search(others, name) for name in found)
    if first is None and others is None:
        assert found == []


@pytest.mark.usefixtures("random_weights")
def test_a_choice_is_in_the_address_and_forgets_what_belonged_to_the_other() -> None:
    app = opened(size="64", stage="0", layer="1")
    assert app.button(key="choose_model").label.replace("\\", "") == CLASSIFIER
    assert any(each.value.startswith("ViT · tiny · patch 16") for each in app.caption)
    choose_model(app, FEATURES)
    assert not app.exception
    assert dict(app.query_params) == {"model": FEATURES, "at": "about", "layer": "1"}
    assert app.session_state["subject"].model == FEATURES
    # The dialog is gone.
    assert not [each for each in app.button if str(each.key).startswith("take_")]
    # The model that is open stays as it is.
    app.query_params.update(size="224")
    app.run()
    choose_model(app, FEATURES)
    assert not app.exception
    assert dict(app.query_params) == {
        "model": FEATURES,
        "at": "about",
        "layer": "1",
        "size": "224",
    }


@pytest.mark.usefixtures("random_weights")
def test_the_start_of_the_list_is_shown_and_more_when_asked() -> None:
    app = opened()
    assert len(offered_models(app)) == picker.SHOWN
    [more] = [each for each in app.button if each.label.startswith("Show more of ")]
    more.click()
    app.button(key="choose_model").click().run()
    assert not app.exception
    # Opened again, it begins anew.
    assert len(offered_models(app)) == picker.SHOWN


def test_a_name_that_is_not_listed_can_be_loaded_by_it(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = AppTest.from_function(_only_the_dialog, default_timeout=60)
    app.session_state[picker.SOUGHT] = "hf-hub:someone/*mine*"
    app.session_state[picker.COUNT] = picker.SHOWN
    app.run()
    [button] = app.button
    assert button.label == r"Load **hf\-hub\:someone\/\*mine\*** by its name"
    app.session_state[picker.SOUGHT] = "vit base"
    app.run()
    assert not [each for each in app.button if each.label.startswith("Load")]
    assert len(app.button) == picker.SHOWN + 1
    [more] = [each for each in app.button if each.label.startswith("Show more of ")]
    more.click().run()
    assert len(app.button) == 2 * picker.SHOWN + 1
    app.session_state[picker.SOUGHT] = "dinov2 small"
    app.toggle(key="only_here").set_value(True).run()
    assert [each.label.replace("\\", "") for each in app.button] == ["**dinov2_small**"]
    # Not on a server whose operator allows no such name.
    monkeypatch.setattr(allowed, "_chosen", "cached")
    app.session_state[picker.SOUGHT] = "hf-hub:someone/mine"
    app.run()
    assert not [each for each in app.button if each.label.startswith("Load")]


def _only_the_dialog() -> None:
    from vit_inspect_dashboard import picker

    picker._dialog("dinov2_small", "dinov2_small")


def test_a_model_is_found_and_chosen_with_the_keyboard_in_one_step_of_the_history(
    page: Page,
) -> None:
    page.goto("/?at=about&layer=3")
    page.wait_for_selector("h1")
    opener = page.locator(".st-key-choose_model button:visible")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Search")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(dialog.get_by_label("Search")).to_be_focused()
    page.keyboard.type(CLASSIFIER)
    own_name = dialog.get_by_role("button", name=f"Load {CLASSIFIER} by its name")
    expect(own_name).to_be_visible()
    own_name.focus()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(opener).to_contain_text(CLASSIFIER)
    page.wait_for_url(re.compile(f"model={CLASSIFIER}"))
    assert "layer=3" in page.url
    page.go_back()
    expect(opener).to_contain_text("dinov2_small")
    page.wait_for_url(re.compile("at=about&layer=3$"))
