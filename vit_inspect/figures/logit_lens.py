"""In which layers and patches does the model predict its class? Its head on every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, outputs, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import PATCH, draw_photograph, plot_map, plot_sheet
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, fit, plot_tiles
from vit_inspect.records.evidence import LogitLens

BARS = (0.2, 0.5)
"""Where the bars are on a screen, in shares of its width."""
COLUMNS_AT = (0.0, 0.25)
"""Where the lists beside the bars begin: the rank of the class, and the first class."""
OWN_IN, BODY_IN = 5.2, 1.55
"""Width of the usual print, and height of its head, with the photograph and the colour bar."""
MAPS_IN, ROW_IN, HIGHEST_IN, NARROW_HIGHEST_IN = 1.4, 0.5, 6.6, 5.6
"""Width of the maps, height of one, and height of all on a usual and a narrow sheet, at most."""
LEFT_IN, RIGHT_IN = 0.35, 0.05
"""What is free before maps and after lists."""
GAP_IN, NARROW_GAP_IN = 0.2, 0.15
"""What is free between maps, bars and lists, on a usual and a narrow sheet."""
BARS_IN, NARROW_BARS_IN, LISTS_IN = 1.3, 0.6, 2.1
"""Width of the usual and the narrowest bars, and of lists at least where bars have room."""
RANK_IN = (0.35, 0.4)
"""Width of the list of ranks at least and at most."""


def draw(
    result: LogitLens,
    *,
    image: int = 0,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """Layers down: the class in each patch, in the output, and the class of the largest output.

    limits: ends of the colour scale, to give two figures the same scale.
    width_in: of the sheet, in inches; None for the usual one.
    """
    photograph, limits = result.photographs[image], limits or limits_of(result, image)
    tiles = _tiles(result, image, limits)
    layers = tiles.count[0]
    page_in = width_in or OWN_IN
    grow = page_in / OWN_IN
    highest = HIGHEST_IN if grow >= 1 else NARROW_HIGHEST_IN
    small = min(1.0, grow)
    width, height = fit(
        tiles, width=MAPS_IN * grow * small, height=min(highest, ROW_IN * grow * layers)
    )
    figure = print_sheet.page(page_in, BODY_IN + height + 0.4)
    rows, columns = photograph.size_px
    photo_width = small * float(np.clip(1.1 * columns / rows, 0.5, 1.8))
    draw_photograph(
        print_sheet.place(figure, left=0.05, top=0.08, width=photo_width, height=1.1 * small),
        photograph,
    )
    head_left = photo_width + 0.25
    bar_width = min(2.0, page_in - head_left - 0.2)
    bar = print_sheet.place(figure, left=head_left, top=0.8, width=bar_width, height=0.09)
    print_sheet.colour_bar(
        bar,
        looks.WEIGHT_MAP,
        limits,
        name=_unit(result),
        orientation="horizontal",
        ticks=print_sheet.round_ticks(4),
        format=outputs.print_format(result.outputs),
    )
    maps = print_sheet.place(figure, left=LEFT_IN, top=BODY_IN, width=width, height=height)
    draw_tiles(maps, tiles)
    labels = print_sheet.tick_labels(range(layers), height / layers)
    maps.set(xticks=[], yticklabels=labels)
    print_sheet.label(maps, y="Layer", title="Patches")
    gap = NARROW_GAP_IN if grow < 1 else GAP_IN
    left = LEFT_IN + width + gap
    free = page_in - left - gap - RIGHT_IN
    bars_width = BARS_IN
    if width_in is not None:
        tops = (_top(result, image, layer, math.inf) for layer in range(layers))
        longest = max(print_sheet.text_width(each, print_sheet.TEXT_PT) for each in tops) / 72
        # A hair more, for what rounding makes of an equal width.
        lists = max(LISTS_IN, RANK_IN[1] + longest + 0.02)
        least = NARROW_BARS_IN if grow < 1 else BARS_IN
        bars_width = min(max(least, free - lists), 0.55 * free)
    bars = print_sheet.place(figure, left=left, top=BODY_IN, width=bars_width, height=height)
    bars.barh(range(layers), result.readout_value[image], 0.6, color=looks.ACCENT)
    bars.set(xlim=_ends(result, image), ylim=maps.get_ylim(), yticks=[])
    bars.xaxis.set_major_formatter(outputs.print_format(result.outputs))
    bars.xaxis.set_major_locator(print_sheet.round_ticks(3 if bars_width >= BARS_IN else 2))
    print_sheet.label(bars, x=outputs.name(result.outputs), title="Output")
    bars.spines[["top", "right"]].set_visible(False)
    place = {"left": left + bars_width + gap, "width": free - bars_width}
    texts = print_sheet.place(figure, **place, top=BODY_IN, height=height)
    texts.set(ylim=maps.get_ylim())
    _draw_lists(texts, result, image, labels)
    words = _words(result, image, limits).split("\n", 1)
    print_sheet.write_head(figure, *words, left=head_left)
    return figure


def _draw_lists(axes: Axes, result: LogitLens, image: int, labels: Sequence[str]) -> None:
    """The rank of the class and the class of the largest output, in the layers with a label."""
    width, _ = print_sheet.size_in(axes)
    rank = float(np.clip(0.25 * width, *RANK_IN))
    print_sheet.bare(axes)
    axes.set(xlim=(0, width), xticks=[], yticks=[])
    for text, left, right in zip(_columns(result), (0, rank), (rank, width), strict=True):
        axes.annotate(
            print_sheet.folded_at(text, right - left, print_sheet.TITLE_PT),
            (left / width, 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=print_sheet.TITLE_PT,
            color=looks.INK,
        )
    for layer in (layer for layer, label in enumerate(labels) if label):
        line: dict[str, Any] = {
            "va": "center_baseline",
            "fontsize": print_sheet.TEXT_PT,
            "parse_math": False,
        }
        axes.text(0, layer, _rank(result, image, layer), color=looks.INK, **line)
        top = _top(result, image, layer, width - rank)
        axes.text(rank, layer, top, color=_ink(result, image, layer), **line)


def plot(result: LogitLens, *, image: int = 0, limits: looks.Limits | None = None) -> go.Figure:
    """The same; customdata of a layer's map is its (layer,).

    limits: ends of the colour scale, to give two figures the same scale.
    """
    limits = limits or limits_of(result, image)
    tiles = _tiles(result, image, limits)
    layers = range(tiles.count[0])
    title, words = _words(result, image, limits).split("\n", 1)
    height = max(320, min(900, 64 * len(layers)))
    figure = screen_sheet.screen(title, words, height=height + 290, above=90)
    hover = [_hover(result, image, layer) for layer in layers]
    plot_tiles(figure, tiles, hover=hover, picked=[[layer] for layer in layers], domain=(0.0, 0.16))
    figure.data[0].marker.update(
        cmin=limits[0],
        cmax=limits[1],
        colorscale=looks.colour_scale(looks.WEIGHT_MAP),
        showscale=True,
        colorbar=screen_sheet.screen_colour_bar(
            _unit(result), nticks=4, ypad=34, **outputs.screen_axis(result.outputs)
        ),
    )
    figure.add_bar(
        x=result.readout_value[image],
        y=list(layers),
        width=0.6,
        orientation="h",
        xaxis="x2",
        yaxis="y",
        marker={"color": looks.ACCENT, "line": {"width": 0}},
        text=hover,
        textposition="none",
        customdata=[[layer] for layer in layers],
        hovertemplate="%{text}<extra></extra>",
    )
    columns = (
        [_rank(result, image, layer) for layer in layers],
        [screen_sheet.literal(_top(result, image, layer)) for layer in layers],
    )
    for left, column in zip(COLUMNS_AT, columns, strict=True):
        figure.add_scatter(
            x=[left] * len(layers),
            y=list(layers),
            mode="text",
            text=column,
            textposition="middle right",
            textfont={"size": 12, "color": [_ink(result, image, layer) for layer in layers]},
            hoverinfo="skip",
            xaxis="x3",
            yaxis="y",
        )
    headings = [("Output", "x2", 0.0)]
    headings += [
        (text, "x3", left) for text, left in zip(_columns(result), COLUMNS_AT, strict=True)
    ]
    for text, axis, left in headings:
        figure.add_annotation(
            text=text,
            x=left,
            xref=f"{axis} domain",
            xanchor="left",
            y=tiles.extent[3],
            yref="y",
            yanchor="bottom",
            yshift=6,
            showarrow=False,
        )
    figure.update_yaxes(
        showticklabels=True, tickvals=list(layers), ticktext=[str(layer) for layer in layers]
    )
    figure.update_yaxes(title={"text": "Layer", "font": {"size": 13}, "standoff": 8})
    screen_sheet.name_below(figure, outputs.name(result.outputs), BARS)
    return figure.update_layout(
        xaxis2=screen_sheet.screen_axis(
            range=_ends(result, image),
            domain=BARS,
            nticks=3,
            anchor="y",
            **outputs.screen_axis(result.outputs),
        ),
        xaxis3=screen_sheet.screen_axis(
            visible=False, range=[0, 1], domain=(0.54, 1.0), anchor="y"
        ),
        margin_b=60,
    )


def plot_layer(result: LogitLens, layer: int, *, image: int = 0, width: int = 720) -> go.Figure:
    """The class in the patches of one layer, on the photograph, on the scale of all layers."""
    photograph = result.photographs[image]
    title = f"{result.labels[image]}, from single patches of layer {layer}"
    best = int(result.patch_rank[image, layer].min())
    first = int((result.patch_rank[image, layer] == 1).sum())
    found = (
        f"{outputs.largest(result.outputs)} in {first:,} of {result.layout.patch_count:,} patches; "
        f"best rank {best}"
    )
    words = result.model if _alone(result) else f"{result.model}\n{found}"
    figure = plot_sheet(title, words, photograph, width=width)
    plot_map(
        figure,
        photograph,
        result.patch_value[image, layer],
        limits_of(result, image),
        unit=_unit(result),
        percent=result.outputs != "scores",
    )
    ranks = result.patch_rank[image, layer]
    rows, columns = ranks.shape
    return figure.update_traces(
        selector={"type": "heatmap"},
        customdata=[
            [[row, column, int(ranks[row, column])] for column in range(columns)]
            for row in range(rows)
        ],
        hovertemplate=f"{PATCH}<br>%{{z:{outputs.hover(result.outputs)}}}"
        f"{'' if _alone(result) else ', rank %{customdata[2]}'}<extra></extra>",
    )


def limits_of(result: LogitLens, image: int = 0) -> looks.Limits:
    """The ends of the colour scale of all layers: from 0, or from the lowest raw score."""
    values = result.patch_value[image]
    low = float(values.min()) if result.outputs == "scores" else 0.0
    high = float(values.max())
    return low, high if high > low else low + 1.0


def _tiles(result: LogitLens, image: int, limits: looks.Limits) -> Tiles:
    maps = looks.colour(result.patch_value[image], looks.WEIGHT_MAP, limits)
    return compose(maps[:, None])


def _unit(result: LogitLens) -> str:
    """The name of the colour bar."""
    return f"{outputs.name(result.outputs)} from one patch alone"


def _alone(result: LogitLens) -> bool:
    """Whether nothing but one output is known, whose rank says nothing."""
    ranks = (result.readout_rank, result.patch_rank)
    return result.top_value.shape[-1] == 1 and all(bool((each == 1).all()) for each in ranks)


def _columns(result: LogitLens) -> tuple[str, str]:
    """What the lists beside the bars are called."""
    if _alone(result):
        return "", outputs.name(result.outputs)
    return "Rank", outputs.largest(result.outputs)


def _rank(result: LogitLens, image: int, layer: int) -> str:
    """The rank of the class in a layer."""
    return "" if _alone(result) else str(result.readout_rank[image, layer])


def _top(result: LogitLens, image: int, layer: int, room_in: float | None = None) -> str:
    """The class of the largest output of a layer, shortened, with the output.

    room_in: for both in print, in inches; None for a screen.
    """
    value = outputs.told(result.top_value[image, layer, 0], result.outputs)
    name = result.top_labels[image][layer][0]
    if room_in is None:
        return f"{looks.short(name)} {value}"
    room = room_in - print_sheet.text_width(f" {value}", print_sheet.TEXT_PT) / 72
    return f"{print_sheet.fitted_at(name, room, print_sheet.TEXT_PT)} {value}"


def _ends(result: LogitLens, image: int) -> looks.Limits:
    """Where the axis of the bars ends."""
    return outputs.ends(result.readout_value[image], result.outputs)


def _ink(result: LogitLens, image: int, layer: int) -> str:
    """An accent colour for the class that the figure follows."""
    followed = result.top_class_index[image, layer, 0] == result.class_index[image]
    return looks.ACCENT if followed else looks.QUIET


def _hover(result: LogitLens, image: int, layer: int) -> str:
    best = zip(result.top_labels[image][layer], result.top_value[image, layer], strict=True)
    output, patch = result.readout_value[image, layer], result.patch_value[image, layer].max()
    several = "Largest scores" if result.outputs == "scores" else "Most probable classes"
    alone = _alone(result)
    lines = [
        f"<b>Layer {layer}</b>",
        f"output {outputs.told(output, result.outputs)}"
        + ("" if alone else f", rank {result.readout_rank[image, layer]}"),
        f"maximum in a patch {outputs.told(patch, result.outputs)}",
    ]
    if not alone:
        lines.append(several)
        lines += (
            f"{screen_sheet.literal(name)} {outputs.told(value, result.outputs)}"
            for name, value in best
        )
    return "<br>".join(lines)


def _words(result: LogitLens, image: int, limits: looks.Limits) -> str:
    """Which class, from which layer on it is predicted, and the scale of the maps."""
    ranks = result.readout_rank[image]
    last = len(ranks) - 1
    since = last + 1 - int((ranks[::-1] == 1).cumprod().sum())
    low = outputs.told(limits[0], result.outputs) if limits[0] else "0"
    found = (
        f"{outputs.largest(result.outputs)} from layer {since} on"
        if since <= last
        else f"Rank {ranks[-1]} in the model's output"
    )
    lines = [
        f"{result.labels[image]} in every layer",
        result.model,
        found,
        f"Maps: shared scale, {low} to {outputs.told(limits[1], result.outputs)}.",
    ]
    if _alone(result):
        lines.remove(found)
    return "\n".join(lines)


FIGURE = FigureSpec(
    record=LogitLens,
    slug="logit_lens",
    title="Logit lens",
    question="In which layers and patches does the model predict its class?",
    reading="The final norm and the head of the model are applied to every layer, as if it were "
    "the last. Bars: to all tokens, as in the model; the last bar is the model's output. "
    "Maps: to each patch token alone. Values are probabilities, or the raw scores of a model whose "
    "outputs are no probabilities.",
    caveat="The head was trained for the last layer only: in earlier layers the class may be "
    "present in another form. The head was not trained on single patches, and the model "
    "may not use what it finds there.",
    formula="softmax(head(norm(tokens of layer l))), the norm's statistics of these tokens; for "
    "multi-label classifiers sigmoid, for raw scores neither",
    source="nostalgebraist, interpreting GPT: the logit lens, 2020; Vilas et al., arXiv 2310.18969",
    draw=draw,
    plot=plot,
    limits=limits_of,
)
