"""Is an argument of the kind that a function takes? If not, one sentence says what it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from operator import index
from types import UnionType
from typing import Any, TypeVar

from vit_inspect.errors import BadParameter, memory_told

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def whole(given: object) -> int | None:
    """A whole number of Python, numpy or torch as Python's own; None for anything else."""
    if isinstance(given, bool):
        return None
    try:
        return index(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None


def one_of(given: object, count: int, kind: str, where: str = "") -> int:
    """A number of 0..count - 1 that counts things of a kind, such as "layer", somewhere.

    Raises `BadParameter` for anything else.
    """
    number = whole(given)
    if number is None or not 0 <= number < count:
        a = "an" if kind[0] in "aeiou" else "a"
        raise BadParameter(
            f"the {kind} {in_words(given)}{where}",
            f"{a} {kind} of 0..{count - 1}",
            "choose one of these",
        )
    return number


def at_least_one(given: object, things: str) -> int:
    """How many of some things, such as "steps"; raises `BadParameter` unless it is 1 or more."""
    number = whole(given)
    if number is None or number < 1:
        raise BadParameter(
            f"{in_words(given)} {things}", "1 or more", "choose a positive whole number"
        )
    return number


def several(given: Iterable[T], name: str, example: str) -> tuple[T, ...]:
    """The members of a list or another row of things; raises `BadParameter` for a single one."""
    try:
        if not isinstance(given, str):
            return tuple(given)
    except TypeError:
        pass
    raise BadParameter(f"{name}={in_words(given)}", "a list", f"give {name}={example}, for example")


def of_kind(given: object, kind: type | UnionType, name: str, expected: str) -> None:
    """Raises `BadParameter` for an argument that is of another kind."""
    if not isinstance(given, kind):
        raise BadParameter(
            f"an object of type {type(given).__name__} as {name}", expected, "give this instead"
        )


def in_words(given: object) -> str:
    """What was given: a number, a short text, or else its type."""
    number = whole(given)
    text = repr(given) if number is None else str(number)
    return text if len(text) <= 60 and text.isprintable() else f"of type {type(given).__name__}"


def takes(kind: type | UnionType, expected: str) -> Callable[[F], F]:
    """For functions whose first argument must be of this kind, and all of the same annotation.

    They raise `BadParameter` for anything else, and `OutOfMemory` where memory ends.
    """

    def of(function: F) -> F:
        names = {name: each.annotation for name, each in signature(function).parameters.items()}
        first = next(iter(names.values()))

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for name, given in (*zip(names, args, strict=False), *kwargs.items()):
                if names.get(name) == first:
                    of_kind(given, kind, name, expected)
            with memory_told():
                return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return of
