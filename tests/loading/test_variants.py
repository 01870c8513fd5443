"""The named sizes are those of the papers; none is claimed for a network that is far from it."""

from __future__ import annotations

import pytest
import timm
import torch

from vit_inspect.loading.variants import VARIANTS, is_exact, nearest
from vit_inspect.records.anatomy import Row, Variant

BASE = Row(12, 768, 3072, 12, 86_567_656)

IN_TIMM = {
    "ViT-Ti": "vit_tiny_patch16_224",
    "ViT-S": "vit_small_patch16_224",
    "ViT-Base": "vit_base_patch16_224",
    "SoViT-400M": "vit_so400m_patch14_siglip_224",
    "ViT-Large": "vit_large_patch16_224",
    "ViT-Huge": "vit_huge_patch14_224",
    "ViT-g": "vit_giant_patch14_224",
    "ViT-G": "vit_gigantic_patch14_224",
}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_timm_builds_each_variant_with_these_numbers(variant: Variant) -> None:
    with torch.device("meta"):
        network = timm.create_model(IN_TIMM[variant.name], num_classes=0)
    block, row = network.blocks[0], variant.row
    found = len(network.blocks), network.embed_dim, block.mlp.fc1.out_features, block.attn.num_heads
    assert found == (row.layers, row.width, row.mlp, row.heads)
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(
        row.parameters, rel=0.08
    )


def test_each_variant_is_nearest_to_itself() -> None:
    for variant in VARIANTS:
        assert nearest(variant.row) == variant
        assert is_exact(variant.row, variant)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (BASE, "ViT-Base"),
        # Another patch, head or stem changes the parameters alone.
        (Row(12, 768, 3072, 12, 98_659_112), "ViT-Base"),
        # DINOv2-g is no ViT-g: it has 24 heads, and a gated MLP of 4,096.
        (Row(40, 1536, 4096, 24, 1_136_480_768), None),
        (Row(27, 1152, 4304, 16, 412_442_352), "SoViT-400M"),
        (Row(12, 512, 2048, 8, 38_880_232), None),
        (Row(16, 768, 3072, 12, 115_000_000), None),
        (Row(15, 768, 3072, 12, 107_000_000), "ViT-Base"),
        (Row(12, 768, 2304, 12, 71_000_000), None),
        (Row(12, None, 3072, 12, 86_000_000), None),
        (Row(12, 768, None, 12, 86_000_000), None),
    ],
)
def test_a_number_that_differs_by_more_than_a_quarter_has_no_variant(
    row: Row, name: str | None
) -> None:
    found = nearest(row)
    assert (found and found.name) == name


def test_a_near_variant_is_not_exact() -> None:
    row = Row(12, 768, 3000, 12, 86_000_000)
    assert not is_exact(row, nearest(row))
    assert is_exact(BASE, nearest(BASE))
    assert not is_exact(row, None)
