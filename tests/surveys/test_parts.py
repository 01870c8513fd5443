"""A folder of a survey has whole files only, whenever the process that fills it is stopped."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.faults import KINDS, Killed, faults
from tests.surveys.test_survey import bytes_of
from vit_inspect.exporting.files import write
from vit_inspect.exporting.folders import LOCK
from vit_inspect.surveys.parts import Row, Store
from vit_inspect.surveys.results import SUMMARY
from vit_inspect.surveys.sources import Entry

PLAN = {
    "model": "one",
    "layout": {},
    "numbers": ["entropy"],
    "layers": 2,
    "heads": 3,
    "dtype": "float32",
    "labels": None,
    "chunk": 2,
}
PICTURES = [Entry(f"{number}.png", f"/{number}.png") for number in range(5)]


def fill(folder: Path) -> None:
    """Make what is missing, and the merge."""
    store = Store(folder, PLAN, PICTURES)
    with store.claimed():
        for number in store.missing():
            values = np.full((2, 3), number, np.float32)
            store.put(
                number, [Row(each, None, {"entropy": values}) for each in store.chunk(number)]
            )
        write(folder / SUMMARY, str(store.numbers("entropy", slice(None)).sum()).encode())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_survey_that_is_stopped_at_any_change_of_a_file_goes_on(
    kind: str, tmp_path: Path
) -> None:
    fill(tmp_path / "whole")
    whole = bytes_of(tmp_path / "whole")
    for at in count(1):
        out = tmp_path / str(at)
        stops = suppress(vi.OutputFailed, KeyboardInterrupt, Killed)
        with faults(out, at, *KINDS[kind]()) as fault, stops:
            fill(out)
        found = bytes_of(out)
        shown = {name: data for name, data in found.items() if "/." not in f"/{name}"}
        assert shown.items() <= whole.items()
        # A kill and a folder that is read-only leave what the next run removes.
        if not KINDS[kind]()[1]:
            assert shown == found
        # The next run is another process.
        for left in out.rglob("*.part"):
            left.rename(left.with_name(left.name.replace(f".{os.getpid()}-", ".1-")))
        fill(out)
        assert bytes_of(out) == whole
        assert {path.name for path in out.rglob(".*")} == {LOCK}
        if fault.count < at:
            break
    assert at > 20
