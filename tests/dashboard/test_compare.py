"""Are two models, or two pictures, compared by one measure?"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image

import vit_inspect as vi
from tests.dashboard.apps import (
    CLASSIFIER,
    FEATURES,
    POOLED,
    REFUSED,
    canvases,
    charts,
    go,
    labels_of_buttons,
    opened,
    press,
    refusals,
)
from tests.dashboard.visitors import array
from vit_inspect.catalog import FIGURES
from vit_inspect.figures import (
    attention_relevance,
    attention_rollout,
    feature_pca,
    looks,
    token_norms,
)
from vit_inspect.figures.print_sheet import PRINT_DPI
from vit_inspect_dashboard import models
from vit_inspect_dashboard.pictures import sample
from vit_inspect_dashboard.state import Subject

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("random_weights")]


def test_figures_that_run_the_model_many_times_are_not_compared() -> None:
    titles = opened("compare").selectbox(key="figure").options
    assert titles == [entry.figure.title for entry in FIGURES if not entry.thorough]


def test_relevance_of_different_classes_has_no_common_scale_and_no_difference() -> None:
    app = opened("compare")
    app.selectbox(key="figure").set_value(attention_relevance.FIGURE.title).run()
    subject = app.session_state["subject"]
    other = sample(app.selectbox(key="right_image").value)
    classes = [
        vi.predictions(models.capture(each), count=1).class_index.item()
        for each in (subject, subject._replace(picture=other))
    ]

    def scales() -> list[tuple[float, float]]:
        figures = [chart["data"] for chart in charts(app)[:2]]
        return [
            (trace["zmin"], trace["zmax"])
            for traces in figures
            for trace in traces
            if trace["type"] == "heatmap"
        ]

    told = any("no common unit" in each.value for each in app.caption)
    assert told == (classes[0] != classes[1])
    assert told
    assert len(set(scales())) == 2
    assert len(app.get("plotly_chart")) == 2


def test_two_maps_have_one_scale_that_ends_with_the_brighter_one() -> None:
    app = opened("compare", against="layer or head", layer=2, head=1, right_layer=0)
    weights = vi.attention_maps(models.capture(app.session_state["subject"])).weights[0]
    shown = weights[2, 1], weights[0].mean(axis=0)
    for explorer in canvases(app):
        # Colours of the photographs would be taken for values.
        assert explorer.header["look"]["look"] == "heat on grey"
        for clip, (low, high) in explorer.header["limits"].items():
            ends = [float(np.percentile(each, float(clip))) for each in shown]
            assert (low, high) == (0, pytest.approx(max(ends)))
    title, words, _ = charts(app)[0]["layout"]["meta"]
    assert title == "Attention weight: right − left"
    query = "from class token (CLS)"
    assert words == f"L0 mean {query} − L2 H1 {query}"
    told = [each.value for each in app.markdown]
    assert told.count("**How to read it**") == 2
    # What its colours mean is said below it.
    assert any("red is more at the right" in each for each in told)


def test_norms_of_two_layers_have_one_scale_and_a_difference() -> None:
    title = token_norms.FIGURE.title
    app = opened("compare", figure=title, against="layer", layer=2, right_layer=0)
    assert not app.exception
    norm = vi.token_norms(models.capture(app.session_state["subject"])).norm[0]
    ends = [looks.ends_of(norm[layer], 98.5, from_zero=False) for layer in (2, 0)]
    wanted = min(low for low, _ in ends), max(high for _, high in ends)
    for explorer, layer in zip(canvases(app), (2, 0), strict=True):
        assert explorer.header["opened"] == [layer, 0]
        assert explorer.header["lead"].endswith(f" px, layer {layer}")
        assert explorer.header["look"]["scale"] == "shared"
        assert explorer.header["limits"]["98.5"] == pytest.approx(wanted)
        np.testing.assert_allclose(explorer.maps[:, 0], norm, rtol=1e-4)
    [chart] = charts(app)
    shown = next(trace for trace in chart["data"] if trace["type"] == "heatmap")
    np.testing.assert_allclose(array(shown["z"]), norm[0] - norm[2], atol=1e-4)
    assert sum("No artefacts found" in each.value for each in app.caption) == 2


def test_norms_of_two_models_have_scales_of_their_own_and_no_difference() -> None:
    title, other = token_norms.FIGURE.title, POOLED
    app = opened("compare", figure=title, against="model", right_model=other, layer=1)
    assert not app.exception
    assert not app.error
    assert {each.header["look"]["scale"] for each in canvases(app)} == {"own"}
    assert [each.header["opened"] for each in canvases(app)] == [[1, 0]] * 2
    assert not app.get("plotly_chart")
    assert any("norms of two networks have no common unit" in each.value for each in app.caption)
    # The figure that is chosen before a model shows the same map twice.
    app.selectbox(key="right_model").set_value("choose a model").run()
    assert not app.exception
    assert {each.header["look"]["scale"] for each in canvases(app)} == {"shared"}
    assert any("choose another one for the right side" in each.value for each in app.caption)


def test_what_is_compared_is_exported_on_the_scale_that_is_shown(
    files: dict[str, Callable[[], bytes]],
) -> None:
    app = opened("compare")
    app.selectbox(key="figure").set_value(attention_rollout.FIGURE.title).run()
    [shown] = {
        (trace["zmin"], trace["zmax"])
        for chart in charts(app)[:2]
        for trace in chart["data"]
        if trace["type"] == "heatmap"
    }
    for side in ("left", "right"):
        [save] = [
            each for name, each in files.items() if name.endswith(f"_attention_rollout_{side}.svg")
        ]
        assert isinstance(save, partial)
        assert save.keywords["limits"] == pytest.approx(shown)


def test_the_difference_of_two_maps_is_exported_as_it_is_seen(
    files: dict[str, Callable[[], bytes]],
) -> None:
    chosen = {"layer": 2, "head": 1, "right_layer": 0, "width": "3.25"}
    app = opened("compare", against="layer or head", **chosen)
    assert not app.exception
    query = "from_class_token_CLS"
    name = f"{CLASSIFIER}_chelsea.png_L0_mean_{query}_minus_L2_H1_{query}_difference"
    offered = {each.removeprefix(name) for each in files if each.startswith(name)}
    assert offered == {".svg", ".pdf", ".png", ".html", ".npz", ".csv"}
    stored = np.load(io.BytesIO(files[f"{name}.npz"]()))
    weights = vi.attention_maps(models.capture(app.session_state["subject"])).weights[0]
    wanted = weights[0].mean(axis=0) - weights[2, 1]
    np.testing.assert_allclose(stored["values"], wanted, atol=1e-6)
    [shown] = (each for each in charts(app)[0]["data"] if each["type"] == "heatmap")
    np.testing.assert_allclose(array(shown["z"]), stored["values"], atol=1e-6)
    assert Image.open(io.BytesIO(files[f"{name}.png"]())).width == round(3.25 * PRINT_DPI)


def test_the_difference_of_two_figures_is_exported(
    files: dict[str, Callable[[], bytes]],
) -> None:
    app = opened("compare", figure=attention_rollout.FIGURE.title)
    assert not app.exception
    [make] = (each for name, each in files.items() if name.endswith("_difference.npz"))
    stored = np.load(io.BytesIO(make()))
    subject = app.session_state["subject"]
    other = subject._replace(picture=sample(app.selectbox(key="right_image").value))
    left, right = (
        vi.attention_rollout(models.capture(each)).relevance[0] for each in (subject, other)
    )
    np.testing.assert_allclose(stored["values"], right - left, atol=1e-6)
    for side, each in (("left", subject), ("right", other)):
        assert str(stored[side]) == f"{each.picture.name}.png"


def test_no_other_model_is_loaded_before_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    real = models.model

    def model(subject: Subject) -> vi.Model:
        asked.add(subject.model)
        return real(subject)

    monkeypatch.setattr(models, "model", model)
    app = opened("compare", against="model")
    assert not app.exception
    assert asked == {CLASSIFIER}
    assert any("choose another one for the right side" in each.value for each in app.caption)


@pytest.mark.parametrize(
    ("view", "said", "key"),
    [
        ("compare", {"against": "model"}, "right_model"),
        ("layer_cka", {}, "other_model"),
        ("paper", {"paper": "10"}, "other_model"),
    ],
)
def test_a_second_model_that_cannot_be_had_has_a_way_back_and_a_command(
    view: str, said: dict[str, str], key: str
) -> None:
    app = opened(view, **said, **{key: REFUSED})
    assert not app.exception
    [refusal] = refusals(app)
    assert REFUSED in refusal
    assert "Try again" in labels_of_buttons(app)
    assert any(f"--model {REFUSED}" in each.value for each in app.code)
    press(app, "Back to one model")
    assert not refusals(app)
    assert key not in app.query_params
    # The model of the sidebar is still there.
    assert app.query_params["model"] == CLASSIFIER
    assert "Try again" not in labels_of_buttons(app)


def test_no_reason_is_given_where_no_difference_is_drawn() -> None:
    app = opened("compare")
    app.selectbox(key="figure").set_value(feature_pca.FIGURE.title).run()
    assert "No difference is drawn for this figure." in [each.value for each in app.caption]


def test_a_model_that_is_compared_sees_its_own_input_size() -> None:
    other = FEATURES
    app = opened("layer_cka", size=256)
    assert app.session_state["subject"].size == 256
    app.selectbox(key="other_model").set_value(other).run()
    assert not app.exception
    assert not app.error
    go(app, "compare")
    app.button_group(key="against").set_value("model").run()
    app.selectbox(key="right_model").set_value(other).run()
    assert not app.exception
    assert not app.error
    told = [each.header["lead"] for each in canvases(app)]
    assert told == [f"Left: {CLASSIFIER}, chelsea, 256 px", f"Right: {other}, chelsea, 42 px"]
    # Figures beside each other say it too.
    app.selectbox(key="figure").set_value(attention_rollout.FIGURE.title).run()
    assert {each.value for each in app.text} >= set(told)
    # One that takes the size sees it.
    app.selectbox(key="right_model").set_value(POOLED).run()
    assert f"Right: {POOLED}, chelsea, 256 px" in [each.value for each in app.text]


def test_layers_are_compared_with_those_of_another_model_over_several_pictures() -> None:
    app = opened("layer_cka")
    assert CLASSIFIER not in app.selectbox(key="other_model").options
    app.selectbox(key="other_model").set_value(FEATURES).run()
    assert not app.exception
    assert not app.error
    app.selectbox(key="other_model").set_value("itself").run()
    app.button_group(key="over").set_value("all samples").run()
    assert not app.exception
    assert not app.error


def test_layers_of_two_models_are_compared_once(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, Callable[[], bytes]]
) -> None:
    compared: list[tuple[str, ...]] = []
    real = vi.cka

    def cka(capture: vi.Capture, other: vi.Capture) -> object:
        compared.append(tuple(each.name for each in other.photographs))
        return real(capture, other)

    monkeypatch.setattr(vi, "cka", cka)
    app = opened("layer_cka")
    app.selectbox(key="other_model").set_value(FEATURES).run()
    app.run()
    assert compared == [("chelsea.png",)]
    name = f"{CLASSIFIER}_chelsea_with_{FEATURES}_layer_cka.csv"
    assert name in files
    app.button_group(key="over").set_value("all samples").run()
    app.run()
    assert not app.exception
    assert sum(map(len, compared)) == len(vi.SAMPLES)
