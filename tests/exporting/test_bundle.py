"""The bundle holds the numbers that the analyses give, whole files only, the same bytes twice."""

from __future__ import annotations

import csv
import errno
import io
import json
import re
import zipfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.catalog import FIGURES, FigureSpec, analyse
from vit_inspect.exporting.bundle import BUNDLE_FORMATS, bundle, export
from vit_inspect.exporting.files import ensure_folder, write
from vit_inspect.exporting.render import render
from vit_inspect.records.base import Result
from vit_inspect.records.evidence import LayerCka, TokenNorms

SPECS = {spec.slug: spec for spec in FIGURES}
FURTHER = {"attention_relevance": 2, "token_norms": 1}
"""Plots below a figure's first one, where there are no artefacts."""
OTHERS = {"position_bias": "beit_base_patch16_224", "rotary_similarity": "eva02_tiny_patch14_224"}
"""Models that have what the usual one has not, by figure."""


@pytest.fixture(scope="module")
def tiny() -> vi.Model:
    torch.manual_seed(0)
    return vi.load("vit_tiny_patch16_224", img_size=(32, 48), pretrained=False)


@pytest.fixture(scope="module")
def capture(tiny: vi.Model) -> vi.Capture:
    return vi.capture(tiny, [noise((90, 60), seed) for seed in (1, 2)])


@pytest.fixture(scope="module")
def results(capture: vi.Capture) -> dict[str, Result]:
    models = {slug: vi.load(name, img_size=112, pretrained=False) for slug, name in OTHERS.items()}
    found = analyse(capture, thorough=True)
    return {
        spec.slug: found.get(spec.slug) or spec.analyse(models.get(spec.slug, capture.model))
        for spec in FIGURES
    }


@pytest.fixture
def numbers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles without pictures, which take most of the time."""
    monkeypatch.setattr("vit_inspect.exporting.bundle.BUNDLE_FORMATS", ("npz",))


def csv_values(data: bytes, result: Result) -> dict[str, dict[tuple[int, ...], float]]:
    """quantity -> index -> value, of a record's table in long form."""
    found: dict[str, dict[tuple[int, ...], float]] = defaultdict(dict)
    names = result.names()
    for row in csv.DictReader(io.StringIO(data.decode())):
        quantity, value = row.pop("quantity"), row.pop("value")
        places = ((axis, row.pop(axis)) for axis in result.axes()[quantity])
        index = tuple(
            names[axis].index(place) if axis in names else int(place) for axis, place in places
        )
        assert not any(row.values())
        found[quantity][index] = float(value)
    return found


@pytest.mark.parametrize("spec", FIGURES, ids=lambda spec: spec.slug)
def test_npz_and_csv_hold_the_numbers(spec: FigureSpec, results: dict[str, Result]) -> None:
    expected = results[spec.slug]
    if spec.scope == "image":
        expected = expected.of_image(1)
    stored = np.load(io.BytesIO(render(spec, results[spec.slug], "npz", image=1)))
    words = expected.words()
    written = expected.written()
    assert written.keys() >= expected.arrays().keys()
    assert set(stored.files) == {*written, *words}
    assert stored["model"] == expected.model
    for name, value in words.items():
        np.testing.assert_array_equal(stored[name], value)
    table = csv_values(render(spec, results[spec.slug], "csv", image=1), expected)
    for name, array in written.items():
        assert np.array_equal(stored[name], array)
        assert len(table[name]) == array.size
        assert all(
            np.isclose(array[index], value, rtol=1e-6) for index, value in table[name].items()
        )


def test_files_of_cka_hold_what_the_figure_shows(results: dict[str, Result]) -> None:
    spec, expected = SPECS["layer_cka"], results["layer_cka"]
    stored = np.load(io.BytesIO(render(spec, expected, "npz")))
    assert isinstance(expected, LayerCka)
    np.testing.assert_array_equal(stored["similarity"], expected.similarity)
    assert csv_values(render(spec, expected, "csv"), expected)["similarity"][0, 0] == 1


def test_the_table_of_a_large_position_grid_holds_the_drawn_tiles(dinov2: vi.Model) -> None:
    result = vi.position_similarity(dinov2)
    table = csv_values(render(SPECS["position_similarity"], result, "csv"), result)["similarity"]
    rows = sorted({index[0] for index in table})
    assert rows == list(range(0, 37, 4))
    assert len(table) == len(rows) ** 2 * 37 * 37
    assert np.isclose(table[4, 8, 30, 2], result.similarity[4, 8, 30, 2], rtol=1e-6)


@pytest.mark.parametrize("spec", FIGURES, ids=lambda spec: spec.slug)
@pytest.mark.parametrize(
    ("kind", "start"),
    [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG"), ("html", b"<!doctype html>")],
)
def test_every_format_opens_and_is_the_same_twice(
    spec: FigureSpec, kind: str, start: bytes, results: dict[str, Result]
) -> None:
    first = render(spec, results[spec.slug], kind, image=1)
    assert first.startswith(start)
    assert render(spec, results[spec.slug], kind, image=1) == first
    if kind == "png":
        assert min(Image.open(io.BytesIO(first)).size) > 300
    if kind == "html":
        assert b'src="http' not in first


def test_a_file_looks_as_the_figure_was_shown(results: dict[str, Result]) -> None:
    spec = next(spec for spec in FIGURES if spec.slug == "attention_maps")
    result = results[spec.slug]
    for kind in ("svg", "html"):
        data = render(spec, result, kind, scale="per map")
        assert b"Each map from 0 to its own largest weight" in data
        assert data != render(spec, result, kind)
    for kind in ("npz", "csv"):
        assert render(spec, result, kind, scale="per map") == render(spec, result, kind)


@pytest.mark.parametrize(("slug", "count"), [("attention_relevance", 3), ("token_norms", 4)])
def test_a_page_holds_all_interactive_figures_of_a_record(
    slug: str, count: int, results: dict[str, Result]
) -> None:
    spec, result = SPECS[slug], results[slug]
    if isinstance(result, TokenNorms):
        assert len(spec.plots(replace(result, artefact=np.zeros_like(result.artefact)))) == 1
        result = replace(result, artefact=np.ones_like(result.artefact), reason=("", ""))
    data = render(spec, result, "html", image=1).decode()
    assert data.count("Plotly.newPlot") == count
    ids = re.findall(r'<div id="([^"]+)" class="plotly', data)
    assert len(set(ids)) == len(ids) == count
    assert data.count('<div role="img" aria-label=') == count
    for figure in spec.plots(result.of_image(1)):
        assert f'aria-label="{figure.layout.meta[0]}. ' in data


def test_words_for_those_who_do_not_see_a_figure_are_no_markup(results: dict[str, Result]) -> None:
    spec = SPECS["attention_relevance"]
    named = replace(results[spec.slug], model="a", target=('<i>"x"</i>',) * 2)
    data = render(spec, named, "html").decode()
    wanted = "What speaks for &lt;i&gt;&quot;x&quot;&lt;/i&gt;. a, read at its cls"
    assert f'<div role="img" aria-label="{wanted}">' in data
    assert "<title>Relevance: a</title>" in data


def test_drawings_have_a_title(results: dict[str, Result]) -> None:
    spec = SPECS["layer_cka"]
    named = replace(results[spec.slug], model="a <b>")
    assert b"<title>Layer similarity: a &lt;b&gt;</title>" in render(spec, named, "svg")
    assert b"/Title (Layer similarity: a <b>)" in render(spec, named, "pdf")


def test_an_unknown_format_is_refused(results: dict[str, Result]) -> None:
    with pytest.raises(vi.BadParameter, match="the format 'jpg'; expected svg, pdf, png"):
        render(FIGURES[0], results[FIGURES[0].slug], "jpg")


def test_the_bundle(capture: vi.Capture, tmp_path: Path) -> None:
    written = export(capture, tmp_path / "out", command="the command")
    names = {str(path.relative_to(tmp_path / "out")) for path in written}
    folders = {"model": [""], "images": [""], "image": ["image/", "image-2/"]}
    assert names == {"report.html", "provenance.json"} | {
        f"{folder}{spec.slug}.{kind}"
        for spec in FIGURES
        if spec.slug not in OTHERS and not spec.thorough
        for folder in folders[spec.scope]
        for kind in BUNDLE_FORMATS
    }
    assert names == {
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    second = np.load(tmp_path / "out/image-2/attention_rollout.npz")["relevance"]
    assert np.allclose(second[0], vi.attention_rollout(capture).relevance[1])

    facts = json.loads((tmp_path / "out/provenance.json").read_text())
    assert facts["command"] == "the command"
    assert facts["model"]["weights_sha256"] == capture.model.weights_sha256
    assert facts["input"]["grid"] == [2, 3]
    assert facts["input"]["preprocessing"]["crop_fraction"] == capture.model.recipe.crop_fraction
    assert [each["sha256"] for each in facts["photographs"]] == [
        photograph.sha256 for photograph in capture.photographs
    ]
    assert facts["figures"]["image-2/attention_rollout"] == {
        "photographs": [capture.photographs[1].name],
        "fusion": "mean",
        "discard": 0.0,
        "start_layer": 0,
    }
    assert facts["largest_verified_error"] == capture.error
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__

    report = (tmp_path / "out/report.html").read_text()
    plots = 0
    for spec in FIGURES:
        usual = spec.slug not in OTHERS and not spec.thorough
        assert (spec.question in report) == usual
        plots += usual * len(folders[spec.scope]) * (1 + FURTHER.get(spec.slug, 0))
    ids = re.findall(r'<div id="([^"]+)" class="plotly', report)
    assert len(set(ids)) == len(ids) == report.count("Plotly.newPlot(") == plots
    assert report.count('<div role="img" aria-label="') == plots


@pytest.mark.usefixtures("numbers_only")
def test_a_thorough_bundle_holds_what_runs_the_model_many_times(
    capture: vi.Capture, tmp_path: Path
) -> None:
    export(capture, tmp_path, thorough=True)
    stored = np.load(tmp_path / "image-2/head_importance.npz")["effect"]
    assert np.array_equal(stored[0], vi.head_importance(capture).effect[1])
    facts = json.loads((tmp_path / "provenance.json").read_text())
    assert facts["figures"]["image-2/head_importance"]["replacement"] == "mean"
    curves = vi.faithfulness(capture)
    stored = np.load(tmp_path / "image-2/faithfulness.npz")
    assert tuple(stored["maps"]) == curves.maps
    np.testing.assert_allclose(stored["deletion"][0], curves.deletion[1], rtol=1e-12)


@pytest.mark.usefixtures("numbers_only")
def test_the_archive_holds_the_bundle_and_is_the_same_twice(
    capture: vi.Capture, tmp_path: Path
) -> None:
    written = export(capture, tmp_path)
    archive = bundle(capture)
    assert bundle(capture) == archive
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        assert {tmp_path / name for name in file.namelist()} == set(written)
        assert all(
            file.read(path.relative_to(tmp_path).as_posix()) == path.read_bytes()
            for path in written
        )


def test_two_runs_give_the_same_bytes(capture: vi.Capture, tiny: vi.Model, tmp_path: Path) -> None:
    again = vi.capture(tiny, [noise((90, 60), seed) for seed in (1, 2)])
    first, second = export(capture, tmp_path / "a"), export(again, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.usefixtures("numbers_only")
def test_batches_are_averaged_as_one(capture: vi.Capture, tiny: vi.Model, tmp_path: Path) -> None:
    singles = (vi.capture(tiny, noise((90, 60), seed)) for seed in (1, 2))
    export(singles, tmp_path)
    joined = np.load(tmp_path / "attention_distance.npz")["distance_px"]
    assert np.allclose(joined, vi.attention_distance(capture).distance_px, atol=1e-4)


@pytest.mark.usefixtures("numbers_only")
def test_names_from_strangers_become_plain_folders_and_text(
    capture: vi.Capture, tmp_path: Path
) -> None:
    names = ("../../<b>a</b>.png", "..")
    strange = replace(
        capture,
        photographs=tuple(
            replace(photograph, name=name)
            for photograph, name in zip(capture.photographs, names, strict=True)
        ),
    )
    written = export(strange, tmp_path / "out")
    assert all(path.is_relative_to(tmp_path / "out") for path in written)
    assert {path.parent.name for path in written} == {"out", "b", "image"}
    report = (tmp_path / "out/report.html").read_text()
    assert "<b>a</b>" not in report
    assert "&lt;b&gt;a&lt;/b&gt;" in report


@pytest.mark.usefixtures("numbers_only")
def test_folders_differ_by_more_than_case(capture: vi.Capture, tmp_path: Path) -> None:
    named = (
        replace(photograph, name=name)
        for photograph, name in zip(capture.photographs, ("Cat.jpg", "cat.png"), strict=True)
    )
    written = export(replace(capture, photographs=tuple(named)), tmp_path / "out")
    assert {path.parent.name for path in written} == {"out", "Cat", "cat-2"}


@pytest.mark.usefixtures("numbers_only")
def test_what_a_model_has_not_is_left_out_with_the_reason(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rope = vi.load("vit_small_patch16_rope_224", img_size=32, pretrained=False)
    written = export(vi.capture(rope, noise((40, 40), 0)), tmp_path)
    assert not any("position_similarity" in path.name for path in written)
    assert (tmp_path / "rotary_similarity.npz").exists()
    reason = json.loads((tmp_path / "provenance.json").read_text())["refused"]
    assert "without a table of absolute position embeddings" in reason["position_similarity"]
    assert "look at its rotary positions instead" in reason["position_bias"]
    report = (tmp_path / "report.html").read_text()
    assert "Left out: position similarity" in report
    assert "<h2>Rotary positions</h2>" in report


@pytest.mark.usefixtures("numbers_only")
def test_what_a_reader_should_know_of_a_picture_is_told(tiny: vi.Model, tmp_path: Path) -> None:
    file = io.BytesIO()
    glass = noise((60, 40), 0)
    glass.putalpha(100)
    glass.save(file, "PNG")
    export(vi.capture(tiny, vi.read_image(file.getvalue(), name="glass.png")), tmp_path)
    told = "Transparency was laid on white."
    assert json.loads((tmp_path / "provenance.json").read_text())["photographs"][0]["notices"] == [
        told
    ]
    assert f"glass.png: {told}" in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("numbers_only")
def test_a_second_bundle_leaves_nothing_of_the_first(
    capture: vi.Capture, tiny: vi.Model, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(capture, out)
    (out / "image-2" / "notes.txt").write_text("mine")
    (tmp_path / "attention_maps.npz").write_text("mine too")
    facts = json.loads((out / "provenance.json").read_text())
    facts["files"] += ["../attention_maps.npz", "image-2/notes.txt", 3]
    (out / "provenance.json").write_text(json.dumps(facts))
    export(capture, out)
    facts["files"].pop()
    (out / "provenance.json").write_text(json.dumps(facts))
    written = export(vi.capture(tiny, noise((90, 60), 1)), out)
    left = {path for path in out.rglob("*") if path.is_file()}
    assert left == {*written, out / "image-2" / "notes.txt"}
    assert (tmp_path / "attention_maps.npz").exists()


@pytest.mark.usefixtures("numbers_only")
@pytest.mark.usefixtures("numbers_only")
def test_a_figure_of_the_first_that_cannot_be_removed_is_told(
    capture: vi.Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(capture, tmp_path)

    def locked(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", locked)
    one = replace(capture, photographs=(replace(capture.photographs[0], name="other.png"),) * 2)
    with pytest.raises(vi.OutputFailed, match=r"cannot be written \(Permission denied\)"):
        export(one, tmp_path)


def test_captures_of_two_models_are_not_mixed(capture: vi.Capture, tmp_path: Path) -> None:
    other = vi.load("vit_tiny_patch16_224", img_size=(32, 48), pretrained=False)
    with pytest.raises(vi.BadParameter, match="export each model into a folder of its own"):
        export([capture, vi.capture(other, noise((90, 60), 1))], tmp_path)


def test_no_photograph_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(vi.BadParameter, match="no photograph"):
        export(iter(()), tmp_path)


def test_a_full_disk_leaves_no_half_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.svg").write_bytes(b"before")

    def half(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(vi.OutputFailed, match=r"a\.svg' cannot be written \(No space left"):
        write(tmp_path / "a.svg", b"0123456789")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
    assert (tmp_path / "a.svg").read_text() == "before"


def test_a_folder_that_cannot_be_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(vi.OutputFailed, match="expected a folder that may be written"):
        ensure_folder(tmp_path / "file" / "out")
    ensure_folder(tmp_path / "new" / "out")
    assert list((tmp_path / "new" / "out").iterdir()) == []


@pytest.mark.parametrize("index", [0, 3])
def test_a_stage_is_told_and_what_it_cannot_show_is_left_out(
    index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.exporting.bundle.BUNDLE_FORMATS", ("npz",))
    model = vi.load(
        "swin_tiny_patch4_window7_224", img_size=64, pretrained=False, device="cpu", stage=index
    )
    export(vi.capture(model, noise((90, 60), 1)), tmp_path)
    facts = json.loads((tmp_path / "provenance.json").read_text())
    assert facts["model"]["stage"] == index
    assert facts["input"]["grid"] == [64 // 2 ** (index + 2)] * 2
    # Windows of 7 patches are padded: blocks do not return a row for each token.
    assert set(facts["refused"]) == {
        "feature_pca",
        "token_similarity",
        "layer_cka",
        "position_similarity",
        "rotary_similarity",
        "attention_rollout",
        "attention_relevance",
        "logit_lens",
        "token_norms",
    }
    assert "merge from stage to stage" in facts["refused"]["attention_rollout"]
    assert (
        f"<dt>Stage</dt><dd>{index}, counted from 0</dd>" in (tmp_path / "report.html").read_text()
    )


def test_a_model_without_stages_tells_none(capture: vi.Capture, tmp_path: Path) -> None:
    export(capture, tmp_path)
    assert "stage" not in json.loads((tmp_path / "provenance.json").read_text())["model"]
    assert "<dt>Stage</dt>" not in (tmp_path / "report.html").read_text()
