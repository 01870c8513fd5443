"""Which pictures are in files, folders, lists, shards and tables, near or far?

Everything is opened with fsspec, so that `s3://` and `https://` are places like any other.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
import random
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from vit_inspect.arguments import of_kind, several
from vit_inspect.errors import BadImage, BadParameter, Unreachable, lacks_memory, short_reason
from vit_inspect.limits import MAX_BYTES
from vit_inspect.pictures.finding import PROVENANCE, figures_in, figures_told
from vit_inspect.pictures.reading import SUFFIXES, printable, read_image
from vit_inspect.pictures.samples import EVERY, sample_path

SHARDS = (".tar", ".parquet")
LISTS = (".txt", ".csv")
GONE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file, folder, glob, list, shard, table or sample, as a path or a URL of fsspec; or several."""


class Entry(NamedTuple):
    """A picture of a manifest.

    name: of the picture within its source; no two of a manifest have the same.
    place: the path or URL of the file that holds it.
    start: where its bytes begin in a shard; None for a file of its own.
    size: how many bytes it has, where that is known.
    row, column: where it lies in a table.
    label: what its source says it shows.
    """

    name: str
    place: str
    start: int | None = None
    size: int | None = None
    row: int | None = None
    column: str | None = None
    label: str | None = None


def entries(
    source: Source,
    *,
    label_from: str | None = None,
    limit: int | None = None,
    seed: int | None = None,
    without: str | os.PathLike[str] | None = None,
    tell: Callable[[str], object] = lambda sentence: None,
) -> list[Entry]:
    """The pictures of a source, in an order that depends on names alone.

    Folders are searched with all that is below them, for pictures, `.tar` shards (WebDataset) and
    `.parquet` tables; figures that were written there are left out. A `.txt` list has a place on
    each line, a `.csv` list in its first column; they may be relative to the list. A table's
    pictures are in its column of bytes, as Hugging Face writes them.

    label_from: "folder" takes the name of the folder that a picture lies in; for a `.csv` list or a
        table, a column; for a shard, the suffix of the files beside the pictures, such as "cls".
    limit: how many pictures at most: the first ones, or with a seed some at random, in order.
    without: a folder of which nothing is taken.
    tell: is told in a sentence what was left out.

    Raises `BadImage` where there is no picture or a place cannot be read, and `BadParameter` for
    a column that is not there.
    """
    places: Sequence[str | os.PathLike[str]] = (
        [source]
        if isinstance(source, str | os.PathLike)
        else several(source, "source", "['pictures']")
    )
    for each in places:
        of_kind(each, str | os.PathLike, "source", "a path or a URL, or several")
    by_source = [list(_entries_of(os.fspath(each), label_from, tell)) for each in places]
    names = Counter(entry.name for found in by_source for entry in found)
    found = [
        # Where sources have pictures of one name, the last folder tells them apart.
        entry
        if names[entry.name] == 1
        else entry._replace(name=f"{_last(os.fspath(place))}/{entry.name}")
        for place, some in zip(places, by_source, strict=True)
        for entry in some
    ]
    if without is not None:
        here = Path(without).absolute()
        outside = [
            entry
            for entry in found
            if "://" in entry.place or not Path(entry.place).is_relative_to(here)
        ]
        if found and not outside:
            raise BadParameter(
                f"'{printable(str(without))}' for the results, in which all pictures lie",
                "a folder of its own",
                "choose another folder",
            )
        if left_out := len(found) - len(outside):
            tell(
                f"{left_out:,} {'picture' if left_out == 1 else 'pictures'} below "
                f"'{printable(str(without))}', where the results go, "
                f"{'is' if left_out == 1 else 'are'} left out."
            )
        found = outside
    if not found:
        raise BadImage(
            f"no picture in '{printable(', '.join(map(str, places)))}'",
            f"files that end in {', '.join((*SUFFIXES, *SHARDS))}",
            "choose another source",
        )
    counts = Counter(entry.name for entry in found)
    twice, most = counts.most_common(1)[0]
    if most > 1:
        raise BadParameter(
            f"the picture '{printable(twice)}' twice", "each picture once", "leave one of them out"
        )
    for name in counts:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise BadParameter(
                f"the file '{printable(name)}', whose name is no text",
                "names in UTF-8",
                "give it another name",
            ) from error
    if limit is None or limit >= len(found):
        return found
    if seed is None:
        return found[:limit]
    chosen = sorted(random.Random(seed).sample(range(len(found)), limit))
    return [found[index] for index in chosen]


def read(entry: Entry) -> Image.Image:
    """The picture; in errors it has its name, as where it lies is nobody's business.

    Raises `BadImage` where it is none or is gone, and `Unreachable` where its shard, its table or
    its URL cannot be read at the moment.
    """
    try:
        data = _bytes_of(entry)
    except BadImage:
        raise
    # What lies behind a URL raises what it likes.
    except Exception as error:
        if lacks_memory(error):
            raise
        alone = entry.start is None and entry.row is None
        reason = short_reason(error).replace(entry.place, entry.name)
        found = f"'{printable(entry.name)}', which cannot be read ({printable(reason)})"
        if alone and isinstance(error, GONE):
            raise BadImage(found, "a picture that is there", "choose another one") from error
        raise Unreachable(
            found, "a place that can be reached", "try again later: what is done is kept"
        ) from error
    return read_image(io.BytesIO(data), name=posixpath.basename(entry.name))


def unreadable(place: str, error: Exception) -> BadImage:
    """What to say of a place that cannot be read."""
    return BadImage(
        f"'{printable(place)}', which cannot be read ({printable(short_reason(error))})",
        "a file, a folder or a URL that can be read",
        "check it, and whether it can be reached",
    )


def _entries_of(
    source: str, label_from: str | None, tell: Callable[[str], object]
) -> Iterator[Entry]:
    """The pictures of one argument."""
    if source in EVERY and not os.path.exists(source):
        yield Entry(source, str(sample_path(source)), label=_folder(source, label_from))
        return
    try:
        system, path = fsspec.url_to_fs(source)
        if system.isdir(path):
            files, root = system.find(path, detail=True), path
            if isinstance(system, LocalFileSystem) and (figures := _figures(files, root)):
                tell(figures_told(len(figures), source))
                files = {file: files[file] for file in files.keys() - figures}
        elif any(mark in source for mark in "*?[") and not system.exists(path):
            files, root = system.glob(path, detail=True), _fixed_part(path)
        else:
            # One that is not there is said when it is opened.
            place = source if "://" in source else path
            yield from _of_file(place, posixpath.basename(path), label_from, chosen=True)
            return
    except (BadImage, BadParameter):
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise unreadable(source, error) from error
    if "::" in source:
        raise BadParameter(
            f"'{printable(source)}', a folder inside an archive",
            "a folder, or a file of an archive",
            "unpack it, or take a .tar shard",
        )
    for file in sorted(files):
        name = posixpath.relpath(file, root)
        if not _hidden(name):
            place = file if "://" not in source else system.unstrip_protocol(file)
            for entry in _of_file(place, name, label_from, chosen=False):
                # A file that was replaced has most likely another size.
                yield entry if entry.size else entry._replace(size=files[file].get("size"))


def _figures(files: Iterable[str], root: str) -> set[str]:
    """Which of the files below a folder are figures of a bundle."""
    bundles = {posixpath.dirname(each) for each in files if posixpath.basename(each) == PROVENANCE}
    written = {
        figure.as_posix()
        for folder in (*bundles, posixpath.dirname(root))
        for figure in figures_in(Path(folder))
        if figure.suffix.lower() in SUFFIXES
    }
    return written.intersection(files)


def _of_file(place: str, name: str, label_from: str | None, *, chosen: bool) -> Iterator[Entry]:
    """The pictures in a file; `chosen`: whether the user named it, and not its folder."""
    suffix = posixpath.splitext(place)[1].lower()
    try:
        if suffix == ".tar":
            yield from _of_shard(place, name, label_from)
        elif suffix == ".parquet":
            yield from _of_table(place, name, label_from, chosen=chosen)
        elif chosen and suffix in LISTS:
            yield from _of_list(place, label_from)
        elif chosen or suffix in SUFFIXES:
            yield Entry(name, place, label=_folder(place, label_from))
    except (BadImage, BadParameter):
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise unreadable(place, error) from error


def _of_list(place: str, label_from: str | None) -> Iterator[Entry]:
    """The pictures that a list names."""
    with fsspec.open(place, "rb") as file:
        text = io.StringIO(file.read().decode("utf-8-sig"), newline="")
    root = posixpath.dirname(place)
    if place.lower().endswith(".csv"):
        table = csv.DictReader(text)
        columns = list(table.fieldnames or [""])
        if posixpath.splitext(columns[0])[1].lower() in SUFFIXES:
            raise BadParameter(
                f"no names of columns in '{printable(place)}'",
                "a first line with names, such as path,label",
                "add this line",
            )
        if label_from not in (None, "folder", *columns):
            raise _no_column(label_from, place, columns)
        lines = [(row[columns[0]], row.get(label_from or "")) for row in table]
    else:
        lines = [(line.strip(), None) for line in text if line.strip()]
    whole = [line for line, _ in lines if os.path.isabs(line)]
    above = os.path.commonpath([os.path.dirname(line) for line in whole]) if whole else ""
    for line, label in lines:
        there = line if "://" in line or os.path.isabs(line) else posixpath.join(root, line)
        name = os.path.relpath(line, above) if os.path.isabs(line) else line
        yield Entry(name, there, label=label or _folder(there, label_from))


def _of_shard(place: str, name: str, label_from: str | None) -> Iterator[Entry]:
    """The pictures in a `.tar` shard, whose other files describe those of the same stem."""
    with fsspec.open(place, "rb") as file, tarfile.open(fileobj=file, mode="r:") as shard:
        members = [each for each in shard if each.isfile()]
        told = {
            _stem(each.name): cast(Any, shard.extractfile(each)).read(1000).decode(errors="replace")
            for each in members
            if label_from and each.name.lower().endswith(f".{label_from.lower()}")
        }
    for each in members:
        if posixpath.splitext(each.name)[1].lower() in SUFFIXES and not _hidden(each.name):
            label = told.get(_stem(each.name), _folder(each.name, label_from))
            where = f"{name}/{each.name}"
            yield Entry(where, place, each.offset_data, each.size, label=label and label.strip())


def _of_table(place: str, name: str, label_from: str | None, *, chosen: bool) -> Iterator[Entry]:
    """The pictures in a column of a table."""
    with fsspec.open(place, "rb") as file:
        table = pq.ParquetFile(file)
        columns = [each.name for each in table.schema_arrow if _holds_bytes(each.type)]
        column = "image" if "image" in columns else columns[0] if len(columns) == 1 else None
        if not columns and not chosen:
            # A table of something else, as a text that lies between pictures.
            return
        if column is None:
            raise BadImage(
                f"the columns of bytes {', '.join(columns) or '(none)'} in '{printable(place)}'",
                "one column of pictures, or one of the name image",
                "rename the column of the pictures",
            )
        names = table.schema_arrow.names
        if label_from not in (None, "folder", *names):
            raise _no_column(label_from, place, names)
        count = table.metadata.num_rows
        told = (
            table.read([label_from])[label_from].to_pylist()
            if label_from in names
            else [None] * count
        )
    for row, label in enumerate(told):
        label = _folder(place, label_from) if label is None else str(label)
        yield Entry(f"{name}#{row}", place, row=row, column=column, label=label)


def _bytes_of(entry: Entry) -> bytes:
    """The bytes of a picture in a shard, in a table, or behind a URL."""
    if entry.row is not None:
        value = _rows_of(entry.place, str(entry.column), *_group_of(entry.place, entry.row))
        data = value[entry.row - _group_of(entry.place, entry.row)[1]].as_py()
        data = data["bytes"] if isinstance(data, dict) else data
        if data is None:
            raise BadImage(
                f"no bytes in '{printable(entry.name)}'",
                "a table that holds the pictures themselves",
                "save the table with the pictures in it",
            )
        return cast(bytes, data)
    # Of a larger file no more is read than tells that it is too large.
    most = MAX_BYTES + 1
    with fsspec.open(entry.place, "rb") as opened:
        file = cast(BinaryIO, opened)
        file.seek(entry.start or 0)
        return file.read(most if entry.start is None else min(entry.size or 0, most))


@lru_cache(maxsize=8)
def _group_starts(place: str) -> tuple[int, ...]:
    """The first row of each group of rows, and the number of rows."""
    with fsspec.open(place, "rb") as file:
        metadata = pq.ParquetFile(file).metadata
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return tuple(starts)


def _group_of(place: str, row: int) -> tuple[int, int]:
    """The group that a row is in, and the first row of that group."""
    starts = _group_starts(place)
    group = max(index for index, start in enumerate(starts[:-1]) if start <= row)
    return group, starts[group]


@lru_cache(maxsize=1)
def _rows_of(place: str, column: str, group: int, start: int) -> pa.ChunkedArray:
    """A column of a group of rows; the next picture is most likely in the same one."""
    with fsspec.open(place, "rb") as file:
        return pq.ParquetFile(file).read_row_group(group, [column])[column]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _no_column(label_from: str | None, place: str, columns: Sequence[str]) -> BadParameter:
    return BadParameter(
        f"no column {label_from!r} in '{printable(place)}'",
        f"one of {', '.join(map(printable, columns))}",
        "choose one of these for label_from",
    )


def _folder(place: str, label_from: str | None) -> str | None:
    folder = posixpath.basename(posixpath.dirname(place))
    return folder if label_from == "folder" and folder else None


def _stem(name: str) -> str:
    """What files of one sample have in common, in WebDataset's convention."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _fixed_part(path: str) -> str:
    """The folders of a glob that have no wild cards."""
    return posixpath.dirname(re.split(r"[*?\[]", path)[0])


def _hidden(name: str) -> bool:
    """Whether a file, or a folder that it lies in, is not for people to see."""
    return any(part.startswith(".") for part in posixpath.normpath(name).split("/"))


def _last(place: str) -> str:
    return posixpath.basename(place.replace(os.sep, "/").rstrip("/"))
