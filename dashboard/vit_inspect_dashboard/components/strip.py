"""How does one choose a picture, or bring one's own? Small pictures side by side.

A file that is chosen, dropped or pasted anywhere on the page is handed to Streamlit's own uploader,
which has the limits and the session's memory.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence

import streamlit as st

from vit_inspect_dashboard import pictures
from vit_inspect_dashboard.components import component
from vit_inspect_dashboard.pictures import Picture

MOST = 48
"""Pictures that are shown, and the one that is open; the list of the sidebar has all. All that are
bundled have room, and some uploads."""


def strip(
    offered: Sequence[Picture], here: Picture, *, key: str, on_pick: Callable[[str], None]
) -> None:
    """Shows pictures, the one that is open among them outlined.

    on_pick: is called before the rerun with the name of the picture that was clicked.
    """
    # The newest uploads come last, and first where not all have room.
    first, newest = offered[: MOST // 2], offered[MOST // 2 :][-MOST // 2 :]
    between = [each for each in offered[MOST // 2 : -MOST // 2] if each.name == here.name]
    shown = [*first, *between, *newest]
    names = [picture.name for picture in shown]

    def picked() -> None:
        index = st.session_state[key].get("picked")
        if type(index) is int and 0 <= index < len(names):
            on_pick(names[index])

    data = {
        "here": names.index(here.name) if here.name in names else -1,
        "pictures": [{"title": each.title, "source": _source(each)} for each in shown],
    }
    component(__file__)(key=key, data=data, on_picked_change=picked)


@st.cache_data(max_entries=512, show_spinner=False)
def _encoded(key: str, _picture: Picture) -> str:
    file = io.BytesIO()
    pictures.thumbnail(key, _picture.read).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _source(picture: Picture) -> str:
    """A small copy as an address of its own; the key stands for the pixels."""
    return _encoded(picture.key, picture)
