"""Small models in place of a hub; and a real server and a real browser."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
import threadpoolctl
import torch
from playwright.sync_api import Browser, Page, expect, sync_playwright

import vit_inspect as vi
from tests.dashboard.apps import LAYERS, NAMES, copied
from vit_inspect.loading.recommended import Checkpoint

ROOT = Path(__file__).parents[2]
SECONDS = 120
"""How long to wait for a page on a machine that does other things too."""


@pytest.fixture(scope="session", autouse=True)
def quick() -> None:
    """Small matrices on one thread, beside other tests; and garbage is looked for among new things.

    All that is imported would be gone through again and again.
    """
    threadpoolctl.threadpool_limits(1)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small inputs, few layers and random weights, by the names of models that a hub has."""
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        return copied(real, name, img_size, LAYERS)

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    # AppTest knows no options that are typed in.
    listed = tuple(Checkpoint(name, "all figures", "small and random") for name in NAMES)
    monkeypatch.setattr("vit_inspect_dashboard.sidebar.ZOO", listed)
    monkeypatch.setattr("vit_inspect.loading.recommended.ZOO", listed)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], bytes]]:
    """What the pages offer to download, by the name of the file."""
    found: dict[str, Callable[[], bytes]] = {}
    real = st.download_button

    def button(label: str, data: Callable[[], bytes], *, file_name: str, **options: Any) -> bool:
        found[file_name] = data
        return real(label, data, file_name=file_name, **options)

    monkeypatch.setattr(st, "download_button", button)
    return found


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
