"""Captures made by hand whose blocks returned any tokens that a test asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.helpers.made import capture_of, layout_of, peaked
from vit_inspect.layout import Box
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.base import Photograph

WHOLE = Box(0, 0, 60, 40)


def photograph(seed: int = 0, seen: Box = WHOLE) -> Photograph:
    """Noise of 60 × 40 px."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Photograph(f"{seed}.png", pixels, (40, 60), seen)


def holding(*layers: np.ndarray, grid: tuple[int, int] = (4, 5), seen: Box = WHOLE) -> Capture:
    """Layers that returned these patches (image, patch, width), after a class token."""
    images, count, _ = layers[0].shape
    attention = peaked(np.random.default_rng(0), 1, images, 1, count + 1, count + 1)
    return replace(
        capture_of(attention, layout_of("cls", grid=grid)),
        tokens=tuple(
            torch.from_numpy(np.pad(layer, ((0, 0), (1, 0), (0, 0)), constant_values=99.0))
            for layer in layers
        ),
        photographs=tuple(photograph(seed, seen) for seed in range(images)),
    )
