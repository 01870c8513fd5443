"""What is found by running the model many times, one batch after the other?

Others have their turns on the device in between. What is done of work that was cancelled is kept
in `begun`, which belongs to the session, so that the work goes on where it was left.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from functools import partial
from typing import Any

import vit_inspect as vi
from vit_inspect.analyses.ablation import Replacement
from vit_inspect.analyses.faithfulness import Curves
from vit_inspect.analyses.head_importance import HeadTrials
from vit_inspect.records.base import join
from vit_inspect_dashboard import kept, models
from vit_inspect_dashboard.device import on_device
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Subject

Begun = MutableMapping[Hashable, Any]


def tried_heads(subject: Subject, replacement: Replacement) -> vi.HeadImportance | None:
    """The effect of each head alone, if it is known."""
    found: vi.HeadImportance | None = kept.results().peek(_heads_key(subject, replacement))
    return found


def try_heads(
    subject: Subject,
    replacement: Replacement,
    on_progress: Callable[[int], object],
    begun: Begun,
) -> vi.HeadImportance:
    """The effect of each head alone; `on_progress` hears how many are done."""
    key = _heads_key(subject, replacement)
    work = HeadTrials(models.capture(subject), replacement=replacement)
    if key not in begun:
        begun.clear()
    done = begun.setdefault(key, {})
    for batch in work.batches:
        if batch not in done:
            on_progress(sum(len(each.heads) for each in done))
            done[batch] = on_device(work.effect, batch)
    found: vi.HeadImportance = kept.results().get(key, lambda: work.result(done))
    del begun[key]
    return found


def kept_curves(
    subject: Subject, pictures: Sequence[Picture], *, steps: int
) -> vi.Faithfulness | None:
    """What `curves` has found of these pictures, if it is all there."""
    found = [kept.results().peek(_curves_key(subject, picture, steps)) for picture in pictures]
    records: list[vi.Faithfulness] = [record for record in found if record is not None]
    return join(records) if len(records) == len(pictures) else None


def curves(
    subject: Subject,
    pictures: Sequence[Picture],
    on_progress: Callable[[int, int, int], object],
    begun: Begun,
    *,
    steps: int,
) -> vi.Faithfulness:
    """Deletion and insertion of many pictures, one forward pass after the other.

    on_progress: hears before each pass how many pictures are done, and how many passes of how many
        of the next one.
    """
    records = []
    for number, picture in enumerate(pictures):
        key = _curves_key(subject, picture, steps)
        record = kept.results().peek(key)
        if record is None:
            one = subject._replace(picture=picture)
            record = _finish(key, one, partial(on_progress, number), begun, steps=steps)
        records.append(record)
    return join(records)


def _finish(
    key: Hashable,
    subject: Subject,
    on_progress: Callable[[int, int], object],
    begun: Begun,
    *,
    steps: int,
) -> vi.Faithfulness:
    """Run what is left to do for one picture."""
    work: Curves = begun.get(key) or on_device(Curves, models.capture(subject), steps=steps)
    begun.clear()
    begun[key] = work
    while work.done < work.total:
        on_progress(work.done, work.total)
        on_device(work.advance, models.model(subject))
    found: vi.Faithfulness = kept.results().get(key, work.result)
    del begun[key]
    return found


def _curves_key(subject: Subject, picture: Picture, steps: int) -> Hashable:
    return "curves", steps, subject._replace(picture=picture).key


def _heads_key(subject: Subject, replacement: Replacement) -> Hashable:
    return "heads", replacement, subject.key
