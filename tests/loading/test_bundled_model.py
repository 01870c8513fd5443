"""Are the bundled weights those of their README, and do they compute what the source did?

`data/dinov2_small_chelsea.npz` holds `features` of the source ONNX graph (see the README of
`vit_inspect/assets`) at 64 `tokens` and 24 `channels`: the graph's output
`/backbone/layernorm/Add_1_output_0` for the photograph below at 518 px, computed by onnxruntime
1.32 on the CPU in float32. The graph declares 224 px; its two spatial dimensions were freed, and at
518 px its own resampling of the position table is the identity, so that only the float16 storage
stands between the two sides.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from vit_inspect.assets import DINOV2_SMALL, DINOV2_SMALL_SHA256

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "data" / "dinov2_small_chelsea.npz"


@pytest.fixture(scope="module")
def architecture() -> torch.nn.Module:
    return timm.create_model(
        "vit_small_patch14_dinov2.lvd142m",
        pretrained=False,
        num_classes=0,
        img_size=518,
        dynamic_img_size=True,
    ).eval()


def chelsea() -> torch.Tensor:
    """The cat as model input, shape (1, 3, 518, 518), normalised by ImageNet's mean and std."""
    photograph = Image.fromarray(skimage.data.chelsea()).resize(
        (518, 518), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(photograph, np.float32) / 255
    normal = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    return torch.from_numpy(normal.transpose(2, 0, 1)[None])


def test_weights_are_the_ones_that_the_readme_names() -> None:
    readme = DINOV2_SMALL.with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(DINOV2_SMALL.read_bytes()).hexdigest() == DINOV2_SMALL_SHA256
    assert f"| sha256 of the result | `{DINOV2_SMALL_SHA256}` |" in readme


def test_names_and_shapes_are_those_of_timm(architecture: torch.nn.Module) -> None:
    bundled = {name: tensor.shape for name, tensor in load_file(DINOV2_SMALL).items()}
    assert bundled == {name: tensor.shape for name, tensor in architecture.state_dict().items()}


def test_features_of_a_photograph_are_those_of_the_source(architecture: torch.nn.Module) -> None:
    architecture.load_state_dict(load_file(DINOV2_SMALL), strict=True)
    with np.load(GOLDEN) as golden, torch.inference_mode():
        tokens, channels, expected = golden["tokens"], golden["channels"], golden["features"]
        features = architecture.forward_features(chelsea())[0].numpy()
    # Measured 0.0030, the price of float16 matrices: 0.000007 in float32, 0.047 in bfloat16.
    np.testing.assert_allclose(features[np.ix_(tokens, channels)], expected, rtol=0, atol=0.006)
