"""Are the numbers of an observation those of a capture?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import vit_inspect as vi
from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.analyses.observation import observe_heads
from vit_inspect.recording.inputs import input_of


class Tokens:
    """What is seen of the tokens, as it is at that moment."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def add(self, layer: int, tokens: Tensor) -> None:
        assert layer == len(self.seen)
        self.seen.append(tokens.clone())


def check_observation(
    model: vi.Model, images: Sequence[Image.Image], capture: vi.Capture | None = None
) -> None:
    """All statistics of all heads, and all tokens, of one pass each; raises where they differ.

    capture: of the same images, where there is one.
    """
    capture = capture or vi.capture(model, images)
    kept = vi.head_statistics(capture)
    tokens = Tokens()
    pixels = input_of(model, images)
    seen = observe_heads(model, pixels, get_args(Statistic), tokens if capture.tokens else None)
    means = seen.sums.means()
    # Some networks of float64 take their softmax in float32.
    double = capture.error < 1e-12
    assert seen.error < (1e-12 if double else 1e-5)
    for one, other in zip(tokens.seen, capture.tokens, strict=True):
        atol = (1e-12 if double else 1e-4) * float(other.abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=atol)
    assert set(means) == set(kept.arrays())
    for name, values in means.items():
        rtol, atol = (1e-12, 1e-13) if double else (1e-5, 1e-6 if name == "nmi" else 1e-7)
        np.testing.assert_allclose(values, getattr(kept, name), rtol=rtol, atol=atol, err_msg=name)
