"""Is position similarity the cosine of patch positions, and of nothing else?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.helpers.made import layout_of, model_of

GRID = (2, 3)


def similarity_of(positions: np.ndarray) -> np.ndarray:
    model = model_of(layout_of("cls", grid=positions.shape[:2]), positions=positions)
    return vi.position_similarity(model).similarity


def test_equals_the_cosine_of_every_pair(random: np.random.Generator) -> None:
    table = random.normal(size=(*GRID, 5)) + 1
    similarity = similarity_of(table)
    for i, j, k, m in np.ndindex(*GRID, *GRID):
        a, b = table[i, j], table[k, m]
        wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert similarity[i, j, k, m] == pytest.approx(wanted, abs=1e-6)


def test_symmetric_with_unit_diagonal_in_range(random: np.random.Generator) -> None:
    table = random.normal(size=(*GRID, 3))
    table[1, 1] = -2 * table[0, 0]
    similarity = similarity_of(table)
    matrix = similarity.reshape(6, 6)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1, rtol=0, atol=1e-6)
    assert matrix.max() <= 1
    assert matrix.min() >= -1
    assert similarity[0, 0, 1, 1] == pytest.approx(-1, abs=1e-6)


def test_a_sine_cosine_table_depends_on_the_offset_only() -> None:
    rows, columns = np.indices((4, 5))
    angles = [axis[..., None] * np.geomspace(0.1, 1, 3) for axis in (rows, columns)]
    table = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=-1)
    similarity = similarity_of(table)
    seen: dict[tuple[int, int], float] = {}
    for i, j, k, m in np.ndindex(4, 5, 4, 5):
        wanted = seen.setdefault((k - i, m - j), similarity[i, j, k, m])
        assert similarity[i, j, k, m] == pytest.approx(wanted, abs=1e-6)
    assert len(set(np.round(list(seen.values()), 4))) > 10


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [
        ("vit_tiny_patch16_224", 1),
        ("deit_tiny_distilled_patch16_224", 2),
        ("deit3_small_patch16_224", 0),
        ("vit_small_patch14_reg4_dinov2", 0),
    ],
)
def test_rows_of_prefix_tokens_are_left_out(
    small: Callable[..., vi.Model], architecture: str, prefix: int
) -> None:
    """Some tables have rows for prefix tokens, others leave them out."""
    model = small(architecture, None, depth=1)
    table = model.module.pos_embed[0]
    rows, columns, _ = model.positions.shape
    assert len(table) == prefix + rows * columns
    patches = table[prefix:].reshape(rows, columns, -1)
    assert torch.equal(model.positions, patches)
    similarity = vi.position_similarity(model).similarity
    first, last = patches[0, 0], patches[rows - 1, columns - 2]
    wanted = torch.cosine_similarity(first, last, dim=0).item()
    assert similarity[0, 0, rows - 1, columns - 2] == pytest.approx(wanted, abs=1e-6)


def test_a_table_that_is_a_grid_is_taken_as_it_is() -> None:
    torch.manual_seed(0)
    name = "naflexvit_base_patch16_gap"
    model = vi.load(name, img_size=(32, 48), pretrained=False, device="cpu")
    table = model.module.embeds.pos_embed
    torch.nn.init.normal_(table)
    assert torch.equal(model.positions, table[0])
    similarity = vi.position_similarity(model).similarity
    assert similarity.shape == (16, 16, 16, 16)
    wanted = torch.cosine_similarity(*table[0, [0, 1], [1, 2]], dim=0).item()
    assert similarity[0, 1, 1, 2] == pytest.approx(wanted, abs=1e-6)


def test_the_table_is_the_trained_one_at_any_input_size(dinov2: vi.Model) -> None:
    assert dinov2.layout.grid == (16, 16)
    assert dinov2.positions.shape == (37, 37, 384)
    assert vi.position_similarity(dinov2).similarity.shape == (37, 37, 37, 37)


def test_the_table_keeps_its_grid_where_the_network_says_which() -> None:
    model = vi.load("qwen3_vit_88m_enc", img_size=32, pretrained=False, device="cpu")
    assert model.layout.grid == (2, 2)
    assert torch.equal(model.positions.flatten(0, 1), model.module.pos_embed[0])
    assert model.positions.shape[:2] == (48, 48)


@pytest.mark.parametrize(
    ("architecture", "instead"),
    [
        ("vit_small_patch16_rope_224", "look at its rotary positions instead"),
        ("vit_relpos_small_patch16_224", "look at its relative position bias instead"),
        ("beit_base_patch16_224", "look at its relative position bias instead"),
        (
            "samvit_base_patch16_224",
            "this model has no position information of the known kinds",
        ),
    ],
)
def test_models_without_absolute_positions_are_told_what_they_have(
    small: Callable[..., vi.Model], architecture: str, instead: str
) -> None:
    model = small(architecture, 224 if "sam" in architecture else 32, depth=1)
    words = f"without a table of absolute position embeddings.*{instead}"
    with pytest.raises(vi.UnsupportedModel, match=words):
        vi.position_similarity(model)


def test_a_table_too_large_to_compare_is_refused() -> None:
    layout = layout_of("cls")
    vi.position_similarity(model_of(layout, positions=np.ones((32, 128, 1))))
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.position_similarity(model_of(layout, positions=np.ones((32, 129, 1))))
    assert refusal.value.found == "toy with a table of 32 × 129 positions"
    assert refusal.value.expected.startswith("at most 4096")
