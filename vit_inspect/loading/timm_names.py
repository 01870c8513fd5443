"""Which trained models of timm can be loaded, and what is known of each before it is loaded?

Everything comes from timm's own list and from the disk: no network is made, and no hub is asked.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import timm
import torch
from timm.models import get_pretrained_cfg, is_model_in_modules

from vit_inspect.loading.bundled import BUNDLED
from vit_inspect.loading.hub import is_cached
from vit_inspect.loading.refused_families import OTHER_ARCHITECTURES, OTHER_FAMILIES
from vit_inspect.loading.timm_anatomy import SERVED_CROPS, class_count

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of a repository that timm takes weights from, the preferred one first."""

FAMILIES = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"^naflexvit_", "NaFlexViT"),
        (r"^qwen3_vit_", "Qwen3-ViT"),
        (r"^gemma4_vit_", "Gemma4-ViT"),
        (r"^samvit_", "SAM's encoder"),
        (r"^swinv2_cr_", "Swin v2-cr"),
        (r"^swinv2_", "Swin v2"),
        (r"^swin_", "Swin"),
        (r"^vitamin_", "ViTamin"),
        (r"^flexivit_", "FlexiViT"),
        (r"^aimv2_", "AIMv2"),
        (r"^deit3?_", "DeiT"),
        (r"^beit(v2|3)?_", "BEiT"),
        (r"^eva02_", "EVA-02"),
        (r"^eva_", "EVA"),
        (r"^vit_intern", "InternViT"),
        (r"_r\d*_s\d+_|_mci_", "hybrids"),
        (r"_s?relpos_", "relative positions"),
        (r"_rope_", "RoPE ViT"),
        (r"_pe_(core|lang|spatial)_", "PE"),
        (r"_sapiens2", "Sapiens2"),
        (r"_tipsv2", "TIPSv2"),
        (r"_radio_", "RADIO"),
        (r"_dinov3|_lingbot", "DINOv3"),
        (r"_dinov2", "DINOv2"),
        (r"_siglip_.*\.v2_", "SigLIP 2"),
        (r"_siglip_", "SigLIP"),
        (r"_clip_", "CLIP"),
        (r"\.dino$", "DINO"),
        (r"\.mae$", "MAE"),
        (r"ijepa$", "I-JEPA"),
        (r"^(test_)?vit", "ViT"),
    )
)
"""What the families are called, by a pattern of architecture and tag; the first that fits."""

SIZE = re.compile(
    r"_(x?small|tiny|base|x?large2?|huge|giant(opt)?|gigantic|enormous|mediumd?|betwixt|d?little"
    r"|d?p?wee|so\d+m2?|intern\d+m|\d+[mb])(_plus)?(_|$)"
)
"""The word for its size in the name of an architecture."""

PATCH = re.compile(r"patch(\d+)|_r\d+_s(\d+)_")
OTHER_PATCHES = (
    (re.compile(r"^swin"), 4),
    (re.compile(r"^(flexivit|vitamin|qwen3_vit|gemma4_vit|test_vit)|_mci_"), 16),
    (re.compile(r"_r_s16_p8_"), 32),
)
"""Sides of patches in px, where the name does not say them; of Swin those of the first stage."""


KEPT = 4096
"""Names whose facts are remembered; strangers may type any."""


class Named(NamedTuple):
    """A model of timm, as far as its name and timm's list tell.

    size: the word in its name, such as "base" or "so400m"; None if there is none.
    patch_px: side of a patch in px; None where it is not known.
    input_px: (rows, columns) of the input that it was trained for.
    class_count: of its classifier; 0 if it has none.
    """

    name: str
    family: str
    size: str | None
    patch_px: int | None
    input_px: tuple[int, int]
    class_count: int


@cache
def served() -> tuple[Named, ...]:
    """All models that timm has weights of and that can be inspected, by name."""
    found = (named(name) for name in timm.list_models(pretrained=True))
    return tuple(each for each in found if each is not None)


@lru_cache(KEPT)
def named(name: str) -> Named | None:
    """What is known of a model; None for a name that is no vision transformer of timm's list."""
    config = _config(name)
    if config is None:
        return None
    architecture = config.architecture
    told = f"{architecture}.{config.tag or ''}"
    family = next((family for pattern, family in FAMILIES if pattern.search(told)), None)
    if (
        family is None
        or is_model_in_modules(architecture, OTHER_FAMILIES.keys())
        or OTHER_ARCHITECTURES.match(architecture)
        or config.crop_mode not in SERVED_CROPS
    ):
        return None
    options = BUNDLED[name].options if name in BUNDLED else {}
    # Another width than its architecture's has another size than that name says.
    size = None if "embed_dim" in options else SIZE.search(architecture)
    patch = PATCH.search(architecture)
    other = (px for pattern, px in OTHER_PATCHES if pattern.search(architecture))
    _, rows, columns = config.input_size
    return Named(
        name=name,
        family=family,
        size=f"{size[1]}{(size[3] or '').replace('_', ' ')}" if size else None,
        patch_px=options.get("patch_size")
        or (int(patch[1] or patch[2]) if patch else next(other, None)),
        input_px=(rows, columns),
        class_count=class_count(config.to_dict()),
    )


def is_here(name: str) -> bool | None:
    """Whether the weights of a model of timm are on this machine: no connection is needed then.

    None where timm has no weights of it at all.
    """
    if name in BUNDLED:
        return True
    config = _config(name)
    if config is None or not config.has_weights:
        return None
    if config.hf_hub_id:
        return is_cached(config.hf_hub_id, HUB_FILES)
    file = Path(urlparse(config.url or "").path).name
    return bool(file) and (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


@lru_cache(KEPT)
def _config(name: str) -> Any:
    """timm's entry of a name; None where it has no such architecture or no such tag."""
    if own := BUNDLED.get(name):
        overlay = own.options.get("pretrained_cfg_overlay", {})
        config: Any = get_pretrained_cfg(own.architecture)
        return replace(config, **overlay)
    try:
        return get_pretrained_cfg(name)
    except RuntimeError:
        return None
