"""How much memory does reading pictures take? Run in a process of its own, which prints it.

`python -m tests.helpers.peaks THREADS BUDGET BLOCKS FILE...`: for each file a line of JSON with the
cost that was asked of the budget and the peak above what the process had before, both in bytes. The
file is read by so many threads at once, in a budget of so many bytes (0: as it is), in blocks that
are so many times smaller. Three bands are chosen where its name says that it has 13.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

HERE = Path("/proc/self")
MEASURABLE = (HERE / "clear_refs").exists()
"""Whether this system tells the peak of a process, and forgets it on demand."""


GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""So the peak of small pictures is that of what is in use, and not of what an allocator keeps."""


class Peak(NamedTuple):
    """In bytes."""

    cost: int
    peak: int


def peaks_of(
    files: Sequence[Path], *, threads: int = 1, budget: int = 0, blocks: int = 1
) -> list[Peak]:
    """One for each file; the numbers are those of the command."""
    run = subprocess.run(
        [sys.executable, "-m", __name__, *map(str, (threads, budget, blocks)), *map(str, files)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **(GIVEN_BACK if blocks > 1 or budget else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [Peak(**json.loads(line)) for line in run.stdout.splitlines()]


def memory(what: str) -> int:
    """A line of this process's status that counts kB, such as VmHWM."""
    lines = (HERE / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def _measure(file: Path, threads: int, budget: int) -> Peak:
    from vit_inspect.limits import READING
    from vit_inspect.pictures.reading import read_image

    costs, part = [], READING.part
    READING.total = budget or READING.total

    def watched(cost: int) -> AbstractContextManager[None]:
        costs.append(cost)
        return part(cost)

    READING.part = watched
    bands = (3, 2, 1) if file.name.endswith("of 13 bands") else None
    data = file.read_bytes()
    (HERE / "clear_refs").write_text("5")
    before = memory("VmRSS")
    read = partial(read_image, data, bands=bands)
    readers = [threading.Thread(target=read) for _ in range(threads)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(costs) == threads
    # The bytes are in the costs, and were there before.
    return Peak(max(costs), memory("VmHWM") - before + len(data))


def _make_blocks_smaller(times: int) -> None:
    """Where pictures are small too, large blocks would hide what the pictures take."""
    from vit_inspect.pictures import blocks, cost, deep_png, tiff, tones

    for module, name in [
        *[(blocks, "_BLOCK"), (blocks, "MEMORY"), (tones, "_BLOCK")],
        *[(tiff, "_BLOCK"), (tiff, "_LARGE"), (deep_png, "_BLOCK")],
    ]:
        setattr(module, name, getattr(module, name) // times)
    if times > 1:
        cost._ALWAYS //= 2


if __name__ == "__main__":
    # Before the memory is measured: what libraries take when they are loaded.
    import vit_inspect.pictures.reading  # noqa: F401

    Image.init()
    threads, budget, times = map(int, sys.argv[1:4])
    _make_blocks_smaller(times)
    for each in sys.argv[4:]:
        # A new process each: what an allocator keeps from one picture would hide the next one.
        if not os.fork():
            told = _measure(Path(each), threads, budget)._asdict()
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            os._exit(0)
        assert os.wait()[1] == 0, each
