"""What do all pages look at, and what does a click change?

What widgets call lives here: a function of a page would keep all that the page has named, its
capture and its network, for as long as the session lasts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st

from vit_inspect.loading.bundled import FASHION
from vit_inspect.loading.words import PLACE
from vit_inspect.pictures.preparing import Fit
from vit_inspect.records.names import place_name
from vit_inspect_dashboard import address
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.wording import model_title, patch_name

Said = tuple[tuple[str, Any], ...]
"""What a user says of a model: options of `vit_inspect.load`, as pairs of a name and a value."""

HOME = "explore"
"""The view that is open at first."""


class Subject(NamedTuple):
    """What determines a capture, and so the key of everything that is computed from it.

    A new choice of the sidebar is a field here; `models.model` carries it out.

    size: side of the model input in px; None for the size that the model was trained for.
    stage: of a hierarchical model the stage that is looked at; None for where it opens.
    randomised: whether the model's weights are permuted, for a sanity check.
    said: what the user says of the model, as `told.choose` returns it.
    texts, template: of a model with a text tower, what its classes are, as `with_texts` takes it.
    """

    model: str
    size: int | None
    fit: Fit
    picture: Picture
    stage: int | None = None
    randomised: bool = False
    said: Said = ()
    texts: tuple[str, ...] = ()
    template: str = PLACE

    def beside(self, model: str, size: int | None) -> Subject:
        """The same of another model, of which nothing was said."""
        return self._replace(model=model, size=size, stage=None, said=())

    @property
    def model_title(self) -> str:
        """What the model is called on pages and in the names of files."""
        return model_title(self.model)

    @property
    def model_key(self) -> Hashable:
        """What determines the model, as words and numbers."""
        return (*self._replace(picture=None),)  # type: ignore[arg-type]

    @property
    def key(self) -> Hashable:
        """The same as words and numbers, which keep no picture in memory."""
        return (*self._replace(picture=self.picture.key),)  # type: ignore[arg-type]


def choose(subject: Subject) -> None:
    """Make this what all pages look at."""
    st.session_state["subject"] = subject


def current() -> Subject:
    """What the sidebar has chosen."""
    subject: Subject = st.session_state["subject"]
    return subject


def begun(kind: str) -> dict[Hashable, Any]:
    """What this session has done so far of long work of a kind, by what the work is about."""
    work: dict[Hashable, Any] = st.session_state.setdefault(f"begun_{kind}", {})
    return work


def native_px() -> dict[str, str]:
    """The sizes that models were trained for, as far as this session has met them."""
    sizes: dict[str, str] = st.session_state.setdefault("native_px", {})
    return sizes


def go(key: str, views: Mapping[str, str]) -> None:
    """What a click on the title of a view does; `key` is where it lies."""
    address.put(at=views[st.session_state[key]])


def take_model(chosen: str, start: str, said: Sequence[str]) -> None:
    """Another model has a size and a stage of its own, and nothing was said of it.

    start: the one that is open while nothing is chosen.
    """
    address.put(model=None if chosen == start else chosen, size=None, stage=None)
    address.put(**dict.fromkeys(said))


FIRST_CANVAS = "canvas_14"
"""A canvas with three garments: it finds all of them, and relevance for each lies on it."""


def take_classifier(said: Sequence[str]) -> None:
    """What leads from a model without classes to the bundled one that has some."""
    take_model(FASHION, "", said)
    address.put(image=FIRST_CANVAS)


def take_steps(names: Mapping[int, str], key: str) -> None:
    """The same network after other steps of its training; all else stays as it is."""
    address.put(model=names[st.session_state[key]])


def back_to_first_model(said: Sequence[str]) -> None:
    """What leads back from a model that cannot be had."""
    address.put(model=None, size=None, stage=None)
    address.put(**dict.fromkeys(said))


def step(key: str, options: list[Any], here: Any, by: int) -> None:
    """What a step button or its key does; `here` is where the last run was."""
    held = {str(option): option for option in options}.get(address.get(key) or "", here)
    address.put(**{key: options[min(max(options.index(held) + by, 0), len(options) - 1)]})


def pick_picture(name: str) -> None:
    """What a click on a small picture does."""
    address.put(image=name)


def pick_tile(picked: list[int]) -> None:
    """What a click on a tile of the position embeddings does."""
    address.put(patch=patch_name(picked[0], picked[1]))


def pick_layer(picked: list[int]) -> None:
    """What a click on a map or a bar of a layer does."""
    address.put(layer=picked[0])


def open_head(picked: list[int]) -> None:
    """What a click on a dot or a cell does: the maps of this head."""
    address.put(at=HOME, layer=picked[0], head=picked[1])


def pick_head(picked: list[int]) -> None:
    """What a click on a dot or a cell does where the head is shown on the page itself."""
    address.put(layer=picked[0], head=picked[1])


def open_picture(name: str, layer: int, head: int) -> None:
    """What leads from a picture of a survey to its maps at this head."""
    address.put(at=HOME, image=name, layer=layer, head=head)


def remember(key: str, value: Any) -> None:
    """What a button does that begins or ends work of this session, which no address holds."""
    st.session_state[key] = value
    address.stay()


def open_row(key: str, heads: Sequence[Sequence[int]]) -> None:
    """What a click on a row of a table of heads does; `heads` are its (layer, head), row by row."""
    address.stay()
    if rows := st.session_state[key].selection.rows:
        open_head(list(heads[rows[0]]))


def toggle(key: str, option: str) -> None:
    """Chooses one of many options, or no longer, as a click on a picture does."""
    chosen = [each for each in address.get_all(key) if each != option]
    if len(chosen) == len(address.get_all(key)):
        chosen.append(option)
    address.put(**{key: chosen})


def toggle_head(picked: list[int]) -> None:
    """What a click on a head does where heads are ablated."""
    toggle("off_heads", place_name(picked[0], picked[1]))


def toggle_patch(picked: list[int]) -> None:
    """What a click on a patch does where patches are ablated."""
    toggle("off_tokens", patch_name(picked[0], picked[1]))
