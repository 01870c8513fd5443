"""How is a number of each head spread over pictures, of all of which it is known?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from vit_inspect.layout import TokenLayout
from vit_inspect.records.survey import QUANTILES, Spread

EXTREMES = 5
"""Pictures that are named at each end of a statistic of a head."""


def spread_of(
    model: str, layout: TokenLayout, statistic: str, values: Float[np.ndarray, "image layer head"]
) -> Spread:
    """The spread of a statistic, by its name in `HeadStatistics`; pictures count from 0."""
    numbers = np.arange(len(values))
    return Spread(model, layout, statistic, len(values), **fields_of(values, numbers))


def fields_of(
    values: Float[np.ndarray, "image layer head"], numbers: Int[np.ndarray, "image"]
) -> dict[str, np.ndarray]:
    """The arrays of a `Spread`, for some layers; `numbers` are those of the pictures."""
    wide = values.astype(np.float64)
    # From the first picture on: copies of one have its mean, and no spread, to the bit.
    beyond = wide - wide[0]
    ranks = min(EXTREMES, len(wide))
    # Stable, so that of equal ones the earlier comes first.
    lowest = np.argsort(wide, axis=0, kind="stable")[:ranks].copy()
    highest = np.argsort(-wide, axis=0, kind="stable")[:ranks].copy()
    return {
        "mean": wide[0] + beyond.mean(axis=0),
        "std": beyond.std(axis=0),
        "minimum": wide.min(axis=0),
        "maximum": wide.max(axis=0),
        "quantiles": np.quantile(wide, QUANTILES, axis=0),
        "lowest": np.moveaxis(numbers[lowest], 0, 2),
        "highest": np.moveaxis(numbers[highest], 0, 2),
    }
