"""Which picture files do the arguments of a command line name?"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from vit_inspect.errors import BadImage
from vit_inspect.pictures.reading import SUFFIXES, printable, unopened
from vit_inspect.pictures.samples import EVERY, in_words, sample_path

PROVENANCE = "provenance.json"
"""What a folder of figures tells about them."""


def find_photographs(
    arguments: Iterable[str | os.PathLike[str]],
    *,
    tell: Callable[[str], object] = lambda sentence: None,
) -> list[Path]:
    """The picture files that some arguments name, in the same order.

    An argument is a file, a folder or the name of a sample. A folder stands for the picture files
    in it, chosen by suffix and sorted, without hidden files, subfolders, and figures that were
    written there. A file goes before a sample of the same name.

    tell: is told in a sentence which figures were left out.
    """
    return [path for argument in arguments for path in _photographs(os.fspath(argument), tell)]


def figures_in(folder: Path) -> set[Path]:
    """The files that an earlier bundle in this folder says it wrote there, or one folder below it.

    So of a folder, ask also the one that it lies in.
    """
    try:
        names = json.loads((folder / PROVENANCE).read_text())["files"]
        parts = [Path(name).parts for name in names]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    # The file may be anybody's.
    return {
        folder.joinpath(*part)
        for part in parts
        if 1 <= len(part) <= 2 and ".." not in part and not Path(*part).is_absolute()
    }


def figures_told(count: int, where: str) -> str:
    """The sentence on so many figures that were left out of a folder."""
    return (
        f"{count} {'figure' if count == 1 else 'figures'} of an earlier run in "
        f"'{printable(where)}' {'is' if count == 1 else 'are'} left out."
    )


def _photographs(argument: str, tell: Callable[[str], object]) -> list[Path]:
    path = Path(argument)
    if argument in EVERY and not path.exists():
        return [sample_path(argument)]
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        pictures = [
            file
            for file in sorted(path.iterdir())
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        ]
    except (OSError, ValueError) as error:
        raise unopened(
            argument,
            error,
            remedy=f"check the path, or take a sample: {in_words()}",
        ) from error
    whole = path.absolute()
    figures = figures_in(whole) | figures_in(whole.parent)
    given = [file for file in pictures if file.absolute() not in figures]
    if left_out := len(pictures) - len(given):
        tell(figures_told(left_out, argument))
    if not given:
        raise BadImage(
            f"no picture in the folder '{printable(argument)}'"
            + (" but figures of an earlier run" if pictures else ""),
            f"files that end in {', '.join(SUFFIXES)}",
            "choose another folder, or name the files themselves",
        )
    return given
