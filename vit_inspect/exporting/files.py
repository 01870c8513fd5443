"""How does a file get to its place whole, or not at all?"""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from vit_inspect.errors import OutputFailed


def write(path: Path, data: bytes) -> None:
    """Put a file in its place whole, or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                # Some disks in a network say only now that they are full, and after a power cut a
                # file without it may be there and empty. It takes 3 ms, drawing a figure 100.
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            # Where the folder itself cannot be written there is nothing to remove.
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def remove_parts(folder: Path, name: str) -> None:
    """Remove what a process was writing when it was killed; for whoever has claimed the folder.

    name: of the files that it was to become; a pattern of `glob`.
    """
    for left in folder.glob(f".{name}.*-*.part"):
        try:
            left.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(left, error) from error


def unwritable(path: Path, error: OSError) -> OutputFailed:
    """What to say of a file that cannot be written."""
    return OutputFailed(
        f"'{path}' cannot be written ({error.strerror or error})",
        "a folder that may be written and a disk with room",
        "free some space or choose another folder",
    )


def ensure_folder(folder: Path) -> None:
    """Make the folder, and see that files can be put there, before any long work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error
