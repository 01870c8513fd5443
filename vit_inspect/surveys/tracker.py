"""How do the heads change while a network is trained? A small survey every so many steps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.arguments import at_least_one, of_kind
from vit_inspect.model import Model
from vit_inspect.surveys.results import Survey
from vit_inspect.surveys.sources import Source, entries
from vit_inspect.surveys.steps import step_folder
from vit_inspect.surveys.survey import BATCH, survey_of


class Tracker:
    """Surveys the same pictures again and again while a network is trained.

        tracker = vi.Tracker(model, "pictures", "run/heads", every=500)
        for step, batch in enumerate(batches):
            ...  # train
            tracker(step)

    Each survey is a folder of its own in `out`, such as `step-00000500`; `open_steps` reads them
    as curves. Another run, and one that
    goes on from an earlier checkpoint, needs another folder: numbers are never mixed. Training goes
    on as if nothing had been: no gradient is touched, and the modes of all modules and the state of
    torch's random numbers are restored to the bit.

    model: of the network that is trained, as `vi.wrap` or `vi.load` returns it.
    source, statistics, label_from, limit, seed, batch: as for `survey`. A hundred pictures are
        enough for most.
    every: steps from one survey to the next; the first one is at step 0.

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
        label_from: str | None = None,
        limit: int | None = None,
        seed: int | None = None,
        batch: int = BATCH,
    ) -> None:
        of_kind(model, Model, "model", "what vit_inspect.load or vit_inspect.wrap returns")
        of_kind(out, str | os.PathLike, "out", "a path")
        self.model, self.out = model, Path(out)
        # Once, so that they are the same in every step.
        self.pictures = entries(
            source, label_from=label_from, limit=limit, seed=seed, without=self.out
        )
        self.every = at_least_one(every, "steps")
        self.options: dict[str, Any] = {
            "statistics": statistics,
            "batch": batch,
        }

    def __call__(self, step: int) -> Survey | None:
        """Survey the network as it is, if it is time to; call it once in each step, from 0."""
        if step % self.every:
            return None
        with _as_it_was(self.model.module):
            folder = step_folder(self.out, step)
            return survey_of(self.model, self.pictures, folder, **self.options)

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
