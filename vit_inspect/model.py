"""What is inspected: a network, the order of its tokens, and how it wants its input."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from vit_inspect.device import images_per_pass
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import TokenLayout
from vit_inspect.pictures.preparing import Fit, Recipe, prepare

Blocks = tuple[nn.Module, ...]
ScoreBias = Callable[[Blocks], Float[Tensor, "layer head row_offset column_offset"]]
Rotation = Callable[[Blocks, tuple[int, int]], Float[Tensor, "layer head pair axis"]]


@dataclass(frozen=True, eq=False)
class Stage:
    """The blocks between two merges of tokens: they all see the same grid.

    blocks, layout: as those of a `Model`.
    windows: of each block, the token at each place of each window, as `LayerAttention` has them.
    """

    blocks: tuple[nn.Module, ...]
    layout: TokenLayout
    windows: tuple[Int[Tensor, "window place"], ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A vision transformer, ready to be inspected; `vit_inspect.load` makes one.

    A hierarchical network, whose tokens merge on their way, is looked at one stage at a time.

    id: the name that it was loaded by; of a checkpoint, what its figures call it.
    module: the network, in evaluation mode. It may be shared by threads.
    blocks: the transformer's blocks, first layer first; of the stage that is looked at.
    layout: its tokens at the input size chosen when it was loaded.
    recipe: how a photograph becomes the model input.
    source: where the weights come from, in words; "random weights" where they were not trained.
    filters: weights that the first convolution applies to the pixels, (filter, 3, row px, column
        px); standardised where the network does so. None where no convolution sees the pixels.
    filters_name: what that convolution is: "patch embedding", "ResNet stem convolution" or "stem
        convolution".
    positions: table of absolute positions, learned or fixed, as (grid row, grid column, width), on
        the grid that the network holds it for, whatever the layout's; None where there is no such
        table. timm resamples weights of another grid while it loads them.
    score_bias: what is added to the scores of the given blocks by the offset of key minus query,
        (layer, head, row offset, column offset), offsets from -(rows - 1) to rows - 1, of the grid
        or window that attention spans. A single layer stands for all where they share one bias.
        None where there is no such bias.
    rotation: by how much each pair of a head's dimensions is turned from patch to patch, in
        radians, in the given blocks on the given grid: (layer, head, pair, axis), per row down
        and per column to the right. A single layer or head stands for all where they share the
        rotation. None where nothing is turned.
    labels: name of every class that the output scores, in its order, "class 7" where it has none;
        None where the model is not known to score classes.
    head: what makes the output of what the last block returned, (image, token, width), the final
        norm included; it takes rows for any number of patches. None where that is not known.
    norm: the final norm, which makes of what the last block returned, (image, token, width), what
        the head reads, token by token. None where there is none or that is not known.
    notices: what a reader should know of how it was loaded, in sentences.
    merged: how many patches are merged to one along each axis after the last block; 1 where they
        are not.
    stage: the stage that is looked at, from 0; `at_stage` looks at another one.
    stages: all of them, the first one first; none where the network keeps its tokens throughout.
    """

    id: str
    module: nn.Module
    blocks: tuple[nn.Module, ...]
    layout: TokenLayout
    recipe: Recipe
    source: str
    filters: Float[Tensor, "filter 3 row column"] | None
    filters_name: str
    positions: Float[Tensor, "grid_row grid_column width"] | None
    labels: tuple[str, ...] | None
    score_bias: ScoreBias | None = None
    rotation: Rotation | None = None
    head: Callable[[Tensor], Tensor] | None = None
    norm: Callable[[Tensor], Tensor] | None = None
    notices: tuple[str, ...] = ()
    merged: int = 1
    stage: int = 0
    stages: tuple[Stage, ...] = ()

    @property
    def stage_count(self) -> int:
        """Number of stages; 1 where the network keeps its tokens throughout."""
        return max(1, len(self.stages))

    @property
    def input_step_px(self) -> tuple[int, int]:
        """What the input's sides are multiples of: the patch of the last stage, or what merges."""
        last = self.stages[-1] if self.stages else self
        rows, columns = last.layout.patch_px
        return rows * self.merged, columns * self.merged

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._first_weights.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and of the model input."""
        return self._first_weights.dtype

    @property
    def pass_images(self) -> int:
        """How many pictures go into one forward pass where many are to be run."""
        return images_per_pass(self.device, self.layout.token_count)

    @property
    def _first_weights(self) -> Tensor:
        return next(self.module.parameters()) if self.filters is None else self.filters

    @cached_property
    def parameter_count(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @cached_property
    def weights_sha256(self) -> str:
        """Identifies the weights: a hash of all parameters and buffers by name, type and shape."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def fitted(self, fit: Fit) -> Model:
        """This model, shown another part of each photograph; the network is shared.

        fit: "crop", as the model is evaluated, or "whole", the whole photograph squeezed into the
        input: nothing is left out, but proportions change.
        """
        if fit not in get_args(Fit):
            raise BadParameter(f"the fit {fit!r}", "'crop' or 'whole'", "choose one of these")
        if fit == self.recipe.fit:
            return self
        return replace(self, recipe=replace(self.recipe, fit=fit))

    def at_stage(self, index: int) -> Model:
        """This model, looked at in another stage, counted from 0; the network is shared.

        Raises `BadParameter` for a stage that is not there.
        """
        if index not in range(self.stage_count):
            raise BadParameter(
                f"the stage {index}",
                f"a stage of 0..{self.stage_count - 1}"
                if self.stages
                else f"stage 0, the only one of {self.id}",
                "choose one of these" if self.stages else "leave the stage out",
            )
        if index == self.stage:
            return self
        stage = self.stages[index]
        return replace(self, stage=index, blocks=stage.blocks, layout=stage.layout)

    def check_same_tokens(self) -> None:
        """Refuse, by an `UnsupportedModel`, a network whose tokens merge between its stages."""
        if self.stages:
            raise UnsupportedModel(
                f"{self.id}, whose tokens merge from stage to stage",
                "the same tokens in every layer",
                "choose a plain vision transformer, or look at the attention maps of one stage",
            )

    def prepare(self, image: Image.Image) -> Float[Tensor, "1 3 row column"]:
        """The pixels that the network gets for this RGB picture, on its device, in its type."""
        pixels, _ = prepare(image, self.recipe, self.layout.input_px)
        return pixels.to(self.device, self.dtype)
