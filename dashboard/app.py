"""Starts the dashboard of a checkout: `python -m streamlit run dashboard/app.py`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Streamlit runs this file anew for every click, so each folder is added only where it is missing.
for folder in map(str, (HERE, HERE.parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from vit_inspect_dashboard import launch  # noqa: E402

launch.import_app()

from vit_inspect_dashboard.app import main  # noqa: E402

main()
