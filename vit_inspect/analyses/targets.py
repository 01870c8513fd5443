"""Which class is asked about, and is it there?"""

from __future__ import annotations

from operator import index

from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.model import Model
from vit_inspect.recording.recorder import Capture

LISTED = 5
"""Classes that a sentence names where several fit."""


def classes_asked(capture: Capture, target: int | str | None) -> tuple[int, ...]:
    """The class of each image: the one that is named or, of None, its own most probable one.

    Empty for None and a model without classes. Raises `BadParameter` for a class that is not there.
    """
    if target is not None:
        return (class_index(capture.model, target),) * len(capture.output)
    if capture.model.labels is None:
        return ()
    return tuple(capture.output.argmax(dim=1).tolist())


def class_index(model: Model, target: int | str) -> int:
    """The class of the head with this number, this name, or the only one with it in its name.

    Raises `BadParameter` where there is none, or more than one.
    """
    labels = model.labels
    if labels is None:
        raise BadParameter(
            f"the class {target!r} of {model.id}, which has no classes that are known",
            "no class",
            "leave it out, or load a classifier",
        )
    if not isinstance(target, str):
        number = index(target) if hasattr(target, "__index__") else -1
        if number not in range(len(labels)):
            raise BadParameter(
                f"the class {target}", f"a class of 0..{len(labels) - 1}", "choose one of these"
            )
        return number
    wanted = target.casefold().strip()
    names = [label.casefold() for label in labels]
    fitting = [place for place, name in enumerate(names) if name == wanted] or [
        place for place, name in enumerate(names) if wanted in name
    ]
    if len(fitting) != 1:
        some = ", ".join(f"{place} {labels[place]!r}" for place in fitting[:LISTED])
        more = ", ..." if len(fitting) > LISTED else ""
        raise BadParameter(
            f"the class name {target!r}, which {len(fitting) or 'no'} classes have in theirs",
            f"one of {some}{more}" if fitting else "a name that the model knows",
            "give the number of the class",
        )
    return fitting[0]


def checked_labels(model: Model) -> tuple[str, ...]:
    """The names of the classes, or why there are none."""
    if model.labels is None:
        raise UnsupportedModel(
            f"{model.id}, which has no head that is known to score classes",
            "a classifier",
            "load one, such as 'vit_base_patch16_224.augreg_in21k_ft_in1k'",
        )
    return model.labels
