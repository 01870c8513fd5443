"""Do the maps of a class lie on the thing of that class, where it is known what lies where?

    python -m tests.benchmarks.truth [--canvases N] [--curves N] [--out FILE]

The classifier is the bundled `fashion_vit`, the pictures are held-out canvases: one to four
garments of other pictures than it was trained on, whose classes and places are known. Needs
Debian's package dataset-fashion-mnist. For every class of every canvas, each map's share in the
garment's box is taken beside the share of the area, and whether its largest value lies in the box
(the pointing game). A canvas counts once: the mean over its classes. Intervals are of 2,000 draws
of as many canvases. The same is done with randomised weights, the mean over several orders of them.
Deletion and insertion are run for the class with the largest output, over the first N canvases, and
the product's own words about them are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import vit_inspect as vi
from scripts.fashion_canvases import CLASSES, FOLDER, Canvas, canvas, garments, places_by_class
from scripts.train_fashion_vit import HELD_OUT
from vit_inspect.figures.faithfulness import conclusions, verdict
from vit_inspect.records.base import join
from vit_inspect.records.evidence import RANDOM, Faithfulness
from vit_inspect.records.resampling import mean_ends

BATCH = 50
ORDERS = 5
"""Random orders of the weights."""


def picture(of: Canvas) -> Image.Image:
    """The canvas as the program reads it."""
    return Image.fromarray(of.picture).convert("RGB")


def located(
    model: vi.Model, canvases: Sequence[Canvas]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of maps; and of each canvas and class the shares, NaN where the class is not there.

    Arrays are (canvas, class, map); random maps are one, their mean.
    """
    names: tuple[str, ...] = ()
    found: dict[str, np.ndarray] = {}
    for label in range(len(CLASSES)):
        places = [i for i, each in enumerate(canvases) if label in each.labels]
        for first in range(0, len(places), BATCH):
            part = places[first : first + BATCH]
            boxes = [
                tuple(map(float, canvases[i].boxes[list(canvases[i].labels).index(label)]))
                for i in part
            ]
            capture = vi.capture(model, [picture(canvases[i]) for i in part])
            told = vi.localisation(capture, boxes, target=label)
            random = [i for i, name in enumerate(told.maps) if name.startswith(f"{RANDOM} ")]
            names = (*told.maps[: random[0]], RANDOM)
            for name in ("inside", "hit"):
                values = getattr(told, name)
                values = np.c_[values[:, : random[0]], values[:, random].mean(axis=1)]
                empty = np.full((len(canvases), len(CLASSES), len(names)), np.nan)
                found.setdefault(name, empty)[part, label] = values
    return names, found


def over(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is there; NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    return np.where(there, values, 0).sum(axis=axis) / np.where(count, count, np.nan)


def means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of each map over canvases, and the ends of its interval."""
    of_canvas = over(values, 1)
    return over(of_canvas, 0), *mean_ends(of_canvas)


def table(names: Sequence[str], found: dict[str, np.ndarray]) -> list[str]:
    """A line for each map, as Markdown."""
    lines = ["| map | share in the box | largest value in the box |", "|---|---|---|"]
    columns = [means(found[name]) for name in ("inside", "hit")]
    for place, name in enumerate(names):
        cells = [
            f"{mean[place]:.3f} ({low[place]:.3f} to {high[place]:.3f})"
            for mean, low, high in columns
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def by_number(names: Sequence[str], found: np.ndarray, canvases: Sequence[Canvas]) -> list[str]:
    """The mean share in the box for canvases of one, two, three and four garments."""
    counts = np.array([len(each.labels) for each in canvases])
    lines = ["| map | 1 garment | 2 | 3 | 4 |", "|---|---|---|---|---|"]
    of_canvas = over(found, 1)
    for place, name in enumerate(names):
        shares = [f"{over(of_canvas[counts == count, place], 0):.3f}" for count in range(1, 5)]
        lines.append(f"| {name} | {' | '.join(shares)} |")
    return lines


def curves(model: vi.Model, canvases: Sequence[Canvas]) -> Faithfulness:
    """Deletion and insertion for the largest output of each canvas."""
    return join(
        [
            vi.faithfulness(
                vi.capture(model, [picture(each) for each in canvases[first : first + BATCH]])
            )
            for first in range(0, len(canvases), BATCH)
        ]
    )


def areas(found: Faithfulness) -> list[str]:
    """Areas under the curves with intervals, as Markdown."""
    lines = ["| map | deletion (lower is better) | insertion (higher) |", "|---|---|---|"]
    random = [i for i, name in enumerate(found.maps) if name.startswith(f"{RANDOM} ")]
    rows = [(name, [i]) for i, name in enumerate(found.maps) if i not in random]
    for name, members in [*rows, (RANDOM, random)]:
        cells = []
        for values in (found.deletion_auc, found.insertion_auc):
            own = values[:, members].mean(axis=1)
            low, high = mean_ends(own)
            cells.append(f"{own.mean():.3f} ({low:.3f} to {high:.3f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def say(*lines: str) -> None:
    """Print a part at once: the next one takes minutes."""
    sys.stdout.write("\n".join([*lines, ""]) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print everything as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--canvases", type=int, default=1_000)
    parser.add_argument("--curves", type=int, default=1_000)
    parser.add_argument("--model", default="fashion_vit")
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, help="a JSON file of the means for each class too")
    asked = parser.parse_args()
    held_out = garments("t10k", asked.data)
    by_class = places_by_class(held_out)
    canvases = [canvas(held_out, by_class, [HELD_OUT, i]) for i in range(asked.canvases)]
    model = vi.load(asked.model)
    names, found = located(model, canvases)
    say("## Trained", *table(names, found), "", *by_number(names, found["inside"], canvases))
    if asked.out:
        shares = over(found["inside"], 0).round(4).tolist()
        told = zip(CLASSES, shares, strict=True)
        rows = {label: dict(zip(names, row, strict=True)) for label, row in told}
        asked.out.write_text(json.dumps(rows, indent=1) + "\n")
    each = [located(vi.randomised(model, seed=seed), canvases)[1] for seed in range(ORDERS)]
    found = {name: over(np.stack([of[name] for of in each]), 0) for name in found}
    say(
        f"## Randomised weights, {ORDERS} orders",
        *table(names, found),
        "",
        *by_number(names, found["inside"], canvases),
    )
    if asked.curves:
        of_curves = curves(model, canvases[: asked.curves])
        say("## Deletion and insertion", *areas(of_curves), "", verdict(of_curves))
        say(*conclusions(of_curves))


if __name__ == "__main__":
    main()
