"""Is what a model does to its last tokens known, and checked before it is used?"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.windowed import SWIN, narrow_swin
from tests.helpers.zoo import SERVED, Served, shallow
from vit_inspect.analyses.readout import checked_head

IMAGES = [noise((90, 70), 1), noise((60, 80), 2)]
HEADLESS = ("samvit", "qwen3", "gemma4")
"""Their last steps are no norm and head of tokens."""


@pytest.mark.parametrize("served", SERVED[::5], ids=lambda each: each.architecture)
def test_tokens_are_what_the_blocks_return_and_the_head_makes_the_output(served: Served) -> None:
    model = shallow(served, depth=1)
    seen: list[torch.Tensor] = []
    handle = model.blocks[0].register_forward_hook(lambda _, __, output: seen.append(output))
    capture = vi.capture(model, IMAGES)
    handle.remove()
    layout = capture.layout
    (tokens,) = capture.tokens
    assert tokens.shape[:2] == (len(IMAGES), layout.token_count)
    assert torch.equal(tokens.flatten(), seen[0].flatten())
    if served.architecture.startswith(HEADLESS):
        with pytest.raises(vi.UnsupportedModel, match="last steps from its tokens"):
            checked_head(capture)
    else:
        head = checked_head(capture)
        torch.testing.assert_close(head(tokens), capture.output, rtol=0, atol=1e-9)
        # Any number of patches will do.
        assert head(tokens[:, : layout.prefix_count + 1]).shape == capture.output.shape


def test_a_head_that_gives_something_else_is_refused() -> None:
    model = shallow(SERVED[0], depth=1)
    other = replace(model, head=lambda tokens: 2 * model.head(tokens) if model.head else tokens)
    with pytest.raises(vi.UnsupportedModel, match="last steps from its tokens to its output"):
        checked_head(vi.capture(other, IMAGES))


@pytest.mark.parametrize("size", [None, (256, 160)], ids=["tiled", "padded"])
def test_a_stage_has_tokens(size: tuple[int, int] | None) -> None:
    model = narrow_swin(SWIN, size)
    assert model.layout.padded == bool(size)
    assert vi.capture(model, IMAGES).tokens[0].shape[1] == model.layout.token_count
