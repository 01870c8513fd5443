"""How does a finger on a chart that can be clicked move the page?"""

from __future__ import annotations

from vit_inspect_dashboard.components import component


def touch() -> None:
    """Lets a finger on a chart move the page, on every page; it shows nothing."""
    component(__file__)(key="touch")
