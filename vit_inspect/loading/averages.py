"""Which weights of a file are an average over training steps, and what are they called there?

Authors evaluate the average or the teacher, not the network that the optimiser changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from torch import Tensor

AVERAGES = (
    "state_dict_ema",
    "model_state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "ema",
    "teacher",
    "target_encoder",
    "momentum_encoder",
    "target_network",
    "averaged_model",
    "average_model_state",
    "swa_model",
    "shadow",
    "shadow_params",
    "params_ema",
    "ema_params",
    "net_ema",
    "ema_net",
    "ema_weights",
    "ema_encoder",
    "swa_state_dict",
    "avg_model",
    "mean_teacher",
    "momentum_model",
    "key_encoder",
)
"""Names of averages over training steps, and of teachers."""

CALLBACKS = "callbacks"
"""Where Lightning keeps what its callbacks save; some of them hold the average."""

_CALLBACK = re.compile(r"EMA|Ema|(^|_)ema|SWA|[Aa]verag")
"""Names of such callbacks."""

MAX_DEPTH = 4
"""Most containers inside each other in which tensors are looked for."""

MAX_TRIED = 10
"""Most averages without dots in their names, and starts of the names of others, that are tried.
Each costs a pass over all names; a file has one or two."""


def is_average(path: str) -> bool:
    """Whether a path in a file, such as "state_dict.ema.backbone", is that of an average."""
    return bool(path_of_average(f"{path}."))


def path_of_average(name: str) -> str:
    """The path of the average to which a weight of this name belongs; empty if it is of none."""
    words = name.split(".")[:-1]
    known = (count for count, word in enumerate(words, 1) if word in AVERAGES)
    return ".".join(words[: next(known, 2 if words[:1] == [CALLBACKS] else 0)])


def averages_in(saved: object, path: str = "", depth: int = MAX_DEPTH) -> dict[str, object]:
    """The averages inside what a training program saved, by their paths."""
    if isinstance(saved, list | tuple):
        entries: Iterable[tuple[object, object]] = enumerate(saved)
    else:
        entries = saved.items() if isinstance(saved, Mapping) else ()
    found: dict[str, object] = {}
    for key, value in entries if depth else ():
        if isinstance(value, Tensor) or not holds_tensors(value):
            continue
        inside = averages_in(value, f"{path}{key}.", depth - 1)
        known = str(key).rpartition(".")[2] in AVERAGES
        known |= path == f"{CALLBACKS}." and _CALLBACK.search(str(key)) is not None
        found |= inside or ({f"{path}{key}": value} if known else {})
    return found


def named_tensors(value: object, path: str, depth: int = MAX_DEPTH) -> Iterator[tuple[str, Tensor]]:
    """The tensors in dictionaries, by their path and name; lists have no names."""
    if isinstance(value, Mapping):
        own = tensors(value)
        if any(each.numel() > 1 for each in own.values()):
            yield from ((f"{path}.{name}", each) for name, each in own.items())
        elif depth:
            for key, inner in value.items():
                yield from named_tensors(inner, f"{path}.{key}", depth - 1)


def with_dots(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, where averages without dots in their names get those of the network beside them.

    Latent diffusion keeps the average of "model.blocks.0.norm1.weight" as
    "model_ema.blocks0norm1weight". Names stay where one would stand for two weights.
    """
    groups: dict[str, list[str]] = {}
    for name, weight in weights.items():
        average, _, last = name.rpartition(".")
        if weight.numel() > 1 and average.rpartition(".")[2] in AVERAGES:
            groups.setdefault(average, []).append(last)
    new: dict[str, str] = {}
    for average, joined in islice(groups.items(), MAX_TRIED):
        others = [name for name in weights if not name.startswith(f"{average}.")]
        for start in islice(_starts(others, max(joined, key=len)), MAX_TRIED):
            own = [name.removeprefix(start) for name in others if name.startswith(start)]
            dotted = {name.replace(".", ""): name for name in own}
            if len(dotted) == len(own) and dotted.keys() >= set(joined):
                new |= {f"{average}.{each}": f"{average}.{dotted[each]}" for each in joined}
                break
    return {new.get(name, name): weight for name, weight in weights.items()}


def _starts(names: Iterable[str], joined: str) -> Iterator[str]:
    """What stands before the names that are this one without dots."""
    for name in names:
        parts = name.split(".")
        for count in range(len(parts)):
            if "".join(parts[count:]) == joined:
                yield "".join(f"{part}." for part in parts[:count])


def tensors(saved: object) -> dict[str, Tensor]:
    """The tensors directly in a dictionary, by their names."""
    if not isinstance(saved, Mapping):
        return {}
    return {
        key: value.detach()
        for key, value in saved.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


def holds_tensors(value: object, depth: int = MAX_DEPTH) -> bool:
    """Whether there is a tensor of floating-point numbers somewhere inside."""
    if isinstance(value, Tensor):
        return value.is_floating_point()
    # The stand-in of an object has attributes, and may have members.
    attributes = getattr(value, "attributes", {}).values()
    inside = value.values() if isinstance(value, Mapping) else value
    members = inside if isinstance(inside, Iterable) and not isinstance(inside, str | bytes) else ()
    return depth > 0 and any(
        holds_tensors(each, depth - 1) for part in (attributes, members) for each in part
    )
