"""What is done with some pictures of a survey? They are read, and go through the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.analyses.observation import observe_heads
from vit_inspect.analyses.outputs import largest
from vit_inspect.analyses.token_sums import TokenReduction, TokenStatistic
from vit_inspect.errors import BadImage
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import Recipe, prepare
from vit_inspect.surveys.parts import Progress, Row, Store
from vit_inspect.surveys.sources import Entry, read
from vit_inspect.version import __version__

Inputs = list[np.ndarray | str]
"""Of each picture its model input, (channel, row, column), or why there is none."""


class Engine(NamedTuple):
    """Who does it.

    device: the kind of device that models run on.
    fill: makes the parts of a store that are missing, and tells how far it is.
    run: calls what takes this process's model, for those who share its device.
    """

    device: str
    fill: Callable[[Store, Model, Sequence[Statistic], Progress], None]
    run: Callable[..., Any] = lambda work, *given: work(*given)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Which version of each package this process has."""
    return {name: __version__ if name == "vit_inspect" else version(name) for name in packages}


def read_batch(
    pictures: Sequence[Entry],
    recipe: Recipe,
    input_px: tuple[int, int],
    read: Callable[[Entry], Image.Image] = read,
) -> Inputs:
    """The model input of some pictures."""
    found: Inputs = []
    for entry in pictures:
        try:
            pixels, _ = prepare(read(entry), recipe, input_px)
        except BadImage as refusal:
            found.append(str(refusal))
        else:
            found.append(pixels[0].numpy())
    return found


def rows_of(
    model: Model,
    statistics: Sequence[Statistic],
    tokens: Sequence[TokenStatistic],
    pictures: Sequence[Entry],
    inputs: Inputs,
) -> list[Row]:
    """What a batch of pictures comes to, in one forward pass."""
    arrays = [each for each in inputs if not isinstance(each, str)]
    numbers: list[dict[str, np.ndarray]] = []
    chosen: list[tuple[int, float] | None] = []
    taken: list[dict[str, np.ndarray]] = []
    if arrays:
        pixels = torch.from_numpy(np.stack(arrays)).to(model.device, model.dtype)
        of_tokens = TokenReduction(model, len(arrays), tokens)
        seen = observe_heads(model, pixels, statistics, of_tokens if tokens else None)
        numbers = _each(seen.sums.means(), len(arrays))
        taken = _each(of_tokens.numbers(), len(arrays))
        chosen = _chosen(model, seen.output)
    known = zip(numbers, chosen, taken, strict=True)
    return [
        Row(entry, given) if isinstance(given, str) else Row(entry, None, *next(known))
        for entry, given in zip(pictures, inputs, strict=True)
    ]


def _each(found: dict[str, np.ndarray], images: int) -> list[dict[str, np.ndarray]]:
    """The numbers of each image, from those of all."""
    return [{name: values[image] for name, values in found.items()} for image in range(images)]


def _chosen(model: Model, output: Tensor) -> list[tuple[int, float] | None]:
    """The class of each picture's largest output, and its probability."""
    if model.labels is None or model.outputs == "scores":
        return [None] * len(output)
    shares, places = largest(output, 1, model.outputs)
    return list(zip(places[:, 0].tolist(), shares[:, 0].tolist(), strict=True))
