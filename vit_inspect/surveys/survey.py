"""How is a survey made? Pictures are read ahead, and each batch is one forward pass."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.analyses.observation import observe_heads
from vit_inspect.analyses.outputs import largest
from vit_inspect.arguments import at_least_one, of_kind, several
from vit_inspect.errors import BadImage, BadParameter
from vit_inspect.exporting.files import write
from vit_inspect.exporting.workers import InOrder
from vit_inspect.model import Model, of_model
from vit_inspect.pictures.preparing import Recipe, prepare
from vit_inspect.surveys import parts
from vit_inspect.surveys.parts import Row, Store
from vit_inspect.surveys.results import SUMMARY, Survey, merged, written
from vit_inspect.surveys.sources import Entry, Source, entries, read
from vit_inspect.version import __version__

BATCH = 4
"""Pictures in one forward pass, unless it is said."""

AHEAD = 2
"""Batches of each worker that wait for the device."""

VERSIONS = ("torch", "timm", "numpy", "pillow")
"""Packages that numbers depend on."""


@of_model
def survey(
    model: Model,
    source: Source,
    out: str | os.PathLike[str] | None = None,
    *,
    statistics: Sequence[Statistic] = get_args(Statistic),
    label_from: str | None = None,
    limit: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    batch: int = BATCH,
    resume: bool = True,
    on_progress: Callable[[int, int], object] = lambda done, count: None,
) -> Survey:
    """Numbers of every head over the pictures of a source, as `observe` takes them.

    source: files, folders, globs, lists, `.tar` shards, `.parquet` tables, as paths or URLs of
        fsspec; one or several.
    out: a folder for the results, of Parquet parts with one row a picture, which other programs
        read too; without it they are kept as long as the survey is used.
    statistics: as for `observe`.
    label_from: where the label of a picture stands: "folder", or the name of a column, or the
        suffix of the files beside it in a shard.
    limit, seed: at most so many pictures: the first ones, or with a seed some at random.
    workers: processes that read and prepare pictures; 1 is this one alone. The results are the
        same. More processes start the program's main module again, so it must do nothing when it
        is imported.
    batch: pictures in one forward pass. Rounding depends on it.
    resume: go on with the parts that are in `out`; without it, a folder with parts is refused.
    on_progress: is told how many pictures are done, of how many.

    A picture that cannot be read is left out and named. A survey that was stopped goes on where it
    was left, with the same call, but for a part that was open: what is there is whole, and the
    result is the same to the byte, whatever the number of workers or of attempts.

    Raises what `observe` raises, `BadImage` for a source without pictures, `Unreachable` where a
    place cannot be read at the moment, `BadParameter` for a folder with another survey, and
    `OutputFailed` where a file cannot be written or another process fills the folder.
    """
    batch, workers = at_least_one(batch, "pictures in a batch"), at_least_one(workers, "workers")
    if limit is not None:
        limit = at_least_one(limit, "pictures")
    of_kind(out, str | os.PathLike | None, "out", "a path")
    kept = None
    if out is None:
        kept = TemporaryDirectory(prefix="survey-", ignore_cleanup_errors=True)
        out = kept.name
    pictures = entries(source, label_from=label_from, limit=limit, seed=seed, without=out)
    found = survey_of(
        model,
        pictures,
        out,
        statistics=statistics,
        workers=workers,
        batch=batch,
        resume=resume,
        on_progress=on_progress,
    )
    return replace(found, _kept=kept)


def survey_of(
    model: Model,
    pictures: Sequence[Entry],
    out: str | os.PathLike[str],
    *,
    statistics: Sequence[Statistic],
    workers: int = 1,
    batch: int = BATCH,
    resume: bool = True,
    on_progress: Callable[[int, int], object] = lambda done, count: None,
) -> Survey:
    """The same of pictures that were found already."""
    if "://" in os.fspath(out):
        raise BadParameter(
            f"the folder {os.fspath(out)!r}, which is a URL",
            "a folder of this computer",
            "copy the survey from there when it is done",
        )
    # What a model knows of its weights, such as their hash, it knows for good; they may have
    # changed since.
    model = replace(model)
    wanted = several(statistics, "statistics", "['distance']")
    store = Store(Path(out), _plan(model, wanted, batch), pictures)
    with store.claimed():
        if not resume and len(store.missing()) < len(store.chunks()):
            raise BadParameter(
                f"a survey that was begun in '{store.folder}'",
                "an empty folder",
                "choose another one, or leave out resume=False to go on",
            )
        how = {"doing": "reading", "fewer": "use fewer workers"}
        with InOrder(workers, ahead=AHEAD, **how) as calls:
            _fill(store, model, wanted, calls, on_progress)
        found = merged(store)
        write(store.folder / SUMMARY, written(found))
    return found


def read_batch(
    pictures: Sequence[Entry], recipe: Recipe, input_px: tuple[int, int]
) -> list[np.ndarray | str]:
    """The model input of some pictures, each (channel, row, column), or why there is none."""
    found: list[np.ndarray | str] = []
    for entry in pictures:
        try:
            pixels, _ = prepare(read(entry), recipe, input_px)
        except BadImage as refusal:
            found.append(str(refusal))
        else:
            found.append(pixels[0].numpy())
    return found


def _fill(
    store: Store,
    model: Model,
    statistics: Sequence[Statistic],
    calls: InOrder,
    on_progress: Callable[[int, int], object],
) -> None:
    """Make the parts that are missing, one after the other."""
    missing, batch, count = store.missing(), store.plan["batch"], len(store.entries)
    done = count - sum(len(store.chunk(number)) for number in missing)
    rows: list[Row] = []

    def take(number: int, pictures: Sequence[Entry], inputs: list[np.ndarray | str]) -> None:
        nonlocal done
        rows.extend(_rows(model, statistics, pictures, inputs))
        done += len(pictures)
        if len(rows) == len(store.chunk(number)):
            store.put(number, rows)
            rows.clear()
        on_progress(done, count)

    on_progress(done, count)
    for number in missing:
        chunk = store.chunk(number)
        for first in range(0, len(chunk), batch):
            some = chunk[first : first + batch]
            calls.call(
                partial(take, number, some), read_batch, some, model.recipe, model.layout.input_px
            )
    calls.take_all()


def _rows(
    model: Model,
    statistics: Sequence[Statistic],
    pictures: Sequence[Entry],
    inputs: Sequence[np.ndarray | str],
) -> list[Row]:
    """What a batch of pictures comes to."""
    arrays = [each for each in inputs if not isinstance(each, str)]
    numbers: list[dict[str, np.ndarray]] = []
    chosen: list[tuple[int, float] | None] = []
    if arrays:
        pixels = torch.from_numpy(np.stack(arrays)).to(model.device, model.dtype)
        seen = observe_heads(model, pixels, statistics)
        means = seen.sums.means()
        numbers = [
            {name: values[place] for name, values in means.items()} for place in range(len(arrays))
        ]
        chosen = _chosen(model, seen.output)
    known = zip(numbers, chosen, strict=True)
    return [
        Row(entry, given) if isinstance(given, str) else Row(entry, None, *next(known))
        for entry, given in zip(pictures, inputs, strict=True)
    ]


def _chosen(model: Model, output: Tensor) -> list[tuple[int, float] | None]:
    """The class of each picture's largest output, and its probability."""
    if model.labels is None or model.outputs == "scores":
        return [None] * len(output)
    shares, places = largest(output, 1, model.outputs)
    return list(zip(places[:, 0].tolist(), shares[:, 0].tolist(), strict=True))


def _plan(model: Model, statistics: Sequence[Statistic], batch: int) -> dict[str, Any]:
    """What the numbers depend on; raises what `observe` raises, before any picture is read."""
    rows, columns = model.layout.input_px
    blank = torch.zeros(1, model.channels, rows, columns, dtype=model.dtype, device=model.device)
    means = observe_heads(model, blank, statistics).sums.means()
    [(layers, heads)] = {values.shape[1:] for values in means.values()}
    [dtype] = {values.dtype.name for values in means.values()}
    classes = None if model.outputs == "scores" else model.labels
    processor = model.recipe.processor
    plan = {
        "model": model.id,
        "weights": model.source,
        "weights_sha256": model.weights_sha256,
        "stage": model.stage,
        "device": model.device.type,
        "precision": str(model.dtype).removeprefix("torch."),
        "layout": asdict(model.layout),
        "recipe": asdict(replace(model.recipe, processor=None))
        | {"processor": processor and _settings(processor)},
        "statistics": sorted(set(statistics)),
        "numbers": list(means),
        "layers": layers,
        "heads": heads,
        "dtype": dtype,
        "labels": classes,
        "batch": batch,
        "chunk": parts.CHUNK,
        "versions": {
            "vit_inspect": __version__,
            **{name: version(name) for name in VERSIONS},
            **({"transformers": version("transformers")} if processor else {}),
        },
    }
    # As it is read again from a file.
    return json.loads(json.dumps(plan))


def _settings(processor: Any) -> str:
    """What an image processor of transformers does."""
    told = getattr(processor, "to_json_string", None)
    return str(told()) if told else type(processor).__name__
