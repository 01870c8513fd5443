"""Do gradients of a score equal autograd's through stored attention? Does nothing stay behind?"""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import attentions, blocks_of
from tests.helpers.zoo import SERVED, shallow
from vit_inspect.layout import MEAN
from vit_inspect.recording.gradients import differentiate
from vit_inspect.recording.recorder import Capture

pytestmark = pytest.mark.slow

FAMILIES = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "vit_relpos_small_patch16_224",
    "vit_base_patch16_siglip_224",
    "samvit_base_patch16_224",
)
IMAGES = [noise((90, 70), 1), noise((60, 80), 2)]


def first(capture: Capture) -> Tensor:
    """A score that depends on the whole output, unevenly."""
    output = capture.output.flatten(1)
    return output @ torch.linspace(-1, 1, output.shape[1], dtype=output.dtype)


def explicit(model: vi.Model) -> tuple[list[Tensor], Tensor]:
    """Gradients by stored attention (image, head, query, key) of each layer, and by the pixels."""
    unfused, maps = copy.deepcopy(model.module), []
    for part in attentions(blocks_of(unfused)):
        part.fused_attn = False
        part.attn_drop.register_forward_pre_hook(lambda _, args: maps.append(args[0]))
    pixels = torch.cat([model.prepare(image) for image in IMAGES]).requires_grad_()
    output = unfused(pixels).flatten(1)
    score = output @ torch.linspace(-1, 1, output.shape[1], dtype=output.dtype)
    gradients = torch.autograd.grad(score.sum(), [*maps, pixels])
    shaped = [each.reshape(len(IMAGES), -1, *each.shape[-2:]) for each in gradients[:-1]]
    return shaped, gradients[-1]


@pytest.mark.parametrize("architecture", FAMILIES)
def test_gradients_equal_those_through_stored_attention(architecture: str) -> None:
    model = shallow(next(each for each in SERVED if each.architecture == architecture))
    wanted, pixels = explicit(model)
    found = differentiate(model, IMAGES, score=first)
    assert len(found.attended) == len(wanted) == len(model.blocks)
    for layer, outer, attention in zip(found.capture.layers, found.attended, wanted, strict=True):
        # With O = A V the gradient by A is dO V^T.
        by_attention = outer @ layer.values.transpose(-2, -1)
        largest = attention.abs().max()
        assert largest > 0
        assert (by_attention - attention).abs().max() < 1e-6 * largest
    assert (found.pixels - pixels).abs().max() < 1e-6 * pixels.abs().max()


@pytest.mark.parametrize("architecture", FAMILIES)
def test_gradients_by_tokens_say_what_a_small_change_of_them_does(architecture: str) -> None:
    model = shallow(next(each for each in SERVED if each.architecture == architecture))
    found = differentiate(model, IMAGES, score=first)
    for block, tokens, gradient in zip(
        model.blocks, found.capture.tokens, found.tokens, strict=True
    ):
        step = 1e-6 * torch.randn_like(tokens) / gradient.abs().max()

        def score(sign: int, block: nn.Module = block, step: Tensor = step) -> Tensor:
            handle = block.register_forward_hook(
                lambda _, __, output: output + sign * step.reshape(output.shape)
            )
            rise = first(vi.capture(model, IMAGES))
            handle.remove()
            return rise

        rise = (score(1) - score(-1)) / 2
        torch.testing.assert_close(rise, (step * gradient).sum(dim=(1, 2)), rtol=1e-3, atol=1e-12)
        assert gradient.abs().max() > 0


def test_gradients_behind_an_output_projection_are_brought_before_it() -> None:
    """torchvision's attention, whose heads are joined inside one function."""
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    torch.nn.init.normal_(network.heads.head.weight)
    network.eval().double()
    model = vi.wrap(
        network,
        layout=vi.TokenLayout(("cls",), (4, 4), (8, 8), "cls"),
        transform=vi.Recipe((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0, "center"),
    )
    found = differentiate(model, IMAGES, score=first)
    # Heads of the last layer, joined and projected, are added to what entered it.
    last = network.encoder.layers[-1].self_attention
    with torch.no_grad():
        weight = last.out_proj.weight.unflatten(1, (2, 8))
    hidden: list[Tensor] = []
    handle = last.register_forward_hook(lambda _, __, output: hidden.append(output[0]))
    output = network(torch.cat([model.prepare(image) for image in IMAGES]))
    handle.remove()
    score = output @ torch.linspace(-1, 1, output.shape[1], dtype=output.dtype)
    (outer,) = torch.autograd.grad(score.sum(), hidden)
    wanted = torch.einsum("btc,chw->bhtw", outer, weight)
    assert wanted.abs().max() > 0
    torch.testing.assert_close(found.attended[-1], wanted, rtol=1e-9, atol=1e-12)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_capture_with_gradients_is_the_capture_without() -> None:
    model = shallow(SERVED[0])
    found, alone = (
        differentiate(model, IMAGES, score=first).capture,
        vi.capture(model, IMAGES),
    )
    torch.testing.assert_close(found.output, alone.output, rtol=1e-12, atol=1e-12)
    for one, other in zip(found.layers, alone.layers, strict=True):
        torch.testing.assert_close(one.queries, other.queries, rtol=1e-12, atol=1e-12)
    for one, other in zip(found.tokens, alone.tokens, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_nothing_of_the_graph_is_kept() -> None:
    model = shallow(SERVED[0])
    seen: list[weakref.ref[Tensor]] = []

    def score(capture: Capture) -> Tensor:
        seen.append(weakref.ref(capture.output))
        return first(capture)

    found = differentiate(model, IMAGES, score=score)
    gc.collect()
    assert seen[0]() is None
    kept = [*found.attended, *found.tokens, found.pixels, found.capture.output]
    kept += found.capture.tokens
    for layer in found.capture.layers:
        kept += [layer.queries, layer.keys, layer.values]
    assert not any(each.requires_grad for each in kept)
    assert all(parameter.grad is None for parameter in model.module.parameters())
    after = vi.capture(model, IMAGES)
    assert not after.output.requires_grad
    assert after.output.is_inference()


def test_each_picture_has_the_gradient_that_it_has_alone() -> None:
    model = shallow(SERVED[0])
    together = differentiate(model, IMAGES, score=first)
    alone = differentiate(model, IMAGES[1], score=first)
    torch.testing.assert_close(together.pixels[1:], alone.pixels, rtol=1e-9, atol=1e-12)


def test_a_score_that_no_gradient_reaches_is_refused() -> None:
    model = shallow(SERVED[0])
    with pytest.raises(vi.UnsupportedModel, match="through which no gradient flows"):
        differentiate(model, IMAGES, score=lambda capture: torch.zeros(len(capture.output)))


def test_a_score_that_raises_leaves_nothing_behind() -> None:
    model = shallow(SERVED[0])
    before, modes = vi.capture(model, IMAGES), modes_of_torch()
    seen: list[weakref.ref[Tensor]] = []

    def score(capture: Capture) -> Tensor:
        seen.append(weakref.ref(capture.output))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        differentiate(model, IMAGES, score=score)
    gc.collect()
    assert seen[0]() is None
    assert modes_of_torch() == modes
    assert all(parameter.grad is None for parameter in model.module.parameters())
    after = vi.capture(model, IMAGES)
    assert after.output.is_inference()
    assert torch.equal(after.output, before.output)
    for one, other in zip(after.layers, before.layers, strict=True):
        for name in ("queries", "keys", "values"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
    for one, other in zip(after.tokens, before.tokens, strict=True):
        assert torch.equal(one, other)


def modes_of_torch() -> tuple[bool, bool, int]:
    """Whether gradients and inference are on, and how many modes of `torch.overrides` are."""
    stack = torch.overrides._len_torch_function_stack()
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), stack


class Rows(nn.Module):
    """A vision transformer of one kind of block."""

    def __init__(self, block: type[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, 8)
        self.layers = nn.ModuleList(block() for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.embed(pixels).flatten(2).mT
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.mean(dim=1))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def attend(self, tokens: Tensor) -> Tensor:
        split = self.qkv(tokens).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens += self.attend(tokens)
        return tokens


class Frozen(InPlace):
    def forward(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return tokens + self.attend(tokens)


@pytest.mark.parametrize("block", [InPlace, Frozen])
def test_a_network_that_autograd_cannot_follow_is_refused(block: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = vi.wrap(
        Rows(block).eval(),
        layout=vi.TokenLayout((), (4, 4), (8, 8), MEAN),
        transform=vi.Recipe((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0, "center"),
    )
    with pytest.raises(vi.UnsupportedModel, match="through which no gradient flows"):
        vi.attention_relevance(model, IMAGES)


def test_tokens_that_the_next_block_overwrites_are_none() -> None:
    torch.manual_seed(0)
    model = vi.wrap(
        Rows(InPlace).eval(),
        layout=vi.TokenLayout((), (4, 4), (8, 8), MEAN),
        transform=vi.Recipe((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0, "center"),
    )
    assert vi.capture(model, IMAGES).tokens == ()


def test_a_picture_beside_a_capture_is_refused() -> None:
    model = shallow(SERVED[0])
    with pytest.raises(vi.BadParameter, match="a picture and a capture, which has its own"):
        differentiate(vi.capture(model, IMAGES), IMAGES[0], score=first)
