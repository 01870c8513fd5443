"""How is a network that is already in memory inspected? You describe it, and `wrap` checks it.

One forward pass shows where the attention is; a few more try whether the description is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import BaseTorchFunctionMode

from vit_inspect.arguments import of_kind, several
from vit_inspect.device import memory_refusal
from vit_inspect.errors import (
    BadParameter,
    InspectError,
    UnsupportedModel,
    lacks_memory,
    memory_told,
)
from vit_inspect.layout import TokenLayout
from vit_inspect.loading.adapters import check_filters, without_wrapper
from vit_inspect.loading.blocks import are_branches, check_order, found_blocks, window_sides
from vit_inspect.loading.from_timm import guessed_names
from vit_inspect.loading.hypotheses import try_blocks, try_readout, try_tokens
from vit_inspect.loading.open_clip_anatomy import (
    WHOLE,
    check_size,
    head_of,
    image_encoder,
    kind_of,
    layout_of,
    norm_of,
    positions_of,
    recipe_of,
    trunk_head_of,
)
from vit_inspect.loading.open_clip_words import checked_tower, words_of
from vit_inspect.loading.outputs import GUESSED, with_outputs
from vit_inspect.loading.positions import rotation, score_bias, transformers_score_bias
from vit_inspect.loading.stages import PADDED, deepest, unmerged_stages
from vit_inspect.loading.text_towers import Lazy
from vit_inspect.loading.timm_anatomy import (
    is_averaged,
    is_patch_embed,
    is_timm,
    model_of,
)
from vit_inspect.loading.tracing import Trace, trace
from vit_inspect.loading.transformers_anatomy import describe, is_transformers, recipe, stages_of
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import AS_GREY, Recipe
from vit_inspect.recording.hooks import instrument
from vit_inspect.records.evidence import Outputs


@memory_told()
def wrap(
    module: nn.Module,
    *,
    layout: TokenLayout | None = None,
    transform: Any = None,
    blocks: Sequence[nn.Module] | None = None,
    positions: Float[Tensor, "grid_row grid_column width"] | None = None,
    labels: Sequence[str] | None = None,
    outputs: Outputs | None = None,
    name: str | None = None,
    tokenizer: Any = None,
) -> Model:
    """Get your own network ready to be inspected.

    module: takes pixels (image, channel, row, column) and returns a tensor (image, ...), in
        evaluation mode; its first convolution says how many channels. Every block attends once,
        from all tokens to all tokens or inside squares of `block.window_size` tokens, by
        `torch.nn.functional.scaled_dot_product_attention`, by `nn.MultiheadAttention`, or by a
        product of queries and keys, a softmax and a product with the values. Or a vision
        transformer of timm, or of Hugging Face's `transformers`; or a CLIP of open_clip, whose
        image encoder is inspected. Wrappers of torch.compile, data parallel training and PEFT are
        taken off; adapters such as LoRA stay in the network.
    layout: its tokens; `layout.input_px` is the input size. Networks of timm and of open_clip and
        the known models of `transformers` need none: it is read from their attributes, as for
        `load`.
    transform: how a photograph becomes the input: a `Recipe`, or the image processor of a model
        of `transformers`. A function is not accepted: it cannot say which part of a photograph
        the network sees, so maps would be drawn in the wrong place. None for a network of timm
        takes what timm's configuration says, with a notice; for one of open_clip, what its
        `preprocess_cfg` says.
    blocks: the transformer's blocks, in the order in which they run. By default the longest
        `nn.ModuleList` or `nn.Sequential` whose members attend once each; of a member that is
        itself a list, the part that attends.
    positions: the table of absolute positions of the patches, for the figure of their similarity.
    labels: name of every class that the output (image, class) scores.
    outputs: as for `load`.
    name: what figures call the network; by default its class.
    tokenizer: for a CLIP of open_clip, what `open_clip.get_tokenizer` returns for its weights.
        With it, `with_texts` makes any texts the classes.

    The network is shared, not copied, and gets hooks. They do not change its output, except for
    the rounding of `nn.TransformerEncoderLayer`, whose fast path runs only without hooks.
    `module` of the returned model may wrap the network: to return a tensor, or to keep
    `nn.MultiheadAttention` off its own fast path, which hides its attention.

    Raises `BadParameter` for a description that does not fit the network, and `UnsupportedModel`
    for a network whose attention cannot be recorded.
    """
    of_kind(module, nn.Module, "module", "a network of PyTorch")
    of_kind(layout, TokenLayout | None, "layout", "a TokenLayout")
    of_kind(positions, Tensor | None, "positions", "a tensor (grid row, grid column, width)")
    blocks = None if blocks is None else several(blocks, "blocks", "list(network.blocks)")
    labels = None if labels is None else several(labels, "labels", "['cat', 'dog']")
    module = _bare(module)
    name = name or type(module).__name__
    if any(part.training for part in module.modules()):
        raise BadParameter(f"{name} in training mode", "evaluation mode", "call its eval() first")
    _check_weights(module, name)
    if kind_of(module) in WHOLE or (kind_of(module) and layout is None and blocks is None):
        if layout is not None or blocks is not None:
            raise BadParameter(
                f"{'a layout' if blocks is None else 'blocks'} for {name} of open_clip",
                "none: they are read from its image encoder",
                "leave them out, or wrap its `visual` alone",
            )
        model = _of_open_clip(module, name, transform, positions, labels, tokenizer)
        return with_outputs(model, outputs)
    if tokenizer is not None:
        raise BadParameter(
            f"a tokenizer for {name}, which is no whole network of open_clip",
            f"the {' or '.join(WHOLE)} of open_clip",
            "leave out tokenizer",
        )
    if layout is None and blocks is None and is_timm(module):
        return with_outputs(_of_timm(module, name, transform, positions, labels), outputs)
    network, configured = module, None
    by_hand = layout is not None or blocks is not None
    notices: tuple[str, ...] = ()
    if is_transformers(module):
        described = describe(module, name=name, layout=layout)
        network, layout, notices = described.network, described.layout, described.notices
        configured, by_hand = described.outputs, described.by_hand or blocks is not None
        positions = described.positions if positions is None else positions
        labels = described.labels if labels is None else labels
        if not isinstance(transform, Recipe):
            transform = recipe(transform, module, name=name)
    elif any(isinstance(part, nn.MultiheadAttention) for part in module.modules()):
        network = _PlainPath(module)
    if layout is None:
        raise BadParameter(
            f"{name} without a layout of its tokens",
            "a TokenLayout, which cannot be read from this network",
            "add layout=TokenLayout(('cls',), grid=(14, 14), patch_px=(16, 16), readout='cls'), "
            "with the network's own numbers",
        )
    made = _checked_recipe(transform, name)
    seen = _described_pass(network, layout, made, name)
    check_filters(module, seen.channels, name=name)
    stages = stages_of(module, layout) if is_transformers(module) else ()
    stage = deepest(stages)
    if stages and blocks is not None:
        raise BadParameter(
            f"blocks for {name}, whose stages have their own", "no blocks", "leave out blocks"
        )
    if stages:
        found = stages[stage].blocks
    else:
        found = found_blocks(module, seen, name) if blocks is None else blocks
        check_order(found, seen, name)
        stages = unmerged_stages(found, window_sides(found, seen, layout.grid), layout)
    pixels = _grey(network, layout, seen.channels, name)
    with memory_refusal(1, layout.token_count, pixels.device), _refusal(name, layout):
        branches = by_hand and are_branches(found, network, pixels)
    model = Model(
        id=name,
        module=network,
        blocks=found,
        layout=stages[stage].layout if stages else layout,
        recipe=made.of_channels(seen.channels),
        source="a network in memory",
        filters=seen.filters,
        filters_name=(
            "patch embedding" if _is_patch_embedding(seen, layout) else "stem convolution"
        ),
        positions=positions,
        score_bias=(
            transformers_score_bias(module, found, layout.grid)
            if is_transformers(module)
            else score_bias(module, found)
        ),
        rotation=rotation(module, name=name),
        labels=_checked_labels(labels, seen.output, name),
        notices=(
            *notices,
            *_of_pixels(layout),
            *((AS_GREY,) if seen.channels == 1 else ()),
            *((PADDED,) if any(each.layout.padded for each in stages) else ()),
        ),
        branches=branches,
        stage=stage,
        stages=stages,
    )
    model = with_outputs(model, outputs, configured)
    instrument([block for each in stages or (model,) for block in each.blocks])
    if not by_hand:
        return model
    with _refusal(name, layout):
        if not branches:
            try_blocks(model)
        try_tokens(model)
        return replace(model, notices=(*model.notices, *try_readout(model)))


def _check_weights(module: nn.Module, name: str) -> None:
    """Refuse weights that are not in memory, or not dense."""
    for path, weight in (*module.named_parameters(), *module.named_buffers()):
        if weight.is_meta:
            raise BadParameter(
                f"{name} without values in {path}, which is on the device 'meta'",
                "a network with its weights in memory",
                "load them first, such as by load_state_dict(weights, assign=True)",
            )
        if weight.layout != torch.strided:
            raise BadParameter(
                f"a sparse tensor in {path} of {name}",
                "dense weights",
                "replace it by its to_dense()",
            )


def _of_pixels(layout: TokenLayout) -> tuple[str, ...]:
    """Notices where patches do not tile the input."""
    (bottom, right), (rows, columns) = layout.margin_px, layout.input_px
    told = []
    if bottom or right:
        told.append(
            f"The network does not see {bottom} px at the bottom and {right} px at the right of "
            f"its input of {rows} × {columns} px, which no patch covers."
        )
    if layout.cell_px != layout.patch_px:
        patch, cell = (" × ".join(map(str, each)) for each in (layout.patch_px, layout.cell_px))
        told.append(
            f"Its patches of {patch} px overlap. Maps show each as the {cell} px around its centre."
        )
    return tuple(told)


def _bare(module: nn.Module) -> nn.Module:
    """The network inside the wrappers of torch.compile, data parallel training and PEFT."""
    while True:
        inner = getattr(module, "_orig_mod", None) or without_wrapper(module)
        if inner is None and isinstance(module, nn.DataParallel | DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _of_timm(
    module: nn.Module,
    name: str,
    transform: Any,
    positions: Float[Tensor, "grid_row grid_column width"] | None,
    labels: Sequence[str] | None,
) -> Model:
    """The model of a network of timm, which needs no description."""
    own: Any = module
    # A network may be made for another size than its configuration names.
    size = getattr(getattr(own, "patch_embed", None), "img_size", None)
    source = "a network in memory"
    notices = guessed_names(module) if labels is None else ()
    if transform is None:
        notices = (*notices, "Mean, standard deviation, crop and filter are those of timm's entry.")
    model = model_of(name, module, source=source, img_size=size and tuple(size), notices=notices)
    check_filters(module, model.channels, name=name)
    _check_patches(own, model, name)
    if transform is None and (is_averaged(model, "mean") or is_averaged(model, "std")):
        notice = "Its mean and standard deviation are averages over the channels of timm's entry."
        model = replace(model, notices=(*model.notices, notice))
    seen = _first_pass(module, model.layout, model.channels, name)
    instrument([block for each in model.stages or (model,) for block in each.blocks])
    return replace(
        model,
        recipe=(
            model.recipe
            if transform is None
            else _checked_recipe(transform, name).of_channels(model.channels)
        ),
        positions=model.positions if positions is None else positions,
        labels=model.labels if labels is None else _checked_labels(labels, seen.output, name),
    )


def _of_open_clip(
    module: nn.Module,
    name: str,
    transform: Any,
    positions: Float[Tensor, "grid_row grid_column width"] | None,
    labels: Sequence[str] | None,
    tokenizer: Any,
) -> Model:
    """The model of a network of open_clip, or of its image encoder."""
    encoder = image_encoder(module, name=name)
    made = _checked_recipe(recipe_of(encoder, name=name) if transform is None else transform, name)
    trunk: nn.Module | None = getattr(encoder, "trunk", None)
    if trunk is None:
        head = head_of(encoder)
        model = _of_attributes(encoder, name, made)
    else:
        model = _of_timm(trunk, name, made, None, None)
        if model.head is None:
            raise UnsupportedModel(
                f"{name}, whose image encoder merges its tokens from stage to stage",
                "a plain vision transformer",
                "wrap its `visual.trunk` alone",
            )
        head = trunk_head_of(encoder, model.head)
        notices = tuple(each for each in model.notices if GUESSED not in each)
        model = replace(model, module=encoder, notices=notices)
    if transform is None:
        check_size(encoder, model.layout, name=name)
    seen = _first_pass(model.module, model.layout, model.channels, name)
    words = None
    if tokenizer is not None:
        # The tower is here already. A copy of the image encoder takes the same texts.
        tower = Lazy(partial(checked_tower, module, tokenizer, name=name))
        tower()
        words = words_of(module, tower, head, name=name)
    return replace(
        model,
        head=head,
        positions=model.positions if positions is None else positions,
        labels=_checked_labels(labels, seen.output, name),
        words=words,
    )


def _of_attributes(encoder: Any, name: str, made: Recipe) -> Model:
    """The model of a VisionTransformer of open_clip."""
    layout, network = layout_of(encoder), _PlainPath(encoder)
    blocks = tuple(encoder.transformer.resblocks)
    seen = _described_pass(network, layout, made, name)
    check_filters(encoder, seen.channels, name=name)
    check_order(blocks, seen, name)
    instrument(blocks)
    return Model(
        id=name,
        module=network,
        blocks=blocks,
        layout=layout,
        recipe=made.of_channels(seen.channels),
        source="a network in memory",
        filters=seen.filters,
        filters_name="patch embedding",
        positions=positions_of(encoder),
        labels=None,
        norm=norm_of(encoder),
        notices=(*_of_pixels(layout), *((AS_GREY,) if seen.channels == 1 else ())),
    )


def _check_patches(network: Any, model: Model, name: str) -> None:
    """Refuse a patch embedding whose convolution was changed, so that timm's attributes are wrong.

    Patches that overlap can be described by hand.
    """
    embed = getattr(network, "patch_embed", None)
    proj = getattr(embed, "proj", None)
    if embed is None or not is_patch_embed(embed) or not isinstance(proj, nn.Conv2d):
        return
    layout, patch_px = model.layout, tuple(embed.patch_size)
    kernel, stride, padding = proj.kernel_size, proj.stride, proj.padding
    unpadded = padding in ((0, 0), "valid")
    plain = kernel == patch_px and unpadded and proj.dilation == (1, 1)
    if plain and stride == patch_px:
        return
    sides = tuple(zip(layout.input_px, patch_px, stride, strict=True))
    grid = tuple((px - patch) // step + 1 for px, patch, step in sides)
    margin = tuple((px - patch) % step for px, patch, step in sides)
    table = getattr(network, "pos_embed", None)
    counts = (math.prod(grid), math.prod(grid) + len(layout.prefix))
    runs = getattr(network, "dynamic_img_size", False) or table is None or table.shape[1] in counts
    described = (
        f"TokenLayout({layout.prefix}, grid={grid}, patch_px={patch_px}, stride_px={stride}, "
        + (f"margin_px={margin}, " if any(margin) else "")
        + f"readout={layout.readout!r})"
    )
    raise BadParameter(
        f"a patch embedding of {name} with filters of {_by(kernel)} px at a stride of "
        f"{_by(stride)} px" + ("" if unpadded else f" and a padding of {padding}"),
        f"patches of {_by(patch_px)} px side by side, as timm's attributes say",
        f"describe it: layout={described}, and transform= a Recipe"
        if plain and runs and not model.stages and all(step <= patch for _, patch, step in sides)
        else "give the convolution the stride of the patch and no padding again",
    )


def _by(sides: tuple[int, ...]) -> str:
    return " × ".join(map(str, sides))


class _PlainPath(nn.Module):
    """Keeps `nn.MultiheadAttention` off its fast path, which hides its attention.

    Under any function mode torch does not take that path, in the calling thread only.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        with BaseTorchFunctionMode():
            return self.network(pixels)


def _described_pass(network: nn.Module, layout: TokenLayout, made: Recipe, name: str) -> Trace:
    """The first pass, on the channels of the first convolution, or else of the recipe."""
    said = max(len(made.mean), len(made.std))
    convolutions = (part for part in network.modules() if isinstance(part, nn.Conv2d))
    channels = next((each.in_channels for each in convolutions if each.groups == 1), said)
    try:
        return _first_pass(network, layout, channels, name)
    except BadParameter:
        # That convolution may be another one, where patches are embedded by a matrix.
        if channels != said:
            with suppress(BadParameter):
                return _first_pass(network, layout, said, name)
        raise


def _grey(
    network: nn.Module, layout: TokenLayout, channels: int, name: str
) -> Float[Tensor, "1 channel row column"]:
    """A uniform input, in the type and on the device of the weights."""
    place = next((each for each in network.parameters() if each.is_floating_point()), None)
    if place is None:
        raise BadParameter(f"{name} without weights", "a trained network", "wrap another module")
    return torch.zeros(1, channels, *layout.input_px, device=place.device, dtype=place.dtype)


def _first_pass(network: nn.Module, layout: TokenLayout, channels: int, name: str) -> Trace:
    """The trace of a forward pass on a uniform input."""
    pixels = _grey(network, layout, channels, name)
    with memory_refusal(1, layout.token_count, pixels.device), _refusal(name, layout):
        seen = trace(network, pixels)
    if not isinstance(seen.output, Tensor) or not seen.output.shape[:1] == (1,):
        raise UnsupportedModel(
            f"{name}, which returns {_in_words(seen.output)} for one picture",
            "a tensor with one row for each picture",
            "wrap a module whose forward returns the scores or the features alone",
        )
    return seen


@contextmanager
def _refusal(name: str, layout: TokenLayout) -> Iterator[None]:
    """Turns any error of the network on its input into a `BadParameter`."""
    try:
        yield
    except InspectError:
        raise
    # A network of the user's own can fail in any way.
    except Exception as error:
        if lacks_memory(error):
            raise
        rows, columns = layout.input_px
        raise BadParameter(
            f"{name}, which fails on pictures of {rows} × {columns} px",
            "a network that takes pixels alone, (image, channel, row, column), of this size",
            "correct the grid, patch_px or stride_px of the layout, or wrap a module whose forward "
            "takes them",
        ) from error


def _in_words(output: object) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    return f"an object of class {type(output).__name__}"


def _is_patch_embedding(seen: Trace, layout: TokenLayout) -> bool:
    filters = seen.filters
    return filters is not None and (tuple(filters.shape[2:]), seen.stride) == (
        layout.patch_px,
        layout.cell_px,
    )


def _checked_recipe(transform: object, name: str) -> Recipe:
    if not isinstance(transform, Recipe):
        raise BadParameter(
            f"{name} without a transform" if transform is None else f"the transform {transform!r}",
            "a Recipe, which says what part of a photograph the network sees, as no function can",
            "add transform=Recipe(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), "
            "interpolation='bicubic', crop_fraction=0.9, crop_mode='center'), with the network's "
            "own numbers",
        )
    transform.check()
    return transform


def _checked_labels(labels: Sequence[str] | None, output: Any, name: str) -> tuple[str, ...] | None:
    if labels is not None and output.shape != (1, len(labels)):
        raise BadParameter(
            f"{len(labels)} labels for {name}, which returns {_in_words(output)} for one picture",
            "a label for each score of an output (image, class)",
            "give the names of all classes in their order, or leave out labels=",
        )
    # One number is no vector of features: its direction is always the same.
    if labels is None and isinstance(output, Tensor) and output.shape == (1, 1):
        return ("output 0",)
    return None if labels is None else tuple(labels)
