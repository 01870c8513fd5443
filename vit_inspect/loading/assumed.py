"""What do the weights in a file not say of their network, and who says it instead?

The number of heads, the activation, how pictures were prepared, ... A configuration beside the
weights, or the arguments of the training inside the file, are believed over the architecture. What
only the architecture says is told, and where it is known to be wrong for such weights, a warning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from vit_inspect.loading.timm_anatomy import is_averaged
from vit_inspect.loading.weight_files import Unread
from vit_inspect.loading.wrappers import WeightFile
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import in_words

CONFIG = "config.json"
"""The file in which hubs keep the configuration of the weights beside it."""

MAX_CONFIG = 1_000_000
"""Most bytes of such a file; ImageNet's class names take 300,000."""

SETTINGS = (
    "pretrained_cfg",
    "default_cfg",
    "model_args",
    "model_kwargs",
    "args",
    "config",
    "cfg",
    "hyper_parameters",
    "hparams",
)
"""Entries in which training programs keep their arguments."""

MAX_DEPTH = 3
"""Most of them inside each other."""

IMAGENET = "mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)"


@dataclass(frozen=True)
class Said:
    """What is said of the network beside its weights.

    architecture: a name of the network, in timm's words or another program's; empty if none.
    options: for timm's `create_model`.
    recipe: fields of a `Recipe`.
    """

    architecture: str
    options: dict[str, Any]
    recipe: dict[str, Any]


def said(file: WeightFile, folder: Path) -> Said:
    """What the entries of a file beside its weights say, and the configuration in its folder."""
    found: dict[str, Any] = {}
    # What lies in the file goes first: a folder may hold several files.
    for settings in (*_settings(_by_last_word(file.left_out)), *_settings(_config(folder))):
        for name, value in settings.items():
            field, fits = _KNOWN.get(name, ("", _never)) if isinstance(name, str) else ("", _never)
            if field and field not in found and fits(value):
                found[field] = tuple(map(float, value)) if field in ("mean", "std") else value
    return Said(
        architecture=found.pop("architecture", ""),
        options={name: found.pop(name) for name in ("num_heads", "global_pool") if name in found},
        recipe=found,
    )


def completed(
    model: Model, file: WeightFile, said: Said, *, architecture: str, given: Collection[str]
) -> Model:
    """The model with what its file says of pictures, and with notices on what it does not say.

    given: names of what the user said, such as "num_heads" or "mean".
    """
    numbers = {"mean", "std"}
    # A configuration may still have the numbers of red, green and blue.
    fields = {
        name: value
        for name, value in said.recipe.items()
        if name not in numbers or len(value) == model.channels
    }
    model = model.with_recipe(**fields)
    believed = {name: value for name, value in (said.options | fields).items() if name not in given}
    known = {*given, *said.options, *fields}
    known |= {"readout"} if "global_pool" in known else set()
    notices = (
        *_believed(believed),
        *_told(model, architecture, known),
        *_warnings(model, file, said, known),
    )
    return replace(model, notices=(*model.notices, *notices))


def _believed(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The sentence on what the settings beside the weights say."""
    listed = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return (f"As the settings beside the weights say: {listed}.",) if listed else ()


def _told(model: Model, architecture: str, known: Collection[str]) -> tuple[str, ...]:
    """The sentence on what only the architecture says."""
    block: Any = model.blocks[0]
    activation = next(
        (
            type(part).__name__
            for name, part in block.named_modules()
            if name.rpartition(".")[2] in ("act", "act1", "act_layer")
        ),
        None,
    )
    norm = next((part for part in block.modules() if hasattr(part, "eps")), None)
    prepared = in_words(model.recipe)
    for name in ("mean", "std"):
        prepared[name] += " (an average over its channels)" * is_averaged(model, name)
    parts = {
        "num_heads": _heads(model),
        "act_layer": activation,
        "norm_layer": None if norm is None else f"norm epsilon {norm.eps:g}",
        "readout": f"read-out {model.layout.readout}",
        **prepared,
    }
    listed = ", ".join(text for name, text in parts.items() if text and name not in known)
    return (f"Not in the file, and taken from {architecture}: {listed}.",) if listed else ()


def _warnings(
    model: Model, file: WeightFile, said: Said, known: Collection[str]
) -> tuple[str, ...]:
    """Sentences where weights of this kind are known to be of another network than this."""
    settings = [*_settings(_by_last_word(file.left_out))]
    named = [name for each in settings for name in each if isinstance(name, str)]
    # The file from which a fine-tuned one began.
    begun = [str(each.get("finetune", "")) for each in settings]
    words = " ".join(
        (file.name, file.part, said.architecture, *file.left_out, *named, *begun, *file.weights)
    ).lower()
    return tuple(
        pair.told
        for pair in _KNOWN_PAIRS
        if pair.name not in known and re.search(pair.sign, words) and pair.wrong(model)
    )


def _config(folder: Path) -> Mapping[str, Any]:
    """timm's configuration in a folder; empty where there is none that can be read."""
    path = folder / CONFIG
    try:
        if not path.is_file() or path.stat().st_size > MAX_CONFIG:
            return {}
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    # Other packages have files of this name too, with words of their own.
    return content if isinstance(content, dict) and "architecture" in content else {}


def _by_last_word(entries: Mapping[str, object]) -> dict[str, object]:
    return {key.rpartition(".")[2]: value for key, value in entries.items()}


def _settings(given: object, depth: int = MAX_DEPTH) -> Iterator[Mapping[Any, Any]]:
    """The dictionaries of settings in a value, the outermost first."""
    settings = given.attributes if isinstance(given, Unread) else given
    if isinstance(settings, Mapping):
        yield settings
        for name in SETTINGS if depth else ():
            yield from _settings(settings.get(name), depth - 1)


def _heads(model: Model) -> str:
    """The number of heads, of each stage; empty if the blocks do not say it."""
    parts: list[Any] = [each.blocks[0] for each in model.stages or (model,)]
    heads = [getattr(getattr(part, "attn", None), "num_heads", None) for part in parts]
    counts = [str(each) for each in heads if each]
    return f"{', '.join(counts)} heads" if counts else ""


def _never(value: object) -> bool:
    return False


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) < 200


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1000


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _is_of_channels(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and 0 < len(value) < 1000
        and all(isinstance(each, int | float) and 0 <= each <= 1 for each in value)
    )


def _is_positive(value: Any) -> bool:
    return _is_of_channels(value) and min(value) > 0


def _one_of(*values: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in values


_KNOWN: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "architecture": ("architecture", _is_name),
    "arch": ("architecture", _is_name),
    "model": ("architecture", _is_name),
    "model_name": ("architecture", _is_name),
    "num_heads": ("num_heads", _is_count),
    "global_pool": ("global_pool", _one_of("token", "avg")),
    "gp": ("global_pool", _one_of("token", "avg")),
    "mean": ("mean", _is_of_channels),
    "std": ("std", _is_positive),
    "crop_pct": ("crop_fraction", _is_share),
    "crop_mode": ("crop_mode", _one_of("center", "squash")),
    "interpolation": (
        "interpolation",
        _one_of(*(each.name.lower() for each in Image.Resampling)),
    ),
}
"""For each name of a setting, what it is here, and what shows that it is that."""


class _Pair(NamedTuple):
    """Weights that are known to be of another network than it seems.

    sign: a pattern in the names of the file, its entries, its settings and its weights, in
        small letters.
    name: of the option that would say it right.
    wrong: whether a model has it wrong.
    told: the warning.
    """

    sign: str
    name: str
    wrong: Callable[[Model], bool]
    told: str


def _is_small_of_six(model: Model) -> bool:
    block: Any = model.blocks[0]
    heads = getattr(getattr(block, "attn", None), "num_heads", 0)
    return heads == 6 and getattr(model.module, "embed_dim", 0) == 384


def _is_not_quick(model: Model) -> bool:
    return not any("QuickGELU" in type(part).__name__ for part in model.blocks[0].modules())


def _is_centred_at_half(model: Model) -> bool:
    return model.recipe.mean == (0.5, 0.5, 0.5)


def _is_cut(model: Model) -> bool:
    return model.recipe.crop_mode == "center"


_MOCO = r"moco|base_encoder|momentum_encoder|\bvit-[sb]-\d+ep\b"
_DINO = r"dino|ibot|last_layer\.(weight_[gv]|parametrizations)|momentum_teacher|local_crops_number"
_MAE = r"\bmae|mae\b|decoder_blocks|norm_pix_loss"
_JEPA = r"jepa|target_encoder\b.*\bpredictor|predictor\b.*\btarget_encoder"
"""Signs of training programs: names of their files, of their arguments and of what they save."""

_KNOWN_PAIRS = (
    _Pair(
        rf"^(?!.*(dino|ibot)).*({_MOCO}|\bvit_small\b)",
        "num_heads",
        _is_small_of_six,
        "Warning: the ViT-S of MoCo v3 has 12 heads, not 6. If this is one, give num_heads=12 as "
        "an option of the architecture.",
    ),
    _Pair(
        r"\binput_resolution\b.*\bcontext_length\b|\bcontext_length\b.*\binput_resolution\b",
        "act_layer",
        _is_not_quick,
        "Warning: OpenAI's CLIP was trained with QuickGELU. If this is one, give the architecture "
        "that has quickgelu in its name.",
    ),
    _Pair(
        r"image_encoder|mask_decoder|prompt_encoder|\bsam_vit",
        "crop_mode",
        _is_cut,
        "Warning: Segment Anything was trained on whole pictures, filled up to squares. If this is "
        "one, give crop_mode='pad' and interpolation='bilinear'.",
    ),
    _Pair(
        rf"{_MOCO}|{_DINO}|{_MAE}|{_JEPA}",
        "mean",
        _is_centred_at_half,
        "Warning: DINO, iBOT, MAE, MoCo and I-JEPA were trained with ImageNet's mean and standard "
        f"deviation, not 0.5. If this is one of them, give {IMAGENET}.",
    ),
)
