"""Do the files that people have load right, tell what was not matched, or say why not?

The official archives are written here by a mapping of its own, from PyTorch's names to JAX's, and
read by a forward pass in plain NumPy that knows nothing of timm.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import json
import pickle
import re
import sys
import types
import typing
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.special import erf, softmax
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from typer.testing import CliRunner

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import sharpen
from vit_inspect.commands.app import app
from vit_inspect.layout import MEAN
from vit_inspect.loading.from_file import load_checkpoint
from vit_inspect.loading.from_timm import _resampled
from vit_inspect.loading.jax_names import torch_names
from vit_inspect.loading.weight_files import check_safetensors
from vit_inspect.loading.wrappers import read_weights

pytestmark = pytest.mark.slow

TINY = "test_vit"
Weights = dict[str, Tensor]


def network(architecture: str = TINY, seed: int = 0, **options: object) -> nn.Module:
    """A random network in which every weight tells."""
    torch.manual_seed(seed)
    module = timm.create_model(architecture, **options).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.std() < 1e-3 or parameter.numel() == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return module


@pytest.fixture(scope="module")
def tiny() -> Weights:
    """Of a network for 64 × 64 px, so that its file has a grid of its own."""
    return network(img_size=64).state_dict()


@pytest.fixture(scope="module")
def other() -> Weights:
    return network(img_size=64, seed=1).state_dict()


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def loaded(path: Path, architecture: str = TINY, **options: object) -> vi.Model:
    return vi.load(checkpoint=path, architecture=architecture, device="cpu", **options)


def adapted(model: vi.Model) -> tuple[str, ...]:
    """The notices without those on what no file holds, which stand last."""
    return tuple(
        each
        for each in model.notices
        if not each.startswith(("Not in the", "As the settings", "Warning"))
    )


def same(model: vi.Model, weights: Weights) -> bool:
    """Whether the network holds these weights and no others, to the bit."""
    held = model.module.state_dict()
    return held.keys() == weights.keys() and all(
        torch.equal(held[name], weights[name]) for name in held
    )


# The official archives.


def official(weights: Weights, heads: int) -> dict[str, np.ndarray]:
    """The arrays as google-research/vision_transformer names them, from PyTorch's names."""
    found: dict[str, np.ndarray] = {}
    for name, tensor in weights.items():
        array = tensor.numpy()
        parts = name.split(".")
        if name == "cls_token":
            found["cls"] = array
        elif name == "pos_embed":
            found["Transformer/posembed_input/pos_embedding"] = array
        elif parts[0] == "blocks":
            block = f"Transformer/encoderblock_{parts[1]}"
            found |= official_block(block, parts[2:], array, heads)
        elif parts[0] == "norm":
            found[f"Transformer/encoder_norm/{scale_or_bias(parts)}"] = array
        elif parts[0] == "head":
            found[f"head/{kernel_or_bias(parts)}"] = array.T
        elif parts[:2] == ["patch_embed", "proj"]:
            kernel = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            found[f"embedding/{kernel_or_bias(parts)}"] = kernel
        else:
            found |= official_stem(parts[2:], array)
    return found


def scale_or_bias(parts: list[str]) -> str:
    return {"weight": "scale", "bias": "bias"}[parts[-1]]


def kernel_or_bias(parts: list[str]) -> str:
    return {"weight": "kernel", "bias": "bias"}[parts[-1]]


def official_block(
    block: str, parts: list[str], array: np.ndarray, heads: int
) -> dict[str, np.ndarray]:
    kind = kernel_or_bias(parts)
    if parts[0] in ("norm1", "norm2"):
        number = {"norm1": 0, "norm2": 2}[parts[0]]
        return {f"{block}/LayerNorm_{number}/{scale_or_bias(parts)}": array}
    if parts[0] == "mlp":
        return {f"{block}/MlpBlock_3/Dense_{int(parts[1][-1]) - 1}/{kind}": array.T}
    attention = f"{block}/MultiHeadDotProductAttention_1"
    if parts[1] == "proj":
        if kind == "kernel":
            array = array.T.reshape(heads, -1, array.shape[0])
        return {f"{attention}/out/{kind}": array}
    found = {}
    for role, part in zip(("query", "key", "value"), np.split(array, 3), strict=True):
        shape = (part.shape[1], heads, -1) if kind == "kernel" else (heads, -1)
        found[f"{attention}/{role}/{kind}"] = part.T.reshape(shape)
    return found


def official_stem(parts: list[str], array: np.ndarray) -> dict[str, np.ndarray]:
    """The ResNet of a hybrid, below `patch_embed.backbone`."""
    kind = "gn" if "norm" in parts[-2] else "conv"
    if parts[0] == "stages":
        suffix = "_proj" if "downsample" in parts else parts[-2][-1]
        place = f"block{int(parts[1]) + 1}/unit{int(parts[3]) + 1}/{kind}{suffix}"
    else:
        place = f"{kind}_root"
    if kind == "conv":
        return {f"{place}/kernel": array.transpose(2, 3, 1, 0)}
    return {f"{place}/{scale_or_bias(parts)}": array[None, None, None]}


def normalised(tokens: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = tokens - tokens.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / spread * weights[f"{name}/scale"] + weights[f"{name}/bias"]


def logits(weights: dict[str, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """What the paper's model answers to (row, column, channel) pixels."""
    kernel = weights["embedding/kernel"]
    side, rows, columns = len(kernel), *(px // len(kernel) for px in pixels.shape[:2])
    patches = pixels.reshape(rows, side, columns, side, 3)
    embedded = np.einsum("rpcqd,pqdw->rcw", patches, kernel) + weights["embedding/bias"]
    tokens = np.concatenate([weights["cls"][0], embedded.reshape(rows * columns, -1)])
    tokens = tokens + weights["Transformer/posembed_input/pos_embedding"][0]
    for layer in range(6):
        block = f"Transformer/encoderblock_{layer}"
        seen = normalised(tokens, weights, f"{block}/LayerNorm_0")
        attention = f"{block}/MultiHeadDotProductAttention_1"
        query, key, value = (
            np.einsum("td,dhk->thk", seen, weights[f"{attention}/{role}/kernel"])
            + weights[f"{attention}/{role}/bias"]
            for role in ("query", "key", "value")
        )
        scores = np.einsum("qhk,thk->hqt", query, key) / np.sqrt(query.shape[-1])
        mixed = np.einsum("hqt,thk->qhk", softmax(scores, axis=-1), value)
        out = np.einsum("qhk,hkd->qd", mixed, weights[f"{attention}/out/kernel"])
        tokens = tokens + out + weights[f"{attention}/out/bias"]
        mlp = f"{block}/MlpBlock_3"
        seen = normalised(tokens, weights, f"{block}/LayerNorm_2")
        hidden = seen @ weights[f"{mlp}/Dense_0/kernel"] + weights[f"{mlp}/Dense_0/bias"]
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        tokens = tokens + hidden @ weights[f"{mlp}/Dense_1/kernel"]
        tokens = tokens + weights[f"{mlp}/Dense_1/bias"]
    read = normalised(tokens, weights, "Transformer/encoder_norm")[0]
    return read @ weights["head/kernel"] + weights["head/bias"]


def archived(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


@pytest.mark.parametrize("root", ["", "opt/target/"])
def test_an_official_archive_answers_as_the_paper_says(tmp_path: Path, root: str) -> None:
    module = network(img_size=64, num_classes=7)
    sharpen(module, 8)
    arrays = official(module.state_dict(), heads=2)
    path = archived(
        tmp_path / "ViT-Ti_16.npz", {root + name: each for name, each in arrays.items()}
    )
    model = loaded(path, dtype=torch.float64)
    pixels = np.random.default_rng(0).normal(size=(64, 64, 3))
    answer = model.module(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    expected = logits({name: each.astype(np.float64) for name, each in arrays.items()}, pixels)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(answer.numpy(), expected, rtol=0, atol=1e-9)
    assert model.source == f"file ViT-Ti_16.npz, as {TINY}"
    assert adapted(model) == (
        "Classifier of 7 classes taken from the file.",
        "Input size 64 × 64 px: the position table of 16 patches is taken for a square. If it "
        "is not, give its input size as img_size, such as 32x128.",
    )


@pytest.mark.parametrize(
    ("architecture", "heads"), [("vit_tiny_r_s16_p8_224", 3), ("vit_small_r26_s32_224", 6)]
)
def test_every_weight_of_a_hybrid_archive_lands(
    tmp_path: Path, architecture: str, heads: int
) -> None:
    weights = network(architecture).state_dict()
    arrays = official(weights, heads)
    path = archived(tmp_path / "R.npz", arrays)
    model = loaded(path, architecture)
    assert same(model, weights)
    assert not any("Unused" in notice for notice in model.notices)
    theirs = timm.create_model(architecture)
    theirs.load_pretrained(str(path))
    assert same(model, theirs.state_dict())
    # The filters as the first convolution applies them: centred, with a variance of one.
    kernel = arrays["conv_root/kernel"]
    centred = kernel - kernel.mean((0, 1, 2))
    applied = (centred / centred.std((0, 1, 2))).transpose(3, 2, 0, 1)
    np.testing.assert_allclose(model.filters.numpy(), applied, atol=1e-4)


def big_vision(weights: Weights, heads: int, stacked: bool) -> dict[str, np.ndarray]:
    """SigLIP's image tower as big_vision names it, and some of the text's beside it."""
    pool = {
        name.removeprefix("attn_pool."): value.numpy()
        for name, value in weights.items()
        if "attn_pool" in name
    }
    plain = official({name: v for name, v in weights.items() if "attn_pool" not in name}, heads)
    found = {}
    for name, array in plain.items():
        for old, new in (
            ("posembed_input/", ""),
            ("Attention_1", "Attention_0"),
            ("LayerNorm_2", "LayerNorm_1"),
            ("MlpBlock_3", "MlpBlock_0"),
        ):
            name = name.replace(old, new)
        found[name.replace("Transformer/pos_", "pos_")] = array
    if stacked:
        for name in [name for name in found if "encoderblock_0/" in name]:
            layers = [found.pop(name.replace("_0/", f"_{layer}/", 1)) for layer in range(6)]
            found[name.replace("encoderblock_0/", "encoderblock/")] = np.stack(layers)
    if pool:
        found["MAPHead_0/probe"] = pool["latent"]
    for kind in ("weight", "bias") if pool else ():
        google = kernel_or_bias([kind])
        attention = "MAPHead_0/MultiHeadDotProductAttention_0"
        roles = {"query": pool[f"q.{kind}"]}
        roles["key"], roles["value"] = np.split(pool[f"kv.{kind}"], 2)
        for role, array in roles.items():
            shape = (array.shape[-1], heads, -1) if kind == "weight" else (heads, -1)
            found[f"{attention}/{role}/{google}"] = array.T.reshape(shape)
        out = pool[f"proj.{kind}"]
        found[f"{attention}/out/{google}"] = (
            out.T.reshape(heads, -1, len(out)) if kind == "weight" else out
        )
        found[f"MAPHead_0/LayerNorm_0/{scale_or_bias([kind])}"] = pool[f"norm.{kind}"]
        for layer in (1, 2):
            name = f"MAPHead_0/MlpBlock_0/Dense_{layer - 1}/{google}"
            found[name] = pool[f"mlp.fc{layer}.{kind}"].T
    return {f"params/img/{name}": array for name, array in found.items()}


@pytest.mark.parametrize("stacked", [False, True])
def test_an_archive_of_big_vision_lands_too(stacked: bool) -> None:
    weights = network(global_pool="map", class_token=False, img_size=64).state_dict()
    arrays = big_vision(weights, 2, stacked)
    found = torch_names({name: torch.from_numpy(each) for name, each in arrays.items()})
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_what_an_archive_holds_besides_is_told(tiny: Weights, tmp_path: Path) -> None:
    arrays = big_vision(tiny, 2, stacked=True)
    arrays |= {"params/txt/Encoder_0/encoder_norm/scale": np.ones(3), "params/t": np.ones(1)}
    model = loaded(archived(tmp_path / "tower.npz", arrays))
    assert same(model, tiny)
    assert "params/txt/Encoder_0/encoder_norm/scale, params/t." in model.notices[1]


@pytest.mark.parametrize("root", ["", "opt/target/"])
def test_a_classifier_behind_another_layer_is_left_out(tmp_path: Path, root: str) -> None:
    arrays = official(network().state_dict(), heads=2)
    arrays |= {"pre_logits/kernel": np.eye(64, dtype=np.float32), "pre_logits/bias": np.ones(64)}
    model = loaded(archived(tmp_path / "in21k.npz", {root + n: a for n, a in arrays.items()}))
    assert model.labels is None
    assert adapted(model) == (
        "The file's classifier reads a layer that the architecture does not have (pre_logits): "
        "the model outputs a feature vector.",
        f"Unused parts of the file: {root}head (2 weights), {root}pre_logits (2 weights).",
    )


def test_jax_writes_bfloat16_as_two_bytes_without_a_name(tmp_path: Path) -> None:
    weights = {name: each.bfloat16() for name, each in network().state_dict().items()}
    arrays = official({name: each.float() for name, each in weights.items()}, heads=2)
    halves = {name: each.view(np.uint32) >> 16 for name, each in arrays.items()}
    path = archived(
        tmp_path / "half.npz",
        {name: each.astype(np.uint16).view("V2") for name, each in halves.items()},
    )
    assert same(loaded(path), {name: each.float() for name, each in weights.items()})


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8"])
def test_an_archive_under_pytorchs_names_lands_in_any_layout(
    tiny: Weights, tmp_path: Path, order: str, kind: str
) -> None:
    arrays = {name: np.asarray(each.numpy(), kind, order) for name, each in tiny.items()}
    assert same(loaded(archived(tmp_path / "mine.npz", arrays)), tiny)


# What training programs save.


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt", "bin", "old.pth"])
def test_a_checkpoint_gives_the_same_output(
    tmp_path: Path, chelsea: Image.Image, suffix: str
) -> None:
    module = network()
    path, state = tmp_path / f"mine.{suffix}", module.state_dict()
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=suffix != "old.pth")
    model = loaded(path)
    assert model.id == path.stem
    assert model.source == f"file {path.name}, as {TINY}"
    assert adapted(model) == ("Its 1,000 classes got ImageNet's names, as the number matches.",)
    assert torch.equal(vi.capture(model, chelsea).output, module(model.prepare(chelsea)))


def test_a_name_for_a_checkpoint_is_kept(tiny: Weights, tmp_path: Path) -> None:
    path = saved(tmp_path / "step-100.pth", tiny)
    assert vi.load("night run", checkpoint=path, architecture=TINY, device="cpu").id == "night run"


@pytest.mark.parametrize(
    ("wrap", "part", "left"),
    [
        (lambda own, other: {"model": own}, "model", ""),
        (lambda own, other: {"state_dict": own, "epoch": 3}, "state_dict", "epoch"),
        (
            lambda own, other: {"student": other, "teacher": own, "optimizer": {"state": {}}},
            "teacher",
            "student, optimizer",
        ),
        (lambda own, other: {"model": other, "model_ema": own}, "model_ema", "model"),
        (
            lambda own, other: {"state_dict": other, "state_dict_ema": own},
            "state_dict_ema",
            "state_dict",
        ),
        (lambda own, other: {"model": own, "model_ema": None}, "model", "model_ema"),
        (lambda own, other: {"net": own, "step": torch.ones(1)}, None, None),
        (lambda own, other: {"weights": own, "step": 7}, "weights", "step"),
        (
            lambda own, other: {"state_dict": {"model": own, "x": 1}, "y": 2},
            "state_dict.model",
            "y, state_dict.x",
        ),
        (
            lambda own, other: {"model": own, "args": argparse.Namespace(lr=0.1)},
            "model",
            "args",
        ),
    ],
)
def test_wrappers_are_opened_and_what_lies_beside_is_told(
    tiny: Weights,
    other: Weights,
    tmp_path: Path,
    wrap: Callable[[Weights, Weights], object],
    part: str | None,
    left: str | None,
) -> None:
    path = saved(tmp_path / "run.pth", wrap(tiny, other))
    if part is None:
        # A tensor beside the network may be its weight.
        with pytest.raises(vi.WeightsUnavailable, match="no weights of test_vit"):
            loaded(path)
        return
    model = loaded(path)
    assert same(model, tiny)
    assert model.notices[0] == f"Weights taken from the part '{part}' of the file."
    told = [notice for notice in model.notices if notice.startswith("Unused")]
    assert told == ([f"Unused parts of the file: {left}."] if left else [])


@pytest.mark.parametrize(
    "prefix",
    [
        "backbone.",
        "encoder.",
        "model.",
        "a.b.c.",
    ],
)
def test_prefixes_are_taken_off(tiny: Weights, tmp_path: Path, prefix: str) -> None:
    model = loaded(saved(tmp_path / "run.pth", {prefix + name: tiny[name] for name in tiny}))
    assert same(model, tiny)
    assert model.notices[0] == f"Weights taken from the part '{prefix[:-1]}' of the file."
    assert not any("Unused" in notice for notice in model.notices)


@pytest.mark.parametrize(
    ("wrapped", "part"),
    [
        # DataParallel, torch.compile of the whole and of single blocks, both at once.
        (lambda name: f"module.{name}", None),
        (lambda name: f"_orig_mod.module.{name}", None),
        (lambda name: f"module.backbone._orig_mod.{name}", "backbone"),
        (lambda name: re.sub(r"(blocks\.\d+\.)", r"\1_orig_mod.", name), None),
        # Activation checkpointing and FSDP, of blocks and of layers inside them.
        (lambda name: re.sub(r"(blocks\.\d+\.)", r"\1_checkpoint_wrapped_module.", name), None),
        (lambda name: name.replace(".attn.", ".attn._fsdp_wrapped_module."), None),
        (lambda name: f"_fsdp_wrapped_module.{name}".replace(".mlp.", ".mlp.module."), None),
        # Chunks of blocks, by DINOv2's own training.
        (lambda name: re.sub(r"blocks\.(\d+)\.", chunk, name), None),
        (lambda name: "backbone." + re.sub(r"blocks\.(\d+)\.", chunk, name), "backbone"),
        (lambda name: "module." + re.sub(r"blocks\.(\d+)\.", chunk, name), None),
    ],
)
def test_wrapper_words_are_taken_out_at_any_level(
    tiny: Weights, tmp_path: Path, wrapped: Callable[[str], str], part: str | None
) -> None:
    model = loaded(saved(tmp_path / "run.pth", {wrapped(name): tiny[name] for name in tiny}))
    assert same(model, tiny)
    told = [notice for notice in model.notices if "part" in notice]
    assert told == ([f"Weights taken from the part '{part}' of the file."] if part else [])


def chunk(found: re.Match[str]) -> str:
    """A block as DINOv2 counts it: by its chunk of three and its layer."""
    return f"blocks.{int(found[1]) // 3}.{found[1]}."


def test_names_that_would_be_one_are_kept_apart(tmp_path: Path) -> None:
    both = {"a.module.weight": torch.ones(2), "a.weight": torch.zeros(2)}
    assert read_weights(saved(tmp_path / "x.pth", both)).weights.keys() == both.keys()
    twice = {"blocks.0.1.weight": torch.ones(2), "blocks.2.1.weight": torch.zeros(2)}
    assert read_weights(saved(tmp_path / "x.pth", twice)).weights.keys() == twice.keys()


def test_of_student_and_teacher_under_prefixes_the_teacher_is_taken(
    tiny: Weights, other: Weights, tmp_path: Path
) -> None:
    names = [name for name in tiny if not name.startswith("head.")]
    both = {f"student.backbone.{name}": other[name] for name in names}
    both |= {f"teacher.backbone.{name}": tiny[name] for name in names}
    model = loaded(saved(tmp_path / "dinov2.pth", {"model": both}))
    assert same(model, {name: tiny[name] for name in names})
    assert model.notices[0] == "Weights taken from the part 'model.teacher.backbone' of the file."
    assert "student.backbone.blocks (72 weights)" in adapted(model)[-1]


def test_of_two_networks_none_is_guessed(tiny: Weights, other: Weights, tmp_path: Path) -> None:
    both = {f"module.one.{name}": tiny[name] for name in tiny}
    both |= {f"module.two.{name}": other[name] for name in tiny}
    path = saved(tmp_path / "both.pth", both)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert refusal.value.found == "several networks in 'both.pth' (one., two.)"
    assert refusal.value.remedy == "name one of them, such as part='one'"
    assert same(loaded(path, part="one"), tiny)
    assert same(loaded(path, part="two"), other)
    assert same(loaded(path, part="module.two"), other)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path, part="three")
    assert str(refusal.value) == (
        "Found no part 'three' in 'both.pth'; expected one of one, two; "
        "name another part, or leave it out."
    )


def test_of_a_hundred_networks_none_is_compared(tiny: Weights, tmp_path: Path) -> None:
    heads = {f"head{number}.blocks.0.scale": torch.ones(1) for number in range(101)}
    with pytest.raises(vi.WeightsUnavailable, match=r"^Found 101 networks in 'many\.pth'"):
        loaded(saved(tmp_path / "many.pth", tiny | heads))


def test_an_architecture_of_far_more_weights_than_the_file_is_never_made(
    tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "tiny.pth", tiny)
    made: list[nn.Module] = []
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *given, **said: made.append(create(*given, **said)) or made[-1]
    )
    with pytest.raises(vi.WeightsUnavailable, match=r"in 'tiny.pth', but 630,764,800 in vit_huge"):
        loaded(path, "vit_huge_patch14_224")
    # What an option makes of it counts too.
    with pytest.raises(vi.WeightsUnavailable, match=r"in 'tiny.pth', but [\d,]+ in test_vit;"):
        loaded(path, arch_options={"embed_dim": 6400})
    # Quantised weights need scales beside them, and count as none.
    monkeypatch.setattr("vit_inspect.loading.from_file.LACKING", 0)
    path = saved(tmp_path / "bytes.pth", tiny | {"many": torch.zeros(10**7, dtype=torch.uint8)})
    with pytest.raises(vi.WeightsUnavailable, match=r"in 'bytes.pth', but [\d,]+ in test_vit;"):
        loaded(path, arch_options={"embed_dim": 128})
    assert {weight.device.type for module in made for weight in module.parameters()} == {"meta"}


@pytest.mark.parametrize("name", ["patch_embed.proj.weight", "visual.conv1.weight"])
def test_large_filters_are_not_resampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        "timm.models.vision_transformer.resample_patch_embed",
        lambda weight, *_, **__: asked.append(weight) or torch.zeros(64, 3, 16, 16),
    )
    state = network().state_dict()
    filters = {name: torch.zeros(1, 1, 65, 65)}
    if name.startswith("visual."):
        filters["visual.class_embedding"] = torch.zeros(64)
    path = saved(tmp_path / "large.pth", filters)
    with pytest.raises(vi.WeightsUnavailable):
        loaded(path)
    assert not asked
    # A table of positions is as large, and is none.
    path = saved(tmp_path / "table.pth", state | {"pos_embed": torch.zeros(1, 100, 100, 64)})
    with pytest.raises(vi.WeightsUnavailable, match="a position table of 100 tokens"):
        loaded(path)


def test_filters_of_another_count_say_no_channels(tmp_path: Path) -> None:
    weights = network().state_dict() | {"patch_embed.proj.weight": torch.zeros(1, 1000, 16, 16)}
    with pytest.raises(vi.WeightsUnavailable, match=r"1 × 1000 × 16 × 16.*64 × 3 × 16 × 16"):
        loaded(saved(tmp_path / "channels.pth", weights))


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("head.weight", torch.zeros(10**12, 0)),
        ("head.weight", torch.zeros(1_000_000, 1)),
        ("pos_embed", torch.zeros(1, 10**12, 0)),
        ("pos_embed", torch.zeros(1, 1 + 1000**2, 1)),
        ("patch_embed.proj.weight", torch.zeros(64, 10**9, 16, 0)),
    ],
    ids=["classes of no values", "narrow classes", "no positions", "narrow positions", "channels"],
)
def test_a_shape_that_claims_more_than_its_bytes_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, weight: Tensor
) -> None:
    path = tmp_path / "claims.safetensors"
    save_file(network().state_dict() | {name: weight}, path)
    asked: list[object] = []
    monkeypatch.setattr(VisionTransformer, "reset_classifier", lambda _, count: asked.append(count))
    monkeypatch.setattr(VisionTransformer, "set_input_size", lambda _, **said: asked.append(said))
    with pytest.raises(vi.WeightsUnavailable, match=re.escape(name)):
        loaded(path)
    assert asked in ([], [0])


@pytest.mark.parametrize(
    ("arranged", "average", "online"),
    [
        # I-JEPA and V-JEPA, training programs with an "ema" beside the model, BYOL.
        (
            lambda mean, own: {"encoder": own, "predictor": {}, "target_encoder": mean, "epoch": 1},
            "target_encoder",
            "encoder",
        ),
        (lambda mean, own: {"model": own, "ema": mean, "step": 1}, "ema", "model"),
        (lambda mean, own: {"state_dict": own, "ema_state_dict": mean}, "ema_state_dict", None),
        (
            lambda mean, own: {"model": {"online": own, "ema_model": mean}},
            "model.ema_model",
            "model.online",
        ),
        # Programs for super-resolution and for segmentation.
        (lambda mean, own: {"params": own, "params_ema": mean}, "params_ema", "params"),
        (lambda mean, own: {"net": own, "net_ema": mean}, "net_ema", "net"),
        (lambda mean, own: {"model": own, "avg_model": mean}, "avg_model", "model"),
        # Lightning's callbacks: the weights by their names there, or those of a wrapper.
        (
            lambda mean, own: {
                "state_dict": {f"model.{name}": own[name] for name in own},
                "callbacks": {
                    "EMACallback{'decay': 0.999}": {
                        "ema_state_dict": {f"model.{name}": mean[name] for name in mean}
                    },
                    "ModelCheckpoint": {"best": 0.7},
                },
            },
            "ema_state_dict",
            "state_dict.model",
        ),
        (
            lambda mean, own: {
                "state_dict": own,
                "callbacks": {"WeightEMA": {f"module.{name}": mean[name] for name in mean}},
            },
            "callbacks.WeightEMA",
            "state_dict",
        ),
        (
            lambda mean, own: {
                "state_dict": {f"net.{name}": own[name] for name in own},
                "callbacks": {
                    "StochasticWeightAveraging": {
                        "average_model_state": {f"net.{name}": mean[name] for name in mean}
                    }
                },
            },
            "StochasticWeightAveraging",
            "net",
        ),
        # Latent diffusion takes the dots out of the names, and counts the steps beside them.
        (
            lambda mean, own: {
                "state_dict": {f"model.{name}": own[name] for name in own}
                | {f"model_ema.{name.replace('.', '')}": mean[name] for name in mean}
                | {"model_ema.decay": torch.tensor(0.9), "model_ema.num_updates": torch.tensor(3)}
            },
            "model_ema",
            "model",
        ),
        (
            lambda mean, own: own | {f"ema.{name.replace('.', '')}": mean[name] for name in mean},
            "ema",
            None,
        ),
        (
            lambda mean, own: (
                {f"model.vit.{name}": own[name] for name in own}
                | {f"model_ema.vit{name.replace('.', '')}": mean[name] for name in mean}
            ),
            "model_ema",
            "model",
        ),
        # MoCo v3 names both networks inside one dictionary.
        (
            lambda mean, own: {
                "state_dict": {f"module.base_encoder.{name}": own[name] for name in own}
                | {f"module.momentum_encoder.{name}": mean[name] for name in mean}
            },
            "momentum_encoder",
            "base_encoder",
        ),
    ],
)
def test_averages_go_first_and_a_part_can_be_named(
    tiny: Weights,
    other: Weights,
    tmp_path: Path,
    arranged: Callable[[Weights, Weights], object],
    average: str,
    online: str | None,
) -> None:
    path = saved(tmp_path / "run.pth", arranged(tiny, other))
    model = loaded(path)
    assert same(model, tiny)
    assert average in model.notices[0]
    assert same(loaded(path, part=average), tiny)
    if online is not None:
        named = loaded(path, part=online)
        assert same(named, other)
        assert online in named.notices[0]
        assert [each for each in named.notices if "An average or a teacher" in each]
    assert not [each for each in model.notices if "An average or a teacher" in each]


def unfixed(weights: Weights) -> Weights:
    """Without the table of positions, which an average of what is trained lacks."""
    return {name: each for name, each in weights.items() if name != "pos_embed"}


@pytest.mark.parametrize(
    ("arranged", "told", "asked", "words"),
    [
        (
            lambda mean, own: {"model": own, "ema": {"shadow_params": list(mean.values())}},
            "ema.shadow_params",
            "ema",
            "whose weights have no names",
        ),
        (
            lambda mean, own: {
                "state_dict": own,
                "callbacks": {"EMA": {"ema_weights": list(mean.values())}},
            },
            "callbacks.EMA.ema_weights",
            "ema_weights",
            "whose weights have no names",
        ),
        (
            lambda mean, own: {"state_dict": own, "optimizer_states": [{"ema": (*mean.values(),)}]},
            "optimizer_states.0.ema",
            "ema",
            "whose weights have no names",
        ),
        (
            lambda mean, own: {"state_dict": own, "callbacks": {"EMA": unfixed(mean)}},
            "callbacks.EMA",
            "callbacks.EMA",
            "lacks weights of test_vit (pos_embed)",
        ),
        (
            lambda mean, own: (
                {f"model.{name}": own[name] for name in own}
                | {
                    f"model_ema.{name.replace('.', '')}": each
                    for name, each in unfixed(mean).items()
                }
            ),
            "model_ema",
            "model_ema",
            "lacks weights of test_vit (pos_embed)",
        ),
        # A joined name that could stand for two weights stands for none.
        (
            lambda mean, own: (
                {f"model.{name}": own[name] for name in own}
                | {f"model_ema.{name.replace('.', '')}": mean[name] for name in mean}
                | {"model.normweight": torch.ones(2)}
            ),
            "model_ema",
            "model_ema",
            "no part 'model_ema'",
        ),
    ],
    ids=["torch_ema", "callback", "optimiser", "partial", "joined", "ambiguous"],
)
def test_an_average_that_cannot_be_shown_is_told_by_its_name(
    tiny: Weights,
    other: Weights,
    tmp_path: Path,
    arranged: Callable[[Weights, Weights], object],
    told: str,
    asked: str,
    words: str,
) -> None:
    path = saved(tmp_path / "run.pth", arranged(tiny, other))
    model = loaded(path, ignore=["model.normweight"] if words.startswith("no part") else [])
    assert same(model, other)
    assert f"An average or a teacher in the file is not shown: {told}." in model.notices
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path, part=asked)
    assert words in refusal.value.found


def test_of_two_averages_none_is_guessed(tiny: Weights, other: Weights, tmp_path: Path) -> None:
    run = {"state_dict": other, "callbacks": {"EMA": tiny, "SWA": other}}
    path = saved(tmp_path / "run.ckpt", run)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert refusal.value.remedy == "name one of them, such as part='callbacks.EMA'"
    assert same(loaded(path, part="callbacks.EMA"), tiny)
    assert same(loaded(path, part="SWA"), other)


def test_a_part_is_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(vi.BadParameter, match="part='teacher' without a file of weights"):
        vi.load("dinov2_small", part="teacher")
    with pytest.raises(vi.BadParameter, match="part='teacher' without a file of weights"):
        vi.load(checkpoint=tmp_path, architecture="transformers", part="teacher")


class Split(enum.Enum):
    TRAIN = "train"


class Stage(enum.IntFlag):
    FIRST = 1
    LAST = 2


@dataclasses.dataclass
class Settings:
    num_heads: int = 4
    split: Split = Split.TRAIN

    class Inner:
        def __init__(self) -> None:
            self.depth = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    rate: float = 0.1


class Scores(typing.NamedTuple):
    top: object
    best: object = 0.9


class Members(dict[str, object]):
    pass


class Marked(Tensor):
    pass


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize(
    "beside",
    [
        Split.TRAIN,
        {Split.TRAIN: 0.3},
        Stage.FIRST | Stage.LAST,
        Settings(),
        Settings.Inner(),
        Fixed(),
        Scores(0.7),
        types.SimpleNamespace(lr=0.1),
        torch.__version__,
        np.float64(0.9),
        np.arange(3.0),
        np.array(["a", {}], dtype=object),
        argparse.Namespace(out=Path("/runs"), seed=np.int64(3)),
        datetime.datetime.now(datetime.UTC),
        collections.defaultdict(list, {"loss": [0.1]}),
        collections.deque([0.1, 0.2], maxlen=9),
        np.random.default_rng(0),
        {"lr": np.float32(0.1), "when": datetime.timedelta(1), "which": slice(0, 3)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_beside_the_weights_are_passed_over(
    tmp_path: Path, beside: object, new: bool
) -> None:
    weights = {"blocks.0.attn.qkv.weight": torch.ones(3, 3)}
    path = tmp_path / "best.pth"
    torch.save({"model": weights, "best": beside}, path, _use_new_zipfile_serialization=new)
    file = read_weights(path)
    assert torch.equal(file.weights["blocks.0.attn.qkv.weight"], torch.ones(3, 3))
    assert file.left_out.keys() == {"best"}


def test_settings_of_other_packages_are_passed_over_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, name, base in (
        ("easydict", "EasyDict", dict),
        ("omegaconf", "ListConfig", list),
        ("mmengine", "HistoryBuffer", object),
    ):
        kind = type(name, (base,), {"__module__": package})
        module = types.ModuleType(package)
        setattr(module, name, kind)
        monkeypatch.setitem(sys.modules, package, module)
    settings = sys.modules["easydict"].EasyDict(lr=0.1)
    settings.seed = settings["seed"] = 3
    settings["steps"] = sys.modules["omegaconf"].ListConfig([1, 2])
    settings["losses"] = sys.modules["mmengine"].HistoryBuffer()
    settings["losses"].values = [0.3]
    path = saved(tmp_path / "x.pth", {"model": {"w": torch.ones(2)}, "config": settings})
    for package in ("easydict", "omegaconf", "mmengine"):
        monkeypatch.setitem(sys.modules, package, None)
    assert read_weights(path).left_out.keys() == {"config"}


def test_settings_in_an_object_are_believed(tiny: Weights, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"model": tiny, "args": Settings(num_heads=4)})
    model = loaded(path)
    assert "As the settings beside the weights say: num_heads=4." in model.notices
    assert model.blocks[0].attn.num_heads == 4


@pytest.mark.parametrize("held", [Scores(torch.ones(2)), Scores(0.7, best={"w": torch.ones(2)})])
def test_weights_in_an_object_beside_are_judged(
    tiny: Weights, tmp_path: Path, held: object
) -> None:
    for content in ({"model": tiny, "adapter": held}, tiny | {"adapter": held}):
        with pytest.raises(vi.WeightsUnavailable, match=r"no place for \(adapter\)"):
            loaded(saved(tmp_path / "x.pth", content))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (Members(a=1), "objects in the checkpoint 'x.pth' that cannot be passed over (tests"),
        (torch.ones(2).as_subclass(Marked), "objects in the checkpoint 'x.pth' that cannot be pas"),
        (len, "code in the checkpoint 'x.pth' (len), which was not run"),
    ],
    ids=["dictionary", "tensor", "function"],
)
def test_what_is_no_plain_value_is_refused(
    tiny: Weights, tmp_path: Path, content: object, found: str
) -> None:
    path = saved(tmp_path / "x.pth", {"model": tiny, "x": content})
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert refusal.value.found.startswith(found)
    assert "state_dict()" in refusal.value.remedy


class Bare(nn.Module):
    """A network without a layer of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(3))


def test_a_whole_network_without_a_layer_of_torch_is_refused(tmp_path: Path) -> None:
    for content in (Bare(), {"model": Bare(), "epoch": 3}):
        with pytest.raises(vi.WeightsUnavailable, match=r"objects and no weights in 'x\.pth'"):
            read_weights(saved(tmp_path / "x.pth", content))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_another_pickle_protocol_is_told(tiny: Weights, tmp_path: Path) -> None:
    torch.save(tiny, tmp_path / "x.pth", pickle_protocol=4)
    with pytest.raises(vi.WeightsUnavailable, match=r"'x\.pth' of another pickle protocol than"):
        loaded(tmp_path / "x.pth")


def test_what_cannot_be_passed_over_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("yacs")
    module.Settings = type("Settings", (dict,), {"__module__": "yacs"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", module)
    path = saved(tmp_path / "x.pth", {"model": {"w": torch.ones(2)}, "c": module.Settings(a=1)})
    with pytest.raises(
        vi.WeightsUnavailable,
        match=r"objects in the checkpoint 'x.pth' that cannot be passed over \(yacs\.Settings\)",
    ):
        read_weights(path)


def test_dino_is_read_as_its_authors_save_it(tiny: Weights, other: Weights, tmp_path: Path) -> None:
    backbone = {name: each for name, each in tiny.items() if not name.startswith("head.")}
    head = {
        "head.mlp.0.weight": torch.ones(4, 64),
        "head.mlp.0.bias": torch.ones(4),
        "head.last_layer.weight_g": torch.ones(8, 1),
    }
    run = {
        "student": {f"module.backbone.{name}": other[name] for name in backbone},
        "teacher": {f"backbone.{name}": each for name, each in backbone.items()} | head,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_tiny"),
        "dino_loss": {"center": torch.ones(1, 8)},
    }
    model = loaded(saved(tmp_path / "checkpoint.pth", run))
    assert same(model, backbone)
    assert model.labels is None
    assert adapted(model) == (
        "Weights taken from the part 'teacher.backbone' of the file.",
        "The file has no classifier: the model outputs a feature vector.",
        "Input size 64 × 64 px: the position table of 16 patches is taken for a square. If it "
        "is not, give its input size as img_size, such as 32x128.",
        "Unused parts of the file: student, optimizer, epoch, args, dino_loss, "
        "head.mlp (2 weights), head.last_layer.weight_g.",
    )


def test_dinov2_with_registers_is_read_as_its_authors_save_it(tmp_path: Path) -> None:
    architecture = "vit_small_patch14_reg4_dinov2"
    weights = network(architecture).state_dict()
    theirs = {name: each for name, each in weights.items() if name != "reg_token"}
    theirs["register_tokens"] = weights["reg_token"]
    theirs["mask_token"] = torch.ones(1, 384)
    place = torch.randn(1, 1, 384)
    theirs["cls_token"] = weights["cls_token"] - place
    theirs["pos_embed"] = torch.cat([place, weights["pos_embed"]], dim=1)
    model = loaded(saved(tmp_path / "dinov2_vits14_reg4_pretrain.pth", theirs), architecture)
    held = model.module.state_dict()
    torch.testing.assert_close(held.pop("cls_token"), weights.pop("cls_token"))
    assert all(torch.equal(held[name], weights[name]) for name in weights)
    assert adapted(model) == ("Unused parts of the file: mask_token.",)
    assert model.layout.prefix == ("cls", "reg1", "reg2", "reg3", "reg4")


def test_mae_leaves_its_decoder_behind(tiny: Weights, tmp_path: Path) -> None:
    encoder = {name: each for name, each in tiny.items() if not name.startswith("head.")}
    decoder = {
        "mask_token": torch.ones(1, 1, 8),
        "decoder_pos_embed": torch.ones(1, 17, 8),
        "decoder_embed.weight": torch.ones(8, 64),
        "decoder_embed.bias": torch.ones(8),
        "decoder_blocks.0.norm1.weight": torch.ones(8),
        "decoder_blocks.1.norm1.weight": torch.ones(8),
        "decoder_norm.weight": torch.ones(8),
    }
    model = loaded(saved(tmp_path / "mae_pretrain.pth", {"model": encoder | decoder}))
    assert same(model, encoder)
    assert adapted(model)[-1] == (
        "Unused parts of the file: mask_token, decoder_pos_embed, decoder_embed (2 weights), "
        "decoder_blocks (2 weights), decoder_norm.weight."
    )


def test_mae_fine_tuned_reads_the_mean(tmp_path: Path, chelsea: Image.Image) -> None:
    module = network(global_pool="avg", num_classes=5)
    path = saved(tmp_path / "mae_finetuned.pth", {"model": module.state_dict()})
    model = loaded(path)
    assert model.layout.readout == MEAN
    assert (
        model.notices[1]
        == "Read-out: mean of the patches, because the file has fc_norm and no norm."
    )
    assert torch.equal(vi.capture(model, chelsea).output, module(model.prepare(chelsea)))


def test_deit3_names_its_layer_scales_otherwise(tmp_path: Path) -> None:
    architecture = "deit3_small_patch16_224"
    weights = network(architecture).state_dict()
    theirs = {
        name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): each
        for name, each in weights.items()
    }
    assert same(loaded(saved(tmp_path / "deit3.pth", {"model": theirs}), architecture), weights)


def test_what_was_left_out_is_told_in_inference_mode_too(tiny: Weights, tmp_path: Path) -> None:
    """Where autograd, which knows what each weight was turned and joined from, is off."""
    arrays = official(tiny, heads=2) | {"mask_token": np.ones(1)}
    with torch.inference_mode():
        model = loaded(archived(tmp_path / "run.npz", arrays))
    assert same(model, tiny)
    assert "Unused parts of the file: mask_token." in model.notices


def test_halves_are_read_exactly(tiny: Weights, tmp_path: Path) -> None:
    halves = {name: each.bfloat16() for name, each in tiny.items()}
    assert same(
        loaded(saved(tmp_path / "half.pth", halves)), {n: h.float() for n, h in halves.items()}
    )


def test_a_list_of_what_was_left_out_ends(tiny: Weights, tmp_path: Path) -> None:
    more = {f"decoder_part{number}.weight": torch.ones(1) for number in range(14)}
    notices = loaded(saved(tmp_path / "run.pth", tiny | more)).notices
    assert any(
        each.endswith("_part10.weight, decoder_part11.weight and 2 more parts.") for each in notices
    )


def test_names_of_strangers_are_cut_and_cleaned(tiny: Weights, tmp_path: Path) -> None:
    more = {"\x1b[31m" + "long" * 40: torch.ones(1)}
    path = saved(tmp_path / "run.pth", tiny | more)
    words = f"[31m{'long' * 18}l..."
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert f"({words})" in refusal.value.found
    notices = loaded(path, ignore="*long").notices
    assert f"Left out as asked, although they may matter: {words}." in notices


# Architectures with options.


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 4},
        {"init_values": 1e-5},
        {"reg_tokens": 4},
        {"class_token": False, "global_pool": "avg"},
        {"patch_size": 4, "img_size": 32},
        {"depth": 3},
        {"qk_norm": True},
        {"depth": 2, "reg_tokens": 1, "num_heads": 4, "act_layer": "quick_gelu"},
    ],
    ids=str,
)
def test_a_network_that_was_made_with_options_is_the_same_again(
    tmp_path: Path, chelsea: Image.Image, options: dict[str, object]
) -> None:
    module = network(num_classes=10, **options)
    sharpen(module)
    path = saved(tmp_path / "run.pth", module.state_dict())
    given = {each: value for each, value in options.items() if each != "img_size"}
    model = loaded(path, arch_options=given)
    capture = vi.capture(model, chelsea)
    assert torch.equal(capture.output, module(model.prepare(chelsea)))
    assert capture.head_count == options.get("num_heads", 2)
    assert all(f"{each}={value!r}" in model.source for each, value in given.items())
    made_without = {"num_heads", "act_layer"}
    if not options.keys() <= made_without:
        with pytest.raises(vi.InspectError):
            loaded(path)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"heads": 12}, "options heads=12 that 'test_vit' cannot have"),
        ({"depth": "six"}, "options depth='six' that 'test_vit' cannot have"),
        ({"num_heads": 5}, "options num_heads=5 that 'test_vit' cannot have"),
        ({"pretrained": True}, "the architecture's option 'pretrained'"),
        ({"img_size": 64}, "the architecture's option 'img_size'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tiny: Weights, tmp_path: Path, options: dict[str, object], found: str
) -> None:
    path = saved(tmp_path / "run.pth", tiny)
    with pytest.raises(vi.BadParameter) as refusal:
        loaded(path, arch_options=options)
    assert refusal.value.found.startswith(found)


@pytest.mark.usefixtures("numbers_only")
def test_the_command_line_takes_options_parts_and_what_may_go(tmp_path: Path) -> None:
    noise((60, 40), 0).save(tmp_path / "photo.png")
    weights = network(img_size=64, num_heads=4, depth=2, qk_norm=True).state_dict()
    both = {"teacher": network(seed=1).state_dict(), "student": weights | {"sie": torch.ones(1)}}
    words = ["figures", tmp_path / "photo.png", "--out", tmp_path / "out"]
    words += ["--checkpoint", saved(tmp_path / "run.pth", both), "--architecture", TINY]
    words += ["--arch-option", "num_heads=4", "--arch-option", "depth=2"]
    words += ["--arch-option", "qk_norm=True", "--part", "student", "--ignore", "sie"]
    CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())["model"]
    assert told["weights"] == "file run.pth, as test_vit with num_heads=4, depth=2, qk_norm=True"
    assert "Weights taken from the part 'student' of the file." in told["notices"]
    assert "Left out as asked, although they may matter: sie." in told["notices"]
    done = CliRunner().invoke(app, [*map(str, words), "--arch-option", "depth"])
    assert done.exit_code == 2
    assert "Found the option 'depth' of the architecture; expected NAME=VALUE" in done.stderr


# What finds no place.


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        # Camera embeddings (TransReID), prompts (VPT), adapters, LoRA, the norm of CLIP.
        ({"sie_embed": torch.ones(3, 1, 64)}, "sie_embed"),
        ({"base.sie_embed": torch.ones(3, 1, 64)}, "base.sie_embed"),
        ({"prompt_embeddings": torch.ones(1, 5, 64)}, "prompt_embeddings"),
        ({"blocks.0.adaptmlp.down_proj.weight": torch.ones(4, 64)}, "blocks.0.adaptmlp.down_proj"),
        ({"blocks.0.attn.qkv.lora_A": torch.ones(4, 64)}, "blocks.0.attn.qkv.lora_A"),
        ({"lora.blocks.0.attn.qkv": torch.ones(4, 64)}, "lora.blocks.0.attn.qkv"),
        ({"adapters.0.weight": torch.ones(4, 64)}, "adapters.0.weight"),
        ({"interactions.0.gamma": torch.ones(64)}, "interactions.0.gamma"),
        ({"ln_pre.weight": torch.ones(64)}, "ln_pre.weight"),
        ({"level_embed": torch.ones(3, 64)}, "level_embed"),
        # Words of wrappers say nothing of what is inside them.
        ({"encoder.adapter.weight": torch.ones(4, 64)}, "encoder.adapter.weight"),
        ({"model.sie_embed": torch.ones(4, 64)}, "model.sie_embed"),
        ({"patch_embed.proj.lora_B": torch.ones(4, 64)}, "patch_embed.proj.lora_B"),
        ({"patch_embed.linear.weight": torch.ones(4, 64)}, "patch_embed.linear.weight"),
        ({"input_proj.weight": torch.ones(4, 64)}, "input_proj.weight"),
        ({"head_norm.weight": torch.ones(64)}, "head_norm.weight"),
        # Rotary positions, in a network that has none: learned, or computed from the place.
        ({"rope.freqs": torch.ones(2, 16)}, "rope.freqs"),
        ({"rope.freqs_cos": torch.ones(16, 16)}, "rope.freqs_cos"),
    ],
)
def test_what_may_change_the_output_is_refused_by_its_name_or_let_go_by_hand(
    tiny: Weights, tmp_path: Path, changed: Weights, named: str
) -> None:
    path = saved(tmp_path / "run.pth", {"model": tiny | changed})
    with pytest.raises(vi.WeightsUnavailable, match="has no place for") as refusal:
        loaded(path)
    assert named in refusal.value.found
    [name] = changed
    model = loaded(path, ignore=[name])
    assert same(model, tiny)
    assert f"Left out as asked, although they may matter: {name}." in model.notices
    assert not any("Unused" in notice for notice in model.notices)


def test_what_may_change_the_output_is_refused_beside_the_network_too(
    tiny: Weights, tmp_path: Path
) -> None:
    path = saved(tmp_path / "run.pth", {"model": tiny, "prompt": {"tokens": torch.ones(2, 64)}})
    with pytest.raises(vi.WeightsUnavailable, match=r"has no place for \(prompt\)"):
        loaded(path)
    assert same(loaded(path, ignore=["prompt"]), tiny)
    # Numbers are no weights.
    assert same(loaded(saved(path, {"model": tiny, "prompt": {"tokens": 3}})), tiny)


def test_trained_biases_that_the_conversion_drops_are_refused_and_those_of_0_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = "vit_small_patch16_dinov3"
    weights = network(plain, img_size=64).state_dict()
    biases = {f"blocks.{layer}.attn.qkv.bias": torch.zeros(3 * 384) for layer in range(12)}
    biases["rope_embed.periods"] = torch.ones(16)
    authors = {name.replace("reg_token", "storage_tokens"): each for name, each in weights.items()}
    path = saved(tmp_path / "dinov3.pth", authors | biases)
    assert same(loaded(path, plain), weights)
    assert capsys.readouterr().out == ""
    biases["blocks.7.attn.qkv.bias"][3] = 1e-3
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(saved(path, authors | biases), plain)
    assert f"that {plain} has no place for (blocks.7.attn.qkv.bias)" in refusal.value.found
    model = loaded(path, plain, ignore=["blocks.*.attn.qkv.bias"])
    assert "Left out as asked" in model.notices[0]


def test_trained_biases_of_keys_have_no_place_beside_those_of_queries(tmp_path: Path) -> None:
    """timm's variant with biases has them for queries and values; DINOv3's own are one vector."""
    architecture = "vit_small_patch16_dinov3_qkvb"
    weights = network(architecture, img_size=64, depth=2).state_dict()
    fused = {}
    for name, each in weights.items():
        if name.endswith("q_bias"):
            parts = each, torch.zeros_like(each), weights[name.replace("q_bias", "v_bias")]
            fused[name.replace("q_bias", "qkv.bias")] = torch.cat(parts)
        elif not name.endswith("v_bias"):
            fused[name.replace("reg_token", "storage_tokens")] = each
    fused["rope_embed.periods"] = torch.ones(16)
    path = saved(tmp_path / "dinov3.pth", fused)
    assert same(loaded(path, architecture, arch_options={"depth": 2}), weights)
    fused["blocks.1.attn.qkv.bias"][400] = 1e-3
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(saved(path, fused), architecture, arch_options={"depth": 2})
    assert f"that {architecture} has no place for (blocks.1.attn.qkv.bias)" in refusal.value.found


@pytest.mark.parametrize(
    "known",
    [
        {"mask_token": torch.ones(1, 1, 64)},
        {"decoder_blocks.0.attn.qkv.weight": torch.ones(3, 3), "decoder_pred.bias": torch.ones(3)},
        {
            "head.mlp.0.weight": torch.ones(4, 64),
            "dino_head.last_layer.weight_v": torch.ones(4, 64),
        },
        {"projector.0.weight": torch.ones(4, 64), "predictor.0.weight": torch.ones(4, 64)},
        {
            "transformer.resblocks.0.attn.in_proj_weight": torch.ones(4),
            "logit_scale": torch.ones(1),
        },
        {
            "text.transformer.layers.0.weight": torch.ones(4),
            "token_embedding.weight": torch.ones(4),
        },
        {"queue": torch.ones(9, 9), "queue_ptr": torch.zeros(1, dtype=torch.long)},
        {"blocks.0.attn.relative_position_index": torch.ones(4, 4)},
        {"model.decoder.weight": torch.ones(3), "encoder.head.weight": torch.ones(3)},
        {"blocks.0.attn.qkv.extra_bias": torch.zeros(9)},
        {
            "prompt_encoder.not_a_point_embed.weight": torch.ones(1, 4),
            "mask_decoder.transformer.layers.0.norm1.weight": torch.ones(4),
        },
    ],
    ids=lambda known: next(iter(known)),
)
def test_what_is_known_to_be_beside_the_network_goes_with_a_notice(
    tiny: Weights, tmp_path: Path, known: Weights
) -> None:
    model = loaded(saved(tmp_path / "run.pth", tiny | known))
    assert same(model, tiny)
    assert any(notice.startswith("Unused parts of the file: ") for notice in model.notices)


def test_a_name_to_ignore_must_be_there(tiny: Weights, tmp_path: Path) -> None:
    path = saved(tmp_path / "run.pth", tiny | {"sie_embed": torch.ones(3)})
    with pytest.raises(vi.BadParameter) as refusal:
        loaded(path, ignore=["sie_embed", "prompt"])
    assert str(refusal.value) == (
        "Found nothing called 'prompt' among what 'run.pth' has and the network does not; "
        "expected some of sie_embed; leave it out of ignore."
    )


# Classifiers of another size.


def headed(count: int, tiny: Weights) -> Weights:
    return tiny | {"head.weight": torch.randn(count, 64), "head.bias": torch.randn(count)}


def test_a_fine_tuned_classifier_has_classes_of_its_own(tiny: Weights, tmp_path: Path) -> None:
    weights = headed(10, tiny)
    model = loaded(saved(tmp_path / "pets.pth", weights))
    assert same(model, weights)
    assert model.labels == tuple(f"class {number}" for number in range(10))
    assert model.notices[0] == "Classifier of 10 classes taken from the file."
    found = vi.predictions(vi.capture(model, noise((70, 70), 0)))
    assert set(found.labels[0]) <= set(model.labels)


def test_names_that_came_with_other_classes_are_not_given(
    tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = timm.create_model
    told = {"label_names": [f"street {number}" for number in range(1000)]}
    monkeypatch.setattr(
        "timm.create_model", lambda *args, **kw: real(*args, pretrained_cfg_overlay=told, **kw)
    )
    path = saved(tmp_path / "pets.pth", headed(10, tiny))
    assert loaded(path).labels[3] == "class 3"


def test_classes_learned_over_captions_are_classes(tmp_path: Path) -> None:
    architecture = "vit_xsmall_patch16_clip_224"
    weights = network(architecture, num_classes=4).state_dict()
    model = loaded(saved(tmp_path / "pets.pth", weights), architecture)
    assert model.labels == ("class 0", "class 1", "class 2", "class 3")


def test_a_headless_architecture_takes_a_classifier(tmp_path: Path) -> None:
    architecture = "vit_small_patch14_dinov2"
    weights = network(architecture, num_classes=4).state_dict()
    model = loaded(saved(tmp_path / "pets.pth", weights), architecture)
    assert same(model, weights)
    assert len(model.labels) == 4


def test_both_classifiers_of_a_distilled_model_are_taken(tmp_path: Path) -> None:
    architecture = "deit_tiny_distilled_patch16_224"
    weights = network(architecture, num_classes=4).state_dict()
    assert same(loaded(saved(tmp_path / "pets.pth", weights), architecture), weights)
    del weights["head_dist.weight"]
    with pytest.raises(vi.WeightsUnavailable, match=r"lacks weights of .* \(head_dist\.weight\)"):
        loaded(saved(tmp_path / "pets.pth", weights), architecture)


def test_a_file_without_a_classifier_gives_features(tiny: Weights, tmp_path: Path) -> None:
    names = [name for name in tiny if not name.startswith("head.")]
    model = loaded(saved(tmp_path / "run.pth", {name: tiny[name] for name in names}))
    assert model.notices[0] == "The file has no classifier: the model outputs a feature vector."
    with pytest.raises(vi.UnsupportedModel):
        vi.predictions(vi.capture(model, noise((70, 70), 0)))


# Inputs of another size.


@pytest.mark.parametrize(
    ("architecture", "trained", "wanted"),
    [
        (TINY, (64, 64), (32, 80)),
        (TINY, (64, 64), (64, 64)),
        (TINY, (224, 224), (32, 80)),
        (TINY, (32, 80), (32, 80)),
        ("vit_tiny_r_s16_p8_224", (64, 64), (96, 64)),
        ("deit_tiny_distilled_patch16_224", (64, 64), (96, 64)),
        ("vit_small_patch14_reg4_dinov2", (56, 56), (84, 42)),
    ],
)
def test_the_position_table_is_resampled_once_as_timm_does(
    tmp_path: Path, architecture: str, trained: tuple[int, int], wanted: tuple[int, int]
) -> None:
    module = network(architecture, img_size=trained)
    model = loaded(saved(tmp_path / "run.pth", module.state_dict()), architecture, img_size=wanted)
    held, grid = module.patch_embed.grid_size, model.layout.grid
    table = module.pos_embed
    prefix = table.shape[1] - held[0] * held[1]
    expected = network(architecture, img_size=wanted)
    expected.load_state_dict(
        module.state_dict()
        | {
            "pos_embed": resample_abs_pos_embed(
                table, new_size=grid, old_size=held, num_prefix_tokens=prefix
            )
        }
    )
    pixels = torch.randn(1, 3, *wanted)
    torch.testing.assert_close(model.module(pixels), expected(pixels))
    # What the figure of position embeddings shows is what was trained.
    assert torch.equal(model.positions, table[0, prefix:].unflatten(0, held))
    told = [notice for notice in model.notices if "Position table" in notice]
    sides = [" × ".join(map(str, each)) for each in (held, grid)]
    assert told == (
        [f"Position table resampled from {sides[0]} to {sides[1]}."] if held != grid else []
    )
    assert not any("Input size" in notice for notice in model.notices)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("size", [None, (80, 160)])
def test_sam_is_read_as_its_authors_save_it_at_any_size(
    tmp_path: Path, size: tuple[int, int] | None, relative: bool
) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 2,
        "window_size": 3,
        "global_attn_indexes": (1,),
        "use_rel_pos": relative,
    }
    network = timm.create_model("samvit_base_patch16", num_classes=0, img_size=160, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
    encoder = {
        name.replace("mlp.fc", "mlp.lin"): weight for name, weight in network.state_dict().items()
    }
    whole = {f"image_encoder.{name}": weight for name, weight in encoder.items()} | {
        "prompt_encoder.not_a_point_embed.weight": torch.ones(1, 4),
        "mask_decoder.iou_token.weight": torch.ones(1, 4),
    }
    load = partial(vi.load, architecture="samvit_base_patch16", arch_options=options, device="cpu")
    model = load(checkpoint=saved(tmp_path / "sam.pth", whole), img_size=size)
    alone = load(checkpoint=saved(tmp_path / "encoder.pth", encoder))
    assert alone.weights_sha256 == model.weights_sha256
    assert model.layout.grid == ((10, 10) if size is None else (5, 10))
    capture = vi.capture(model, vi.sample("chelsea"))
    with torch.inference_mode():
        assert torch.equal(capture.output, network.eval()(capture.pixels))
    told = " ".join(model.notices)
    assert "give crop_mode='pad' and interpolation='bilinear'." in told
    said = load(checkpoint=tmp_path / "sam.pth", crop_mode="pad", interpolation="bilinear")
    assert (said.recipe.crop_mode, said.recipe.interpolation) == ("pad", "bilinear")
    assert not any("Warning" in each for each in said.notices)
    assert ("Input size 160 × 160 px, for which the position table was made." in told) == (
        size is None
    )
    assert ("Position table resampled from 10 × 10 to 5 × 10." in told) == (size is not None)
    assert ("Tables of relative positions were" in told) == (size is not None and relative)


def test_the_input_is_the_one_that_the_file_was_trained_for(tmp_path: Path) -> None:
    model = loaded(saved(tmp_path / "run.pth", network(img_size=384).state_dict()))
    assert model.layout.input_px == (384, 384)
    assert model.notices[0] == (
        "Input size 384 × 384 px: the position table of 576 patches is taken for a square. If it "
        "is not, give its input size as img_size, such as 288x512."
    )


@pytest.mark.parametrize(
    ("trained", "size", "words"),
    [
        ((64, 256), None, "Input size 128 × 128 px: the position table of 64 patches is taken for"),
        ((64, 256), (64, 192), "The position table of 64 patches is taken for a square. If"),
        # Only one row or one column would be another grid.
        (
            (112, 112),
            None,
            "Input size 112 × 112 px: the position table of 49 patches is taken for a square.",
        ),
        ((64, 256), (64, 256), None),
        ((160, 160), None, None),
        ((160, 160), (64, 192), None),
    ],
)
def test_a_square_is_told_as_assumed(
    tmp_path: Path, trained: tuple[int, int], size: tuple[int, int] | None, words: str | None
) -> None:
    path = saved(tmp_path / "run.pth", network(img_size=trained).state_dict())
    model = loaded(path, img_size=size)
    told = [notice for notice in model.notices if "square" in notice]
    assert len(told) == (words is not None)
    assert all(words in notice for notice in told if words)
    # The advice works.
    if told and "such as" in told[0]:
        rows, columns = told[0].partition("such as ")[2].removesuffix(".").split("x")
        again = loaded(path, img_size=(int(rows), int(columns)))
        assert not [each for each in again.notices if "square" in each or "resampled" in each]


@pytest.mark.parametrize(
    ("trained", "asked", "resampled"),
    [
        # 4 × 16 = 8 × 8 = 2 × 32 patches: the same count, and another picture.
        ((64, 256), (64, 256), None),
        ((32, 512), (32, 512), None),
        ((128, 128), (128, 128), None),
        # The architecture's own count, 10 × 10, as a strip.
        ((32, 800), (32, 800), None),
        ((80, 320), (80, 320), None),
        # A size of another count: the square is resampled, and this is said.
        ((128, 128), (64, 192), "8 × 8 to 4 × 12"),
        ((160, 160), (64, 192), "10 × 10 to 4 × 12"),
    ],
)
def test_the_size_that_is_asked_for_decides_between_grids_of_one_count(
    tmp_path: Path,
    chelsea: Image.Image,
    trained: tuple[int, int],
    asked: tuple[int, int],
    resampled: str | None,
) -> None:
    module = network(img_size=trained)
    torch.nn.init.normal_(module.pos_embed)
    model = loaded(saved(tmp_path / "run.pth", module.state_dict()), img_size=asked)
    assert model.layout.input_px == asked
    told = [notice for notice in model.notices if "resampled" in notice]
    assert told == ([f"Position table resampled from {resampled}."] if resampled else [])
    if resampled is None:
        output = vi.capture(model, chelsea).output
        assert torch.equal(output, module(model.prepare(chelsea)))
        assert model.positions is not None
        assert model.positions.shape[:2] == model.layout.grid


def test_a_table_whose_shape_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "run.pth", network(img_size=(32, 80)).state_dict())
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert refusal.value.found == "a position table of 11 tokens in 'run.pth'"
    assert refusal.value.remedy == (
        "give the input size (img_size) in px that it was trained for, such as 32x80, 80x32"
    )


def test_relative_positions_are_resampled_as_timm_does(tmp_path: Path) -> None:
    architecture, name = "beit_base_patch16_224", "blocks.0.attn.relative_position_bias_table"
    weights = network(architecture, depth=1).state_dict()
    path = saved(tmp_path / "run.pth", weights)
    told = "Tables of relative positions were resampled to this input size."
    for size in ((224, 224), (96, 64)):
        module = timm.create_model(architecture, depth=1, img_size=size)
        _, notices = load_checkpoint(
            module, read_weights(path), architecture=architecture, size=size
        )
        held = module.state_dict()[name]
        expected = resize_rel_pos_bias_table(
            weights[name], new_window_size=(size[0] // 16, size[1] // 16), new_bias_shape=held.shape
        )
        assert torch.equal(held, expected)
        assert notices == ((told,) if size == (96, 64) else ())
        # The same of weights that timm fetched and resampled.
        assert _resampled(module, size) == notices
    assert _resampled(module, None) == ()


@pytest.mark.parametrize("size", [(80, 656), (656, 80)])
def test_relative_positions_that_fit_stay_as_they_are(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """5 × 41 patches have as many offsets as 14 × 14."""
    module = timm.create_model("beit_base_patch16_224", depth=1, img_size=size)
    with torch.no_grad():
        module.blocks[0].attn.relative_position_bias_table.normal_()
    weights = module.state_dict()
    other = timm.create_model("beit_base_patch16_224", depth=1, img_size=size)
    path = saved(tmp_path / "run.pth", weights)
    _, notices = load_checkpoint(
        other, read_weights(path), architecture="beit_base_patch16_224", size=size
    )
    assert all(torch.equal(each, weights[name]) for name, each in other.state_dict().items())
    assert notices == ()


def test_resampling_in_other_weights_is_told_too() -> None:
    assert vi.load(device="cpu").notices == ()
    model = vi.load(img_size=(28, 56), device="cpu")
    assert adapted(model) == ("Position table resampled from 37 × 37 to 2 × 4.",)
    assert model.fitted("whole").notices == model.notices


# What is of another architecture.


def deeper(weights: Weights) -> None:
    weights["blocks.6.norm1.weight"] = torch.ones(64)


def scaled(weights: Weights) -> None:
    weights["blocks.0.ls1.gamma"] = torch.ones(64)


def with_registers(weights: Weights) -> None:
    weights["reg_token"] = torch.ones(1, 4, 64)


def incomplete(weights: Weights) -> None:
    for name in ("norm1.weight", "norm1.bias", "attn.qkv.bias", "mlp.fc1.bias", "mlp.fc2.bias"):
        del weights[f"blocks.3.{name}"]


def wider(weights: Weights) -> None:
    weights["blocks.0.attn.qkv.weight"] = torch.ones(600, 128)


def of_larger_patches(weights: Weights) -> None:
    weights["patch_embed.proj.weight"] = torch.ones(64, 3, 32, 32)


def of_other_features(weights: Weights) -> None:
    weights["head.weight"] = torch.ones(1000, 128)


def quantised(weights: Weights) -> None:
    weights["norm.weight"] = torch.ones(64, dtype=torch.int8)


def exploded(weights: Weights) -> None:
    weights["blocks.5.mlp.fc1.bias"][5] = torch.nan


def unrelated(weights: Weights) -> None:
    weights.clear()
    weights |= {f"layer{number}.0.conv1.weight": torch.ones(3) for number in range(1, 5)}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (deeper, f"weights in 'x.pth' that {TINY} has no place for (blocks.6.norm1.weight)"),
        (scaled, f"weights in 'x.pth' that {TINY} has no place for (blocks.0.ls1.gamma)"),
        (with_registers, f"weights in 'x.pth' that {TINY} has no place for (reg_token)"),
        (
            incomplete,
            f"the checkpoint 'x.pth', which lacks weights of {TINY} (blocks.3.norm1.weight, "
            "blocks.3.norm1.bias, blocks.3.attn.qkv.bias and 2 more)",
        ),
        (
            wider,
            "blocks.0.attn.qkv.weight of 600 × 128 in 'x.pth', but of 192 × 64 in " + TINY,
        ),
        (
            of_larger_patches,
            f"patch filters of 3,072 weights in 'x.pth', but of 768 in {TINY}",
        ),
        (of_other_features, f"head.weight of 1000 × 128 in 'x.pth', but of 1000 × 64 in {TINY}"),
        (quantised, "norm.weight of type int8 in 'x.pth'"),
        (exploded, "infinite or NaN values in blocks.5.mlp.fc1.bias of 'x.pth'"),
        (
            unrelated,
            f"no weights of {TINY} in 'x.pth', only layer1.0.conv1.weight, layer2.0.conv1.weight, "
            "layer3.0.conv1.weight and 1 more",
        ),
    ],
)
def test_what_would_compute_something_else_is_refused(
    tmp_path: Path, change: Callable[[Weights], None], found: str
) -> None:
    weights = network().state_dict()
    change(weights)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(saved(tmp_path / "x.pth", weights))
    assert refusal.value.found == found


@pytest.mark.parametrize("architecture", ["test_vit2", "vit_tiny_patch16_224"])
def test_another_architecture_is_refused(tiny: Weights, tmp_path: Path, architecture: str) -> None:
    with pytest.raises(vi.WeightsUnavailable, match=f"the weights of {architecture}; check"):
        loaded(saved(tmp_path / "x.pth", tiny), architecture)


def test_what_timm_cannot_convert_is_refused(tiny: Weights, tmp_path: Path) -> None:
    """Its conversion for BEiT breaks on a table of absolute positions."""
    module = timm.create_model("beit_base_patch16_224", depth=1)
    path = saved(tmp_path / "x.pth", tiny)
    with pytest.raises(
        vi.WeightsUnavailable, match=r"no weights of beit in 'x\.pth', only cls_token"
    ):
        load_checkpoint(module, read_weights(path), architecture="beit", size=None)


# What is no checkpoint, or means harm.


class Explosive:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def archived_weights(weights: Weights, path: Path) -> None:
    archived(path, {name: each.numpy() for name, each in weights.items()})


def old_torch(weights: Weights, path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, old_torch, save_file, archived_weights])
@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_a_file_that_was_cut_off_is_damaged(
    tiny: Weights, tmp_path: Path, save: Callable[[Weights, Path], object], kept: float
) -> None:
    path = tmp_path / "cut"
    save(tiny, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(vi.WeightsUnavailable, match=r"damaged or cut off checkpoint 'cut' \(."):
        loaded(path)


@pytest.mark.parametrize("save", [torch.save, archived_weights])
def test_a_wrong_bit_is_told_by_its_checksum(
    tiny: Weights, tmp_path: Path, save: Callable[[Weights, Path], object]
) -> None:
    path = tmp_path / "bit"
    save(tiny, path)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda each: each.file_size)
    # The last bytes of the largest member: a weight, which another bit leaves a number.
    content = bytearray(path.read_bytes())
    name = largest.filename.encode()
    start = content.index(name, largest.header_offset) + len(name)
    content[start + largest.file_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert refusal.value.found == (
        f"a damaged or cut off checkpoint 'bit' (the bytes of {largest.filename!r} have another "
        "checksum than it says)"
    )


def test_a_file_that_was_saved_without_checksums_is_read(tiny: Weights, tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "x.pth", tiny)
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(path) as archive:
        assert not any(each.CRC for each in archive.infolist())
    assert same(loaded(path), tiny)


@pytest.mark.parametrize(
    ("offsets", "kept", "reason"),
    [
        ([(0, 8), (4, 12)], 12, "invalid offset for tensor `b`"),
        ([(0, 4), (8, 12)], 12, "invalid offset for tensor `b`"),
        ([(0, 4), (0, 4)], 4, "invalid offset for tensor `"),
        ([(0, 4), (4, 8)], 12, "file not fully covered"),
        ([(0, 4), (4, 8)], 6, "file not fully covered"),
        ([(0, 4), (4, 40)], 8, "invalid shape, data type, or offset"),
    ],
    ids=["overlap", "hole", "same bytes", "bytes too many", "cut off", "shape"],
)
@pytest.mark.parametrize("read", [read_weights, lambda path: check_safetensors(path, "x")])
def test_the_bytes_of_a_safetensors_are_those_of_its_header(
    tmp_path: Path,
    read: Callable[[Path], object],
    offsets: list[tuple[int, int]],
    kept: int,
    reason: str,
) -> None:
    header = json.dumps(
        {
            name: {
                "dtype": "F32",
                "shape": [min(2, (end - start) // 4)],
                "data_offsets": [start, end],
            }
            for name, (start, end) in zip("ab", offsets, strict=True)
        }
    ).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(kept))
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        read(tmp_path / "x")
    assert "a damaged or cut off checkpoint 'x' (" in refusal.value.found
    assert reason in refusal.value.found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes in 'x'; expected weights as .safetensors, .pth or .npz; choose another"),
        (b"not weights", "no weights in 'x'; expected weights as .safetensors, .pth or .npz"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "no weights in 'x'; expected weights"),
        (bytes(range(256)), "no weights in 'x'; expected weights"),
        (b"\x93NUMPY\x01\x00" + bytes(99), "a single array in 'x'; expected weights"),
        (pickle.dumps({"a": 1}), "a Python pickle in 'x', which may run code and was not opened"),
        (
            (1 << 62).to_bytes(8, "little") + b'{"a":1}',
            "'x', whose header claims 4,611,686,018,427,387,904 bytes of a file of 15",
        ),
        (
            (40_000_000).to_bytes(8, "little") + b"{" + bytes(40_000_000),
            "'x', whose header claims 40,000,000 bytes of a file of 40,000,009",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else len(value),
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(tmp_path / "x")
    assert str(refusal.value).startswith(f"Found {words}")


@pytest.mark.parametrize("content", [{}, {"model": {}}, 3, [1, 2], {"epoch": 3}, {"a": {"b": {}}}])
def test_a_file_without_tensors_has_no_weights(tmp_path: Path, content: object) -> None:
    with pytest.raises(vi.WeightsUnavailable, match=r"Found no weights in 'x\.pth'; expected"):
        loaded(saved(tmp_path / "x.pth", content))


def test_a_wrapper_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, object] = {}
    content["model"] = content
    with pytest.raises(vi.WeightsUnavailable, match=r"no weights in 'x\.pth'"):
        loaded(saved(tmp_path / "x.pth", content))


def test_an_empty_archive_and_an_empty_header_have_no_weights(tmp_path: Path) -> None:
    save_file({}, tmp_path / "x.safetensors")
    archived(tmp_path / "x.npz", {})
    for path in tmp_path.iterdir():
        with pytest.raises(vi.WeightsUnavailable, match=f"no weights in '{path.name}'"):
            loaded(path)


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(vi.WeightsUnavailable, match=r"a folder at .*; name a file inside it"):
        loaded(tmp_path)
    with pytest.raises(vi.WeightsUnavailable, match=r"nothing at 'x.pth'; .*; check the path"):
        loaded(tmp_path / "x.pth")
    with pytest.raises(vi.WeightsUnavailable, match="a device or pipe at 'zero'"):
        loaded(Path("/dev/zero"))


@pytest.mark.parametrize("new", [True, False])
def test_a_checkpoint_runs_no_code(tiny: Weights, tmp_path: Path, new: bool) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "evil.pth"
    content = {"model": tiny, "epoch": Explosive(evidence)}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert "code in the checkpoint 'evil.pth' (" in refusal.value.found
    assert "open), which was not run" in refusal.value.found
    assert "state_dict()" in refusal.value.remedy
    assert not evidence.exists()
    # The file is one that would have.
    torch.load(path, weights_only=False)["epoch"].close()
    assert evidence.exists()


def test_a_whole_network_is_code(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", network())
    with pytest.raises(vi.WeightsUnavailable, match=r"code in .* \(timm\.models\.vision_transf"):
        loaded(path)


def test_a_program_is_not_run(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "x.pt")
    with pytest.raises(vi.WeightsUnavailable, match=r"a TorchScript program in 'x\.pt', which was"):
        loaded(tmp_path / "x.pt")


def test_objects_in_an_archive_are_not_opened(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    path = archived(tmp_path / "x.npz", {"cls": np.array([Explosive(evidence)], dtype=object)})
    with pytest.raises(vi.WeightsUnavailable, match=r"Python objects in 'x.npz' \(cls.npy\)"):
        loaded(path)
    assert not evidence.exists()
    np.load(path, allow_pickle=True)["cls"][0].close()
    assert evidence.exists()


def test_a_bomb_is_not_unpacked(
    tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.loading.weight_files.ALWAYS_UNPACKED", 10**6)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10**7))
    real = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(vi.WeightsUnavailable, match="10,000,000 bytes packed into the"):
        loaded(path)
    # Trained weights are not so easily packed.
    monkeypatch.setattr(zipfile.ZipFile, "open", real)
    np.savez_compressed(path, **{name: each.numpy() for name, each in tiny.items()})
    assert same(loaded(path), tiny)


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for shape in ((10**12,), (-2, -6), (3,)):
        with zipfile.ZipFile(path, "w") as archive, archive.open("cls.npy", "w") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.write(bytes(48))
        with pytest.raises(vi.WeightsUnavailable) as refusal:
            loaded(path)
        assert "an array in 'x.npz' (cls.npy) that claims to be" in refusal.value.found


@pytest.mark.filterwarnings("ignore:.*(quantized|sparse):UserWarning")
@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: torch.zeros(1).expand(1, 10**12, 64), "not a plain tensor of its claimed size"),
        (lambda: torch.zeros(3, 3).to_sparse(), "a sparse tensor in 'x.pth'"),
        (lambda: torch.zeros(3, 3).to_sparse_csr(), "a sparse tensor in 'x.pth'"),
        (lambda: torch.empty(1, 10**9, device="meta"), "a tensor without values in 'x.pth'"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8), "not a plain ten"),
    ],
    ids=["view", "sparse", "csr", "meta", "quantised"],
)
def test_what_is_no_plain_tensor_is_refused(
    tiny: Weights, tmp_path: Path, make: Callable[[], Tensor], found: str
) -> None:
    path = saved(tmp_path / "x.pth", tiny | {"pos_embed": make()})
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path)
    assert found in refusal.value.found
    assert "(pos_embed)" in refusal.value.found


def test_words_in_an_archive_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(vi.WeightsUnavailable, match=r"not a plain tensor .* \(cls.npy\)"):
        loaded(archived(tmp_path / "x.npz", {"cls": np.array(["words"])}))


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("photo.jpg", b"")
    with pytest.raises(vi.WeightsUnavailable, match=r"an archive without weights in 'x\.zip'"):
        loaded(tmp_path / "x.zip")


# Where it is told.


@pytest.mark.usefixtures("numbers_only")
def test_notices_are_told_by_command_line_report_and_provenance(tmp_path: Path) -> None:
    noise((60, 40), 0).save(tmp_path / "photo.png")
    weights = network("test_vit", img_size=64, num_classes=3).state_dict()
    path = saved(tmp_path / "run.pth", weights | {"mask_token.<b>": torch.ones(1)})
    out = tmp_path / "out"
    words = ["figures", tmp_path / "photo.png", "--out", out, "--img-size", "32x48"]
    words += ["--checkpoint", path, "--architecture", "test_vit"]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    told = [
        "Classifier of 3 classes taken from the file.",
        "The position table of 16 patches is taken for a square. If it is not, give its input size "
        "as img_size, such as 32x128.",
        "Unused parts of the file: mask_token.<b>.",
        "Position table resampled from 4 × 4 to 2 × 3.",
    ]
    assert [line for line in done.stderr.splitlines() if line in told] == told
    assert not any(notice in done.stdout for notice in told)
    assert json.loads((out / "provenance.json").read_text())["model"]["notices"] == [
        *told,
        "Not in the file, and taken from test_vit: 2 heads, GELU, norm epsilon 1e-06, read-out "
        "cls, mean 0.5, standard deviation 0.5, crop to 0.95, bicubic filter.",
    ]
    shown = " ".join(told).replace("<b>", "&lt;b&gt;")
    assert f"<dt>Notices</dt><dd>{shown} Not in the file" in (out / "report.html").read_text()


@pytest.mark.usefixtures("numbers_only")
def test_without_notices_nothing_is_told(tmp_path: Path) -> None:
    model = vi.load("test_vit", pretrained=False, device="cpu")
    assert model.notices == ()
    vi.export(vi.capture(model, noise((60, 40), 0)), tmp_path)
    assert "<dt>Notices</dt>" not in (tmp_path / "report.html").read_text()


def test_registers_without_a_place_are_told(tmp_path: Path) -> None:
    weights = network("vit_small_patch14_reg4_dinov2", img_size=56, depth=1).state_dict()
    table = weights["pos_embed"]
    weights["pos_embed"] = torch.cat([table.new_zeros(1, 5, 384), table], dim=1)
    path = saved(tmp_path / "run.pth", weights)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        loaded(path, "vit_small_patch14_dinov2", arch_options={"depth": 1})
    assert "if it has 4 registers, give reg_tokens=4 as an option of the" in str(refusal.value)
