"""Are raw scores told as scores, in every figure of outputs, and on axes that hold them?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.helpers import records
from tests.helpers.records import Size
from vit_inspect.catalog import figure_of
from vit_inspect.figures import ablation, faithfulness, logit_lens, looks, outputs
from vit_inspect.records.base import Result

pytestmark = pytest.mark.slow

RAW = {
    "lens": records.raw_lens,
    "lens of one": records.lens_of_one,
    "ablation": records.raw_ablation,
    "curves": records.raw_curves,
    "importance": records.raw_importance,
}
SHARES = ("Patches replaced by mean colour", "Patches restored in blurred image")


@pytest.fixture(params=RAW)
def raw(request: pytest.FixtureRequest) -> Result:
    return made(RAW[request.param])


def made(maker: Callable[..., Any]) -> Any:
    return maker(Size(), np.random.default_rng(0))


def printed(figure: Figure) -> list[str]:
    """All words of a print but those of axes of shares."""
    figure.draw_without_rendering()
    shares = {
        id(text)
        for axes in figure.axes
        if axes.get_xlabel() in SHARES
        for text in axes.xaxis.findobj(Text)
    }
    texts = figure.findobj(Text)
    return [text.get_text() for text in texts if id(text) not in shares]


def plotted(node: Any) -> Iterator[str]:
    """All words and formats of a plotly figure."""
    if isinstance(node, dict):
        for name, child in node.items():
            # Axes of shares of the patches.
            if not (isinstance(child, dict) and child.get("title", {}).get("text") in SHARES):
                yield from plotted(child) if name != "hovertemplate" else [child]
    elif isinstance(node, list | tuple):
        for child in node:
            yield from plotted(child)
    elif isinstance(node, str) and not node.startswith("data:"):
        yield node


def test_no_word_tells_a_raw_score_as_a_probability(raw: Result) -> None:
    figure = figure_of(raw)
    words = printed(figure.draw(raw))
    for drawn in (figure.plot(raw), *figure.plots(raw)):
        words += plotted(drawn.to_plotly_json())
    for text in words:
        # Other shares: how far the whole output changed, and of the patches.
        told = text.replace("%{", "").partition("relative change")[0].replace("<br>x:.0%}", "")
        assert "robab" not in told
        assert "%" not in told, text
    assert any("core" in text for text in words)


def test_the_same_figures_of_probabilities_say_so() -> None:
    for maker in (records.logit_lens, records.ablation, records.faithfulness):
        found = made(maker)
        assert any("robab" in text for text in printed(figure_of(found).draw(found)))
        found = replace(found, outputs="multi-label")
        assert any("robab" in text for text in printed(figure_of(found).draw(found)))


@pytest.mark.parametrize(
    ("values", "kind", "ends"),
    [
        ([0.3, 0.2], "single-label", (0, 0.5)),
        ([1.0, 0.2], "multi-label", (0, 1.01)),
        ([8.0, 2.0], "scores", (0, 10)),
        ([-8.0, -2.0], "scores", (-10, 0)),
        ([-4.0, 4.0], "scores", (-6, 6)),
        ([0.0, 0.0], "scores", (0, 1)),
    ],
)
def test_axes_of_bars_hold_zero_and_every_bar(
    values: list[float], kind: str, ends: tuple[float, float]
) -> None:
    assert outputs.ends(np.array(values), kind) == ends


def test_bars_of_raw_scores_end_at_the_scores() -> None:
    found = made(records.raw_ablation)
    bars = ablation.draw(found).axes[-1]
    low, high = bars.get_xlim()
    assert low < -60 < 310 < high
    assert bars.get_xlabel() == "Score"
    assert [text.get_text() for text in bars.texts] == ["310", "−42.5", "295.2", "−60"]
    screen = ablation.plot(found)
    assert screen.layout.xaxis.range == (low, high)
    assert list(screen.data[1].text) == ["295.2", "−60"]
    assert "%{x:.4g}" in screen.data[0].hovertemplate


def test_maps_of_raw_scores_begin_at_the_lowest() -> None:
    lens = made(records.raw_lens)
    values = lens.patch_value[0]
    assert logit_lens.limits_of(lens) == (values.min(), values.max())
    words = f"Maps: shared scale, {looks.number(values.min())} to {values.max():.4g}."
    assert logit_lens.plot(lens).layout.meta[3] == words
    drawn = logit_lens.plot_layer(lens, 1)
    assert drawn.data[0].hovertemplate.count("%{z:.4g}, rank") == 1
    told = drawn.data[-1].marker.colorbar.ticktext
    assert told[0] == looks.number(float(values.min()), ".3g")
    assert not any("%" in each for each in told)
    assert drawn.layout.meta[2].startswith("Largest score in ")


def test_of_one_output_no_rank_is_told() -> None:
    lens = made(records.lens_of_one)
    assert len(logit_lens.plot(lens).layout.meta) == 3
    assert "ank" not in "".join(printed(logit_lens.draw(lens)))
    assert "ank" not in str(logit_lens.plot(lens).to_dict())
    layer = logit_lens.plot_layer(lens, 1)
    assert len(layer.layout.meta) == 2
    assert "ank" not in str(layer.to_dict())


def test_of_many_outputs_the_rank_is_told_though_all_patches_have_the_first() -> None:
    lens = made(records.lens_of_one)
    lens = replace(lens, readout_rank=lens.readout_rank + 3)
    assert "Rank" in printed(logit_lens.draw(lens))
    assert "rank 4" in str(logit_lens.plot(lens).to_dict())


def test_curves_of_raw_scores_fill_their_axis() -> None:
    curves = made(records.raw_curves)
    assert faithfulness.limits_of(curves) == pytest.approx((-71, -49))
    drawn = faithfulness.draw(curves)
    assert drawn.axes[0].get_ylabel() == "Score"
    assert "−66" in [text.get_text() for text in drawn.texts]
    words = faithfulness.plot(curves.of_image(0)).layout.annotations[-1].text
    assert "Score: raw score of 'cat'. All patches replaced: −70; all" in words


def test_a_raw_score_is_not_judged_by_its_share_of_the_maximum() -> None:
    """As -70 to -50 it moves by 29 %, with another zero by 2 %: the zero is not known."""
    curves = made(records.raw_curves)
    moved = {name: array + 1000 for name, array in curves.arrays().items() if name != "share"}
    assert faithfulness.conclusions(replace(curves, **moved)) == faithfulness.conclusions(curves)
    assert len(faithfulness.conclusions(curves)) == 2
