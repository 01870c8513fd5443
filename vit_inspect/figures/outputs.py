"""How is an output told and on which axis is it drawn? A probability in percent, or a raw score."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import Formatter

from vit_inspect.figures import looks, print_sheet
from vit_inspect.records.evidence import Outputs

MARGIN = 0.25
"""Room beside the bars of raw scores, for the numbers at their ends, in shares of the axis."""


def name(outputs: Outputs) -> str:
    """What one output is called."""
    return "Score" if outputs == "scores" else "Probability"


def largest(outputs: Outputs) -> str:
    """What the class of the largest output is called."""
    return "Largest score" if outputs == "scores" else "Most probable class"


def told(value: float | np.floating, outputs: Outputs) -> str:
    """One output in words."""
    return looks.number(value) if outputs == "scores" else looks.percent(value)


def ends(
    values: Float[np.ndarray, "*shape"], outputs: Outputs, *, margin: float = MARGIN
) -> looks.Limits:
    """Where an axis of bars ends; it holds 0. margin: beside bars of raw scores, as `MARGIN`."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if outputs != "scores":
        return 0, looks.probability_end(high)
    room = margin * (high - low) or 1.0
    return low - room * (low < 0), high + room * (high > 0 or low == 0)


def print_format(outputs: Outputs) -> Formatter:
    """The numbers of an axis or a colour bar in print."""
    return print_sheet.number_ticks() if outputs == "scores" else print_sheet.percent_ticks()


def screen_axis(outputs: Outputs) -> dict[str, Any]:
    """The same on a screen, as plotly's properties."""
    return {"tickformat": "~g" if outputs == "scores" else "~%"}


def hover(outputs: Outputs) -> str:
    """The format of a number under the cursor."""
    return ".4g" if outputs == "scores" else ".3%"
