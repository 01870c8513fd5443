"""A network by its timm name: the bundled weights, those of a hub, or random ones."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from difflib import get_close_matches
from inspect import signature
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.imagenet_info import infer_imagenet_subset
from torch import Tensor, nn

from vit_inspect.assets import DINOV2_SMALL
from vit_inspect.errors import BadParameter, WeightsUnavailable, short_reason
from vit_inspect.loading.hub import REPOSITORY, check_repository_name, reachable_hub
from vit_inspect.loading.recommended import BUNDLED
from vit_inspect.loading.timm_anatomy import check_family, model_of, not_a_vit
from vit_inspect.model import Model
from vit_inspect.recording.hooks import instrument

BUNDLED_ARCHITECTURE = "vit_small_patch14_dinov2.lvd142m"

HUB = "hf-hub:"
"""Before the name of a repository, it says that its weights are of a model of timm."""

RELATIVE_RESAMPLED = "Tables of relative positions were resampled for this input."


def load(
    name: str,
    *,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    """The bundled model, or the one with this timm id or of this "hf-hub:" repository.

    img_size: the input as (rows px, columns px), or None for the one that it was trained for.

    Raises `BadParameter` for a name or a size that does not exist, `WeightsUnavailable` where the
    weights cannot be fetched, `UnsupportedModel` for what is no plain vision transformer.
    """
    notices: tuple[str, ...] = ()
    if name == BUNDLED:
        module = create(BUNDLED_ARCHITECTURE, pretrained=False, img_size=None, num_classes=0)
        if pretrained:
            module.load_state_dict(load_file(DINOV2_SMALL), strict=True)
        source = "bundled file"
    else:
        module = create(name, pretrained=pretrained, img_size=img_size)
        notices = _resampled(module, img_size) if pretrained else ()
        source = "hub"
    return ready(
        name,
        module,
        source=source if pretrained else "random weights",
        img_size=img_size,
        device=device,
        dtype=dtype,
        notices=notices,
    )


def ready(
    name: str,
    module: nn.Module,
    *,
    source: str,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    notices: tuple[str, ...],
) -> Model:
    """A timm network with its weights, moved to the device, read and instrumented."""
    module.eval().requires_grad_(False).to(device, dtype)
    model = model_of(name, module, source=source, img_size=img_size, notices=notices)
    instrument([block for each in model.stages or (model,) for block in each.blocks])
    return model


def create(
    name: str, *, pretrained: bool, img_size: tuple[int, int] | None, **options: Any
) -> nn.Module:
    """A timm model that takes inputs of `img_size`, or a sentence why there is none."""
    check_name(name)
    # A repository's configuration is fetched even for random weights.
    missing = "weights" if pretrained else "configuration" if name.startswith(HUB) else None
    try:
        with reachable_hub() if missing else nullcontext():
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
                f"{name!r} at a size that it cannot be made for ({short_reason(error)})",
                "an input that the model can take",
                "leave img_size out, or choose another",
            ) from error
        raise _unavailable(name, missing, error) from error


def check_name(name: str) -> None:
    """Refuse a name that cannot be known, before anything is made or fetched."""
    if name.startswith(HUB):
        check_repository_name(name, HUB)
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


def convert(weights: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """timm's own conversion of the names that a model's authors chose."""
    family = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if family is None:
        return weights
    # DeiT-3 names its layer scales otherwise; timm says so where it makes the model.
    options = {"adapt_layer_scale"} & signature(family).parameters.keys()
    return family(weights, module, **dict.fromkeys(options, True))


def guessed_names(module: Any) -> tuple[str, ...]:
    """Whose names the classes of a file get, which tells only how many there are."""
    if not infer_imagenet_subset({"num_classes": module.num_classes}):
        return ()
    return (f"Its {module.num_classes:,} classes are named as ImageNet's, by their number.",)


def _resampled(module: Any, size: tuple[int, int] | None) -> tuple[str, ...]:
    """What timm did to the weights of a model whose tables are bound to its input size."""
    native = tuple(module.pretrained_cfg["input_size"][1:])
    bound = any("relative_position" in name for name in module.state_dict())
    return (RELATIVE_RESAMPLED,) if bound and size not in (None, native) else ()


def _unavailable(name: str, missing: str, error: Exception) -> WeightsUnavailable:
    architecture = "ID, its timm id" if name.startswith(HUB) else repr(name)
    return WeightsUnavailable(
        f"no {missing} for {name!r} ({short_reason(error)})",
        f"a hub that can be reached, or {missing} in its local cache",
        "connect to the hub, or give a downloaded file as checkpoint=FILE, "
        f"architecture={architecture}; {BUNDLED!r} works without a connection",
    )
