"""Small models in place of a hub; and a real server and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NoReturn
from unittest.mock import patch

import pytest
import streamlit as st
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from streamlit.components.v2 import manifest_scanner

import vit_inspect as vi
from tests.dashboard.apps import LAYERS, NAMES, copied
from tests.dashboard.visitors import Server
from tests.dashboard.windows import SCREEN, SECONDS, new_window
from vit_inspect.loading.recommended import Checkpoint


def missing(reason: str) -> NoReturn:
    """Of a program that tests need: it is an error in CI and a reason to skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def scanned_once() -> Iterator[None]:
    """What is installed is gone through once for components, not by each `AppTest`: 0.2 s."""
    scan = manifest_scanner.scan_component_manifests
    with patch.object(manifest_scanner, "scan_component_manifests", cache(scan)):
        yield


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small inputs, few layers and random weights, by the names of models that a hub has."""
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        return copied(real, name, img_size, LAYERS)

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    # AppTest knows no options that are typed in.
    listed = tuple(Checkpoint(name, "all figures", "small and random") for name in NAMES)
    monkeypatch.setattr("vit_inspect_dashboard.picker.ZOO", listed)
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
    """Where a dashboard runs, with what is bundled and a classifier of random weights."""
    with Server() as server:
        yield f"http://localhost:{server.port}"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    path = shutil.which("chromium")
    if path is None:
        missing("no browser: install the package chromium")
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-sync",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
        ]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        expect.set_options(timeout=SECONDS * 1000)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def windows(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """A browser that keeps what Streamlit is made of, whose windows are users of their own."""
    context = browser.new_context(
        base_url=address,
        viewport=SCREEN,
        # Without the demonstration, which has a test of its own.
        reduced_motion="reduce",
    )
    context.set_default_timeout(SECONDS * 1000)
    yield context
    context.close()


@pytest.fixture
def page(windows: BrowserContext) -> Iterator[Page]:
    """A fresh window of a new user."""
    page = new_window(windows)
    yield page
    page.close()
