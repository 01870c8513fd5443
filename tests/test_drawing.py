"""Can every record be plotted, drawn and shown in a notebook? What cannot be is told in words."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
import plotly.graph_objects as go
import pytest
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

import vit_inspect as vi
from tests.helpers.records import MAKERS, Size, made
from vit_inspect.catalog import figure_of
from vit_inspect.records.base import Photograph, Result
from vit_inspect.records.evidence import (
    AttentionRelevance,
    Faithfulness,
    FeaturePca,
    HeadStatistics,
    PatchMap,
    PatchMaps,
    Predictions,
    TokenNorms,
)
from vit_inspect.records.paper import AttentionDistance, AttentionMaps, AttentionRollout
from vit_inspect.records.paper_figures import PaperFigure

KINDS = [kind for kind in MAKERS if not issubclass(kind, Predictions | PaperFigure)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_record_is_plotted_and_drawn(kind: type[Result]) -> None:
    record = made(kind)
    assert isinstance(vi.plot(record), go.Figure)
    assert isinstance(vi.draw(record), Figure)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [kind for kind in MAKERS if kind is not Predictions], ids=lambda kind: kind.__name__
)
def test_a_notebook_shows_every_record_with_its_words_in_few_bytes(kind: type[Result]) -> None:
    record = replace(made(kind), model="<b>& co</b>")
    before = dict(matplotlib.rcParams)
    html = record._repr_html_()
    assert dict(matplotlib.rcParams) == before
    assert len(html) < 600_000
    figure = figure_of(record)
    for words in (figure.question, figure.reading, figure.caveat):
        assert words.replace("'", "&#x27;") in html
    assert "<b>" not in html
    assert "&lt;b&gt;&amp; co" in html
    assert picture_of(html).size[0] > 100


def picture_of(html: str) -> Image.Image:
    (packed,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return Image.open(io.BytesIO(base64.b64decode(packed)))


def test_a_picture_that_is_too_heavy_is_shown_at_a_lower_resolution() -> None:
    light = made(FeaturePca)
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    noise = Photograph("noise.png", pixels, (400, 400), light.photographs[0].seen)
    heavy = replace(light, photographs=(noise, noise))
    assert len(heavy._repr_html_()) < 600_000
    assert picture_of(heavy._repr_html_()).info["dpi"][0] < 149
    assert picture_of(light._repr_html_()).info["dpi"][0] == pytest.approx(150, abs=1)


def test_of_a_batch_it_says_which_image_it_shows_unless_it_shows_all() -> None:
    assert "Image 0 of 2 is shown." in made(AttentionRollout)._repr_html_()
    assert "is shown" not in made(AttentionRollout, Size(images=1))._repr_html_()
    for kind in (AttentionDistance, Faithfulness):
        assert "Image 0" not in made(kind)._repr_html_()


def test_predictions_are_a_small_table_in_a_notebook() -> None:
    record = replace(made(Predictions), labels=(("<i>ant</i>", "bee", "cat", "dog"),) * 2)
    html = record._repr_html_()
    assert html.startswith("<table>")
    assert "&lt;i&gt;ant&lt;/i&gt;" in html
    assert f"{record.probability[0, 0]:.1%}" in html
    assert "image 0 of 2" in html
    assert len(html) < 2000


def test_raw_scores_are_told_as_scores_in_a_notebook() -> None:
    record = replace(made(Predictions), outputs="scores")
    html = record._repr_html_()
    assert "<th>Output</th><th>Score</th>" in html
    assert f"<td>{record.value[0, 0]:.4g}</td>" in html
    assert "%" not in html


def test_a_record_of_ones_own_is_a_table_of_its_arrays() -> None:
    @dataclass(frozen=True, eq=False)
    class Own(Result):
        size: Float[np.ndarray, "image layer"]

    assert "<td>size</td><td>image 2, layer 3</td>" in Own("toy", np.ones((2, 3)))._repr_html_()


def test_options_reach_the_figure() -> None:
    maps = made(AttentionMaps)
    assert vi.plot(maps, scale="per map").data[0].marker.cmax == 1
    assert vi.draw(maps, image=1, scale="per map").axes[1].get_xlim() == (0, 1)


@pytest.mark.parametrize("show", [vi.plot, vi.draw])
def test_what_cannot_be_drawn_is_told_in_words(show: object) -> None:
    assert callable(show)
    with pytest.raises(vi.BadParameter, match="a Predictions, which has no figure"):
        show(made(Predictions))
    with pytest.raises(vi.BadParameter, match=r"Found the image 2; expected an image of 0\.\.1"):
        show(made(AttentionMaps), image=2)
    with pytest.raises(vi.BadParameter, match="Found the option 'colour'; expected one of image"):
        show(made(AttentionMaps), colour="red")
    with pytest.raises(
        vi.BadParameter, match=r"Found the option 'image'; expected (no option|one of limits)"
    ):
        show(made(AttentionDistance), image=0)


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        (AttentionMaps, {"scale": "colour"}, "the scale 'colour'; expected 'shared' or 'per map'"),
        (HeadStatistics, {"large": "colour"}, "the statistic 'colour'; expected one of entropy"),
        (HeadStatistics, {"large": "colour", "limits": (0, 1)}, "the statistic 'colour'"),
        (AttentionRelevance, {"way": "colour"}, "the way 'colour'; expected one of relevance"),
        (AttentionMaps, {"limits": 3}, "the limits 3; expected the lower and the upper end"),
        (AttentionMaps, {"limits": ("a", 1)}, r"the limits \('a', 1\)"),
        (AttentionMaps, {"limits": (1, 0)}, r"the limits \(1, 0\)"),
        (AttentionMaps, {"limits": (0, np.nan)}, r"the limits \(0, nan\)"),
        (TokenNorms, {"width": "wide"}, "the width 'wide'; expected a number of px above 0"),
        (TokenNorms, {"width": -4}, "the width -4"),
        (PatchMap, {"clip": 150}, "the clip 150; expected a percentile of 0 to 100"),
        (PatchMap, {"clip": -1, "limits": (0, 1)}, "the clip -1"),
        (PatchMaps, {"clip": np.nan}, "the clip nan"),
        (PatchMaps, {"clip": "95", "limits": (0, 1)}, "the clip '95'"),
        (PatchMaps, {"clip": None}, "the clip None"),
    ],
)
def test_a_value_that_an_option_does_not_take_is_told_in_words(
    kind: type[Result], wrong: dict[str, object], told: str
) -> None:
    with pytest.raises(vi.BadParameter, match=told):
        vi.plot(made(kind), **wrong)


def test_limits_of_numpy_are_limits() -> None:
    low, high = np.float64([0.0, 0.25])
    assert vi.plot(made(AttentionMaps), limits=(low, high)).data[0].marker.cmax == high


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_record_is_not_shown() -> None:
    with pytest.raises(vi.BadParameter, match="a str, which has no figure"):
        vi.html("attention")  # type: ignore[arg-type]


def test_a_picture_that_stays_heavy_has_the_lowest_resolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = made(AttentionDistance)
    monkeypatch.setattr("vit_inspect.drawing.NOTEBOOK_BYTES", 1)
    found = re.search(r"base64,([^\"]+)", vi.html(record))
    assert found
    picture = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert picture.width == int(36 * vi.draw(record).get_size_inches()[0])
