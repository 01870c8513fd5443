"""Does a resumed model return what the whole one returns, and run only what is left of it?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.zoo import SERVED, shallow
from vit_inspect.analyses import head_importance as home
from vit_inspect.recording.interventions import intervene
from vit_inspect.recording.resume import can_resume, resumed

FAMILIES = (
    "vit_tiny_patch16_224",
    "eva02_tiny_patch14_224",
    "vit_srelpos_small_patch16_224",
    "vit_base_patch32_siglip_256.v2_webli",
)
"""What is handed from block to block: tokens alone, rotations, biases; and an attention pool."""
IMAGES = [noise((90, 70), 1), vi.sample("coffee")]


def of(architecture: str) -> vi.Capture:
    served = next(each for each in SERVED if each.architecture == architecture)
    return vi.capture(shallow(served, depth=3), IMAGES)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_it_returns_what_the_whole_model_returns(architecture: str) -> None:
    capture = of(architecture)
    assert can_resume(capture)
    for layer in (1, 2):
        for image in (0, 1):
            # Other pixels: what counts is the image that the capture holds.
            pixels = capture.pixels[[1 - image]].expand(2, -1, -1, -1)
            found = intervene(resumed(capture, layer, image), pixels)
            wanted = capture.output[[image]].expand_as(found)
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    alone = intervene(capture.model, capture.pixels)
    assert torch.equal(alone, capture.output), "the model itself was changed"


def test_heads_of_a_resumed_model_have_the_same_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = of("eva02_tiny_patch14_224")
    ran: list[object] = []
    for block in capture.model.blocks:
        block.register_forward_pre_hook(lambda block, _: ran.append(block))
    found = vi.head_importance(capture).effect
    # The first block runs for its own heads of each image alone, and never behind it.
    assert ran.count(capture.model.blocks[0]) == 2
    monkeypatch.setattr(home, "can_resume", lambda capture: False)
    np.testing.assert_allclose(found, vi.head_importance(capture).effect, rtol=1e-8, atol=1e-12)
    assert found.std() > 0


def test_what_would_not_give_the_same_is_not_resumed() -> None:
    capture = of("vit_tiny_patch16_224")
    assert can_resume(capture)
    for other in (
        replace(capture, tokens=()),
        replace(capture, output=1.001 * capture.output),
        replace(capture, model=replace(capture.model, head=None)),
    ):
        assert not can_resume(other)
