"""Can a map be trusted? Deletion and insertion curves (Petsiuk et al. 2018), with conclusions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vit_inspect.figures import looks, outputs, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.records.evidence import CENTRE, RANDOM, Faithfulness

CURVES = ("deletion", "insertion")
TITLES = ("Deletion: lower is better", "Insertion: higher is better")
CHANGED = ("Patches replaced by mean colour", "Patches restored in blurred image")
BEST = "better than random and the centre"
PANELS = ((0.0, 0.46), (0.54, 1.0))
"""Where the two plots are on a screen, in shares of its width; the table is below."""
CURVE_PX, ROW_PX = 300, 26
WORDS_PX = 612
"""Width of the words on a screen, next to a menu."""
MAP_LETTERS = 16
"""Letters of a map's name in the table; the words below have the whole name."""
CHART_IN, HIGHEST_IN = (1.82, 1.75), (1.4, 3.0)
"""Width and height of curves beside the table; their height at least and at most."""
LEFT_IN, BETWEEN_IN, RIGHT_IN = 0.62, 0.34, 0.2
"""What is free in print before, between and after the curves: numbers of axes."""
TABLE_IN, TABLE_GAP_IN, TABLE_ROW_IN = 2.18, 0.12, 0.17
"""Width of the table in print, what is free before it, and the height of a row."""
MARKED_POINTS = 11
"""Points of a curve that have its marker, at most."""
BAND_OPACITY = 0.18
CHANCE = 3.04
"""By how many standard deviations of five random orders a map must be better.

Another random order stays within these in 95 of 100 cases: Student's t of 4 degrees of freedom,
2.78, times sqrt(1 + 1/5). With 2 of them, one random order in fourteen would be called better.
"""
STILL = 0.05
"""Share of the largest score: if all curves stay within it, the order of patches has no effect."""
SIMILAR, UNLIKE = 0.7, 0.3
"""Absolute rank correlations: from the first on, two maps count as similar; up to the second, as
different."""


def draw(result: Faithfulness, *, width_in: float | None = None) -> Figure:
    """Both curves of every map, as means over the images; the table is their legend.

    width_in: of the sheet, in inches; None for that of a page. The table is beside the curves on a
    sheet as wide as a page, and below them on a narrower one.
    """
    page_in = width_in or print_sheet.PAGE_IN
    # A hair less, for what rounding makes of an equal width.
    beside = page_in >= print_sheet.PAGE_IN - 1e-6
    after = TABLE_GAP_IN + TABLE_IN if beside else RIGHT_IN
    width = (page_in - LEFT_IN - BETWEEN_IN - after) / 2
    height = float(np.clip(CHART_IN[1] * width / CHART_IN[0], *HIGHEST_IN))
    names = [print_sheet.folded_at(each, width + 0.2, print_sheet.TEXT_PT) for each in CHANGED]
    folds = max(each.count("\n") for each in names)
    titles = [each.replace(": ", ":\n") if folds else each for each in TITLES]
    line = print_sheet.LINE_EM / 72
    top = 0.5 + bool(folds) * line * print_sheet.TITLE_PT
    below = top + height + 0.5 + folds * line * print_sheet.TEXT_PT
    entries, columns = len(_looks(result)), 1 if beside else min(2, int(page_in / TABLE_IN))
    rows = 1 + -(-entries // columns)
    table = (page_in - columns * TABLE_IN) / (1 if beside else 2), top if beside else below
    below = max(below, table[1] + rows * TABLE_ROW_IN + 0.1)
    title, *texts = _words(result)
    figure = print_sheet.page(page_in, below + 0.1 + 0.145 * len(texts))
    limits = limits_of(result)
    for place, curve in enumerate(CURVES):
        left = LEFT_IN + place * (width + BETWEEN_IN)
        axes = print_sheet.place(figure, left=left, top=top, width=width, height=height)
        _draw_curves(axes, result, curve)
        axes.set(xlim=(0, 1), ylim=limits)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        if folds:
            axes.xaxis.set_major_locator(print_sheet.round_ticks(2))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if _raw(result):
            axes.yaxis.set_major_formatter(outputs.print_format(result.outputs))
        axes.tick_params(labelleft=not place)
        print_sheet.label(
            axes, x=names[place], y=_unit(result) if not place else "", title=titles[place]
        )
    _draw_table(figure, result, left=table[0], top=table[1], rows=rows)
    print_sheet.write_caption(figure, "\n".join(texts), top=below)
    print_sheet.write_title(figure, title)
    return figure


def plot(result: Faithfulness) -> go.Figure:
    """The same; each point shows its map, the share of the patches and the score.

    What was found stands above the curves in two sentences, and all the rest below the table.
    """
    title, *texts = _words(result)
    table_px = ROW_PX * (1 + len(_looks(result)))
    # Between curves and table are their axes' titles.
    drawing_px = CURVE_PX + 70 + table_px
    found = verdict(result)
    figure = screen_sheet.screen(title, found, height=drawing_px + 116, above=24, width=WORDS_PX)
    figure.update_layout(margin_b=12)
    curves, table = (1 - CURVE_PX / drawing_px, 1.0), (0.0, table_px / drawing_px)
    limits = limits_of(result)
    for place, curve in enumerate(CURVES):
        _plot_curves(figure, result, curve, axes=str(place + 1))
        figure.add_annotation(
            text=TITLES[place],
            x=sum(PANELS[place]) / 2,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="center",
            yanchor="bottom",
            showarrow=False,
        )
    share: dict[str, Any] = {"range": [0, 1], "tickformat": ".0%", "tickvals": [0, 0.5, 1]}
    score: dict[str, Any] = {"range": limits, "nticks": 6}
    figure.update_layout(
        xaxis=screen_sheet.screen_axis(CHANGED[0], domain=PANELS[0], **share),
        xaxis2=screen_sheet.screen_axis(CHANGED[1], domain=PANELS[1], anchor="y2", **share),
        yaxis=screen_sheet.screen_axis(_unit(result), domain=curves, **score),
        yaxis2=screen_sheet.screen_axis(anchor="x2", domain=curves, showticklabels=False, **score),
    )
    _plot_table(figure, result, table)
    below = "\n".join(each for each in texts if each != found)
    return screen_sheet.write_below(figure, below)


def control_words(correlation: float) -> str:
    """What the rank correlation with the map of randomised weights means."""
    if np.isnan(correlation):
        return "One of the two maps is constant: there is no order of patches to compare."
    number = looks.number(correlation, ".2f")
    found = f"Rank correlation of the two maps: {number}. With randomised weights, the map "
    # A map in the reverse order depends as little on what was learned as one in the same.
    strength, reverse = abs(correlation), ", in reverse order" if correlation < 0 else ""
    if strength > UNLIKE:
        whole = strength >= SIMILAR
        how, told = ("is nearly", "it") if whole else ("is partly", "that part")
        return (
            f"{found}{how} the same{reverse}: {told} depends on the image or on the architecture, "
            "not on what was learned."
        )
    return (
        found
        + "is different: it seems to depend on what was learned. One random order does not prove "
        "it, and this alone does not make the map faithful."
    )


def verdict(result: Faithfulness) -> str:
    """Which maps are better than both baselines in both curves, in two sentences at most."""
    if _is_still(result):
        return " ".join(conclusions(result))
    names = _tested(result)
    good = [name for place, name in enumerate(names) if _is_best(result, place)]
    if not good:
        return f"No map is {BEST} in both curves."
    found = f"{BEST.capitalize()} in both curves: {', '.join(good)}."
    rest = [name for name in names if name not in good]
    return f"{found} Not: {', '.join(rest)}." if rest else found


def conclusions(result: Faithfulness) -> list[str]:
    """A sentence for each tested map: how its areas compare with the baselines.

    One sentence for all maps if the score hardly changes.
    """
    if _is_still(result):
        share = looks.percent(_moved(result))
        return [f"The score changes by only {share} of its maximum: no conclusion for any map."]
    images = len(result.photographs)
    sentences = []
    for place, name in enumerate(_tested(result)):
        first, second = (_standing(result, place, curve) for curve in CURVES)
        standing = (
            f"{first} in both curves"
            if first == second
            else f"{first} in {CURVES[0]}; {second} in {CURVES[1]}"
        )
        alone = ""
        if images > 1:
            good = sum(_is_best(result.of_image(image), place) for image in range(images))
            alone = f". {BEST.capitalize()} in both curves in {good} of {images} images"
        sentences.append(f"{name}: {standing}{alone}.")
    return sentences


def limits_of(result: Faithfulness) -> looks.Limits:
    """The ends of the axis of the score."""
    means = [_mean(result, curve) for curve in CURVES]
    low, high = min(map(np.min, means)), max(map(np.max, means))
    if _raw(result):
        room = 0.05 * float(high - low) or 1.0
        return float(low) - room, float(high) + room
    return min(0.0, 1.05 * float(low)), 1.05 * float(high) or 1.0


def _moved(result: Faithfulness) -> float:
    """How far the score moves, as a share of its largest size."""
    scores = np.concatenate([_mean(result, curve) for curve in CURVES])
    return float(np.ptp(scores)) / (float(np.abs(scores).max()) or 1.0)


def _is_still(result: Faithfulness) -> bool:
    """Whether the score hardly changes; of a raw score, whose zero is not known, that is open."""
    return not _raw(result) and _moved(result) < STILL


def _is_best(result: Faithfulness, place: int) -> bool:
    """Whether a map is better than both baselines in both curves."""
    return all(_standing(result, place, curve) == BEST for curve in CURVES)


def _standing(result: Faithfulness, place: int, curve: str) -> str:
    """How the area of a map compares with the baselines, in words."""
    areas, random = _area(result, curve), _random(result)
    sign, chance = (-1 if curve == "deletion" else 1), _chance(result, curve)
    found: dict[str, list[str]] = {"better": [], "worse": [], "no better": []}
    for words, orders in (("random", random), ("the centre", [result.maps.index(CENTRE)])):
        gain = sign * float(areas[place] - areas[orders].mean())
        how = "better" if gain > chance else "worse" if gain < -chance else "no better"
        found[how].append(words)
    return ", ".join(
        f"{how} than {(' or ' if how == 'no better' else ' and ').join(each)}"
        for how, each in found.items()
        if each
    )


def _chance(result: Faithfulness, curve: str) -> float:
    """The difference of areas that chance can explain."""
    return CHANCE * float(_area(result, curve)[_random(result)].std(ddof=1))


def _tested(result: Faithfulness) -> tuple[str, ...]:
    return result.maps[: result.maps.index(CENTRE)]


def _random(result: Faithfulness) -> list[int]:
    return [place for place, name in enumerate(result.maps) if name.startswith(f"{RANDOM} ")]


def _mean(result: Faithfulness, curve: str) -> Float[np.ndarray, "map step"]:
    return result.arrays()[curve].mean(axis=0)


def _area(result: Faithfulness, curve: str) -> Float[np.ndarray, "map"]:
    return result.arrays()[f"{curve}_auc"].mean(axis=0)


class _Look(NamedTuple):
    """A line of the table; a baseline has no marker."""

    name: str
    colour: str
    dash: str
    marker: str

    def in_print(self, every: int = 1) -> dict[str, Any]:
        """For matplotlib, with a marker at some of the points."""
        return {
            "color": self.colour,
            "linestyle": looks.DASHES[self.dash],
            "marker": looks.MARKERS.get(self.marker, ""),
            "markersize": 3,
            "markevery": every,
        }

    def on_screen(self) -> dict[str, Any]:
        """The same for plotly."""
        marker = {"symbol": self.marker, "size": 7, "maxdisplayed": MARKED_POINTS}
        return {"line": {"color": self.colour, "dash": self.dash, "width": 2}} | (
            {"mode": "lines+markers", "marker": marker} if self.marker else {"mode": "lines"}
        )


def _looks(result: Faithfulness) -> list[_Look]:
    """The maps, the centre, random orders."""
    tested = [
        _Look(name, looks.head_colour(place), "solid", looks.line_marker(place))
        for place, name in enumerate(_tested(result))
    ]
    centre, random = (
        _Look(name, looks.QUIET, dash, "") for name, dash in ((CENTRE, "dot"), (RANDOM, "dash"))
    )
    return [*tested, centre, random]


def _lines(result: Faithfulness, curve: str) -> list[Float[np.ndarray, "step"]]:
    """The curves in the order of `_looks`."""
    scores = _mean(result, curve)
    first_random = _random(result)[0]
    return [*scores[:first_random], scores[_random(result)].mean(axis=0)]


def _areas(result: Faithfulness) -> list[tuple[str, str]]:
    """Deletion and insertion in the order of `_looks`; of random orders the mean."""
    random, columns = _random(result), []
    for curve in CURVES:
        areas = _area(result, curve)
        shown = (*areas[: random[0]], areas[random].mean())
        # Of many classes all probabilities may be small.
        digits = max(3, 1 - math.floor(math.log10(max(*shown, 1e-4))))
        columns.append(
            [
                looks.number(area, _format(result) if _raw(result) else f".{digits}f")
                for area in shown
            ]
        )
    return list(zip(*columns, strict=True))


def _band(
    result: Faithfulness, curve: str
) -> tuple[Float[np.ndarray, "step"], Float[np.ndarray, "step"]]:
    orders = _mean(result, curve)[_random(result)]
    return orders.min(axis=0), orders.max(axis=0)


def _draw_curves(axes: Axes, result: Faithfulness, curve: str) -> None:
    low, high = _band(result, curve)
    axes.fill_between(
        result.share[0], low, high, color=looks.QUIET, alpha=BAND_OPACITY, linewidth=0, zorder=1
    )
    every = -(-len(result.share[0]) // MARKED_POINTS)
    for look, scores in zip(_looks(result), _lines(result, curve), strict=True):
        axes.plot(
            result.share[0],
            scores,
            linewidth=1.0,
            label=look.name,
            zorder=3 if look.marker else 2,
            **look.in_print(every),
        )


def _draw_table(
    figure: Figure, result: Faithfulness, *, left: float, top: float, rows: int
) -> None:
    """Line, name and both areas of each map; columns of so many `rows`, with their heading."""
    columns = (1.22, 1.66)
    entries = list(zip(_looks(result), _areas(result), strict=True))
    for place, (look, areas) in enumerate(entries):
        column, row = divmod(place, rows - 1)
        start = left + column * TABLE_IN
        if not row:
            for offset, text in zip((0.3, *columns), ("Area under", *CURVES), strict=True):
                print_sheet.write(figure, text, left=start + offset, top=top, fontsize=6.5)
        down = top + (row + 1) * TABLE_ROW_IN
        axes = print_sheet.place(figure, left=start, top=down + 0.02, width=0.22, height=0.1)
        axes.plot([0, 0.5, 1], [0, 0, 0], linewidth=1.2, **(look.in_print() | {"markevery": [1]}))
        axes.set_axis_off()
        name = looks.short(look.name, MAP_LETTERS)
        print_sheet.write(figure, name, left=start + 0.3, top=down, color=looks.INK)
        for offset, area in zip(columns, areas, strict=True):
            print_sheet.write(figure, area, left=start + offset, top=down)


def _plot_table(figure: go.Figure, result: Faithfulness, domain: tuple[float, float]) -> go.Figure:
    """The same on a screen, on axes of its own: lines of plotly's tables have no colour."""
    shown, areas = _looks(result), _areas(result)
    rows = np.arange(1, len(shown) + 1)
    on = {"xaxis": "x3", "yaxis": "y3", "hoverinfo": "skip", "cliponaxis": False}
    for row, look in zip(rows, shown, strict=True):
        figure.add_scatter(x=[0, 0.03, 0.06], y=[row] * 3, **look.on_screen(), **on)
    columns = [
        ["Area under", *(screen_sheet.literal(looks.short(look.name)) for look in shown)],
        *([curve, *column] for curve, column in zip(CURVES, zip(*areas, strict=True), strict=True)),
    ]
    for left, column in zip((0.1, 0.46, 0.7), columns, strict=True):
        figure.add_scatter(
            x=[left] * len(column),
            y=[0, *rows],
            text=column,
            mode="text",
            textposition="middle right",
            **on,
        )
    hidden = screen_sheet.screen_axis(visible=False)
    return figure.update_layout(
        xaxis3=hidden | {"range": [0, 1], "anchor": "y3"},
        yaxis3=hidden | {"domain": domain, "range": [len(shown) + 0.5, -0.5], "anchor": "x3"},
    )


def _plot_curves(figure: go.Figure, result: Faithfulness, curve: str, *, axes: str) -> None:
    low, high = _band(result, curve)
    figure.add_scatter(
        x=np.concatenate([result.share[0], result.share[0, ::-1]]),
        y=np.concatenate([low, high[::-1]]),
        xaxis=f"x{axes}",
        yaxis=f"y{axes}",
        mode="lines",
        line_width=0,
        fill="toself",
        fillcolor=f"rgba(107,114,128,{BAND_OPACITY})",
        hoverinfo="skip",
    )
    for look, scores in zip(_looks(result), _lines(result, curve), strict=True):
        name = screen_sheet.literal(look.name)
        figure.add_scatter(
            x=result.share[0],
            y=scores,
            xaxis=f"x{axes}",
            yaxis=f"y{axes}",
            **look.on_screen(),
            name=name,
            hovertemplate=f"<b>{name}</b>, {curve}<br>%{{x:.0%}} of the patches"
            f"<br>{_unit(result)} %{{y:{_format(result)}}}<extra></extra>",
        )


def _unit(result: Faithfulness) -> str:
    return outputs.name(result.outputs) if result.targets[0] else "Cosine similarity"


def _raw(result: Faithfulness) -> bool:
    """Whether a raw score is measured, whose unit and zero are not known."""
    return bool(result.targets[0]) and result.outputs == "scores"


def _format(result: Faithfulness) -> str:
    """How a score is told in words."""
    return outputs.hover(result.outputs) if _raw(result) else ".3f"


def _words(result: Faithfulness) -> list[str]:
    """The title, the score, the conclusions and their limits."""
    images = len(result.photographs)
    of = result.photographs[0].name if images == 1 else f"mean over {images} images"
    named = images == 1 and result.targets[0]
    quantity = "raw score" if _raw(result) else "probability"
    score = f"{quantity} of {result.targets[0]!r}" if named else result.score
    empty, blurred = (
        float(_mean(result, curve)[0, step]) for curve, step in zip(CURVES, (-1, 0), strict=True)
    )
    chances = [_chance(result, curve) for curve in CURVES]
    return [
        f"{result.model}: deletion and insertion, {of}",
        f"Score: {score}. All patches replaced: {looks.number(empty, _format(result))}; "
        f"all patches blurred: {looks.number(blurred, _format(result))}.",
        *conclusions(result),
        f"Chance explains differences up to {chances[0]:.2g} in deletion and {chances[1]:.2g} in "
        "insertion (95 of 100 random orders). Grey band: five random orders.",
        ("One image. " if images == 1 else "")
        + "The model was not trained on images with replaced or blurred patches.",
    ]


FIGURE = FigureSpec(
    record=Faithfulness,
    slug="faithfulness",
    title="Faithfulness",
    question="Can a map be trusted?",
    reading="Deletion: patches are replaced one after the other, the highest ranked first, and "
    "the model runs again each time. If the map shows what the output depends on, the "
    "score falls early. Insertion: patches are restored in a blurred image in the same "
    "order, and the score should rise early. A map that is no better than random orders "
    "and than the distance to the centre has shown nothing about the model on this image.",
    caveat="One image says little: use many. The model was not trained on images with replaced or "
    "blurred patches, so a score may fall or rise for that reason alone. Patches are "
    "replaced one after the other: what only several patches show together counts for the "
    "last of them. Without classes, the score is the cosine similarity of outputs, which "
    "can be high even for empty images. The unit of a raw score is not known, and a lower one "
    "need not mean that the model is less sure.",
    formula="area under p(class | image without the first k patches), or with them alone, over "
    "k / patches; p: softmax, sigmoid for multi-label classifiers, or the raw score",
    source="Petsiuk et al. (RISE), arXiv 1806.07421; for maps with randomised weights, in the "
    "browser: Adebayo et al., arXiv 1810.03292",
    draw=draw,
    plot=plot,
)
