"""The real command without interactive figures, which take most of the time of a small bundle."""

from __future__ import annotations

from vit_inspect.__main__ import main
from vit_inspect.exporting import render

# Also in its workers, which import this as their main module.
render.interactive = lambda *_: ""  # type: ignore[assignment]

if __name__ == "__main__":
    main()
