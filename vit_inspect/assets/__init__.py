"""Where are the bundled weights and pictures, and which bytes? README.md tells their origin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

HERE = Path(__file__).parent

DINOV2_SMALL = HERE / "dinov2_small.safetensors"
"""State of timm's `vit_small_patch14_dinov2` at 518 px: matrices float16, all else float32."""

DINOV2_SMALL_SHA256 = "42b2d2d59bd64227efe041c5fc50aa27a099d03fb528fca4829b782f4409d22d"

FASHION = HERE / "fashion_vit"
"""What `scripts/train_fashion_vit.py` wrote: weights, curves, precision and held-out canvases."""

FASHION_STEPS: Mapping[int, Path] = MappingProxyType(
    {step: FASHION / f"step_{step:05d}.safetensors" for step in (0, 100, 400, 1_000, 2_500, 8_000)}
)
"""The weights after steps of the training, float16; the last one's are those of `fashion_vit`."""

FASHION_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""In the order of the network's outputs and of the data set's labels."""
