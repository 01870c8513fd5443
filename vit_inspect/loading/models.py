"""Where does a model come from: the bundled file, a hub, a checkpoint, or fresh random weights?

Only this file and `anatomy`, which reads what timm has made, import timm.
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
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub.constants
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.imagenet_info import infer_imagenet_subset
from torch import Tensor, nn

from vit_inspect.assets import DINOV2_SMALL
from vit_inspect.errors import BadParameter, WeightsUnavailable
from vit_inspect.loading import huggingface
from vit_inspect.loading.anatomy import check_family, model_of, not_a_vit
from vit_inspect.loading.checkpoints import RELATIVE_RESAMPLED, load_checkpoint
from vit_inspect.model import Model
from vit_inspect.running import instrument
from vit_inspect.zoo import BUNDLED

BUNDLED_ARCHITECTURE = "vit_small_patch14_dinov2.lvd142m"

HUB = "hf-hub:"
REPOSITORY = re.compile(r"[^/:@]+/[^/:@]+(@[^@]+)?")
"""A repository on the hub, with a revision or without."""

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
    model = model_of(name, module, source=source, img_size=size, notices=notices)
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
        raise not_a_vit(name) from error
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
    check_family(name, architecture)


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
