"""Is the similarity of a patch to a text the cosine of what the network makes of that patch?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import capture_of, layout_of
from tests.helpers.two_towers import load, own_logits, saved, whole

KINDS = ("CLIPModel", "SiglipModel")
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]


@pytest.fixture(scope="module", params=KINDS)
def model_and_network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[vi.Model, Any]:
    folder: Path = saved(tmp_path_factory.mktemp("words"), request.param)
    return load(folder, dtype=torch.float64), whole(folder, request.param)


def explicit(model: vi.Model, network: Any, text: str) -> np.ndarray:
    """(image, row, column), patch by patch, by the parts of the whole network."""
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    with torch.no_grad():
        tokens = network.vision_model(pixel_values=pixels).last_hidden_state
        text_vector = _text_vector(network, text, pixels)
        found = []
        for place in range(tokens.shape[1] - 16, tokens.shape[1]):
            if hasattr(network, "visual_projection"):
                vector = network.visual_projection(
                    network.vision_model.post_layernorm(tokens[:, place])
                )
            else:
                vector = network.vision_model.head(tokens[:, [place]])
            found.append(torch.cosine_similarity(vector, text_vector, dim=1))
    return torch.stack(found, dim=1).reshape(2, 4, 4).numpy()


def _text_vector(network: Any, text: str, pixels: torch.Tensor) -> torch.Tensor:
    given: list[torch.Tensor] = []
    kind = type(network).__name__
    part = network.text_projection if kind == "CLIPModel" else network.text_model.head
    handle = part.register_forward_hook(lambda *each: given.append(each[2]))
    own_logits(network, kind, [text], pixels)
    handle.remove()
    return given[0]


def test_it_is_the_cosine_of_each_patch_read_alone(model_and_network: tuple[vi.Model, Any]) -> None:
    model, network = model_and_network
    found = vi.text_similarity(vi.capture(model, IMAGES), "a red shoe")
    wanted = explicit(model, network, "a red shoe")
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-12)
    assert np.ptp(wanted, axis=(1, 2)).min() > 0.05
    assert found.kind == "similarity to 'a red shoe'"
    assert len(found.photographs) == 2


def test_texts_as_classes_change_nothing(model_and_network: tuple[vi.Model, Any]) -> None:
    model, _ = model_and_network
    one = vi.text_similarity(vi.capture(model, IMAGES[0]), "bag")
    other = vi.text_similarity(vi.capture(vi.with_texts(model, ["x", "y"]), IMAGES[0]), "bag")
    np.testing.assert_array_equal(one.values, other.values)
    assert abs(
        one.values - vi.text_similarity(vi.capture(model, IMAGES[0]), "cat").values
    ).max() > (0.01)


def test_a_text_or_steps_that_are_not_known_are_refused(
    model_and_network: tuple[vi.Model, Any],
) -> None:
    model, _ = model_and_network
    capture = vi.capture(model, IMAGES[0])
    with pytest.raises(vi.BadParameter, match="a text of 301 letters"):
        vi.text_similarity(capture, "a" * 301)
    wrong = replace(model.words, head=lambda tokens: 2 * model.words.head(tokens))
    with pytest.raises(vi.UnsupportedModel, match="whose last steps from its tokens"):
        vi.text_similarity(replace(capture, model=replace(model, words=wrong)), "bag")


def test_a_model_without_a_text_tower_is_refused() -> None:
    with pytest.raises(vi.UnsupportedModel, match="toy, which has no text tower"):
        vi.text_similarity(capture_of(np.full((1, 1, 1, 7, 7), 1 / 7), layout_of("cls")), "bag")
