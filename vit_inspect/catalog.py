"""Which figures are there, and how is each computed? One explicit tuple.

Menus, bundles, reports, tables of figures and contract tests are made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Literal, Protocol, TypeVar

from vit_inspect.analyses.attention_distance import DistanceReduction, attention_distance
from vit_inspect.analyses.attention_maps import attention_maps, readout_reduction
from vit_inspect.analyses.attention_relevance import RelevanceReduction, attention_relevance
from vit_inspect.analyses.attention_rollout import RolloutReduction, attention_rollout
from vit_inspect.analyses.embedding_filters import embedding_filters
from vit_inspect.analyses.faithfulness import faithfulness
from vit_inspect.analyses.feature_pca import feature_pca
from vit_inspect.analyses.head_importance import head_importance
from vit_inspect.analyses.head_statistics import HeadReduction, head_statistics
from vit_inspect.analyses.layer_cka import layer_cka
from vit_inspect.analyses.logit_lens import logit_lens
from vit_inspect.analyses.position_bias import position_bias
from vit_inspect.analyses.position_similarity import position_similarity
from vit_inspect.analyses.rotary_similarity import rotary_similarity
from vit_inspect.analyses.token_norms import TokenNormsReduction, token_norms
from vit_inspect.analyses.token_similarity import token_similarity
from vit_inspect.attention.sweep import Reduction, sweep
from vit_inspect.errors import BadParameter, InspectError, OutOfMemory
from vit_inspect.figures.ablation import FIGURE as ABLATION
from vit_inspect.figures.anatomy import FIGURE as ANATOMY
from vit_inspect.figures.artefact_rate import FIGURE as ARTEFACT_RATE
from vit_inspect.figures.attention_distance import FIGURE as ATTENTION_DISTANCE
from vit_inspect.figures.attention_maps import FIGURE as ATTENTION_MAPS
from vit_inspect.figures.attention_relevance import FIGURE as ATTENTION_RELEVANCE
from vit_inspect.figures.attention_rollout import FIGURE as ATTENTION_ROLLOUT
from vit_inspect.figures.chosen_classes import FIGURE as CHOSEN_CLASSES
from vit_inspect.figures.difference import FIGURE as DIFFERENCE
from vit_inspect.figures.distribution import FIGURE as DISTRIBUTION
from vit_inspect.figures.embedding_filters import FIGURE as EMBEDDING_FILTERS
from vit_inspect.figures.faithfulness import FIGURE as FAITHFULNESS
from vit_inspect.figures.feature_pca import FIGURE as FEATURE_PCA
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect.figures.group_difference import FIGURE as GROUP_DIFFERENCE
from vit_inspect.figures.group_distribution import FIGURE as GROUP_DISTRIBUTION
from vit_inspect.figures.head_importance import FIGURE as HEAD_IMPORTANCE
from vit_inspect.figures.head_statistics import FIGURE as HEAD_STATISTICS
from vit_inspect.figures.layer_cka import FIGURE as LAYER_CKA
from vit_inspect.figures.layer_steps import FIGURE as LAYER_STEPS
from vit_inspect.figures.localisation import FIGURE as LOCALISATION
from vit_inspect.figures.logit_lens import FIGURE as LOGIT_LENS
from vit_inspect.figures.paper_figure_6 import FIGURE as PAPER_FIGURE_6
from vit_inspect.figures.paper_figure_7 import FIGURE as PAPER_FIGURE_7
from vit_inspect.figures.paper_figure_10 import FIGURE as PAPER_FIGURE_10
from vit_inspect.figures.paper_figure_11 import FIGURE as PAPER_FIGURE_11
from vit_inspect.figures.patch_map import FIGURE as PATCH_MAP
from vit_inspect.figures.patch_maps import FIGURE as PATCH_MAPS
from vit_inspect.figures.position_bias import FIGURE as POSITION_BIAS
from vit_inspect.figures.position_similarity import FIGURE as POSITION_SIMILARITY
from vit_inspect.figures.rotary_similarity import FIGURE as ROTARY_SIMILARITY
from vit_inspect.figures.spread import FIGURE as SPREAD
from vit_inspect.figures.steps import FIGURE as STEPS
from vit_inspect.figures.token_norms import FIGURE as TOKEN_NORMS
from vit_inspect.figures.token_similarity import FIGURE as TOKEN_SIMILARITY
from vit_inspect.model import Model
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.base import Result

Summed_co = TypeVar("Summed_co", covariant=True)

Group = Literal["paper", "evidence"]
"""A figure of the ViT paper, or further evidence of what the model does."""


class RecordReduction(Reduction, Protocol[Summed_co]):
    """A sum over all attention rows whose result is a record."""

    def result(self) -> Summed_co:
        """The record, after all blocks were added."""


@dataclass(frozen=True)
class ModelFigure(Generic[Record]):
    """A figure of the model alone.

    figure: its words, its print and its plot.
    analyse: from the model to the record.
    page: slug of the figure that shares its page in the dashboard with this one, as most models
        have only one of them; None for a page of its own.
    """

    figure: FigureSpec[Record]
    analyse: Callable[Concatenate[Model, ...], Record]
    group: Group = "paper"
    page: str | None = None
    thorough: Literal[False] = False


@dataclass(frozen=True)
class CaptureFigure(Generic[Record]):
    """A figure of a capture: of images that the model has processed.

    figure, page: as for a `ModelFigure`.
    analyse: from the capture to the record.
    averaged: whether one figure shows all images together; otherwise each image has its own.
    reduction: for figures that need every attention row, so that one sweep serves them all; it
        returns None if this capture needs no sweep.
    thorough: whether it runs the model many times; a bundle has it only on request.
    """

    figure: FigureSpec[Record]
    analyse: Callable[Concatenate[Capture, ...], Record]
    group: Group = "paper"
    page: str | None = None
    averaged: bool = False
    reduction: Callable[[Capture], RecordReduction[Record] | None] | None = None
    thorough: bool = False


# Any: a tuple of figures of different records has no exact type in Python.
FIGURES: tuple[ModelFigure[Any] | CaptureFigure[Any], ...] = (
    ModelFigure(
        EMBEDDING_FILTERS,
        embedding_filters,
    ),
    ModelFigure(
        POSITION_SIMILARITY,
        position_similarity,
    ),
    ModelFigure(
        POSITION_BIAS,
        position_bias,
        page="position_similarity",
    ),
    ModelFigure(
        ROTARY_SIMILARITY,
        rotary_similarity,
        page="position_similarity",
    ),
    CaptureFigure(
        ATTENTION_DISTANCE,
        attention_distance,
        averaged=True,
        reduction=lambda capture: DistanceReduction(capture.heads),
    ),
    CaptureFigure(
        ATTENTION_MAPS,
        attention_maps,
        reduction=readout_reduction,
    ),
    CaptureFigure(
        ATTENTION_ROLLOUT,
        attention_rollout,
        reduction=RolloutReduction,
    ),
    CaptureFigure(
        ATTENTION_RELEVANCE,
        attention_relevance,
        group="evidence",
        reduction=RelevanceReduction,
    ),
    CaptureFigure(
        FEATURE_PCA,
        feature_pca,
        group="evidence",
    ),
    CaptureFigure(
        TOKEN_SIMILARITY,
        token_similarity,
        group="evidence",
    ),
    CaptureFigure(
        LOGIT_LENS,
        logit_lens,
        group="evidence",
    ),
    CaptureFigure(
        LAYER_CKA,
        layer_cka,
        group="evidence",
        averaged=True,
    ),
    CaptureFigure(
        TOKEN_NORMS,
        token_norms,
        group="evidence",
        reduction=TokenNormsReduction,
    ),
    CaptureFigure(
        HEAD_IMPORTANCE,
        head_importance,
        group="evidence",
        thorough=True,
    ),
    CaptureFigure(
        FAITHFULNESS,
        faithfulness,
        group="evidence",
        thorough=True,
    ),
    CaptureFigure(
        HEAD_STATISTICS,
        head_statistics,
        group="evidence",
        averaged=True,
        reduction=lambda capture: HeadReduction(capture.heads),
    ),
)

UNBUNDLED: tuple[FigureSpec[Any], ...] = (
    ABLATION,
    ANATOMY,
    ARTEFACT_RATE,
    CHOSEN_CLASSES,
    DIFFERENCE,
    DISTRIBUTION,
    GROUP_DIFFERENCE,
    GROUP_DISTRIBUTION,
    LAYER_STEPS,
    LOCALISATION,
    PATCH_MAP,
    PATCH_MAPS,
    SPREAD,
    STEPS,
)
"""Figures that no entry makes: of what a user chose or compared, of what the network is made of,
of where things are, and of a survey. A bundle of several pictures has the spread of their attention
distance too."""

COMPOSED: tuple[FigureSpec[Any], ...] = (
    PAPER_FIGURE_6,
    PAPER_FIGURE_7,
    PAPER_FIGURE_10,
    PAPER_FIGURE_11,
)
"""Figures of several panels as the paper prints them: for print, not in a bundle."""


def analyse(capture: Capture, *, thorough: bool = False) -> dict[str, Result | InspectError]:
    """The records of all figures of a capture by slug, or the reason why there is none.

    One sweep over all attention rows serves all figures that need nothing else. Figures of the
    model alone are not included. Figures that run the model many times are included if
    `thorough`. Raises `OutOfMemory`.
    """
    found: dict[str, Result | InspectError] = {}
    sums: dict[str, RecordReduction[Result]] = {}
    for entry in FIGURES:
        if isinstance(entry, ModelFigure) or (entry.thorough and not thorough):
            continue
        slug = entry.figure.slug
        try:
            if entry.reduction and (total := entry.reduction(capture)):
                sums[slug] = total
            else:
                found[slug] = entry.analyse(capture)
        except OutOfMemory:
            # Another time, or with fewer pictures, there is this figure.
            raise
        except InspectError as refusal:
            found[slug] = refusal
    sweep(capture.layers, *sums.values())
    return found | {slug: total.result() for slug, total in sums.items()}


def figure_of(record: Record) -> FigureSpec[Record]:
    """The figure that shows records of this type; raises `BadParameter` if there is none."""
    figures = (*(entry.figure for entry in FIGURES), *COMPOSED, *UNBUNDLED)
    for figure in figures:
        if type(record) is figure.record:
            return figure
    known = (figure.record.__name__ for figure in figures)
    raise BadParameter(
        f"a {type(record).__name__}, which has no figure",
        f"one of {', '.join(sorted(known))}",
        "call an analysis first, such as vi.attention_maps(capture), or use its arrays",
    )
