"""Is relevance the explicit product with autograd's gradients, and does it point at the cause?"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import attentions
from tests.helpers.planted import planted
from tests.helpers.watched import Largest
from tests.helpers.windowed import SWIN, narrow_swin
from tests.helpers.zoo import SERVED, shallow
from vit_inspect.analyses.readout import readout_weights
from vit_inspect.layout import POOL

IMAGES = [noise((90, 70), 1), noise((60, 80), 2)]
FAMILIES = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "vit_relpos_small_patch16_224",
    "vit_base_patch16_siglip_224",
)


def of(architecture: str) -> vi.Model:
    return shallow(next(each for each in SERVED if each.architecture == architecture), depth=3)


class Softmaxes(TorchFunctionMode):
    """What every softmax returned, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is Tensor.softmax:
            self.results.append(result)
        return result


def explicit(model: vi.Model, score: int | None) -> tuple[np.ndarray, Tensor]:
    """(image, token) by whole matrices, and input times gradient (image, 3, row px, column px).

    score: a class; None for the length of the output along itself.
    """
    unfused = copy.deepcopy(model.module)
    for part in attentions(unfused):
        part.fused_attn = False
    pixels = torch.cat([model.prepare(image) for image in IMAGES]).requires_grad_()
    with Softmaxes() as softmaxes:
        output = unfused(pixels)
    maps = softmaxes.results
    target = output.norm(dim=1) if score is None else output[:, score]
    *gradients, by_pixels = torch.autograd.grad(target.sum(), [*maps, pixels])
    token = maps[0].shape[-1]
    product = np.tile(np.eye(token), (len(IMAGES), 1, 1))
    raising = [
        (attention * gradient).clamp(min=0).mean(dim=1).detach().numpy()
        for attention, gradient in zip(maps, gradients, strict=True)
    ]
    if model.layout.readout == POOL:
        row = raising.pop()[:, 0]
    else:
        row = readout_weights(vi.capture(model, IMAGES)).numpy()
    for each in raising:
        product = product + each @ product
    return np.einsum("iq,iqk->ik", row, product), (pixels * by_pixels).detach()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", FAMILIES)
def test_relevance_is_the_explicit_product(architecture: str) -> None:
    model = of(architecture)
    target = None if model.labels is None else 3
    found = vi.attention_relevance(model, IMAGES, target=target)
    wanted, product = explicit(model, target)
    prefix = model.layout.prefix_count
    tokens = np.concatenate([found.prefix_relevance, found.relevance.reshape(2, -1)], axis=1)
    np.testing.assert_allclose(tokens, wanted, rtol=1e-6, atol=1e-9 * wanted.max())
    # The test sees something: more than the read-out's own row.
    assert wanted[:, prefix:].std() > 1e-6
    rows, columns = model.layout.grid
    patches = product.reshape(2, 3, rows, -1, columns, product.shape[-1] // columns)
    sums = patches.sum(dim=(1, 3, 5)).numpy()
    np.testing.assert_allclose(found.input_gradient, sums, rtol=1e-6, atol=1e-6 * abs(sums).max())


def test_a_capture_gives_what_its_model_and_pictures_give() -> None:
    model = of(FAMILIES[0])
    one = vi.attention_relevance(model, IMAGES, target=2)
    other = vi.attention_relevance(vi.capture(model, IMAGES), target=2)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])
    with pytest.raises(vi.BadParameter, match="no image"):
        vi.attention_relevance(model)


def test_another_class_gives_another_map() -> None:
    model = of(FAMILIES[0])
    one, other = (vi.attention_relevance(model, IMAGES[0], target=each) for each in (2, 5))
    assert one.target == (model.labels[2],)
    assert abs(one.relevance - other.relevance).max() > 1e-3 * one.relevance.max()


def test_by_default_each_picture_speaks_for_its_own_class() -> None:
    model = of(FAMILIES[0])
    capture = vi.capture(model, IMAGES)
    best = capture.output.argmax(dim=1).tolist()
    found = vi.attention_relevance(capture)
    assert found.target == tuple(model.labels[index] for index in best)
    for index, image in enumerate(IMAGES):
        alone = vi.attention_relevance(model, image, target=best[index])
        np.testing.assert_allclose(found.relevance[index], alone.relevance[0], rtol=1e-8)
        assert found.of_image(index).target == (found.target[index],)


@pytest.mark.usefixtures("unchecked")
def test_a_class_is_found_by_its_name() -> None:
    model = of(FAMILIES[0])
    by_name = vi.attention_relevance(model, IMAGES[0], target="Egyptian cat")
    assert by_name.target == ("Egyptian cat",)
    number = model.labels.index("Egyptian cat")
    by_number = vi.attention_relevance(model, IMAGES[0], target=np.int64(number))
    np.testing.assert_array_equal(by_name.relevance, by_number.relevance)
    # A whole name goes before a part of others, such as "fox".
    assert vi.attention_relevance(model, IMAGES[0], target="ox").target == ("ox",)
    assert vi.attention_relevance(model, IMAGES[0], target="persian c").target == ("Persian cat",)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (1000, "the class 1000; expected a class of 0..999; choose one of these"),
        ("unicorn", "the class name 'unicorn', which is part of no class names"),
        (
            "cat",
            "'cat', which is part of 8 class names; expected one of 143 'oystercatcher', .*, ...; ",
        ),
        ((9, 0), "patch \\(9, 0\\)"),
        ([0, 1], "the class \\[0, 1\\]; expected a class of 0..999"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_target_that_is_not_there_is_refused(target: object, words: str) -> None:
    with pytest.raises(vi.BadParameter, match=words):
        vi.attention_relevance(of(FAMILIES[0]), IMAGES[0], target=target)


def test_a_class_of_a_model_without_classes_is_refused() -> None:
    model = of("vit_base_patch16_siglip_224")
    with pytest.raises(vi.BadParameter, match="which has no known classes"):
        vi.attention_relevance(model, IMAGES[0], target=3)


def test_the_planted_patch_is_found_wherever_it_lies() -> None:
    model, image, patch, _, class_index = planted()
    found = vi.attention_relevance(model, image, target=class_index)
    (relevance,) = found.relevance
    assert np.unravel_index(relevance.argmax(), relevance.shape) == patch
    others = np.delete(relevance.ravel(), np.ravel_multi_index(patch, relevance.shape))
    assert relevance.max() > 10 * others.max()
    (moved,) = vi.attention_relevance(model, image.rotate(180), target=class_index).relevance
    opposite = tuple(side - 1 - place for side, place in zip(moved.shape, patch, strict=True))
    assert np.unravel_index(moved.argmax(), moved.shape) == opposite


def test_a_picture_has_no_relevance_for_itself() -> None:
    """The cosine with itself is at its top, where its gradient is 0."""
    model = of("vit_base_patch16_siglip_224")
    with pytest.raises(
        vi.BadParameter, match="same output as the picture itself; expected another"
    ):
        vi.attention_relevance(model, IMAGES, target=IMAGES[1])
    other = vi.attention_relevance(model, IMAGES[0], target=IMAGES[1])
    assert other.target == ("similarity to another picture",)
    assert abs(other.input_gradient).max() > 1e-6


@pytest.mark.parametrize("architecture", [FAMILIES[0], "vit_pwee_patch16_reg1_gap_256"])
def test_similarity_to_a_patch_is_that_of_reading_this_patch(architecture: str) -> None:
    model = of(architecture)
    capture = vi.capture(model, IMAGES)
    found = vi.attention_relevance(capture, target=(1, 2))
    assert found.target == ("similarity to patch (1, 2)",) * 2
    with torch.inference_mode():
        token = model.layout.token((1, 2))
        normed = model.module.norm(capture.tokens[-1])[:, token]
        read = model.module.head(model.module.fc_norm(normed))

    # A step along the gradient raises the cosine by what the gradient says.
    def cosine(pixels: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(model.module(pixels), read)

    pixels = capture.pixels.clone()
    step = 1e-6 * pixels
    rise = (cosine(pixels + step) - cosine(pixels - step)).detach() / 2e-6
    np.testing.assert_allclose(
        found.input_gradient.sum(axis=(1, 2)), rise.numpy(), rtol=1e-4, atol=1e-8
    )


def test_grad_cam_weighs_the_tokens_that_enter_the_last_block() -> None:
    model = of(FAMILIES[0])
    found = vi.attention_relevance(model, IMAGES, target=3)
    kept: list[Tensor] = []

    def keep(block: object, args: tuple[Tensor, ...]) -> None:
        kept.append(args[0])

    handle = model.blocks[-1].register_forward_pre_hook(keep)
    pixels = torch.cat([model.prepare(image) for image in IMAGES]).requires_grad_()
    (gradient,) = torch.autograd.grad(model.module(pixels)[:, 3].sum(), kept)
    handle.remove()
    # Over the places of the picture: the class token is none.
    weight = gradient[:, 1:].mean(dim=1)
    wanted = torch.einsum("itw,iw->it", kept[0], weight)[:, 1:].clamp(min=0).detach()
    assert wanted.max() > 0
    np.testing.assert_allclose(found.grad_cam.reshape(2, -1), wanted, rtol=1e-8, atol=1e-12)


def test_small_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = of(FAMILIES[1])
    whole = vi.attention_relevance(model, IMAGES, target=3)
    monkeypatch.setattr("vit_inspect.attention.blocks.CPU_BLOCK_BYTES", 700)
    parts = vi.attention_relevance(model, IMAGES, target=3)
    np.testing.assert_allclose(parts.relevance, whole.relevance, rtol=1e-10)


@pytest.mark.slow
def test_nothing_as_large_as_a_matrix_is_ever_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory grows with the number of tokens, not with its square."""
    model = vi.load("vit_tiny_patch16_224", img_size=512, pretrained=False, dtype=torch.float32)
    monkeypatch.setattr("vit_inspect.attention.blocks.CPU_BLOCK_BYTES", 2**18)
    with Largest() as largest:
        vi.attention_relevance(model, IMAGES[0])
    tokens, hidden = model.layout.token_count, 4 * 192
    assert largest.numel == tokens * hidden < tokens**2


def test_a_hierarchical_model_is_refused() -> None:
    with pytest.raises(vi.UnsupportedModel, match="whose tokens merge from stage to stage"):
        vi.attention_relevance(narrow_swin(SWIN), IMAGES[0])


@pytest.mark.slow
def test_a_length_that_never_changes_is_refused() -> None:
    """A norm without weights of its own gives every picture an output of one length."""
    model = of("vit_base_patch16_siglip_224")
    normed = nn.Sequential(model.module, nn.LayerNorm(model.module.embed_dim)).eval().double()
    described = vi.wrap(
        normed, layout=model.layout, transform=model.recipe, blocks=list(model.blocks)
    )
    with pytest.raises(vi.UnsupportedModel, match="whose length is the same for all pictures"):
        vi.attention_relevance(described, IMAGES)
    other = vi.attention_relevance(described, IMAGES[0], target=IMAGES[1])
    assert np.ptp(other.relevance) > 1e-3 * other.relevance.max()
