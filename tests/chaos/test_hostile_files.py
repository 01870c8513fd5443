"""Of hostile files, each is read or refused in a sentence: soon, and in little memory.

The long part is a command of its own: `python -m tests.chaos`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.reading import MOST_KEPT, MOST_REFUSING, PICTURES, WEIGHTS, Told, hostile, outcomes
from tests.helpers.peaks import MEASURABLE

FILES = 200


@pytest.mark.slow
@pytest.mark.skipif(not MEASURABLE, reason="this system does not tell peaks")
def test_hostile_files_are_read_or_refused() -> None:
    told = list(outcomes(1, range(FILES)))
    assert [each.number for each in told] == list(range(FILES))
    assert [(each, each.fault) for each in told if each.fault] == []
    assert sum(each.kept for each in told) < MOST_KEPT
    # Otherwise nothing but first bytes was looked at.
    for kinds in (PICTURES, WEIGHTS):
        assert {each.outcome == "read" for each in told if each.kind in kinds} == {True, False}


def test_a_file_is_known_by_its_number() -> None:
    assert [hostile(0, number) for number in range(10)] == [hostile(0, each) for each in range(10)]
    assert hostile(0, 0) != hostile(1, 0)


TEXT = "Found text in 'x'; expected a picture; choose another file."
FAULTS = [
    ("KeyError", "KeyError('a')", 0),
    ("crash", "-11: Segmentation fault", 0),
    ("BadImage", "Found <class 'int'> in 'x'; expected a picture; choose another file.", 0),
    ("OutOfMemory", "Found too little free memory; expected room; wait.", 0),
    ("BadImage", TEXT, 310_000_000),
]


@pytest.mark.parametrize(("outcome", "words", "peak"), FAULTS)
def test_what_breaks_the_law_is_a_fault(outcome: str, words: str, peak: int) -> None:
    told = Told(0, "png", outcome, words, 0.1, peak)
    assert told.fault
    assert told.fault_or_late == told.fault


@pytest.mark.parametrize(("outcome", "words"), [("read", ""), ("BadImage", TEXT)])
def test_a_file_that_takes_long_is_late(outcome: str, words: str) -> None:
    for seconds, late in ((1.9, ""), (2.1, "2.1 s")):
        told = Told(0, "png", outcome, words, seconds, 600_000_000 * (outcome == "read"))
        assert told.fault == ""
        assert told.fault_or_late == late


TOGETHER = """
import sys, tempfile, threading
from pathlib import Path
from tests.chaos import pictures, weights
from tests.chaos.reading import KINDS, limit_memory, read
from tests.helpers.peaks import HERE, memory
from vit_inspect.errors import InspectError

def refused(name):
    try:
        read(max((kind for kind in KINDS if name.startswith(kind)), key=len), folder / name)
    except InspectError:
        told.append(name)

folder, told = Path(tempfile.mkdtemp()), []
for name in sys.argv[1:]:
    (folder / name).write_bytes({**pictures.BOMBS, **weights.BOMBS}[name]())
idle = limit_memory()
(HERE / "clear_refs").write_text("5")
readers = [threading.Thread(target=refused, args=(name,)) for name in sys.argv[1:]]
for reader in readers:
    reader.start()
for reader in readers:
    reader.join()
assert sorted(told) == sorted(sys.argv[1:]), told
sys.stdout.write(str(memory("VmHWM") - idle))
"""

REFUSED = (
    *("png with text", "gif that ends early", "webp that ends early", "pth of a long list"),
    *("pth of a long text", "old pth of many networks", "safetensors of spaces", "npz of 60 MB"),
    *("png of 16 bits that ends early", "tiff of lzw that ends early"),
    *("jpeg of several passes that ends early", "tiff of large numbers that is damaged at its end"),
)


@pytest.mark.slow
@pytest.mark.skipif(not MEASURABLE, reason="this system does not tell peaks")
def test_many_readers_together_refuse_in_little_memory() -> None:
    run = subprocess.run(
        [sys.executable, "-c", TOGETHER, *REFUSED],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert 0 < int(run.stdout) <= MOST_REFUSING
