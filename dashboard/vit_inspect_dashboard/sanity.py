"""What is left of a map when nothing was learned? The sanity check with randomised weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from vit_inspect.analyses.faithfulness import rank_correlation
from vit_inspect.figures.faithfulness import control_words
from vit_inspect_dashboard import address, canvas, page
from vit_inspect_dashboard.sheets import Sheet
from vit_inspect_dashboard.state import Subject

KEY, LINK = "randomised", "sanity"
TRAINED = "Trained weights"
RANDOMISED = "Randomised weights"
WORDS = page.Words(
    title="Sanity check",
    reading="Both maps are of the same network and the same picture. At the right, the entries of "
    "every weight tensor are in a random order: of what was learned only the values are left, and "
    "not where they stood. A rank correlation near 0 says that the two maps order the patches "
    "differently, so the map seems to depend on what was learned. Near 1 or −1, it does not. "
    "Compare which patches are high on the scale, not the numbers: each map has a scale of its "
    "own.",
    caveat="A map that depends on what was learned can still be wrong: see Faithfulness. One "
    "random order is one example. Neighbouring patches are alike, so even maps of two unlike "
    "networks agree in part by chance.",
    formula="Spearman's ρ of the two maps, over all patches",
    source="Adebayo et al., arXiv 1810.03292",
)


def wanted() -> bool:
    """Whether the check is switched on."""
    return address.get(KEY) == str(True)


def words() -> list[page.Words]:
    """What is said of the check, where it is switched on."""
    return [WORDS] if wanted() else []


def switch() -> None:
    """A switch for the check, which stands below the maps."""
    st.toggle(
        "Sanity check: randomised weights",
        help="Shows the same map of the same network with the entries of every weight tensor in a "
        "random order. What is left of the map was not learned.",
        **address.one_of(KEY, (False, True), start=False),
    )


def show(
    subject: Subject,
    sheet_of: Callable[[Subject], Sheet],
    lead: str,
    *,
    why: str = "",
    layer: str = "layer",
    head: str = "head",
    about: str,
    all_about: str = "",
    **told: Any,
) -> None:
    """The maps on the canvas; where the check is on, twice, and how similar the large maps are.

    sheet_of: the maps of the subject, and of the same with randomised weights.
    lead, why, layer, head: as for `canvas.show`. about, all_about, told: as for `canvas.export`.
    """
    if not wanted():
        sheet = sheet_of(subject)
        canvas.show(sheet, lead, why=why, layer=layer, head=head)
        told |= {"about": about, "all_about": all_about}
        canvas.export(sheet, subject, label="Export this map", **told)
        switch()
        return
    both = subject, subject._replace(randomised=True)
    # Before anything is drawn, so that one sees both waiting for the device.
    sheets = [sheet_of(each) for each in both]
    columns = st.columns(2, gap="large")
    for place, of, sheet, name in zip(columns, both, sheets, (TRAINED, RANDOMISED), strict=True):
        with place:
            key, suffix = ("canvas", "") if of is subject else ("canvas_control", "_control")
            # The map of another head or patch is there before this page is told.
            canvas.show(sheet, name, key=key, link=LINK, scale="own", layer=layer, head=head)
            label = "Export the control" if suffix else "Export this map"
            canvas.export(sheet, of, label=label, suffix=suffix, scale="own", about=about, **told)
    trained, control = (sheet.values[sheet.opened] for sheet in sheets)
    st.write(control_words(rank_correlation(trained, control)))
    st.caption("Each map has a scale of its own. The randomised weights are one random order.")
    switch()
