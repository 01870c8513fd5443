"""What is kept between reruns, for how many bytes, and whose turn is it on the device?

Models and captures are shared by all sessions; their keys are primitives that determine them. One
job at a time runs on the device; the others wait in line and are told how many are before them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import streamlit as st
import torch
from PIL import Image

import vit_inspect as vi
from dashboard.inputs import open_picture
from dashboard.selection import Subject
from vit_inspect.analyses.ablation import Replacement
from vit_inspect.analyses.faithfulness import Curves, Map, default_maps
from vit_inspect.analyses.head_importance import HeadTrials
from vit_inspect.analyses.tokens import together
from vit_inspect.catalog import FigureSpec
from vit_inspect.device import memory_refusal
from vit_inspect.errors import InspectError, OutOfMemory
from vit_inspect.exporting.bundle import bundle
from vit_inspect.records.base import Result, join
from vit_inspect.records.evidence import (
    Ablation,
    AttentionRelevance,
    Faithfulness,
    HeadImportance,
    TokenNorms,
)
from vit_inspect.records.paper import AttentionRollout

MODELS = 2
CAPTURE_BYTES = 512 * 2**20
RESULT_BYTES = 128 * 2**20
WAITING = 24
"""Jobs that may wait for the device; more are refused."""
BATCH = 4
"""Photographs of a survey in one forward pass."""

Value = TypeVar("Value")


class Busy(InspectError):
    """Too many wait for the device."""


class ByteCache(Generic[Value]):
    """The values used last, up to a number of bytes; each is made once, whoever asks."""

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self.limit = limit
        self.size = size
        self.values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of the key, made now if it is not there."""
        with self._lock:
            if key in self.values:
                self.values.move_to_end(key)
                return self.values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self.values:
                    return self.values[key]
            try:
                value = make()
            except BaseException:
                with self._lock:
                    self._making.pop(key, None)
                raise
            with self._lock:
                self._making.pop(key, None)
                self.values[key] = value
                # The newest stays, however large: it is about to be used.
                while len(self.values) > 1 and self.bytes() > self.limit:
                    self.values.popitem(last=False)
            return value

    def peek(self, key: Hashable) -> Value | None:
        """The value of the key, if it is there."""
        with self._lock:
            return self.values.get(key)

    def bytes(self) -> int:
        """What the values hold."""
        return sum(map(self.size, self.values.values()))

    def drop(self, unwanted: Callable[[Value], bool] = lambda value: True) -> None:
        """Forget some values, by default all."""
        with self._lock:
            for key in [key for key, value in self.values.items() if unwanted(value)]:
                del self.values[key]


class Line:
    """Those who wait for the device, first come first served; the first one runs."""

    def __init__(self) -> None:
        self.waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, tell: Callable[[int], object]) -> Iterator[None]:
        """Wait, telling every now and then how many are before; then hold the device."""
        ticket = object()
        with self._changed:
            if len(self.waiting) > WAITING:
                raise Busy(
                    f"{len(self.waiting)} jobs before yours on the device",
                    f"at most {WAITING}",
                    "try again in a minute",
                )
            self.waiting.append(ticket)
        try:
            while before := self._before(ticket):
                # Streamlit ends an abandoned run at its next call, which is in here.
                tell(before)
                with self._changed:
                    self._changed.wait_for(lambda: self.waiting.index(ticket) < before, 0.5)
            yield
        finally:
            with self._changed:
                self.waiting.remove(ticket)
                self._changed.notify_all()

    def _before(self, ticket: object) -> int:
        with self._changed:
            return self.waiting.index(ticket)


@st.cache_resource(show_spinner=False)
def captures() -> ByteCache[vi.Capture]:
    """The captures of all sessions."""
    return ByteCache(CAPTURE_BYTES, _capture_bytes)


@st.cache_resource(show_spinner=False)
def _results() -> ByteCache[Any]:
    return ByteCache(RESULT_BYTES, _result_bytes)


@st.cache_resource(show_spinner=False)
def line() -> Line:
    """The line before the device of this server."""
    return Line()


_released: WeakSet[torch.nn.Module] = WeakSet()


def _release(model: vi.Model) -> None:
    """A model that is no longer kept must not live on in its captures."""
    _released.add(model.module)
    captures().drop(lambda capture: capture.model.module in _released)


@st.cache_resource(max_entries=MODELS, show_spinner="Loading the model", on_release=_release)
def _model(name: str, size: int | None) -> vi.Model:
    return vi.load(name, img_size=size)


def model(subject: Subject) -> vi.Model:
    """The model of the selection, with pictures fitted as chosen, at its stage."""
    kept = _randomised if subject.randomised else _model
    found = kept(subject.model, subject.size).fitted(subject.fit)
    return found if subject.stage is None else found.at_stage(subject.stage)


def capture(subject: Subject) -> vi.Capture:
    """The capture of the selection: one forward pass, at most."""
    found = captures().get(subject, lambda: _run(subject, [subject.image]))
    if found.model.module in _released:
        # The model was let go while the capture waited for the device.
        captures().drop(lambda capture: capture is found)
    return found


def result(spec: FigureSpec, subject: Subject, **parameters: Any) -> Any:
    """The record of a figure; raises `InspectError` where there is none."""
    if spec.scope == "model":
        key: Hashable = (spec.slug, *subject[:2], subject.stage, subject.randomised)
        return _results().get(key, lambda: spec.analyse(model(subject)))
    key = (spec.slug, subject, tuple(sorted(parameters.items())))
    return _results().get(key, lambda: on_device(spec.analyse, capture(subject), **parameters))


def relevance_to(subject: Subject, other: str) -> AttentionRelevance:
    """What makes the picture similar to another one, for the model."""
    key = ("relevance to", subject, other)
    return _results().get(
        key,
        lambda: on_device(vi.attention_relevance, capture(subject), target=open_picture(other)),
    )


def token_norms(subject: Subject, layer: int) -> TokenNorms:
    """Which tokens are artefacts by a layer; rollout, which no layer changes, is kept for all."""

    def rollout() -> AttentionRollout:
        return on_device(vi.attention_rollout, capture(subject))

    def norms() -> TokenNorms:
        plain = _results().get(("plain rollout", subject), rollout)
        return on_device(vi.token_norms, capture(subject), layer=layer, rollout=plain)

    return _results().get(("token norms", subject, layer), norms)


def beside(spec: FigureSpec, subject: Subject, other: str, layer: int, **parameters: Any) -> Any:
    """The record of a figure of one layer's tokens, over the picture and another one."""

    def joint(here: vi.Capture, there: vi.Capture) -> Any:
        with memory_refusal(2, here.layout.token_count, here.model.device):
            pair = together([here, there], layer=layer)
            return spec.analyse(pair, layer=layer, **parameters)

    key = (spec.slug, "beside", subject, other, layer, tuple(sorted(parameters.items())))
    pair = subject, subject._replace(image=other)
    return _results().get(key, lambda: on_device(joint, *map(capture, pair)))


def survey(
    spec: FigureSpec,
    subjects: Sequence[Subject],
    images: Sequence[str],
    tell: Callable[[int], object],
    **parameters: Any,
) -> Any:
    """The record of a figure over many pictures; `tell` hears how many are done.

    subjects: the model, or all those that the figure compares, whatever their own picture is. What
    is done is kept for a while, so that a cancelled survey goes on where it was left.
    """
    asked = ("survey", spec.slug, tuple(sorted(parameters.items())))
    keys = {image: (*asked, *(each._replace(image=image) for each in subjects)) for image in images}
    done = {image: _results().peek(key) for image, key in keys.items()}
    records = {image: record for image, record in done.items() if record is not None}
    missing = [image for image in images if image not in records]
    size = BATCH
    while missing:
        tell(len(images) - len(missing))
        some = missing[:size]
        try:
            found = on_device(spec.analyse, *(_seen(each, some) for each in subjects), **parameters)
        except OutOfMemory:
            if size == 1:
                raise
            size //= 2
            continue
        for index, image in enumerate(some):
            records[image] = _results().get(keys[image], partial(found.of_image, index))
        missing = missing[len(some) :]
    tell(len(images))
    return join([records[image] for image in images])


def archive(subject: Subject, picture: Callable[[], Image.Image]) -> bytes:
    """The bundle of all figures as a ZIP; runs outside of any session, which is why it is given
    the picture, and holds no capture until then.
    """

    def turn() -> AbstractContextManager[None]:
        return line().turn(lambda before: None)

    def run() -> vi.Capture:
        with turn():
            return vi.capture(model(subject), picture())

    found = captures().get(subject, run)
    with turn():
        return bundle(found)


def on_device(work: Callable[..., Value], *arguments: Any, **parameters: Any) -> Value:
    """Do the work when it is this session's turn."""
    place = st.empty()
    words = "The device is busy: {} before you."
    with line().turn(lambda before: place.caption(words.format(before))):
        place.empty()
        try:
            return work(*arguments, **parameters)
        except OutOfMemory:
            # What others keep is made again when they need it.
            captures().drop()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return work(*arguments, **parameters)


def _seen(subject: Subject, images: Sequence[str]) -> vi.Capture:
    """The capture of these pictures; of a single one, the one that all pages have."""
    single = len(images) == 1
    return capture(subject._replace(image=images[0])) if single else _run(subject, images)


def _run(subject: Subject, images: Sequence[str]) -> vi.Capture:
    pictures = [open_picture(image) for image in images]
    return on_device(vi.capture, model(subject), pictures)


def _capture_bytes(capture: vi.Capture) -> int:
    """Bytes of the tensors a capture keeps alive; queries, keys and values may share theirs."""
    storages = {}
    for layer in (*capture.layers, *filter(None, [capture.pool])):
        for tensor in (layer.queries, layer.keys, layer.values, layer.bias):
            if tensor is not None:
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    for tensor in (*capture.tokens, capture.pixels):
        storages[tensor.data_ptr()] = tensor.nbytes
    return sum(storages.values()) + sum(each.pixels.nbytes for each in capture.photographs)


def _result_bytes(result: Result | dict[str, Map]) -> int:
    arrays = result if isinstance(result, dict) else result.arrays()
    pictures = (each.pixels for each in getattr(result, "photographs", ()))
    return sum(array.nbytes for array in (*arrays.values(), *pictures))


def ablation(subject: Subject, **parts: Any) -> Ablation:
    """What the model returns with some of its parts switched off."""
    key = ("ablation", subject, tuple(sorted(parts.items())))
    return _results().get(key, lambda: on_device(vi.ablate, capture(subject), **parts))


def tried_heads(subject: Subject, replacement: Replacement) -> HeadImportance | None:
    """The effect of each head alone, if it is known."""
    found: HeadImportance | None = _results().peek(_heads_key(subject, replacement))
    return found


def try_heads(
    subject: Subject, replacement: Replacement, tell: Callable[[int], object]
) -> HeadImportance:
    """The effect of each head alone; `tell` hears how many are done.

    Others have their turns in between. What is done is kept by the session, so that work which was
    cancelled goes on where it was left.
    """
    key = _heads_key(subject, replacement)
    trials = HeadTrials(capture(subject), replacement=replacement)
    if st.session_state.get("trials_of") != key:
        st.session_state["trials_of"], st.session_state["trials"] = key, {}
    done = st.session_state["trials"]
    for batch in trials.batches:
        if batch not in done:
            tell(sum(len(each.heads) for each in done))
            done[batch] = on_device(trials.effect, batch)
    return _results().get(key, lambda: trials.result(done))


def _heads_key(subject: Subject, replacement: Replacement) -> Hashable:
    """The key that `result` gives the same record."""
    return ("head_importance", subject, (("replacement", replacement),))


@st.cache_resource(max_entries=1, show_spinner="Permuting the weights", on_release=_release)
def _randomised(name: str, size: int | None) -> vi.Model:
    trained = _model(name, size)

    def permuted() -> vi.Model:
        with memory_refusal(1, trained.layout.token_count, trained.device):
            return vi.randomised(trained)

    return on_device(permuted)


def curves(
    subject: Subject,
    images: Sequence[str],
    tell: Callable[[int, int, int], object],
    *,
    steps: int,
) -> Faithfulness:
    """Deletion and insertion of many pictures, one forward pass after the other.

    `tell` hears before each how many pictures are done, and how many passes of how many of the
    next one; others may use the device in between. What is done is kept for a while, and what is
    done of a picture is kept by the session.
    """
    records = []
    for number, image in enumerate(images):
        key = _curves_key(subject, image, steps)
        record = _results().peek(key)
        if record is None:
            one = subject._replace(image=image)
            record = _finish(key, one, partial(tell, number), steps=steps)
        records.append(record)
    return join(records)


def maps(subject: Subject, target: int | None) -> dict[str, Map]:
    """The maps whose faithfulness is tested; those of a class are of the `target`."""
    found: dict[str, Map] = _results().get(
        ("maps", subject, target), lambda: on_device(default_maps, capture(subject), target)
    )
    return found


def _finish(
    key: Hashable, subject: Subject, tell: Callable[[int, int], object], *, steps: int
) -> Faithfulness:
    """Run what is left to do for one picture."""
    begun: dict[Hashable, Curves] = st.session_state.get("curves", {})
    work = begun.get(key) or on_device(Curves, capture(subject), steps=steps)
    st.session_state["curves"] = {key: work}
    while work.done < work.total:
        tell(work.done, work.total)
        on_device(work.advance, model(subject))
    found: Faithfulness = _results().get(key, work.result)
    del st.session_state["curves"]
    return found


def kept_curves(subject: Subject, images: Sequence[str], *, steps: int) -> Faithfulness | None:
    """What `curves` has found of these pictures, if it is all there."""
    kept = [_results().peek(_curves_key(subject, image, steps)) for image in images]
    records: list[Faithfulness] = [record for record in kept if record is not None]
    return join(records) if len(records) == len(images) else None


def _curves_key(subject: Subject, image: str, steps: int) -> Hashable:
    return "curves", steps, subject._replace(image=image)
