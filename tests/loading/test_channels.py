"""Is a network of 1, 4 or 13 channels what it was trained as, from a file and from memory?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import sharpen
from tests.loading.test_from_module import Own, own, wrapped
from vit_inspect.catalog import analyse
from vit_inspect.pictures.preparing import AS_GREY
from vit_inspect.records.base import Result

TINY = "test_vit"
RECIPE = vi.Recipe((0.5,) * 3, (0.25,) * 3, "bicubic", 1.0, "squash")
UNEQUAL = vi.Recipe((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bicubic", 1.0, "squash")


def network(channels: int, architecture: str = TINY, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    module = timm.create_model(
        architecture, in_chans=channels, num_classes=2, img_size=64, **options
    ).eval()
    sharpen(module)
    return module


def saved(folder: Path, module: nn.Module) -> Path:
    torch.save(module.state_dict(), folder / "channels.pth")
    return folder / "channels.pth"


def loaded(path: Path, architecture: str = TINY, **options: Any) -> vi.Model:
    return vi.load(checkpoint=path, architecture=architecture, device="cpu", **options)


def pixels_of(channels: int, images: int = 2) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).normal(size=(images, channels, 64, 64)).astype(np.float32)
    )


def same_output(model: vi.Model, module: nn.Module, channels: int) -> None:
    pixels = pixels_of(channels)
    with torch.inference_mode():
        expected = module(pixels)
    assert torch.equal(vi.capture(model, pixels=pixels, bands=(0,)).output, expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_a_file_says_its_channels(tmp_path: Path, channels: int) -> None:
    module = network(channels)
    model = loaded(saved(tmp_path, module))
    assert model.channels == channels
    assert model.filters.shape[1] == channels
    assert (model.recipe.mean, model.recipe.std) == ((0.5,) * channels, (0.5,) * channels)
    plural = "" if channels == 1 else "s"
    assert f"Input of {channels} channel{plural} taken from the file." in model.notices
    assert (AS_GREY in model.notices) == (channels == 1)
    assert "mean 0.5, standard deviation 0.5, crop" in model.notices[-1]
    same_output(model, module, channels)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_stem_of_convolutions_has_channels_too(tmp_path: Path, channels: int) -> None:
    module = network(channels, "vit_tiny_r_s16_p8_224")
    model = loaded(saved(tmp_path, module), "vit_tiny_r_s16_p8_224")
    assert model.filters.shape[1] == channels
    same_output(model, module, channels)


def test_a_file_of_three_channels_has_no_such_notice(tmp_path: Path) -> None:
    model = loaded(saved(tmp_path, network(3)))
    assert model.channels == 3
    assert not any("hannel" in each for each in model.notices)


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_unequal_numbers_of_an_architecture_are_averaged_and_it_is_told(
    tmp_path: Path, channels: int
) -> None:
    imagenet = "deit_tiny_patch16_224"
    module = timm.create_model(imagenet, in_chans=channels, depth=1, img_size=64)
    model = loaded(saved(tmp_path, module), imagenet, arch_options={"depth": 1})
    assert model.recipe.mean == (pytest.approx(0.449),) * channels
    assert model.recipe.std == (pytest.approx(0.226),) * channels
    assert (
        "mean 0.449 (an average over its channels), standard deviation 0.226 (an average over its "
        "channels), crop to 0.9" in model.notices[-1]
    )
    wrapped_one = vi.wrap(module.eval())
    assert wrapped_one.recipe.mean == model.recipe.mean
    assert "averages over the channels of timm's entry" in wrapped_one.notices[-1]


def test_numbers_that_are_said_are_taken_one_for_each_channel(tmp_path: Path) -> None:
    path = saved(tmp_path, network(4))
    mean, std = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
    model = loaded(path, mean=mean, std=std)
    assert (model.recipe.mean, model.recipe.std) == (mean, std)
    assert "mean" not in model.notices[-1]
    assert model.with_recipe(mean=(0.3,), std=(0.2,)).recipe.mean == (0.3,) * 4
    with pytest.raises(vi.BadParameter) as refusal:
        loaded(path, mean=(0.4, 0.5, 0.6))
    assert str(refusal.value) == (
        "Found the mean (0.4, 0.5, 0.6) for an input of 4 channels; expected a number for each "
        "channel, or the same for all; give 4 numbers."
    )


@pytest.mark.parametrize(
    ("mean", "taken"),
    [([0.1, 0.2, 0.3, 0.4], (0.1, 0.2, 0.3, 0.4)), ([0.485, 0.456, 0.406], (0.5,) * 4)],
    ids=["four", "three, of red, green and blue"],
)
def test_a_configuration_is_believed_if_it_fits_the_channels(
    tmp_path: Path, mean: list[float], taken: tuple[float, ...]
) -> None:
    path = saved(tmp_path, network(4))
    config = {"architecture": TINY, "pretrained_cfg": {"mean": mean}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = loaded(path)
    assert model.recipe.mean == taken
    assert ("mean 0.5" in model.notices[-1]) == (len(mean) == 3)


def test_channels_that_are_said_and_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, network(4))
    model = loaded(path, arch_options={"in_chans": 4})
    assert model.channels == 4
    assert not any("channels taken" in each for each in model.notices)
    with pytest.raises(vi.WeightsUnavailable, match=r"64 × 4 × 16 × 16 in .*, but of 64 × 5 ×"):
        loaded(path, arch_options={"in_chans": 5})


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_a_network_in_memory_says_its_channels(channels: int) -> None:
    module = network(channels)
    layout = vi.TokenLayout(("cls",), (4, 4), (16, 16), "cls")
    for model in (
        vi.wrap(module),
        vi.wrap(module, transform=RECIPE),
        vi.wrap(module, layout=layout, transform=RECIPE),
    ):
        assert model.channels == len(model.recipe.std) == channels
        assert model.filters is module.patch_embed.proj.weight
        assert (AS_GREY in model.notices) == (channels == 1)
        same_output(model, module, channels)
    for options in ({}, {"layout": layout}):
        with pytest.raises(vi.BadParameter, match=f"for an input of {channels} channel"):
            vi.wrap(module, transform=UNEQUAL, **options)


class OfBands(Own):
    """A network of one's own, of five channels."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(5, self.embed.out_channels, 8, 8)


class ByMatrix(Own):
    """Its patches are embedded by a matrix; a convolution mixes the tokens before that list."""

    def __init__(self) -> None:
        super().__init__()
        width = self.embed.out_channels
        self.embed = nn.Conv2d(width, width, 1)
        self.matrix = nn.Linear(5 * 64, width)

    def tokens(self, pixels: Tensor) -> Tensor:
        patches = nn.functional.unfold(pixels, 8, stride=8).mT
        tokens = self.matrix(patches) + self.table
        mixed = self.embed(tokens.mT.unflatten(2, (2, 3))).flatten(2).mT
        return torch.cat([self.prefix.expand(len(pixels), -1, -1), mixed], dim=1)


def test_a_network_of_ones_own_says_its_channels_by_its_convolution() -> None:
    network = own(OfBands)
    model = wrapped(network)
    assert model.channels == 5
    assert model.filters is network.embed.weight
    with pytest.raises(vi.BadParameter, match="for an input of 5 channels; expected a number"):
        wrapped(network, transform=UNEQUAL)


def test_without_a_convolution_on_the_pixels_the_recipe_says_the_channels() -> None:
    unequal = (0.1, 0.2, 0.3, 0.4, 0.5)
    for mean, std in ((unequal, (0.5,)), ((0.5,), unequal)):
        five = vi.Recipe(mean, std, "bicubic", 1.0, "squash")
        model = wrapped(own(ByMatrix), transform=five)
        assert model.channels == len(model.recipe.mean) == len(model.recipe.std) == 5
        assert model.filters is None
    with pytest.raises(vi.BadParameter, match="ByMatrix, which fails on pictures of 16 × 24 px"):
        wrapped(own(ByMatrix))


class Mirrored(OfBands):
    def tokens(self, pixels: Tensor) -> Tensor:
        return super().tokens(pixels.flip(3))


def test_a_wrong_layout_is_still_found() -> None:
    with pytest.raises(vi.BadParameter, match="a change of that patch moves token"):
        wrapped(own(Mirrored))


def test_a_network_of_torchvision_can_have_other_channels() -> None:
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16
    )
    network.conv_proj = nn.Conv2d(4, 16, 16, 16)
    layout = vi.TokenLayout(("cls",), (2, 2), (16, 16), "cls")
    model = vi.wrap(network.eval(), layout=layout, transform=RECIPE)
    assert model.channels == 4


def test_a_picture_is_refused_by_a_network_of_other_channels() -> None:
    model = vi.wrap(network(13))
    for use in (model.prepare, lambda picture: vi.capture(model, picture)):
        with pytest.raises(vi.BadParameter) as refusal:
            use(noise((80, 64), 0))
        assert str(refusal.value) == (
            "Found a picture for a network of 13 channels; expected its input as a tensor; in "
            "Python, use vi.capture(model, pixels=tensor, bands=(3, 2, 1)), or shown=picture."
        )


def test_a_picture_is_grey_for_one_channel() -> None:
    model = vi.wrap(network(1))
    picture = noise((80, 64), 0)
    pixels = model.prepare(picture)
    assert pixels.shape == (1, 1, 64, 64)
    [photograph] = vi.capture(model, picture).photographs
    assert np.array_equal(photograph.pixels, np.asarray(picture))
    grey = picture.convert("L").convert("RGB")
    assert torch.equal(model.prepare(grey), pixels)


@pytest.mark.slow
def test_every_figure_is_of_a_network_of_other_channels() -> None:
    """Whatever can be computed for three channels can be for others."""

    def made(channels: int) -> set[str]:
        model = vi.wrap(network(channels))
        capture = vi.capture(model, pixels=pixels_of(channels), bands=(0,))
        found = analyse(capture, thorough=True)
        records = {slug for slug, each in found.items() if isinstance(each, Result)}
        vi.draw(vi.embedding_filters(model))
        vi.draw(vi.attention_rollout(capture))
        return records

    assert made(13) == made(3) != set()


def test_input_gradient_sums_over_all_channels() -> None:
    module, pixels = network(4), pixels_of(4)
    capture = vi.capture(vi.wrap(module), pixels=pixels, bands=(0,))
    found = vi.attention_relevance(capture, target=1)
    given = pixels.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(given)[:, 1].sum(), given)
    patches = (pixels * gradient).double().unflatten(3, (4, 16)).unflatten(2, (4, 16))
    sums = patches.sum(dim=(1, 3, 5)).numpy()
    np.testing.assert_allclose(found.input_gradient, sums, rtol=1e-3, atol=1e-4 * abs(sums).max())


def test_faithfulness_replaces_all_channels() -> None:
    """Without one patch, and without all, the score is that of pixels changed by hand."""
    module, pixels = network(4), pixels_of(4)
    capture = vi.capture(vi.wrap(module), pixels=pixels, bands=(0,))
    values = np.zeros((2, 4, 4))
    values[:, 1, 2] = 1
    found = vi.faithfulness(capture, maps={"one": values}, steps=16, target=1)
    mean = pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels)
    without = pixels.clone()
    without[:, :, 16:32, 32:48] = mean[:, :, 16:32, 32:48]
    for step, changed in ((0, pixels), (1, without), (16, mean)):
        with torch.inference_mode():
            expected = module(changed).softmax(dim=1)[:, 1].numpy()
        np.testing.assert_allclose(found.deletion[:, 0, step], expected, rtol=1e-4)
