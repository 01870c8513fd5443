"""What does a person mean who types numbers, sizes and options?

Each function raises `BadParameter` for a text that means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from vit_inspect.errors import BadParameter


def options(given: Iterable[str]) -> dict[str, Any]:
    """Options as NAME=VALUE: numbers, true and false, everything else as text."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals):
            raise BadParameter(
                f"the option {text!r} of the architecture", "NAME=VALUE", "write num_heads=12"
            )
        # Of a list, brackets may be left out.
        listed = f"[{value.strip('()')}]" if "," in value and value[0] not in "[{" else value
        try:
            found[name] = json.loads(value.lower() if value in ("True", "False") else listed)
        except ValueError:
            found[name] = value
    return found


def size(text: str) -> int | tuple[int, int] | None:
    """An input size in px, N or ROWSxCOLUMNS."""
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise BadParameter(
            f"the input size {text!r}", "N or ROWSxCOLUMNS in px", "use 224 or 224x448, for example"
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def numbers(name: str, text: str) -> tuple[float, ...]:
    """Numbers with commas between them; `name` says of what they are."""
    try:
        return tuple(float(each) for each in listed(text))
    except ValueError:
        raise BadParameter(
            f"the {name} {text!r}", "numbers with commas between them", "write 0.5,0.5,0.5"
        ) from None


def bands(text: str) -> tuple[int, ...]:
    """One or three numbers of bands."""
    from vit_inspect.pictures.bands import checked_bands

    try:
        return checked_bands([int(band) for band in listed(text)])
    except ValueError:
        raise BadParameter(
            f"the bands {text!r}", "numbers from 0, with commas", "use 3,2,1, for example"
        ) from None


def listed(text: str) -> list[str]:
    """The entries of a list with commas."""
    return [entry.strip() for entry in text.split(",")]
