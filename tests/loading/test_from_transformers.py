"""Are the vision transformers of `transformers` seen as they compute, and read as they are?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import RECIPE
from tests.loading.test_transformers_swin import KINDS as SWIN
from tests.loading.test_transformers_windows import WINDOWED
from vit_inspect.analyses.readout import readout_weights
from vit_inspect.attention.rows import rows
from vit_inspect.figures.overlay import unseen
from vit_inspect.layout import CLS_MEAN, MEAN, MEAN_PREFIX, POOL
from vit_inspect.loading.transformers_anatomy import ANATOMIES, OUTPUTS, recipe
from vit_inspect.pictures.preparing import prepare
from vit_inspect.recording.gradients import differentiate

SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
PLAIN = SIZE | {"intermediate_size": 48}
WORDS = PLAIN | {"vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
REGISTERS = ("reg1", "reg2")
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]


class Family(NamedTuple):
    """A network and what is to be read off it."""

    kind: str
    config: Callable[[], Any]
    prefix: tuple[str, ...] = ("cls",)
    readout: str = "cls"
    positions: bool = True
    labels: tuple[str, ...] | None = None


NAMES = {"id2label": {0: "cat", 1: "LABEL_1", 2: "emu"}}
LABELS = ("cat", "class 1", "emu")


def two_towers(config: type, **options: Any) -> Any:
    return config(vision_config=PLAIN, text_config=WORDS, **options)


FAMILIES = (
    Family("ViTModel", partial(hf.ViTConfig, **PLAIN)),
    Family("ViTForImageClassification", partial(hf.ViTConfig, **PLAIN, **NAMES), labels=LABELS),
    Family("ViTMSNModel", partial(hf.ViTMSNConfig, **PLAIN)),
    Family(
        "ViTMSNForImageClassification", partial(hf.ViTMSNConfig, **PLAIN, **NAMES), labels=LABELS
    ),
    Family("IJepaModel", partial(hf.IJepaConfig, **PLAIN), (), MEAN),
    Family(
        "IJepaForImageClassification",
        partial(hf.IJepaConfig, **PLAIN, **NAMES),
        (),
        MEAN,
        labels=LABELS,
    ),
    Family(
        "BeitModel",
        partial(
            hf.BeitConfig,
            **PLAIN,
            use_shared_relative_position_bias=True,
            use_absolute_position_embeddings=True,
            use_mean_pooling=False,
        ),
    ),
    Family(
        "BeitForImageClassification",
        partial(hf.BeitConfig, **PLAIN, **NAMES, use_relative_position_bias=True),
        readout=MEAN,
        positions=False,
        labels=LABELS,
    ),
    Family("DeiTModel", partial(hf.DeiTConfig, **PLAIN), ("cls", "dist")),
    Family(
        "DeiTForImageClassification",
        partial(hf.DeiTConfig, **PLAIN, **NAMES),
        ("cls", "dist"),
        labels=LABELS,
    ),
    Family(
        "DeiTForImageClassificationWithTeacher",
        partial(hf.DeiTConfig, **PLAIN, **NAMES),
        ("cls", "dist"),
        MEAN_PREFIX,
        labels=LABELS,
    ),
    Family("Dinov2Model", partial(hf.Dinov2Config, **SIZE)),
    Family(
        "Dinov2ForImageClassification",
        partial(hf.Dinov2Config, **SIZE, **NAMES),
        readout=CLS_MEAN,
        labels=LABELS,
    ),
    Family(
        "Dinov2WithRegistersModel",
        partial(hf.Dinov2WithRegistersConfig, **SIZE, num_register_tokens=2),
        ("cls", *REGISTERS),
    ),
    Family(
        "Dinov2WithRegistersForImageClassification",
        partial(hf.Dinov2WithRegistersConfig, **SIZE, **NAMES, num_register_tokens=2),
        ("cls", *REGISTERS),
        CLS_MEAN,
        labels=LABELS,
    ),
    Family(
        "DINOv3ViTModel",
        partial(hf.DINOv3ViTConfig, **PLAIN, num_register_tokens=2),
        ("cls", *REGISTERS),
        positions=False,
    ),
    Family("CLIPVisionModel", partial(hf.CLIPVisionConfig, **PLAIN)),
    Family("CLIPVisionModelWithProjection", partial(hf.CLIPVisionConfig, **PLAIN)),
    Family(
        "CLIPForImageClassification",
        partial(two_towers, hf.CLIPConfig, **NAMES),
        readout=MEAN,
        labels=LABELS,
    ),
    Family("SiglipVisionModel", partial(hf.SiglipVisionConfig, **PLAIN), (), POOL),
    Family(
        "SiglipForImageClassification",
        partial(two_towers, hf.SiglipConfig, **NAMES),
        (),
        MEAN,
        labels=LABELS,
    ),
)
BY_KIND = {each.kind: each for each in FAMILIES}


def network_of(family: Family, dtype: torch.dtype = torch.float64) -> nn.Module:
    """With peaked attention, and values of its own where all were alike."""
    torch.manual_seed(0)
    network = getattr(hf, family.kind)(family.config()).eval()
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.numel() > 1 and weights.std() < 1e-3:
                weights += 0.3 * torch.randn_like(weights)
            if name.endswith(("q_proj.weight", "k_proj.weight", "in_proj_weight")):
                weights *= 0.6 / weights.std()
    return network.to(dtype)


def wrapped(kind: str, dtype: torch.dtype = torch.float64, **options: Any) -> vi.Model:
    return vi.wrap(network_of(BY_KIND[kind], dtype), **{"transform": RECIPE} | options)


def pixels_of(model: vi.Model) -> Tensor:
    return torch.cat([model.prepare(image) for image in IMAGES])


def all_rows(capture: vi.Capture) -> Tensor:
    return torch.stack([rows(layer, range(capture.layout.token_count)) for layer in capture.layers])


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some eager attentions of transformers go through float32, whatever their type."""

    def softmax(scores: Tensor, dim: int, dtype: object = None) -> Tensor:
        return torch.softmax(scores, dim)

    monkeypatch.setattr(nn.functional, "softmax", softmax)


def eager(network: nn.Module, pixels: Tensor, **options: Any) -> Tensor:
    """(layer, image, head, query, key), by the other implementation of the same weights."""
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        answer = network(pixel_values=pixels, output_attentions=True, **options)
    network.set_attn_implementation("sdpa")
    return torch.stack(answer.attentions)


@pytest.mark.slow
@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: each.kind)
def test_what_is_seen_is_what_eager_attention_gives(family: Family, dtype: torch.dtype) -> None:
    network = network_of(family, dtype)
    model = vi.wrap(network, transform=RECIPE)
    pixels = pixels_of(model)
    with torch.inference_mode():
        plain = network(pixel_values=pixels)
    capture = vi.capture(model, IMAGES)
    known = next(plain[name] for name in OUTPUTS if plain.get(name) is not None)
    assert torch.equal(capture.output, known)
    expected = eager(network, pixels)
    assert expected.amax(dim=-1).mean() > 0.3
    exact = 1e-9 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=exact)
    assert capture.error < (1e-13 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: each.kind)
def test_what_the_configuration_says_is_read(family: Family) -> None:
    model = wrapped(family.kind)
    assert model.id == family.kind
    assert model.layout == vi.TokenLayout(family.prefix, (4, 4), (8, 8), family.readout)
    assert model.labels == family.labels
    assert (model.positions is not None) == family.positions
    assert model.filters.shape == (32, 3, 8, 8)
    assert model.filters_name == "patch embedding"


def test_every_known_network_is_tested() -> None:
    assert {*BY_KIND, *SWIN, *WINDOWED} == set(ANATOMIES)


@pytest.mark.parametrize(
    "kind",
    [
        "DeiTModel",
        "Dinov2WithRegistersModel",
        "CLIPVisionModel",
        "SiglipVisionModel",
        "ViTMSNModel",
        "IJepaModel",
        "BeitModel",
    ],
)
def test_positions_are_those_of_the_patches(kind: str) -> None:
    """Moving one patch's position moves the values of its token, and of no other."""
    network = network_of(BY_KIND[kind])
    model = vi.wrap(network, transform=RECIPE)
    before = vi.capture(model, IMAGES[0]).layers[0].values
    with torch.no_grad():
        model.positions[1, 2] += 1
    after = vi.capture(model, IMAGES[0]).layers[0].values
    moved = (before != after).any(dim=-1).any(dim=1)[0].nonzero().flatten().tolist()
    assert moved == [model.layout.token((1, 2))]


@pytest.mark.parametrize(
    "kind", ["DeiTForImageClassificationWithTeacher", "Dinov2WithRegistersForImageClassification"]
)
def test_the_readout_is_what_the_head_reads(kind: str) -> None:
    """Scores move with the tokens that are read, and only with those."""
    network = network_of(BY_KIND[kind])
    model = vi.wrap(network, transform=RECIPE)
    base = network.base_model
    tokens = torch.randn(1, model.layout.token_count, 32, dtype=torch.float64)
    scores = []
    for changed in (None, *range(model.layout.token_count)):
        given = tokens.clone()
        if changed is not None:
            given[:, changed] += 1
        handle = base.layernorm.register_forward_hook(lambda *_, given=given: given)
        with torch.inference_mode():
            scores.append(model.module(pixels_of(model)[:1]))
        handle.remove()
    moved = torch.stack(
        [bool((each != scores[0]).any()) for each in scores[1:]]
        and [(each != scores[0]).any() for each in scores[1:]]
    )
    shares = torch.from_numpy(model.layout.readout_weights())
    assert torch.equal(moved, shares > 0)
    assert shares.sum() == pytest.approx(1)


def test_siglips_pool_is_seen() -> None:
    network = network_of(BY_KIND["SiglipVisionModel"])
    model = vi.wrap(network, transform=RECIPE)
    given: list[Tensor] = []
    network.head.attention.register_forward_hook(lambda *args: given.append(args[2][1]))
    capture = vi.capture(model, IMAGES)
    assert given[0].amax() > 2 / 16
    pooled = rows(capture.pool, [0]).mean(dim=1)
    torch.testing.assert_close(pooled, given[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(readout_weights(capture), given[0][:, 0], rtol=0, atol=1e-12)


def test_siglips_pool_has_a_gradient_at_its_heads() -> None:
    """It has one query and 16 keys; the gradient there is the outer one through the projection."""
    network = network_of(BY_KIND["SiglipVisionModel"])
    model = vi.wrap(network, transform=RECIPE)
    outer: list[Tensor] = []
    handle = network.head.attention.register_forward_hook(
        lambda _, __, output: output[0].register_hook(outer.append) and None
    )
    found = differentiate(model, IMAGES, score=lambda seen: seen.output.square().sum(dim=1))
    handle.remove()
    wanted = (outer[0] @ network.head.attention.out_proj.weight).unflatten(-1, (2, 16))
    torch.testing.assert_close(found.pool, wanted.transpose(1, 2), rtol=1e-12, atol=1e-12)
    assert vi.attention_relevance(model, IMAGES).relevance.std() > 0


def test_siglip_without_its_pool_reads_the_mean() -> None:
    network = hf.SiglipVisionModel(hf.SiglipVisionConfig(**PLAIN, vision_use_head=False)).eval()
    assert vi.wrap(network, transform=RECIPE).layout.readout == MEAN


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("ViTForImageClassification", True),
        ("DeiTModel", True),
        ("CLIPForImageClassification", True),
        ("SiglipVisionModel", True),
        ("Dinov2WithRegistersModel", False),
        ("DINOv3ViTModel", False),
        ("ViTMSNModel", True),
        ("IJepaForImageClassification", True),
        ("BeitModel", False),
        ("BeitForImageClassification", False),
    ],
)
def test_rectangles_are_rows_then_columns(kind: str, told: bool) -> None:
    family = BY_KIND[kind]
    network = network_of(family)
    layout = vi.TokenLayout(family.prefix, (2, 5), (8, 8), family.readout)
    model = vi.wrap(network, layout=layout, transform=RECIPE)
    pixels = pixels_of(model)
    assert pixels.shape == (2, 3, 16, 40)
    capture = vi.capture(model, IMAGES)
    options = {"interpolate_pos_encoding": True} if told else {}
    assert model.module.options == options
    expected = eager(network, pixels, **options)
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=1e-9)
    assert vi.attention_rollout(capture).relevance.shape == (2, 2, 5)


@pytest.mark.parametrize("size", [(32, 32), (16, 40), (64, 16), (16, 16)])
@pytest.mark.parametrize(
    "kind",
    [
        "ViTModel",
        "SiglipVisionModel",
        "Dinov2Model",
        "DINOv3ViTModel",
        "IJepaModel",
        "BeitModel",
        "BeitForImageClassification",
    ],
)
def test_what_is_resampled_is_told_and_nothing_else(
    kind: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 × 16 px have as many patches as 32 × 32 px, in other places."""
    changed: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    interpolate = nn.functional.interpolate

    def watched(given: Tensor, **options: Any) -> Tensor:
        found = interpolate(given, **options)
        changed.add((tuple(given.shape[2:]), tuple(found.shape[2:])))
        return found

    family = BY_KIND[kind]
    grid = size[0] // 8, size[1] // 8
    layout = vi.TokenLayout(family.prefix, grid, (8, 8), family.readout)
    model = vi.wrap(network_of(family), layout=layout, transform=RECIPE)
    monkeypatch.setattr(nn.functional, "interpolate", watched)
    vi.capture(model, IMAGES[0])
    rows, columns = grid
    table = {((4, 4), grid)} - {((4, 4), (4, 4))}
    offsets = {((7, 7), (2 * rows - 1, 2 * columns - 1))} - {((7, 7), (7, 7))}
    assert {each for each in changed if each[0] != each[1]} == (
        (table if family.positions else set()) | (offsets if "Beit" in kind else set())
    )
    assert model.notices == (
        *(
            [f"Position table resampled from 4 × 4 to {rows} × {columns}."]
            if table and family.positions
            else []
        ),
        *(
            ["Tables of relative positions were resampled to this input size."]
            if offsets and "Beit" in kind
            else []
        ),
    )


@pytest.mark.parametrize("grid", [(4, 4), (2, 5)])
@pytest.mark.parametrize("kind", ["own", "shared", "both"])
def test_the_bias_by_offset_is_what_is_added_to_the_scores(kind: str, grid: Any) -> None:
    config = partial(
        hf.BeitConfig,
        **PLAIN,
        use_relative_position_bias=kind != "shared",
        use_shared_relative_position_bias=kind != "own",
    )
    layout = vi.TokenLayout(("cls",), grid, (8, 8), MEAN)
    network = network_of(Family("BeitModel", config))
    model = vi.wrap(network, layout=layout, transform=RECIPE)
    bias = vi.position_bias(model).bias
    assert bias.shape[0] == (1 if kind == "shared" else 3)
    capture = vi.capture(model, IMAGES[0])
    (rows, columns), patches = grid, list(np.ndindex(*grid))
    for layer, seen in enumerate(capture.layers):
        for query, (row, column) in enumerate(patches):
            for key, (other_row, other_column) in enumerate(patches):
                offset = other_row - row + rows - 1, other_column - column + columns - 1
                found = bias[min(layer, len(bias) - 1)][(slice(None), *offset)]
                expected = seen.bias[0, :, 1 + query, 1 + key].numpy()
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "size", "remedy"),
    [
        ("ViTModel", 16, "use an input of 16 × 64 px"),
        ("Dinov2Model", None, "choose a network that was made for a square input"),
        ("BeitForImageClassification", None, "choose a network that was made for a square input"),
    ],
)
def test_a_table_that_transformers_would_mix_up_is_refused(
    tmp_path: Path, kind: str, size: int | None, remedy: str
) -> None:
    """2 × 8 positions are a square number: transformers would read them as 4 × 4."""
    family = BY_KIND[kind]
    config = partial(family.config, image_size=(16, 64))
    network_of(family._replace(config=config), torch.float32).save_pretrained(tmp_path)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        load(tmp_path, img_size=size)
    assert refusal.value.remedy == remedy
    assert "a position table of 2 × 8 in" in refusal.value.found


def saved(folder: Path, kind: str = "ViTForImageClassification", **options: Any) -> nn.Module:
    """A folder that `save_pretrained` wrote, with its image processor."""
    network = network_of(BY_KIND[kind], torch.float32)
    network.save_pretrained(folder)
    processor = hf.ViTImageProcessor(**{"size": {"height": 32, "width": 32}} | options)
    processor.save_pretrained(folder)
    return network


def load(folder: Path, **options: Any) -> vi.Model:
    return vi.load(checkpoint=folder, architecture="transformers", device="cpu", **options)


def test_a_saved_folder_is_loaded(tmp_path: Path) -> None:
    network = saved(tmp_path / "mine", image_mean=[0.1, 0.2, 0.3])
    model = load(tmp_path / "mine")
    assert (model.id, model.source, model.labels) == ("mine", "folder mine", LABELS)
    assert model.recipe == vi.Recipe((0.1, 0.2, 0.3), (0.5,) * 3, "bilinear", 1.0, "squash")
    assert model.layout == vi.TokenLayout(("cls",), (4, 4), (8, 8), "cls")
    capture = vi.capture(model, IMAGES)
    with torch.inference_mode():
        assert torch.equal(capture.output, network(pixel_values=pixels_of(model)).logits)
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_a_saved_folder_takes_a_size_and_a_type(tmp_path: Path) -> None:
    saved(tmp_path)
    model = load(tmp_path, img_size=(16, 40), dtype=torch.float64)
    assert model.layout.grid == (2, 5)
    capture = vi.capture(model, IMAGES[0])
    assert capture.output.dtype == torch.float64
    with pytest.raises(vi.BadParameter) as refusal:
        load(tmp_path, img_size=(33, 47))
    assert refusal.value.found == "an input of 33 × 47 px"
    assert refusal.value.remedy == "use 32 × 48"


def test_a_pooler_that_was_never_trained_is_left_out(tmp_path: Path) -> None:
    """A checkpoint of a classifier has no weights for it."""
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["ViTModel"]}))
    model = load(tmp_path)
    assert vi.capture(model, IMAGES[0]).output.shape == (1, 17, 32)
    assert model.labels is None


def test_a_stage_that_is_not_there_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    assert load(tmp_path, stage=0).stage == 0
    with pytest.raises(vi.BadParameter, match="stage 0, the only one of"):
        load(tmp_path, stage=1)


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_the_tower_that_looks_is_loaded_alone(tmp_path: Path, kind: str) -> None:
    both = getattr(hf, f"{kind}Model")(two_towers(getattr(hf, f"{kind}Config"))).eval()
    both.save_pretrained(tmp_path)
    getattr(hf, f"{kind}ImageProcessor")().save_pretrained(tmp_path)
    model = load(tmp_path, dtype=torch.float64)
    with torch.inference_mode():
        expected = both.double().vision_model(pixel_values=pixels_of(model)).pooler_output
    output = vi.capture(model, IMAGES).output
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)
    with pytest.raises(vi.UnsupportedModel, match="wrap its vision_model"):
        vi.wrap(both, transform=RECIPE)


WITHOUT = "No image processor in the folder: that of its family was taken, "


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "ViTForImageClassification",
            "ViTImageProcessor: mean 0.5, standard deviation 0.5, crop to 1, bilinear filter.",
        ),
        (
            "Dinov2WithRegistersForImageClassification",
            "BitImageProcessor: mean (0.485, 0.456, 0.406), standard deviation (0.229, 0.224, "
            "0.225), crop to 0.875, bicubic filter.",
        ),
        (
            "CLIPForImageClassification",
            "CLIPImageProcessor: mean (0.481455, 0.457827, 0.408211), standard deviation (0.26863, "
            "0.261303, 0.275777), crop to 1, bicubic filter.",
        ),
    ],
)
def test_a_folder_without_a_processor_is_read_as_its_family_is(
    tmp_path: Path, kind: str, told: str
) -> None:
    """A checkpoint of a Trainer holds the network alone."""
    network = network_of(BY_KIND[kind], torch.float32)
    network.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.notices == (WITHOUT + told,)
    assert model.layout.input_px == (32, 32)
    name = told.partition(":")[0]
    # DINOv2's own makes 256 px, of which 224 are kept: 36 of which 32 are.
    side = {"BitImageProcessor": {"shortest_edge": 36}, "CLIPImageProcessor": {"shortest_edge": 32}}
    options: dict[str, Any] = {"size": side.get(name, 32), "crop_size": 32}
    if "0.485" in told:
        options |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    pixels = getattr(hf, name)(**options)(IMAGES, return_tensors="pt").pixel_values
    capture = vi.capture(model, IMAGES)
    assert torch.equal(capture.pixels, pixels)
    with torch.inference_mode():
        assert torch.equal(capture.output, network(pixel_values=pixels).logits)


def test_a_folder_with_a_processor_has_no_notice(tmp_path: Path) -> None:
    saved(tmp_path)
    assert load(tmp_path).notices == ()


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("with_processor", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("DeiTModel", {"image_size": (24, 40)}),
        ("IJepaModel", {"image_size": (40, 16)}),
        ("ViTModel", {"image_size": (16, 32), "num_channels": 4}),
        ("ViTMSNModel", {"image_size": (32, 16), "num_channels": 1}),
        ("ViTModel", {"num_channels": 1}),
        ("ViTModel", {"num_channels": 4}),
    ],
)
def test_folders_of_other_shapes_are_read(
    tmp_path: Path, kind: str, options: dict[str, Any], with_processor: bool
) -> None:
    family = BY_KIND[kind]
    config = family.config.func  # type: ignore[attr-defined]
    network = network_of(Family(kind, partial(config, **PLAIN | options)), torch.float32)
    network.save_pretrained(tmp_path)
    rows, columns = options.get("image_size", (32, 32))
    channels = options.get("num_channels", 3)
    if with_processor:
        size = {"height": rows, "width": columns}
        hf.ViTImageProcessor(
            size=size, image_mean=[0.5] * channels, image_std=[0.5] * channels
        ).save_pretrained(tmp_path)
    model = load(tmp_path)
    told = " ".join(model.notices)
    # ImageNet's three means say little of one channel.
    averaged = kind == "ViTMSNModel" and not with_processor
    assert ("mean 0.449, standard deviation 0.226, " in told) == averaged
    assert ("(averages over its channels)" in told) == averaged
    assert model.layout.input_px == (rows, columns)
    assert model.channels == channels
    pixels = torch.rand(2, channels, rows, columns)
    capture = vi.capture(model, pixels=pixels, bands=(0,))
    with torch.inference_mode():
        plain = network(pixel_values=pixels)
    assert torch.equal(capture.output, plain.last_hidden_state)
    expected = eager(network, pixels)
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=1e-4)


def test_a_network_that_is_no_square_is_read(tmp_path: Path) -> None:
    sides = {"image_size": (16, 40)}
    network = network_of(Family("ViTModel", partial(hf.ViTConfig, **PLAIN | sides)), torch.float32)
    network.save_pretrained(tmp_path)
    processor = hf.ViTImageProcessor(size={"height": 16, "width": 40})
    processor.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.layout == vi.TokenLayout(("cls",), (2, 5), (8, 8), "cls")
    assert model.notices == ()
    capture = vi.capture(model, IMAGES)
    assert torch.equal(capture.pixels, processor(IMAGES, return_tensors="pt").pixel_values)
    expected = eager(network, capture.pixels)
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=1e-4)
    table = network.embeddings.position_embeddings[0]
    assert torch.equal(model.positions[1, 3], table[1 + 5 + 3])


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize(
    ("kind", "sides"),
    [("SiglipVisionModel", 38), ("ViTForImageClassification", (33, 38)), ("Dinov2Model", 38)],
)
def test_patches_that_do_not_tile_the_input(
    tmp_path: Path, chelsea: Image.Image, kind: str, sides: Any
) -> None:
    """As SigLIP so400m: 384 px are 27 patches of 14 px, and 6 px that no patch covers."""
    base = BY_KIND[kind]
    config = partial(base.config, image_size=sides)
    network = network_of(base._replace(config=config), torch.float32)
    network.save_pretrained(tmp_path)
    height, width = sides if isinstance(sides, tuple) else (sides, sides)
    processor = hf.SiglipImageProcessor(size={"height": height, "width": width})
    processor.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.layout.grid == (4, 4)
    assert model.layout.margin_px == (height - 32, width - 32)
    assert model.module.options == {}
    assert model.notices == (
        f"The network does not see {height - 32} px at the bottom and {width - 32} px at the right "
        f"of its input of {height} × {width} px, which no patch covers.",
    )
    capture = vi.capture(model, chelsea)
    pixels = processor(chelsea, return_tensors="pt").pixel_values
    assert torch.equal(capture.pixels, pixels)
    with torch.inference_mode():
        assert torch.equal(capture.output, model.module.network(pixel_values=pixels)[-1])
        changed = pixels.clone()
        changed[..., 32:, :] += 1
        changed[..., 32:] += 1
        assert torch.equal(model.module(changed), capture.output)
    expected = eager(network, pixels)
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=1e-4)
    (rows, columns), seen = capture.photographs[0].size_px, capture.photographs[0].seen
    assert seen == pytest.approx((0, 0, columns * 32 / width, rows * 32 / height))
    assert len(unseen(capture.photographs[0])) == (height > 32) + (width > 32)
    assert load(tmp_path, img_size=(height, width)).layout == model.layout
    with pytest.raises(vi.BadParameter, match="multiples of the patch, 8 × 8 px"):
        load(tmp_path, img_size=41)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_can_have_another_number_of_channels(channels: int) -> None:
    torch.manual_seed(0)
    network = hf.ViTModel(hf.ViTConfig(**PLAIN, num_channels=channels)).eval()
    model = vi.wrap(network, transform=hf.ViTImageProcessor())
    assert (model.channels, model.recipe.mean) == (channels, (0.5,) * channels)
    pixels = torch.randn(1, channels, *model.layout.input_px)
    with torch.inference_mode():
        expected = network(pixel_values=pixels).pooler_output
    assert torch.equal(vi.capture(model, pixels=pixels, bands=(0,)).output, expected)


def test_a_processor_makes_a_picture_grey_for_one_channel() -> None:
    network = hf.ViTModel(hf.ViTConfig(**PLAIN, num_channels=1)).eval()
    processor = hf.ViTImageProcessor(image_mean=[0.4] * 3, image_std=[0.2] * 3)
    model = vi.wrap(network, transform=processor)
    picture = noise((60, 60), 0)
    side = dict(zip(("height", "width"), model.layout.input_px, strict=True))
    grey = processor(picture.convert("L").convert("RGB"), size=side, return_tensors="pt")
    assert torch.equal(model.prepare(picture), grey["pixel_values"][:, :1])


def incomplete(folder: Path) -> None:
    network = network_of(BY_KIND["ViTForImageClassification"], torch.float32)
    weights = {k: v for k, v in network.state_dict().items() if "layers.1.mlp" not in k}
    network.save_pretrained(folder, state_dict=weights)


def rewritten(folder: Path, **change: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def damaged(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def with_code(folder: Path) -> None:
    """A repository may bring its own code, which asks to be run."""
    (folder / "own.py").write_text("raise SystemExit('it ran')")
    auto = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    rewritten(folder, model_type="own", auto_map=auto)


@pytest.mark.parametrize(
    ("change", "found", "told"),
    [
        (incomplete, "4 weights missing for 'mine', such as", "choose another checkpoint"),
        (
            partial(rewritten, num_hidden_layers=1),
            "32 weights of layers that 'mine' does not have, such as vit.layers.1.",
            "put the config.json of these weights beside them",
        ),
        (
            partial(rewritten, intermediate_size=40),
            "9 weights of other sizes for 'mine', such as vit.layers.0.mlp.fc1.bias of 48, where "
            "the network has 40",
            "choose another checkpoint, or put the config.json of these weights beside them",
        ),
        (without_config, "no config.json in the folder '", "the configuration and the weights"),
        (damaged, "no model of transformers for 'mine' (", "check the name"),
        (with_code, "no model of transformers for 'mine' (", ""),
        (partial(rewritten, architectures=None), "mine of the class no class", "by hand"),
        (partial(rewritten, architectures=["ViTMAEModel"]), "of the class ViTMAEModel", "by hand"),
        (partial(rewritten, model_type="nothing"), "no model of transformers for 'mine' (", ""),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    tmp_path: Path, change: Callable[[Path], None], found: str, told: str
) -> None:
    saved(tmp_path)
    change(tmp_path)
    with pytest.raises(vi.InspectError) as refusal:
        vi.load("mine", checkpoint=tmp_path, architecture="transformers", device="cpu")
    assert found in refusal.value.found
    assert told in refusal.value.remedy


def test_the_folder_above_checkpoints_names_the_last(tmp_path: Path) -> None:
    for step in (500, 1000):
        saved(tmp_path / "run" / f"checkpoint-{step}")
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        load(tmp_path / "run")
    assert refusal.value.found == (
        "no config.json in the folder 'run', but in its folders, such as 'checkpoint-500', "
        "'checkpoint-1000'"
    )
    last = tmp_path / "run" / "checkpoint-1000"
    assert refusal.value.remedy == f"give checkpoint={str(last)!r}"
    assert load(last).source == "folder checkpoint-1000"


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(
    tmp_path: Path, unreachable: list[str]
) -> None:
    with pytest.raises(vi.WeightsUnavailable, match="no folder at 'nowhere'"):
        load(tmp_path / "nowhere")
    assert unreachable == []


def test_an_unreachable_hub_is_explained(unreachable: list[str]) -> None:
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.load("transformers:someone/something@main", device="cpu")
    assert "no model of transformers for 'transformers:someone/something@main' (" in str(
        refusal.value
    )
    assert "connect to the hub, check the name, or give a folder" in refusal.value.remedy
    # One question and no second try, which is what makes the answer quick.
    assert len(unreachable) == 1
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(
    "name", ["transformers:", "transformers:a", "transformers:/etc/a", "transformers:a/b/c"]
)
def test_a_name_that_names_no_repository_is_refused(name: str) -> None:
    with pytest.raises(vi.BadParameter, match="expected 'transformers:organisation/name' or"):
        vi.load(name)


@pytest.mark.parametrize("name", ["../there", "./there", "~/there", "some/where"])
def test_a_name_is_never_taken_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    saved(tmp_path / "some" / "where")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(f"transformers:{name}")
    assert refusal.value.found == f"the name 'transformers:{name}', which could be a folder"
    assert "checkpoint=FOLDER, architecture='transformers'" in refusal.value.remedy


def test_random_weights_come_from_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path)
    monkeypatch.setattr("vit_inspect.loading.from_transformers.check_no_folder", lambda name: None)
    # What stands for the hub is a folder of the repository's name.
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").symlink_to(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    monkeypatch.chdir(tmp_path)
    model = vi.load("transformers:org/name", pretrained=False, device="cpu")
    assert (model.id, model.source) == ("transformers:org/name", "random weights")
    assert vi.capture(model, IMAGES[0]).output.shape == (1, 3)


def test_a_missing_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        load(tmp_path)
    assert "no package transformers, which" in refusal.value.found
    assert "run 'pip install transformers'" in refusal.value.remedy


def flex_vit() -> nn.Module:
    return hf.ViTModel(hf.ViTConfig(**PLAIN, attn_implementation="flex_attention")).eval()


def masked_autoencoder() -> nn.Module:
    return hf.ViTMAEModel(hf.ViTMAEConfig(**PLAIN)).eval()


@pytest.mark.parametrize(
    ("make", "options", "found", "told"),
    [
        (flex_vit, {}, "with the attention 'flex_attention' of", "attn_implementation='sdpa'"),
        (masked_autoencoder, {}, "ViTMAEModel of the class ViTMAEModel", "describe yours by hand"),
        (
            partial(network_of, FAMILIES[0]),
            {"transform": None},
            "ViTModel without a transform",
            "add transform=AutoImageProcessor.from_pretrained('NAME')",
        ),
        (
            partial(network_of, FAMILIES[0]),
            {"transform": "crop"},
            "the transform 'crop'",
            "AutoImageProcessor",
        ),
        (
            partial(network_of, FAMILIES[0]),
            {"layout": vi.TokenLayout((), (4, 4), (8, 8), MEAN)},
            "attention over 17 tokens",
            "correct the layout",
        ),
        (
            partial(network_of, FAMILIES[1]),
            {"labels": ["cat"]},
            "1 labels for ViTForImageClassification",
            "all classes",
        ),
    ],
)
def test_what_cannot_be_wrapped_is_refused(
    make: Callable[[], nn.Module], options: dict[str, Any], found: str, told: str
) -> None:
    with pytest.raises(vi.InspectError) as refusal:
        vi.wrap(make(), **{"transform": RECIPE} | options)
    assert found in refusal.value.found
    assert told in refusal.value.remedy


class OwnModel(hf.ViTModel):
    """A class that nobody knows."""


def test_an_unknown_network_of_transformers_is_described_by_hand() -> None:
    torch.manual_seed(0)
    network = OwnModel(hf.ViTConfig(**PLAIN)).eval().double()
    layout = vi.TokenLayout(("cls",), (4, 4), (8, 8), "cls")
    model = vi.wrap(network, layout=layout, transform=RECIPE)
    capture = vi.capture(model, IMAGES)
    assert capture.error < 1e-13
    assert (model.positions, model.labels) == (None, None)
    expected = eager(network, pixels_of(model))
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=1e-6)


def test_a_layout_of_smaller_patches_than_the_networks_is_refused() -> None:
    network = hf.ViTModel(hf.ViTConfig(**PLAIN), add_pooling_layer=False).eval()
    layout = vi.TokenLayout(("cls",), (2, 2), (2, 2), "cls")
    with pytest.raises(vi.BadParameter, match="fails on pictures of 4 × 4 px"):
        vi.wrap(network, layout=layout, transform=RECIPE)


def test_only_a_layout_that_the_configuration_does_not_say_is_tried() -> None:
    """A load at another size need not try what is known."""
    network = hf.ViTModel(hf.ViTConfig(**PLAIN), add_pooling_layer=False).eval()
    passes: list[int] = []
    network.register_forward_hook(lambda *_: passes.append(1))
    own = vi.wrap(network, transform=RECIPE).layout
    counts = []
    for layout in (own, replace(own, grid=(3, 5)), replace(own, readout=MEAN)):
        passes.clear()
        vi.wrap(network, transform=RECIPE, layout=layout)
        counts.append(len(passes))
    assert counts[:2] == [1, 1]
    assert counts[2] > 3


PROCESSORS = (
    hf.ViTImageProcessor(),
    hf.ViTImageProcessorPil(),
    hf.DeiTImageProcessor(),
    hf.DeiTImageProcessorPil(),
    hf.BitImageProcessor(size={"shortest_edge": 256}, crop_size=224),
    hf.BitImageProcessorPil(size={"shortest_edge": 255}, crop_size=224),
    hf.CLIPImageProcessor(),
    hf.CLIPImageProcessorPil(),
    hf.SiglipImageProcessor(),
    hf.SiglipImageProcessorPil(),
    hf.BeitImageProcessor(),
    hf.DINOv3ViTImageProcessor(),
    hf.ViTImageProcessor(do_normalize=False, resample=3),
    hf.CLIPImageProcessor(size={"shortest_edge": 248}, image_mean=[0.4, 0.5, 0.6]),
    hf.ViTImageProcessor(size={"height": 96, "width": 160}),
    hf.DeiTImageProcessor(
        size={"height": 112, "width": 168}, crop_size={"height": 96, "width": 144}
    ),
)


@pytest.mark.parametrize("size", [(640, 480), (301, 500), (37, 20)])
@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda each: type(each).__name__)
def test_the_input_is_what_the_processor_makes_to_the_bit(
    chelsea: Image.Image, processor: Any, size: tuple[int, int]
) -> None:
    image = chelsea.resize(size)
    expected = processor(image, return_tensors="pt").pixel_values
    made = recipe(processor, nn.Identity(), name="toy")
    found, _ = prepare(image, made, tuple(expected.shape[2:]))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("fit", ["crop", "whole"])
@pytest.mark.parametrize("input_px", [(224, 224), (225, 225), (96, 192)])
@pytest.mark.parametrize(
    "kind", ["ViTImageProcessor", "CLIPImageProcessor", "BitImageProcessorPil"]
)
def test_the_box_is_where_the_processors_pixels_came_from(
    kind: str, input_px: tuple[int, int], fit: Any
) -> None:
    """Red counts columns, green counts rows, two px to a level.

    At 224 px, 15 columns are cut off: 7 on the left, not the 7.5 that others round to 8.
    """
    rows, columns = 460, 491
    values = np.zeros((rows, columns, 3), np.uint8)
    values[..., 0] = np.arange(columns) // 2
    values[..., 1] = np.arange(rows)[:, None] // 2
    processor = getattr(hf, kind)(do_normalize=False)
    made = replace(recipe(processor, nn.Identity(), name="toy"), fit=fit)
    pixels, seen = prepare(Image.fromarray(values), made, input_px)
    assert pixels.shape == (1, 3, *input_px)
    assert fit == "crop" or seen == (0, 0, columns, rows)
    for channel, first, last, axis in (
        (0, seen.left, seen.right, 1),
        (1, seen.top, seen.bottom, 0),
    ):
        count = input_px[axis]
        centres = first + (np.arange(count) + 0.5) * (last - first) / count
        found = (pixels[0, channel] * 255).mean(dim=1 - axis).numpy()
        inner = slice(count // 8, -count // 8)
        # A level lasts for two pixels; it is rounded down, by half a level on average.
        wanted = (centres - 0.5) / 2 - 0.25
        assert abs((found - wanted)[inner].mean()) < 0.1


def test_other_numbers_are_given_to_the_processor(chelsea: Image.Image) -> None:
    processor = hf.ViTImageProcessor(do_normalize=False)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    made = replace(recipe(processor, nn.Identity(), name="toy"), mean=mean, std=std)
    own = hf.ViTImageProcessor(image_mean=mean, image_std=std)
    expected = own(chelsea, return_tensors="pt").pixel_values
    assert torch.equal(prepare(chelsea, made, (224, 224))[0], expected)


def test_a_picture_that_the_processor_would_blow_up_is_refused() -> None:
    made = recipe(hf.CLIPImageProcessor(), nn.Identity(), name="toy")
    strip = Image.new("RGB", (10_000, 3))
    with pytest.raises(vi.BadImage) as refusal:
        prepare(strip, made, (224, 224))
    assert "a picture of 10000 × 3 px, which" in refusal.value.found
    assert "enlarges to 746666 × 224 px" in refusal.value.found
    assert prepare(strip, replace(made, fit="whole"), (224, 224))[0].shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"do_resize": False}, "does not resize"),
        (
            {"do_center_crop": True, "size": {"height": 32, "width": 48}, "crop_size": 30},
            "crops rows and columns by different shares",
        ),
        ({"size": {"shortest_edge": 32}}, "keeps the shape of each picture"),
        ({"size": {"longest_edge": 32}}, "resizes to {'longest_edge': 32}, which is no size"),
        (
            {
                "size": {"shortest_edge": 32},
                "do_center_crop": True,
                "crop_size": {"height": 8, "width": 16},
            },
            "which is not a square",
        ),
        (
            {"do_center_crop": True, "crop_size": {"height": 500, "width": 500}},
            "crops to more than",
        ),
        ({"do_rescale": False}, "does not scale pixels to 0..1"),
        ({"rescale_factor": 1 / 127.5}, "scales pixels to other values than 0..1"),
        ({"do_pad": True}, "pads"),
        ({"crop_pct": 0.875}, "enlarges pictures before it crops them"),
    ],
)
def test_a_processor_that_no_recipe_describes_is_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(vi.UnsupportedModel) as refusal:
        recipe(hf.ViTImageProcessor(**options), nn.Identity(), name="toy")
    assert "the image processor of toy, which " in refusal.value.found
    assert words in refusal.value.found
