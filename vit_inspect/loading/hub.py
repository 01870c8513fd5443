"""How is a model fetched from the hub, what if that fails, and what was fetched before?"""

from __future__ import annotations

import re
import socket
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlparse

import huggingface_hub.constants
from huggingface_hub import try_to_load_from_cache

from vit_inspect.errors import BadParameter

REPOSITORY = re.compile(r"[^/:@]+/[^/:@]+(@[^@]+)?")
"""A repository on the hub, with or without a revision."""

_hub_lock = threading.Lock()


def check_repository_name(name: str, prefix: str) -> None:
    """Refuse a name that is not the prefix and a repository, before anything is fetched."""
    if not REPOSITORY.fullmatch(name.removeprefix(prefix)):
        raise BadParameter(
            f"the hub name {name!r}",
            f"'{prefix}organisation/name' or '{prefix}organisation/name@revision'",
            "write it in this form",
        )


def is_cached(repository: str, files: Iterable[str]) -> bool:
    """Whether one of these files of a repository is on this machine; asks no hub."""
    name, _, revision = repository.partition("@")
    found = (try_to_load_from_cache(name, file, revision=revision or None) for file in files)
    return any(isinstance(each, str) for each in found)


@contextmanager
def reachable_hub() -> Iterator[None]:
    """While weights are fetched, use only the local cache if the hub cannot be reached.

    Without this, huggingface_hub tries again for most of a minute before it gives up.
    """
    constants = huggingface_hub.constants
    host = urlparse(constants.ENDPOINT).hostname or "huggingface.co"
    with _hub_lock:
        before = constants.HF_HUB_OFFLINE
        try:
            if not urllib.request.getproxies():
                socket.getaddrinfo(host, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before
