"""Is one map shown as shares of its largest value, in print as on screens?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures.patch_map import draw, plot
from vit_inspect.records.evidence import PatchMap


def test_a_map_is_shown_as_shares_of_its_largest_value(single: PatchMap) -> None:
    (heatmap,) = plot(single).data
    assert single.values.min() < 0
    np.testing.assert_allclose(heatmap.z, single.values[0].clip(0) / 4, rtol=1e-6)
    assert (heatmap.zmin, heatmap.zmax) == (0, 1)
    drawn = draw(single).axes[0].images[-1]
    np.testing.assert_allclose(drawn.get_array(), heatmap.z, rtol=1e-6)
    assert drawn.get_clim() == (0, 1)


def test_its_colours_may_start_at_the_least_value(single: PatchMap) -> None:
    above = replace(single, values=single.values + 2)
    (heatmap,) = plot(above, from_least=True).data
    assert (heatmap.zmin, heatmap.zmax) == (pytest.approx(1 / 6), 1)
    assert draw(above, from_least=True).axes[0].images[-1].get_clim() == (pytest.approx(1 / 6), 1)


def test_an_even_map_has_a_scale_too(single: PatchMap) -> None:
    assert plot(replace(single, values=single.values * 0 + 2), from_least=True).data[0].zmin == 0
    against = plot(replace(single, values=single.values * 0 - 1))
    assert not against.data[0].z.any()
    assert against.layout.meta[1] == "No value is above 0."


def test_it_tells_the_model_the_map_and_its_unit(single: PatchMap) -> None:
    assert plot(single).layout.meta[:2] == ("toy: rollout", "Maximum 4.")
    assert [text.get_text() for text in draw(single).texts] == ["toy: rollout", "Maximum 4."]
