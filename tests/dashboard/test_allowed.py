"""May a visitor open no other models than the operator allows?"""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from click.testing import Result
from typer.testing import CliRunner

import vit_inspect as vi
from tests.dashboard.apps import offered_models, opened, refusals
from vit_inspect.commands.app import app
from vit_inspect.loading import hub
from vit_inspect_dashboard import allowed, launch, offers, picker, quotas

pytestmark = pytest.mark.slow

NOT_HERE = "vit_base_patch16_224.augreg_in21k"


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(allowed, "_chosen", "any")
    monkeypatch.setattr(quotas, "_chosen", quotas.ALONE)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(offers, "_files", {})


def loaded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is loaded from now on, by name."""
    found: list[object] = []
    real = vi.load
    monkeypatch.setattr(
        vi, "load", lambda *names, **said: found.append(names) or real(*names, **said)
    )
    return found


@pytest.mark.parametrize("which", ["listed", "cached"])
@pytest.mark.parametrize("held", ["model", "right_model"])
@pytest.mark.parametrize(
    "name", [NOT_HERE, "hf-hub:a/b", "transformers:a/b", "open_clip:a/b", "vit_tiny_patch16_224"]
)
def test_a_model_that_is_not_allowed_is_refused_before_anything_is_loaded(
    which: allowed.Allowed, held: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed.choose(which)
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    found = loaded(monkeypatch)
    page = opened("compare", **{"model": "fashion_vit", "against": "model", held: name})
    assert not page.exception
    [refusal] = refusals(page)
    assert "which this server does not open" in refusal
    assert (name,) not in found


def test_what_is_in_the_cache_is_allowed_where_that_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("1")
    allowed.choose("cached")
    assert allowed.is_allowed("transformers:a/b")
    assert not allowed.is_allowed("transformers:a/c")
    allowed.choose("listed")
    assert not allowed.is_allowed("transformers:a/b")
    assert allowed.is_allowed("fashion_vit@400")
    monkeypatch.setitem(offers._files, "mine.pth", offers.File({}, None))
    assert allowed.is_allowed("mine.pth")


def test_the_list_has_no_model_that_is_not_allowed() -> None:
    allowed.choose("listed")
    page = opened("about", model="fashion_vit")
    assert sorted(offered_models(page)) == ["dinov2_small", "fashion_vit"]
    assert picker.others("fashion_vit") == ["dinov2_small"]


@pytest.mark.parametrize(
    ("words", "which", "most"),
    [
        ([], "any", quotas.ALONE),
        (["--host", "127.0.0.1"], "any", quotas.ALONE),
        (["--host", "0.0.0.0"], "cached", quotas.STRANGERS),
        (["--host", "0.0.0.0", "--no-strangers"], "any", quotas.ALONE),
        (["--strangers"], "cached", quotas.STRANGERS),
        (["--host", "0.0.0.0", "--models", "any"], "any", quotas.STRANGERS),
        (["--models", "listed"], "listed", quotas.ALONE),
        (["--max-px", "512"], "any", quotas.ALONE._replace(px=512)),
        (
            ["--strangers", "--max-parameters", "1e9", "--disk-gb", "0"],
            "cached",
            quotas.STRANGERS._replace(parameters=1e9, disk_gb=0),
        ),
    ],
)
def test_the_command_allows_less_where_others_can_connect(
    words: list[str], which: str, most: quotas.Quotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.cli, "main", lambda *_, **__: None)
    monkeypatch.setattr(launch, "warm", lambda **_: None)
    done: Result = CliRunner().invoke(app, ["dashboard", "--no-browser", *words])
    assert done.exit_code == 0, done.output
    assert allowed._chosen == which
    assert quotas.now() == most


@pytest.mark.parametrize(
    ("most", "name", "found"),
    [
        ({"parameters": 5e6}, "vit_tiny_patch16_224", "5,717,416 parameters in"),
        ({"px": 223}, "vit_tiny_patch16_224", "an input of 224 px for"),
        ({"disk_gb": 0.022}, "vit_tiny_patch16_224", "about 0.0 GB of weights to fetch"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_fetched_or_made(
    most: dict[str, float], name: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    real = timm.create_model

    def create(*names: object, **options: object) -> object:
        made.append(torch.empty(0).device.type)
        return real(*names, **options)

    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(hub, "_answers", lambda *_: True)
    quotas.choose(quotas.ALONE._replace(**most))
    [said] = refusals(opened("about", model=name))
    assert said.startswith(f"Found {found}")
    assert "server" in said
    assert made == ["meta"]


def test_what_the_operator_offers_is_as_large_as_it_is() -> None:
    quotas.choose(quotas.ALONE._replace(parameters=1000, disk_gb=0))
    assert not opened("about", model="fashion_vit").error


def test_an_input_that_a_link_asks_for_is_limited() -> None:
    quotas.choose(quotas.ALONE._replace(px=300))
    [said] = refusals(opened("about", model="dinov2_small", size="336"))
    assert said.startswith(
        "Found an input of 336 px for 'dinov2_small'; expected at most 300 px on this server"
    )
