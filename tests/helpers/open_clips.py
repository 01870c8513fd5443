"""Small networks of open_clip, with tokenizers that are on this computer.

Import this only where open_clip is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from open_clip.model import CLIP, CustomTextCLIP, set_model_preprocess_cfg
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn

from tests.helpers.two_towers import siglip_tokenizer

CONTEXT = 26
"""Most tokens of a text; another number than those of the tokens of a picture."""

PICTURES: Mapping[str, Any] = {
    "size": 32,
    "mean": (0.4, 0.5, 0.6),
    "std": [0.2, 0.3, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
VISION = {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 32, "layers": 3}
TEXT = {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


def clip(quick: bool = False, pictures: Mapping[str, Any] = PICTURES, **vision: Any) -> Any:
    """A CLIP; vision: options of its image encoder that are not the usual ones."""
    torch.manual_seed(0)
    return ready(CLIP(24, VISION | vision, TEXT, quick_gelu=quick), pictures)


def siglip() -> Any:
    """A network with a bias, an attention pool of timm and a text tower that reads the last token.

    It has the tokens of `letters`.
    """
    torch.manual_seed(0)
    vision = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "none"}
    text = TEXT | {"vocab_size": 96, "pool_type": "last", "no_causal_mask": True, "proj_bias": True}
    network = CustomTextCLIP(32, vision | {"image_size": 32}, text, init_logit_bias=-1.5)
    # open_clip takes the names of timm's networks, none of which is small.
    network.visual.trunk = timm.create_model(
        "vit_base_patch16_siglip_224",
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=3,
        num_heads=2,
        num_classes=0,
    )
    return ready(network, PICTURES)


def perceptron(pictures: Mapping[str, Any] = PICTURES) -> Any:
    """A network of timm with a perceptron of open_clip behind it."""
    torch.manual_seed(0)
    vision = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "mlp"}
    network = CustomTextCLIP(24, vision | {"image_size": 160}, TEXT)
    return ready(network, {**pictures, "size": 160})


def ready(network: Any, pictures: Mapping[str, Any]) -> Any:
    """The network with peaked attention, and values of their own where all were alike."""
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.numel() > 1 and weights.std() < 1e-3:
                weights += 0.3 * torch.randn_like(weights)
            if name.endswith(("in_proj_weight", "qkv.weight", "attn_pool.q.weight")):
                weights *= 0.6 / weights.std()
            if name.endswith("token_embedding.weight"):
                weights *= 1 / weights.std()
    set_model_preprocess_cfg(network, dict(pictures))
    return network.eval()


def simple(**options: Any) -> SimpleTokenizer:
    """open_clip's own tokenizer, with its own vocabulary."""
    return SimpleTokenizer(**options)


def letters(folder: Path, **options: Any) -> HFTokenizer:
    """A tokenizer of transformers, saved in a folder, that knows letters and no words."""
    siglip_tokenizer().save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=CONTEXT, **options)


def own_logits(network: nn.Module, tokenizer: Any, texts: list[str], pixels: Tensor) -> Tensor:
    """The network's own scores, (image, text)."""
    return network.get_logits(pixels, tokenizer(texts, context_length=CONTEXT))[0]
