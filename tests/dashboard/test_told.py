"""Does what a user says of a model, and no file holds, reach the model and the command line?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
import timm
import torch
from streamlit.testing.v1 import AppTest

from tests.dashboard.apps import APP, CLASSIFIER, choose_model, command, refusals, subject
from vit_inspect_dashboard import models, offers, told

pytestmark = pytest.mark.slow

MINE = "mine"


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The operator's small file of weights, the first model of the list."""
    torch.manual_seed(0)
    options = {"depth": 2, "embed_dim": 24, "num_heads": 2}
    network = timm.create_model(CLASSIFIER, **options, num_classes=5, img_size=48)
    weights = network.state_dict()
    averaged = {name: weight * 0.5 for name, weight in weights.items()}
    torch.save({"model": weights, "model_ema": averaged}, tmp_path / f"{MINE}.pth")
    monkeypatch.setattr(offers, "_files", {})
    offers.offer(
        {
            "checkpoint": tmp_path / f"{MINE}.pth",
            "architecture": CLASSIFIER,
            "arch_options": options,
            "mean": (0.1, 0.2, 0.3),
        }
    )
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def opened(**held: str) -> AppTest:
    """A page, from an address that says these things."""
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params.update(held)
    return app.run()


def said(app: AppTest) -> dict[str, str]:
    """What the form holds."""
    fields = [*app.text_input, *app.selectbox]
    return {each.key: each.value for each in fields if each.key in told.KEYS and each.value}


def apply(app: AppTest) -> None:
    [button] = [each for each in app.button if each.label == "Load it so"]
    button.click().run()


@pytest.mark.usefixtures("checkpoint")
def test_what_is_said_goes_before_the_file_and_its_operator() -> None:
    app = opened(at="about")
    before = models.model(app.session_state["subject"])
    # The first page says what is assumed, and no longer once it is said.
    told = next(each.value for each in app.caption if ":material/info:" in each.value)
    told = told.replace("\\", "")
    assert "standard deviation 0.5" in told
    assert "2 heads" not in told
    app.text_input(key="mean").set_value("0.5, 0.6, 0.7")
    app.text_input(key="crop_fraction").set_value("0.8")
    app.text_input(key="num_heads").set_value("4")
    app.text_input(key="part").set_value("model")
    app.selectbox(key="act_layer").set_value("relu")
    app.selectbox(key="crop_mode").set_value("squash")
    app.selectbox(key="readout").set_value("mean of the patches")
    app.selectbox(key="outputs").set_value("multi-label")
    apply(app)
    assert not app.exception
    assert not app.error
    model = models.model(app.session_state["subject"])
    assert model.recipe.mean == (0.5, 0.6, 0.7)
    assert model.recipe.std == before.recipe.std
    assert (model.recipe.crop_fraction, model.recipe.crop_mode) == (0.8, "squash")
    assert (before.blocks[0].attn.num_heads, model.blocks[0].attn.num_heads) == (2, 4)
    assert isinstance(model.blocks[0].mlp.act, torch.nn.ReLU)
    assert model.layout.readout == "mean of the patches"
    assert model.outputs == "multi-label"
    weights = [each.module.cls_token for each in (before, model)]
    torch.testing.assert_close(weights[0] * 2, weights[1])
    app.query_params["at"] = "export"
    app.run()
    assert command(app) == (
        f"python -m vit_inspect figures chelsea --out out --checkpoint {MINE}.pth --architecture "
        f"{CLASSIFIER} --arch-option depth=2 --arch-option embed_dim=24 --arch-option num_heads=4 "
        "--arch-option act_layer=relu --mean 0.5,0.6,0.7 --crop-fraction 0.8 --part model "
        "--crop-mode squash --readout 'mean of the patches' --outputs multi-label --fit crop"
    )


@pytest.mark.usefixtures("checkpoint")
def test_a_link_says_it_and_it_can_be_taken_back() -> None:
    app = opened(std="0.25", outputs="scores")
    assert not app.exception
    assert said(app) == {"std": "0.25", "outputs": "scores"}
    model = models.model(app.session_state["subject"])
    assert (model.recipe.std, model.outputs) == ((0.25,) * 3, "scores")
    [forget] = [each for each in app.button if each.label == "Forget what was said"]
    forget.click().run()
    assert said(app) == {}
    model = models.model(app.session_state["subject"])
    assert (model.recipe.mean, model.outputs) == ((0.1, 0.2, 0.3), "single-label")


@pytest.mark.usefixtures("checkpoint")
@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("mean", "grey", "Found the mean 'grey'"),
        ("mean", "0.1, 0.2", "Found the mean (0.1, 0.2) for an input of 3 channels"),
        ("std", "0", "Found the std"),
        ("crop_fraction", "0.5, 0.5", "Found the crop fraction '0.5, 0.5'"),
        ("num_heads", "5", "Found options depth=2, embed_dim=24, num_heads=5 that"),
        ("num_heads", "9999999999", "Found the number of heads"),
        ("part", "teacher", "Found"),
    ],
)
def test_what_means_nothing_is_a_sentence_beside_the_form(key: str, text: str, found: str) -> None:
    app = opened(**{key: text})
    assert not app.exception
    [refusal] = refusals(app)
    assert refusal.startswith(found), refusal
    app.text_input(key=key).set_value("")
    apply(app)
    assert not app.error


@pytest.mark.usefixtures("random_weights")
def test_another_model_forgets_what_was_said_of_one() -> None:
    app = opened(model=CLASSIFIER)
    # What only a file can be told is asked of files alone.
    assert {each.key for each in app.text_input} == {"mean", "std", "crop_fraction"}
    app.query_params["std"] = "0.5"
    app.run()
    assert said(app) == {"std": "0.5"}
    choose_model(app, "vit_small_patch14_reg4_dinov2")
    assert not app.exception
    assert said(app) == {}
    assert app.session_state["subject"].said == ()


def test_the_command_line_is_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {
        "checkpoint": Path("/secret/run.pth"),
        "architecture": "test_vit",
        "arch_options": {"act_layer": "gelu", "qk_norm": True},
        "part": None,
        "ignore": ["a.*", "b"],
        "std": [0.5],
        "crop_fraction": 0.9,
    }
    monkeypatch.setattr(offers, "_files", {"run": offers.File(offered, None)})
    assert " ".join(models.options(subject(model="run"))) == (
        "--checkpoint run.pth --architecture test_vit --arch-option act_layer=gelu --arch-option "
        "qk_norm=true --ignore a.* --ignore b --std 0.5 --crop-fraction 0.9"
    )
    mine = (("std", (0.1, 0.2)), ("arch_options", (("act_layer", "relu"),)))
    assert " ".join(models.options(subject(model="run", said=mine))) == (
        "--checkpoint run.pth --architecture test_vit --arch-option act_layer=relu --arch-option "
        "qk_norm=true --ignore a.* --ignore b --std 0.1,0.2 --crop-fraction 0.9"
    )
    assert models.options(subject(said=(("mean", (0.5,)),))) == [
        *("--model", CLASSIFIER),
        *("--mean", "0.5"),
    ]
