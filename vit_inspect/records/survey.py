"""What does a survey return? How a number of each head is spread over many pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vit_inspect.layout import TokenLayout
from vit_inspect.records.base import Result

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class Spread(Result):
    """One statistic of each head, as in `HeadStatistics`, over the pictures of a survey.

    statistic: its name there.
    count: of the pictures.
    std: of the pictures themselves, divided by their count and not by one less.
    quantiles: at the shares `QUANTILES`, between neighbours in proportion.
    lowest, highest: the numbers in the survey of the pictures at the extremes, the most extreme
        one first; of equal ones the earlier.
    """

    layout: TokenLayout
    statistic: str
    count: int
    mean: Float[np.ndarray, "layer head"]
    std: Float[np.ndarray, "layer head"]
    minimum: Float[np.ndarray, "layer head"]
    maximum: Float[np.ndarray, "layer head"]
    quantiles: Float[np.ndarray, "quantile layer head"]
    lowest: Int[np.ndarray, "layer head rank"]
    highest: Int[np.ndarray, "layer head rank"]


@dataclass(frozen=True, eq=False)
class HeadValues(Result):
    """One statistic of one head, as in `HeadStatistics`, on each picture of a survey.

    over: which pictures these are, in words.
    values: of the pictures that have numbers, in order.
    """

    layout: TokenLayout
    statistic: str
    layer: int
    head: int
    over: str
    values: Float[np.ndarray, "picture"]
