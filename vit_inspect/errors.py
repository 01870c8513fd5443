"""What a user is told when something cannot be done: found, expected, remedy, in one sentence."""

from __future__ import annotations


class InspectError(Exception):
    """A refusal that a person can act on.

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
    """What an error of another library says, on one line and not too long; else its class."""
    return " ".join(str(error).split()).removesuffix(".")[:300] or type(error).__name__


class BadImage(InspectError):
    """The bytes are not an image that can be shown right."""


class BadParameter(InspectError):
    """A value is outside what the model or the analysis allows."""


class UnsupportedModel(InspectError):
    """The model computes something that this analysis would misrepresent."""


class WeightsUnavailable(InspectError):
    """The model is known but its weights cannot be had here."""


class OutOfMemory(InspectError):
    """The device has no room for the work; nothing of it was kept."""


class OutputFailed(InspectError):
    """A file could not be written; nothing was left under its final name."""
