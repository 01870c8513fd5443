"""Every figure of the catalogue keeps the contract that menus, pages and exports rely on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.figure
import plotly.graph_objects as go
import pytest

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.records import made
from vit_inspect.analyses.attention_maps import ReadoutReduction
from vit_inspect.analyses.attention_rollout import RolloutReduction
from vit_inspect.attention.sweep import sweep
from vit_inspect.catalog import (
    COMPOSED,
    FIGURES,
    UNBUNDLED,
    CaptureFigure,
    ModelFigure,
    analyse,
    figure_of,
)
from vit_inspect.errors import InspectError
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.records.evidence import Predictions

Entry = ModelFigure[Any] | CaptureFigure[Any]

ALL = (*(entry.figure for entry in FIGURES), *COMPOSED, *UNBUNDLED)

OTHERS = {"position_bias": "beit_base_patch16_224", "rotary_similarity": "eva02_tiny_patch14_224"}
"""Models that have what the usual one has not, by figure."""


@pytest.fixture(scope="module")
def capture(small: Callable[..., vi.Model]) -> vi.Capture:
    model = small("vit_tiny_patch16_224", (32, 48))
    return vi.capture(model, [noise((90, 60), seed) for seed in (1, 2)])


def test_slugs_are_unique_and_name_the_public_function() -> None:
    slugs = [figure.slug for figure in ALL]
    assert len(set(slugs)) == len(slugs)
    for entry in FIGURES:
        assert getattr(vi, entry.figure.slug) is entry.analyse
        assert getattr(vi, entry.figure.record.__name__) is entry.figure.record


@pytest.mark.parametrize("figure", ALL, ids=lambda figure: figure.slug)
def test_every_figure_explains_itself(figure: FigureSpec[Any]) -> None:
    assert figure.question.endswith("?")
    for text in (figure.reading, figure.caveat):
        assert text.endswith(".")
        assert len(text) > 60
    assert figure.formula
    assert "arXiv" in figure.source or figure in UNBUNDLED


def test_each_kind_of_record_has_one_figure() -> None:
    for figure in ALL:
        assert figure_of(made(figure.record)) is figure
    with pytest.raises(vi.BadParameter, match="a Predictions, which has no figure"):
        figure_of(made(Predictions))


def test_a_page_that_figures_share_is_that_of_one_of_them() -> None:
    pages = {entry.figure.slug for entry in FIGURES if entry.page is None}
    assert {entry.page for entry in FIGURES} - {None} <= pages
    assert pages >= {"attention_maps", "attention_relevance"}


@pytest.mark.parametrize("entry", FIGURES, ids=lambda entry: entry.figure.slug)
def test_every_figure_is_drawn_and_plotted(
    entry: Entry, capture: vi.Capture, small: Callable[..., vi.Model]
) -> None:
    figure = entry.figure
    if isinstance(entry, ModelFigure):
        other = OTHERS.get(figure.slug)
        model = small(other, 112) if other else capture.model
        result = entry.analyse(model)
    else:
        result = entry.analyse(capture)
    assert type(result) is figure.record
    assert isinstance(figure.draw(result), matplotlib.figure.Figure)
    assert isinstance(figure.plot(result), go.Figure)
    written = result.written()
    assert set(result.axes()) == set(written) | set(result.arrays())
    # Under its own name, or one that says what it holds.
    assert {id(array) for array in result.arrays().values()} <= set(map(id, written.values()))
    for name, array in result.written().items():
        assert array.ndim == len(result.axes()[name])
    for array in result.arrays().values():
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("vit_tiny_patch16_224", RolloutReduction),
        ("vit_relpos_small_patch16_224", ReadoutReduction),
    ],
)
def test_one_sweep_gives_what_each_analysis_gives_alone(
    architecture: str, kind: type, small: Callable[..., vi.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = vi.capture(small(architecture, (32, 48)), [noise((90, 60), seed) for seed in (1, 2)])
    swept: list[object] = []

    def counted(layers: object, *reductions: object, **options: object) -> None:
        swept.extend(reductions)
        sweep(layers, *reductions, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("vit_inspect.catalog.sweep", counted)
    found = analyse(capture)
    assert set(found) == {
        entry.figure.slug
        for entry in FIGURES
        if isinstance(entry, CaptureFigure) and not entry.thorough
    }
    for slug, result in found.items():
        assert not isinstance(result, InspectError)
        alone = getattr(vi, slug)(capture)
        for name, array in result.arrays().items():
            assert (array == alone.arrays()[name]).all()
    assert kind in map(type, swept)
