"""What does every page look at? The sidebar: picture, model, input size, fit and stage."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args

import streamlit as st

from vit_inspect.figures.looks import parameter_count, short
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import Fit
from vit_inspect.pictures.reading import printable
from vit_inspect_dashboard import address, kept, models, offers, picker, pictures, state
from vit_inspect_dashboard.controls import NAME_LENGTH, choose, step_buttons
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import plain, token_name

DEFAULT_PX = 224
"""Where the bundled model starts: a figure within seconds on two cores."""
SIZES_PX = (224, 256, 336, 384, 448, 512)
"""Offered input sizes, each rounded to whole patches."""
PATCHES_PX = (8, 14, 16, 32)
"""Patch sizes that models have, to know a size of the address from nonsense."""


def choose_picture(place: Any) -> Picture:
    """A sample or an upload; what is wrong with one is told in `place`, which is always seen."""
    pictures.choose_uploads(place)
    found = pictures.by_name()
    name = st.selectbox(
        "Picture",
        list(found),
        help="Samples, and what you upload.",
        **address.one_of("image", found, start=next(iter(found)), awaited=elsewhere(found)),
    )
    with st.container(horizontal=True, gap="small"):
        step_buttons("image", list(found), name, keys=("P", "N"), what="picture")
    return found[str(name)]


def elsewhere(found: Collection[str]) -> str:
    """What is said where the address names a picture that this session does not have."""
    wanted = short(printable(address.get("image") or ""), NAME_LENGTH)
    return (
        f"This link shows {wanted}, which was uploaded elsewhere. Add it to the pictures to see "
        f"this view; until then it is of {next(iter(found))}."
    )


def load_first(name: str | None = None) -> Subject:
    """Load the model that a new visitor sees, by default the first one of the list."""
    name = name or next(iter(picker.listed()))
    first = Subject(name, own_size(name), "crop", pictures.samples_of(name)[0])
    models.model(first)
    return first


def choose_fit() -> Fit:
    """How a picture becomes a square."""
    fit: Fit = choose(
        "fit",
        "Model sees",
        get_args(Fit),
        help="'crop' is the model's own way: it cuts off the borders, as in its evaluation. "
        "'whole' squeezes the whole picture into a square: nothing is cut off, but proportions "
        "change.",
    )
    return fit


def wanted_size(model: str) -> int | None:
    """The input size asked for, before there is a model that says which sizes it takes."""
    asked = address.get("size") or ""
    if asked == state.native_px().get(model):
        return None
    offered = {str(size): size for patch_px in PATCHES_PX for size in sizes_px(patch_px)}
    return offered.get(asked, own_size(model))


def own_size(model: str) -> int | None:
    """The input size where a model starts; None for the size that it was trained for."""
    return DEFAULT_PX if model == DEFAULT else None


def sizes_px(patch_px: int) -> set[int]:
    """Input sizes that patches of this size tile."""
    return {max(1, round(size / patch_px)) * patch_px for size in SIZES_PX}


def choose_size(subject: Subject, input_px: int, patch_px: int) -> None:
    """Larger inputs have more patches; a patch stays as large as it is."""
    if subject.size is None:
        # From the next run on the widget asks for it by number; it must stay the same model.
        state.native_px()[subject.model] = str(input_px)
    fixed = offers.is_in_memory(subject.model)
    options = [input_px] if fixed else sorted(sizes_px(patch_px) | {input_px})
    start = own_size(subject.model) or state.native_px().get(subject.model)
    control = address.one_of("size", options, start=input_px)
    st.selectbox(
        "Model input in px",
        options,
        help="A larger input is cut into more patches of the same size: finer maps, slower.",
        # What it is at first, and so not in the address, may be another size than this one.
        **control
        | {"args": ("size", next((each for each in options if str(each) == str(start)), None))},
    )


def choose_stage(model: Model) -> int | None:
    """One stage of a hierarchical model; None for a model that has just one."""
    options = list(range(model.stage_count))
    control = address.one_of("stage", options, start=model.stage)
    if model.stage_count == 1:
        return None
    stage = st.selectbox(
        "Stage",
        options,
        **control,
        help="This model merges its tokens between stages. Each stage has a grid of its own; stage "
        "0 has the finest.",
    )
    return int(stage)


def show_facts(subject: Subject) -> None:
    """The model in four lines."""
    model = models.model(subject)
    layout = model.layout
    special = ", ".join(map(token_name, layout.prefix)) or "no special tokens"
    stage = f" in stage {model.stage}" if model.stage_count > 1 else ""
    lines = [
        f"{parameter_count(model.parameter_count)} parameters, {len(model.blocks)} layers{stage}",
        f"{layout.token_count:,} tokens: {special}, {layout.patch_count:,} patches",
        f"On {model.device}; weights: {model.source}",
    ]
    if capture := kept.captures().peek(subject.key):
        lines.append(f"Attention verified to {capture.error:.0e}")
    # The source holds the name of a file, which may be a stranger's.
    st.caption("  \n".join(map(plain, lines)))
