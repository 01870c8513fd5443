"""Is a folder of figures that of one run, when the real command is stopped at any moment?"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.exporting.conftest import contents

STOPS = int(os.environ.get("VIT_INSPECT_KILLS", "1"))
"""By each signal."""
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


def command(photographs: list[str], out: Path) -> list[str]:
    words = [sys.executable, "-m", "vit_inspect", "figures", *photographs, "--out", str(out)]
    return [*words, "--model", "fashion_vit", "--formats", "npz"]


def seen_in(folder: Path) -> dict[str, bytes]:
    """Files that are not hidden, without the command, which names the folder."""
    found = {name: each for name, each in contents(folder).items() if not name.startswith(".")}
    told = json.loads(found.pop("provenance.json", b"{}"))
    found.pop("report.html", None)
    return found | {"provenance.json": json.dumps(told | {"command": None}).encode()}


def alive(session: int) -> list[str]:
    """What still runs of a session, where the system tells it in files."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.slow
def test_a_run_that_is_stopped_mixes_nothing_and_leaves_no_process(tmp_path: Path) -> None:
    out, second = tmp_path / "out", ["china", "coffee", "astronaut", "rocket"]
    subprocess.run(command(["chelsea"], out), check=True, capture_output=True)
    before = seen_in(out)
    begun = time.monotonic()
    subprocess.run(command(second, tmp_path / "whole"), check=True, capture_output=True)
    takes, after = time.monotonic() - begun, seen_in(tmp_path / "whole")
    chance, stopped = random.Random(0), 0
    for number, code in STOPS * list(CODES.items()):
        with subprocess.Popen(
            command(second, out),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            time.sleep(chance.uniform(0.3, 0.9) * takes)
            process.send_signal(number)
            _, told = process.communicate()
        assert process.returncode in (code, 0)
        stopped += process.returncode == code
        if process.returncode > 0:
            assert told.strip().splitlines()[-1].startswith("Stopped. ")
        assert "Traceback" not in told
        # A worker whose first process was killed sees it and ends.
        for _ in range(100):
            if not (left := alive(process.pid)):
                break
            time.sleep(0.1)
        assert not left
        found = seen_in(out)
        if "unfinished" not in json.loads(found["provenance.json"]):
            assert found in (before, after)
    assert stopped
    subprocess.run(command(second, out), check=True, capture_output=True)
    assert seen_in(out) == after
    assert {each.name for each in out.glob(".*")} == {".lock"}
