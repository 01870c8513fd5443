"""Does a page show what was chosen, here or on another page?"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.dashboard.apps import (
    AVERAGED,
    CLASSIFIER,
    FEATURES,
    HEADS,
    LAYERS,
    STAGED,
    go,
    opened,
    png,
    refusals,
    titles_of_maps,
)
from tests.helpers.picture_files import tiff_of
from vit_inspect.figures import feature_pca, logit_lens, token_similarity
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect_dashboard import models, records, state
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import class_names

WITH_CONTROL = ("faithfulness", "attention_rollout", "attention_relevance", "attention_maps")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("random_weights")]


def test_what_is_chosen_in_the_tour_stays_chosen_on_other_pages() -> None:
    app = opened("tour", step=4)
    app.selectbox(key="query").set_value("Patch (1, 2)").run()
    app.selectbox(key="layer").set_value(1).run()
    app.button_group(key="step").set_value(6).run()
    assert app.selectbox(key="layer").value == 1
    app.button_group(key="step").set_value(7).run()
    app.selectbox(key="start").set_value(2).run()
    for view, key, value in (
        ("attention_maps", "query", "Patch (1, 2)"),
        ("feature_pca", "layer", 1),
        ("attention_rollout", "start", 2),
    ):
        go(app, view)
        assert not app.exception
        assert app.selectbox(key=key).value == value


def test_a_click_in_the_tour_keeps_the_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[object] = []
    monkeypatch.setattr(
        "vit_inspect_dashboard.components.explorer.explorer",
        lambda rows, **named: pinned.append(named["pinned"]),
    )
    # What a click leaves behind, by `pick_patch`; Escape goes to the middle.
    for query in ("Patch (1, 2)", "Class token (CLS)"):
        app = opened("tour", step=4, query=query)
        assert not app.exception
    assert pinned == [(1, 2), (3, 3)]


@pytest.mark.parametrize("view", ["tour", "attention_maps"])
def test_where_the_map_cannot_follow_the_cursor_it_says_so(
    monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    def told(app: AppTest) -> bool:
        return any("too many patches" in each.value for each in app.caption)

    app = opened(view, step=4)
    assert not told(app)
    monkeypatch.setattr("vit_inspect_dashboard.head_rows.MAX_BYTES", 9)
    app.run()
    assert told(app)
    assert view != "tour" or any("Click a square" in each.value for each in app.markdown)


def test_a_class_of_a_classifier_is_chosen_for_relevance_and_kept_for_another_picture() -> None:
    app = opened("attention_relevance")
    classes = app.selectbox(key="class")
    assert len(classes.options) == 1 + 1000
    first, chosen = classes.options[1], classes.options[7]
    assert titles_of_maps(app)[0].endswith(f" {first}")
    classes.set_value(chosen).run()
    assert not app.exception
    told = [each.value for each in app.caption if each.value.startswith("Probability of")]
    for image in ("coffee", "chelsea"):
        app.selectbox(key="image").set_value(image).run()
        for _ in range(2):
            app.run()
            assert app.selectbox(key="class").value == chosen
            assert titles_of_maps(app)[0].endswith(f" {chosen}")
    assert [each.value for each in app.caption if each.value.startswith("Probability of")] == told
    assert "%" not in "".join(app.selectbox(key="class").options)


def test_relevance_is_of_the_most_probable_class_of_each_picture_until_one_is_chosen() -> None:
    app = opened("attention_relevance")
    for image in ("coffee", "rocket", "chelsea"):
        app.selectbox(key="image").set_value(image).run()
        [first] = vi.predictions(models.capture(app.session_state["subject"]), count=1).labels[0]
        assert titles_of_maps(app)[0].endswith(f" {first}")
        assert app.selectbox(key="class").options[1] == first


def test_both_classes_of_one_name_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert class_names(["crane", "dog", "crane"]) == ["crane (0)", "dog", "crane (2)"]
    asked: list[object] = []
    real = records.of_capture

    def of_capture(analyse: object, subject: Subject, **parameters: object) -> object:
        asked.append(parameters.get("target"))
        return real(analyse, subject, **parameters)

    monkeypatch.setattr(records, "of_capture", of_capture)
    app = opened("attention_relevance")
    for name, index in (("crane (134)", 134), ("crane (517)", 517)):
        app.selectbox(key="class").set_value(name).run()
        assert not app.exception
        assert asked[-1] == index


def test_relevance_names_the_picture_that_is_compared_with() -> None:
    app = opened("attention_relevance", model=FEATURES, target="another picture")
    assert "chelsea" not in app.selectbox(key="like_image").options
    app.selectbox(key="like_image").set_value("coffee").run()
    assert not app.exception
    assert titles_of_maps(app)[0].endswith(" similarity to coffee")


def test_a_patch_chosen_on_one_page_is_that_of_the_next() -> None:
    app = opened("attention_relevance", target="a patch")
    assert app.selectbox(key="token").value == "Patch (3, 3)"
    app.selectbox(key="token").set_value("Patch (0, 2)").run()
    assert titles_of_maps(app)[0].endswith(" similarity to patch (0, 2)")
    go(app, "feature_pca")
    app.button_group(key="tokens").set_value("similar patches").run()
    assert app.selectbox(key="token").value == "Patch (0, 2)"


def test_layer_and_head_of_a_larger_model_fall_back() -> None:
    app = opened("attention_maps", layer=23, head=16, query="Patch (9, 9)")
    assert not app.exception
    assert app.selectbox(key="layer").value == LAYERS - 1
    assert app.selectbox(key="head").value == 0
    assert app.selectbox(key="query").value == "Class token (CLS)"


def test_distance_of_a_single_upload_is_of_that_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = records.of_capture

    def of_capture(analyse: object, subject: Subject, **parameters: object) -> object:
        asked.append(subject.picture.key)
        return real(analyse, subject, **parameters)

    monkeypatch.setattr(records, "of_capture", of_capture)
    app = opened("attention_distance")
    app.file_uploader(key="uploads").upload("mine.png", png(), "image/png").run()
    [upload] = set(asked) - {"chelsea"}
    app.selectbox(key="image").set_value("coffee").run()
    asked.clear()
    app.button_group(key="over").set_value("your pictures").run()
    assert not app.exception
    assert asked == [upload]


def test_an_upload_of_several_bands_is_refused_with_what_can_be_done_here() -> None:
    app = opened("attention_distance")
    six = tiff_of(np.ones((40, 60, 6)), "<u2")
    app.file_uploader(key="uploads").upload("six.tif", six, "image/tiff").run()
    [told] = refusals(app)
    assert told.startswith("Found 6 bands of 16 bits in 'six.tif'; ")
    assert "bands=" not in told
    assert told.endswith("; save one or three of them as a file of their own.")


def test_what_depended_on_a_removed_upload_starts_anew() -> None:
    app = opened("attention_distance")
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
    app = opened("attention_distance")
    app.button_group(key="over").set_value("all samples").run()
    assert not app.exception
    assert app.button_group(key="over").value == "all samples"


def test_a_rollout_that_rests_on_few_patches_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("attention_rollout")
    assert not app.warning
    monkeypatch.setattr("vit_inspect.figures.attention_rollout.CONCENTRATED", 0.01)
    app.run()
    assert "often artefacts of the model" in app.warning[0].value


@pytest.mark.parametrize("model", [CLASSIFIER, AVERAGED])
def test_tokens_of_a_classifier_are_shown_as_colours_as_similarity_and_as_its_class(
    model: str,
) -> None:
    app = opened("feature_pca", model=model)
    for shown, figure in (
        ("colours", feature_pca.FIGURE),
        ("similar patches", token_similarity.FIGURE),
        ("logit lens", logit_lens.FIGURE),
    ):
        app.button_group(key="tokens").set_value(shown).run()
        assert not app.exception
        assert not app.error
        assert app.title[0].value == feature_pca.FIGURE.title
        assert app.subheader[0].value == figure.question
        assert figure.formula in [each.value for each in app.text]
        app.selectbox(key="layer").set_value(1).run()
        assert not app.exception


def test_what_is_clicked_in_a_figure_of_tokens_is_chosen() -> None:
    def chosen() -> None:
        import streamlit as st

        from vit_inspect_dashboard import state

        state.pick_token([1, 2])
        state.pick_layer([4])
        st.text(f"{st.session_state['token']}; {st.session_state['layer']}")

    assert AppTest.from_function(chosen).run().text[0].value == "Patch (1, 2); 4"


def test_rollout_without_artefacts_is_shown_where_some_were_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = opened("token_norms")
    assert app.selectbox(key="layer").value == LAYERS - 1
    assert any("nothing to remove" in each.value for each in app.caption)
    assert len(app.get("plotly_chart")) == 2
    for gate, loose in (("RATIO", 1), ("SEPARATION", 0), ("SHARE", 1), ("BORDERLINE", 99)):
        monkeypatch.setattr(f"vit_inspect.analyses.token_norms.{gate}", loose)
    app.selectbox(key="layer").set_value(1).run()
    assert not app.exception
    assert not any("nothing to remove" in each.value for each in app.caption)
    assert len(app.get("plotly_chart")) == 4
    plain, variant = titles_of_maps(app)[2:]
    assert plain != variant


def test_heads_are_ranked_by_what_is_asked_for() -> None:
    app = opened("head_statistics")
    table = app.dataframe[0].value
    assert len(table) == LAYERS * HEADS
    assert table["entropy"].is_monotonic_increasing
    assert table["entropy"].nunique() > 6
    assert set(table["layer"]) == set(range(LAYERS))
    assert set(table["head"]) == set(range(HEADS))
    app.selectbox(key="ranking").set_value("most on special tokens").run()
    table = app.dataframe[0].value
    assert (-table["prefix_mass"]).is_monotonic_increasing
    assert table["prefix_mass"].between(0, 100).all()
    app.selectbox(key="within").set_value("1").run()
    table = app.dataframe[0].value
    assert set(table["layer"]) == {1}
    assert sorted(table["head"]) == [0, 1, 2]
    app.selectbox(key="large").set_value(STATISTICS["prefix_mass"].title).run()
    app.button_group(key="over").set_value("all samples").run()
    assert not app.exception
    assert not app.error
    # A stage that has fewer layers: the table is of all again.
    app.selectbox(key="model").set_value(STAGED).run()
    app.selectbox(key="within").set_value("5").run()
    app.selectbox(key="stage").set_value(0).run()
    assert not app.exception
    assert app.selectbox(key="within").value == "all"
    assert len(app.dataframe[0].value) == 2 * 3


def test_a_row_of_the_table_leaves_for_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [2]
    table = SimpleNamespace(selection=SimpleNamespace(rows=rows))
    session: dict[str, object] = {"ranked": table}
    monkeypatch.setattr("vit_inspect_dashboard.state.st.session_state", session)
    heads = [(5, 0), (0, 2), (3, 1)]
    state.leave_for_row("ranked", heads)
    assert session.pop("leave_for") == {"layer": 3, "head": 1}
    rows.clear()
    state.leave_for_row("ranked", heads)
    assert "leave_for" not in session


@pytest.mark.parametrize("view", WITH_CONTROL)
def test_one_click_shows_the_map_of_randomised_weights(view: str) -> None:
    app = opened(view)
    charts = len(app.get("plotly_chart"))
    app.toggle(key="randomised").set_value(True).run()
    assert not app.exception
    assert not app.error
    # But for one page, whose map is there already, both stand side by side.
    assert len(app.get("plotly_chart")) == charts + (1 if view == "faithfulness" else 2)
    assert any("Rank correlation of the two maps" in each.value for each in app.markdown)
    subject = app.session_state["subject"]
    found = models.model(subject._replace(randomised=True))
    assert found.weights_sha256 != models.model(subject).weights_sha256


def test_the_control_is_of_the_class_of_the_trained_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[bool, int] = {}
    real = records.default_maps

    def maps(capture: vi.Capture, target: int) -> object:
        asked[capture.model is models.model(app.session_state["subject"])] = target
        return real(capture, target)

    app = opened("overview")
    monkeypatch.setattr(records, "default_maps", maps)
    app.session_state["map"], app.session_state["randomised"] = "relevance", True
    go(app, "faithfulness")
    assert not app.exception
    subject = app.session_state["subject"]
    best = [
        vi.predictions(models.capture(each), count=1)
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
