"""Is what a page says true of the kind of model, and is a refusal a sentence?"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import vit_inspect as vi
from tests.dashboard.apps import (
    AVERAGED,
    BIASED,
    BOTH_POSITIONS,
    CLASSIFIER,
    FEATURES,
    REFUSED,
    ROTATED,
    STAGED,
    WITHOUT_POSITIONS,
    canvas,
    charts,
    choose_model,
    copied,
    go,
    opened,
)
from vit_inspect.figures import position_bias, position_similarity, rotary_similarity
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.loading.recommended import Checkpoint
from vit_inspect_dashboard import controls, models

unpatched_load = vi.load

WITH_POSITIONS = {
    CLASSIFIER: [position_similarity.FIGURE],
    BIASED: [position_bias.FIGURE],
    ROTATED: [rotary_similarity.FIGURE],
    BOTH_POSITIONS: [position_similarity.FIGURE, rotary_similarity.FIGURE],
}
"""Which kinds of positions a model has."""
TOLD = {
    CLASSIFIER: {3: "adds a vector to each token", 7: "the class token (CLS)"},
    AVERAGED: {3: "adds a number to its scores", 7: "from the mean of the patches"},
    ROTATED: {3: "rotates each token by its position", 7: "the class token (CLS)"},
    WITHOUT_POSITIONS: {3: "none of the ways", 7: "from the mean of the patches"},
    STAGED: {
        1: "merges from stage to stage",
        3: "adds a number to its scores",
        4: "all tokens of its window,",
        7: "cannot be followed",
        8: "is not shown",
    },
}
"""What some steps of the tour say of a model."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("random_weights")]


@pytest.mark.parametrize(("model", "figures"), WITH_POSITIONS.items())
def test_one_page_shows_every_kind_of_positions_that_the_model_has(
    model: str, figures: list[FigureSpec]
) -> None:
    app = opened("position_similarity", model=model)
    for figure in figures:
        if len(figures) > 1:
            app.button_group(key="positions").set_value(figure.title).run()
        assert not app.exception
        assert not app.error
        assert app.title[0].value == figure.title
        assert app.subheader[0].value == figure.question
        assert figure.formula in [each.value for each in app.text]
    shown = [each for each in app.get("button_group") if each.key == "positions"]
    assert len(shown) == (len(figures) > 1)


def test_a_model_without_positions_is_a_sentence() -> None:
    app = opened("position_similarity", model=WITHOUT_POSITIONS)
    assert not app.exception
    [error] = app.error
    assert "this model has no position information of the known kinds" in error.value


@pytest.mark.parametrize("model", TOLD)
def test_every_step_of_the_tour_says_what_is_true_of_the_model_and_shows_it(model: str) -> None:
    app = opened("learn", model=model, **({"size": 224} if model == STAGED else {}))
    bare = {WITHOUT_POSITIONS: [3], STAGED: [7]}.get(model, [])
    for number in range(1, 9):
        app.button_group(key="step").set_value(number).run()
        assert not app.exception
        assert not app.error
        assert app.header[0].value.startswith(f"{number}. ")
        components = [
            each
            for each in app.get("bidi_component")
            if not each.proto.id.endswith(("-strip", "-screen"))
        ]
        shown = [
            *app.get("plotly_chart"),
            *app.image,
            *components,
            *app.get("progress"),
        ]
        links = [each for each in app.button if each.label == "Open the full page"]
        # A step without a figure links to none.
        assert (not shown, not links) == (number in bare,) * 2, number
        words = app.markdown[0].value
        # What is shown comes with a question, and most often with an answer.
        asked = [each.value for each in app.markdown if each.value.startswith("**Question:**")]
        assert len(asked) == len(app.expander)
        assert len(asked) == (number not in bare and (model, number) != (STAGED, 8))
        if number in TOLD[model]:
            assert TOLD[model][number] in words
        answers = [each.children[0].value for each in app.expander]
        capture = models.capture(app.session_state["subject"])
        if number == 1:
            side = capture.layout.cell_px[0]
            assert f"a square always has {side} × {side} px of the input" in answers[0]
        if number == 2:
            shares = vi.embedding_filters(capture.model).explained_variance_ratio
            told = [f"{shares[0]:.1%} of the differences", f"28 together {shares[:28].sum():.1%}"]
            assert all(words in answers[0] for words in told)
        if number == 3 and model in (CLASSIFIER, AVERAGED):
            # Small tiles, of which one is large under the cursor.
            assert [each.proto.id.endswith("-learn_positions") for each in components] == [True]
        if number == 4:
            some = "from all tokens (in some layers, only those of its window), with weights"
            inside = {
                STAGED: "from all tokens of its window, with weights",
                WITHOUT_POSITIONS: some,
            }
            assert inside.get(model, "from all tokens, with weights") in words


def test_a_model_of_one_block_has_all_its_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, *, img_size: int | None) -> vi.Model:
        return copied(unpatched_load, name, img_size, 1)

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    app = opened("learn")
    for number in (4, 6, 7):
        app.button_group(key="step").set_value(number).run()
        assert not app.exception
    go(app, "attention_rollout")
    assert not app.exception
    assert canvas(app).header["layers"] == 1


def test_names_of_classes_are_plain_text_and_each_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        return replace(real(name, img_size=img_size), labels=("**bold** $x$",) * 1000)

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    app = opened()
    shown = [each.proto.text for each in app.get("progress")]
    assert len(set(shown)) == 5
    assert all(text.startswith(r"\*\*bold\*\* \$x\$ \(") for text in shown)
    go(app, "learn")
    app.button_group(key="step").set_value(8).run()
    assert [each.proto.text for each in app.get("progress")] == shown
    options = app.selectbox(key="class").options
    assert len(set(options)) == 5
    assert all(option.startswith("**bold** $x$ (") for option in options)


def test_raw_scores_are_told_as_scores_on_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        network = real(name, img_size=img_size).module
        network.reset_classifier(3)
        torch.nn.init.normal_(network.head.weight)
        return vi.wrap(network.eval(), name=name, outputs="scores")

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    app = opened()
    assert any("Largest raw scores" in each.value for each in app.markdown)
    shown = [each.value for each in app.text if each.value.startswith("output ")]
    assert len(shown) == 3
    assert not app.get("progress")
    go(app, "attention_relevance")
    assert not app.exception
    [told] = [each.value for each in app.caption if "core of" in each.value]
    assert "Score of output" in told
    assert "%" not in told
    assert app.selectbox(key="class").label == "Score"
    assert app.selectbox(key="class").options[0] == "the largest score"
    for view in ("head_importance", "logit_lens"):
        go(app, view)
        assert not app.exception
        assert not app.error
        drawn = "".join(json.dumps(each) for each in charts(app))
        assert "Score" in drawn
        assert "robability" not in drawn
    go(app, "learn")
    app.button_group(key="step").set_value(8).run()
    assert not app.exception
    assert [each.value for each in app.text if each.value.startswith("output ")] == shown


def test_figures_of_probabilities_and_of_scores_share_no_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        model = real(name, img_size=img_size)
        return replace(model, outputs="scores") if name == AVERAGED else model

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    app = opened("compare", figure="Logit lens", against="model", right_model=AVERAGED)
    assert not app.exception
    assert not app.error
    assert any("no common unit" in each.value for each in app.caption)


def test_a_model_that_cannot_be_inspected_is_a_sentence() -> None:
    app = opened(model=REFUSED)
    assert not app.exception
    words = app.error[0].value.replace("\\", "")
    assert "which attends between channels, not between tokens; expected" in words
    assert REFUSED in words


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
    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", unpatched_load)
    assert len(name) <= controls.NAME_LENGTH
    monkeypatch.setattr(
        "vit_inspect_dashboard.picker.ZOO", (Checkpoint(name, "all figures", "typed in"),)
    )
    app = opened(model=name)
    assert not app.exception
    (error,) = app.error
    assert words in error.value.replace("\\", "")


def test_a_stage_is_chosen_for_all_pages() -> None:
    app = opened("explore", model=STAGED)
    assert app.selectbox(key="stage").value == 2
    assert canvas(app).header["query"] == "Mean of this stage's patches"
    assert canvas(app).header["layers"] == 6
    assert any("reads its last stage only" in each.value for each in app.caption)
    go(app, "explore", query="Patch (5, 5)")
    assert not any("reads its last stage only" in each.value for each in app.caption)
    app.selectbox(key="stage").set_value(3).run()
    assert not app.exception
    assert not app.error
    assert canvas(app).header["layers"] == 2
    assert canvas(app).header["query"] == "Mean of the patches"
    go(app, "export")
    assert "--stage 3" in app.code[0].value
    assert any("stage 3" in each.value for each in app.text)
    go(app, "about")
    assert any("2 layers in stage 3" in each.value for each in app.caption)


def test_another_model_opens_at_its_own_stage() -> None:
    app = opened(model=STAGED, stage=1)
    assert app.session_state["subject"].stage == 1
    choose_model(app, CLASSIFIER)
    assert not app.exception
    assert not [each for each in app.selectbox if each.key == "stage"]
    assert app.session_state["subject"].stage is None


def test_a_model_at_its_own_size_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int | None] = []
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        loaded.append(img_size)
        return real(name, img_size=img_size or 224)

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    app = opened()
    assert app.selectbox(key="size").value == 224
    app.run()
    go(app, "export")
    assert not app.exception
    assert loaded == [None]
    assert "--img-size" not in app.code[0].value
    app.selectbox(key="size").set_value(256).run()
    assert "--img-size 256" in app.code[0].value
    app.selectbox(key="size").set_value(224).run()
    assert not app.exception
    assert loaded == [None, 256]


def test_sizes_are_those_that_all_stages_tile() -> None:
    sizes = opened(model=STAGED).selectbox(key="size").options
    assert all(int(size) % 32 == 0 for size in sizes)


def test_a_model_without_classes_says_so_and_offers_one_where_classes_are_read() -> None:
    app = opened("logit_lens", model=FEATURES)
    assert not app.exception
    assert not app.error
    assert any("This model has none." in each.value for each in app.info)
    # The rest of the page is there.
    assert any(" parameters\\, " in each.value for each in app.caption)
    [button] = [each for each in app.button if each.label == "Choose another model with classes"]
    button.click().run()
    assert not app.exception
    assert app.text_input(key="sought_model").value == "1,000 classes"
    offered = [each for each in app.button if str(each.key).startswith("take_")]
    assert offered
    # What is found is a choice like any other.
    offered[0].click().run()
    assert app.session_state["subject"].model == str(offered[0].key).removeprefix("take_")
