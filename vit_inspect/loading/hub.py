"""How is a model fetched from the hub, what if that fails, and what was fetched before?"""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError

import huggingface_hub.constants
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from vit_inspect.errors import BadParameter

REPOSITORY = re.compile(r"[^/:@]+/[^/:@]+(@[^@]+)?")
"""A repository on the hub, with or without a revision."""

PATIENCE_SECONDS, PATIENCE_IF_CACHED_SECONDS = 10.0, 2.0
"""How long a hub may say nothing before only the local cache is used; less where the model seems
to be in it."""

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


def settings_in(repository: str, file: str) -> object:
    """What a JSON file of a repository holds; None where it has no such file, or no JSON in it.

    Raises `OSError` where the hub cannot be reached.
    """
    name, _, revision = repository.partition("@")
    try:
        with reachable_hub():
            path = hf_hub_download(name, file, revision=revision or None)
        return json.loads(Path(path).read_text())
    except LocalEntryNotFoundError:
        # The hub was not asked.
        raise
    except (EntryNotFoundError, ValueError):
        return None


@contextmanager
def reachable_hub(*, cached: bool = False) -> Iterator[None]:
    """While weights are fetched, use only the local cache if the hub does not answer.

    cached: whether they seem to be in it.

    Without this, huggingface_hub tries again for most of a minute before it gives up, and for
    minutes where packets are swallowed on the way.
    """
    constants = huggingface_hub.constants
    patience = PATIENCE_IF_CACHED_SECONDS if cached else PATIENCE_SECONDS
    with _hub_lock:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT, patience)
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def _answers(endpoint: str, seconds: float) -> bool:
    """Whether a hub says anything at all in time, through a proxy where one is set."""
    heard: Future[bool] = Future()

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                heard.set_result(True)
        # What is no address is explained by huggingface_hub.
        except (OSError, ValueError, HTTPException) as error:
            # A refusal is an answer. A certificate that Python does not know may be one that
            # huggingface_hub knows.
            refused = isinstance(error, HTTPError | HTTPException)
            heard.set_result(refused or isinstance(getattr(error, "reason", None), SSLError))

    # A name that is not found and each address of a host have a time limit of their own.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return heard.result(seconds)
    except TimeoutError:
        return False
