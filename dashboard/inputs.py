"""Which pictures are there: the samples, and what this session has uploaded.

A picture's key is the sample's name, or the sha256 of the uploaded bytes: it determines the pixels.
Names of files are untrusted; they are shown as text and never used as paths.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st
from PIL import Image, ImageOps

import vit_inspect as vi
from vit_inspect.errors import BadImage
from vit_inspect.pictures.reading import SUFFIXES, printable


def upload() -> None:
    """The place to drop pictures; a picture that cannot be shown is refused in a sentence."""
    files = st.file_uploader(
        "Your pictures",
        type=[suffix[1:] for suffix in SUFFIXES],
        accept_multiple_files=True,
        key="uploads",
        on_change=_show_newest,
        help="They stay in this session, in memory.",
    )
    for file in files:
        if problem := _problem(_digest(file), file.name, file.getvalue()):
            st.error(plain(problem))


def keys() -> dict[str, str]:
    """The key of each picture that can be shown, by the name that it has on the page."""
    found = {name: name for name in vi.SAMPLES}
    for key, file in _uploads().items():
        name = printable(file.name)
        copies = (f"{name} ({number})" for number in itertools.count(2))
        found[next(each for each in itertools.chain([name], copies) if each not in found)] = key
    return found


def name_of(key: str) -> str:
    """What a picture is called on the page."""
    return next((name for name, each in keys().items() if each == key), key)


def title_of(key: str) -> str:
    """What a picture shows, as far as it is known."""
    return vi.SAMPLES[key].title if key in vi.SAMPLES else name_of(key)


def uploaded() -> list[str]:
    """The keys of the uploaded pictures."""
    return list(_uploads())


def open_picture(key: str) -> Image.Image:
    """The picture of a key; raises `BadImage` where this session has none."""
    return reader(key)()


def reader(key: str) -> Callable[[], Image.Image]:
    """Opens the picture of a key, in whatever thread it is called."""
    if key in vi.SAMPLES:
        return partial(vi.sample, key)
    file = _uploads().get(key)
    if file is None:
        raise BadImage(
            "a picture that is no longer uploaded", "one of the list", "upload it once more"
        )
    return partial(vi.read_image, file.getvalue(), name=file.name)


def _uploads() -> dict[str, Any]:
    files = st.session_state.get("uploads") or []
    return {
        _digest(file): file
        for file in files
        if _problem(_digest(file), file.name, file.getvalue()) is None
    }


def _show_newest() -> None:
    if uploads := uploaded():
        st.session_state["image"] = name_of(uploads[-1])


def _digest(file: Any) -> str:
    # Streamlit gives each upload an id of its own; hashing megabytes at each rerun would be slow.
    digests = st.session_state.setdefault("digests", {})
    if file.file_id not in digests:
        digests[file.file_id] = hashlib.sha256(file.getvalue()).hexdigest()
    return str(digests[file.file_id])


@st.cache_data(max_entries=512, show_spinner="Reading the picture")
def _problem(digest: str, name: str, _data: bytes) -> str | None:
    """Why a picture cannot be shown; the digest stands for the bytes."""
    try:
        vi.read_image(_data, name=name)
    except BadImage as refusal:
        return str(refusal)
    return None


def plain(text: str) -> str:
    """Text of strangers for a place that takes Markdown: every sign stands for itself."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def class_names(labels: Sequence[str]) -> list[str]:
    """What classes are called in lists, each unlike all others: some models use a name twice."""
    count = Counter(labels)
    return [
        f"{label} ({index})" if count[label] > 1 else label for index, label in enumerate(labels)
    ]


@st.cache_data(max_entries=512, show_spinner=False)
def thumbnail(key: str) -> Image.Image:
    """A small copy of one shape, for the gallery."""
    return ImageOps.fit(open_picture(key), (256, 192))
