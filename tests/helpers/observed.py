"""Are the numbers of an observation those of a capture?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from PIL import Image

import vit_inspect as vi
from vit_inspect.analyses.head_statistics import Statistic


def check_observation(
    model: vi.Model, images: Sequence[Image.Image], capture: vi.Capture | None = None
) -> None:
    """All statistics of all heads, of one pass each; raises where they differ.

    capture: of the same images, where there is one.
    """
    capture = capture or vi.capture(model, images)
    kept = vi.head_statistics(capture)
    seen = vi.observe(model, images, statistics=get_args(Statistic))
    # Some networks of float64 take their softmax in float32.
    double = capture.error < 1e-12
    assert seen.error < (1e-12 if double else 1e-5)
    assert set(seen.arrays()) == set(kept.arrays())
    for name, values in seen.arrays().items():
        # A difference of entropies has fewer digits than they.
        rtol, atol = (1e-12, 1e-13) if double else (1e-5, 1e-6 if name == "nmi" else 1e-7)
        np.testing.assert_allclose(values, getattr(kept, name), rtol=rtol, atol=atol, err_msg=name)
