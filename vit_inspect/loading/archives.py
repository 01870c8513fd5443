"""How is an archive opened whose directory may be longer than any has to be?

`zipfile` makes an object of each entry of the directory before anybody can count them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vit_inspect.errors import WeightsUnavailable

MAX_DIRECTORY = 4_000_000
"""Most bytes of the directory of an archive; a member takes about 100, and 50 at least. Those of
50 bytes take a second."""


class _File(io.BufferedReader):
    """A file of which no more is read at once than a directory may have, while it is opened."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(io.FileIO(path))
        self.shown, self.opening = name, True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.opening and size is not None and size > MAX_DIRECTORY:
            raise WeightsUnavailable(
                f"a directory of {size:,} bytes in the archive {self.shown!r}",
                f"at most {MAX_DIRECTORY:,}, for the weights of one network",
                "save the weights of the network alone",
            )
        return super().read(size)


@contextmanager
def opened(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """The archive in a file; raises `WeightsUnavailable` for one of far too many members.

    name: of the file, for display.
    """
    with _File(path, name) as file, zipfile.ZipFile(file) as archive:
        file.opening = False
        yield archive
