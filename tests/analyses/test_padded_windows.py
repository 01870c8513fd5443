"""Is the padding of windows no token in any analysis?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vit_inspect as vi
from tests.helpers.padded import (
    GLOBAL,
    HEADS,
    IMAGES,
    explicit_maps,
    on_keys,
    sam,
    softmaxes,
)
from vit_inspect.attention.rows import rows
from vit_inspect.exporting.tables import table
from vit_inspect.layout import PADDING


@pytest.fixture(scope="module")
def capture() -> vi.Capture:
    return vi.capture(sam(), IMAGES)


@pytest.fixture(scope="module")
def maps() -> list[np.ndarray]:
    return explicit_maps()


def test_maps_and_what_is_padding_sum_to_one(capture: vi.Capture, maps: list[np.ndarray]) -> None:
    found = vi.attention_maps(capture, query=(7, 9))
    wanted = np.stack([each[:, :, 79] for each in maps], axis=1)
    np.testing.assert_allclose(found.weights.reshape(2, 3, HEADS, 80), wanted[..., 1:], atol=1e-9)
    np.testing.assert_allclose(found.prefix_mass, wanted[..., :1], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.95])
@pytest.mark.usefixtures("block_bytes")
def test_in_a_rollout_what_reaches_the_padding_stays_there(
    capture: vi.Capture, maps: list[np.ndarray], fusion: Any, discard: float
) -> None:
    images = len(IMAGES)
    product = np.tile(np.eye(81), (images, 1, 1))
    for attention in maps:
        fused = getattr(np, fusion)(attention, axis=1)
        for row in fused.reshape(-1, 81) if discard else ():
            row[1 + np.argsort(row[1:], kind="stable")[: int(discard * 80)]] = 0
        # A row that became empty keeps itself.
        empty = fused.sum(axis=-1) == 0
        fused[empty] = np.eye(81)[1:][np.nonzero(empty)[1]]
        fused /= fused.sum(axis=-1, keepdims=True)
        # No token is behind the padding: it keeps what it has.
        padding = np.eye(81)[:1]
        fused = np.stack([np.concatenate([padding, each]) for each in fused])
        product = (fused + np.eye(81)) / 2 @ product
    wanted = product[:, 1:].mean(axis=1)
    found = vi.attention_rollout(capture, fusion=fusion, discard=discard)
    np.testing.assert_allclose(found.relevance.reshape(images, 80), wanted[:, 1:], atol=1e-9)
    np.testing.assert_allclose(found.prefix_mass[:, 0], wanted[:, 0], atol=1e-9)
    assert found.prefix_mass.min() > 0.01


@pytest.mark.usefixtures("block_bytes")
def test_relevance_is_the_explicit_product() -> None:
    model = sam()
    pixels = torch.cat([model.prepare(image) for image in IMAGES]).requires_grad_()
    weights, output = softmaxes(model, pixels)
    gradients = torch.autograd.grad(output[:, 2].sum(), weights)
    product = np.tile(np.eye(80), (len(IMAGES), 1, 1))
    for layer, (each, gradient) in enumerate(zip(weights, gradients, strict=True)):
        raising = (each * gradient).clamp(min=0)
        product += on_keys(raising, layer)[..., 1:].mean(axis=1) @ product
    found = vi.attention_relevance(sam(), IMAGES, target=2).relevance.reshape(2, 80)
    np.testing.assert_allclose(found, product.mean(axis=1), rtol=1e-7)


@pytest.mark.parametrize("layer", [0, GLOBAL])
def test_a_head_without_output_is_one_without_its_part_of_the_projection(
    capture: vi.Capture, layer: int
) -> None:
    found = vi.ablate(capture, heads=[(layer, 1)], replacement="zero")
    changed = sam()
    with torch.no_grad():
        changed.blocks[layer].attn.proj.weight[:, 8:16] = 0
        output = changed.module(capture.pixels)
    wanted = torch.cosine_similarity(output, capture.output, dim=1)
    np.testing.assert_allclose(found.cosine, wanted, atol=1e-12)
    assert wanted.max() < 0.9999


def test_a_head_is_replaced_by_its_mean_over_tokens_without_padding(capture: vi.Capture) -> None:
    """The mean over the tokens is the same in all windows."""
    layer = capture.layers[0]
    heads = rows(layer, range(80)) @ layer.values
    means = heads[:, 1].mean(dim=1)

    def replaced(module: nn.Module, args: Any) -> Any:
        given = args[0].clone().unflatten(0, (2, -1))
        given[..., 8:16] = means.reshape(2, *(1,) * (given.dim() - 2), 8)
        return (given.flatten(0, 1), *args[1:])

    changed = sam()
    changed.blocks[0].attn.proj.register_forward_pre_hook(replaced)
    with torch.inference_mode():
        output = changed.module(capture.pixels)
    found = vi.ablate(capture, heads=[(0, 1)])
    wanted = torch.cosine_similarity(output, capture.output, dim=1)
    np.testing.assert_allclose(found.cosine, wanted, atol=1e-12)
    assert wanted.max() < 0.9999


def test_artefacts_are_no_keys_and_padding_stays_one(
    capture: vi.Capture, maps: list[np.ndarray]
) -> None:
    # A tenth of the patches have large norms.
    artefact = np.arange(80) % 10 == 3
    scale = torch.from_numpy(np.where(artefact, 50.0, 1.0))[:, None]
    tokens = tuple(
        each / each.norm(dim=-1, keepdim=True) * scale * (1 + 0.05 * torch.rand(80, 1))
        for each in capture.tokens
    )
    found = vi.token_norms(replace(capture, tokens=tokens))
    assert (found.artefact.reshape(2, 80) == artefact).all()
    drawn = [each[..., 1:][..., artefact].sum(axis=-1).mean(axis=(1, 2)) for each in maps]
    np.testing.assert_allclose(found.drawn, np.stack(drawn, axis=1), atol=1e-9)
    product = np.tile(np.eye(81), (2, 1, 1))
    for attention in maps:
        fused = attention.mean(axis=1)
        fused[..., 1:][..., artefact] = 0
        fused /= fused.sum(axis=-1, keepdims=True)
        fused = np.stack([np.concatenate([np.eye(81)[:1], each]) for each in fused])
        product = (fused + np.eye(81)) / 2 @ product
    wanted = product[:, 1:][:, ~artefact].mean(axis=1)[:, 1:]
    np.testing.assert_allclose(found.rollout_without.reshape(2, 80), wanted, atol=1e-9)


def test_files_name_the_padding(capture: vi.Capture) -> None:
    written = table(vi.attention_maps(capture), {})
    assert PADDING in str(written)
