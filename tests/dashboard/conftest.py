"""A real server and a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
SECONDS = 120
"""How long to wait for a page on a machine that does other things too."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where a dashboard runs, with nothing but what is bundled."""
    with served("streamlit", "run", "dashboard/app.py", "--server.headless=true") as port:
        yield f"http://localhost:{port}"


@pytest.fixture(scope="session")
def classifier_address() -> Iterator[str]:
    """Where a dashboard runs that also has a classifier, of random weights."""
    with served("tests.dashboard.classifier") as port:
        yield f"http://localhost:{port}"


@contextmanager
def served(module: str, *arguments: str) -> Iterator[int]:
    """A server in a process of its own; gives the port, which it is told as its last argument."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, *arguments, f"--server.port={port}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_for_health(port)
            yield port
        finally:
            server.terminate()


def wait_for_health(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health") as answer:
                assert answer.read() == b"ok"
                return
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium; missing, it is an error in CI and a reason to skip elsewhere."""
    path = shutil.which("chromium")
    if path is None:
        reason = "no browser: install the package chromium"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A fresh window of a new user."""
    expect.set_options(timeout=45_000)
    context = browser.new_context(
        base_url=address, viewport={"width": 1440, "height": 900}, accept_downloads=True
    )
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()
