"""What does a survey cost beside the plain model on the same pictures, and does its memory grow?

    python -m tests.benchmarks.survey [--rounds N] [--pictures N] [--size PX] [--workers N]
        [--model ID]

"plain" reads and prepares the pictures with the same workers and runs the model on the same
batches; "survey" also takes all numbers of the heads and writes the parts and the merge. Both are
run once in every round, in turn, and the ratio is the median over the rounds. Memory is the peak of
a fresh process (Linux) for a tenth of the pictures and for all of them.

Pictures are crops of the samples, as JPEG files, at places that a seed chooses. The smaller the
model, the larger the share of its attention. Weights of other models than the bundled one are
random: costs do not depend on them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

import vit_inspect as vi
from vit_inspect.exporting.workers import InOrder
from vit_inspect.surveys.sources import entries
from vit_inspect.surveys.survey import BATCH
from vit_inspect.surveys.work import read_batch

MODULE = "tests.benchmarks.survey"
BUNDLED = "dinov2_small"


def make_pictures(folder: Path, count: int) -> None:
    """Crops of the samples, of 320 to 480 px a side."""
    random = np.random.default_rng(0)
    samples = [vi.sample(name) for name in vi.SAMPLES]
    for index in range(count):
        whole = samples[index % len(samples)]
        width, height = (min(int(random.integers(320, 480)), side) for side in whole.size)
        left = int(random.integers(0, whole.width - width + 1))
        top = int(random.integers(0, whole.height - height + 1))
        crop = whole.crop((left, top, left + width, top + height))
        crop.save(folder / f"{index:06d}.jpg", quality=90)


def plain(model: vi.Model, folder: Path, workers: int) -> None:
    """Read, prepare and run, and nothing else."""

    def take(inputs: Sequence[np.ndarray | str]) -> None:
        arrays = [each for each in inputs if not isinstance(each, str)]
        with torch.inference_mode():
            model.module(torch.from_numpy(np.stack(arrays)).to(model.device, model.dtype))

    pictures = entries(folder)
    with InOrder(workers) as calls:
        for first in range(0, len(pictures), BATCH):
            some = pictures[first : first + BATCH]
            calls.call(take, read_batch, some, model.recipe, model.layout.input_px)
        calls.take_all()


def peak_mb(folder: str, name: str, size: int, limit: int) -> float:
    """The peak of a fresh process that surveys so many pictures."""
    asked = [sys.executable, "-m", MODULE, "--peak", folder, "--size", str(size), "--model", name]
    done = subprocess.run([*asked, "--pictures", str(limit)], capture_output=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    model = vi.load(asked.model, img_size=asked.size, pretrained=asked.model == BUNDLED)
    if asked.peak:
        vi.survey(model, asked.peak, limit=asked.pictures)
        sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}")
        return
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder), asked.pictures)
        ratios, rates = [], []
        for _ in range(asked.rounds):
            began = time.perf_counter()
            plain(model, Path(folder), asked.workers)
            between = time.perf_counter()
            vi.survey(model, folder, workers=asked.workers)
            ended = time.perf_counter()
            ratios.append((between - began) / (ended - between))
            rates.append(asked.pictures / (ended - between))
        sys.stdout.write(
            f"{asked.model}, {asked.pictures} pictures, {asked.size} px, {asked.workers} workers: "
            f"{median(rates):.1f} pictures a second, {median(ratios):.2f} of the plain model's "
            f"throughput ({min(ratios):.2f} to {max(ratios):.2f})\n"
        )
        for limit in (asked.pictures // 10, asked.pictures):
            peak = peak_mb(folder, asked.model, asked.size, limit)
            sys.stdout.write(f"peak of a fresh process, {limit} pictures: {peak:.0f} MB\n")


if __name__ == "__main__":
    main()
