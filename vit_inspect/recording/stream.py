"""What are the tokens of each layer, if the network adds the output of its blocks to them itself?

Some code keeps attention and perceptron as two parts of a list and sums up outside of both. The
blocks are then the attention alone, and return what is added.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Stream:
    """Follows the tokens around the blocks, from sum to sum."""

    def __init__(self) -> None:
        # For each block: the tokens that enter it, and what each sum makes of them.
        self._runs: list[list[Any]] = []

    def enter(self, args: tuple[Any, ...]) -> None:
        """Called when a block starts."""
        self._runs.append([args[0] if args else None])

    def called(self, function: Any, args: tuple[Any, ...], output: Any) -> None:
        """Called when a function outside of all blocks has returned."""
        if self._runs and is_sum(function) and any(each is self._runs[-1][-1] for each in args):
            self._runs[-1].append(output)

    def tokens(self) -> list[Tensor]:
        """The tokens after each block; empty where they cannot be told.

        The tokens after the last sum of a block must be those that enter the next one. After the
        last block, there are as many sums as after the others.
        """
        between = list(zip(self._runs, self._runs[1:], strict=False))
        counts = {len(run) for run in self._runs[:-1]}
        if len(counts) != 1 or any(run[-1] is not following[0] for run, following in between):
            return []
        (count,) = counts
        # Without a sum, the tokens are those that entered.
        if not 1 < count <= len(self._runs[-1]):
            return []
        return [run[count - 1] for run in self._runs]


def is_sum(function: Any) -> bool:
    """Whether a torch function adds its operands."""
    return getattr(function, "__name__", "") in ("add", "add_")
