"""Does every analysis read the model's outputs as a softmax, as sigmoids or as raw scores?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import sharpen
from vit_inspect.analyses.outputs import logarithms, output_values
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.evidence import LOG_PROBABILITY, SCORE, Outputs

KINDS: tuple[Outputs, ...] = get_args(Outputs)
IMAGES = [noise((60, 60), 1), noise((60, 60), 2)]


def by_hand(scores: Tensor, outputs: str) -> np.ndarray:
    """The value of each class of each row, number by number."""
    rows = scores.tolist()
    if outputs == "single-label":
        return np.array([[math.exp(one) / sum(map(math.exp, row)) for one in row] for row in rows])
    if outputs == "multi-label":
        return np.array([[1 / (1 + math.exp(-one)) for one in row] for row in rows])
    return np.array(rows)


def network(classes: int) -> nn.Module:
    torch.manual_seed(1)
    made = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=classes)
    sharpen(made)
    nn.init.normal_(made.head.weight, std=0.3)
    for block in made.blocks:
        nn.init.normal_(block.attn.proj.weight, std=0.3)
    return made.eval().double()


@pytest.fixture(scope="module")
def several() -> Capture:
    """A network of four outputs, and two pictures."""
    return vi.capture(vi.wrap(network(4)), IMAGES)


@pytest.fixture(scope="module")
def single() -> Capture:
    """A network of one output, and two pictures."""
    return vi.capture(vi.wrap(network(1)), IMAGES)


def read_as(capture: Capture, outputs: Outputs) -> Capture:
    return replace(capture, model=replace(capture.model, outputs=outputs))


def without_head(capture: Capture) -> Tensor:
    """The outputs with head 1 of layer 0 at zero, by the network's own weights."""
    weight = capture.model.module.blocks[0].attn.proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[:, 64:128] = 0
        found = capture.model.module(capture.pixels)
        weight.copy_(kept)
    assert (found - capture.output).abs().min() > 1e-3
    return found


@pytest.mark.parametrize("outputs", KINDS)
def test_values_are_those_of_the_plain_formula(outputs: Outputs) -> None:
    scores = torch.tensor([[1.5, -2.0, 0.25], [-30.0, 2.0, 30.0]], dtype=torch.float64)
    wanted = by_hand(scores, outputs)
    np.testing.assert_allclose(output_values(scores, scores, outputs), wanted, rtol=1e-12)
    some = output_values(scores[:, [2, 0]], scores, outputs)
    np.testing.assert_allclose(some, wanted[:, [2, 0]], rtol=1e-12)
    logs = wanted if outputs == "scores" else np.log(wanted)
    np.testing.assert_allclose(logarithms(scores, scores, outputs), logs, rtol=1e-12, atol=1e-12)


def test_a_sigmoid_keeps_small_probabilities() -> None:
    scores = torch.tensor([[-700.0, 700.0]], dtype=torch.float64)
    found = logarithms(scores, scores, "multi-label")
    np.testing.assert_allclose(found, [[-700, 0]], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("outputs", KINDS)
def test_predictions_are_the_largest_outputs(several: Capture, outputs: Outputs) -> None:
    found = vi.predictions(read_as(several, outputs), count=3)
    wanted = by_hand(several.output, outputs)
    order = np.argsort(-wanted, axis=1)[:, :3]
    np.testing.assert_array_equal(found.class_index, order)
    np.testing.assert_allclose(found.value, np.take_along_axis(wanted, order, 1), rtol=1e-12)
    assert found.outputs == outputs


def test_raw_scores_are_no_probabilities(several: Capture) -> None:
    scored, classified = read_as(several, "scores"), read_as(several, "multi-label")
    assert np.isnan(vi.predictions(scored).probability).all()
    assert np.isnan(vi.logit_lens(scored).patch_probability).all()
    found = vi.logit_lens(classified)
    np.testing.assert_array_equal(found.patch_probability, found.patch_value)
    np.testing.assert_array_equal(found.top_probability, found.top_value)


@pytest.mark.parametrize("outputs", KINDS)
def test_the_lens_reads_every_layer_and_patch_alike(several: Capture, outputs: Outputs) -> None:
    found = vi.logit_lens(read_as(several, outputs), target=2, top=4)
    module = several.model.module
    for layer, tokens in enumerate(several.tokens):
        with torch.inference_mode():
            read = by_hand(module.head(module.norm(tokens)[:, 0]), outputs)
            alone = by_hand(module.head(module.norm(tokens)[:, 3]), outputs)
        np.testing.assert_allclose(found.readout_value[:, layer], read[:, 2], rtol=1e-9)
        np.testing.assert_allclose(found.top_value[:, layer], -np.sort(-read, axis=1), rtol=1e-9)
        np.testing.assert_allclose(found.patch_value[:, layer, 1, 0], alone[:, 2], rtol=1e-9)
        assert (found.patch_rank[:, layer, 1, 0] == (alone >= alone[:, [2]]).sum(axis=1)).all()


@pytest.mark.parametrize(
    ("outputs", "names"), [("multi-label", "probability"), ("scores", "score")]
)
def test_files_name_what_the_lens_holds(several: Capture, outputs: Outputs, names: str) -> None:
    found = vi.logit_lens(read_as(several, outputs))
    told = {f"readout_{names}", f"patch_{names}", f"top_{names}"}
    assert told < set(found.written())
    assert set(found.written()) <= set(found.axes())
    np.testing.assert_array_equal(found.written()[f"patch_{names}"], found.patch_value)


@pytest.mark.parametrize("outputs", KINDS)
@pytest.mark.parametrize("target", [None, 2])
def test_relevance_differentiates_the_raw_output(
    several: Capture, outputs: Outputs, target: int | None
) -> None:
    found = vi.attention_relevance(read_as(several, outputs), target=target)
    pixels = several.pixels.clone().requires_grad_(True)
    scores = several.model.module(pixels)
    chosen = scores.argmax(dim=1) if target is None else torch.tensor([target] * 2)
    scores.gather(1, chosen[:, None]).sum().backward()
    product = (pixels.grad * pixels).detach().sum(dim=1).unflatten(2, (2, 16)).unflatten(1, (2, 16))
    np.testing.assert_allclose(found.input_gradient, product.sum(dim=(2, 4)), rtol=1e-6)
    assert found.target == tuple(several.model.labels[each] for each in chosen)


@pytest.mark.parametrize("outputs", KINDS)
def test_an_ablation_compares_the_values(several: Capture, outputs: Outputs) -> None:
    found = vi.ablate(read_as(several, outputs), heads=[(0, 1)], replacement="zero")
    before, after = (by_hand(scores, outputs) for scores in (several.output, without_head(several)))
    order = np.argsort(-np.maximum(before, after), axis=1)
    np.testing.assert_array_equal(found.class_index, order)
    for told, wanted in ((found.before, before), (found.after, after)):
        np.testing.assert_allclose(told, np.take_along_axis(wanted, order, 1), rtol=1e-9)
    assert found.outputs == outputs


@pytest.mark.parametrize("outputs", KINDS)
def test_the_effect_of_a_head_is_the_drop_of_the_logarithm_or_of_the_score(
    several: Capture, outputs: Outputs
) -> None:
    found = vi.head_importance(read_as(several, outputs), target=2, replacement="zero")
    before, after = (
        by_hand(scores, outputs)[:, 2] for scores in (several.output, without_head(several))
    )
    drop = before - after if outputs == "scores" else np.log(before) - np.log(after)
    np.testing.assert_allclose(found.effect[:, 0, 1], drop, rtol=1e-8)
    assert found.measure == (SCORE if outputs == "scores" else LOG_PROBABILITY)


@pytest.mark.parametrize("outputs", KINDS)
def test_curves_go_from_the_picture_to_its_mean_colour(several: Capture, outputs: Outputs) -> None:
    found = vi.faithfulness(read_as(several, outputs), steps=2)
    pixels = several.pixels
    with torch.inference_mode():
        empty = several.model.module(pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels))
    top = several.output.argmax(dim=1).numpy()
    for place, scores in ((0, several.output), (-1, empty)):
        wanted = by_hand(scores, outputs)[[0, 1], top]
        np.testing.assert_allclose(found.deletion[:, 0, place], wanted, rtol=1e-9)
    assert found.outputs == outputs
    assert found.score == {"scores": "raw score of the largest output for the whole picture"}.get(
        outputs, "probability of the class predicted for the whole picture"
    )


def test_one_output_is_its_raw_score_everywhere(single: Capture) -> None:
    score = single.output.numpy()
    assert single.model.outputs == "scores"
    np.testing.assert_allclose(vi.predictions(single).value, score, rtol=1e-12)
    np.testing.assert_allclose(vi.logit_lens(single).readout_value[:, -1:], score, rtol=1e-12)
    found = vi.faithfulness(single, steps=2)
    np.testing.assert_allclose(found.deletion[:, 0, :1], score, rtol=1e-12)
    assert found.score == "raw score of the only output"
    assert vi.attention_relevance(single).target == ("output 0",) * 2
    found = vi.ablate(single, heads=[(0, 1)], replacement="zero")
    np.testing.assert_allclose(found.after, without_head(single).numpy(), rtol=1e-9)


def test_one_output_with_a_sigmoid_is_a_probability(single: Capture) -> None:
    found = vi.predictions(read_as(single, "multi-label"))
    np.testing.assert_allclose(found.probability, by_hand(single.output, "multi-label"), rtol=1e-12)
    assert (found.probability < 1).all()
