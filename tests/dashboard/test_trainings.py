"""Does the page of surveys show how heads change in a training, and the survey of each step?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.apps import CLASSIFIER, canvas, charts, go, opened, refusals
from vit_inspect_dashboard import address, surveyed, trainings

pytestmark = pytest.mark.usefixtures("random_weights")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training of three steps, whose folder is offered."""
    for number in range(4):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        noise((40, 40 + number), number).save(tmp_path / "pictures" / f"{number}.png")
    model = vi.load(CLASSIFIER, img_size=None)
    tracker = vi.Tracker(
        model, tmp_path / "pictures", tmp_path / "runs" / "mine", every=10, statistics=["entropy"]
    )
    for step in (0, 10, 1000):
        tracker(step)
        with torch.no_grad():
            model.blocks[1].attn.qkv.weight.mul_(2)
    monkeypatch.setattr(surveyed, "_folders", [tmp_path / "runs"])
    return tmp_path / "runs" / "mine"


def test_curves_lead_to_the_survey_of_each_step(run: Path) -> None:
    steps = vi.open_steps(run)["entropy"]
    app = opened("surveys")
    assert not app.exception
    assert app.selectbox(key="survey").options == ["training: mine"]
    step = app.selectbox(key="training_step")
    assert (step.options, step.value) == (["0", "10", "1,000"], 1000)
    curves, spread, _ = charts(app)
    layers = [each for each in curves["data"] if "customdata" in each]
    assert [each["customdata"][1][:2] for each in layers] == [[10, layer] for layer in range(3)]
    # Each step has a survey of its own.
    app.button(key="training_step-1").click().run()
    assert not app.exception
    assert app.query_params["training_step"] == "10"
    _, spread, _ = charts(app)
    shown = next(trace["y"] for trace in spread["data"] if trace.get("name") == "Head 2")
    np.testing.assert_allclose(shown, steps.mean[1, :, 2])
    assert not np.allclose(shown, steps.mean[2, :, 2])
    survey = vi.open_survey(run / "step-00000010")
    layer, head = (app.selectbox(key=each).value for each in ("layer", "head"))
    number = survey.statistics["entropy"].highest[layer, head, 0]
    app.button(key=f"highest_{number}").click().run()
    assert not app.exception
    # The link names the step, and opens the picture in a session of its own.
    name = f"mine/step-00000010/{survey.entries[number].name}"
    assert app.query_params["image"] == name
    other = opened("explore", image=name, layer=layer, head=head)
    assert not other.exception
    assert not other.warning
    assert other.selectbox(key="image").value == name
    assert canvas(other).header["opened"] == [layer, head]


def test_curves_of_heads_and_what_a_click_on_them_chooses(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder that holds the steps themselves is one training, too.
    surveyed._folders[:] = [run]
    link = {"curves": "Heads of layer 1", "statistic": "Effective tokens", "training_step": 10}
    app = opened("surveys", **link, layer=2)
    assert not app.exception
    assert app.selectbox(key="survey").options == ["training: mine"]
    assert app.selectbox(key="layer").value == 2
    heads = [each for each in charts(app)[0]["data"] if "customdata" in each]
    assert [each["name"] for each in heads] == ["Head 0", "Head 1", "Head 2"]
    assert heads[2]["customdata"] == [[step, 1, 2] for step in (0, 10, 1000)]
    assert charts(app)[0]["layout"]["yaxis"]["title"]["text"] == "Effective tokens"
    assert "layer 1" in str(charts(app)[0]["layout"]["meta"])
    chosen: list[dict] = []
    monkeypatch.setattr(address, "put", lambda **values: chosen.append(values))
    trainings._pick_head([10, 1, 2])
    # The third number of a point of a layer is how its heads differ.
    trainings._pick_layer([1000, 1, 0.25])
    assert chosen == [
        {"training_step": 10, "layer": 1, "head": 2},
        {"training_step": 1000, "layer": 1},
    ]


@pytest.mark.slow
def test_numbers_of_tokens_have_curves_over_the_steps(run: Path) -> None:
    model = vi.load(CLASSIFIER, img_size=None)
    pictures = run.parents[1] / "pictures"
    tokens = {"statistics": ["nmi"], "tokens": ["cka"]}
    tracker = vi.Tracker(model, pictures, run.parent / "deep", every=10, **tokens)
    for step in (0, 10):
        tracker(step)
        with torch.no_grad():
            model.blocks[1].mlp.fc2.weight.mul_(4)
    app = opened("surveys", survey="training: deep", show="layers (CKA)", training_step=10)
    assert not app.exception
    assert app.selectbox(key="show").options == ["heads", "classes", "layers (CKA)"]
    curves, matrix = charts(app)
    layers = [each for each in curves["data"] if "customdata" in each]
    assert [each["customdata"][1] for each in layers] == [[10, 0], [10, 1]]
    assert [each["name"] for each in layers] == ["Layers 0 and 1", "Layers 1 and 2"]
    assert matrix["data"][0]["type"] == "heatmap"
    assert "4 pictures of deep/step-00000010" in str(matrix["layout"]["meta"])
    # Classes are those of the step alone.
    go(app, "surveys", show="classes")
    assert not app.exception
    assert len(charts(app)) == 1


def test_steps_that_do_not_fit_together_are_told_without_paths(run: Path) -> None:
    model = vi.load(CLASSIFIER, img_size=None)
    vi.survey(model, run.parents[1] / "pictures", run / "step-00000005", statistics=["nmi"])
    app = opened("surveys")
    assert not app.exception
    [told] = refusals(app)
    assert "other statistics" in told
    assert str(run.parent) not in told.replace("\\", "")
