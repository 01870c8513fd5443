"""The records behind the evidence: features of tokens, effects of heads, tests of maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from vit_inspect.arguments import of_kind, several
from vit_inspect.errors import BadParameter
from vit_inspect.layout import Box, TokenLayout
from vit_inspect.records.base import Photograph, Result

Outputs = Literal["single-label", "multi-label", "scores"]
"""What a model's outputs are.

"single-label": of all classes one is right; probabilities are the softmax over the classes.
"multi-label": each class is right or not; its probability is the sigmoid of its output.
"scores": raw numbers that are no probabilities, such as those of a regression. Their unit and
their zero are not known.
"""


def _if_probability(name: str) -> property:
    """The array of this name; NaN if it holds raw scores."""

    def read(record: Any) -> np.ndarray:
        values: np.ndarray = getattr(record, name)
        return np.full_like(values, np.nan) if record.outputs == "scores" else values

    return property(read)


@dataclass(frozen=True, eq=False)
class Predictions(Result):
    """The classes that the model's outputs are largest for, the largest first.

    labels: the classes' names, per image.
    value: their probabilities; raw scores if `outputs` is "scores".
    class_index: the index of the class in the model's output.
    outputs: what the model's outputs are.
    probability: the same as `value`; NaN for raw scores.
    """

    per_image: ClassVar = ("photographs", "labels")

    labels: tuple[tuple[str, ...], ...]
    value: Float[np.ndarray, "image rank"]
    class_index: Int[np.ndarray, "image rank"]
    outputs: Outputs

    probability = _if_probability("value")


@dataclass(frozen=True, eq=False)
class AttentionRelevance(Result):
    """How much each patch supports a target, through attention.

    Values rank the patches of one map; they cannot be compared between maps. What the model reads
    counts itself: 1 on a class token, or 1 / N on each patch if the model averages its N patches.

    target: the quantity that was differentiated, in words, per image.
    relevance: gradient-weighted attention (Chefer et al. 2021); not negative.
    prefix_relevance: the same for each special token, in the order of `layout.prefix`.
    input_gradient: input times gradient, summed over each patch; negative if the difference of the
        patch from the mean colour of the training set lowers the target.
    grad_cam: Grad-CAM on the tokens that enter the last block; not negative.
    """

    per_image: ClassVar = ("photographs", "target")

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    target: tuple[str, ...]
    relevance: Float[np.ndarray, "image row column"]
    prefix_relevance: Float[np.ndarray, "image prefix"]
    input_gradient: Float[np.ndarray, "image row column"]
    grad_cam: Float[np.ndarray, "image row column"]


@dataclass(frozen=True, eq=False)
class FeaturePca(Result):
    """The patch tokens of one layer along their first three principal components.

    Images share the components or have their own (`basis`); the scores of two images can be
    compared only if they share them.

    layer, state: the layer of the tokens, and what was done to them, in words.
    basis: "each" for components of each image, or "common" for all images of the batch.
    components: scores along the components, strongest first; 0 is the mean token.
    ends: percentiles 2 and 98 of the scores over the images that share the components; the ends
        of the colour scales.
    explained_variance_ratio: share of the tokens' variance over these images.
    """

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    layer: int
    state: str
    basis: str
    components: Float[np.ndarray, "image row column component"]
    ends: Float[np.ndarray, "image component end"]
    explained_variance_ratio: Float[np.ndarray, "image component"]


@dataclass(frozen=True, eq=False)
class TokenSimilarity(Result):
    """Cosine similarity of one patch's token to the tokens of all patches of each image.

    layer, state: the layer of the tokens, and what was done to them, in words.
    patch: the (row, column) of the patch that is compared.
    origins: for each image, the photograph of this patch.
    similarity: in [-1, 1]; 1 at the patch itself.
    """

    per_image: ClassVar = ("photographs", "origins")

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    layer: int
    state: str
    patch: tuple[int, int]
    origins: tuple[Photograph, ...]
    similarity: Float[np.ndarray, "image row column"]


@dataclass(frozen=True, eq=False)
class LogitLens(Result):
    """The model's final norm and head, applied to the tokens of every layer (nostalgebraist 2020).

    Values are probabilities, or raw scores if `outputs` is "scores". Rank 1 is the largest output.
    Files name them for what they are, such as `readout_probability` or `readout_score`.

    labels: name of one class per image; `class_index` is its index in the output.
    readout_value, readout_rank: of this class, if the head reads all tokens of a layer.
    patch_value, patch_rank: the same if the head reads a single patch token.
    top_labels: names of the classes of the largest outputs if it reads all tokens, by image and
        layer.
    top_class_index, top_value: the indices and values of these classes.
    outputs: what the model's outputs are.
    readout_probability, patch_probability, top_probability: the same as the values; NaN for raw
        scores.
    """

    per_image: ClassVar = ("photographs", "labels", "top_labels")

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    labels: tuple[str, ...]
    class_index: Int[np.ndarray, "image"]
    readout_value: Float[np.ndarray, "image layer"]
    readout_rank: Int[np.ndarray, "image layer"]
    patch_value: Float[np.ndarray, "image layer row column"]
    patch_rank: Int[np.ndarray, "image layer row column"]
    top_labels: tuple[tuple[tuple[str, ...], ...], ...]
    top_class_index: Int[np.ndarray, "image layer rank"]
    top_value: Float[np.ndarray, "image layer rank"]
    outputs: Outputs

    readout_probability = _if_probability("readout_value")
    patch_probability = _if_probability("patch_value")
    top_probability = _if_probability("top_value")

    def written(self) -> dict[str, np.ndarray]:
        """The arrays for files, by names that say what the values are."""
        return {self._told(name): array for name, array in self.arrays().items()}

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes, also by the names in files."""
        axes = super().axes()
        return axes | {self._told(name): names for name, names in axes.items()}

    def _told(self, name: str) -> str:
        return name.replace("value", "score" if self.outputs == "scores" else "probability")


@dataclass(frozen=True, eq=False)
class LayerCka(Result):
    """How similar the features of two models' layers are, or of one model's, on the same images.

    Each image is a minibatch of the estimate (Nguyen et al. 2020), so that records of several
    images can be joined; `similarity` is computed from the means over them.

    other_model: the model whose layers are the columns.
    samples: the number of patches compared, per image.
    hsic: unbiased estimate of HSIC between a layer and a layer of the other model.
    self_hsic, other_self_hsic: the same between each layer and itself.
    over: which pictures the only image stands for, where the arrays are means over a survey.
    """

    other_model: str
    samples: Int[np.ndarray, "image"]
    hsic: Float[np.ndarray, "image layer other_layer"]
    self_hsic: Float[np.ndarray, "image layer"]
    other_self_hsic: Float[np.ndarray, "image other_layer"]
    over: str | None = None

    @property
    def similarity(self) -> Float[np.ndarray, "layer other_layer"]:
        """CKA: mean HSIC / sqrt(the product of the layers' own); 1 is the same, about 0 unrelated.

        0 if all tokens of a layer are equal.
        """
        own, other = self.self_hsic.mean(axis=0), self.other_self_hsic.mean(axis=0)
        scale = np.sqrt(own[:, None] * other)
        return self.hsic.mean(axis=0) / np.where(scale > 0, scale, 1)

    def written(self) -> dict[str, np.ndarray]:
        """The arrays for files: the record's own, and those computed from them for the figure."""
        return {"similarity": self.similarity, **self.arrays()}

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes."""
        return {"similarity": ("layer", "other_layer"), **super().axes()}


@dataclass(frozen=True, eq=False)
class TokenNorms(Result):
    """The norms of tokens in every layer, and which patches are artefacts (Darcet et al. 2023).

    Norms are L2 norms of what each block returns, before the final norm. Their unit is that of the
    residual stream, which differs from model to model.

    layer: the layer whose norms define the artefacts.
    reason: why no artefacts were found, per image; empty if there are some.
    norm: of the patches.
    prefix_norm: of the special tokens, in the order of `layout.prefix`.
    artefact: patches whose norm in `layer` is above `threshold`; none if none were found.
    threshold: where the densities of the two groups of norms cross; infinite if none were found.
    separation: difference of the groups' mean logarithms, in their common standard deviation.
    ratio: of the groups' geometric means.
    drawn: share of the patches' attention on the artefacts, mean over heads and queries that are
        patches. With uniform attention it would be the artefacts' share of all tokens.
    rollout: relevance as in `AttentionRollout`, heads combined by their mean; the rest to 1 is on
        special tokens.
    rollout_without: the same with the artefacts removed as keys and from what the model reads, each
        row divided by its remaining sum. It is 0 on artefacts, and equal to `rollout` without them.
    """

    per_image: ClassVar = ("photographs", "reason")

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    layer: int
    reason: tuple[str, ...]
    norm: Float[np.ndarray, "image layer row column"]
    prefix_norm: Float[np.ndarray, "image layer prefix"]
    artefact: Bool[np.ndarray, "image row column"]
    threshold: Float[np.ndarray, "image"]
    separation: Float[np.ndarray, "image"]
    ratio: Float[np.ndarray, "image"]
    drawn: Float[np.ndarray, "image layer"]
    rollout: Float[np.ndarray, "image row column"]
    rollout_without: Float[np.ndarray, "image row column"]

    @property
    def found(self) -> Bool[np.ndarray, "image"]:
        """Whether an image has artefacts."""
        return np.asarray(self.artefact.any(axis=(1, 2)))


@dataclass(frozen=True, eq=False)
class Ablation(Result):
    """The model's output with some of its parts ablated, and without ablation.

    off: the ablated parts, by name: "layer 3, all heads", "L3 H5", "token cls" or
        "patch (0, 1)".
    replacement: what they were replaced by: "mean" or "zero".
    cosine: similarity of the whole output before and after; 1 if its direction is the same.
    relative_change: |after - before| / |before| of the whole output.
    labels: names of the classes of the largest outputs before or after, per image; none for a model
        without classes.
    class_index: the indices of the classes in the output, ordered by the larger of the two values,
        the largest first.
    before, after: the classes' probabilities, or raw scores if `outputs` is "scores".
    patch_change: 1 - cosine similarity of each patch token of the last block before and after,
        taken before the final norm; empty if it is not known.
    patch_off: the ablated patches.
    outputs: what the model's outputs are.
    """

    per_image: ClassVar = ("photographs", "labels")

    photographs: tuple[Photograph, ...]
    off: tuple[str, ...]
    replacement: str
    cosine: Float[np.ndarray, "image"]
    relative_change: Float[np.ndarray, "image"]
    labels: tuple[tuple[str, ...], ...]
    class_index: Int[np.ndarray, "image rank"]
    before: Float[np.ndarray, "image rank"]
    after: Float[np.ndarray, "image rank"]
    patch_change: Float[np.ndarray, "image row column"]
    patch_off: Bool[np.ndarray, "image patch_row patch_column"]
    outputs: Outputs


LOG_PROBABILITY = "Drop of the class's log-probability (nats)"
"""Effect on a classifier: ln p before - ln p after."""

SCORE = "Drop of the raw score"
"""Effect on a model whose outputs are no probabilities: score before - score after."""

TURNED = "1 − cosine of the outputs"
"""Effect on a model without classes: the change of direction of its feature vector."""


@dataclass(frozen=True, eq=False)
class HeadImportance(Result):
    """The effect of ablating each single head on the model's output.

    replacement: what the head's output was replaced by: "mean" or "zero".
    measure: what `effect` is: `LOG_PROBABILITY` or `SCORE`, positive if what they name falls, or
        `TURNED`.
    targets: the class that is measured, per image; none for a model without classes.
    """

    per_image: ClassVar = ("photographs", "targets")

    photographs: tuple[Photograph, ...]
    replacement: str
    measure: str
    targets: tuple[str, ...]
    effect: Float[np.ndarray, "image layer head"]


CENTRE, RANDOM = "centre", "random"
"""Names of the baselines of `Faithfulness`; random orders have a number after the name."""


@dataclass(frozen=True, eq=False)
class Faithfulness(Result):
    """A score of the model's output while patches are replaced and restored, for several maps.

    maps: names along the axis "map": the tested maps, then the baselines: "centre" and the random
        orders "random 1", "random 2", ...
    score: what is measured, in words.
    targets: the class whose probability or raw score is measured, per image; "" without classes.
    blur_patches: standard deviation of the blur in insertion, in patches.
    share: of the patches that are replaced or restored, the highest ranked first.
    deletion: the score with this share replaced by the mean colour; at 0 and 1 equal for all maps.
    insertion: the score with this share restored in the blurred image; at 0 and 1 equal for all
        maps.
    deletion_auc, insertion_auc: the area under each curve, over shares of 0..1.
    outputs: what the model's outputs are.
    """

    per_image: ClassVar = ("photographs", "targets")

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    maps: tuple[str, ...]
    score: str
    targets: tuple[str, ...]
    blur_patches: float
    share: Float[np.ndarray, "image step"]
    deletion: Float[np.ndarray, "image map step"]
    insertion: Float[np.ndarray, "image map step"]
    deletion_auc: Float[np.ndarray, "image map"]
    insertion_auc: Float[np.ndarray, "image map"]
    outputs: Outputs

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        return super().names() | {"map": self.maps}


@dataclass(frozen=True, eq=False)
class Localisation(Result):
    """How much of several maps lies where the thing is that they should show.

    maps: names along the axis "map": the tested maps, then the baselines, as in `Faithfulness`.
    targets: the class that the maps are of, per image; "" where they are of none.
    boxes: where the thing is, per image, in pixels of its photograph.
    inside: share of a map's positive values inside the box, each spread evenly over its patch; NaN
        for a map without positive values.
    area: share of the mapped part of the photograph that the box takes: `inside` of an even map.
    hit: 1 if the centre of the patch of the largest value is inside the box, 0 if not; of several
        patches with the largest value, the share that is.
    centres: share of all patches whose centre is inside: `hit` of an even map.
    """

    per_image: ClassVar = ("photographs", "targets", "boxes")

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    maps: tuple[str, ...]
    targets: tuple[str, ...]
    boxes: tuple[Box, ...]
    inside: Float[np.ndarray, "image map"]
    area: Float[np.ndarray, "image"]
    hit: Float[np.ndarray, "image map"]
    centres: Float[np.ndarray, "image"]

    def tested(self) -> tuple[str, ...]:
        """The names of the maps that are no baselines."""
        return self.maps[: self.maps.index(CENTRE)]

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        return super().names() | {"map": self.maps}


@dataclass(frozen=True, eq=False)
class PatchMap(Result):
    """One map per image, made by any method, such as those that `faithfulness` tests.

    kind: which map it is, in words.

    Raises `BadParameter` unless there is a finite value for each patch of each photograph.
    """

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    kind: str
    values: Float[np.ndarray, "image row column"]

    def __post_init__(self) -> None:
        _check_values(self, {})
        super().__post_init__()


@dataclass(frozen=True, eq=False)
class PatchMaps(Result):
    """Several maps per image, in rows and columns, such as those of all layers and heads.

    kind: which maps they are, in words.
    row_name, column_name: of what the rows and the columns are, such as "Layer".
    rows, columns: which of them each one is, such as "0". A single row has no name to be told from
        others, and may be ""; a single column too.

    Raises `BadParameter` unless there is a finite value for each patch of each map of each
    photograph.
    """

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    kind: str
    row_name: str
    rows: tuple[str, ...]
    column_name: str
    columns: tuple[str, ...]
    values: Float[np.ndarray, "image map_row map_column row column"]

    def __post_init__(self) -> None:
        _check_values(self, {"row of maps": self.rows, "column of maps": self.columns})
        super().__post_init__()

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the places along an axis, for axes that have names."""
        return super().names() | {"map_row": self.rows, "map_column": self.columns}


def _check_values(maps: PatchMap | PatchMaps, named: Mapping[str, Sequence[str]]) -> None:
    """Anybody makes these records: with other values a figure would be wrong, or a traceback.

    named: the names of the maps along each axis of them.
    """
    photographs = several(maps.photographs, "photographs", "capture.photographs")
    for axis, names in named.items():
        for name in several(names, f"the names of each {axis}", "('0', '1')"):
            of_kind(name, str, f"the name of a {axis}", "a text such as '0'")
    of_kind(maps.values, np.ndarray, "values", "an array of floats")
    axes = {"photograph": len(photographs)} | {axis: len(names) for axis, names in named.items()}
    axes |= dict(zip(("row", "column"), maps.layout.grid, strict=True))
    values, shape = maps.values, tuple(axes.values())
    floats = np.issubdtype(values.dtype, np.floating)
    if not floats or values.shape != shape or not np.isfinite(values).all():
        wrong = "" if floats else f"of type {values.dtype} "
        if floats and values.shape == shape:
            wrong = "with infinite or NaN ones "
        raise BadParameter(
            f"values {wrong}of shape {values.shape}",
            f"finite floats of shape {shape} ({', '.join(axes)})",
            "give one value for each patch of each map",
        )


@dataclass(frozen=True, eq=False)
class HeadStatistics(Result):
    """Statistics of each head: means over all queries that are patches; keys are all tokens.

    entropy: of an attention row, in nats.
    effective_tokens: exp of the entropy of a row.
    prefix_mass: attention on all special tokens and padding together.
    self_mass: attention on the patch itself.
    local_mass: attention on the 3 × 3 patches around a patch, including the patch itself.
    nmi: normalised mutual information of query and key: 0 if all queries have the same attention,
        1 if each attends to a key of its own.
    distance_px: mean attention distance, in the paper's definition.
    """

    layout: TokenLayout
    entropy: Float[np.ndarray, "image layer head"]
    effective_tokens: Float[np.ndarray, "image layer head"]
    prefix_mass: Float[np.ndarray, "image layer head"]
    self_mass: Float[np.ndarray, "image layer head"]
    local_mass: Float[np.ndarray, "image layer head"]
    nmi: Float[np.ndarray, "image layer head"]
    distance_px: Float[np.ndarray, "image layer head"]


@dataclass(frozen=True, eq=False)
class Observation(Result):
    """Numbers of each head, as in `HeadStatistics`; None for those that were not asked for.

    error: as for a capture: the largest difference between the attention that was computed and
        that of the model's own kernel, relative to the largest value.
    """

    layout: TokenLayout
    error: float
    distance_px: Float[np.ndarray, "image layer head"] | None = None
    prefix_mass: Float[np.ndarray, "image layer head"] | None = None
    self_mass: Float[np.ndarray, "image layer head"] | None = None
    local_mass: Float[np.ndarray, "image layer head"] | None = None
    entropy: Float[np.ndarray, "image layer head"] | None = None
    effective_tokens: Float[np.ndarray, "image layer head"] | None = None
    nmi: Float[np.ndarray, "image layer head"] | None = None
