"""How does a network of open_clip become a `Model`? From its folder, or from a hub.

open_clip makes the network and reads its weights; `vit_inspect.wrap` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from vit_inspect.device import check_network
from vit_inspect.errors import (
    BadParameter,
    InspectError,
    WeightsUnavailable,
    lacks_memory,
    short_reason,
)
from vit_inspect.loading import ceiling
from vit_inspect.loading.from_module import wrap
from vit_inspect.loading.hub import check_repository_name, is_cached, reachable_hub
from vit_inspect.loading.open_clip_anatomy import PACKAGE
from vit_inspect.loading.open_clip_words import checked_tower, words_of
from vit_inspect.loading.text_towers import Lazy, Tower
from vit_inspect.loading.weight_files import check_torch_file
from vit_inspect.model import Model
from vit_inspect.pictures.reading import printable

CONFIG = "open_clip_config.json"

PREFIX = f"{PACKAGE}:"
"""Put before the name of a repository of a model of open_clip."""

OWN = ("open_clip_model", "open_clip_pytorch_model")
"""Names of files of weights, without suffix, that open_clip takes before all others."""

SUFFIXES = (".safetensors", ".bin", ".pth")
"""Ends of the names of files of weights that it reads from a folder."""


def load(
    name: str,
    *,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    """The model of the repository in "open_clip:organisation/name".

    img_size: the input as (rows px, columns px), or None; only the size it was trained for.

    Raises `BadParameter` for a malformed name and for another size, `WeightsUnavailable` where the
    package, the repository or some weights are missing, and `UnsupportedModel` where the image
    encoder is not a plain vision transformer.
    """
    check_repository_name(name, PREFIX)
    repository = name.removeprefix(PREFIX)
    if "@" in repository:
        raise BadParameter(
            f"the revision {repository.partition('@')[2]!r} of a model of open_clip",
            "its newest one, as open_clip takes no other",
            "leave it out, or download the files and give their folder as checkpoint=FOLDER, "
            f"architecture={PACKAGE!r}",
        )
    model = _load(name, f"hf-hub:{repository}", None, img_size, device, dtype, pretrained)
    return replace(model, source="hub" if pretrained else "random weights")


def load_folder(
    name: str,
    folder: Path,
    *,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    """The model in a folder with open_clip's configuration and weights, as they lie on a hub.

    Raises what `load` raises.
    """
    if not (folder / CONFIG).is_file():
        raise WeightsUnavailable(
            f"no {CONFIG} in {printable(folder.name)!r}",
            "a folder with that file and the weights, as it lies on the hub",
            "give the folder in which both are, or wrap the network that open_clip makes",
        )
    files = [each for each in sorted(folder.iterdir()) if each.suffix in SUFFIXES]
    if pretrained and len(files) > 1 and not any(each.stem in OWN for each in files):
        raise WeightsUnavailable(
            f"{len(files)} files of weights in the folder {printable(folder.name)!r}, such as "
            f"{', '.join(repr(printable(each.name)) for each in files[:2])}",
            f"one, or one that is called {OWN[0]}.safetensors or {OWN[1]}.bin",
            "give the right one this name",
        )
    for path in files if pretrained else ():
        if path.suffix != ".safetensors":
            check_torch_file(path)
    # Its tokenizer may be loaded when the program works in another folder.
    place = str(folder.absolute())
    model = _load(name, f"local-dir:{place}", folder, img_size, device, dtype, pretrained)
    return replace(model, source=f"folder {folder.name}" if pretrained else "random weights")


def _load(
    name: str,
    place: str,
    folder: Path | None,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    package = _package(name)
    try:
        # Also for a folder: its configuration may name a text tower of transformers.
        with reachable_hub(cached=_is_here(name, folder)):
            # Else the text tower of random weights would be fetched.
            make = partial(package.create_model, place, pretrained_text=False)
            if ceiling.is_set():
                sketch: Any = check_network(
                    partial(make, device="meta", load_weights=False, require_pretrained=False),
                    f"{name!r}",
                    "choose another model",
                )
                size = sketch.visual.image_size
                px = max(size) if isinstance(size, list | tuple) else size
                here = folder is not None or is_cached(
                    name.removeprefix(PREFIX), (f"{OWN[0]}.safetensors", f"{OWN[1]}.bin")
                )
                ceiling.check(sketch, px, name, fetched=pretrained and not here)
            module: nn.Module = make(load_weights=pretrained, require_pretrained=pretrained)
    except InspectError:
        raise
    # Broken models raise any error: OSError, ValueError, RuntimeError, TypeError, ...
    except Exception as error:
        if lacks_memory(error):
            raise
        raise WeightsUnavailable(
            f"no model of open_clip for {name!r} ({_reason(error, folder)})",
            f"{CONFIG} and weights that fit it, from a hub that can be reached, its local cache or "
            "a folder",
            "connect to the hub, check the name, or give the folder as checkpoint=FOLDER, "
            f"architecture={PACKAGE!r}",
        ) from error
    module.eval().requires_grad_(False).to(device, dtype)
    model = wrap(module, name=name)
    if img_size not in (None, model.layout.input_px):
        raise BadParameter(
            f"an input of {' × '.join(map(str, img_size or ()))} px for {name}",
            f"{' × '.join(map(str, model.layout.input_px))} px, the only size that it takes",
            "leave out the size",
        )
    if not pretrained:
        return model
    tower = Lazy(partial(_tower, name, place, folder, module))
    # Every image encoder that `wrap` takes has a head.
    head = cast("Callable[[Tensor], Tensor]", model.head)
    return replace(model, words=words_of(module, tower, head, name=name))


def _is_here(name: str, folder: Path | None) -> bool:
    return folder is not None or is_cached(name.removeprefix(PREFIX), [CONFIG])


def _tower(name: str, place: str, folder: Path | None, module: nn.Module) -> Tower:
    """The text tower, with the tokenizer beside its weights."""
    package = _package(name)
    try:
        with reachable_hub(cached=_is_here(name, folder)):
            tokenizer = package.get_tokenizer(place)
    # As in `_load`.
    except Exception as error:
        if lacks_memory(error):
            raise
        raise WeightsUnavailable(
            f"no tokenizer for {name!r} ({_reason(error, folder)})",
            "the tokenizer that its text tower was trained with, where the weights are from",
            "connect to the hub, or add the files of the tokenizer to the folder",
        ) from error
    return checked_tower(module, tokenizer, name=name)


def _reason(error: Exception, folder: Path | None) -> str:
    """The error in short, without where a folder lies: that is not for visitors of a server."""
    text = str(error) or type(error).__name__
    if folder is not None:
        text = text.replace(str(folder.absolute()), folder.name)
    return short_reason(OSError(text))


def _package(name: str) -> ModuleType:
    try:
        import open_clip
    except ImportError as error:
        raise WeightsUnavailable(
            f"no package open_clip, which {name!r} needs",
            "that package of its authors",
            "run 'pip install open_clip_torch', or choose a model of timm",
        ) from error
    return open_clip
