"""How are the weights of a file loaded into an architecture, and what did not match?

A file and an architecture seldom match exactly: names have prefixes, training leaves decoders and
projection heads in the file, a fine-tuned classifier has its own number of classes. Notices say
what was used, unused or adapted. A file that would change what the model computes is refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vit_inspect.device import check_memory
from vit_inspect.errors import BadParameter, OutOfMemory, WeightsUnavailable, lacks_memory
from vit_inspect.loading import assumed
from vit_inspect.loading.averages import CALLBACKS, is_average, path_of_average
from vit_inspect.loading.from_timm import (
    check_depth,
    check_name,
    convert,
    create,
    guessed_names,
    is_another,
    known_architecture,
    ready,
)
from vit_inspect.loading.grids import take_grid
from vit_inspect.loading.jax_names import is_jax, torch_names
from vit_inspect.loading.positions import RELATIVE_RESAMPLED
from vit_inspect.loading.timm_anatomy import first_convolution
from vit_inspect.loading.timm_parts import trunk_of
from vit_inspect.loading.unplaced import dropped_keys, strange, unplaced, without
from vit_inspect.loading.weight_files import shown
from vit_inspect.loading.wrappers import WeightFile, read_weights
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import channels

PRE_LOGITS = re.compile(r"(^|[./])pre_logits[./]")
"""A layer between the tokens and the classifier, which timm's models do not have."""


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that hold the weights themselves; quantised types also need scales."""

MOST_PX = 64
"""Largest side of filters that timm is asked to resample; it takes memory by its fourth power."""

NO_OPTIONS = (
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "features_only",
    "out_indices",
    "img_size",
    "dynamic_img_size",
    "num_classes",
    "scriptable",
    "exportable",
)
"""Options of timm that are no part of a network, or that the file decides."""

RGB = 3
"""Channels of all architectures, where nothing else is asked for."""

MAX_NETWORKS = 100
"""Most networks of a file that are compared; each costs a pass over the names of its weights."""

LACKING = 100_000_000
"""Most weights that an architecture may have beyond its file. A classifier of 21,843 classes has
30 million, and a file need not have one."""

MAX_LISTED = 12
"""Most parts of a file that a notice names; a training program leaves about five."""

_loading = threading.Lock()
"""The weights of one file at a time are in memory beside the network that is made of them."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One way to read a file as weights of a module.

    prefix: start of the names of its weights in the file.
    weights: by the module's names.
    used: for each of these weights, the names in the file that it was made from.
    """

    prefix: str
    weights: dict[str, Tensor]
    used: dict[str, set[str]]


def load(
    name: str,
    path: Path,
    *,
    architecture: str | None,
    arch_options: Mapping[str, Any],
    part: str | None,
    ignore: Sequence[str],
    img_size: tuple[int, int] | None,
    given: Collection[str],
    device: torch.device,
    dtype: torch.dtype,
) -> Model:
    """The timm architecture with the weights of a file; figures call it `name`.

    architecture: its id; None for what the settings in the file or beside it say.
    arch_options: what timm makes the network with, such as {"num_heads": 12}.
    part: which network of the file; None for the one that is meant for use.
    ignore: as for `load_checkpoint`.
    img_size: the input as (rows px, columns px), or None for the size the file was trained for.
    given: what else the user says, by name, such as "mean": no notice tells it.

    Threads wait for each other: many files that are refused take the memory of the largest.

    Raises what `load_checkpoint` raises, `BadParameter` for an unknown architecture or more layers
    than a network has, and `OutOfMemory` for tables that memory has no room for.
    """
    if kept := [each for each in arch_options if each in NO_OPTIONS]:
        raise BadParameter(
            f"the architecture's option {kept[0]!r}",
            "what the network is made of, such as num_heads, depth, patch_size or reg_tokens",
            "leave it out; the input size is img_size",
        )
    if architecture is not None:
        check_name(architecture)
    with _loading:
        file = read_weights(path, part)
        said = assumed.said(file, path.parent)
        believed: tuple[str, ...] = ()
        if architecture is None:
            architecture = _said_architecture(said.architecture, file.name)
            believed = (f"Architecture {architecture}, as the settings beside the weights say.",)
        options = {**said.options, **arch_options}
        made = ", ".join(f"{each}={value!r}" for each, value in options.items())
        check_depth(options, architecture)
        try:
            _check_count(file, architecture, options)
            module = create(architecture, pretrained=False, img_size=img_size, **options)
        except (WeightsUnavailable, OutOfMemory):
            raise
        # The name is good, and timm's networks do not check their options: these are at fault.
        except Exception as error:
            if not made or lacks_memory(error):
                raise
            raise BadParameter(
                f"options {shown(made)} that {architecture!r} cannot have"
                + ("" if img_size is None else " at this input size"),
                "options of this architecture in timm, with values that fit",
                "give the right ones as arch_options: the settings beside the weights say these"
                if said.options.keys() - arch_options.keys()
                else "leave out what it does not have, such as a number of heads that does not "
                "divide the width",
            ) from error
        size, notices = load_checkpoint(
            module, file, architecture=architecture, ignore=ignore, size=img_size
        )
        if is_another(said.architecture, architecture):
            notices += (f"Beside its weights it is called {shown(said.architecture)!r}.",)
        model = ready(
            name,
            module,
            source=f"file {path.name}, as {architecture}" + (f" with {made}" if made else ""),
            img_size=size,
            device=device,
            dtype=dtype,
            notices=(*believed, *notices, *guessed_names(module)),
        )
        return assumed.completed(
            model, file, said, architecture=architecture, given={*given, *arch_options}
        )


def _said_architecture(said: str, name: str) -> str:
    """The architecture that settings name, if timm has it."""
    known = known_architecture(said)
    if known is None:
        raise BadParameter(
            f"the checkpoint {name!r} without an architecture"
            + (f", beside whose weights stands {shown(said)!r}" if said else ""),
            "the timm id of its network",
            "add architecture=ID, such as 'vit_base_patch16_224'",
        )
    return known


def _check_count(file: WeightFile, architecture: str, options: Mapping[str, Any]) -> None:
    """Refuse an architecture of far more weights than the file, before memory is taken for it."""
    with torch.device("meta"):
        sketch = create(architecture, pretrained=False, img_size=None, **options)
    wanted = sum(each.numel() for each in sketch.parameters())
    held = sum(each.numel() for each in file.weights.values() if each.dtype in FLOATS)
    if wanted > held + LACKING:
        raise _another(
            f"{held:,} weights in {file.name!r}, but {wanted:,} in {architecture}", architecture
        )
    tables = sum(each.numel() * each.element_size() for each in sketch.buffers())
    check_memory(
        tables,
        f"tables of {architecture!r} with these options",
        "give the options that it was trained with",
    )


def load_checkpoint(
    module: nn.Module,
    file: WeightFile,
    *,
    architecture: str,
    ignore: Sequence[str] = (),
    size: tuple[int, int] | None,
) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """Load a file into a timm module; its head and position table take the file's sizes.

    ignore: weights that may go although they have no place, by name, start of names or pattern.
    size: the wanted input as (rows px, columns px), or None for the size the file was trained for.

    Returns that size (None for the architecture's own), and notices on what was adapted and
    unused. Raises `WeightsUnavailable` for a file that holds no weights, or those of another
    architecture.
    """
    reading = _reading(module, file, architecture)
    weights = reading.weights
    _keep_relative(module, reading, file)
    notices: list[str] = []
    # Callbacks lie beside the part that was opened.
    outer = "" if reading.prefix.startswith(f"{CALLBACKS}.") else file.part
    if taken := ".".join(filter(None, (outer, reading.prefix.removesuffix(".")))):
        notices.append(f"Weights taken from the part {shown(taken)!r} of the file.")
    _take_pooling(module, weights, notices)
    _take_classes(module, weights, notices, layered=any(map(PRE_LOGITS.search, file.weights)))
    _check_names(module, weights, file, architecture)
    size = take_grid(module, weights, size, file.name, notices)
    # After the grid, for which a hybrid runs its stem on a picture.
    _take_channels(module, weights, notices)
    _check_values(module, reading, weights, file, architecture)
    expected = module.state_dict()
    module.load_state_dict({name: weights[name] for name in expected})
    if any("relative_position" in name and _resized(name, reading, file) for name in expected):
        notices.append(RELATIVE_RESAMPLED)
    used = {source for name in expected for source in reading.used[name]}
    idle = [name for name in file.weights if name not in used]
    twins = _twins(file.weights, reading.prefix)
    judged = [
        name
        for name in idle
        # A twin may have no prefix.
        if not name.startswith(twins) and f"{reading.prefix}{name}" not in used
    ]
    rotary = getattr(module, "rope", None) is not None
    lost = unplaced(file.weights, judged, reading.prefix, rotary=rotary)
    lost += dropped_keys(file.weights, expected)
    refused, let_go = without([*strange(file.beside), *lost], ignore, file.name)
    if refused:
        raise WeightsUnavailable(
            f"weights in {file.name!r} that {architecture} has no place for ({_first(refused)})",
            f"the weights of {architecture}, and heads or what belongs to training",
            "give the architecture, or its arch_options, that has them, or let them go by "
            "ignore=[NAME]",
        )
    if let_go:
        notices.append(f"Left out as asked, although they may matter: {_grouped(let_go)}.")
    averages = (*file.averages, *_averages(file.weights, idle, reading.prefix))
    unused = [
        each
        for each in (*file.left_out, *idle)
        if each not in let_go and not f"{each}.".startswith(tuple(f"{path}." for path in averages))
    ]
    if averages:
        listed = ", ".join(shown(each) for each in averages)
        notices.append(f"An average or a teacher in the file is not shown: {listed}.")
    if unused:
        notices.append(f"Unused parts of the file: {_grouped(unused)}.")
    return size, tuple(notices)


def _reading(module: nn.Module, file: WeightFile, architecture: str) -> Reading:
    """The reading that matches the most weights of the module; in a tie, without a prefix."""
    found = _prefixes(file.weights)
    prefixes = ["", *found]
    if len(found) > MAX_NETWORKS:
        raise WeightsUnavailable(
            f"{len(found):,} networks in {file.name!r}",
            f"at most {MAX_NETWORKS}",
            "save the one that is meant as a file of its own",
        )
    if file.sought:
        named = [each for each in prefixes if each.startswith(f"{file.sought}.")]
        named = named or [each for each in prefixes if f".{file.sought}." in f".{each}"]
        if not named:
            raise WeightsUnavailable(
                f"no part {shown(file.sought)!r} in {file.name!r}",
                f"one of {_first([each.removesuffix('.') for each in prefixes if each])}"
                if any(prefixes)
                else "a file of several networks",
                "name another part, or leave it out",
            )
        prefixes = named
    readings = [reading for prefix in prefixes if (reading := _read(module, file, prefix))]
    expected = module.state_dict()

    def matched(reading: Reading) -> int:
        return len(expected.keys() & reading.weights.keys())

    best = max(readings, key=matched, default=None)
    if best is None or not matched(best):
        raise _another(
            f"no weights of {architecture} in {file.name!r}, only {_first(list(file.weights))}",
            architecture,
        )
    rivals = [each for each in readings if matched(each) == matched(best)]
    # Authors evaluate the teacher or the moving average, not the student.
    averaged = [each for each in rivals if is_average(each.prefix.removesuffix("."))]
    if len(averaged) == 1:
        return averaged[0]
    if len(rivals) > 1 and (best.prefix or averaged):
        first = next(each.prefix for each in (*averaged, *rivals) if each.prefix)[:-1]
        raise WeightsUnavailable(
            f"several networks in {file.name!r} ({_first([each.prefix for each in rivals])})",
            "the weights of one",
            f"name one of them, such as part={first!r}",
        )
    return best


def _prefixes(names: Collection[str]) -> list[str]:
    """Each prefix of a transformer's blocks, such as "module.backbone."."""
    found = (re.match(r"(.*\.)blocks\.0\.", name) for name in names)
    return list(dict.fromkeys(match[1] for match in found if match))


def _averages(weights: Mapping[str, Tensor], idle: Iterable[str], prefix: str) -> list[str]:
    """The paths of the averages to which unused weights belong."""
    # A number beside an average is no average: how much it keeps, how often it was renewed.
    paths = [
        path_of_average(name)
        for name in idle
        if weights[name].numel() > 1 and not (prefix and name.startswith(prefix))
    ]
    return list(dict.fromkeys(filter(None, paths)))


def _twins(names: Collection[str], prefix: str) -> tuple[str, ...]:
    """The prefixes of other networks that have every block of the one with this prefix."""

    def blocks(prefix: str) -> set[str]:
        return {name.removeprefix(prefix) for name in names if name.startswith(f"{prefix}blocks.")}

    own = blocks(prefix)
    return tuple(each for each in _prefixes(names) if each != prefix and own <= blocks(each))


@torch.inference_mode(False)
@torch.enable_grad()
def _read(module: Any, file: WeightFile, prefix: str) -> Reading | None:
    """The weights whose names have this prefix, under the module's names; None if that fails."""
    # Autograd records which tensors of the file each weight is made from.
    leaves = {
        name: tensor.detach().requires_grad_(tensor.is_floating_point())
        for name, tensor in file.weights.items()
        if name.startswith(prefix)
    }
    # Filters of another size than the architecture's are refused in any case.
    if any(_is_large(name, leaf) for name, leaf in leaves.items()):
        return None
    names = {id(leaf): name for name, leaf in leaves.items()}
    given = {name.removeprefix(prefix): leaf for name, leaf in leaves.items()}
    dynamic = getattr(module, "dynamic_img_size", False)
    table = getattr(module, "pos_embed", None) if dynamic else None
    try:
        # Without a table to compare with, timm keeps the file's as trained: resampling it here,
        # and again in each forward pass, would blur it twice.
        if table is not None:
            module.pos_embed = None
        # timm knows the names of SAM's authors by this word, which the encoder alone does not have.
        if "blocks.0.mlp.lin1.weight" in given:
            given = {f"image_encoder.{name}": leaf for name, leaf in given.items()}
        converted = convert(torch_names(given) if is_jax(given) else given, module)
    # The conversions do not check the file, so they can raise any error.
    except Exception as error:
        if lacks_memory(error):
            raise
        return None
    finally:
        if table is not None:
            module.pos_embed = table
    weights = {name: value for name, value in converted.items() if isinstance(value, Tensor)}
    used = {
        name: {names[leaf] for leaf in _leaves(value) if leaf in names}
        for name, value in weights.items()
    }
    return Reading(prefix, {name: value.detach() for name, value in weights.items()}, used)


def _is_large(name: str, weight: Tensor) -> bool:
    """Whether a weight could be filters of more than `MOST_PX` a side, as torch or JAX has them."""
    sides = weight.shape[:2] if name.endswith("/kernel") else weight.shape[-2:]
    table = "pos_embed" in name and "patch_embed" not in name
    return weight.dim() == 4 and min(sides) > MOST_PX and not table


def _leaves(tensor: Tensor) -> Iterator[int]:
    """The ids of the tensors that this one was computed from."""
    if tensor.grad_fn is None:
        yield id(tensor)
    waiting: list[Any] = [tensor.grad_fn]
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield id(node.variable)
        waiting += [before for before, _ in node.next_functions]


def _take_pooling(module: Any, weights: dict[str, Tensor], notices: list[str]) -> None:
    """Use the file's fc_norm: fine-tuned MAE normalises the mean of the patches, not each token."""
    if (
        {"fc_norm.weight", "fc_norm.bias"} <= weights.keys()
        and not {"norm.weight", "norm.bias"} & weights.keys()
        and isinstance(getattr(module, "fc_norm", None), nn.Identity)
        and isinstance(module.norm, nn.LayerNorm)
    ):
        module.fc_norm, module.norm, module.global_pool = module.norm, nn.Identity(), "avg"
        notices.append("Read-out: mean of the patches, because the file has fc_norm and no norm.")


def _take_classes(
    module: Any, weights: dict[str, Tensor], notices: list[str], *, layered: bool
) -> None:
    """Give the module the file's number of classes, or 0 if the file has no usable classifier.

    layered: whether the file has a layer between the tokens and its classifier.
    """
    names = _classifiers(module)
    first = weights.get(f"{names[0]}.weight") if names else None
    if first is not None and first.dim() == 2 and not layered:
        # One of another width is refused later; it could ask for any number of classes.
        if len(first) != module.num_classes and first.shape[1] == module.head_hidden_size:
            module.reset_classifier(len(first))
            classes = "one output" if len(first) == 1 else f"{len(first):,} classes"
            notices.append(f"Classifier of {classes} taken from the file.")
        return
    if layered:
        notices.append(
            "The file's classifier reads a layer that the architecture does not have (pre_logits): "
            "the model outputs a feature vector."
        )
    elif module.num_classes:
        notices.append("The file has no classifier: the model outputs a feature vector.")
    if module.num_classes:
        module.reset_classifier(0)


def _take_channels(module: nn.Module, weights: dict[str, Tensor], notices: list[str]) -> None:
    """Give the module an input of the file's number of channels, if it has no other than usual."""
    layer = first_convolution(trunk_of(module))
    name = next((name for name, part in module.named_modules() if part is layer), "")
    given = weights.get(f"{name}.weight")
    # Another number than that of all architectures was asked for.
    asked = layer is not None and layer.in_channels != RGB
    if layer is None or asked or given is None or given.dim() != 4 or given.shape[1] == RGB:
        return
    filters, (rows, columns) = len(layer.weight), layer.weight.shape[2:]
    # Those of another count or size are refused later; they could ask for any number of channels.
    if given.shape != (filters, given.shape[1], rows, columns):
        return
    layer.in_channels = given.shape[1]
    layer.weight = nn.Parameter(layer.weight.new_zeros(given.shape))
    notices.append(f"Input of {channels(layer.in_channels)} taken from the file.")


def _classifiers(module: Any) -> tuple[str, ...]:
    named = module.pretrained_cfg.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _check_names(
    module: nn.Module, weights: dict[str, Tensor], file: WeightFile, architecture: str
) -> None:
    """Refuse a file that lacks weights."""
    expected = module.state_dict()
    if missing := [name for name in expected if name not in weights]:
        raise _another(
            f"the checkpoint {file.name!r}, which lacks weights of {architecture} "
            f"({_first(missing)})",
            architecture,
        )


def _check_values(
    module: nn.Module,
    reading: Reading,
    weights: dict[str, Tensor],
    file: WeightFile,
    architecture: str,
) -> None:
    """Refuse weights of another shape or type, and values that are not finite."""
    filters = "patch_embed.proj.weight"
    # timm resamples filters of another size, but that makes another model.
    if filters in weights and _resized(filters, reading, file):
        held = sum(file.weights[each].numel() for each in reading.used[filters])
        count = len(weights[filters])
        raise _another(
            f"patch filters of {held // count:,} weights in {file.name!r}, but of "
            f"{weights[filters].numel() // count:,} in {architecture}",
            architecture,
        )
    for name, own in module.state_dict().items():
        given = weights[name]
        if given.shape != own.shape:
            raise _another(
                f"{name} of {_sides(given)} in {file.name!r}, but of {_sides(own)} in "
                f"{architecture}",
                architecture,
            )
        if own.is_floating_point() and given.dtype not in FLOATS:
            raise WeightsUnavailable(
                f"{name} of type {str(given.dtype).removeprefix('torch.')} in {file.name!r}",
                "floating-point weights",
                "choose a checkpoint that was not quantised",
            )
        if not given.isfinite().all():
            raise WeightsUnavailable(
                f"infinite or NaN values in {name} of {file.name!r}",
                "finite weights",
                "choose a checkpoint from before the training failed",
            )


def _resized(name: str, reading: Reading, file: WeightFile) -> bool:
    """Whether a weight was resampled when it was read."""
    held = sum(file.weights[each].numel() for each in reading.used.get(name, ()))
    return held not in (0, reading.weights[name].numel())


def _keep_relative(module: nn.Module, reading: Reading, file: WeightFile) -> None:
    """Take tables of relative positions that fit as they are.

    timm takes them for those of a square where the module's grid is none, and resamples them.
    """
    own = module.state_dict()
    for name in own:
        held = [file.weights[each] for each in reading.used.get(name, ())]
        fits = [each.shape for each in held] == [own[name].shape]
        if fits and name.endswith("relative_position_bias_table"):
            reading.weights[name] = held[0]


def _another(found: str, architecture: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        found,
        f"the weights of {architecture}",
        "check the file, or give the architecture, and its arch_options, that it was trained with",
    )


def _sides(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "no dimension"


def _first(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(shown(name) for name in names[:3]) + more


def _grouped(names: Iterable[str]) -> str:
    """All names, grouped by part: "mask_token, decoder_blocks (96 weights)"."""
    parts: dict[str, list[str]] = {}
    for name in names:
        part = re.split(r"[./]\d+[./]|[./][^./]*$", name, maxsplit=1)[0]
        parts.setdefault(part or name, []).append(name)
    listed = [
        shown(each[0]) if len(each) == 1 else f"{shown(part)} ({len(each):,} weights)"
        for part, each in parts.items()
    ]
    more = f" and {len(listed) - MAX_LISTED:,} more parts" if len(listed) > MAX_LISTED else ""
    return ", ".join(listed[:MAX_LISTED]) + more
