"""Are the ends of a mean those of scipy's bootstrap, and of what is there alone?"""

from __future__ import annotations

import numpy as np
from scipy.stats import bootstrap

from vit_inspect.records.resampling import mean_ends


def test_the_ends_are_those_of_scipy_but_for_the_draws() -> None:
    random = np.random.default_rng(0)
    values = random.gamma(0.5, size=(80, 3))
    wanted = bootstrap(
        (values,), np.mean, axis=0, method="percentile", n_resamples=4_000, rng=random
    ).confidence_interval
    found = mean_ends(values)
    wide = wanted.high - wanted.low
    assert (np.abs(found - [wanted.low, wanted.high]) < 0.08 * wide).all()
    np.testing.assert_array_equal(found, mean_ends(values))


def test_images_without_a_value_count_as_not_there() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(200, 2)) + 5
    values[50:, 1] = np.nan
    found = mean_ends(values)
    assert np.isfinite(found).all()
    assert found[0, 1] < values[:50, 1].mean() < found[1, 1]
    # A quarter of the images: twice as wide.
    assert 1.5 < np.diff(found, axis=0)[0, 1] / np.diff(found, axis=0)[0, 0] < 2.7


def test_one_image_has_no_interval_and_equal_ones_have_no_width() -> None:
    assert np.isnan(mean_ends(np.ones((1, 2)))).all()
    assert np.isnan(mean_ends(np.array([[np.nan], [2.0], [np.nan]]))).all()
    np.testing.assert_allclose(mean_ends(np.full((5, 1), 0.3)), 0.3, rtol=1e-12)
