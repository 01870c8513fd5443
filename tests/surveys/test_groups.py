"""Are the differences of two groups of pictures what the formulas of their sources say?"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import vit_inspect as vi
from tests.helpers.records import Size, layout_of
from vit_inspect.errors import BadParameter
from vit_inspect.surveys.parts import CHUNK, NEEDED, Row, Store
from vit_inspect.surveys.results import merged
from vit_inspect.surveys.sources import Entry

LAYERS, HEADS, PICTURES = 3, 2, 40
REFUSED = (3, 30)
FIRST, SECOND = np.arange(0, 14), np.arange(14, 40)


@pytest.fixture
def values() -> np.ndarray:
    """Unlike in spread and mean; the head L2 H1 is the same for every picture but for rounding."""
    random = np.random.default_rng(0)
    found = random.normal(5, 1, (PICTURES, LAYERS, HEADS))
    found[FIRST] = 5.7 + 3 * (found[FIRST] - 5)
    found[:, 2, 1] = 2 + 1e-9 * random.normal(size=PICTURES)
    return found


def made(
    folder: Path,
    values: np.ndarray,
    *,
    classes: list[str] | None = None,
    labels: tuple[str | None, ...] = (),
    chosen: tuple[int, ...] = (),
    statistic: str = "entropy",
    refused: tuple[int, ...] = REFUSED,
    size: int | None = None,
    place: str = "",
) -> vi.Survey:
    """A survey of these numbers, by picture, layer and head."""
    plan = dict.fromkeys(NEEDED) | {
        "model": "toy",
        "layout": asdict(layout_of(Size(layers=LAYERS, heads=HEADS))),
        "numbers": [statistic],
        "layers": LAYERS,
        "heads": HEADS,
        "dtype": "float64",
        "labels": classes,
        "chunk": CHUNK,
    }
    entries = [
        Entry(
            f"{number}.png",
            f"{place}{number}.png",
            size=size,
            label=labels[number] if labels else None,
        )
        for number in range(len(values))
    ]
    store = Store(folder, plan, entries)
    with store.claimed():
        store.put(
            0,
            [
                Row(entry, "no picture")
                if number in refused
                else Row(
                    entry,
                    None,
                    {statistic: values[number]},
                    (chosen[number], 0.5) if chosen else None,
                )
                for number, entry in enumerate(entries)
            ],
        )
    return merged(store)


def without(numbers: np.ndarray) -> np.ndarray:
    return numbers[~np.isin(numbers, REFUSED)]


def test_means_effects_and_intervals_are_those_of_scipy_and_the_sources(
    tmp_path: Path, values: np.ndarray
) -> None:
    survey = made(tmp_path, values)
    found = vi.compare_groups(survey, "entropy", FIRST, SECOND, names=("cats", "dogs"))
    first, second = values[without(FIRST)], values[without(SECOND)]
    assert found.counts == (len(first), len(second)) == (13, 25)
    assert found.groups == ("cats", "dogs")
    assert not found.paired
    means = first.mean(axis=0) - second.mean(axis=0)
    np.testing.assert_allclose(found.difference, means, atol=1e-12)
    layer, head = 1, 1
    here, there = first[:, layer, head], second[:, layer, head]
    pooled = math.sqrt((12 * here.var(ddof=1) + 24 * there.var(ddof=1)) / 36)
    # Hedges (1981), equation 6e, and its usual approximation.
    factor = math.gamma(18) / (math.sqrt(18) * math.gamma(17.5))
    assert factor == pytest.approx(1 - 3 / (4 * 36 - 1), abs=1e-4)
    effect = factor * (here.mean() - there.mean()) / pooled
    assert found.effect[layer, head] == pytest.approx(effect)
    welch = stats.ttest_ind(here, there, equal_var=False).confidence_interval(
        1 - 0.05 / (LAYERS * HEADS)
    )
    assert (found.low[layer, head], found.high[layer, head]) == pytest.approx(tuple(welch))
    # A head that does the same on all pictures has no effect, however its rounding falls.
    unknown = np.zeros((LAYERS, HEADS), bool)
    unknown[2, 1] = True
    for each in (found.effect, found.low, found.high):
        np.testing.assert_array_equal(np.isnan(each), unknown)
    other = vi.compare_groups(survey, "entropy", SECOND, FIRST)
    np.testing.assert_allclose(other.effect, -found.effect)
    np.testing.assert_allclose(other.low, -found.high)


def test_layers_read_one_after_the_other_are_the_same(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = made(tmp_path, values)
    at_once = vi.compare_groups(survey, "entropy", FIRST, SECOND)
    monkeypatch.setattr("vit_inspect.surveys.results.READ_BYTES", 1)
    parts = vi.compare_groups(survey, "entropy", FIRST, SECOND)
    for name, array in at_once.arrays().items():
        np.testing.assert_array_equal(parts.arrays()[name], array)


def test_one_picture_has_a_mean_and_nothing_else(tmp_path: Path, values: np.ndarray) -> None:
    found = vi.compare_groups(made(tmp_path, values), "entropy", [0, 3], SECOND)
    assert found.counts == (1, 25)
    np.testing.assert_array_equal(found.first, values[0])
    for each in (found.effect, found.low, found.high):
        assert np.isnan(each).all()
    assert "One picture has no spread" in " ".join(vi.plot(found).layout.meta)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([0, 1], [1, 2], "1 pictures that are in both groups"),
        ([3], [1, 2], "no picture with numbers in the group 'first'"),
        ([0], [40], "the picture 40 in the group 'second'"),
    ],
)
def test_groups_that_cannot_be_compared(
    tmp_path: Path, values: np.ndarray, first: list[int], second: list[int], said: str
) -> None:
    with pytest.raises(BadParameter, match=said):
        vi.compare_groups(made(tmp_path, values), "entropy", first, second)


def test_two_surveys_of_the_same_pictures_are_compared_picture_by_picture(
    tmp_path: Path, values: np.ndarray
) -> None:
    noise = np.random.default_rng(1).normal(0.2, 0.1, values.shape)
    left = made(tmp_path / "left", values)
    # One refuses another picture, and has two pictures more.
    more = np.concatenate([values - noise, values[:2]])
    right = made(tmp_path / "right", more, refused=(5,))
    found = vi.compare_surveys(left, right, "entropy")
    assert found.paired
    assert found.groups == ("left", "right")
    assert found.counts == (37, 37)
    shared = np.setdiff1d(np.arange(PICTURES), (*REFUSED, 5))
    here, there = (each[shared, 0, 1] for each in (values, values - noise))
    np.testing.assert_allclose(found.difference[0, 1], noise[shared, 0, 1].mean())
    student = stats.ttest_rel(here, there).confidence_interval(1 - 0.05 / (LAYERS * HEADS))
    assert (found.low[0, 1], found.high[0, 1]) == pytest.approx(tuple(student))
    factor = math.gamma(18) / (math.sqrt(18) * math.gamma(17.5))
    differences = here - there
    effect = factor * differences.mean() / differences.std(ddof=1)
    assert found.effect[0, 1] == pytest.approx(effect)
    none = vi.compare_surveys(left, left, "entropy")
    assert not none.difference.any()
    assert np.isnan(none.effect).all()


def test_surveys_that_do_not_fit_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    left, right = (
        made(tmp_path / name, values, statistic="distance_px") for name in ("left", "right")
    )
    larger = replace(right, layout=replace(right.layout, patch_px=(14, 14)))
    with pytest.raises(BadParameter, match="distances in px of inputs of 16 × 24 and 28 × 42"):
        vi.compare_surveys(left, larger, "distance_px")
    with pytest.raises(BadParameter, match="no nmi in the survey 'left'"):
        vi.compare_surveys(left, right, "nmi")


def test_pictures_of_one_name_are_the_same_where_their_sizes_or_places_are(
    tmp_path: Path, values: np.ndarray
) -> None:
    def survey(name: str, place: str, size: int | None) -> vi.Survey:
        return made(tmp_path / name, values, place=place, size=size)

    here, moved, other = survey("a", "a/", 10), survey("b", "b/", 10), survey("c", "c/", 11)
    assert vi.compare_surveys(here, moved, "entropy").counts == (38, 38)
    unknown = survey("d", "a/", None), survey("e", "e/", None)
    for pair in ((here, other), unknown):
        with pytest.raises(BadParameter, match="share no picture with numbers"):
            vi.compare_surveys(*pair, "entropy")


def test_what_is_no_picture_or_another_head_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    survey = made(tmp_path, values)
    for none in (40, -1):
        with pytest.raises(BadParameter, match=f"the picture {none}; expected"):
            survey.of_head("entropy", 0, 1, pictures=[none])
    assert len(survey.of_head("entropy", 0, 1, pictures=[]).values) == 0
    with pytest.raises(BadParameter, match="layer 0, head 1 and entropy of layer 1, head 1"):
        vi.head_groups(survey.of_head("entropy", 0, 1), survey.of_head("entropy", 1, 1))


def test_a_picture_is_correct_where_its_label_names_its_class(
    tmp_path: Path, values: np.ndarray
) -> None:
    classes = ["tabby, tabby cat", "crane", "tennis_ball", "crane"]
    labels = ("Tabby-Cat", "tabby", "crane", "crane", "tennis ball", "sofa", None)
    survey = made(
        tmp_path,
        values[:7],
        classes=classes,
        labels=labels,
        chosen=(0, 1, 3, 1, 1, 1, 1),
        refused=(3,),
    )
    assert survey.chosen()[0].tolist() == [0, 1, 3, -1, 1, 1, 1]
    # Two classes are called crane: nobody knows which one is meant.
    assert vi.correct(survey).tolist() == [1, 0, -1, -1, 0, -1, -1]
    # Without classes nothing is known.
    assert vi.correct(made(tmp_path / "other", values)).tolist() == [-1] * PICTURES


def test_both_groups_of_a_head_have_the_same_bars(tmp_path: Path, values: np.ndarray) -> None:
    survey = made(tmp_path, values)
    groups = [
        survey.of_head("entropy", 0, 1, pictures=each, over=name)
        for each, name in ((FIRST, "cats"), (SECOND, "dogs"))
    ]
    found = vi.head_groups(*groups)
    assert found.groups == ("cats", "dogs")
    np.testing.assert_array_equal(found.second, values[without(SECOND), 0, 1])
    left, right = vi.plot(found).data
    assert list(left.x) == list(right.x)
    assert sum(left.customdata) == 13
    assert sum(right.y) == pytest.approx(1)
    with pytest.raises(BadParameter, match="no picture with numbers in 'none'"):
        vi.head_groups(groups[0], survey.of_head("entropy", 0, 1, pictures=FIRST[3:4], over="none"))
