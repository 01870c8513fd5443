"""Is exactly what is named switched off, and what follows told rightly?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.planted import OTHER_CLASS, planted
from tests.helpers.windowed import SWIN, narrow_swin
from vit_inspect.analyses.ablation import compared

IMAGES = [noise((90, 60), 1), vi.sample("coffee")]


@pytest.fixture(scope="module")
def capture(small: Callable[..., vi.Model]) -> vi.Capture:
    """Three layers of three heads, 2 × 3 patches, 1000 classes."""
    return vi.capture(outspoken(small("vit_tiny_patch16_224", (32, 48))), IMAGES)


@pytest.fixture(scope="module")
def averaged(small: Callable[..., vi.Model]) -> vi.Capture:
    """A model without classes, with registers."""
    return vi.capture(small("vit_small_patch14_reg4_dinov2", (28, 42)), IMAGES)


def outspoken(model: vi.Model) -> vi.Model:
    """The same network, changed in place so that heads and pictures make a difference."""
    with torch.no_grad():
        for block in model.blocks:
            block.attn.proj.weight *= 12
        model.module.head.weight *= 20
    return model


def probabilities(model: vi.Model, pixels: Tensor) -> Tensor:
    return model.module(pixels).softmax(dim=1)


def test_nothing_switched_off_changes_nothing(capture: vi.Capture) -> None:
    found = vi.ablate(capture)
    assert found.off == ()
    np.testing.assert_array_equal(found.after, found.before)
    np.testing.assert_array_equal(found.relative_change, 0)
    np.testing.assert_array_equal(found.cosine, 1)
    np.testing.assert_array_equal(found.patch_change, np.zeros((2, 2, 3)))
    np.testing.assert_array_equal(found.class_index, vi.predictions(capture).class_index)
    np.testing.assert_allclose(found.before, vi.predictions(capture).probability, rtol=1e-12)


@pytest.mark.parametrize(
    ("parts", "off"),
    [
        ({"heads": [(1, 2), (0, 1)]}, {(1, 2), (0, 1)}),
        ({"layers": [2], "heads": [(0, 0), (2, 1)]}, {(2, 0), (2, 1), (2, 2), (0, 0)}),
    ],
)
def test_heads_at_zero_are_their_columns_of_the_projection_at_zero(
    capture: vi.Capture, parts: dict[str, list], off: set[tuple[int, int]]
) -> None:
    other = copy.deepcopy(capture.model.module)
    with torch.no_grad():
        for layer, head in off:
            other.blocks[layer].attn.proj.weight[:, 64 * head : 64 * (head + 1)] = 0
    with torch.inference_mode():
        after, before = other(capture.pixels), capture.output
    found = vi.ablate(capture, **parts, replacement="zero")
    wanted = after.softmax(dim=1).gather(1, torch.from_numpy(found.class_index.copy()))
    np.testing.assert_allclose(found.after, wanted, rtol=1e-9)
    cosine = torch.cosine_similarity(before, after)
    np.testing.assert_allclose(found.cosine, cosine, rtol=1e-12)
    change = (after - before).norm(dim=1) / before.norm(dim=1)
    assert change.min() > 1e-3
    np.testing.assert_allclose(found.relative_change, change, rtol=1e-9)


def test_a_head_gives_its_mean_over_all_tokens_of_its_own_image(capture: vi.Capture) -> None:
    model = capture.model
    block = model.blocks[1].attn
    seen: list[Tensor] = []

    def averaged(_: object, args: tuple[Tensor]) -> tuple[Tensor]:
        joined = args[0].clone()
        joined[..., 64:128] = joined[..., 64:128].mean(dim=1, keepdim=True)
        seen.append(joined)
        return (joined,)

    handle = block.proj.register_forward_pre_hook(averaged)
    try:
        with torch.inference_mode():
            wanted = probabilities(model, capture.pixels)
    finally:
        handle.remove()
    assert seen[0].shape[1] == 7
    found = vi.ablate(capture, heads=[(1, 1)])
    assert found.replacement == "mean"
    places = torch.from_numpy(found.class_index.copy())
    np.testing.assert_allclose(found.after, wanted.gather(1, places), rtol=1e-9)
    assert not np.allclose(found.after, found.before, rtol=1e-3)


@pytest.mark.parametrize("replacement", ["mean", "zero"])
def test_tokens_give_way_to_the_mean_of_the_patches_or_to_zero(
    averaged: vi.Capture, replacement: str
) -> None:
    model = averaged.model
    assert model.layout.prefix == ("cls", "reg1", "reg2", "reg3", "reg4")

    def changed(_: object, args: tuple[Tensor]) -> tuple[Tensor]:
        tokens = args[0].clone()
        mean = tokens[:, 5:].mean(dim=1)
        # reg2, and the patch in row 1, column 2 of 2 × 3.
        for index in (2, 5 + 5):
            tokens[:, index] = mean if replacement == "mean" else 0
        return (tokens,)

    kept: list[Tensor] = []
    handles = [
        model.blocks[0].register_forward_pre_hook(changed),
        model.blocks[-1].register_forward_hook(lambda _, args, output: kept.append(output)),
    ]
    try:
        with torch.inference_mode():
            after = model.module(averaged.pixels)
    finally:
        for handle in handles:
            handle.remove()
    found = vi.ablate(averaged, tokens=["reg2", (1, 2), "reg2"], replacement=replacement)
    cosine = torch.cosine_similarity(averaged.output, after)
    assert cosine.max() < 0.999
    np.testing.assert_allclose(found.cosine, cosine, rtol=1e-9)
    assert found.off == ("token reg2", "patch (1, 2)")
    turned = 1 - torch.cosine_similarity(averaged.tokens[-1][:, 5:], kept[0][:, 5:], dim=2)
    np.testing.assert_allclose(found.patch_change, turned.reshape(2, 2, 3), rtol=1e-8)
    assert found.patch_change[:, 1, 2].min() > 1e-3


def test_where_the_last_tokens_are_not_known_none_are_told(averaged: vi.Capture) -> None:
    found = vi.ablate(replace(averaged, tokens=()), layers=[0])
    assert found.patch_change.shape == (2, 0, 0)
    assert found.cosine.max() < 1


def test_a_model_without_classes_has_none(averaged: vi.Capture) -> None:
    found = vi.ablate(averaged, layers=[0])
    assert found.labels == ((), ())
    assert found.before.shape == found.after.shape == found.class_index.shape == (2, 0)
    assert found.off == ("layer 0, all heads",)
    assert found.of_image(1).labels == ((),)


def test_the_planted_head_and_patch_carry_the_class_and_no_others() -> None:
    case = planted()
    capture = vi.capture(case.model, case.image)

    def probability(**parts: object) -> dict[int, float]:
        found = vi.ablate(capture, **parts)  # type: ignore[arg-type]
        assert found.labels[0][list(found.class_index[0]).index(case.class_index)] == (
            "golden retriever"
        )
        return dict(zip(found.class_index[0].tolist(), found.after[0].tolist(), strict=True))

    before = probability()[case.class_index]
    for replacement in ("mean", "zero"):
        for carrier in ({"heads": [case.head]}, {"tokens": [case.patch]}):
            after = probability(**carrier, replacement=replacement)
            assert after[case.class_index] < 0.05
            assert after[OTHER_CLASS] > 0.9
        heads = [place for place in np.ndindex(3, 3) if place != case.head]
        patches = [place for place in np.ndindex(4, 6) if place != case.patch]
        for others in ({"heads": heads}, {"tokens": patches[:12]}, {"layers": [0, 2]}):
            after = probability(**others, replacement=replacement)
            assert after[case.class_index] == pytest.approx(before, abs=1e-9)


def test_classes_told_are_those_probable_before_or_after(capture: vi.Capture) -> None:
    # As if the model had said the opposite before.
    found = vi.ablate(replace(capture, output=-capture.output))
    either = np.maximum(found.before, found.after)
    assert (np.diff(either) <= 0).all()
    for image, output in enumerate(capture.output):
        told = found.class_index[image].tolist()
        assert {int(output.argmax()), int(output.argmin())} <= set(told)
        rank = told.index(int(output.argmax()))
        assert found.before[image, rank] < 1e-3 < found.after[image, rank]


def test_outputs_are_compared_as_a_whole() -> None:
    before = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [0.1, 0.3]])
    after = torch.tensor([[6.0, 8.0], [0.0, 0.0], [0.0, 2.0], [0.1, 0.3]])
    cosine, change = compared(before[:, :, None], after[:, :, None])
    np.testing.assert_allclose(cosine, [1, 1, 0, 1], atol=1e-12)
    assert cosine[3] == 1
    np.testing.assert_allclose(change, [1, 0, 5**0.5, 0], rtol=1e-12)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"heads": [(3, 0)]}, "Found the layer 3; expected a layer of 0..2; choose one of these"),
        ({"heads": [(-1, 0)]}, "Found the layer -1; expected a layer of 0..2"),
        (
            {"heads": [(1, 3)]},
            "Found the head 3 of layer 1; expected a head of 0..2; choose one of",
        ),
        ({"layers": [7]}, "Found the layer 7; expected a layer of 0..2"),
        ({"tokens": [(2, 0)]}, r"Found the patch \(2, 0\); expected a row of 0..1"),
        ({"tokens": ["reg1"]}, "Found the token name 'reg1'; expected a special token"),
        ({"replacement": "noise"}, "Found the replacement 'noise'; expected 'mean' or 'zero'"),
    ],
)
def test_what_is_not_there_is_refused(
    capture: vi.Capture, parts: dict[str, object], words: str
) -> None:
    with pytest.raises(vi.BadParameter, match=words):
        vi.ablate(capture, **parts)  # type: ignore[arg-type]


def test_what_is_off_is_named_by_its_index(capture: vi.Capture) -> None:
    found = vi.ablate(capture, heads=[(1, 0)], layers=[2], tokens=[(0, 1), "cls"])
    assert found.off == ("layer 2, all heads", "L1 H0", "patch (0, 1)", "token cls")
    assert found.words()["off"] == found.off


def test_stages_are_refused() -> None:
    capture = vi.capture(narrow_swin(SWIN), IMAGES)
    with pytest.raises(vi.UnsupportedModel, match="whose tokens merge from stage to stage"):
        vi.ablate(capture, layers=[0])


def test_patches_that_are_off_are_told_and_prefix_tokens_are_none(capture: vi.Capture) -> None:
    found = vi.ablate(capture, tokens=[(0, 1), "cls"]).patch_off
    assert found.shape == (len(capture.pixels), *capture.layout.grid)
    assert [tuple(place) for place in np.argwhere(found[-1])] == [(0, 1)]
    assert (found == found[0]).all()
