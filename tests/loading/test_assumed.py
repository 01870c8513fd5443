"""Is what no file of weights holds told, believed where a file says it, taken where it is given?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import sharpen
from vit_inspect.commands.app import app
from vit_inspect.layout import MEAN

pytestmark = pytest.mark.slow

TINY = "test_vit"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def network(architecture: str = TINY, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=5, **options).eval()
    if hasattr(module, "blocks"):
        sharpen(module)
    return module


def saved(path: Path, module: nn.Module, **beside: object) -> Path:
    torch.save({"state_dict": module.state_dict(), **beside}, path)
    return path


def loaded(path: Path, architecture: str = TINY, **options: Any) -> vi.Model:
    return vi.load(checkpoint=path, architecture=architecture, device="cpu", **options)


def assumed(model: vi.Model) -> str:
    """What is told to be in no file."""
    told = [each for each in model.notices if each.startswith("Not in the file")]
    return told[0].partition(": ")[2].removesuffix(".") if told else ""


def warnings(model: vi.Model) -> list[str]:
    return [each for each in model.notices if each.startswith("Warning")]


def output(model: vi.Model) -> Tensor:
    return vi.capture(model, noise((80, 80), 3)).output


def test_all_that_no_file_holds_is_told_in_one_sentence(tmp_path: Path) -> None:
    model = loaded(saved(tmp_path / "run.pth", network()))
    assert model.notices[-1] == (
        "Not in the file, and taken from test_vit: 2 heads, GELU, norm epsilon 1e-06, "
        "read-out cls, mean 0.5, standard deviation 0.5, crop to 0.95, bicubic filter."
    )
    assert not warnings(model)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("vit_base_patch16_clip_quickgelu_224", "12 heads, QuickGELU, norm epsilon 1e-05"),
        ("eva02_tiny_patch14_224", "3 heads, SiLU, norm epsilon 1e-06, read-out mean of the patch"),
        ("swin_tiny_patch4_window7_224", "3, 6, 12, 24 heads, GELU, norm epsilon 1e-05"),
    ],
)
def test_each_family_has_its_own(tmp_path: Path, architecture: str, words: str) -> None:
    options = {"depths": (1, 1, 1, 1)} if "swin" in architecture else {"depth": 1}
    path = saved(tmp_path / "run.pth", network(architecture, **options))
    assert words in assumed(loaded(path, architecture, arch_options=options))


def test_what_is_given_is_taken_and_not_told(tmp_path: Path) -> None:
    module = network(num_heads=4)
    path = saved(tmp_path / "run.pth", module)
    recipe = {**IMAGENET, "interpolation": "bilinear", "crop_fraction": 0.8}
    model = loaded(path, arch_options={"num_heads": 4}, **recipe, fit="whole", readout="cls")
    assert assumed(model) == "GELU, norm epsilon 1e-06"
    assert model.recipe == vi.Recipe(*IMAGENET.values(), "bilinear", 0.8, "center", "whole")
    pixels = model.prepare(noise((80, 80), 3))
    with torch.inference_mode():
        assert torch.equal(output(model), module(pixels))


@pytest.mark.parametrize("wrong", [{"mean": (0.5, 0.4)}, {"std": (1, 0, 1)}, {"crop_fraction": 2}])
def test_a_recipe_that_fits_no_picture_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(vi.BadParameter, match=f"^Found the {next(iter(wrong))} "):
        vi.load(TINY, pretrained=False, **wrong)


TIMM_ARGUMENTS = argparse.Namespace(
    model=f"{TINY}.r160_in1k",
    model_kwargs={"num_heads": 4},
    mean=[0.1, 0.2, 0.3],
    std=[0.4, 0.5, 0.6],
    crop_pct=0.7,
    interpolation="bilinear",
    gp="avg",
    opt="adamw",
)
CONFIG = {
    "architecture": TINY,
    "num_classes": 5,
    "model_args": {"num_heads": 4, "global_pool": "avg"},
    "pretrained_cfg": {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "crop_pct": 0.7,
        "interpolation": "bilinear",
    },
}


@pytest.mark.parametrize("place", ["arguments", "dictionary", "hyper-parameters", "beside"])
def test_what_the_file_says_is_believed_over_the_architecture(tmp_path: Path, place: str) -> None:
    module = network(num_heads=4, global_pool="avg")
    path = tmp_path / "model.pth"
    if place == "beside":
        path = tmp_path / "model.safetensors"
        save_file(module.state_dict(), path)
        (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    elif place == "arguments":
        saved(path, module, args=TIMM_ARGUMENTS)
    elif place == "dictionary":
        saved(path, module, config={**CONFIG["model_args"], **CONFIG["pretrained_cfg"]})
    else:
        saved(path, module, hyper_parameters={"args": CONFIG})
    model = loaded(path)
    assert assumed(model) == "GELU, norm epsilon 1e-06"
    assert model.layout.readout == MEAN
    assert model.recipe == vi.Recipe(
        (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", 0.7, "center", "crop"
    )
    assert "num_heads=4" in model.source
    [told] = [each for each in model.notices if each.startswith("As the settings")]
    for part in ("num_heads=4", "global_pool='avg'", "mean=(0.1, 0.2, 0.3)", "'bilinear'"):
        assert part in told
    with torch.inference_mode():
        assert torch.equal(output(model), module(model.prepare(noise((80, 80), 3))))


def test_the_user_goes_before_the_file_and_the_file_before_its_folder(tmp_path: Path) -> None:
    path = saved(tmp_path / "run.pth", network(), args=argparse.Namespace(crop_pct=0.7, mean=None))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    options = {"num_heads": 2, "global_pool": "token"}
    model = loaded(path, arch_options=options, std=(0.9, 0.9, 0.9))
    assert model.recipe.crop_fraction == 0.7
    assert model.recipe.mean == (0.1, 0.2, 0.3)
    assert model.recipe.std == (0.9, 0.9, 0.9)
    [told] = [each for each in model.notices if each.startswith("As the settings")]
    assert "num_heads" not in told
    assert "std" not in told
    assert "crop_fraction=0.7" in told
    assert vi.capture(model, noise((80, 80), 3)).head_count == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"[" * 100_000,
        json.dumps({"model_type": "vit", "num_heads": 4}).encode(),
        json.dumps({**CONFIG, "padding": "x" * 1_000_000}).encode(),
    ],
    ids=["empty", "cut off", "a list", "deep", "another package's", "too long"],
)
def test_a_configuration_that_says_nothing_changes_nothing(tmp_path: Path, content: bytes) -> None:
    path = saved(tmp_path / "run.pth", network())
    (tmp_path / "config.json").write_bytes(content)
    assert "2 heads" in assumed(loaded(path))


@pytest.mark.parametrize(
    "settings",
    [
        {"num_heads": "4", "mean": "0.5", "std": [1, 1], "crop_pct": 90, "interpolation": "random"},
        {"num_heads": True, "mean": [0, 0, "x"], "std": [1, 0, 1], "crop_pct": 0, "gp": "max"},
        {"num_heads": 0, "mean": None, "std": None, "crop_pct": None, "interpolation": ""},
        {"num_heads": {"args": {}}, "mean": {0: 1}, 3: 4, "args": "text"},
    ],
)
def test_settings_with_another_meaning_are_passed_over(
    tmp_path: Path, settings: dict[Any, Any]
) -> None:
    model = loaded(saved(tmp_path / "run.pth", network(), args=settings))
    plain = loaded(saved(tmp_path / "plain.pth", network()))
    assert assumed(model) == assumed(plain)
    assert model.recipe == plain.recipe


def test_settings_that_no_network_can_have_are_put_right_by_hand(tmp_path: Path) -> None:
    path = saved(tmp_path / "run.pth", network(), args={"num_heads": 7})
    with pytest.raises(vi.BadParameter) as refusal:
        loaded(path)
    assert refusal.value.remedy.startswith("give the right ones as arch_options")
    assert "2 heads" not in assumed(loaded(path, arch_options={"num_heads": 2}))


def test_a_text_towers_heads_are_not_believed(tmp_path: Path) -> None:
    config = {"text_config": {"num_heads": 1}, "decoder": {"num_heads": 1}}
    assert "2 heads" in assumed(loaded(saved(tmp_path / "x.pth", network(), config=config)))


def test_another_name_of_the_network_is_told(tmp_path: Path) -> None:
    told = "Beside its weights it is called 'vit_base_patch16_224.mae'."
    named = saved(tmp_path / "x.pth", network(), args={"model": "vit_base_patch16_224.mae"})
    assert told in loaded(named).notices
    for own in (f"{TINY}.r160_in1k", "vit_of_ours"):
        same = saved(tmp_path / "x.pth", network(), args={"model": own})
        assert not any("called" in notice for notice in loaded(same).notices)


SMALL = "vit_small_patch16_224"


@pytest.mark.parametrize(
    ("name", "beside", "options", "words"),
    [
        ("vit-s-300ep.pth.tar", {"arch": "vit_small"}, {}, ["12 heads", "0.485"]),
        ("vit-s-300ep.pth", {}, {}, ["12 heads", "0.485"]),
        ("linear-vit-s-300ep.pth.tar", {}, IMAGENET, ["12 heads"]),
        ("linear-vit-b-300ep.pth.tar", {}, {"arch_options": {"num_heads": 12}}, ["0.485"]),
        # DINO calls its network so too, and it has 6 heads.
        ("run.pth", {"arch": "vit_small", "dino_loss": {}}, IMAGENET, []),
        ("vit-s-16.pth", {}, {}, []),
        ("moco.pth", {}, {}, ["12 heads", "0.485, 0.456, 0.406"]),
        ("moco.pth", {}, {"arch_options": {"num_heads": 12}}, ["0.485"]),
        ("moco.pth", {}, IMAGENET, ["12 heads"]),
        ("dino_small.pth", {}, {}, ["0.485"]),
        ("dino_small.pth", {}, IMAGENET, []),
        ("run.pth", {}, {}, []),
        ("run.pth", {"arch": "vit_small_patch16_224"}, {}, []),
    ],
)
def test_pairs_that_are_known_to_be_wrong_warn(
    tmp_path: Path, name: str, beside: dict[str, Any], options: dict[str, Any], words: list[str]
) -> None:
    module = timm.create_model(SMALL, num_classes=5, depth=1)
    options = {**options, "arch_options": {"depth": 1, **options.get("arch_options", {})}}
    found = warnings(loaded(saved(tmp_path / name, module, **beside), SMALL, **options))
    assert len(found) == len(words)
    for warning, word in zip(found, words, strict=True):
        assert word in warning


@pytest.mark.parametrize(
    ("arranged", "known"),
    [
        # DINO and iBOT: the last layer of their heads, old and new; their arguments.
        (lambda own: {"teacher": own | {"head.last_layer.weight_g": torch.ones(4, 1)}}, True),
        (
            lambda own: (
                own | {"head.last_layer.parametrizations.weight.original0": torch.ones(4, 1)}
            ),
            True,
        ),
        (
            lambda own: {"model": own, "args": argparse.Namespace(local_crops_number=8)},
            True,
        ),
        # MAE: its decoder, below a prefix too; its arguments; what a fine-tuned one began with.
        (
            lambda own: (
                {f"model.{name}": each for name, each in own.items()}
                | {"model.decoder_blocks.0.norm1.weight": torch.ones(4)}
            ),
            True,
        ),
        (lambda own: {"model": own, "args": argparse.Namespace(norm_pix_loss=True)}, True),
        (lambda own: {"model": own, "args": {"finetune": "mae_pretrain_vit_base.pth"}}, True),
        # I-JEPA, and its network before the average.
        (lambda own: {"encoder": {}, "predictor": {}, "target_encoder": own}, True),
        (lambda own: {"encoder": own, "predictor": {}, "target_encoder": None}, True),
        # MoCo v3 below a prefix.
        (lambda own: {f"net.momentum_encoder.{name}": own[name] for name in own}, True),
        # Others.
        (lambda own: {"model": own, "args": {"finetune": "vit_base.pth", "mask": 1}}, False),
        (lambda own: {"model": own, "predictor": {}}, False),
        (lambda own: own | {"head.last_layer.weight": torch.ones(4, 1)}, False),
    ],
)
def test_programs_are_known_by_what_they_save(
    tmp_path: Path, arranged: Callable[[dict[str, Tensor]], object], known: bool
) -> None:
    path = tmp_path / "run.pth"
    torch.save(arranged(dict(network().state_dict())), path)
    assert ["DINO, iBOT, MAE" in each for each in warnings(loaded(path))] == [True] * known
    assert warnings(loaded(path, **IMAGENET)) == []


def test_clip_of_openai_warns_without_its_own_activation(tmp_path: Path) -> None:
    sizes = {name: torch.tensor(224) for name in ("input_resolution", "context_length")}
    for architecture, count in (
        ("vit_base_patch32_clip_224", 1),
        ("vit_base_patch32_clip_quickgelu_224", 0),
    ):
        module = timm.create_model(architecture, depth=1, num_classes=5)
        path = tmp_path / "ViT-B-32.pt"
        torch.save({**module.state_dict(), **sizes}, path)
        model = loaded(path, architecture, arch_options={"depth": 1})
        assert [each for each in warnings(model) if "QuickGELU" in each] == warnings(model)
        assert len(warnings(model)) == count


@pytest.mark.parametrize(("own", "other"), [("token", MEAN), ("avg", "cls")])
def test_a_read_out_that_is_given_is_the_networks(tmp_path: Path, own: str, other: str) -> None:
    module = network(global_pool=own)
    path = saved(tmp_path / "run.pth", module)
    before = loaded(path, arch_options={"global_pool": own})
    model = loaded(path, arch_options={"global_pool": own}, readout=other)
    assert model.layout.readout == other
    assert f"Read-out as you said: {other}." in model.notices
    assert "read-out" not in assumed(model)
    tokens = vi.capture(model, noise((80, 80), 3)).tokens[-1]
    with torch.inference_mode():
        read = module.norm(tokens)
        read = read[:, 0] if other == "cls" else read[:, 1:].mean(1)
        expected = module.head(module.fc_norm(read))
    torch.testing.assert_close(output(model), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(output(model), output(before), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "readout"),
    [
        (TINY, {}, "maximum"),
        (TINY, {"class_token": False, "global_pool": "avg"}, "cls"),
        ("test_vit3", {}, "cls"),
        # It would average the class token too.
        (TINY, {"pool_include_prefix": True}, MEAN),
    ],
)
def test_a_read_out_that_the_network_cannot_have_is_refused(
    tmp_path: Path, name: str, options: dict[str, Any], readout: str
) -> None:
    path = saved(tmp_path / "x.pth", network(name, **options))
    with pytest.raises(vi.BadParameter, match=f"the read-out '{readout}' of x, which reads its"):
        loaded(path, name, arch_options=options, readout=readout)


@pytest.mark.usefixtures("numbers_only")
def test_the_command_line_takes_them(tmp_path: Path) -> None:
    noise((60, 40), 0).save(tmp_path / "photo.png")
    path = saved(tmp_path / "run.pth", network())
    out = tmp_path / "out"
    words = ["figures", tmp_path / "photo.png", "--out", out, "--checkpoint", path]
    words += ["--architecture", TINY, "--mean", "0.1, 0.2,0.3", "--std", "0.4,0.5,0.6"]
    words += ["--interpolation", "bilinear", "--crop-fraction", "0.8", "--readout", MEAN]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0
    given = json.loads((out / "provenance.json").read_text())["input"]
    assert given["readout"] == MEAN
    assert given["preprocessing"] == {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "interpolation": "bilinear",
        "crop_fraction": 0.8,
        "crop_mode": "center",
        "fit": "crop",
        "processor": None,
    }
    words[words.index("0.1, 0.2,0.3")] = "half"
    refused = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert refused.exit_code == 2
    assert "the mean 'half'" in refused.stderr


@pytest.mark.parametrize("place", ["arguments", "beside"])
def test_the_architecture_is_taken_from_the_file_or_from_beside_it(
    tmp_path: Path, place: str
) -> None:
    module = network()
    path = tmp_path / "run.pth"
    if place == "beside":
        saved(path, module)
        (tmp_path / "config.json").write_text(json.dumps({"architecture": f"{TINY}.tag"}))
    else:
        saved(path, module, args=argparse.Namespace(model=TINY))
    model = vi.load(checkpoint=path, device="cpu")
    assert f"Architecture {TINY}, as the settings beside the weights say." in model.notices
    assert torch.equal(output(model), output(loaded(path)))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "the checkpoint 'run.pth' without an architecture; expected"),
        ({"model": "our_vit"}, "an architecture, beside whose weights stands 'our_vit'; expected"),
        ({"model": "hf-hub:any/thing"}, "stands 'hf-hub:any/thing'; expected"),
    ],
)
def test_without_a_word_of_timm_on_it_the_architecture_must_be_given(
    tmp_path: Path, args: dict[str, str], words: str
) -> None:
    path = saved(tmp_path / "run.pth", network(), args=argparse.Namespace(**args))
    with pytest.raises(vi.BadParameter, match=words):
        vi.load(checkpoint=path)
