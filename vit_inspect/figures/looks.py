"""What do all figures look like? Colours, line styles, names, and numbers in words.

Over a photograph in colour, more opaque colours mean "more"; on maps by themselves, lighter ones do
(dark to light, never jet). Colours are always set, never left to a library's default. Layers,
heads, rows and columns count from 0, as in the records: a head's number on a figure is its index in
the arrays. The paper's legend, which begins with "Head 1", is given up for this.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_hex

from vit_inspect.records.names import head_name as head_name
from vit_inspect.records.names import patch_name as patch_name
from vit_inspect.records.names import place_name as place_name

INK, QUIET, PAPER, ACCENT = "#1f2328", "#6b7280", "#ffffff", "#d1495b"
HEAD_COLOURS = tuple(to_hex(colour) for colour in matplotlib.colormaps["tab10"].colors)  # type: ignore[attr-defined]

WEIGHT_MAP = "magma"
"""Shares of attention, from 0."""
SIMILARITY_MAP, SIMILARITY_LIMITS = "viridis", (-1.0, 1.0)

DIFFERENCE_MAP = "RdBu_r"
"""White is no difference."""

BIAS_MAP = "RdBu_r"
"""White is 0, red is more and blue is less; colour-blind readers can distinguish them."""

SHARED_SCALE_PERCENTILE = 99.5
"""Where a shared scale is clipped: a few sink tokens must not make all other maps black."""
MAP_OPACITY = 0.65

HEAT_OPACITY, SPOTLIGHT_VEIL = 0.85, 0.93
"""How much of the photograph the largest value hides as heat, and the smallest in a spotlight."""

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue in the grey of a photograph (ITU-R BT.601, as Pillow takes it)."""

TINT_OPACITY = 0.78
"""How much of the photograph the colours of patches hide, where they have no scale."""

CLIP, LEAST_SHARE = 98.5, 1e-3
"""The percentile of a map where its own scale ends, unless another is chosen, and the share of its
range that a clip must leave."""

MIDDLE_GREY = 0.565
"""What a look's colours lie over in their bar, in place of a photograph."""

UNSEEN, UNSEEN_OPACITY = "#ffffff", 0.75
"""The colour over the part of a photograph that the model never saw."""

DASHES: dict[str, Any] = {
    "solid": "solid",
    "dash": (0, (4, 2)),
    "dot": (0, (1, 1.5)),
    "dashdot": (0, (4, 1.5, 1, 1.5)),
    "longdash": (0, (8, 2)),
    "longdashdot": (0, (8, 1.5, 1, 1.5)),
}

MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "star": "*",
}
"""Plotly's dashes and markers, and the same in matplotlib: lines differ by more than colour."""

NAME_LENGTH = 24
"""Letters of a name on an axis or in a list, at most."""
PROBABILITY_ENDS = (0.005, 0.02, 0.1, 0.5, 1.01)
Limits = tuple[float, float]


def offset_name(rows: int, columns: int) -> str:
    """The offset of a key from its query in words, such as "2 up, 1 right"."""
    parts = [f"{abs(rows)} {'down' if rows > 0 else 'up'}"] if rows else []
    parts += [f"{abs(columns)} {'right' if columns > 0 else 'left'}"] if columns else []
    return ", ".join(parts) or "the query itself"


def percent(share: float | np.floating) -> str:
    """A share as a percentage, with enough digits for small ones."""
    if 0 < share < 1e-4:
        return "<0.01%"
    return f"{share:.1%}" if share >= 0.1 else f"{100 * share:.2g}%"


def number(value: float | np.floating, form: str = ".4g") -> str:
    """A number in words; a minus is the sign that axes have, which is no hyphen."""
    return f"{value:{form}}".replace("-", "−")


def parameter_count(count: int) -> str:
    """How many parameters a network has, such as "22.1 M"; below a million exactly."""
    if count < 1_000_000:
        return f"{count:,}"
    millions = count / 1e6
    return f"{millions:,.0f}\u00a0M" if millions >= 100 else f"{millions:.3g}\u00a0M"


def probability_end(largest: float) -> float:
    """Where an axis of probabilities ends: one of a few values, so that it seldom changes."""
    return next(end for end in PROBABILITY_ENDS if largest <= end)


def short(name: str, letters: int = NAME_LENGTH) -> str:
    """A name of at most so many letters; the middle is left out, both ends are kept."""
    if len(name) <= letters:
        return name
    end = (letters - 1) // 2
    return f"{name[: letters - 1 - end]}…{name[len(name) - end :]}"


def fold(text: str, fits: Callable[[str], bool]) -> str:
    """Breaks long lines between words; a single word that is too long is shortened.

    Such a word is the name of a model or of a file.
    """
    lines = []
    for given in text.split("\n"):
        line, *words = (fitted(word, fits) for word in given.split(" "))
        for word in words:
            if fits(f"{line} {word}"):
                line = f"{line} {word}"
            else:
                lines.append(line)
                line = word
        lines.append(line)
    return "\n".join(lines)


def fitted(word: str, fits: Callable[[str], bool]) -> str:
    """A name without as many letters of its middle as do not fit."""
    if fits(word):
        return word
    # A name may have thousands of letters, and measuring takes time.
    letters = bisect(range(2, len(word)), False, key=lambda count: not fits(short(word, count)))
    return short(word, letters + 1)


def head_colour(head: int) -> str:
    """A head's colour; ten repeat, as in the paper."""
    return HEAD_COLOURS[head % len(HEAD_COLOURS)]


def line_dash(place: int) -> str:
    """A dash, not solid, for each of some lines, by plotly's name; five repeat."""
    broken = [dash for dash in DASHES if dash != "solid"]
    return broken[place % len(broken)]


def line_marker(place: int) -> str:
    """A marker for each of some lines, by plotly's name; eight repeat."""
    return list(MARKERS)[place % len(MARKERS)]


def colour(
    values: Float[np.ndarray, "*shape"], colour_map: str, limits: Limits
) -> UInt8[np.ndarray, "*shape 4"]:
    """The RGBA bytes of values; values beyond the limits get the colour of the limit."""
    scaled = np.asarray(Normalize(*limits)(values))
    return np.asarray(matplotlib.colormaps[colour_map](scaled, bytes=True))


def lit(shares: Float[np.ndarray, "*shape"], look: str) -> Float[np.ndarray, "*shape 4"]:
    """Red, green, blue and opacity in 0..1 of shares of a scale, for a look of `lit.py`."""
    if look == "spotlight":
        colours = np.zeros((*shares.shape, 4))
        colours[..., 3] = SPOTLIGHT_VEIL * (1 - shares)
        return colours
    colours = colour(shares, WEIGHT_MAP, (0.0, 1.0)) / 255
    colours[..., 3] = HEAT_OPACITY * shares
    return colours


def ends_of(
    values: Float[np.ndarray, "*shape"], clip: float = CLIP, *, from_zero: bool = True
) -> Limits:
    """The ends of a map's own scale: 0 or its least value, and its percentile `clip`.

    A map with a few bright patches and nothing else ends at its largest value: it would be all of
    one colour.
    """
    low = 0.0 if from_zero else float(values.min())
    high = float(np.percentile(values, clip))
    largest = float(values.max())
    return (low, high) if high - low > LEAST_SHARE * (largest - low) else (low, max(largest, low))


def lit_map(look: str) -> ListedColormap:
    """The colours of a look over a middle grey, for a colour bar."""
    colours = lit(np.linspace(0, 1, 256), look)
    return ListedColormap(colours[:, :3] * colours[:, 3:] + MIDDLE_GREY * (1 - colours[:, 3:]))


def heat_map() -> ListedColormap:
    """The colours of heat with their opacity, to be laid over a photograph."""
    return ListedColormap(lit(np.linspace(0, 1, 256), "heat"))


def heat_scale() -> list[tuple[float, str]]:
    """The same for plotly."""
    stops = np.linspace(0, 1, 33)
    return [
        (float(stop), f"rgba({red:.0f},{green:.0f},{blue:.0f},{opacity:.3f})")
        for stop, (red, green, blue, opacity) in zip(
            stops, (lit(stops, "heat") * (255, 255, 255, 1)).tolist(), strict=True
        )
    ]


def colour_scale(colour_map: str | Colormap, opacity: float = 1.0) -> list[tuple[float, str]]:
    """The same colour map for plotly."""
    stops = np.linspace(0, 1, 33)
    colours = matplotlib.colormaps.get_cmap(colour_map)(stops, bytes=True)
    return [
        (float(stop), f"rgba({red},{green},{blue},{opacity})")
        for stop, (red, green, blue, _) in zip(stops, colours.tolist(), strict=True)
    ]
