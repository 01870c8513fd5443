"""Is a change made where it is said, for every family, and nowhere else?"""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import attentions, blocks_of
from tests.helpers.windowed import SWIN, narrow_swin
from tests.helpers.zoo import SERVED, shallow
from tests.recording.test_gradients import FAMILIES
from vit_inspect.recording.interventions import intervene

pytestmark = pytest.mark.slow

IMAGES = [noise((90, 70), 1), noise((60, 80), 2)]


def of(architecture: str) -> tuple[vi.Model, Tensor]:
    model = shallow(next(each for each in SERVED if each.architecture == architecture))
    return model, torch.cat([model.prepare(image) for image in IMAGES])


@pytest.mark.parametrize("architecture", FAMILIES)
def test_no_change_is_the_plain_forward_pass(architecture: str) -> None:
    model, pixels = of(architecture)
    with torch.inference_mode():
        alone = model.module(pixels)
    found = intervene(
        model, pixels, attended=lambda layer, heads: heads, embedded=lambda tokens: tokens
    )
    assert torch.equal(found, alone)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_head_set_to_zero_is_its_columns_of_the_projection_set_to_zero(architecture: str) -> None:
    model, pixels = of(architecture)

    def without(layer: int, heads: Tensor) -> Tensor:
        if layer != 1:
            return heads
        changed = heads.clone()
        changed[:, 2] = 0
        return changed

    other = copy.deepcopy(model.module)
    (part,) = attentions(blocks_of(other)[1])
    width = vi.capture(model, IMAGES).layers[1].values.shape[-1]
    with torch.no_grad():
        if isinstance(getattr(part, "norm", None), torch.nn.LayerNorm):
            pytest.skip("a norm between heads and projection")
        part.proj.weight[:, 2 * width : 3 * width] = 0
    with torch.inference_mode():
        wanted, alone = other(pixels), model.module(pixels)
    found = intervene(model, pixels, attended=without)
    assert (wanted - alone).abs().max() > 1e-3 * alone.abs().max()
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_tokens_are_changed_as_they_enter_the_first_block(architecture: str) -> None:
    model, pixels = of(architecture)
    seen: list[Tensor] = []
    handle = model.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found = intervene(model, pixels, embedded=lambda tokens: tokens.flip(0))
    handle.remove()
    # The pictures of the batch have changed places.
    alone = intervene(model, pixels)
    assert (found - alone).abs().max() > 1e-3 * alone.abs().max()
    torch.testing.assert_close(found, alone.flip(0), rtol=1e-9, atol=1e-9)


def torchvisions() -> vi.Model:
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    torch.nn.init.normal_(network.heads.head.weight)
    return vi.wrap(
        network.eval().double(),
        layout=vi.TokenLayout(("cls",), (4, 4), (8, 8), "cls"),
        transform=vi.Recipe((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0, "center"),
    )


def test_heads_inside_one_function_are_changed_too() -> None:
    model = torchvisions()
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    same = intervene(model, pixels, attended=lambda layer, heads: heads)
    torch.testing.assert_close(same, intervene(model, pixels), rtol=1e-9, atol=1e-12)
    other = torchvisions()
    with torch.no_grad():
        for layer in other.blocks:
            layer.self_attention.out_proj.weight[:, 8:] = 0

    def without(layer: int, heads: Tensor) -> Tensor:
        return heads * torch.tensor([1.0, 0.0], dtype=heads.dtype)[:, None, None]

    found = intervene(model, pixels, attended=without)
    torch.testing.assert_close(found, intervene(other, pixels), rtol=1e-9, atol=1e-12)
    assert (found - same).abs().max() > 1e-3 * same.abs().max()


def test_the_model_is_as_it_was() -> None:
    model, pixels = of("vit_tiny_patch16_224")
    before = intervene(model, pixels)
    intervene(model, pixels, attended=lambda layer, heads: 0 * heads)
    with pytest.raises(RuntimeError, match="on purpose"):
        intervene(model, pixels, attended=_fail)
    assert torch.equal(intervene(model, pixels), before)
    assert torch.equal(vi.capture(model, IMAGES).output, before)


def _fail(layer: int, heads: Tensor) -> Tensor:
    raise RuntimeError("on purpose")


def test_what_would_not_be_changed_is_refused() -> None:
    model, pixels = of("vit_tiny_patch16_224")
    model.blocks[1].attn.fused_attn = False
    model.blocks[1].attn.attn_drop = nn.Hardtanh(0, 1)
    with pytest.raises(vi.UnsupportedModel, match="in which heads or tokens cannot be changed"):
        intervene(model, pixels, attended=lambda layer, heads: heads)


def test_stages_are_refused() -> None:
    model = narrow_swin(SWIN)
    with pytest.raises(vi.UnsupportedModel, match="whose tokens merge from stage to stage"):
        intervene(model, model.prepare(IMAGES[0]))
