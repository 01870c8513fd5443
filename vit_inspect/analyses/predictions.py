"""Which classes does the model predict? Those that its outputs are largest for."""

from __future__ import annotations

import torch

from vit_inspect.analyses.outputs import largest
from vit_inspect.analyses.targets import checked_labels
from vit_inspect.arguments import at_least_one
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import Predictions


@of_capture
def predictions(capture: Capture, *, count: int = 5) -> Predictions:
    """The `count` most probable classes of each image, or all where the model has fewer.

    Probabilities are the softmax of the output over all its classes, so those shown can sum to
    less than 1. If `capture.model.outputs` is "multi-label", each is the sigmoid of its output; if
    it is "scores", the values are the raw outputs. Raises `UnsupportedModel` for a model without
    known classes.
    """
    labels, outputs = checked_labels(capture.model), capture.model.outputs
    count = at_least_one(count, "classes")
    with torch.inference_mode():
        value, places = largest(capture.output, min(count, len(labels)), outputs)
    return Predictions(
        model=capture.model.id,
        labels=tuple(tuple(labels[place] for place in image) for image in places.tolist()),
        value=value.numpy(),
        class_index=places.numpy(),
        outputs=outputs,
    )
