"""How does a part of a page that runs in the browser get there?

Each is a Python file with its .js beside it, and the .html and .css that it needs.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st


@cache
def component(home: str, *modules: str) -> Any:
    """What shows the .html, .css and .js beside the Python file `home`; registered once.

    There may be no .html and no .css: of a script that shows nothing.

    modules: names of further .js files there, which this one imports from. The browser gets one
        script: imports and exports among its parts fall away.
    """
    html, css = (
        beside.read_text(encoding="utf-8") if beside.is_file() else None
        for beside in map(Path(home).with_suffix, (".html", ".css"))
    )
    js = Path(home).with_suffix(".js").read_text(encoding="utf-8")
    parts = [(Path(home).parent / each).read_text(encoding="utf-8") for each in modules]
    js = "\n".join([*(re.sub(r"^export ", "", each, flags=re.M) for each in parts), _alone(js)])
    name = f"vit_inspect_{Path(home).stem}"
    return st.components.v2.component(name, html=html, css=css, js=js)


def _alone(script: str) -> str:
    """A script without its imports."""
    return re.sub(r"^import [^;]*;\n", "", script, flags=re.M)
