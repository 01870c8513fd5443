"""What does a figure of the ViT paper show, put together from the records of its panels?"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NoReturn

import numpy as np

from vit_inspect.errors import BadParameter
from vit_inspect.records.base import Result
from vit_inspect.records.paper import (
    AttentionDistance,
    AttentionRollout,
    EmbeddingFilters,
    PositionBias,
    PositionSimilarity,
    RotarySimilarity,
)

Positions = PositionSimilarity | RotarySimilarity | PositionBias
"""What a model knows of positions: its table, or what it has in place of one."""


@dataclass(frozen=True, eq=False)
class PaperFigure(Result):
    """The base of the paper's figures. Names of arrays and axes begin with that of their panel.

    model: the names of all models, with commas between them.
    """

    def panels(self) -> dict[str, Result]:
        """The records of the panels by name; a panel that shows a sentence has none."""
        found: dict[str, Result] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            many = value if isinstance(value, tuple) else ()
            named = {field.name: value} | {f"{field.name}_{n}": each for n, each in enumerate(many)}
            found |= {name: each for name, each in named.items() if isinstance(each, Result)}
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of all panels."""
        return {
            f"{panel}_{name}": array
            for panel, record in self.panels().items()
            for name, array in record.arrays().items()
        }

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes."""
        return {
            f"{panel}_{name}": tuple(f"{panel}_{axis}" for axis in axes)
            for panel, record in self.panels().items()
            for name, axes in record.axes().items()
        }

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        return {
            f"{panel}_{axis}": names
            for panel, record in self.panels().items()
            for axis, names in record.names().items()
        }

    def words(self) -> dict[str, Any]:
        """Texts and numbers of all panels; of one without a record the sentence it shows."""
        return super().words() | {
            f"{panel}_{name}": value
            for panel, record in self.panels().items()
            for name, value in record.words().items()
        }

    def of_image(self, image: int) -> NoReturn:
        """Raises `BadParameter`: the figure shows all its images together."""
        raise BadParameter(
            f"image {image} of a composed figure",
            "the figure of all its images",
            "compose the figure of this image alone",
        )


@dataclass(frozen=True, eq=False)
class PaperFigure6(PaperFigure):
    """Photographs, and the same as attention lights them up (ViT paper, Fig. 6)."""

    rollout: tuple[AttentionRollout, ...]


@dataclass(frozen=True, eq=False)
class PaperFigure7(PaperFigure):
    """Filters, positions and attended area of a model (ViT paper, Fig. 7).

    filters, positions: a sentence that says why there are none, where the model has none.
    """

    filters: EmbeddingFilters | str
    positions: Positions | str
    distance: AttentionDistance


@dataclass(frozen=True, eq=False)
class PaperFigure10(PaperFigure):
    """The positions of up to three models side by side (ViT paper, Fig. 10).

    positions: for each model, or a sentence that says why there are none.
    """

    positions: tuple[Positions | str, ...]


@dataclass(frozen=True, eq=False)
class PaperFigure11(PaperFigure):
    """The attended area of up to two models side by side (ViT paper, Fig. 11)."""

    distance: tuple[AttentionDistance, ...]
