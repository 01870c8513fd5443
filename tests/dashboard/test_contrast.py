"""Can words be read on the page, by day and by night? WCAG 2.2 asks for 4.5 (AA)."""

from __future__ import annotations

import re
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


def mixed(colour: str, paper: str, share: float) -> str:
    """A colour that is so opaque, on a paper."""
    pairs = [(int(colour[at : at + 2], 16), int(paper[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(share * one + (1 - share) * other):02x}" for one, other in pairs)


def tinted(colour: str, paper: str) -> str:
    """The paper behind what is chosen: a tenth of the accent."""
    return mixed(colour, paper, 0.1)


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


@pytest.mark.parametrize("theme", [DAY, NIGHT], ids=["day", "night"])
def test_quiet_words_stand_out(theme: dict[str, str]) -> None:
    style = (CONFIG.parents[1] / "style.css").read_text()
    quiet = (CONFIG.parents[1] / "components" / "explorer.css").read_text()
    shares = re.findall(r"(?:stCaptionContainer|kbd) {[^}]*opacity: ([\d.]+)", style)
    shares += re.findall(r"\.quiet {[^}]*opacity: ([\d.]+)", quiet)
    assert len(shares) == 3
    # The sidebar's; by day it is Streamlit's own, as a screenshot shows it.
    paper = theme.get("secondaryBackgroundColor", "#f8f8f7")
    for share in map(float, shares):
        assert contrast(mixed(theme["textColor"], paper, share), paper) >= 4.5
