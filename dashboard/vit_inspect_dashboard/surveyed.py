"""Which surveys does the operator offer, and which picture of one does an address name?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from PIL import Image

import vit_inspect as vi
from vit_inspect.errors import BadParameter, InspectError
from vit_inspect.pictures.reading import printable
from vit_inspect.surveys.parts import MANIFEST
from vit_inspect.surveys.sources import read
from vit_inspect.surveys.steps import FOLDER

TRAINING = "training: "
"""What stands before the name of a training in a list."""

_folders: list[Path] = []


class Found(NamedTuple):
    """A picture of a survey, as `pictures.Picture` has it."""

    key: str
    name: str
    read: Callable[[], Image.Image]


def offer(folder: Path) -> None:
    """Offer the surveys in a folder, or the one that it is; they are looked for when asked for.

    Raises `BadParameter` for what is no folder that can be read.
    """
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise BadParameter(
            f"no folder that can be read at {str(folder)!r}", "a folder of surveys", "check it"
        ) from error
    _folders.append(folder)


def listed() -> dict[str, Path]:
    """The folders of surveys and of trainings, by name."""
    found: dict[str, Path] = {}
    for folder in _folders:
        try:
            # The steps of a training are chosen in it.
            inside = [] if is_training(folder) else sorted(folder.iterdir())
        except OSError:
            # It is gone, or nobody may look into it any more.
            continue
        for each in (folder, *inside):
            if os.path.isfile(each / MANIFEST):
                found.setdefault(_name(each), each)
            elif is_training(each):
                found.setdefault(f"{TRAINING}{_name(each)}", each)
    return found


def is_training(folder: Path) -> bool:
    """Whether a folder holds surveys of the steps of a training."""
    try:
        inside = os.scandir(folder)
    except OSError:
        return False
    with inside:
        return any(
            FOLDER.fullmatch(each.name) and os.path.isfile(os.path.join(each, MANIFEST))
            for each in inside
        )


def of_step(folder: Path, step: Path) -> str:
    """What the survey of a step of a training is called."""
    return f"{_name(folder)}/{step.name}"


def steps(folder: Path) -> Mapping[str, vi.Steps]:
    """The steps of a training; raises `BadParameter` as `open_steps` does."""
    # Of many steps it takes seconds, once.
    with st.spinner("Reading the training"), _names_alone(folder):
        return vi.open_steps(folder)


def opened(folder: Path) -> vi.Survey:
    """The survey in a folder; raises `BadParameter` where it is not done, or damaged."""
    return _opened(str(folder), _stamp(folder))


def of_head(folder: Path, statistic: str, layer: int, head: int) -> vi.HeadValues:
    """A number of one head on every picture; of many pictures it takes seconds to read."""
    return _of_head(str(folder), _stamp(folder), statistic, layer, head)


def picture(survey: str, folder: Path, number: int) -> Found:
    """A picture of a survey, by its number there."""
    entry = opened(folder).entries[number]
    key = f"{entry.place}?{entry.start}?{entry.row}?{_stamp(folder)}"
    name = f"{survey}/{printable(entry.name)}"
    return Found(key, name, partial(read, entry))


def named(name: str) -> Found | None:
    """The picture of this name, which begins with that of its survey; None if there is none."""
    if "/" not in name:
        return None
    for survey, folder in listed().items():
        if survey.startswith(TRAINING):
            step = name.removeprefix(f"{_name(folder)}/").partition("/")[0]
            if not FOLDER.fullmatch(step):
                continue
            folder = folder / step
            survey = of_step(folder.parent, folder)
        if name.startswith(f"{survey}/"):
            try:
                number = _numbers(str(folder), _stamp(folder)).get(name.removeprefix(f"{survey}/"))
            except InspectError:
                continue
            if number is not None:
                return picture(survey, folder, number)
    return None


@st.cache_resource(max_entries=8, show_spinner="Reading the survey")
def _opened(folder: str, stamp: int) -> vi.Survey:
    with _names_alone(Path(folder)):
        return vi.open_survey(folder)


@st.cache_resource(max_entries=64, show_spinner="Reading the survey")
def _of_head(folder: str, stamp: int, statistic: str, layer: int, head: int) -> vi.HeadValues:
    return _opened(folder, stamp).of_head(statistic, layer, head)


@st.cache_resource(max_entries=8, show_spinner=False)
def _labels(folder: str, stamp: int) -> int:
    return len({entry.label for entry in _opened(folder, stamp).entries} - {None})


def label_count(folder: Path) -> int:
    """How many labels its pictures have."""
    return _labels(str(folder), _stamp(folder))


@st.cache_resource(max_entries=8, show_spinner=False)
def _numbers(folder: str, stamp: int) -> dict[str, int]:
    """The numbers of all pictures of a survey, by name."""
    entries = _opened(folder, stamp).entries
    return {printable(entry.name): number for number, entry in enumerate(entries)}


@contextmanager
def _names_alone(folder: Path) -> Iterator[None]:
    """Visitors see names, and no path."""
    try:
        yield
    except InspectError as refusal:
        told = (str(each).replace(str(folder), folder.name) for each in refusal.args)
        raise type(refusal)(*told) from refusal


def _name(folder: Path) -> str:
    return printable(folder.resolve().name)


def _stamp(folder: Path) -> int:
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except OSError as error:
        raise BadParameter(
            f"nothing to read in '{folder.name}'", "a survey", "choose another one"
        ) from error
