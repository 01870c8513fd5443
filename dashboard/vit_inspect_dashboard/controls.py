"""Which controls do pages share? Each shows what the address says, and a link keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from vit_inspect_dashboard import address, pictures, state
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.wording import model_title, patch_name

NO_OTHER = "none"
"""The choice of no other picture."""

NAME_LENGTH = 120
"""Letters of a model's name that are read."""


def choose(key: str, label: str, options: Sequence[Any], *, help: str, start: Any = None) -> Any:
    """One of a few words side by side, at first `start` or the first one."""
    return st.segmented_control(
        label,
        options,
        required=True,
        help=help,
        **address.one_of(key, options, start=options[0] if start is None else start),
    )


def choose_layer(count: int) -> int:
    """One of the layers, at first the last one."""
    return choose_number("layer", "Layer", count, start=count - 1, keys=("K", "J"))


def choose_number(key: str, label: str, count: int, *, start: int, keys: tuple[str, str]) -> int:
    """A number from 0, with two keys that go to the previous and the next one."""
    options = list(range(count))
    with st.container(width="content"):
        number = st.selectbox(
            label,
            options,
            width=170,
            help=f"Counts from 0. Previous and next {label.lower()}: keys {keys[0]} and {keys[1]}.",
            **address.one_of(key, options, start=start),
        )
        with st.container(horizontal=True, gap="small", width="content"):
            step_buttons(key, options, number, keys=keys, what=label.lower())
    return int(number)


def choose_step(count: int) -> int:
    """One of the steps of learning, from 1, with keys that go back and forth."""
    options = list(range(1, count + 1))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        step = choose("step", "Step", options, help="Keys: B goes back, F goes forward.")
        # Of their own row where the steps leave no room for both.
        with st.container(horizontal=True, gap="small", width="content"):
            step_buttons("step", options, step, keys=("B", "F"), what="step")
    return int(step)


def step_buttons(
    key: str, options: list[Any], here: Any, *, keys: tuple[str, str], what: str
) -> None:
    """Two small buttons, and two keys, that go through the options of a control."""
    for by, shortcut, words in ((-1, keys[0], "Previous"), (1, keys[1], "Next")):
        st.button(
            words,
            key=f"{key}{by:+}",
            shortcut=shortcut,
            type="tertiary",
            on_click=state.step,
            args=(key, options, here, by),
            disabled=here == options[0 if by < 0 else -1],
            help=f"{words} {what}; key {shortcut}",
        )


def choose_many(
    key: str, label: str, options: dict[str, Any], *, help: str, placeholder: str
) -> list[Any]:
    """Any number of options by name, at first none."""
    names = st.multiselect(
        label,
        list(options),
        help=help,
        placeholder=placeholder,
        select_all=False,
        **address.many_of(key, list(options)),
    )
    return [options[name] for name in names]


def choose_patch(
    grid: tuple[int, int],
    *,
    key: str = "token",
    label: str = "Patch",
    help: str,
    start: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """One patch, at first `start` or the middle one; the same on all pages that share the key."""
    middle = grid[0] // 2, grid[1] // 2
    patches = {patch_name(*each): each for each in np.ndindex(grid)}
    name = st.selectbox(
        label,
        list(patches),
        width=190,
        **address.one_of(key, patches, start=patch_name(*(start or middle))),
        help=f"{help} Row and column count from 0, at the top left.",
    )
    row, column = patches[name]
    return row, column


def choose_other_picture(
    picture: Picture, *, key: str, help: str, none: str | None = None
) -> Picture | None:
    """A picture of the sidebar's list that is not this one; where `none` is a word, first none."""
    others = {name: each for name, each in pictures.by_name().items() if each != picture}
    options = [*([none] if none else []), *others]
    name = st.selectbox(
        "Another picture",
        options,
        width=260,
        help=help,
        **address.one_of(key, options, start=options[0] if options else None),
    )
    return others.get(str(name))


def choose_other_model(label: str, options: Sequence[str], *, key: str, help: str) -> str:
    """A model of the list, or any name typed in."""
    name = st.selectbox(
        label,
        options,
        format_func=model_title,
        accept_new_options=True,
        width=380,
        help=f"{help} You can type any timm id.",
        **address.one_of(key, options, start=options[0], typed=True),
    )
    return str(name)[:NAME_LENGTH]


def choose_steps() -> int:
    """Into how many steps a curve of faithfulness is cut."""
    steps = st.segmented_control(
        "Steps",
        (10, 20, 40),
        required=True,
        **address.one_of("steps", (10, 20, 40), start=20),
        help="Steps of each curve, at most one for each patch. The model runs for each step.",
    )
    return int(steps)
