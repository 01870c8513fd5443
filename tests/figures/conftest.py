"""Small made-up results that follow their laws: 2 images, 3 layers, 2 heads, a 2x3 grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.layout import Box, TokenLayout
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import (
    LOG_PROBABILITY,
    Ablation,
    AttentionRelevance,
    Faithfulness,
    FeaturePca,
    HeadImportance,
    HeadStatistics,
    LayerCka,
    LogitLens,
    PatchMap,
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

IMAGES, LAYERS, HEADS, GRID, PREFIX = 2, 3, 2, (2, 3), ("cls", "reg1")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def layout() -> TokenLayout:
    return TokenLayout(prefix=PREFIX, grid=GRID, patch_px=(8, 8), readout="cls")


@pytest.fixture
def photograph(random: np.random.Generator) -> Photograph:
    """Shown at half its size; the model saw the middle, and not the upper two rows."""
    pixels = random.integers(0, 256, (20, 40, 3), dtype=np.uint8)
    return Photograph("wide.png", pixels, (40, 80), Box(11.5, 2.0, 68.5, 40.0))


@pytest.fixture
def filters(random: np.random.Generator) -> EmbeddingFilters:
    components, _ = np.linalg.qr(random.normal(size=(4 * 4 * 3, 30)))
    share = np.geomspace(1, 0.01, 40)
    return EmbeddingFilters(
        "toy", "patch embedding", components.T.reshape(30, 4, 4, 3), share / share.sum()
    )


@pytest.fixture
def similarity(random: np.random.Generator) -> PositionSimilarity:
    return made_similarity(random, GRID)


def made_similarity(random: np.random.Generator, grid: tuple[int, int]) -> PositionSimilarity:
    table = random.normal(size=(*grid, 5))
    table /= np.linalg.norm(table, axis=-1, keepdims=True)
    return PositionSimilarity("toy", np.clip(np.einsum("ijd,kmd->ijkm", table, table), -1, 1))


@pytest.fixture
def bias(random: np.random.Generator) -> PositionBias:
    return made_bias(random.normal(size=(LAYERS, HEADS, 3, 5)))


def made_bias(bias: np.ndarray) -> PositionBias:
    return PositionBias("toy", bias, *offsets(*bias.shape[2:]))


def offsets(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.arange(-(count // 2), count // 2 + 1) for count in (rows, columns))


@pytest.fixture
def rotary(random: np.random.Generator) -> RotarySimilarity:
    """All layers and heads are turned alike, by eleven pairs."""
    return made_rotary(random.uniform(-3, 3, (1, 1, 11, 2)))


@pytest.fixture
def mixed(random: np.random.Generator) -> RotarySimilarity:
    return made_rotary(random.uniform(-3, 3, (LAYERS, HEADS, 5, 2)))


def made_rotary(frequency: np.ndarray) -> RotarySimilarity:
    row, column = offsets(3, 5)
    down, right = frequency[..., 0, None, None], frequency[..., 1, None, None]
    similarity = np.cos(down * row[:, None] + right * column).mean(axis=2)
    return RotarySimilarity("toy", similarity, frequency, row, column)


@pytest.fixture
def maps(random: np.random.Generator, layout: TokenLayout, photograph: Photograph) -> AttentionMaps:
    tokens = random.dirichlet(np.full(layout.token_count, 0.3), (IMAGES, LAYERS, HEADS))
    return AttentionMaps(
        "toy",
        layout,
        (photograph,) * IMAGES,
        "patch (1, 2)",
        (1, 2),
        tokens[..., 2:].reshape(IMAGES, LAYERS, HEADS, *GRID),
        tokens[..., :2].copy(),
    )


@pytest.fixture
def distance(random: np.random.Generator, layout: TokenLayout) -> AttentionDistance:
    shape = (IMAGES, LAYERS, HEADS)
    return AttentionDistance(
        "toy", layout, "paper", random.uniform(0, 14, shape), random.uniform(0, 1, shape)
    )


@pytest.fixture
def relevance(
    random: np.random.Generator, layout: TokenLayout, photograph: Photograph
) -> AttentionRelevance:
    return AttentionRelevance(
        "toy",
        layout,
        (photograph,) * IMAGES,
        ("tabby", "tiger cat"),
        random.uniform(0.1, 3, (IMAGES, *GRID)),
        random.uniform(0, 3, (IMAGES, 2)),
        random.normal(size=(IMAGES, *GRID)),
        np.maximum(random.normal(size=(IMAGES, *GRID)), 0),
    )


@pytest.fixture
def rollout(
    random: np.random.Generator, layout: TokenLayout, photograph: Photograph
) -> AttentionRollout:
    tokens = random.dirichlet(np.ones(layout.token_count), (IMAGES, LAYERS))
    growth = tokens[..., 2:].reshape(IMAGES, LAYERS, *GRID)
    return AttentionRollout(
        "toy",
        layout,
        (photograph,) * IMAGES,
        "mean",
        0.0,
        0,
        growth[:, 0],
        tokens[:, 0, :2].copy(),
        growth,
    )


@pytest.fixture
def colours(random: np.random.Generator, layout: TokenLayout, photograph: Photograph) -> FeaturePca:
    scores = random.normal(size=(IMAGES, *GRID, 3)) * [9, 3, 1]
    ends = np.percentile(scores, (2, 98), axis=(1, 2)).transpose(1, 2, 0)
    share = np.array([[0.5, 0.2, 0.1]] * IMAGES)
    state = "after the final norm"
    return FeaturePca("toy", layout, (photograph,) * IMAGES, 2, state, "each", scores, ends, share)


@pytest.fixture
def alike(
    random: np.random.Generator, layout: TokenLayout, photograph: Photograph
) -> TokenSimilarity:
    """Patch (1, 2) of one photograph, compared with itself and with another one."""
    similarity = random.uniform(-1, 1, (IMAGES, *GRID))
    similarity[0, 1, 2] = 1
    other = replace(photograph, name="other.png")
    return TokenSimilarity(
        "toy",
        layout,
        (photograph, other),
        2,
        "after the final norm",
        (1, 2),
        (photograph,) * IMAGES,
        similarity,
    )


@pytest.fixture
def lens(random: np.random.Generator, layout: TokenLayout, photograph: Photograph) -> LogitLens:
    """Of four classes; the last layer of the first image finds its class, the second's does not."""
    readout = random.dirichlet(np.ones(4), (IMAGES, LAYERS))
    patches = random.dirichlet(np.ones(4), (IMAGES, LAYERS, *GRID))
    readout[0, -1] = 0.1, 0.7, 0.15, 0.05
    readout[1, -1] = 0.6, 0.3, 0.05, 0.05
    names = np.array(["ant", "bee", "cat", "a dog of a race with a long name"])
    order = np.argsort(-readout, axis=-1)
    ranks = [1 + (each > each[..., [1]]).sum(axis=-1) for each in (readout, patches)]
    return LogitLens(
        "toy",
        layout,
        (photograph,) * IMAGES,
        ("bee",) * IMAGES,
        np.ones(IMAGES, np.int64),
        readout[..., 1].copy(),
        ranks[0],
        patches[..., 1].copy(),
        ranks[1],
        tuple(tuple(map(tuple, image)) for image in names[order].tolist()),
        order,
        np.take_along_axis(readout, order, axis=-1),
    )


@pytest.fixture
def cka(random: np.random.Generator) -> LayerCka:
    """Three layers of one model against four of another."""
    return LayerCka(
        "toy",
        "other toy",
        np.full(IMAGES, 6),
        random.uniform(0, 1, (IMAGES, LAYERS, LAYERS + 1)),
        np.ones((IMAGES, LAYERS)),
        np.ones((IMAGES, LAYERS + 1)),
    )


@pytest.fixture
def norms(random: np.random.Generator, layout: TokenLayout, photograph: Photograph) -> TokenNorms:
    """The first image has an artefact from layer 1 on, the second one has none."""
    norm = random.uniform(1, 2, (IMAGES, LAYERS, *GRID)) * np.array([1, 3, 20])[:, None, None]
    norm[0, 1:, 1, 2] *= 9
    rollout, without = random.dirichlet(np.ones(6), (2, IMAGES)).reshape(2, IMAGES, *GRID) * 0.7
    without[0, 1, 2], without[1] = 0, rollout[1]
    rollout[0, 1, 2] = 0.3
    artefact = np.zeros((IMAGES, *GRID), bool)
    artefact[0, 1, 2] = True
    return TokenNorms(
        "toy",
        layout,
        (photograph,) * IMAGES,
        2,
        ("", "the larger group of norms is 1.30 times the other, below 2"),
        norm,
        random.uniform(3, 5, (IMAGES, LAYERS, 2)),
        artefact,
        np.array([120.5, np.inf]),
        np.array([7.5, 1.2]),
        np.array([8.25, 1.3]),
        np.array([[0.05, 0.4, 0.2], [0, 0, 0]]),
        rollout,
        without,
    )


@pytest.fixture
def importance(random: np.random.Generator, photograph: Photograph) -> HeadImportance:
    return HeadImportance(
        "toy",
        (photograph,) * IMAGES,
        "mean",
        LOG_PROBABILITY,
        ("cat", "dog") * (IMAGES // 2),
        random.normal(size=(IMAGES, LAYERS, HEADS)),
    )


@pytest.fixture
def switched_off(photograph: Photograph) -> Ablation:
    """Of a classifier of two classes; the answer is another one without a head and a patch."""
    return Ablation(
        "toy",
        (photograph,) * IMAGES,
        ("layer 1, head 2", "patch (0, 1)"),
        "mean",
        np.array([0.9, 0.8]),
        np.array([0.4, 0.5]),
        (("cat", "dog"),) * IMAGES,
        np.array([[7, 3]] * IMAGES),
        np.array([[0.7, 0.1]] * IMAGES),
        np.array([[0.2, 0.6]] * IMAGES),
        np.array([[[0, 0.5, 0.25], [0, 0, 0.75]]] * IMAGES),
        np.array([[[False, True, False], [False, False, False]]] * IMAGES),
    )


@pytest.fixture
def single(layout: TokenLayout, photograph: Photograph) -> PatchMap:
    values = np.array([[4.0, -1.0, 2.0], [0.0, 1.0, 3.0]])
    return PatchMap("toy", layout, (photograph,), "rollout", values[None])


@pytest.fixture
def curves(
    random: np.random.Generator, layout: TokenLayout, photograph: Photograph
) -> Faithfulness:
    """One map that beats the baselines in both curves, one that does in none."""
    return made_curves(
        layout, photograph, {"good": (0.2, 0.8), "poor": (0.5, 0.5), "centre": (0.45, 0.55)}
    )


def made_curves(
    layout: TokenLayout, photograph: Photograph, areas: dict[str, tuple[float, float]]
) -> Faithfulness:
    """Curves of areas that are given, deletion and insertion; random ones are 0.48 to 0.52."""
    random = {f"random {order}": (0.47 + 0.01 * order,) * 2 for order in range(1, 6)}
    wanted = np.array(list({**areas, **random}.values()))
    share = np.linspace(0, 1, 5)
    # From 1 to 0 or back, and in between as high as it takes.
    middle = (4 * wanted - 0.5) / 3
    deletion = np.concatenate([[[1, each, each, each, 0]] for each in middle[:, 0]])
    insertion = np.concatenate([[[0, each, each, each, 1]] for each in middle[:, 1]])
    return Faithfulness(
        "toy",
        layout,
        (photograph,) * IMAGES,
        (*areas, *random),
        "probability of the class predicted for the whole picture",
        ("cat",) * IMAGES,
        1.0,
        np.tile(share, (IMAGES, 1)),
        np.tile(deletion, (IMAGES, 1, 1)),
        np.tile(insertion, (IMAGES, 1, 1)),
        np.tile(wanted[:, 0], (IMAGES, 1)),
        np.tile(wanted[:, 1], (IMAGES, 1)),
    )


@pytest.fixture
def statistics(random: np.random.Generator, layout: TokenLayout) -> HeadStatistics:
    return made_statistics(random, layout, (IMAGES, LAYERS, HEADS))


def made_statistics(
    random: np.random.Generator, layout: TokenLayout, shape: tuple[int, int, int]
) -> HeadStatistics:
    entropy = random.uniform(0, np.log(layout.token_count), shape)
    shares = random.uniform(0, 1, (4, *shape))
    return HeadStatistics(
        "toy", layout, entropy, np.exp(entropy), *shares, random.uniform(0, 14, shape)
    )
