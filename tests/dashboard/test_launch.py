"""Does the dashboard start, from a checkout or installed, with the same settings?"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
import timm
import torch
from click.testing import Result
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

import vit_inspect as vi
from tests.dashboard.apps import APP, command
from tests.dashboard.serving import ROOT, started
from vit_inspect.commands.app import app
from vit_inspect.loading import timm_names
from vit_inspect_dashboard import launch, models, offers

PACKAGE = ROOT / "dashboard" / "vit_inspect_dashboard"


def test_the_settings_of_a_checkout_are_those_of_the_package() -> None:
    # Streamlit looks for them beside the script that it runs.
    both = [folder / ".streamlit" / "config.toml" for folder in (PACKAGE, PACKAGE.parent)]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_the_list_of_models_and_slow_imports_are_there_before_anybody_needs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, made = object(), []
    monkeypatch.setattr("vit_inspect_dashboard.sidebar.load_first", lambda _: first)
    monkeypatch.setattr("vit_inspect_dashboard.records.of_model", lambda *given: made.append(given))
    timm_names.served.cache_clear()
    monkeypatch.delitem(sys.modules, "sklearn.mixture", raising=False)
    launch.warm()
    assert timm_names.served.cache_info().currsize == 1
    assert "sklearn.mixture" in sys.modules
    assert made == [(vi.anatomy, first)]


def test_what_libraries_leave_is_never_looked_through_for_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    monkeypatch.setitem(sys.modules, launch.APP_MODULE, object())
    monkeypatch.setattr(launch, "import_module", lambda _: seen.append(gc.isenabled()))
    launch.import_app()
    assert not seen, "it is imported already, and what a visitor left since then is no library"
    monkeypatch.delitem(sys.modules, launch.APP_MODULE)
    try:
        launch.import_app()
        assert seen == [False]
        assert gc.isenabled()
        assert gc.get_freeze_count() > 100_000
    finally:
        gc.unfreeze()


@pytest.mark.slow
def test_no_chart_meets_a_library_that_is_half_imported() -> None:
    asked = "import sys, vit_inspect_dashboard.page; print('pandas' in sys.modules)"
    path = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, PACKAGE.parent)))}
    done = subprocess.run(
        [sys.executable, "-c", asked],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | path,
    )
    assert done.stdout.strip() == "True"


def test_options_leave_what_is_not_given_to_the_settings() -> None:
    assert launch.options(port=None, host=None, browser=True) == ["--server.headless=false"]
    assert launch.options(port=80, host="0.0.0.0", browser=False) == [
        "--server.headless=true",
        "--server.port=80",
        "--server.address=0.0.0.0",
    ]


@pytest.mark.parametrize("missing", ["vit_inspect_dashboard", "streamlit.web"])
def test_a_missing_dashboard_is_a_sentence_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delitem(sys.modules, "vit_inspect_dashboard.launch")
    monkeypatch.setitem(sys.modules, missing, None)
    done = CliRunner().invoke(app, ["dashboard", "--no-browser"])
    assert done.exit_code == 2
    assert 'pip install "vit-inspect[dashboard]"' in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    done = CliRunner().invoke(app, ["dashboard", "--port", port, "--no-browser"])
    assert done.exit_code == 2
    assert "--port" in done.output


@pytest.mark.slow
def test_the_packages_alone_serve_the_dashboard_from_any_folder(tmp_path: Path) -> None:
    """As they lie in site-packages: beside each other, and no checkout around them."""
    for package in (ROOT / "vit_inspect", PACKAGE):
        shutil.copytree(package, tmp_path / "site" / package.name)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with started(cwd=folder, path=tmp_path / "site") as address:
        with urllib.request.urlopen(f"{address}/_stcore/health") as answer:
            assert answer.read() == b"ok"
        with urllib.request.urlopen(address) as answer:
            assert b"<html" in answer.read()


def test_a_host_without_an_address_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(launch.socket, "getaddrinfo", unknown)
    done = CliRunner().invoke(app, ["dashboard", "--host", "nonsense.invalid", "--no-browser"])
    assert done.exit_code == 2
    assert "Found the host 'nonsense.invalid', which has no address;" in done.output


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs the command beside a small checkpoint "mine.pth", up to where the server would start."""
    network = timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=24, num_heads=2)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    monkeypatch.setattr(offers, "_files", {})
    monkeypatch.setattr(launch.cli, "main", lambda *_, **__: None)

    def run(*options: str, file: str = "mine.pth") -> Result:
        weights = ["--checkpoint", str(tmp_path / file), "--architecture", "vit_tiny_patch16_224"]
        return CliRunner().invoke(app, ["dashboard", "--no-browser", *weights, *options])

    return run


OPTIONS = tuple(
    part
    for option in ("depth=2", "embed_dim=24", "num_heads=2")
    for part in ("--arch-option", option)
)


@pytest.mark.slow
def test_a_checkpoint_is_the_first_model_with_what_is_said_of_it(run_with: Any) -> None:
    done = run_with(*OPTIONS, "--mean", "0.1,0.2,0.3", "--outputs", "multi-label")
    assert done.exit_code == 0, done.output
    assert "Not in the file, and taken from vit_tiny_patch16_224: GELU" in done.output
    assert list(offers.listed()) == ["mine"]
    st.cache_resource.clear()
    page = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not page.exception
    assert page.button(key="choose_model").label == "mine"
    model = models.model(page.session_state["subject"])
    assert model.recipe.mean == (0.1, 0.2, 0.3)
    assert model.outputs == "multi-label"
    assert model.source.startswith("file mine.pth, as vit_tiny_patch16_224 with depth=2")
    # The same from a terminal; no visitor sees where the file lies.
    page.query_params["at"] = "export"
    page.run()
    assert command(page) == (
        "python -m vit_inspect figures chelsea --out out --checkpoint mine.pth --architecture "
        "vit_tiny_patch16_224 --arch-option depth=2 --arch-option embed_dim=24 --arch-option "
        "num_heads=2 --mean 0.1,0.2,0.3 --outputs multi-label --fit crop"
    )
    # At another size it is the same checkpoint.
    page.selectbox(key="size").set_value(256).run()
    assert not page.exception
    assert models.model(page.session_state["subject"]).recipe.mean == (0.1, 0.2, 0.3)
    st.cache_resource.clear()


@pytest.mark.parametrize(
    ("options", "file", "found"),
    [
        (OPTIONS, "other.pth", "Found"),
        ((), "mine.pth", "Found"),
        ((*OPTIONS, "--mean", "grey"), "mine.pth", "Found the mean 'grey'"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_told_before_the_server_starts(
    run_with: Any, options: tuple[str, ...], file: str, found: str
) -> None:
    done = run_with(*options, file=file)
    assert done.exit_code == 2
    assert found in done.output
    assert "; expected " in done.output
    assert offers.listed() == {}
