"""What becomes of hostile files, how long does each take, and how much memory?

`python -m tests.chaos.reading SEED FIRST STEP END`: reads the files of numbers FIRST, FIRST + STEP,
... below END in this process, which has no memory to spare, and prints a line of JSON for each.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.peaks import HERE, memory

MOST_SECONDS = 2.0
"""Of the processor, for any file, on a computer that has nothing else to do."""

MOST_REFUSING = 300_000_000
"""Bytes above the idle process that it takes to refuse a file, whatever the number of readers."""

ROOM = 1_500_000_000
"""Bytes of address space above the idle process: the budget of pictures, that of a file, and what
the allocator of each thread sets aside."""

MOST_KEPT = 20_000_000
"""Bytes that may be left of all files together that a process has read."""

STUCK = 120
"""Seconds of the clock after which a file is taken to have stopped the process; on a busy computer
30 went by for 5 of the processor."""

READY = "ready\n"

SPARING = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""The environment of a process that reads in little memory."""

INTERNALS = (
    *("Traceback", "Error(", "Error:", " object at 0x", "NoneType", "<class ", " self.", "PyTorch"),
    *("invalid combination", "to unpack", "deserializ", "argument", "index out of", "not iterable"),
    *("not subscriptable", "invalid syntax", "codec can't", "Expecting ", "required positional"),
)
"""Words that no user is to read."""

PICTURES = ("png", "jpeg", "webp", "bmp", "gif", "tiff")
WEIGHTS = ("pth", "old pth", "safetensors", "npz")
KINDS = (*PICTURES, *WEIGHTS)


@dataclass(frozen=True)
class Told:
    """What became of a file.

    outcome: "read", or the name of the error.
    words: of the error.
    seconds: of the processor until the answer.
    peak: bytes of memory above what the process had just before.
    kept: those of them that are left.
    """

    number: int
    kind: str
    outcome: str
    words: str
    seconds: float
    peak: int
    kept: int = 0

    @property
    def fault(self) -> str:
        """What breaks the law, but for its time; empty if nothing does."""
        if self.outcome == "read":
            return ""
        if not self.words.startswith("Found ") or any(each in self.words for each in INTERNALS):
            return "no sentence for a user"
        if self.outcome == "OutOfMemory":
            return "more memory than there is"
        return f"{self.peak / 1e6:.0f} MB" if self.peak > MOST_REFUSING else ""

    @property
    def fault_or_late(self) -> str:
        """The same with its time, which depends on what else the computer does."""
        late = f"{self.seconds:.1f} s" if self.seconds > MOST_SECONDS else ""
        return self.fault or late


def hostile(seed: int, number: int) -> tuple[str, bytes]:
    """The kind and the bytes of the file of this number."""
    from tests.chaos import pictures, weights

    draw = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    return kind, (pictures if kind in PICTURES else weights).hostile(draw, kind)


def read(kind: str, path: Path) -> None:
    """Read a file by the public door of its kind; raises what this raises."""
    import vit_inspect as vi
    from tests.chaos import weights

    if kind in PICTURES:
        vi.read_image(path)
    else:
        vi.load(
            checkpoint=path,
            architecture=weights.ARCHITECTURE,
            arch_options=weights.OPTIONS,
            img_size=weights.INPUT,
            device="cpu",
        )


def tell(number: int, kind: str, path: Path, door: Callable[[str, Path], object] = read) -> Told:
    """Read a file and measure it; what is no answer for a user is told with its class."""
    from vit_inspect.errors import InspectError

    outcome, words = "read", ""
    # The files that the suite makes and keeps are in it.
    before = _in_use()
    (HERE / "clear_refs").write_text("5")
    start = time.process_time()
    try:
        door(kind, path)
    except InspectError as error:
        outcome, words = type(error).__name__, str(error)
    except BaseException as error:
        outcome, words = type(error).__name__, f"{type(error).__name__}({error})"
    seconds = time.process_time() - start
    peak = memory("VmHWM") - before
    return Told(number, kind, outcome, words[:500], seconds, peak, _in_use() - before)


def _in_use() -> int:
    """Bytes of this process without garbage and what the allocator keeps.

    Not by its settings, which let large pictures take twice as long.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return memory("VmRSS")


def limit_memory() -> int:
    """Let this process take little more than it has; returns the bytes that it has in memory.

    What readers make once, such as tables of libraries, is made before.
    """
    import torch

    from tests.chaos import pictures, weights

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            path = Path(folder) / "good"
            seeds = pictures.SEEDS if kind in PICTURES else weights.seeds(kind)
            for data in seeds:
                path.write_bytes(data)
                read(kind, path)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + ROOM,) * 2)
    # Else each search for garbage looks at all of the libraries.
    gc.collect()
    gc.freeze()
    return memory("VmRSS")


def _work(seed: int, numbers: range) -> None:
    limit_memory()
    sys.stdout.write(READY)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        for number in numbers:
            kind, data = hostile(seed, number)
            path.write_bytes(data)
            faulthandler.dump_traceback_later(STUCK, exit=True)
            told = tell(number, kind, path)
            faulthandler.cancel_dump_traceback_later()
            sys.stdout.write(json.dumps(told.__dict__) + "\n")
            sys.stdout.flush()


def outcomes(seed: int, numbers: range) -> Iterator[Told]:
    """What becomes of the files of these numbers, each read in a process of few bytes.

    A process that dies or stops is told as the outcome of its file, and another one goes on.
    """
    while numbers:
        command = ("tests.chaos.reading", seed, numbers.start, numbers.step, numbers.stop)
        with tempfile.TemporaryFile("w+") as errors:
            with subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                cwd=Path(__file__).parents[2],
                env=os.environ | SPARING,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as run:
                assert run.stdout is not None
                ready = run.stdout.readline() == READY
                for line in run.stdout:
                    yield Told(**json.loads(line))
                    numbers = numbers[1:]
            errors.seek(0)
            said = errors.read()
        if not ready:
            raise RuntimeError(said)
        if numbers:
            kind = KINDS[numbers[0] % len(KINDS)]
            yield Told(numbers[0], kind, "crash", f"{run.returncode}: {said[-500:]}", 0, 0)
            numbers = numbers[1:]


if __name__ == "__main__":
    seed, first, step, end = map(int, sys.argv[1:])
    _work(seed, range(first, end, step))
