"""Does a command that is stopped end with one line, from its first moment on?"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

AT_ONCE = "Stopped."
AT_WORK = "Stopped. No file is half-written; the same command makes the figures anew."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imported", "told"),
    [
        # The first thing after the program's own beginning.
        ("vit_inspect.commands", AT_ONCE),
        ("typer.core", AT_ONCE),
        # The words of the command are read next.
        ("vit_inspect.commands.app", AT_ONCE),
        ("numpy", AT_WORK),
        ("torch._C", AT_WORK),
    ],
)
def test_ctrl_c_is_one_line_while_libraries_are_imported(
    imported: str, told: str, tmp_path: Path
) -> None:
    words = ["-X", "importtime", "-m", "vit_inspect", "figures", "chelsea", "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == imported:
                process.send_signal(signal.SIGINT)
                break
        lines = [line for line in process.stderr if not line.startswith("import time:")]
    assert lines == [f"{told}\n"]
    assert process.returncode == 130
