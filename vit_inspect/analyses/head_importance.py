"""Which heads matter for the output? Each is switched off alone, and the model runs again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.analyses.ablation import (
    Replacement,
    check_replacement,
    compared,
    mean_or_zero,
    wide,
)
from vit_inspect.analyses.outputs import logarithms
from vit_inspect.analyses.targets import target_classes
from vit_inspect.errors import OutOfMemory
from vit_inspect.recording.interventions import Attended, intervene
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.recording.resume import can_resume, resumed
from vit_inspect.records.evidence import LOG_PROBABILITY, SCORE, TURNED, HeadImportance


class Batch(NamedTuple):
    """Heads of one layer that are switched off, each alone, in one forward pass."""

    layer: int
    heads: tuple[int, ...]


@of_capture
def head_importance(
    capture: Capture,
    *,
    target: int | str | None = None,
    replacement: Replacement = "mean",
    on_progress: Callable[[int, int], object] | None = None,
) -> HeadImportance:
    """The exact effect of switching off each head alone, with all others unchanged.

    For a classifier, the effect is the drop in the log-probability of a class, in nats: ln 2 is a
    probability halved. If the model's outputs are raw scores, it is the drop of one of them. For a
    model without classes, it is 1 - cosine between its outputs before and after.

    target: the class, by number or name; by default the predicted class of each image.
    replacement: as for `ablate`.
    on_progress: called before each forward pass with the number of heads done and their total, and
        once at the end; an exception in it stops the work.

    Raises `BadParameter` for a class or a replacement that does not exist, `UnsupportedModel` for
    a hierarchical model and where a change cannot be made.
    """
    trials = HeadTrials(capture, target=target, replacement=replacement)
    effects: dict[Batch, Float[np.ndarray, "image head"]] = {}
    done, total = 0, sum(len(batch.heads) for batch in trials.batches)
    for batch in trials.batches:
        if on_progress:
            on_progress(done, total)
        effects[batch] = trials.effect(batch)
        done += len(batch.heads)
    if on_progress:
        on_progress(done, total)
    return trials.result(effects)


class HeadTrials:
    """The work of `head_importance` in batches, so that a caller can pause between them.

    batches: together all heads of all layers.
    """

    def __init__(
        self,
        capture: Capture,
        *,
        target: int | str | None = None,
        replacement: Replacement = "mean",
    ) -> None:
        check_replacement(replacement)
        self.capture = capture
        self.replacement = replacement
        self.targets = target_classes(capture, target)
        depth, count = capture.layer_count, capture.head_count
        size = capture.model.pass_images
        self.batches = tuple(
            Batch(layer, tuple(range(first, min(first + size, count))))
            for layer in range(depth)
            for first in range(0, count, size)
        )

    def effect(self, batch: Batch) -> Float[np.ndarray, "image head"]:
        """The effect of each of these heads on each image; split where memory is short."""
        try:
            outputs = [self._outputs(batch, image) for image in range(len(self.capture.pixels))]
        except OutOfMemory:
            if len(batch.heads) == 1:
                raise
            middle = len(batch.heads) // 2
            halves = batch.heads[:middle], batch.heads[middle:]
            return np.concatenate([self.effect(Batch(batch.layer, half)) for half in halves], 1)
        return np.stack([self._measured(image, after) for image, after in enumerate(outputs)])

    def result(self, effects: Mapping[Batch, Float[np.ndarray, "image head"]]) -> HeadImportance:
        """The record, from the effects of all batches."""
        depth, count = self.capture.layer_count, self.capture.head_count
        joined = np.concatenate([effects[batch] for batch in self.batches], axis=1)
        labels = self.capture.model.labels or ()
        falls = SCORE if self.capture.model.outputs == "scores" else LOG_PROBABILITY
        return HeadImportance(
            model=self.capture.model.id,
            photographs=self.capture.photographs,
            replacement=self.replacement,
            measure=falls if labels else TURNED,
            targets=tuple(labels[target] for target in self.targets),
            effect=joined.reshape(-1, depth, count),
        )

    def _outputs(self, batch: Batch, image: int) -> Tensor:
        """The outputs for one image, with each of these heads switched off alone."""
        pixels, count = self.capture.pixels[[image]], len(batch.heads)
        model, first = self.capture.model, 0
        if batch.layer and self._resumes:
            model, first = resumed(self.capture, batch.layer, image, count), batch.layer
        else:
            pixels = pixels.expand(count, -1, -1, -1)

        def attended(layer: int, given: Attended) -> Attended:
            if first + layer != batch.layer:
                return given
            changed = given.clone()
            entries, heads = torch.arange(len(batch.heads)), torch.tensor(batch.heads)
            changed[entries, heads] = mean_or_zero(given[entries, heads], self.replacement)
            return changed

        return intervene(model, pixels, attended=attended)

    @cached_property
    def _resumes(self) -> bool:
        """Whether the model can start at the changed layer, from the tokens of the capture."""
        return can_resume(self.capture)

    def _measured(self, image: int, after: Tensor) -> Float[np.ndarray, "head"]:
        before = self.capture.output[[image]]
        if not self.targets:
            cosine, _ = compared(before.expand_as(after), after)
            return (1 - cosine).numpy()
        target, outputs = self.targets[image], self.capture.model.outputs
        first, second = (
            logarithms(scores[:, [target]], scores, outputs)
            for scores in (wide(before), wide(after))
        )
        return (first - second)[:, 0].numpy()
