"""What does inspection cost, beside the plain forward pass and beside stored attention maps?

    python -m tests.benchmarks.cost [--rounds N] [--only NAME]

Times are paired: in every round each way runs once, in turn, in one process; the table shows the
median over the rounds of each way's time divided by the plain fused forward pass of that round.
Memory is what the work adds at its peak to a fresh process that holds the loaded model (Linux),
less what the plain forward pass adds; "in all" is everything, interpreter and libraries included.
Every way starts from the same pictures.

"capture" is the forward pass with queries, keys and values kept; "figures" adds attention
distance, prefix masses, rollout and read-out maps of all layers and heads; "stored" is timm's
`AttentionExtract` on the same model with fused attention off, doing the same work on the maps.
"heads" is the capture and the statistics of all heads; "observe" takes distances, masses and
entropies inside the forward pass; "relevance" is a forward and a backward
pass and the relevance map of the most probable class, or of the model's own output.
The two figures of the weights, filters and positions, are made once per model: "weights s".
Weights are random (costs do not depend on them), except those of the bundled model.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import timm.layers
import torch
from PIL import Image
from timm.utils import AttentionExtract

import vit_inspect as vi
from tests.helpers.oracle import pair_distances
from vit_inspect.analyses.attention_distance import DistanceReduction
from vit_inspect.analyses.attention_rollout import RolloutReduction
from vit_inspect.attention.sweep import sweep
from vit_inspect.model import Model


class Case(NamedTuple):
    """A model, an input size and a number of photographs, and the ways that are left out.

    Stored maps may not fit into memory, and some models have no position table to compare.
    """

    name: str
    model: str
    img_size: int
    images: int = 1
    left_out: tuple[str, ...] = ()


CASES = (
    Case("ViT-B/16, 224 px", "vit_base_patch16_224", 224, images=4),
    Case("dinov2_small, 518 px", "dinov2_small", 518),
    Case("ViT-L/16, 384 px", "vit_large_patch16_384", 384),
    Case("dinov2_small, 1036 px", "dinov2_small", 1036, left_out=("stored",)),
    Case("SAM ViT-B/16, 1024 px", "samvit_base_patch16", 1024, left_out=("stored", "weights")),
)
WAYS = ("plain", "capture", "figures", "heads", "observe", "relevance", "stored", "weights")


def photographs(case: Case) -> list[Image.Image]:
    names = ("chelsea", "astronaut", "coffee", "china")
    return [vi.sample(name) for name in names[: case.images]]


def load(case: Case) -> Model:
    return vi.load(case.model, img_size=case.img_size, pretrained=case.model == "dinov2_small")


def ways(case: Case, wanted: tuple[str, ...]) -> dict[str, Callable[[], object]]:
    """The wanted ways of doing the work, from pictures that are ready for the model."""
    images = photographs(case)
    model = load(case)

    def pixels() -> torch.Tensor:
        return torch.cat([model.prepare(image) for image in images])

    def plain() -> object:
        with torch.inference_mode():
            return model.module(pixels())

    made: dict[str, Callable[[], object]] = {
        "plain": plain,
        "capture": lambda: vi.capture(model, images),
        "figures": lambda: figures(vi.capture(model, images)),
        "heads": lambda: vi.head_statistics(vi.capture(model, images)),
        "observe": lambda: vi.observe(model, images),
        "relevance": lambda: vi.attention_relevance(model, images),
        "weights": lambda: (vi.embedding_filters(model), vi.position_similarity(model)),
    }
    if "stored" in wanted:
        made["stored"] = stored(case, model, pixels)
    return {way: made[way] for way in wanted}


def figures(capture: vi.Capture) -> object:
    """The paper's figures of attention, from one sweep."""
    distance, rollout = DistanceReduction(capture.heads), RolloutReduction(capture)
    sweep(capture.layers, distance, rollout)
    return distance.result(), rollout.result(), vi.attention_maps(capture)


def stored(case: Case, model: Model, pixels: Callable[[], torch.Tensor]) -> Callable[[], object]:
    """The usual way: fused attention off, all maps kept, the same numbers from them."""
    timm.layers.set_fused_attn(False)
    module = load(case).module
    timm.layers.set_fused_attn(True)
    extract = AttentionExtract(module, method="hook")
    prefix = model.layout.prefix_count
    distances = torch.from_numpy(
        pair_distances(model.layout.grid, model.layout.patch_px).astype(np.float32)
    )

    def work() -> object:
        with torch.inference_mode():
            maps = list(extract(pixels()).values())
            patches = [each[:, :, prefix:, prefix:] for each in maps]
            distance = [(each * distances).sum(-1).mean(-1) for each in patches]
            mass = [each[:, :, prefix:, :prefix].sum(-1).mean(-1) for each in maps]
            row = torch.zeros(len(maps[0]), 1, maps[0].shape[-1])
            row[:, :, 0] = 1
            for each in reversed(maps):
                row = (row + row @ each.mean(1)) / 2
            readout = [each[:, :, 0] for each in maps]
        return distance, mass, row, readout

    return work


def peaks_mb(case: Case, way: str) -> tuple[float, float]:
    """What the work adds at its peak, and the peak in all, in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.cost", "--only", case.name, "--peak", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    added, total = map(float, done.stdout.split())
    return added, total


def status_mb(name: str) -> float:
    """A line of the kernel's account of this process."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) / 1024


def print_peak(case: Case, way: str) -> None:
    work = ways(case, (way,))[way]
    gc.collect()
    before = status_mb("VmRSS")
    # Forgets the peak of loading.
    Path("/proc/self/clear_refs").write_text("5")
    work()
    work()
    sys.stdout.write(f"{status_mb('VmHWM') - before} {status_mb('VmHWM')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in case.name]
    write = sys.stdout.write
    if arguments.peak:
        print_peak(cases[0], arguments.peak)
        return
    per_image = WAYS[1:-1]
    write(f"{'':24}{'plain s':>9}" + "".join(f"{way:>10}" for way in per_image))
    write(f"{'weights s':>11}" + "".join(f"{way + ' MB':>14}" for way in per_image))
    write(f"{'in all MB':>11}\n")
    for case in cases:
        wanted = tuple(way for way in WAYS if way not in case.left_out)
        work = ways(case, wanted)
        seconds: dict[str, list[float]] = {way: [] for way in wanted}
        for round_number in range(arguments.rounds + 1):
            for way, run in work.items():
                start = time.perf_counter()
                run()
                # The first round warms up.
                if round_number:
                    seconds[way].append(time.perf_counter() - start)
        del work
        peaks = {way: peaks_mb(case, way) for way in wanted if way != "weights"}
        write(f"{case.name:24}{median(seconds['plain']):9.2f}")
        for way in per_image:
            pairs = zip(seconds.get(way, ()), seconds["plain"], strict=False)
            ratios = [own / plain for own, plain in pairs]
            write(f"{median(ratios):9.2f}x" if ratios else f"{'-':>10}")
        write(f"{median(seconds['weights']):11.2f}" if "weights" in wanted else f"{'-':>11}")
        for way in per_image:
            added = peaks[way][0] - peaks["plain"][0] if way in peaks else None
            write(f"{'-':>14}" if added is None else f"{added:14.0f}")
        write(f"{peaks['figures'][1]:11.0f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
