from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.helpers.printed import check_sheet
from vit_inspect.figures import looks
from vit_inspect.figures.overlay import patch_box
from vit_inspect.figures.print_sheet import CAPTION
from vit_inspect.figures.token_norms import (
    PLAIN,
    VARIANT,
    _ticks,
    draw,
    limits_of,
    plot,
    plot_depth,
    plot_rollout,
    rollout_limits,
    verdict,
)
from vit_inspect.records.evidence import TokenNorms


def titled(figure, start):
    [axes] = [each for each in figure.axes if each.get_title().startswith(start)]
    return axes


def traces(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def test_norms_lie_where_the_model_looked_on_a_scale_of_their_own(norms, photograph):
    figure = draw(norms)
    panel, bar = figure.axes[:2]
    left, top, right, bottom = photograph.seen
    assert panel.get_title() == "Norms after layer 2"
    assert tuple(panel.images[1].get_extent()) == (left, right, bottom, top)
    assert np.array_equal(panel.images[1].get_array(), norms.norm[0, 2])
    assert (
        panel.images[1].get_clim()
        == limits_of(norms)
        == looks.ends_of(norms.norm[0, 2], from_zero=False)
    )
    assert bar.get_ylabel() == "L2 norm"


def test_artefacts_are_outlined_and_nothing_else_is(norms, photograph):
    box = patch_box(photograph, (2, 3), (1, 2))
    edges = [patch for patch in draw(norms).axes[0].patches if patch.get_linewidth() >= 1]
    assert {tuple(np.round(edge.get_xy(), 6)) for edge in edges} == {(round(box.left, 6), box.top)}
    assert [to_hex(edge.get_edgecolor()) for edge in edges] == [looks.PAPER, looks.ACCENT]
    none = [patch for patch in draw(norms, image=1).axes[0].patches if patch.get_linewidth() >= 1]
    assert none == []
    paths = [shape for shape in plot(norms).layout.shapes if shape.type == "path"]
    corners = np.array(re.findall(r"[ML]([\d.]+),([\d.]+)", paths[0].path), float)
    assert corners.min(axis=0) == pytest.approx([box.left, box.top])
    assert corners.max(axis=0) == pytest.approx([box.right, box.bottom])
    assert [path.line.color for path in paths] == [looks.PAPER, looks.ACCENT]
    assert not [shape for shape in plot(norms, image=1).layout.shapes if shape.type == "path"]


def test_what_was_found_is_told(norms):
    words = plot(norms).layout.meta
    whole, ends = rollout_limits(norms), max(norms.rollout[0].max(), norms.rollout_without[0].max())
    assert " ".join(draw(norms).texts[0].get_text().split()) == (
        f"{' '.join(words)} Rollout: colours end at {100 * whole[1]:.3g}%, percentile 98.5 of the "
        f"variant (largest {100 * ends:.3g}%)."
    )
    norm, prefix = norms.norm[0, 2], norms.prefix_norm[0, 2]
    assert list(words) == [
        "toy: token norms after layer 2",
        f"Patches: median {np.median(norm):.3g}, maximum {norm.max():.3g}; "
        f"special tokens {prefix.min():.3g} to {prefix.max():.3g}. "
        f"Colours end at {limits_of(norms)[1]:.3g}, percentile 98.5 (largest {norm.max():.3g}).",
        "1 of 6 patches is an artefact: norm above 120, "
        "on average 8.2 times the norm of the others.",
        "12.5% of the tokens receive up to 40.0% of the patches' attention (layer 1).",
    ]


def test_that_nothing_was_found_is_told_with_the_reason(norms):
    words = " ".join(draw(norms, image=1).texts[0].get_text().split())
    assert words.endswith(
        "No artefacts found: the two groups that the norms fall into differ by a factor of 1.30; "
        "artefacts would differ by 2 or more."
    )
    assert plot(norms, image=1).layout.meta[-1] == verdict(norms, 1)
    assert "outlined" not in words
    titles = [axes.get_title() for axes in draw(norms, image=1).axes]
    assert PLAIN not in titles
    assert VARIANT not in titles


def test_the_depth_curve_holds_all_patches_the_prefix_apart_and_the_artefacts(norms):
    shown = traces(plot_depth(norms))
    assert list(shown) == [
        "all patches",
        "middle 90%",
        "median patch",
        "cls",
        "reg1",
        "artefacts",
    ]
    flat = norms.norm[0].reshape(3, 6)
    ends = [*flat.max(axis=1), *flat.min(axis=1)[::-1]]
    assert np.allclose(shown["all patches"].y, ends)
    assert np.allclose(shown["median patch"].y, np.median(flat, axis=1))
    assert np.allclose(shown["reg1"].y, norms.prefix_norm[0, :, 1])
    assert np.allclose(shown["artefacts"].y, norms.norm[0, :, 1, 2])
    assert list(shown["artefacts"].x) == [0, 1, 2]
    assert "artefacts" not in traces(plot_depth(norms, image=1))
    axes = titled(draw(norms), "Norms over depth")
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert np.allclose(drawn["cls"], norms.prefix_norm[0, :, 0])
    assert np.allclose(axes.collections[-1].get_offsets()[:, 1], norms.norm[0, :, 1, 2])
    assert axes.get_yscale() == "log"


def test_prefix_tokens_are_told_apart_by_more_than_colour(norms):
    names = ("cls", "reg1", "reg2", "reg3", "reg4")
    many = replace(
        norms,
        layout=replace(norms.layout, prefix=names),
        prefix_norm=norms.prefix_norm[..., :1].repeat(5, axis=-1),
    )
    shown = traces(plot_depth(many))
    assert len({shown[name].line.dash for name in (*names, "median patch")}) == 6
    lines = {line.get_label(): line for line in titled(draw(many), "Norms over depth").lines}
    assert len({str(lines[name]._unscaled_dash_pattern) for name in (*names, "median patch")}) == 6


def test_the_attention_that_artefacts_draw_is_beside_their_share(norms):
    drawn, share = (trace for trace in plot_depth(norms).data if trace.yaxis == "y2")
    assert np.allclose(drawn.y, [0.05, 0.4, 0.2])
    assert np.allclose(share.y, 1 / 8)
    [panel] = [axes for axes in draw(norms).axes if axes.get_ylabel().startswith("Attention")]
    assert np.allclose(panel.lines[0].get_ydata(), [0.05, 0.4, 0.2])
    assert np.allclose(panel.lines[1].get_ydata(), 1 / 8)
    [named] = panel.texts
    assert named.get_text() == "if uniform"
    assert named.xy[1] == pytest.approx(1 / 8)
    assert [panel.yaxis.get_major_formatter()(share) for share in (0, 0.125)] == ["0%", "12.5%"]
    assert not [trace for trace in plot_depth(norms, image=1).data if trace.yaxis == "y2"]


def test_both_rollouts_share_the_scale_of_the_variant(norms):
    figure, limits = draw(norms), rollout_limits(norms)
    least = min(norms.rollout[0].min(), norms.rollout_without[0].min())
    assert limits == (least, pytest.approx(np.percentile(norms.rollout_without[0], looks.CLIP)))
    for title, values in ((PLAIN, norms.rollout[0]), (VARIANT, norms.rollout_without[0])):
        image = titled(figure, title).images[1]
        assert np.array_equal(image.get_array(), values)
        assert image.get_clim() == limits
    plain, variant = plot_rollout(norms), plot_rollout(norms, variant=True)
    for shown, values in ((plain, norms.rollout[0]), (variant, norms.rollout_without[0])):
        assert np.allclose(shown.data[0].z, values)
        assert (shown.data[0].zmin, shown.data[0].zmax) == limits
    assert plain.layout.meta[2].startswith("Both maps share one scale. Colours end at ")
    assert plain.layout.meta[1].endswith(
        f"% on patches, {norms.rollout[0, 1, 2]:.1%} on the artefacts"
    )
    assert variant.layout.meta[0].startswith("Variant")
    assert "removed as keys and from what the model reads" in variant.layout.meta[2]


@pytest.mark.parametrize(
    ("low", "high", "first", "last", "count"),
    [
        (1.0, 1.0, 1, 2, 2),
        (0.7, 52.8, 0.5, 100, 8),
        (36.0, 44.0, 20, 50, 2),
        (1e-4, 600, 1e-4, 1000, 8),
        (9.99, 10.0, 5, 20, 3),
    ],
)
def test_the_axis_of_norms_ends_at_round_numbers_around_them(norms, low, high, first, last, count):
    norm = np.full_like(norms.norm, low)
    norm[:, 0, 0, 0] = high
    ticks = _ticks(replace(norms, norm=norm, prefix_norm=norms.prefix_norm[..., :0]), 0)
    assert (ticks[0], ticks[-1], len(ticks)) == (pytest.approx(first), pytest.approx(last), count)


@pytest.mark.filterwarnings("error")
def test_norms_that_are_zero_and_a_single_layer_can_be_drawn(norms):
    one = {name: getattr(norms, name)[:, :1] * 0 for name in ("norm", "prefix_norm", "drawn")}
    zero = replace(norms, layer=0, **one)
    draw(zero).draw_without_rendering()
    assert plot(zero).data[0].zmax == 1
    assert len(traces(plot_depth(zero))["median patch"].y) == 1


def test_limits_are_taken_over(norms):
    assert plot(norms, limits=(0.0, 900.0)).data[0].zmax == 900
    assert "%{z:.3g}" in plot(norms).data[0].hovertemplate


def test_one_image_keeps_its_own_reason(norms):
    alone = norms.of_image(1)
    assert isinstance(alone, TokenNorms)
    assert (alone.reason, alone.found.tolist()) == ((norms.reason[1],), [False])
    assert norms.found.tolist() == [True, False]


@pytest.mark.parametrize("image", [0, 1], ids=["artefacts", "none found"])
@pytest.mark.slow
@pytest.mark.parametrize("width_in", [3.0, 5.3, 6.9, 12.0])
def test_no_words_lie_on_others_or_beyond_the_sheet(norms, width_in, image):
    names = ("cls", "reg1", "reg2", "reg3", "reg4")
    for size_px in ((40, 80), (20, 80), (80, 20)):
        photograph = replace(norms.photographs[0], size_px=size_px)
        many = replace(
            norms,
            photographs=(photograph,) * 2,
            layout=replace(norms.layout, prefix=names),
            prefix_norm=norms.prefix_norm[..., :1].repeat(5, axis=-1),
        )
        figure = draw(many, image=image, width_in=width_in)
        check_sheet(figure)
        assert figure.get_size_inches()[1] <= 9.2


@pytest.mark.parametrize("width_in", [3.25, 5.5, 6.9])
def test_without_artefacts_the_words_begin_soon_below_the_curves(
    norms: TokenNorms, width_in: float
) -> None:
    sheet = draw(norms, image=1, width_in=width_in)
    sheet.set_dpi(100)
    lowest = min(axes.get_tightbbox().y0 for axes in sheet.axes)
    [words] = [text for text in sheet.texts if text.get_gid() == CAPTION]
    assert 2 < lowest - words.get_window_extent().y1 < 22
