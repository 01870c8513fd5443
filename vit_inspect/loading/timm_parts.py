"""Where in a timm network are its tokens, and where are they made?"""

from __future__ import annotations

from typing import Any

from torch import nn


def trunk_of(module: nn.Module) -> Any:
    """The part that holds the blocks; some classifiers wrap it as their `encoder`."""
    return getattr(module, "encoder", module)


def embedding_of(trunk: nn.Module) -> Any:
    """The part that turns patches into tokens."""
    return getattr(trunk, "patch_embed", None) or getattr(trunk, "embeds", None)
