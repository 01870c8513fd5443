"""How is a survey made on many computers? By Ray Data: tasks read, actors hold a model each."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.errors import BadParameter, InspectError, Unreachable, memory_told, short_reason
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import Recipe
from vit_inspect.pictures.reading import printable
from vit_inspect.surveys.parts import Progress, Row, Store
from vit_inspect.surveys.sources import Entry
from vit_inspect.surveys.work import Engine, read_batch, rows_of, send, versions_of

PROCESS_BYTES = 2**29
"""About what a process takes that has loaded torch and holds no model."""

Batch = dict[str, Any]
"""A row of Ray Data: the number of the part, the place of the batch in it, and pickled contents."""


@contextmanager
def on_ray(model: Model, workers: int | None) -> Iterator[Engine]:
    """The cluster that this process has joined, by `ray.init`; or else the one at RAY_ADDRESS.

    Without such an address it is a new one on this computer alone, which ends afterwards.

    workers: models at once; None for as many as there is room for, one on each GPU if there are
        some.

    Raises `BadParameter` without the package ray, for a model that is not on a CPU and for more
    workers than there is room for, and `Unreachable` for a cluster that does not answer or is too
    small.
    """
    if model.device.type != "cpu":
        raise BadParameter(
            f"a model on the device {model.device.type} for the engine 'ray'",
            "a model that every computer of the cluster can take to its own devices",
            "load it with device='cpu'",
        )
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BadParameter(
            "the engine 'ray' without the package ray",
            'an installation with it: pip install "vit-inspect[ray]"',
            "install it, or use the engine 'local'",
        ) from error
    own = not ray.is_initialized()
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = os.environ.get("RAY_ADDRESS", "")
        try:
            _check_answers(address)
            # Not a cluster of somebody else, which Ray would find by itself.
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise Unreachable(
                f"no Ray cluster at {printable(address or 'this computer')!r} "
                f"({printable(short_reason(error))})",
                "a cluster that runs, such as 10.0.0.1:6379",
                "check the address",
            ) from error
        # It speaks of how it goes about its work.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        room = _room(ray.nodes())
        if workers is not None and workers > room.models:
            raise BadParameter(
                f"{workers} workers on a Ray cluster that has room for {room.models}",
                "room for each, and a processor that reads",
                "use fewer workers, or leave the number out",
            )
        yield Engine("cuda" if room.gpus else "cpu", partial(_fill, ray, room, workers))
    finally:
        if own:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises `OSError` for a computer that does not answer, on which Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class _Room(NamedTuple):
    """What one model takes of a computer, and how many models the cluster has room for."""

    cpus: int
    gpus: int
    models: int


def _room(nodes: Sequence[Mapping[str, Any]]) -> _Room:
    """Where models run; processors that they leave read. `nodes` as `ray.nodes` tells of them."""
    there = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = [int(each["CPU"]) for each in there if each.get("CPU", 0) >= 1]
    gpus = sum(int(each.get("GPU", 0)) for each in there)
    if sum(cpus) < (1 if gpus else 2):
        raise Unreachable(
            "a Ray cluster without a processor that could read pictures",
            "a processor beside those, or the GPUs, on which models run",
            "add a computer to the cluster, or use the engine 'local'",
        )
    if gpus:
        return _Room(0, 1, gpus)
    each = max(1, min(torch.get_num_threads(), *cpus) - 1)
    return _Room(each, 0, max(1, sum((count - 1) // each for count in cpus)))


def _fill(
    ray: Any,
    room: _Room,
    workers: int | None,
    store: Store,
    model: Model,
    statistics: Sequence[Statistic],
    on_progress: Progress,
) -> None:
    """Make the parts that are missing.

    This process writes them, as they are done: no other computer needs to write there. Tasks and
    actors that die are started again by Ray.
    """
    done, count = store.done(), len(store.entries)
    on_progress(done, count)
    parts: dict[int, dict[int, list[Row]]] = defaultdict(dict)
    try:
        for batch in _worked(ray, room, workers, store, model, statistics):
            found = pickle.loads(batch["rows"])
            if isinstance(found, InspectError):
                raise found
            number = batch["part"]
            part = parts[number]
            part[batch["first"]] = found
            if sum(map(len, part.values())) == len(store.chunk(number)):
                store.put(number, [row for first in sorted(part) for row in part[first]])
                del parts[number]
            done += len(found)
            on_progress(done, count)
    except ray.exceptions.RayError as error:
        raise Unreachable(
            f"a Ray cluster that ended the work ({printable(short_reason(error))})",
            "a cluster that runs",
            "run the survey again: the parts that are done are kept",
        ) from error


def _worked(
    ray: Any,
    room: _Room,
    workers: int | None,
    store: Store,
    model: Model,
    statistics: Sequence[Statistic],
) -> Iterator[Batch]:
    """The batches of the missing parts with their rows, in whatever order they are done."""
    missing = store.missing()
    if not missing:
        return
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    # Once for all: a model is large.
    held = ray.put(model)
    size = sum(each.nbytes for each in model.module.parameters())
    with ray.data.DataContext.current(context):
        data = (
            ray.data.from_items(_batches(store, missing), override_num_blocks=len(missing))
            .map(_read, fn_args=(model.recipe, model.layout.input_px), num_cpus=1)
            .map(
                _Worker,
                fn_constructor_args=(held, statistics, store.plan, torch.get_num_threads()),
                num_cpus=room.cpus,
                num_gpus=room.gpus,
                # Of a kind of its own, so that reading is not joined to it, and runs ahead.
                memory=PROCESS_BYTES + size,
                compute=ray.data.ActorPoolStrategy(
                    min_size=workers or 1, max_size=workers or room.models
                ),
            )
        )
        yield from data.iter_rows()


def _batches(store: Store, missing: Sequence[int]) -> list[Batch]:
    size = store.plan["batch"]
    return [
        {"part": number, "first": first, "pictures": pickle.dumps(chunk[first : first + size])}
        for number in missing
        for chunk in (store.chunk(number),)
        for first in range(0, len(chunk), size)
    ]


def _read(batch: Batch, recipe: Recipe, input_px: tuple[int, int]) -> Batch:
    """A task: the pictures of a batch, read and prepared; or the error, which Ray would wrap."""
    pictures: Sequence[Entry] = pickle.loads(batch["pictures"])
    found: Any
    try:
        for entry in pictures:
            _check_there(entry)
        with memory_told():
            found = read_batch(pictures, recipe, input_px)
    except InspectError as error:
        found = error
    return batch | {"inputs": pickle.dumps(found)}


class _Worker:
    """An actor: holds a model, and takes batches through it."""

    def __init__(
        self,
        model: Any,
        statistics: Sequence[Statistic],
        plan: Mapping[str, Any],
        threads: int,
    ) -> None:
        import ray

        # As many as in the process that began, whatever the computer has: sums are rounded alike.
        torch.set_num_threads(threads)
        self.model: Model = ray.get(model)
        self.model.module.to("cuda" if ray.get_gpu_ids() else "cpu")
        self.statistics, self.plan = statistics, plan

    def __call__(self, batch: Batch) -> Batch:
        found = pickle.loads(batch["inputs"])
        if not isinstance(found, InspectError):
            try:
                _check_versions(self.plan["versions"])
                pictures = pickle.loads(batch["pictures"])
                tokens = self.plan["tokens"]
                with memory_told():
                    found = rows_of(
                        self.model, self.statistics, tokens, pictures, send(self.model, found)
                    )
            except InspectError as error:
                found = error
        return {"part": batch["part"], "first": batch["first"], "rows": pickle.dumps(found)}


def _check_versions(wanted: Mapping[str, str]) -> None:
    """Raises `BadParameter` on a computer whose packages round in ways that nobody wrote down."""
    here = versions_of(wanted)
    if others := [name for name in wanted if here[name] != wanted[name]]:
        found = ", ".join(f"{name} {here[name]}" for name in others)
        raise BadParameter(
            f"{found} on the computer {platform.node()}",
            ", ".join(f"{name} {wanted[name]}" for name in others),
            "install the same versions on every computer of the cluster",
        )


def _check_there(entry: Entry) -> None:
    """Raises `Unreachable` for a file that only the computer that began may see."""
    if "://" not in entry.place and not os.path.exists(entry.place):
        raise Unreachable(
            f"'{printable(entry.name)}', which the computer {platform.node()} does not see",
            "pictures in a folder that all computers of the cluster share, or behind a URL",
            "put them there, or use the engine 'local'",
        )
