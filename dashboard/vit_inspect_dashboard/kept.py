"""What is kept between reruns, and for how many bytes? All sessions share it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np
import streamlit as st

import vit_inspect as vi
from vit_inspect.attention.layer import AxisBias
from vit_inspect.records.base import Result
from vit_inspect_dashboard import operating, shares
from vit_inspect_dashboard.shares import Shares
from vit_inspect_dashboard.sheets import Rows

CAPTURE_BYTES = 512 * 2**20
RESULT_BYTES = 128 * 2**20

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """The values used last, up to a number of bytes; each is made once, whoever asks.

    Each session has a fair share of the bytes, as in `Shares`. The newest value stays however large
    it is, as it is about to be used.

    on_release: is told of each value that goes because there is too much.
    """

    def __init__(
        self,
        limit: int,
        size: Callable[[Value], int],
        on_release: Callable[[Value], object] = lambda value: None,
    ) -> None:
        self._size = size
        self._on_release = on_release
        self._values: dict[Hashable, Value] = {}
        self._shares = Shares(limit)
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of the key, made now if it is not there."""
        with self._lock:
            if key in self._values:
                return self._used(key)
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._used(key)
            try:
                value = make()
            except BaseException:
                with self._lock:
                    self._making.pop(key, None)
                raise
            with self._lock:
                self._making.pop(key, None)
                self._values[key] = value
                gone = self._shares.add(key, self._size(value), shares.session())
                released = [self._values.pop(each) for each in gone]
            for each in released:
                self._on_release(each)
            return value

    def peek(self, key: Hashable) -> Value | None:
        """The value of the key, if it is there."""
        with self._lock:
            return self._used(key) if key in self._values else None

    def values(self) -> list[Value]:
        """All values, in the order in which they were made."""
        with self._lock:
            return list(self._values.values())

    def bytes(self) -> int:
        """What the values hold."""
        return sum(map(self._size, self.values()))

    def drop(self, unwanted: Callable[[Value], bool] = lambda value: True) -> None:
        """Forget some values, by default all."""
        with self._lock:
            for key, value in list(self._values.items()):
                if unwanted(value):
                    del self._values[key]
                    self._shares.forget(key)

    def drop_own(self) -> None:
        """Forget what no other session holds."""
        with self._lock:
            others = self._shares.of_others(shares.session())
            for key in self._values.keys() - others:
                del self._values[key]
                self._shares.forget(key)

    def _used(self, key: Hashable) -> Value:
        self._shares.use(key, shares.session())
        return self._values[key]


@st.cache_resource(show_spinner=False)
def captures() -> ByteCache[vi.Capture]:
    """The captures of all sessions."""
    return ByteCache(CAPTURE_BYTES, _capture_bytes)


@st.cache_resource(show_spinner=False)
def results() -> ByteCache[Any]:
    """The records of all sessions, and what else pages show of a capture."""
    return ByteCache(RESULT_BYTES, _result_bytes)


def _capture_bytes(capture: vi.Capture) -> int:
    """Bytes of the tensors a capture keeps alive; queries, keys and values may share theirs."""
    storages = {}
    for layer in (*capture.layers, *filter(None, [capture.pool])):
        bias = layer.bias if isinstance(layer.bias, AxisBias) else (layer.bias,)
        for tensor in (layer.queries, layer.keys, layer.values, *bias):
            if tensor is not None:
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    for tensor in (*capture.tokens, capture.pixels):
        storages[tensor.data_ptr()] = tensor.nbytes
    return sum(storages.values()) + sum(each.pixels.nbytes for each in capture.photographs)


def _result_bytes(result: Result | Rows | dict[str, np.ndarray] | bytes) -> int:
    """Bytes of the arrays and pictures of what a page shows, or of a file."""
    if isinstance(result, bytes):
        return len(result)
    if isinstance(result, Rows):
        return result.values.nbytes
    arrays = result if isinstance(result, dict) else result.arrays()
    pictures = (each.pixels for each in getattr(result, "photographs", ()))
    return sum(array.nbytes for array in (*arrays.values(), *pictures))


operating.KEPT.labels("captures").set_function(lambda: captures().bytes())
operating.KEPT.labels("results").set_function(lambda: results().bytes())
