"""Which tensors of a file are the weights of one network?

Training programs save them inside dictionaries, beside averages, optimisers and settings, and put
words of their own into the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vit_inspect.errors import WeightsUnavailable
from vit_inspect.loading.averages import (
    AVERAGES,
    CALLBACKS,
    MAX_DEPTH,
    averages_in,
    holds_tensors,
    is_average,
    named_tensors,
    tensors,
    with_dots,
)
from vit_inspect.loading.weight_files import (
    ACCEPTED,
    Unread,
    check_number,
    no_tensor,
    read_saved,
    shown,
)
from vit_inspect.pictures.reading import printable

WRAPPERS = (
    *AVERAGES,
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "student",
    "encoder",
)
"""Keys under which training programs store weights; averages, meant for use, first."""

WRAPPER_WORDS = ("module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""What DataParallel, torch.compile, activation checkpointing and FSDP put into names of weights."""


@dataclass(frozen=True, eq=False)
class WeightFile:
    """The weights of one network in a file.

    name: the file's name, for display.
    part: the wrappers that were opened, such as "teacher"; empty if there are none.
    sought: what is left of the part that was asked for, and must begin the names of its weights.
    weights: tensors on the CPU, by their names in the file.
    left_out: other entries of the file, such as "optimizer", by their keys.
    beside: the keys of those that hold tensors.
    averages: the paths of averages among them.
    """

    name: str
    part: str
    sought: str
    weights: dict[str, Tensor]
    left_out: Mapping[str, object]
    beside: tuple[str, ...]
    averages: tuple[str, ...]


@torch.inference_mode(False)
def read_weights(path: Path, part: str | None = None) -> WeightFile:
    """The weights in a .safetensors, .pth (torch.save) or .npz file.

    part: which network of the file, such as "model.teacher"; None for the one that is meant for
        use.

    Raises what `read_saved` raises, and `WeightsUnavailable` for a file without weights.
    """
    name = printable(path.name)
    return _unwrapped(read_saved(path, name), name, part or "")


def _unwrapped(saved: object, name: str, sought: str) -> WeightFile:
    """The tensors of one network, without the wrappers that a training program saved."""
    _check_named(saved, name, sought)
    chosen = bool(sought)
    opened: list[str] = []
    others: dict[str, object] = {}
    while isinstance(saved, Mapping) and len(opened) < MAX_DEPTH:
        asked = _asked(saved, sought)
        inside = _part(saved) if asked is None else asked
        sought = sought if asked is None else sought[len(asked) + 1 :]
        others |= {
            ".".join([*opened, key]): value
            for key, value in saved.items()
            if isinstance(key, str) and key != inside and (inside or not isinstance(value, Tensor))
        }
        if inside is None:
            break
        opened.append(inside)
        saved = saved[inside]
    weights = tensors(saved)
    check_number(len(weights), name)
    if sought or not chosen:
        weights |= _from_callbacks(others)
    # What has no values is no weight, but its shape could claim any number of classes or patches.
    weights = {key: value for key, value in weights.items() if value.numel()}
    weights = _plainly_named(with_dots(weights))
    if not weights and any(isinstance(each, Unread) for each in (saved, *others.values())):
        raise WeightsUnavailable(
            f"objects and no weights in {name!r}; their code was not run",
            "tensors by their names",
            "save the state_dict() of the network by itself",
        )
    if not weights:
        raise WeightsUnavailable(f"no weights in {name!r}", ACCEPTED, "choose another file")
    for key, value in weights.items():
        if value.is_meta:
            raise WeightsUnavailable(
                f"a tensor without values in {name!r} ({shown(key)}), saved from the device 'meta'",
                "weights with their values",
                "save the network after its weights were loaded",
            )
        if value.layout != torch.strided:
            raise WeightsUnavailable(
                f"a sparse tensor in {name!r} ({shown(key)})",
                "dense weights",
                "save its to_dense()",
            )
        # A view can claim any size over a few bytes.
        if (
            value.device.type != "cpu"
            or value.is_quantized
            or value.numel() * value.element_size() > value.untyped_storage().nbytes()
        ):
            raise no_tensor(key, name)
    beside = tuple(key for key, value in others.items() if holds_tensors(value))
    inner = ".".join(word for word in sought.split(".") if word not in WRAPPER_WORDS)
    return WeightFile(
        name, ".".join(opened), inner, weights, others, beside, tuple(averages_in(others))
    )


def _from_callbacks(others: dict[str, object]) -> dict[str, Tensor]:
    """The weights of the averages that callbacks hold, taken out of the other entries."""
    callbacks = others.get(CALLBACKS)
    weights: dict[str, Tensor] = {}
    left: dict[object, object] = {}
    for key, callback in callbacks.items() if isinstance(callbacks, Mapping) else ():
        averages = averages_in({CALLBACKS: {key: callback}})
        found = [each for path, value in averages.items() for each in named_tensors(value, path)]
        weights.update(found)
        if not found:
            left[key] = callback
    if weights:
        del others[CALLBACKS]
        others |= {CALLBACKS: left} if left else {}
    return weights


def _asked(saved: Mapping[Any, Any], sought: str) -> str | None:
    """The key of the wrapper with which the part that is asked for begins."""
    keys = [
        key
        for key, value in saved.items()
        if isinstance(key, str)
        and isinstance(value, Mapping)
        and f"{sought}.".startswith(f"{key}.")
    ]
    return max(keys, key=len, default=None)


def _check_named(saved: object, name: str, sought: str) -> None:
    """Refuse an average that is asked for, if its weights are a list."""
    for path, value in averages_in(saved).items() if is_average(sought) else ():
        if f".{sought}." in f".{path}." and not any(named_tensors(value, path)):
            raise WeightsUnavailable(
                f"the average {shown(path)!r} in {name!r}, whose weights have no names",
                "weights by the names that they have in the network",
                "name another part, or save the average as a state_dict()",
            )


def _plainly_named(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same without what training programs put into the names.

    Wrappers such as "_orig_mod." go at any level. DINOv2's own training counts blocks by chunk and
    by layer ("blocks.1.6."): where every block is so counted, and no layer twice, the chunk goes.
    """
    plain = {
        ".".join(part for part in name.split(".") if part not in WRAPPER_WORDS): weight
        for name, weight in weights.items()
    }
    if len(plain) == len(weights):
        weights = plain
    chunked = re.compile(r"(^|\.)blocks\.(\d+)\.(\d+)\.")
    if all(chunked.search(name) for name in weights if re.search(r"(^|\.)blocks\.\d", name)):
        plain = {chunked.sub(r"\1blocks.\3.", name): weight for name, weight in weights.items()}
        if len(plain) == len(weights):
            return plain
    return weights


def _part(saved: Mapping[Any, Any]) -> str | None:
    """The key of the wrapper that holds the weights: a known one, or the only one."""
    for key in WRAPPERS:
        if any(named_tensors(saved.get(key), key)):
            return key
    parts = [key for key, value in saved.items() if isinstance(key, str) and tensors(value)]
    return parts[0] if len(parts) == 1 and not tensors(saved) else None
