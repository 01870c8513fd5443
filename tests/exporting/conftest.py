"""A tiny random model, its capture of two pictures, and the record of every figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.catalog import FIGURES, ModelFigure, analyse

OTHERS = {"position_bias": "beit_base_patch16_224", "rotary_similarity": "eva02_tiny_patch14_224"}
"""Models that have what the usual one has not, by figure."""


@pytest.fixture(scope="session")
def tiny() -> vi.Model:
    torch.manual_seed(0)
    return vi.load("vit_tiny_patch16_224", img_size=(32, 48), pretrained=False)


@pytest.fixture(scope="session")
def capture(tiny: vi.Model) -> vi.Capture:
    return vi.capture(tiny, [noise((90, 60), seed) for seed in (1, 2)])


@pytest.fixture(scope="session")
def results(capture: vi.Capture, small: Callable[..., vi.Model]) -> dict[str, vi.Result]:
    models = {slug: small(name, 112, dtype=torch.float32) for slug, name in OTHERS.items()}
    of_model = {
        entry.figure.slug: entry.analyse(models.get(entry.figure.slug, capture.model))
        for entry in FIGURES
        if isinstance(entry, ModelFigure)
    }
    found = analyse(capture, thorough=True)
    return of_model | {slug: each for slug, each in found.items() if isinstance(each, vi.Result)}


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file, by its path in the folder; not of the lock, which stays."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
