"""Are SAM's encoder and ViTDet of transformers seen as they compute, at their own size?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softmax
from torch.overrides import TorchFunctionMode
from transformers import (
    PreTrainedModel,
    SamConfig,
    SamHQVisionConfig,
    SamHQVisionModel,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
    SamVisionModel,
    VitDetConfig,
    VitDetModel,
    ViTImageProcessor,
)

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.windowed import on_grid
from vit_inspect.attention.layer import AxisBias
from vit_inspect.attention.rows import rows
from vit_inspect.layout import MEAN
from vit_inspect.loading.stages import PADDED
from vit_inspect.pictures.preparing import prepare
from vit_inspect.recording.inputs import FILLED

IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]
RECIPE = vi.Recipe((0.5,) * 3, (0.5,) * 3, "bicubic", 1.0, "squash")
GRID, WINDOW, HEADS = (8, 8), 3, 3
SAM: dict[str, Any] = {
    "hidden_size": 24,
    "output_channels": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "image_size": 64,
    "patch_size": 8,
    "window_size": WINDOW,
    "global_attn_indexes": [1],
    "mlp_dim": 48,
}
VITDET: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "image_size": 64,
    "pretrain_image_size": 32,
    "patch_size": 8,
    "window_size": WINDOW,
    "window_block_indices": [0, 2],
    "use_relative_position_embeddings": True,
}


def peaked(network: PreTrainedModel) -> Any:
    """The network with attention that is far from even, and a bias that differs by query."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(std=0.7 if name.endswith(("_h", "_w", "pos_embed")) else 0.4)
    return network.eval().double()


def of(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "VitDet":
        return peaked(VitDetModel(VitDetConfig(**VITDET)))
    family, attention = kind.split()
    made: Any = SamHQVisionModel if family == "SamHQ" else SamVisionModel
    config: Any = SamHQVisionConfig if family == "SamHQ" else SamVisionConfig
    return peaked(made._from_config(config(**SAM), attn_implementation=attention))


class Weights(TorchFunctionMode):
    """What the softmax of every attention returned, in the network's type."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is softmax:
            # SAM's eager attention computes in float32, which an exact test must not.
            kwargs = {**kwargs, "dtype": torch.float64}
        result = func(*args, **kwargs)
        if func in (softmax, Tensor.softmax):
            self.found.append(result)
        return result


def explicit(kind: str, model: vi.Model) -> list[np.ndarray]:
    """(image, head, query, 1 + patch) of each layer, the padding first, by loops."""
    written_out = of(kind.replace("sdpa", "eager"))
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    with torch.inference_mode(), Weights() as weights:
        written_out(pixels)
    place = SimpleNamespace(window_size=(WINDOW, WINDOW), shift_size=(0, 0))
    found = []
    for layer, each in enumerate(weights.found):
        heads = each.unflatten(0, (-1, HEADS))
        if layer == 1:
            found.append(np.pad(heads.numpy(), ((0, 0),) * 3 + ((1, 0),)))
        else:
            found.append(on_grid(heads, GRID, place, len(IMAGES), range(64)))
    return found


PROCESSOR = SamImageProcessor(
    size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, resample=2
)
WINDOWED = (
    "SamVisionModel",
    "SamVisionEncoder",
    "SamHQVisionModel",
    "SamHQVisionEncoder",
    "VitDetModel",
)
KINDS = ["Sam sdpa", "Sam eager", "SamHQ sdpa", "VitDet"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_the_reassembled_windows(kind: str) -> None:
    network = of(kind)
    model = vi.wrap(network, transform=RECIPE)
    assert model.layout == vi.TokenLayout((), GRID, (8, 8), MEAN, padded=True)
    with torch.inference_mode(), Weights():
        alone = network(torch.cat([model.prepare(image) for image in IMAGES]))
    with Weights():
        capture = vi.capture(model, IMAGES)
    assert torch.equal(capture.output, alone.last_hidden_state)
    assert capture.error < 1e-12
    for layer, wanted in enumerate(explicit(kind, model)):
        found = rows(capture.layers[layer], range(64)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
        assert wanted.max(axis=-1).mean() > 0.25
        assert (wanted[..., 0].max() > 0.3) == (layer != 1)
        assert isinstance(capture.layers[layer].bias, AxisBias)


@pytest.mark.parametrize("kind", ["Sam sdpa", "VitDet"])
def test_tokens_and_their_gradients_are_in_raster_order(kind: str) -> None:
    """SAM's blocks return (row, column, width), those of ViTDet (width, row, column)."""
    model = vi.wrap(of(kind), transform=RECIPE)
    tokens: list[Tensor] = []

    def keep(block: nn.Module, args: Any, output: Any) -> None:
        tokens.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(keep) for block in model.blocks]
    capture = vi.capture(model, IMAGES)
    for handle in handles:
        handle.remove()
    for found, returned in zip(capture.tokens, tokens, strict=True):
        grid = returned.movedim(1, -1) if kind == "VitDet" else returned
        assert torch.equal(found, grid.flatten(1, 2))
    relevance = vi.attention_relevance(capture)
    assert np.isfinite(relevance.relevance).all()
    changed = vi.ablate(capture, tokens=[(2, 5)], replacement="zero")

    def ablated(block: nn.Module, args: Any) -> Any:
        tokens = args[0].clone()
        tokens[(..., 2, 5) if kind == "VitDet" else (slice(None), 2, 5)] = 0
        return (tokens, *args[1:])

    handle = model.blocks[0].register_forward_pre_hook(ablated)
    with torch.inference_mode():
        output = model.module(capture.pixels)
    handle.remove()
    wanted = torch.cosine_similarity(output.flatten(1), capture.output.flatten(1), dim=1)
    np.testing.assert_allclose(changed.cosine, wanted, atol=1e-12)
    assert wanted.max() < 0.99999
    assert vi.attention_rollout(capture).relevance.shape == (2, *GRID)


def test_a_table_of_the_training_before_is_told() -> None:
    model = vi.wrap(of("VitDet"), transform=RECIPE)
    assert model.positions is not None
    assert model.positions.shape == (4, 4, 24)
    assert model.notices == ("Position table resampled from 4 × 4 to 8 × 8.", PADDED)


def test_another_size_of_vitdet_resamples_its_relative_positions() -> None:
    layout = vi.TokenLayout((), (6, 9), (8, 8), MEAN)
    model = vi.wrap(of("VitDet"), layout=layout, transform=RECIPE)
    assert model.notices[:2] == (
        "Position table resampled from 4 × 4 to 6 × 9.",
        "Tables of relative positions were resampled to this input size.",
    )
    assert vi.capture(model, IMAGES).error < 1e-12


def test_convolutions_between_tokens_are_told() -> None:
    network = peaked(VitDetModel(VitDetConfig(**VITDET, residual_block_indices=[2, 0])))
    told = vi.wrap(network, transform=RECIPE).notices
    assert told[-2] == (
        "Convolutions at the end of layers 0, 2 mix neighbouring tokens. No attention shows that."
    )


def test_sam_takes_no_other_size() -> None:
    layout = vi.TokenLayout((), (6, 6), (8, 8), MEAN)
    with pytest.raises(vi.BadParameter) as refusal:
        vi.wrap(of("Sam sdpa"), layout=layout, transform=RECIPE)
    assert str(refusal.value) == (
        "Found an input of 48 × 48 px for SamVisionModel; expected 64 × 64 px, the only size that "
        "it takes; leave out the size."
    )


def sam_folder(place: Path) -> Any:
    """A whole SAM, with the parts that make masks."""
    torch.manual_seed(0)
    config = SamConfig(
        vision_config=SamVisionConfig(**SAM).to_dict(),
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=16, image_size=64).to_dict(),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16
        ).to_dict(),
    )
    network = peaked(SamModel(config))
    network.save_pretrained(place)
    return network


def test_the_encoder_of_a_saved_sam_is_found(tmp_path: Path) -> None:
    network = sam_folder(tmp_path)
    model = vi.load(
        checkpoint=tmp_path, architecture="transformers", dtype=torch.float64, device="cpu"
    )
    capture = vi.capture(model, IMAGES)
    with torch.inference_mode():
        wanted = network.vision_encoder(capture.pixels).last_hidden_state
    assert torch.equal(capture.output, wanted)
    with pytest.raises(vi.UnsupportedModel, match="wrap its vision_encoder"):
        vi.wrap(network, transform=RECIPE)
    part = vi.wrap(network.vision_encoder, transform=RECIPE)
    assert part.positions is not None
    assert torch.equal(vi.capture(part, pixels=capture.pixels).output, wanted)


@pytest.mark.parametrize("size", [(70, 40), (40, 70), (64, 64), (300, 7), (33, 100)])
def test_what_fills_the_input_up_is_shown_and_told(size: tuple[int, int]) -> None:
    """SAM shrinks the longer side to that of its input, and fills up the other."""
    image = vi.sample("chelsea").resize(size)
    wanted = PROCESSOR(image, return_tensors="pt")["pixel_values"].double()
    capture = vi.capture(vi.wrap(of("Sam sdpa"), transform=PROCESSOR), image)
    assert torch.equal(capture.pixels, wanted)
    (photograph,) = capture.photographs
    (width, height), (rows, columns) = size, photograph.size_px
    filled = width != height
    assert (FILLED in photograph.notices) == filled
    # The box of the input, in pixels of the picture: it reaches over one of its edges.
    left, top, right, bottom = photograph.seen
    assert (left, top) == (0, 0)
    assert min(right / width, bottom / height) == 1
    kept = [int(64 * side / max(size) + 0.5) for side in size]
    assert right * kept[0] == pytest.approx(64 * width)
    assert bottom * kept[1] == pytest.approx(64 * height)
    assert (rows, columns) == (np.ceil(bottom), np.ceil(right))
    np.testing.assert_array_equal(photograph.pixels[:height, :width], np.asarray(image))
    outside = [photograph.pixels[height:], photograph.pixels[:, width:]]
    mean = [round(255 * each) for each in PROCESSOR.image_mean]
    assert any(each.size for each in outside) == filled
    assert all((each == mean).all() for each in outside)
    # The same without the processor, up to the rounding of the libraries.
    recipe = replace(capture.model.recipe, processor=None)
    own, seen = prepare(image, recipe, (64, 64))
    assert seen == photograph.seen
    assert ((own == 0) == (wanted == 0)).double().mean() > 0.99
    assert (own - wanted).abs().max() < 3 / (255 * min(PROCESSOR.image_std))


def test_the_whole_picture_can_still_be_stretched() -> None:
    model = vi.wrap(of("Sam sdpa"), transform=PROCESSOR).with_recipe(fit="whole")
    capture = vi.capture(model, IMAGES[0])
    assert capture.photographs[0].seen == (0, 0, 60, 40)
    assert FILLED not in capture.photographs[0].notices
    assert not (capture.pixels == 0).all(dim=1).any()
    usual = vi.wrap(of("VitDet"), transform=ViTImageProcessor()).with_recipe(crop_mode="pad")
    squashed, whole = (
        vi.capture(usual.with_recipe(**each), IMAGES[0]).pixels
        for each in ({"crop_mode": "squash"}, {"fit": "whole"})
    )
    assert torch.equal(squashed, whole)


@pytest.mark.parametrize(
    "change",
    [
        {"pad_size": {"height": 96, "width": 64}},
        {"do_pad": False},
        {"size": {"longest_edge": 32}},
    ],
)
def test_other_ways_to_fill_up_are_refused(change: dict[str, Any]) -> None:
    options = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}} | change
    with pytest.raises(vi.UnsupportedModel, match=r"which (pads|resizes to)"):
        vi.wrap(of("Sam sdpa"), transform=SamImageProcessor(**options))


@pytest.mark.parametrize("size", [(300, 1), (1, 300)])
def test_a_picture_too_thin_for_the_processor_is_shown_all_the_same(size: tuple[int, int]) -> None:
    model = vi.wrap(of("Sam sdpa"), transform=PROCESSOR)
    capture = vi.capture(model, vi.sample("chelsea").resize(size))
    across, down = (0, 1) if size[0] > 1 else (1, 0)
    seen = (capture.pixels[0] != 0).any(dim=0)
    assert seen.any(dim=across).sum() == 64
    assert seen.any(dim=down).sum() == 1


@pytest.mark.parametrize("crop_mode", ["squash", "center"])
def test_a_processor_that_fills_up_does_nothing_else(crop_mode: Any) -> None:
    model = vi.wrap(of("Sam sdpa"), transform=PROCESSOR).with_recipe(crop_mode=crop_mode)
    wanted, _ = prepare(IMAGES[0], replace(model.recipe, processor=None), (64, 64))
    assert torch.equal(vi.capture(model, IMAGES[0]).pixels, wanted.double())


def test_other_inputs_are_filled_up_without_a_processor() -> None:
    layout = vi.TokenLayout((), (6, 9), (8, 8), MEAN)
    model = vi.wrap(of("VitDet"), layout=layout, transform=PROCESSOR)
    wanted, _ = prepare(IMAGES[0], replace(model.recipe, processor=None), (48, 72))
    assert torch.equal(vi.capture(model, IMAGES[0]).pixels, wanted.double())
    usual = vi.wrap(of("VitDet"), transform=ViTImageProcessor()).with_recipe(crop_mode="pad")
    wanted, _ = prepare(IMAGES[0], replace(usual.recipe, processor=None), (64, 64))
    assert torch.equal(vi.capture(usual, IMAGES[0]).pixels, wanted.double())


def test_processors_that_cannot_fill_up_are_refused() -> None:
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    with pytest.raises(vi.UnsupportedModel, match="which is no size"):
        vi.wrap(of("VitDet"), transform=ViTImageProcessor(do_pad=True, **sizes))


def test_models_that_fill_up_are_compared_on_the_picture_alone() -> None:
    image = vi.sample("chelsea").resize((80, 50))
    one = vi.capture(vi.wrap(of("Sam sdpa"), transform=PROCESSOR), image)
    (photograph,) = one.photographs
    assert (photograph.size_px, photograph.picture_px) == ((80, 80), (50, 80))
    other = vi.capture(vi.wrap(of("VitDet"), transform=RECIPE), image)
    # Five of the eight rows of patches lie on the picture, above what has another colour.
    filled = vi.capture(one.model.with_recipe(mean=(0.1, 0.2, 0.3)), image)
    assert (filled.photographs[0].pixels != photograph.pixels).any()
    for each in (other, filled):
        assert vi.cka(one, each).samples.tolist() == [5 * 8]
    with pytest.raises(vi.BadParameter, match="different photographs"):
        vi.cka(one, vi.capture(other.model, image.rotate(180)))


def test_windows_alone_have_tables_of_their_own_size() -> None:
    network = peaked(VitDetModel(VitDetConfig(**VITDET | {"window_block_indices": [0, 1, 2]})))
    layout = vi.TokenLayout((), (6, 9), (8, 8), MEAN)
    told = vi.wrap(network, layout=layout, transform=RECIPE).notices
    assert not any("relative positions" in each for each in told)


@pytest.mark.parametrize("kind", ["Sam sdpa", "SamHQ sdpa"])
def test_the_encoder_alone_is_known_too(kind: str) -> None:
    network = of(kind)
    whole, alone = (
        vi.capture(vi.wrap(each, transform=RECIPE), IMAGES)
        for each in (network, network.vision_encoder)
    )
    assert {type(network).__name__, type(network.vision_encoder).__name__} < {*WINDOWED}
    assert torch.equal(alone.output, whole.output)
    assert alone.layout == whole.layout
