"""Does the page of surveys compare the groups of pictures, and the surveys, that it says?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.apps import CLASSIFIER, FEATURES, charts, go, opened, press, refusals
from tests.dashboard.test_surveys import folder as folder
from tests.dashboard.test_surveys import survey as survey
from vit_inspect_dashboard import pictures, survey_thumbnails, surveyed
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.survey_own import MOST

pytestmark = pytest.mark.usefixtures("random_weights")


def numbers_of(survey: vi.Survey, label: str) -> list[int]:
    """The pictures of a folder that can be read."""
    return [
        number
        for number, entry in enumerate(survey.entries)
        if entry.label == label and "bad" not in entry.name
    ]


def shown(app: AppTest, key: str) -> list[int]:
    """The numbers of the pictures that are shown in a row."""
    keys = [str(each.key) for each in app.button]
    return [int(each.rpartition("_")[2]) for each in keys if each.startswith(f"{key}_")]


def words_of(chart: dict) -> str:
    return " ".join(chart["layout"]["meta"])


@pytest.mark.slow
def test_two_labels_are_compared_and_their_pictures_lead_to_explore(survey: vi.Survey) -> None:
    app = opened("surveys", groups="two labels", layer=1, head=2)
    assert not app.exception
    left, right = numbers_of(survey, "left"), numbers_of(survey, "right")
    expected = vi.compare_groups(survey, "entropy", left, right, names=("left", "right"))
    *_, matrix, both = charts(app)
    assert "left: 3 pictures; right: 3 pictures. Of mine" in words_of(matrix)
    np.testing.assert_allclose(matrix["data"][0]["z"], expected.effect)
    assert [sum(trace["customdata"]) for trace in both["data"]] == [3, 3]
    assert both["layout"]["meta"][0] == "L1 H2: left and right"
    values = survey.values("entropy", 1, 2)
    assert shown(app, "first") == sorted(left, key=lambda each: -values[each])
    assert sorted(shown(app, "second")) == right
    app.selectbox(key="second_label").set_value("all others").run()
    assert app.query_params["second_label"] == "all others"
    assert app.selectbox(key="first_label").value == "left"
    number = shown(app, "first")[0]
    app.button(key=f"first_{number}").click().run()
    assert app.query_params["image"] == f"mine/{survey.entries[number].name}"


def test_a_range_of_the_open_head_is_compared_with_the_rest(
    survey: vi.Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey_thumbnails, "FIRST", 2)
    app = opened("surveys", groups="a range of values", layer=1, head=2, **{"from": 20, "to": 80})
    assert not app.exception
    values = survey.values("entropy", 1, 2)
    low, high = np.nanquantile(values, [0.2, 0.8])
    inside = np.flatnonzero((values >= low) & (values <= high))
    assert len(inside) == 4
    assert shown(app, "first") == sorted(inside.tolist(), key=lambda each: -values[each])[:2]
    # The one that could not be read is in neither.
    assert set(shown(app, "second")) == set(np.flatnonzero(~np.isnan(values))) - set(inside)
    assert "and 2 more" in [each.value for each in app.caption]
    assert any(
        "chosen by L1 H2, so this head differs by choice" in each.value.replace("\\", "")
        for each in app.caption
    )
    app.select_slider(key="from").set_value(0).run()
    app.select_slider(key="to").set_value(100).run()
    assert not app.exception
    assert "no picture with numbers in the group 'all others'" in refusals(app)[0]
    assert app.query_params["from"] == "0"


def test_correct_and_wrong_are_offered_where_labels_name_classes(
    survey: vi.Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened("surveys", groups="correct and wrong")
    # No class of the model is called "left": so there are no such groups.
    assert len(charts(app)) == 2
    known = np.array([-1 if np.isnan(each) else 0 for each in survey.values("entropy", 0, 0)])
    right = numbers_of(survey, "left")[:2]
    known[right], known[numbers_of(survey, "right")[0]] = 1, -1
    surveyed._correct.clear()
    monkeypatch.setattr(vi, "correct", lambda given: known)
    app = opened("surveys", groups="correct and wrong")
    assert "correct: 2 pictures; wrong: 3 pictures" in words_of(charts(app)[2])
    assert any("1 more have no label that names a class" in each.value for each in app.caption)
    surveyed._correct.clear()


@pytest.mark.slow
def test_two_surveys_are_side_by_side_on_one_scale(
    survey: vi.Survey, folder: Path, tmp_path: Path
) -> None:
    model = vi.load(CLASSIFIER, img_size=None)
    pictures = tmp_path / "pictures"
    other = vi.survey(vi.randomised(model), pictures, folder / "other", statistics=["entropy"])
    app = opened("surveys", other_survey="other", layer=1, head=2, statistic="Effective tokens")
    assert not app.exception
    left, right, _, both, matrix = charts(app)
    assert left["layout"]["yaxis"]["range"] == right["layout"]["yaxis"]["range"]
    assert both["layout"]["meta"][0] == "L1 H2: mine and other"
    assert "The same 6 pictures in mine and in other" in words_of(matrix)
    expected = vi.compare_surveys(survey, other, "effective_tokens")
    np.testing.assert_allclose(matrix["data"][0]["z"], expected.effect)
    # Two groups of the pictures stand below them.
    go(app, "surveys", groups="a range of values")
    assert not app.exception
    # Of another architecture, heads have no partner, and distances no common unit.
    vi.survey(vi.load(FEATURES, img_size=None), pictures, folder / "third")
    app = opened("surveys", other_survey="third")
    assert any("No difference of heads" in each.value for each in app.caption)


def test_a_visitor_surveys_own_pictures_and_nobody_else_sees_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened("surveys")
    press(app, "Survey the samples")
    assert not app.exception
    assert app.selectbox(key="survey").value == surveyed.OWN
    assert app.query_params["survey"] == surveyed.OWN
    assert any(f"{len(vi.SAMPLES)} pictures" in each.value for each in app.caption)
    assert len(charts(app)) == 2
    assert "Survey the samples" not in [each.label for each in app.button]
    place = Path(app.session_state[surveyed.OWN].name)
    # No picture lies on the disk.
    assert {each.suffix for each in place.rglob("*") if each.is_file()} <= {".parquet", ".json", ""}
    there = pictures.samples()
    with monkeypatch.context() as patch:
        # As if another picture had come by each name.
        others = {each.name: replace(each, key=f"not {each.key}") for each in there}
        patch.setattr(pictures, "by_name", lambda: others)
        assert [each.value for each in app.run().caption].count("This picture is gone.") == 10
    app.run()
    number = shown(app, "highest")[0]
    name = next(each.label for each in app.button if each.key == f"highest_{number}")
    app.button(key=f"highest_{number}").click().run()
    assert app.query_params["image"] == name.replace("\\", "")
    other = opened("surveys", survey=surveyed.OWN)
    assert not [each for each in other.selectbox if each.key == "survey"]
    assert not charts(other)


def test_a_survey_of_a_visitor_is_of_so_many_pictures_at_most(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [
        Picture(f"{number}", f"{number}.png", lambda: noise((40, 40), 0))
        for number in range(MOST + 5)
    ]
    monkeypatch.setattr(pictures, "uploads", lambda: many)
    app = opened("surveys")
    [told] = [each.value for each in app.caption if "stays in this session" in each.value]
    assert f"your pictures, {MOST} of them. The first {MOST}" in told.replace("\\", "")
