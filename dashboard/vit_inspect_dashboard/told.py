"""What can a user say of a model that no file of weights holds? A form beside its name.

What is said here goes before what the operator of the server said, and stands in the address.
"""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st
from PIL import Image

from vit_inspect import typed
from vit_inspect.errors import BadParameter
from vit_inspect.layout import MEAN
from vit_inspect.pictures.preparing import CropMode
from vit_inspect.records.evidence import Outputs
from vit_inspect_dashboard import address
from vit_inspect_dashboard.state import Said

AS_IT_IS = "as the model says"

CHOICES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "interpolation": (
        "Interpolation",
        "The filter that resizes a picture to the input.",
        tuple(each.name.lower() for each in Image.Resampling),
    ),
    "crop_mode": (
        "Crop",
        "Cut the middle out of a picture, stretch it, or fill up what it lacks.",
        get_args(CropMode),
    ),
    "readout": (
        "Output read from",
        "The tokens that the model's output is read from.",
        ("cls", MEAN),
    ),
    "outputs": (
        "Outputs",
        "One class of many (softmax), several labels at once (sigmoids), or raw numbers.",
        get_args(Outputs),
    ),
}
"""Options that are one of a few words: what they are called, what they are, and the words."""

ACTIVATION = (
    "Activation",
    "The function inside the MLP of each block.",
    ("gelu", "quick_gelu", "gelu_tanh", "relu", "silu"),
)


LINES = {
    "mean": (
        "Mean",
        "What the model subtracts, of values from 0 to 1; a number for each channel.",
        "0.5, 0.5, 0.5",
    ),
    "std": (
        "Standard deviation",
        "What it divides by then; a number for each channel.",
        "0.5, 0.5, 0.5",
    ),
    "crop_fraction": ("Crop fraction", "Share of the picture's side that the crop keeps.", "0.9"),
}
"""Options that are typed: what they are called, what they are, and an example."""

OF_A_FILE = {
    "architecture": (
        "Architecture",
        "The timm id of the network, if the file does not say it.",
        "vit_base_patch16_224",
    ),
    "num_heads": ("Heads", "Heads in each layer.", "12"),
    "part": (
        "Part of the file",
        "Which of its networks, such as an average or a student.",
        "momentum_encoder",
    ),
    "ignore": (
        "Weights that may go unused",
        "Names or patterns, with commas; the model may need them.",
        "blocks.*.adapter.*",
    ),
}
"""The same of options that only a file of weights has."""

ARCHITECTURE = ("num_heads", "act_layer")
"""Options of the network itself. Its size is not among them: visitors do not choose memory."""

KEYS = (*LINES, *CHOICES, *OF_A_FILE, "act_layer")
"""The controls of the form."""


def choose(*, of_a_file: bool) -> Said:
    """What the user says; raises `BadParameter` for a line that means nothing.

    of_a_file: whether the model is a file of weights, which has more that it does not say.
    """
    lines = LINES | (OF_A_FILE if of_a_file else {})
    words = CHOICES | ({"act_layer": ACTIVATION} if of_a_file else {})
    said = {key: held for key in (*lines, *words) if (held := address.get(key))}
    with st.popover(
        "What the weights do not say" + (f" ({len(said)} said)" if said else ""),
        help="How pictures are prepared, which tokens the model reads, what its outputs mean. Say "
        "it where the model was trained otherwise than it is loaded.",
    ):
        with st.form("said", border=False):
            for key, (label, meaning, example) in lines.items():
                st.text_input(
                    label,
                    max_chars=address.LENGTH,
                    placeholder=f"such as {example}",
                    help=meaning,
                    **address.in_form(key),
                )
            for key, (label, meaning, options) in words.items():
                st.selectbox(
                    label,
                    options,
                    index=None,
                    placeholder=AS_IT_IS,
                    help=meaning,
                    **address.in_form(key, options),
                )
            st.form_submit_button(
                "Load it so",
                type="primary",
                on_click=address.take,
                args=((*lines, *words),),
                help="Load the model with what is said here",
            )
        if said:
            st.button(
                "Forget what was said",
                on_click=address.put,
                kwargs=dict.fromkeys(KEYS),
                help="The model as it is without this form",
            )
    for key, (label, _, options) in words.items():
        # A link may say anything.
        if key in said and said[key] not in options:
            raise BadParameter(
                f"{label.lower()} {said[key][:40]!r}", ", ".join(options), "choose one of these"
            )
    found = {key: _read(key, held) if key in lines else held for key, held in said.items()}
    network = tuple((key, found.pop(key)) for key in ARCHITECTURE if key in found)
    return (*found.items(), *([("arch_options", network)] if network else []))


def _read(key: str, text: str) -> Any:
    """The value of an option that was typed."""
    if key in ("architecture", "part"):
        return text
    if key == "ignore":
        return tuple(typed.listed(text))
    if key == "num_heads":
        if not (text.isdecimal() and 0 < int(text) < 1000):
            raise BadParameter(f"the number of heads {text!r}", "1 to 999", "write 12, for example")
        return int(text)
    numbers = typed.numbers(key, text)
    if key != "crop_fraction":
        return numbers
    if len(numbers) != 1:
        raise BadParameter(f"the crop fraction {text!r}", "one number", "write 0.9, for example")
    return numbers[0]
