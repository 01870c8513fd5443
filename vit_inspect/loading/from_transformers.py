"""How is a network of Hugging Face's `transformers` loaded, from a hub or from a folder?

The package is optional: only this module imports it, and only when such a network is loaded.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import torch
from torch import nn

from vit_inspect.device import check_layers, check_network
from vit_inspect.errors import (
    BadParameter,
    InspectError,
    WeightsUnavailable,
    lacks_memory,
    short_reason,
)
from vit_inspect.loading import ceiling
from vit_inspect.loading.adapters import CONFIG, Adapter, adapter_in, merged
from vit_inspect.loading.folders import MODEL_CONFIG, PROCESSORS, check_config, check_folder
from vit_inspect.loading.from_module import wrap
from vit_inspect.loading.hub import REPOSITORY, check_repository_name, is_cached, reachable_hub
from vit_inspect.loading.text_towers import Lazy, Tower, checked_tower, has_words, words_of
from vit_inspect.loading.transformers_anatomy import ANATOMIES, TOWERS, describe, unknown
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import in_words
from vit_inspect.pictures.reading import printable

PACKAGE = "transformers"

PREFIX = f"{PACKAGE}:"
"""Put before the name of a repository of a model of transformers."""

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Files of a repository that show that its weights were fetched."""

LAYER = re.compile(r"\.\d+\.")
"""The number of a layer in the name of a weight."""

REPORTS = {
    "transformers.modeling_utils": "LOAD REPORT",
    "transformers.distributed.tensor_parallel": "were not sharded",
}
"""Who prints a list of weights, and by which words it is known."""


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
    repository or some weights are missing or of other sizes than its configuration says,
    `OutOfMemory` for one that memory has no room for, and `UnsupportedModel` for a class that is
    not in `ANATOMIES`.
    """
    check_repository_name(name, PREFIX)
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    check_no_folder(repository)
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
    """The model in a folder written by `save_pretrained`, of a network or of an adapter of PEFT.

    Raises what `load` raises.
    """
    # Otherwise transformers would look for it on the hub.
    if not folder.is_dir():
        raise WeightsUnavailable(
            f"no folder at {printable(folder.name)!r}",
            "a folder written by save_pretrained",
            "check the path, or give the timm id of a file's network as architecture",
        )
    _package(name)
    if not any((folder / each).is_file() for each in (MODEL_CONFIG, CONFIG)):
        raise _without_model(folder)
    # Its text tower may be loaded when the program works in another folder.
    place = str(folder.absolute())
    model = _load(name, place, "main", img_size, device, dtype, pretrained)
    return replace(model, source=f"folder {folder.name}" if pretrained else "random weights")


def _without_model(folder: Path) -> WeightsUnavailable:
    """What to say of a folder without a configuration, such as the one above the checkpoints."""
    inner = sorted(
        (each.parent for each in folder.glob(f"*/{MODEL_CONFIG}")),
        key=lambda each: (len(each.name), each.name),
    )
    listed = ", ".join(repr(printable(each.name)) for each in inner[-3:])
    return WeightsUnavailable(
        f"no {MODEL_CONFIG} in the folder {printable(folder.name)!r}"
        + (f", but in its folders, such as {listed}" if inner else ""),
        "a folder written by save_pretrained",
        f"give checkpoint={printable(str(folder / inner[-1].name))!r}"
        if inner
        else "give the folder in which the configuration and the weights are",
    )


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
    package, given = _package(name), repository
    try:
        check_folder(Path(repository), name, weights=pretrained)
        adapter = adapter_in(Path(repository), name=name)
        if adapter is not None:
            repository, revision = _base(adapter, name), adapter.revision
            check_folder(Path(repository), name, weights=pretrained)
        with _hub(repository, revision):
            place = {"trust_remote_code": False, "revision": revision}
            check_config(package.PreTrainedConfig.get_config_dict(repository, **place)[0], name)
            whole = package.AutoConfig.from_pretrained(repository, **place)
            module, kind = _network(
                package, name, repository, whole, place, adapter, dtype if pretrained else None
            )
            processor, assumed = _processor(package, kind, repository, place, adapter)
    except InspectError:
        raise
    # Broken models raise any error: OSError, ValueError, RuntimeError, SafetensorError, ...
    except Exception as error:
        if lacks_memory(error):
            raise
        # Where a folder lies is not for visitors of a server.
        text = str(error).replace(given, _short(given)) or type(error).__name__
        raise _unavailable(name, OSError(text)) from error
    averaged = assumed and _average(processor, module)
    module.eval().requires_grad_(False).to(device, dtype)
    layout = img_size and describe(module, name=name, img_size=img_size).layout
    model = wrap(module, name=name, layout=layout, transform=processor)
    notices = list(model.notices)
    if assumed:
        notices.append(
            "No image processor in the folder: that of its family was taken, "
            f"{type(processor).__name__}: {', '.join(in_words(model.recipe).values())}"
            + (" (averages over its channels)." if averaged else ".")
        )
    if adapter is not None and pretrained:
        notices.append(f"The adapter was merged into its base model, {_short(repository)}.")
    words = None
    # An adapter of the image encoder was not made for the texts of its base.
    if pretrained and adapter is None and has_words(whole):
        # The hub may get other weights before the text tower is loaded.
        place["revision"] = getattr(whole, "_commit_hash", None) or revision
        tower = Lazy(partial(_tower, name, repository, place, device, dtype))
        words = words_of(whole, model.module, tower, name=name)
    return replace(model, notices=tuple(notices), words=words)


def _tower(
    name: str,
    repository: str,
    place: Mapping[str, Any],
    device: torch.device,
    dtype: torch.dtype,
) -> Tower:
    """The text tower beside the image encoder, with its tokenizer."""
    package = _package(name)
    try:
        with _hub(repository, place["revision"]):
            config = package.AutoConfig.from_pretrained(repository, **place)
            # The image encoder is loaded already; only its projection is needed again.
            config.vision_config.num_hidden_layers = 0
            kind = getattr(package, config.architectures[0])
            _sketch(partial(kind, deepcopy(config)), config.text_config, name)
            with _without_report():
                network, report = kind.from_pretrained(
                    repository,
                    config=config,
                    dtype=dtype,
                    output_loading_info=True,
                    # Refused here, by their names.
                    ignore_mismatched_sizes=True,
                    **place,
                )
            tokenizer = package.AutoTokenizer.from_pretrained(repository, **place)
    except ImportError as error:
        raise WeightsUnavailable(
            f"no package that the tokenizer of {name!r} needs ({short_reason(error)[:80]} ...)",
            "those of SigLIP's tokenizer",
            "run 'pip install sentencepiece protobuf'",
        ) from error
    except InspectError:
        raise
    # As in `_load`.
    except Exception as error:
        if lacks_memory(error):
            raise
        text = str(error).replace(repository, _short(repository)) or type(error).__name__
        raise WeightsUnavailable(
            f"no text tower for {name!r} ({short_reason(OSError(text))})",
            "the weights of both towers and a tokenizer, where the image encoder is from",
            "connect to the hub, or add the files of the tokenizer to the folder",
        ) from error
    _check_complete(report, name)
    network.eval().requires_grad_(False).to(device, dtype)
    return checked_tower(network, tokenizer, name=name)


def _base(adapter: Adapter, name: str) -> str:
    """The folder or the repository of an adapter's base model."""
    # A relative path is that of the training, where the adapter often lay beside its base.
    for place in (Path(adapter.base), adapter.folder.parent / adapter.base):
        if place.is_dir():
            return str(place)
    if adapter.base.startswith(".") or not REPOSITORY.fullmatch(adapter.base):
        raise WeightsUnavailable(
            f"no base model of the adapter {name!r}: {_short(adapter.base)!r} is not there",
            "the folder or the repository of the network that the adapter was trained on",
            f"write its place in {CONFIG}, as base_model_name_or_path",
        )
    return adapter.base


def _short(repository: str) -> str:
    """The name of a folder without its path, or the repository."""
    return repository if REPOSITORY.fullmatch(repository) else Path(repository).name


def _hub(repository: str, revision: str) -> AbstractContextManager[None]:
    """Where the hub is asked, what is done if it does not answer; a folder needs none."""
    if Path(repository).is_dir():
        return nullcontext()
    return reachable_hub(cached=is_cached(f"{repository}@{revision}", [MODEL_CONFIG]))


def _network(
    package: ModuleType,
    name: str,
    repository: str,
    config: Any,
    place: Mapping[str, Any],
    adapter: Adapter | None,
    dtype: torch.dtype | None,
) -> tuple[nn.Module, str]:
    """The network with its weights in this type, or with random ones for None, and its class."""
    kind = (adapter and adapter.kind) or (config.architectures or ["no class"])[0]
    kind = TOWERS.get(kind, kind)
    if kind not in ANATOMIES:
        raise unknown(f"{name} of the class {kind}")
    if not kind.endswith("ForImageClassification"):
        config = getattr(config, "vision_config", config)
    renamed = {} if adapter is None else adapter.renamed
    classes = renamed.get("classifier.weight")
    if classes is not None and len(classes) != config.num_labels:
        # The names of the base model's classes go with it.
        config.num_labels = len(classes)
    options = {"add_pooling_layer": False} if ANATOMIES[kind].pooler else {}
    sketch = _sketch(partial(getattr(package, kind), deepcopy(config), **options), config, name)
    px = getattr(config, "image_size", None) or 0
    ceiling.check(
        sketch,
        max(px) if isinstance(px, list | tuple) else px,
        name,
        fetched=dtype is not None
        and not Path(repository).is_dir()
        and not is_cached(f"{repository}@{place.get('revision', 'main')}", WEIGHTS),
    )
    if dtype is None:
        return getattr(package, kind)(config, **options), kind
    with _without_report():
        module, report = getattr(package, kind).from_pretrained(
            repository,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            # Refused here, by their names.
            ignore_mismatched_sizes=True,
            **place,
            **options,
        )
    _check_complete(report, name, renamed)
    _check_layers_used(report, module, name)
    return (module if adapter is None else merged(module, adapter, name=name)), kind


def _sketch(make: Callable[[], nn.Module], config: Any, name: str) -> nn.Module:
    """The network without weights; one of more layers or memory than there can be is refused."""
    depths = getattr(config, "depths", None)
    counts = depths if isinstance(depths, list | tuple) else []
    check_layers([getattr(config, "num_hidden_layers", 0), *counts], name)
    return check_network(make, f"{name!r}", f"correct its {MODEL_CONFIG}, or choose another model")


def _processor(
    package: ModuleType,
    kind: str,
    repository: str,
    place: Mapping[str, Any],
    adapter: Adapter | None,
) -> tuple[Any, bool]:
    """The image processor beside the weights, or else that of the family; and whether it is that.

    A Trainer saves none. A repository on the hub must have one.
    """
    for holder in ([] if adapter is None else [adapter.folder]) + [Path(repository)]:
        if not holder.is_dir() or any((holder / each).exists() for each in PROCESSORS):
            return package.AutoImageProcessor.from_pretrained(str(holder), **place), False
    return getattr(package, ANATOMIES[kind].processor)(**ANATOMIES[kind].prepared), True


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep back the lists of weights that transformers prints.

    What is missing is refused here, and the other half of two towers is not needed.
    """
    here = threading.get_ident()

    def kept(record: logging.LogRecord) -> bool:
        said = record.getMessage()
        return record.thread != here or not any(each in said for each in REPORTS.values())

    loggers = [logging.getLogger(name) for name in REPORTS]
    for each in loggers:
        each.addFilter(kept)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(kept)


def _average(processor: Any, module: Any) -> bool:
    """Give a processor the averages of its numbers, where they are for other channels; whether."""
    channels = getattr(module.config, "num_channels", 3)
    fits = all(len({*each}) == 1 for each in (processor.image_mean, processor.image_std))
    if fits or len(processor.image_mean) == channels:
        return False
    processor.image_mean = [fmean(processor.image_mean)] * channels
    processor.image_std = [fmean(processor.image_std)] * channels
    return True


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


def _check_layers_used(report: Mapping[str, Any], module: nn.Module, name: str) -> None:
    """Refuse weights of more layers than the network has; transformers drops them without a word.

    Those of another tower or a decoder have other names than the network's own layers.
    """
    own = {LAYER.sub(".#.", each) for each in module.state_dict()}
    extra = [each for each in report["unexpected_keys"] if LAYER.sub(".#.", each) in own]
    if extra:
        raise WeightsUnavailable(
            f"{len(extra)} weights of layers that {name!r} does not have, such as {min(extra)}",
            f"as many layers as {MODEL_CONFIG} says",
            f"put the {MODEL_CONFIG} of these weights beside them",
        )


def _check_complete(report: Mapping[str, Any], name: str, renewed: Collection[str] = ()) -> None:
    """Refuse weights that are missing or of other sizes, but for those that an adapter renews."""
    other = [each for each in report["mismatched_keys"] if each[0] not in renewed]
    if other:
        weight, held, wanted = min(other)
        sides = [" × ".join(map(str, each)) for each in (held, wanted)]
        raise WeightsUnavailable(
            f"{len(other)} weight{'s' if len(other) > 1 else ''} of other sizes for {name!r}, "
            f"such as {weight} of {sides[0]}, where the network has {sides[1]}",
            f"weights that fit {MODEL_CONFIG}",
            f"choose another checkpoint, or put the {MODEL_CONFIG} of these weights beside them",
        )
    if missing := set(report["missing_keys"]) - set(renewed):
        raise WeightsUnavailable(
            f"{len(missing)} weights missing for {name!r}, such as {min(missing)}",
            "all weights of the network",
            "choose another checkpoint: the missing weights would be random",
        )
