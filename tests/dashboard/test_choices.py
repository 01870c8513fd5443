"""Does a page show what was chosen, here or on another page?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.dashboard.apps import (
    AVERAGED,
    CLASSIFIER,
    FEATURES,
    HEADS,
    LAYERS,
    SIDE,
    STAGED,
    canvas,
    canvases,
    choose_model,
    go,
    opened,
    png,
    refusals,
    titles_of_maps,
)
from tests.helpers.picture_files import tiff_of
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect.figures import feature_pca, logit_lens, token_norms, token_similarity
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.pictures import reading
from vit_inspect_dashboard import kept, models, records, sanity
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import class_names

WITH_CONTROL = ("faithfulness", "attention_rollout", "attention_relevance", "explore")

READING = "**How to read it**"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("random_weights")]


def test_what_is_chosen_in_the_tour_stays_chosen_on_other_pages() -> None:
    app = opened("learn", step=4)
    # What clicks on the map leave behind.
    go(app, "learn", query="Patch (1, 2)", layer=1, head=2)
    assert (canvas(app).header["opened"], canvas(app).header["query"]) == ([1, 2], SIDE + 2)
    app.button_group(key="step").set_value(6).run()
    assert canvas(app).header["opened"] == [1, 0]
    app.button_group(key="step").set_value(7).run()
    go(app, "learn", start=2)
    assert canvas(app).header["opened"] == [2, 0]
    for view, opens, query in (
        ("explore", [1, 2], SIDE + 2),
        ("token_similarity", [1, 0], SIDE + 2),
        ("feature_pca", [1, 0], None),
        ("token_norms", [1, 0], None),
        ("attention_rollout", [2, 0], None),
    ):
        go(app, view)
        assert not app.exception
        header = canvas(app).header
        assert (header["opened"], header["query"]) == (opens, query), view


@pytest.mark.parametrize("view", ["explore", "learn"])
def test_the_query_of_a_link_is_pinned(view: str) -> None:
    app = opened(view, step=4, query="Patch (1, 2)")
    assert canvas(app).header["query"] == SIDE + 2
    for query in ("Class token (CLS)", "Patch (1, 99)", "<b>"):
        go(app, view, query=query)
        assert not app.exception
        assert canvas(app).header["query"] == "Class token (CLS)"


@pytest.mark.parametrize("view", ["learn", "explore", "token_similarity"])
def test_where_the_map_cannot_follow_the_cursor_it_says_so(
    monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    def told(app: AppTest) -> bool:
        return any("too many patches" in each.value for each in app.caption)

    app = opened(view, step=4, query="Patch (1, 2)")
    assert not told(app)
    assert len(canvas(app).header["queries"]) >= SIDE**2
    monkeypatch.setattr("vit_inspect_dashboard.sheets.MAX_BYTES", 9)
    kept.results().drop()
    app.run()
    assert told(app)
    assert canvas(app).header["queries"] == [SIDE + 2]
    assert canvas(app).header["lead"].startswith("Click a patch")
    assert view != "learn" or any("Click a square" in each.value for each in app.markdown)


def test_at_first_the_telling_head_of_each_picture_is_open() -> None:
    app = opened("explore")
    for image in ("chelsea", "coffee", "rocket"):
        app.selectbox(key="image").set_value(image).run()
        maps = vi.attention_maps(models.capture(app.session_state["subject"]))
        assert tuple(canvas(app).header["opened"]) == telling_head(maps)
        assert not {"layer", "head"} & set(app.query_params)


@pytest.mark.parametrize(("head", "reduce"), [("mean", np.mean), ("max", np.max)])
def test_the_mean_and_the_maximum_of_the_heads_can_be_opened(
    head: str, reduce: Callable[..., np.ndarray]
) -> None:
    app = opened("explore", layer=1, head=head)
    assert not app.exception
    told = canvas(app)
    layer, column = told.header["opened"]
    assert (layer, told.header["columns"][column]) == (1, head)
    maps = vi.attention_maps(models.capture(app.session_state["subject"]))
    np.testing.assert_allclose(told.maps[1, column], reduce(maps.weights[0, 1], axis=0), atol=1e-5)


def check_relevance(app: AppTest, words: str, target: object) -> None:
    """The page says what its relevance is for, and its map is of that."""
    assert not app.exception
    sent = canvas(app)
    assert sent.header["lead"].endswith(f"? Shown: {words}.")
    assert not sent.header["limits"]
    capture = models.capture(app.session_state["subject"])
    found = vi.attention_relevance(capture, target=target)
    for place, way in enumerate((found.relevance, found.grad_cam, found.input_gradient.clip(0))):
        wanted = way[0]
        np.testing.assert_allclose(sent.maps[0, place], wanted, atol=1e-4 * np.ptp(wanted))


def test_a_class_of_a_classifier_is_chosen_for_relevance_and_kept_for_another_picture() -> None:
    app = opened("attention_relevance")
    classes = app.selectbox(key="class")
    assert len(classes.options) == 1 + 1000
    first, chosen = classes.options[1], classes.options[7]
    check_relevance(app, first, first)
    classes.set_value(chosen).run()
    assert not app.exception
    told = [each.value for each in app.caption if each.value.startswith("Probability of")]
    for image in ("coffee", "chelsea"):
        app.selectbox(key="image").set_value(image).run()
        for _ in range(2):
            app.run()
            assert app.selectbox(key="class").value == chosen
            check_relevance(app, chosen, chosen)
    assert [each.value for each in app.caption if each.value.startswith("Probability of")] == told
    assert "%" not in "".join(app.selectbox(key="class").options)


def test_relevance_is_of_the_most_probable_class_of_each_picture_until_one_is_chosen() -> None:
    app = opened("attention_relevance")
    for image in ("coffee", "rocket", "chelsea"):
        app.selectbox(key="image").set_value(image).run()
        [first] = vi.predictions(models.capture(app.session_state["subject"]), count=1).labels[0]
        check_relevance(app, first, first)
        assert app.selectbox(key="class").options[1] == first


def test_both_classes_of_one_name_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert class_names(["crane", "dog", "crane"]) == ["crane (0)", "dog", "crane (2)"]
    assert class_names(["dog", "", " "]) == ["dog", "(1)", "(2)"]
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
    check_relevance(app, "similarity to coffee", vi.sample("coffee"))


def test_a_patch_chosen_on_one_page_is_that_of_the_next() -> None:
    app = opened("attention_relevance", target="a patch")
    assert app.selectbox(key="token").value == "Patch (3, 3)"
    app.selectbox(key="token").set_value("Patch (0, 2)").run()
    check_relevance(app, "similarity to patch (0, 2)", (0, 2))
    go(app, "explore")
    go(app, "attention_relevance")
    assert app.selectbox(key="token").value == "Patch (0, 2)"


def test_layer_and_head_of_a_larger_model_fall_back() -> None:
    app = opened("explore", layer=23, head=16, query="Patch (9, 9)")
    assert not app.exception
    maps = vi.attention_maps(models.capture(app.session_state["subject"]))
    assert tuple(canvas(app).header["opened"]) == telling_head(maps)
    assert canvas(app).header["query"] == "Class token (CLS)"
    go(app, "learn", step=6)
    assert canvas(app).header["opened"] == [LAYERS - 1, 0]


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


def test_an_upload_that_found_no_memory_is_shown_as_soon_as_there_is_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full, real = True, reading._as_rgb

    def converted(image: Image.Image) -> object:
        if full and image.size == (80, 60):
            raise MemoryError
        return real(image)

    monkeypatch.setattr(reading, "_as_rgb", converted)
    app = opened("attention_distance")
    app.file_uploader(key="uploads").upload("full.png", png(), "image/png").run()
    assert not app.exception
    [told] = refusals(app)
    assert told.startswith("Found too little free memory to read 'full.png'; ")
    assert "full.png" not in app.selectbox(key="image").options
    full = False
    app.run()
    assert not refusals(app)
    assert "full.png" in app.selectbox(key="image").options


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
    app = opened(model=model)
    for figure in (feature_pca.FIGURE, token_similarity.FIGURE, logit_lens.FIGURE):
        go(app, figure.slug)
        assert not app.exception
        assert not app.error
        assert figure.formula in [each.value for each in app.text]
        go(app, figure.slug, layer=1)
        assert not app.exception
        assert not app.error


def test_similar_patches_are_those_of_the_pinned_patch_in_every_layer() -> None:
    app = opened("token_similarity", query="Patch (1, 2)", layer=0)
    told, capture = canvas(app), models.capture(app.session_state["subject"])
    for layer in range(LAYERS):
        wanted = vi.token_similarity(capture, patch=(1, 2), layer=layer).similarity[0]
        np.testing.assert_allclose(told.maps[layer, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(told.weights[SIDE + 2], told.maps[0, 0], atol=1e-4)
    assert told.header["opened"] == [0, 0]


def test_features_have_the_colours_of_their_figure_in_every_layer() -> None:
    app = opened("feature_pca", layer=1)
    told, capture = canvas(app), models.capture(app.session_state["subject"])
    for layer in range(LAYERS):
        wanted = feature_pca.colours(vi.feature_pca(capture, layer=layer), 0)
        np.testing.assert_array_equal(told.colours[layer], wanted)


def test_maps_of_a_layer_are_those_of_the_core() -> None:
    app = opened("token_norms", layer=0)
    capture = models.capture(app.session_state["subject"])
    norms = vi.token_norms(capture, layer=0)
    np.testing.assert_allclose(canvas(app).maps[:, 0], norms.norm[0], rtol=1e-4)
    go(app, "attention_rollout", start=1, fusion="max", discard=30)
    told = canvas(app)
    for start in range(LAYERS):
        asked = {"fusion": "max", "discard": 0.3, "start_layer": start}
        wanted = vi.attention_rollout(capture, **asked).relevance[0]
        np.testing.assert_allclose(told.maps[start, 0], wanted, atol=1e-5)
    assert (told.header["opened"], told.header["layerName"]) == ([1, 0], "From layer")
    go(app, "attention_relevance")
    best = vi.predictions(capture).labels[0][0]
    wanted = vi.attention_relevance(capture, target=best).relevance[0]
    np.testing.assert_allclose(canvas(app).maps[0, 0], wanted, atol=1e-5 * np.ptp(wanted))


def chosen(click: str, *given: object) -> dict[str, Any]:
    """What the address says after a click, which is a function of `state`."""

    def page(click: str, given: tuple[object, ...]) -> None:
        from types import SimpleNamespace

        import streamlit as st

        from vit_inspect_dashboard import address, state

        address.begin()
        st.session_state["table"] = SimpleNamespace(selection=SimpleNamespace(rows=[1]))
        st.session_state["empty"] = SimpleNamespace(selection=SimpleNamespace(rows=[]))
        st.session_state["menu"] = "Compare"
        getattr(state, click)(*given)
        address.finish()

    app = AppTest.from_function(page, kwargs={"click": click, "given": given})
    app.query_params["query"] = "Patch (0, 0)"
    app.run()
    assert not app.exception
    return {key: app.query_params[key] for key in app.query_params if key != "query"}


HEADS_OF_ROWS = [(5, 0), (3, 1), (0, 2)]


@pytest.mark.parametrize(
    ("click", "given", "address"),
    [
        ("pick_tile", ([1, 2],), {"patch": "Patch (1, 2)"}),
        ("pick_layer", ([4],), {"layer": "4"}),
        ("pick_picture", ("coffee",), {"image": "coffee"}),
        ("open_head", ([4, 1],), {"at": "explore", "layer": "4", "head": "1"}),
        ("open_row", ("table", HEADS_OF_ROWS), {"at": "explore", "layer": "3", "head": "1"}),
        ("open_row", ("empty", HEADS_OF_ROWS), {}),
        ("toggle_head", ([4, 1],), {"off_heads": "L4 H1"}),
        ("toggle_patch", ([4, 1],), {"off_tokens": "Patch (4, 1)"}),
        ("go", ("menu", {"Compare": "compare", "Explore": "explore"}), {"at": "compare"}),
    ],
)
def test_a_click_stands_in_the_address_beside_what_was_chosen_before(
    click: str, given: tuple[object, ...], address: dict[str, str]
) -> None:
    assert chosen(click, *given) == address


def test_rollout_without_artefacts_is_shown_where_some_were_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = opened("token_norms")
    assert canvas(app).header["opened"] == [LAYERS - 1, 0]
    assert canvas(app).header["lead"].startswith("No artefacts found: ")
    assert canvas(app).header["outlined"] == []
    assert any("nothing to remove" in each.value for each in app.caption)
    assert len(app.get("plotly_chart")) == 1
    for gate, loose in (("RATIO", 1), ("SEPARATION", 0), ("SHARE", 1), ("BORDERLINE", 99)):
        monkeypatch.setattr(f"vit_inspect.analyses.token_norms.{gate}", loose)
    go(app, "token_norms", layer=1)
    assert not app.exception
    assert not any("nothing to remove" in each.value for each in app.caption)
    assert len(app.get("plotly_chart")) == 3
    plain, variant = titles_of_maps(app)[1:]
    assert plain != variant
    # What was found stands above the map, which outlines it.
    found = vi.token_norms(models.capture(app.session_state["subject"]), layer=1)
    assert canvas(app).header["lead"].endswith(token_norms.verdict(found))
    outlined = canvas(app).header["outlined"]
    assert outlined == np.flatnonzero(found.artefact[0]).tolist()
    assert outlined
    code = next(each.value for each in app.code if "token_norms" in each.value)
    assert f"outlined={[divmod(patch, SIDE) for patch in outlined]}" in code


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
    choose_model(app, STAGED)
    app.selectbox(key="within").set_value("5").run()
    app.selectbox(key="stage").set_value(0).run()
    assert not app.exception
    assert app.selectbox(key="within").value == "all"
    assert len(app.dataframe[0].value) == 2 * 3


@pytest.mark.parametrize("view", WITH_CONTROL)
def test_one_click_shows_the_map_of_randomised_weights(view: str) -> None:
    app = opened(view)
    assert len(canvases(app)) == 1
    assert [each.value for each in app.markdown].count(READING) == 1
    app.toggle(key="randomised").set_value(True).run()
    assert not app.exception
    assert not app.error
    told = [each.value for each in app.markdown]
    assert told.count(READING) == 2
    assert sanity.WORDS.reading in told
    # Side by side, of the same place, each with its own scale.
    trained, control = (each for each in canvases(app))
    assert trained.header["lead"] == "Trained weights"
    assert control.header["lead"] == "Randomised weights"
    assert trained.header["opened"] == control.header["opened"]
    assert {each.header["look"]["scale"] for each in (trained, control)} == {"own"}
    assert not np.allclose(trained.maps, control.maps, atol=1e-5)
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

    app = opened()
    monkeypatch.setattr(records, "default_maps", maps)
    go(app, "faithfulness", map="relevance", randomised=True)
    assert not app.exception
    subject = app.session_state["subject"]
    best = [
        vi.predictions(models.capture(each), count=1)
        for each in (subject, subject._replace(randomised=True))
    ]
    assert best[0].class_index != best[1].class_index
    assert set(asked.values()) == {best[0].class_index.item()}
