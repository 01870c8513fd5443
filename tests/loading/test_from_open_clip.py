"""Is a network of open_clip loaded from its folder as open_clip loads it?"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.two_towers import siglip_tokenizer

open_clip = pytest.importorskip("open_clip")

from tests.helpers.open_clips import CONTEXT, PICTURES, TEXT, VISION, clip, ready  # noqa: E402

IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]
TEXTS = ("a red shoe", "bag", "Two cats")
CONFIGS: dict[str, dict[str, Any]] = {
    "CLIP": {
        "model_cfg": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT},
        "preprocess_cfg": {**PICTURES},
    },
    "SigLIP": {
        "model_cfg": {
            "embed_dim": 96,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "timm_model_name": "test_vit3",
                "timm_pool": "map",
                "timm_proj": "none",
                "image_size": 160,
            },
            "text_cfg": TEXT
            | {
                "vocab_size": 96,
                "pool_type": "last",
                "no_causal_mask": True,
                "hf_tokenizer_name": "organisation/elsewhere",
                "tokenizer_kwargs": {"clean": "canonicalize"},
            },
        },
        "preprocess_cfg": {**PICTURES, "size": 160, "resize_mode": "squash"},
    },
}
KINDS = tuple(CONFIGS)


def saved(folder: Path, kind: str) -> Path:
    """A folder as it lies on the hub."""
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIGS[kind]))
    torch.manual_seed(0)
    network = ready(open_clip.create_model(f"local-dir:{folder}"), PICTURES)
    if kind == "SigLIP":
        siglip_tokenizer().save_pretrained(folder)
        with torch.no_grad():
            network.logit_bias.fill_(-3.5)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved(tmp_path_factory.mktemp("open_clip") / kind, kind) for kind in KINDS}


def load(folder: Path, **options: Any) -> vi.Model:
    return vi.load(checkpoint=folder, architecture="open_clip", device="cpu", **options)


def own_logits(folder: Path, pixels: Tensor) -> Tensor:
    """What open_clip itself makes of the folder, (image, text)."""
    network = open_clip.create_model(f"local-dir:{folder}").eval().to(pixels.dtype)
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([*TEXTS])
    with torch.no_grad():
        return network.get_logits(pixels, tokens)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_open_clips_own(
    folders: dict[str, Path], kind: str, dtype: torch.dtype, unreachable: list[str]
) -> None:
    model = load(folders[kind], dtype=dtype)
    assert (model.id, model.source) == (kind, f"folder {kind}")
    assert (model.labels, model.dtype) == (None, dtype)
    assert model.recipe.std == (0.2, 0.3, 0.25)
    assert model.recipe.crop_mode == ("center" if kind == "CLIP" else "squash")
    capture = vi.capture(vi.with_texts(model, TEXTS), IMAGES)
    wanted = own_logits(folders[kind], capture.pixels)
    exact = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(
        capture.output, wanted, rtol=0, atol=exact * wanted.abs().max().item()
    )
    assert wanted.std(dim=1).min() > 0.1
    assert capture.model.outputs == ("single-label" if kind == "CLIP" else "multi-label")
    assert vi.logit_lens(capture).labels


def test_a_file_of_torch_is_read_too(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(folders["CLIP"] / "open_clip_config.json", folder)
    weights = open_clip.create_model(f"local-dir:{folders['CLIP']}").state_dict()
    torch.save({"state_dict": weights}, folder / "open_clip_pytorch_model.bin")
    outputs = [vi.capture(load(each), IMAGES).output for each in (folder, folders["CLIP"])]
    assert torch.equal(outputs[0], outputs[1])


def test_random_weights_compare_nothing(folders: dict[str, Path]) -> None:
    model = load(folders["SigLIP"], pretrained=False)
    assert model.source == "random weights"
    with pytest.raises(vi.UnsupportedModel, match="loaded with its weights"):
        vi.with_texts(model, TEXTS)
    trained = load(folders["SigLIP"])
    assert (vi.capture(model, IMAGES).output - vi.capture(trained, IMAGES).output).abs().max() > 0.1


def test_a_tokenizer_is_loaded_when_it_is_used(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["SigLIP"], tmp_path / "mine")
    for each in ("tokenizer.json", "tokenizer_config.json"):
        (folder / each).unlink()
    model = load(folder)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.with_texts(model, TEXTS)
    assert refusal.value.found.startswith("no tokenizer for 'mine' (")
    assert str(tmp_path) not in str(refusal.value)
    for each in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders["SigLIP"] / each, folder)
    assert vi.with_texts(model, TEXTS).labels == TEXTS


def broken(folder: Path, case: str) -> None:
    """Spoil a folder."""
    weights, config = folder / "open_clip_model.safetensors", folder / "open_clip_config.json"
    if case == "no configuration":
        config.unlink()
    elif case == "no weights":
        weights.unlink()
    elif case == "other weights":
        save_file(clip(width=96).state_dict(), weights)
    elif case == "some weights":
        some = {key: each for key, each in clip().state_dict().items() if "ln_post" not in key}
        save_file(some, weights)
    elif case == "not JSON":
        config.write_text("{")
    elif case == "several files":
        weights.rename(folder / "first.safetensors")
        shutil.copy(folder / "first.safetensors", folder / "second.safetensors")
    elif case == "a network of others":
        told = json.loads(config.read_text())
        told["model_cfg"]["vision_cfg"] = VISION | {"layers": [1, 1, 1, 1]}
        config.write_text(json.dumps(told))
        network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        save_file(network.state_dict(), weights)


BROKEN = {
    "no configuration": "no open_clip_config.json in 'mine'",
    "no weights": "no model of open_clip for 'mine' (Required pretrained weights",
    "other weights": "no model of open_clip for 'mine' (Error(s) in loading state_dict for CLIP",
    "some weights": "no model of open_clip for 'mine' (Error(s) in loading state_dict for CLIP",
    "not JSON": "no model of open_clip for 'mine' (Could not load valid config",
    "several files": "2 files of weights in the folder 'mine', such as 'first.safetensors', 'sec",
    "a network of others": "mine, which is the ModifiedResNet of open_clip",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_that_cannot_be_used_is_refused(
    folders: dict[str, Path], tmp_path: Path, case: str
) -> None:
    folder = shutil.copytree(folders["CLIP"], tmp_path / "mine")
    broken(folder, case)
    with pytest.raises((vi.WeightsUnavailable, vi.UnsupportedModel)) as refusal:
        load(folder)
    assert refusal.value.found.startswith(BROKEN[case])
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"img_size": 64}, "an input of 64 × 64 px for CLIP; expected 32 × 32 px, the only size"),
        ({"part": "visual"}, "part='visual' without a file of weights"),
        ({"labels": ["a", "b"]}, "whose output is a feature vector"),
    ],
)
def test_what_the_folder_does_not_have_is_refused(
    folders: dict[str, Path], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        load(folders["CLIP"], **options)
    assert told in str(refusal.value)


def test_its_own_size_may_be_said(folders: dict[str, Path]) -> None:
    assert load(folders["CLIP"], img_size=32).layout.input_px == (32, 32)


def test_a_folder_is_found_from_elsewhere(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders["SigLIP"].parent)
    model = load(Path("SigLIP"))
    monkeypatch.chdir(tmp_path)
    assert vi.with_texts(model, TEXTS).labels == TEXTS


def test_a_repository_is_loaded_by_its_name(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(repository: str, filename: str | None = None, **_: object) -> str:
        assert repository == "organisation/name"
        return str(folders["CLIP"] / (filename or "open_clip_model.safetensors"))

    monkeypatch.setattr("open_clip.factory.download_pretrained_from_hf", fetched)
    model = vi.load("open_clip:organisation/name", device="cpu")
    assert (model.id, model.source) == ("open_clip:organisation/name", "hub")
    captures = [
        vi.capture(vi.with_texts(each, TEXTS), IMAGES) for each in (model, load(folders["CLIP"]))
    ]
    assert torch.equal(captures[0].output, captures[1].output)


def test_an_unreachable_hub_is_explained(unreachable: list[str]) -> None:
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.load("open_clip:organisation/name", device="cpu")
    assert refusal.value.found.startswith("no model of open_clip for 'open_clip:organisation/name'")
    assert "connect to the hub" in refusal.value.remedy
    assert len(unreachable) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("open_clip:ViT-B-32", "expected 'open_clip:organisation/name'"),
        ("open_clip:organisation/name@main", "the revision 'main' of a model of open_clip"),
    ],
)
def test_a_malformed_name_is_refused(name: str, told: str, unreachable: list[str]) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(name, device="cpu")
    assert told in str(refusal.value)
    assert unreachable == []


def test_a_missing_package_says_how_to_get_it(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        load(folders["CLIP"])
    assert "no package open_clip, which" in refusal.value.found
    assert "run 'pip install open_clip_torch'" in refusal.value.remedy


def test_texts_may_be_as_long_as_the_tower_reads(folders: dict[str, Path]) -> None:
    model = load(folders["CLIP"])
    assert vi.with_texts(model, [" ".join("a" * (CONTEXT - 2))]).labels
    with pytest.raises(vi.BadParameter, match="would read only a part"):
        vi.with_texts(model, [" ".join("a" * (CONTEXT - 1))])
