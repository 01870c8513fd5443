"""Is the dashboard there? It is a package of its own, which may be missing."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vit_inspect.errors import DashboardMissing

PACKAGE = "vit_inspect_dashboard"
NEEDED = (PACKAGE, "streamlit", "prometheus_client")
"""What `pip install "vit-inspect[dashboard]"` brings."""


def dashboard_part(name: str) -> ModuleType:
    """A module of the dashboard, of this checkout or installed.

    Raises `DashboardMissing` where it is neither.
    """
    checkout = Path(__file__).parents[1] / "dashboard"
    beside = [str(checkout)] if (checkout / PACKAGE).is_dir() else []
    sys.path[:0] = beside
    try:
        return import_module(f"{PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise DashboardMissing(
            "no dashboard that is installed",
            "the packages that it needs",
            'install them with: pip install "vit-inspect[dashboard]"',
        ) from error
    finally:
        # It is found by now, and nothing else of that folder is for this process.
        for folder in beside:
            sys.path.remove(folder)
