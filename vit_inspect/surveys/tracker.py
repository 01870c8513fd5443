"""How do the heads change while a network is trained? A small survey every so many steps."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import nn

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.analyses.token_sums import TokenStatistic
from vit_inspect.arguments import at_least_one, of_kind
from vit_inspect.errors import BadParameter
from vit_inspect.model import Model
from vit_inspect.records.base import Result
from vit_inspect.records.evidence import HeadStatistics
from vit_inspect.surveys.engine_local import local
from vit_inspect.surveys.results import Survey
from vit_inspect.surveys.sources import Source, entries
from vit_inspect.surveys.steps import step_folder
from vit_inspect.surveys.survey import BATCH, survey_of

METHODS = ("add_scalar", "add_image")
"""What is called of a writer."""

IMAGE_DPI = 150
"""Of the image that a writer is given: about a thousand px wide."""


class Tracker:
    """Surveys the same pictures again and again while a network is trained.

        tracker = vi.Tracker(model, "pictures", "run/heads", every=500)
        for step, batch in enumerate(batches):
            ...  # train
            tracker(step)

    Each survey is a folder of its own in `out`, such as `step-00000500`; `open_steps` reads them
    as curves. Another run, and one that goes on from an earlier checkpoint, needs another folder:
    numbers are never mixed. Training goes on as if nothing had been: no gradient is touched, and
    the modes of all modules and the state of torch's random numbers are restored to the bit.

    Under autocast a survey is computed in its precision, as training is: so it is with `bf16` or
    `fp16` of `transformers.Trainer`, and not in Lightning, whose callbacks run outside of it.

    model: of the network that is trained, as `vi.wrap` or `vi.load` returns it.
    source, statistics, tokens, label_from, limit, seed, batch: as for `survey`. A hundred pictures
        are enough for most.
    every: steps from one survey to the next; the first one is at step 0.
    writer: such as `torch.utils.tensorboard.SummaryWriter`. It is given, for each statistic and
        layer, the mean over the heads, such as `heads_entropy/layer_03`, and an image
        `heads/statistics`: every statistic of every head in colours, as `HeadStatistics` is
        printed; where some were not asked for, the spread of the first one.

    Raises what `survey` raises.
    """

    def __init__(
        self,
        model: Model,
        source: Source,
        out: str | os.PathLike[str],
        *,
        every: int = 1,
        statistics: Sequence[Statistic] = get_args(Statistic),
        tokens: Sequence[TokenStatistic] = (),
        label_from: str | None = None,
        limit: int | None = None,
        seed: int | None = None,
        batch: int = BATCH,
        writer: Any = None,
    ) -> None:
        of_kind(model, Model, "model", "what vit_inspect.load or vit_inspect.wrap returns")
        of_kind(out, str | os.PathLike, "out", "a path")
        if writer is not None and not all(hasattr(writer, each) for each in METHODS):
            raise BadParameter(
                f"an object of type {type(writer).__name__} as writer",
                f"one with {' and '.join(METHODS)}",
                "give a torch.utils.tensorboard.SummaryWriter",
            )
        self.model, self.out, self.writer = model, Path(out), writer
        # Once, so that they are the same in every step.
        self.pictures = entries(
            source, label_from=label_from, limit=limit, seed=seed, without=self.out
        )
        self.every = at_least_one(every, "steps")
        self.options: dict[str, Any] = {
            "statistics": statistics,
            "tokens": tokens,
            "batch": batch,
        }

    def __call__(self, step: int) -> Survey | None:
        """Survey the network as it is, if it is time to; call it once in each step, from 0."""
        if step % self.every:
            return None
        with _as_it_was(self.model.module):
            folder = step_folder(self.out, step)
            found = survey_of(
                self.model, self.pictures, folder, engine=local(self.model), **self.options
            )
        if self.writer is not None and found.statistics:
            _tell(self.writer, found, step)
        return found

    def for_transformers(self) -> Any:
        """A callback for `transformers.Trainer`; steps are those of the optimiser."""
        from transformers import TrainerCallback

        tracker = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            """Surveys at the begin of the training and after each step."""

            def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
                # Of several processes one surveys.
                if state.is_world_process_zero:
                    tracker(state.global_step)

            def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
                if state.is_world_process_zero:
                    tracker(state.global_step)

        return Callback()

    def for_lightning(self) -> Any:
        """A callback for `lightning.Trainer`; steps are those of the optimiser."""
        from lightning.pytorch import Callback as LightningCallback

        tracker = self

        class Callback(LightningCallback):  # type: ignore[misc]
            """Surveys at the begin of the training and after each step."""

            def __init__(self) -> None:
                self.last: int | None = None

            def on_train_start(self, trainer: Any, module: Any) -> None:
                self._see(trainer)

            def on_train_batch_end(self, trainer: Any, module: Any, *others: Any) -> None:
                self._see(trainer)

            def _see(self, trainer: Any) -> None:
                # Where gradients are gathered over batches, a step has several.
                if trainer.is_global_zero and trainer.global_step != self.last:
                    self.last = trainer.global_step
                    tracker(trainer.global_step)

        return Callback()


def _tell(writer: Any, found: Survey, step: int) -> None:
    """What a writer of TensorBoard is given of a survey."""
    # Late: most trainings need nothing that draws.
    from vit_inspect.drawing import draw

    for name, spread in found.statistics.items():
        for layer, value in enumerate(spread.mean.mean(axis=1).tolist()):
            writer.add_scalar(f"heads_{name}/layer_{layer:02d}", value, step)
    file = io.BytesIO()
    # Without the caption, which would count the mean over all pictures as one.
    draw(_shown(found), caption=False).savefig(file, format="png", dpi=IMAGE_DPI)
    pixels = np.asarray(Image.open(file).convert("RGB"))
    writer.add_image("heads/statistics", pixels, step, dataformats="HWC")


def _shown(found: Survey) -> Result:
    """What an image shows of a survey: all statistics, or the spread of the first one."""
    wanted = [each.name for each in fields(HeadStatistics) if each.name not in ("model", "layout")]
    if not found.statistics.keys() >= set(wanted):
        return next(iter(found.statistics.values()))
    means = {name: found.statistics[name].mean[None] for name in wanted}
    return HeadStatistics(found.model, found.layout, **means)


@contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and then every module's own mode and torch's random numbers again.

    Modes are set module by module: `eval()` may do more, such as merge weights, and undo less.
    """
    modes = [(each, each.training) for each in module.modules()]
    numbers = torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        for each, _ in modes:
            each.training = False
        yield
    finally:
        for each, training in modes:
            each.training = training
        torch.set_rng_state(numbers)
        if devices:
            torch.cuda.set_rng_state_all(devices)
