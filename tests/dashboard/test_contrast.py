"""Can words be read on the page, by day and by night? WCAG 2.2 asks for 4.5 (AA)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import vit_inspect_dashboard
from vit_inspect.figures import looks
from vit_inspect_dashboard import page

CONFIG = Path(vit_inspect_dashboard.__file__).parent / ".streamlit" / "config.toml"
THEME = tomllib.loads(CONFIG.read_text())["theme"]
DAY, NIGHT = THEME["light"], THEME["dark"]


def lightness(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares
    ]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted([lightness(one), lightness(other)])
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_as_it_is_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def tinted(colour: str, paper: str) -> str:
    """The paper behind what is chosen: a tenth of the accent."""
    pairs = [(int(colour[at : at + 2], 16), int(paper[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(0.1 * one + 0.9 * other):02x}" for one, other in pairs)


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        (looks.INK, looks.PAPER),
        (looks.QUIET, looks.PAPER),
        (page.DARK_INK, NIGHT["backgroundColor"]),
        (page.DARK_QUIET, NIGHT["backgroundColor"]),
        (DAY["primaryColor"], looks.PAPER),
        (DAY["primaryColor"], tinted(DAY["primaryColor"], looks.PAPER)),
        (NIGHT["primaryColor"], NIGHT["backgroundColor"]),
        (NIGHT["primaryColor"], tinted(NIGHT["primaryColor"], NIGHT["secondaryBackgroundColor"])),
    ],
)
def test_words_stand_out(ink: str, paper: str) -> None:
    assert contrast(ink, paper) >= 4.5
