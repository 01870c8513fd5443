"""How do rows with names lie in panels side by side, in print and on a screen?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes

from vit_inspect.figures import looks, print_sheet, screen_sheet

WIDTH_IN, TOP_IN, BELOW_IN, RIGHT_IN = 5.5, 0.32, 0.42, 0.17
NAMES_SHARE = 0.34
"""How much of a print the names take at most."""
EDGE_PX, LETTER_PX = 14, 7


def fitted(names: Sequence[str], sheet_in: float) -> tuple[list[str], float]:
    """The names as a print of this width has room for, and where its panels begin, in inches."""
    size = print_sheet.TEXT_PT
    found = [print_sheet.fitted_at(name, NAMES_SHARE * sheet_in, size) for name in names]
    widest = max(print_sheet.text_width(each, size) for each in found)
    return found, 0.12 + widest / 72


def draw(axes: Axes, count: int, names: Sequence[str] = ()) -> None:
    """The places of the rows in a panel, from above; the first panel has their names."""
    axes.set(yticks=range(count), ylim=_ends(count))
    axes.set_yticklabels(names, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def draw_rules(axes: Axes) -> None:
    """A fine line along each row."""
    axes.grid(axis="y", color=looks.QUIET, alpha=0.25, linewidth=print_sheet.RULE_PT)


def screen(title: str, words: str, names: Sequence[str], *, row_px: int, width: int) -> go.Figure:
    """A figure of a screen with room for the rows and their names, without panels."""
    figure = screen_sheet.screen(title, words, height=row_px, width=width)
    margin = figure.layout.margin
    left = max(margin.l, EDGE_PX + LETTER_PX * max(len(looks.short(name)) for name in names))
    # The heading stays at the edge of the sheet.
    figure.layout.annotations[0].xshift = margin.l - left
    return figure.update_layout(
        height=margin.t + row_px * len(names) + margin.b, margin_l=left, showlegend=False
    )


def screen_axis(names: Sequence[str], **options: Any) -> dict[str, Any]:
    """The axis of a panel along the rows, with `options` of plotly.

    All panels have the names: on a narrow screen they stand below each other.
    """
    return screen_sheet.screen_axis(
        range=_ends(len(names)),
        tickvals=list(range(len(names))),
        ticktext=[screen_sheet.literal(looks.short(name)) for name in names],
        ticks="",
        **options,
    )


def _ends(count: int) -> tuple[float, float]:
    return count - 0.4, -0.6
