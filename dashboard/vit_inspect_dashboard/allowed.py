"""Which models may a visitor name? Whoever serves others chooses: weights take memory and disk."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import Literal

from vit_inspect.errors import WeightsUnavailable

Allowed = Literal["listed", "cached", "any"]
"""Those that the operator offers and the bundled ones; also what is on this machine; all."""

_chosen: Allowed = "any"


def others_can_connect(host: str | None) -> bool:
    """Whether other computers reach this address; None is this computer alone."""
    found = socket.getaddrinfo(host or "localhost", None)
    return not all(ipaddress.ip_address(place[4][0]).is_loopback for place in found)


def choose(which: Allowed) -> None:
    """Allow these models from now on; unless they are all, nothing is fetched from a hub."""
    global _chosen
    _chosen = which
    if which != "any":
        os.environ["HF_HUB_OFFLINE"] = "1"
        # It has read the environment already, where it was imported before.
        if constants := sys.modules.get("huggingface_hub.constants"):
            vars(constants)["HF_HUB_OFFLINE"] = True


def is_allowed(name: str) -> bool:
    """Whether a visitor may open the model of this name."""
    from vit_inspect_dashboard import brought

    if _chosen == "any" or is_offered(name) or brought.digest_of(name):
        return True
    return _chosen == "cached" and _is_on_this_machine(name)


def is_offered(name: str) -> bool:
    """Whether the operator offers the model, or it is bundled."""
    # Imported here, so that a server is up before torch is loaded.
    from vit_inspect.loading.bundled import BUNDLED
    from vit_inspect_dashboard import brought, launched, offers

    if name in BUNDLED or name == launched.here().model or offers.is_in_memory(name):
        return True
    return offers.is_file(name) and brought.digest_of(name) is None


def check(name: str) -> None:
    """Raises `WeightsUnavailable` for a model that visitors may not open."""
    if not is_allowed(name):
        raise WeightsUnavailable(
            f"the model {name!r}, which this server does not open",
            "a model of its list",
            "choose one there, or ask the operator to allow it",
        )


def _is_on_this_machine(name: str) -> bool:
    from vit_inspect.loading import from_open_clip, from_timm, from_transformers
    from vit_inspect.loading.folders import MODEL_CONFIG
    from vit_inspect.loading.hub import is_cached
    from vit_inspect.loading.timm_names import is_here

    for start, file in (
        (from_timm.HUB, MODEL_CONFIG),
        (from_transformers.PREFIX, MODEL_CONFIG),
        (from_open_clip.PREFIX, from_open_clip.CONFIG),
    ):
        if name.startswith(start):
            return is_cached(name.removeprefix(start), [file])
    return is_here(name) is True
