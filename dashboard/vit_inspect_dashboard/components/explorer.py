"""How do maps get into the browser, and what is chosen there back?

A small map of each layer and head is sent, and all rows of the one that is large, as bytes: so the
map follows the cursor, and layers and heads follow keys, without asking Python. `maps.js` reads
what `pack` writes, and `explorer.js` draws it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, get_args

import numpy as np
import streamlit as st
from PIL import Image

from vit_inspect.figures import looks
from vit_inspect.figures.lit import Look
from vit_inspect.layout import Region, TokenLayout
from vit_inspect.records.base import Photograph
from vit_inspect_dashboard.components import component
from vit_inspect_dashboard.sheets import CLIPS, Query, Sheet, all_rows_fit
from vit_inspect_dashboard.wording import query_name, token_name

STEPS = 65_535
"""Values travel as whole numbers of this many parts, from their row's least to its largest."""
COLOURS = 256

LOOKS: tuple[Look, ...] = get_args(Look)
EDGES = ("smooth", "blocks")
SCALES = ("own", "shared")
"""From each map's own least value to its clip; or one scale for all maps."""
CHOICES: dict[str, tuple[str, ...]] = {
    "look": LOOKS,
    "edges": EDGES,
    "scale": SCALES,
    "clip": tuple(f"{clip:g}" for clip in (98.5, *(each for each in CLIPS if each != 98.5))),
}
"""What can be chosen of how maps are drawn; the first of each is what is shown at first."""


def explorer(
    sheet: Sheet,
    *,
    look: Mapping[str, str],
    key: str,
    on_choose: Callable[[dict[str, Any]], None],
    lead: str = "",
    why: str = "",
    link: str = "",
) -> None:
    """Shows the maps of a sheet on the photograph, with what one can choose about them.

    lead: one line above the map; why: how the map was chosen that is open at first.
    link: a name for explorers that show the same place when one is hovered; their page says on
        which scale.
    look: of each of `CHOICES` the one that is drawn.
    on_choose: is called before the rerun with what was chosen, where it differs: "layer" (from 0),
        "column" (from 0), "query" (a name, or (row, column); None takes it back), "look", "edges",
        "scale" and "clip". All values are among those that were offered.
    """
    # The session keeps what this names; a sheet is large.
    offered, stamped = _Offered(sheet), f"{key}_stamp"

    def chosen() -> None:
        told = st.session_state[key].get("chosen")
        stamp = told.get("stamp") if isinstance(told, dict) else None
        if type(stamp) is int:
            st.session_state[stamped] = stamp
        on_choose(offered.valid(told))

    stamp = st.session_state.get(stamped, 0)
    component(__file__, "maps.js")(
        key=key,
        data=pack(sheet, look, stamp=stamp, lead=lead, why=why, link=link),
        on_chosen_change=chosen,
    )
    if sheet.pins and not all_rows_fit(sheet.layout):
        st.caption(
            "At this input size there are too many patches for the map to follow the cursor: "
            "choose a patch to see its map."
        )


class _Offered:
    """What a sheet offers to choose; what comes from a browser may be anything."""

    def __init__(self, sheet: Sheet) -> None:
        layers, columns = sheet.values.shape[:2]
        self.grid, self.pins = sheet.layout.grid, sheet.pins
        self.tokens = {query_name(each, sheet.layout): each for each in sheet.tokens}
        self.numbers = {"layer": range(layers), "column": range(columns)}

    def valid(self, chosen: object) -> dict[str, Any]:
        """The choices that were offered; others are left out."""
        found: dict[str, Any] = {}
        for name, value in chosen.items() if isinstance(chosen, dict) else ():
            known = self.numbers.get(name, ()) if type(value) is int else CHOICES.get(name, ())
            if value in known:
                found[name] = value
            elif name != "query" or not self.pins:
                continue
            elif value is None:
                found[name] = None
            elif isinstance(value, str) and value in self.tokens:
                found[name] = self.tokens[value]
            elif isinstance(value, list) and (region := self._region(value)):
                found[name] = region
            elif type(value) is int and 0 <= value < np.prod(self.grid):
                found[name] = divmod(value, self.grid[1])
        return found

    def _region(self, corners: list[object]) -> Region | None:
        """A rectangle of patches from its corners, if it is one."""
        if [type(each) for each in corners] != [int] * 4:
            return None
        region = Region(*corners)  # type: ignore[arg-type]
        rows, columns = self.grid
        inside = 0 <= region.top <= region.bottom < rows
        return region if inside and 0 <= region.left <= region.right < columns else None


def pack(
    sheet: Sheet,
    look: Mapping[str, str],
    *,
    stamp: int = 0,
    lead: str = "",
    why: str = "",
    link: str = "",
) -> bytes:
    """Everything the browser draws, in little-endian order.

    stamp: of the last choice that was heard from the browser, which knows by it what is new.

    The length of the header in bytes (uint32); the header (JSON, padded to a multiple of 4 bytes);
    of the small maps and then of the rows: least and largest value and, where these are attention,
    the masses on the keys before the patches (float32); the values of both in `STEPS` parts between
    least and largest (uint16); the colours of patches, if they have some, and the colour map (RGB);
    the photograph (WebP).
    """
    layout, photograph = sheet.layout, sheet.photograph
    count, keys = layout.patch_count, sheet.prefix.shape[2]
    maps = sheet.values.reshape(-1, count)
    prefixes, rows = sheet.rows.values[:, :keys], sheet.rows.values[:, keys:]
    parts = [_steps(maps), _steps(rows)] if len(rows) else [_steps(maps)]
    ramp = looks.colour(np.linspace(0, 1, COLOURS), looks.WEIGHT_MAP, (0.0, 1.0))[:, :3]
    colours = b"" if sheet.colours is None else sheet.colours.tobytes()
    header = {
        "kind": sheet.kind,
        "unit": sheet.unit,
        "grid": layout.grid,
        "prefix": [token_name(each) for each in layout.key_prefix] if keys else [],
        "tokens": [query_name(each, layout) for each in sheet.tokens],
        "pins": sheet.pins,
        "stamp": stamp,
        "lead": lead,
        "why": why,
        "link": link,
        "columns": sheet.columns,
        "layers": len(sheet.values),
        "layerName": sheet.layer_name,
        "opened": sheet.opened,
        "query": _sent(sheet.query, layout),
        "outlined": [_sent(patch, layout) for patch in sheet.outlined],
        "queries": [_sent(query, layout) for query in sheet.rows.queries],
        "steps": STEPS,
        "limits": {f"{clip:g}": ends for clip, ends in sheet.limits.items()},
        "fromZero": sheet.from_zero,
        "coloured": sheet.colours is not None,
        "choices": CHOICES,
        "look": dict(look),
        "picture": hashlib.sha256(_picture(photograph)).hexdigest(),
        "size": photograph.size_px,
        "seen": photograph.seen,
        "heat": looks.HEAT_OPACITY,
        "veil": looks.SPOTLIGHT_VEIL,
        "tint": looks.TINT_OPACITY,
        "grey": looks.MIDDLE_GREY,
        "greyWeights": looks.GREY_WEIGHTS,
        "leastShare": looks.LEAST_SHARE,
        "accent": looks.ACCENT,
        "ink": looks.INK,
        "paper": looks.PAPER,
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    numbers = [*parts[0][:2], sheet.prefix]
    numbers += [*parts[1][:2], prefixes] if len(rows) else []
    return b"".join(
        (
            np.uint32(len(text)).astype("<u4").tobytes(),
            text,
            *(np.ascontiguousarray(each).astype("<f4").tobytes() for each in numbers),
            *(part[2].astype("<u2").tobytes() for part in parts),
            colours,
            ramp.tobytes(),
            _picture(photograph),
        )
    )


def _steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row its least and its largest value, and its values as parts between them."""
    least, largest = values.min(axis=1), values.max(axis=1)
    span = np.where(largest > least, largest - least, 1)
    return least, largest, np.rint((values - least[:, None]) / span[:, None] * STEPS)


def _sent(query: Query | None, layout: TokenLayout) -> int | str | None:
    """A patch as its index in raster order, any other query as its name on the page."""
    if query is None or isinstance(query, str | Region):
        return None if query is None else query_name(query, layout)
    return layout.token(query) - layout.prefix_count


@lru_cache(maxsize=8)
def _picture(photograph: Photograph) -> bytes:
    """The photograph; it is the same for all maps."""
    file = io.BytesIO()
    Image.fromarray(photograph.pixels).save(file, "WEBP", quality=88)
    return file.getvalue()
