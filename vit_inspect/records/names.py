"""What are layers, heads, patches and queries called? They count from 0, as in Python, everywhere.

One home for these names: figures, analyses and pages take them from here. The paper's figures count
heads from 1; that is given up, so that a number on a figure is the index in an array.
"""

from __future__ import annotations

from vit_inspect.layout import READOUT, Query, Region, TokenLayout

CLASS_TOKEN = "class token (CLS)"


def head_name(head: int) -> str:
    """A head by itself, such as "Head 2"."""
    return f"Head {head}"


def place_name(layer: int, head: int) -> str:
    """A head with its layer, such as "L7 H2"."""
    return f"L{layer} H{head}"


def patch_name(row: int, column: int) -> str:
    """A patch by its row and column, such as "patch (5, 7)"."""
    return f"patch ({row}, {column})"


def region_name(region: Region) -> str:
    """A rectangle of patches by its first and its last one, such as "region (2, 3) to (4, 6)"."""
    top, left, bottom, right = map(int, region)
    return f"region ({top}, {left}) to ({bottom}, {right})"


def query_name(query: Query | Region, layout: TokenLayout) -> str:
    """A query token: "class token (CLS)", "token reg1", "patch (5, 7)", "region (2, 3) to (4, 6)".

    The query that stands for the model's output has the name of what the model reads, such as "mean
    of the patches".
    """
    if isinstance(query, Region):
        return region_name(query)
    if not isinstance(query, str):
        return patch_name(*map(int, query))
    token = layout.readout if query == READOUT else query
    if token not in layout.prefix:
        return token
    return CLASS_TOKEN if token == "cls" else f"token {token}"


def special_names(layout: TokenLayout) -> str:
    """The special tokens, such as "cls, reg1" or "none"."""
    names = ", ".join(layout.prefix) or "none"
    return f"{names}; the padding of windows counts as one" if layout.padded else names
