"""The made records as fixtures: 2 images, 3 layers, 2 heads, a 2x3 grid."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import records
from tests.helpers.records import Size, made
from vit_inspect.layout import TokenLayout
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import (
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


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def layout() -> TokenLayout:
    return records.layout_of(Size())


@pytest.fixture
def photograph() -> Photograph:
    return records.photograph()


@pytest.fixture
def filters() -> EmbeddingFilters:
    return made(EmbeddingFilters)


@pytest.fixture
def similarity() -> PositionSimilarity:
    return made(PositionSimilarity)


@pytest.fixture
def bias() -> PositionBias:
    return made(PositionBias)


@pytest.fixture
def rotary() -> RotarySimilarity:
    return made(RotarySimilarity)


@pytest.fixture
def mixed(random: np.random.Generator) -> RotarySimilarity:
    return records.mixed_rotary(Size(), random)


@pytest.fixture
def maps() -> AttentionMaps:
    return made(AttentionMaps)


@pytest.fixture
def distance() -> AttentionDistance:
    return made(AttentionDistance)


@pytest.fixture
def relevance() -> AttentionRelevance:
    return made(AttentionRelevance)


@pytest.fixture
def rollout() -> AttentionRollout:
    return made(AttentionRollout)


@pytest.fixture
def colours() -> FeaturePca:
    return made(FeaturePca)


@pytest.fixture
def alike() -> TokenSimilarity:
    return made(TokenSimilarity)


@pytest.fixture
def lens() -> LogitLens:
    return made(LogitLens)


@pytest.fixture
def cka() -> LayerCka:
    return made(LayerCka)


@pytest.fixture
def norms() -> TokenNorms:
    return made(TokenNorms)


@pytest.fixture
def importance() -> HeadImportance:
    return made(HeadImportance)


@pytest.fixture
def switched_off() -> Ablation:
    return made(Ablation)


@pytest.fixture
def single() -> PatchMap:
    return made(PatchMap)


@pytest.fixture
def curves() -> Faithfulness:
    return made(Faithfulness)


@pytest.fixture
def statistics() -> HeadStatistics:
    return made(HeadStatistics)
