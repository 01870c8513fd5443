"""Where models come from: the bundled file, timm's hub, a checkpoint, or fresh random weights.

The only importer of timm. Everything the other rooms need to know of timm's attribute names is
read here, once, into a `Model`.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub.constants
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config
from timm.models import load_checkpoint
from torch import Tensor, nn

from vit_inspect.assets import DINOV2_SMALL
from vit_inspect.errors import BadParameter, UnsupportedModel, WeightsUnavailable
from vit_inspect.layout import MEAN, MEAN_ALL, NONLINEAR, POOL, TokenLayout
from vit_inspect.model import Model
from vit_inspect.preprocessing import Recipe
from vit_inspect.recorder import instrument
from vit_inspect.zoo import BUNDLED

BUNDLED_ARCHITECTURE = "vit_small_patch14_dinov2.lvd142m"

_hub_lock = threading.Lock()


def load(
    name: str = BUNDLED,
    *,
    img_size: int | tuple[int, int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    architecture: str | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    pretrained: bool = True,
) -> Model:
    """Load a vision transformer and get it ready to be inspected.

    name: the bundled "dinov2_small", a timm id, or "hf-hub:organisation/name".
    img_size: side of the model input in px, or (rows px, columns px); a multiple of the patch.
        By default the size the model was trained for.
    checkpoint: a file of weights (.safetensors, .pth, .npz) for the timm id `architecture`;
        `name` is then only a name.
    device: "auto" takes CUDA, then MPS, then the CPU.
    pretrained: False gives random weights.

    Raises `WeightsUnavailable`, `UnsupportedModel` or `BadParameter`.
    """
    if checkpoint is not None and architecture is None:
        raise BadParameter(
            f"the checkpoint {os.fspath(checkpoint)!r} without an architecture",
            "the timm id that its weights belong to",
            "add architecture=ID, such as 'vit_base_patch16_224'",
        )
    if checkpoint is not None and architecture is not None:
        module = _create(architecture, pretrained=False, img_size=img_size)
        _load_file(module, Path(checkpoint))
        source = f"file {Path(checkpoint).name}, as {architecture}"
    elif name == BUNDLED and pretrained:
        module = _create(BUNDLED_ARCHITECTURE, pretrained=False, img_size=518, num_classes=0)
        module.load_state_dict(load_file(DINOV2_SMALL), strict=True)
        source = "bundled file"
    elif name == BUNDLED:
        module = _create(BUNDLED_ARCHITECTURE, pretrained=False, img_size=518, num_classes=0)
        source = "random weights"
    else:
        module = _create(name, pretrained=pretrained, img_size=img_size)
        source = "hub" if pretrained else "random weights"
    module.eval().requires_grad_(False).to(_device(device), dtype)
    model = _model(name, module, source=source, img_size=img_size)
    instrument(model.blocks)
    return model


def _create(
    name: str, *, pretrained: bool, img_size: int | tuple[int, int] | None, **options: Any
) -> nn.Module:
    """A timm model that takes inputs of `img_size`, or a sentence why there is none."""
    try:
        with _hub() if pretrained else nullcontext():
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
        raise _unavailable(name, error) from error


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


def _unavailable(name: str, error: Exception) -> BadParameter | WeightsUnavailable:
    reason = " ".join(str(error).split()).removesuffix(".")
    if isinstance(error, RuntimeError | ValueError) and "nknown model" in reason:
        base = name.partition(".")[0]
        known = [BUNDLED, *timm.list_models()]
        similar = ", ".join(repr(each) for each in get_close_matches(base, known, n=3))
        return BadParameter(
            f"the unknown model {name!r}",
            f"{BUNDLED!r}, a timm id or 'hf-hub:organisation/name'",
            f"perhaps you mean {similar}" if similar else "choose one from the list of models",
        )
    return WeightsUnavailable(
        f"no weights for {name!r} ({reason[:300]})",
        "a hub that can be reached, or weights in its local cache",
        f"connect to the hub, or give a downloaded file as checkpoint=FILE, architecture={name!r}; "
        f"{BUNDLED!r} works without a connection",
    )


def _not_a_vit(name: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{name!r}, which is not a plain vision transformer",
        "patch tokens that pass through a list of blocks",
        "choose a ViT, DeiT, DINO, BEiT, EVA or SigLIP model",
    )


def _load_file(module: nn.Module, path: Path) -> None:
    """Load a checkpoint strictly; never runs code that a file may contain."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    try:
        load_checkpoint(module, str(path), strict=True, filter_fn=convert, weights_only=True)
    # A file that is not what it seems fails in any way: EOFError, IndexError, BadZipFile, ...
    except Exception as error:
        unsaid = "it is damaged" if path.exists() else "no such file"
        reason = " ".join(str(error).split())[:300] or unsaid
        raise WeightsUnavailable(
            f"the checkpoint {path.name!r} that does not load ({reason})",
            "weights of the named architecture as .safetensors, .pth or .npz",
            "check the path and the architecture",
        ) from error


def _device(device: str | torch.device) -> torch.device:
    if device != "auto":
        available = {
            "cpu": True,
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
        }
        kind = device.type if isinstance(device, torch.device) else device.partition(":")[0]
        if not available.get(kind, False):
            names = ", ".join(name for name, present in available.items() if present)
            raise BadParameter(
                f"the device '{device}', which is not there", names, "use device='auto'"
            )
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _model(
    name: str, module: nn.Module, *, source: str, img_size: int | tuple[int, int] | None
) -> Model:
    """Read what the other rooms need off timm's attributes."""
    blocks, embed = getattr(module, "blocks", None), getattr(module, "patch_embed", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not hasattr(embed, "feat_ratio"):
        raise _not_a_vit(name)
    data = resolve_model_data_config(module)
    native = data["input_size"][1:]
    filters, filters_name = _filters(module)
    return Model(
        id=name,
        module=module,
        blocks=tuple(blocks),
        layout=_layout(name, module, native if img_size is None else img_size),
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
        positions=_positions(module),
    )


def _layout(name: str, module: nn.Module, img_size: int | tuple[int, int]) -> TokenLayout:
    size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    embed: Any = module.patch_embed
    patch = embed.feat_ratio(as_scalar=False)
    if len(size) != 2 or any(px < step or px % step for px, step in zip(size, patch, strict=True)):
        nearest = [max(step, round(px / step) * step) for px, step in zip(size, patch)]  # noqa: B905
        raise BadParameter(
            f"an input of {' x '.join(map(str, size))} px",
            f"multiples of the patch, {patch[0]} x {patch[1]} px",
            f"use {' x '.join(map(str, nearest))}",
        )
    prefix = [
        kind for kind in ("cls", "dist") if getattr(module, f"{kind}_token", None) is not None
    ]
    registers = getattr(module, "num_prefix_tokens", len(prefix)) - len(prefix)
    prefix += [f"reg{number + 1}" for number in range(registers)]
    return TokenLayout(
        prefix=tuple(prefix),
        grid=(size[0] // patch[0], size[1] // patch[1]),
        patch_px=tuple(patch),
        readout=_readout(module, prefix),
    )


def _readout(module: nn.Module, prefix: list[str]) -> str:
    pool = getattr(module, "attn_pool", None)
    if pool is not None:
        return POOL if hasattr(pool, "latent") else NONLINEAR
    kind = getattr(module, "global_pool", "token")
    if kind == "avg":
        return MEAN_ALL if getattr(module, "pool_include_prefix", False) else MEAN
    if kind in ("token", ""):
        return prefix[0] if "cls" in prefix else MEAN
    return NONLINEAR


def _filters(module: nn.Module) -> tuple[Tensor, str]:
    """The convolution that sees the pixels, and what it is."""
    embedding = getattr(module.patch_embed, "proj", None)
    if isinstance(embedding, nn.Conv2d) and embedding.in_channels == 3:
        return embedding.weight, "patch embedding"
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            return layer.weight, "stem convolution"
    raise UnsupportedModel(
        "no convolution on RGB pixels",
        "a patch embedding or a convolutional stem with three input channels",
        "choose a model for RGB images",
    )


def _positions(module: nn.Module) -> Tensor | None:
    """The table of absolute positions on its own grid, without the rows of prefix tokens."""
    table = getattr(module, "pos_embed", None)
    if not isinstance(table, Tensor) or table.dim() != 3:
        return None
    embed: Any = module.patch_embed
    rows, columns = embed.grid_size
    return table[0, table.shape[1] - rows * columns :].unflatten(0, (rows, columns))
