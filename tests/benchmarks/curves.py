"""What do deletion and insertion curves cost, beside running as many pictures plainly?

    python -m tests.benchmarks.curves [--rounds N] [--steps N] [--only NAME]

Times are paired: in every round the curves of one photograph are run, all maps and steps, and then
as many pictures of noise in batches of the same size, in one process. The table shows the pictures
per second of both, and the median over the rounds of the ratio within each round, by the clock and
by the processor's time, which other work on the machine hardly touches. Maps are made before: what
is measured is the work of `Curves`, the making of its pictures and scores included.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

import vit_inspect as vi
from vit_inspect.analyses.faithfulness import Curves, default_maps

CASES = {
    "vit_tiny, 224 px": ("vit_tiny_patch16_224", 224),
    "dinov2_small, 224 px": ("dinov2_small", 224),
}


class Work(NamedTuple):
    """Pictures that were run, in batches of which size; seconds by clock and processor."""

    total: int
    batch: int
    clock: float
    processor: float


def curves_of(capture: vi.Capture, maps: dict[str, np.ndarray], steps: int) -> Work:
    clock, processor = time.perf_counter(), time.process_time()
    curves = Curves(capture, maps=maps, steps=steps)
    curves.advance(capture.model)
    batch = curves.done
    while curves.done < curves.total:
        curves.advance(capture.model)
    curves.result()
    return Work(curves.total, batch, time.perf_counter() - clock, time.process_time() - processor)


def plain(model: vi.Model, total: int, batch: int) -> Work:
    pixels = torch.randn(batch, 3, *model.layout.input_px)
    clock, processor = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for first in range(0, total, batch):
            model.module(pixels[: min(batch, total - first)])
    return Work(total, batch, time.perf_counter() - clock, time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", default="", help="part of a case's name")
    arguments = parser.parse_args()
    write = sys.stdout.write
    write(f"{'':22}{'runs':>6}{'batch':>7}{'curves/s':>10}{'plain/s':>10}")
    write(f"{'by clock':>10}{'by processor':>14}\n")
    for name, (architecture, px) in CASES.items():
        if arguments.only not in name:
            continue
        model = vi.load(architecture, img_size=px, pretrained=architecture == "dinov2_small")
        capture = vi.capture(model, vi.sample("chelsea"))
        maps = default_maps(capture)
        plain(model, 8, 8)
        rounds: list[tuple[Work, Work]] = []
        for _ in range(arguments.rounds):
            own = curves_of(capture, maps, arguments.steps)
            rounds.append((own, plain(model, own.total, own.batch)))
        own = rounds[0][0]
        write(f"{name:22}{own.total:6}{own.batch:7}")
        for place in (0, 1):
            write(f"{median(own.total / each[place].clock for each in rounds):10.1f}")
        write(f"{median(other.clock / own.clock for own, other in rounds):10.2f}")
        write(f"{median(other.processor / own.processor for own, other in rounds):14.2f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
