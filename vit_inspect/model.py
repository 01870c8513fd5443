"""What is a model here? A network, the order of its tokens, and how its input is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vit_inspect.arguments import in_words, one_of, takes, whole
from vit_inspect.device import images_per_pass
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import TokenLayout
from vit_inspect.pictures.given import Picture, as_picture
from vit_inspect.pictures.preparing import Fit, Recipe, prepare
from vit_inspect.pictures.reading import printable
from vit_inspect.records.evidence import Outputs

Blocks = tuple[nn.Module, ...]
ScoreBias = Callable[[Blocks], Float[Tensor, "layer head row_offset column_offset"]]
Rotation = Callable[[Blocks, tuple[int, int]], Float[Tensor, "layer head pair axis"]]


@dataclass(frozen=True, eq=False)
class Stage:
    """The blocks between two merges of tokens, or all where none merge: they have one grid.

    blocks, layout: as in a `Model`.
    windows: for each block, the key at each place of each window, as in `LayerAttention`.
    """

    blocks: tuple[nn.Module, ...]
    layout: TokenLayout
    windows: tuple[Int[Tensor, "_ _"] | None, ...]


class Comparison(NamedTuple):
    """How a network's output is compared with some texts.

    cosines: takes the network's output, (image, width), and returns its cosine with each text,
        (image, text).
    scale, bias: the score of a text is scale × cosine + bias.
    """

    cosines: nn.Module
    scale: float
    bias: float


@dataclass(frozen=True, eq=False)
class Words:
    """The text tower that a network was trained with: it can make any texts the classes.

    compare: function from texts to their `Comparison`; it loads the tower when first called.
    outputs: what the scores of several texts are, as in a `Model`.
    head: function from the last block's output, (image, token, width), to the network's output.
    """

    compare: Callable[[Sequence[str]], Comparison]
    outputs: Outputs
    head: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Model:
    """A vision transformer, ready to be inspected; `vit_inspect.load` makes one.

    A hierarchical network, whose tokens merge between stages, is inspected one stage at a time.

    id: the name that it was loaded by; for a checkpoint, its name in figures.
    module: the network, in evaluation mode. Threads may share it.
    blocks: the transformer's blocks, of the current stage, first layer first.
    layout: its tokens at the input size chosen when it was loaded.
    recipe: how a photograph becomes the model input.
    source: where the weights come from, in words; "random weights" if they were not trained.
    filters: weights that the first convolution applies to the pixels, (filter, channel, row px,
        column px); standardised if the network does so. None if no convolution is applied to the
        pixels.
    filters_name: the kind of that convolution: "patch embedding", "ResNet stem convolution" or
        "stem convolution".
    positions: table of absolute positions, learned or fixed, as (grid row, grid column, width), on
        the network's own grid, which can differ from the layout's; None if there is no such table.
        timm resamples weights of another grid while it loads them.
    score_bias: function of some blocks that returns the bias of their scores for each offset of
        key minus query, (layer, head, row offset, column offset). Row offsets go from -(rows - 1)
        to rows - 1 of the grid or window in which tokens attend, column offsets likewise. One
        layer is returned if all share one bias. None if there is no such bias.
    rotation: function of some blocks and a grid that returns the angle by which each pair of a
        head's dimensions is rotated from one patch to the next, in radians, (layer, head, pair,
        axis), per row down and per column to the right. One layer or head is returned if all share
        the rotation. None if there is no rotation.
    labels: name of every class that the output scores, in order, "class 7" for one without a name,
        or of every raw score, "output 7"; None if the model is not known to score classes.
    outputs: how the outputs of these classes become probabilities: "single-label" by a softmax over
        them, "multi-label" by a sigmoid of each; or "scores", if they are raw numbers. Without
        labels it has no meaning.
    head: function from the last block's output, (image, token, width), to the model's output, with
        the final norm; it accepts any number of patches. None if it is not known.
    norm: the final norm, token by token, from the last block's output, (image, token, width), to
        the head's input. None if there is none or it is not known.
    notices: sentences on how the model was loaded that a reader should know.
    branches: whether each block is attention alone, whose output the network itself adds to the
        tokens. Else a block returns the tokens.
    merged: how many patches along each axis merge into one after the last block; 1 if they do not
        merge.
    stage: the current stage, from 0; `at_stage` chooses another one.
    stages: all stages in order; a single one if tokens attend inside windows but do not merge;
        empty if they do neither.
    words: its text tower, for `vit_inspect.with_texts`; None if it has none.
    """

    id: str
    module: nn.Module
    blocks: tuple[nn.Module, ...]
    layout: TokenLayout
    recipe: Recipe
    source: str
    filters: Float[Tensor, "filter channel row column"] | None
    filters_name: str
    positions: Float[Tensor, "grid_row grid_column width"] | None
    labels: tuple[str, ...] | None
    outputs: Outputs = "single-label"
    score_bias: ScoreBias | None = None
    rotation: Rotation | None = None
    head: Callable[[Tensor], Tensor] | None = None
    norm: Callable[[Tensor], Tensor] | None = None
    notices: tuple[str, ...] = ()
    branches: bool = False
    merged: int = 1
    stage: int = 0
    stages: tuple[Stage, ...] = ()
    words: Words | None = None

    def __post_init__(self) -> None:
        # Others' words go to terminals and files, which have no place for control characters.
        object.__setattr__(self, "id", printable(self.id))
        if self.labels is not None:
            labels = tuple(printable(str(label)) for label in self.labels)
            object.__setattr__(self, "labels", labels)

    @property
    def channels(self) -> int:
        """Number of channels of the model input."""
        return len(self.recipe.mean)

    @property
    def stage_count(self) -> int:
        """Number of stages; 1 if the network keeps its tokens throughout."""
        return max(1, len(self.stages))

    @property
    def input_step_px(self) -> tuple[int, int]:
        """The input's sides are multiples of it: the last stage's patch, times `merged`."""
        last = self.stages[-1] if self.stages else self
        rows, columns = last.layout.patch_px
        return rows * self.merged, columns * self.merged

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._first_weights.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and of the model input."""
        return self._first_weights.dtype

    @property
    def pass_images(self) -> int:
        """How many pictures go into each of many forward passes."""
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
        """Hash of the weights: of all parameters and buffers with name, type and shape."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def fitted(self, fit: Fit) -> Model:
        """This model with another fit of photographs into its input; the network is shared.

        fit: "crop", as the model is evaluated, or "whole": the whole photograph is squeezed into
            the input, so that nothing is cut off, but proportions change.
        """
        return self.with_recipe(fit=fit)

    def with_recipe(self, **fields: Any) -> Model:
        """This model with other pictures as input; the network is shared.

        fields: of its `Recipe`, such as mean=(0.5, 0.5, 0.5). Raises `BadParameter` for values
        that do not fit, or not the input's channels.
        """
        recipe = replace(self.recipe, **fields).of_channels(self.channels)
        return self if recipe == self.recipe else replace(self, recipe=recipe)

    def at_stage(self, index: int) -> Model:
        """This model at another stage, counted from 0; the network is shared.

        Raises `BadParameter` for a stage that does not exist.
        """
        if self.stage_count == 1 and whole(index) != 0:
            raise BadParameter(
                f"the stage {in_words(index)}",
                f"stage 0, the only one of {self.id}",
                "leave out the stage",
            )
        index = one_of(index, self.stage_count, "stage")
        if index == self.stage:
            return self
        stage = self.stages[index]
        return replace(self, stage=index, blocks=stage.blocks, layout=stage.layout)

    def check_same_tokens(self) -> None:
        """Raises `UnsupportedModel` for a network whose tokens merge between stages."""
        if self.stage_count > 1:
            raise UnsupportedModel(
                f"{self.id}, whose tokens merge from stage to stage",
                "the same tokens in every layer",
                "choose a plain vision transformer, or look at the attention maps of one stage",
            )

    def checked_words(self) -> Words:
        """Its text tower; raises `UnsupportedModel` for a model that has none."""
        if self.words is None:
            raise UnsupportedModel(
                f"{self.id}, which has no text tower",
                "a CLIP or SigLIP of transformers or open_clip, loaded with its weights and no "
                "adapter",
                "load one, such as 'transformers:openai/clip-vit-base-patch32'; a network of "
                "open_clip in memory needs wrap(network, tokenizer=open_clip.get_tokenizer(NAME))",
            )
        return self.words

    def prepare(self, image: Picture) -> Float[Tensor, "1 channel row column"]:
        """The model input for a picture, on the model's device and in its type.

        Raises `BadParameter` if the input has 2 channels or more than 3.
        """
        pixels, _ = prepare(as_picture(image), self.recipe, self.layout.input_px)
        return pixels.to(self.device, self.dtype)


of_model = takes(Model, "what vit_inspect.load or vit_inspect.wrap returns")
"""Decorates functions of a model."""
