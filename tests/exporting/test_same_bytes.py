"""Are files the same bytes in another process, whatever its hashes, place, time and threads are?"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.exporting.conftest import contents
from vit_inspect.exporting.render import FORMATS

ROOT = Path(__file__).parents[2]
HERE = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C", "USER": "ann", "LOGNAME": "ann"}
THERE = {
    "PYTHONHASHSEED": "random",
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C.utf8",
    "LANG": "de_DE.UTF-8",
    "USER": "bob",
    "LOGNAME": "bob",
}
RENDERED = """
import hashlib, sys
from tests.helpers.records import made
from vit_inspect.exporting.render import render
from vit_inspect.figures.attention_maps import FIGURE
record = made(FIGURE.record)
for kind in sys.argv[1:]:
    print(kind, hashlib.sha256(render(FIGURE, record, kind)).hexdigest())
"""
ROUNDING = 1e-5
"""Of an array's largest value: sums of other threads have another order."""


def begun(
    folder: Path, words: list[str], said: dict[str, str], *, threads: int = 1, umask: int = 0o22
) -> subprocess.Popen[str]:
    """A process with this environment, in this folder."""
    folder.mkdir(parents=True)
    counted = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | counted | said | {"PYTHONPATH": str(ROOT)},
        umask=umask,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def ended(process: subprocess.Popen[str]) -> str:
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return told


def test_every_format_is_the_same_bytes_with_other_hashes(tmp_path: Path) -> None:
    words = ["-c", RENDERED, *FORMATS]
    both = [begun(tmp_path / said["USER"], words, said) for said in (HERE, THERE)]
    here, there = map(ended, both)
    assert here == there
    assert [line.split()[0] for line in here.splitlines()] == [*FORMATS]


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_in_another_place_by_another_user(tmp_path: Path) -> None:
    words = ["-m", "vit_inspect", "figures", "chelsea", "--model", "fashion_vit", "--out", "out"]
    words += ["--formats", "svg,npz,csv"]
    both = [
        begun(tmp_path / "here", words, HERE),
        begun(tmp_path / "elsewhere" / "deep", words, THERE, umask=0o77),
    ]
    for process in both:
        ended(process)
    here, there = contents(tmp_path / "here" / "out"), contents(tmp_path / "elsewhere/deep/out")
    assert {name.rpartition(".")[2] for name in here} == {"svg", "npz", "csv", "html", "json"}
    assert here.keys() == there.keys()
    assert [name for name, data in here.items() if there[name] != data] == []


@pytest.mark.slow
def test_other_threads_change_no_more_than_rounding(tmp_path: Path) -> None:
    # So many tokens that threads share their sums.
    words = ["-m", "vit_inspect", "figures", "chelsea", "--formats", "npz", "--out", "out"]
    words += ["--img-size", "224"]
    both = [begun(tmp_path / str(count), words, HERE, threads=count) for count in (1, 2)]
    for process in both:
        ended(process)
    one, two = (contents(tmp_path / str(count) / "out") for count in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        if not name.endswith(".npz"):
            continue
        with np.load(io.BytesIO(one[name])) as first, np.load(io.BytesIO(two[name])) as second:
            for array, values in first.items():
                if values.dtype.kind != "f":
                    assert np.array_equal(values, second[array]), (name, array)
                    continue
                # Where nothing was asked for there is no number.
                finite, other = np.isfinite(values), second[array]
                assert np.array_equal(values[~finite], other[~finite], equal_nan=True), array
                largest = np.abs(values[finite]).max(initial=0)
                off = np.abs(values[finite] - other[finite]).max(initial=0)
                assert off <= ROUNDING * largest, (name, array, off)
