"""Small networks of pictures and texts, saved with tokenizers that know letters and no words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

import vit_inspect as vi
from vit_inspect.analyses.readout import readout_weights
from vit_inspect.layout import POOL

CONTEXT = 26
"""Most tokens of a text; other numbers than those of the tokens of a picture."""

PLAIN: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
LETTERS = [chr(code) for code in range(33, 127)]


def clip_tokenizer() -> Any:
    tokens = [*LETTERS, *(f"{each}</w>" for each in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return hf.CLIPTokenizer(vocab={each: place for place, each in enumerate(tokens)}, merges=[])


def siglip_tokenizer() -> Any:
    tokens = ["</s>", "<unk>", *LETTERS]
    vocabulary = {each: place for place, each in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 0)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


def saved(folder: Path, kind: str) -> Path:
    """A folder with a "CLIPModel" or a "SiglipModel", its image processor and its tokenizer."""
    of_clip = kind == "CLIPModel"
    tokenizer = clip_tokenizer() if of_clip else siglip_tokenizer()
    vision = PLAIN | {"image_size": 32, "patch_size": 8}
    text = PLAIN | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if of_clip:
        config = hf.CLIPConfig(vision_config=vision, text_config=text, projection_dim=24)
        processor = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    else:
        config = hf.SiglipConfig(vision_config=vision, text_config=text)
        processor = hf.SiglipImageProcessor(size={"height": 32, "width": 32})
    torch.manual_seed(0)
    network = getattr(hf, kind)(config).eval()
    with torch.no_grad():
        for name, weights in network.named_parameters():
            # Peaked attention, and values of its own where all were alike.
            if weights.numel() > 1 and weights.std() < 1e-3:
                weights += 0.3 * torch.randn_like(weights)
            if name.endswith(("q_proj.weight", "k_proj.weight", "in_proj_weight")):
                weights *= 0.6 / weights.std()
            if name.endswith("token_embedding.weight"):
                weights *= 1 / weights.std()
        if not of_clip:
            network.logit_bias.fill_(-1.5)
            network.logit_scale.fill_(2.5)
    for each in (network, processor, tokenizer):
        each.save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> vi.Model:
    return vi.load(checkpoint=folder, architecture="transformers", device="cpu", **options)


def whole(folder: Path, kind: str, dtype: torch.dtype = torch.float64) -> Any:
    """The whole network, as its authors load it."""
    return getattr(hf, kind).from_pretrained(folder, dtype=dtype).eval()


def tokens(kind: str, texts: list[str]) -> dict[str, Tensor]:
    """What the authors' examples give to the whole network."""
    if kind == "CLIPModel":
        return dict(clip_tokenizer()(texts, padding=True, return_tensors="pt"))
    found = siglip_tokenizer()(texts, padding="max_length", max_length=CONTEXT, return_tensors="pt")
    return {"input_ids": found["input_ids"]}


def own_logits(
    network: nn.Module, kind: str, texts: list[str], pixels: Tensor, **options: Any
) -> Tensor:
    """The whole network's own scores, (image, text)."""
    return network(**tokens(kind, texts), pixel_values=pixels, **options).logits_per_image


def relevance_by(capture: vi.Capture, score: Tensor, maps: list[Tensor]) -> np.ndarray:
    """The relevance of each token (image, token) for a score, from the maps that it came from.

    maps: those of all layers and of the attention pool, (..., query, key), in a graph.
    """
    layout, images = capture.layout, len(capture.output)
    raising = [
        (each * gradient)
        .clamp(min=0)
        .reshape(images, -1, *each.shape[-2:])
        .mean(dim=1)
        .detach()
        .numpy()
        for each, gradient in zip(maps, torch.autograd.grad(score.sum(), maps), strict=True)
    ]
    pooled = layout.readout == POOL
    assert len(raising) == capture.layer_count + pooled
    row = raising.pop()[:, 0] if pooled else readout_weights(capture).numpy()
    product = np.tile(np.eye(layout.token_count), (images, 1, 1))
    for each in raising:
        product = product + each @ product
    return np.einsum("iq,iqk->ik", row, product)
