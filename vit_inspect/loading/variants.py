"""Which named sizes of vision transformers are there, and which one is nearest?"""

from __future__ import annotations

from math import log2

from vit_inspect.records.anatomy import Row, Variant

_PAPER = "ViT paper, arXiv 2010.11929, Table 1"
_STEINER = "Steiner et al., arXiv 2106.10270, Table 1"
_ALABDULMOHSIN = "Alabdulmohsin et al., arXiv 2305.13035"
_ZHAI = "Zhai et al., arXiv 2106.04560, Table 2"

VARIANTS = tuple(
    Variant(name, Row(layers, width, mlp, heads, millions * 1_000_000), source)
    for name, layers, width, mlp, heads, millions, source in (
        ("ViT-Ti", 12, 192, 768, 3, 6, _STEINER),
        ("ViT-S", 12, 384, 1536, 6, 22, _STEINER),
        ("ViT-Base", 12, 768, 3072, 12, 86, _PAPER),
        ("ViT-Large", 24, 1024, 4096, 16, 307, _PAPER),
        ("SoViT-400M", 27, 1152, 4304, 16, 428, _ALABDULMOHSIN),
        ("ViT-Huge", 32, 1280, 5120, 16, 632, _PAPER),
        ("ViT-g", 40, 1408, 6144, 16, 1011, _ZHAI),
        ("ViT-G", 48, 1664, 8192, 16, 1843, _ZHAI),
    )
)
"""The smallest first. Parameters are those of the table, in whole millions."""

FARTHEST = 1.25
"""The factor by which no number of a network may differ from those of its variant."""


def nearest(row: Row) -> Variant | None:
    """The variant nearest to a row, if it is near.

    Its distance is the sum of |log2| of the ratios of layers, width, MLP and heads. Parameters do
    not count: they depend on the patch, the head and the positions. None if one of the four is not
    known, or differs by more than a factor of `FARTHEST`.
    """
    found = min(VARIANTS, key=lambda each: sum(_ratios(row, each)), default=None)
    if found is None or not _ratios(row, found) or max(_ratios(row, found)) > log2(FARTHEST):
        return None
    return found


def is_exact(row: Row, variant: Variant | None) -> bool:
    """Whether layers, width, MLP and heads are those of the variant."""
    return variant is not None and not any(_ratios(row, variant))


def _ratios(row: Row, variant: Variant) -> list[float]:
    """|log2| of the four ratios; empty if one is not known."""
    pairs = zip(_four(row), _four(variant.row), strict=True)
    known = [(own, other) for own, other in pairs if own is not None and other is not None]
    return [abs(log2(own / other)) for own, other in known] if len(known) == 4 else []


def _four(row: Row) -> tuple[int | None, ...]:
    return row.layers, row.width, row.mlp, row.heads
