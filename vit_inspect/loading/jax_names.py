"""Which names and which order of axes do the weights of a JAX vision transformer have?

Converts the official .npz checkpoints of google-research/vision_transformer (plain and hybrid) and
of big_vision (SigLIP and others) to the names and axes of PyTorch's modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

ROOTS = ("", "opt/target/", "params/", "params/img/")
"""Possible beginnings of the names of the image encoder's weights."""

STACKED = "Transformer/encoderblock/"
"""In big_vision's scanned models, the first axis of these arrays is the layer."""

RULES = (
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"^MAPHead_0/LayerNorm_0/", "attn_pool.norm."),
    (r"^MAPHead_0/MultiHeadDotProductAttention_0/out/", "attn_pool.proj."),
    (r"^MAPHead_0/MultiHeadDotProductAttention_0/query/", "attn_pool.q."),
    (r"^MAPHead_0/MultiHeadDotProductAttention_0/", "attn_pool."),
    (r"^MAPHead_0/probe$", "attn_pool.latent"),
    (r"^MAPHead_0/", "attn_pool."),
    (r"MultiHeadDotProductAttention_\d/out/", "attn.proj."),
    (r"MultiHeadDotProductAttention_\d/", "attn."),
    (r"LayerNorm_0/", "norm1."),
    (r"LayerNorm_[12]/", "norm2."),
    (r"MlpBlock_\d/Dense_0/", "mlp.fc1."),
    (r"MlpBlock_\d/Dense_1/", "mlp.fc2."),
    (r"^Transformer/encoder_norm/", "norm."),
    (r"^(Transformer/posembed_input/)?pos_embedding$", "pos_embed"),
    (r"^cls$", "cls_token"),
    (r"^embedding/", "patch_embed.proj."),
    (r"^pre_logits/", "pre_logits.fc."),
    (r"[./](kernel|scale)$", ".weight"),
    (r"/", "."),
)

JOINED = (
    ("attn.qkv", ("attn.query", "attn.key", "attn.value")),
    ("attn_pool.kv", ("attn_pool.key", "attn_pool.value")),
)
"""Weights that PyTorch keeps as one, and their parts in order."""


def is_jax(names: Mapping[str, object]) -> bool:
    """Whether these are the names of an official JAX checkpoint."""
    return any(f"{root}embedding/kernel" in names for root in ROOTS)


def torch_names(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under PyTorch's names, with PyTorch's axes.

    All steps are differentiable, so that autograd records which array each weight came from. Names
    without a rule are kept; no network has them.
    """
    root = next(root for root in ROOTS if f"{root}embedding/kernel" in arrays)
    blocks = "block1/unit1/conv1/kernel" in {name.removeprefix(root) for name in arrays}
    found: dict[str, Tensor] = {}
    for name, array in _unstacked(arrays, root).items():
        found[_renamed(name, blocks)] = _reordered(name, array)
    for whole, parts in JOINED:
        for name in [name for name in found if f"{parts[0]}." in name]:
            names = [name.replace(parts[0], part) for part in parts]
            if all(each in found for each in names):
                found[name.replace(parts[0], whole)] = torch.cat(
                    [found.pop(each) for each in names]
                )
    return found


def _unstacked(arrays: Mapping[str, Tensor], root: str) -> dict[str, Tensor]:
    """The arrays, named without the root; those of scanned models split into layers."""
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        if not name.startswith(root):
            found[name] = array
            continue
        name = name.removeprefix(root)
        if name.startswith(STACKED) and array.dim():
            for layer, part in enumerate(array.unbind(0)):
                found[name.replace("encoderblock/", f"encoderblock_{layer}/", 1)] = part
        else:
            found[name] = array
    return found


def _renamed(name: str, blocks: bool) -> str:
    """The PyTorch name of an array.

    blocks: whether the hybrid's ResNet has blocks after its stem; the stem is then a part of it.
    """
    stem = "patch_embed.backbone.stem" if blocks else "patch_embed.backbone"
    if unit := re.match(r"block(\d+)/unit(\d+)/(conv|gn)(_proj|\d)/", name):
        kind = "norm" if unit[3] == "gn" else "conv"
        place = f"downsample.{kind}" if unit[4] == "_proj" else f"{kind}{unit[4]}"
        stage, block = int(unit[1]) - 1, int(unit[2]) - 1
        name = f"patch_embed.backbone.stages.{stage}.blocks.{block}.{place}/{name[unit.end() :]}"
    name = re.sub(r"^conv_root/", f"{stem}.conv/", name)
    name = re.sub(r"^gn_root/", f"{stem}.norm/", name)
    for old, new in RULES:
        name = re.sub(old, new, name)
    return name


def _reordered(name: str, array: Tensor) -> Tensor:
    """The array with outputs before inputs, and heads and their width as one axis."""
    if name.endswith(("/bias", "/scale")):
        return array.flatten()
    if not name.endswith("/kernel"):
        return array
    if array.dim() == 4:
        return array.permute(3, 2, 0, 1)
    if array.dim() == 3:
        return array.flatten(0, 1).T if "/out/" in name else array.flatten(1).T
    return array.T if array.dim() == 2 else array
