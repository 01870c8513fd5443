"""How do the heads change while a network is trained? The means of its surveys, step by step."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vit_inspect.errors import BadParameter
from vit_inspect.records.survey import LayerSteps, Steps
from vit_inspect.surveys.parts import difference
from vit_inspect.surveys.results import SUMMARY, layout_of, means_of

FOLDER = re.compile(r"step-(\d{8,})", re.ASCII)
"""The name of the folder of a step."""

KEPT = 20_000
"""Steps whose means are kept in memory, so that a training that goes on is read on."""


def step_folder(folder: Path, step: int) -> Path:
    """Where the survey of a step lies in the folder of a tracker."""
    return folder / f"step-{step:08d}"


def done_steps(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """The folders of the steps whose surveys are done, in order."""
    found = {
        int(named[1]): Path(each.path)
        for each in os.scandir(folder)
        if (named := FOLDER.fullmatch(each.name)) and os.path.isfile(os.path.join(each, SUMMARY))
    }
    return dict(sorted(found.items()))


def open_steps(folder: str | os.PathLike[str]) -> Mapping[str, Steps]:
    """The surveys that a `Tracker` wrote into a folder, as one record for each statistic.

    A step whose survey is not done is left out: the next call has it. Of each survey the file of
    its merge is read, once: a thousand steps take seconds, and a new one hardly any time.

    Raises `BadParameter` where there is no such step, where a file is damaged, and for steps that
    are not of one training: of other pictures, or made in another way.
    """
    said, step, read = _read(folder)
    plan = said["plan"]
    return {
        name: Steps(
            plan["model"],
            layout_of(plan),
            name,
            said["count"],
            step,
            np.stack([means.by_name[name] for means in read]),
        )
        for name in read[0].by_name
    }


def open_layer_steps(folder: str | os.PathLike[str]) -> Mapping[str, LayerSteps]:
    """What the surveys that a `Tracker` wrote took of the tokens, as a record for each of it.

    There are "artefacts" and "cka", as far as the tracker was made with these `tokens`. Files are
    read, and refused, as by `open_steps`.

    A layer is compared with the next one: a curve then changes only with its own two layers. Were
    each compared with the last layer, a change of that layer alone would move all curves.
    """
    said, step, read = _read(folder)
    # A survey that was made by an older version may have them in its parts alone.
    there = [name for name in read[0].by_layer if all(name in each.by_layer for each in read)]
    return {
        name: LayerSteps(
            said["plan"]["model"],
            name,
            said["count"],
            step,
            np.stack([each.by_layer[name] for each in read]),
        )
        for name in there
    }


def _read(folder: str | os.PathLike[str]) -> tuple[Any, Int[np.ndarray, "step"], list[_Means]]:
    """What the file of the first step says, the steps, and what is kept of each of them."""
    try:
        folders = done_steps(folder)
    except OSError as error:
        raise _none(folder) from error
    if not folders:
        raise _none(folder)
    read = [_means(str(each), _stamp(each)) for each in folders.values()]
    first = next(iter(folders.values()))
    for path, means in zip(folders.values(), read, strict=True):
        if means.of != read[0].of:
            raise BadParameter(
                f"steps in '{folder}' that are not of one training: '{path.name}' is of "
                f"{_other(path, first)} than '{first.name}'",
                "steps of the same pictures, surveyed in the same way",
                "move those of the other training to a folder of their own",
            )
    return _said(first), np.array(list(folders)), read


class _Means(NamedTuple):
    """What is kept of a step.

    of: a hash of all that must be the same at each step.
    by_layer: what `LayerSteps` has of it.
    """

    of: str
    by_name: dict[str, Float[np.ndarray, "layer head"]]
    by_layer: dict[str, Float[np.ndarray, "layer"]]


@lru_cache(maxsize=KEPT)
def _means(folder: str, stamp: int) -> _Means:
    """The means of a step; a file that was changed has another stamp."""
    said = _said(Path(folder))
    of = sha256(json.dumps(_fixed(said), sort_keys=True).encode()).hexdigest()
    means = {name: np.array(values) for name, values in said["means"].items()}
    return _Means(of, means, _by_layer(said))


def _by_layer(said: Mapping[str, Any]) -> dict[str, Float[np.ndarray, "layer"]]:
    """The share of pictures with artefacts, and the similarity of each layer to the next one."""
    tokens, found = said.get("tokens", {}), {}
    if "artefacts" in tokens:
        found["artefacts"] = np.array(tokens["artefacts"]["share"])
    if "cka" in tokens and len(similarity := np.array(tokens["cka"]["similarity"])) > 1:
        found["cka"] = similarity.diagonal(1).copy()
    return found


def _fixed(said: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same at each step: the pictures, and of the plan all but the weights."""
    plan = {name: each for name, each in said["plan"].items() if name != "weights_sha256"}
    return {"pictures": (said["pictures_sha256"], said["refused"]), "plan": plan}


def _other(path: Path, first: Path) -> str:
    """What sets a step apart from the first one, in words."""
    here, there = _fixed(_said(path)), _fixed(_said(first))
    if here["pictures"] != there["pictures"]:
        return "other pictures"
    return difference(here["plan"], there["plan"])


def _said(folder: Path) -> Any:
    """What the file of a survey's merge says."""
    path = folder / SUMMARY
    try:
        said = means_of(path.read_text())
        _fixed(said)
        _by_layer(said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
    return said


def _stamp(folder: Path) -> int:
    try:
        return (folder / SUMMARY).stat().st_mtime_ns
    except OSError as error:
        raise _damaged(folder / SUMMARY) from error


def _damaged(path: Path) -> BadParameter:
    return BadParameter(
        f"the file '{path}', which is damaged",
        "what a vit_inspect.Tracker wrote",
        "move the folder of this step away",
    )


def _none(folder: str | os.PathLike[str]) -> BadParameter:
    return BadParameter(
        f"no survey of a training in '{os.fspath(folder)}'",
        "a folder that a vit_inspect.Tracker filled, with folders such as step-00000000",
        "check the folder",
    )
