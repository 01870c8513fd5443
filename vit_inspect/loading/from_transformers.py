"""How is a network of Hugging Face's `transformers` loaded, from a hub or from a folder?

The package is optional: only this module imports it, and only when such a network is loaded.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from vit_inspect.errors import BadParameter, UnsupportedModel, WeightsUnavailable, short_reason
from vit_inspect.loading.from_module import wrap
from vit_inspect.loading.hub import check_repository_name, reachable_hub
from vit_inspect.loading.transformers_anatomy import ANATOMIES, TOWERS, describe, unknown
from vit_inspect.model import Model

PACKAGE = "transformers"

PREFIX = f"{PACKAGE}:"
"""Put before the name of a repository of a model of transformers."""


def load(
    name: str,
    *,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    """The model of the repository in "transformers:organisation/name@revision".

    img_size: the input as (rows px, columns px), or None for the size it was trained for.

    Raises `BadParameter` for a malformed name, `WeightsUnavailable` where the package, the
    repository or some weights are missing, and `UnsupportedModel` for a class that is not in
    `ANATOMIES`.
    """
    check_repository_name(name, PREFIX)
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    check_no_folder(repository)
    with reachable_hub():
        model = _load(name, repository, revision or "main", img_size, device, dtype, pretrained)
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
    """The model in a folder written by `save_pretrained`; raises what `load` raises."""
    # Otherwise transformers would look for it on the hub.
    if not folder.is_dir():
        raise _unavailable(name, NotADirectoryError(f"no folder {folder.name}"))
    model = _load(name, str(folder), "main", img_size, device, dtype, pretrained)
    return replace(model, source=f"folder {folder.name}" if pretrained else "random weights")


def check_no_folder(repository: str) -> None:
    """Refuse a name that transformers would read as a local folder."""
    if repository.startswith((".", "~")) or os.path.isdir(repository):
        raise BadParameter(
            f"the name '{PREFIX}{repository}', which could be a folder",
            "a repository on the hub",
            f"give a folder as checkpoint=FOLDER, architecture={PACKAGE!r}",
        )


def _load(
    name: str,
    repository: str,
    revision: str,
    img_size: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
    pretrained: bool,
) -> Model:
    package = _package(name)
    notices: tuple[str, ...] = ()
    place: dict[str, Any] = {"trust_remote_code": False, "revision": revision}
    try:
        config = package.AutoConfig.from_pretrained(repository, **place)
        kind = (config.architectures or ["no class"])[0]
        kind = TOWERS.get(kind, kind)
        if kind not in ANATOMIES:
            raise unknown(f"{name} of the class {kind}")
        if _has_processor(repository):
            processor = package.AutoImageProcessor.from_pretrained(repository, **place)
        else:
            processor, notices = _usual_processor(package, kind)
        options = {"add_pooling_layer": False} if ANATOMIES[kind].pooler else {}
        if pretrained:
            module, report = getattr(package, kind).from_pretrained(
                repository,
                attn_implementation="sdpa",
                output_loading_info=True,
                **place,
                **options,
            )
            _check_complete(report["missing_keys"], name)
        else:
            vision = getattr(config, "vision_config", config)
            whole = kind.endswith("ForImageClassification")
            module = getattr(package, kind)(config if whole else vision, **options)
    except (UnsupportedModel, WeightsUnavailable):
        raise
    # Broken models raise any error: OSError, ValueError, RuntimeError, SafetensorError, ...
    except Exception as error:
        raise _unavailable(name, error) from error
    module.eval().requires_grad_(False).to(device, dtype)
    layout = img_size and describe(module, name=name, img_size=img_size).layout
    model = wrap(module, name=name, layout=layout, transform=processor)
    return replace(model, notices=(*model.notices, *notices))


def _has_processor(repository: str) -> bool:
    """Whether an image processor was saved with the weights: a Trainer saves none.

    A repository on the hub must have one.
    """
    names = ("preprocessor_config.json", "processor_config.json")
    folder = Path(repository)
    return not folder.is_dir() or any((folder / name).exists() for name in names)


def _usual_processor(package: ModuleType, kind: str) -> tuple[Any, tuple[str, ...]]:
    """The image processor that networks of this class usually have, and a notice that says so."""
    name, imagenet = ANATOMIES[kind].processor, ANATOMIES[kind].imagenet
    numbers = package.image_utils
    usual = {
        "image_mean": numbers.IMAGENET_DEFAULT_MEAN,
        "image_std": numbers.IMAGENET_DEFAULT_STD,
    }
    processor = getattr(package, name)(**(usual if imagenet else {}))
    told = ", with ImageNet's mean and standard deviation" if imagenet else ""
    return processor, (
        f"No image processor in the folder: that of its family was taken, {name}{told}.",
    )


def _package(name: str) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise WeightsUnavailable(
            f"no package transformers, which {name!r} needs",
            "that package of Hugging Face",
            "run 'pip install transformers', or choose a model of timm",
        ) from error
    return transformers


def _unavailable(name: str, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"no model of transformers for {name!r} ({short_reason(error)})",
        "a configuration, an image processor and weights, from a hub that can be reached, its "
        "local cache or a folder",
        "connect to the hub, check the name, or give a folder written by save_pretrained as "
        "checkpoint=FOLDER, architecture='transformers'",
    )


def _check_complete(missing: Any, name: str) -> None:
    if missing:
        raise WeightsUnavailable(
            f"{len(missing)} weights missing for {name!r}, such as {min(missing)}",
            "all weights of the network",
            "choose another checkpoint: the missing weights would be random",
        )
