"""How does a part of a page that runs in the browser get there?

Each is a Python file with its .html, .css and .js beside it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st


@cache
def component(home: str) -> Any:
    """What shows the .html, .css and .js beside the Python file `home`; registered once."""
    html, css, js = (
        Path(home).with_suffix(suffix).read_text(encoding="utf-8")
        for suffix in (".html", ".css", ".js")
    )
    name = f"vit_inspect_{Path(home).stem}"
    return st.components.v2.component(name, html=html, css=css, js=js)
