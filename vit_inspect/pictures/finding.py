"""Which picture files do the arguments of a command line name?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vit_inspect.errors import BadImage
from vit_inspect.pictures.reading import SUFFIXES, printable, unopened
from vit_inspect.pictures.samples import EVERY, in_words, sample_path


def find_photographs(arguments: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The picture files that some arguments name, in the same order.

    An argument is a file, a folder or the name of a sample. A folder stands for the picture files
    in it, chosen by suffix and sorted, without hidden files and subfolders. A file goes before a
    sample of the same name.
    """
    return [path for argument in arguments for path in _photographs(os.fspath(argument))]


def _photographs(argument: str) -> list[Path]:
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
    if not pictures:
        raise BadImage(
            f"no picture in the folder '{printable(argument)}'",
            f"files that end in {', '.join(SUFFIXES)}",
            "choose another folder, or name the files themselves",
        )
    return pictures
