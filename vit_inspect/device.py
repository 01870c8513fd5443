"""On which device does the work run, and does it have enough memory?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vit_inspect.arguments import of_kind
from vit_inspect.errors import BadParameter, OutOfMemory

PASS_TOKENS = {"cpu": 2048}
"""About how many tokens go into one of many forward passes. More are not faster on a CPU, and other
users of the device wait until a pass ends."""
PASS_TOKENS_ELSEWHERE = 2**16


def choose_device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    """The device of that name; "auto" takes the first that is present of CUDA, MPS and the CPU.

    Raises `BadParameter` for a device that is not present, and for float64 on MPS, which lacks it.
    """
    of_kind(dtype, torch.dtype, "dtype", "a type of torch, such as torch.float32")
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
            f"the device '{device}', which is not present", ", ".join(kinds), "use device='auto'"
        )
    if target.type == "mps" and dtype == torch.float64:
        raise BadParameter(
            "float64 on MPS, which has no such type",
            "float32 or another device",
            "use dtype=torch.float32 or device='cpu'",
        )
    return target


def images_per_pass(device: torch.device, tokens: int) -> int:
    """How many pictures of `tokens` tokens go into each of many forward passes."""
    return max(1, PASS_TOKENS.get(device.type, PASS_TOKENS_ELSEWHERE) // tokens)


@contextmanager
def memory_refusal(images: int, tokens: int, device: torch.device) -> Iterator[None]:
    """Turns a lack of memory into an `OutOfMemory` that says how much work was tried."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a CPU, only the text of the error distinguishes a full memory from other failures.
        full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not full and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(
            f"no memory left on the device {device}",
            f"room for {images} {'image' if images == 1 else 'images'} of {tokens:,} tokens",
            "use fewer images at once, a smaller input or another device",
        ) from error
