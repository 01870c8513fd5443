"""What do surveys return? How a number of each head is spread over pictures, steps and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vit_inspect.errors import BadParameter
from vit_inspect.layout import TokenLayout
from vit_inspect.records.base import Result

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

SURE = 0.95
"""The chance that all intervals of a comparison of groups hold, at the least."""


@dataclass(frozen=True, eq=False)
class Spread(Result):
    """One statistic of each head, as in `HeadStatistics`, over the pictures of a survey.

    statistic: its name there.
    count: of the pictures.
    std: of the pictures themselves, divided by their count and not by one less.
    quantiles: at the shares `QUANTILES`, between neighbours in proportion.
    lowest, highest: the numbers in the survey of the pictures at the extremes, the most extreme
        one first; of equal ones the earlier.
    """

    layout: TokenLayout
    statistic: str
    count: int
    mean: Float[np.ndarray, "layer head"]
    std: Float[np.ndarray, "layer head"]
    minimum: Float[np.ndarray, "layer head"]
    maximum: Float[np.ndarray, "layer head"]
    quantiles: Float[np.ndarray, "quantile layer head"]
    lowest: Int[np.ndarray, "layer head rank"]
    highest: Int[np.ndarray, "layer head rank"]

    @property
    def diagonal_share(self) -> Float[np.ndarray, "layer head"]:
        """The mean distance as a share of the input's diagonal, to compare inputs of other sizes.

        Raises `BadParameter` for another statistic, which is no length.
        """
        if self.statistic != "distance_px":
            raise BadParameter(
                f"the share of the diagonal of {self.statistic}",
                "a length, which is distance_px",
                "take the spread of distance_px",
            )
        return np.asarray(self.mean / self.layout.diagonal_px)


@dataclass(frozen=True, eq=False)
class HeadValues(Result):
    """One statistic of one head, as in `HeadStatistics`, on each picture of a survey.

    over: which pictures these are, in words.
    values: of the pictures that have numbers, in order.
    """

    layout: TokenLayout
    statistic: str
    layer: int
    head: int
    over: str
    values: Float[np.ndarray, "picture"]


@dataclass(frozen=True, eq=False)
class Steps(Result):
    """One statistic of each head, as in `HeadStatistics`, at the steps of a training.

    count: of the pictures, which are the same at every step.
    step: the number of each step, in order.
    mean: over the pictures.
    """

    layout: TokenLayout
    statistic: str
    count: int
    step: Int[np.ndarray, "step"]
    mean: Float[np.ndarray, "step layer head"]

    @property
    def layer_mean(self) -> Float[np.ndarray, "step layer"]:
        """The mean over the heads of each layer."""
        return np.asarray(self.mean.mean(axis=-1))

    @property
    def layer_std(self) -> Float[np.ndarray, "step layer"]:
        """How the heads of each layer differ; divided by their count and not by one less."""
        return np.asarray(self.mean.std(axis=-1))

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        return {**super().names(), "step": tuple(map(str, self.step.tolist()))}

    def written(self) -> dict[str, np.ndarray]:
        """The arrays for files: the record's own, and those computed from them for the figure."""
        return {**self.arrays(), "layer_mean": self.layer_mean, "layer_std": self.layer_std}

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes."""
        of_layers = ("step", "layer")
        return {**super().axes(), "layer_mean": of_layers, "layer_std": of_layers}


@dataclass(frozen=True, eq=False)
class LayerSteps(Result):
    """A number of each layer at the steps of a training.

    quantity: "artefacts", the share of the pictures that have an artefact in a layer, as in
        `ArtefactRate`; or "cka", the similarity of a layer to the next one, as in `LayerCka`.
    count: of the pictures, which are the same at every step.
    step: the number of each step, in order.
    value: of each layer; of "cka" the last layer has none.
    """

    quantity: str
    count: int
    step: Int[np.ndarray, "step"]
    value: Float[np.ndarray, "step layer"]

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        return {**super().names(), "step": tuple(map(str, self.step.tolist()))}


@dataclass(frozen=True, eq=False)
class GroupDifference(Result):
    """How two groups of pictures differ in one statistic of each head.

    over: which pictures these are, in words.
    groups, counts: what the groups are called, and how many pictures each has that have numbers.
    paired: whether both groups are the same pictures in two surveys.
    first, second: the mean of each group; difference: first - second.
    effect: the difference by the standard deviation within the groups, or where they are paired by
        that of the differences; corrected for few pictures (Hedges' g). NaN where there is no
        spread, a group has one picture, or there are two pairs.
    low, high: ends of the interval of the difference. With a chance of `SURE` or more, all
        intervals of all heads together hold their true differences. NaN as for `effect`.
    """

    layout: TokenLayout
    statistic: str
    over: str
    groups: tuple[str, str]
    counts: tuple[int, int]
    paired: bool
    first: Float[np.ndarray, "layer head"]
    second: Float[np.ndarray, "layer head"]
    difference: Float[np.ndarray, "layer head"]
    effect: Float[np.ndarray, "layer head"]
    low: Float[np.ndarray, "layer head"]
    high: Float[np.ndarray, "layer head"]


@dataclass(frozen=True, eq=False)
class HeadGroups(Result):
    """One statistic of one head on each picture of two groups.

    groups: what they are called.
    first, second: of the pictures of each group, in order.
    """

    layout: TokenLayout
    statistic: str
    layer: int
    head: int
    groups: tuple[str, str]
    first: Float[np.ndarray, "picture"]
    second: Float[np.ndarray, "other_picture"]


@dataclass(frozen=True, eq=False)
class ChosenClasses(Result):
    """Which class a model chose for each picture of a survey, and how surely, by their labels.

    over: which pictures these are, in words.
    label_names: the labels of the pictures, in the order of letters; "" stands for pictures without
        one, and comes first.
    class_names: the classes that were chosen or that a label names, in the model's order.
    class_index: their numbers in the model.
    pictures: how many pictures of a label a class was chosen for.
    confidence: the mean probability of the chosen class over these pictures; 0 where there are
        none.
    own: the place in `class_names` of the class that a label names, as `correct` reads it, -1 where
        it names none.
    """

    over: str
    label_names: tuple[str, ...]
    class_names: tuple[str, ...]
    class_index: Int[np.ndarray, "class"]
    pictures: Int[np.ndarray, "label class"]
    confidence: Float[np.ndarray, "label class"]
    own: Int[np.ndarray, "label"]

    @property
    def correct(self) -> Float[np.ndarray, "label"]:
        """The share of a label's pictures whose class is that of the label; NaN without one."""
        counts = np.where(self.own < 0, np.nan, self.pictures[np.arange(len(self.own)), self.own])
        return np.asarray(counts / self.pictures.sum(axis=1))

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        return {"label": self.label_names, "class": self.class_names}


@dataclass(frozen=True, eq=False)
class ArtefactRate(Result):
    """How many artefacts the pictures of a survey have in each layer, as `TokenNorms` finds them.

    over: which pictures these are, in words.
    count: of the pictures.
    share: of the pictures, those with one artefact or more.
    mean, maximum: the number of artefacts of a picture.
    """

    layout: TokenLayout
    over: str
    count: int
    share: Float[np.ndarray, "layer"]
    mean: Float[np.ndarray, "layer"]
    maximum: Int[np.ndarray, "layer"]
