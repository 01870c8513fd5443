"""Are the tokens of a layer those of its block, and of the last one what the head reads?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.windowed import SWIN, narrow_swin
from vit_inspect.analyses.readout import checked_head
from vit_inspect.analyses.tokens import concatenate, patch_tokens
from vit_inspect.recording.recorder import Capture

IMAGES = [noise((90, 60), seed) for seed in (1, 2)]
NORMED = "vit_tiny_patch16_224"
AVERAGED = "vit_relpos_small_patch16_224"
"""Its norm comes after the average."""


def captured(small: Callable[..., vi.Model], architecture: str = NORMED) -> Capture:
    return vi.capture(small(architecture, (32, 48)), IMAGES)


def test_patches_of_a_layer_are_what_its_block_returned(small: Callable[..., vi.Model]) -> None:
    capture = captured(small)
    found = patch_tokens(capture, 1)
    assert (found.layer, found.state) == (1, "as the block returned them")
    assert torch.equal(found.values, capture.tokens[1][:, 1:])


@pytest.mark.parametrize("layer", [None, 2])
def test_those_of_the_last_layer_are_normed_as_the_head_norms_them(
    small: Callable[..., vi.Model], layer: int | None
) -> None:
    capture = captured(small)
    found = patch_tokens(capture, layer)
    assert (found.layer, found.state) == (2, "after the final norm")
    with torch.no_grad():
        wanted = capture.model.module.norm(capture.tokens[-1])[:, 1:]
    torch.testing.assert_close(found.values, wanted, rtol=0, atol=1e-12)


def test_those_of_a_model_that_averages_before_its_norm_stay(
    small: Callable[..., vi.Model],
) -> None:
    capture = captured(small, AVERAGED)
    found = patch_tokens(capture, None)
    assert capture.model.norm is None
    assert found.state == "as the block returned them"
    assert torch.equal(found.values, capture.tokens[-1])


def test_a_norm_that_does_not_lead_to_the_output_is_not_used(
    small: Callable[..., vi.Model],
) -> None:
    capture = captured(small)
    other = replace(capture, output=capture.output + 1)
    assert patch_tokens(other, None).state == "as the block returned them"


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_is_not_there_is_refused(small: Callable[..., vi.Model], layer: int) -> None:
    with pytest.raises(vi.BadParameter, match=f"the layer {layer}; expected a layer of 0..2"):
        patch_tokens(captured(small), layer)


def test_a_hierarchical_model_has_tokens_but_no_known_head() -> None:
    capture = vi.capture(narrow_swin(SWIN).at_stage(1), IMAGES)
    assert patch_tokens(capture, None).state == "as the block returned them"
    with pytest.raises(vi.UnsupportedModel, match="last steps from its tokens"):
        checked_head(capture)


def test_tokens_that_blocks_do_not_return_are_refused(small: Callable[..., vi.Model]) -> None:
    capture = replace(captured(small), tokens=())
    with pytest.raises(
        vi.UnsupportedModel, match="do not return one row for each token of its 2 × 3 patches"
    ):
        patch_tokens(capture, None)


@pytest.mark.parametrize("layer", [0, 2])
def test_captures_of_single_images_are_together_what_their_batch_is(
    small: Callable[..., vi.Model], layer: int
) -> None:
    model = small(NORMED, (32, 48))
    batch = vi.capture(model, IMAGES)
    joint = concatenate([vi.capture(model, image) for image in IMAGES], layer=layer)
    found, wanted = patch_tokens(joint, layer), patch_tokens(batch, layer)
    assert found.state == wanted.state
    torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=1e-10)
    assert len(joint.photographs) == 2
    torch.testing.assert_close(joint.output, batch.output, rtol=0, atol=1e-10)
    for other in {0, 1, 2} - {layer}:
        assert joint.tokens[other].isnan().all()
        assert joint.tokens[other].untyped_storage().nbytes() == 8
