"""Is attention without a fused kernel seen as it computes, and refused where it is something else?

The oracle is the network's own softmax: each network here keeps what it computed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, softmax
from vit_pytorch import SimpleViT, ViT
from vit_pytorch.simple_vit_with_register_tokens import SimpleViT as WithRegisters

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import RECIPE, layout_of
from tests.helpers.observed import check_observation
from tests.helpers.oracle import attentions, explicit_attention, sharpen
from vit_inspect.attention.rows import rows
from vit_inspect.layout import MEAN
from vit_inspect.recording.interventions import intervene

IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]
LAYOUT = layout_of("cls", "reg1", patch_px=(8, 8))
"""Two rows and three columns of patches behind two tokens, an input of 16 × 24 px."""
TOKENS, WIDTH, HEADS = LAYOUT.token_count, 24, 3
SCALE = (WIDTH // HEADS) ** -0.5
BIAS = torch.linspace(-2, 2, HEADS * TOKENS**2).sin().reshape(HEADS, TOKENS, TOKENS)
HIDDEN = torch.arange(TOKENS) % 3 == torch.arange(TOKENS)[:, None] % 4

Attend = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes queries, keys and values, (image, token, head, width); returns (image, token, all widths)
and the weights (image, head, query, key)."""

WAYS: dict[str, Attend] = {}
"""Ways to write attention that people use."""


def way(attend: Attend) -> Attend:
    WAYS[attend.__name__] = attend
    return attend


def by_head(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(each.transpose(1, 2) for each in tensors)


def joined(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


@way
def scaled_after(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.transpose(-2, -1) * SCALE).softmax(dim=-1)
    return joined(weights @ v), weights


@way
def queries_scaled_before(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = torch.softmax(torch.matmul(q * SCALE, k.mT), -1)
    return joined(torch.matmul(weights, v)), weights


@way
def divided_in_place(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    scores = q @ k.mT
    scores /= SCALE**-1
    scores += BIAS
    scores.mul_(1.5)
    weights = nn.Softmax(dim=3)(scores)
    return joined(weights @ v), weights


@way
def scale_of_each_head(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    scale = torch.tensor([0.2, 0.5, 0.3], dtype=q.dtype).reshape(1, HEADS, 1, 1)
    weights = ((q @ k.mT + BIAS) * scale / scale.mean()).softmax(-1)
    return joined(weights @ v), weights


@way
def einsum_with_heads_second_to_last(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    weights = softmax(torch.einsum("b n h d, b m h d -> b h n m", q, k) * SCALE, dim=-1)
    return torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2), weights


@way
def einsum_with_heads_last(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    weights = (torch.einsum("iqhd,ikhd->iqkh", q, k) * SCALE).softmax(dim=2)
    return torch.einsum("ikhd,iqkh->iqhd", v, weights).flatten(2), weights.permute(0, 3, 1, 2)


@way
def einsum_with_an_ellipsis(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (SCALE * torch.einsum("...id,...jd->...ij", q, k)).softmax(-1)
    return joined(torch.einsum("...ij,...jd->...id", weights, v)), weights


@way
def heads_in_the_batch(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = (each.flatten(0, 1) for each in by_head(q, k, v))
    weights = (torch.bmm(q, k.mT) * SCALE).softmax(-1)
    heads = torch.bmm(weights, v).unflatten(0, (-1, HEADS))
    return joined(heads), weights.unflatten(0, (-1, HEADS))


@way
def heads_in_the_batch_by_einsum(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = (each.flatten(0, 1) for each in by_head(q, k, v))
    scores = torch.einsum("b i d, b j d -> b i j", q, k) * SCALE
    # The bias of each head is added where images and heads are apart.
    scores = (scores.view(-1, HEADS, TOKENS, TOKENS) + BIAS[None]).view(-1, TOKENS, TOKENS)
    weights = scores.softmax(-1)
    heads = torch.einsum("b i j, b j d -> b i d", weights, v).unflatten(0, (-1, HEADS))
    return joined(heads), weights.unflatten(0, (-1, HEADS))


@way
def baddbmm_with_a_bias(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = (each.flatten(0, 1) for each in by_head(q, k, v))
    bias = BIAS.to(q.dtype).repeat(len(q) // HEADS, 1, 1)
    weights = torch.baddbmm(bias, q, k.mT, beta=0.5, alpha=SCALE).softmax(-1)
    heads = torch.bmm(weights, v).unflatten(0, (-1, HEADS))
    return joined(heads), weights.unflatten(0, (-1, HEADS))


@way
def keys_times_queries(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (k @ q.mT * SCALE + BIAS.mT).softmax(dim=-2)
    return joined(weights.transpose(-2, -1) @ v), weights.mT


@way
def bias_before_the_scores(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    scores = BIAS + SCALE * (q @ k.mT)
    # A softmax by hand begins like this.
    scores = scores - scores.amax(dim=-1, keepdim=True) - 1.5
    weights = scores.softmax(-1)
    return joined(weights @ v), weights


@way
def masked(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    scores = (q @ k.mT * SCALE).masked_fill(HIDDEN, -torch.finfo(q.dtype).max)
    weights = scores.softmax(-1)
    return joined(weights @ v), weights


@way
def masked_in_place(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    scores = q @ k.mT * SCALE
    scores.masked_fill_(HIDDEN[None, None], float("-inf"))
    weights = scores.softmax(-1)
    return joined(weights @ v), weights


@way
def masked_by_where(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = torch.where(~HIDDEN, q @ k.mT * SCALE, -1e9).softmax(-1)
    return joined(weights @ v), weights


@way
def cast_kept_and_masked_by_head(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    scores = (q @ k.mT * SCALE).contiguous()
    weights = softmax(scores.to(torch.float64), dim=-1, dtype=torch.float64).type_as(q)
    kept = weights.detach().clone()
    weights = nn.Dropout(0.3).eval()(weights) * torch.ones(HEADS, 1, 1, dtype=q.dtype)
    return joined(weights @ v), kept


@way
def cosine_with_more_queries_to_come(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Other products before and after the softmax do not disturb."""
    q, k, v = by_head(q, k, v)
    q, k = (nn.functional.normalize(each, dim=-1) for each in (q, k))
    scores = q @ k.mT
    other = k @ v.mT
    weights = (scores * 9.0).softmax(-1)
    heads = weights @ v + 0 * (other @ v)
    return joined(heads), weights


class Block(nn.Module):
    """A block as DINO writes it: returns the tokens, and the weights if it is asked to."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.attend = attend
        self.kept: list[Tensor] = []
        nn.init.normal_(self.qkv.weight, std=0.7)

    def forward(self, tokens: Tensor) -> Tensor:
        split = self.qkv(self.norm(tokens)).unflatten(-1, (3, HEADS, -1)).unbind(2)
        heads, weights = self.attend(*split)
        self.kept.append(weights)
        tokens = tokens + self.out(heads)
        # A product with four axes that is no attention.
        mixed = self.norm2(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return tokens + joined(mixed @ mixed.mT @ mixed) / 50


class Own(nn.Module):
    """A vision transformer that nobody knows."""

    def __init__(self, attend: Attend, depth: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, WIDTH, 8, 8)
        self.prefix = nn.Parameter(torch.randn(1, 2, WIDTH))
        self.blocks = nn.ModuleList(Block(attend) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.embed(pixels).flatten(2).mT
        tokens = torch.cat([self.prefix.expand(len(pixels), -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])


def own(attend: Attend, dtype: torch.dtype = torch.float64) -> Own:
    return Own(attend).eval().to(dtype)


def wrapped(network: nn.Module, **options: Any) -> vi.Model:
    return vi.wrap(network, **{"layout": LAYOUT, "transform": RECIPE} | options)


def all_rows(capture: vi.Capture) -> Tensor:
    return torch.stack([rows(layer, range(capture.layout.token_count)) for layer in capture.layers])


def check_seen(
    model: vi.Model, explicit: Callable[[Tensor], Tensor], *, tolerance: float = 1e-9
) -> vi.Capture:
    """A capture whose rows are those of `explicit`, which runs the network by itself."""
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    with torch.inference_mode():
        alone = model.module(pixels)
        expected = explicit(pixels)
    capture = vi.capture(model, IMAGES)
    check_observation(model, IMAGES, capture)
    assert torch.equal(capture.output, alone)
    assert expected.shape == (
        len(model.blocks),
        len(IMAGES),
        capture.head_count,
        *(capture.layout.token_count,) * 2,
    )
    # The test sees something: peaks, and images and heads that differ.
    assert expected.amax(dim=-1).mean() > 0.4
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 0.05
    assert (expected[:, :, 0] - expected[:, :, 1]).abs().max() > 0.05
    torch.testing.assert_close(
        all_rows(capture), expected.to(all_rows(capture).dtype), rtol=0, atol=tolerance
    )
    return capture


def own_softmax(network: Own, pixels: Tensor) -> Tensor:
    """(layer, image, head, query, key), as the blocks kept it."""
    for block in network.blocks:
        block.kept.clear()
    network(pixels)
    return torch.stack([block.kept[0] for block in network.blocks])


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_write_attention_is_seen(name: str) -> None:
    network = own(WAYS[name])
    capture = check_seen(wrapped(network), partial(own_softmax, network))
    assert capture.error < 1e-13
    assert len(capture.tokens) == 2


@pytest.mark.parametrize("attend", [scaled_after, heads_in_the_batch, masked, divided_in_place])
def test_float32_is_seen(attend: Attend) -> None:
    network = own(attend, torch.float32)
    capture = check_seen(wrapped(network), partial(own_softmax, network), tolerance=1e-4)
    assert 0 < capture.error < 1e-5


def test_a_softmax_in_a_narrower_type_is_seen() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = by_head(q, k, v)
        weights = softmax(q @ k.mT, dim=-1, dtype=torch.float32).to(v.dtype)
        return joined(weights @ v), weights

    network = own(attend)
    capture = check_seen(wrapped(network), partial(own_softmax, network), tolerance=1e-6)
    assert 1e-10 < capture.error < 1e-6


def fused(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    heads = joined(scaled_dot_product_attention(*by_head(q, k, v)))
    return heads, heads


@pytest.mark.slow
@pytest.mark.parametrize(
    "attend",
    [scaled_after, einsum_with_heads_last, heads_in_the_batch, einsum_with_heads_second_to_last],
)
def test_what_is_computed_from_it_is_as_with_a_fused_kernel(attend: Attend) -> None:
    one, other = wrapped(own(attend)), wrapped(own(fused))
    options = {"rtol": 1e-9, "atol": 1e-12}
    relevance = [vi.attention_relevance(each, IMAGES) for each in (one, other)]
    for name in ("relevance", "input_gradient", "grad_cam"):
        first, second = (getattr(each, name) for each in relevance)
        assert np.ptp(second) > 0
        np.testing.assert_allclose(first, second, **options)
    captures = [vi.capture(each, IMAGES) for each in (one, other)]
    for changes in ({"heads": [(0, 2), (1, 1)]}, {"tokens": [(0, 1)]}):
        first, second = (vi.ablate(each, **changes).relative_change for each in captures)
        assert second.min() > 1e-3
        np.testing.assert_allclose(first, second, **options)
    first, second = (vi.head_importance(each).effect for each in captures)
    np.testing.assert_allclose(first, second, **options)
    first, second = (vi.faithfulness(each, steps=2).deletion_auc for each in captures)
    np.testing.assert_allclose(first, second, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    [
        "vit_tiny_patch16_224",
        "beit_base_patch16_224",
        "eva02_tiny_patch14_224",
        "vit_relpos_small_patch16_224",
        "vit_base_patch32_siglip_256",
    ],
)
def test_timm_with_its_fused_attention_off(
    small: Callable[..., vi.Model], architecture: str
) -> None:
    patch = {"eva02": 14, "vit_base_patch32": 32}
    side = next((side for name, side in patch.items() if architecture.startswith(name)), 16)
    model = small(architecture, (2 * side, 3 * side))
    alone = vi.capture(model, IMAGES)
    for part in attentions(model.module):
        part.fused_attn = False
    capture = check_seen(model, partial(explicit_attention, model.module))
    assert capture.error < 1e-13
    torch.testing.assert_close(all_rows(capture), all_rows(alone), rtol=0, atol=1e-9)
    assert (capture.pool is None) == (alone.pool is None)
    if capture.pool and alone.pool:
        one, other = (rows(each, [0]) for each in (capture.pool, alone.pool))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_timm_in_memory_with_its_fused_attention_off() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=(32, 48), depth=2, num_classes=5)
    sharpen(network)
    for block in network.blocks:
        block.attn.fused_attn = False
    model = vi.wrap(network.eval().double())
    check_seen(model, partial(explicit_attention, network))
    given = vi.wrap(network, layout=model.layout, transform=model.recipe)
    assert given.blocks == model.blocks


@pytest.mark.parametrize("kind", ["ViT", "Dinov2", "CLIPVision"])
def test_transformers_with_eager_attention(kind: str) -> None:
    torch.manual_seed(0)
    config = getattr(hf, f"{kind}Config")(
        image_size=32,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=32,
        attn_implementation="eager",
    )
    network = getattr(hf, f"{kind}Model")(config).eval()
    with torch.no_grad():
        for name, weights in network.named_parameters():
            weights.mul_(40 if "query.weight" in name or "q_proj.weight" in name else 3)

    def explicit(pixels: Tensor) -> Tensor:
        return torch.stack(network(pixel_values=pixels, output_attentions=True).attentions)

    capture = check_seen(vi.wrap(network, transform=RECIPE), explicit, tolerance=1e-4)
    assert capture.error < 1e-5
    assert len(capture.tokens) == 2


def of_vit_pytorch(kind: type[nn.Module], **options: Any) -> nn.Module:
    torch.manual_seed(0)
    network = kind(
        image_size=(16, 24),
        patch_size=8,
        num_classes=5,
        dim=WIDTH,
        depth=3,
        heads=HEADS,
        dim_head=6,
        mlp_dim=32,
        **options,
    )
    with torch.no_grad():
        for attention, _ in network.transformer.layers:
            attention.to_qkv.weight[: 2 * HEADS * 6] *= 5
    return network.eval().double()


def softmax_of_vit_pytorch(network: nn.Module, pixels: Tensor) -> Tensor:
    maps: list[Tensor] = []
    hooks = [
        attention.attend.register_forward_hook(lambda *seen: maps.append(seen[-1]))
        for attention, _ in network.transformer.layers
    ]
    network(pixels)
    for hook in hooks:
        hook.remove()
    return torch.stack(maps)


VIT_PYTORCH = [
    (ViT, {}, layout_of("cls", patch_px=(8, 8))),
    (ViT, {"pool": "mean", "dropout": 0.1}, layout_of(patch_px=(8, 8), readout=MEAN)),
    (SimpleViT, {}, layout_of(patch_px=(8, 8), readout=MEAN)),
]


@pytest.mark.parametrize(("kind", "options", "layout"), VIT_PYTORCH, ids=str)
def test_vit_pytorch(
    kind: type[nn.Module], options: dict[str, Any], layout: vi.TokenLayout
) -> None:
    network = of_vit_pytorch(kind, **options)
    model = wrapped(network, layout=layout)
    assert model.blocks == tuple(attention for attention, _ in network.transformer.layers)
    capture = check_seen(model, partial(softmax_of_vit_pytorch, network))
    assert capture.error < 1e-13
    # The tokens are those after the perceptron, not what attention adds to them.
    after: list[Tensor] = []
    network.transformer.norm.register_forward_pre_hook(lambda _, args: after.append(args[0]))
    for attention, _ in network.transformer.layers:
        attention.register_forward_pre_hook(lambda _, args: after.append(args[0]))
    with torch.inference_mode():
        network(capture.pixels)
    assert len(capture.tokens) == len(after[1:]) == 3
    for tokens, expected in zip(capture.tokens, after[1:], strict=True):
        assert torch.equal(tokens, expected)


def test_what_is_changed_in_vit_pytorch_goes_around_its_attention_too() -> None:
    """The first tokens are added to the output of attention: both get the change."""
    network = of_vit_pytorch(ViT)
    model = wrapped(network, layout=layout_of("cls", patch_px=(8, 8)))
    pixels = torch.cat([model.prepare(image) for image in IMAGES])

    def embedded(tokens: Tensor) -> Tensor:
        return tokens.flip(-1)

    found = intervene(model, pixels, embedded=embedded)
    network.dropout.register_forward_hook(lambda module, args, output: embedded(output))
    with torch.inference_mode():
        assert torch.equal(found, network(pixels))


def test_relevance_in_vit_pytorch_is_that_of_a_fused_kernel() -> None:
    network = of_vit_pytorch(ViT)
    model = wrapped(network, layout=layout_of("cls", patch_px=(8, 8)))
    found = vi.attention_relevance(model, IMAGES)
    assert vi.ablate(vi.capture(model, IMAGES), heads=[(0, 1)]).patch_change.size == 0

    class Fused(nn.Module):
        def __init__(self, attention: nn.Module) -> None:
            super().__init__()
            self.given = attention

        def forward(self, tokens: Tensor) -> Tensor:
            split = self.given.to_qkv(self.given.norm(tokens)).unflatten(-1, (3, HEADS, -1))
            heads = scaled_dot_product_attention(*split.permute(2, 0, 3, 1, 4))
            return self.given.to_out(joined(heads))

    for layer in network.transformer.layers:
        layer[0] = Fused(layer[0]).eval()
    expected = vi.attention_relevance(
        wrapped(network, layout=layout_of("cls", patch_px=(8, 8))), IMAGES
    )
    for name in ("relevance", "input_gradient", "grad_cam"):
        one, other = (getattr(each, name) for each in (found, expected))
        assert np.ptp(other) > 0
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


class RegistersFirst(WithRegisters):
    """The same network with its tokens in another order, which changes nothing for any token."""

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.to_patch_embedding(pixels) + self.pos_embedding.to(pixels.dtype)
        registers = self.register_tokens.expand(len(pixels), -1, -1)
        tokens = self.transformer(torch.cat([registers, patches], dim=1))
        return self.linear_head(tokens[:, registers.shape[1] :].mean(dim=1))


@pytest.mark.slow
def test_registers_behind_the_patches_are_recorded_before_them() -> None:
    layout = layout_of("reg1", "reg2", "reg3", "reg4", patch_px=(8, 8), readout=MEAN)
    network = of_vit_pytorch(WithRegisters)
    model = wrapped(network, layout=replace(layout, trailing=4))
    order = [6, 7, 8, 9, 0, 1, 2, 3, 4, 5]

    def explicit(pixels: Tensor) -> Tensor:
        return softmax_of_vit_pytorch(network, pixels)[..., order, :][..., order]

    check_seen(model, explicit)
    twin = wrapped(of_vit_pytorch(RegistersFirst), layout=layout)
    one, other = (vi.capture(each, IMAGES) for each in (model, twin))
    for first, second in zip(one.tokens, other.tokens, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-12)
    changes = {"heads": [(1, 2)], "tokens": ["reg2", (1, 0)]}
    first, second = (vi.ablate(each, **changes).relative_change for each in (one, other))
    assert second.min() > 1e-3
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)
    first, second = (vi.attention_relevance(each) for each in (one, other))
    for name in ("relevance", "prefix_relevance", "grad_cam"):
        assert np.ptp(getattr(second, name)) > 0
        np.testing.assert_allclose(
            getattr(first, name), getattr(second, name), rtol=1e-9, atol=1e-12
        )
    with pytest.raises(vi.BadParameter, match="trailing="):
        wrapped(network, layout=layout)


def test_a_bias_is_brought_into_the_order_of_the_layout() -> None:
    trailing = replace(LAYOUT, trailing=1)
    order = [0, 7, 1, 2, 3, 4, 5, 6]
    network = own(divided_in_place)
    forward = network.blocks[0].forward
    inverse = np.argsort(order).tolist()
    # The network's first block gets its tokens with the second one at the end.
    network.blocks[0].forward = lambda tokens: forward(tokens[:, inverse])

    def explicit(pixels: Tensor) -> Tensor:
        return own_softmax(network, pixels)[..., order, :][..., order]

    check_seen(wrapped(network, layout=trailing), explicit)


class NormOutside(nn.Module):
    """Attention as it stands in most code: it gets normalised tokens, and is added to others."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.norm, block.norm = block.norm, nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        normalised = self.norm(tokens)
        return tokens + self.block(normalised) - normalised


def test_what_attention_adds_is_never_taken_for_tokens() -> None:
    network = own(scaled_after)
    network.blocks = nn.ModuleList(NormOutside(block) for block in network.blocks).eval().double()
    assert len(vi.capture(wrapped(network), IMAGES).tokens) == 2
    model = wrapped(network, blocks=[each.block for each in network.blocks])
    capture = vi.capture(model, IMAGES)
    assert capture.tokens == ()
    with pytest.raises(vi.UnsupportedModel, match="one row for each token"):
        vi.feature_pca(capture)
    with pytest.raises(vi.UnsupportedModel, match="heads or tokens cannot be changed"):
        vi.ablate(capture, tokens=[(0, 1)])
    assert vi.ablate(capture, heads=[(0, 1)]).relative_change.min() > 0


REFUSED: dict[str, Attend] = {}
"""What looks like attention and is something else."""


def refused(attend: Attend) -> Attend:
    REFUSED[attend.__name__] = attend
    return attend


MIXING = torch.linspace(-1, 1, HEADS**2).reshape(HEADS, HEADS).double()


@refused
def heads_mixed_before_the_softmax(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = torch.einsum("bhij,hg->bgij", q @ k.mT, MIXING).softmax(-1)
    return joined(weights @ v), weights


@refused
def heads_mixed_after_the_softmax(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = torch.einsum("bhij,hg->bgij", (q @ k.mT).softmax(-1), MIXING)
    return joined(weights @ v), weights


@refused
def softmax_over_the_queries(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(-2)
    return joined(weights @ v), weights


@refused
def softmax_over_the_heads(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(1)
    return joined(weights @ v), weights


@refused
def two_softmaxes(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(-1)
    return joined(weights @ v + (q @ q.mT).softmax(-1) @ v), weights


@refused
def one_softmax_less_another(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(-1) - 0.5 * (q @ q.mT).softmax(-1)
    return joined(weights @ v), weights


@refused
def no_softmax(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    return joined(q @ k.mT @ v), q


@refused
def weights_changed_in_place(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(-1)
    weights[..., 1] *= 0.5
    return joined(weights @ v), weights


@refused
def scores_changed_through_a_view(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    scores = q @ k.mT
    scores.view(-1).mul_(torch.linspace(0, 1, scores.numel()).double())
    weights = scores.softmax(-1)
    return joined(weights @ v), weights


@refused
def weights_of_some_heads_switched_off(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(-1) * torch.tensor([1.0, 0.0, 1.0]).reshape(HEADS, 1, 1)
    return joined(weights @ v), weights


@refused
def a_factor_for_each_key(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT * torch.linspace(0, 1, TOKENS)).softmax(-1)
    return joined(weights @ v), weights


@refused
def a_mask_that_hides_little(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).masked_fill(HIDDEN, -1.0).softmax(-1)
    return joined(weights @ v), weights


@refused
def a_mask_that_hides_every_key(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    hidden = torch.arange(TOKENS)[:, None] == 1
    weights = (q @ k.mT).masked_fill(hidden, -1e9).softmax(-1)
    return joined(weights @ v), weights


@refused
def queries_summed_up(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(-1)
    return joined(v + torch.einsum("bhij,bhjd->bhd", weights, v)[:, :, None]), weights


@refused
def fewer_keys_than_queries(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k[:, ::2], v[:, ::2])
    weights = (q @ k.mT).softmax(-1)
    return joined(weights @ v), weights


@refused
def between_channels(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Each head has as many channels as there are tokens."""
    q, k, v = (each.mT for each in by_head(q, k, v))
    weights = (q @ k.mT).softmax(-1)
    return joined((weights @ v).mT), weights


@refused
def heads_before_images(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = (each.transpose(0, 1) for each in by_head(q, k, v))
    weights = (q @ k.mT).softmax(-1)
    return joined((weights @ v).transpose(0, 1)), weights


@refused
def heads_before_images_in_one_axis(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = (each.transpose(0, 1).flatten(0, 1) for each in by_head(q, k, v))
    weights = torch.bmm(q, k.mT).softmax(-1)
    return joined(torch.bmm(weights, v).unflatten(0, (HEADS, -1)).transpose(0, 1)), weights


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_softmax_of_tokens_is_refused(name: str) -> None:
    assert TOKENS == WIDTH // HEADS
    network = own(REFUSED[name])
    with pytest.raises(vi.InspectError) as refusal:
        wrapped(network)
    # It is not taken for attention at all: the recomputed rows are the second net.
    assert "recomputed" not in str(refusal.value)
    assert "fails on pictures" not in str(refusal.value)


def test_dropout_in_training_is_refused() -> None:
    dropout = nn.Dropout(0.1)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = by_head(q, k, v)
        weights = dropout((q @ k.mT).softmax(-1))
        return joined(weights @ v), weights

    dropout.eval()
    model = wrapped(own(attend))
    dropout.train()
    with pytest.raises(vi.UnsupportedModel, match="attention with dropout"):
        vi.capture(model, IMAGES)


def test_a_product_that_gives_something_else_is_refused() -> None:
    # The weights are changed where no torch function is seen.
    network = own(scaled_after)
    model = wrapped(network)
    for block in network.blocks:
        block.attend = _rounded
    with pytest.raises(vi.UnsupportedModel, match="recomputed from its queries and keys"):
        vi.capture(model, IMAGES)


def _rounded(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = by_head(q, k, v)
    weights = (q @ k.mT).softmax(-1)
    weights.numpy()[..., 0] += 1e-6
    return joined(weights @ v), weights


def test_no_scores_are_kept() -> None:
    seen: list[weakref.ref[Tensor]] = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = by_head(q, k, v)
        scores = q @ k.mT
        weights = scores.softmax(-1)
        seen.extend(weakref.ref(each) for each in (scores, weights))
        alive.append(sum(each() is not None for each in seen))
        return joined(weights @ v), v

    alive: list[int] = []
    model = wrapped(Own(attend, depth=3).eval().double())
    seen.clear()
    alive.clear()
    vi.capture(model, IMAGES)
    assert alive == [2, 2, 2]
