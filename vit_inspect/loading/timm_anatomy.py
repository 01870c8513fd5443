"""What are the parts of a timm network, as a `Model` describes them?

A network that is not a plain vision transformer is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from statistics import fmean
from typing import Any

from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.layers.patch_embed import PatchEmbed
from timm.layers.std_conv import StdConv2d, StdConv2dSame
from timm.models import ResNet, ResNetV2, is_model_in_modules
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.swin_transformer_v2_cr import SwinTransformerV2Cr
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import (
    MEAN,
    MEAN_ALL,
    MEAN_PREFIX,
    MEAN_STAGE,
    MERGED,
    NONLINEAR,
    POOL,
    TokenLayout,
)
from vit_inspect.loading import positions
from vit_inspect.loading.outputs import with_outputs
from vit_inspect.loading.refused_families import OTHER_BLOCKS, OTHER_FAMILIES
from vit_inspect.loading.stages import PADDED, deepest, stage_of, unmerged_stages
from vit_inspect.loading.timm_parts import embedding_of, trunk_of
from vit_inspect.model import Model, Stage
from vit_inspect.pictures.preparing import AS_GREY, Recipe

EMBEDDERS = re.compile(r"_(clip|mci|pe_core)_|^vitamin_")
"""timm's architectures whose output is a feature vector compared with captions, not classes."""

SERVED_CROPS = ("center", "squash")
"""timm's ways to cut pictures that the preparation of pictures knows."""

SWIN = SwinTransformer | SwinTransformerV2 | SwinTransformerV2Cr
"""timm's transformers with shifted windows, whose tokens merge between stages."""


def model_of(
    name: str,
    module: nn.Module,
    *,
    source: str,
    img_size: tuple[int, int] | None,
    notices: tuple[str, ...] = (),
) -> Model:
    """The `Model` of a timm network, read from timm's attributes."""
    network: Any = module
    check_family(name, network.pretrained_cfg.get("architecture") or "")
    trunk = trunk_of(module)
    blocks: Any = getattr(trunk, "blocks", None)
    staged = isinstance(module, SWIN)
    listed = isinstance(blocks, nn.Sequential | nn.ModuleList) and _patch_px(trunk) is not None
    if not staged and not listed:
        raise not_a_vit(name)
    for layer in module.modules():
        if kind := OTHER_BLOCKS.get(type(layer).__name__):
            raise not_a_vit(name, kind)
    data = resolve_model_data_config(module)
    if data["crop_mode"] not in SERVED_CROPS:
        raise UnsupportedModel(
            f"{name!r}, whose pictures are cropped by {data['crop_mode']!r}",
            "'center' or 'squash'",
            "choose a model with one of these",
        )
    native = data["input_size"][1:]
    stages = _stages(module, img_size or native) if staged else ()
    stage = deepest(stages)
    if staged:
        blocks, layout = stages[stage].blocks, stages[stage].layout
    else:
        layout = _layout(module, native, img_size)
        sides = [getattr(block, "window_size", 0) for block in blocks]
        stages = unmerged_stages(tuple(blocks), sides, layout)
        layout = stages[0].layout if stages else layout
    filters, filters_name = _filters(trunk)
    table = positions.table(trunk, layout.grid)
    if table is not None:
        notices = (*notices, *positions.resampled((table.shape[0], table.shape[1]), layout.grid))
    if positions.are_axes_resampled(blocks, layout.grid):
        notices = (*notices, positions.RELATIVE_RESAMPLED)
    model = Model(
        id=name,
        module=module,
        blocks=tuple(blocks),
        layout=layout,
        recipe=Recipe(
            mean=_of_channels(data["mean"], filters.shape[1]),
            std=_of_channels(data["std"], filters.shape[1]),
            interpolation=data["interpolation"],
            crop_fraction=data["crop_pct"],
            crop_mode=data["crop_mode"],
        ),
        source=source,
        filters=filters,
        filters_name=filters_name,
        positions=table,
        score_bias=positions.score_bias(module, tuple(blocks)),
        rotation=positions.rotation(module, name=name),
        labels=_labels(module),
        # Only the last stage feeds the head, which takes tokens on their grid.
        head=None if staged else _head(module),
        norm=None if staged else _norm(module),
        notices=(
            *notices,
            *((AS_GREY,) if filters.shape[1] == 1 else ()),
            *((PADDED,) if any(each.layout.padded for each in stages) else ()),
        ),
        merged=_merged(trunk),
        stage=stage,
        stages=stages,
    )
    return with_outputs(model)


def _of_channels(numbers: Sequence[float], count: int) -> tuple[float, ...]:
    """timm's numbers, one for each channel; their average for each, where the input has others."""
    if len(numbers) == count:
        return tuple(numbers)
    same = len(set(numbers)) == 1
    return (numbers[0] if same else fmean(numbers),) * count


def is_averaged(model: Model, name: str) -> bool:
    """Whether its "mean" or "std" is an average over the channels of timm's entry."""
    return not {*getattr(model.recipe, name)} <= {*resolve_model_data_config(model.module)[name]}


def is_timm(module: nn.Module) -> bool:
    """Whether this is a network of timm, which says by its attributes what it is made of."""
    return type(module).__module__.startswith("timm.models.") and hasattr(module, "pretrained_cfg")


def is_patch_embed(module: object) -> bool:
    """Whether this is timm's patch embedding, whose attributes say what its convolution does."""
    return isinstance(module, PatchEmbed)


def check_family(name: str, architecture: str) -> None:
    """Refuse a family that is known not to be a plain vision transformer."""
    for family, kind in OTHER_FAMILIES.items():
        if is_model_in_modules(architecture, {family}):
            raise not_a_vit(name, kind)


def not_a_vit(name: str, kind: str = "which is not a plain vision transformer") -> UnsupportedModel:
    """The error for a network; `kind` says what it is, as "whose tokens ..." or "which ..."."""
    return UnsupportedModel(
        f"{name!r}, {kind}",
        "one grid of patch tokens, and in each block one softmax in which all attend to all",
        "choose a ViT, DeiT, DINO, BEiT, EVA or SigLIP model",
    )


def _stages(module: Any, size: tuple[int, int]) -> tuple[Stage, ...]:
    """The stages of a Swin transformer; each has patches twice as large as the stage before."""
    parts = getattr(module, "stages", None) or module.layers
    rows_px, columns_px = module.patch_embed.patch_size
    patches = [(rows_px * 2**index, columns_px * 2**index) for index in range(len(parts))]
    _check_size(size, patches[-1], of="the last stage's patch")
    readouts = [MEAN_STAGE] * (len(parts) - 1) + [readout_of(module, [])]
    return tuple(
        stage_of(
            tuple(part.blocks),
            [(block.window_size, block.shift_size) for block in part.blocks],
            input_px=size,
            patch_px=patch,
            readout=readout,
            device=part.blocks[0].norm1.weight.device,
        )
        for part, patch, readout in zip(parts, patches, readouts, strict=True)
    )


def _patch_px(trunk: nn.Module) -> tuple[int, int] | None:
    """Distance from one token to the next as (rows px, columns px)."""
    embed = embedding_of(trunk)
    if hasattr(embed, "feat_ratio"):
        return embed.feat_ratio(as_scalar=False)
    return embed.patch_size if hasattr(embed, "input_proj") else None


def _layout(
    module: nn.Module, native: tuple[int, int], img_size: tuple[int, int] | None
) -> TokenLayout:
    trunk = trunk_of(module)
    patch: Any = _patch_px(trunk)
    # Some were trained at sizes that patches do not tile: the last pixels are not used.
    size = tuple(px // step * step for px, step in zip(native, patch, strict=True))
    merged = _merged(trunk)
    if img_size is not None:
        size = img_size
    step = (patch[0] * merged, patch[1] * merged)
    _check_size(size, step, of="the patch" if merged == 1 else "the merged patches")
    prefix = [
        kind
        for kind in ("cls", "dist")
        if any(
            getattr(part, f"{kind}_token", None) is not None
            for part in (trunk, embedding_of(trunk))
        )
    ]
    registers = getattr(trunk, "num_prefix_tokens", len(prefix)) - len(prefix)
    prefix += [f"reg{number + 1}" for number in range(registers)]
    return TokenLayout(
        prefix=tuple(prefix),
        grid=(size[0] // patch[0], size[1] // patch[1]),
        patch_px=(patch[0], patch[1]),
        readout=readout_of(module, prefix),
    )


def _check_size(size: tuple[int, ...], step: tuple[int, int], *, of: str) -> None:
    if any(px % each for px, each in zip(size, step, strict=True)):
        nearest = [max(each, round(px / each) * each) for px, each in zip(size, step, strict=True)]
        raise BadParameter(
            f"an input of {' × '.join(map(str, size))} px",
            f"multiples of {of}, {step[0]} × {step[1]} px",
            f"use {' × '.join(map(str, nearest))}",
        )


def _merged(trunk: Any) -> int:
    """How many patches along each axis merge into one at the end; an aligner pads instead."""
    if merger := getattr(trunk, "merger", None):
        return merger.merge_size
    return trunk.pooling_kernel_size if getattr(trunk, "global_pool", None) == "soft" else 1


def readout_of(module: nn.Module, prefix: Sequence[str]) -> str:
    """How a network reads its tokens, of which the special ones are `prefix`."""
    trunk, pool = trunk_of(module), getattr(module, "attn_pool", None)
    if pool is not None:
        return POOL if hasattr(pool, "latent") else NONLINEAR
    if any(getattr(trunk, part, None) is not None for part in ("merger", "aligner")):
        return MERGED
    kind = getattr(module, "global_pool", "token")
    if kind == "avg":
        return MEAN_ALL if getattr(module, "pool_include_prefix", False) else MEAN
    # The heads of the class and the distillation token are averaged.
    if "dist" in prefix:
        return MEAN_PREFIX
    if kind in ("token", "", "soft"):
        return prefix[0] if "cls" in prefix else MEAN
    return NONLINEAR


def _head(module: Any) -> Callable[[Tensor], Tensor] | None:
    """timm's steps after the last block; `checked_head` tests them before use."""
    if isinstance(getattr(module, "norm", None), nn.Module) and hasattr(module, "forward_head"):
        # A partial, not a closure: a deep copy of it uses the copied module.
        return partial(_read, module)
    return None


def _read(module: Any, tokens: Tensor) -> Tensor:
    return module.forward_head(module.norm(tokens))


def _norm(module: Any) -> Callable[[Tensor], Tensor] | None:
    """timm's final norm; None where timm averages the tokens first (an identity is there then)."""
    norm = getattr(module, "norm", None)
    return norm if isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity) else None


def _filters(trunk: nn.Module) -> tuple[Tensor, str]:
    """The weights that the first convolution applies to the pixels, and its kind in words."""
    embed = embedding_of(trunk)
    own = getattr(embed, "proj", None)
    if isinstance(own, nn.Linear):
        return _square(own.weight, embed, channels_last=embed.channels_last), "patch embedding"
    if hasattr(embed, "input_proj"):
        # This embedding first scales pixels from 0..1 to -1..1.
        return 2 * _square(embed.input_proj.weight, embed, channels_last=False), "patch embedding"
    resnet = isinstance(getattr(embed, "backbone", None), ResNet | ResNetV2)
    stem = "ResNet stem convolution" if resnet else "stem convolution"
    if layer := first_convolution(trunk):
        return _applied_weights(layer), "patch embedding" if layer is own else stem
    raise UnsupportedModel(
        "no convolution on the pixels",
        "a patch embedding or a convolutional stem",
        "choose a model that has one",
    )


def first_convolution(trunk: nn.Module) -> nn.Conv2d | None:
    """The convolution that timm applies to the pixels; None if there is none."""
    return next((part for part in trunk.modules() if isinstance(part, nn.Conv2d)), None)


def _square(weight: Tensor, embed: Any, *, channels_last: bool) -> Tensor:
    """Weights on flattened patches as (filter, channel, row px, column px)."""
    rows, columns = embed.patch_size
    if channels_last:
        return weight.unflatten(1, (rows, columns, -1)).permute(0, 3, 1, 2)
    return weight.unflatten(1, (-1, rows, columns))


def _applied_weights(layer: nn.Conv2d) -> Tensor:
    """The weights as applied: hybrids standardise each filter in every forward pass."""
    if not isinstance(layer, StdConv2d | StdConv2dSame):
        return layer.weight
    filters = layer.weight.reshape(1, layer.out_channels, -1)
    standardised = batch_norm(filters, None, None, training=True, eps=layer.eps)
    return standardised.reshape_as(layer.weight)


def class_count(config: Mapping[str, Any]) -> int:
    """The number of classes of the weights of an entry of timm's list; 0 if they have none.

    The outputs of some are features, compared with captions.
    """
    named = config.get("label_names") or infer_imagenet_subset(dict(config))
    return config["num_classes"] if named or not EMBEDDERS.search(config["architecture"]) else 0


def _labels(module: nn.Module) -> tuple[str, ...] | None:
    """The class names: those stored with the weights, or ImageNet's if the number matches."""
    network: Any = module
    config, count = network.pretrained_cfg, network.num_classes
    listed: Any = config.get("label_names") or ()
    described: dict[str, str] = config.get("label_descriptions") or {}
    # The classifier of a checkpoint may have other classes than the architecture's weights.
    own = count == config["num_classes"]
    # A dict where some classes have no name; JSON turns its indices into strings.
    numbered = listed.items() if isinstance(listed, dict) else enumerate(listed)
    names = {int(index): described.get(name) or name for index, name in numbered} if own else {}
    if not names and (subset := infer_imagenet_subset({"num_classes": count})):
        names = dict(enumerate(_imagenet_names(subset)))
    if not count or (own and not class_count(config)):
        return None
    return tuple(names.get(index, f"class {index}") for index in range(count))


@cache
def _imagenet_names(subset: str) -> tuple[str, ...]:
    """The first synonym of each class."""
    return tuple(name.partition(",")[0] for name in ImageNetInfo(subset).label_descriptions())
