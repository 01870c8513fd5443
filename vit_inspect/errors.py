"""Errors for users: each says in one sentence what was found, what was expected and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

_NO_MEMORY = re.compile(
    "out of memory|can(no|')t allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE
)


class InspectError(Exception):
    """An error with a sentence that says what is wrong and what to do.

    `found` and `expected` are noun phrases, `remedy` is an instruction; together they read
    "Found 0 bytes in 'cat.jpg'; expected a JPEG or PNG image; choose another file."
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(found, expected, remedy)
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        return f"Found {self.found}; expected {self.expected}; {self.remedy}."


def short_reason(error: BaseException) -> str:
    """The text of another library's error on one short line; its class if it has no text."""
    return " ".join(str(error).split()).removesuffix(".")[:300] or type(error).__name__


class BadImage(InspectError):
    """The bytes are not an image that can be shown correctly."""


class Unreachable(InspectError):
    """A place cannot be read at the moment, through no fault of what lies there."""


class BadParameter(InspectError):
    """A value is outside what the model or the analysis allows."""


class UnsupportedModel(InspectError):
    """The analysis would give a wrong result for this model."""


class WeightsUnavailable(InspectError):
    """The weights of the model are missing or do not fit."""


class OutOfMemory(InspectError):
    """The device or the computer has too little memory for the work; no partial result is kept."""


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error of Python, numpy, torch or safetensors says that memory ended.

    On most devices, only the text of torch's error distinguishes this from other failures. Other
    packages raise an error of their own while they handle it.
    """
    if error is None or isinstance(error, MemoryError):
        return error is not None
    # That of safetensors is none of these kinds, and the package need not be imported for it.
    told = isinstance(error, RuntimeError | OSError) or type(error).__name__ == "SafetensorError"
    if told and _NO_MEMORY.search(str(error)):
        return True
    return lacks_memory(
        error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    )


@contextmanager
def memory_told(
    found: str = "no memory left",
    expected: str = "room for this work",
    remedy: str = "use fewer images at once, a smaller input or another device",
) -> Iterator[None]:
    """Turns a lack of memory into an `OutOfMemory`."""
    try:
        yield
    except InspectError:
        raise
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise OutOfMemory(found, expected, remedy) from error


class OutputFailed(InspectError):
    """A file could not be written; no incomplete file has its final name."""


class DashboardMissing(InspectError):
    """The package of the dashboard, or one that it needs, is not installed."""
