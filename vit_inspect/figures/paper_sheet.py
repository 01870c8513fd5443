"""How do the panels of a figure of the ViT paper stand on one sheet? Side by side, or stacked."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from vit_inspect.errors import BadParameter
from vit_inspect.figures import (
    attention_distance,
    embedding_filters,
    looks,
    position_bias,
    position_similarity,
    print_sheet,
    rotary_similarity,
)
from vit_inspect.figures.tiles import fit
from vit_inspect.records.paper import (
    AttentionDistance,
    EmbeddingFilters,
    PositionBias,
    PositionSimilarity,
    RotarySimilarity,
)
from vit_inspect.records.paper_figures import PaperFigure, Positions

TEXT_WIDTH_IN = 5.5
"""Width of the text of the paper."""

EDGE_IN, GAP_IN, BELOW_IN = print_sheet.EDGE_IN, 0.1, 0.12
"""The margin of the sheet, and what is free between panels, side by side and stacked."""
BAR_GAP_IN, BAR_IN, BAR_LEAST_IN, NAME_PAD_PT = 0.06, 0.07, 1.1, -7.0
NAME_HALF_IN, NAME_IN = 0.52, 0.85
"""Half the length of the name below tiles, and the length of the name beside them."""
BESIDE_IN = 0.36
"""Room for a colour bar with its gap, numbers and name; also for names left of tiles."""
TITLE_OVER_IN = 0.6
"""By how much a title may be wider than its tiles."""
AREA_LEFT_IN = 0.55
"""Room for the name of distances, on two lines, and their numbers; below, for the legend too."""
NAME_OVER_IN = 0.3
"""By how much the name of distances may be longer than its axis."""
LEGEND_BELOW_IN = 0.36
"""From the axes of attended areas to their legend: numbers and name of the depth are between."""
SENTENCE_IN = 0.9
"""Height of a panel that shows a sentence."""

_TALL_IN = 100.0
"""Height of the sheet before it is known."""

Group = list[Axes]
"""Axes that move together: those of a panel, and its colour bar if it has one."""

TILED: dict[type, ModuleType] = {
    EmbeddingFilters: embedding_filters,
    PositionSimilarity: position_similarity,
    RotarySimilarity: rotary_similarity,
    PositionBias: position_bias,
}
"""Where the tiles of each record are drawn."""

Tiled = EmbeddingFilters | PositionSimilarity | RotarySimilarity | PositionBias


def begin(width_in: float) -> Figure:
    """A sheet of a given width whose height is not yet known."""
    return print_sheet.page(width_in, _TALL_IN)


def end(figure: Figure, bottom: float, caption: str) -> Figure:
    """Cuts the sheet below its panels, with room for the caption."""
    print_sheet.write_foot(figure, caption, top=bottom + 0.1)
    return figure


def draw_tiled(
    figure: Figure,
    record: Tiled | str,
    *,
    left: float,
    width: float,
    height: float,
    bar: bool,
    title: str = "",
) -> Group:
    """The tiles of a record as large as fit into the given size, or a sentence in their place.

    bar: whether a colour bar stands beside them. title: in place of the panel's own.
    """
    if isinstance(record, str):
        return [_draw_sentence(figure, record, left=left, width=width)]
    home = TILED[type(record)]
    tiles = home.tiles_of(record)
    wide, high = fit(tiles, width=width, height=height)
    left += (width - wide) / 2
    axes = print_sheet.place(figure, left=left, top=1, width=wide, height=high)
    home.draw_panel(axes, record, tiles)
    named = title or axes.get_title() or home.TITLE
    if not axes.get_title():
        print_sheet.label(axes, x=axes.get_xlabel(), y=axes.get_ylabel(), title=named)
    over = 2 * EDGE_IN if isinstance(record, EmbeddingFilters) else TITLE_OVER_IN
    # The name of another model may stand close by.
    _entitle(axes, named, width + (BESIDE_IN if title else over))
    if high < NAME_IN:
        # Ends where the tiles begin, so that it stays clear of the title.
        axes.yaxis.label.set(y=1.0, ha="right")
    if not bar:
        return [axes]
    # High enough for its name; where it is higher than the tiles, clear of the name below them.
    half = wide / 2 if high >= BAR_LEAST_IN else max(wide / 2, NAME_HALF_IN)
    right, high = left + wide / 2 + half + BAR_GAP_IN, max(high, BAR_LEAST_IN)
    beside = print_sheet.place(figure, left=right, top=1, width=BAR_IN, height=high)
    home.draw_bar(beside, record)
    if not isinstance(record, PositionBias):
        # The only numbers are at the ends: the name stands between them, as in the paper.
        beside.yaxis.labelpad = NAME_PAD_PT
        least, greatest = beside.get_yticklabels()
        least.set(va="bottom")
        greatest.set(va="top")
    return [axes, beside]


def _entitle(axes: Axes, title: str, width_in: float) -> None:
    """Writes the title as large as the other words: panels are small."""
    size = print_sheet.TEXT_PT
    axes.title.set(text=print_sheet.folded_at(title, width_in, size), fontsize=size)


def before_in(record: Tiled | str) -> float:
    """The room for names at the left of the tiles of a record."""
    filters = isinstance(record, EmbeddingFilters) and not embedding_filters.is_by_channel(record)
    return 0.0 if filters or isinstance(record, str) else BESIDE_IN


def beside_in(record: Tiled | str) -> float:
    """The room that the colour bar of a record takes."""
    if not isinstance(record, PositionBias):
        return BESIDE_IN
    # The name of a bias stands beyond its numbers, which may be long.
    numbers = position_bias.numbers(record)
    return (
        BESIDE_IN + max(print_sheet.text_width(each, print_sheet.TEXT_PT) for each in numbers) / 72
    )


def _draw_sentence(figure: Figure, sentence: str, *, left: float, width: float) -> Axes:
    axes = print_sheet.place(figure, left=left, top=1, width=width, height=SENTENCE_IN)
    axes.set(xticks=[], yticks=[])
    print_sheet.bare(axes)
    axes.text(
        0.5,
        0.5,
        print_sheet.folded_at(sentence, width, print_sheet.TEXT_PT),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=print_sheet.TEXT_PT,
        color=looks.QUIET,
        parse_math=False,
    )
    return axes


def draw_area(
    figure: Figure,
    result: AttentionDistance,
    *,
    left: float,
    width: float,
    height: float,
    limits: looks.Limits,
    title: str,
    before: float = 0.0,
) -> Group:
    """The attended area by head and depth; `limits` are the ends of the axis of distances.

    before: the room at the left that its legend may take too, below other panels.
    """
    axes = print_sheet.place(figure, left=left, top=1, width=width, height=height)
    attention_distance.draw_panel(axes, result, limits)
    name = attention_distance.distance_title(result).replace("\n", " ")
    print_sheet.label(
        axes,
        x=attention_distance.DEPTH,
        y=print_sheet.folded_at(name, height + NAME_OVER_IN, print_sheet.TEXT_PT),
        title=title,
    )
    _entitle(axes, title, width)
    # Below: above, it would part the title from the panel; inside, it would hide dots.
    heads = result.distance_px.shape[2]
    attention_distance.draw_legend(
        axes,
        heads=heads,
        loc="upper right",
        bbox_to_anchor=(1.0, -LEGEND_BELOW_IN / height),
        columns=attention_distance.legend_columns(heads, before + AREA_LEFT_IN + width),
    )
    return [axes]


def positions_words(positions: Positions | str) -> str:
    """What the panel of a model's positions shows, for a caption; empty for a sentence."""
    if isinstance(positions, str):
        return ""
    if isinstance(positions, PositionSimilarity):
        return (
            "similarity of position embeddings. Tiles show the cosine similarity between the "
            "position embedding of the patch with the indicated row and column and those of all "
            f"patches ({position_similarity.grid_words(positions)})."
        )
    if isinstance(positions, RotarySimilarity):
        return (
            "similarity of an equal query and key after their rotation. Tiles show it by the "
            f"offset of the key, for each {rotary_similarity.tile_words(positions)}."
        )
    return (
        "relative position bias. Tiles show what each head of each layer adds to the score of a "
        "key, by its offset from the query in the middle."
    )


def area_words(results: Sequence[AttentionDistance]) -> str:
    """How the dots of attended areas are to be read, for a caption."""
    first = results[0]
    images, heads = (
        " and ".join(dict.fromkeys(str(result.distance_px.shape[axis]) for result in results))
        for axis in (0, 2)
    )
    widths = " and ".join(dict.fromkeys(str(each.layout.input_px[1]) for each in results))
    over = "for one image" if images == "1" else f"across {images} images"
    words = (
        f"Each dot shows the mean attention distance {over}, for one of {heads} heads at one "
        f"layer. Image width is {widths} pixels."
    )
    if first.definition != "paper" or not any(each.layout.key_prefix for each in results):
        return words
    shares = " and ".join(looks.percent(each.prefix_mass.mean()) for each in results)
    return f"{words} Attention to special tokens ({shares} of it) counts as distance 0."


def _align(figure: Figure, groups: Sequence[Group], top: float) -> float:
    """Moves panels, so that their axes begin on one line and their words at `top`.

    Returns where the lowest of their words end. All in inches from the top of the sheet.
    """
    _, page_height = figure.get_size_inches()
    spans = []
    # Words are measured alone: a canvas of a sheet as tall as this one would take 200 MB.
    renderer = RendererAgg(1, 1, figure.dpi)  # type: ignore[no-untyped-call]
    for axes, *others in groups:
        boxes = [each.get_tightbbox(renderer) for each in (axes, *others)]
        whole = Bbox.union([box for box in boxes if box is not None])
        start = axes.get_window_extent().y1
        spans.append(((whole.y1 - start) / figure.dpi, (start - whole.y0) / figure.dpi))
    first = top + max(above for above, _ in spans)
    for group in groups:
        for axes in group:
            left, _, width, height = axes.get_position(original=True).bounds
            axes.set_position((left, 1 - first / page_height - height, width, height))
    return first + max(below for _, below in spans)


def stand(figure: Figure, groups: Sequence[Group], *, stacked: bool) -> float:
    """Moves panels to the top of the sheet, side by side or stacked; returns where they end."""
    if not stacked:
        return _align(figure, groups, EDGE_IN)
    bottom = EDGE_IN - BELOW_IN
    for group in groups:
        bottom = _align(figure, [group], bottom + BELOW_IN)
    return bottom


def shown(record: PaperFigure) -> dict[str, list[int]]:
    """The places along an axis that the tiles of positions show, by axis."""
    return {
        f"{panel}_{axis}": places
        for panel, each in record.panels().items()
        if isinstance(each, PositionSimilarity)
        for axis, places in position_similarity.FIGURE.shown(each).items()
    }


def on_a_screen(record: PaperFigure) -> go.Figure:
    """Raises `BadParameter`: a figure of the paper is made for print."""
    panels = " or ".join(map(repr, record.panels()))
    raise BadParameter(
        "a figure of the paper, which is for print",
        "the record of one panel",
        f"use vi.draw(record), or vi.plot(record.panels()[...]) with {panels}",
    )
