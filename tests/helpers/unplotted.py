"""The real command without interactive figures, which take most of the time of a small bundle.

It rests after each file, so that whoever waits for some can stop it before the last one.
"""

from __future__ import annotations

import time

from vit_inspect.__main__ import main
from vit_inspect.exporting import render
from vit_inspect.exporting.folders import Together

REST_S = 0.1

put = Together.put


def put_and_rest(files: Together, name: str, data: bytes) -> None:
    """As `Together.put`."""
    put(files, name, data)
    time.sleep(REST_S)


# Also in its workers, which import this as their main module.
render.interactive = lambda *_: ""  # type: ignore[assignment]
Together.put = put_and_rest  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
