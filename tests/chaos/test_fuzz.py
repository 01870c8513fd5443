"""Does a search change files as the suite does, and load what it has not seen?"""

from __future__ import annotations

import importlib.util
import io
import random
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.chaos import fuzz, weights


def test_a_search_without_its_package_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        fuzz.main(["pictures"])
    assert ended.value.code == 2
    assert "atheris is not installed: run pip install -e '.[fuzz]'" in capsys.readouterr().err


def test_an_archive_that_the_search_changed_inside_has_right_checksums() -> None:
    data, draw, found = weights.seeds("npz")[0], random.Random(0), 0
    for _ in range(20):
        changed = fuzz.changed(draw, "weights", data, lambda part, most: part + b"changed")
        if changed.startswith(b"PK") and not changed.endswith(b"changed"):
            with (
                suppress(zipfile.BadZipFile, ValueError),
                zipfile.ZipFile(io.BytesIO(changed)) as archive,
            ):
                contents = [archive.read(each) for each in archive.infolist()]
                found += any(each.endswith(b"changed") for each in contents)
    assert found > 3


def test_no_accident_runs_what_a_file_asks_for(tmp_path: Path) -> None:
    made = tmp_path / "made"
    ask = b"\x80\x02cos\nmkdir\n(V" + str(made).encode() + b"\ntR."
    data = ask + weights.seeds("old pth")[0]
    for seed in range(20):
        weights.damaged(random.Random(seed), "old pth", data)
    assert not made.exists()


def test_a_file_without_a_place_for_an_accident_is_changed_as_bytes() -> None:
    for what in ("pictures", "weights"):
        for data in (b"", b"PK\3\4.npy", b"BM", b"II*\0", b"\x80\x02"):
            for seed in range(20):
                fuzz.changed(random.Random(seed), what, data, lambda part, most: part + b"x")


def test_weights_of_the_same_names_and_shapes_are_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(fuzz, "read", lambda _, path: loaded.append(path.name))
    door = fuzz.door_of_new_names()
    for name, shape in {"a": (2, 3), "same": (2, 3), "other": (3, 2)}.items():
        with (tmp_path / name).open("wb") as file:
            np.savez(file, weight=np.ones(shape, np.float32))
        door("npz", tmp_path / name)
    assert loaded == ["a", "other"]
