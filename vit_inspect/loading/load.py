"""Where does a model come from? `load` only chooses the source."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from vit_inspect.arguments import in_words, of_kind, several, whole
from vit_inspect.device import KEPT, check_memory, choose_device
from vit_inspect.errors import BadParameter, memory_told
from vit_inspect.loading import (
    from_file,
    from_open_clip,
    from_timm,
    from_transformers,
    open_clip_anatomy,
)
from vit_inspect.loading.ceiling import check_px
from vit_inspect.loading.outputs import with_labels, with_outputs
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect.loading.weight_files import check_sha256
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import CropMode, Fit
from vit_inspect.records.evidence import Outputs

FOLDERS: Mapping[str | None, Callable[..., Model]] = MappingProxyType(
    {
        from_transformers.PACKAGE: from_transformers.load_folder,
        open_clip_anatomy.PACKAGE: from_open_clip.load_folder,
    }
)
"""The packages whose models lie in a folder, and what loads them."""

HUBS: Mapping[str, Callable[..., Model]] = MappingProxyType(
    {
        from_transformers.PREFIX: from_transformers.load,
        from_open_clip.PREFIX: from_open_clip.load,
    }
)
"""How names begin that are not of timm, and what loads them."""


@memory_told()
def load(
    name: str | None = None,
    *,
    img_size: int | tuple[int, int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    architecture: str | None = None,
    arch_options: Mapping[str, Any] | None = None,
    sha256: str | None = None,
    part: str | None = None,
    ignore: Sequence[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: str | None = None,
    crop_fraction: float | None = None,
    crop_mode: CropMode | None = None,
    fit: Fit = "crop",
    readout: str | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    pretrained: bool = True,
    stage: int | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    outputs: Outputs | None = None,
) -> Model:
    """Load a vision transformer and get it ready to be inspected.

    name: the bundled "dinov2_small" (the default), a timm id, "hf-hub:organisation/name" for a
        model of timm, or "transformers:organisation/name" or "open_clip:organisation/name" for one
        of these packages; never a path. With `checkpoint`, it is only the name in figures, by
        default the file's name without its suffix.
    img_size: side of the model input in px, or (rows px, columns px); a multiple of the patch.
        By default the size the model was trained for.
    checkpoint: a file of weights: .safetensors, .pth of torch.save, or .npz of the official JAX
        programs. The number of classes and the position table come from the file; the model's
        `notices` say what was adapted and what was not used. Or a folder written by
        `save_pretrained` of transformers, or with a model of open_clip as it lies on the hub.
    architecture: the timm id of the checkpoint's network, or "transformers" or "open_clip" for
        such a folder; only with `checkpoint`. By default what is said in the file, or in a
        `config.json` of timm beside it.
    arch_options: what the checkpoint's network was made with, where it differs from the
        architecture: options of timm's `create_model`, such as {"num_heads": 12, "depth": 6,
        "reg_tokens": 4, "init_values": 1e-5, "qk_norm": True}. No file holds the number of heads.
    sha256: the SHA-256 hash, in hexadecimal digits, that the checkpoint's file must have; by
        default any. Settings beside the file are not part of it. Only with `checkpoint`, for a
        file.
    part: which network of the checkpoint, by its name there, such as "momentum_encoder". By default
        the one that is meant for use: an average over training steps or a teacher, where there is
        one. Only with `checkpoint`, for a file.
    ignore: weights of the checkpoint that may go although the network has no place for them and
        nobody knows them as a head, a decoder or a part of training: by name, by the start of
        their names, or by a pattern such as "blocks.*.adapter.*".
    mean, std, interpolation, crop_fraction, crop_mode: how pictures are prepared, as in a `Recipe`,
        where the model's configuration does not say it right. No file of weights holds it.
    fit: "crop" shows the model its usual crop, "whole" the whole picture, with other proportions.
    readout: how the model reads its tokens, "cls" or "mean of the patches", where it was trained
        otherwise than its configuration says; only of plain networks of timm.
    device: "auto" takes the first that is present of CUDA, MPS and the CPU.
    dtype: type of the weights and of the model input. MPS has no float64.
    pretrained: False gives random weights.
    stage: the stage of a hierarchical network to inspect, from 0; by default the one with the most
        blocks. `Model.at_stage` chooses another one.
    labels: name of every output of a classifier, in order, or a text file with one on each line;
        by default those that come with the weights.
    outputs: what a classifier's outputs are: "single-label" (the softmax over all classes gives
        their probabilities), "multi-label" (the sigmoid of each does) or "scores" (raw numbers, as
        of a regression). By default what the configuration of a model of transformers says; else
        one output is a score, and several are single-label.

    Raises `BadParameter` for a name, size, device or combination that does not exist,
    `WeightsUnavailable` where the weights cannot be fetched, do not fit or have another hash, and
    `UnsupportedModel` where the network is not a plain vision transformer or needs another kind of
    input, and `OutOfMemory` where it, or a capture at `img_size`, takes more memory than is free.
    """
    of_kind(name, str | None, "name", "the name of a model, or vit_inspect.wrap for a network")
    size, target = _sides(img_size), choose_device(device, dtype)
    said = {
        "mean": None if mean is None else several(mean, "mean", "(0.5, 0.5, 0.5)"),
        "std": None if std is None else several(std, "std", "(0.5, 0.5, 0.5)"),
        "interpolation": interpolation,
        "crop_fraction": crop_fraction,
        "crop_mode": crop_mode,
    }
    recipe = {field: value for field, value in said.items() if value is not None}
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        kind = "dictionary" if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
        raise BadParameter(
            f"a checkpoint that is a {kind}",
            "the path of a file",
            "save the weights with torch.save, and give the path of that file",
        )
    if architecture is not None and checkpoint is None:
        raise BadParameter(
            f"the architecture {architecture!r} without a checkpoint",
            "a file with its weights",
            f"add checkpoint=FILE, or load {architecture!r} by its name",
        )
    of_a_file = {"part": part, "ignore": ignore, "arch_options": arch_options}
    given = [each for each, value in of_a_file.items() if value]
    if given and (checkpoint is None or architecture in FOLDERS):
        raise BadParameter(
            f"{given[0]}={of_a_file[given[0]]!r} without a file of weights",
            "a checkpoint of a timm network",
            f"add checkpoint=FILE, or leave out {given[0]}",
        )
    if sha256 is not None:
        if checkpoint is None or architecture in FOLDERS or os.path.isdir(checkpoint):
            raise BadParameter(
                f"the hash sha256={sha256!r} without a file of weights",
                "a checkpoint that is a single file: of a folder there is no such hash",
                "leave out sha256, or give the file as checkpoint",
            )
        check_sha256(Path(checkpoint), sha256)
    if checkpoint is not None and name is None:
        name = Path(checkpoint).stem
    name = DEFAULT if name is None else name
    if size is not None:
        check_px(max(size), name)
    if checkpoint is not None:
        path = Path(checkpoint)
        if architecture in FOLDERS:
            model = FOLDERS[architecture](
                name, path, img_size=size, device=target, dtype=dtype, pretrained=pretrained
            )
        else:
            model = from_file.load(
                name,
                path,
                architecture=architecture,
                arch_options=arch_options or {},
                part=part,
                ignore=[ignore] if isinstance(ignore, str) else ignore,
                given={*recipe, *(() if readout is None else ("readout",))},
                img_size=size,
                device=target,
                dtype=dtype,
            )
    else:
        source = next((of for start, of in HUBS.items() if name.startswith(start)), from_timm.load)
        model = source(name, img_size=size, device=target, dtype=dtype, pretrained=pretrained)
    if size is not None:
        _check_capture(model)
    model = model.with_recipe(fit=fit, **recipe)
    if readout is not None:
        model = from_timm.read_by(model, readout)
    if labels is not None:
        model = with_labels(model, labels)
    if outputs is not None:
        model = with_outputs(model, outputs)
    return model if stage is None else model.at_stage(stage)


def _check_capture(model: Model) -> None:
    """Refuse an input of so many patches that what a capture of one picture keeps has no room."""
    width = model.filters if model.positions is None else model.positions.movedim(2, 0)
    if model.device.type != "cpu" or width is None:
        return
    tokens, item = model.layout.token_count, width.element_size()
    rows, columns = model.layout.input_px
    check_memory(
        KEPT * item * len(width) * len(model.blocks) * tokens,
        f"a capture at {rows:,} × {columns:,} px ({tokens:,} tokens)",
        "use a smaller img_size",
    )


def _sides(img_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The input size as (rows px, columns px); whether patches tile it is checked later."""
    if img_size is None:
        return None
    given = img_size if isinstance(img_size, tuple | list) else (img_size, img_size)
    sides = tuple(whole(px) or 0 for px in given)
    if len(sides) != 2 or min(sides) < 1:
        raise BadParameter(
            f"the input size {in_words(img_size)}",
            "a positive number of px, or two of them as (rows, columns)",
            "use 224 or (224, 448), for example",
        )
    return sides
