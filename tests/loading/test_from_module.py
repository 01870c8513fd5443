"""Is a network of one's own seen as it computes, and refused where it is described wrong?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torchvision.models import VisionTransformer

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import RECIPE, layout_of
from tests.helpers.observed import check_observation
from tests.helpers.oracle import sharpen
from vit_inspect.attention.rows import rows
from vit_inspect.catalog import ModelFigure
from vit_inspect.layout import MEAN_ALL, POOL
from vit_inspect.recording.gradients import differentiate
from vit_inspect.recording.hooks import _enter
from vit_inspect.records.base import Result

LAYOUT = layout_of("cls", "reg1", patch_px=(8, 8))
"""Two rows and three columns of patches behind two tokens, an input of 16 × 24 px."""
WIDTH, HEADS = 24, 3
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]


def explicit(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(dim=-1)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.attend: Callable[..., Tensor] = scaled_dot_product_attention

    def forward(self, tokens: Tensor) -> Tensor:
        split = self.qkv(self.norm(tokens)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return tokens + self.out(self.attend(*split).transpose(1, 2).flatten(2))


class Own(nn.Module):
    """A vision transformer that nobody knows."""

    def __init__(self, grid: tuple[int, int] = LAYOUT.grid, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, 8, 8)
        self.prefix = nn.Parameter(torch.randn(1, 2, WIDTH))
        self.table = nn.Parameter(torch.randn(1, grid[0] * grid[1], WIDTH))
        self.layers = nn.ModuleList(Block() for _ in range(depth))
        self.head = nn.Linear(WIDTH, 5)

    def tokens(self, pixels: Tensor) -> Tensor:
        patches = self.embed(pixels).flatten(2).mT + self.table
        return torch.cat([self.prefix.expand(len(pixels), -1, -1), patches], dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.tokens(pixels)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens[:, 0])


def own(kind: type[Own] = Own, **options: Any) -> Own:
    torch.manual_seed(0)
    network = kind(**options)
    with torch.no_grad():
        for layer in network.layers:
            layer.qkv.weight[:WIDTH] *= 12
    return network.eval().double()


def wrapped(network: nn.Module, **options: Any) -> vi.Model:
    return vi.wrap(network, **{"layout": LAYOUT, "transform": RECIPE} | options)


def pixels_of(model: vi.Model) -> Tensor:
    return torch.cat([model.prepare(image) for image in IMAGES])


def all_rows(capture: vi.Capture) -> Tensor:
    return torch.stack([rows(layer, range(capture.layout.token_count)) for layer in capture.layers])


def test_a_network_of_ones_own_is_seen_as_it_computes() -> None:
    network = own()
    model = wrapped(network)
    pixels, maps = pixels_of(model), []
    with torch.inference_mode():
        alone = network(pixels)
    capture = vi.capture(model, IMAGES)
    assert torch.equal(capture.output, alone)
    assert model.module is network

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        maps.append(explicit(queries, keys))
        return maps[-1] @ values

    for layer in network.layers:
        layer.attend = attend
    with torch.inference_mode():
        network(pixels)
    expected = torch.stack(maps)
    assert expected.amax(dim=-1).mean() > 0.4
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=1e-12)
    assert capture.error < 1e-13


def test_what_is_read_off_the_network() -> None:
    network = own()
    model = wrapped(network)
    assert model.id == "Own"
    assert model.blocks == tuple(network.layers)
    assert model.filters is network.embed.weight
    assert model.filters_name == "patch embedding"
    assert (model.positions, model.labels) == (None, None)
    assert model.dtype == torch.float64
    assert model.recipe == RECIPE


def test_what_is_told_is_kept() -> None:
    network = own()
    table = network.table.detach()[0].unflatten(0, LAYOUT.grid)
    labels = ["ant", "bee", "cat", "dog", "emu"]
    model = wrapped(network, positions=table, labels=labels, name="mine")
    capture = vi.capture(model, IMAGES[0])
    assert capture.model.id == "mine"
    assert vi.position_similarity(model).similarity.shape == (2, 3, 2, 3)
    best = int(capture.output.argmax())
    assert vi.predictions(capture).labels[0][0] == labels[best]


def test_every_figure_is_made() -> None:
    capture = vi.capture(wrapped(own()), IMAGES)
    for entry in vi.FIGURES:
        make = partial(entry.analyse, capture.model if isinstance(entry, ModelFigure) else capture)
        if "position_similarity" in (entry.figure.slug, entry.page):
            with pytest.raises(vi.UnsupportedModel, match=r"Own without .* no position"):
                make()
        elif entry.figure.slug == "logit_lens":
            with pytest.raises(vi.UnsupportedModel, match="which has no known classes"):
                make()
        else:
            assert isinstance(make(), Result)


class Cropping(Own):
    """Looks at the top left part of its input."""

    def tokens(self, pixels: Tensor) -> Tensor:
        rows, columns = LAYOUT.covered_px
        return super().tokens(pixels[..., :rows, :columns])


def test_an_input_with_a_margin_is_described_by_hand() -> None:
    """A margin as large as a patch, so that the last patch is not at the end of the input."""
    layout = replace(LAYOUT, margin_px=(0, 9))
    model = wrapped(own(Cropping), layout=layout)
    rows, columns = layout.input_px
    assert model.notices == (
        "The network does not see 0 px at the bottom and 9 px at the right of its input of "
        f"{rows} × {columns} px, which no patch covers.",
    )
    capture = vi.capture(model, IMAGES)
    assert capture.pixels.shape == (2, 3, rows, columns)
    assert vi.attention_relevance(capture).input_gradient.shape == (2, *layout.grid)


def test_patches_that_overlap_are_described_by_hand() -> None:
    """8 px every 6 px, as TransReID has 16 every 12, and 2 px that none covers."""
    layout = replace(LAYOUT, grid=(3, 4), stride_px=(6, 6), margin_px=(2, 0))
    network = own(grid=layout.grid)
    network.embed.stride = (6, 6)
    model = wrapped(network, layout=layout)
    assert layout.input_px == (22, 26)
    assert model.notices[-1] == (
        "Its patches of 8 × 8 px overlap. Maps show each as the 6 × 6 px around its centre."
    )
    assert model.filters_name == "patch embedding"
    capture = vi.capture(model.fitted("whole"), IMAGES)
    assert capture.error < 1e-13
    (height, width), seen = capture.photographs[0].size_px, capture.photographs[0].seen
    np.testing.assert_allclose(
        seen, (width / 26, height / 22, width * 25 / 26, height * 19 / 22), rtol=1e-12
    )
    named = replace(capture, model=replace(capture.model, labels=tuple("abcde")))
    relevance = vi.attention_relevance(named, target=2)
    product = capture.pixels * differentiate(capture, score=lambda each: each.output[:, 2]).pixels
    expected = product[0, :, 6 : 6 + 8, 18 : 18 + 8].sum()
    assert relevance.input_gradient[0, 1, 3] == pytest.approx(float(expected))


@pytest.mark.parametrize(
    "change",
    [
        {"stride_px": (5, 5), "margin_px": (2, 3)},
        {"stride_px": (4, 5), "margin_px": (4, 3)},
        {"patch_px": (6, 6), "margin_px": (2, 2)},
        {"patch_px": (10, 10), "stride_px": (5, 5), "margin_px": (0, 1)},
    ],
)
def test_a_margin_that_the_network_sees_is_refused(change: dict[str, Any]) -> None:
    """Its patches are of 8 px every 6, so that the last one ends where the input does."""
    network = own(grid=(3, 4))
    network.embed.stride = (6, 6)
    assert wrapped(network, layout=replace(LAYOUT, grid=(3, 4), stride_px=(6, 6)))
    layout = replace(LAYOUT, grid=(3, 4), **change)
    assert layout.input_px == (20, 26)
    with pytest.raises(vi.BadParameter, match=r"which the network sees|does not see"):
        wrapped(network, layout=layout)


class WithStem(Own):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.embed = nn.Conv2d(4, WIDTH, 4, 4)

    def tokens(self, pixels: Tensor) -> Tensor:
        return super().tokens(self.stem(pixels))


class Painting(Own):
    """Ends with a convolution on the three channels of a picture of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.paint = nn.Conv2d(3, 5, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        scores = super().forward(pixels)
        return scores + self.paint(pixels).mean(dim=(2, 3))


class Standardised(Own):
    """Applies other weights to the pixels than its convolution holds."""

    def tokens(self, pixels: Tensor) -> Tensor:
        patches = nn.functional.conv2d(pixels, self.embed.weight * 2, stride=8).flatten(2).mT
        return torch.cat([self.prefix.expand(len(pixels), -1, -1), patches + self.table], dim=1)


class WithoutConvolution(Own):
    def tokens(self, pixels: Tensor) -> Tensor:
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5)
        patches = linear(patches.flatten(3).flatten(1, 2), self.embed.weight.flatten(1))
        return torch.cat([self.prefix.expand(len(pixels), -1, -1), patches + self.table], dim=1)


class Unshuffled(Own):
    """Has a convolution, but of pixels that are channels already."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3 * 64, WIDTH, 1)

    def tokens(self, pixels: Tensor) -> Tensor:
        return super().tokens(nn.functional.pixel_unshuffle(pixels, 8))


def test_filters_are_those_that_meet_the_pixels() -> None:
    network = own(WithStem)
    model = wrapped(network)
    assert model.filters is network.stem.weight
    assert model.filters_name == "stem convolution"
    painting = own(Painting)
    assert wrapped(painting).filters is painting.embed.weight
    standardised = own(Standardised)
    assert torch.equal(wrapped(standardised).filters, 2 * standardised.embed.weight)


@pytest.mark.parametrize("kind", [WithoutConvolution, Unshuffled])
def test_without_a_convolution_only_that_figure_is_refused(kind: type[Own]) -> None:
    model = wrapped(own(kind))
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.embedding_filters(model)
    assert refusal.value.found == f"{kind.__name__} without a convolution on its pixels"
    assert "look at another figure" in refusal.value.remedy
    assert (model.device.type, model.dtype) == ("cpu", torch.float64)
    assert vi.attention_rollout(vi.capture(model, IMAGES[0])).relevance.shape == (1, 2, 3)


class Pooled(Own):
    """Reads its tokens by one more attention."""

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = nn.Sequential(*self.layers)(self.tokens(pixels))
        probe = self.prefix[:, None, :1].expand(len(pixels), -1, -1, -1)
        return self.head(
            scaled_dot_product_attention(probe, tokens[:, None], tokens[:, None])[:, 0, 0]
        )


def test_an_attention_pool_is_seen() -> None:
    network = own(Pooled)
    capture = vi.capture(wrapped(network, layout=replace(LAYOUT, readout=POOL)), IMAGES)
    with torch.inference_mode():
        tokens = nn.Sequential(*network.layers)(network.tokens(pixels_of(capture.model)))
        expected = explicit(network.prefix[:, :1, None], tokens[:, None])
    torch.testing.assert_close(rows(capture.pool, [0]), expected, rtol=0, atol=1e-12)


def vision_transformer(dtype: torch.dtype = torch.float64) -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(32, 8, 3, 4, 64, 96, num_classes=7)
    with torch.no_grad():
        nn.init.normal_(network.heads.head.weight)
        for name, weight in network.named_parameters():
            if name.endswith("in_proj_weight"):
                weight[:64] *= 8
            if name.endswith("in_proj_bias"):
                nn.init.normal_(weight)
    return network.eval().to(dtype)


SQUARE = layout_of("cls", grid=(4, 4), patch_px=(8, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torchvisions_vision_transformer_is_seen_as_it_computes(dtype: torch.dtype) -> None:
    network = vision_transformer(dtype)
    model = wrapped(network, layout=SQUARE)
    capture = vi.capture(model, IMAGES)
    with torch.inference_mode():
        assert torch.equal(capture.output, model.module(pixels_of(model)))
        # Torch's own weights, of the very inputs that each block gets.
        inputs: list[Tensor] = []
        for block in network.encoder.layers:
            block.ln_1.register_forward_hook(lambda *args: inputs.append(args[2]))
        network(pixels_of(model))
        expected = torch.stack(
            [
                block.self_attention(each, each, each, average_attn_weights=False)[1]
                for block, each in zip(network.encoder.layers, inputs, strict=True)
            ]
        )
    assert expected.amax(dim=-1).mean() > 0.3
    exact = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=exact)
    assert capture.error < (1e-13 if dtype == torch.float64 else 1e-5)
    check_observation(model, IMAGES, capture)


def test_the_fast_path_of_torch_stays_on_for_others() -> None:
    network, seen = vision_transformer(torch.float32), vision_transformer(torch.float32)
    model = wrapped(seen, layout=SQUARE)
    pixels = pixels_of(model)
    with torch.inference_mode():
        vi.capture(model, IMAGES)
        assert torch.backends.mha.get_fastpath_enabled()
        assert torch.equal(seen(pixels), network(pixels))
        torch.testing.assert_close(model.module(pixels), network(pixels), rtol=0, atol=1e-3)


class Encoder(Own):
    """Made of torch's own encoder layers, which ask for the weights or not."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 32, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.encoder(self.tokens(pixels))[:, 0])


@pytest.mark.parametrize("norm_first", [True, False])
def test_torchs_encoder_layers_are_seen(norm_first: bool) -> None:
    network = own(Encoder, norm_first=norm_first)
    model = wrapped(network)
    capture = vi.capture(model, IMAGES)
    assert model.blocks == tuple(network.encoder.layers)
    assert all_rows(capture).shape == (3, 2, 4, 8, 8)
    assert 0 < capture.error < 1e-13
    with torch.inference_mode():
        assert torch.equal(capture.output, model.module(pixels_of(model)))


def test_dropout_in_torchs_attention_is_refused() -> None:
    network = own(Encoder)
    model = wrapped(network)
    network.train()
    with pytest.raises(vi.UnsupportedModel, match="MultiheadAttention with dropout"):
        vi.capture(model, IMAGES)


class AsksForWeights(Block):
    """The default of nn.MultiheadAttention, whose weights are averaged and thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm(tokens)
        return tokens + self.attention(normed, normed, normed)[0]


def test_attention_that_returns_its_weights_is_seen() -> None:
    network = own()
    network.layers = nn.ModuleList(AsksForWeights().double() for _ in range(2)).eval()
    capture = vi.capture(wrapped(network), IMAGES)
    given: list[Tensor] = []
    for layer in network.layers:
        layer.attention.register_forward_hook(lambda *args: given.append(args[2][1]))
    with torch.inference_mode():
        network(pixels_of(capture.model))
    torch.testing.assert_close(
        all_rows(capture).mean(dim=2), torch.stack(given), rtol=0, atol=1e-12
    )


class Masked(AsksForWeights):
    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
        return tokens + self.attention(tokens, tokens, tokens, attn_mask=hidden)[0]


class Twice(Block):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(super().forward(tokens))


class WithoutSoftmax(Block):
    def __init__(self) -> None:
        super().__init__()
        self.attend = lambda queries, keys, values: (queries @ keys.mT) @ values


def of(block: type[Block]) -> nn.Module:
    network = own()
    network.layers = nn.ModuleList(block() for _ in range(3)).eval().double()
    return network


class Unlisted(Own):
    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.tokens(pixels)
        return self.head(self.layers[0](self.extra(self.layers[1](self.layers[2](tokens))))[:, 0])

    def __init__(self) -> None:
        super().__init__()
        self.extra = Block()


class Backwards(Own):
    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(nn.Sequential(*reversed(self.layers))(self.tokens(pixels))[:, 0])


class Answering(Own):
    def forward(self, pixels: Tensor) -> Any:
        return {"scores": super().forward(pixels)}


class Flat(Own):
    def forward(self, pixels: Tensor) -> Any:
        return super().forward(pixels).flatten()


class PrefixLast(Own):
    def tokens(self, pixels: Tensor) -> Tensor:
        return super().tokens(pixels).roll(-2, dims=1)


class ColumnByColumn(Own):
    def tokens(self, pixels: Tensor) -> Tensor:
        tokens = super().tokens(pixels)
        columns = tokens[:, 2:].unflatten(1, LAYOUT.grid).transpose(1, 2).flatten(1, 2)
        return torch.cat([tokens[:, :2], columns], dim=1)


class Mirrored(Own):
    def tokens(self, pixels: Tensor) -> Tensor:
        return super().tokens(pixels.flip(-1))


def training(network: nn.Module) -> nn.Module:
    network.layers[1].train()
    return network


def frozen(network: nn.Module) -> nn.Module:
    return torch.jit.trace(network, torch.zeros(1, 3, 16, 24).double())


NONE = "no attention calls that can be seen, and no list of modules with one call each"
REFUSED = (
    (of(Twice), {}, "6 attention calls that can be seen, and no list", "give the blocks"),
    (of(WithoutSoftmax), {}, NONE, "one softmax of queries and keys in each"),
    (of(Masked), {}, "nn.MultiheadAttention with a mask", "every token attends to all tokens"),
    (own(Unlisted), {}, "1 attention call of Unlisted outside of its 3 blocks", "give all blocks"),
    (own(Backwards), {}, "blocks of Backwards that run in another order", "in the order in which"),
    (own(Answering), {}, "Answering, which returns an object of class dict", "features alone"),
    (own(Flat), {}, "Flat, which returns a tensor of shape (5,) for one picture", "one row for"),
    (training(own()), {}, "Own in training mode", "call its eval() first"),
    (nn.Identity().eval(), {}, "Identity without weights", "wrap another module"),
    (own(), {"layout": None}, "Own without a layout", "add layout=TokenLayout(('cls',)"),
    (own(), {"transform": None}, "Own without a transform", "add transform=Recipe(mean="),
    (own(), {"transform": np.asarray}, "the transform <built-in function", "as no function can"),
    (
        own(),
        {"labels": ["a", "b", "c"]},
        "3 labels for Own, which returns a tensor of shape (1, 5)",
        "names",
    ),
    (own(), {"blocks": []}, "3 attention calls of Own outside of its 0 blocks", "blocks="),
    (own(), {"blocks": [nn.Identity()]}, "no attention calls in block 0 of Own", "one attention"),
    (of(Twice), {"blocks": None, "name": "Own"}, "Own with 6 attention calls", "blocks="),
)


@pytest.mark.parametrize(("network", "options", "found", "told"), REFUSED)
def test_what_cannot_be_seen_is_refused(
    network: nn.Module, options: dict[str, Any], found: str, told: str
) -> None:
    with pytest.raises(vi.InspectError) as refusal:
        wrapped(network, **options)
    assert found in refusal.value.found
    assert told in f"{refusal.value.expected}; {refusal.value.remedy}"


def test_named_blocks_that_attend_twice_are_refused() -> None:
    network = of(Twice)
    with pytest.raises(vi.UnsupportedModel, match="2 attention calls in block 0 of Own"):
        wrapped(network, blocks=list(network.layers))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_network_is_refused() -> None:
    with pytest.raises(vi.UnsupportedModel, match="neither compiled nor scripted"):
        wrapped(frozen(own()))


@pytest.mark.parametrize(
    ("network", "layout", "found"),
    [
        (own(), layout_of("cls", "reg1", grid=(3, 3), patch_px=(8, 8)), "which fails on pictures"),
        (own(), layout_of("cls", patch_px=(8, 8)), "attention over 8 tokens in block 0 of Own"),
        (own(), layout_of("cls", "reg1", grid=(4, 6), patch_px=(4, 4)), "attention over 8 tokens"),
        (own(), replace(LAYOUT, readout=POOL), "0 attention calls after the last block"),
        (own(PrefixLast), LAYOUT, "patch (0, 2) is token 4 of PrefixLast, but"),
        (own(ColumnByColumn), LAYOUT, "ColumnByColumn, but a change of that patch moves token 6 m"),
        (own(Mirrored), LAYOUT, "patch (0, 2) is token 4 of Mirrored, but"),
    ],
)
def test_a_wrong_layout_is_refused(network: nn.Module, layout: vi.TokenLayout, found: str) -> None:
    with pytest.raises(vi.InspectError) as refusal:
        wrapped(network, layout=layout)
    assert found in refusal.value.found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"mean": (0.5, 0.4)}, "the mean (0.5, 0.4) for an input of 3 channels"),
        ({"std": (0.5, 0.0, 0.5)}, "the std (0.5, 0.0, 0.5) of a recipe"),
        ({"interpolation": "cubic"}, "the interpolation 'cubic' of a recipe"),
        ({"crop_fraction": 87.5}, "the crop_fraction 87.5 of a recipe"),
        ({"crop_mode": "middle"}, "the crop_mode 'middle' of a recipe"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_recipe_that_cannot_be_followed_is_refused(change: dict[str, Any], found: str) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        wrapped(own(), transform=replace(RECIPE, **change))
    assert refusal.value.found == found


def test_blocks_without_a_list_are_taken_by_hand() -> None:
    network = own()
    blocks = list(network.layers)
    network.layers = nn.Module().eval()
    network.first, network.second, network.third = blocks
    network.forward = lambda pixels: nn.Sequential(*blocks)(network.tokens(pixels)).mean(dim=1)
    layout = replace(LAYOUT, readout=MEAN_ALL)
    with pytest.raises(vi.UnsupportedModel, match="no list of modules with one call each"):
        wrapped(network, layout=layout)
    assert vi.capture(wrapped(network, layout=layout, blocks=blocks), IMAGES).error < 1e-13


def hooks(network: nn.Module) -> Iterator[object]:
    for part in network.modules():
        yield from part._forward_hooks.values()
        yield from part._forward_pre_hooks.values()


def test_wrapping_again_leaves_no_more_behind() -> None:
    network = own()
    first = wrapped(network)
    before = list(hooks(network))
    assert before.count(_enter) == 3
    assert len(before) == 6
    second = wrapped(network)
    assert list(hooks(network)) == before
    assert all(parameter.requires_grad for parameter in network.parameters())
    for model in (first, second):
        assert vi.capture(model, IMAGES).error < 1e-13


def test_two_models_of_one_network_tell_their_layers_apart() -> None:
    """The part of a network is a network too, whose first layer is another one's second."""
    network = own()
    whole = wrapped(network)
    expected = all_rows(vi.capture(whole, IMAGES))
    part = replace(whole, blocks=whole.blocks[1:])
    torch.testing.assert_close(all_rows(vi.capture(part, IMAGES)), expected[1:], rtol=0, atol=0)
    torch.testing.assert_close(all_rows(vi.capture(whole, IMAGES)), expected, rtol=0, atol=0)


def test_a_network_that_fails_keeps_no_hooks() -> None:
    network = own()
    with pytest.raises(vi.BadParameter, match="which fails on pictures of 8 × 16 px"):
        wrapped(network, layout=layout_of("cls", "reg1", grid=(1, 2), patch_px=(8, 8)))
    assert list(hooks(network)) == []


def test_nothing_is_seen_where_a_block_is_called_past_its_hooks() -> None:
    network = own()
    network.forward = lambda pixels: network.head(
        network.layers[0].forward(network.tokens(pixels))[:, 0]
    )
    with pytest.raises(vi.UnsupportedModel, match="1 attention call that can be seen, and no list"):
        wrapped(network)


def test_half_precision_is_verified_too() -> None:
    network = own().to(torch.bfloat16)
    capture = vi.capture(wrapped(network), IMAGES)
    assert 1e-6 < capture.error < 3e-2
    multihead = wrapped(vision_transformer(torch.bfloat16), layout=SQUARE)
    assert 1e-6 < vi.capture(multihead, IMAGES).error < 3e-2


# Networks of timm.


OF_TIMM: dict[str, dict[str, Any]] = {
    "test_vit": {"img_size": 64},
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 4, "reg_tokens": 2, "depth": 2},
    "vit_small_patch16_dinov3": {"img_size": 64, "depth": 2},
    "deit_tiny_distilled_patch16_224": {"depth": 2},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1), "embed_dim": 24},
    "vit_small_r26_s32_224": {"depth": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", OF_TIMM)
def test_a_network_of_timm_needs_no_description(architecture: str) -> None:
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=7, **OF_TIMM[architecture]).eval()
    if hasattr(module, "blocks"):
        sharpen(module)
    expected = module(torch.zeros(1, 3, *wrapped_size(module)))
    model = vi.wrap(module)
    size = model.layout.input_px
    at_last = model.at_stage(model.stage_count - 1) if model.stages else model
    capture = vi.capture(at_last, IMAGES)
    assert torch.equal(capture.output, module(capture.pixels))
    assert torch.equal(module(torch.zeros(1, 3, *wrapped_size(module))), expected)
    assert size == wrapped_size(module)
    told = "Mean, standard deviation, crop and filter are those of timm's entry."
    assert model.notices == (told,)
    if not model.stages:
        # What a named one has: the head after any layer, a single patch as a target.
        if architecture != "deit_tiny_distilled_patch16_224":
            assert len(vi.logit_lens(capture).photographs) == 2
        assert vi.attention_relevance(capture).relevance.shape == (2, *model.layout.grid)


def wrapped_size(module: Any) -> tuple[int, int]:
    rows, columns = module.patch_embed.img_size
    return int(rows), int(columns)


def test_what_is_given_by_hand_goes_before_the_configuration_of_timm() -> None:
    module = timm.create_model("test_vit", num_classes=3, img_size=64).eval()
    model = vi.wrap(module, transform=RECIPE, labels=("a", "b", "c"), name="mine")
    assert model.id == "mine"
    assert model.recipe == RECIPE
    assert model.labels == ("a", "b", "c")
    assert model.notices == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrapper",
    [
        nn.DataParallel,
        lambda module: torch.compile(module, backend="eager"),
        lambda module: nn.DataParallel(torch.compile(module, backend="eager")),
    ],
    ids=["data parallel", "compiled", "both"],
)
def test_wrappers_of_training_are_taken_off(wrapper: Callable[[nn.Module], Any]) -> None:
    module = timm.create_model("test_vit", img_size=64).eval()
    model = vi.wrap(wrapper(module).eval())
    assert model.module is module
    assert model.id == "VisionTransformer"
    own = Own().eval()
    assert vi.wrap(wrapper(own).eval(), layout=LAYOUT, transform=RECIPE).module is own


def changed(architecture: str = "test_vit", size: Any = 64, **set_: Any) -> Any:
    """A network of timm whose patch embedding was changed in place."""
    module = timm.create_model(architecture, depth=1, img_size=size).eval()
    for name, value in set_.items():
        setattr(module.patch_embed.proj, name, value)
    return module


def test_a_changed_stride_of_timm_is_refused_with_its_description() -> None:
    for stride, size in (((8, 8), (64, 64)), ((8, 6), (64, 96))):
        module = changed(size=size, stride=stride)
        with pytest.raises(vi.BadParameter) as refusal:
            vi.wrap(module)
        assert refusal.value.found == (
            "a patch embedding of VisionTransformer with filters of 16 × 16 px at a stride of "
            f"{stride[0]} × {stride[1]} px"
        )
        # The advice works.
        layout = refusal.value.remedy.partition("layout=")[2].partition(", and transform")[0]
        model = vi.wrap(
            module, layout=eval(layout, {"TokenLayout": vi.TokenLayout}), transform=RECIPE
        )
        assert model.layout.input_px == size
        picture = noise(size, 3)
        assert torch.equal(vi.capture(model, picture).output, module(model.prepare(picture)))


@pytest.mark.parametrize(
    "module",
    [
        # A picture moved by a pixel, filters with gaps, a network that cannot take so many tokens.
        lambda: changed(padding=(1, 1)),
        lambda: changed(stride=(8, 8), padding=(4, 4)),
        lambda: changed(dilation=(2, 2), stride=(8, 8)),
        lambda: changed(stride=(32, 32)),
        lambda: changed("vit_tiny_patch16_224", stride=(8, 8)),
    ],
)
def test_a_changed_patch_embedding_of_timm_is_refused(module: Callable[[], nn.Module]) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.wrap(module())
    assert "a patch embedding of VisionTransformer with filters of 16" in refusal.value.found
    assert "give the convolution the stride of the patch and no padding" in refusal.value.remedy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weight: weight.to("meta"), "without values in blocks.0.attn.qkv.weight"),
        (lambda weight: weight.to_sparse(), "a sparse tensor in blocks.0.attn.qkv.weight"),
    ],
)
@pytest.mark.parametrize("described", [{}, {"layout": LAYOUT, "transform": RECIPE}])
def test_weights_that_are_not_there_are_refused(
    change: Callable[[Tensor], Tensor], words: str, described: dict[str, Any]
) -> None:
    module: Any = timm.create_model("test_vit", img_size=64).eval()
    module.blocks[0].attn.qkv.weight = nn.Parameter(change(module.blocks[0].attn.qkv.weight))
    with pytest.raises(vi.BadParameter) as refusal:
        vi.wrap(module, **described)
    assert words in refusal.value.found


def test_a_network_of_timm_without_a_plain_grid_is_refused() -> None:
    with pytest.raises(vi.UnsupportedModel, match="which is a convolutional network"):
        vi.wrap(timm.create_model("resnet18").eval())


def test_one_output_is_a_score_without_being_named() -> None:
    network = own()
    network.head = nn.Linear(WIDTH, 1)
    model = wrapped(network.eval().double())
    assert (model.labels, model.outputs) == (("output 0",), "scores")
    assert any("one output" in each for each in model.notices)
    assert vi.head_importance(vi.capture(model, IMAGES[0])).effect.max() > 0
