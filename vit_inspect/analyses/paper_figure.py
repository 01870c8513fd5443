"""Which records make up a figure of the ViT paper? Figures 6, 7, 10 and 11 (2010.11929)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from vit_inspect.analyses.attention_distance import attention_distance
from vit_inspect.analyses.attention_rollout import attention_rollout
from vit_inspect.analyses.embedding_filters import embedding_filters
from vit_inspect.analyses.position_bias import position_bias
from vit_inspect.analyses.position_similarity import position_similarity
from vit_inspect.analyses.rotary_similarity import rotary_similarity
from vit_inspect.errors import BadParameter, UnsupportedModel, memory_told
from vit_inspect.model import Model
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.paper_figures import (
    PaperFigure,
    PaperFigure6,
    PaperFigure7,
    PaperFigure10,
    PaperFigure11,
    Positions,
)

Record = TypeVar("Record")

MOST = {6: None, 7: 1, 10: 3, 11: 2}
"""How many captures each figure takes; None for any number."""


@memory_told()
def paper_figure(number: Literal[6, 7, 10, 11], *sources: Capture | Model) -> PaperFigure:
    """A figure of the ViT paper, put together as the paper prints it, for any model.

    6: photographs of the captures, and the same as attention rollout lights them up.
    7: of one capture, the embedding filters, the similarity of positions, and the attended area.
    10: the similarity of positions of one to three models, which may be given without a capture.
    11: the attended area of one or two captures.

    A model without a table of positions has its rotary positions or its relative bias in that
    panel. A panel for which a model has nothing says so in a sentence.

    Raises `BadParameter` for another number, and for sources that the figure does not take;
    `UnsupportedModel` as `attention_rollout` does.
    """
    _check(number, sources)
    models = [each.model if isinstance(each, Capture) else each for each in sources]
    captures = [each for each in sources if isinstance(each, Capture)]
    name = ", ".join(dict.fromkeys(model.id for model in models))
    if number == 6:
        return PaperFigure6(name, tuple(map(attention_rollout, captures)))
    if number == 7:
        (model,), (capture,) = models, captures
        return PaperFigure7(
            name,
            _or_reason(embedding_filters, model),
            _positions(model),
            attention_distance(capture),
        )
    if number == 10:
        return PaperFigure10(name, tuple(map(_positions, models)))
    return PaperFigure11(name, tuple(map(attention_distance, captures)))


def _check(number: int, sources: tuple[object, ...]) -> None:
    """Refuse a figure that is not served, and sources that it does not take."""
    if number not in MOST:
        numbers = ", ".join(map(str, MOST))
        raise BadParameter(f"Figure {number}", f"one of {numbers}", "choose one of these")
    kinds: tuple[type, ...] = (Capture, Model) if number == 10 else (Capture,)
    for source in sources:
        if not isinstance(source, kinds):
            raise BadParameter(
                f"a {type(source).__name__} for Figure {number}",
                "a capture or a model" if number == 10 else "a capture",
                "give vi.capture(model, images)",
            )
    most = MOST[number]
    if not sources or (most and len(sources) > most):
        raise BadParameter(
            f"{len(sources)} captures for Figure {number}",
            {None: "at least 1", 1: "1"}.get(most, f"1 to {most}"),
            "give as many",
        )


def _positions(model: Model) -> Positions | str:
    """The first of the three figures of positions that the model has, or why it has none."""
    if model.positions is not None:
        return _or_reason(position_similarity, model)
    if model.rotation is not None:
        return _or_reason(rotary_similarity, model)
    if model.score_bias is not None:
        return _or_reason(position_bias, model)
    return (
        f"{model.id} has no positions of the known kinds: no table of position embeddings, no "
        "rotation, no bias by offset."
    )


def _or_reason(analyse: Callable[[Model], Record], model: Model) -> Record | str:
    """The record of a model, or a sentence that says why there is none."""
    try:
        return analyse(model)
    except UnsupportedModel as refusal:
        return f"Not shown: found {refusal.found}; expected {refusal.expected}."
