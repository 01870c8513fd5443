"""Which rows of a picture are worked on at once? A few, so that no copy is as large as it is."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

_BLOCK = 1 << 20
"""Pixels."""

MEMORY = 24 * _BLOCK
"""Bytes that some copies of a block take together: six of 4 bytes for each pixel."""


def blocks(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Which rows, and a picture of them, from above."""
    # Pillow takes 8 bytes for each row beside its pixels, as much as for two of these.
    step = max(1, _BLOCK // (image.width + 2))
    for top in range(0, image.height, step):
        below = min(top + step, image.height)
        yield slice(top, below), image.crop((0, top, image.width, below))


def pixel_bytes(mode: str) -> int:
    """Bytes that Pillow takes for a pixel."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4
