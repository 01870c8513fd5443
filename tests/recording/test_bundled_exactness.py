"""On real weights and a real photograph: is every figure that of the explicit softmax?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import vit_inspect as vi
from tests.helpers.oracle import explicit_attention, mean_distance, pair_distances, rollout_matrix

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[224, 518, (154, 210)], ids=str)
def pair(request: pytest.FixtureRequest, chelsea: Image.Image) -> tuple[vi.Capture, np.ndarray]:
    """A capture, and the explicit (layer, head, query, key) attention of the same input."""
    model = vi.load("dinov2_small", img_size=request.param, device="cpu")
    explicit = explicit_attention(model.module, model.prepare(chelsea))
    return vi.capture(model, chelsea), explicit[:, 0].numpy()


def test_distances(pair: tuple[vi.Capture, np.ndarray]) -> None:
    capture, explicit = pair
    layout = capture.layout
    distances = pair_distances(layout.grid, layout.patch_px)
    for definition in ("paper", "renormalised"):
        found = vi.attention_distance(capture, definition=definition).distance_px[0]
        wanted = [
            mean_distance(layer, distances, 1, renormalised=definition == "renormalised")
            for layer in explicit
        ]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-2)


def test_maps(pair: tuple[vi.Capture, np.ndarray]) -> None:
    capture, explicit = pair
    rows, columns = capture.layout.grid
    token = 1 + (rows - 1) * columns + 2
    for query, index in (("readout", 0), ((rows - 1, 2), token)):
        found = vi.attention_maps(capture, query=query)
        wanted = explicit[:, :, index]
        np.testing.assert_allclose(
            found.weights[0].reshape(*wanted.shape[:2], -1), wanted[..., 1:], rtol=0, atol=1e-4
        )
        np.testing.assert_allclose(found.prefix_mass[0], wanted[..., :1], rtol=0, atol=1e-4)


def test_rollout(pair: tuple[vi.Capture, np.ndarray]) -> None:
    capture, explicit = pair
    found = vi.attention_rollout(capture)
    # float32 products of matrices: their own error is far below the tolerance.
    wanted = rollout_matrix(explicit.mean(axis=1))[0]
    np.testing.assert_allclose(found.relevance[0].ravel(), wanted[1:], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.prefix_mass[0], wanted[:1], rtol=0, atol=1e-5)


def test_capture_is_verified(pair: tuple[vi.Capture, np.ndarray]) -> None:
    capture, _ = pair
    assert 0 < capture.error < 1e-5
    with torch.inference_mode():
        alone = capture.model.module(capture.model.prepare(vi.sample("chelsea")))
    assert torch.equal(capture.output, alone)
