"""A folder has the files of one run, whenever that run or a later one is stopped."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest
from filelock import FileLock

import vit_inspect as vi
from tests.exporting.conftest import contents
from tests.helpers.faults import KINDS, Killed, faults
from vit_inspect.exporting.folders import ASIDE, LOCK, Together, claimed

FIRST, SECOND = ("one/a.svg", "both.svg"), ("two/a.svg", "both.svg")
RECORD = "record.json"


def fill(folder: Path, run: str, names: tuple[str, ...]) -> None:
    with claimed(folder), Together(folder) as files:
        for name in names:
            files.put(name, f"{run} {name} ".encode() * 100)
        files.put(RECORD, json.dumps({"run": run, "files": names}).encode())
        there = folder / RECORD
        files.arrive(set(json.loads(there.read_text())["files"]) if there.exists() else set())


def seen_in(folder: Path) -> dict[str, bytes]:
    """What a user sees: files that are not hidden."""
    found = contents(folder)
    return {name: data for name, data in found.items() if not name.startswith(".")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_never_has_files_of_two_runs_or_half_a_file(kind: str, tmp_path: Path) -> None:
    fill(tmp_path / "second", "second", SECOND)
    after = seen_in(tmp_path / "second")
    mine = {"notes.txt": b"mine", "one/.a.svg.part": b"mine"}
    for at in count(1):
        folder = tmp_path / str(at)
        fill(folder, "first", FIRST)
        before = seen_in(folder)
        for name, data in mine.items():
            (folder / name).write_bytes(data)
        with faults(folder, at, *KINDS[kind]()) as fault:
            try:
                fill(folder, "second", SECOND)
            except (vi.OutputFailed, KeyboardInterrupt, Killed):
                done = False
            else:
                done = True
        found = seen_in(folder)
        assert {name: found.pop(name, None) for name in mine} == mine
        if "unfinished" in json.loads(found[RECORD]):
            listed = json.loads(found.pop(RECORD))["files"]
            assert found.keys() <= {*listed}
            assert found.items() <= before.items() or found.items() <= after.items()
        else:
            assert found in ([after] if done else [before, after])
        if kind == "Ctrl-C":
            assert not list(folder.rglob(".record*"))
        fill(folder, "second", SECOND)
        assert seen_in(folder) == after | mine
        assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == {LOCK}
        if fault.count < at:
            break
    assert at > 20


def test_folders_that_an_earlier_run_leaves_empty_go(tmp_path: Path) -> None:
    fill(tmp_path, "first", FIRST)
    fill(tmp_path, "second", SECOND)
    assert not (tmp_path / "one").exists()


def test_one_run_fills_a_folder_at_a_time(tmp_path: Path) -> None:
    with FileLock(tmp_path / LOCK), pytest.raises(vi.OutputFailed, match="another process"):
        fill(tmp_path, "first", FIRST)
    assert not (tmp_path / ASIDE).exists()
    for _ in range(2):
        fill(tmp_path, "first", FIRST)


def test_a_file_of_others_where_a_folder_is_to_be_stops_a_run_before_anything_changes(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "first", FIRST)
    (tmp_path / "two").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(vi.OutputFailed, match=r"two.*cannot be written"):
        fill(tmp_path, "second", SECOND)
    assert contents(tmp_path) == before
