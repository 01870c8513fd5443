"""Are the numbers of a survey those of each picture, and its bytes the same however it was made?"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.exporting.files import unwritable
from vit_inspect.records.survey import QUANTILES
from vit_inspect.surveys import engine_local, parts, results, sources, work
from vit_inspect.surveys.sources import Entry
from vit_inspect.surveys.work import read_batch

Make = Callable[..., vi.Model]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CHUNK", 2)


@pytest.fixture(scope="module")
def tiny(small: Make) -> vi.Model:
    return small("vit_tiny_patch16_224", (32, 48))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files of a survey that are to be the same, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def assert_spread(spread: vi.Spread, values: np.ndarray, numbers: list[int]) -> None:
    """Whether a spread is that of values (picture, layer, head) of pictures with these numbers."""
    assert spread.count == len(values)
    np.testing.assert_allclose(spread.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spread.std, values.std(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(spread.minimum, values.min(axis=0))
    np.testing.assert_array_equal(spread.maximum, values.max(axis=0))
    wanted = np.quantile(values, QUANTILES, axis=0)
    np.testing.assert_allclose(spread.quantiles, wanted, rtol=1e-12)
    for ends, sign in ((spread.lowest, 1), (spread.highest, -1)):
        order = np.array(numbers)[np.argsort(sign * values, axis=0, kind="stable")]
        np.testing.assert_array_equal(ends, np.moveaxis(order[: ends.shape[2]], 0, 2))


def test_the_numbers_of_each_picture_are_those_of_its_capture(
    tiny: vi.Model, photos: Path, out: Path
) -> None:
    found = vi.survey(tiny, photos, out, batch=1)
    assert found.count == 6
    assert not found.refused
    images = [vi.read_image(photos / entry.name) for entry in found.entries]
    kept = [vi.head_statistics(vi.capture(tiny, image)) for image in images]
    assert set(found.statistics) == set(kept[0].arrays())
    for name, spread in found.statistics.items():
        wanted = np.concatenate([getattr(each, name) for each in kept])
        values = np.stack(
            [[found.values(name, layer, head) for head in range(3)] for layer in range(3)]
        )
        np.testing.assert_allclose(np.moveaxis(values, 2, 0), wanted, rtol=1e-10, atol=1e-12)
        assert_spread(spread, np.moveaxis(values, 2, 0), list(range(6)))
        assert spread.axes()["quantiles"] == ("quantile", "layer", "head")


def test_copies_of_a_picture_have_no_spread(tiny: vi.Model, tmp_path: Path) -> None:
    for index in range(5):
        noise((40, 40), 1).save(tmp_path / f"{index}.png")
    found = vi.survey(tiny, tmp_path, batch=1)
    for spread in found.statistics.values():
        assert not spread.std.any()
        np.testing.assert_array_equal(spread.minimum, spread.maximum)
        # Of equal ones the earlier comes first.
        np.testing.assert_array_equal(spread.lowest[0, 0], range(5))
        np.testing.assert_array_equal(spread.highest[0, 0], range(5))


def test_a_picture_that_cannot_be_read_is_named_and_left_out(
    tiny: vi.Model, photos: Path, out: Path
) -> None:
    whole = vi.survey(tiny, photos, batch=1)
    (photos / "cats" / "1a.png").write_bytes(b"not a picture")
    (photos / "dogs" / "9.jpg").write_bytes(b"")
    found = vi.survey(tiny, photos, out, batch=1)
    assert [name for name, _ in found.refused] == ["cats/1a.png", "dogs/9.jpg"]
    assert "1a.png" in found.refused[0][1]
    assert (found.count, len(found.entries)) == (6, 8)
    values = found.values("entropy", 1, 2)
    assert np.flatnonzero(np.isnan(values)).tolist() == [2, 7]
    np.testing.assert_array_equal(values[~np.isnan(values)], whole.values("entropy", 1, 2))
    number = int(found.statistics["entropy"].highest[1, 2, 0])
    assert values[number] == np.nanmax(values)
    np.testing.assert_array_equal(
        found.statistics["entropy"].mean, whole.statistics["entropy"].mean
    )


def test_a_survey_of_nothing_that_can_be_read_has_no_statistics(
    tiny: vi.Model, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    found = vi.survey(tiny, tmp_path / "a.png", out)
    assert (found.count, len(found.refused), dict(found.statistics)) == (0, 1, {})
    assert vi.open_survey(out).refused == found.refused


class Stopped(Exception):
    """What stops a survey in the middle."""


def test_a_survey_that_was_stopped_again_and_again_has_the_same_bytes(
    tiny: vi.Model, photos: Path, tmp_path: Path
) -> None:
    (photos / "dogs" / "bad.png").write_bytes(b"not a picture")
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    # As a process leaves it that is killed while it writes.
    (torn / "parts").mkdir(parents=True)
    (torn / "parts" / ".000000.parquet.123-4.part").write_bytes(b"half")
    vi.survey(tiny, photos, whole, batch=1)
    stops = 0
    for after in (0, 1, 2, 2, 1, 3, 2, 9):
        told: list[int] = []

        def stop(done: int, count: int, after: int = after, told: list[int] = told) -> None:
            told.append(done)
            if len(told) > after + 1:
                raise Stopped

        try:
            vi.survey(tiny, photos, torn, batch=1, on_progress=stop)
        except Stopped:
            stops += 1
            if len(list(torn.glob("parts/*.parquet"))) < 4:
                with pytest.raises(vi.BadParameter, match="parts are missing"):
                    vi.open_survey(torn)
    assert stops >= 4
    assert bytes_of(torn) == bytes_of(whole)


def test_a_survey_below_its_own_source_is_no_picture_of_it(tiny: vi.Model, photos: Path) -> None:
    made = vi.survey(tiny, photos, photos / "survey")
    again = vi.survey(tiny, photos, photos / "survey")
    assert again.entries == made.entries
    # Nor is one that another run left there.
    vi.survey(tiny, photos, photos / "other")


def test_figures_of_a_bundle_and_what_lies_among_the_results_are_left_out_and_told(
    tiny: vi.Model, photos: Path
) -> None:
    names = {entry.name for entry in sources.entries(photos)}
    first = sources.entries(photos)[0].place
    for folder, figure in ((photos, "figure.png"), (photos / "a", "map.png")):
        folder.mkdir(exist_ok=True)
        shutil.copy(first, folder / figure)
    # Of a bundle, a folder below is of one photograph.
    (photos / "provenance.json").write_text(json.dumps({"files": ["figure.png", "a/map.png"]}))
    (photos / "out").mkdir()
    shutil.copy(first, photos / "out" / "kept.png")
    told: list[str] = []
    made = vi.survey(tiny, photos, photos / "out", tell=told.append)
    assert {entry.name for entry in made.entries} == names
    assert told == [
        f"2 figures of an earlier run in '{photos}' are left out.",
        f"1 picture below '{photos / 'out'}', where the results go, is left out.",
    ]
    with pytest.raises(vi.BadImage, match="no picture in"):
        vi.survey(tiny, photos / "a")


def test_results_among_the_pictures_themselves_are_refused(tiny: vi.Model, photos: Path) -> None:
    with pytest.raises(vi.BadParameter, match="in which all pictures lie"):
        vi.survey(tiny, photos, photos)
    with pytest.raises(vi.BadParameter, match="which is a URL"):
        vi.survey(tiny, photos, "memory://out")


def test_weights_that_changed_make_another_survey(tiny: vi.Model, photos: Path, out: Path) -> None:
    model = copy.deepcopy(tiny)
    vi.survey(model, photos, out)
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight.mul_(2)
    with pytest.raises(vi.BadParameter, match="other weights"):
        vi.survey(model, photos, out)


def test_files_of_others_in_the_folder_stay(tiny: vi.Model, photos: Path, out: Path) -> None:
    (out / "films").mkdir(parents=True)
    (out / "films" / ".film.mkv.part").write_bytes(b"half")
    (out / ".film.mkv.part").write_bytes(b"half")
    vi.survey(tiny, photos, out)
    assert (out / "films" / ".film.mkv.part").exists()
    assert (out / ".film.mkv.part").exists()


def test_a_place_that_fails_for_a_while_stops_a_survey_and_refuses_no_picture(
    tiny: vi.Model, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failing = sources._bytes_of, True

    def bytes_of_entry(entry: Entry) -> bytes:
        if failing and entry.name == "dogs/3.png":
            raise TimeoutError("the host does not answer")
        return real(entry)

    monkeypatch.setattr(sources, "_bytes_of", bytes_of_entry)
    with pytest.raises(vi.Unreachable, match=r"does not answer.*try again later"):
        vi.survey(tiny, photos, out)
    failing = False
    assert vi.survey(tiny, photos, out).count == 6


def test_nothing_is_computed_twice(
    tiny: vi.Model, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vi.survey(tiny, photos, out)
    lost = out / "parts" / "000001.parquet"
    before = bytes_of(out)
    lost.unlink()
    seen: list[str] = []

    def watched(pictures: Sequence[Entry], *how: Any) -> list[np.ndarray | str]:
        seen.extend(entry.name for entry in pictures)
        return read_batch(pictures, *how)

    monkeypatch.setattr("vit_inspect.surveys.engine_local.read_batch", watched)
    vi.survey(tiny, photos, out)
    assert seen == ["dogs/2.png", "dogs/3.png"]
    assert bytes_of(out) == before


@pytest.mark.slow
def test_more_workers_make_the_same_bytes(tiny: vi.Model, photos: Path, tmp_path: Path) -> None:
    (photos / "dogs" / "bad.png").write_bytes(b"not a picture")
    for workers in (1, 3):
        vi.survey(tiny, photos, tmp_path / str(workers), workers=workers, batch=1)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "3")


@pytest.mark.parametrize("behind", [1, 2])
def test_batches_that_are_sent_ahead_make_the_same_bytes(
    tiny: vi.Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    (photos / "dogs" / "bad.png").write_bytes(b"not a picture")
    vi.survey(tiny, photos, tmp_path / "one", batch=1)
    ended: list[int] = []
    monkeypatch.setitem(engine_local.SENT, "cpu", behind)
    vi.survey(
        tiny, photos, tmp_path / "ahead", batch=1, on_progress=lambda done, _: ended.append(done)
    )
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "ahead")
    assert ended == sorted(ended)


def test_a_gpu_computes_when_its_pixels_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a GPU: what is asked of its streams, and when, in torch's own context of a stream.
    asked: list[object] = []
    to, event = torch.Tensor.to, Mock(spec=torch.cuda.Event)

    class Stream:
        def record_event(self) -> torch.cuda.Event:
            asked.append("recorded")
            return event

        def wait_event(self, awaited: torch.cuda.Event) -> None:
            assert awaited is event
            asked.append("awaited")

    def copied(pixels: torch.Tensor, *where: Any, **how: Any) -> torch.Tensor:
        asked.append(how or where)
        return to(pixels, *(each for each in where if isinstance(each, torch.dtype)))

    monkeypatch.setattr(work, "_copying", lambda device: Stream())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda pixels: asked.append("pinned") or pixels)
    monkeypatch.setattr(torch.Tensor, "to", copied)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda pixels, stream: asked.append("held"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    model = Mock(spec=vi.Model, device=torch.device("cuda"), dtype=torch.float64)
    pixels = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    sent = work.send(model, [pixels, "no picture", pixels + 1])
    assert sent.reasons == [None, "no picture", None]
    assert asked == ["pinned", {"non_blocking": True}, (torch.float64,), "recorded"]
    there = sent.arrived()
    assert asked[4:] == ["awaited", "held"]
    assert there is not None
    assert there.dtype == torch.float64
    np.testing.assert_array_equal(there.numpy(), np.stack([pixels, pixels + 1]))


def test_one_process_fills_a_folder_at_a_time(tiny: vi.Model, photos: Path, out: Path) -> None:
    out.mkdir()
    with FileLock(out / ".lock"), pytest.raises(vi.OutputFailed, match="another process"):
        vi.survey(tiny, photos, out)
    vi.survey(tiny, photos, out)


def test_another_survey_is_never_mixed_in(
    tiny: vi.Model, small: Make, photos: Path, out: Path
) -> None:
    vi.survey(tiny, photos, out)
    before = bytes_of(out)
    with pytest.raises(vi.BadParameter, match="a survey of other pictures"):
        vi.survey(tiny, photos / "dogs", out)
    with pytest.raises(vi.BadParameter, match="with other statistics in"):
        vi.survey(tiny, photos, out, statistics=["nmi"])
    with pytest.raises(vi.BadParameter, match="other weights"):
        vi.survey(vi.randomised(tiny), photos, out)
    with pytest.raises(vi.BadParameter, match="begun"):
        vi.survey(tiny, photos, out, resume=False)
    assert bytes_of(out) == before
    (out / "manifest.parquet").unlink()
    with pytest.raises(vi.BadParameter, match="parts of another survey"):
        vi.survey(tiny, photos, out)


def test_what_is_written_is_what_is_opened(
    tiny: vi.Model, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = vi.survey(tiny, photos, out, label_from="folder")
    found = vi.open_survey(out)
    assert found.layout == made.layout
    assert (found.count, found.refused, found.plan) == (made.count, made.refused, made.plan)
    assert found.entries == made.entries
    for name, spread in made.statistics.items():
        for each, values in spread.arrays().items():
            np.testing.assert_array_equal(getattr(found.statistics[name], each), values)
    # Parts have the size that they were written with, whatever a later version writes.
    monkeypatch.setattr(parts, "CHUNK", 64)
    assert vi.open_survey(out).values("nmi", 0, 0).shape == (6,)
    # Without the merge, it is made again.
    (out / "survey.json").unlink()
    again = vi.open_survey(out).statistics["nmi"].quantiles
    np.testing.assert_array_equal(again, made.statistics["nmi"].quantiles)
    (out / "survey.json").write_text("{")
    with pytest.raises(vi.BadParameter, match=r"survey\.json', which is damaged"):
        vi.open_survey(out)


def test_other_programs_read_the_parts(tiny: vi.Model, photos: Path, out: Path) -> None:
    found = vi.survey(tiny, photos, out, label_from="folder")
    table = pq.read_table(out / "parts").to_pandas()
    assert table["name"].tolist() == [entry.name for entry in found.entries]
    assert table["label"].tolist() == ["cats"] * 2 + ["dogs"] * 4
    numbers = np.stack(table["distance_px"].tolist()).reshape(6, 3, 3)
    np.testing.assert_array_equal(numbers[:, 2, 1], found.values("distance_px", 2, 1))
    said = json.loads((out / "survey.json").read_text())
    assert said["plan"]["weights_sha256"] == tiny.weights_sha256
    assert said["statistics"]["entropy"]["count"] == 6


def test_classes_and_confidence_are_those_of_the_predictions(
    small: Make, photos: Path, out: Path
) -> None:
    model = small("vit_tiny_patch16_224", (32, 48))
    found = vi.survey(model, photos, out, statistics=["distance"], batch=1)
    table = pq.read_table(out / "parts").to_pydict()
    for entry, chosen, share in zip(
        found.entries, table["class"], table["confidence"], strict=True
    ):
        best = vi.predictions(vi.capture(model, vi.read_image(photos / entry.name)), count=1)
        assert chosen == best.class_index[0, 0]
        assert share == pytest.approx(best.value[0, 0], rel=1e-9)


def test_classes_are_counted_by_label(
    tiny: vi.Model, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("none", "Cats ", "dogs", "DOGS", *(f"class {index}" for index in range(4, 1000)))
    model = replace(tiny, labels=names)
    (photos / "dogs" / "bad.png").write_bytes(b"not a picture")
    found = vi.survey(model, photos, out, statistics=["distance"], label_from="folder")
    chosen, confidence = found.chosen()
    assert np.flatnonzero(chosen < 0).tolist() == [6]
    np.testing.assert_array_equal(np.isnan(confidence), chosen < 0)
    classes = found.classes()
    assert classes.label_names == ("cats", "dogs")
    # A class that two have the name of is not a label's own.
    assert [names[classes.class_index[classes.own[0]]], classes.own[1]] == ["Cats ", -1]
    np.testing.assert_array_equal(classes.class_index, np.unique([1, *chosen[:6]]))
    for row, part in enumerate((slice(2), slice(2, 6))):
        for column, index in enumerate(classes.class_index):
            of = chosen[part] == index
            assert classes.pictures[row, column] == of.sum()
            if of.any():
                mean = confidence[part][of].mean()
                assert classes.confidence[row, column] == pytest.approx(mean, rel=1e-12)
    np.testing.assert_array_equal(classes.correct, [(chosen[:2] == 1).mean(), np.nan])
    assert vi.open_survey(out).classes().pictures.sum() == 6
    assert classes.over == "out"
    monkeypatch.setattr(results, "MOST_LABELS", 1)
    with pytest.raises(vi.BadParameter, match="2 labels; expected at most 1"):
        found.classes()


def test_without_labels_classes_are_counted_over_all(tiny: vi.Model, photos: Path) -> None:
    classes = vi.survey(tiny, photos, statistics=["distance"]).classes()
    assert (classes.label_names, classes.pictures.sum(), classes.own[0]) == (("",), 6, -1)
    assert classes.class_names == tuple(tiny.labels[each] for each in classes.class_index)
    with pytest.raises(vi.BadParameter, match="which has none with a probability"):
        vi.survey(replace(tiny, outputs="scores"), photos, statistics=["distance"]).classes()


def test_many_pictures_are_merged_a_few_layers_at_a_time(
    tiny: vi.Model, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = vi.survey(tiny, photos, out)
    (out / "survey.json").unlink()
    monkeypatch.setattr(results, "READ_BYTES", 1)
    found = vi.open_survey(out)
    for name, spread in made.statistics.items():
        for each, values in spread.arrays().items():
            np.testing.assert_array_equal(getattr(found.statistics[name], each), values)


def test_a_full_disk_leaves_what_is_done(
    tiny: vi.Model, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = out.with_name("whole")
    vi.survey(tiny, photos, whole)
    write = parts.write

    def full(path: Path, data: bytes) -> None:
        if "000002" in path.name:
            raise unwritable(path, OSError(28, "No space left on device"))
        write(path, data)

    monkeypatch.setattr(parts, "write", full)
    with pytest.raises(vi.OutputFailed, match="No space left on device"):
        vi.survey(tiny, photos, out)
    monkeypatch.undo()
    monkeypatch.setattr(parts, "CHUNK", 2)
    assert sorted(path.name for path in (out / "parts").iterdir()) == [
        "000000.parquet",
        "000001.parquet",
    ]
    vi.survey(tiny, photos, out)
    assert bytes_of(out) == bytes_of(whole)


def test_a_manifest_that_lacks_what_is_needed_is_refused(
    tiny: vi.Model, photos: Path, out: Path
) -> None:
    vi.survey(tiny, photos, out)
    table = pq.read_table(out / "manifest.parquet")
    plan = json.loads(table.schema.metadata[parts.PLAN])
    del plan["chunk"]
    said = {parts.PLAN: json.dumps(plan).encode()}
    pq.write_table(table.replace_schema_metadata(said), out / "manifest.parquet")
    with pytest.raises(vi.BadParameter, match="its plan lacks chunk"):
        vi.open_survey(out)


def test_a_damaged_part_is_named(tiny: vi.Model, photos: Path, out: Path) -> None:
    vi.survey(tiny, photos, out)
    (out / "survey.json").unlink()
    (out / "parts" / "000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(vi.BadParameter, match=r"000001\.parquet.*remove it"):
        vi.open_survey(out)


def test_a_lack_of_memory_is_no_damage_of_a_survey(
    tiny: vi.Model, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = vi.survey(tiny, photos, out, statistics=["nmi"])

    def full(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(pq, "read_table", full)
    for read in (lambda: vi.open_survey(out), lambda: found.values("nmi", 0, 0)):
        with pytest.raises(vi.OutOfMemory, match="no memory left"):
            read()


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(tiny: vi.Model, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(vi.BadParameter, match="the statistics"):
        vi.survey(tiny, photos, statistics=["distances"])  # type: ignore[list-item]
    with pytest.raises(vi.BadParameter, match="no survey in"):
        vi.open_survey(tmp_path)
    found = vi.survey(tiny, photos, statistics=["nmi"])
    with pytest.raises(vi.BadParameter, match=r"'entropy'; expected one of nmi"):
        found.values("entropy", 0, 0)
    with pytest.raises(vi.BadParameter, match="head"):
        found.values("nmi", 0, 7)


def test_a_survey_without_a_folder_keeps_none(tiny: vi.Model, photos: Path) -> None:
    found = vi.survey(tiny, photos)
    folder = found._store.folder
    assert found.values("nmi", 0, 0).shape == (6,)
    assert folder.exists()
    del found
    assert not folder.exists()
