"""Is every token where its layout says, and every distance that between patch centres?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.made import layout_of
from tests.helpers.oracle import pair_distances
from vit_inspect.errors import BadParameter
from vit_inspect.layout import (
    CLS_MEAN,
    MEAN,
    MEAN_ALL,
    MEAN_PREFIX,
    MEAN_STAGE,
    NONLINEAR,
    PADDING,
    POOL,
    Box,
    TokenLayout,
)


@pytest.mark.parametrize(
    ("side", "patch", "wanted"),
    [
        (14, 16, 116.492227),
        (7, 32, 115.502894),
        (16, 14, 116.565053),
        (28, 8, 116.721636),
        (24, 16, 200.047983),
        (37, 14, 269.991880),
    ],
)
def test_distance_of_uniform_attention(side: int, patch: int, wanted: float) -> None:
    layout = layout_of("cls", "reg1", grid=(side, side), patch_px=(patch, patch))
    assert layout.uniform_distance_px() == pytest.approx(wanted, abs=1e-6)


GRIDS = (((2, 3), (4, 6)), ((5, 2), (7, 3)), ((1, 4), (8, 8)), ((1, 1), (16, 16)))


@pytest.mark.parametrize(("grid", "patch_px"), GRIDS)
def test_the_offset_table_holds_the_distance_of_every_pair(
    grid: tuple[int, int], patch_px: tuple[int, int]
) -> None:
    layout = layout_of(grid=grid, patch_px=patch_px, readout=MEAN)
    table, pairs = layout.offset_distances_px(), pair_distances(grid, patch_px)
    assert table.shape == (2 * grid[0] - 1, 2 * grid[1] - 1)
    patches = list(np.ndindex(*grid))
    for query, (row, column) in enumerate(patches):
        for key, (other_row, other_column) in enumerate(patches):
            offset = other_row - row + grid[0] - 1, other_column - column + grid[1] - 1
            assert table[offset] == pytest.approx(pairs[query, key], abs=1e-12)
    assert layout.uniform_distance_px() == pytest.approx(pairs.mean(), abs=1e-12)


def test_tokens_are_prefix_first_then_patches_in_raster_order() -> None:
    layout = layout_of("cls", "reg1", grid=(2, 3))
    names = ["cls", "reg1", *np.ndindex(2, 3)]
    assert [layout.token(name) for name in names] == list(range(8))
    assert (layout.prefix_count, layout.patch_count, layout.token_count) == (2, 6, 8)


def test_sizes_are_rows_then_columns() -> None:
    layout = layout_of("cls", grid=(2, 3), patch_px=(4, 6))
    assert layout.input_px == (8, 18)
    assert layout.diagonal_px == pytest.approx((8**2 + 18**2) ** 0.5)


@pytest.mark.parametrize(
    ("prefix", "query", "words"),
    [
        (
            ("cls", "reg1"),
            "dist",
            "Found the token name 'dist'; expected a special token of this model ('cls', 'reg1') "
            "or a patch (row, column); choose one of these.",
        ),
        (
            (),
            "cls",
            "Found the token name 'cls'; expected a special token of this model (it has none) "
            "or a patch (row, column); choose one of these.",
        ),
        *(
            (
                (),
                patch,
                f"Found the patch {patch}; expected a row of 0..1 and a column of 0..2; "
                "choose a patch inside the grid.",
            )
            for patch in ((2, 0), (0, 3), (-1, 0), (0, -1))
        ),
    ],
)
def test_a_token_that_is_not_there_is_refused(
    prefix: tuple[str, ...], query: str | tuple[int, int], words: str
) -> None:
    layout = layout_of(*prefix, grid=(2, 3), readout=MEAN)
    with pytest.raises(BadParameter) as refusal:
        layout.token(query)
    assert str(refusal.value) == words


@pytest.mark.parametrize(
    ("readout", "wanted"),
    [
        ("cls", [1, 0, 0, 0]),
        ("reg1", [0, 1, 0, 0]),
        (MEAN, [0, 0, 1 / 2, 1 / 2]),
        (MEAN_ALL, [1 / 4] * 4),
        (MEAN_PREFIX, [1 / 2, 1 / 2, 0, 0]),
        (CLS_MEAN, [1 / 2, 0, 1 / 4, 1 / 4]),
    ],
)
def test_readout_weights(readout: str, wanted: list[float]) -> None:
    layout = layout_of("cls", "reg1", grid=(1, 2), readout=readout)
    np.testing.assert_allclose(layout.readout_weights(), wanted, rtol=1e-15)


@pytest.mark.parametrize("readout", [POOL, NONLINEAR])
def test_a_readout_that_depends_on_the_image_has_no_weights(readout: str) -> None:
    assert layout_of("cls", readout=readout).readout_weights() is None


@pytest.mark.parametrize(
    ("grid", "patch_px", "readout", "words"),
    [
        ((0, 3), (4, 4), "cls", r"the grid \(0, 3\); expected two whole numbers of at least 1"),
        ((2, 3), (4, 0), "cls", r"the patch_px \(4, 0\)"),
        ((2, 3), (4, 4), "dist", "read-out 'dist'; expected one of 'cls', 'mean of"),
    ],
)
def test_an_impossible_layout_is_refused(
    grid: tuple[int, int], patch_px: tuple[int, int], readout: str, words: str
) -> None:
    with pytest.raises(BadParameter, match=words):
        TokenLayout(("cls",), grid, patch_px, readout)


def test_a_class_token_that_is_read_must_be_there() -> None:
    with pytest.raises(BadParameter, match="the read-out 'class token and mean"):
        TokenLayout(("reg1",), (2, 3), (4, 4), CLS_MEAN)


def test_in_a_stage_that_is_not_read_the_mean_of_its_patches_stands_in() -> None:
    weights = layout_of(readout=MEAN_STAGE).readout_weights()
    assert weights is not None
    np.testing.assert_allclose(weights, [1 / 6] * 6)


def test_padding_is_a_key_and_no_query() -> None:
    layout = replace(layout_of("cls"), padded=True)
    assert layout.key_prefix == (PADDING, "cls")
    assert (layout.token_count, layout.token("cls"), layout.token((0, 0))) == (7, 0, 1)
    with pytest.raises(BadParameter, match=r"special token of this model \('cls'\) or a patch"):
        layout.token(PADDING)


def test_a_margin_is_part_of_the_input_and_of_no_patch() -> None:
    layout = TokenLayout((), (2, 3), (4, 6), MEAN, margin_px=(3, 5))
    assert layout.input_px == (11, 23)
    assert layout.covered_px == (8, 18)
    # A box of 46 × 22 on the photograph, 2 px to each of the input.
    assert layout.mapped_of(Box(10, 1, 56, 23)) == Box(10, 1, 46, 17)
    assert layout_of("cls").mapped_of(Box(0, 0, 1.1, 2.3)) == Box(0, 0, 1.1, 2.3)
    with pytest.raises(BadParameter, match=r"the margin_px \(0, -1\)"):
        TokenLayout((), (2, 3), (4, 6), MEAN, margin_px=(0, -1))


def test_patches_that_overlap_are_mapped_by_the_pixels_nearest_to_their_centres() -> None:
    layout = TokenLayout((), (4, 3), (8, 6), MEAN, margin_px=(1, 2), stride_px=(4, 4))
    assert layout.covered_px == (3 * 4 + 8, 2 * 4 + 6)
    assert layout.input_px == (21, 16)
    assert layout.mapped == Box(1, 2, 13, 18)
    down, right = layout.cell_of_px()
    for axis, (cells, count, patch, stride) in enumerate(
        ((down, 4, 8, 4), (right, 3, 6, 4)),
    ):
        centres = np.arange(count) * stride + patch / 2
        pixels = np.arange(layout.input_px[axis]) + 0.5
        nearest = np.abs(pixels[:, None] - centres).argmin(axis=1)
        np.testing.assert_array_equal(cells, nearest)
        inside = np.bincount(cells[int(layout.mapped[1 - axis]) :][: count * stride])
        assert inside.tolist() == [stride] * count
    # 42 × 32 px of a photograph, 2 px to each of the input.
    assert layout.mapped_of(Box(10, 20, 42, 62)) == Box(12, 24, 36, 56)


def test_distances_of_patches_that_overlap_are_those_of_their_centres() -> None:
    layout = TokenLayout((), (4, 3), (8, 6), MEAN, stride_px=(4, 5))
    table = layout.offset_distances_px()
    assert table[3 + 2, 2 + 1] == pytest.approx(np.hypot(2 * 4, 5))


@pytest.mark.parametrize("stride", [(0, 4), (9, 4), (4, 7)])
def test_a_stride_that_leaves_gaps_is_refused(stride: tuple[int, int]) -> None:
    with pytest.raises(BadParameter, match=r"a layout with (a stride of .* gaps|the stride_px)"):
        TokenLayout((), (4, 3), (8, 6), MEAN, stride_px=stride)


@pytest.mark.parametrize("trailing", [-1, 3])
def test_no_more_tokens_are_trailing_than_there_are(trailing: int) -> None:
    with pytest.raises(BadParameter, match="trailing tokens"):
        TokenLayout(("cls", "reg1"), (2, 3), (4, 4), "cls", trailing=trailing)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prefix": "cls"}, "a layout with the prefix 'cls'; expected a tuple of names"),
        ({"prefix": 1}, "prefix=1; expected a list"),
        ({"grid": 14}, "the grid 14; expected two whole numbers of at least 1"),
        ({"grid": (2.0, 3)}, r"the grid \(2.0, 3\)"),
        ({"grid": (2, 3, 1)}, r"the grid \(2, 3, 1\)"),
        ({"patch_px": "16"}, "the patch_px '16'"),
        ({"stride_px": 4}, "the stride_px 4"),
        ({"trailing": "1"}, "'1' trailing tokens; expected 0..1 of its 1 special tokens"),
        ({"readout": np.zeros(2)}, "the read-out of type ndarray|the read-out array"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_layout_is_refused(wrong: dict[str, Any], words: str) -> None:
    right = {"prefix": ("cls",), "grid": (2, 3), "patch_px": (4, 4), "readout": "cls"}
    with pytest.raises(BadParameter, match=words):
        TokenLayout(**right | wrong)


@pytest.mark.usefixtures("unchecked")
def test_a_layout_holds_numbers_of_python() -> None:
    given: Any = (np.array([2, 3]), [np.int64(4), torch.tensor(4)])
    layout = TokenLayout(["cls"], *given, "cls")  # type: ignore[arg-type]
    assert layout == TokenLayout(("cls",), (2, 3), (4, 4), "cls")
    assert hash(layout) == hash(TokenLayout(("cls",), (2, 3), (4, 4), "cls"))
    assert layout.patch(np.array([1, 2])) == (1, 2)
