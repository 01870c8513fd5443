"""What are a model's outputs? Said by hand, by its configuration, or taken from their number."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from vit_inspect.errors import BadParameter
from vit_inspect.model import Model
from vit_inspect.records.evidence import Outputs

ONE = "Its one output is taken for a raw score, not for a probability."


def with_outputs(
    model: Model, given: Outputs | None = None, configured: Outputs | None = None
) -> Model:
    """The model with what its outputs are; the network is shared.

    given: what the user says. configured: what the file says. Without both, one output is a score,
    which the model's notices say, and several belong to classes of which one is right.

    Raises `BadParameter` for a word that is none of `Outputs` and for one that does not fit.
    """
    if given is not None and given not in get_args(Outputs):
        raise BadParameter(
            f"the outputs {given!r}",
            f"one of {', '.join(get_args(Outputs))}",
            "choose one of these",
        )
    if model.labels is None:
        if given is not None:
            raise BadParameter(
                f"outputs={given!r} for {model.id}, which has no known classes",
                "a model whose outputs have names",
                "leave it out, or wrap the network with labels=[...]",
            )
        return model
    one = len(model.labels) == 1
    if one and given == "single-label":
        raise BadParameter(
            f"outputs={given!r} for {model.id}, which has one output: its softmax is always 1",
            "'multi-label' for a sigmoid, or 'scores'",
            "choose one of these",
        )
    if one and configured == "single-label":
        configured = None
    outputs = given or configured or ("scores" if one else "single-label")
    notices = tuple(each for each in model.notices if each != ONE)
    if one and not (given or configured):
        notices += (ONE,)
    made_up, name = ("class", "output") if outputs == "scores" else ("output", "class")
    labels = tuple(
        f"{name} {index}" if label == f"{made_up} {index}" else label
        for index, label in enumerate(model.labels)
    )
    return replace(model, outputs=outputs, labels=labels, notices=notices)
