"""Shared subjects: small random models with peaked attention, and the bundled one.

Shapes in annotations are checked at run time in every test.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

if "pytest" in sys.modules:
    # Nothing is garbage until all is imported, which `unsearched` waits for. Benchmarks import this
    # file too.
    gc.disable()

if "pytest" in sys.modules and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # In the background of a shell, Ctrl-C is ignored, also by the commands that tests stop by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many workers as cores: threads of their own, also in processes that tests start, would only
    # wait for each other. Said before the libraries that start them are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jaxtyping

import tests.helpers.shapes  # noqa: F401

jaxtyping.install_import_hook("vit_inspect", "tests.helpers.shapes.checked")

import socket  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from types import ModuleType  # noqa: E402
from unittest.mock import patch  # noqa: E402

import huggingface_hub.constants  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import vit_inspect as vi  # noqa: E402
from tests.helpers.oracle import sharpen  # noqa: E402

LONG = (
    "test_browser",
    "test_every_figure",
    "test_browser_pages",
    "test_bundle",
    "test_load",
    "test_pages",
    "test_toy_figure",
    "test_launch_in_memory",
    "test_main",
)
"""Files that take longest: at the end, one worker would do them and the others none."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within them, and of the others, the order stays."""
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def unsearched() -> None:
    """What is imported is not gone through again and again in search of garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def small() -> Callable[..., vi.Model]:
    """Makes a random model of three blocks with peaked attention, by timm id and input size."""

    def make(
        architecture: str, img_size: object, *, dtype: torch.dtype = torch.float64, depth: int = 3
    ) -> vi.Model:
        torch.manual_seed(0)
        # Blocks that no test looks at are not made: they would take most of the time.
        with patch.object(timm, "create_model", partial(timm.create_model, depth=depth)):
            model = vi.load(
                architecture, img_size=img_size, pretrained=False, device="cpu", dtype=dtype
            )
        sharpen(model.module)
        return model

    return make


@pytest.fixture(scope="session")
def dinov2() -> vi.Model:
    """The bundled model at 224 px."""
    return vi.load("dinov2_small", img_size=224, device="cpu")


@pytest.fixture(scope="session")
def chelsea() -> Image.Image:
    return vi.sample("chelsea")


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    """A random RGB picture of (columns, rows) px."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """No host has an address, no proxy helps, and no weights are cached; the hosts asked for."""
    asked: list[str] = []

    def fail(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return asked


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run-time checks, which would refuse a wrong word before the code can."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def unplotted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their interactive figures, which take most of the time beside the files."""
    monkeypatch.setattr("vit_inspect.exporting.render.interactive", lambda *_: "")


@pytest.fixture
def numbers_only(monkeypatch: pytest.MonkeyPatch, unplotted: None) -> None:
    """Bundles without any picture."""
    monkeypatch.setattr("vit_inspect.exporting.bundle.BUNDLE_FORMATS", ("npz",))


@pytest.fixture
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A main module that workers need not import: Streamlit's tests leave a script in its place."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
