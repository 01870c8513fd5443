"""A made record of every kind, which follows its laws: what the tests of figures draw.

A new kind of record needs one function here and one line in `MAKERS`: every figure that shows it
is then found by the contract tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vit_inspect.layout import Box, TokenLayout
from vit_inspect.records.anatomy import (
    Anatomy,
    Attention,
    Block,
    BlockStage,
    Chain,
    Convolution,
    ConvolutionStage,
    LayerScale,
    Linear,
    Mlp,
    Normalisation,
    Part,
    Pooling,
    Position,
    Row,
    Skip,
    Tokens,
    Variant,
)
from vit_inspect.records.base import Photograph, Result
from vit_inspect.records.difference import Difference, difference
from vit_inspect.records.evidence import (
    LOG_PROBABILITY,
    SCORE,
    Ablation,
    AttentionRelevance,
    Faithfulness,
    FeaturePca,
    HeadImportance,
    HeadStatistics,
    LayerCka,
    Localisation,
    LogitLens,
    PatchMap,
    PatchMaps,
    Predictions,
    TokenNorms,
    TokenSimilarity,
)
from vit_inspect.records.paper import (
    AttentionDistance,
    AttentionMaps,
    AttentionRollout,
    EmbeddingFilters,
    PositionBias,
    PositionSimilarity,
    RotarySimilarity,
)
from vit_inspect.records.paper_figures import (
    PaperFigure6,
    PaperFigure7,
    PaperFigure10,
    PaperFigure11,
)
from vit_inspect.records.survey import (
    QUANTILES,
    ArtefactRate,
    ChosenClasses,
    GroupDifference,
    HeadGroups,
    HeadValues,
    LayerSteps,
    Spread,
    Steps,
)

Record = TypeVar("Record", bound=Result)

PREFIX = ("cls", "reg1")
NAMES = ("ant", "bee", "cat", "a dog of a race with a long name")


@dataclass(frozen=True)
class Size:
    """How many images, layers, heads, rows and columns a made record has."""

    images: int = 2
    layers: int = 3
    heads: int = 2
    grid: tuple[int, int] = (2, 3)


def made(kind: type[Record], size: Size | None = None) -> Record:
    """The made record of a kind; says what to add where there is none."""
    if kind not in MAKERS:
        raise LookupError(
            f"There is no made record of {kind.__name__}: add a function that makes one, and a "
            f"line for it in MAKERS, in tests/helpers/records.py."
        )
    record = MAKERS[kind](size or Size(), np.random.default_rng(0))
    assert isinstance(record, kind)
    return record


def layout_of(size: Size) -> TokenLayout:
    return TokenLayout(prefix=PREFIX, grid=size.grid, patch_px=(8, 8), readout="cls")


def photograph() -> Photograph:
    """Shown at half its size; the model saw the middle, and not the upper two rows."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    return Photograph("wide.png", pixels, (40, 80), Box(11.5, 2.0, 68.5, 40.0))


def filters(size: Size, random: np.random.Generator) -> EmbeddingFilters:
    components, _ = np.linalg.qr(random.normal(size=(4 * 4 * 3, 30)))
    share = np.geomspace(1, 0.01, 40)
    return EmbeddingFilters(
        "toy", "patch embedding", components.T.reshape(30, 4, 4, 3), share / share.sum()
    )


def filters_of(channels: int) -> Callable[[Size, np.random.Generator], EmbeddingFilters]:
    """The same for an input of other channels."""

    def make(size: Size, random: np.random.Generator) -> EmbeddingFilters:
        components, _ = np.linalg.qr(random.normal(size=(4 * 4 * channels, 12)))
        share = np.geomspace(1, 0.01, 16)
        return EmbeddingFilters(
            "toy",
            "patch embedding",
            components.T.reshape(12, 4, 4, channels),
            share / share.sum(),
        )

    return make


def position_similarity(size: Size, random: np.random.Generator) -> PositionSimilarity:
    table = random.normal(size=(*size.grid, 5))
    table /= np.linalg.norm(table, axis=-1, keepdims=True)
    return PositionSimilarity("toy", np.clip(np.einsum("ijd,kmd->ijkm", table, table), -1, 1))


def position_bias(size: Size, random: np.random.Generator) -> PositionBias:
    return bias_of(random.normal(size=(size.layers, size.heads, 3, 5)))


def bias_of(bias: np.ndarray) -> PositionBias:
    return PositionBias("toy", bias, *offsets(*bias.shape[2:]))


def offsets(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    return tuple(np.arange(-(count // 2), count // 2 + 1) for count in (rows, columns))


def rotary_similarity(size: Size, random: np.random.Generator) -> RotarySimilarity:
    """All layers and heads are turned alike, by eleven pairs."""
    return rotary_of(random.uniform(-3, 3, (1, 1, 11, 2)))


def mixed_rotary(size: Size, random: np.random.Generator) -> RotarySimilarity:
    """Every layer and head is turned in its own way."""
    return rotary_of(random.uniform(-3, 3, (size.layers, size.heads, 5, 2)))


def rotary_of(frequency: np.ndarray) -> RotarySimilarity:
    row, column = offsets(3, 5)
    down, right = frequency[..., 0, None, None], frequency[..., 1, None, None]
    similarity = np.cos(down * row[:, None] + right * column).mean(axis=2)
    return RotarySimilarity("toy", similarity, frequency, row, column)


def attention_maps(size: Size, random: np.random.Generator) -> AttentionMaps:
    layout, shape = layout_of(size), (size.images, size.layers, size.heads)
    tokens = random.dirichlet(np.full(layout.token_count, 0.3), shape)
    return AttentionMaps(
        "toy",
        layout,
        (photograph(),) * size.images,
        "patch (1, 2)",
        (1, 2),
        tokens[..., 2:].reshape(*shape, *size.grid),
        tokens[..., :2].copy(),
    )


def attention_distance(size: Size, random: np.random.Generator) -> AttentionDistance:
    shape = (size.images, size.layers, size.heads)
    return AttentionDistance(
        "toy", layout_of(size), "paper", random.uniform(0, 14, shape), random.uniform(0, 1, shape)
    )


def attention_relevance(size: Size, random: np.random.Generator) -> AttentionRelevance:
    shape = (size.images, *size.grid)
    return AttentionRelevance(
        "toy",
        layout_of(size),
        (photograph(),) * size.images,
        ("tabby", "tiger cat")[: size.images],
        random.uniform(0.1, 3, shape),
        random.uniform(0, 3, (size.images, 2)),
        random.normal(size=shape),
        np.maximum(random.normal(size=shape), 0),
    )


def attention_rollout(size: Size, random: np.random.Generator) -> AttentionRollout:
    layout = layout_of(size)
    tokens = random.dirichlet(np.ones(layout.token_count), (size.images, size.layers))
    growth = tokens[..., 2:].reshape(size.images, size.layers, *size.grid)
    return AttentionRollout(
        "toy",
        layout,
        (photograph(),) * size.images,
        "mean",
        0.0,
        0,
        growth[:, 0],
        tokens[:, 0, :2].copy(),
        growth,
    )


def feature_pca(size: Size, random: np.random.Generator) -> FeaturePca:
    scores = random.normal(size=(size.images, *size.grid, 3)) * [9, 3, 1]
    ends = np.percentile(scores, (2, 98), axis=(1, 2)).transpose(1, 2, 0)
    return FeaturePca(
        "toy",
        layout_of(size),
        (photograph(),) * size.images,
        size.layers - 1,
        "after the final norm",
        "each",
        scores,
        ends,
        np.array([[0.5, 0.2, 0.1]] * size.images),
    )


def token_similarity(size: Size, random: np.random.Generator) -> TokenSimilarity:
    """Patch (1, 2) of one photograph, compared with itself and with another one."""
    similarity = random.uniform(-1, 1, (size.images, *size.grid))
    similarity[0, 1, 2] = 1
    first = photograph()
    return TokenSimilarity(
        "toy",
        layout_of(size),
        (first, replace(first, name="other.png"))[: size.images],
        size.layers - 1,
        "after the final norm",
        (1, 2),
        (first,) * size.images,
        similarity,
    )


def logit_lens(size: Size, random: np.random.Generator) -> LogitLens:
    """Of four classes; the last layer of the first image finds its class, the second's does not."""
    readout = random.dirichlet(np.ones(4), (size.images, size.layers))
    patches = random.dirichlet(np.ones(4), (size.images, size.layers, *size.grid))
    readout[1:, -1] = 0.6, 0.3, 0.05, 0.05
    readout[0, -1] = 0.1, 0.7, 0.15, 0.05
    order = np.argsort(-readout, axis=-1)
    ranks = [1 + (each > each[..., [1]]).sum(axis=-1) for each in (readout, patches)]
    return LogitLens(
        "toy",
        layout_of(size),
        (photograph(),) * size.images,
        ("bee",) * size.images,
        np.ones(size.images, np.int64),
        readout[..., 1].copy(),
        ranks[0],
        patches[..., 1].copy(),
        ranks[1],
        tuple(tuple(map(tuple, image)) for image in np.array(NAMES)[order].tolist()),
        order,
        np.take_along_axis(readout, order, axis=-1),
        "single-label",
    )


def raw_lens(size: Size, random: np.random.Generator) -> LogitLens:
    """Of raw scores, some of them below 0."""
    lens = logit_lens(size, random)
    scores = {
        name: 40 * getattr(lens, name) - 12
        for name in ("readout_value", "patch_value", "top_value")
    }
    return replace(lens, **scores, outputs="scores")


def lens_of_one(size: Size, random: np.random.Generator) -> LogitLens:
    """Of a single raw score."""
    lens = raw_lens(size, random)
    one = np.ones_like(lens.readout_rank)
    return replace(
        lens,
        class_index=np.zeros_like(lens.class_index),
        readout_rank=one,
        patch_rank=np.ones_like(lens.patch_rank),
        top_labels=((("bee",),) * size.layers,) * size.images,
        top_class_index=0 * one[..., None],
        top_value=lens.readout_value[..., None],
    )


def layer_cka(size: Size, random: np.random.Generator) -> LayerCka:
    """The layers of one model against those of another one, which has one layer more."""
    images, layers = size.images, size.layers
    return LayerCka(
        "toy",
        "other toy",
        np.full(images, 6),
        random.uniform(0, 1, (images, layers, layers + 1)),
        np.ones((images, layers)),
        np.ones((images, layers + 1)),
    )


def token_norms(size: Size, random: np.random.Generator) -> TokenNorms:
    """The first image has an artefact from layer 1 on, the second one has none."""
    images, layers, grid = size.images, size.layers, size.grid
    depth = np.geomspace(1, 20, layers)[:, None, None]
    norm = random.uniform(1, 2, (images, layers, *grid)) * depth
    norm[0, 1:, 1, 2] *= 9
    count = grid[0] * grid[1]
    shares = random.dirichlet(np.ones(count), (2, images)).reshape(2, images, *grid)
    rollout, without = shares * 0.7
    without[0, 1, 2], without[1:] = 0, rollout[1:]
    rollout[0, 1, 2] = 0.3
    artefact = np.zeros((images, *grid), bool)
    artefact[0, 1, 2] = True
    drawn = np.zeros((images, layers))
    drawn[0], drawn[0, 1] = np.linspace(0.05, 0.2, layers), 0.4
    reason = (
        "the two groups that the norms fall into differ by a factor of 1.30; "
        "artefacts would differ by 2 or more"
    )
    return TokenNorms(
        "toy",
        layout_of(size),
        (photograph(),) * images,
        layers - 1,
        ("", *(reason,) * (images - 1)),
        norm,
        random.uniform(3, 5, (images, layers, 2)),
        artefact,
        np.array([120.5, *(np.inf,) * (images - 1)]),
        np.array([7.5, *(1.2,) * (images - 1)]),
        np.array([8.25, *(1.3,) * (images - 1)]),
        drawn,
        rollout,
        without,
    )


def head_importance(size: Size, random: np.random.Generator) -> HeadImportance:
    return HeadImportance(
        "toy",
        (photograph(),) * size.images,
        "mean",
        LOG_PROBABILITY,
        ("cat", "dog")[: size.images],
        random.normal(size=(size.images, size.layers, size.heads)),
    )


def raw_importance(size: Size, random: np.random.Generator) -> HeadImportance:
    return replace(head_importance(size, random), measure=SCORE)


def ablation(size: Size, random: np.random.Generator) -> Ablation:
    """Of a classifier of two classes; the answer is another one without a head and a patch."""
    images = size.images
    off = np.zeros((images, *size.grid), bool)
    off[:, 0, 1] = True
    change = np.linspace(0, 0.75, size.grid[0] * size.grid[1]).reshape(size.grid)
    return Ablation(
        "toy",
        (photograph(),) * images,
        ("L1 H1", "patch (0, 1)"),
        "mean",
        np.array([0.9, 0.8])[:images],
        np.array([0.4, 0.5])[:images],
        (("cat", "dog"),) * images,
        np.array([[7, 3]] * images),
        np.array([[0.7, 0.1]] * images),
        np.array([[0.2, 0.6]] * images),
        np.array([change] * images),
        off,
        "single-label",
    )


def ablated_features(size: Size, random: np.random.Generator) -> Ablation:
    """Of a model without classes, whose blocks return no row for each token."""
    images, none = size.images, np.zeros((size.images, 0))
    return replace(
        ablation(size, random),
        labels=((),) * images,
        class_index=none.astype(int),
        before=none,
        after=none,
        patch_change=np.zeros((images, 0, 0)),
    )


def raw_ablation(size: Size, random: np.random.Generator) -> Ablation:
    """Of raw scores, one of them below 0."""
    images = size.images
    before, after = np.array([[310.0, -42.5]] * images), np.array([[295.25, -60.0]] * images)
    return replace(ablation(size, random), before=before, after=after, outputs="scores")


def patch_map(size: Size, random: np.random.Generator) -> PatchMap:
    values = np.round(random.uniform(0, 3, (size.images, *size.grid)), 1)
    values[0, 0, :2], values[0, 1, 0] = (4.0, -1.0), 0.0
    photographs = (photograph(),) * size.images
    return PatchMap("toy", layout_of(size), photographs, "rollout", values)


def patch_maps(size: Size, random: np.random.Generator) -> PatchMaps:
    """Of every layer and head, and of all heads together."""
    layers, columns = map(str, range(size.layers)), map(str, range(size.heads))
    names = (*columns, "mean", "max")
    shape = (size.images, size.layers, len(names), *size.grid)
    values, photographs = np.round(random.uniform(0, 3, shape), 1), (photograph(),) * size.images
    kind = "attention from class token (CLS)"
    rows = tuple(layers)
    return PatchMaps(
        "toy", layout_of(size), photographs, kind, "Layer", rows, "Head", names, values
    )


def maps_of_layers(size: Size, random: np.random.Generator) -> PatchMaps:
    """One of each layer."""
    found = patch_maps(size, random)
    values = found.values[:, :, :1]
    return replace(found, kind="rollout", row_name="From layer", columns=("",), values=values)


def maps_of_ways(size: Size, random: np.random.Generator) -> PatchMaps:
    """Three of one kind, by different methods."""
    found = patch_maps(replace(size, layers=1, heads=1), random)
    ways = "Attention relevance", "Grad-CAM, last block", "Input × gradient"
    return replace(found, kind="relevance", rows=("",), columns=ways)


def faithfulness(size: Size, random: np.random.Generator) -> Faithfulness:
    """One map that beats the baselines in both curves, one that does in none."""
    areas = {"good": (0.2, 0.8), "poor": (0.5, 0.5), "centre": (0.45, 0.55)}
    return curves_of(areas, size)


def raw_curves(size: Size, random: np.random.Generator) -> Faithfulness:
    """Of a raw score, all values of which are below 0."""
    curves = faithfulness(size, random)
    scores = {name: 20 * array - 70 for name, array in curves.arrays().items() if name != "share"}
    words = "raw score of the only output"
    return replace(curves, **scores, score=words, outputs="scores")


def curves_of(areas: dict[str, tuple[float, float]], size: Size | None = None) -> Faithfulness:
    """Curves of areas that are given, deletion and insertion; random ones are 0.48 to 0.52."""
    size = size or Size()
    random = {f"random {order}": (0.47 + 0.01 * order,) * 2 for order in range(1, 6)}
    wanted = np.array(list({**areas, **random}.values()))
    share = np.linspace(0, 1, 5)
    # From 1 to 0 or back, and in between as high as it takes.
    middle = (4 * wanted - 0.5) / 3
    deletion = np.concatenate([[[1, each, each, each, 0]] for each in middle[:, 0]])
    insertion = np.concatenate([[[0, each, each, each, 1]] for each in middle[:, 1]])
    images = size.images
    return Faithfulness(
        "toy",
        layout_of(size),
        (photograph(),) * images,
        (*areas, *random),
        "probability of the class predicted for the whole picture",
        ("cat",) * images,
        1.0,
        np.tile(share, (images, 1)),
        np.tile(deletion, (images, 1, 1)),
        np.tile(insertion, (images, 1, 1)),
        np.tile(wanted[:, 0], (images, 1)),
        np.tile(wanted[:, 1], (images, 1)),
        "single-label",
    )


def localisation(size: Size, random: np.random.Generator) -> Localisation:
    """A map that lies in the boxes, one that has no positive values, and baselines."""
    names = ("relevance", "input × gradient", "centre", *(f"random {each}" for each in range(1, 6)))
    inside = random.uniform(0.2, 0.3, (size.images, len(names)))
    inside[:, 0], inside[:, 1] = random.uniform(0.6, 0.9, size.images), np.nan
    hit = random.integers(0, 2, inside.shape).astype(float)
    return Localisation(
        "toy",
        layout_of(size),
        (photograph(),) * size.images,
        names,
        tuple(NAMES[: size.images]),
        (Box(20, 5, 40, 30),) * size.images,
        inside,
        np.full(size.images, 0.25),
        hit,
        np.full(size.images, 1 / 6),
    )


def located_once(size: Size, random: np.random.Generator) -> Localisation:
    """Of one picture: no intervals."""
    return localisation(replace(size, images=1), random)


def head_statistics(size: Size, random: np.random.Generator) -> HeadStatistics:
    layout, shape = layout_of(size), (size.images, size.layers, size.heads)
    entropy = random.uniform(0, np.log(layout.token_count), shape)
    shares = random.uniform(0, 1, (4, *shape))
    return HeadStatistics(
        "toy", layout, entropy, np.exp(entropy), *shares, random.uniform(0, 14, shape)
    )


def spread(size: Size, random: np.random.Generator) -> Spread:
    """Of 2,000 pictures, as many of which are made as there are quantiles and more."""
    return spread_of(random.uniform(0, 14, (41, size.layers, size.heads)), size, count=2000)


def spread_of(
    values: np.ndarray, size: Size, *, count: int, statistic: str = "distance_px"
) -> Spread:
    """The spread of these values, by picture, layer and head."""
    order = np.moveaxis(np.argsort(values, axis=0, kind="stable"), 0, 2)
    return Spread(
        "toy",
        layout_of(size),
        statistic,
        count,
        values.mean(axis=0),
        values.std(axis=0),
        values.min(axis=0),
        values.max(axis=0),
        np.quantile(values, QUANTILES, axis=0),
        order[..., :5].copy(),
        order[..., ::-1][..., :5].copy(),
    )


def head_values(size: Size, random: np.random.Generator) -> HeadValues:
    """The distances of a head on 200 pictures."""
    values = random.normal(8, 1, 200)
    return HeadValues("toy", layout_of(size), "distance_px", 1, 0, "crops", values)


def steps(size: Size, random: np.random.Generator) -> Steps:
    """Of five surveys that are not equally far from each other."""
    mean = random.uniform(0, 14, (5, size.layers, size.heads))
    return Steps("toy", layout_of(size), "distance_px", 100, np.array([0, 10, 20, 50, 1500]), mean)


def layer_steps(size: Size, random: np.random.Generator) -> LayerSteps:
    """Of the similarity of layers, at the same steps."""
    value = random.uniform(-0.1, 1, (5, size.layers))
    return LayerSteps("toy", "cka", 100, np.array([0, 10, 20, 50, 1500]), value)


def artefact_steps(size: Size, random: np.random.Generator) -> LayerSteps:
    """Of one picture at one step, which has artefacts in the last layer."""
    value = (np.arange(size.layers) == size.layers - 1).astype(float)[None]
    return LayerSteps("toy", "artefacts", 1, np.array([0]), value)


def group_difference(size: Size, random: np.random.Generator) -> GroupDifference:
    """Of 30 and 12 pictures, in distances; one head has no spread."""
    shape = size.layers, size.heads
    first, second = random.uniform(4, 9, (2, *shape))
    reach, effect = random.uniform(0.5, 4, shape), (first - second) / random.uniform(1, 3, shape)
    low, high = first - second - reach, first - second + reach
    for each in (effect, low, high):
        each[0, 0] = np.nan
    groups, counts = ("cats", "$x$ cars"), (30, 12)
    numbers = first, second, first - second, effect, low, high
    return GroupDifference(
        "toy", layout_of(size), "distance_px", "crops", groups, counts, False, *numbers
    )


def pair_of_one(size: Size, random: np.random.Generator) -> GroupDifference:
    """Of one picture in two surveys, in shares."""
    first, second = random.uniform(0, 1, (2, size.layers, size.heads))
    unknown = [np.full(first.shape, np.nan) for _ in range(3)]
    numbers = first, second, first - second, *unknown
    return GroupDifference(
        "toy", layout_of(size), "prefix_mass", "a and b", ("a", "b"), (1, 1), True, *numbers
    )


def head_groups(size: Size, random: np.random.Generator) -> HeadGroups:
    """The distances of a head on 30 and on 12 pictures."""
    values = random.normal(6, 1, 30), random.normal(8, 1, 12)
    groups = "cats", "$x$ cars"
    return HeadGroups("toy", layout_of(size), "distance_px", 1, 0, groups, *values)


def chosen_classes(size: Size, random: np.random.Generator) -> ChosenClasses:
    """Of pictures without a label, of two labels that are classes, and of one that is none."""
    labels = (
        "",
        "ant",
        NAMES[3],
        "no class, of a long name that is more than most sheets have room for",
    )
    pictures = np.array([[3, 0, 1], [90, 6, 4], [0, 20, 0], [1, 2, 3]])
    confidence = np.where(pictures, np.linspace(0.2, 0.9, 12).reshape(4, 3), 0)
    classes, numbers = (NAMES[0], NAMES[2], NAMES[3]), np.array([0, 2, 3])
    own = np.array([-1, 0, 2, -1])
    return ChosenClasses("toy", "crops", labels, classes, numbers, pictures, confidence, own)


def artefact_rate(size: Size, random: np.random.Generator) -> ArtefactRate:
    """Of 2,000 pictures, with artefacts from layer 1 on."""
    depth = np.arange(size.layers)
    share, mean = np.minimum(0.3 * depth, 0.9), 1.7 * depth
    return ArtefactRate("toy", layout_of(size), "crops", 2000, share, mean, 4 * depth)


def no_artefacts(size: Size, random: np.random.Generator) -> ArtefactRate:
    none = np.zeros(size.layers)
    return ArtefactRate("toy", layout_of(size), "crops", 1, none, none, none.astype(int))


def unlabelled_classes(size: Size, random: np.random.Generator) -> ChosenClasses:
    """More classes than are shown, of pictures that have no label."""
    names = tuple(f"class {number}" for number in range(30))
    pictures, numbers = np.arange(30, 0, -1)[None], 2 * np.arange(30)
    confidence = random.uniform(0.1, 1, (1, 30))
    return ChosenClasses(
        "toy", "crops", ("",), names, numbers, pictures, confidence, np.array([-1])
    )


def spread_of_one(size: Size, random: np.random.Generator) -> Spread:
    """Of the masses on special tokens in a single picture."""
    values = random.uniform(0, 1, (1, size.layers, size.heads))
    return spread_of(values, size, count=1, statistic="prefix_mass")


NORM = Normalisation("LayerNorm", 16, 1e-6, parameters=32)
ATTENTION = Attention(2, 2, 8, inputs=16, output=16, bias=True, parameters=1088)
MLP = Mlp(16, 64, 16, "GELU", gated=False, bias=True, parameters=2128)
SCALE = LayerScale(16, parameters=16)
BLOCK: tuple[Part, ...] = (NORM, ATTENTION, SCALE, Skip(-1), NORM, MLP, SCALE, Skip(3))


def anatomy(size: Size, random: np.random.Generator) -> Anatomy:
    """A plain transformer, which is nearly of a named size."""
    layout = layout_of(size)
    patches = Convolution((8, 8), (8, 8), 3, 16, bias=True, parameters=3088)
    variant = Variant("ViT-X", Row(size.layers, 16, 60, 2, 9_000_000), "a paper, Table 1")
    return Anatomy(
        model="made",
        layout=layout,
        row=Row(size.layers, 16, 64, 2, 9_123_456),
        variant=variant,
        exact=False,
        stem=Chain((patches, Tokens(32), Position(layout.token_count, 16, 128))),
        stages=(BlockStage(Chain(), size.grid, (Block(BLOCK),) * size.layers),),
        stage=0,
        end=Chain((NORM, Linear(16, 4, bias=True, parameters=68))),
        readout="cls",
        read_after=1,
        output=(4,),
        shared=0,
        unread=(("mask_token", 16),),
        notices=(),
    )


def staged_anatomy(size: Size, random: np.random.Generator) -> Anatomy:
    """A hybrid stem, then two stages, of which the second is chosen and has unlike blocks."""
    made = anatomy(size, random)
    stem = Chain(
        (
            Convolution((7, 7), (2, 2), 3, 64, standardised=True, parameters=9408),
            Normalisation("GroupNorm", 64, 1e-5, groups=32, parameters=128),
            Pooling("maximum", (3, 3), (2, 2)),
            ConvolutionStage(3, 10, 256, (8, 12), True, ("GroupNorm",), 215808),
            Convolution((1, 1), (1, 1), 256, 16, bias=True, parameters=4112),
        )
    )
    windowed = replace(ATTENTION, window=4, relative=True, key_heads=1, query_norm=NORM)
    parts = (windowed, NORM, Skip(-1), replace(MLP, gated=True, inner_norm=NORM), NORM, Skip(2))
    merging = Chain((NORM, Linear(64, 16, bias=False)))
    layout = replace(made.layout, prefix=(), readout="mean of the patches")
    blocks = (*(Block(parts),) * (size.layers - 1), Block(BLOCK))
    return replace(
        made,
        layout=layout,
        row=replace(made.row, width=None, mlp=None, heads=None),
        variant=None,
        stem=stem,
        stages=(made.stages[0], BlockStage(merging, size.grid, blocks)),
        stage=1,
        end=Chain((NORM,)),
        readout=layout.readout,
        output=(16, *size.grid),
    )


def parallel_anatomy(size: Size, random: np.random.Generator) -> Anatomy:
    """A block with attention and MLP side by side, an attention pool, and no head."""
    made = anatomy(size, random)
    block = Block((NORM, replace(ATTENTION, rotary=True, bias=False), MLP, SCALE, Skip(-1)), (2,))
    return replace(
        made,
        stages=(BlockStage(Chain(), size.grid, (block,) * size.layers),),
        end=Chain((NORM, ATTENTION, NORM, MLP, Skip(1))),
        readout="attention pool",
        output=(16,),
    )


def map_difference(size: Size, random: np.random.Generator) -> Difference:
    """Of two maps of the patches."""
    left, right = patch_map(size, random), patch_map(size, random)
    return difference(left, replace(right, kind="relevance"), "values", words="attention weight")


def head_difference(size: Size, random: np.random.Generator) -> Difference:
    """Of a number of each head, of two models with long names."""
    left, right = attention_distance(size, random), attention_distance(size, random)
    return difference(
        replace(left, model="vit_large_patch14_clip_quickgelu_336.openai_ft"),
        replace(right, model="vit_base_patch16_clip_224.metaclip_2pt5b_and_a_longer_name"),
        "distance_px",
    )


def grid_difference(size: Size, random: np.random.Generator) -> Difference:
    """Of a map of each head, with one value that is far from all others."""
    left = attention_maps(size, random)
    weights = left.weights + random.normal(0, 0.001, left.weights.shape)
    weights[0, -1, -1, 0, 0] += 0.5
    return difference(left, replace(left, weights=weights), "weights")


def position_difference(size: Size, random: np.random.Generator) -> Difference:
    """Of a map of each patch, some of which are shown."""
    left, right = position_similarity(size, random), position_similarity(size, random)
    shown = {"row": range(0, size.grid[0], 2), "column": range(0, size.grid[1], 2)}
    return difference(left, replace(right, model="other"), "similarity", shown=shown)


def predictions(size: Size, random: np.random.Generator) -> Predictions:
    shares = -np.sort(-random.dirichlet(np.ones(4), size.images))
    return Predictions(
        "toy",
        (NAMES,) * size.images,
        shares,
        np.tile(np.arange(4), (size.images, 1)),
        "single-label",
    )


NOTHING = (
    "Not shown: found vit_large_patch14_clip_quickgelu_336.openai_ft without a convolution on its "
    "pixels; expected a patch embedding or a convolutional stem."
)
"""What a panel says that has no record, of a model with a long name."""


def paper_figure_6(size: Size, random: np.random.Generator) -> PaperFigure6:
    first, other = attention_rollout(size, random), attention_rollout(size, random)
    return PaperFigure6("toy, other", (first, replace(other, model="other")))


def paper_figure_7(size: Size, random: np.random.Generator) -> PaperFigure7:
    return PaperFigure7(
        "toy",
        filters(size, random),
        position_similarity(size, random),
        attention_distance(size, random),
    )


def paper_figure_7_of(
    make_filters: Callable[[Size, np.random.Generator], EmbeddingFilters | str],
    make_positions: Callable[
        [Size, np.random.Generator], PositionSimilarity | RotarySimilarity | PositionBias | str
    ],
) -> Callable[[Size, np.random.Generator], PaperFigure7]:
    """The same of a model with other filters and positions."""

    def make(size: Size, random: np.random.Generator) -> PaperFigure7:
        return replace(
            paper_figure_7(size, random),
            filters=make_filters(size, random),
            positions=make_positions(size, random),
        )

    return make


def nothing(size: Size, random: np.random.Generator) -> str:
    return NOTHING


def paper_figure_10(size: Size, random: np.random.Generator) -> PaperFigure10:
    square = position_similarity(Size(grid=(4, 4)), random)
    return PaperFigure10("toy", (position_similarity(size, random), square, square))


def mixed_figure_10(size: Size, random: np.random.Generator) -> PaperFigure10:
    return PaperFigure10(
        "toy",
        (
            position_similarity(Size(grid=(4, 4)), random),
            rotary_similarity(size, random),
            position_bias(size, random),
        ),
    )


def lone_figure_10(size: Size, random: np.random.Generator) -> PaperFigure10:
    return PaperFigure10("toy", (mixed_rotary(size, random), NOTHING))


def paper_figure_11(size: Size, random: np.random.Generator) -> PaperFigure11:
    other = attention_distance(Size(layers=24, heads=12), random)
    return PaperFigure11("toy", (attention_distance(size, random), other))


MAKERS: dict[type[Result], Callable[[Size, np.random.Generator], Result]] = {
    EmbeddingFilters: filters,
    PositionSimilarity: position_similarity,
    PositionBias: position_bias,
    RotarySimilarity: rotary_similarity,
    AttentionDistance: attention_distance,
    AttentionMaps: attention_maps,
    AttentionRollout: attention_rollout,
    AttentionRelevance: attention_relevance,
    FeaturePca: feature_pca,
    TokenSimilarity: token_similarity,
    LogitLens: logit_lens,
    LayerCka: layer_cka,
    TokenNorms: token_norms,
    HeadImportance: head_importance,
    Faithfulness: faithfulness,
    Localisation: localisation,
    HeadStatistics: head_statistics,
    Ablation: ablation,
    PatchMap: patch_map,
    PatchMaps: patch_maps,
    Difference: map_difference,
    Anatomy: anatomy,
    GroupDifference: group_difference,
    HeadGroups: head_groups,
    HeadValues: head_values,
    ChosenClasses: chosen_classes,
    ArtefactRate: artefact_rate,
    Spread: spread,
    Steps: steps,
    LayerSteps: layer_steps,
    Predictions: predictions,
    PaperFigure6: paper_figure_6,
    PaperFigure7: paper_figure_7,
    PaperFigure10: paper_figure_10,
    PaperFigure11: paper_figure_11,
}
"""Who makes the record of each kind."""

VARIANTS: dict[type[Result], tuple[Callable[[Size, np.random.Generator], Result], ...]] = {
    Anatomy: (staged_anatomy, parallel_anatomy),
    EmbeddingFilters: (filters_of(1), filters_of(2), filters_of(13)),
    Ablation: (ablated_features, raw_ablation),
    Faithfulness: (raw_curves,),
    Localisation: (located_once,),
    HeadImportance: (raw_importance,),
    LogitLens: (raw_lens, lens_of_one),
    RotarySimilarity: (mixed_rotary,),
    PaperFigure7: (
        paper_figure_7_of(filters_of(1), rotary_similarity),
        paper_figure_7_of(filters_of(13), mixed_rotary),
        paper_figure_7_of(nothing, position_bias),
        paper_figure_7_of(filters_of(2), nothing),
    ),
    PatchMaps: (maps_of_layers, maps_of_ways),
    Difference: (head_difference, grid_difference, position_difference),
    PaperFigure10: (mixed_figure_10, lone_figure_10),
    GroupDifference: (pair_of_one,),
    Spread: (spread_of_one,),
    LayerSteps: (artefact_steps,),
    ChosenClasses: (unlabelled_classes,),
    ArtefactRate: (no_artefacts,),
}
"""Further records of a kind whose figure looks different for them."""


def all_made(kind: type[Record], size: Size | None = None) -> list[Record]:
    """Every made record of a kind."""
    others = VARIANTS.get(kind, ())
    more = [make(size or Size(), np.random.default_rng(0)) for make in others]
    return [made(kind, size), *more]  # type: ignore[list-item]
