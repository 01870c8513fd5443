"""Small made-up results that follow their laws: 2 images, 3 layers, 2 heads, a 2x3 grid."""

from __future__ import annotations

import numpy as np
import pytest

from vit_inspect.layout import Box, TokenLayout
from vit_inspect.results import (
    AttentionDistance,
    AttentionMaps,
    AttentionRelevance,
    AttentionRollout,
    EmbeddingFilters,
    Photograph,
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
