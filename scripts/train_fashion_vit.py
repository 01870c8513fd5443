"""How was `fashion_vit` trained? From scratch, to say which garments are on a canvas.

For maintainers only, since the result is kept in `vit_inspect/assets/`. Needs Debian's package
`dataset-fashion-mnist`; about 45 minutes on two cores. It goes on where it was stopped:

    python -m scripts.train_fashion_vit training/
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from scripts.fashion_canvases import (
    CLASSES,
    FOLDER,
    Garments,
    batch,
    canvas,
    garments,
    places_by_class,
)
from vit_inspect.assets import FASHION_STEPS
from vit_inspect.loading.bundled import BUNDLED, FASHION

MEAN = STD = 0.5
BATCH = 128
STEPS = max(FASHION_STEPS)
"""8,000, of 128 canvases: 1,024,000 canvases, each garment about 43 times."""
WARM_UP = 400
RATE = 1e-3
DECAY = 0.05
SNAPSHOTS = tuple(FASHION_STEPS)
"""Steps after which the weights are kept, closer together where more changes."""
EVERY = 250
"""Steps between two lines of the curves, and between two states to go on from."""
SAMPLES = 24

TRAINING, WATCHED, HELD_OUT, SHOWN = range(4)
"""What a canvas is for: the first number of its seed. All but the first are held out."""


def build() -> nn.Module:
    """The network with random weights, the same ones each time.

    Canvases are grey, so that all channels of a filter learn the same. They begin alike, too: else
    what differs between them would stay as it began, and hide in the filters what was learned.
    """
    torch.manual_seed(0)
    made = BUNDLED[FASHION]
    network = timm.create_model(made.architecture, **made.options)
    with torch.no_grad():
        filters = network.patch_embed.proj.weight
        filters.copy_(filters.mean(dim=1, keepdim=True).expand_as(filters))
    return network


def scaled(pictures: UInt8[np.ndarray, "canvas 56 56"]) -> Float32[Tensor, "canvas 3 56 56"]:
    """Canvases as the network takes them: three equal channels."""
    grey = (torch.from_numpy(pictures).float() / 255 - MEAN) / STD
    return grey[:, None].expand(-1, 3, -1, -1).contiguous()


def scores(network: nn.Module, pictures: UInt8[np.ndarray, "canvas 56 56"]) -> np.ndarray:
    """The logits of canvases, (canvas, class)."""
    network.eval()
    with torch.inference_mode():
        parts = [network(scaled(part)).numpy() for part in np.array_split(pictures, 16)]
    network.train()
    return np.concatenate(parts)


def precision(present: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Average precision of each class, as scikit-learn computes it."""
    return np.array(
        [average_precision_score(present[:, i], logits[:, i]) for i in range(len(CLASSES))]
    )


def rate(step: int) -> float:
    """The learning rate of a step: up in a line, down in half a cosine."""
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def train(folder: Path, device: str, of: Garments, held_out: Garments) -> None:
    """Train in `folder`, where `state.pt` is gone on from and `curves.csv` grows."""
    network = build().to(device)
    decayed = [each for each in network.parameters() if each.ndim > 1]
    others = [each for each in network.parameters() if each.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    )
    begun, lines, state = 0, [], folder / "state.pt"
    if state.exists():
        found = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(found["network"])
        optimiser.load_state_dict(found["optimiser"])
        begun, lines = found["step"], found["lines"]
    by_class = places_by_class(of)
    watched, watched_present = batch(held_out, places_by_class(held_out), 1_000, [WATCHED])
    network.train()
    loss_sum, since = 0.0, time.monotonic()
    for step in range(begun, STEPS + 1):
        if step in SNAPSHOTS:
            keep(network, folder / f"step_{step:05d}.safetensors", step)
        if step % EVERY == 0:
            mean = precision(watched_present, scores(network.cpu(), watched)).mean()
            network.to(device)
            seconds = time.monotonic() - since
            of_step = "" if step == begun else round(loss_sum / EVERY, 5)
            if not lines or lines[-1][0] < step:
                lines.append([step, of_step, round(float(mean), 5), round(seconds, 1)])
            sys.stdout.write(f"{lines[-1]}\n")
            sys.stdout.flush()
            made = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "lines": lines,
            }
            torch.save(made, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
            loss_sum, since = 0.0, time.monotonic()
        if step == STEPS:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        pictures, present = batch(of, by_class, BATCH, [TRAINING, step])
        logits = network(scaled(pictures).to(device))
        loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(present).to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss_sum += loss.item()
    with (folder / "curves.csv").open("w", newline="") as file:
        heads = ["step", "loss", "mean_average_precision", "seconds"]
        csv.writer(file).writerows([heads, *lines])


def keep(network: nn.Module, path: Path, step: int) -> None:
    """Write the weights as float16."""
    halves = {name: each.detach().half().cpu() for name, each in network.state_dict().items()}
    save_file(halves, path, metadata={"step": str(step)})


def judge(folder: Path, held_out: Garments, count: int = 4_000, draws: int = 1_000) -> None:
    """Write `precision.json`: the average precision of the kept weights on held-out canvases.

    Its intervals hold 95 % of `draws` draws of as many canvases, with replacement.
    """
    network = build()
    network.load_state_dict(load_file(folder / f"step_{STEPS:05d}.safetensors"))
    pictures, present = batch(held_out, places_by_class(held_out), count, [HELD_OUT])
    logits = scores(network, pictures)
    random = np.random.default_rng(0)
    drawn = np.stack(
        [precision(present[of], logits[of]) for of in random.integers(0, count, (draws, count))]
    )
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    mean_ends = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    found = precision(present, logits)
    told = {
        "canvases": count,
        "mean": [round(float(each), 4) for each in (found.mean(), *mean_ends)],
        "classes": {
            name: [round(float(each), 4) for each in (found[i], ends[0, i], ends[1, i])]
            for i, name in enumerate(CLASSES)
        },
    }
    (folder / "precision.json").write_text(json.dumps(told, indent=1) + "\n")


def show(folder: Path, held_out: Garments) -> None:
    """Write held-out canvases as PNG, and `canvases.json` with what is where in each."""
    by_class, told = places_by_class(held_out), {}
    for i in range(SAMPLES):
        each = canvas(held_out, by_class, [SHOWN, i])
        name = f"canvas_{i:02d}"
        Image.fromarray(each.picture).save(folder / f"{name}.png", optimize=True)
        told[name] = [
            {"class": CLASSES[label], "box_px": [*map(int, box)]}
            for label, box in zip(each.labels, each.boxes, strict=True)
        ]
    (folder / "canvases.json").write_text(json.dumps(told, indent=1) + "\n")


def main() -> None:
    """Train, or go on; then judge and write what is bundled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the training and its result are written")
    parser.add_argument("--data", type=Path, default=FOLDER, help="of Fashion-MNIST's four files")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    told = parser.parse_args()
    try:
        of, held_out = garments("train", told.data), garments("t10k", told.data)
    except FileNotFoundError as error:
        parser.exit(1, f"{error}\n")
    told.folder.mkdir(parents=True, exist_ok=True)
    train(told.folder, told.device, of, held_out)
    judge(told.folder, held_out)
    show(told.folder, held_out)


if __name__ == "__main__":
    main()
