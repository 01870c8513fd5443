"""Is a description by hand refused, whatever part of it the network does not do?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEModel

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.observed import check_observation
from tests.helpers.padded import GRID as PADDED_GRID
from tests.helpers.padded import sam
from tests.loading.test_from_module import LAYOUT, RECIPE, Block, Own, own, wrapped
from vit_inspect.layout import CLS_MEAN, MEAN, MEAN_ALL, NONLINEAR

pytestmark = pytest.mark.slow

BIG = replace(LAYOUT, grid=(6, 6))


class Shuffled(Own):
    """As masked autoencoders do without a mask: another order in each pass."""

    def tokens(self, pixels: Tensor) -> Tensor:
        tokens = super().tokens(pixels)
        order = torch.randperm(tokens.shape[1] - 2) + 2
        return tokens[:, [0, 1, *order.tolist()]]


class Noisy(Own):
    """Noise that is too small for a shuffle, such as a forgotten augmentation."""

    def tokens(self, pixels: Tensor) -> Tensor:
        return super().tokens(pixels) + 1e-9 * torch.randn(1, 1, pixels.shape[1] * 8)


class Forgetful(Own):
    """Dropout by hand, which evaluation mode does not turn off."""

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(pixels), 0.2, training=True)


class SwappedInside(Own):
    """All corners lie where they should, and two patches inside do not."""

    def tokens(self, pixels: Tensor) -> Tensor:
        tokens = super().tokens(pixels)
        order = list(range(tokens.shape[1]))
        one, other = BIG.token((2, 3)), BIG.token((4, 4))
        order[one], order[other] = other, one
        return tokens[:, order]


class LowerHalfMirrored(Own):
    def tokens(self, pixels: Tensor) -> Tensor:
        half = pixels.shape[2] // 2
        lower = pixels[:, :, half:].flip(3)
        return super().tokens(torch.cat([pixels[:, :, :half], lower], dim=2))


class Blurred(Own):
    """A stem that overlaps: each patch moves its neighbours too, by less."""

    def tokens(self, pixels: Tensor) -> Tensor:
        return super().tokens(nn.functional.avg_pool2d(pixels, 5, 1, 2))


@pytest.mark.parametrize("kind", [Shuffled, Noisy, Forgetful])
def test_a_network_that_is_not_the_same_twice_is_refused(kind: type[Own]) -> None:
    for seed in range(3):
        network = own(kind)
        torch.manual_seed(seed)
        with pytest.raises(vi.BadParameter, match="computes something else when it sees the same"):
            wrapped(network)


def test_a_masked_autoencoder_that_shuffles_is_refused() -> None:
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
    more = {"intermediate_size": 96, "image_size": 48, "patch_size": 16, "mask_ratio": 0.0}
    network = ViTMAEModel(ViTMAEConfig(**sizes, **more)).eval()
    layout = vi.TokenLayout(("cls",), (3, 3), (16, 16), "cls")
    with pytest.raises(vi.BadParameter, match="computes something else when it sees the same"):
        vi.wrap(network, layout=layout, transform=RECIPE)


@pytest.mark.parametrize("kind", [SwappedInside, LowerHalfMirrored])
def test_patches_are_tried_in_several_places(kind: type[Own]) -> None:
    network = own(kind, grid=BIG.grid)
    with pytest.raises(
        vi.BadParameter, match=r"a layout in which patch \(\d, \d\) is token \d+ of"
    ):
        wrapped(network, layout=BIG)


def test_a_stem_that_overlaps_is_served() -> None:
    wrapped(own(Blurred, grid=BIG.grid), layout=BIG)


def reading(read: Callable[[Tensor], Tensor]) -> Own:
    """A network that reads the last block's tokens so."""
    network = own()
    blocks = nn.Sequential(*network.layers)
    network.forward = lambda pixels: network.head(  # type: ignore[method-assign]
        read(nn.functional.layer_norm(blocks(network.tokens(pixels)), (24,)))
    )
    return network


READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda tokens: tokens[:, 0],
    "reg1": lambda tokens: tokens[:, 1],
    MEAN: lambda tokens: tokens[:, 2:].mean(1),
    MEAN_ALL: lambda tokens: tokens.mean(1),
    CLS_MEAN: lambda tokens: tokens[:, 0] + tokens[:, 2:].mean(1),
}


@pytest.mark.parametrize("said", READINGS)
@pytest.mark.parametrize("does", READINGS)
def test_the_output_must_come_from_the_tokens_that_are_said_to_be_read(
    said: str, does: str
) -> None:
    network, layout = reading(READINGS[does]), replace(LAYOUT, readout=said)
    if said == does:
        assert wrapped(network, layout=layout).notices == ()
        return
    with pytest.raises(vi.BadParameter, match=f"the read-out '{said}' of Own, whose output depen"):
        wrapped(network, layout=layout)


def test_a_read_out_need_not_be_linear() -> None:
    network = reading(lambda tokens: tokens[:, 2:].relu().mean(1))
    wrapped(network, layout=replace(LAYOUT, readout=MEAN))


def test_an_output_of_all_tokens_has_read_none() -> None:
    assert wrapped(reading(lambda tokens: tokens)).notices == ()


@pytest.mark.parametrize("kind", ["no gradient", "a head of zeros"])
def test_a_read_out_that_cannot_be_tried_is_told(kind: str) -> None:
    network = reading(
        lambda tokens: tokens[:, 0].detach() if kind == "no gradient" else tokens[:, 0]
    )
    network.head.requires_grad_(False)
    if kind == "a head of zeros":
        nn.init.zeros_(network.head.weight)
    assert wrapped(network).notices == ("Whether it reads its cls could not be checked.",)


class Halves(Own):
    """Between its blocks, something else changes the tokens."""

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.tokens(pixels)
        for layer in self.layers:
            tokens = 1.5 * layer(tokens)
        return self.head(tokens[:, 0])


def test_blocks_given_by_hand_must_follow_each_other() -> None:
    network = own()
    blocks: list[Any] = list(network.layers)
    assert wrapped(network, blocks=blocks).blocks == tuple(blocks)
    network = own(Halves)
    with pytest.raises(vi.BadParameter, match="blocks of Halves of which 1 does not take what 0"):
        wrapped(network, blocks=list(network.layers))


class Apart(Own):
    """Attention in one list and perceptrons in another: no module is a whole block."""

    def __init__(self) -> None:
        super().__init__()
        self.perceptrons = nn.ModuleList(nn.Linear(24, 24) for _ in self.layers)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.tokens(pixels)
        for layer, perceptron in zip(self.layers, self.perceptrons, strict=True):
            tokens = layer(tokens)
            tokens = tokens + perceptron(tokens)
        return self.head(tokens[:, 0])


def test_blocks_that_were_found_must_follow_each_other_too() -> None:
    """Else the tokens after a block would lack its perceptron."""
    with pytest.raises(vi.BadParameter, match="blocks of Apart of which 1 does not take what 0"):
        wrapped(own(Apart))


class Gradless(Own):
    def forward(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(pixels)


class Inferred(Own):
    def forward(self, pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            return super().forward(pixels)


@pytest.mark.parametrize(
    ("kind", "notices"),
    [(Gradless, ()), (Inferred, ("Whether it reads its cls could not be checked.",))],
)
def test_a_network_without_gradients_keeps_its_tokens(
    kind: type[Own], notices: tuple[str, ...]
) -> None:
    model = wrapped(own(kind))
    assert model.notices == notices
    assert not model.branches
    assert len(vi.capture(model, noise((40, 40), 1)).tokens) == 3


class Listing(Block):
    def forward(self, tokens: Any) -> Any:
        return [super().forward(tokens[0] if isinstance(tokens, list) else tokens), None]


class InLists(Own):
    """Blocks that hand on more than tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Listing() for _ in range(3))

    def forward(self, pixels: Tensor) -> Tensor:
        tokens: Any = self.tokens(pixels)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens[0][:, 0])


def test_blocks_that_return_no_tensor_have_attention_and_no_tokens() -> None:
    model = wrapped(own(InLists))
    assert model.notices == ("Whether it reads its cls could not be checked.",)
    capture = vi.capture(model, noise((40, 40), 1))
    assert capture.error < 1e-12
    assert capture.tokens == ()


class Behind(nn.Module):
    """A network that nobody knows, with SAM's blocks inside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels)


def test_windows_of_described_networks_are_known_by_their_blocks() -> None:
    network = sam().module
    layout = vi.TokenLayout((), PADDED_GRID, (8, 8), MEAN)
    model = wrapped(Behind(network).eval(), layout=layout)
    assert model.layout == replace(layout, padded=True)
    capture = vi.capture(model, noise((64, 80), 1))
    assert capture.error < 1e-12
    known = vi.capture(sam(), pixels=capture.pixels)
    assert torch.equal(capture.layers[0].queries, known.layers[0].queries)
    with pytest.raises(
        vi.BadParameter,
        match=r"patch \(0, 9\) is token 9 of Behind, but a change .* moves token 79",
    ):
        wrapped(Behind(Turned(network)).eval(), layout=layout)


class Turned(nn.Module):
    """The same picture upside down."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels.flip(2))


class Windows(Block):
    """Attention inside squares of 4 × 4 patches on a grid of 8 × 8, which are rolled before."""

    window_size = 4

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, tokens: Tensor) -> Tensor:
        grid = tokens.unflatten(1, (8, 8)).roll((-self.shift, -self.shift), (1, 2))
        cut = grid.unflatten(1, (2, 4)).unflatten(3, (2, 4)).permute(0, 1, 3, 2, 4, 5)
        mixed = super().forward(cut.flatten(0, 2).flatten(1, 2)).unflatten(1, (4, 4))
        back = mixed.unflatten(0, (-1, 2, 2)).permute(0, 1, 3, 2, 4, 5).flatten(1, 2).flatten(2, 3)
        return back.roll((self.shift, self.shift), (1, 2)).flatten(1, 2)


class InWindows(Own):
    def __init__(self, *blocks: Block) -> None:
        super().__init__(grid=(8, 8))
        self.layers = nn.ModuleList(blocks)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.embed(pixels).flatten(2).mT + self.table
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.mean(dim=1))


IN_WINDOWS = vi.TokenLayout((), (8, 8), (8, 8), MEAN)


def in_windows(*blocks: Block) -> vi.Model:
    torch.manual_seed(0)
    network = InWindows(*blocks).eval().double()
    return wrapped(network, layout=IN_WINDOWS)


def test_windows_that_are_shifted_are_refused() -> None:
    """Inside of its windows their attention is exact, wherever they lie."""
    model = in_windows(Windows(), Windows())
    capture = vi.capture(model, noise((64, 64), 1))
    assert capture.error < 1e-12
    assert set(np.argwhere(vi.attention_maps(capture, query=(3, 3)).weights[0, 1, 0])[:, 0]) == {
        *range(4)
    }
    with pytest.raises(vi.BadParameter) as refusal:
        in_windows(Windows(), Windows(shift=2))
    assert str(refusal.value) == (
        "Found windows in block 1 of InWindows that do not have patch (0, 7) where they should; "
        "expected squares of window_size tokens, side by side from the top left corner on, in "
        "blocks that take the tokens as their first argument; choose a network without shifted or "
        "spread windows."
    )


@pytest.mark.parametrize("size", [4, -1, 0, True, 8.0, (4, 4), None])
def test_what_is_called_a_window_size_is_none_where_all_attend_to_all(size: Any) -> None:
    blocks = Block(), Block()
    for block in blocks:
        block.window_size = size
    model = in_windows(*blocks)
    assert model.stages == ()
    assert vi.capture(model, noise((64, 64), 1)).error < 1e-12


@pytest.mark.parametrize("grid", [(2, 8), (8, 2), (1, 16)])
def test_all_patches_are_no_window_where_they_are_as_many(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = Mean(grid=grid)
    for layer in network.layers:
        layer.window_size = 4
    model = wrapped(network.eval().double(), layout=replace(IN_WINDOWS, grid=grid))
    assert model.stages == ()
    assert vi.capture(model, noise((64, 64), 1)).error < 1e-12


class Mean(Own):
    """Reads the mean of patches alone."""

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.embed(pixels).flatten(2).mT + self.table
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.mean(dim=1))


class Multihead(Block):
    """The same attention inside windows as `Windows`, by torch's own module."""

    window_size = 4

    def __init__(self, like: Windows) -> None:
        super().__init__()
        self.norm = like.norm
        self.attention = nn.MultiheadAttention(24, 3, batch_first=True)
        with torch.no_grad():
            for own, other in (
                (self.attention.in_proj_weight, like.qkv.weight),
                (self.attention.in_proj_bias, like.qkv.bias),
                (self.attention.out_proj.weight, like.out.weight),
                (self.attention.out_proj.bias, like.out.bias),
            ):
                own.copy_(other)

    def forward(self, tokens: Tensor) -> Tensor:
        grid = tokens.unflatten(1, (8, 8)).unflatten(1, (2, 4)).unflatten(3, (2, 4))
        cut = self.norm(grid.permute(0, 1, 3, 2, 4, 5).flatten(0, 2).flatten(1, 2))
        mixed = self.attention(cut, cut, cut, need_weights=False)[0].unflatten(1, (4, 4))
        back = mixed.unflatten(0, (-1, 2, 2)).permute(0, 1, 3, 2, 4, 5).flatten(1, 2).flatten(2, 3)
        return tokens + back.flatten(1, 2)


def test_torchs_own_attention_is_seen_inside_windows_too() -> None:
    torch.manual_seed(0)
    known = Windows(), Windows()
    images = [noise((64, 64), 1), noise((64, 64), 2)]
    captures = []
    for blocks in (known, tuple(map(Multihead, known))):
        torch.manual_seed(1)
        network = InWindows(*blocks).eval().double()
        captures.append(vi.capture(wrapped(network, layout=IN_WINDOWS), images))
    one, other = captures
    torch.testing.assert_close(one.output, other.output, rtol=0, atol=1e-12)
    assert other.error < 1e-12
    for query in ((0, 0), (3, 4), (7, 2)):
        first, second = (vi.attention_maps(each, query=query).weights for each in captures)
        np.testing.assert_allclose(first, second, atol=1e-12)
    relevance = [vi.attention_relevance(each).relevance for each in captures]
    np.testing.assert_allclose(*relevance, rtol=1e-7)
    ablated = [vi.ablate(each, heads=[(1, 2)]).cosine for each in captures]
    np.testing.assert_allclose(*ablated, atol=1e-12)


class OrderByImage(Own):
    """Each image of a batch has its patches in an order of its own."""

    def tokens(self, pixels: Tensor) -> Tensor:
        tokens = super().tokens(pixels)
        orders = [torch.randperm(36, generator=torch.Generator().manual_seed(n)) for n in range(9)]
        shuffled = [tokens[n, 2:][orders[n]] for n in range(len(tokens))]
        return torch.cat([tokens[:, :2], torch.stack(shuffled)], dim=1)


def test_another_order_in_each_image_is_refused() -> None:
    """All tokens move there, and the right one as much as the others."""
    for seed in range(5):
        torch.manual_seed(seed)
        network = OrderByImage(grid=(6, 6)).eval().double()
        with pytest.raises(vi.BadParameter, match="a change of that patch moves token"):
            wrapped(network, layout=BIG)


@pytest.mark.parametrize("stride", [2, 4, 5, 8, 12])
def test_patches_that_overlap_much_are_found_where_they_are(stride: int) -> None:
    torch.manual_seed(0)
    network = Own(grid=(6, 6))
    network.embed = nn.Conv2d(3, 24, 16, stride)
    network.eval().double()
    layout = replace(BIG, patch_px=(16, 16), stride_px=(stride, stride))
    assert vi.capture(wrapped(network, layout=layout), noise((60, 60), 1)).error < 1e-12
    with pytest.raises(vi.BadParameter):
        wrapped(network, layout=replace(layout, stride_px=(stride + 1, stride)))


class InOrder(Own):
    """Its patches come in the order that is given."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__(grid=(6, 6))
        self.order = list(order)

    def tokens(self, pixels: Tensor) -> Tensor:
        tokens = super().tokens(pixels)
        return torch.cat([tokens[:, :2], tokens[:, 2:][:, self.order]], dim=1)


def swapped(first: int, second: int) -> list[int]:
    order = list(range(36))
    order[first], order[second] = second, first
    return order


SNAKE = [6 * row + (5 - column if row % 2 else column) for row in range(6) for column in range(6)]


@pytest.mark.parametrize("order", [swapped(7, 28), swapped(14, 15), SNAKE], ids=str)
def test_every_patch_is_tried(order: list[int]) -> None:
    assert wrapped(own(InOrder, order=range(36)), layout=BIG)
    with pytest.raises(vi.BadParameter, match=r"moves (that )?token"):
        wrapped(own(InOrder, order=order), layout=BIG)


class Normed(InOrder):
    """It normalises the pixels of each patch, as vit-pytorch does."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__(order)
        self.project = nn.Linear(3 * 64, 24)

    def tokens(self, pixels: Tensor) -> Tensor:
        patches = nn.functional.unfold(pixels, 8, stride=8).mT
        rows = self.project(nn.functional.layer_norm(patches, patches.shape[-1:]))
        prefix = self.prefix.expand(len(pixels), -1, -1)
        return torch.cat([prefix, rows[:, self.order] + self.table], dim=1)


def test_every_patch_is_tried_where_each_is_normalised() -> None:
    assert wrapped(own(Normed, order=range(36)), layout=BIG)
    with pytest.raises(vi.BadParameter, match="another patch moves that token"):
        wrapped(own(Normed, order=swapped(7, 28)), layout=BIG)


class Weighed(Mean):
    """Reads some patches more than others."""

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.embed(pixels).flatten(2).mT + self.table
        for layer in self.layers:
            tokens = layer(tokens)
        weights = torch.arange(1, tokens.shape[1] + 1).to(tokens)
        return self.head((weights[:, None] * tokens).sum(dim=1))


def test_a_mean_with_weights_is_told() -> None:
    layout = vi.TokenLayout((), (6, 6), (8, 8), MEAN)
    assert wrapped(own(Mean, grid=(6, 6)), layout=layout).notices == ()
    assert wrapped(own(Weighed, grid=(6, 6)), layout=layout).notices == (
        "Its output is more than the mean of the patches: the order of the patches after the last "
        "block changes it.",
    )


def gated(tokens: Tensor) -> Tensor:
    return (tokens @ tokens.new_ones(24).cumsum(0) / 24).softmax(1)[:, None] @ tokens


def attended(tokens: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(
        tokens.mean(1, keepdim=True), 3 * tokens, tokens
    )


def in_place(tokens: Tensor) -> Tensor:
    total = tokens.sum(1)
    total /= tokens.shape[1]
    return total.sub_(total.mean(-1, keepdim=True))


NO_MEANS: dict[str, Callable[[Tensor], Tensor]] = {
    "maximum": lambda patches: patches.amax(1),
    "two largest": lambda patches: patches.topk(2, 1).values.mean(1),
    "smooth maximum": lambda patches: (4 * patches).logsumexp(1),
    "mean and maximum": lambda patches: patches.mean(1) + patches.amax(1),
    "gate": lambda patches: gated(patches)[:, 0],
    "gate then norm": lambda patches: nn.functional.normalize(gated(patches)[:, 0], dim=-1),
    "attention": lambda patches: attended(patches)[:, 0],
    "share by largest value": lambda patches: (
        patches.amax(-1, keepdim=True).softmax(1) * patches
    ).sum(1),
}
"""Their order does not matter, and every patch is reached."""

MEANS: dict[str, Callable[[Tensor], Tensor]] = {
    "then norm": lambda patches: nn.functional.layer_norm(patches.mean(1), (24,)),
    "then length 1": lambda patches: nn.functional.normalize(patches.mean(1), dim=-1),
    "then softmax": lambda patches: patches.mean(1).softmax(-1),
    "norm before": lambda patches: nn.functional.layer_norm(patches, (24,)).mean(1),
    "both": lambda patches: nn.functional.layer_norm(patches.tanh().mean(1), (24,)).tanh(),
    "in place": in_place,
    "by pooling": lambda patches: nn.functional.adaptive_avg_pool1d(patches.mT, 1).flatten(1),
    "by product": lambda patches: torch.einsum("n,intw->iw", patches.new_ones(1), patches[:, None]),
    "in two steps": lambda patches: patches.unflatten(1, (2, 3)).mean(1).mean(1).relu(),
}


@pytest.mark.parametrize("read", MEANS.values(), ids=MEANS)
@pytest.mark.parametrize("said", [MEAN, CLS_MEAN])
def test_what_is_done_before_and_after_a_mean_does_not_matter(
    read: Callable[[Tensor], Tensor], said: str
) -> None:
    cls = said == CLS_MEAN
    network = reading(lambda tokens: cls * tokens[:, 0].tanh() + read(tokens[:, 2:]))
    assert wrapped(network, layout=replace(LAYOUT, readout=said)).notices == ()


@pytest.mark.parametrize("read", NO_MEANS.values(), ids=NO_MEANS)
@pytest.mark.parametrize("said", [MEAN, CLS_MEAN])
def test_a_mean_must_give_all_patches_the_same_share(
    read: Callable[[Tensor], Tensor], said: str
) -> None:
    cls = said == CLS_MEAN
    network = reading(lambda tokens: cls * tokens[:, 0] + read(tokens[:, 2:]))
    with pytest.raises(vi.BadParameter, match="in which the share of a patch depends on what the"):
        wrapped(network, layout=replace(LAYOUT, readout=said))
    assert wrapped(network, layout=replace(LAYOUT, readout=NONLINEAR)).notices == ()


class Branch(Block):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) - tokens


class Added(Own):
    """Attention alone in its blocks, as in vit-pytorch: the network adds what they return."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Branch() for _ in range(3))
        self.perceptrons = nn.ModuleList(nn.Linear(24, 24) for _ in self.layers)
        self.read = read

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.tokens(pixels)
        for layer, perceptron in zip(self.layers, self.perceptrons, strict=True):
            tokens = layer(tokens) + tokens
            tokens = perceptron(tokens) + tokens
        return self.head(self.read(tokens[:, 2:]))


def test_a_mean_is_tried_where_tokens_go_around_the_blocks() -> None:
    layout = replace(LAYOUT, readout=MEAN)
    model = wrapped(own(Added, read=MEANS["norm before"]), layout=layout)
    assert (model.branches, model.notices) == (True, ())
    with pytest.raises(vi.BadParameter, match="in which the share of a patch depends on what the"):
        wrapped(own(Added, read=NO_MEANS["gate"]), layout=layout)


def test_tokens_that_go_around_the_blocks_are_seen_without_a_capture() -> None:
    model = wrapped(own(Added, read=MEANS["norm before"]), layout=replace(LAYOUT, readout=MEAN))
    check_observation(model, [noise((40, 40), 1), noise((40, 40), 2)])


def test_a_mean_is_not_tried_where_the_last_tokens_are_unknown() -> None:
    layout = replace(LAYOUT, readout=MEAN)
    network = own(Added, read=MEANS["norm before"])
    # With one layer, nothing says which sum is its last.
    network.layers = network.layers[:1]
    network.perceptrons = network.perceptrons[:1]
    network.eval()
    assert wrapped(network, layout=layout).notices == (
        "Whether it reads its mean of the patches could not be checked.",
    )
