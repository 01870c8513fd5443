"""A file is in its place whole, or not at all."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

import vit_inspect as vi
from tests.helpers.faults import KINDS, Killed, faults
from vit_inspect.exporting.files import ensure_folder, remove_parts, write


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_the_one_before_or_the_new_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    for at in count(1):
        path.write_bytes(b"before")
        stops = suppress(vi.OutputFailed, KeyboardInterrupt, Killed)
        with faults(tmp_path, at, *KINDS[kind]()) as fault, stops:
            write(path, b"0123456789")
        # That the folder cannot be made does not matter where it is there.
        done = fault.count < at or (at == 1 and kind == "a moment's trouble")
        assert path.read_bytes() == (b"0123456789" if done else b"before")
        # A kill and a folder that is read-only leave what the next run removes.
        if not KINDS[kind]()[1]:
            assert [each.name for each in tmp_path.iterdir()] == ["a.svg"]
        remove_parts(tmp_path, "a.svg")
        assert [each.name for each in tmp_path.iterdir()] == ["a.svg"]
        if fault.count < at:
            break
    # A folder, a file, its contents, its name.
    assert at == 5


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    told = r"a\.svg' cannot be written \(No space left on device\)"
    with faults(tmp_path, 2, *KINDS["a full disk"]()), pytest.raises(vi.OutputFailed, match=told):
        write(tmp_path / "a.svg", b"0123456789")


def test_a_folder_that_cannot_be_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(vi.OutputFailed, match="expected a folder that may be written"):
        ensure_folder(tmp_path / "file" / "out")
    ensure_folder(tmp_path / "new" / "out")
    assert list((tmp_path / "new" / "out").iterdir()) == []
