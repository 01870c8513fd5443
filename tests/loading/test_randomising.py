"""Does randomising destroy all that was learned, in a copy, and nothing else?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torchvision

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.windowed import narrow_swin
from vit_inspect.analyses.readout import checked_head

pytestmark = pytest.mark.slow

IMAGE = noise((90, 60), 1)
PATCHES = 64
UNRELATED = 3 / PATCHES**0.5
"""Rank correlations of unrelated orders have a standard deviation of 1 / sqrt(patches - 1)."""


@pytest.fixture(scope="module")
def model(small: Callable[..., vi.Model]) -> vi.Model:
    return small("vit_tiny_patch16_224", (32, 48))


@pytest.fixture(scope="module")
def small() -> Callable[..., vi.Model]:
    def make(architecture: str, img_size: tuple[int, int]) -> vi.Model:
        torch.manual_seed(0)
        model = vi.load(
            architecture, img_size=img_size, pretrained=False, device="cpu", dtype=torch.float64
        )
        # What starts as constant has no order that could be lost.
        for weights in model.module.parameters():
            weights += 0.02 * torch.randn_like(weights)
        return model

    return make


def test_every_weight_tensor_keeps_its_values_and_loses_their_order(model: vi.Model) -> None:
    control = vi.randomised(model)
    names = dict(model.module.named_parameters())
    assert {"cls_token", "pos_embed", "blocks.0.norm1.weight", "head.bias"} <= set(names)
    for name, weights in control.module.named_parameters():
        before, after = names[name].flatten(), weights.flatten()
        assert torch.equal(before.sort().values, after.sort().values), name
        assert (before == after).double().mean() < 0.1, name


def test_the_given_model_stays_as_it_is(model: vi.Model) -> None:
    before, sha256 = vi.capture(model, IMAGE), model.weights_sha256
    control = vi.randomised(model)
    assert control.weights_sha256 != sha256
    assert replace(model).weights_sha256 == sha256
    assert torch.equal(vi.capture(model, IMAGE).output, before.output)
    places = {weights.data_ptr() for weights in model.module.parameters()}
    assert not places & {weights.data_ptr() for weights in control.module.parameters()}


def test_the_seed_decides(model: vi.Model) -> None:
    sha256 = vi.randomised(model).weights_sha256
    assert vi.randomised(model).weights_sha256 == sha256
    assert vi.randomised(model, seed=1).weights_sha256 != sha256


def test_a_capture_of_it_is_of_the_new_weights(model: vi.Model) -> None:
    control = vi.randomised(model)
    capture, of_model = vi.capture(control, IMAGE), vi.capture(model, IMAGE)
    with torch.no_grad():
        assert torch.equal(capture.output, control.module(control.prepare(IMAGE)))
    assert capture.error < 1e-12
    assert not torch.allclose(capture.layers[0].queries, of_model.layers[0].queries)
    head = checked_head(capture)
    assert torch.allclose(head(capture.tokens[-1]), capture.output)


def test_its_rollout_orders_the_patches_in_another_way(small: Callable[..., vi.Model]) -> None:
    model = small("vit_tiny_patch16_224", (128, 128))
    learned = vi.attention_rollout(vi.capture(model, IMAGE)).relevance
    assert learned.size == PATCHES
    for seed in range(3):
        found = vi.attention_rollout(vi.capture(vi.randomised(model, seed=seed), IMAGE)).relevance
        assert abs(vi.rank_correlation(found, learned)) < UNRELATED


def test_filters_and_positions_are_those_of_the_new_weights(model: vi.Model) -> None:
    control = vi.randomised(model)
    module = control.module
    assert control.filters is not None
    assert control.positions is not None
    assert torch.equal(control.filters, module.patch_embed.proj.weight)
    assert torch.equal(control.positions.flatten(0, 1), module.pos_embed[0, 1:])
    assert not torch.equal(control.positions, model.positions)


def test_what_was_computed_from_weights_is_left_out(small: Callable[..., vi.Model]) -> None:
    """A hybrid standardises its filters."""
    control = vi.randomised(small("vit_tiny_r_s16_p8_224", (32, 64)))
    assert control.filters is None
    assert control.positions is not None
    assert vi.capture(control, IMAGE).error < 1e-12


def test_every_stage_is_of_the_new_weights() -> None:
    model = narrow_swin("swin_tiny_patch4_window7_224", None)
    control = vi.randomised(model)
    own = set(control.module.modules())
    for stage in range(control.stage_count):
        at_stage = control.at_stage(stage)
        assert set(at_stage.blocks) <= own
        assert vi.capture(at_stage, IMAGE).error < 1e-12


def test_a_wrapped_network_that_is_being_trained_is_copied_too() -> None:
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    model = vi.wrap(
        network.eval().double(),
        layout=vi.TokenLayout(("cls",), (4, 4), (8, 8), "cls"),
        transform=vi.Recipe((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0, "center"),
        # A view that is a step of a graph, which torch does not copy.
        positions=network.encoder.pos_embedding[0, 1:].unflatten(0, (4, 4)),
    )
    control = vi.randomised(model)
    assert all(weights.requires_grad for weights in model.module.parameters())
    assert vi.capture(control, IMAGE).error < 1e-10
    assert set(control.blocks) <= set(control.module.modules())


def test_it_is_told_wherever_the_model_is_named(model: vi.Model) -> None:
    control = vi.randomised(model)
    assert control.id == "vit_tiny_patch16_224, randomised"
    assert control.source == "permuted weights (random weights)"
    assert control.notices[-1] == "Its weights are permuted: it has lost all that it learned."
