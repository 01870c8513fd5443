"""Which weights did visitors bring, and where are they kept?

Only where the operator allows it, and only .safetensors, which hold no code. A file lies in a
private folder under the hash of its bytes. Only a session that has brought the file itself can open
it, whoever knows its name and its hash. Its name is a visitor's text, and never used as a path.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import streamlit as st

from vit_inspect.errors import WeightsUnavailable
from vit_inspect.loading.weight_files import check_safetensors
from vit_inspect.pictures.reading import printable
from vit_inspect_dashboard import operating, quotas, shares
from vit_inspect_dashboard.quotas import MB
from vit_inspect_dashboard.shares import Shares
from vit_inspect_dashboard.wording import BROUGHT, model_title

FILES = 4
"""How many files of the largest size allowed are kept; each session has a fair share of them."""

SUFFIX = ".safetensors"
NAME_LENGTH = 40
"""Letters of a file's name that are kept, its suffix among them."""

_SESSION = "brought"


class Store:
    """Files in a private folder by the sha256 of their bytes, up to a number of bytes.

    limit_mb: of one file.
    """

    def __init__(self, limit_mb: int) -> None:
        self.limit_mb = limit_mb
        self._folder = Path(tempfile.mkdtemp(prefix="vit_inspect-"))
        # Small files count as a megabyte each: a disk has a block and an entry for every file.
        self._shares = Shares(FILES * limit_mb * MB)
        self._lock = threading.Lock()
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)

    def add(self, data: memoryview, name: str) -> str:
        """Keep a file; returns its sha256.

        name: what the visitor calls it.

        Raises `WeightsUnavailable` for a file that is too large, no .safetensors or damaged.
        """
        if data.nbytes > self.limit_mb * MB:
            raise WeightsUnavailable(
                f"{data.nbytes / MB:,.0f} MB in {name!r}",
                f"at most {self.limit_mb} MB",
                "run vit_inspect on your own computer",
            )
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if not self._path(digest).is_file():
                self._write(data, name, self._path(digest))
            for gone in self._shares.add(digest, max(data.nbytes, MB), shares.session()):
                self._path(str(gone)).unlink(missing_ok=True)
        return digest

    def use(self, digest: str) -> Path | None:
        """The file of this sha256, if it is still there; it counts as used now."""
        with self._lock:
            if digest not in self._shares.sizes or not self._path(digest).is_file():
                return None
            self._shares.use(digest, shares.session())
            return self._path(digest)

    def size(self, digest: str) -> int | None:
        """The bytes of the file, if it is still there."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def bytes(self) -> int:
        """What all files take on the disk."""
        with self._lock:
            return sum(each.stat().st_size for each in self._folder.glob(f"*{SUFFIX}"))

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.safetensors"

    def _write(self, data: memoryview, name: str, path: Path) -> None:
        # Nobody finds a file of the final name that is not whole.
        unchecked = path.with_suffix(".part")
        try:
            unchecked.write_bytes(data)
            check_safetensors(unchecked, name)
            unchecked.rename(path)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise WeightsUnavailable(
                f"no {'room' if full else 'place'} for {name!r} on the computer of this dashboard",
                "free space" if full else "a folder that can be written",
                "tell its operator, or try again later",
            ) from error
        finally:
            unchecked.unlink(missing_ok=True)


_store: Store | None = None


def allow(limit_mb: int) -> None:
    """Let visitors bring files of weights of at most so many MB each."""
    global _store
    _store = Store(limit_mb)
    operating.KEPT.labels("weights").set_function(_store.bytes)


def limit_mb() -> int | None:
    """How large a file may be; None where none is allowed."""
    return None if _store is None else _store.limit_mb


def take(file: Any, key: str) -> str:
    """Keep what a visitor has uploaded; returns the name of the model.

    key: of the control that the file was uploaded with.

    Raises `WeightsUnavailable` for what is no file of weights that this server takes.
    """
    assert _store is not None
    stem = Path(model_title(printable(file.name))).name.removesuffix(SUFFIX)
    name = f"{stem[: NAME_LENGTH - len(SUFFIX)] or 'weights'}{SUFFIX}"
    try:
        with file.getbuffer() as data:
            model = f"{name}{BROUGHT}{_store.add(data, name)}"
    finally:
        _forget(file, key)
    st.session_state.setdefault(_SESSION, {})[model] = None
    return model


def mine() -> dict[str, str]:
    """The names of the models that this session brought and that are still there, and facts."""
    if _store is None:
        return {}
    found = {}
    for model in st.session_state.get(_SESSION, {}):
        digest = digest_of(model) or ""
        if (size := _store.size(digest)) is not None:
            found[model] = f"Your weights · {size / MB:,.1f} MB · sha256 {digest[:8]}"
    return found


def digest_of(model: str) -> str | None:
    """The sha256 in the name of a model that was brought; None for any other model."""
    found = re.fullmatch(rf".+{BROUGHT}([0-9a-f]{{64}})", model)
    return found[1] if found else None


def path(model: str) -> Path | None:
    """Where the weights of this name are, if this session brought them and they are still there."""
    digest = digest_of(model)
    own = map(digest_of, st.session_state.get(_SESSION, {}))
    return None if digest is None or _store is None or digest not in own else _store.use(digest)


def _forget(file: Any, key: str) -> None:
    """Let go of the bytes, which Streamlit would hold twice."""
    del st.session_state[key]
    quotas.let_go_of_upload(file)
