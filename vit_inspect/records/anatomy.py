"""What is a network made of? Its parts in order, with their sizes, and the row of Table 1.

Every part counts its own trained values (`parameters`), so that nothing is lost: those of all
parts, what several parts share and what is in no part add up to all values of the network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vit_inspect.layout import TokenLayout
from vit_inspect.records.base import Result


@dataclass(frozen=True)
class Normalisation:
    """A normalisation; `kind` is LayerNorm, RMSNorm, GroupNorm, BatchNorm, or its class's name.

    width: values or channels that are normalised; None if not known.
    epsilon: what is added to the variance; None if not known.
    groups: of the channels, for a GroupNorm.
    """

    kind: str
    width: int | None
    epsilon: float | None
    groups: int | None = None
    parameters: int = 0


@dataclass(frozen=True)
class Convolution:
    """A convolution, as (rows px, columns px) of its own input.

    standardised: whether the network standardises its weights in each pass (StdConv).
    """

    kernel_px: tuple[int, int]
    stride_px: tuple[int, int]
    inputs: int
    outputs: int
    groups: int = 1
    bias: bool = False
    standardised: bool = False
    parameters: int = 0


@dataclass(frozen=True)
class Pooling:
    """A pooling of maps, by "maximum" or "mean"."""

    kind: str
    kernel_px: tuple[int, int]
    stride_px: tuple[int, int]
    parameters: int = 0


@dataclass(frozen=True)
class ConvolutionStage:
    """Neighbouring sums of two maps of one size, as in a ResNet, with the convolutions before them.

    sums: how many; in a ResNet one for each residual block.
    grid: of the maps, as (rows, columns).
    norms: kinds of the normalisations in it.
    """

    sums: int
    convolutions: int
    channels: int
    grid: tuple[int, int]
    standardised: bool
    norms: tuple[str, ...]
    parameters: int = 0


@dataclass(frozen=True)
class Linear:
    """A matrix from `inputs` to `outputs` values."""

    inputs: int
    outputs: int
    bias: bool
    parameters: int = 0


@dataclass(frozen=True)
class Tokens:
    """Trained tokens that are put beside the patches."""

    parameters: int = 0


@dataclass(frozen=True)
class Position:
    """A table of absolute positions that is added to the tokens.

    tokens: of how many tokens.
    """

    tokens: int
    width: int
    parameters: int = 0


@dataclass(frozen=True)
class Attention:
    """An attention with its projections.

    heads, key_heads: of queries, and of keys; `head_width`: values of each. None if not known.
    bias: whether the projection to queries, keys or values adds one.
    output: values that the projection of the outputs returns; None if there is none.
    query_norm: normalisation of queries and keys.
    inner_norm: normalisation of the outputs before they are projected.
    rotary: whether queries and keys are rotated by their positions.
    relative: whether a trained bias of relative positions is added to the scores.
    window: tokens in a window; None if all attend to all.
    """

    heads: int | None
    key_heads: int | None
    head_width: int
    inputs: int | None
    output: int | None
    bias: bool
    query_norm: Normalisation | None = None
    inner_norm: Normalisation | None = None
    rotary: bool = False
    relative: bool = False
    window: int | None = None
    parameters: int = 0


@dataclass(frozen=True)
class Mlp:
    """Matrices with an activation between them.

    hidden: values that the last matrix reads.
    activation: such as "GELU"; None if not known.
    gated: whether one half of the values is multiplied by the other.
    inner_norm: normalisation before the last matrix.
    """

    inputs: int
    hidden: int
    outputs: int
    activation: str | None
    gated: bool
    bias: bool
    inner_norm: Normalisation | None = None
    parameters: int = 0


@dataclass(frozen=True)
class LayerScale:
    """A trained factor for each value of a token."""

    width: int
    parameters: int = 0


@dataclass(frozen=True)
class Skip:
    """A sum with earlier tokens: those after part `start` of its list, or -1 for what enters it."""

    start: int
    parameters: int = 0


Part = (
    Normalisation
    | Convolution
    | Pooling
    | ConvolutionStage
    | Linear
    | Tokens
    | Position
    | Attention
    | Mlp
    | LayerScale
    | Skip
)


@dataclass(frozen=True)
class Chain:
    """Parts in the order in which they run.

    beside: indices of parts that do not read what the part before them returns, but what that part
        reads, such as the MLP of a parallel block.
    ordered: whether every other part reads what the part before it returns. If not, this is a list
        of parts, and how they are connected is not known.
    """

    parts: tuple[Part, ...] = ()
    beside: tuple[int, ...] = ()
    ordered: bool = True


@dataclass(frozen=True)
class Block(Chain):
    """One transformer block.

    drop_path: share of training passes in which a branch is left out; None if there is no module
        for it. In evaluation mode, as here, nothing is left out.
    """

    drop_path: float | None = None


@dataclass(frozen=True)
class BlockStage:
    """Blocks that keep their tokens; a plain vision transformer has one such stage.

    merging: parts before its first block, which merge tokens of the stage before.
    grid: patches as (rows, columns).
    blocks: first layer first.
    """

    merging: Chain
    grid: tuple[int, int]
    blocks: tuple[Block, ...]

    @property
    def unlike(self) -> tuple[int, ...]:
        """Layers whose parts or sizes differ from those of the first; drop path is left out."""
        first = replace(self.blocks[0], drop_path=None)
        return tuple(
            layer
            for layer, block in enumerate(self.blocks)
            if replace(block, drop_path=None) != first
        )


@dataclass(frozen=True)
class Row:
    """A row of the ViT paper's Table 1; None where blocks differ or it is not known.

    width: D, values of a token. mlp: values inside the MLP.
    """

    layers: int
    width: int | None
    mlp: int | None
    heads: int | None
    parameters: int


@dataclass(frozen=True)
class Variant:
    """A named size of vision transformers, with the paper that it is from."""

    name: str
    row: Row
    source: str


@dataclass(frozen=True, eq=False)
class Anatomy(Result):
    """What a network is made of, read from one pass.

    layout: tokens of the current stage.
    row: its row of Table 1.
    variant: the named size whose layers, width, MLP and heads are nearest; None if one of them
        differs by more than a quarter, if one is not known, or if tokens merge.
    exact: whether these four numbers are the variant's.
    stem: parts from the pixels to the first block.
    stages: of blocks; one if tokens do not merge. `stage` is the index of the current one.
    end: parts after the last block.
    readout: how the last block's tokens are read, as in a `TokenLayout`.
    read_after: how many parts of `end`, its first ones, see all tokens; then tokens are read.
    output: shape of what the network returns for one picture.
    shared: trained values that several parts use.
    unread: parameters that are in no part, with the number of their values.
    notices: what could not be told.

    The trained values of all parts, `shared` and `unread` sum up to `row.parameters`.
    """

    layout: TokenLayout
    row: Row
    variant: Variant | None
    exact: bool
    stem: Chain
    stages: tuple[BlockStage, ...]
    stage: int
    end: Chain
    readout: str
    read_after: int
    output: tuple[int, ...]
    shared: int
    unread: tuple[tuple[str, int], ...]
    notices: tuple[str, ...]

    @property
    def block(self) -> Block:
        """The first block of the current stage."""
        return self.stages[self.stage].blocks[0]

    def words(self) -> dict[str, Any]:
        """Texts and numbers of the record by name, with those of its row of Table 1."""
        row = {name: value for name, value in vars(self.row).items() if value is not None}
        name = {} if self.variant is None else {"variant": self.variant.name}
        return super().words() | row | name
