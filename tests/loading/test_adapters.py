"""Is a network with an adapter of PEFT the one that is seen, in memory and from a folder?"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import RECIPE
from vit_inspect.attention.rows import rows

SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]
LORA: dict[str, Any] = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}


def base(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return hf.ViTForImageClassification(hf.ViTConfig(**SIZE, **options)).eval()


def adapted(network: nn.Module, **options: Any) -> Any:
    torch.manual_seed(1)
    model = peft.get_peft_model(network, peft.LoraConfig(**LORA | options)).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "q_proj.lora" in name:
                # Peaked attention, which hides no mistake.
                weights *= 60 if "magnitude" in name else 8
    return model


def eager(network: Any, pixels: torch.Tensor) -> torch.Tensor:
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        answer = network(pixel_values=pixels, output_attentions=True)
    network.set_attn_implementation("sdpa")
    return torch.stack(answer.attentions)


def all_rows(capture: vi.Capture) -> torch.Tensor:
    return torch.stack([rows(layer, range(capture.layout.token_count)) for layer in capture.layers])


def load(folder: Path, **options: Any) -> vi.Model:
    return vi.load(checkpoint=folder, architecture="transformers", device="cpu", **options)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}], ids=["LoRA", "DoRA"])
def test_an_adapted_network_in_memory_is_seen_with_its_adapter(options: dict[str, Any]) -> None:
    network = base(num_labels=5)
    plain = vi.capture(vi.wrap(network, transform=RECIPE), IMAGES)
    wrapper = adapted(network, **options)
    model = vi.wrap(wrapper, transform=RECIPE)
    assert (model.id, model.layout.grid) == ("ViTForImageClassification", (4, 4))
    capture = vi.capture(model, IMAGES)
    with torch.inference_mode():
        assert torch.equal(capture.output, wrapper(pixel_values=capture.pixels).logits)
    expected = eager(wrapper.get_base_model(), capture.pixels)
    assert expected.amax(dim=-1).mean() > 0.3
    torch.testing.assert_close(all_rows(capture), expected, rtol=0, atol=1e-4)
    assert (all_rows(capture) - all_rows(plain)).abs().max() > 0.1


def saved(tmp_path: Path, *, labels: int = 5, modules: list[str] | None = None) -> Any:
    """A base model with three classes, and an adapter that was trained on it."""
    base(id2label={0: "cat", 1: "dog", 2: "emu"}).save_pretrained(tmp_path / "base")
    network = hf.ViTForImageClassification.from_pretrained(
        tmp_path / "base", num_labels=labels, ignore_mismatched_sizes=True
    )
    wrapper = adapted(network, modules_to_save=modules)
    with torch.no_grad():
        for weights in wrapper.get_base_model().classifier.parameters():
            weights += 0.1
    wrapper.save_pretrained(tmp_path / "mine")
    return wrapper


@pytest.mark.parametrize(
    ("labels", "modules", "names"),
    [
        (5, ["classifier"], tuple(f"class {index}" for index in range(5))),
        (3, ["classifier"], ("cat", "dog", "emu")),
    ],
)
def test_a_folder_of_an_adapter_is_loaded_with_its_base(
    tmp_path: Path, labels: int, modules: list[str] | None, names: tuple[str, ...]
) -> None:
    wrapper = saved(tmp_path, labels=labels, modules=modules)
    model = load(tmp_path / "mine")
    assert model.labels == names
    assert model.source == "folder mine"
    assert model.notices == (
        "No image processor in the folder: that of its family was taken, ViTImageProcessor: mean "
        "0.5, standard deviation 0.5, crop to 1, bilinear filter.",
        "The adapter was merged into its base model, base.",
    )
    capture = vi.capture(model, IMAGES)
    with torch.inference_mode():
        expected = wrapper(pixel_values=capture.pixels).logits
    torch.testing.assert_close(capture.output, expected, rtol=0, atol=1e-4)
    attention = eager(wrapper.get_base_model(), capture.pixels)
    assert attention.amax(dim=-1).mean() > 0.3
    torch.testing.assert_close(all_rows(capture), attention, rtol=0, atol=1e-4)


def test_a_base_may_lie_beside_the_adapter(tmp_path: Path) -> None:
    saved(tmp_path, modules=["classifier"])
    rewritten(tmp_path / "mine", base_model_name_or_path="./base")
    assert load(tmp_path / "mine").notices[-1].endswith("into its base model, base.")


def test_the_processor_of_the_adapter_goes_first(tmp_path: Path) -> None:
    saved(tmp_path, modules=["classifier"])
    hf.ViTImageProcessor(image_mean=[0.1] * 3).save_pretrained(tmp_path / "base")
    assert load(tmp_path / "mine").recipe.mean == (0.1,) * 3
    hf.ViTImageProcessor(image_mean=[0.2] * 3).save_pretrained(tmp_path / "mine")
    assert load(tmp_path / "mine").recipe.mean == (0.2,) * 3


def rewritten(folder: Path, **change: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def without_base(folder: Path) -> None:
    shutil.rmtree(folder.parent / "base")


def unnamed_base(folder: Path) -> None:
    rewritten(folder, base_model_name_or_path=None)


def other_base(folder: Path) -> None:
    """Of other names and sizes, so that no weight of the adapter finds its place."""
    hf.Dinov2ForImageClassification(
        hf.Dinov2Config(**{key: SIZE[key] for key in SIZE if key != "intermediate_size"})
    ).save_pretrained(folder.parent / "base")
    rewritten(folder, auto_mapping=None)


def other_version(folder: Path) -> None:
    """As adapters of transformers 4 name the same layers."""
    rewritten(folder, target_modules=["query", "value"])


def without_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def missing_base(folder: Path) -> None:
    without_base(folder)
    rewritten(folder, base_model_name_or_path="./base")


def incomplete(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    del weights["base_model.model.vit.layers.1.attention.q_proj.lora_A.weight"]
    save_file(weights, path)


def without_classifier(folder: Path) -> None:
    """The base model has three classes that were never trained."""
    path = folder.parent / "base" / "model.safetensors"
    weights = {k: v for k, v in load_file(path).items() if "classifier" not in k}
    save_file(weights, path, metadata={"format": "pt"})
    path = folder / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if "classifier" not in k}, path)


@pytest.mark.parametrize(
    ("change", "found", "remedy"),
    [
        (without_base, "no base model of the adapter 'mine': 'base' is not there", "write its"),
        (unnamed_base, "no base model in adapter_config.json of 'mine'", "write it there"),
        (missing_base, "no base model of the adapter 'mine': './base' is not there", "write its"),
        (other_base, "the adapter 'mine', which PEFT cannot put into its base model", "correct"),
        (
            other_version,
            "the adapter 'mine', which PEFT cannot put into its base model",
            "or merge",
        ),
        (without_weights, "no weights of the adapter 'mine'", "save_pretrained of PEFT wrote"),
        (incomplete, "1 weight of the adapter 'mine' that do not fit", "correct"),
        (without_classifier, "2 weights missing for 'mine', such as classifier.bias", "choose"),
    ],
)
@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_an_adapter_that_does_not_fit_is_refused(
    tmp_path: Path, change: Any, found: str, remedy: str
) -> None:
    saved(tmp_path, modules=["classifier"])
    change(tmp_path / "mine")
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        load(tmp_path / "mine")
    assert found in refusal.value.found
    assert remedy in refusal.value.remedy


def test_a_missing_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        load(tmp_path / "mine")
    assert "no package peft, which the adapter in 'mine' needs" in refusal.value.found
    assert "run 'pip install peft'" in refusal.value.remedy


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_filters_that_lack_the_share_of_an_adapter_are_refused(channels: int) -> None:
    wrapper = adapted(base(num_channels=channels), target_modules=["projection", "q_proj"])
    with pytest.raises(vi.UnsupportedModel, match="an adapter on the patch embedding of ViTFor"):
        vi.wrap(wrapper, transform=RECIPE)
    model = vi.wrap(wrapper.merge_and_unload(), transform=RECIPE)
    assert model.filters is not None


def test_filters_of_which_the_adapter_has_a_trained_copy_are_refused() -> None:
    wrapper = adapted(base(), modules_to_save=["patch_embeddings"])
    with pytest.raises(vi.UnsupportedModel, match="an adapter on the patch embedding of ViTFor"):
        vi.wrap(wrapper, transform=RECIPE)


def test_filters_of_timm_that_lack_the_share_of_an_adapter_are_refused() -> None:
    network = timm.create_model("test_vit", img_size=32).eval()
    wrapper = adapted(network, target_modules=["patch_embed.proj", "qkv"])
    with pytest.raises(vi.UnsupportedModel, match="an adapter on the patch embedding of Vision"):
        vi.wrap(wrapper)
