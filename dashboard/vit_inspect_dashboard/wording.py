"""What are things called on the pages, in lists, in addresses and in the names of files?

Layers, heads, rows and columns count from 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from vit_inspect.layout import Query, Region, TokenLayout
from vit_inspect.records import names

BROUGHT = "@sha256:"
"""What stands between the name and the hash of weights that a visitor brought."""

READ = re.compile(
    r"(?<=:)(?=//|(?:streamlit|material_\w+):)|(?<=www)(?=\.)|(?<=@)(?=[-\w]+\.)"
    r"|(?<!\S)([<>~-])(?=(?:->|[=>-])(?!\S))",
    re.IGNORECASE,
)
"""Places inside what Streamlit reads even where every sign is escaped: addresses, which become
links, its own icons, and arrows, dashes and comparisons, which become other signs."""
JOINER = "\u2060"
"""It has no width, and no line is broken at it."""

COUNTING = "Layers, heads, rows and columns count from 0."


def plain(text: str) -> str:
    """Text of strangers for a place that takes Markdown: every sign stands for itself."""
    apart = READ.sub(rf"\g<0>{JOINER}", text)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", apart)


def model_title(name: str) -> str:
    """What a model is called: of weights that a visitor brought the name alone, without a hash."""
    return name.partition(BROUGHT)[0]


def class_names(labels: Sequence[str]) -> list[str]:
    """What classes are called in lists, each unlike all others: some use a name twice, or none."""
    count = Counter(labels)
    return [
        f"{label} ({index})".strip() if count[label] > 1 or not label.strip() else label
        for index, label in enumerate(labels)
    ]


def patch_name(row: int, column: int) -> str:
    """What a patch is called in lists and in the address, such as "Patch (5, 7)"."""
    return names.patch_name(row, column).capitalize()


def query_name(query: Query | Region, layout: TokenLayout) -> str:
    """What a query token is called in lists and in the address, such as "Class token (CLS)"."""
    name = names.query_name(query, layout)
    return name[0].upper() + name[1:]


def token_name(name: str) -> str:
    """What a special token is called where there is little room."""
    return "CLS" if name == "cls" else name


def file_stem(name: str) -> str:
    """A name that is safe in any file system, whatever a stranger called the picture."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:120] or "figure"
