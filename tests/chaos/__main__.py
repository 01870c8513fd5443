"""Which of many hostile files break the law? `python -m tests.chaos --files 20000 --seed 0`.

Prints how many files of each kind had each outcome, the slowest and the largest, and each fault;
ends with 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.reading import KINDS, MOST_KEPT, Told, outcomes


def main() -> int:
    """Read the files on several processes; returns the status of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="How many; 20,000 take minutes.")
    parser.add_argument("--seed", type=int, default=0, help="Another one gives other files.")
    parser.add_argument("--jobs", type=int, default=2, help="Processes at once.")
    given = parser.parse_args()
    start = time.perf_counter()
    # Each process gets all kinds.
    step = given.jobs
    shares = [range(first, given.files, step) for first in range(step)]
    with ThreadPoolExecutor(step) as pool:
        by_process = list(pool.map(lambda share: list(outcomes(given.seed, share)), shares))
    told = [each for some in by_process for each in some]
    _print(f"{len(told):,} files in {time.perf_counter() - start:.0f} s, seed {given.seed}")
    counts = Counter((each.kind, each.outcome) for each in told)
    for kind in KINDS:
        row = {outcome: count for (of, outcome), count in counts.items() if of == kind}
        _print(f"{kind:12} " + ", ".join(f"{row[each]:,} {each}" for each in sorted(row)))
    refused = [each for each in told if each.outcome != "read"]
    _show("slowest", sorted(told, key=lambda each: -each.seconds)[:5])
    _show("largest refused", sorted(refused, key=lambda each: -each.peak)[:5])
    _show("largest read", sorted(told, key=lambda each: -each.peak * (each.outcome == "read"))[:3])
    kept = max(sum(each.kept for each in some) for some in by_process)
    _print(f"left in a process at the end: {kept / 1e6:.1f} MB; at most {MOST_KEPT / 1e6:.0f}")
    faults = [each for each in told if each.fault_or_late]
    _show(f"{len(faults)} faults", faults)
    return int(bool(faults) or kept > MOST_KEPT)


def _show(title: str, files: list[Told]) -> None:
    _print(f"{title}:")
    for each in files:
        measured = f"{each.seconds:.2f} s, {each.peak / 1e6:.0f} MB"
        told = f"{each.outcome} {each.words} {each.fault_or_late}"
        _print(f"  {each.number} {each.kind}: {measured}, {told}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
