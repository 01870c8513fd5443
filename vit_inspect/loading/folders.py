"""Which files beside the weights of a folder are refused before `transformers` reads them?

It believes what they say: how many classes there are, and in which file each weight lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vit_inspect.arguments import in_words
from vit_inspect.errors import BadParameter, WeightsUnavailable
from vit_inspect.loading.adapters import CONFIG
from vit_inspect.loading.weight_files import check_number, check_torch_file, shown

MODEL_CONFIG = "config.json"

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files of an image processor."""

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Files that say in which other file each weight lies."""

MAX_SETTINGS = 10_000_000
"""Most bytes of a file of settings; the names of 21,841 classes take 2 million."""

MAX_CLASSES = 50_000
"""Most classes that a configuration may name; ImageNet-21k has 21,841. `transformers` takes a
second for as many."""

MAX_COUNT = 10_000_000
"""Largest of the numbers below: those of networks that exist have at most five digits."""

MAX_PX = 2048
"""Largest side of an input that settings may name: without a table of positions nothing else says
that it is too large, and the first pass would take hours. Those of networks that exist have at most
1024."""

COUNTS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
    "num_channels",
)
"""Settings that are whole numbers, or lists of some."""


def check_folder(folder: Path, name: str, *, weights: bool = True) -> None:
    """Refuse settings, lists of weights and pickles that `save_pretrained` does not write.

    weights: whether they are read too.

    Raises `WeightsUnavailable` and `BadParameter`.
    """
    for each in (MODEL_CONFIG, CONFIG, *PROCESSORS, *(INDEXES if weights else ())):
        if (folder / each).is_file():
            said = _read(folder / each, name)
            if each == MODEL_CONFIG:
                check_config(said, name)
            elif each in INDEXES:
                _check_index(said, folder, each, name)
    for path in sorted(folder.glob("*_model*.bin")) if weights else ():
        check_torch_file(path)


def check_config(said: Mapping[str, Any], name: str) -> None:
    """Refuse a configuration of sizes that are no numbers, or of more classes than models have."""
    parts = [said, *(said.get(tower) for tower in ("vision_config", "text_config"))]
    for part in (each for each in parts if isinstance(each, Mapping)):
        for key in COUNTS:
            for value in _several(part.get(key)):
                if value is not None and not (type(value) is int and 1 <= value <= MAX_COUNT):
                    raise _refused(key, value, f"whole numbers of 1 to {MAX_COUNT:,}", name)
                if key == "image_size" and (value or 0) > MAX_PX:
                    raise _refused(key, value, f"at most {MAX_PX:,} px", name)
        width, heads = (part.get(key) for key in ("hidden_size", "num_attention_heads"))
        if type(width) is int and type(heads) is int and heads > width:
            raise _refused("num_attention_heads", heads, f"at most hidden_size {width}", name)
        labels, count = part.get("id2label"), part.get("num_labels")
        classes = max(
            len(labels) if isinstance(labels, Mapping) else 0, count if type(count) is int else 0
        )
        if classes > MAX_CLASSES:
            raise BadParameter(
                f"{classes:,} classes of {name!r}",
                f"at most {MAX_CLASSES:,}",
                _remedy(MODEL_CONFIG),
            )
    if not isinstance(kind := said.get("model_type", ""), str):
        raise _refused("model_type", kind, "a name", name)
    kinds = said.get("architectures")
    if kinds is not None and not (
        isinstance(kinds, list) and all(isinstance(each, str) for each in kinds)
    ):
        raise _refused("architectures", kinds, "a list of names", name)


def _read(path: Path, name: str) -> dict[str, Any]:
    """What a file of settings says."""
    size = path.stat().st_size
    if size > MAX_SETTINGS:
        raise WeightsUnavailable(
            f"{size / 1e6:,.0f} MB in {path.name!r} of {name!r}",
            f"at most {MAX_SETTINGS // 10**6} MB of settings",
            _remedy(path.name),
        )
    try:
        said = json.loads(path.read_bytes())
    # Signs inside each other end as a RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        raise _no_settings(path.name, name) from error
    if not isinstance(said, dict):
        raise _no_settings(path.name, name)
    return said


def _check_index(said: Mapping[str, Any], folder: Path, file: str, name: str) -> None:
    """Refuse a list of weights that are in no file beside it."""
    places = said.get("weight_map")
    if not isinstance(places, dict) or not isinstance(said.get("metadata", {}), dict) or not places:
        raise _no_settings(file, name)
    check_number(len(places), file)
    for place in set(map(str, places.values())):
        inside = Path(place).name == place and place.endswith((".safetensors", ".bin"))
        if not inside or not (folder / place).is_file():
            raise WeightsUnavailable(
                f"weights in {shown(place)!r}, by {file!r} of {name!r}",
                "files of weights in the same folder",
                "copy all files of the model into its folder, or choose another model",
            )
        if place.endswith(".bin"):
            check_torch_file(folder / place)


def _several(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else [value]


def _refused(key: str, value: object, expected: str, name: str) -> BadParameter:
    told = shown(in_words(value))
    return BadParameter(f"{key} {told} of {name!r}", expected, _remedy(MODEL_CONFIG))


def _no_settings(file: str, name: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"no settings that can be read in {file!r} of {name!r}",
        "those that save_pretrained writes",
        _remedy(file),
    )


def _remedy(file: str) -> str:
    return f"correct its {file}, or choose another model"
