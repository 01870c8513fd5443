"""Is what a capture recorded what the model computed, and nothing of what others compute?

The families of timm stand in `tests/loading/test_zoo.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.oracle import explicit_attention
from vit_inspect.attention.rows import rows
from vit_inspect.layout import MEAN, POOL, TokenLayout
from vit_inspect.recording.hooks import _running
from vit_inspect.recording.verification import TOLERANCE

Make = Callable[..., vi.Model]


class Family(NamedTuple):
    architecture: str
    img_size: tuple[int, int]
    layout: TokenLayout


def family(
    architecture: str,
    *,
    grid: tuple[int, int] = (2, 3),
    patch: int = 16,
    prefix: tuple[str, ...] = ("cls",),
    readout: str = "cls",
) -> Family:
    layout = TokenLayout(prefix, grid, (patch, patch), readout)
    return Family(architecture, layout.input_px, layout)


FAMILIES = (
    family("vit_tiny_patch16_224"),
    family("vit_wee_patch16_reg1_gap_256", prefix=("reg1",), readout=MEAN),
    family("vit_base_patch32_siglip_256", patch=32, prefix=(), readout=POOL),
)
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]


def pixels_of(model: vi.Model, images: list[Image.Image]) -> Tensor:
    return torch.cat([model.prepare(image) for image in images])


def all_rows(capture: vi.Capture) -> Tensor:
    every = range(capture.layout.token_count)
    return torch.stack([rows(layer, every) for layer in capture.layers])


@pytest.fixture
def tiny(small: Make) -> vi.Model:
    return small("vit_tiny_patch16_224", (32, 48))


@pytest.mark.parametrize("wanted", FAMILIES, ids=lambda each: each.architecture)
def test_capture_is_what_the_model_computed(small: Make, wanted: Family) -> None:
    model = small(wanted.architecture, wanted.img_size)
    pixels = pixels_of(model, IMAGES)
    with torch.inference_mode():
        alone = model.module(pixels)
    capture = vi.capture(model, IMAGES)
    explicit = explicit_attention(model.module, pixels)
    assert capture.layout == wanted.layout
    assert torch.equal(capture.output, alone)
    # The test sees something: rows are peaked, and differ between images.
    assert explicit.amax(dim=-1).mean() > min(0.4, 10 / wanted.layout.token_count)
    assert (explicit[:, 0] - explicit[:, 1]).abs().max() > 0.05
    torch.testing.assert_close(all_rows(capture), explicit, rtol=0, atol=1e-9)
    assert capture.error < 1e-13


@pytest.mark.parametrize(
    "architecture", ["vit_base_patch32_siglip_256", "vit_pe_core_tiny_patch16_384"]
)
def test_pool_is_the_attention_that_reads_the_tokens(small: Make, architecture: str) -> None:
    patch = 32 if "patch32" in architecture else 16
    model = small(architecture, (2 * patch, 3 * patch))
    pool = model.module.attn_pool
    seen: list[Tensor] = []
    pool.kv.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    capture = vi.capture(model, IMAGES)
    with torch.inference_mode():
        width = pool.head_dim
        split = (len(IMAGES), -1, pool.num_heads, width)
        queries = pool.q(pool.latent).expand(len(IMAGES), -1, -1).reshape(split)
        keys = pool.kv(seen[0]).reshape(len(IMAGES), -1, 2, pool.num_heads, width)[:, :, 0]
        queries, keys = pool.q_norm(queries), pool.k_norm(keys)
        expected = (torch.einsum("iqhd,ikhd->ihqk", queries, keys) * pool.scale).softmax(dim=-1)
    assert capture.pool is not None
    torch.testing.assert_close(rows(capture.pool, [0]), expected, rtol=0, atol=1e-12)


def test_layers_come_first_layer_first(tiny: vi.Model) -> None:
    seen: list[Tensor] = []
    tiny.blocks[0].attn.q_norm.register_forward_hook(lambda *args: seen.append(args[2]))
    capture = vi.capture(tiny, IMAGES[0])
    assert torch.equal(capture.layers[0].queries, seen[0])


def test_photographs_remember_what_the_model_saw(small: Make) -> None:
    model = small("vit_tiny_patch16_224", 224, depth=1)
    capture = vi.capture(model, [noise((640, 480), 0), noise((30, 2500), 0)])
    wide, tall = capture.photographs
    assert wide.size_px == (480, 640)
    assert wide.pixels.shape == (480, 640, 3)
    assert tall.size_px == (2500, 30)
    assert max(tall.pixels.shape) == 1024
    assert tall.seen.right - tall.seen.left < 30
    assert wide.sha256 != tall.sha256


def test_bfloat16_on_a_processor_is_verified(small: Make) -> None:
    model = small("vit_tiny_patch16_224", (32, 48), dtype=torch.bfloat16)
    capture = vi.capture(model, IMAGES)
    assert 1e-6 < capture.error < TOLERANCE[torch.bfloat16]
    weights = all_rows(capture)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


def snapshot(module: nn.Module) -> list[Any]:
    """Everything of a module that a capture could leave changed."""
    hooks = [
        (name, list(part._forward_hooks), list(part._forward_pre_hooks), part.training)
        for name, part in module.named_modules()
    ]
    flags = [getattr(block.attn, "fused_attn", None) for block in module.blocks]
    return [hooks, flags]


def test_a_capture_leaves_the_model_as_it_was(tiny: vi.Model) -> None:
    weights = {name: tensor.clone() for name, tensor in tiny.module.state_dict().items()}
    before = snapshot(tiny.module)
    vi.capture(tiny, IMAGES)
    assert snapshot(tiny.module) == before
    assert not torch.is_inference_mode_enabled()
    for name, tensor in tiny.module.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.slow
def test_threads_that_share_a_model_get_what_each_gets_alone(small: Make) -> None:
    model = small("vit_tiny_patch16_224", (64, 96), dtype=torch.float32, depth=12)
    before = snapshot(model.module)
    images = [noise((60, 40), seed) for seed in range(16)]
    alone = [vi.capture(model, image) for image in images]
    start = threading.Barrier(len(images))

    def together(image: Image.Image) -> vi.Capture:
        start.wait()
        return vi.capture(model, image)

    for _repetition in range(2):
        with ThreadPoolExecutor(len(images)) as pool:
            captures = list(pool.map(together, images))
        for capture, expected in zip(captures, alone, strict=True):
            assert torch.equal(capture.output, expected.output)
            for layer, wanted in zip(capture.layers, expected.layers, strict=True):
                for name in ("queries", "keys", "values"):
                    assert torch.equal(getattr(layer, name), getattr(wanted, name))
        assert not torch.equal(captures[0].layers[1].queries, captures[1].layers[1].queries)
    assert snapshot(model.module) == before


def test_an_exception_inside_the_model_leaves_nothing_behind(tiny: vi.Model) -> None:
    expected = vi.capture(tiny, IMAGES)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    handle = tiny.blocks[1].mlp.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        vi.capture(tiny, IMAGES)
    handle.remove()
    assert _get_current_function_mode_stack() == []
    after = vi.capture(tiny, IMAGES)
    assert torch.equal(after.output, expected.output)
    assert torch.equal(all_rows(after), all_rows(expected))


def test_a_model_runs_unrecorded_after_a_failed_capture(tiny: vi.Model) -> None:
    """The layer hooks must not find the recorder of a capture that is over."""
    with_weights_rounded(tiny)
    with pytest.raises(vi.UnsupportedModel):
        vi.capture(tiny, IMAGES[0])
    assert _running.get() is None


class Instructions(TorchFunctionMode):
    """Adds options to the fused kernel's call, inside the recording."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            kwargs |= self.options
        return func(*args, **kwargs)


class Instructed(nn.Module):
    """An attention that hands options to the fused kernel which no model of timm uses so far."""

    def __init__(self, attention: nn.Module, **options: object) -> None:
        super().__init__()
        self.attention = attention
        self.options = options

    def forward(self, tokens: Tensor, **options: object) -> Tensor:
        with Instructions(**self.options):
            return self.attention(tokens, **options)


HIDDEN = torch.arange(7) == torch.tensor([2, 2, 5, 5, 5, 0, 0])[:, None]


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0.3},
        {"attn_mask": ~HIDDEN},
        {"attn_mask": (~HIDDEN)[None, None]},
        {"attn_mask": torch.linspace(-3, 3, 49, dtype=torch.float64).reshape(7, 7)},
        {"attn_mask": torch.zeros(7, 7, dtype=torch.float64).masked_fill(HIDDEN, -torch.inf)},
    ],
    ids=["scale", "mask", "mask of four dimensions", "bias", "bias of minus infinity"],
)
def test_options_of_the_kernel_are_recorded(tiny: vi.Model, options: dict[str, Any]) -> None:
    tiny.blocks[1].attn = Instructed(tiny.blocks[1].attn, **options)
    layer = (capture := vi.capture(tiny, IMAGES)).layers[1]
    scores = options.get("scale", layer.queries.shape[-1] ** -0.5) * (
        layer.queries @ layer.keys.transpose(2, 3)
    )
    mask = options.get("attn_mask", torch.ones(7, 7, dtype=torch.bool))
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    found = rows(layer, range(7))
    torch.testing.assert_close(found, scores.softmax(dim=-1), rtol=0, atol=1e-12)
    assert capture.error < 1e-13


def with_weights_rounded(model: vi.Model) -> vi.Model:
    """Attention without a fused kernel, with a step between softmax and values."""
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop = nn.Hardtanh(0, 1)
    return model


def training_with_dropout(model: vi.Model) -> vi.Model:
    for block in model.blocks:
        block.attn.attn_drop.p = 0.1
    model.module.train()
    return model


def traced(model: vi.Model) -> vi.Model:
    pixels = pixels_of(model, IMAGES[:1])
    return replace(model, module=torch.jit.trace(model.module, pixels))


def with_one_token_too_many(model: vi.Model) -> vi.Model:
    return replace(model, layout=replace(model.layout, prefix=("cls", "reg1")))


def not_finite(model: vi.Model) -> vi.Model:
    with torch.no_grad():
        model.blocks[1].attn.qkv.bias[-1] = torch.nan
    return model


def not_finite_behind_attention(model: vi.Model) -> vi.Model:
    with torch.no_grad():
        model.blocks[-1].mlp.fc2.bias[-1] = torch.inf
    return model


def with_a_pool_that_does_not_exist(model: vi.Model) -> vi.Model:
    return replace(model, layout=replace(model.layout, readout=POOL))


def causal(model: vi.Model) -> vi.Model:
    model.blocks[0].attn = Instructed(model.blocks[0].attn, is_causal=True)
    return model


REFUSALS = (
    (with_weights_rounded, "no softmaxes of queries and keys in block 0", "can be followed"),
    (traced, "no softmaxes of queries and keys in block 0", "neither compiled nor scripted"),
    (training_with_dropout, "attention with dropout", "call module.eval()"),
    (causal, "attention with a causal mask", "plain attention of all tokens to all tokens"),
    (
        with_one_token_too_many,
        "attention over 7 tokens in block 0",
        "8 (2 special tokens and 2 × 3",
    ),
    (not_finite, "infinite or NaN values in the attention", "check the weights"),
    (not_finite_behind_attention, "NaN values in the tokens or the output", "check the"),
    (with_a_pool_that_does_not_exist, "0 attention calls after the last block", "pools the tokens"),
)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("change", "found", "told"), REFUSALS)
def test_what_cannot_be_trusted_is_refused(
    tiny: vi.Model, change: Callable[[vi.Model], vi.Model], found: str, told: str
) -> None:
    model = change(tiny)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.capture(model, IMAGES[0])
    assert found in str(refusal.value)
    assert told in str(refusal.value)


def test_two_softmaxes_in_one_block_are_refused(small: Make) -> None:
    model = small("vit_tiny_patch16_224", 32)
    attention = model.module.blocks[0].attn

    class Twice(nn.Module):
        def forward(self, tokens: Tensor, **options: Any) -> Tensor:
            return attention(tokens, **options) - attention(tokens, **options)

    model.module.blocks[0].attn = Twice()
    with pytest.raises(vi.UnsupportedModel, match="2 softmaxes of queries and keys in block 0"):
        vi.capture(model, IMAGES[0])


class Corrupted(TorchFunctionMode):
    """A kernel that returns something else than softmax(q k^T) v, in one entry of one row."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is scaled_dot_product_attention:
            output[0, 0, 0, 0] += 1e-6
        return output


def test_a_kernel_that_computes_something_else_is_refused(tiny: vi.Model) -> None:
    with Corrupted(), pytest.raises(vi.UnsupportedModel, match="recomputed from its queries"):
        vi.capture(tiny, IMAGES[0])


def test_no_image_is_refused(tiny: vi.Model) -> None:
    with pytest.raises(vi.BadParameter, match="no image"):
        vi.capture(tiny, [])


def test_one_image_is_a_batch_of_one(tiny: vi.Model) -> None:
    one, batch = vi.capture(tiny, IMAGES[0]), vi.capture(tiny, IMAGES[:1])
    assert torch.equal(one.output, batch.output)
    assert len(one.photographs) == 1
    assert np.array_equal(one.photographs[0].pixels, np.array(IMAGES[0]))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_an_image_that_is_not_rgb_is_refused(tiny: vi.Model, mode: str) -> None:
    with pytest.raises(vi.BadParameter, match=f"an image of mode {mode}; expected an RGB image"):
        vi.capture(tiny, noise((40, 40), 0).convert(mode))
