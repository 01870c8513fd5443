"""A bundle holds the formats that were asked for, the same as in a bundle of all, and a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import vit_inspect as vi
from tests.conftest import noise
from tests.exporting.conftest import contents
from vit_inspect.commands.app import app
from vit_inspect.exporting.bundle import chosen_formats, export
from vit_inspect.exporting.render import BUNDLE_FORMATS

pytestmark = pytest.mark.slow

REPORT = {"report.html", "provenance.json"}


def test_formats_come_in_their_order_and_once() -> None:
    assert chosen_formats(None) == BUNDLE_FORMATS
    assert chosen_formats(["csv", "svg", "csv"]) == ("svg", "csv")
    assert chosen_formats(()) == ()


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(vi.BadParameter) as refused:
        chosen_formats(["svg", "jpg", "html"])
    assert str(refused.value) == (
        "Found the format 'html', 'jpg'; expected some of svg, pdf, png, npz, csv; "
        "leave it out or choose another."
    )


@pytest.mark.usefixtures("unplotted")
def test_only_the_files_asked_for_are_written(tiny: vi.Model, tmp_path: Path) -> None:
    capture = vi.capture(tiny, noise((90, 60), 1))
    printed = {"width_in": 3.25, "font": "times", "title": True, "caption": False}
    export(capture, tmp_path / "all", formats=("svg", "npz", "csv"), **printed)
    export(capture, tmp_path / "some", formats=["csv", "npz"])
    every, some = contents(tmp_path / "all"), contents(tmp_path / "some")
    assert {Path(name).suffix for name in some.keys() - REPORT} == {".csv", ".npz"}
    assert some.keys() == {name for name in every if not name.endswith(".svg")}
    assert all(every[name] == data for name, data in some.items() if name not in REPORT)
    sheets = {name: data for name, data in every.items() if name.endswith(".svg")}
    assert len(sheets) > 10
    for name, data in sheets.items():
        assert b'width="234pt"' in data, name
        assert b'id="caption"' not in data, name
    # It has no words but its caption.
    without = {Path(name).stem for name, data in sheets.items() if b"STIXGeneral" not in data}
    assert without == {"feature_pca"}
    assert json.loads(every["provenance.json"])["print"] == printed
    assert json.loads(some["provenance.json"])["files"] == [
        name for name in json.loads(every["provenance.json"])["files"] if not name.endswith(".svg")
    ]


def test_the_report_comes_without_a_file_of_its_figures(
    capture: vi.Capture, tmp_path: Path
) -> None:
    export(capture, tmp_path, formats=())
    found = contents(tmp_path)
    assert found.keys() == REPORT
    assert found["report.html"].count(b"Plotly.newPlot(") > 10


@pytest.mark.usefixtures("unplotted")
def test_a_format_of_an_earlier_bundle_is_removed(capture: vi.Capture, tmp_path: Path) -> None:
    export(capture, tmp_path, formats=("npz", "csv"))
    export(capture, tmp_path, formats=("npz",))
    assert not any(name.endswith(".csv") for name in contents(tmp_path))


def test_a_width_that_is_none_is_refused_before_anything_is_written(
    capture: vi.Capture, tmp_path: Path
) -> None:
    with pytest.raises(vi.BadParameter, match="a width of 2 inches"):
        export(capture, tmp_path / "out", width_in=2.0)
    assert not (tmp_path / "out").exists()
    # A model that there is not would be told otherwise.
    arguments = ["figures", "chelsea", "--model", "none", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--width-in", "2"])
    assert done.exit_code == 2
    assert "Found a width of 2 inches" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unplotted")
def test_the_command_line_chooses(tmp_path: Path) -> None:
    arguments = ["figures", "chelsea", "--img-size", "56", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--formats", "npz, csv"])
    assert done.exit_code == 0, done.output
    assert {Path(name).suffix for name in contents(tmp_path / "out").keys() - REPORT} == {
        ".npz",
        ".csv",
    }


@pytest.mark.parametrize("given", ["npz,gif", "", "svg;pdf"])
def test_the_command_line_refuses_before_any_work(given: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["figures", "chelsea", "--out", str(out), "--formats", given])
    assert done.exit_code == 2
    wrong = given.split(",")[-1]
    assert f"Found the format {wrong!r}; expected some of svg, pdf, png, npz, csv;" in done.output
    assert not out.exists()
