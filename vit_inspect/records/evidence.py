"""The records behind the evidence: what tokens hold, what heads do, what a map is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from vit_inspect.layout import TokenLayout
from vit_inspect.records.base import Photograph, Result


@dataclass(frozen=True, eq=False)
class Predictions(Result):
    """The classes that the model finds most probable, the most probable first.

    labels: the classes' names, per image.
    probability: softmax over all classes of what the model returned.
    class_index: the class's place in the model's output.
    """

    per_image: ClassVar = ("photographs", "labels")

    labels: tuple[tuple[str, ...], ...]
    probability: Float[np.ndarray, "image rank"]
    class_index: Int[np.ndarray, "image rank"]


@dataclass(frozen=True, eq=False)
class AttentionRelevance(Result):
    """How much attention carries from each patch to the read-out that raises a target.

    It ranks patches; its size compares between patches of one map alone. The read-out's own share
    is in it: 1 on a class token, 1 / N on each patch where the model averages them.

    target: what was differentiated, in words, per image.
    relevance: gradient-weighted attention (Chefer et al. 2021); not negative.
    prefix_relevance: the same of each prefix token, in the order of `layout.prefix`.
    input_gradient: input times gradient, summed over each patch; negative where a patch, as it
        differs from the mean colour of the training set, lowers the target.
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
    """The patches' tokens of one layer along the three directions in which they vary most.

    Images may share the directions or have their own (`basis`); only shared ones make the scores
    of two images comparable.

    layer, state: whose tokens, and what was done to them, in words.
    basis: "each" image's own directions, or "common" to all images of the batch.
    components: scores along the directions, strongest first; 0 is the mean token.
    ends: percentiles 2 and 98 of the scores over the images that share the directions, where the
        colours of a drawing end.
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

    layer, state: whose tokens, and what was done to them, in words.
    patch: the (row, column) of the patch that is compared.
    origins: for each image, the photograph that this patch is of.
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
    """What the model's own norm and head make of the tokens of every layer (nostalgebraist 2020).

    Probabilities are over all classes; a rank of 1 is the most probable class.

    labels: name of the class that is followed, per image; `class_index` is its place in the output.
    readout_probability, readout_rank: of this class, where the head reads all tokens of a layer.
    patch_probability, patch_rank: the same where it reads nothing but one patch's token.
    top_labels: names of the most probable classes where it reads all tokens, by image and layer.
    top_class_index, top_probability: of these.
    """

    per_image: ClassVar = ("photographs", "labels", "top_labels")

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    labels: tuple[str, ...]
    class_index: Int[np.ndarray, "image"]
    readout_probability: Float[np.ndarray, "image layer"]
    readout_rank: Int[np.ndarray, "image layer"]
    patch_probability: Float[np.ndarray, "image layer row column"]
    patch_rank: Int[np.ndarray, "image layer row column"]
    top_labels: tuple[tuple[tuple[str, ...], ...], ...]
    top_class_index: Int[np.ndarray, "image layer rank"]
    top_probability: Float[np.ndarray, "image layer rank"]


@dataclass(frozen=True, eq=False)
class LayerCka(Result):
    """How alike the layers of two models, or of one, arrange the patches of the same images.

    Each image is a minibatch of the estimate (Nguyen et al. 2020), so that records of several
    images can be joined; `similarity` follows from the means over them.

    other_model: the model whose layers are the columns.
    samples: how many patches of an image are compared.
    hsic: unbiased estimate of HSIC between a layer and one of the other model.
    self_hsic, other_self_hsic: the same of each layer with itself.
    """

    other_model: str
    samples: Int[np.ndarray, "image"]
    hsic: Float[np.ndarray, "image layer other_layer"]
    self_hsic: Float[np.ndarray, "image layer"]
    other_self_hsic: Float[np.ndarray, "image other_layer"]

    @property
    def similarity(self) -> Float[np.ndarray, "layer other_layer"]:
        """CKA: mean HSIC / sqrt(the product of the layers' own); 1 is alike, about 0 unrelated.

        0 where all tokens of a layer are equal.
        """
        own, other = self.self_hsic.mean(axis=0), self.other_self_hsic.mean(axis=0)
        scale = np.sqrt(own[:, None] * other)
        return self.hsic.mean(axis=0) / np.where(scale > 0, scale, 1)

    def written(self) -> dict[str, np.ndarray]:
        """The arrays that go into files: the record's, and what its figure shows of them."""
        return {"similarity": self.similarity, **self.arrays()}

    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of every array's axes."""
        return {"similarity": ("layer", "other_layer"), **super().axes()}


@dataclass(frozen=True, eq=False)
class TokenNorms(Result):
    """How long tokens are at every depth, and which patches are artefacts (Darcet et al. 2023).

    Norms are L2, of what each block returns, before the final norm: in units of the residual
    stream, which two models do not share.

    layer: the one by whose norms artefacts are told.
    reason: why nothing was found, per image; empty where something was.
    norm: of the patches.
    prefix_norm: of the prefix tokens, in the order of `layout.prefix`.
    artefact: patches whose norm in `layer` is above `threshold`; none where nothing was found.
    threshold: where the two groups of norms of an image cross; infinite where nothing was found.
    separation: between the groups' mean logarithms, in their common standard deviation.
    ratio: of the groups' geometric means.
    drawn: share of the patches' attention that falls on the artefacts, mean over heads and all
        patches that look; their share of all tokens is what they would draw if all were alike.
    rollout: relevance as in `AttentionRollout`, heads fused by their mean; what it lacks to 1 is on
        prefix tokens.
    rollout_without: a variant of it: artefacts are left out as keys and where the model reads, and
        every row is divided by what is left. It is 0 on them, and the same where there are none.
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
    """What the model returns with some of its parts switched off, beside what it returned.

    off: what was switched off, by name: "layer 3, all heads", "L3 H5", "token cls" or
        "patch (0, 1)".
    replacement: what took its place: "mean" or "zero".
    cosine: between the whole output before and after; 1 where nothing changed its direction.
    relative_change: |after - before| / |before| of the whole output.
    labels: names of the classes that were or became the most probable, per image; none for a model
        without classes.
    class_index: the classes' places in the output, the largest probability of the two first.
    before, after: the classes' probabilities.
    patch_change: 1 - cosine between what the last block returned at each patch before and after,
        before the final norm; empty where that is not known.
    patch_off: the patches that were switched off.
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


LOG_PROBABILITY = "Drop of the class's log-probability (nats)"
"""Effect on a classifier: ln p before - ln p after."""

TURNED = "1 - cosine of the outputs"
"""Effect on a model without classes: how far its feature turned away."""


@dataclass(frozen=True, eq=False)
class HeadImportance(Result):
    """What switching off each single head does to what the model returns.

    replacement: what took the place of a head's output: "mean" or "zero".
    measure: what `effect` is: `LOG_PROBABILITY`, positive where the class loses by it, or `TURNED`.
    targets: the class that is asked for, per image; none for a model without classes.
    """

    per_image: ClassVar = ("photographs", "targets")

    photographs: tuple[Photograph, ...]
    replacement: str
    measure: str
    targets: tuple[str, ...]
    effect: Float[np.ndarray, "image layer head"]


CENTRE, RANDOM = "centre", "random"
"""Names of the baselines of `Faithfulness`; those of random orders have a number behind."""


@dataclass(frozen=True, eq=False)
class Faithfulness(Result):
    """A score of the model's output while patches are taken out and put back, map by map.

    maps: names along the axis "map": the maps that are tested, then the baselines, "centre" and
        the random orders "random 1", "random 2", ...
    score: what is measured, in words.
    targets: the class whose probability is the score, per image; "" where there are no classes.
    blur_patches: standard deviation of the blur that insertion starts from, in patches.
    share: of the patches, which are taken out or put back, the first ones of a map first.
    deletion: the score with that share replaced by the mean colour; alike for all maps at 0 and 1.
    insertion: the score with that share put back into the blurred picture; likewise.
    deletion_auc, insertion_auc: the area under each curve, over shares of 0..1.
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

    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of what lies along an axis, where it has some, by axis."""
        return super().names() | {"map": self.maps}


@dataclass(frozen=True, eq=False)
class PatchMap(Result):
    """One map of each picture, whatever made it, such as one that `faithfulness` tests.

    kind: what it is, in words.
    """

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    kind: str
    values: Float[np.ndarray, "image row column"]


@dataclass(frozen=True, eq=False)
class HeadStatistics(Result):
    """What each head does: means over the queries that are patches, with all tokens as keys.

    entropy: of an attention row, in nats.
    effective_tokens: exp of a row's entropy.
    prefix_mass: attention on all prefix tokens together.
    self_mass: attention on the patch itself.
    local_mass: attention on the 3 x 3 patches around a patch, with the patch itself.
    nmi: mutual information of query and key, 0 (all queries attend alike) to 1 (each to its own).
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
