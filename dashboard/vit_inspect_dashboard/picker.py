"""Which models are there to choose from, and what is known of each? The dialog of the sidebar."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import streamlit as st

from vit_inspect.errors import InspectError
from vit_inspect.loading.bundled import FASHION_NAMES
from vit_inspect.loading.recommended import ZOO
from vit_inspect.loading.timm_names import is_here, named, served
from vit_inspect.model import Model
from vit_inspect_dashboard import address, allowed, brought, offers, state, texts, told
from vit_inspect_dashboard.controls import NAME_LENGTH
from vit_inspect_dashboard.wording import model_title, plain

SHOWN = 12
"""Models that the dialog shows at first, and how many more each time."""

HERE = "on this machine"

STEPS = "steps_of_training"
COUNT, SOUGHT, OPENED, UPLOAD = "models_shown", "sought_model", "times_opened", "weights"
"""Where a session keeps how many models the dialog shows, the words that are searched for, how
often it was opened, and what was uploaded since."""


class Entry(NamedTuple):
    """A model of the list.

    facts: what is known of it before it is loaded.
    why: what it is good for, of those that are recommended.
    here: whether it opens without a download.
    """

    name: str
    facts: str
    why: str = ""
    here: bool = False


def listed() -> dict[str, str]:
    """The names of what this server offers, is recommended and this session brought, and why."""
    why = offers.listed()
    zoo = {
        each.name: each.why
        for each in ZOO
        if why.get(each.name) in (None, offers.CHOSEN) and allowed.is_allowed(each.name)
    }
    return why | zoo | brought.mine()


def others(model: str) -> list[str]:
    """What can stand beside a model: not weights that were brought, of which more must be said."""
    return [each for each in listed() if each != model and brought.digest_of(each) is None]


def entry(name: str, own: Mapping[str, str], why: Mapping[str, str]) -> Entry:
    """What is known of a model without loading it.

    own: what this server and this session have; why: the same of all that is recommended too.
    """
    if own.get(name) not in (None, offers.CHOSEN):
        return Entry(name, own[name], here=True)
    # A link chooses the title, which may be the name of a model that everybody knows.
    if digest := brought.digest_of(name):
        return Entry(name, f"Uploaded weights · sha256 {digest[:8]}", here=True)
    known, here = named(name), is_here(name)
    if known is None:
        return Entry(name, own.get(name, ""))
    rows, columns = known.input_px
    said = [
        known.family,
        known.size,
        known.patch_px and f"patch {known.patch_px}",
        f"{rows} px" if rows == columns else f"{rows} × {columns} px",
        f"{known.class_count:,} classes" if known.class_count else "no classes",
        {True: HERE, False: "needs a download", None: "no trained weights"}[here],
    ]
    return Entry(name, " · ".join(each for each in said if each), why.get(name, ""), bool(here))


def entries() -> list[Entry]:
    """All models: those on this machine first, then the recommended ones, then all others."""
    own, why = _own(), listed()
    others = (each.name for each in served() if each.name not in why)
    names = (*why, *filter(allowed.is_allowed, others))
    found = [entry(name, own, why) for name in names]
    # The sort keeps the order of equals.
    return sorted(found, key=lambda each: (brought.digest_of(each.name) is None, not each.here))


def _own() -> dict[str, str]:
    return offers.listed() | brought.mine()


def matching(found: list[Entry], words: str) -> list[Entry]:
    """The models whose name, facts or use hold all these words."""
    sought = words.casefold().split()
    return [each for each in found if all(word in " ".join(each[:3]).casefold() for word in sought)]


def choose() -> str:
    """The name of the model in the address, on a button that opens the list."""
    first = next(iter(listed()))
    name = (address.get("model") or first)[:NAME_LENGTH]
    with st.container(gap="xxsmall"):
        st.markdown(":small[Model]")
        opened = st.button(
            plain(model_title(name)),
            key="choose_model",
            icon=":material/expand_more:",
            icon_position="right",
            width="stretch",
            wrap=True,
            on_click=_begin,
            help="Choose another model",
        )
        if facts := entry(name, _own(), {}).facts:
            st.caption(plain(facts))
    if opened:
        _dialog(name, first)
    return name


def offer_classes(model: Model) -> None:
    """Ways to go on from a page that has more for a model with classes."""
    if model.words is not None:
        st.write("It was trained with texts: whatever you write here can be a class.")
        texts.form("page")
        return
    first = next(iter(listed()))
    with st.container(horizontal=True):
        st.button(
            "Open the bundled classifier",
            type="primary",
            on_click=state.take_classifier,
            args=(told.KEYS,),
            help="It tells ten garments apart, on pictures of which it is known what lies where. "
            "Nothing is downloaded.",
        )
        sought = "1,000 classes"
        opened = st.button(
            "Choose another model with classes",
            on_click=_begin,
            args=(sought,),
            help=f"The list of models, for {sought!r}",
        )
    if opened:
        _dialog((address.get("model") or first)[:NAME_LENGTH], first)


def choose_steps(model: str) -> None:
    """Of the bundled classifier, how long it was trained: each step is a model of its own."""
    here = next((steps for steps, name in FASHION_NAMES.items() if name == model), None)
    if here is None:
        return
    st.session_state[STEPS] = here
    st.select_slider(
        "Steps of training",
        sorted(FASHION_NAMES),
        key=STEPS,
        on_change=state.take_steps,
        args=(FASHION_NAMES, STEPS),
        format_func="{:,}".format,
        help="The same network, kept on the way: at 0 its weights are random. Move it to see how "
        "attention comes to be.",
    )


@st.dialog("Choose a model", width="medium")
def _dialog(here: str, first: str) -> None:
    _bring(here, first)
    words = st.text_input(
        "Search",
        type="search",
        live=True,
        placeholder="Name, family, size: dinov2 base",
        key=SOUGHT,
    )
    only_here = st.toggle(f"Only {HERE}", key="only_here", help="Those that need no download")
    all_of_them = entries()
    found = [each for each in matching(all_of_them, words or "") if each.here or not only_here]
    count: int = st.session_state[COUNT]
    take = partial(_take, here=here, first=first)
    with st.container(key="models"):
        for each in found[:count]:
            with st.container(gap=None):
                take(each.name)
                st.caption("  \n".join(plain(line) for line in (each.facts, each.why) if line))
    if len(found) > count:
        st.button(
            f"Show more of {len(found)}",
            on_click=_show_more,
            args=(count,),
            help=f"{SHOWN} more models",
        )
    typed = (words or "").strip()[:NAME_LENGTH]
    if (
        typed
        and allowed.is_allowed(typed)
        and " " not in typed
        and all(each.name != typed for each in all_of_them)
    ):
        take(typed, label=f"Load **{plain(typed)}** by its name")


def _bring(here: str, first: str) -> None:
    """Where a visitor brings a file of weights, if the operator allows it."""
    if (limit := brought.limit_mb()) is None:
        return
    key = f"{UPLOAD}_{st.session_state[OPENED]}"
    file = st.file_uploader(
        "Your weights",
        type=["safetensors"],
        max_upload_size=limit,
        key=key,
        help="One .safetensors of a vision transformer of timm. It stays in this session: nobody "
        "else can open it, and after a reload you upload it again. Say its architecture in 'What "
        "the weights do not say'.",
    )
    if file is None:
        return
    try:
        name = brought.take(file, key)
    except InspectError as refusal:
        st.error(plain(str(refusal)))
        return
    # A link to these weights goes on to show all that it says.
    if brought.digest_of(name) == brought.digest_of(here):
        address.stay()
    else:
        state.take_model(name, first, told.KEYS)
    st.rerun()


def _take(name: str, *, here: str, first: str, label: str = "") -> None:
    """A button that chooses a model; `here` is the one that is open."""
    icon = ":material/check:" if name == here else None
    if st.button(
        label or f"**{plain(model_title(name))}**",
        key=f"take_{name}",
        type="tertiary",
        icon=icon,
        wrap=True,
        help="The model that is open" if name == here else "Open this model",
        # The model that is open keeps its size, and what was said of it.
        on_click=address.stay if name == here else state.take_model,
        args=() if name == here else (name, first, told.KEYS),
    ):
        st.rerun()


def _begin(words: str = "") -> None:
    """The dialog opens with the start of the list, or of what the words find."""
    st.session_state[COUNT], st.session_state[SOUGHT] = SHOWN, words
    st.session_state[OPENED] = st.session_state.get(OPENED, 0) + 1
    address.stay()


def _show_more(count: int) -> None:
    st.session_state[COUNT] = count + SHOWN
