"""Which model and which capture does a selection need? Each is made once for all sessions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import streamlit as st
import torch

import vit_inspect as vi
from vit_inspect.device import memory_refusal
from vit_inspect_dashboard import kept
from vit_inspect_dashboard.device import on_device
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Said, Subject

MODELS = 2

_offered: dict[str, Mapping[str, Any]] = {}
_released: WeakSet[torch.nn.Module] = WeakSet()


def offer(said: Mapping[str, Any]) -> None:
    """Put a checkpoint on the list of models of this server, by its own name.

    said: as `vit_inspect.load` takes it. Loaded once, so that what is wrong is told before anybody
    opens a page; raises what `vit_inspect.load` raises.
    """
    loaded = vi.load(**said)
    for notice in loaded.notices:
        sys.stderr.write(f"{notice}\n")
    _offered[loaded.id] = said


def offered() -> tuple[str, ...]:
    """The names of the checkpoints on the list."""
    return tuple(_offered)


def options(subject: Subject) -> list[str]:
    """What the command line is told to load this model; of a checkpoint's path the file alone."""
    words = [] if subject.model in _offered else ["--model", subject.model]
    for option, value in said(subject).items():
        values = [value] if value not in (None, (), {}) else []
        if isinstance(value, Path):
            values = [value.name]
        elif isinstance(value, Mapping):
            values = [
                f"{each}={held if isinstance(held, str) else json.dumps(held)}"
                for each, held in value.items()
            ]
        elif option == "ignore":
            values = list(value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            values = [",".join(map(str, value))]
        flag = "--arch-option" if option == "arch_options" else f"--{option.replace('_', '-')}"
        words += [word for each in values for word in (flag, str(each))]
    return words


def said(subject: Subject) -> dict[str, Any]:
    """What the operator and then the user say of the model, as `vit_inspect.load` takes it."""
    return _both(subject.model, subject.said)


def _both(name: str, said: Said) -> dict[str, Any]:
    both: dict[str, Any] = {**_offered.get(name, {})}
    for option, value in said:
        if option == "arch_options":
            value = {**(both.get(option) or {}), **dict(value)}
        both[option] = value
    return both


def model(subject: Subject) -> vi.Model:
    """The model of the selection, with pictures fitted as chosen, at its stage."""
    load = _randomised if subject.randomised else _trained
    found = load(subject.model, subject.size, subject.said).fitted(subject.fit)
    return found if subject.stage is None else found.at_stage(subject.stage)


def capture(subject: Subject) -> vi.Capture:
    """The capture of the selection: one forward pass, at most."""
    found = kept.captures().get(subject.key, lambda: _run(subject, [subject.picture]))
    if found.model.module in _released:
        # The model was let go while the capture waited for the device.
        kept.captures().drop(lambda capture: capture is found)
    return found


def batch(subject: Subject, pictures: Sequence[Picture]) -> vi.Capture:
    """The capture of these pictures; of a single one, the one that all pages have."""
    if len(pictures) == 1:
        return capture(subject._replace(picture=pictures[0]))
    return _run(subject, pictures)


def _run(subject: Subject, pictures: Sequence[Picture]) -> vi.Capture:
    return on_device(vi.capture, model(subject), [picture.read() for picture in pictures])


def _release(model: vi.Model) -> None:
    """A model that is no longer kept must not live on in its captures."""
    _released.add(model.module)
    kept.captures().drop(lambda capture: capture.model.module in _released)


@st.cache_resource(max_entries=MODELS, show_spinner="Loading the model", on_release=_release)
def _trained(name: str, size: int | None, said: Said) -> vi.Model:
    source = () if name in _offered else (name,)
    return vi.load(*source, **_both(name, said), img_size=size)


@st.cache_resource(max_entries=1, show_spinner="Permuting the weights", on_release=_release)
def _randomised(name: str, size: int | None, said: Said) -> vi.Model:
    trained = _trained(name, size, said)

    def permuted() -> vi.Model:
        with memory_refusal(1, trained.layout.token_count, trained.device):
            return vi.randomised(trained)

    return on_device(permuted)
