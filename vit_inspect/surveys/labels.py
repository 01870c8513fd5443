"""Which class of a model does the label of a picture name?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence


def class_of(classes: Sequence[str]) -> Callable[[str | None], int]:
    """A function from a label to the number of the class that it names, -1 where it names none.

    A label names a class by its whole name, or by one of several that stand in it with commas
    between them; upper case, underscores, hyphens and blanks around it do not matter. What is a
    name of two classes names none.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for number, name in enumerate(classes):
        for each in (name, *name.split(",")):
            found[_folded(each)].add(number)
    numbers = {name: min(each) for name, each in found.items() if name and len(each) == 1}
    return lambda label: numbers.get(_folded(label or ""), -1)


def _folded(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip()
