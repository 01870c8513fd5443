"""Is everything exact on a GPU, and what does it cost there? One run of at most five minutes.

    python -m tests.benchmarks.gpu [--device cuda] [--out gpu.json] [--minutes N] [--quick]

Exactness: a capture, `observe` and relevance in float32, bfloat16 and float16 beside the same
weights and the same input in float64 on the CPU. So what rounding weights to a precision loses is
no part of a difference; "plain output" is what the precision costs the model itself. Differences
are relative to the largest value, those of attention are absolute.
Costs: in every round each way runs once, in turn, and a ratio is the median over the rounds of its
time by that of the plain pass. Memory is what a way adds at its peak on the GPU.
Surveys: pictures a second from files, with some numbers of workers; the first number counts the
start of the workers too, the second one begins when the first batch is done.

What there is no time left for, and what fails, is named; all else is kept. `--device cpu --quick`
shows in a minute that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import vit_inspect as vi
from tests.benchmarks.survey import make_pictures
from vit_inspect.surveys.survey import VERSIONS

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


class Size(NamedTuple):
    """How much is measured.

    exact: input size of the bundled model. costs: models, input sizes and pictures in a pass.
    pictures, batch, workers: of the surveys.
    """

    exact: int
    costs: tuple[tuple[str, int, int], ...]
    rounds: int
    pictures: int
    batch: int
    workers: tuple[int, ...]


FULL = Size(
    518,
    (
        ("vit_base_patch16_224", 224, 64),
        ("dinov2_small", 518, 16),
        ("vit_large_patch16_384", 384, 16),
    ),
    9,
    2000,
    64,
    (1, 4, 8),
)
QUICK = Size(112, (("dinov2_small", 112, 2),), 3, 24, 4, (1, 2))


class Run:
    """What was measured so far, also in a file; what comes too late or fails is named."""

    def __init__(self, facts: dict[str, Any], minutes: float, out: Path) -> None:
        self.start, self.end = time.perf_counter(), time.perf_counter() + 60 * minutes
        self.out = out
        kinds = ("exactness", "surveys", "costs", "left out", "failed")
        self.found: dict[str, Any] = facts | {"seconds": 0.0} | {kind: [] for kind in kinds}

    def part(self, kind: str, what: str, seconds: float, work: Callable[[], object]) -> None:
        """Measure something that takes about so long."""
        if time.perf_counter() + seconds > self.end:
            self.found["left out"].append(f"{kind}, {what}")
            return
        try:
            self.found[kind].append(work())
        except Exception as error:
            # The time on a GPU is short: the rest is measured all the same.
            self.found["failed"].append(f"{kind}, {what}: {type(error).__name__}: {error}")
        self.found["seconds"] = time.perf_counter() - self.start
        self.out.write_text(json.dumps(self.found, indent=1) + "\n")


def loaded(name: str, size: int, device: str, dtype: torch.dtype) -> vi.Model:
    pretrained = name == "dinov2_small"
    return vi.load(name, img_size=size, device=device, dtype=dtype, pretrained=pretrained)


def inputs(model: vi.Model, count: int) -> Tensor:
    names = list(vi.SAMPLES)
    pictures = [vi.sample(names[index % len(names)]) for index in range(min(count, len(names)))]
    pixels = torch.cat([model.prepare(each) for each in pictures])
    return pixels.repeat(-(-count // len(pixels)), 1, 1, 1)[:count]


def relative(found: Any, exact: Any) -> float:
    """The largest difference, by the largest value."""
    found, exact = (
        each.double().cpu().numpy() if isinstance(each, Tensor) else np.asarray(each, np.float64)
        for each in (found, exact)
    )
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def exactness(size: Size, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """How far the results of a precision are from those of float64."""
    model = loaded("dinov2_small", size.exact, device, dtype)
    twin = loaded("dinov2_small", size.exact, "cpu", torch.float64)
    twin.module.load_state_dict(model.module.state_dict())
    pixels = inputs(model, 1)
    exact = pixels.double().cpu()
    with torch.inference_mode():
        plain = model.module(pixels)
    own, other = vi.capture(model, pixels=pixels), vi.capture(twin, pixels=exact)
    maps, wanted = vi.attention_maps(own), vi.attention_maps(other)
    numbers = vi.observe(model, pixels=pixels).arrays()
    relevance, true = (
        vi.attention_relevance(*each).relevance for each in ((model, pixels), (twin, exact))
    )
    return {
        "precision": str(dtype).removeprefix("torch."),
        "capture leaves the output as it is": bool(torch.equal(own.output, plain)),
        "plain output": relative(plain, other.output),
        "capture error": own.error,
        "attention of CLS": float(np.abs(maps.weights - wanted.weights).max()),
        "observe": {
            name: relative(numbers[name], values)
            for name, values in vi.observe(twin, pixels=exact).arrays().items()
        },
        "relevance": relative(relevance, true),
        "relevance, rank correlation": float(vi.rank_correlation(relevance[0], true[0])),
    }


def costs(
    case: tuple[str, int, int], size: Size, device: str, dtype: torch.dtype
) -> dict[str, Any]:
    """Seconds of the plain pass, and of each way its ratio and its memory."""
    name, side, count = case
    model = loaded(name, side, device, dtype)
    pixels = inputs(model, count)

    def plain() -> object:
        with torch.inference_mode():
            return model.module(pixels)

    ways: dict[str, Callable[[], object]] = {
        "plain": plain,
        "capture": lambda: vi.capture(model, pixels=pixels),
        "observe": lambda: vi.observe(model, pixels=pixels),
        "head_statistics": lambda: vi.head_statistics(vi.capture(model, pixels=pixels)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    added: dict[str, float] = {}
    for number in range(size.rounds + 1):
        for way, work in ways.items():
            before = memory_mb(device)
            start = time.perf_counter()
            work()
            synchronise(device)
            # The first round warms up.
            if number:
                seconds[way].append(time.perf_counter() - start)
            added[way] = peak_mb(device) - before
    found: dict[str, Any] = {
        "model": name,
        "input px": side,
        "pictures": count,
        "precision": str(dtype).removeprefix("torch."),
        "plain seconds": median(seconds["plain"]),
    }
    for way in ways:
        ratios = [own / usual for own, usual in zip(seconds[way], seconds["plain"], strict=True)]
        found[way] = {
            "ratio": median(ratios),
            "from": min(ratios),
            "to": max(ratios),
            "added MB": added[way] if device == "cuda" else None,
        }
    return found


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def memory_mb(device: str) -> float:
    """What is held; the peak begins again."""
    if device != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 2**20


def peak_mb(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0


def rate(model: vi.Model, folder: str, size: Size, workers: int) -> dict[str, Any]:
    """Pictures a second of a survey."""
    seen: list[tuple[float, int]] = []
    start = time.perf_counter()
    vi.survey(
        model,
        folder,
        workers=workers,
        batch=size.batch,
        on_progress=lambda done, _: seen.append((time.perf_counter(), done)),
    )
    end = time.perf_counter()
    began, done = next(each for each in seen if each[1])
    last, count = seen[-1]
    return {
        "workers": workers,
        "pictures": count,
        "batch": size.batch,
        "precision": str(model.dtype).removeprefix("torch."),
        "a second": count / (end - start),
        "a second, once begun": (count - done) / (last - began),
    }


def facts(device: str) -> dict[str, Any]:
    """The machine, the versions, and what decides how exact float32 is on a GPU."""
    card = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return {
        "device": card.name if card else platform.processor() or platform.machine(),
        "device GB": card.total_memory / 2**30 if card else None,
        "cuda": torch.version.cuda if card else None,
        "cores": os.cpu_count(),
        "float32 matmul": torch.get_float32_matmul_precision(),
        "tf32 in convolutions": torch.backends.cudnn.allow_tf32,
        "versions": {"python": platform.python_version()}
        | {each: version(each) for each in VERSIONS},
    }


def measure(run: Run, size: Size, device: str) -> None:
    """All parts; of the costs, which come last, any number can be left out."""
    full = size is FULL
    for dtype in PRECISIONS:
        work = partial(exactness, size, device, dtype)
        run.part("exactness", str(dtype), 20 if full else 0, work)
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder), size.pictures)
        model = loaded("dinov2_small", 224 if full else size.exact, device, torch.float32)
        for workers in size.workers:
            work = partial(rate, model, folder, size, workers)
            run.part("surveys", f"{workers} workers", 25 if full else 0, work)
    for case in size.costs:
        for dtype in PRECISIONS:
            work = partial(costs, case, size, device, dtype)
            run.part("costs", f"{case[0]}, {dtype}", 12 if full else 0, work)


def table(found: dict[str, Any]) -> Iterator[str]:
    """The same in lines."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    yield f"{found['device']}, CUDA {found['cuda'] or 'none'}, {versions}; {found['seconds']:.0f} s"
    yield f"{'':10}{'same output':>13}{'plain':>10}{'error':>10}{'attention':>11}" + "".join(
        f"{name:>18}" for name in ("observe, worst", "relevance", "its rank")
    )
    for each in found["exactness"]:
        yield (
            f"{each['precision']:10}{each['capture leaves the output as it is']!s:>13}"
            f"{each['plain output']:10.1e}{each['capture error']:10.1e}"
            f"{each['attention of CLS']:11.1e}{max(each['observe'].values()):18.1e}"
            f"{each['relevance']:18.1e}{each['relevance, rank correlation']:18.5f}"
        )
    for each in found["surveys"]:
        yield (
            f"survey, {each['workers']} workers: {each['a second']:.1f} pictures a second, "
            f"{each['a second, once begun']:.1f} once begun"
        )
    for each in found["costs"]:
        name = f"{each['model']}, {each['input px']} px, {each['pictures']} pictures"
        line = f"{name}, {each['precision']}: plain {each['plain seconds']:.4f} s"
        for way in ("capture", "observe", "head_statistics"):
            memory = each[way]["added MB"]
            line += f"; {way} {each[way]['ratio']:.2f} ×"
            line += f", {memory:.0f} MB" if memory is not None else ""
        yield line
    for kind in ("left out", "failed"):
        for each in found[kind]:
            yield f"{kind}: {each}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: try --device cpu --quick")
    run = Run(facts(asked.device), asked.minutes, asked.out)
    measure(run, QUICK if asked.quick else FULL, asked.device)
    for line in table(run.found):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
