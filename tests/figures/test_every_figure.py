"""Laws that hold for every figure."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from vit_inspect.figures import (
    attention_distance,
    attention_maps,
    attention_relevance,
    attention_rollout,
    embedding_filters,
    faithfulness,
    feature_pca,
    head_importance,
    head_statistics,
    layer_cka,
    logit_lens,
    position_bias,
    position_similarity,
    rotary_similarity,
    style,
    token_norms,
    token_similarity,
)

FIGURES = {
    "filters": embedding_filters,
    "similarity": position_similarity,
    "bias": position_bias,
    "rotary": rotary_similarity,
    "mixed": rotary_similarity,
    "distance": attention_distance,
    "maps": attention_maps,
    "rollout": attention_rollout,
    "relevance": attention_relevance,
    "colours": feature_pca,
    "alike": token_similarity,
    "lens": logit_lens,
    "cka": layer_cka,
    "norms": token_norms,
    "importance": head_importance,
    "curves": faithfulness,
    "statistics": head_statistics,
}


@pytest.fixture(params=FIGURES)
def figure_and_result(request):
    return FIGURES[request.param], request.getfixturevalue(request.param)


def svg(figure):
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vit-inspect"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def values(node):
    """All leaves of a plotly figure, its packed arrays unpacked."""
    if isinstance(node, dict) and "bdata" in node:
        yield from np.frombuffer(base64.b64decode(node["bdata"]), node["dtype"]).tolist()
    elif isinstance(node, dict):
        for child in node.values():
            yield from values(child)
    elif isinstance(node, list):
        for child in node:
            yield from values(child)
    else:
        yield node


def test_two_draws_are_the_same_bytes(figure_and_result):
    figure, result = figure_and_result
    assert svg(figure.draw(result)) == svg(figure.draw(result))


def test_drawing_changes_no_global_setting(figure_and_result):
    figure, result = figure_and_result
    before = dict(matplotlib.rcParams)
    figure.draw(result).canvas.draw()
    figure.plot(result).to_json()
    assert dict(matplotlib.rcParams) == before


def test_nothing_is_cut_off_at_the_edge_of_the_sheet(figure_and_result):
    figure, result = figure_and_result
    sheet = figure.draw(result)
    sheet.canvas.draw()
    box = sheet.get_tightbbox()
    width, height = sheet.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    assert width <= style.PAGE_IN + 0.01


def test_print_sizes_are_those_of_papers(figure_and_result):
    figure, result = figure_and_result
    texts = figure.draw(result).findobj(Text)
    sizes = {text.get_fontsize() for text in texts if text.get_text() and text.get_visible()}
    assert max(sizes) <= style.TITLE_PT
    assert min(sizes) >= 4


def test_the_screen_figure_has_no_hole_and_no_template(figure_and_result):
    figure, result = figure_and_result
    drawn = json.loads(figure.plot(result).to_json(), parse_constant=pytest.fail)
    assert not [leaf for leaf in values(drawn) if isinstance(leaf, float) and leaf != leaf]
    assert "color" not in str(drawn["layout"]["template"])
    assert drawn["layout"]["font"]["family"] == style.SCREEN_FONT
    assert figure.plot(result).to_html(include_plotlyjs=False)


def test_figures_need_neither_torch_nor_pyplot():
    names = ", ".join(module.__name__ for module in FIGURES.values())
    code = (
        "import sys, types, pathlib, importlib.util\n"
        f"import {names}\n"
        "bad = {'torch', 'timm', 'matplotlib.pyplot', 'streamlit'} & set(sys.modules)\n"
        "bad |= {name for name in sys.modules if name.startswith('vit_inspect.analyses')}\n"
        "sys.exit(str(sorted(bad)) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
