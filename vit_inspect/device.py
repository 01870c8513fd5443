"""Where does the work run, and has the device room for it?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vit_inspect.errors import BadParameter, OutOfMemory

PASS_TOKENS = {"cpu": 2048}
"""Tokens of one forward pass, about, where many are to be run: more are not faster on a CPU, and
others wait for the device between two passes."""
PASS_TOKENS_ELSEWHERE = 2**16


def choose_device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    """The device of that name; "auto" takes CUDA, then MPS, then the CPU.

    Raises `BadParameter` for one that is not there, and for float64 on MPS, which has no such type.
    """
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if device == "auto":
        device = next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    try:
        target = torch.device(device)
        there = (target.index or 0) < present.get(target.type, 0)
    except RuntimeError:
        there = False
    if not there:
        kinds = (
            kind if count == 1 else f"{kind}:0..{count - 1}"
            for kind, count in present.items()
            if count
        )
        raise BadParameter(
            f"the device '{device}', which is not there", ", ".join(kinds), "use device='auto'"
        )
    if target.type == "mps" and dtype == torch.float64:
        raise BadParameter(
            "float64 on MPS, which has no such type",
            "float32 there, or another device",
            "use dtype=torch.float32 or device='cpu'",
        )
    return target


def images_per_pass(device: torch.device, tokens: int) -> int:
    """How many pictures of so many tokens go into one forward pass where many are to be run."""
    return max(1, PASS_TOKENS.get(device.type, PASS_TOKENS_ELSEWHERE) // tokens)


@contextmanager
def memory_refusal(images: int, tokens: int, device: torch.device) -> Iterator[None]:
    """Turns a full device into an `OutOfMemory` that says what was asked of it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a CPU the allocator's words are all that tells a full memory from another failure.
        full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not full and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(
            f"no memory left on the device {device}",
            f"room for {images} {'image' if images == 1 else 'images'} of {tokens:,} tokens",
            "take fewer images at once, a smaller input or another device",
        ) from error
