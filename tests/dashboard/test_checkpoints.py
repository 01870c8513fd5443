"""Are the checkpoints of a folder offered by name, loaded when chosen, and nothing else opened?"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
import timm
import torch
from click.testing import Result
from playwright.sync_api import Browser, expect
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

import vit_inspect as vi
from tests.dashboard.apps import APP, offered_models
from tests.dashboard.serving import started
from tests.dashboard.windows import show, user_with
from vit_inspect.commands.app import app
from vit_inspect_dashboard import launch, models, offers

TINY = "test_vit"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two states of a training, a file that is none, and others that are not listed."""
    runs = tmp_path / "secret place" / "runs"
    runs.mkdir(parents=True)
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        network = timm.create_model(TINY, num_classes=3)
        torch.save(network.state_dict(), runs / f"epoch{epoch}.pth")
    (runs / "optimizer.pt").write_bytes(b"not weights")
    (runs / "log.txt").write_text("loss 0.1")
    (runs / ".hidden.pth").write_bytes(b"")
    (runs / "inner").mkdir()
    (runs.parent / "other.pth").write_bytes((runs / "epoch1.pth").read_bytes())
    (runs / "names.txt").write_text("cat\ndog\nemu\n")
    return runs


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Callable[..., Result]]:
    """Runs the command on the folder, up to where the server would start."""
    monkeypatch.setattr(offers, "_files", {})
    monkeypatch.setattr(offers, "_folders", {})
    monkeypatch.setattr(launch.cli, "main", lambda *_, **__: None)
    # It would load what these tests show is not loaded.
    monkeypatch.setattr(launch, "warm", lambda: None)
    st.cache_resource.clear()

    def run(*options: object) -> Result:
        words = ["dashboard", "--no-browser", "--checkpoints", str(folder), *map(str, options)]
        return CliRunner().invoke(app, words)

    yield run
    st.cache_resource.clear()


def opened(**query: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=120)
    for key, value in query.items():
        page.query_params[key] = value
    return page.run()


def refusal(page: AppTest) -> str:
    [found] = [each.value.replace("\\", "") for each in page.error]
    return found


@pytest.mark.slow
def test_files_of_weights_are_listed_and_loaded_when_chosen(
    run_with: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    real = vi.load
    monkeypatch.setattr(
        "vit_inspect_dashboard.models.vi.load",
        lambda *names, **said: loaded.append(said.get("name")) or real(*names, **said),
    )
    done = run_with("--architecture", TINY, "--labels", folder / "names.txt")
    assert done.exit_code == 0, done.output
    assert list(offers.listed()) == ["epoch1.pth", "epoch2.pth", "optimizer.pt"]
    assert loaded == []
    page = opened(model="epoch2.pth")
    assert not page.exception
    assert not page.error
    assert offered_models(page)[:3] == ["epoch1.pth", "epoch2.pth", "optimizer.pt"]
    assert set(loaded) == {"epoch2.pth"}
    model = models.model(page.session_state["subject"])
    assert (model.id, model.labels) == ("epoch2.pth", ("cat", "dog", "emu"))
    torch.manual_seed(2)
    trained = timm.create_model(TINY, num_classes=3)
    assert torch.equal(model.module.head.weight, trained.head.weight)
    # A state that is saved later is there without a new start.
    (folder / "epoch3.pth").write_bytes((folder / "epoch1.pth").read_bytes())
    assert "epoch3.pth" in offered_models(page)


@pytest.mark.slow
def test_a_hash_is_of_the_first_checkpoint_and_not_of_a_folder(run_with: Any, folder: Path) -> None:
    done = run_with("--sha256", "0" * 64)
    assert done.exit_code == 2
    assert "without a file of weights; expected a checkpoint that is a single file" in done.stderr
    digest = hashlib.sha256((folder / "epoch1.pth").read_bytes()).hexdigest()
    first = "--architecture", TINY, "--checkpoint", folder / "epoch1.pth"
    assert run_with(*first, "--sha256", digest).exit_code == 0
    assert offers.said("epoch1")["sha256"] == digest
    assert "sha256" not in offers.said("epoch2.pth")


@pytest.mark.slow
def test_what_cannot_be_loaded_is_refused_when_it_is_chosen_without_its_path(
    run_with: Any, folder: Path
) -> None:
    assert run_with("--architecture", TINY).exit_code == 0
    said = refusal(opened(model="optimizer.pt"))
    assert said.startswith("Found no weights in 'optimizer.pt'; expected ")
    assert "secret place" not in said
    # No other file can be had.
    for name in ("../other.pth", "other.pth", str(folder / "epoch1.pth"), "names.txt"):
        page = opened(model=name)
        assert refusal(page).startswith("Found the ")
        assert "subject" not in page.session_state


@pytest.mark.slow
def test_a_file_that_is_written_again_is_refused(run_with: Any, folder: Path) -> None:
    assert run_with("--architecture", TINY).exit_code == 0
    assert not opened(model="epoch1.pth").error
    (folder / "epoch1.pth").write_bytes((folder / "epoch2.pth").read_bytes())
    os.utime(folder / "epoch1.pth", (1, 1))
    assert refusal(opened(model="epoch1.pth")).startswith(
        "Found another file 'epoch1.pth' than the dashboard listed at first, or none;"
    )
    assert not opened(model="epoch2.pth").error


@pytest.mark.slow
def test_without_an_architecture_the_settings_beside_the_files_say_it(
    run_with: Any, folder: Path
) -> None:
    assert run_with().exit_code == 0
    assert refusal(opened(model="epoch1.pth")).startswith(
        "Found the checkpoint 'epoch1.pth' without an architecture;"
    )
    (folder / "config.json").write_text(json.dumps({"architecture": TINY}))
    page = opened(model="epoch1.pth")
    assert not page.error
    assert models.model(page.session_state["subject"]).source.endswith(f"as {TINY}")


@pytest.mark.slow
def test_names_that_do_not_fit_the_outputs_are_refused(run_with: Any, folder: Path) -> None:
    (folder / "names.txt").write_text("cat\ndog\n")
    assert run_with("--architecture", TINY, "--labels", folder / "names.txt").exit_code == 0
    assert refusal(opened(model="epoch1.pth")).startswith(
        "Found 2 labels in 'names.txt' for the 3 outputs of epoch1.pth;"
    )
    # Of one checkpoint it is said before the server starts.
    words = ["--checkpoint", str(folder / "epoch1.pth"), "--architecture", TINY, "--labels"]
    done = CliRunner().invoke(app, ["dashboard", *words, str(folder / "names.txt")])
    assert done.exit_code == 2
    assert "Found 2 labels in 'names.txt' for the 3 outputs of epoch1;" in done.output


@pytest.mark.slow
def test_the_commands_for_the_same_name_files_and_no_paths(run_with: Any, folder: Path) -> None:
    assert run_with("--architecture", TINY, "--labels", folder / "names.txt").exit_code == 0
    page = opened(model="epoch1.pth")
    words = models.options(page.session_state["subject"])
    assert words == [
        *("--model", "epoch1.pth", "--checkpoint", "epoch1.pth"),
        *("--architecture", TINY, "--labels", "names.txt"),
    ]
    shown = [each.value for each in (*page.code, *page.caption, *page.text, *page.markdown)]
    assert shown
    assert "secret place" not in " ".join(shown)


@pytest.mark.slow
def test_folders_of_transformers_are_listed(run_with: Any, folder: Path) -> None:
    import transformers as hf

    config = hf.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
    )
    hf.ViTForImageClassification(config).save_pretrained(folder / "step-100")
    assert run_with("--architecture", "transformers").exit_code == 0
    assert list(offers.listed()) == ["inner", "step-100"]
    assert not opened(model="step-100").error
    said = refusal(opened(model="inner"))
    assert said.startswith("Found ")
    assert "secret place" not in said


def test_folders_of_open_clip_are_listed(run_with: Any, folder: Path) -> None:
    (folder / "step-100").mkdir()
    assert run_with("--architecture", "open_clip").exit_code == 0
    assert list(offers.listed()) == ["inner", "step-100"]


def test_what_is_no_folder_is_said_before_the_server_starts(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dashboard", "--checkpoints", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert re.search("Found no folder that can be read at '.*none'; expected", done.output)


@pytest.mark.slow
def test_a_visitor_chooses_a_checkpoint_in_the_browser(folder: Path, browser: Browser) -> None:
    server = started("--checkpoints", str(folder), "--architecture", TINY)
    with server as address, user_with(browser, address) as page:
        show(page, "/")
        page.locator(".st-key-choose_model button:visible").click()
        page.get_by_role("dialog").get_by_role("button", name="epoch2.pth").click()
        expect(page.get_by_text("weights: file epoch2.pth, as test")).to_be_visible()
        expect(page).to_have_url(re.compile("model=epoch2.pth"))
        assert "secret" not in page.content()
