"""Does the page of surveys show what is in them, and lead to the pictures at the ends?"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.apps import (
    CLASSIFIER,
    FEATURES,
    canvas,
    charts,
    go,
    labels_of_buttons,
    opened,
    refusals,
)
from vit_inspect.errors import BadParameter
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect_dashboard import surveyed

pytestmark = pytest.mark.usefixtures("random_weights")

SIDES = 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of surveys that is offered."""
    monkeypatch.setattr(surveyed, "_folders", [])
    (tmp_path / "surveys").mkdir()
    surveyed.offer(tmp_path / "surveys")
    return tmp_path / "surveys"


@pytest.fixture
def survey(folder: Path, tmp_path: Path) -> vi.Survey:
    """Of seven pictures, one of which cannot be read, in two folders."""
    for number in range(6):
        place = tmp_path / "pictures" / ("left" if number < 3 else "right")
        place.mkdir(parents=True, exist_ok=True)
        noise((SIDES, SIDES + number), number).save(place / f"{number}.png")
    (tmp_path / "pictures" / "right" / "bad.png").write_bytes(b"")
    return vi.survey(
        vi.load(CLASSIFIER, img_size=None),
        tmp_path / "pictures",
        folder / "mine",
        statistics=["entropy"],
        label_from="folder",
    )


def test_without_surveys_the_page_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveyed, "_folders", [])
    app = opened("surveys")
    assert not app.exception
    assert app.code[0].value.replace(" \\\n ", "") == (
        "vit-inspect survey pictures --out surveys/mine"
    )


def test_a_head_its_distribution_and_the_pictures_at_its_ends(
    survey: vi.Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made pictures differ in the last digits.
    exact = STATISTICS["entropy"]._replace(words="entropy {:.9f} nats")
    monkeypatch.setitem(STATISTICS, "entropy", exact)
    app = opened("surveys", layer=1, head=2)
    assert not app.exception
    assert app.selectbox(key="survey").options == ["mine"]
    assert any("6 pictures" in each.value and "2 labels" in each.value for each in app.caption)
    assert any("bad.png" in each.value for each in app.text)
    spread, distribution = charts(app)
    means = survey.statistics["entropy"].mean
    np.testing.assert_allclose(
        next(trace["y"] for trace in spread["data"] if trace.get("name") == "Head 2"), means[:, 2]
    )
    assert sum(distribution["data"][0]["y"]) == 6
    number = survey.statistics["entropy"].highest[1, 2, 0]
    ends = survey.statistics["entropy"]
    values = survey.values("entropy", 1, 2)
    told = [each.value for each in app.caption if each.value.startswith("entropy ")]
    shown = [*ends.lowest[1, 2], *ends.highest[1, 2]]
    assert told == [f"entropy {values[each]:.9f} nats" for each in shown]
    app.button(key=f"highest_{number}").click().run()
    assert not app.exception
    assert app.query_params["image"] == f"mine/{survey.entries[number].name}"
    assert canvas(app).header["opened"] == [1, 2]
    # The link opens the picture in a session of its own, too.
    other = opened("explore", image=f"mine/{survey.entries[number].name}", layer=1, head=2)
    assert not other.exception
    assert not other.warning
    assert other.selectbox(key="image").value == f"mine/{survey.entries[number].name}"
    assert canvas(other).header["opened"] == [1, 2]


def test_the_head_that_varies_most_is_open_at_first_and_a_statistic_is_chosen(
    survey: vi.Survey,
) -> None:
    app = opened("surveys", statistic="Effective tokens")
    spread = survey.statistics["effective_tokens"]
    layer, head = np.unravel_index((spread.std / spread.mean).argmax(), spread.mean.shape)
    assert (app.selectbox(key="layer").value, app.selectbox(key="head").value) == (layer, head)
    assert charts(app)[0]["layout"]["yaxis"]["title"]["text"] == "Effective tokens"
    # Pictures open with the model of the sidebar, which can be another one.
    assert not any("open in Explore with" in each.value for each in app.caption)
    go(app, "surveys", model=FEATURES)
    told = " ".join(each.value for each in app.caption).replace("\\", "")
    assert f"open in Explore with {FEATURES} at" in told
    # A link to a survey that is not here does not pass another one off as it.
    assert not app.warning
    go(app, "surveys", survey="yours")
    assert app.warning[0].value.startswith("“survey\\=yours” of the address is not possible here")


def test_a_picture_that_is_gone_is_told_and_the_page_stays(
    survey: vi.Survey, tmp_path: Path
) -> None:
    for path in (tmp_path / "pictures").rglob("*.png"):
        path.unlink()
    app = opened("surveys")
    assert not app.exception
    assert [each.value for each in app.caption].count("This picture is gone.") == 10
    # In Explore the picture is refused in a sentence.
    go(app, "explore", image=f"mine/{survey.entries[0].name}")
    assert not app.exception
    assert refusals(app)


def test_a_damaged_part_is_told_without_a_path(survey: vi.Survey, folder: Path) -> None:
    (folder / "mine" / "parts" / "000000.parquet").write_bytes(b"none")
    (told,) = refusals(opened("surveys"))
    assert "mine/parts/000000.parquet" in told
    assert str(folder) not in told


@pytest.mark.slow
def test_what_is_there_beside_the_heads_is_shown_when_it_is_chosen(
    survey: vi.Survey, folder: Path, tmp_path: Path
) -> None:
    deep = vi.survey(
        vi.load(CLASSIFIER, img_size=None),
        tmp_path / "pictures",
        folder / "deep",
        statistics=["nmi"],
        tokens=["artefacts", "cka"],
    )
    app = opened("surveys", survey="deep")
    assert app.selectbox(key="show").options == ["heads", "classes", "artefacts", "layers (CKA)"]
    go(app, "surveys", show="classes")
    [classes] = charts(app)
    bars = [each for each in classes["data"] if each["type"] == "bar"]
    assert sum(sum(each["x"]) for each in bars) == 6
    assert "6 pictures of deep." in str(classes["layout"]["meta"])
    go(app, "surveys", show="layers (CKA)")
    [matrix] = charts(app)
    cells = matrix["data"][0]["z"]
    shown = np.frombuffer(base64.b64decode(cells["bdata"]), cells["dtype"]).reshape(3, 3)
    np.testing.assert_allclose(shown, deep.cka().similarity, rtol=1e-6)
    assert "Statistic" not in [each.label for each in app.selectbox]
    assert any("HSIC" in each.value for each in app.text)
    go(app, "surveys", show="artefacts")
    [rate] = charts(app)
    assert rate["data"][0]["y"] == deep.artefacts().share.tolist()
    # What a survey does not have gives way to what is shown at first.
    go(app, "surveys", survey="mine")
    assert not app.exception
    assert app.selectbox(key="show").options == ["heads", "classes"]
    assert app.selectbox(key="show").value == "heads"


def test_a_survey_that_is_not_done_is_told(survey: vi.Survey, folder: Path) -> None:
    (folder / "mine" / "parts" / "000000.parquet").unlink()
    app = opened("surveys")
    assert not app.exception
    assert any("1 of 1 parts are missing" in each for each in refusals(app))
    assert "Export" not in " ".join(labels_of_buttons(app))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="no folder that can be read"):
        surveyed.offer(tmp_path / "none")
