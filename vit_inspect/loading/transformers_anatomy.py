"""What are the parts of a network of Hugging Face's `transformers`, as a `Model` describes them?

The tokens come from its configuration, the read-out from its class. Nothing here imports that
package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from PIL import Image
from torch import Tensor, nn

from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import CLS_MEAN, MEAN, MEAN_PREFIX, MEAN_STAGE, POOL, TokenLayout
from vit_inspect.loading.positions import RELATIVE_RESAMPLED, are_axes_resampled, resampled
from vit_inspect.loading.stages import stage_of
from vit_inspect.model import Stage
from vit_inspect.pictures.preparing import Recipe
from vit_inspect.records.evidence import Outputs


class Anatomy(NamedTuple):
    """What is true of a class of networks, and not in its configuration.

    readout: how it reads its tokens.
    prefix: names of its special tokens, without registers.
    table: how its table of absolute positions, if it has one, follows another input size: "asked"
        if the network must be told to resample it, "itself" if it does so, "fixed" if it takes no
        other size.
    processor: the class of its usual image processor, and `prepared` the options in which that
        differs from what the class takes by default.
    pooler: whether it has an extra layer on the class token; many checkpoints lack its weights.
    """

    readout: str = "cls"
    prefix: tuple[str, ...] = ("cls",)
    table: Literal["asked", "itself", "fixed"] = "asked"
    processor: str = "ViTImageProcessor"
    prepared: Mapping[str, Any] = MappingProxyType({})
    pooler: bool = False


_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_LARGER = {"size": {"shortest_edge": 256}}
_BICUBIC = {"resample": 3}

_VIT = Anatomy()
_DEIT = Anatomy(prefix=("cls", "dist"), processor="DeiTImageProcessor", prepared=_IMAGENET)
_DINOV2 = Anatomy(table="itself", processor="BitImageProcessor", prepared=_IMAGENET | _LARGER)
_IJEPA = Anatomy(readout=MEAN, prefix=(), prepared=_IMAGENET)
_BEIT = Anatomy(table="itself", processor="BeitImageProcessor")
_CLIP = Anatomy(processor="CLIPImageProcessor")
_SWIN = Anatomy(readout=MEAN, prefix=(), prepared=_IMAGENET | _BICUBIC)
_SIGLIP = Anatomy(readout=MEAN, prefix=(), processor="SiglipImageProcessor")
_SAM = Anatomy(readout=MEAN, prefix=(), table="fixed", processor="SamImageProcessor")
_VITDET = Anatomy(readout=MEAN, prefix=(), table="itself", prepared=_IMAGENET)

ANATOMIES: Mapping[str, Anatomy] = MappingProxyType(
    {
        "ViTModel": _VIT._replace(pooler=True),
        "ViTForImageClassification": _VIT,
        "ViTMSNModel": _VIT._replace(prepared=_IMAGENET),
        "ViTMSNForImageClassification": _VIT._replace(prepared=_IMAGENET),
        "IJepaModel": _IJEPA,
        "IJepaForImageClassification": _IJEPA,
        "BeitModel": _BEIT,
        "BeitForImageClassification": _BEIT,
        "DeiTModel": _DEIT._replace(pooler=True),
        "DeiTForImageClassification": _DEIT,
        "DeiTForImageClassificationWithTeacher": _DEIT._replace(readout=MEAN_PREFIX),
        "Dinov2Model": _DINOV2,
        "Dinov2ForImageClassification": _DINOV2._replace(readout=CLS_MEAN),
        "Dinov2WithRegistersModel": _DINOV2,
        "Dinov2WithRegistersForImageClassification": _DINOV2._replace(readout=CLS_MEAN),
        "DINOv3ViTModel": Anatomy(table="itself", processor="DINOv3ViTImageProcessor"),
        "CLIPVisionModel": _CLIP,
        "CLIPVisionModelWithProjection": _CLIP,
        "CLIPForImageClassification": _CLIP._replace(readout=MEAN),
        "SiglipVisionModel": _SIGLIP._replace(readout=POOL),
        "SiglipForImageClassification": _SIGLIP,
        "SwinModel": _SWIN,
        "SwinForImageClassification": _SWIN,
        "Swinv2Model": _SWIN,
        "Swinv2ForImageClassification": _SWIN,
        "SamVisionModel": _SAM,
        "SamVisionEncoder": _SAM,
        "SamHQVisionModel": _SAM,
        "SamHQVisionEncoder": _SAM,
        "VitDetModel": _VITDET,
    }
)
"""The known classes of networks."""

TOWERS: Mapping[str, str] = MappingProxyType(
    {
        "CLIPModel": "CLIPVisionModel",
        "SiglipModel": "SiglipVisionModel",
        "SamModel": "SamVisionModel",
        "SamHQModel": "SamHQVisionModel",
    }
)
"""Networks with more parts, and the class of their image encoder."""

TABLES = (
    "embeddings.position_embeddings",
    "embeddings.position_embedding.weight",
    "pos_embed",
)
"""Names of the table of absolute positions."""

OUTPUTS = ("logits", "image_embeds", "pooler_output", "last_hidden_state")
"""Output fields in order of preference; the first one present is used."""

PROBLEMS: Mapping[str, Outputs] = MappingProxyType(
    {
        "single_label_classification": "single-label",
        "multi_label_classification": "multi-label",
        "regression": "scores",
    }
)
"""What a configuration calls the problem that a classifier was trained for."""


class Described(NamedTuple):
    """A network of transformers, and what `vit_inspect.wrap` needs to know about it.

    by_hand: whether the layout is another than the one that the configuration says.
    """

    network: nn.Module
    layout: TokenLayout | None
    positions: Tensor | None
    labels: tuple[str, ...] | None
    outputs: Outputs | None = None
    notices: tuple[str, ...] = ()
    by_hand: bool = False


class Network(nn.Module):
    """Takes pixels and returns one tensor, the first of `OUTPUTS` that is present."""

    def __init__(self, network: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.options = options

    def forward(self, pixels: Tensor) -> Tensor:
        """The output for pixels (image, channel, row, column)."""
        output = self.network(pixel_values=pixels, return_dict=True, **self.options)
        return next(output[name] for name in OUTPUTS if output.get(name) is not None)


def is_transformers(module: nn.Module) -> bool:
    """Whether the class of this network is from transformers; does not import that package."""
    return any(kind.__module__.startswith("transformers.") for kind in type(module).__mro__)


def describe(
    module: nn.Module,
    *,
    name: str,
    layout: TokenLayout | None = None,
    img_size: tuple[int, int] | None = None,
) -> Described:
    """Describe a network by its configuration; a given `layout` replaces the one read from it."""
    kind, config = type(module).__name__, _vision(module)
    if config._attn_implementation not in ("sdpa", "eager"):
        raise UnsupportedModel(
            f"{name} with the attention {config._attn_implementation!r} of transformers",
            "'sdpa' or 'eager', whose attention can be seen",
            "load it with attn_implementation='sdpa'",
        )
    if kind in TOWERS:
        raise UnsupportedModel(
            f"{name}, of which only a part is a vision transformer",
            "its image encoder alone",
            f"wrap its {'vision_model' if hasattr(module, 'vision_model') else 'vision_encoder'}",
        )
    if kind not in ANATOMIES:
        if layout is None:
            raise unknown(f"{name} of the class {kind}")
        return Described(Network(module, {}), layout, None, None, by_hand=True)
    native, patch = _pair(config.image_size), _pair(config.patch_size)
    grid = native[0] // patch[0], native[1] // patch[1]
    size = layout.input_px if layout is not None else img_size or native
    merges = len(getattr(config, "depths", [0])) - 1
    step = patch[0] * 2**merges, patch[1] * 2**merges
    if merges or (layout is None and size != native):
        _check_size(size, step, of="the last stage's patch" if merges else "the patch")
    # A layout of other patches is another one in any case, and may have no such grid.
    by_hand = layout is not None and (
        layout.patch_px != patch or layout != _layout(kind, config, size)
    )
    if layout is None:
        layout = _layout(kind, config, size)
    if merges:
        _check_stages(name, config, size, step, by_hand)
    rule, other = ANATOMIES[kind].table, layout.input_px != native
    if rule == "fixed" and other:
        raise BadParameter(
            f"an input of {' × '.join(map(str, layout.input_px))} px for {name}",
            f"{' × '.join(map(str, native))} px, the only size that it takes",
            "leave out the size",
        )
    told = rule == "asked" and other
    held = _held(config, grid)
    table = _positions(module, held)
    if table is not None and (told or rule == "itself"):
        _check_square(name, held, native if told else None)
    notices = () if table is None else resampled(held, layout.grid)
    if _is_relative(config):
        _check_square(name, grid, None)
    biased = _is_relative(config) and grid != layout.grid
    if biased or are_axes_resampled(module.modules(), layout.grid):
        notices = (*notices, RELATIVE_RESAMPLED)
    if convolved := getattr(config, "residual_block_indices", None):
        layers = ", ".join(map(str, sorted(convolved)))
        notices = (
            *notices,
            f"Convolutions at the end of layers {layers} mix neighbouring tokens. No attention "
            "shows that.",
        )
    return Described(
        network=Network(module, {"interpolate_pos_encoding": True} if told else {}),
        layout=layout,
        positions=table,
        labels=_labels(module),
        outputs=PROBLEMS.get(getattr(module.config, "problem_type", None) or ""),
        notices=notices,
        by_hand=by_hand,
    )


def _layout(kind: str, config: Any, size: tuple[int, int]) -> TokenLayout:
    """The tokens of a known network for an input of (rows px, columns px)."""
    patch = _pair(config.patch_size)
    return TokenLayout(
        prefix=_prefix(kind, config),
        grid=(size[0] // patch[0], size[1] // patch[1]),
        patch_px=patch,
        readout=_readout(kind, config),
        margin_px=(size[0] % patch[0], size[1] % patch[1]),
    )


def stages_of(module: Any, layout: TokenLayout) -> tuple[Stage, ...]:
    """The stages of a Swin transformer; empty for other networks.

    Read after a pass on the input of `layout`: the first one may shrink the windows to the grid.
    """
    if not hasattr(_vision(module), "depths"):
        return ()
    parts = module.base_model.encoder.layers
    return tuple(
        stage_of(
            tuple(part.blocks),
            [((block.window_size,) * 2, (block.shift_size,) * 2) for block in part.blocks],
            input_px=layout.input_px,
            patch_px=(layout.patch_px[0] * 2**index, layout.patch_px[1] * 2**index),
            readout=layout.readout if index == len(parts) - 1 else MEAN_STAGE,
            device=module.device,
            padded_first=True,
        )
        for index, part in enumerate(parts)
    )


def _check_stages(
    name: str, config: Any, size: tuple[int, int], step: tuple[int, int], by_hand: bool
) -> None:
    """Refuse a layout by hand, and windows that are larger than the grid of the last stage."""
    if by_hand:
        raise BadParameter(
            f"another layout of {name} than its configuration says",
            "its own, from which those of all stages follow",
            "leave out layout",
        )
    least = [config.window_size * each for each in step]
    # Version 2 makes its windows smaller; version 1 fails.
    if config.model_type == "swin" and any(px < side for px, side in zip(size, least, strict=True)):
        raise BadParameter(
            f"an input of {size[0]} × {size[1]} px for {name}",
            f"at least {least[0]} × {least[1]} px: one window in the last stage",
            "choose a larger input",
        )


def _check_square(name: str, grid: tuple[int, int], native: tuple[int, int] | None) -> None:
    """Refuse a table that is not square: transformers resamples it as if it were.

    native: the input in px that needs no resampling; None if there is none.
    """
    if grid[0] != grid[1]:
        raise UnsupportedModel(
            f"a position table of {grid[0]} × {grid[1]} in {name}, which transformers resamples as "
            "if it were a square",
            "a square table, or one that is used as it is",
            f"use an input of {native[0]} × {native[1]} px"
            if native
            else "choose a network that was made for a square input",
        )


def _is_relative(config: Any) -> bool:
    """Whether positions are added to the scores, as BEiT can do."""
    return any(
        getattr(config, f"use_{kind}relative_position_bias", False) for kind in ("", "shared_")
    )


def recipe(processor: Any, module: nn.Module, *, name: str) -> Recipe:
    """The `Recipe` of an image processor of transformers.

    Raises `BadParameter` for anything else, and `UnsupportedModel` for steps that a `Recipe`
    cannot describe.
    """
    if not hasattr(processor, "image_mean"):
        raise BadParameter(
            f"{name} without a transform" if processor is None else f"the transform {processor!r}",
            "a Recipe or the model's image processor, which say what part of a photograph it sees",
            "add transform=AutoImageProcessor.from_pretrained("
            f"{getattr(module, 'name_or_path', '') or 'NAME'!r})",
        )
    size = dict(processor.size or {})
    padded = _is_padded(processor, size)
    edge = size.get("shortest_edge") if len(size) == 1 else None
    crop = dict(processor.crop_size) if getattr(processor, "do_center_crop", None) else None
    edge = size["longest_edge"] if padded else edge
    resized = _sides(size) if edge is None else (int(edge), int(edge))
    kept = resized if crop is None else _sides(crop)
    fraction = _fraction(kept, resized) if all((*kept, *resized)) else None
    for wrong, words in (
        (not processor.do_resize, "does not resize"),
        (not all(resized), f"resizes to {size}, which is no size"),
        (edge is not None and crop is None and not padded, "keeps the shape of each picture"),
        (not all(kept), f"crops {crop}, which is no size"),
        (edge is not None and kept[0] != kept[1], f"crops {crop}, which is not a square"),
        (
            max(kept[0] - resized[0], kept[1] - resized[1]) > 0,
            "crops to more than the resized picture",
        ),
        (fraction is None, "crops rows and columns by different shares"),
        (not processor.do_rescale, "does not scale pixels to 0..1"),
        (
            abs((processor.rescale_factor or 0) * 255 - 1) > 1e-6,
            "scales pixels to other values than 0..1",
        ),
        (getattr(processor, "do_pad", None) and not padded, "pads"),
        (
            type(processor).__name__.startswith("Levit") or getattr(processor, "crop_pct", None),
            "enlarges pictures before it crops them",
        ),
        (getattr(processor, "do_flip_channel_order", None), "swaps red and blue"),
    ):
        if wrong:
            raise UnsupportedModel(
                f"the image processor of {name}, which {words}",
                "one that resizes, crops the centre and normalises",
                "wrap the network with transform=Recipe(...)",
            )
    normalised = processor.do_normalize
    return Recipe(
        mean=tuple(processor.image_mean) if normalised else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if normalised else (1.0, 1.0, 1.0),
        interpolation=Image.Resampling(int(processor.resample)).name.lower(),
        crop_fraction=fraction or 1.0,
        crop_mode="pad" if padded else "squash" if edge is None else "center",
        processor=processor,
    )


def _is_padded(processor: Any, size: Mapping[str, Any]) -> bool:
    """Whether pictures are fitted into a square and filled up, as by SAM's processor."""
    # Others have these options too, and fail with them.
    if not type(processor).__name__.startswith("Sam"):
        return False
    given = getattr(processor, "pad_size", None) if getattr(processor, "do_pad", None) else None
    edge = size.get("longest_edge") if len(size) == 1 else None
    crops = getattr(processor, "do_center_crop", None)
    return bool(edge and given and not crops and _sides(dict(given)) == (edge, edge))


def _sides(size: Mapping[str, Any]) -> tuple[int, int]:
    """(rows px, columns px) of a size of transformers; 0 for what it does not say."""
    return int(size.get("height") or 0), int(size.get("width") or 0)


def _fraction(kept: tuple[int, int], resized: tuple[int, int]) -> float | None:
    """kept / resized, rounded so that kept / fraction gives `resized` again.

    None if rows and columns are not cropped by the same share.
    """
    fraction = min(part / whole for part, whole in zip(kept, resized, strict=True))
    again = [math.floor(part / fraction) for part in kept]
    while any(found < whole for found, whole in zip(again, resized, strict=True)):
        fraction = math.nextafter(fraction, 0)
        again = [math.floor(part / fraction) for part in kept]
    return fraction if tuple(again) == resized else None


def unknown(found: str) -> UnsupportedModel:
    """The error for a network of an unknown class."""
    return UnsupportedModel(
        found,
        f"one of {', '.join((*ANATOMIES, *TOWERS))}",
        "choose one of these, or describe yours by hand: wrap(module, layout=..., transform=...)",
    )


def _vision(module: nn.Module) -> Any:
    """The configuration of the image encoder."""
    config: Any = module.config
    return getattr(config, "vision_config", config)


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return int(rows), int(columns)


def _check_size(size: tuple[int, int], patch: tuple[int, int], *, of: str) -> None:
    if any(px % step for px, step in zip(size, patch, strict=True)):
        nearest = [max(step, round(px / step) * step) for px, step in zip(size, patch, strict=True)]
        raise BadParameter(
            f"an input of {' × '.join(map(str, size))} px",
            f"multiples of {of}, {patch[0]} × {patch[1]} px",
            f"use {' × '.join(map(str, nearest))}",
        )


def _prefix(kind: str, config: Any) -> tuple[str, ...]:
    registers = getattr(config, "num_register_tokens", 0)
    return (*ANATOMIES[kind].prefix, *(f"reg{number + 1}" for number in range(registers)))


def _readout(kind: str, config: Any) -> str:
    # Only BEiT has this option.
    if getattr(config, "use_mean_pooling", False):
        return MEAN
    readout = ANATOMIES[kind].readout
    # Without its attention pool, the network returns the tokens.
    return MEAN if readout == POOL and not getattr(config, "vision_use_head", True) else readout


def _held(config: Any, grid: tuple[int, int]) -> tuple[int, int]:
    """The grid of the table of absolute positions, for a network whose own grid is `grid`."""
    # ViTDet keeps the table of the network that was trained before it.
    before, patch = getattr(config, "pretrain_image_size", None), _pair(config.patch_size)
    if before is None:
        return grid
    rows, columns = _pair(before)
    return rows // patch[0], columns // patch[1]


def _positions(module: nn.Module, grid: tuple[int, int]) -> Tensor | None:
    """The position table on its own grid, without rows of special tokens; None if there is none."""
    for name, table in module.named_parameters():
        if name.endswith(TABLES):
            patches = table.reshape(-1, table.shape[-1])[-grid[0] * grid[1] :]
            return patches.unflatten(0, grid)
    return None


def _labels(module: nn.Module) -> tuple[str, ...] | None:
    """The class names; "class 7" replaces a name that transformers made up."""
    config: Any = module.config
    if "ForImageClassification" not in type(module).__name__ or not config.num_labels:
        return None
    names: dict[int, str] = config.id2label
    return tuple(
        f"class {index}" if names.get(index, "") in ("", f"LABEL_{index}") else names[index]
        for index in range(config.num_labels)
    )
