"""Which class is the target, and does the model have it?"""

from __future__ import annotations

from vit_inspect.arguments import one_of
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.model import Model
from vit_inspect.recording.recorder import Capture

LISTED = 5
"""Most classes that an error names where several match."""


def target_classes(capture: Capture, target: int | str | None) -> tuple[int, ...]:
    """The class of each image: `target`, or, for None, that of the image's largest output.

    Empty for None and a model without classes. Raises `BadParameter` for a class that does not
    exist.
    """
    if target is not None:
        return (class_index(capture.model, target),) * len(capture.output)
    if capture.model.labels is None:
        return ()
    return tuple(capture.output.argmax(dim=1).tolist())


def class_index(model: Model, target: int | str) -> int:
    """The index of the class with this number or name, or the only one whose name contains it.

    Raises `BadParameter` if no class or more than one matches.
    """
    labels = model.labels
    if labels is None:
        raise BadParameter(
            f"the class {target!r} of {model.id}, which has no known classes",
            "no class",
            "leave it out, or load a classifier",
        )
    if not isinstance(target, str):
        return one_of(target, len(labels), "class")
    wanted = target.casefold().strip()
    names = [label.casefold() for label in labels]
    fitting = [place for place, name in enumerate(names) if name == wanted] or [
        place for place, name in enumerate(names) if wanted in name
    ]
    if len(fitting) != 1:
        some = ", ".join(f"{place} {labels[place]!r}" for place in fitting[:LISTED])
        more = ", ..." if len(fitting) > LISTED else ""
        raise BadParameter(
            f"the class name {target!r}, which is part of {len(fitting) or 'no'} class names",
            f"one of {some}{more}" if fitting else "the name of one of the model's classes",
            "give the number of the class",
        )
    return fitting[0]


def checked_labels(model: Model) -> tuple[str, ...]:
    """The names of the classes; raises `UnsupportedModel` if there are none."""
    if model.labels is None:
        raise UnsupportedModel(
            f"{model.id}, which has no known classes",
            "a classifier",
            "load one, such as 'fashion_vit', which is bundled",
        )
    return model.labels
