"""Is rotary similarity the cosine that timm's own rotation leaves of equal vectors?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.layers import RotaryEmbeddingMRope, apply_rot_embed_cat
from torch import Tensor, nn

import vit_inspect as vi
from tests.helpers.made import layout_of, model_of
from vit_inspect.loading.positions import rotation

SHARED = (
    "eva02_tiny_patch14_224",
    "vit_pe_core_tiny_patch16_384",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_dinov3",
)
MIXED = "vit_small_patch16_rope_mixed_224"


def size_of(architecture: str) -> tuple[int, int]:
    """Three rows and four columns of patches."""
    patch_px = 14 if "patch14" in architecture else 16
    return 3 * patch_px, 4 * patch_px


def rotated(model: vi.Model, vector: Tensor) -> Tensor:
    """(layer, head, patch, width): one vector at every patch, after timm's own rotation."""
    rope, half = model.module.rope, getattr(model.blocks[0].attn, "rotate_half", False)
    embedded = rope.get_embed(shape=model.layout.grid)
    same = vector.expand(model.layout.patch_count, -1)
    turned = apply_rot_embed_cat(same, embedded, half=half).to(torch.float64)
    return turned[(None,) * (4 - turned.dim())][: len(model.blocks)]


def of_pairs(similarity: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(query, key) of what is stored by offset."""
    rows, columns = (np.array(each) for each in zip(*np.ndindex(grid), strict=True))
    down = rows[None] - rows[:, None] + grid[0] - 1
    right = columns[None] - columns[:, None] + grid[1] - 1
    return similarity[..., down, right]


@pytest.mark.parametrize("architecture", [*SHARED, MIXED])
def test_equals_the_cosine_of_equal_vectors_after_timms_rotation(
    small: Callable[..., vi.Model], architecture: str
) -> None:
    model = small(architecture, size_of(architecture), dtype=torch.float32)
    result = vi.rotary_similarity(model)
    width = 2 * result.frequency.shape[2]
    ones = rotated(model, torch.ones(width))
    wanted = torch.cosine_similarity(ones[..., :, None, :], ones[..., None, :, :], dim=-1)
    found = of_pairs(result.similarity, model.layout.grid)
    assert wanted.min() < 0.9
    assert found.shape[:2] == ((3, 6) if architecture == MIXED else (1, 1))
    np.testing.assert_allclose(found, np.broadcast_to(wanted.numpy(), found.shape), atol=2e-6)


@pytest.mark.parametrize("architecture", ["vit_small_patch16_rope_224", SHARED[3], MIXED])
def test_queries_of_a_blank_picture_are_turned_by_the_frequencies(
    small: Callable[..., vi.Model], architecture: str
) -> None:
    """All patches are alike, so that queries of the first layer differ by their rotation only."""
    model = small(architecture, size_of(architecture), dtype=torch.float32)
    capture = vi.capture(model, Image.new("RGB", (64, 48), "teal"))
    queries = capture.layers[0].queries[0, :, model.layout.prefix_count :].numpy()
    halves = np.split(queries, 2, axis=-1)
    half = getattr(model.blocks[0].attn, "rotate_half", False)
    real, imaginary = halves if half else (queries[..., ::2], queries[..., 1::2])
    turned = (real + 1j * imaginary).reshape(len(queries), 3, 4, -1)
    down, right = np.moveaxis(vi.rotary_similarity(model).frequency[0, :, None, None], -1, 0)
    row, column = np.indices((3, 4))[..., None]
    wanted = turned[:, :1, :1] * np.exp(1j * (down * row + right * column))
    scale = np.abs(turned).max()
    assert np.abs(turned - turned[:, :1, :1]).max() > 0.1 * scale
    np.testing.assert_allclose(turned, wanted, atol=1e-5 * scale)


@pytest.mark.parametrize("architecture", [*SHARED, MIXED])
def test_laws(small: Callable[..., vi.Model], architecture: str) -> None:
    result = vi.rotary_similarity(small(architecture, size_of(architecture)))
    similarity = result.similarity
    assert similarity.shape[2:] == (5, 7)
    np.testing.assert_allclose(similarity, similarity[:, :, ::-1, ::-1], atol=1e-7)
    np.testing.assert_allclose(similarity[:, :, 2, 3], 1, atol=1e-7)
    assert np.abs(similarity).max() <= 1
    assert similarity.std() > 0.01
    if architecture != MIXED:
        # Each pair turns along one axis only, so that mirrors change nothing.
        np.testing.assert_allclose(similarity, similarity[:, :, ::-1], atol=1e-5)
        assert (np.abs(result.frequency).min(axis=-1) < 1e-6).all()


def test_the_type_of_the_weights_does_not_blur_it(small: Callable[..., vi.Model]) -> None:
    precise, coarse = (
        vi.rotary_similarity(small("vit_small_patch16_dinov3", (48, 64), dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    )
    np.testing.assert_allclose(coarse.similarity, precise.similarity, atol=1e-5)


def test_one_row_of_patches_has_offsets_along_it_only(small: Callable[..., vi.Model]) -> None:
    result = vi.rotary_similarity(small("vit_small_patch16_rope_224", (16, 64)))
    assert result.similarity.shape == (1, 1, 1, 7)
    assert not result.frequency[..., 0].any()
    assert result.similarity.min() < 0.8


def turning(rope: nn.Module) -> vi.Model:
    """A model of 3 × 4 patches whose block turns halves of each head."""
    module, block = nn.Module(), nn.Module()
    module.rope, block.attn = rope, nn.Module()
    block.attn.rotate_half = True
    return replace(
        model_of(layout_of(grid=(3, 4), readout="mean of the patches")),
        module=module,
        blocks=(block,),
        rotation=rotation(module, name="toy"),
    )


def test_pairs_that_are_not_turned_stay_equal() -> None:
    result = vi.rotary_similarity(turning(RotaryEmbeddingMRope(24, mrope_section=(4, 4, 4))))
    still = ~result.frequency[0, 0].any(axis=-1)
    assert still.sum() == 4
    assert result.similarity.min() >= (4 - 8) / 12


def test_rotations_that_are_no_function_of_the_offset_are_refused() -> None:
    class Uneven(nn.Module):
        def get_embed(self, shape: list[int], dtype: torch.dtype) -> Tensor:
            angle = torch.linspace(0, 3, shape[0] * shape[1]).square()[:, None].expand(-1, 8)
            return torch.cat([angle.sin(), angle.cos()], dim=-1).to(dtype)

    with pytest.raises(vi.UnsupportedModel, match="do not grow evenly with row and column"):
        vi.rotary_similarity(turning(Uneven()))


@pytest.mark.parametrize(
    ("architecture", "instead"),
    [
        ("vit_tiny_patch16_224", "look at the similarity of its position embeddings instead"),
        ("beit_base_patch16_224", "look at its relative position bias instead"),
        ("samvit_base_patch16_224", "no position information of the known kinds"),
    ],
)
def test_a_model_without_one_is_told_what_it_has(
    small: Callable[..., vi.Model], architecture: str, instead: str
) -> None:
    with pytest.raises(vi.UnsupportedModel, match=f"without rotary positions.*{instead}"):
        vi.rotary_similarity(small(architecture, 224 if "sam" in architecture else 64, depth=1))
