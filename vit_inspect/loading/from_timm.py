"""How is a network loaded by its timm name? With bundled weights, a hub's, or random ones."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from inspect import signature
from typing import Any

import timm
import torch
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.imagenet_info import infer_imagenet_subset
from timm.models import is_model_in_modules, load_model_config_from_hf
from torch import Tensor, nn

from vit_inspect.device import check_layers, check_network
from vit_inspect.errors import (
    BadParameter,
    InspectError,
    WeightsUnavailable,
    lacks_memory,
    short_reason,
)
from vit_inspect.layout import MEAN
from vit_inspect.loading import ceiling
from vit_inspect.loading.bundled import BUNDLED
from vit_inspect.loading.hub import (
    REPOSITORY,
    check_repository_name,
    is_cached,
    reachable_hub,
    settings_in,
)
from vit_inspect.loading.outputs import GUESSED, with_outputs
from vit_inspect.loading.positions import RELATIVE_RESAMPLED
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect.loading.timm_anatomy import check_family, is_timm, model_of, not_a_vit, readout_of
from vit_inspect.loading.timm_names import HUB_FILES, is_here
from vit_inspect.model import Model
from vit_inspect.recording.hooks import instrument

RANDOM = "random weights"

LARGE = 2048**2
"""Pixels of an input from which on a network is counted before it is made: some have tables of its
size."""

HUB = "hf-hub:"
"""Put before the name of a repository of a timm model."""


def load(
    name: str,
    *,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    """A bundled model, or the model with this timm id or "hf-hub:" repository.

    img_size: the input as (rows px, columns px), or None for the size it was trained for.

    Raises `BadParameter` for a name or a size that does not exist, `WeightsUnavailable` where the
    weights cannot be fetched or the repository is not of timm, `OutOfMemory` where memory has no
    room for it, `UnsupportedModel` where it is not a plain vision transformer.
    """
    if name in BUNDLED:
        return _bundled(name, img_size=img_size, device=device, dtype=dtype, pretrained=pretrained)
    module = create(name, pretrained=pretrained, img_size=img_size)
    notices = _resampled(module, img_size) if pretrained else ()
    return ready(
        name,
        module,
        source="hub" if pretrained else RANDOM,
        img_size=img_size,
        device=device,
        dtype=dtype,
        notices=notices,
    )


def _bundled(
    name: str,
    *,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    """A network that comes with the program."""
    own = BUNDLED[name]
    options = dict(own.options)
    if pretrained:
        options["weight_init"] = "skip"
    # Without memory of their own, weights that a file gives need not be drawn at random.
    with torch.device("meta") if pretrained else nullcontext():
        module = create(own.architecture, pretrained=False, img_size=None, **options)
    if pretrained:
        module.load_state_dict(load_file(own.file), strict=True, assign=True)
    model = ready(
        name,
        module,
        source="bundled file" if pretrained else RANDOM,
        img_size=img_size,
        device=device,
        dtype=dtype,
        notices=(),
    )
    return with_outputs(model, configured=own.outputs)


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
    """The `Model` of a timm network that has its weights, on the device, with its hooks."""
    module.eval().requires_grad_(False).to(device, dtype)
    model = model_of(name, module, source=source, img_size=img_size, notices=notices)
    instrument([block for each in model.stages or (model,) for block in each.blocks])
    return model


def create(
    name: str, *, pretrained: bool, img_size: tuple[int, int] | None, **options: Any
) -> nn.Module:
    """The timm network for inputs of `img_size`; raises what `load` raises."""
    check_name(name)
    # A repository's configuration is fetched even for random weights.
    missing = "weights" if pretrained else "configuration" if name.startswith(HUB) else None
    try:
        with reachable_hub(cached=is_here(name) is True) if missing else nullcontext():
            if name.startswith(HUB):
                # A stranger's settings may name any size.
                _, _, said = load_model_config_from_hf(name.removeprefix(HUB))
                check_depth(said, name)
            large = img_size and math.prod(img_size) > LARGE
            if name.startswith(HUB) or large or ceiling.is_set():
                sketch: Any = check_network(
                    partial(_made, name, False, img_size, options),
                    f"{name!r}",
                    "choose a smaller input or another model",
                )
                ceiling.check(
                    sketch,
                    max(img_size or sketch.pretrained_cfg["input_size"][1:]),
                    name,
                    fetched=pretrained and not _is_fetched(name),
                )
            return _made(name, pretrained, img_size, options)
    except InspectError:
        raise
    # A repository that is not of timm makes it raise any error: KeyError, AttributeError, ...
    except Exception as error:
        if lacks_memory(error):
            raise
        if name.startswith(HUB) and (other := _of_another_package(name, error)):
            raise other from error
        if isinstance(error, TypeError):
            raise not_a_vit(name) from error
        if not isinstance(error, RuntimeError | ValueError | OSError | SafetensorError):
            raise
        resized = img_size is not None and "size mismatch" in str(error)
        if missing is None or resized:
            raise BadParameter(
                f"an input size that {name!r} cannot take",
                "a size that the model can take",
                "leave out img_size, or choose another size",
            ) from error
        raise _unavailable(name, missing, error) from error


def _is_fetched(name: str) -> bool:
    """Whether the weights are on this machine."""
    if name.startswith(HUB):
        return is_cached(name.removeprefix(HUB), HUB_FILES)
    return is_here(name) is True


def _made(
    name: str, pretrained: bool, img_size: tuple[int, int] | None, options: Mapping[str, Any]
) -> nn.Module:
    """The network as timm makes it; raises what timm raises."""
    try:
        # The position table stays as trained; timm resamples it in each forward pass.
        return timm.create_model(name, pretrained=pretrained, dynamic_img_size=True, **options)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        # SAM takes any size, and resamples its tables in each forward pass.
        fixed = not is_model_in_modules(name.split(".")[0], {"vision_transformer_sam"})
        size: dict[str, Any] = {"img_size": img_size} if fixed else {}
        return timm.create_model(name, pretrained=pretrained, **size, **options)


def check_depth(options: Mapping[str, Any], name: str) -> None:
    """Refuse options of timm that name more layers than a network has; raises `BadParameter`."""
    depths = (options.get("depth"), options.get("depths"))
    check_layers(
        [
            inner
            for each in depths
            for inner in (each if isinstance(each, list | tuple) else [each])
        ],
        name,
    )


def _of_another_package(name: str, error: Exception) -> WeightsUnavailable | None:
    """What to say of a repository without a model of timm; None if it has one, or who knows."""
    repository = name.removeprefix(HUB)
    if isinstance(error, RepositoryNotFoundError):
        return WeightsUnavailable(
            f"no model {repository!r} on the hub, or none that you may read",
            "a repository of a model, not one of data",
            "check the name; for a private one, log in to the hub",
        )
    absent = isinstance(error, EntryNotFoundError)
    if isinstance(error, LocalEntryNotFoundError) or (isinstance(error, OSError) and not absent):
        return None
    try:
        settings = settings_in(repository, "config.json")
        of_open_clip = settings is None and settings_in(repository, "open_clip_config.json")
    except OSError:
        return None
    said = settings if isinstance(settings, Mapping) else {}
    if isinstance(said.get("architecture"), str):
        return None
    of_transformers = "model_type" in said or "architectures" in said
    package = "transformers" if of_transformers else "open_clip" if of_open_clip else None
    if of_open_clip:
        # It takes no revision.
        repository = repository.partition("@")[0]
    return WeightsUnavailable(
        f"no model of timm in {name!r}, "
        + (f"but one of {package}" if package else "whose config.json names no architecture of it"),
        "a repository with timm's config.json",
        f"use '{package}:{repository}'"
        if package
        else "check the name, or give one of its files as checkpoint=FILE, architecture=ID, its "
        "timm id",
    )


def check_name(name: str) -> None:
    """Refuse an unknown name, before anything is created or fetched."""
    if name.startswith(HUB):
        check_repository_name(name, HUB)
        return
    if REPOSITORY.fullmatch(name):
        raise BadParameter(
            f"the name {name!r}, which does not say its source",
            f"'{HUB}' before the name of a repository",
            f"use '{HUB}{name}'",
        )
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = [*BUNDLED, *timm.list_models()]
        similar = ", ".join(repr(each) for each in get_close_matches(architecture, known, n=3))
        raise BadParameter(
            f"the unknown model {name!r}",
            f"{DEFAULT!r}, a timm id or '{HUB}organisation/name'",
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


def is_another(name: str, architecture: str) -> bool:
    """Whether timm knows the name of a network, and it is not the architecture's."""
    base = name.removeprefix(HUB).partition(".")[0]
    return timm.is_model(base) and base != architecture.partition(".")[0]


def known_architecture(name: str) -> str | None:
    """The architecture of timm that settings beside some weights name; None if it has none such."""
    base = name.partition(".")[0]
    return base if timm.is_model(base) else None


def convert(weights: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The weights under timm's names, by timm's own conversion of the authors' names."""
    family = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if family is None:
        return weights
    # DeiT-3 names its layer scales differently; timm sets this option for it alone.
    options = {"adapt_layer_scale"} & signature(family).parameters.keys()
    # That of DINOv3 prints what it tries.
    with redirect_stdout(io.StringIO()):
        return family(weights, module, **dict.fromkeys(options, True))


def read_by(model: Model, readout: str) -> Model:
    """The model with another read-out, "cls" or `MEAN`, if its network can have it.

    Raises `BadParameter` for a network that reads its tokens in no other way.
    """
    layout = model.layout
    network: Any = model.module
    if readout == layout.readout:
        return model
    pools = {"cls": "token", MEAN: "avg"}
    own = getattr(network, "global_pool", None)
    if is_timm(network) and model.stage_count == 1 and readout in pools and own in pools.values():
        network.global_pool = pools[readout]
        if readout_of(network, layout.prefix) == readout:
            notice = f"Read-out as you said: {readout}."
            layout = replace(layout, readout=readout)
            return replace(model, layout=layout, notices=(*model.notices, notice))
        network.global_pool = own
    raise BadParameter(
        f"the read-out {readout!r} of {model.id}, which reads its {layout.readout}",
        f"'cls' or {MEAN!r}, of a plain network of timm that can read so",
        "leave out readout",
    )


def guessed_names(module: Any) -> tuple[str, ...]:
    """A notice where classes got ImageNet's names, for the number of classes alone."""
    if not infer_imagenet_subset({"num_classes": module.num_classes}):
        return ()
    return (f"Its {module.num_classes:,} classes {GUESSED}, as the number matches.",)


def _resampled(module: Any, size: tuple[int, int] | None) -> tuple[str, ...]:
    """A notice where timm resampled tables that depend on the input size."""
    native = tuple(module.pretrained_cfg["input_size"][1:])
    bound = any("relative_position" in name for name in module.state_dict())
    return (RELATIVE_RESAMPLED,) if bound and size not in (None, native) else ()


def _unavailable(name: str, missing: str, error: Exception) -> WeightsUnavailable:
    architecture = "ID, its timm id" if name.startswith(HUB) else repr(name)
    return WeightsUnavailable(
        f"no {missing} for {name!r} ({short_reason(error)})",
        f"a hub that can be reached, or {missing} in its local cache",
        "connect to the hub, or give a downloaded file as checkpoint=FILE, "
        f"architecture={architecture}; {DEFAULT!r} works without a connection",
    )
