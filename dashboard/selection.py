"""What is being looked at: which model, at which size, how fitted, on which picture?

The sidebar's widgets, which are on every page. Each is bound to the address, so that a copied link
reopens the view; Streamlit drops values from the address that are not among a widget's options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import streamlit as st

from dashboard import inputs
from vit_inspect.layout import READOUT, Query, TokenLayout
from vit_inspect.loading.recommended import BUNDLED, ZOO
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import Fit

DEFAULT_PX = 224
"""Where the bundled model starts: a figure within seconds on two cores."""
SIZES_PX = (224, 256, 336, 384, 448, 512)
"""Offered input sizes, each rounded to whole patches."""
PATCHES_PX = (8, 14, 16, 32)
"""Patch sizes that models have, to know a size of the address from nonsense."""
NAME_LENGTH = 120


class Subject(NamedTuple):
    """Primitives that determine a capture, and so the key of everything derived from it.

    size: side of the model input in px; None for the size that the model was trained for.
    image: a sample's name, or the sha256 of an upload.
    stage: of a hierarchical model the stage that is looked at; None for where it opens.
    randomised: whether the model's weights are permuted, as a control.
    """

    model: str
    size: int | None
    fit: Fit
    image: str
    stage: int | None = None
    randomised: bool = False


def choose_model() -> str:
    """A model of the list, or any timm id typed in."""
    why = {each.name: each.why for each in ZOO}
    name = st.selectbox(
        "Model",
        list(why),
        key="model",
        bind="query-params",
        accept_new_options=True,
        on_change=_forget_size,
        help="Pick one, or type a timm id, hf-hub:organisation/name or "
        f"transformers:organisation/name. Only the bundled {BUNDLED} works without a connection.",
    )
    if name in why:
        st.caption(why[name])
    return str(name)[:NAME_LENGTH]


def wanted_size(model: str) -> int | None:
    """The input size asked for, before there is a model that says which sizes it takes."""
    asked = str(st.session_state.get("size", st.query_params.get("size")))
    if asked == _native_px().get(model):
        return None
    offered = {str(size): size for patch_px in PATCHES_PX for size in sizes_px(patch_px)}
    return offered.get(asked, DEFAULT_PX if model == BUNDLED else None)


def sizes_px(patch_px: int) -> set[int]:
    """Input sizes that patches of this size tile."""
    return {max(1, round(size / patch_px)) * patch_px for size in SIZES_PX}


def own_size(model: str) -> int | None:
    """The input size where a model starts that is not the sidebar's."""
    return DEFAULT_PX if model == BUNDLED else None


def choose_size(subject: Subject, input_px: int, patch_px: int) -> None:
    """Larger inputs have more patches; a patch stays as large as it is."""
    if subject.size is None:
        # From the next run on the widget asks for it by number; it must stay the same model.
        _native_px()[subject.model] = str(input_px)
    options = sorted(sizes_px(patch_px) | {input_px})
    start = own_size(subject.model) or _native_px().get(subject.model)
    others = [size for size in options if size != input_px]
    # Streamlit leaves the default out of the address: what a link has asked for must not be it.
    default = next((size for size in options if str(size) == str(start)), others[-1])
    st.selectbox(
        "Model input in px",
        options,
        index=options.index(default),
        key="size",
        bind="query-params",
        help="A larger input is cut into more patches of the same size: finer maps, slower.",
    )


def choose_stage(model: Model) -> int | None:
    """One stage of a hierarchical model; None for a model that has just one."""
    if model.stage_count == 1:
        return None
    options = list(range(model.stage_count))
    stage = st.selectbox(
        "Stage",
        options,
        index=model.stage,
        key="stage",
        bind="query-params",
        help="Tokens of this model merge between its stages: each has a grid of its own, the "
        "first the finest.",
    )
    return int(stage)


def choose_fit() -> Fit:
    """How a picture becomes a square."""
    fit: Fit = choose(
        "fit",
        "Model sees",
        get_args(Fit),
        help="'crop' is the model's own: it cuts the borders away, as in its evaluation. 'whole' "
        "squeezes the whole picture to a square: nothing is left out, but proportions change.",
    )
    return fit


def choose(key: str, label: str, options: Sequence[Any], *, help: str) -> Any:
    """One of a few words side by side, at first the first one."""
    return st.segmented_control(
        label,
        options,
        default=options[0],
        required=True,
        key=key,
        bind="query-params",
        help=help,
    )


def choose_image() -> str:
    """A sample or an upload; returns its key."""
    inputs.upload()
    keys = inputs.keys()
    name = st.selectbox(
        "Picture",
        list(keys),
        key="image",
        bind="query-params",
        help="Samples, and what you upload.",
    )
    with st.container(horizontal=True, gap="small"):
        step_buttons("image", list(keys), keys=("P", "N"), what="picture")
    _shown()["image"] = name
    return keys[str(name)]


def choose_number(
    key: str, label: str, numbers: range, *, start: int, keys: tuple[str, str]
) -> int:
    """One of a few numbers, with two keys that go to the previous and the next one."""
    options = list(numbers)
    with st.container(width="content"):
        number = st.selectbox(
            label,
            options,
            index=options.index(start),
            key=key,
            bind="query-params",
            width=170,
            help=f"Previous and next {label.lower()}: keys {keys[0]} and {keys[1]}.",
        )
        with st.container(horizontal=True, gap="small", width="content"):
            step_buttons(key, options, keys=keys, what=label.lower())
    _shown()[key] = number
    return int(number)


def choose_step(count: int) -> int:
    """One of the steps of the tour, with keys that go back and forth."""
    options = list(range(1, count + 1))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        step = choose("step", "Step", options, help="Or go with the keys B (back) and F (forth).")
        step_buttons("step", options, keys=("B", "F"), what="step")
    _shown()["step"] = step
    return int(step)


def step_buttons(key: str, options: list[Any], *, keys: tuple[str, str], what: str) -> None:
    """Two small buttons, and two keys, that go through the options of a widget."""
    for step, shortcut, words in ((-1, keys[0], "Previous"), (1, keys[1], "Next")):
        st.button(
            words,
            key=f"{key}{step:+}",
            shortcut=shortcut,
            type="tertiary",
            on_click=_step,
            args=(key, options, step),
            help=f"{words} {what}; key {shortcut}",
        )


def query_name(query: Query, layout: TokenLayout) -> str:
    """What a query is called in the list and in the address."""
    if query == READOUT:
        return layout.readout_words.capitalize()
    return f"Token {query}" if isinstance(query, str) else patch_name(*query)


def choose_query(queries: Sequence[Query], layout: TokenLayout, *, start: Query) -> Query:
    """The token whose attention is shown."""
    names = {query_name(query, layout): query for query in queries}
    name = st.selectbox(
        "Who looks",
        list(names),
        index=list(names).index(query_name(start, layout)),
        key="query",
        bind="query-params",
        width=190,
        help="The token whose attention is shown. Or click a patch of the picture.",
    )
    return names[str(name)]


def patch_name(row: int, column: int) -> str:
    """What a patch is called in lists and in the address."""
    return f"Patch {row}, {column}"


def head_name(layer: int, head: int) -> str:
    """What a head, from 0, is called in lists and in the address."""
    return f"Layer {layer}, head {head + 1}"


def choose_many(
    key: str, label: str, options: dict[str, Any], *, help: str, placeholder: str
) -> list[Any]:
    """Any number of options by name, at first none."""
    names = st.multiselect(
        label,
        list(options),
        key=key,
        bind="query-params",
        help=help,
        placeholder=placeholder,
        select_all=False,
    )
    return [options[name] for name in names]


def choose_patch(grid: tuple[int, int], *, help: str) -> tuple[int, int]:
    """One patch, at first the one in the middle; the same on all pages that compare with one."""
    patches = {patch_name(*each): each for each in np.ndindex(grid)}
    name = st.selectbox(
        "Patch",
        list(patches),
        index=list(patches).index(patch_name(grid[0] // 2, grid[1] // 2)),
        key="token",
        bind="query-params",
        width=190,
        help=help,
    )
    row, column = patches[name]
    return row, column


def choose_other(image: str, *, key: str, help: str, none: str | None = None) -> str | None:
    """A picture of the sidebar's list that is not `image`; where `none` is a word, first none."""
    keys = {name: each for name, each in inputs.keys().items() if each != image}
    name = st.selectbox(
        "Another picture",
        [*([none] if none else []), *keys],
        key=key,
        bind="query-params",
        width=260,
        help=help,
    )
    return keys.get(str(name))


def _shown() -> dict[str, Any]:
    """What the last run took from the widgets that have step buttons."""
    shown: dict[str, Any] = st.session_state.setdefault("shown", {})
    return shown


def _native_px() -> dict[str, str]:
    """The sizes that models were trained for, as far as this session has met them."""
    sizes: dict[str, str] = st.session_state.setdefault("native_px", {})
    return sizes


# What widgets call lives here: a function of a page would keep all that the page has named,
# its capture and its network, for as long as the session lasts.


def _forget_size() -> None:
    st.session_state.pop("size", None)


def pick_patch(layout: TokenLayout, patch: tuple[int, int] | None) -> None:
    """What a click on the large map does."""
    st.session_state["query"] = query_name(READOUT if patch is None else patch, layout)


def pick_head(picked: list[int]) -> None:
    """What a click on one of the small maps does."""
    st.session_state["layer"], st.session_state["head"] = picked[0], picked[1] + 1


def pick_tile(picked: list[int]) -> None:
    """What a click on a tile of the position embeddings does."""
    st.session_state["patch"] = f"{picked[0] + 1}, {picked[1] + 1}"


def pick_token(picked: list[int]) -> None:
    """What a click on a patch whose token is compared does."""
    st.session_state["token"] = patch_name(picked[0], picked[1])


def pick_layer(picked: list[int]) -> None:
    """What a click on what stands for a layer does."""
    st.session_state["layer"] = picked[0]


def leave_for_head(picked: list[int]) -> None:
    """What a click on a dot does; the page is left once the run has begun."""
    st.session_state["leave_for"] = {"layer": picked[0], "head": picked[1] + 1}


def leave_for_row(key: str, heads: Sequence[Sequence[int]]) -> None:
    """What a click on a row of a table of heads does; `heads` are its (layer, head), row by row."""
    if rows := st.session_state[key].selection.rows:
        leave_for_head(list(heads[rows[0]]))


def _step(key: str, options: list[Any], step: int) -> None:
    # Keys pressed quickly arrive with a value of the widget that is older than the last step.
    here = _shown().get(key)
    place = options.index(here) if here in options else 0
    _shown()[key] = st.session_state[key] = options[min(max(place + step, 0), len(options) - 1)]


def toggle(key: str, option: str) -> None:
    """Chooses one of many options, or no longer, as a click on a picture does."""
    chosen = [each for each in st.session_state.get(key, []) if each != option]
    if len(chosen) == len(st.session_state.get(key, [])):
        chosen.append(option)
    st.session_state[key] = chosen


def toggle_head(picked: list[int]) -> None:
    """What a click on a head does where heads are switched off."""
    toggle("off_heads", head_name(picked[0], picked[1]))


def toggle_patch(picked: list[int]) -> None:
    """What a click on a patch does where patches are switched off."""
    toggle("off_tokens", patch_name(picked[0], picked[1]))
