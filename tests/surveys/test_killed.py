"""Is a survey whose process is stopped, at any moment, the same in the end?"""

from __future__ import annotations

import os
import random
import signal
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import noise
from tests.helpers.stopped import CODES, stop
from tests.surveys.test_survey import bytes_of
from vit_inspect.commands.app import app

PICTURES = 300
"""Of five parts."""
STOPS = int(os.environ.get("VIT_INSPECT_KILLS", "1"))
"""Of each signal, in a folder of their own."""
LATER_S = 0.3
"""Seconds; a part takes longer."""


def command(pictures: Path, out: Path) -> list[str]:
    return ["survey", str(pictures), "--out", str(out), "--img-size", "28"]


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_survey_that_was_stopped_goes_on_with_the_same_command(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(PICTURES):
        noise((40, 40), number).save(pictures / f"{number:03d}.png")
    (pictures / "bad.png").write_bytes(b"no picture")

    def made(out: Path) -> dict[str, bytes]:
        """What the command makes in this process."""
        done = CliRunner().invoke(app, command(pictures, out), catch_exceptions=False)
        assert f"{PICTURES} of {PICTURES + 1} pictures" in done.stdout
        return bytes_of(out)

    whole, chance = made(tmp_path / "whole"), random.Random(0)
    for attempt in range(STOPS):
        torn = tmp_path / str(attempt)
        # One part after the other: what the first ones made is kept.
        for parts, number in enumerate(CODES, start=1):
            words = ["vit_inspect", *command(pictures, torn), "--workers", "2"]
            made_parts = partial(lambda torn: [*torn.glob("parts/[0-9]*.parquet")], torn)
            stop(words, number, made_parts, parts, later_s=chance.uniform(0, LATER_S))
            found = bytes_of(torn)
            if number == signal.SIGKILL:
                found = {name: data for name, data in found.items() if "/." not in name}
            assert found.items() <= whole.items()
        assert made(torn) == whole
