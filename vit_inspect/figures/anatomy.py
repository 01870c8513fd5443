"""What is a network made of? Its parts with their sizes, after the ViT paper's Figure 1."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures import diagram, looks, print_sheet, screen_sheet
from vit_inspect.figures.anatomy_words import Step, block_words, step_of, steps_of, tokens_of
from vit_inspect.figures.diagram import Arrow, Box, Diagram, Note, Point, Sum
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.records.anatomy import Anatomy, Part, Row, Skip

TITLE = "Anatomy"
WIDTH_IN = 5.5
UNKNOWN = "–"

COLUMNS = ("Layers", "Width D", "MLP", "Heads", "Params")
"""Of Table 1, in the order of the fields of a `Row`."""

ROW_IN = 0.16
"""Height of a row of the table, in inches."""

EDGE, LANE, BETWEEN = 4.0, 11.0, 14.0
"""In points: the margin, the room for skips beside a block, and between both columns."""

ARROW, LABELLED, BRANCH = 9.0, 15.0, 6.0
"""In points: the length of an arrow, of one with a label, and between boxes side by side."""

STACKED_BELOW = 220.0
"""In points: on a narrower sheet the block stands below the network."""


def draw(result: Anatomy, *, width_in: float = WIDTH_IN) -> Figure:
    """The network on the left, one of its blocks on the right; pixels enter at the bottom.

    width_in: of the sheet, in inches. Text keeps its size.
    """
    made = scene(result, 72 * width_in)
    words = _words(result)
    table = 0.36 + len(words) * print_sheet.LINE_EM * print_sheet.TEXT_PT / 72
    top = table + ROW_IN * (len(_rows(result)) + 1) + 0.08
    height = made.height / 72
    figure = print_sheet.page(width_in, top + height + 0.05)
    axes = print_sheet.place(figure, left=0, top=top, width=width_in, height=height)
    diagram.draw(made, axes)
    _write_table(result, figure, top=table, width=width_in)
    print_sheet.write_head(figure, f"{TITLE}: {result.model}", "\n".join(words))
    return figure


def plot(result: Anatomy, *, width: int = screen_sheet.SCREEN_PX) -> go.Figure:
    """The same; each box says under the cursor how many trained values it has.

    width: px of the place that the figure is shown in.
    """
    margin = screen_sheet.MARGIN_RIGHT_PX
    free = width - 2 * margin
    made = scene(result, free / diagram.SCREEN_SCALE)
    rows = [f"{name}: {_in_words(row)}." for name, row in _rows(result)]
    words = "\n".join((*rows, *_words(result)))
    figure = screen_sheet.screen(f"{TITLE}: {result.model}", words, height=10, width=width)
    height = figure.layout.margin.t + made.height * diagram.SCREEN_SCALE + 8
    figure.update_layout(height=round(height), margin={"l": margin, "b": 8})
    return diagram.plot(made, figure)


def scene(result: Anatomy, width: float) -> Diagram:
    """The diagram of a network, in points of print."""
    if width < STACKED_BELOW:
        column = width - 2 * EDGE - 2 * LANE
        inside = _block(result, EDGE + LANE, column, EDGE)
        panel = Box(EDGE, EDGE, width - 2 * EDGE, inside.y - EDGE, panel=True, accent=True)
        network = _network(result, EDGE + LANE, column, inside.y + BETWEEN)
        return Diagram(width, network.y + EDGE, (panel, *inside.items, *network.items))
    column = (width - 2 * EDGE - BETWEEN - 2 * LANE) / 2
    left = EDGE + column + BETWEEN + LANE
    heights = _network(result, EDGE, column, 0).y, _block(result, left, column, 0).y
    height = max(heights)
    network = _network(result, EDGE, column, EDGE + (height - heights[0]) / 2)
    chosen = next(item for item in network.items if isinstance(item, Box) and item.accent)
    # Beside its box, as far as it stays on the sheet.
    middle = chosen.bottom + chosen.height / 2
    start = EDGE + min(max(0.0, middle - EDGE - heights[1] / 2), height - heights[1])
    inside = _block(result, left, column, start)
    panel = Box(left - LANE, start, column + 2 * LANE, inside.y - start, panel=True)
    zoom = [
        Arrow(((chosen.left + chosen.width, y), (panel.left, end)), head=False, accent=True)
        for y, end in (
            (chosen.bottom, panel.bottom),
            (chosen.bottom + chosen.height, panel.bottom + panel.height),
        )
    ]
    return Diagram(width, height + 2 * EDGE, (panel, *zoom, *network.items, *inside.items))


@dataclass
class _Column:
    """Boxes above each other, with arrows between them; `y` is where the next one begins."""

    left: float
    width: float
    y: float
    items: list[Box | Arrow | Sum | Note] = field(default_factory=list)

    @property
    def x(self) -> float:
        """The middle."""
        return self.left + self.width / 2

    def arrow(
        self, label: str = "", *, drawn: bool = True, anchor: Literal["left", "right"] = "left"
    ) -> float:
        """An arrow up to the next box; returns its middle, where a skip can begin.

        anchor: "left" for a label right of it, "right" for one left of it.
        """
        top = self.y + (LABELLED if label else ARROW)
        if drawn:
            self.items.append(Arrow(((self.x, self.y), (self.x, top))))
        if label:
            room = self.width / 2 - 5
            fits = print_sheet.text_width(label, diagram.SMALL_PT) <= room
            text = label if fits else label.replace(" tokens", "").replace(" patches", "")
            aside = 5 if anchor == "left" else -5
            self.items.append(Note(self.x + aside, (self.y + top) / 2 - 0.5, text, anchor))
        middle, self.y = (self.y + top) / 2, top
        return middle

    def box(self, step: Step) -> None:
        """A box over the whole width."""
        box = _box(step, self.left, self.y, self.width)
        self.items.append(box)
        self.y += box.height

    def fork(self, steps: list[Step]) -> None:
        """Boxes side by side, which take the same and whose outputs are added."""
        width = (self.width - BRANCH * (len(steps) - 1)) / len(steps)
        low = self.y + ARROW
        boxes = [
            _box(step, self.left + index * (width + BRANCH), low, width)
            for index, step in enumerate(steps)
        ]
        top = max(box.bottom + box.height for box in boxes) + ARROW
        for box in boxes:
            middle = box.left + width / 2
            self.items += [
                box,
                Arrow(((self.x, self.y), (middle, self.y), (middle, low))),
                Arrow(
                    ((middle, box.bottom + box.height), (middle, top), (self.x, top)), head=False
                ),
            ]
        self.y = top
        self.arrow()
        self._plus()

    def skip(self, start: float) -> None:
        """A sum with what passed at the height `start`."""
        lane = self.left + self.width + LANE / 2
        middle = self.y + diagram.SUM_PT
        ends: tuple[Point, ...] = (
            (self.x, start),
            (lane, start),
            (lane, middle),
            (self.x + diagram.SUM_PT, middle),
        )
        self.items.append(Arrow(ends))
        self._plus()

    def _plus(self) -> None:
        self.items.append(Sum(self.x, self.y + diagram.SUM_PT))
        self.y += 2 * diagram.SUM_PT


def _box(step: Step, left: float, bottom: float, width: float) -> Box:
    room = width - 2 * diagram.PAD_PT
    (word, *rest) = diagram.folded(step.word, room, diagram.WORD_PT)
    lines = (*rest, *(part for line in step.lines for part in diagram.folded(line, room)))
    values = "" if step.parameters is None else f"{step.parameters:,} trained values"
    told = "<br>".join(each for each in (f"<b>{step.word}</b>", *step.lines, values) if each)
    height = diagram.box_height(lines)
    return Box(left, bottom, width, height, word, lines, accent=step.accent, hover=told)


def _network(result: Anatomy, left: float, width: float, bottom: float) -> _Column:
    """The whole network, from the pixels to the output."""
    column = _Column(left, width, bottom)
    for number, step in enumerate(steps_of(result)):
        if number:
            column.arrow(step.label, drawn=step.joined)
        column.box(step)
    return column


def _block(result: Anatomy, left: float, width: float, bottom: float) -> _Column:
    """The parts of one block, with the tokens that enter and leave it."""
    block, stage = result.block, result.stages[result.stage]
    column = _Column(left, width, bottom + EDGE)
    gap = column.arrow(tokens_of(result, stage), drawn=block.ordered, anchor="right")
    starts: list[float] = []
    rows: list[list[Part]] = []
    for index, part in enumerate(block.parts):
        if index in block.beside and block.ordered:
            rows[-1].append(part)
        else:
            rows.append([part])
    for row in rows:
        starts += [gap] * len(row)
        match row:
            case [Skip(start=start)]:
                column.skip(starts[start + 1])
            case [part]:
                column.box(step_of(part))
            case _:
                column.fork([step_of(part) for part in row])
        gap = column.arrow(drawn=block.ordered)
    column.y += 2
    for line in block_words(result):
        column.items.append(Note(column.x, column.y + diagram.LINE_PT / 2, line, "center", True))
        column.y += diagram.LINE_PT
    column.y += EDGE
    return column


def _rows(result: Anatomy) -> list[tuple[str, Row]]:
    """The rows of the table by name: the model's own, and its variant's."""
    rows = [("This model", result.row)]
    return rows if result.variant is None else [*rows, (result.variant.name, result.variant.row)]


def _cells(row: Row) -> tuple[str, ...]:
    *numbers, parameters = (getattr(row, each.name) for each in fields(row))
    known = (UNKNOWN if number is None else f"{number:,}" for number in numbers)
    return *known, looks.parameter_count(parameters)


def _in_words(row: Row) -> str:
    """What is known of a row."""
    *numbers, parameters = _cells(row)
    forms = ("{} layers", "width {}", "MLP {}", "{} heads")
    pairs = zip(forms, numbers, strict=True)
    known = (form.format(number) for form, number in pairs if number != UNKNOWN)
    return ", ".join((*known, f"{parameters} parameters"))


def _write_table(result: Anatomy, figure: Figure, *, top: float, width: float) -> None:
    """The model's row of Table 1, and that of the variant."""
    first = 0.05 + 0.24 * width
    step = (width - first - 0.06) / len(COLUMNS)
    rows = _rows(result)
    lines = [("", COLUMNS), *((name, _cells(row)) for name, row in rows)]
    for number, (name, cells) in enumerate(lines):
        ends = [0.05, *(first + (place + 1) * step for place in range(len(cells)))]
        for place, (end, cell) in enumerate(zip(ends, (name, *cells), strict=True)):
            figure.text(
                end / width,
                1 - (top + ROW_IN * number) / figure.get_size_inches()[1],
                cell,
                fontsize=print_sheet.TEXT_PT,
                color=looks.INK if number else looks.QUIET,
                ha="right" if place else "left",
                va="top",
                parse_math=False,
            )


def _words(result: Anatomy) -> list[str]:
    """What stands below the title."""
    words = [_variant_words(result)]
    for stage in result.stages:
        if stage.unlike:
            layers = ", ".join(map(str, stage.unlike))
            words.append(f"Other parts or sizes than in block 0: {layers}.")
    if result.unread:
        values = sum(count for _, count in result.unread)
        names = ", ".join(name for name, _ in result.unread[:2])
        more = f" and {len(result.unread) - 2} more" if len(result.unread) > 2 else ""
        words.append(f"In no part that is drawn: {names}{more} ({values:,} values).")
    return [*words, *result.notices]


def _variant_words(result: Anatomy) -> str:
    if len(result.stages) > 1:
        return "Width, MLP and heads change from stage to stage: it is no row of Table 1."
    if result.variant is None:
        return "No named size is near."
    named = f"{result.variant.name} ({result.variant.source})"
    return f"{'The size is' if result.exact else 'The nearest named size is'} {named}."


FIGURE = FigureSpec(
    record=Anatomy,
    slug="anatomy",
    title=TITLE,
    question="What is this network made of?",
    reading="The network goes from the pixels at the bottom to its output at the top. Beside it, "
    "or below it on a narrow screen, is one block: tokens that pass beside its parts are added "
    "again at a plus. All sizes are read from the network while it runs. Matrices and convolutions "
    "add a bias where 'no bias' is not written. The table compares the network with the nearest "
    "named size.",
    caveat="Parts are recognised by the functions that are called. What is not recognised is not "
    "drawn, and its trained values are told. Dropout, activations of a convolutional stem and "
    "other steps without weights are left out.",
    formula="nearest named size: the least Σ |log₂ (own / named)| over layers, width, MLP and "
    "heads, if no number differs by more than a factor of 1.25",
    source=VIT_PAPER,
    draw=draw,
    plot=plot,
)
