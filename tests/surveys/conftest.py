"""Pictures on disk, in the arrangements that a survey reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import noise


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of six pictures in two folders, with what is none."""
    root = tmp_path / "photos"
    for index in range(6):
        folder = root / ("cats" if index < 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        noise((40 + index, 36), index).save(folder / f"{index}.png")
    (root / "notes.txt").write_text("none")
    (root / ".hidden").mkdir()
    noise((40, 36), 9).save(root / ".hidden" / "9.png")
    return root
