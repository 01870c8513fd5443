"""A microscope for vision transformers: the inspection figures of the ViT paper, for any model.

    model = vit_inspect.load("dinov2_small")
    image = vit_inspect.read_image("photo.jpg")
    capture = vit_inspect.capture(model, image)
    vit_inspect.attention_rollout(capture).relevance

Names are imported when they are first used, so that importing the package stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vit_inspect.analyses.ablation import ablate
    from vit_inspect.analyses.attention_distance import attention_distance
    from vit_inspect.analyses.attention_maps import attention_maps, mass_mask
    from vit_inspect.analyses.attention_relevance import attention_relevance
    from vit_inspect.analyses.attention_rollout import attention_rollout
    from vit_inspect.analyses.embedding_filters import embedding_filters
    from vit_inspect.analyses.faithfulness import faithfulness, rank_correlation
    from vit_inspect.analyses.feature_pca import feature_pca
    from vit_inspect.analyses.head_importance import head_importance
    from vit_inspect.analyses.head_statistics import head_statistics
    from vit_inspect.analyses.layer_cka import cka, layer_cka
    from vit_inspect.analyses.logit_lens import logit_lens
    from vit_inspect.analyses.position_bias import position_bias
    from vit_inspect.analyses.position_similarity import position_similarity
    from vit_inspect.analyses.predictions import predictions
    from vit_inspect.analyses.rotary_similarity import rotary_similarity
    from vit_inspect.analyses.token_norms import token_norms
    from vit_inspect.analyses.token_similarity import token_similarity
    from vit_inspect.catalog import FIGURES
    from vit_inspect.errors import (
        BadImage,
        BadParameter,
        InspectError,
        OutOfMemory,
        OutputFailed,
        UnsupportedModel,
        WeightsUnavailable,
    )
    from vit_inspect.exporter import export
    from vit_inspect.gallery import SAMPLES, sample
    from vit_inspect.images import read_image
    from vit_inspect.layout import TokenLayout
    from vit_inspect.loading.models import load
    from vit_inspect.loading.randomising import randomised
    from vit_inspect.loading.wrapping import wrap
    from vit_inspect.model import Model
    from vit_inspect.preprocessing import Recipe
    from vit_inspect.recorder import Capture, capture

_HOMES = {
    "analyses.ablation": ("ablate",),
    "analyses.attention_distance": ("attention_distance",),
    "analyses.attention_relevance": ("attention_relevance",),
    "analyses.attention_maps": ("attention_maps", "mass_mask"),
    "analyses.attention_rollout": ("attention_rollout",),
    "analyses.embedding_filters": ("embedding_filters",),
    "analyses.feature_pca": ("feature_pca",),
    "analyses.layer_cka": ("cka", "layer_cka"),
    "analyses.logit_lens": ("logit_lens",),
    "analyses.head_importance": ("head_importance",),
    "analyses.faithfulness": ("faithfulness", "rank_correlation"),
    "analyses.head_statistics": ("head_statistics",),
    "analyses.position_bias": ("position_bias",),
    "analyses.position_similarity": ("position_similarity",),
    "analyses.predictions": ("predictions",),
    "analyses.rotary_similarity": ("rotary_similarity",),
    "analyses.token_similarity": ("token_similarity",),
    "analyses.token_norms": ("token_norms",),
    "recorder": ("Capture", "capture"),
    "catalog": ("FIGURES",),
    "errors": (
        "BadImage",
        "BadParameter",
        "InspectError",
        "OutOfMemory",
        "OutputFailed",
        "UnsupportedModel",
        "WeightsUnavailable",
    ),
    "exporter": ("export",),
    "gallery": ("SAMPLES", "sample"),
    "images": ("read_image",),
    "layout": ("TokenLayout",),
    "loading.models": ("load",),
    "loading.randomising": ("randomised",),
    "loading.wrapping": ("wrap",),
    "model": ("Model",),
    "preprocessing": ("Recipe",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "FIGURES",
    "SAMPLES",
    "BadImage",
    "BadParameter",
    "Capture",
    "InspectError",
    "Model",
    "OutOfMemory",
    "OutputFailed",
    "Recipe",
    "TokenLayout",
    "UnsupportedModel",
    "WeightsUnavailable",
    "ablate",
    "attention_distance",
    "attention_maps",
    "attention_relevance",
    "attention_rollout",
    "capture",
    "cka",
    "embedding_filters",
    "export",
    "faithfulness",
    "feature_pca",
    "head_importance",
    "head_statistics",
    "layer_cka",
    "load",
    "logit_lens",
    "mass_mask",
    "position_bias",
    "position_similarity",
    "predictions",
    "randomised",
    "rank_correlation",
    "read_image",
    "rotary_similarity",
    "sample",
    "token_norms",
    "token_similarity",
    "wrap",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
