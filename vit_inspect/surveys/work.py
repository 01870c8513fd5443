"""What is done with some pictures of a survey? They are read, and go through the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
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


class Sent(NamedTuple):
    """The pixels of a batch on their way to the model's device.

    reasons: of each picture why it has no pixels, or None.
    copied: on a GPU, when they are there.
    """

    reasons: list[str | None]
    pixels: Tensor | None
    copied: torch.cuda.Event | None = None

    def arrived(self) -> Tensor | None:
        """The pixels, for the stream that computes; it waits for them, and nothing else does."""
        if self.pixels is not None and self.copied is not None:
            computing = torch.cuda.current_stream(self.pixels.device)
            computing.wait_event(self.copied)
            # Their memory is that of the other stream, which must not use it again before.
            self.pixels.record_stream(computing)
        return self.pixels


def send(model: Model, inputs: Inputs) -> Sent:
    """Begin to bring a batch to the model's device.

    A GPU copies from pinned memory in a stream of its own, while another one computes.
    """
    reasons = [each if isinstance(each, str) else None for each in inputs]
    arrays = [each for each in inputs if not isinstance(each, str)]
    if not arrays:
        return Sent(reasons, None)
    pixels = torch.from_numpy(np.stack(arrays))
    if model.device.type != "cuda":
        return Sent(reasons, pixels.to(model.device, model.dtype))
    stream = _copying(model.device)
    with torch.cuda.stream(stream):
        there = pixels.pin_memory().to(model.device, non_blocking=True).to(model.dtype)
    return Sent(reasons, there, stream.record_event())


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    """The stream of a GPU that copies."""
    return torch.cuda.Stream(device)


def rows_of(
    model: Model,
    statistics: Sequence[Statistic],
    tokens: Sequence[TokenStatistic],
    pictures: Sequence[Entry],
    sent: Sent,
) -> list[Row]:
    """What a batch of pictures comes to, in one forward pass."""
    numbers: list[dict[str, np.ndarray]] = []
    chosen: list[tuple[int, float] | None] = []
    taken: list[dict[str, np.ndarray]] = []
    pixels = sent.arrived()
    if pixels is not None:
        of_tokens = TokenReduction(model, len(pixels), tokens)
        seen = observe_heads(model, pixels, statistics, of_tokens if tokens else None)
        numbers = _each(seen.sums.means(), len(pixels))
        taken = _each(of_tokens.numbers(), len(pixels))
        chosen = _chosen(model, seen.output)
    known = zip(numbers, chosen, taken, strict=True)
    return [
        Row(entry, reason) if reason else Row(entry, None, *next(known))
        for entry, reason in zip(pictures, sent.reasons, strict=True)
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
