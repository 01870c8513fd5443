"""Which hostile files does a search find that watches the lines that each file reaches?

`python -m tests.chaos.fuzz pictures --seconds 600`, or `weights`: changes small files, keeps those
that reach new lines of the readers, and changes them again. The law is that of `python -m
tests.chaos`. The first file that breaks it is kept, and ends the search with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos import pictures, weights
from tests.chaos.reading import SPARING, STUCK, limit_memory, read, tell
from tests.helpers.picture_seeds import SEEDS, with_checksums
from vit_inspect.loading.wrappers import read_weights

MOST_BYTES = 30_000
"""Of a file; the seeds have at most half of it."""

SEARCH = """
import json, sys
import atheris
# Pillow reads the headers of pictures in Python. Each module is watched as it is imported.
with atheris.instrument_imports(include=["vit_inspect", "PIL"]):
    import vit_inspect.loading.from_file, vit_inspect.pictures.reading
    from PIL import Image
    Image.init()
from tests.chaos.fuzz import search
search(*json.loads(sys.argv[1]))
"""

Door = Callable[[str, Path], None]


def main(given: Sequence[str] | None = None) -> int:
    """Search in a process of its own, which a file may end; returns the status of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fuzz", description=__doc__)
    parser.add_argument("what", choices=("pictures", "weights"))
    parser.add_argument("files", nargs="*", help="Read these again, and search for no others.")
    parser.add_argument("--seconds", type=int, default=300, help="How long to search.")
    parser.add_argument("--corpus", help="Folder of what was found, from which to go on.")
    told = parser.parse_intermixed_args(given)
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: run pip install -e '.[fuzz]'")
    corpus = Path(told.corpus or Path(tempfile.gettempdir()) / f"vit_inspect-{told.what}").resolve()
    corpus.mkdir(parents=True, exist_ok=True)
    files = [str(Path(each).resolve()) for each in told.files]
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        asked = told.what, told.seconds, str(corpus), files, folder
        run = subprocess.run(
            [sys.executable, "-c", SEARCH, json.dumps(asked)],
            cwd=Path(__file__).parents[2],
            env=os.environ | SPARING,
            check=False,
        )
    for file in [*corpus.glob("crash-*"), *corpus.glob("timeout-*")]:
        if file.stat().st_mtime >= start:
            again = f"python -m tests.chaos.fuzz {told.what} {file}"
            sys.stdout.write(f"{file.name} breaks the law. To read it again: {again}\n")
    return int(run.returncode != 0)


def search(what: str, seconds: int, corpus: str, files: Sequence[str], folder: str) -> None:
    """Search until a file breaks the law or the time is over; ends the process."""
    import atheris

    limit_memory()
    kind, door, seeds = "png", read, SEEDS
    if what == "weights":
        seeds = [data for kind in weights.KINDS for data in weights.seeds(kind)]
        kind, door = "pth", door_of_new_names()
    good, path = Path(folder, "good"), Path(folder, "x")
    good.mkdir()
    for place, data in enumerate(seeds):
        (good / str(place)).write_bytes(data)

    def judge(data: bytes) -> None:
        path.write_bytes(data)
        told = tell(0, kind, path, door)
        if told.fault_or_late:
            raise AssertionError(f"{told.outcome} {told.words} {told.fault_or_late}")

    def change(data: bytes, most: int, seed: int) -> bytes:
        return changed(random.Random(seed), what, data, atheris.Mutate)[:most]

    options = {
        "artifact_prefix": f"{corpus}/",
        "max_len": MOST_BYTES,
        "max_total_time": seconds,
        "timeout": STUCK,
        # Else most of the time goes to pictures that are just not too large.
        "entropic_scale_per_exec_time": 1,
        # The law looks at memory.
        "rss_limit_mb": 0,
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup(["fuzz", *flags, *(files or (corpus, str(good)))], judge, custom_mutator=change)
    atheris.Fuzz()


def door_of_new_names() -> Door:
    """Reads weights, and loads those whose names and shapes were not loaded before.

    To make a network takes ten times as long as to read its file, and seldom depends on values.
    """
    loaded = set()

    def door(kind: str, path: Path) -> None:
        file = read_weights(path)
        names = ((name, each.shape, each.dtype) for name, each in file.weights.items())
        known = frozenset((*names, *file.left_out))
        if known not in loaded:
            loaded.add(known)
            read(kind, path)

    return door


def changed(
    draw: random.Random, what: str, data: bytes, mutate: Callable[[bytes, int], bytes]
) -> bytes:
    """The bytes after an accident of the suite, or after one that the search chooses.

    mutate: the latter, of some bytes and the most that they may become.
    """

    def chosen(part: bytes) -> bytes:
        return mutate(part, len(part) + 64)

    kind, way = _kind(what, data), draw.random()
    try:
        if kind and way < 0.15:
            data = (pictures if what == "pictures" else weights).damaged(draw, kind, data)
        elif kind in ("pth", "npz") and way < 0.9:
            # Elsewhere checksums would be wrong, and nothing inside be read.
            data = weights.in_archive(draw, data, chosen, "")
        else:
            data = chosen(data)
    except Exception:
        # In a file that is damaged already, an accident may not find its place.
        data = chosen(data)
    return with_checksums(data) if draw.random() < 0.9 else data


def _kind(what: str, data: bytes) -> str | None:
    """Of a file, by its first bytes; None for what no reader looks into."""
    if what == "pictures":
        starts = pictures.KINDS.items()
        return next((kind for kind, start in starts if data.startswith(start)), None)
    if data.startswith(b"PK"):
        return "npz" if b".npy" in data else "pth"
    return "safetensors" if data[8:9] == b"{" else "old pth"


if __name__ == "__main__":
    sys.exit(main())
