"""Where models come from: the bundled file, timm's hub, a checkpoint, or fresh random weights.

The only importer of timm. Everything the other rooms need to know of timm's attribute names is
read here, once, into a `Model`.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub.constants
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.layers.std_conv import StdConv2d, StdConv2dSame
from timm.models import ResNet, ResNetV2, is_model_in_modules
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.swin_transformer_v2_cr import SwinTransformerV2Cr
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from vit_inspect import huggingface, positions
from vit_inspect.assets import DINOV2_SMALL
from vit_inspect.checkpoints import RELATIVE_RESAMPLED, load_checkpoint
from vit_inspect.errors import BadParameter, UnsupportedModel, WeightsUnavailable
from vit_inspect.families import OTHER_BLOCKS, OTHER_FAMILIES, embedding_of, trunk_of
from vit_inspect.layout import (
    MEAN,
    MEAN_ALL,
    MEAN_PREFIX,
    MEAN_STAGE,
    MERGED,
    NONLINEAR,
    PADDING,
    POOL,
    TokenLayout,
)
from vit_inspect.model import Model, Stage
from vit_inspect.preprocessing import Recipe
from vit_inspect.recorder import instrument
from vit_inspect.windows import window_table
from vit_inspect.zoo import BUNDLED

BUNDLED_ARCHITECTURE = "vit_small_patch14_dinov2.lvd142m"

HUB = "hf-hub:"
REPOSITORY = re.compile(r"[^/:@]+/[^/:@]+(@[^@]+)?")
"""A repository on the hub, with a revision or without."""

EMBEDDERS = re.compile(r"_(clip|mci|pe_core)_|^vitamin_")
"""timm's architectures whose head ends in a space shared with captions, not in classes."""

SWIN = SwinTransformer | SwinTransformerV2 | SwinTransformerV2Cr
"""timm's transformers of shifted windows, whose tokens merge between stages."""

_hub_lock = threading.Lock()


def load(
    name: str | None = None,
    *,
    img_size: int | tuple[int, int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    architecture: str | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    pretrained: bool = True,
    stage: int | None = None,
) -> Model:
    """Load a vision transformer and get it ready to be inspected.

    name: the bundled "dinov2_small" (the default), a timm id, "hf-hub:organisation/name" for a
        model of timm, or "transformers:organisation/name" for one of that package; it is never
        taken for a path. Of a checkpoint it is only what figures call it, by default the file's
        name without its suffix.
    img_size: side of the model input in px, or (rows px, columns px); a multiple of the patch.
        By default the size the model was trained for.
    checkpoint: a file of weights: .safetensors, .pth of torch.save, or .npz of the official JAX
        programs. Its number of classes and its position table are taken as they are; what was
        adapted and what was left out is in the model's `notices`. Or the folder that
        `save_pretrained` of transformers wrote.
    architecture: the timm id that the checkpoint belongs to, or "transformers" for such a folder;
        goes with `checkpoint` only.
    device: "auto" takes CUDA, then MPS, then the CPU.
    dtype: type of the weights and of the model input. MPS has no float64.
    pretrained: False gives random weights.
    stage: of a hierarchical network the stage to look at, from 0; by default the one with the most
        blocks. `Model.at_stage` looks at another one.

    Raises `BadParameter` for a name, size, device or combination that does not exist,
    `WeightsUnavailable` where the weights cannot be fetched or do not fit, and `UnsupportedModel`
    for what is no plain vision transformer or is fed otherwise.
    """
    size, target = _sides(img_size), _device(device, dtype)
    notices: tuple[str, ...] = ()
    if checkpoint is not None and architecture is None:
        raise BadParameter(
            f"the checkpoint {os.fspath(checkpoint)!r} without an architecture",
            "the timm id that its weights belong to",
            "add architecture=ID, such as 'vit_base_patch16_224'",
        )
    if architecture is not None and checkpoint is None:
        raise BadParameter(
            f"the architecture {architecture!r} without a checkpoint",
            "the file of weights that belong to it",
            f"add checkpoint=FILE, or load {architecture!r} by its name",
        )
    if name is None:
        name = BUNDLED if checkpoint is None else Path(checkpoint).stem
    named = checkpoint is None and name.startswith(huggingface.PREFIX)
    if named or architecture == huggingface.PACKAGE:
        if named:
            _check_name(name)
        with _hub() if named else nullcontext():
            model = huggingface.load(
                name,
                folder=None if checkpoint is None else Path(checkpoint),
                img_size=size,
                device=target,
                dtype=dtype,
                pretrained=pretrained,
            )
        return model if stage is None else model.at_stage(stage)
    if checkpoint is not None and architecture is not None:
        module = _create(architecture, pretrained=False, img_size=size)
        size, notices = load_checkpoint(
            module, Path(checkpoint), architecture=architecture, convert=_convert, size=size
        )
        notices += _guessed_names(module)
        source = f"file {Path(checkpoint).name}, as {architecture}"
    elif name == BUNDLED and pretrained:
        module = _create(BUNDLED_ARCHITECTURE, pretrained=False, img_size=None, num_classes=0)
        module.load_state_dict(load_file(DINOV2_SMALL), strict=True)
        source = "bundled file"
    elif name == BUNDLED:
        module = _create(BUNDLED_ARCHITECTURE, pretrained=False, img_size=None, num_classes=0)
        source = "random weights"
    else:
        module = _create(name, pretrained=pretrained, img_size=size)
        source = "hub" if pretrained else "random weights"
        notices = _resampled(module, size) if pretrained else ()
    module.eval().requires_grad_(False).to(target, dtype)
    model = _model(name, module, source=source, img_size=size, notices=notices)
    instrument([block for each in model.stages or (model,) for block in each.blocks])
    return model if stage is None else model.at_stage(stage)


def _sides(img_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(rows px, columns px); whether patches tile them is known only with the model."""
    if img_size is None:
        return None
    sides = img_size if isinstance(img_size, tuple) else (img_size, img_size)
    if len(sides) != 2 or not all(isinstance(px, int) and px > 0 for px in sides):
        raise BadParameter(
            f"the input size {img_size!r}",
            "a positive number of px, or two of them as (rows, columns)",
            "use 224 or (224, 448), for example",
        )
    return sides


def _create(
    name: str, *, pretrained: bool, img_size: tuple[int, int] | None, **options: Any
) -> nn.Module:
    """A timm model that takes inputs of `img_size`, or a sentence why there is none."""
    _check_name(name)
    # A repository's configuration is fetched even for random weights.
    missing = "weights" if pretrained else "configuration" if name.startswith(HUB) else None
    try:
        with _hub() if missing else nullcontext():
            try:
                # The table of positions stays as trained; timm resamples it at each forward.
                return timm.create_model(
                    name, pretrained=pretrained, dynamic_img_size=True, **options
                )
            except TypeError as error:
                if "dynamic_img_size" not in str(error):
                    raise
                return timm.create_model(name, pretrained=pretrained, img_size=img_size, **options)
    except TypeError as error:
        raise _not_a_vit(name) from error
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        resized = img_size is not None and "size mismatch" in str(error)
        if missing is None or resized:
            raise BadParameter(
                f"{name!r} at a size that it cannot be made for ({_reason(error)})",
                "an input that the model can take",
                "leave img_size out, or choose another",
            ) from error
        raise _unavailable(name, missing, error) from error


def _check_name(name: str) -> None:
    """Refuse a name that cannot be known, before anything is made or fetched."""
    for source in (HUB, huggingface.PREFIX):
        if name.startswith(source):
            repository = name.removeprefix(source)
            if not REPOSITORY.fullmatch(repository):
                raise BadParameter(
                    f"the hub name {name!r}",
                    f"'{source}organisation/name' or '{source}organisation/name@revision'",
                    "write it so",
                )
            if source == huggingface.PREFIX:
                huggingface.check_repository(repository)
            return
    if REPOSITORY.fullmatch(name):
        raise BadParameter(
            f"the name {name!r}, which says no source",
            f"'{HUB}' before the name of a repository",
            f"use '{HUB}{name}'",
        )
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = [BUNDLED, *timm.list_models()]
        similar = ", ".join(repr(each) for each in get_close_matches(architecture, known, n=3))
        raise BadParameter(
            f"the unknown model {name!r}",
            f"{BUNDLED!r}, a timm id or '{HUB}organisation/name'",
            f"perhaps you mean {similar}" if similar else "choose one from the list of models",
        )
    tagged = timm.list_models(f"{architecture}.*", include_tags=True)
    if tag and name not in tagged:
        raise BadParameter(
            f"the unknown tag {tag!r} of {architecture!r}",
            ", ".join(repr(each) for each in tagged) or "no tag",
            "choose one of these" if tagged else f"use {architecture!r}",
        )
    _check_family(name, architecture)


def _check_family(name: str, architecture: str) -> None:
    """Refuse what is known to be no plain vision transformer."""
    for family, kind in OTHER_FAMILIES.items():
        if is_model_in_modules(architecture, {family}):
            raise _not_a_vit(name, kind)


@contextmanager
def _hub() -> Iterator[None]:
    """While weights are fetched: where the hub cannot be reached, only the local cache is asked.

    Without this, huggingface_hub tries again for most of a minute before it gives up.
    """
    constants = huggingface_hub.constants
    host = urlparse(constants.ENDPOINT).hostname or "huggingface.co"
    with _hub_lock:
        before = constants.HF_HUB_OFFLINE
        try:
            if not urllib.request.getproxies():
                socket.getaddrinfo(host, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".")[:300]


def _unavailable(name: str, missing: str, error: Exception) -> WeightsUnavailable:
    architecture = "ID, its timm id" if name.startswith(HUB) else repr(name)
    return WeightsUnavailable(
        f"no {missing} for {name!r} ({_reason(error)})",
        f"a hub that can be reached, or {missing} in its local cache",
        "connect to the hub, or give a downloaded file as checkpoint=FILE, "
        f"architecture={architecture}; {BUNDLED!r} works without a connection",
    )


def _not_a_vit(
    name: str, kind: str = "which is not a plain vision transformer"
) -> UnsupportedModel:
    return UnsupportedModel(
        f"{name!r}, {kind}",
        "one grid of patch tokens, and in each block one softmax from all of them to all",
        "choose a ViT, DeiT, DINO, BEiT, EVA or SigLIP model",
    )


def _convert(weights: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """timm's own conversion of the names that a model's authors chose."""
    family = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if family is None:
        return weights
    # DeiT-3 names its layer scales otherwise; timm says so where it makes the model.
    options = {"adapt_layer_scale"} & signature(family).parameters.keys()
    return family(weights, module, **dict.fromkeys(options, True))


def _guessed_names(module: Any) -> tuple[str, ...]:
    """Whose names the classes of a file get, which tells only how many there are."""
    if not infer_imagenet_subset({"num_classes": module.num_classes}):
        return ()
    return (f"Its {module.num_classes:,} classes are named as ImageNet's, by their number.",)


def _resampled(module: Any, size: tuple[int, int] | None) -> tuple[str, ...]:
    """What timm did to the weights of a model whose tables are bound to its input size."""
    native = tuple(module.pretrained_cfg["input_size"][1:])
    bound = any("relative_position" in name for name in module.state_dict())
    return (RELATIVE_RESAMPLED,) if bound and size not in (None, native) else ()


def _device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if device == "auto":
        device = next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    try:
        target = torch.device(device)
        there = (target.index or 0) < present.get(target.type, 0)
    except RuntimeError:
        there = False
    if not there:
        kinds = (
            kind if count == 1 else f"{kind}:0..{count - 1}"
            for kind, count in present.items()
            if count
        )
        raise BadParameter(
            f"the device '{device}', which is not there", ", ".join(kinds), "use device='auto'"
        )
    if target.type == "mps" and dtype == torch.float64:
        raise BadParameter(
            "float64 on MPS, which has no such type",
            "float32 there, or another device",
            "use dtype=torch.float32 or device='cpu'",
        )
    return target


def _model(
    name: str,
    module: nn.Module,
    *,
    source: str,
    img_size: tuple[int, int] | None,
    notices: tuple[str, ...] = (),
) -> Model:
    """Read what the other rooms need off timm's attributes."""
    network: Any = module
    _check_family(name, network.pretrained_cfg.get("architecture") or "")
    trunk = trunk_of(module)
    blocks: Any = getattr(trunk, "blocks", None)
    staged = isinstance(module, SWIN)
    listed = isinstance(blocks, nn.Sequential | nn.ModuleList) and _patch_px(trunk) is not None
    if not staged and not listed:
        raise _not_a_vit(name)
    for layer in module.modules():
        if kind := OTHER_BLOCKS.get(type(layer).__name__):
            raise _not_a_vit(name, kind)
    data = resolve_model_data_config(module)
    if data["crop_mode"] not in ("center", "squash"):
        raise UnsupportedModel(
            f"{name!r}, which wants its pictures cropped by {data['crop_mode']!r}",
            "'center' or 'squash'",
            "choose a model that is fed one of these ways",
        )
    native = data["input_size"][1:]
    stages = _stages(module, img_size or native) if staged else ()
    stage = max(range(len(stages)), key=lambda index: len(stages[index].blocks), default=0)
    if staged:
        blocks, layout = stages[stage].blocks, stages[stage].layout
    else:
        layout = _layout(module, native, img_size)
        _check_windows(name, blocks, layout)
    filters, filters_name = _filters(trunk)
    table = positions.table(trunk, layout.grid)
    if table is not None and table.shape[:2] != layout.grid:
        held, wanted = (" x ".join(map(str, grid)) for grid in (table.shape[:2], layout.grid))
        notices = (*notices, f"Position table resampled from {held} to {wanted}.")
    return Model(
        id=name,
        module=module,
        blocks=tuple(blocks),
        layout=layout,
        recipe=Recipe(
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
            interpolation=data["interpolation"],
            crop_fraction=data["crop_pct"],
            crop_mode=data["crop_mode"],
        ),
        source=source,
        filters=filters,
        filters_name=filters_name,
        positions=table,
        labels=_labels(module),
        notices=notices,
        stage=stage,
        stages=stages,
    )


def _stages(module: Any, size: tuple[int, int]) -> tuple[Stage, ...]:
    """The stages of a Swin transformer; patches of each are twice as large as those before."""
    parts = getattr(module, "stages", None) or module.layers
    rows_px, columns_px = module.patch_embed.patch_size
    patches = [(rows_px * 2**index, columns_px * 2**index) for index in range(len(parts))]
    _check_size(size, patches[-1], of="the last stage's patch")
    readouts = [MEAN_STAGE] * (len(parts) - 1) + [_readout(module, [])]
    return tuple(
        _stage(tuple(part.blocks), size, patch, readout)
        for part, patch, readout in zip(parts, patches, readouts, strict=True)
    )


def _stage(
    blocks: tuple[Any, ...], size: tuple[int, int], patch: tuple[int, int], readout: str
) -> Stage:
    grid = size[0] // patch[0], size[1] // patch[1]
    padded = any(side % step for side, step in zip(grid, blocks[0].window_size, strict=True))
    layout = TokenLayout((PADDING,) if padded else (), grid, patch, readout)
    return Stage(
        blocks,
        layout,
        tuple(
            window_table(
                grid, size=block.window_size, shift=block.shift_size, prefix=layout.prefix_count
            ).to(block.norm1.weight.device)
            for block in blocks
        ),
    )


def _patch_px(trunk: nn.Module) -> tuple[int, int] | None:
    """Pixels from one token to the next as (rows px, columns px)."""
    embed = embedding_of(trunk)
    if hasattr(embed, "feat_ratio"):
        return embed.feat_ratio(as_scalar=False)
    return embed.patch_size if hasattr(embed, "input_proj") else None


def _layout(
    module: nn.Module, native: tuple[int, int], img_size: tuple[int, int] | None
) -> TokenLayout:
    trunk = trunk_of(module)
    patch: Any = _patch_px(trunk)
    # Some were trained at sizes whose last pixels fall outside the last patch.
    size = tuple(px // step * step for px, step in zip(native, patch, strict=True))
    cell = _cell_px(trunk, patch)
    if img_size is not None:
        size = img_size
    _check_size(size, cell, of="the patch" if cell == patch else "what is merged")
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
        readout=_readout(module, prefix),
    )


def _check_size(size: tuple[int, ...], step: tuple[int, int], *, of: str) -> None:
    if any(px % each for px, each in zip(size, step, strict=True)):
        nearest = [max(each, round(px / each) * each) for px, each in zip(size, step, strict=True)]
        raise BadParameter(
            f"an input of {' x '.join(map(str, size))} px",
            f"multiples of {of}, {step[0]} x {step[1]} px",
            f"use {' x '.join(map(str, nearest))}",
        )


def _cell_px(trunk: Any, patch: tuple[int, int]) -> tuple[int, int]:
    """What the input must be a multiple of: one patch, or the patches that are merged at the end.

    An aligner pads its patches instead.
    """
    merged = 1
    if merger := getattr(trunk, "merger", None):
        merged = merger.merge_size
    elif getattr(trunk, "global_pool", None) == "soft":
        merged = trunk.pooling_kernel_size
    return patch[0] * merged, patch[1] * merged


def _check_windows(name: str, blocks: nn.Module, layout: TokenLayout) -> None:
    """SAM pads its grid to whole windows: only a single full one is attention of all to all."""
    for block in blocks.children():
        side = getattr(block, "window_size", 0)
        if side and layout.grid != (side, side):
            rows, columns = layout.grid
            raise UnsupportedModel(
                f"{name!r} at {rows} x {columns} patches, whose tokens attend within windows of "
                f"{side} x {side}",
                "a grid that is one window, so that all tokens attend to all",
                f"use an input of {side * layout.patch_px[0]} px, with weights made for it",
            )


def _readout(module: nn.Module, prefix: list[str]) -> str:
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


def _filters(trunk: nn.Module) -> tuple[Tensor, str]:
    """The weights that the first convolution applies to the pixels, and what it is."""
    embed = embedding_of(trunk)
    own = getattr(embed, "proj", None)
    if isinstance(own, nn.Linear):
        return _square(own.weight, embed, channels_last=embed.channels_last), "patch embedding"
    if hasattr(embed, "input_proj"):
        # It stretches pixels of 0..1 to -1..1 first.
        return 2 * _square(embed.input_proj.weight, embed, channels_last=False), "patch embedding"
    resnet = isinstance(getattr(embed, "backbone", None), ResNet | ResNetV2)
    stem = "ResNet stem convolution" if resnet else "stem convolution"
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            return _applied_weights(layer), "patch embedding" if layer is own else stem
    raise UnsupportedModel(
        "no convolution on RGB pixels",
        "a patch embedding or a convolutional stem with three input channels",
        "choose a model for RGB images",
    )


def _square(weight: Tensor, embed: Any, *, channels_last: bool) -> Tensor:
    """Weights on flattened patches as (filter, 3, row px, column px)."""
    rows, columns = embed.patch_size
    if channels_last:
        return weight.reshape(-1, rows, columns, 3).permute(0, 3, 1, 2)
    return weight.reshape(-1, 3, rows, columns)


def _applied_weights(layer: nn.Conv2d) -> Tensor:
    """Hybrids standardise the weights of each filter in every forward pass."""
    if not isinstance(layer, StdConv2d | StdConv2dSame):
        return layer.weight
    filters = layer.weight.reshape(1, layer.out_channels, -1)
    standardised = batch_norm(filters, None, None, training=True, eps=layer.eps)
    return standardised.reshape_as(layer.weight)


def _labels(module: nn.Module) -> tuple[str, ...] | None:
    """The names of the classes: told with the weights, or ImageNet's where the number is its."""
    network: Any = module
    config, count = network.pretrained_cfg, network.num_classes
    told: Any = config.get("label_names") or ()
    described: dict[str, str] = config.get("label_descriptions") or {}
    # The classifier of a checkpoint may have other classes than the architecture's weights.
    own = count == config["num_classes"]
    # Told by index, which JSON makes a text, where some classes have no name.
    numbered = told.items() if isinstance(told, dict) else enumerate(told)
    names = {int(index): described.get(name) or name for index, name in numbered} if own else {}
    if not names and (subset := infer_imagenet_subset({"num_classes": count})):
        names = dict(enumerate(_imagenet_names(subset)))
    if not count or (own and not names and EMBEDDERS.search(config["architecture"])):
        return None
    return tuple(names.get(index, f"class {index}") for index in range(count))


@cache
def _imagenet_names(subset: str) -> tuple[str, ...]:
    """The first of each class's synonyms."""
    return tuple(name.partition(",")[0] for name in ImageNetInfo(subset).label_descriptions())
