"""How large may a model be that a stranger names? Counted before weights are fetched or given room.

Nothing is limited for whoever calls `vit_inspect.load`; a server limits what its visitors name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import huggingface_hub.constants
import torch
from torch import nn

from vit_inspect.errors import BadParameter, WeightsUnavailable


class Ceiling(NamedTuple):
    """parameters: of a network; px: longer side of its input; disk: bytes of all that was fetched.

    Infinity is no limit.
    """

    parameters: float
    px: float
    disk: float


_ceiling: ContextVar[Ceiling | None] = ContextVar("ceiling", default=None)


@contextmanager
def under(ceiling: Ceiling) -> Iterator[None]:
    """What is loaded in here, in this thread, is no larger."""
    before = _ceiling.set(ceiling)
    try:
        yield
    finally:
        _ceiling.reset(before)


def is_set() -> bool:
    """Whether there is one here."""
    return _ceiling.get() is not None


def check_px(px: int, name: str) -> None:
    """Raises `BadParameter` for an input of which the longer side is larger than allowed here."""
    most = _ceiling.get()
    if most is not None and px > most.px:
        raise BadParameter(
            f"an input of {px:,} px for {name!r}",
            f"at most {most.px:,.0f} px on this server",
            "choose a smaller input or another model, or run vit_inspect on your own computer",
        )


def check(sketch: nn.Module, px: int, name: str, *, fetched: bool) -> None:
    """Refuse a network that is larger than allowed here.

    sketch: the network, on the device "meta", where it takes no memory.
    px: longer side of its input.
    fetched: whether its weights would be fetched now. They are counted as its parameters in their
        type: a repository may keep them in half of the bytes, and says so to nobody before.

    Raises `BadParameter` and, where the disk would hold too much, `WeightsUnavailable`.
    """
    most = _ceiling.get()
    if most is None:
        return
    count = sum(each.numel() for each in sketch.parameters())
    if count > most.parameters:
        raise BadParameter(
            f"{count:,} parameters in {name!r}",
            f"at most {most.parameters:,.0f} on this server",
            "choose a smaller model, or run vit_inspect on your own computer",
        )
    check_px(px, name)
    if not fetched or most.disk == float("inf") or huggingface_hub.constants.HF_HUB_OFFLINE:
        return
    wanted = sum(each.numel() * each.element_size() for each in sketch.parameters())
    if (held := fetched_bytes()) + wanted > most.disk:
        raise WeightsUnavailable(
            f"about {wanted / 1e9:,.1f} GB of weights to fetch for {name!r}, beside "
            f"{held / 1e9:,.1f} GB that were fetched before",
            f"at most {most.disk / 1e9:,.1f} GB on the disk of this server",
            "choose a model that is on this machine, or ask the operator for more",
        )


def fetched_bytes() -> int:
    """Bytes of the weights and other files of hubs on this machine, whoever fetched them."""
    folders = Path(huggingface_hub.constants.HF_HUB_CACHE), Path(torch.hub.get_dir())
    files = (each for folder in folders for each in folder.rglob("*"))
    return sum(each.lstat().st_size for each in files if each.is_file() and not each.is_symlink())
