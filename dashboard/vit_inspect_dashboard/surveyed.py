"""Which surveys are there to look at, what do they say, and which picture does an address name?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

import vit_inspect as vi
from vit_inspect.errors import BadParameter, InspectError
from vit_inspect.pictures.reading import printable
from vit_inspect.surveys.parts import MANIFEST
from vit_inspect.surveys.sources import read
from vit_inspect.surveys.steps import FOLDER
from vit_inspect_dashboard import kept

TRAINING = "training: "
"""What stands before the name of a training in a list."""

OWN = "your pictures"
"""What the survey of a visitor is called, and where the session has it."""

Whole = vi.ChosenClasses | vi.ArtefactRate | vi.LayerCka
"""What is said of all pictures of a survey at once."""

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
    """The folders of surveys and of trainings by name, the survey of this session last."""
    own = _own()
    return _offered() | ({OWN: own} if own else {})


def take(folder: TemporaryDirectory[str]) -> None:
    """Keep a survey for this session alone, in place of the one before; it goes with the session.

    Its pictures are those of the session of the same names.
    """
    st.session_state[OWN] = folder


def is_own(folder: Path) -> bool:
    """Whether this is the survey of the session."""
    return folder == _own()


def _own() -> Path | None:
    kept_here: TemporaryDirectory[str] | None = st.session_state.get(OWN)
    return Path(kept_here.name) if kept_here else None


def _offered() -> dict[str, Path]:
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


def layer_steps(folder: Path) -> Mapping[str, vi.LayerSteps]:
    """The same of what was taken of the tokens, as `open_layer_steps` has it."""
    with _names_alone(folder):
        return vi.open_layer_steps(folder)


def opened(folder: Path) -> vi.Survey:
    """The survey in a folder; raises `BadParameter` where it is not done, or damaged."""
    return _opened(str(folder), _stamp(folder))


def of_head(
    folder: Path,
    statistic: str,
    layer: int,
    head: int,
    *,
    over: str,
    pictures: np.ndarray | None = None,
) -> vi.HeadValues:
    """As `Survey.of_head`, from numbers that are kept for a while."""
    found, survey = values(folder, statistic, layer, head), opened(folder)
    found = found if pictures is None else found[pictures]
    known = found[~np.isnan(found)]
    return vi.HeadValues(survey.model, survey.layout, statistic, layer, head, over, known)


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
    for survey, folder in _offered().items():
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


def labels(folder: Path) -> dict[str, np.ndarray]:
    """The numbers of the pictures of each label, in the order of their names."""
    return _labels(str(folder), _stamp(folder))


@st.cache_resource(max_entries=8, show_spinner=False)
def _labels(folder: str, stamp: int) -> dict[str, np.ndarray]:
    found: dict[str, list[int]] = {}
    for number, entry in enumerate(_opened(folder, stamp).entries):
        if entry.label is not None:
            found.setdefault(printable(entry.label), []).append(number)
    return {label: np.array(found[label]) for label in sorted(found)}


def correct(folder: Path) -> np.ndarray:
    """As `vi.correct`."""
    return _correct(str(folder), _stamp(folder))


@st.cache_resource(max_entries=8, show_spinner=False)
def _correct(folder: str, stamp: int) -> np.ndarray:
    with _names_alone(Path(folder)):
        return vi.correct(_opened(folder, stamp))


def values(folder: Path, statistic: str, layer: int, head: int) -> np.ndarray:
    """As `Survey.values`; of many pictures it takes seconds to read."""
    return _values(str(folder), _stamp(folder), statistic, layer, head)


@st.cache_resource(max_entries=64, show_spinner="Reading the survey")
def _values(folder: str, stamp: int, statistic: str, layer: int, head: int) -> np.ndarray:
    with _names_alone(Path(folder)):
        return _opened(folder, stamp).values(statistic, layer, head)


def compared(
    folder: Path, statistic: str, groups: tuple[np.ndarray, np.ndarray], names: tuple[str, str]
) -> vi.GroupDifference:
    """As `vi.compare_groups`, kept for a while."""
    asked = hashlib.sha256(b"".join(each.tobytes() + b" " for each in groups)).hexdigest()
    with st.spinner("Comparing the pictures"), _names_alone(folder):
        record: vi.GroupDifference = kept.results().get(
            ("groups", str(folder), _stamp(folder), statistic, asked, names),
            lambda: vi.compare_groups(opened(folder), statistic, *groups, names=names),
        )
    return record


def beside(folder: Path, other: Path, statistic: str, names: tuple[str, str]) -> vi.GroupDifference:
    """As `vi.compare_surveys`, kept for a while."""
    stamps = _stamp(folder), _stamp(other)
    with st.spinner("Comparing the surveys"), _names_alone(folder), _names_alone(other):
        record: vi.GroupDifference = kept.results().get(
            ("surveys", str(folder), str(other), stamps, statistic, names),
            lambda: vi.compare_surveys(opened(folder), opened(other), statistic, names=names),
        )
    return record


def whole(folder: Path, asked: str, make: Callable[[vi.Survey], Whole], *, over: str) -> Whole:
    """What `make` counts over all pictures of a survey, kept for a while.

    asked: tells it from others; over: what the survey is called.
    """

    def counted() -> Whole:
        with st.spinner("Reading the survey"), _names_alone(folder):
            survey = opened(folder)
            record = make(survey)
            # A survey is called as its folder, which of this session has a made-up name.
            return replace(record, over=f"{str(record.over).removesuffix(survey.name)}{over}")

    record: Whole = kept.results().get(("whole", str(folder), _stamp(folder), asked, over), counted)
    return record


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
