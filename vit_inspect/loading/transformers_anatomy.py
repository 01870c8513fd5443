"""What are the parts of a network of Hugging Face's `transformers`, as a `Model` describes them?

The tokens come from its configuration, the read-out from its class. Nothing here imports that
package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor, nn

from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import CLS_MEAN, MEAN, MEAN_PREFIX, POOL, TokenLayout
from vit_inspect.pictures.preparing import Recipe

READOUTS: Mapping[str, str] = MappingProxyType(
    {
        "ViTModel": "cls",
        "ViTForImageClassification": "cls",
        "DeiTModel": "cls",
        "DeiTForImageClassification": "cls",
        "DeiTForImageClassificationWithTeacher": MEAN_PREFIX,
        "Dinov2Model": "cls",
        "Dinov2ForImageClassification": CLS_MEAN,
        "Dinov2WithRegistersModel": "cls",
        "Dinov2WithRegistersForImageClassification": CLS_MEAN,
        "DINOv3ViTModel": "cls",
        "CLIPVisionModel": "cls",
        "CLIPVisionModelWithProjection": "cls",
        "CLIPForImageClassification": MEAN,
        "SiglipVisionModel": POOL,
        "SiglipForImageClassification": MEAN,
    }
)
"""Classes of known networks, and the read-out of each."""

TOWERS: Mapping[str, str] = MappingProxyType(
    {"CLIPModel": "CLIPVisionModel", "SiglipModel": "SiglipVisionModel"}
)
"""Networks for images and text, and the class of their image encoder."""

POOLED = ("ViTModel", "DeiTModel")
"""Networks with an extra layer on the class token; many checkpoints lack its weights."""

TABLES = ("embeddings.position_embeddings", "embeddings.position_embedding.weight")
"""Names of the table of absolute positions."""

OUTPUTS = ("logits", "image_embeds", "pooler_output", "last_hidden_state")
"""Output fields in order of preference; the first one present is used."""


class Described(NamedTuple):
    """A network of transformers, and what `vit_inspect.wrap` needs to know about it."""

    network: nn.Module
    layout: TokenLayout | None
    positions: Tensor | None
    labels: tuple[str, ...] | None


class Network(nn.Module):
    """Takes pixels and returns one tensor, the first of `OUTPUTS` that is present."""

    def __init__(self, network: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.options = options

    def forward(self, pixels: Tensor) -> Tensor:
        """The output for pixels (image, 3, row, column)."""
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
    if config._attn_implementation != "sdpa":
        raise UnsupportedModel(
            f"{name} with the attention {config._attn_implementation!r} of transformers",
            "'sdpa', which calls scaled_dot_product_attention",
            "load it with attn_implementation='sdpa'",
        )
    if kind in TOWERS:
        raise UnsupportedModel(
            f"{name}, which has a text encoder too",
            "its image encoder alone",
            "wrap its vision_model",
        )
    if kind not in READOUTS:
        if layout is None:
            raise unknown(f"{name} of the class {kind}")
        return Described(Network(module, {}), layout, None, None)
    native, patch = _pair(config.image_size), _pair(config.patch_size)
    grid = native[0] // patch[0], native[1] // patch[1]
    if layout is None:
        layout = TokenLayout(
            prefix=_prefix(config),
            grid=grid if img_size is None else _grid(img_size, patch),
            patch_px=patch,
            readout=_readout(kind, config),
        )
    # Networks with rotary positions, and DINOv2, take any size without this option.
    fixed = config.model_type in ("vit", "deit", "clip_vision_model", "siglip_vision_model")
    resampled = fixed and layout.input_px != native
    return Described(
        network=Network(module, {"interpolate_pos_encoding": True} if resampled else {}),
        layout=layout,
        positions=_positions(module, grid),
        labels=_labels(module),
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
    edge = size.get("shortest_edge") if len(size) == 1 else None
    crop = dict(processor.crop_size) if getattr(processor, "do_center_crop", None) else None
    resized = _square(size if edge is None else {"height": edge, "width": edge})
    kept = resized if crop is None else _square(crop)
    for wrong, words in (
        (not processor.do_resize, "does not resize"),
        (not resized, f"resizes to {size}, which is not a square"),
        (edge is not None and crop is None, "keeps the shape of each picture"),
        (not kept, f"crops {crop}, which is not a square"),
        (kept > resized, "crops to more than the resized picture"),
        (not processor.do_rescale, "does not scale pixels to 0..1"),
        (
            abs((processor.rescale_factor or 0) * 255 - 1) > 1e-6,
            "scales pixels to other values than 0..1",
        ),
        (getattr(processor, "do_pad", None), "pads"),
        (getattr(processor, "do_flip_channel_order", None), "swaps red and blue"),
    ):
        if wrong:
            raise UnsupportedModel(
                f"the image processor of {name}, which {words}",
                "one that resizes, crops the centre to a square and normalises",
                "wrap the network with transform=Recipe(...)",
            )
    normalised = processor.do_normalize
    return Recipe(
        mean=tuple(processor.image_mean) if normalised else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if normalised else (1.0, 1.0, 1.0),
        interpolation=Image.Resampling(int(processor.resample)).name.lower(),
        crop_fraction=_fraction(kept, resized),
        crop_mode="squash" if edge is None else "center",
    )


def _square(size: Mapping[str, Any]) -> int:
    """The side of a square, in px; 0 if it is not a square."""
    side = size.get("height", 0)
    return int(side) if side == size.get("width") else 0


def _fraction(kept: int, resized: int) -> float:
    """kept / resized, rounded so that kept / fraction gives `resized` again."""
    fraction = kept / resized
    while math.floor(kept / fraction) < resized:
        fraction = math.nextafter(fraction, 0)
    return fraction


def unknown(found: str) -> UnsupportedModel:
    """The error for a network of an unknown class."""
    return UnsupportedModel(
        found,
        f"one of {', '.join((*READOUTS, *TOWERS))}",
        "choose one of these, or describe yours by hand: wrap(module, layout=..., transform=...)",
    )


def _vision(module: nn.Module) -> Any:
    """The configuration of the image encoder."""
    config: Any = module.config
    return getattr(config, "vision_config", config)


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return int(rows), int(columns)


def _grid(size: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    if any(px % step for px, step in zip(size, patch, strict=True)):
        nearest = [max(step, round(px / step) * step) for px, step in zip(size, patch, strict=True)]
        raise BadParameter(
            f"an input of {' x '.join(map(str, size))} px",
            f"multiples of the patch, {patch[0]} x {patch[1]} px",
            f"use {' x '.join(map(str, nearest))}",
        )
    return size[0] // patch[0], size[1] // patch[1]


def _prefix(config: Any) -> tuple[str, ...]:
    first = {"siglip_vision_model": (), "deit": ("cls", "dist")}.get(config.model_type, ("cls",))
    registers = getattr(config, "num_register_tokens", 0)
    return (*first, *(f"reg{number + 1}" for number in range(registers)))


def _readout(kind: str, config: Any) -> str:
    # Without its attention pool, the network returns the tokens.
    if READOUTS[kind] == POOL and not getattr(config, "vision_use_head", True):
        return MEAN
    return READOUTS[kind]


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
