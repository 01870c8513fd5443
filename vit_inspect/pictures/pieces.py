"""Of how many pieces is the file of a picture?

Pillow reads what stands around the pixels in Python, piece by piece: chunks, segments, blocks,
tags, runs. Files of common programs have some thousands of them, and a hostile one has millions of
a few bytes each, which take longer than any pixels.
"""

from __future__ import annotations

import io

MAX_PIECES = 500_000
"""Most pieces that are read of a file, at 1 to 2 µs each. Those of a GIF have at most 255 bytes, so
that one of 40 megapixels of noise has 430,000."""


class TooManyPieces(Exception):
    """A file has more than `MAX_PIECES`."""


class Pieces(io.BytesIO):
    """The bytes of a file; raises `TooManyPieces` where Pillow reads one more."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_PIECES

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        self._left -= 1
        if self._left < 0:
            raise TooManyPieces
        return super().read(size)
