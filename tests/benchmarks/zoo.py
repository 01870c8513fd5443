"""What becomes of every architecture that timm lists: served exactly, refused, or failed?

    python -m tests.benchmarks.zoo [--only PATTERN]

Each is loaded as a user would, with random weights, but with one block where timm allows to say so
and on a few patches. What loads is captured in float64 and compared with the same network's own
explicit softmax; "exact" differs by less than 1e-9 and returns the same output to the bit. Of
windows, which the tests compare with the explicit ones, every stage's own verified error counts.
What is refused counts by its sentence. Anything else is a failure and is listed by name; there
should be none. The last lines are modules of timm that neither serve nor are known to be otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from typing import Any
from unittest.mock import patch

import timm
import torch
from torch import nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import explicit_attention, sharpen
from vit_inspect.attention.rows import rows
from vit_inspect.loading.refused_families import OTHER_FAMILIES
from vit_inspect.loading.timm_anatomy import model_of

EXACT = "exact"
NARROW = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 3, 6)}
"""Swin transformers with a block of each kind in every stage."""
IMAGE = noise((60, 40), 1)


def module_of(architecture: str) -> str:
    """The file of timm that defines an architecture."""
    return next(
        module
        for module in timm.list_modules()
        if timm.models.is_model_in_modules(architecture, {module})
    )


def outcome(architecture: str) -> str:
    """`EXACT`, the sentence of the refusal without the name, or what went wrong."""
    try:
        return _checked(_loaded(architecture))
    except vi.InspectError as refusal:
        return str(refusal).replace(architecture, "X")
    except Exception as error:
        return f"FAILED with {type(error).__name__}: {error}"


def _loaded(architecture: str) -> vi.Model:
    """With one block, on 6 × 6 patches: whole cells of every merge of patches."""
    make = timm.create_model

    def shallow(name: str, **options: Any) -> nn.Module:
        try:
            return make(name, depth=1, **options)
        except TypeError as error:
            if "depth" not in str(error):
                raise
            return make(name, **options, **(NARROW if name.startswith("swin") else {}))
        except AssertionError as error:
            if "num_kv_heads" not in str(error):
                raise
            return make(name, depth=1, num_kv_heads=(1,), **options)

    with patch.object(timm, "create_model", shallow):
        size = _small_px(architecture)
        model = vi.load(
            architecture, img_size=size, pretrained=False, device="cpu", dtype=torch.float64
        )
    if model.stage_count == 1:
        sharpen(model.module)
    return model


def _small_px(architecture: str) -> tuple[int, int] | None:
    """Six patches a side, seen without making weights; None where there are no patches."""
    if any(timm.models.is_model_in_modules(architecture, {each}) for each in OTHER_FAMILIES):
        return None
    with torch.device("meta"):
        module = timm.create_model(architecture)
    try:
        rows_px, columns_px = model_of(architecture, module, source="", img_size=None).input_step_px
    except vi.InspectError:
        return None
    return 6 * rows_px, 6 * columns_px


def _checked(model: vi.Model) -> str:
    pixels = model.prepare(IMAGE)
    with torch.inference_mode():
        alone = model.module(pixels)
    for stage in range(model.stage_count):
        capture = vi.capture(model.at_stage(stage), IMAGE)
        if not capture.error < 1e-9 or not torch.equal(alone, capture.output):
            return f"FAILED: stage {stage} is verified to {capture.error:.1e} only"
    if model.stages:
        return EXACT
    every = range(model.layout.token_count)
    found = torch.stack([rows(layer, every) for layer in capture.layers])
    difference = float((found - explicit_attention(model.module, pixels)).abs().max())
    if not difference < 1e-9 or not torch.equal(alone, capture.output):
        return f"FAILED: rows differ by {difference:.1e}"
    return EXACT


def main() -> None:
    """Print the outcomes, family by family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="pattern of the architectures, as timm takes it")
    write = sys.stdout.write
    found: dict[str, Counter[str]] = defaultdict(Counter)
    sentences: Counter[str] = Counter()
    for architecture in timm.list_models(parser.parse_args().only):
        result = outcome(architecture)
        module = module_of(architecture)
        sentences[result] += 1
        kind = (
            "exact" if result == EXACT else "failed" if result.startswith("FAILED") else "refused"
        )
        found[module][kind] += 1
        if kind == "failed":
            write(f"{architecture}: {result}\n")
            sys.stdout.flush()
    write(f"\n{'':24}{'exact':>9}{'refused':>9}{'failed':>9}\n")
    for module, counts in sorted(found.items()):
        write(f"{module:24}{counts['exact']:9}{counts['refused']:9}{counts['failed']:9}\n")
    total = sum(found.values(), Counter())
    write(f"{'all':24}{total['exact']:9}{total['refused']:9}{total['failed']:9}\n\n")
    for sentence, count in sentences.most_common():
        write(f"{count:5} {sentence}\n")
    unknown = [
        module
        for module, counts in sorted(found.items())
        if module not in OTHER_FAMILIES and not counts["exact"]
    ]
    write(f"\nof no known kind: {', '.join(unknown) or 'none'}\n")


if __name__ == "__main__":
    main()
