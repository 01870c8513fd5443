"""What are layers, heads and patches called? They count from 0, as in Python, everywhere.

One home for these names: figures, analyses and pages take them from here. The paper's figures count
heads from 1; that is given up, so that a number on a figure is the index in an array.
"""

from __future__ import annotations


def head_name(head: int) -> str:
    """A head by itself, such as "Head 2"."""
    return f"Head {head}"


def place_name(layer: int, head: int) -> str:
    """A head with its layer, such as "L7 H2"."""
    return f"L{layer} H{head}"


def patch_name(row: int, column: int) -> str:
    """A patch by its row and column, such as "patch (5, 7)"."""
    return f"patch ({row}, {column})"
