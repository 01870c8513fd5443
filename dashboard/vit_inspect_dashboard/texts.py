"""Which texts are the classes of a model that was trained with texts? A form asks for them.

They stand in the address. Whoever gives a link may have written them: their number and their
length are bounded.
"""

from __future__ import annotations

import streamlit as st

from vit_inspect.errors import BadParameter
from vit_inspect.loading.words import PLACE
from vit_inspect_dashboard import address

MOST = 20
"""Most texts of a link."""
LETTERS, TEMPLATE_LETTERS = 150, 100
"""Most letters of a text, and of what it is put into."""

TEXT, TEMPLATE = "text", "template"
"""Where the address holds them."""

EXAMPLES = "a cat\na red shoe"


def chosen() -> tuple[str, ...]:
    """The texts of the address; raises `BadParameter` for too many or too long ones."""
    texts = address.get_all(TEXT)
    if len(texts) > MOST:
        raise BadParameter(f"more than {MOST} texts", f"at most {MOST}", "leave some out")
    for words, most in (*((each, LETTERS) for each in texts), (template(), TEMPLATE_LETTERS)):
        if len(words) > most:
            raise BadParameter(
                f"a text of more than {most} letters, {words[:40]!r} ...",
                f"at most {most} letters",
                "make it shorter",
            )
    return texts


def template() -> str:
    """What each text is put into before the model reads it."""
    return address.get(TEMPLATE) or PLACE


def choose() -> None:
    """A button that opens the form; it says how many texts there are."""
    count = len(address.get_all(TEXT))
    with st.popover(
        "Words as classes" + (f" ({count})" if count else ""),
        help="This model was trained with texts: whatever you write can be a class.",
    ):
        form("sidebar")


def form(place: str) -> None:
    """The texts, one in each line, and their template; `place` is where the form stands."""
    lines, around = f"texts_{place}", f"template_{place}"
    st.session_state[lines] = "\n".join(address.get_all(TEXT))
    st.session_state[around] = address.get(TEMPLATE) or ""
    with st.form(f"words_{place}", border=False):
        st.text_area(
            "Words as classes",
            key=lines,
            placeholder=EXAMPLES,
            max_chars=MOST * (LETTERS + 1),
            help=f"One text in each line, at most {MOST} of at most {LETTERS} letters.",
        )
        st.text_input(
            "Read as",
            key=around,
            placeholder=f"{PLACE}, or a photo of a {PLACE}",
            max_chars=TEMPLATE_LETTERS,
            help=f"What each text is put into, at {PLACE}, before the model reads it. CLIP was "
            f"tested with many, such as 'a photo of a {PLACE}'.",
        )
        st.form_submit_button(
            "Take these words",
            type="primary",
            on_click=_take,
            args=(lines, around),
            help="Let each be a class, with the model's own score",
        )


def leave_out() -> None:
    """What leads back from texts that cannot be taken."""
    address.put(**{TEXT: None, TEMPLATE: None})


def _take(lines: str, around: str) -> None:
    """What the button of the form does. Texts that are too long stay so, and are refused."""
    written = (each.strip()[: LETTERS + 1] for each in st.session_state[lines].splitlines())
    texts = [*dict.fromkeys(each for each in written if each)][: MOST + 1]
    put_into = st.session_state[around].strip()[: TEMPLATE_LETTERS + 1]
    address.put(**{TEXT: texts, TEMPLATE: None if put_into == PLACE else put_into or None})
