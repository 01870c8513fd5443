"""How is an adapter of PEFT, such as LoRA, put into its network?

An adapter holds a few weights that are added to those of a base model. The package is optional:
it is imported when a folder with an adapter is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vit_inspect.errors import UnsupportedModel, WeightsUnavailable, lacks_memory

CONFIG = "adapter_config.json"

OUTER = "base_model.model."
"""Begins the names of all weights of an adapter."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter in a folder.

    base: the folder or the repository of its base model, and `revision` the version.
    kind: the class of the base model; None if the adapter does not say it.
    weights: all that it holds, by the names of the file.
    """

    folder: Path
    base: str
    revision: str
    kind: str | None
    weights: Mapping[str, Tensor]

    @property
    def renamed(self) -> dict[str, Tensor]:
        """All its weights, by the names of the base model where they take the place of its own."""
        return {name.removeprefix(OUTER): value for name, value in self.weights.items()}


def adapter_in(folder: Path, *, name: str) -> Adapter | None:
    """The adapter in a folder; None if there is none.

    Raises `WeightsUnavailable` without the package, or for an adapter that names no base model.
    """
    if not (folder / CONFIG).is_file():
        return None
    try:
        import peft
    except ImportError as error:
        raise WeightsUnavailable(
            f"no package peft, which the adapter in {folder.name!r} needs",
            "that package of Hugging Face",
            "run 'pip install peft', or give a folder with the merged network",
        ) from error
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if not config.get("base_model_name_or_path"):
        raise WeightsUnavailable(
            f"no base model in {CONFIG} of {name!r}",
            "the folder or the repository of the network that the adapter was trained on",
            "write it there as base_model_name_or_path",
        )
    # Without a file, PEFT asks the hub for the folder.
    if not any((folder / f"adapter_model.{end}").is_file() for end in ("safetensors", "bin")):
        raise WeightsUnavailable(
            f"no weights of the adapter {name!r}",
            f"adapter_model.safetensors beside {CONFIG}",
            "give the folder that save_pretrained of PEFT wrote",
        )
    return Adapter(
        folder=folder,
        base=config["base_model_name_or_path"],
        revision=config.get("revision") or "main",
        kind=(config.get("auto_mapping") or {}).get("base_model_class"),
        weights=peft.load_peft_weights(str(folder), device="cpu"),
    )


def merged(network: nn.Module, adapter: Adapter, *, name: str) -> nn.Module:
    """The network with the adapter's weights added to its own, in the type that they have.

    Raises `WeightsUnavailable` where the adapter was made for another network.
    """
    import peft

    try:
        model: Any = peft.PeftModel.from_pretrained(network, str(adapter.folder))
    # PEFT raises errors of many kinds for another network.
    except Exception as error:
        if lacks_memory(error):
            raise
        raise _other_base(
            f"the adapter {name!r}, which PEFT cannot put into its base model"
        ) from error
    found = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    wrong = [
        each
        for each in sorted(found.keys() | adapter.weights.keys())
        if each not in found
        or each not in adapter.weights
        or not torch.equal(found[each].cpu(), adapter.weights[each].to(found[each].dtype))
    ]
    if wrong:
        raise _other_base(
            f"{len(wrong)} weight{'s' * (len(wrong) != 1)} of the adapter {name!r} that do not fit "
            f"its base model, such as {wrong[0]}"
        )
    return model.merge_and_unload()


def _other_base(found: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        found,
        "the base model that it was trained on, with the names of this version of transformers",
        f"correct base_model_name_or_path in {CONFIG}, or merge the adapter where it was trained "
        "and give the folder of the merged network",
    )


def without_wrapper(module: nn.Module) -> nn.Module | None:
    """The network inside a model of PEFT, with its adapters; None for any other module.

    Adapters that add tokens of their own need not be looked for: PEFT has none for pictures.
    """
    if not any(kind.__module__.startswith("peft.") for kind in type(module).__mro__):
        return None
    inner = getattr(module, "get_base_model", None)
    return inner() if inner else None


def check_filters(module: nn.Module, channels: int, *, name: str) -> None:
    """Refuse an adapter on the convolution of the pixels, whose filters would lack its share."""
    for layer in module.modules():
        # What PEFT adds to, and what it puts a trained copy in the place of.
        own = getattr(layer, "base_layer", None) or getattr(layer, "original_module", None)
        if isinstance(own, nn.Module) and any(
            isinstance(part, nn.Conv2d) and part.in_channels == channels for part in own.modules()
        ):
            raise UnsupportedModel(
                f"an adapter on the patch embedding of {name}",
                "a patch embedding with its final weights",
                "call merge_and_unload() of the model of PEFT, and wrap what it returns",
            )
