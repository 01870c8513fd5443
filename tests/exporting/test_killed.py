"""Is a folder of figures that of one run, when the real command is stopped at any moment?"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import noise
from tests.exporting.conftest import contents
from tests.helpers.stopped import CODES, stop
from vit_inspect.commands.app import app
from vit_inspect.exporting import workers
from vit_inspect.exporting.folders import ASIDE

STOPS = int(os.environ.get("VIT_INSPECT_KILLS", "1"))
"""By each signal."""


def command(photographs: list[Path], out: Path) -> list[str]:
    words = ["figures", *map(str, photographs), "--out", str(out)]
    return [*words, "--model", "fashion_vit", "--batch", "1", "--formats", "npz"]


def seen_in(folder: Path) -> dict[str, bytes]:
    """Files that are not hidden, without the command, which names the folder."""
    found = {name: each for name, each in contents(folder).items() if not name.startswith(".")}
    told = json.loads(found.pop("provenance.json", b"{}"))
    found.pop("report.html", None)
    return found | {"provenance.json": json.dumps(told | {"command": None}).encode()}


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked", "unplotted")
def test_a_run_that_is_stopped_mixes_nothing_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "workers_for", lambda _: 1)
    pictures = [tmp_path / f"{number}.png" for number in range(5)]
    for number, picture in enumerate(pictures):
        noise((40 + number, 36), number).save(picture)
    out, first, second = tmp_path / "out", pictures[:1], pictures[1:]

    def made(photographs: list[Path], folder: Path) -> dict[str, bytes]:
        """What the command makes in this process, where it takes less time."""
        done = CliRunner().invoke(app, command(photographs, folder), catch_exceptions=False)
        assert done.exit_code == 0
        return seen_in(folder)

    before, after = made(first, out), made(second, tmp_path / "whole")
    chance = random.Random(0)
    for number in STOPS * list(CODES):
        # The last ones come too soon one after the other.
        some = chance.randint(1, len(after) // 2)
        words = ["tests.helpers.unplotted", *command(second, out)]
        stop(words, number, lambda: [*out.glob(f"{ASIDE}/**/*.npz")], some)
        assert seen_in(out) == before
    assert made(second, out) == after
    assert {each.name for each in out.glob(".*")} == {".lock"}
