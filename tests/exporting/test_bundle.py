"""The bundle holds every figure, whole files only, the same bytes twice, and tells its origin."""

from __future__ import annotations

import errno
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unicodedata import bidirectional, normalize

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

import vit_inspect as vi
from tests.conftest import noise
from tests.exporting.conftest import OTHERS
from vit_inspect.catalog import FIGURES, ModelFigure
from vit_inspect.exporting.bundle import bundle, export, folder_name
from vit_inspect.exporting.render import BUNDLE_FORMATS
from vit_inspect.figures.attention_distance import FIGURE as DISTANCE
from vit_inspect.figures.attention_maps import FIGURE as ATTENTION_MAPS
from vit_inspect.figures.spread import FIGURE as SPREAD

pytestmark = pytest.mark.slow

FURTHER = {"attention_relevance": 2, "token_norms": 1}
"""Plots below a figure's first one, where there are no artefacts."""
START = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG", "npz": b"PK", "csv": b"quantity,"}
USUAL = [entry for entry in FIGURES if entry.figure.slug not in OTHERS and not entry.thorough]
"""What a bundle of the tiny model holds."""


def folders(entry: object) -> list[str]:
    """Where the files of a figure lie in a bundle of two unnamed pictures."""
    alone = isinstance(entry, ModelFigure) or entry.averaged  # type: ignore[attr-defined]
    return [""] if alone else ["image/", "image-2/"]


class Written(NamedTuple):
    """A bundle, and the files that it says it wrote."""

    root: Path
    files: list[Path]


@pytest.fixture(scope="module")
def whole(capture: vi.Capture, tmp_path_factory: pytest.TempPathFactory) -> Written:
    root = tmp_path_factory.mktemp("whole") / "out"
    return Written(root, export(capture, root, command="the command"))


def test_the_bundle_holds_every_figure_in_every_format(whole: Written) -> None:
    names = {str(path.relative_to(whole.root)) for path in whole.files}
    assert names == {"report.html", "provenance.json"} | {
        f"{folder}{entry.figure.slug}.{kind}"
        for entry in USUAL
        for folder in folders(entry)
        for kind in BUNDLE_FORMATS
    } | {f"spread.{kind}" for kind in BUNDLE_FORMATS}
    there = {path for path in whole.root.rglob("[!.]*") if path.is_file()}
    assert there == set(whole.files)
    for path in there:
        if kind := START.get(path.suffix[1:]):
            assert path.read_bytes().startswith(kind)
        if path.suffix == ".png":
            assert min(Image.open(path).size) > 300


def test_files_of_an_image_are_of_that_image(whole: Written, capture: vi.Capture) -> None:
    second = np.load(whole.root / "image-2/attention_rollout.npz")["relevance"]
    assert np.allclose(second[0], vi.attention_rollout(capture).relevance[1])


def test_the_provenance_says_what_the_figures_depend_on(
    whole: Written, capture: vi.Capture
) -> None:
    facts = json.loads((whole.root / "provenance.json").read_text())
    assert facts["command"] == "the command"
    assert facts["model"]["weights_sha256"] == capture.model.weights_sha256
    assert facts["model"]["outputs"] == (
        "features" if capture.model.labels is None else "single-label"
    )
    assert facts["input"]["grid"] == [2, 3]
    assert facts["input"]["stride_px"] == facts["input"]["patch_px"]
    assert facts["input"]["margin_px"] == [0, 0]
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
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert facts["versions"]["vit_inspect"] == vi.__version__


@pytest.mark.usefixtures("numbers_only")
def test_the_provenance_names_an_image_processor(capture: vi.Capture, tmp_path: Path) -> None:
    recipe = replace(capture.model.recipe, processor=hf.ViTImageProcessor())
    export(replace(capture, model=replace(capture.model, recipe=recipe)), tmp_path)
    facts = json.loads((tmp_path / "provenance.json").read_text())
    assert facts["input"]["preprocessing"]["processor"] == "ViTImageProcessor"


def test_the_report_shows_every_figure_with_its_question(whole: Written) -> None:
    report = (whole.root / "report.html").read_text()
    plots = 0
    for entry in FIGURES:
        usual = entry in USUAL
        assert (entry.figure.question in report) == usual
        plots += usual * len(folders(entry)) * (1 + FURTHER.get(entry.figure.slug, 0))
    # Right after the figure whose numbers it spreads.
    places = [report.index(figure.question) for figure in (DISTANCE, SPREAD, ATTENTION_MAPS)]
    assert places == sorted(places)
    plots += 1
    ids = re.findall(r'<div id="([^"]+)" class="plotly', report)
    assert len(set(ids)) == len(ids) == report.count("Plotly.newPlot(") == plots
    assert report.count('<div role="img" aria-label="') == plots
    assert 'src="http' not in report
    assert "<dt>Stage</dt>" not in report


@pytest.mark.usefixtures("own_main")
def test_two_runs_give_the_same_bytes_here_and_in_workers(
    whole: Written, tiny: vi.Model, tmp_path: Path
) -> None:
    again = vi.capture(tiny, [noise((90, 60), seed) for seed in (1, 2)])
    second = export(again, tmp_path, command="the command", workers=2)
    assert [path.relative_to(whole.root) for path in whole.files] == [
        path.relative_to(tmp_path) for path in second
    ]
    assert [path.read_bytes() for path in whole.files] == [path.read_bytes() for path in second]


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


@pytest.mark.usefixtures("unplotted")
def test_the_archive_holds_the_bundle_and_is_the_same_twice(
    capture: vi.Capture, tmp_path: Path
) -> None:
    written = export(capture, tmp_path, formats=("npz",))
    archive = bundle(capture, formats=("npz",))
    assert bundle(capture, formats=("npz",)) == archive
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        assert {tmp_path / name for name in file.namelist()} == set(written)
        assert all(
            file.read(path.relative_to(tmp_path).as_posix()) == path.read_bytes()
            for path in written
        )


@pytest.mark.usefixtures("numbers_only")
def test_batches_are_averaged_as_one(capture: vi.Capture, tiny: vi.Model, tmp_path: Path) -> None:
    singles = (vi.capture(tiny, noise((90, 60), seed)) for seed in (1, 2))
    export(singles, tmp_path)
    joined = np.load(tmp_path / "attention_distance.npz")["distance_px"]
    assert np.allclose(joined, vi.attention_distance(capture).distance_px, atol=1e-4)
    spread = np.load(tmp_path / "spread.npz")
    np.testing.assert_allclose(spread["mean"], joined.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(spread["quantiles"][1], np.quantile(joined, 0.25, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(spread["highest"][..., 0], joined.argmax(axis=0))


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
    written = export(strange, tmp_path / "out", formats=("npz",))
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


STRANGE = (
    *("con", "CON.jpg", "nul.png", "Aux", "com1.png", "LPT².png", "conin$", "com10.png"),
    *("a:b", "a?b.png", 'a"b', "a|b", "a/../b", "a\\b.png", "a\0b", "a\nb.png", "~", "-", "", "."),
    *("dots...", "dots.", "dots ", " dots", "..", "...png", ".png", "_.png", "no_suffix"),
    *("\u202egnp.exe", "a\u200eb.png", "\u2066a\u2069", "שלום.png", "日本語.png", "🙂.png"),
    *("a" * 300, "A" * 300 + ".png", "字" * 300, "🙂" * 300, "𐐀" * 300, "𐐨" * 300),
    *(
        "Cat.jpg",
        "cat.png",
        "CAT",
        "cat-2.png",
        "é.png",
        "e\u0301.png",
        "É",
        "가.png",
        "\u1100\u1161",
    ),
    *("straße", "STRASSE", "ſ", "s", "S", "K", "\u212a", "ﬁ", "fi", "Σ", "ς", "σ"),
)


def test_every_system_has_a_folder_of_its_own_for_every_name() -> None:
    taken: list[str] = []
    for name in STRANGE:
        taken.append(folder_name(name, taken))
    devices = {"con", "prn", "aux", "nul"} | {
        f"{kind}{port}" for kind in ("com", "lpt") for port in "0123456789¹²³"
    }
    for found in taken:
        # What Windows takes, with and without what it adds itself.
        assert not set(found) & set('<>:"/\\|?*.'), found
        assert found.isprintable()
        assert found.strip() == found != ""
        assert found.casefold() not in devices
        # ext4, XFS and APFS; what is added there is a dot and a suffix of a figure.
        assert len(found.encode()) <= 255
        assert len(found) < 70
        assert not any(bidirectional(each) in {"LRE", "RLO", "RLE", "LRO"} for each in found)
    for form in ("NFC", "NFD"):
        alike = {normalize(form, normalize(form, each).casefold()) for each in taken}
        assert len(alike) == len(STRANGE)
    for change in (str.upper, str.lower):
        assert len({change(each) for each in taken}) == len(STRANGE)


@pytest.mark.usefixtures("unplotted")
def test_an_archive_opens_on_every_system(capture: vi.Capture) -> None:
    named = (
        replace(photograph, name=name)
        for photograph, name in zip(capture.photographs, ("nul.png", "é" * 300), strict=True)
    )
    data = bundle(replace(capture, photographs=tuple(named)), formats=("npz",))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        folders = {name.partition("/")[0] for name in archive.namelist() if "/" in name}
    assert folders == {"nul_", "é" * 60}


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
    told = "Its transparency was replaced by white."
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
    left = {path for path in out.rglob("[!.]*") if path.is_file()}
    assert left == {*written, out / "image-2" / "notes.txt"}
    assert (tmp_path / "attention_maps.npz").exists()


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


@pytest.mark.usefixtures("numbers_only")
def test_captures_of_two_models_are_not_mixed(capture: vi.Capture, tmp_path: Path) -> None:
    other = vi.load("vit_tiny_patch16_224", img_size=(32, 48), pretrained=False)
    with pytest.raises(vi.BadParameter, match="export each model into a folder of its own"):
        export([capture, vi.capture(other, noise((90, 60), 1))], tmp_path)


def test_no_photograph_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(vi.BadParameter, match="no photograph"):
        export(iter(()), tmp_path)


@pytest.mark.usefixtures("numbers_only")
@pytest.mark.parametrize("index", [0, 3])
def test_a_stage_is_told_and_what_it_cannot_show_is_left_out(index: int, tmp_path: Path) -> None:
    model = vi.load(
        "swin_tiny_patch4_window7_224", img_size=64, pretrained=False, device="cpu", stage=index
    )
    export(vi.capture(model, noise((90, 60), 1)), tmp_path)
    facts = json.loads((tmp_path / "provenance.json").read_text())
    assert facts["model"]["stage"] == index
    assert facts["input"]["grid"] == [64 // 2 ** (index + 2)] * 2
    assert (facts["input"]["prefix_tokens"], facts["input"]["padded"]) == ([], True)
    assert set(facts["refused"]) == {
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
