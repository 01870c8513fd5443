"""A dashboard in a process of its own: by its command, or `python -m tests.dashboard.serving`.

`started` runs the command. In the other, which takes options of Streamlit, the product is as it is,
but what loads a model of the name `CLASSIFIER` makes one of random weights instead of asking a hub
for them. On its standard streams it answers questions about its memory.

"resident" is what the process holds, in MB, after the garbage was collected and freed pages were
given back to the system ("raw" is the number before). "captures" and "results" is what the two
caches say they hold; "weights" is what the parameters of all living networks hold, "tensors" all
other living tensors, in a cache or not: more than "captures" and "results" is a leak. "blocks" are
Python's small objects.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import vit_inspect as vi
from tests.helpers.oracle import sharpen

ROOT = Path(__file__).parents[2]
APP = ROOT / "dashboard" / "app.py"
CLASSIFIER = "vit_tiny_patch16_224"
"""A class token, positions in a table, twelve layers of three heads, the classes of ImageNet."""
MEGABYTE = 2**20


def held() -> dict[str, float]:
    """What this process holds, in MB."""
    from vit_inspect_dashboard import kept

    gc.collect()
    raw = resident()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
    weights = [each for each in tensors if isinstance(each, torch.nn.Parameter)]
    return {
        "raw": raw,
        "trimmed": resident(),
        "captures": kept.captures().bytes() / MEGABYTE,
        "results": kept.results().bytes() / MEGABYTE,
        "weights": stored(weights),
        "tensors": stored(tensors) - stored(weights),
        "blocks": sys.getallocatedblocks(),
        "entries": len(kept.results().values()),
    }


def stored(tensors: Sequence[torch.Tensor]) -> float:
    """What tensors keep in memory, in MB; several may share theirs."""
    storages = [each.untyped_storage() for each in tensors]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values()) / MEGABYTE


def resident() -> float:
    """The resident memory of this process in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def limit(captures_mb: str) -> dict[str, float]:
    """Makes the cache of captures small, so that few users fill it."""
    from vit_inspect_dashboard import kept

    kept.CAPTURE_BYTES = int(captures_mb) * MEGABYTE
    kept.captures.clear()
    return {}


def forget() -> dict[str, float]:
    """Empties the caches, so that what is left is held by something else."""
    from vit_inspect_dashboard import kept

    kept.captures().drop()
    kept.results().drop()
    return {}


def waiting() -> dict[str, float]:
    """How many jobs wait for the device, with the one that runs."""
    from vit_inspect_dashboard import device

    return {"jobs": len(device.line().waiting)}


def strangers() -> dict[str, float]:
    """Gives each visitor the quotas that strangers have."""
    from vit_inspect_dashboard import allowed, quotas

    allowed.choose("cached")
    quotas.choose(quotas.STRANGERS)
    return {}


@contextmanager
def started(*options: str, cwd: Path = ROOT, path: Path | None = None) -> Iterator[str]:
    """The address of a server that the command `vit-inspect dashboard` starts with these options.

    path: a folder where packages are looked for first.
    """
    command = [sys.executable, "-m", "vit_inspect", "dashboard", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        [*command, *options],
        cwd=cwd,
        env=os.environ
        | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        | ({"PYTHONPATH": str(path)} if path else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout
        try:
            said = ""
            while not (found := re.search(r"URL: (http://localhost:[1-9]\d*)", said)):
                line = server.stdout.readline()
                assert line, said
                said += line
            yield found[1]
        finally:
            server.terminate()
            # Its last words need a place to go to.
            server.communicate()


PROBES: dict[str, Callable[..., dict[str, float]]] = {
    "held": held,
    "limit": limit,
    "forget": forget,
    "waiting": waiting,
    "strangers": strangers,
}


def answer(answers: int) -> None:
    """Answers each line of the standard input by a line of numbers."""
    with os.fdopen(answers, "w") as out:
        for line in sys.stdin:
            name, *arguments = line.split()
            out.write(json.dumps(PROBES[name](*arguments)) + "\n")
            out.flush()


def main(*options: str) -> None:
    """Runs the dashboard as `streamlit run` does, with these options."""
    from streamlit.web import cli

    real = vi.load

    def load(name: str, *, img_size: int | None, **said: Any) -> vi.Model:
        if name != CLASSIFIER:
            return real(name, img_size=img_size, **said)
        torch.manual_seed(0)
        model = real(name, img_size=img_size, pretrained=False, **said)
        sharpen(model.module)
        return model

    vi.load = load
    answers = os.dup(1)
    os.dup2(2, 1)
    threading.Thread(target=answer, args=(answers,), daemon=True).start()
    cli.main(["run", str(APP), "--server.headless=true", *options])


if __name__ == "__main__":
    main(*sys.argv[1:])
