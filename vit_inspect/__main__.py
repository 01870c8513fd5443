"""How is the command line started? `python -m vit_inspect`."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def _sleep_while_waiting() -> None:
    """Has threads sleep when they wait for work, before the libraries that start them are loaded.

    By default those of OpenMP and OpenBLAS ask again and again whether there is something to do,
    which wins microseconds on an idle machine; on a busy one it takes most of its time. Numbers
    do not depend on it. What the user has set is left as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Two to the power of this many cycles; the least that there is.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def _leave(number: int, frame: object) -> NoReturn:
    """Ends the program where there is nothing to clear up, in whatever library it is."""
    os.write(2, b"Stopped.\n")
    os._exit(128 + number)


def main() -> None:
    """Run the command line."""
    # What is ignored stays so. The commands say what is done while they work.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    _sleep_while_waiting()
    # Imported here, as that takes most of the time until a command begins.
    from vit_inspect.commands.app import app

    app(prog_name="python -m vit_inspect")


if __name__ == "__main__":
    main()
