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
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        # Where the folder itself cannot be written there is nothing to remove.
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(path, error) from error


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
