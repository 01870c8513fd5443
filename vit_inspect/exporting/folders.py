"""How does a folder take the files of one run at a time, and never those of two?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vit_inspect.errors import OutputFailed
from vit_inspect.exporting.files import ensure_folder, unwritable, write

LOCK = ".lock"
"""Stays in the folder: where it were removed, two runs could hold a file of that name each."""

ASIDE = ".vit_inspect.part"
"""The folder in which files wait until all are there. Whatever is in it is of a run alone."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder against other runs; it is made if it is not there.

    The system lets go of it when the process ends in whatever way.

    Raises `OutputFailed` where another process holds it, and where it cannot be written.
    """
    ensure_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputFailed(
            f"'{folder}', which another process is filling",
            "a folder that no other process writes to",
            "wait for it to end, or choose another folder",
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


class Together:
    """Files that take their places in a claimed folder together, when all of them are there.

    Until then they wait aside, and the folder is as it was. A run that is stopped leaves what an
    earlier one wrote there; what it left aside is removed by the next one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.aside = folder, folder / ASIDE
        self.names: list[str] = []

    def __enter__(self) -> Together:
        try:
            if self.aside.exists():
                shutil.rmtree(self.aside)
        except OSError as error:
            raise unwritable(self.aside, error) from error
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.aside, ignore_errors=True)

    def put(self, name: str, data: bytes) -> None:
        """Add a file; `name` is its path in the folder, with `/`."""
        write(self.aside / name, data)
        self.names.append(name)

    def arrive(self, earlier: set[str]) -> None:
        """Move all files to their places, in place of those of an earlier run.

        The last one is JSON and says in "files" which others there are. While the files change it
        holds those of both runs. So whoever comes after a run that was killed here knows them.

        earlier: files of an earlier run, which are removed before any new one is there.
        """
        path = self.folder
        try:
            for name in self.names:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
            said = {
                "unfinished": "The run was stopped while these files changed; run it again.",
                "files": sorted({*earlier, *self.names}),
            }
            # No photograph's folder has a dot in its name.
            write(self.aside / ".record", (json.dumps(said, indent=2) + "\n").encode())
            (self.aside / ".record").replace(path)
            for name in sorted(earlier - {self.names[-1]}):
                path = self.folder / name
                path.unlink(missing_ok=True)
            for name in self.names:
                path = self.folder / name
                (self.aside / name).replace(path)
        except OSError as error:
            raise unwritable(path, error) from error
        for name in earlier:
            with suppress(OSError):
                (self.folder / name).parent.rmdir()
