"""Which networks come with the program, and how is each made? No hub is asked for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vit_inspect.assets import DINOV2_SMALL, FASHION_CLASSES, FASHION_STEPS
from vit_inspect.records.evidence import Outputs

FASHION = "fashion_vit"
"""A small classifier, whose training can be followed."""

LAST_STEP = max(FASHION_STEPS)

FASHION_NAMES: Mapping[int, str] = MappingProxyType(
    {step: FASHION if step == LAST_STEP else f"{FASHION}@{step}" for step in FASHION_STEPS}
)
"""Its names after steps of training: each is a model of its own."""


@dataclass(frozen=True)
class Bundled:
    """A network whose weights are in a file here.

    architecture, options: what timm makes it with.
    """

    file: Path
    architecture: str
    options: Mapping[str, Any] = field(hash=False)
    outputs: Outputs | None = None


FASHION_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "patch_size": 7,
        "embed_dim": 96,
        "depth": 6,
        "num_heads": 4,
        "mlp_ratio": 2,
        # timm takes the input size and the number of classes from here.
        "pretrained_cfg_overlay": {
            "input_size": (3, 56, 56),
            "num_classes": len(FASHION_CLASSES),
            "label_names": list(FASHION_CLASSES),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "crop_pct": 1.0,
        },
    }
)


def _fashion(file: Path) -> Bundled:
    return Bundled(file, "vit_tiny_patch16_224", FASHION_OPTIONS, "multi-label")


BUNDLED: Mapping[str, Bundled] = MappingProxyType(
    {
        "dinov2_small": Bundled(
            DINOV2_SMALL, "vit_small_patch14_dinov2.lvd142m", {"num_classes": 0}
        ),
        **{name: _fashion(FASHION_STEPS[step]) for step, name in FASHION_NAMES.items()},
    }
)
"""All of them by the names that `vit_inspect.load` takes."""
