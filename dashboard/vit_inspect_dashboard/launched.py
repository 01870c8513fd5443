"""What did the program bring that launched the dashboard inside itself?

Several can be launched in one process. They have a server and its memory in common, and each has a
port of its own. What comes in there is stamped with a key, so a page knows whose it is.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

if TYPE_CHECKING:
    from vit_inspect_dashboard.pictures import Picture

HEADER = "x-vit-inspect-launch"
"""Where requests carry the key; what a browser says there is overwritten."""


class Launched(NamedTuple):
    """The name of the first model, and pictures that come before the samples."""

    model: str | None = None
    pictures: tuple[Picture, ...] = ()


NOTHING = Launched()
_launched: dict[str, Launched] = {}
_main: ModuleType | None = None


def add(key: str, what: Launched) -> None:
    """Remember what a program brought, until `remove`."""
    global _main
    _main = _main or sys.modules.get("__main__")
    _launched[key] = what


def remove(key: str) -> None:
    """Forget it."""
    _launched.pop(key, None)


def here() -> Launched:
    """What the program brought on whose port this page is open; nothing for the command line."""
    return _launched.get(st.context.headers.get(HEADER, ""), NOTHING)


def give_back_main() -> None:
    """Puts the program's own `__main__` back, which Streamlit replaces for each run of a page.

    Else the program could not pickle what it defines.
    """
    if _main is not None:
        sys.modules["__main__"] = _main
