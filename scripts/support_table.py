"""README's table of models, made from the golden table of the tests.

    python -m scripts.support_table

The error is the largest difference between captured attention rows and the same network's explicit
softmax, over the family's architectures in float64, as the next power of ten.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from math import ceil, log10, prod

import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import explicit_attention
from tests.helpers.windowed import WINDOWED, Windowed, compared, narrow_swin
from tests.helpers.zoo import SERVED, Served, shallow
from vit_inspect.analyses.position_similarity import MAX_POSITIONS
from vit_inspect.attention.rows import rows
from vit_inspect.layout import MERGED

IMAGE = noise((60, 40), 1)


def support(
    error: Callable[[Served], float], windowed_error: Callable[[Windowed], float]
) -> list[str]:
    """The table's lines; `error` and `windowed_error` measure one architecture."""
    lines = ["| family | such as | the paper's figures | error | inputs |", "|---|---|---|---|---|"]
    for family, group in groupby(SERVED, key=lambda served: served.family):
        members = tuple(group)
        largest = max(error(served) for served in members)
        lines.append(
            _line(family, members[0].architecture, _figures(members), largest, _inputs(members))
        )
    for windowed in WINDOWED:
        figures = "all but rollout and position similarity, a stage at a time"
        inputs = f"multiples of {windowed.last_patch} px"
        lines.append(
            _line(*windowed[:2], figures=figures, error=windowed_error(windowed), inputs=inputs)
        )
    return lines


def _line(family: str, architecture: str, figures: str, error: float, inputs: str) -> str:
    cells = (family, f"`{architecture}`", figures, f"< 1e{ceil(log10(error))}", inputs)
    return f"| {' | '.join(cells)} |"


def _figures(members: Iterable[Served]) -> str:
    if any(served.readout == MERGED for served in members):
        return "all but rollout and maps of the read-out"
    compared = {
        served.positions is not None and prod(served.positions) <= MAX_POSITIONS
        for served in members
    }
    if compared == {True}:
        return "all"
    return "all, position similarity of some" if True in compared else "all but position similarity"


def _inputs(members: Iterable[Served]) -> str:
    limits = {served.limit for served in members if served.limit}
    if limits:
        return ", ".join(sorted(limits))
    sides = sorted({served.patch for served in members})
    return f"multiples of {' or '.join(map(str, sides))} px"


def measured(served: Served) -> float:
    """Largest difference of any row of two blocks from the explicit softmax."""
    model = shallow(served)
    capture = vi.capture(model, IMAGE)
    explicit = explicit_attention(model.module, model.prepare(IMAGE))
    every = range(model.layout.token_count)
    found = torch.stack([rows(layer, every) for layer in capture.layers])
    return float((found - explicit).abs().max())


def measured_windows(windowed: Windowed) -> float:
    """Largest difference of a narrow network's rows, in all stages, from the explicit windows."""
    model = narrow_swin(windowed.architecture)
    return max(float(abs(found - wanted).max()) for _, _, found, wanted in compared(model))


if __name__ == "__main__":
    sys.stdout.write("\n".join(support(measured, measured_windows)) + "\n")
