"""Which pictures are there? The samples, and what this session has uploaded.

Names of files are untrusted: they are shown as text and never used as paths.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageOps
from streamlit.runtime.uploaded_file_manager import DeletedFile

import vit_inspect as vi
from vit_inspect.errors import BadImage, OutOfMemory
from vit_inspect.limits import MAX_PIXELS
from vit_inspect.loading.bundled import FASHION_NAMES
from vit_inspect.pictures.bands import CHOOSE_BANDS
from vit_inspect.pictures.planning import ACCEPTED
from vit_inspect.pictures.reading import SUFFIXES, printable
from vit_inspect.pictures.samples import EVERY
from vit_inspect_dashboard import address, launched, quotas, surveyed
from vit_inspect_dashboard.wording import plain

LARGEST_MB = 20
"""Of a picture; as Streamlit counts, in 2^20 bytes."""


_LET_GO = "uploads_let_go"
"""Where a session keeps the bytes of each upload that was let go, by its id."""


@dataclass(frozen=True)
class Picture:
    """A picture to look at. Two of one key have the same pixels, whatever they are called.

    key: the sample's name, or the sha256 of the uploaded bytes.
    name: what it is called on the page.
    read: opens it, in whatever thread; raises `BadImage` where that fails, and `OutOfMemory`
        where it may succeed later.
    written: what it is called in Python, where that is no file of this name.
    """

    key: str
    name: str = field(compare=False)
    read: Callable[[], Image.Image] = field(compare=False, repr=False)
    written: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """What it shows, as far as that is known."""
        return EVERY[self.key].title if self.key in EVERY else self.name


def sample(name: str) -> Picture:
    """One of the samples."""
    return Picture(name, name, partial(vi.sample, name))


def samples() -> list[Picture]:
    """The samples of the model that is open, over which figures of many pictures are."""
    return samples_of(address.get("model") or launched.here().model or "")


def samples_of(model: str) -> list[Picture]:
    """The photographs, or the canvases of the classifier that was trained on such."""
    return [sample(name) for name in (vi.CANVASES if of_canvases(model) else vi.SAMPLES)]


def _others() -> list[Picture]:
    """The samples of other models that can be looked at: photographs, and a canvas of a link."""
    names = {picture.name for picture in samples()}
    offered = (*vi.SAMPLES, *(name for name in vi.CANVASES if name == address.get("image")))
    return [sample(name) for name in offered if name not in names]


def of_canvases(model: str) -> bool:
    """Whether this is the bundled classifier, at any step of its training."""
    return model in FASHION_NAMES.values()


def uploads() -> list[Picture]:
    """What this session has uploaded and can be shown; each name is another one."""
    files = {
        _digest(file): file
        for file in _kept_files()
        if _problem(_digest(file), file.name, file.getvalue()) is None
    }
    taken = {*EVERY, *(each.name for each in launched.here().pictures)}
    found = []
    for key, file in files.items():
        name = unlike(file.name, taken)
        taken.add(name)
        read = partial(vi.read_image, file.getvalue(), name=file.name)
        found.append(Picture(key, name, read))
    return found


def unlike(name: str, taken: Collection[str]) -> str:
    """The name of a file, untrusted, with a number where it is taken."""
    name = printable(name)
    copies = (f"{name} ({number})" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], copies) if each not in taken)


def of_survey() -> list[Picture]:
    """The picture of a survey that the address names, if it does."""
    found = surveyed.named(address.get("image") or "")
    return [Picture(*found)] if found else []


def of_entry(survey: str, folder: Path, number: int) -> Picture | None:
    """A picture of a survey, by its number there; None where the session has it no more."""
    if surveyed.is_own(folder):
        entry = surveyed.opened(folder).entries[number]
        found = by_name().get(entry.name)
        # Another one may have come by this name.
        return found if found and found.key == entry.place else None
    return Picture(*surveyed.picture(survey, folder, number))


def by_name() -> dict[str, Picture]:
    """All pictures that can be chosen, by the name that they have on the page."""
    every = (*launched.here().pictures, *samples(), *_others(), *of_survey(), *uploads())
    return {picture.name: picture for picture in every}


def choose_uploads(place: Any) -> None:
    """Where pictures are dropped; one that cannot be shown is refused in a sentence in `place`."""
    st.file_uploader(
        "Your pictures",
        type=[suffix[1:] for suffix in SUFFIXES],
        accept_multiple_files=True,
        max_upload_size=LARGEST_MB,
        key="uploads",
        on_change=_show_newest,
        help="They stay in this session, in memory. Nobody else sees them.",
    )
    kept = _kept_files()
    for file in kept:
        if problem := _problem(_digest(file), file.name, file.getvalue()):
            place.error(plain(problem))
    if problem := _too_many(kept):
        place.error(plain(problem))


@st.cache_data(max_entries=512, show_spinner=False)
def thumbnail(key: str, _read: Callable[[], Image.Image]) -> Image.Image:
    """A small copy of one shape, for the gallery; the key stands for the pixels."""
    # Beside a canvas there is room, as black as the canvas: no garment is cut.
    shaped = ImageOps.pad if key in vi.CANVASES else ImageOps.fit
    return shaped(_read(), (256, 192))


def _kept_files() -> list[Any]:
    """The uploads of this session within its quota; the bytes of all others are let go."""
    let_go: dict[str, int] = st.session_state.setdefault(_LET_GO, {})
    kept: list[Any] = []
    size, most = 0, quotas.now()
    for file in st.session_state.get("uploads") or []:
        if isinstance(file, DeletedFile) or file.file_id in let_go:
            continue
        if len(kept) < most.pictures and size + file.size <= most.pictures_mb * quotas.MB:
            kept.append(file)
            size += file.size
        else:
            let_go[file.file_id] = file.size
            quotas.let_go_of_upload(file)
    return kept


def _too_many(kept: list[Any]) -> str | None:
    """What is said as long as the browser lists pictures that were let go, beside those kept."""
    let_go, most = st.session_state[_LET_GO], quotas.now()
    listed = (file.file_id for file in st.session_state.get("uploads") or [])
    sizes = [let_go[each] for each in listed if each in let_go]
    if not sizes:
        return None
    found = (sum(sizes) + sum(file.size for file in kept)) / quotas.MB
    return str(
        BadImage(
            f"{len(kept) + len(sizes)} pictures of {found:,.1f} MB together",
            f"at most {most.pictures:,.0f} pictures and {most.pictures_mb:,.0f} MB of a visitor",
            f"remove some from the list; {len(sizes)} of them cannot be shown",
        )
    )


def _show_newest() -> None:
    address.stay()
    if found := uploads():
        address.put(image=found[-1].name)


def _digest(file: Any) -> str:
    # Streamlit gives each upload an id of its own; hashing megabytes at each rerun would be slow.
    digests = st.session_state.setdefault("digests", {})
    if file.file_id not in digests:
        digests[file.file_id] = hashlib.sha256(file.getvalue()).hexdigest()
    return str(digests[file.file_id])


def _problem(digest: str, name: str, data: bytes) -> str | None:
    """Why a picture cannot be shown, at the moment or ever."""
    try:
        return _refusal(digest, name, data)
    except OutOfMemory as refusal:
        # Not kept: the next try may succeed.
        return str(refusal)


@st.cache_data(max_entries=512, show_spinner="Reading the picture")
def _refusal(digest: str, name: str, _data: bytes) -> str | None:
    """Why a picture can never be shown; the digest stands for the bytes."""
    try:
        # The browser's page refuses it too, but not another program.
        if len(_data) > LARGEST_MB * 2**20:
            size = f"{len(_data) / 2**20:,.0f} MB in {printable(name)!r}"
            raise BadImage(size, ACCEPTED, "make it smaller")
        vi.read_image(_data, name=name)
    except BadImage as refusal:
        expected, remedy = refusal.expected, refusal.remedy
        if expected == ACCEPTED:
            expected = (
                f"a PNG, JPEG, WebP, BMP, GIF or TIFF picture of at most {MAX_PIXELS // 10**6} "
                f"megapixels and {LARGEST_MB} MB"
            )
        if remedy == CHOOSE_BANDS:
            remedy = "save one or three of them as a file of their own"
        return str(BadImage(refusal.found, expected, remedy))
    return None
