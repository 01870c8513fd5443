"""Does the dashboard start, from a checkout or installed, with the same settings?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.dashboard.serving import ROOT
from vit_inspect.__main__ import app
from vit_inspect_dashboard import launch

PACKAGE = ROOT / "dashboard" / "vit_inspect_dashboard"


def test_the_settings_of_a_checkout_are_those_of_the_package() -> None:
    # Streamlit looks for them beside the script that it runs.
    both = [folder / ".streamlit" / "config.toml" for folder in (PACKAGE, PACKAGE.parent)]
    assert both[0].read_bytes() == both[1].read_bytes()


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
    command = [sys.executable, "-m", "vit_inspect", "dashboard", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout
        try:
            said = ""
            while not (found := re.search(r"URL: (http://localhost:[1-9]\d*)", said)):
                line = server.stdout.readline()
                assert line, said
                said += line
            with urllib.request.urlopen(f"{found[1]}/_stcore/health") as answer:
                assert answer.read() == b"ok"
            with urllib.request.urlopen(found[1]) as answer:
                assert b"<html" in answer.read()
        finally:
            server.terminate()
            # Its last words need a place to go to.
            server.communicate()


def test_a_host_without_an_address_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(launch.socket, "getaddrinfo", unknown)
    done = CliRunner().invoke(app, ["dashboard", "--host", "nonsense.invalid", "--no-browser"])
    assert done.exit_code == 2
    assert "Found the host 'nonsense.invalid', which has no address;" in done.output
