"""What does the bundle of one photograph cost, and where?

    python -m tests.benchmarks.bundle [--rounds N]

CPU seconds of all threads, which other programs on the machine change less than the time on the
clock. The photograph is the sample chelsea, the model the bundled one at its default size, as in
`python -m vit_inspect figures chelsea --out out`; threads wait as they do there.

"drawing" makes the figures and leaves them; a format is what its files take from then on. In every
round each figure is also written the way it once was, drawn anew for each format with its fonts
subset each time: "each anew" beside "drawn once" is the paired comparison of the three formats for
print. The table shows the median over the rounds.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from vit_inspect.__main__ import _sleep_while_waiting


class Clock:
    """CPU seconds of named parts, by round."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name].append(time.process_time() - start)


def figures(capture: Any, found: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The figures of a bundle with their records."""
    from vit_inspect.catalog import FIGURES, ModelFigure
    from vit_inspect.errors import InspectError

    made = []
    for entry in FIGURES:
        record = found.get(entry.figure.slug)
        if isinstance(entry, ModelFigure):
            try:
                record = entry.analyse(capture.model)
            except InspectError:
                continue
        if record is not None and not isinstance(record, InspectError):
            made.append((entry.figure, record))
    return made


def measure(rounds: int) -> Clock:
    """All parts, the imports first."""
    clock = Clock()
    with clock.part("imports"):
        # Some are put off until they are needed, as timm and scikit-learn are.
        import sklearn.decomposition  # noqa: F401

        import vit_inspect as vi
        from vit_inspect.catalog import analyse
        from vit_inspect.exporting import render, saving
        from vit_inspect.loading import from_timm  # noqa: F401
    gc.freeze()
    with clock.part("loading"):
        model, image = vi.load("dinov2_small"), vi.sample("chelsea")
    for _ in range(rounds):
        with clock.part("capture"):
            capture = vi.capture(model, image)
        with clock.part("analyses"):
            made = figures(capture, analyse(capture))
        with clock.part("drawing"):
            drawn = [figure.draw(record) for figure, record in made]
        saving._subset.cache_clear()
        for kind in saving.PRINT_FORMATS:
            with clock.part(kind):
                for sheet in drawn:
                    saving.save(sheet, [kind], title="")
        for kind in ("npz", "csv"):
            with clock.part(kind):
                for figure, record in made:
                    render.render(figure, record, kind)
        with clock.part("plots"):
            for figure, record in made:
                render.interactive(figure, record)
        each_anew(clock, made)
        saving._subset.cache_clear()
        with clock.part("drawn once"):
            for figure, record in made:
                render.render_all(figure, record, saving.PRINT_FORMATS)
        with clock.part("bundle, from a capture"), tempfile.TemporaryDirectory() as folder:
            vi.export(capture, Path(folder))
    return clock


def each_anew(clock: Clock, made: list[tuple[Any, Any]]) -> None:
    """The three formats for print as they were once written."""
    from vit_inspect.exporting import render, saving

    with clock.part("each anew"):
        for figure, record in made:
            for kind in saving.PRINT_FORMATS:
                saving._subset.cache_clear()
                render.render(figure, record, kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    _sleep_while_waiting()
    clock = measure(arguments.rounds)
    parts = {name: median(seconds) for name, seconds in clock.seconds.items()}
    for name, seconds in parts.items():
        sys.stdout.write(f"{name:24}{seconds:8.2f} s\n")
    whole = parts["loading"] + parts["capture"] + parts["bundle, from a capture"]
    sys.stdout.write(f"{'bundle beyond imports':24}{whole:8.2f} s\n")


if __name__ == "__main__":
    main()
