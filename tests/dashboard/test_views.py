"""Does every page open for every kind of model, and tell what cannot be done in a sentence?"""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import streamlit as st
import timm
import torch
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from vit_inspect.analyses.faithfulness import Curves, default_maps
from vit_inspect.analyses.head_importance import Batch, HeadTrials
from vit_inspect.catalog import FIGURES, FigureSpec
from vit_inspect.loading.recommended import Checkpoint

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
PAGES = [spec for spec in FIGURES if spec.page is None]
VIEWS = ["overview", "tour", *(spec.slug for spec in PAGES), "compare", "export"]
STAGED = "swin_tiny_patch4_window7_224"
KINDS = {
    "class token": "vit_tiny_patch16_224",
    "averaged, no prefix, positions as a bias": "vit_relpos_small_patch16_224",
    "positions by rotation": "vit_small_patch16_rope_224",
    "attention pool": "vit_base_patch32_siglip_256",
    "registers": "vit_small_patch14_reg4_dinov2",
    "windows, positions as a bias": STAGED,
}
NOT_OF_WINDOWS = {
    "attention_rollout": "merge from stage to stage",
    "attention_relevance": "merge from stage to stage",
    "token_norms": "merge from stage to stage",
    "head_importance": "merge from stage to stage",
    "feature_pca": "do not return one row for each token",
    "layer_cka": "do not return one row for each token",
}
"""What a page says of a hierarchical model whose windows reach beyond its grid."""
WITH_POSITIONS = {
    "vit_tiny_patch16_224": ["Position embeddings"],
    "beit_base_patch16_224": ["Relative position bias"],
    "vit_small_patch16_rope_224": ["Rotary positions"],
    "eva02_tiny_patch14_224": ["Position embeddings", "Rotary positions"],
}
"""Which kinds of positions a model has, by title."""
WITHOUT_POSITIONS = "samvit_base_patch16_224"
REFUSED = "xcit_nano_12_p16_224"


@pytest.fixture(autouse=True)
def random_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small inputs and random weights in place of a hub."""
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        torch.manual_seed(0)
        size = 224 if "sam" in name else 3 * (14 if "patch14" in name else 32)
        return real(name, img_size=img_size or size, pretrained=False, device="cpu")

    monkeypatch.setattr("dashboard.cache.vi.load", load)
    # AppTest knows no options that are typed in.
    names = (*KINDS.values(), *WITH_POSITIONS, WITHOUT_POSITIONS, REFUSED)
    listed = tuple(Checkpoint(name, "all figures", "small and random") for name in names)
    monkeypatch.setattr("dashboard.selection.ZOO", listed)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def png() -> bytes:
    """A picture that a user might have."""
    file = io.BytesIO()
    vi.sample("coffee").resize((80, 60)).save(file, "PNG")
    return file.getvalue()


def opened(view: str, **state: object) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    for key, value in state.items():
        app.session_state[key] = value
    app.run()
    if view != "overview":
        app.switch_page(f"views/{view}.py").run()
    return app


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_opens_for_every_kind_of_model(kind: str) -> None:
    app = opened("overview", model=KINDS[kind])
    for view in VIEWS:
        app.switch_page(f"views/{view}.py").run()
        assert not app.exception, (view, app.exception)
        refused = [error.value.replace("\\", "") for error in app.error]
        if view in NOT_OF_WINDOWS and "windows" in kind:
            assert len(refused) == 1
            assert NOT_OF_WINDOWS[view] in refused[0]
        else:
            assert refused == []
            assert app.title


@pytest.mark.parametrize(("model", "titles"), WITH_POSITIONS.items())
def test_one_page_shows_every_kind_of_positions_that_the_model_has(
    model: str, titles: list[str]
) -> None:
    specs = {spec.title: spec for spec in FIGURES}
    app = opened("position_similarity", model=model)
    for title in titles:
        if len(titles) > 1:
            app.button_group(key="positions").set_value(title).run()
        assert not app.exception
        assert not app.error
        assert app.title[0].value == title
        assert app.subheader[0].value == specs[title].question
        assert specs[title].formula in [each.value for each in app.text]
    assert len(app.get("button_group")) == 1 + (len(titles) > 1)


TOLD = {
    "vit_tiny_patch16_224": {3: "adds to it a vector", 7: "from its read-out (cls)"},
    "vit_relpos_small_patch16_224": {3: "adds to its scores", 7: "(mean of the patches)"},
    "vit_small_patch16_rope_224": {3: "turns it by its place", 7: "from its read-out (cls)"},
    WITHOUT_POSITIONS: {3: "none of the ways that are known", 7: "(mean of the patches)"},
    STAGED: {
        1: "merge from stage to stage",
        3: "adds to its scores",
        4: "all tokens of its window,",
        7: "cannot be followed",
        8: "is not shown",
    },
}
"""What some steps of the tour say of a model."""


@pytest.mark.parametrize("model", TOLD)
def test_every_step_of_the_tour_says_what_is_true_of_the_model_and_shows_it(model: str) -> None:
    app = opened("tour", model=model, **({"size": 224} if model == STAGED else {}))
    bare = {WITHOUT_POSITIONS: [3], STAGED: [7]}.get(model, [])
    for number in range(1, 9):
        app.button_group(key="step").set_value(number).run()
        assert not app.exception
        assert not app.error
        assert app.header[0].value.startswith(f"{number}. ")
        shown = [*app.get("plotly_chart"), *app.get("bidi_component"), *app.get("progress")]
        # A step without a figure links to none.
        assert (not shown, not app.get("page_link")) == (number in bare,) * 2, number
        (words,) = (each.value for each in app.markdown)
        if number in TOLD[model]:
            assert TOLD[model][number] in words
        if number == 4:
            assert ("window" in words) == (model == STAGED)


def test_what_is_chosen_in_the_tour_stays_chosen_on_other_pages() -> None:
    app = opened("tour", model=KINDS["class token"], step=4)
    app.selectbox(key="query").set_value("Patch 1, 2").run()
    app.selectbox(key="layer").set_value(3).run()
    app.button_group(key="step").set_value(6).run()
    assert app.selectbox(key="layer").value == 3
    app.button_group(key="step").set_value(7).run()
    app.selectbox(key="start").set_value(2).run()
    for view, key, value in (
        ("attention_maps", "query", "Patch 1, 2"),
        ("feature_pca", "layer", 3),
        ("attention_rollout", "start", 2),
    ):
        app.switch_page(f"views/{view}.py").run()
        assert not app.exception
        assert app.selectbox(key=key).value == value


def test_a_click_in_the_tour_keeps_the_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[object] = []
    monkeypatch.setattr(
        "dashboard.explorer.explorer", lambda rows, **named: pinned.append(named["pinned"])
    )
    # What a click leaves behind, by `pick_patch`; Escape goes to the middle.
    for query in ("Patch 1, 2", "Read-out (cls)"):
        app = opened("tour", model=KINDS["class token"], step=4, query=query)
        assert not app.exception
    assert pinned == [(1, 2), (3, 3)]


@pytest.mark.parametrize("view", ["tour", "attention_maps"])
def test_where_the_map_cannot_follow_the_cursor_it_says_so(
    monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    def told(app: AppTest) -> bool:
        return any("too many to follow the cursor" in each.value for each in app.caption)

    app = opened(view, model=KINDS["class token"], step=4)
    assert not told(app)
    monkeypatch.setattr("dashboard.explorer.MAX_BYTES", 9)
    app.run()
    assert told(app)
    assert view != "tour" or any("Click a square" in each.value for each in app.markdown)


def test_a_model_of_one_block_has_all_its_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.create_model", partial(timm.create_model, depth=1))
    app = opened("tour", model=KINDS["class token"])
    for number in (4, 6, 7):
        app.button_group(key="step").set_value(number).run()
        assert not app.exception
    app.switch_page("views/attention_rollout.py").run()
    assert not app.exception
    assert app.selectbox(key="start").options == ["0"]


def test_names_of_classes_are_plain_text_and_each_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = cache.vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        return replace(real(name, img_size=img_size), labels=("**bold** $x$",) * 1000)

    monkeypatch.setattr("dashboard.cache.vi.load", load)
    app = opened("overview", model=KINDS["class token"])
    shown = [each.proto.text for each in app.get("progress")]
    assert len(set(shown)) == 5
    assert all(text.startswith(r"\*\*bold\*\* \$x\$ \(") for text in shown)
    app.switch_page("views/tour.py").run()
    app.button_group(key="step").set_value(8).run()
    assert [each.proto.text for each in app.get("progress")] == shown
    options = app.selectbox(key="class").options
    assert len(set(options)) == 5
    assert all(option.startswith("**bold** $x$ (") for option in options)


def titles_of_maps(app: AppTest) -> list[str]:
    """The first line of each chart that has one."""
    figures = [json.loads(each.proto.spec)["layout"] for each in app.get("plotly_chart")]
    return [figure["meta"][0] for figure in figures if figure.get("meta")]


def test_a_class_of_a_classifier_is_chosen_for_relevance_and_kept_for_another_picture() -> None:
    app = opened("attention_relevance", model=KINDS["class token"])
    classes = app.selectbox(key="class")
    assert len(classes.options) == 1 + 1000
    first, chosen = classes.options[1], classes.options[7]
    assert titles_of_maps(app)[0] == f"What speaks for {first}"
    classes.set_value(chosen).run()
    assert not app.exception
    told = [each.value for each in app.caption if each.value.startswith("Probability of")]
    for image in ("coffee", "chelsea"):
        app.selectbox(key="image").set_value(image).run()
        for _ in range(2):
            app.run()
            assert app.selectbox(key="class").value == chosen
            assert titles_of_maps(app)[0] == f"What speaks for {chosen}"
    assert [each.value for each in app.caption if each.value.startswith("Probability of")] == told
    assert "%" not in "".join(app.selectbox(key="class").options)


def test_relevance_is_of_the_most_probable_class_of_each_picture_until_one_is_chosen() -> None:
    app = opened("attention_relevance", model=KINDS["class token"])
    for image in ("coffee", "rocket", "chelsea"):
        app.selectbox(key="image").set_value(image).run()
        [first] = vi.predictions(cache.capture(app.session_state["subject"]), count=1).labels[0]
        assert titles_of_maps(app)[0] == f"What speaks for {first}"
        assert app.selectbox(key="class").options[1] == first


def test_both_classes_of_one_name_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs.class_names(["crane", "dog", "crane"]) == ["crane (0)", "dog", "crane (2)"]
    asked: list[object] = []
    real = cache.result

    def result(spec: FigureSpec, subject: selection.Subject, **parameters: object) -> object:
        asked.append(parameters.get("target"))
        return real(spec, subject, **parameters)

    monkeypatch.setattr(cache, "result", result)
    app = opened("attention_relevance", model=KINDS["class token"])
    for name, index in (("crane (134)", 134), ("crane (517)", 517)):
        app.selectbox(key="class").set_value(name).run()
        assert not app.exception
        assert asked[-1] == index


def test_relevance_names_the_picture_that_is_compared_with() -> None:
    app = opened("attention_relevance", model=KINDS["registers"], target="another picture")
    assert "chelsea" not in app.selectbox(key="like_image").options
    app.selectbox(key="like_image").set_value("coffee").run()
    assert not app.exception
    assert titles_of_maps(app)[0] == "What speaks for similarity to coffee"


def test_a_patch_chosen_on_one_page_is_that_of_the_next() -> None:
    app = opened("attention_relevance", model=KINDS["class token"], target="a patch")
    assert app.selectbox(key="token").value == "Patch 3, 3"
    app.selectbox(key="token").set_value("Patch 0, 2").run()
    assert titles_of_maps(app)[0] == "What speaks for similarity to patch (0, 2)"
    app.switch_page("views/feature_pca.py").run()
    app.button_group(key="tokens").set_value("similar patches").run()
    assert app.selectbox(key="token").value == "Patch 0, 2"


def test_a_model_without_positions_is_a_sentence() -> None:
    app = opened("position_similarity", model=WITHOUT_POSITIONS)
    assert not app.exception
    [error] = app.error
    assert "this model has no position information of the known kinds" in error.value


@pytest.mark.parametrize("spec", PAGES, ids=lambda spec: spec.slug)
def test_every_figure_page_says_what_it_asks_and_cannot_tell(spec: object) -> None:
    app = opened(spec.slug, model=KINDS["class token"])  # type: ignore[attr-defined]
    words = " ".join(
        each.value for each in (*app.subheader, *app.markdown, *app.caption, *app.text)
    )
    for part in ("question", "reading", "caveat", "formula", "source"):
        assert getattr(spec, part) in words


def test_a_classifier_names_the_five_most_probable_classes() -> None:
    app = opened("overview", model=KINDS["class token"])
    assert any("Five most probable classes" in each.value for each in app.markdown)
    app = opened("overview", model="vit_small_patch14_reg4_dinov2")
    assert any("no classes" in each.value for each in app.markdown)


def test_what_a_reader_should_know_of_the_model_is_told() -> None:
    app = opened("overview", model=KINDS["registers"])
    words = [each.value.replace("\\", "") for each in app.info]
    assert words == ["Position table resampled from 37 x 37 to 3 x 3."]


def test_a_model_that_cannot_be_inspected_is_a_sentence() -> None:
    app = opened("overview", model=REFUSED)
    assert not app.exception
    words = app.error[0].value.replace("\\", "")
    assert "which attends between channels, not between tokens; expected" in words
    assert REFUSED in words


def test_layer_and_head_of_a_larger_model_fall_back() -> None:
    app = opened(
        "attention_maps", model=KINDS["class token"], layer=23, head=16, query="Patch 9, 9"
    )
    assert not app.exception
    assert app.selectbox(key="layer").value == 11
    assert app.selectbox(key="head").value == 1
    assert app.selectbox(key="query").value == "Read-out (cls)"


def test_distance_of_a_single_upload_is_of_that_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = cache.result

    def result(spec: FigureSpec, subject: selection.Subject, **parameters: object) -> object:
        asked.append(subject.image)
        return real(spec, subject, **parameters)

    monkeypatch.setattr(cache, "result", result)
    app = opened("attention_distance", model=KINDS["class token"])
    app.file_uploader(key="uploads").upload("mine.png", png(), "image/png").run()
    [upload] = set(asked) - {"chelsea"}
    app.selectbox(key="image").set_value("coffee").run()
    asked.clear()
    app.button_group(key="over").set_value("your pictures").run()
    assert not app.exception
    assert asked == [upload]


def test_what_depended_on_a_removed_upload_starts_anew() -> None:
    app = opened("attention_distance", model=KINDS["class token"])
    uploader = app.file_uploader(key="uploads")
    uploader.upload("mine.png", png(), "image/png").run()
    assert app.selectbox(key="image").value == "mine.png"
    app.button_group(key="over").set_value("your pictures").run()
    app.file_uploader(key="uploads").set_value(None).run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="image").value == "chelsea"
    assert app.button_group(key="over").value == "this picture"


def test_a_survey_takes_all_samples() -> None:
    app = opened("attention_distance", model=KINDS["class token"])
    app.button_group(key="over").set_value("all samples").run()
    assert not app.exception
    assert app.button_group(key="over").value == "all samples"


def test_a_rollout_that_rests_on_few_patches_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("attention_rollout", model=KINDS["class token"])
    assert not app.warning
    monkeypatch.setattr("vit_inspect.figures.attention_rollout.CONCENTRATED", 0.01)
    app.run()
    assert "often artefacts of the model" in app.warning[0].value


def test_every_control_has_help() -> None:
    def all_help(app: AppTest, view: object) -> None:
        for kind in (
            "selectbox",
            "multiselect",
            "slider",
            "radio",
            "toggle",
            "button_group",
            "file_uploader",
            "download_button",
        ):
            for control in app.get(kind):
                assert control.proto.help or "export_" in control.proto.id, (view, control.label)

    app = opened("overview", model=KINDS["class token"])
    for view in VIEWS:
        app.switch_page(f"views/{view}.py").run()
        all_help(app, view)
    app.switch_page("views/tour.py").run()
    for number in range(1, 9):
        app.button_group(key="step").set_value(number).run()
        all_help(app, number)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("transformers:someone/something", "connect to the hub, check the name"),
        ("transformers:../something", "which could be a folder"),
        ("transformers:/etc", "expected 'transformers:organisation/name'"),
    ],
)
@pytest.mark.usefixtures("unreachable")
def test_a_name_of_another_package_is_answered_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    assert len(name) <= selection.NAME_LENGTH
    monkeypatch.setattr("dashboard.selection.ZOO", (Checkpoint(name, "all figures", "typed in"),))
    app = opened("overview", model=name)
    assert not app.exception
    (error,) = app.error
    assert words in error.value.replace("\\", "")


def test_a_stage_is_chosen_for_all_pages() -> None:
    app = opened("attention_maps", model=STAGED)
    assert app.selectbox(key="stage").value == 2
    assert app.selectbox(key="query").value == "Mean of this stage's patches"
    assert len(app.selectbox(key="layer").options) == 6
    assert any("reads the last stage only" in each.value for each in app.caption)
    app.selectbox(key="query").set_value("Patch 5, 5").run()
    assert not any("reads the last stage only" in each.value for each in app.caption)
    app.selectbox(key="stage").set_value(3).run()
    assert not app.exception
    assert not app.error
    assert len(app.selectbox(key="layer").options) == 2
    assert app.selectbox(key="query").value == "Read-out (mean of the patches)"
    app.switch_page("views/export.py").run()
    assert "--stage 3" in app.code[0].value
    assert any("stage 3" in each.value for each in app.text)
    app.switch_page("views/overview.py").run()
    assert any("2 layers in stage 3" in each.value for each in app.caption)


def test_another_model_opens_at_its_own_stage() -> None:
    app = opened("overview", model=STAGED, stage=1)
    assert app.session_state["subject"].stage == 1
    app.selectbox(key="model").set_value(KINDS["class token"]).run()
    assert not app.exception
    assert not [each for each in app.selectbox if each.key == "stage"]
    assert app.session_state["subject"].stage is None


def test_a_model_at_its_own_size_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int | None] = []
    real = cache.vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        loaded.append(img_size)
        return real(name, img_size=img_size or 224)

    monkeypatch.setattr("dashboard.cache.vi.load", load)
    app = opened("overview", model=KINDS["class token"])
    assert app.selectbox(key="size").value == 224
    app.run()
    app.switch_page("views/export.py").run()
    assert not app.exception
    assert loaded == [None]
    assert "--img-size" not in app.code[0].value
    app.selectbox(key="size").set_value(256).run()
    assert "--img-size 256" in app.code[0].value
    app.selectbox(key="size").set_value(224).run()
    assert not app.exception
    assert loaded == [None, 256]


def test_sizes_are_those_that_all_stages_tile() -> None:
    sizes = opened("overview", model=STAGED).selectbox(key="size").options
    assert all(int(size) % 32 == 0 for size in sizes)


@pytest.mark.parametrize("kind", ["class token", "averaged, no prefix, positions as a bias"])
def test_tokens_of_a_classifier_are_shown_as_colours_as_likeness_and_as_its_class(
    kind: str,
) -> None:
    app = opened("feature_pca", model=KINDS[kind])
    for shown, slug in (
        ("colours", "feature_pca"),
        ("similar patches", "token_similarity"),
        ("class in every layer", "logit_lens"),
    ):
        app.button_group(key="tokens").set_value(shown).run()
        assert not app.exception
        assert not app.error
        spec = next(spec for spec in FIGURES if spec.slug == slug)
        assert app.title[0].value == "What tokens hold"
        assert app.subheader[0].value == spec.question
        assert spec.formula in [each.value for each in app.text]
        app.selectbox(key="layer").set_value(2).run()
        assert not app.exception


def test_tokens_of_a_model_without_classes_say_so_where_a_class_is_asked_for() -> None:
    app = opened("feature_pca", model=KINDS["registers"], tokens="class in every layer")
    assert not app.exception
    [error] = app.error
    assert "which has no known classes" in error.value.replace("\\", "")


@pytest.mark.parametrize(
    ("shown", "quantity"), [("colours", "components"), ("similar patches", "similarity")]
)
def test_tokens_of_another_picture_are_shown_beside_once_computed_and_exported(
    monkeypatch: pytest.MonkeyPatch, shown: str, quantity: str
) -> None:
    joined: list[tuple[str, ...]] = []
    files: dict[str, Callable[[], bytes]] = {}
    real = cache.together

    def counted(captures: list[vi.Capture], *, layer: int) -> vi.Capture:
        joined.append(tuple(each.photographs[0].name for each in captures))
        return real(captures, layer=layer)

    def download(label: str, data: Callable[[], bytes], *, file_name: str, **named: object) -> None:
        files[file_name] = data

    monkeypatch.setattr(cache, "together", counted)
    monkeypatch.setattr("dashboard.widgets.st.download_button", download)
    app = opened("feature_pca", model=KINDS["class token"], tokens=shown)
    assert "chelsea" not in app.selectbox(key="beside").options
    files.clear()
    app.selectbox(key="beside").set_value("coffee").run()
    app.run()
    assert not app.exception
    assert not app.error
    assert joined == [("chelsea.png", "coffee.png")]
    labels = [each.proto.popover.label for each in app.get("popover")]
    assert [label.split(": ")[1] for label in labels] == ["Export chelsea", "Export coffee"]
    tables = {
        name: np.load(io.BytesIO(data()))[quantity]
        for name, data in files.items()
        if name.endswith(".npz")
    }
    assert [name.split("_")[4] for name in tables] == ["chelsea", "coffee"]
    here, there = tables.values()
    assert here.shape == there.shape
    assert np.abs(here - there).max() > 1e-3


def test_what_is_clicked_in_a_figure_of_tokens_is_chosen() -> None:
    def chosen() -> None:
        import streamlit as st

        from dashboard import selection

        selection.pick_token([1, 2])
        selection.pick_layer([4])
        st.text(f"{st.session_state['token']}; {st.session_state['layer']}")

    assert AppTest.from_function(chosen).run().text[0].value == "Patch 1, 2; 4"


@pytest.mark.usefixtures("listed")
def test_layers_are_compared_with_those_of_another_model_over_several_pictures() -> None:
    app = opened("layer_cka", model=KINDS["class token"])
    assert KINDS["class token"] not in app.selectbox(key="other_model").options
    app.selectbox(key="other_model").set_value(KINDS["registers"]).run()
    assert not app.exception
    assert not app.error
    app.selectbox(key="other_model").set_value("itself").run()
    app.button_group(key="over").set_value("all samples").run()
    assert not app.exception
    assert not app.error


def test_rollout_without_artefacts_is_shown_where_some_were_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = opened("token_norms", model=KINDS["class token"])
    assert app.selectbox(key="layer").value == 11
    assert any("nothing to leave out" in each.value for each in app.caption)
    assert len(app.get("plotly_chart")) == 2
    for gate, loose in (("RATIO", 1), ("SEPARATION", 0), ("SHARE", 1), ("BORDERLINE", 99)):
        monkeypatch.setattr(f"vit_inspect.analyses.token_norms.{gate}", loose)
    app.selectbox(key="layer").set_value(5).run()
    assert not app.exception
    assert not any("nothing to leave out" in each.value for each in app.caption)
    assert len(app.get("plotly_chart")) == 4
    assert "Variant: rollout without the artefacts" in app.get("plotly_chart")[3].proto.spec


def shown_metrics(app: AppTest) -> list[str]:
    return [each.value for each in app.metric]


@pytest.mark.parametrize("kind", ["class token", "registers"])
def test_parts_are_switched_off_and_on_again(kind: str) -> None:
    app = opened("head_importance", model=KINDS[kind])
    assert shown_metrics(app) == ["1.0000", "0.00%"]
    app.multiselect(key="off_layers").set_value(["Layer 3"]).run()
    assert not app.exception
    layer = shown_metrics(app)
    assert layer != ["1.0000", "0.00%"]
    app.multiselect(key="off_tokens").set_value(["Token cls", "Patch 0, 1"]).run()
    assert shown_metrics(app) != layer
    assert any("1 of them switched off" in str(each.proto) for each in app.get("plotly_chart"))
    app.button_group(key="replacement").set_value("zero").run()
    app.multiselect(key="off_layers").set_value([]).run()
    app.multiselect(key="off_tokens").set_value([]).run()
    assert shown_metrics(app) == ["1.0000", "0.00%"]
    featured = any("no classes" in each.value for each in app.caption)
    assert featured == (kind == "registers")


def test_parts_that_another_model_has_not_are_let_go() -> None:
    asked = {"off_heads": ["Layer 11, head 3", "Layer 11, head 4"], "off_tokens": ["Patch 9, 9"]}
    app = opened("head_importance", model=KINDS["class token"], **asked)
    assert not app.exception
    assert app.multiselect(key="off_heads").value == ["Layer 11, head 3"]
    assert app.multiselect(key="off_tokens").value == []
    app.multiselect(key="off_tokens").set_value(["Token cls"]).run()
    app.selectbox(key="model").set_value(KINDS["attention pool"]).run()
    assert not app.exception
    assert app.multiselect(key="off_tokens").value == []


def test_every_head_is_tested_when_asked_and_a_click_switches_it_off() -> None:
    app = opened("head_importance", model=KINDS["class token"])
    assert not [each for each in app.get("popover") if "Export" in each.label]
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
        if len(tested) == 5:
            tested.append(-1)
            raise vi.OutOfMemory("no memory left", "room", "take another device")
        tested.append(batch.layer)
        return real(trials, batch)

    monkeypatch.setattr(HeadTrials, "effect", effect)
    app = opened("head_importance", model=KINDS["class token"])
    monkeypatch.setattr(cache, "on_device", lambda work, *given, **named: work(*given, **named))
    [test] = [each for each in app.button if each.label == "Test every head"]
    test.click().run()
    assert "no memory left" in app.error[0].value
    app.run()
    assert not app.error
    assert tested == [0, 1, 2, 3, 4, -1, *range(5, 12)]


def test_curves_are_run_when_asked_and_then_kept() -> None:
    app = opened("faithfulness", model=KINDS["class token"])
    assert not app.get("plotly_chart")[1:]
    app.button_group(key="steps").set_value(10).run()
    (run,) = (each for each in app.button if each.label == "Run")
    run.click().run()
    assert not app.exception
    assert not app.error
    assert len(app.get("plotly_chart")) == 2
    app.run()
    assert len(app.get("plotly_chart")) == 2
    assert "Run" not in [each.label for each in app.button]
    app.button_group(key="steps").set_value(20).run()
    assert "Run" in [each.label for each in app.button]


def test_curves_of_all_samples_are_of_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit_inspect.analyses.faithfulness.RANDOM_ORDERS", 2)
    app = opened("faithfulness", model=KINDS["class token"])
    app.button_group(key="over").set_value("all samples").run()
    app.button_group(key="steps").set_value(10).run()
    told: list[str] = []
    real = st.delta_generator.DeltaGenerator.progress

    def progress(self: object, value: float, text: str) -> object:
        told.append(text)
        return real(self, value, text)

    monkeypatch.setattr(st.delta_generator.DeltaGenerator, "progress", progress)
    next(each for each in app.button if each.label == "Run").click().run()
    assert not app.exception
    count = len(vi.SAMPLES)
    for number in range(count):
        assert any(text.startswith(f"Picture {number + 1} of {count}: 0 of ") for text in told)
    assert len(app.get("plotly_chart")) == 2


def test_what_a_cancelled_run_has_done_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = selection.Subject(KINDS["class token"], None, "crop", "chelsea")
    images, told = ["chelsea", "coffee"], []

    def stop(number: int, done: int, total: int) -> None:
        told.append((number, done))
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.curves(subject, images, stop, steps=3)
    assert cache.kept_curves(subject, images, steps=3) is None
    assert cache.kept_curves(subject, images[:1], steps=3) is not None
    told.clear()
    found = cache.curves(subject, images, lambda *each: told.append(each[:2]), steps=3)
    assert {number for number, _ in told} == {1}
    assert [each.name for each in found.photographs] == ["chelsea.png", "coffee.png"]
    assert len(found.targets) == len(found.deletion) == 2


MAPS = {
    "faithfulness": ("rollout_map_control", "values"),
    "attention_rollout": ("attention_rollout_control", "relevance"),
    "attention_relevance": ("for_{best}_attention_relevance_control", "relevance"),
    "attention_maps": ("layer_11_head_1_from_token_cls_map_control", "values"),
}
"""What the control of a page's map is called in files, and in its record."""


@pytest.mark.parametrize("view", MAPS)
def test_one_click_shows_the_map_of_randomised_weights(view: str) -> None:
    app = opened(view, model=KINDS["class token"])
    charts = len(app.get("plotly_chart"))
    app.toggle(key="randomised").set_value(True).run()
    assert not app.exception
    assert not app.error
    # But for one page, whose map is there already, both stand side by side.
    assert len(app.get("plotly_chart")) == charts + (1 if view == "faithfulness" else 2)
    assert any("Rank correlation of the two maps" in each.value for each in app.markdown)
    subject = app.session_state["subject"]
    found = cache.model(subject._replace(randomised=True))
    assert found.weights_sha256 != cache.model(subject).weights_sha256


def test_figures_that_run_the_model_many_times_are_not_compared() -> None:
    titles = opened("compare", model=KINDS["class token"]).selectbox(key="figure").options
    assert titles == [spec.title for spec in FIGURES if not spec.thorough]


def test_what_the_archive_leaves_out_is_told() -> None:
    app = opened("export", model=KINDS["class token"])
    words, *_ = (each.value for each in app.markdown if "archive" in each.value)
    slow = [spec.title for spec in FIGURES if spec.thorough]
    assert words.endswith(
        f"{slow[0]} and {slow[1]}, which run the model many times, are exported on their own pages."
    )
    assert f"With --thorough also {' and '.join(slow)}." in [each.value for each in app.caption]
    assert not any("Every page" in each.value for each in app.markdown)


def test_heads_are_ranked_by_what_is_asked_for() -> None:
    app = opened("head_statistics", model=KINDS["class token"])
    table = app.dataframe[0].value
    assert len(table) == 12 * 3
    assert table["entropy"].is_monotonic_increasing
    assert table["entropy"].nunique() > 30
    app.selectbox(key="ranking").set_value("resting on prefix tokens").run()
    table = app.dataframe[0].value
    assert (-table["prefix_mass"]).is_monotonic_increasing
    assert table["prefix_mass"].between(0, 100).all()
    app.selectbox(key="within").set_value("7").run()
    table = app.dataframe[0].value
    assert set(table["layer"]) == {7}
    assert sorted(table["head"]) == [1, 2, 3]
    app.selectbox(key="large").set_value("Prefix mass").run()
    app.button_group(key="over").set_value("all samples").run()
    assert not app.exception
    assert not app.error
    # Another model, which has fewer layers: the table is of all again.
    app.selectbox(key="within").set_value("11").run()
    app.selectbox(key="model").set_value(STAGED).run()
    assert not app.exception
    assert app.selectbox(key="within").value == "all"
    assert len(app.dataframe[0].value) == 6 * 12


def test_a_row_of_the_table_leaves_for_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [2]
    table = SimpleNamespace(selection=SimpleNamespace(rows=rows))
    state: dict[str, object] = {"ranked": table}
    monkeypatch.setattr("dashboard.selection.st.session_state", state)
    heads = [(5, 0), (0, 2), (3, 1)]
    selection.leave_for_row("ranked", heads)
    assert state.pop("leave_for") == {"layer": 3, "head": 2}
    rows.clear()
    selection.leave_for_row("ranked", heads)
    assert "leave_for" not in state


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], bytes]]:
    """What the pages offer to download, by the name of the file."""
    found: dict[str, Callable[[], bytes]] = {}
    real = st.download_button

    def button(label: str, data: Callable[[], bytes], *, file_name: str, **options: Any) -> bool:
        found[file_name] = data
        return real(label, data, file_name=file_name, **options)

    monkeypatch.setattr(st, "download_button", button)
    return found


def press(app: AppTest, label: str) -> None:
    [button] = [each for each in app.button if each.label == label]
    button.click().run()


def labels_of_buttons(app: AppTest) -> list[str]:
    return [each.label for each in app.button]


@pytest.mark.parametrize("view", ["attention_distance", "head_statistics", "layer_cka"])
def test_a_file_is_named_after_the_pictures_that_it_is_of(
    files: dict[str, Callable[[], bytes]], view: str
) -> None:
    model = KINDS["class token"]
    app = opened(view, model=model)
    assert f"{model}_chelsea_{view}.csv" in files
    files.clear()
    app.button_group(key="over").set_value("all samples").run()
    assert f"{model}_all_samples_{view}.csv" in files
    assert not [name for name in files if "chelsea" in name]
    app.file_uploader(key="uploads").upload("mine.png", png(), "image/png").run()
    app.selectbox(key="image").set_value("coffee").run()
    files.clear()
    app.button_group(key="over").set_value("your pictures").run()
    assert not app.exception
    assert f"{model}_mine.png_{view}.csv" in files
    assert not [name for name in files if "coffee" in name]


def test_files_of_curves_of_all_samples_are_named_after_them(
    files: dict[str, Callable[[], bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.analyses.faithfulness.RANDOM_ORDERS", 2)
    app = opened("faithfulness", model=KINDS["class token"], over="all samples", steps=10)
    press(app, "Run")
    assert f"{KINDS['class token']}_all_samples_faithfulness.csv" in files


def test_the_large_panel_of_heads_is_large_in_the_file_for_screens_too(
    files: dict[str, Callable[[], bytes]],
) -> None:
    opened("head_statistics", model=KINDS["class token"], large="Prefix mass")
    stem = f"{KINDS['class token']}_chelsea_head_statistics"
    html = files[f"{stem}.html"]().decode()
    assert html.index("Prefix mass") < html.index('"Entropy')
    assert files[f"{stem}.svg"]().startswith(b"<?xml")


def test_what_was_switched_off_is_exported(
    files: dict[str, Callable[[], bytes]],
) -> None:
    app = opened("head_importance", model=KINDS["class token"])
    assert not files
    app.multiselect(key="off_layers").set_value(["Layer 3"]).run()
    assert not app.exception
    stem = f"{KINDS['class token']}_chelsea_without_layer_3_all_heads_ablation"
    assert set(files) == {f"{stem}.{kind}" for kind in ("svg", "pdf", "png", "npz", "csv")}
    assert files[f"{stem}.svg"]().startswith(b"<?xml")
    assert (
        shown_metrics(app)[0] == f"{np.load(io.BytesIO(files[f'{stem}.npz']()))['cosine'][0]:.4f}"
    )


@pytest.mark.parametrize("view", MAPS)
def test_the_control_of_a_map_is_exported_as_what_it_is(
    files: dict[str, Callable[[], bytes]], view: str
) -> None:
    model, (slug, quantity) = KINDS["class token"], MAPS[view]
    app = opened(view, model=model, randomised=True)
    assert not app.exception
    seen = cache.capture(app.session_state["subject"]._replace(randomised=True))
    best = vi.predictions(cache.capture(app.session_state["subject"])).labels[0][0]
    wanted = {
        "attention_relevance": lambda: vi.attention_relevance(seen, target=best).relevance,
        "attention_maps": lambda: vi.attention_maps(seen).weights[:, 11, 0],
    }.get(view, lambda: vi.attention_rollout(seen).relevance)()
    slug = slug.format(best=widgets.file_stem(best))
    stem = f"{model}_with_randomised_weights_chelsea_{slug}"
    exported = np.load(io.BytesIO(files[f"{stem}.npz"]()))
    np.testing.assert_allclose(exported[quantity], wanted, atol=1e-6)
    assert exported["model"] == f"{model}, randomised"
    rows = [row for row in files[f"{stem}.csv"]().decode().splitlines() if row.startswith(quantity)]
    assert len(rows) == wanted.size
    assert files[f"{stem}.svg"]().startswith(b"<?xml")
    assert f"{model}, randomised" in files[f"{stem}.html"]().decode()


def test_the_map_that_is_tested_is_exported(files: dict[str, Callable[[], bytes]]) -> None:
    model = KINDS["class token"]
    app = opened("faithfulness", model=model)
    seen = cache.capture(app.session_state["subject"])
    stem = f"{model}_chelsea_rollout_map"
    exported = np.load(io.BytesIO(files[f"{stem}.npz"]()))
    np.testing.assert_allclose(exported["values"], vi.attention_rollout(seen).relevance, atol=1e-6)
    assert exported["kind"] == "rollout"
    assert len(files[f"{stem}.csv"]().splitlines()) == 1 + exported["values"].size
    assert files[f"{stem}.pdf"]().startswith(b"%PDF")
    assert files[f"{stem}.html"]().startswith(b"<!doctype html>")


def test_the_control_is_of_the_class_of_the_trained_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[bool, int] = {}
    real = default_maps

    def maps(capture: vi.Capture, target: int) -> object:
        asked[capture.model is cache.model(app.session_state["subject"])] = target
        return real(capture, target)

    app = opened("overview", model=KINDS["class token"])
    monkeypatch.setattr(cache, "default_maps", maps)
    app.session_state["map"], app.session_state["randomised"] = "relevance", True
    app.switch_page("views/faithfulness.py").run()
    assert not app.exception
    subject = app.session_state["subject"]
    best = [
        vi.predictions(cache.capture(each), count=1)
        for each in (subject, subject._replace(randomised=True))
    ]
    assert best[0].class_index != best[1].class_index
    assert set(asked.values()) == {best[0].class_index.item()}
    titles = titles_of_maps(app)
    assert [each.endswith(f": relevance for {best[0].labels[0][0]}") for each in titles] == [
        True
    ] * 2
    app.button_group(key="map").set_value("rollout").run()
    assert [each.endswith(": rollout") for each in titles_of_maps(app)] == [True] * 2


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
    app = opened("faithfulness", model=KINDS["class token"], steps=10)
    monkeypatch.setattr(cache, "on_device", lambda work, *given, **named: work(*given, **named))
    press(app, "Run")
    assert "no memory left" in app.error[0].value
    [work] = app.session_state["curves"].values()
    assert not any(isinstance(each, torch.nn.Module) for each in held_by(work))
    # Whatever is clicked meanwhile, it goes on.
    app.button_group(key="map").set_value("relevance").run()
    assert not app.error
    assert at == [0, 1, 2, 3, 4, -1, *range(5, at[-1] + 1)]
    assert at[-1] == work.total - 1
    assert "curves" not in app.session_state
    assert "Run" not in labels_of_buttons(app)
    assert len(app.get("plotly_chart")) == 2


def test_a_cancelled_run_waits_to_be_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("faithfulness", model=KINDS["class token"], steps=10)
    real = Curves.advance

    def fail(curves: Curves, model: vi.Model) -> None:
        raise vi.OutOfMemory("no memory left", "room", "take another device")

    monkeypatch.setattr(Curves, "advance", fail)
    press(app, "Run")
    assert app.error
    monkeypatch.setattr(Curves, "advance", real)
    press(app, "Cancel")
    assert not app.error
    assert len(app.get("plotly_chart")) == 1
    assert "Run" in labels_of_buttons(app)


@pytest.mark.parametrize(
    ("view", "label"), [("head_importance", "Test every head"), ("faithfulness", "Run")]
)
def test_long_work_is_done_for_what_it_was_asked_for_alone(view: str, label: str) -> None:
    app = opened(view, model=KINDS["class token"])
    press(app, label)
    assert label not in labels_of_buttons(app)
    app.button_group(key="fit").set_value("whole").run()
    assert label in labels_of_buttons(app)
    app.button_group(key="fit").set_value("crop").run()
    assert label not in labels_of_buttons(app)
    # What was found is forgotten, as when others need the room.
    cache._results().drop()
    app.run()
    assert label in labels_of_buttons(app)
    press(app, label)
    app.selectbox(key="size").set_value(224).run()
    assert label in labels_of_buttons(app)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest knows no options that are typed in."""
    names = tuple(Checkpoint(name, "all figures", "small and random") for name in KINDS.values())
    monkeypatch.setattr("vit_inspect.loading.recommended.ZOO", names)


@pytest.mark.usefixtures("listed")
def test_a_model_that_is_compared_sees_its_own_input_size() -> None:
    other = KINDS["registers"]
    app = opened("layer_cka", model=KINDS["class token"], size=256)
    assert app.session_state["subject"].size == 256
    app.selectbox(key="other_model").set_value(other).run()
    assert not app.exception
    assert not app.error
    app.switch_page("views/compare.py").run()
    app.button_group(key="against").set_value("model").run()
    app.selectbox(key="right_model").set_value(other).run()
    assert not app.exception
    assert not app.error
    told = [each.value for each in app.text]
    assert f"Left: {KINDS['class token']}, chelsea, 256 px" in told
    assert f"Right: {other}, chelsea, 42 px" in told
    # One that takes the size sees it.
    app.selectbox(key="right_model").set_value(KINDS["attention pool"]).run()
    assert f"Right: {KINDS['attention pool']}, chelsea, 256 px" in [each.value for each in app.text]


@pytest.mark.usefixtures("listed")
def test_layers_of_two_models_are_compared_once(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, Callable[[], bytes]]
) -> None:
    compared: list[tuple[str, ...]] = []
    real = vi.cka

    def cka(capture: vi.Capture, other: vi.Capture) -> object:
        compared.append(tuple(each.name for each in other.photographs))
        return real(capture, other)

    monkeypatch.setattr(vi, "cka", cka)
    app = opened("layer_cka", model=KINDS["class token"])
    app.selectbox(key="other_model").set_value(KINDS["registers"]).run()
    app.run()
    assert compared == [("chelsea.png",)]
    name = f"{KINDS['class token']}_chelsea_with_{KINDS['registers']}_layer_cka.csv"
    assert name in files
    app.button_group(key="over").set_value("all samples").run()
    app.run()
    assert not app.exception
    assert sum(map(len, compared)) == len(vi.SAMPLES)


def test_relevance_of_different_classes_has_no_common_scale_and_no_difference() -> None:
    app = opened("compare", model=KINDS["class token"])
    app.selectbox(key="figure").set_value("Relevance").run()
    subject = app.session_state["subject"]
    other = app.selectbox(key="right_image").value
    classes = [
        vi.predictions(cache.capture(each), count=1).class_index.item()
        for each in (subject, subject._replace(image=other))
    ]

    def scales() -> list[tuple[float, float]]:
        figures = [json.loads(each.proto.spec)["data"] for each in app.get("plotly_chart")[:2]]
        return [
            (trace["zmin"], trace["zmax"])
            for traces in figures
            for trace in traces
            if trace["type"] == "heatmap"
        ]

    told = any("of different targets" in each.value for each in app.caption)
    assert told == (classes[0] != classes[1])
    assert told
    assert len(set(scales())) == 2
    assert len(app.get("plotly_chart")) == 2


def test_no_reason_is_given_where_no_difference_is_drawn() -> None:
    app = opened("compare", model=KINDS["class token"])
    app.selectbox(key="figure").set_value("Token norms").run()
    assert "No difference is drawn for this figure." in [each.value for each in app.caption]
