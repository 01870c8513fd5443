"""Do files hold what the page shows, under a name that says what they are of?"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

import vit_inspect as vi
from tests.dashboard.apps import (
    CLASSIFIER,
    opened,
    png,
    press,
)
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect.exporting.render import FORMATS
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.records.names import place_name
from vit_inspect_dashboard import models, records
from vit_inspect_dashboard.wording import file_stem

MAPS = {
    "faithfulness": "rollout_patch_map_control",
    "attention_rollout": "rollout_from_layer_0_patch_map_control",
    "attention_relevance": "Attention_relevance_for_{best}_patch_map_control",
    "explore": "{head}_patch_map_control",
}
"""What the control of a page's map is called in files."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("random_weights")]


@pytest.mark.parametrize("view", ["attention_distance", "head_statistics", "layer_cka"])
def test_a_file_is_named_after_the_pictures_that_it_is_of(
    files: dict[str, Callable[[], bytes]], view: str
) -> None:
    model = CLASSIFIER
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
    app = opened("faithfulness", over="all samples", steps=10)
    press(app, "Test all maps")
    assert f"{CLASSIFIER}_all_samples_faithfulness.csv" in files


def test_the_large_panel_of_heads_is_large_in_the_file_for_screens_too(
    files: dict[str, Callable[[], bytes]],
) -> None:
    opened("head_statistics", large=STATISTICS["prefix_mass"].title)
    stem = f"{CLASSIFIER}_chelsea_head_statistics"
    html = files[f"{stem}.html"]().decode()
    assert html.index(STATISTICS["prefix_mass"].title) < html.index(STATISTICS["nmi"].title)
    assert files[f"{stem}.svg"]().startswith(b"<?xml")


def test_what_was_switched_off_is_exported(
    files: dict[str, Callable[[], bytes]],
) -> None:
    app = opened("head_importance")
    assert not files
    app.multiselect(key="off_layers").set_value(["Layer 1"]).run()
    assert not app.exception
    stem = f"{CLASSIFIER}_chelsea_without_layer_1_all_heads_ablation"
    assert set(files) == {f"{stem}.{kind}" for kind in FORMATS}
    assert files[f"{stem}.html"]().count(b"Plotly.newPlot(") == 2
    assert files[f"{stem}.svg"]().startswith(b"<?xml")
    cosine = np.load(io.BytesIO(files[f"{stem}.npz"]()))["cosine"][0]
    assert app.metric[0].value == f"{cosine:.4f}"


@pytest.mark.parametrize("view", MAPS)
def test_the_control_of_a_map_is_exported_as_what_it_is(
    files: dict[str, Callable[[], bytes]], view: str
) -> None:
    model, slug = CLASSIFIER, MAPS[view]
    app = opened(view, model=model, randomised=True)
    assert not app.exception
    learned = models.capture(app.session_state["subject"])
    seen = models.capture(app.session_state["subject"]._replace(randomised=True))
    best = vi.predictions(learned).labels[0][0]
    # The head that is open is that of the trained model.
    layer, head = telling_head(vi.attention_maps(learned))
    wanted = {
        "attention_relevance": lambda: vi.attention_relevance(seen, target=best).relevance,
        "explore": lambda: vi.attention_maps(seen).weights[:, layer, head],
    }.get(view, lambda: vi.attention_rollout(seen).relevance)()
    query = vi.attention_maps(seen).query
    opened_head = file_stem(f"{place_name(layer, head)} from {query}")
    slug = slug.format(best=file_stem(best), head=opened_head)
    stem = f"{model}_with_randomised_weights_chelsea_{slug}"
    exported = np.load(io.BytesIO(files[f"{stem}.npz"]()))
    np.testing.assert_allclose(exported["values"], wanted, atol=1e-6)
    assert exported["model"] == f"{model}, randomised"
    rows = [row for row in files[f"{stem}.csv"]().decode().splitlines() if row.startswith("values")]
    assert len(rows) == wanted.size
    assert files[f"{stem}.svg"]().startswith(b"<?xml")
    assert f"{model}, randomised" in files[f"{stem}.html"]().decode()


def test_the_map_that_is_tested_is_exported(files: dict[str, Callable[[], bytes]]) -> None:
    model = CLASSIFIER
    app = opened("faithfulness", model=model)
    seen = models.capture(app.session_state["subject"])
    stem = f"{model}_chelsea_rollout_patch_map"
    exported = np.load(io.BytesIO(files[f"{stem}.npz"]()))
    np.testing.assert_allclose(exported["values"], vi.attention_rollout(seen).relevance, atol=1e-6)
    assert exported["kind"] == "rollout"
    assert len(files[f"{stem}.csv"]().splitlines()) == 1 + exported["values"].size
    assert files[f"{stem}.pdf"]().startswith(b"%PDF")
    assert files[f"{stem}.html"]().startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("view", "quantity"), [("feature_pca", "components"), ("token_similarity", "similarity")]
)
def test_tokens_of_another_picture_are_shown_beside_once_computed_and_exported(
    monkeypatch: pytest.MonkeyPatch, view: str, quantity: str
) -> None:
    joined: list[tuple[str, ...]] = []
    files: dict[str, Callable[[], bytes]] = {}
    real = records.concatenate

    def counted(captures: list[vi.Capture], *, layer: int) -> vi.Capture:
        joined.append(tuple(each.photographs[0].name for each in captures))
        return real(captures, layer=layer)

    def download(label: str, data: Callable[[], bytes], *, file_name: str, **named: object) -> None:
        files[file_name] = data

    monkeypatch.setattr(records, "concatenate", counted)
    monkeypatch.setattr("vit_inspect_dashboard.page.st.download_button", download)
    app = opened(view)
    assert "chelsea" not in app.selectbox(key="beside").options
    files.clear()
    app.selectbox(key="beside").set_value("coffee").run()
    app.run()
    assert not app.exception
    assert not app.error
    assert joined == [("chelsea.png", "coffee.png")]
    labels = [each.proto.popover.label for each in app.get("popover")]
    exports = [label.split(": ")[1] for label in labels if "Export" in label]
    exports = [label for label in exports if label not in ("Export this map", "Export all maps")]
    assert exports == ["Export chelsea", "Export coffee"]
    tables = {
        name: np.load(io.BytesIO(data()))[quantity]
        for name, data in files.items()
        if name.endswith(f"{view}.npz")
    }
    assert [name.split("_")[4] for name in tables] == ["chelsea", "coffee"]
    here, there = tables.values()
    assert here.shape == there.shape
    assert np.abs(here - there).max() > 1e-3
