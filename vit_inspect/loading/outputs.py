"""What are a model's outputs? Said by hand, by its configuration, or taken from their number."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from vit_inspect.arguments import several
from vit_inspect.errors import BadParameter
from vit_inspect.model import Model
from vit_inspect.pictures.reading import printable
from vit_inspect.records.evidence import Outputs

MAX_NAMES = 10_000_000
"""Most bytes of a file of names; those of ImageNet's 21,843 classes take a third of a million."""

GUESSED = "got ImageNet's names"
"""What the notice says where names were taken from the number of classes alone."""

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


def with_labels(model: Model, given: Sequence[str] | str | os.PathLike[str]) -> Model:
    """The model with names of its outputs, in their order; the network is shared.

    given: the names, or a text file in UTF-8 with one on each line.

    Raises `BadParameter` unless there is one name for each output of a classifier.
    """
    if isinstance(given, str | os.PathLike):
        names, of = _names_in(Path(given)), f" in {printable(Path(given).name)!r}"
    else:
        names, of = several(given, "labels", "['cat', 'dog']"), ""
    if model.labels is None:
        raise BadParameter(
            f"{len(names):,} labels{of} for {model.id}, whose output is a feature vector",
            "a model that scores classes",
            "leave out the labels",
        )
    if len(names) != len(model.labels):
        raise BadParameter(
            f"{len(names):,} labels{of} for the {len(model.labels):,} outputs of {model.id}",
            "a label for each output",
            "give the names of all classes in their order, one on each line of a file",
        )
    notices = tuple(each for each in model.notices if GUESSED not in each)
    return replace(model, labels=names, notices=notices)


def _names_in(path: Path) -> tuple[str, ...]:
    """The lines of a file; empty ones at its end are none."""
    name = printable(path.name)
    try:
        if not path.is_file() or path.stat().st_size > MAX_NAMES:
            raise ValueError
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise BadParameter(
            f"no names of classes that can be read in {name!r}",
            "a text file in UTF-8 with one name on each line",
            "check the path and the file",
        ) from error
    names = tuple(printable(line).strip() for line in lines)
    if "" in names:
        raise BadParameter(
            f"an empty line {names.index('') + 1} in {name!r}",
            "the name of a class on each line",
            "write a name there, or take the line out",
        )
    return names
