"""Checks annotated types and shapes at run time; `conftest.py` puts it on all of `vit_inspect`."""

from __future__ import annotations

from typing import Self

from beartype import BeartypeConf, FrozenDict, beartype

# beartype knows Self only where it decorates whole classes, and int is no float to it.
_MEANINGS = FrozenDict({Self: object, float: float | int})

checked = beartype(conf=BeartypeConf(hint_overrides=_MEANINGS))
