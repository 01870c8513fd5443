"""Which axes of what an attention computes are images, windows, heads and tokens?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from vit_inspect.attention.blocks import CPU_BLOCK_BYTES
from vit_inspect.attention.layer import AxisBias, LayerAttention, compute_type
from vit_inspect.errors import UnsupportedModel
from vit_inspect.layout import TokenLayout
from vit_inspect.model import Model
from vit_inspect.recording.windows import by_key

Bias = (
    Float[Tensor, "#image #head #query key"] | Float[Tensor, "#window #head place place"] | AxisBias
)


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How the queries, keys, values and outputs of one attention lie in the network's tensors.

    Their axes are (image, head, token, width), with a window's places for tokens where images are
    cut into windows: (image x window, head, place, width). Some networks have the first two in one.

    windows: the key at each place of each window, as in `LayerAttention`.
    layout: of the tokens that attend.
    """

    images: int
    windows: Int[Tensor, "window place"] | None
    layout: TokenLayout

    @property
    def inputs(self) -> int:
        """Number of images, or of windows of all images."""
        return self.images * (1 if self.windows is None else len(self.windows))

    def layer(
        self,
        query: Float[Tensor, "*queries width"],
        key: Float[Tensor, "*keys width"],
        value: Float[Tensor, "*keys value_width"],
        bias: Tensor | AxisBias | None,
        scale: float,
        *,
        name: str,
    ) -> LayerAttention:
        """The attention of a network's own tensors; raises `UnsupportedModel` for other windows.

        name: of the model, in the refusal.
        """
        self._check(query, name)
        return LayerAttention(
            # A network may pass its parameters themselves, which need gradients.
            queries=self.tokens(query.detach()),
            keys=self.keys(key.detach()),
            values=self.keys(value.detach()),
            bias=self.bias(bias, query),
            scale=scale,
            windows=self.windows,
            padded=self.layout.padded,
        )

    def tokens(
        self, given: Float[Tensor, "*axes width"]
    ) -> Float[Tensor, "image head token width"]:
        """Queries or outputs."""
        heads = self._heads(given)
        if self.windows is None:
            return heads
        return by_key(heads, self.windows)[:, :, int(self.layout.padded) :]

    def keys(self, given: Float[Tensor, "*axes width"]) -> Float[Tensor, "image head key width"]:
        """Keys or values."""
        heads = self._heads(given)
        if self.windows is not None:
            return by_key(heads, self.windows)
        return pad(heads, (0, 0, 1, 0)) if self.layout.padded else heads

    def given(self, tokens: Float[Tensor, "image head token width"], like: Tensor) -> Tensor:
        """Outputs in the network's order; of padding, which it drops, those of the first token."""
        if self.windows is not None:
            places = (self.windows - int(self.layout.padded)).clamp_min(0)
            tokens = tokens[:, :, places].transpose(1, 2)
        return tokens.reshape(like.shape)

    def without_padding(self, given: Float[Tensor, "*axes width"], places: list[int]) -> Tensor:
        """What is given at some places of each window; 0 at padding, whose output is dropped."""
        if self.windows is None or not self.layout.padded:
            return given
        each_window = self._heads(given).unflatten(0, (self.images, -1))
        return each_window * (self.windows[:, places] > 0)[:, None, :, None]

    def bias(self, added: Tensor | AxisBias | None, query: Tensor) -> Bias | None:
        """The bias that is added to the scores of the network's `query`."""
        if added is None:
            return None
        if isinstance(added, AxisBias):
            return AxisBias(*map(self.tokens, added))
        given = added.detach()
        if given.dtype == torch.bool:
            given = torch.zeros_like(given, dtype=query.dtype).masked_fill_(~given, -torch.inf)
        if query.dim() == given.dim() == 3 and len(given) > 1:
            given = given.unflatten(0, (self.inputs, -1))
        given = given[(None,) * (4 - given.dim())]
        columns = self._columns(given, self._heads(query).shape[:2])
        found = axis_bias(given, columns) if columns else None
        if found is not None:
            return AxisBias(*map(self.tokens, found))
        if self.windows is None:
            return given
        # A mask that is repeated for every image is the same for each.
        return given[: len(self.windows)].clone()

    def _check(self, query: Tensor, name: str) -> None:
        """Refuse other windows than those that are known."""
        if self.windows is None:
            return
        fits = query.dim() == 4 or len(query) % self.inputs == 0
        if not fits or self._heads(query).shape[::2] != (self.inputs, self.windows.shape[1]):
            raise UnsupportedModel(
                f"{query.shape[0]} windows of {query.shape[-2]} tokens in a block of {name}",
                f"{self.inputs} windows of {self.windows.shape[1]} tokens",
                "choose a model whose blocks attend inside the windows that they declare",
            )

    def _heads(
        self, given: Float[Tensor, "*axes width"]
    ) -> Float[Tensor, "images_windows head place width"]:
        return given.unflatten(0, (self.inputs, -1)) if given.dim() == 3 else given

    def _columns(self, bias: Tensor, inputs_heads: tuple[int, ...]) -> int:
        """How many columns the keys of a bias have on their grid.

        0 if some are on none, or where images, windows or heads share the bias.
        """
        *own, queries, keys = bias.shape
        if tuple(own) != inputs_heads or 0 in bias.stride():
            return 0
        if self.windows is None:
            rows, columns = self.layout.grid
        else:
            # Windows of networks with such a bias are squares.
            rows = columns = isqrt(keys)
        return columns if queries == keys == rows * columns else 0


def arrangements(model: Model, images: int) -> dict[nn.Module | None, Arrangement]:
    """The arrangement of the attention in every block, and of that outside of all blocks (None)."""
    whole = Arrangement(images, None, replace(model.layout, padded=False))
    found: dict[nn.Module | None, Arrangement] = dict.fromkeys((None, *model.blocks), whole)
    for stage in model.stages:
        for block, windows in zip(stage.blocks, stage.windows, strict=True):
            found[block] = Arrangement(images, windows, stage.layout)
    return found


def axis_bias(bias: Float[Tensor, "image head query key"], columns: int) -> AxisBias | None:
    """The bias as a sum of one for the key's row and one for its column; None if it is no such sum.

    columns: of the grid of the keys.
    """
    kind = compute_type(bias.dtype)
    grid = bias.flatten(0, 2).unflatten(-1, (-1, columns))
    # The rows hold the first column's bias, the columns what differs from it. Copies, because a
    # view would keep the whole bias.
    by_row = grid[..., 0].to(kind, copy=True)
    by_column = grid[..., 0, :].to(kind) - grid[..., 0, :1].to(kind)
    step = max(1, CPU_BLOCK_BYTES // (bias.shape[3] * by_row.element_size()))
    for part in (slice(first, first + step) for first in range(0, len(grid), step)):
        again = by_row[part][..., None] + by_column[part][..., None, :]
        # The bias was rounded in its own type, and so was each part that is read from it.
        bounds = 4 * torch.finfo(bias.dtype).eps * again.abs().amax(dim=(1, 2))
        if not (again.sub_(grid[part]).abs_().amax(dim=(1, 2)) <= bounds).all():
            return None
    shape = bias.shape[:3]
    return AxisBias(by_row.unflatten(0, shape), by_column.unflatten(0, shape))
