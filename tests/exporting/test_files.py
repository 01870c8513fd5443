"""A file is in its place whole, or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import vit_inspect as vi
from vit_inspect.exporting.files import ensure_folder, write


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
