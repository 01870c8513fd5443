"""On which device does the work run, and does it have enough memory?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from vit_inspect.arguments import of_kind
from vit_inspect.errors import BadParameter, OutOfMemory, memory_told

PASS_TOKENS = {"cpu": 2048}
"""About how many tokens go into one of many forward passes. More are not faster on a CPU, and other
users of the device wait until a pass ends."""
PASS_TOKENS_ELSEWHERE = 2**16

MOST_LAYERS = 1000
"""Most layers of a network; the largest vision transformers have about 60. Each takes 10 ms to
make, whatever its width."""

KEPT = 5
"""How many numbers a capture keeps of each token, layer and dimension: the query, the key, the
value, what attention returns and what the block returns."""

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


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


def memory_refusal(images: int, tokens: int, device: torch.device) -> AbstractContextManager[None]:
    """Turns a lack of memory into an `OutOfMemory` that says how much work was tried."""
    return memory_told(
        f"no memory left on the device {device}",
        f"room for {images} {'image' if images == 1 else 'images'} of {tokens:,} tokens",
    )


def memory_left() -> int | None:
    """Bytes of memory that this process may still take, as Linux says it; None if nothing does."""
    if sys.platform != "linux":
        return None
    import resource

    left = [
        1024 * int(words[1])
        for words in map(str.split, _lines_of(PROC / "meminfo"))
        if words[0] == "MemAvailable:"
    ]
    groups = _lines_of(PROC / "self/cgroup")
    for _, kinds, group in (each.split(":", 2) for each in groups):
        if kinds in ("", "memory"):
            # A container sees its own group at the root.
            folders = CGROUPS / kinds / group.lstrip("/"), CGROUPS / kinds
            left += filter(None, map(_left_in_group, folders))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and (pages := _lines_of(PROC / "self/statm")):
        left.append(limit - int(pages[0].split()[0]) * resource.getpagesize())
    return max(0, min(left)) if left else None


def _lines_of(file: Path) -> list[str]:
    """What the kernel says; nothing where it is not to be asked, as in some sandboxes."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _left_in_group(folder: Path) -> int | None:
    """Bytes that a control group of Linux, of either version, may still take; None for no limit."""
    for most, now in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            limit = (folder / most).read_text().strip()
            used = int((folder / now).read_text())
            told = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        # Files that were read are let go before memory ends.
        spare = int(told.get("total_inactive_file", told.get("inactive_file", 0)))
        return None if limit == "max" else int(limit) - used + spare
    return None


def check_memory(wanted: int, found: str, remedy: str) -> None:
    """Refuse what takes more memory than is left, before it is made.

    wanted: bytes, as an estimate.
    found: what takes them, in words.

    Raises `OutOfMemory` with the estimate and with what is left.
    """
    left = memory_left()
    if left is not None and wanted > left:
        raise OutOfMemory(
            f"{found} of about {_gigabytes(wanted)} of memory",
            f"at most the {_gigabytes(left)} that are free",
            remedy,
        )


def check_network(make: Callable[[], nn.Module], name: str, remedy: str) -> nn.Module:
    """Refuse a network that does not fit into memory; it is counted without being given any.

    Returns what was counted, which has no weights.

    Raises `OutOfMemory`.
    """
    try:
        with torch.device("meta"):
            sketch = make()
    except (RuntimeError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        raise OutOfMemory(
            f"sizes of {name} whose product no computer can count",
            "those of a network",
            remedy,
        ) from error
    held = (*sketch.parameters(), *sketch.buffers())
    wanted = sum(each.numel() * each.element_size() for each in held)
    check_memory(wanted, f"weights of {name}", remedy)
    return sketch


def check_layers(counts: Iterable[object], name: str) -> None:
    """Refuse a number of layers that no network has; only to count their weights takes hours.

    counts: those that settings say, of which some may be no numbers.

    Raises `BadParameter`.
    """
    layers = sum(each for each in counts if isinstance(each, int))
    if layers > MOST_LAYERS:
        raise BadParameter(
            f"{layers:,} layers of {name!r}"[:200],
            f"at most {MOST_LAYERS:,}",
            "correct its settings, or choose another model",
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
