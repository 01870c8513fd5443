"""Shared subjects: small random models with peaked attention, and the bundled one.

Shapes in annotations are checked at run time in every test.
"""

from __future__ import annotations

import jaxtyping

import tests.shapes  # noqa: F401

jaxtyping.install_import_hook("vit_inspect", "tests.shapes.checked")

from collections.abc import Callable  # noqa: E402
from dataclasses import replace  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import vit_inspect as vi  # noqa: E402
from tests.oracle import sharpen  # noqa: E402


@pytest.fixture(scope="session")
def small() -> Callable[..., vi.Model]:
    """Makes a random model of three blocks with peaked attention, by timm id and input size."""

    def make(
        architecture: str, img_size: object, *, dtype: torch.dtype = torch.float64, depth: int = 3
    ) -> vi.Model:
        torch.manual_seed(0)
        model = vi.load(
            architecture, img_size=img_size, pretrained=False, device="cpu", dtype=dtype
        )
        model.module.blocks = model.module.blocks[:depth]
        sharpen(model.module)
        return replace(model, blocks=model.blocks[:depth])

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
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run-time checks, which would refuse a wrong word before the code can."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
