"""What is a network of Hugging Face's `transformers` made of, in the words of a `Model`?

Which token is what comes from its configuration; how the tokens are read, from its class. Nothing
here imports that package.
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
"""The networks that are known by their class, and how each reads its tokens."""

TOWERS: Mapping[str, str] = MappingProxyType(
    {"CLIPModel": "CLIPVisionModel", "SiglipModel": "SiglipVisionModel"}
)
"""Networks that look and read, and the one of them that looks."""

POOLED = ("ViTModel", "DeiTModel")
"""Networks with one more layer on the class token, which many checkpoints have no weights for."""

TABLES = ("embeddings.position_embeddings", "embeddings.position_embedding.weight")
"""How the table of absolute positions is called."""

ANSWERS = ("logits", "image_embeds", "pooler_output", "last_hidden_state")
"""What a network returns, of which the first that is there is what it is for."""


class Described(NamedTuple):
    """A network of transformers in the words of `vit_inspect.wrap`."""

    network: nn.Module
    layout: TokenLayout | None
    positions: Tensor | None
    labels: tuple[str, ...] | None


class Network(nn.Module):
    """Takes pixels alone and returns one tensor, the first of `ANSWERS`."""

    def __init__(self, network: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.options = options

    def forward(self, pixels: Tensor) -> Tensor:
        """The answer to (image, 3, row, column)."""
        answer = self.network(pixel_values=pixels, return_dict=True, **self.options)
        return next(answer[name] for name in ANSWERS if answer.get(name) is not None)


def is_transformers(module: nn.Module) -> bool:
    """Whether a class of transformers made this network; needs no such package."""
    return any(kind.__module__.startswith("transformers.") for kind in type(module).__mro__)


def describe(
    module: nn.Module,
    *,
    name: str,
    layout: TokenLayout | None = None,
    img_size: tuple[int, int] | None = None,
) -> Described:
    """What its configuration says of a network; a layout given by hand goes before it."""
    kind, config = type(module).__name__, _vision(module)
    if config._attn_implementation != "sdpa":
        raise UnsupportedModel(
            f"{name} with the attention {config._attn_implementation!r} of transformers",
            "'sdpa', which calls scaled_dot_product_attention",
            "load it with attn_implementation='sdpa'",
        )
    if kind in TOWERS:
        raise UnsupportedModel(
            f"{name}, which reads captions too",
            "the part of it that looks at pictures",
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
    # Those with rotations, and DINOv2, take any size unasked.
    fixed = config.model_type in ("vit", "deit", "clip_vision_model", "siglip_vision_model")
    resampled = fixed and layout.input_px != native
    return Described(
        network=Network(module, {"interpolate_pos_encoding": True} if resampled else {}),
        layout=layout,
        positions=_positions(module, grid),
        labels=_labels(module),
    )


def recipe(processor: Any, module: nn.Module, *, name: str) -> Recipe:
    """How an image processor of transformers makes the input.

    Raises `BadParameter` for what is none, and `UnsupportedModel` for steps that a `Recipe` has
    no words for.
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
        (not resized, f"resizes to {size}, which is no square"),
        (edge is not None and crop is None, "leaves pictures of any shape"),
        (not kept, f"crops {crop}, which is no square"),
        (kept > resized, "crops more than there is"),
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
    """The side of a square, in px; 0 for what is none."""
    side = size.get("height", 0)
    return int(side) if side == size.get("width") else 0


def _fraction(kept: int, resized: int) -> float:
    """Their ratio, such that the size before the crop comes out right again."""
    fraction = kept / resized
    while math.floor(kept / fraction) < resized:
        fraction = math.nextafter(fraction, 0)
    return fraction


def unknown(found: str) -> UnsupportedModel:
    """The refusal of a network whose class is not known."""
    return UnsupportedModel(
        found,
        f"one of {', '.join((*READOUTS, *TOWERS))}",
        "choose such a model, or describe yours by hand: wrap(module, layout=..., transform=...)",
    )


def _vision(module: nn.Module) -> Any:
    """The part of its configuration that is of the network that looks."""
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
    # Without its pool it returns the tokens.
    if READOUTS[kind] == POOL and not getattr(config, "vision_use_head", True):
        return MEAN
    return READOUTS[kind]


def _positions(module: nn.Module, grid: tuple[int, int]) -> Tensor | None:
    """The table on its own grid, without the rows of prefix tokens; None where there is none."""
    for name, table in module.named_parameters():
        if name.endswith(TABLES):
            patches = table.reshape(-1, table.shape[-1])[-grid[0] * grid[1] :]
            return patches.unflatten(0, grid)
    return None


def _labels(module: nn.Module) -> tuple[str, ...] | None:
    """The names of the classes; those that transformers makes up are none."""
    config: Any = module.config
    if "ForImageClassification" not in type(module).__name__ or not config.num_labels:
        return None
    names: dict[int, str] = config.id2label
    return tuple(
        f"class {index}" if names.get(index, "") in ("", f"LABEL_{index}") else names[index]
        for index in range(config.num_labels)
    )
