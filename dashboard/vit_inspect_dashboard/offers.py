"""Which models does this server offer, beside those of a hub?

Checkpoints on its computer that the operator names, weights that visitors bring, and networks in
the memory of a program. What is kept of a model goes by its name, so a name never stands for other
weights than at first.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Hashable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

import vit_inspect as vi
from vit_inspect.errors import BadParameter, WeightsUnavailable
from vit_inspect.loading.load import FOLDERS
from vit_inspect.loading.outputs import with_outputs
from vit_inspect.pictures.reading import printable
from vit_inspect_dashboard import brought, launched
from vit_inspect_dashboard.state import Said
from vit_inspect_dashboard.wording import model_title

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz")
"""Ends of the names of files of weights. What is in them is found out when one is chosen."""

NAME_LENGTH = 80
"""Letters of the name of a network in memory; an address keeps more."""

ON_DISK = "A checkpoint on the computer of this dashboard."
IN_MEMORY = "In the memory of the program that opened this dashboard."
CHOSEN = "Chosen by the program that opened this dashboard."


class File(NamedTuple):
    """A checkpoint: what `vit_inspect.load` is told, and what shows that it is still the same."""

    said: Mapping[str, Any]
    stamp: Hashable


class Network(NamedTuple):
    """A network in memory, and what shows that its weights are still the same."""

    model: vi.Model
    stamp: Hashable


_files: dict[str, File] = {}
_networks: dict[str, Network] = {}
_folders: dict[Path, Mapping[str, Any]] = {}
_numbers = itertools.count(1)


def offer(said: Mapping[str, Any]) -> None:
    """Put a checkpoint on the list, by its own name.

    said: as `vit_inspect.load` takes it. Loaded once, so that what is wrong is told before anybody
    opens a page; raises what `vit_inspect.load` raises.
    """
    loaded = vi.load(**said)
    for notice in loaded.notices:
        sys.stderr.write(f"{notice}\n")
    _files[loaded.id] = File(said, _file_stamp(said.get("checkpoint")))


def offer_folder(folder: Path, said: Mapping[str, Any]) -> None:
    """Put all checkpoints of a folder on the list, by the names of their files.

    said: of all of them, as `vit_inspect.load` takes it. They are loaded when they are chosen.

    Raises `WeightsUnavailable` for what is no folder that can be read.
    """
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise WeightsUnavailable(
            f"no folder that can be read at {str(folder)!r}", "a folder of checkpoints", "check it"
        ) from error
    _folders[folder] = said


def offer_network(model: vi.Model) -> str:
    """Put a network in memory on the list of whoever opened it; returns its name there."""
    number = next(_numbers)
    which = "in memory" if number == 1 else f"in memory, {number}"
    name = f"{printable(model.id)[:NAME_LENGTH]} ({which})"
    _networks[name] = Network(model, _network_stamp(model))
    return name


def withdraw_network(name: str) -> vi.Model | None:
    """Take a network from the list; returns it."""
    found = _networks.pop(name, None)
    return None if found is None else found.model


def listed() -> dict[str, str]:
    """The names of what is offered on this page, and what each is."""
    for folder, said in _folders.items():
        for path in _checkpoints(folder, said.get("architecture")):
            if path.name not in _files:
                told = {"name": printable(path.name), "checkpoint": path, **said}
                _files[path.name] = File(told, _file_stamp(path))
    first = launched.here().model
    known = dict.fromkeys(_files, ON_DISK)
    if first is None:
        return known
    return {first: IN_MEMORY if first in _networks else CHOSEN} | known


def is_file(name: str) -> bool:
    """Whether the model is a checkpoint on this computer."""
    return name in _files or brought.digest_of(name) is not None


def is_in_memory(name: str) -> bool:
    """Whether the model is a network in the memory of a program."""
    return name in _networks


def said(name: str) -> Mapping[str, Any]:
    """What the operator says of a checkpoint, as `vit_inspect.load` takes it."""
    if path := brought.path(name):
        return {"name": model_title(name), "checkpoint": path}
    return _files[name].said if name in _files else {}


def check_unchanged(name: str) -> None:
    """Raises where the weights of this name are no longer those that it was given for.

    What was computed with them is kept under the name, and must not be mixed with others.
    """
    if brought.digest_of(name) and brought.path(name) is None:
        raise WeightsUnavailable(
            f"a link to the weights {model_title(name)!r}, which were uploaded elsewhere or are no "
            "longer kept",
            "the same file",
            "open the list of models, and upload the file under 'Your weights'"
            if brought.limit_mb()
            else "ask the operator to allow uploads of weights",
        )
    file, network = _files.get(name), _networks.get(name)
    if file is not None and _file_stamp(file.said.get("checkpoint")) != file.stamp:
        raise WeightsUnavailable(
            f"another file {name!r} than the dashboard listed at first, or none",
            "a checkpoint that is not written again",
            "start the dashboard again, or save each state of a training as a file of its own",
        )
    if network is not None and _network_stamp(network.model) != network.stamp:
        raise BadParameter(
            f"{network.model.id} with other weights than when it was launched, or in training mode",
            "a network that rests",
            "call its eval(), and vit_inspect.launch again",
        )


def network(name: str, size: int | None, said: Said) -> vi.Model:
    """A network in memory as it is, with what the user says of its pictures and outputs.

    Raises `BadParameter` for an input size that is not its own.
    """
    model, told = _networks[name].model, dict(said)
    rows, columns = model.layout.input_px
    if size is not None and (size, size) != (rows, columns):
        raise BadParameter(
            f"an input of {size} × {size} px for {model.id}, which is in memory",
            f"{rows} × {columns} px, for which it was made",
            "go back to its own size",
        )
    outputs = told.pop("outputs", None)
    if other := set(told) - {"mean", "std", "interpolation", "crop_fraction", "crop_mode"}:
        raise BadParameter(
            f"{min(other)}={told[min(other)]!r} for {model.id}, which is in memory",
            "what the network itself is",
            "say it where the network is made or wrapped",
        )
    model = model.with_recipe(**told)
    return model if outputs is None else with_outputs(model, outputs)


def _checkpoints(folder: Path, architecture: str | None) -> Iterator[Path]:
    """The files of weights in a folder; of a package whose models are folders, those in it."""
    try:
        entries = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError:
        return
    for path in entries:
        if architecture in FOLDERS:
            fits = path.is_dir()
        else:
            fits = path.suffix.lower() in SUFFIXES and path.is_file()
        # A name that is not printable could not be told from another one.
        if fits and path.name.isprintable():
            yield path


def _file_stamp(path: Path | None) -> Hashable:
    """What differs where a file, or one in a folder, was written again."""
    if path is None:
        return None
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(str(each), each.stat()) for each in files]
    except OSError:
        return None
    return tuple((file, found.st_mtime_ns, found.st_size) for file, found in stats)


def _network_stamp(model: vi.Model) -> Hashable:
    """What differs after a step of training.

    torch counts the changes of each tensor, but not those by fused optimizers and by `data`. Sums
    tell those, in 30 ms for a ViT-B.
    """
    tensors = chain(model.module.parameters(), model.module.buffers())
    return (
        tuple((None if each.is_inference() else each._version, _sum(each)) for each in tensors),
        # Not of the whole module: a wrapper of it may never have been in another mode.
        any(part.training for block in model.blocks for part in block.modules()),
    )


def _sum(tensor: torch.Tensor) -> str:
    """As text, so that one that is not a number is equal to itself."""
    short = tensor.is_floating_point() and tensor.element_size() < 4
    return str(tensor.detach().sum(dtype=torch.float32 if short else None).item())
