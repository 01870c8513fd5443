"""Where are the bundled weights, and which bytes are they? README.md here tells their origin."""

from __future__ import annotations

from pathlib import Path

DINOV2_SMALL = Path(__file__).with_name("dinov2_small.safetensors")
"""State of timm's `vit_small_patch14_dinov2` at 518 px: matrices float16, all else float32."""

DINOV2_SMALL_SHA256 = "42b2d2d59bd64227efe041c5fc50aa27a099d03fb528fca4829b782f4409d22d"
