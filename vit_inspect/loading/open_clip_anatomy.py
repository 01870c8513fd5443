"""What are the parts of a network of open_clip, as a `Model` describes them?

All is read from its attributes. Nothing here imports that package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import MEAN, TokenLayout
from vit_inspect.pictures.preparing import CropMode, Recipe

PACKAGE = "open_clip"

WHOLE = ("CLIP", "CustomTextCLIP")
"""The networks of an image encoder and a text tower."""

READOUTS: Mapping[str, str] = MappingProxyType({"tok": "cls", "avg": MEAN})
"""How the image encoder reads its tokens, by its `pool_type`."""

CROPS: Mapping[str, CropMode] = MappingProxyType({"shortest": "center", "squash": "squash"})
"""How pictures are cut, by their `resize_mode`."""


def kind_of(module: object) -> str | None:
    """The name of its class in open_clip, or of the class it inherits from; None if of another."""
    kinds = (each for each in type(module).__mro__ if each.__module__.startswith(f"{PACKAGE}."))
    return next((each.__name__ for each in kinds), None)


def image_encoder(module: nn.Module, *, name: str) -> Any:
    """The image encoder of a network of open_clip, which may be that itself.

    Raises `UnsupportedModel` for a network that cannot be inspected.
    """
    encoder: Any = module.visual if kind_of(module) in WHOLE else module
    kind = kind_of(encoder)
    if kind == "TimmModel":
        return encoder
    if kind != "VisionTransformer":
        raise UnsupportedModel(
            f"{name}, which is the {kind} of open_clip",
            f"{' or '.join(WHOLE)} with a VisionTransformer or a TimmModel as `visual`",
            "choose a model with a plain vision transformer, such as 'ViT-B-32'",
        )
    if getattr(encoder, "attn_pool", None) is not None:
        raise UnsupportedModel(
            f"{name}, whose image encoder has an attentional pool of open_clip",
            "a class token or an average at its end",
            "choose a model without attentional_pool, such as 'ViT-B-32'",
        )
    if encoder.pool_type not in READOUTS:
        raise UnsupportedModel(
            f"{name}, whose image encoder has the pool_type {encoder.pool_type!r}",
            f"one of {', '.join(map(repr, READOUTS))}",
            "choose a model whose image encoder returns one vector for a picture",
        )
    if encoder.output_tokens:
        raise UnsupportedModel(
            f"{name}, whose image encoder also returns its tokens",
            "one vector for each picture",
            "set output_tokens = False on its image encoder",
        )
    return encoder


def layout_of(encoder: Any) -> TokenLayout:
    """The tokens of a VisionTransformer of open_clip, which takes one input size only."""
    (rows, columns), (height, width) = encoder.image_size, encoder.patch_size
    return TokenLayout(
        prefix=("cls",),
        grid=encoder.grid_size,
        patch_px=(height, width),
        readout=READOUTS[encoder.pool_type],
        margin_px=(rows % height, columns % width),
    )


def positions_of(encoder: Any) -> Float[Tensor, "grid_row grid_column width"]:
    """The position table of a VisionTransformer of open_clip, without that of the class token."""
    return encoder.positional_embedding[1:].unflatten(0, encoder.grid_size)


def norm_of(encoder: Any) -> nn.Module | None:
    """The norm of each token after the last block; None where they are averaged before it."""
    first = getattr(encoder, "final_ln_after_pool", False) and encoder.pool_type == "avg"
    return None if first else encoder.ln_post


def head_of(encoder: Any) -> Callable[[Tensor], Tensor]:
    """The steps of a VisionTransformer of open_clip after the last block."""
    # A partial, not a closure: a deep copy of it uses the copied network.
    return partial(_read, encoder)


def _read(encoder: Any, tokens: Float[Tensor, "image token width"]) -> Tensor:
    norm = norm_of(encoder)
    tokens = tokens if norm is None else norm(tokens)
    pooled = tokens[:, 1:].mean(dim=1) if encoder.pool_type == "avg" else tokens[:, 0]
    pooled = encoder.ln_post(pooled) if norm is None else pooled
    return pooled if encoder.proj is None else pooled @ encoder.proj


def trunk_head_of(
    encoder: nn.Module, head: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """The steps of a TimmModel of open_clip after the last block.

    head: those of its network of timm.
    """
    return partial(_read_trunk, encoder, head)


def _read_trunk(encoder: Any, head: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    return encoder.head(head(tokens))


def recipe_of(encoder: Any, *, name: str) -> Recipe | None:
    """How pictures are prepared; None if the image encoder does not say it.

    Raises `UnsupportedModel` for steps that a `Recipe` cannot describe.
    """
    said = _said(encoder)
    if not said:
        return None
    crop = CROPS.get(said["resize_mode"])
    if crop is None:
        raise UnsupportedModel(
            f"{name}, whose pictures are prepared with the resize_mode {said['resize_mode']!r}",
            f"one of {', '.join(map(repr, CROPS))}",
            "wrap the network with transform=Recipe(...)",
        )
    rows, columns = _pair(said["size"])
    # open_clip's filter is bicubic, whatever was said, where a crop is not square.
    heard = crop == "squash" or rows == columns
    return Recipe(
        mean=_of_channels(said["mean"]),
        std=_of_channels(said["std"]),
        interpolation="bilinear" if heard and said["interpolation"] == "bilinear" else "bicubic",
        crop_fraction=1.0,
        crop_mode=crop,
    )


def check_size(encoder: Any, layout: TokenLayout, *, name: str) -> None:
    """Raises `BadParameter` where pictures are prepared for another size than the input's."""
    said = _pair(_said(encoder)["size"])
    if said != layout.input_px:
        raise BadParameter(
            f"pictures of {' × '.join(map(str, said))} px for {name}",
            f"its input, {' × '.join(map(str, layout.input_px))} px",
            "correct the size in preprocess_cfg of its image encoder",
        )


def _said(encoder: Any) -> dict[str, Any]:
    return getattr(encoder, "preprocess_cfg", None) or {}


def _pair(size: Any) -> tuple[int, int]:
    rows, columns = (size, size) if isinstance(size, int) else size
    return int(rows), int(columns)


def _of_channels(numbers: Any) -> tuple[float, ...]:
    return (float(numbers),) if isinstance(numbers, int | float) else tuple(map(float, numbers))
