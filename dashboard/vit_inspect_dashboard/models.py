"""Which model and which capture does a selection need? Each is made once for all sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from weakref import WeakSet

import streamlit as st
import torch

import vit_inspect as vi
from vit_inspect.errors import InspectError
from vit_inspect.loading import ceiling
from vit_inspect.loading.words import network_of
from vit_inspect_dashboard import allowed, brought, kept, offers, quotas
from vit_inspect_dashboard.device import on_device, timed_on_device
from vit_inspect_dashboard.kept import ByteCache
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Said, Subject
from vit_inspect_dashboard.wording import model_title

MODELS = 2
FLAGS = {"arch_options": "--arch-option", "name": "--model"}
"""Options of `vit_inspect.load` that have another name on the command line."""

_released: WeakSet[torch.nn.Module] = WeakSet()


def options(subject: Subject) -> list[str]:
    """What the command line is told to load this model; of a checkpoint's path the file alone."""
    words = [] if offers.is_file(subject.model) else ["--model", subject.model]
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
        flag = FLAGS.get(option, f"--{option.replace('_', '-')}")
        words += [word for each in values for word in (flag, str(each))]
    return words


def said(subject: Subject) -> dict[str, Any]:
    """What the operator and then the user say of the model, as `vit_inspect.load` takes it.

    Weights that a visitor brought are the file that the visitor has.
    """
    both = _both(subject.model, subject.said)
    own = {"checkpoint": Path(subject.model_title)} if brought.digest_of(subject.model) else {}
    return both | own


def _both(name: str, said: Said) -> dict[str, Any]:
    both: dict[str, Any] = {**offers.said(name)}
    for option, value in said:
        if option == "arch_options":
            value = {**(both.get(option) or {}), **dict(value)}
        both[option] = value
    return both


def model(subject: Subject) -> vi.Model:
    """The model of the selection, with pictures fitted as chosen, at its stage.

    Beside a model with a text tower there may be one without, which no texts are for.
    """
    # What is kept is everybody's, but for weights that somebody brought.
    offers.check_unchanged(subject.model)
    load = _randomised if subject.randomised else _as_it_is
    found = load(subject.model, subject.size, subject.said)
    if subject.texts and found.words is not None:
        found = _worded(
            subject.model,
            subject.size,
            subject.said,
            subject.randomised,
            subject.texts,
            subject.template,
        )
    found = found.fitted(subject.fit)
    return found if subject.stage is None else found.at_stage(subject.stage)


def capture(subject: Subject) -> vi.Capture:
    """The capture of the selection: one forward pass, at most."""
    found = kept.captures().get(
        subject.key,
        lambda: timed_on_device(vi.capture, model(subject), [subject.picture.read()]),
    )
    if network_of(found.model) in _released:
        # The model was let go while the capture waited for the device.
        kept.captures().drop(lambda capture: capture is found)
    return found


def batch(subject: Subject, pictures: Sequence[Picture]) -> vi.Capture:
    """The capture of these pictures; of a single one, the one that all pages have."""
    if len(pictures) == 1:
        return capture(subject._replace(picture=pictures[0]))
    return timed_on_device(vi.capture, model(subject), [picture.read() for picture in pictures])


def let_go(model: vi.Model) -> None:
    """Keep nothing of a network whose program takes it back."""
    _randomised.clear()
    _worded.clear()
    kept.captures().drop(lambda capture: network_of(capture.model) is network_of(model))


def _as_it_is(name: str, size: int | None, said: Said) -> vi.Model:
    allowed.check(name)
    offered = allowed.is_offered(name)
    # A network in memory has an owner, and is not kept here.
    if offers.is_in_memory(name):
        return offers.network(name, size, said)
    most = quotas.now().ceiling
    if offered:
        # What the operator offers is as large as it is; a size is what the visitor asks for.
        most = quotas.ALONE.ceiling._replace(px=inf if size is None else most.px)
    with ceiling.under(most):
        return _kept().get((name, size, said), partial(_trained, name, size, said))


@st.cache_resource(show_spinner=False)
def _kept() -> ByteCache[vi.Model]:
    """The models of all sessions, each of which counts as one.

    A session that goes from model to model pushes out its own, while no more than `MODELS` sessions
    have one open. Where there are more, each who comes pushes out the one that rested longest: it
    is loaded again when it is needed.
    """
    return ByteCache(MODELS, lambda model: 1, _release)


def _release(model: vi.Model) -> None:
    """A model that is no longer kept must not live on in its captures."""
    _released.add(network_of(model))
    _worded.clear()
    kept.captures().drop(lambda capture: network_of(capture.model) in _released)


def _trained(name: str, size: int | None, said: Said) -> vi.Model:
    source = () if offers.is_file(name) else (name,)
    load = partial(vi.load, *source, **_both(name, said), img_size=size)
    # Afterwards: a file that goes before it was named would leave a load of the bundled model.
    offers.check_unchanged(name)
    with st.spinner("Loading the model"):
        return _brought(name, load) if brought.digest_of(name) else load()


def _brought(name: str, load: Callable[[], vi.Model]) -> vi.Model:
    """A model of weights that a visitor brought, by the name that the file has there.

    They are loaded one after the other: each takes memory before an older model is let go.
    """
    kept_as, title = f"{brought.digest_of(name)}.safetensors", model_title(name)

    def named(text: str) -> str:
        return text.replace(kept_as, title)

    try:
        model = on_device(load)
    except InspectError as refusal:
        # While it waited for its turn, others may have brought so much that it was let go.
        offers.check_unchanged(name)
        raise type(refusal)(*map(named, refusal.args)) from refusal
    return replace(model, source=named(model.source), notices=tuple(map(named, model.notices)))


@st.cache_resource(max_entries=1, show_spinner="Permuting the weights", on_release=_release)
def _randomised(name: str, size: int | None, said: Said) -> vi.Model:
    return on_device(vi.randomised, _as_it_is(name, size, said))


@st.cache_resource(max_entries=4 * MODELS, show_spinner="Reading the words")
def _worded(
    name: str,
    size: int | None,
    said: Said,
    randomised: bool,
    texts: tuple[str, ...],
    template: str,
) -> vi.Model:
    """The model with these texts as its classes."""
    load = _randomised if randomised else _as_it_is
    return on_device(partial(vi.with_texts, load(name, size, said), texts, template=template))
