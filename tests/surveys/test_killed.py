"""Is a survey whose process is killed, at any moment, the same in the end?"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import noise
from tests.surveys.test_survey import bytes_of

PICTURES = 200
"""Of four parts."""
KILLS = int(os.environ.get("VIT_INSPECT_KILLS", "1"))


def command(pictures: Path, out: Path) -> list[str]:
    words = [sys.executable, "-m", "vit_inspect", "survey", str(pictures), "--out", str(out)]
    return [*words, "--img-size", "28"]


@pytest.mark.slow
def test_a_survey_that_was_killed_goes_on_with_the_same_command(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(PICTURES):
        noise((40, 40), number).save(pictures / f"{number:03d}.png")
    (pictures / "bad.png").write_bytes(b"no picture")
    chance = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            command(pictures, tmp_path / "torn"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            # From the moment on at which it begins to write.
            while process.poll() is None and not (tmp_path / "torn" / "manifest.parquet").exists():
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 2))
            killed += process.poll() is None
            process.kill()
            process.communicate()
    assert killed
    for out in ("torn", "whole"):
        done = subprocess.run(
            command(pictures, tmp_path / out), check=True, capture_output=True, text=True
        )
        assert f"{PICTURES} of {PICTURES + 1} pictures" in done.stdout
    assert bytes_of(tmp_path / "torn") == bytes_of(tmp_path / "whole")
