"""Every figure of the catalogue keeps the contract that menus, pages and exports rely on."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.figure
import plotly.graph_objects as go
import pytest

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.analyses.attention_maps import ReadoutReduction
from vit_inspect.analyses.attention_rollout import RolloutReduction
from vit_inspect.attention.sweep import sweep
from vit_inspect.catalog import FIGURES, FigureSpec, analyse
from vit_inspect.errors import InspectError

OTHERS = {"position_bias": "beit_base_patch16_224", "rotary_similarity": "eva02_tiny_patch14_224"}
"""Models that have what the usual one has not, by figure."""


@pytest.fixture(scope="module")
def capture() -> vi.Capture:
    model = vi.load("vit_tiny_patch16_224", img_size=(32, 48), pretrained=False)
    return vi.capture(model, [noise((90, 60), seed) for seed in (1, 2)])


def test_slugs_are_unique_and_name_the_public_function() -> None:
    slugs = [spec.slug for spec in FIGURES]
    assert len(set(slugs)) == len(slugs)
    assert all(getattr(vi, spec.slug) is spec.analyse for spec in FIGURES)


@pytest.mark.parametrize("spec", FIGURES, ids=lambda spec: spec.slug)
def test_every_figure_explains_itself(spec: FigureSpec) -> None:
    assert spec.question.endswith("?")
    for text in (spec.reading, spec.caveat):
        assert text.endswith(".")
        assert len(text) > 60
    assert spec.formula
    assert "arXiv" in spec.source


def test_a_page_that_figures_share_is_that_of_one_of_them() -> None:
    pages = {spec.slug for spec in FIGURES if spec.page is None}
    assert {spec.page for spec in FIGURES} - {None} <= pages
    assert pages >= {"attention_maps", "attention_relevance"}


@pytest.mark.parametrize("spec", FIGURES, ids=lambda spec: spec.slug)
def test_every_figure_is_drawn_and_plotted(spec: FigureSpec, capture: vi.Capture) -> None:
    model = capture.model
    if spec.slug in OTHERS:
        model = vi.load(OTHERS[spec.slug], img_size=112, pretrained=False)
    result = spec.analyse(model if spec.scope == "model" else capture)
    assert isinstance(spec.draw(result), matplotlib.figure.Figure)
    assert isinstance(spec.plot(result), go.Figure)
    assert set(result.axes()) == set(result.written()) >= set(result.arrays())
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
        spec.slug for spec in FIGURES if spec.scope != "model" and not spec.thorough
    }
    for slug, result in found.items():
        assert not isinstance(result, InspectError)
        alone = getattr(vi, slug)(capture)
        for name, array in result.arrays().items():
            assert (array == alone.arrays()[name]).all()
    assert kind in map(type, swept)
