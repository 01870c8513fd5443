"""How does a sheet of maps stand on the page? What is chosen on it comes from the address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from vit_inspect.figures import patch_map, patch_maps
from vit_inspect.figures.lit import Look
from vit_inspect.layout import READOUT, Region, TokenLayout
from vit_inspect.records.evidence import PatchMap, PatchMaps
from vit_inspect.records.names import place_name
from vit_inspect_dashboard import address, as_python, exports, models, page, sheets
from vit_inspect_dashboard.components.explorer import CHOICES, LOOKS, explorer
from vit_inspect_dashboard.sheets import MAX, MEAN, Query, Sheet, all_queries, all_rows_fit
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import query_name

REGION = re.compile(r"Region \((\d{1,4}), (\d{1,4})\) to \((\d{1,4}), (\d{1,4})\)")
"""A region as `query_name` calls it."""

FIRST = {name: options[0] for name, options in CHOICES.items()}
"""What is shown of each choice before one is made."""


def chosen_look(first_look: Look = LOOKS[0]) -> dict[str, str]:
    """How maps are drawn, of each of the explorer's choices; `first_look` if none is chosen."""
    first = FIRST | {"look": first_look}
    return {
        name: address.chosen(name, options, start=first[name]) for name, options in CHOICES.items()
    }


def chosen_query(layout: TokenLayout) -> Query:
    """The token or region whose map is shown; what the model reads, if no other is chosen."""
    named: dict[str, Query] = {query_name(each, layout): each for each in all_queries(layout)}
    start = query_name(READOUT, layout)
    named[start] = READOUT
    held = address.get("query") or ""
    if found := REGION.fullmatch(held):
        top, left, bottom, right = map(int, found.groups())
        if top <= bottom < layout.grid[0] and left <= right < layout.grid[1]:
            named[held] = Region(top, left, bottom, right)
    return named[address.chosen("query", named, start=start)]


def chosen_number(key: str, count: int, *, start: int) -> int:
    """A layer, for example, of so many."""
    return int(address.chosen(key, range(count), start=start))


def chosen_name(key: str, names: Sequence[str]) -> int:
    """Which of some columns that have names; the first one, if no other is chosen."""
    return names.index(address.chosen(key, names, start=names[0]))


def chosen_column(heads: int, *, start: int, key: str = "head") -> int:
    """The head, or the column of the mean or the maximum of all heads."""
    columns = sheets.attention_columns(heads)
    return columns.index(address.chosen(key, columns, start=columns[start]))


def invitation(layout: TokenLayout, seen: str) -> str:
    """What to do with a map of queries, so that one can see what is `seen`."""
    way = "Move over the picture" if all_rows_fit(layout) else "Click a patch"
    return f"{way}: see {seen}."


def show(
    sheet: Sheet,
    lead: str,
    *,
    why: str = "",
    key: str = "canvas",
    layer: str = "layer",
    head: str = "head",
    link: str = "",
    scale: str | None = None,
    first_look: Look = LOOKS[0],
) -> None:
    """The maps, and the tools that belong to them.

    lead, why, link: as for `explorer`. layer, head: where the address holds what is open.
    scale: of explorers that are linked, which have no choice of it.
    first_look: as for `chosen_look`.
    """
    look = _look(sheet, scale, first_look)
    places = {
        "layer": layer if len(sheet.values) > 1 else None,
        "column": head if len(sheet.columns) > 1 else None,
    }
    explorer(
        sheet,
        lead=lead,
        why=why,
        link=link,
        look=look,
        key=key,
        on_choose=partial(
            _choose,
            places,
            sheet.columns,
            sheet.layout,
            bool(scale) or not sheet.limits,
            first_look,
        ),
    )


def query_words(query: Query, layout: TokenLayout) -> str:
    """A query within a sentence."""
    name = query_name(query, layout)
    return name[0].lower() + name[1:]


def attention_words(
    layout: TokenLayout, heads: int, query: Query, layer: int, column: int
) -> tuple[str, str, str]:
    """What an attention map is called, and the analysis and the values that make it in Python."""
    name = sheets.attention_columns(heads)[column]
    place = place_name(layer, column) if name.isdecimal() else f"L{layer} {name}"
    written = f"vi.Region{tuple(query)}" if isinstance(query, Region) else repr(query)
    asked = "" if query == READOUT else f", query={written}"
    taken = {MEAN: f"[:, {layer}].mean(axis=1)", MAX: f"[:, {layer}].max(axis=1)"}
    values = f"found.weights{taken.get(name, f'[:, {layer}, {column}]')}"
    return (
        f"{place} from {query_words(query, layout)}",
        f"vi.attention_maps(capture{asked})",
        values,
    )


def record_of(sheet: Sheet, subject: Subject, about: str) -> PatchMap:
    """The map that is large, as a record; `about` says what it is of."""
    values = sheet.values[sheet.opened][None]
    return PatchMap(models.model(subject).id, sheet.layout, (sheet.photograph,), about, values)


def all_maps_of(sheet: Sheet, subject: Subject, about: str) -> PatchMaps:
    """All maps of the sheet as a record; `about` says what they are of."""
    return PatchMaps(
        models.model(subject).id,
        sheet.layout,
        (sheet.photograph,),
        about,
        sheet.layer_name,
        tuple(map(str, range(len(sheet.values)))),
        "Head",
        sheet.columns,
        sheet.values[None],
    )


def export(
    sheet: Sheet,
    subject: Subject,
    *,
    about: str,
    analysis: str,
    values: str,
    all_about: str = "",
    label: str = "Export",
    suffix: str = "",
    scale: str | None = None,
    first_look: Look = LOOKS[0],
) -> None:
    """The large map as files and as lines of Python, and all maps as files, as they are shown.

    about: what it is of, such as "L7 H2 from class token (CLS)"; all_about: what all are of, where
        they are shown.
    analysis, values: as for `as_python.map_lines`. suffix: as for `exports.offer`. scale,
        first_look: as for `show`.
    """
    look = _look(sheet, scale, first_look)
    clip = float(look["clip"])
    drawn: dict[str, Any] = {
        "look": look["look"],
        "edges": look["edges"],
        "clip": clip,
        "limits": sheet.limits[clip] if look["scale"] == "shared" else None,
        "from_least": not sheet.from_zero,
        "unit": sheet.unit,
    }
    pinned = [sheet.query] if isinstance(sheet.query, tuple) else []
    alone = drawn | {"outlined": [*pinned, *sheet.outlined]}
    called = page.title_of(subject)
    with st.container(horizontal=True):
        exports.offer(
            patch_map.FIGURE,
            record_of(sheet, subject, about),
            name=f"{called} {about}",
            label=label,
            suffix=suffix,
            **alone,
        )
        if all_about:
            exports.offer(
                patch_maps.FIGURE,
                all_maps_of(sheet, subject, all_about),
                name=f"{called} {all_about}",
                label="Export all maps",
                **drawn,
            )
        printed = as_python.print_options(exports.chosen_print())
        lines = as_python.map_lines(subject, analysis, values, about, printed | alone)
        exports.offer_lines(lines)


def _look(sheet: Sheet, scale: str | None, first_look: Look) -> dict[str, str]:
    """How the sheet is drawn; maps without a common scale have each their own."""
    look = chosen_look(first_look)
    return look | {"scale": scale or (look["scale"] if sheet.limits else "own")}


def _choose(
    places: dict[str, str | None],
    columns: tuple[str, ...],
    layout: TokenLayout,
    scaled: bool,
    first_look: Look,
    chosen: dict[str, Any],
) -> None:
    """What was chosen on the canvas goes to the address.

    scaled: whether the maps have a scale of their page's, which is no choice.
    """
    shown = chosen_look(first_look)
    # What every page begins with is no choice. Where a page begins with another look, each look is
    # one.
    usual = FIRST | ({} if first_look == LOOKS[0] else {"look": ""})
    found = {
        name: None if value == usual[name] else value
        for name, value in chosen.items()
        if name in CHOICES and value != shown[name] and not (name == "scale" and scaled)
    }
    for name, place in places.items():
        if place and name in chosen:
            found[place] = columns[chosen[name]] if name == "column" else chosen[name]
    if "query" in chosen:
        query = chosen["query"]
        found["query"] = None if query is None else query_name(query, layout)
    address.put(**found)
