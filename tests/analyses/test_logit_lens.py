"""Is the lens the model's own head, on the tokens of every layer and on each patch alone?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.zoo import SERVED, shallow
from vit_inspect.analyses.logit_lens import _follow
from vit_inspect.recording.recorder import Capture

IMAGES = [noise((90, 60), seed) for seed in (1, 2)]
TINY = "vit_tiny_patch16_224"


def captured(architecture: str) -> Capture:
    served = next(each for each in SERVED if each.architecture == architecture)
    model = shallow(served, depth=2)
    with torch.no_grad():
        # Random heads are so weak that all classes are equally probable.
        model.module.head.weight.mul_(20)
        if hasattr(model.module, "head_dist"):
            model.module.head_dist.weight.mul_(20)
    return vi.capture(model, IMAGES)


@pytest.fixture(scope="module")
def capture() -> Capture:
    return captured(TINY)


def softmax(scores: Tensor) -> np.ndarray:
    return scores.softmax(dim=-1).numpy()


READINGS: dict[str, Callable[..., Tensor]] = {
    TINY: lambda module, token: module.head(module.norm(token)),
    "vit_relpos_small_patch16_224": lambda module, token: module.head(module.fc_norm(token)),
    "deit_tiny_distilled_patch16_224": lambda module, token: (
        (module.head(module.norm(token)) + module.head_dist(module.norm(token))) / 2
    ),
    "vit_so150m_patch16_reg4_map_256": lambda module, token: module.head(
        module.fc_norm(module.attn_pool(module.norm(token)[None, None]))[0]
    ),
}
"""What each kind of read-out makes of a single token, in timm's own parts."""


@pytest.mark.parametrize("architecture", READINGS)
def test_in_the_last_layer_it_is_what_the_model_returns(architecture: str) -> None:
    capture = captured(architecture)
    classes = len(capture.model.labels or ())
    found = vi.logit_lens(capture, top=classes)
    wanted = softmax(capture.output)
    order = found.top_class_index[:, -1]
    np.testing.assert_allclose(
        found.top_probability[:, -1], np.take_along_axis(wanted, order, axis=1), rtol=1e-12
    )
    assert (found.readout_rank[:, -1] == 1).all()
    np.testing.assert_allclose(found.readout_probability[:, -1], wanted.max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.class_index, wanted.argmax(axis=1))


@pytest.mark.parametrize("architecture", READINGS)
def test_a_patch_alone_is_what_the_head_makes_of_its_token(architecture: str) -> None:
    capture = captured(architecture)
    found = vi.logit_lens(capture, target=7)
    layout = capture.layout
    for image, layer, (row, column) in ((0, 0, (1, 2)), (1, 1, (0, 1))):
        token = capture.tokens[layer][image, layout.token((row, column))]
        with torch.inference_mode():
            wanted = softmax(READINGS[architecture](capture.model.module, token)).ravel()
        probability = found.patch_probability[image, layer, row, column]
        assert probability == pytest.approx(wanted[7], rel=1e-9)
        assert found.patch_rank[image, layer, row, column] == (wanted >= wanted[7]).sum()


def test_earlier_layers_are_normed_by_their_own_statistics(capture: Capture) -> None:
    found = vi.logit_lens(capture, target=3, top=2)
    module = capture.model.module
    with torch.inference_mode():
        wanted = softmax(module.head(module.norm(capture.tokens[0])[:, 0]))
    np.testing.assert_allclose(found.readout_probability[:, 0], wanted[:, 3], rtol=1e-12)
    assert (found.readout_rank[:, 0] == (wanted >= wanted[:, [3]]).sum(axis=1)).all()
    order = np.argsort(-wanted, axis=1)[:, :2]
    np.testing.assert_array_equal(found.top_class_index[:, 0], order)
    assert found.labels == (capture.model.labels[3],) * 2
    assert found.top_labels[1][0][0] == capture.model.labels[order[1, 0]]


def test_the_size_of_a_block_changes_nothing(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = vi.logit_lens(capture)
    sizes: list[int] = []
    head = capture.model.head
    assert head

    def counted(tokens: Tensor) -> Tensor:
        sizes.append(len(tokens))
        return head(tokens)

    monkeypatch.setattr("vit_inspect.analyses.logit_lens.BLOCK_BYTES", 5 * 8 * 1000)
    parts = vi.logit_lens(replace(capture, model=replace(capture.model, head=counted)))
    assert sizes[2:5] == [5, 5, 2]
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(parts.arrays()[name], array, rtol=1e-9)


def test_one_image_of_a_batch_keeps_its_own_class(capture: Capture) -> None:
    found = vi.logit_lens(capture, top=3)
    assert found.labels[0] != found.labels[1]
    alone = found.of_image(1)
    assert alone.labels == found.labels[1:]
    assert alone.top_labels == found.top_labels[1:]
    assert alone.patch_probability.shape == (1, 2, *capture.layout.grid)


def test_great_scores_do_not_overflow(capture: Capture) -> None:
    model, head = capture.model, capture.model.head
    assert head
    loud = replace(
        capture, model=replace(model, head=lambda x: 1e4 * head(x)), output=1e4 * capture.output
    )
    found = vi.logit_lens(loud)
    assert np.isfinite(found.patch_probability).all()
    np.testing.assert_allclose(found.readout_probability[:, -1], 1)


def test_classes_of_one_score_share_the_better_rank() -> None:
    scores = torch.tensor([[2.0, 3.0, 2.0, 1.0]]).repeat(4, 1)
    assert _follow(scores, torch.arange(4), "single-label").rank.tolist() == [2, 1, 2, 4]


def test_a_model_without_classes_is_refused(dinov2: vi.Model) -> None:
    words = "dinov2_small, which has no known classes; expected a classifier"
    with pytest.raises(vi.UnsupportedModel, match=words):
        vi.logit_lens(vi.capture(dinov2, noise((60, 40), 0)))


def test_a_head_that_is_not_known_is_refused(capture: Capture) -> None:
    other = replace(capture, model=replace(capture.model, head=None))
    with pytest.raises(vi.UnsupportedModel, match="last steps from its tokens to its output"):
        vi.logit_lens(other)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"target": 1000}, r"the class 1000; expected a class of 0\.\.999"),
        ({"target": -1}, "the class -1"),
        ({"top": 0}, "0 classes; expected 1 or more"),
    ],
)
def test_what_is_not_there_is_refused(
    capture: Capture, parameters: dict[str, int], words: str
) -> None:
    with pytest.raises(vi.BadParameter, match=words):
        vi.logit_lens(capture, **parameters)
