"""What can go wrong with the bytes of any file?

All that is drawn comes from one generator of random numbers, so that a file is known by its number.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.helpers.picture_seeds import NUMBERS

COUNTS = (0, 1, 2, 3, 7, 127, 255, 256, 6000, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
"""What headers claim."""

WORDS = (
    b"<!doctype html><html><body><script>alert(1)</script>",
    b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
    b"PK\x03\x04" + bytes(26),
    b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    b"#!/bin/sh\nexit 1\n",
    b"GIF89a/*",
    b"\x89PNG\r\n\x1a\n",
    b"\x80\x02cos\nsystem\n(S'id'\ntR.",
    b"\xef\xbb\xbf\xff\xfe\0",
)
"""Starts of files of other kinds."""


def struck(draw: random.Random, data: bytes, others: Sequence[bytes], start: int = 4) -> bytes:
    """The bytes after one to four accidents, most of them near the start, where headers are.

    others: files from which pieces are taken. start: how many first bytes stay, which name a kind.
    """
    for _ in range(draw.choice((1, 1, 2, 4))):
        near = draw.choice((64, 256, len(data)))
        place = min(len(data), draw.choice((0, start, start, start)) + draw.randint(0, near))
        accident = draw.choice(("flip", "number", "number", "cut", "drop", "splice", "again"))
        if accident == "flip" and place < len(data):
            flipped = data[place] ^ 1 << draw.randrange(8)
            data = data[:place] + bytes((flipped,)) + data[place + 1 :]
        elif accident == "number":
            number = draw.choice(NUMBERS)
            data = data[:place] + number + data[place + len(number) :]
        elif accident == "cut":
            data = data[: len(data) - place // 2]
        elif accident == "drop":
            data = data[:place] + data[place + draw.randint(1, 40) :]
        elif accident == "splice":
            other = draw.choice(others)
            first = draw.randint(0, len(other))
            data = data[:place] + other[first : first + draw.randint(1, 400)] + data[place:]
        elif accident == "again":
            data = data[:place] + data[place : place + draw.randint(1, 64)] * 9 + data[place:]
    return data


def polyglot(draw: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A file that is also, or says that it is also, of another kind."""
    other = draw.choice((*WORDS, *WORDS, draw.choice(others)))
    place = draw.choice((0, 4, 8, len(data) // 2, len(data), len(data)))
    return data[:place] + other + data[place:]
