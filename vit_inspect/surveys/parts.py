"""How does a survey lie on disk? A manifest, Parquet parts of one row a picture, and the merge.

Whatever is there is whole: each file is put in its place by one rename. A part depends on the
manifest and its number alone, so that it does not matter who made it, or after how many attempts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Shaped

from vit_inspect.errors import BadParameter, memory_told, short_reason
from vit_inspect.exporting.files import remove_parts, write
from vit_inspect.exporting.folders import claimed
from vit_inspect.surveys.sources import Entry

Progress = Callable[[int, int], object]
"""Is told how many pictures are done, of how many."""

CHUNK = 64
"""Pictures of a part, in a new survey."""

MANIFEST, PARTS = "manifest.parquet", "parts"
PLAN = b"vit_inspect"
"""Where the manifest keeps what the survey is of."""

DEPENDS = {
    "model": "another model",
    "weights": "weights of another source",
    "labels": "other classes",
    "weights_sha256": "other weights",
    "stage": "another stage",
    "device": "another device",
    "precision": "another precision",
    "layout": "another input",
    "recipe": "another preparation of pictures",
    "statistics": "other statistics",
    "tokens": "other numbers of tokens",
    "batch": "another batch",
    "chunk": "parts of another size",
    "versions": "other versions of packages",
}
"""What sets two surveys of the same pictures apart, in words."""

NEEDED = ("model", "layout", "numbers", "layers", "heads", "dtype", "labels", "chunk")
"""What a plan must say, so that the parts can be read."""

KINDS = pa.schema(
    [
        ("name", pa.string()),
        ("place", pa.string()),
        ("start", pa.int64()),
        ("size", pa.int64()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("label", pa.string()),
    ]
)


class Row(NamedTuple):
    """What a survey knows of a picture.

    refused: why there are no numbers.
    numbers: of each statistic, (layer, head).
    chosen: the class of the largest output and its probability, where there are probabilities.
    tokens: numbers that were asked for of the tokens, by their columns.
    """

    entry: Entry
    refused: str | None = None
    numbers: Mapping[str, Float[np.ndarray, "layer head"]] = {}
    chosen: tuple[int, float] | None = None
    tokens: Mapping[str, Shaped[np.ndarray, "number"]] = {}


class Store:
    """A folder of one survey.

    plan: what all its numbers depend on, but for the pictures; words and numbers by name.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], entries: Sequence[Entry]) -> None:
        self.folder, self.plan, self.entries = folder, plan, entries

    @classmethod
    def opened(cls, folder: Path) -> Store:
        """The survey that is in a folder; raises `BadParameter` where there is none."""
        try:
            with memory_told():
                table = pq.read_table(folder / MANIFEST)
            plan = json.loads(table.schema.metadata[PLAN])
            if missing := [name for name in NEEDED if name not in plan]:
                raise ValueError(f"its plan lacks {', '.join(missing)}")
            return cls(folder, plan, [Entry(**row) for row in table.to_pylist()])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise BadParameter(
                f"no survey in '{folder}' ({short_reason(error)})",
                f"a folder with a file {MANIFEST}, as vit_inspect.survey writes it",
                "check the folder",
            ) from error

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder against other processes, and see that it is of this survey.

        Raises `OutputFailed` where another process holds it or it cannot be written, and
        `BadParameter` where what it holds is no survey of these pictures and this model.
        """
        with claimed(self.folder):
            self._begin()
            for name in (MANIFEST, "survey.json"):
                remove_parts(self.folder, name)
            remove_parts(self.folder / PARTS, "??????.parquet")
            yield

    def chunks(self) -> range:
        """The numbers of all parts."""
        return range(-(-len(self.entries) // self.plan["chunk"]))

    def chunk(self, number: int) -> Sequence[Entry]:
        """The pictures of a part."""
        size = self.plan["chunk"]
        return self.entries[number * size : (number + 1) * size]

    def missing(self) -> list[int]:
        """The parts that are still to be made."""
        return [number for number in self.chunks() if not self._part(number).exists()]

    def done(self) -> int:
        """How many pictures are in the parts that are there."""
        return len(self.entries) - sum(len(self.chunk(number)) for number in self.missing())

    def put(self, number: int, rows: Sequence[Row]) -> None:
        """Write a part; raises `OutputFailed` where there is no room."""
        kind = pa.from_numpy_dtype(np.dtype(self.plan["dtype"]))
        shape = self.plan["layers"], self.plan["heads"]
        columns: dict[str, pa.Array] = {
            "name": pa.array([row.entry.name for row in rows], pa.string()),
            "label": pa.array([row.entry.label for row in rows], pa.string()),
            "refused": pa.array([row.refused for row in rows], pa.string()),
        }
        for name in self.plan["numbers"]:
            values = [None if row.refused else row.numbers[name].ravel() for row in rows]
            columns[name] = pa.array(values, pa.list_(kind, shape[0] * shape[1]))
        for asked in self.plan.get("tokens", ()):
            name, of, width = _column(asked, shape[0])
            values = [row.tokens.get(name) for row in rows]
            columns[name] = pa.array(values, pa.list_(of, width))
        if self.plan["labels"] is not None:
            chosen = [row.chosen or (None, None) for row in rows]
            columns["class"] = pa.array([each for each, _ in chosen], pa.int32())
            columns["confidence"] = pa.array([each for _, each in chosen], pa.float64())
        write(self._part(number), _parquet(pa.table(columns)))

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all parts, in the order of the manifest."""
        return pa.concat_tables(
            [self._read(self._part(number), columns) for number in self.chunks()]
        )

    def numbers(self, name: str, layers: slice) -> Float[np.ndarray, "image layer head"]:
        """A statistic of the heads of some layers, of all pictures that were not refused."""
        shape = -1, self.plan["layers"], self.plan["heads"]
        found = []
        for number in self.chunks():
            column = self._read(self._part(number), [name])[name].combine_chunks().drop_null()
            # A copy, as a view would keep all layers.
            found.append(column.flatten().to_numpy().reshape(shape)[:, layers].copy())
        return np.concatenate(found)

    def of_tokens(self, asked: str) -> Iterator[Shaped[np.ndarray, "image number"]]:
        """What was taken of the tokens, part by part, of all pictures that were not refused.

        Raises `BadParameter` where it was not asked for.
        """
        if asked not in self.plan.get("tokens", ()):
            raise BadParameter(
                f"{asked!r} of a survey that was made without it",
                "a survey that took it of the tokens",
                f"make one with tokens=[{asked!r}]",
            )
        name, _, width = _column(asked, self.plan["layers"])
        for number in self.chunks():
            column = self._read(self._part(number), [name])[name].combine_chunks().drop_null()
            yield column.flatten().to_numpy().reshape(-1, width)

    def _begin(self) -> None:
        """Write the manifest, or see that the one that is there is the same."""
        columns = [list(each) for each in zip(*self.entries, strict=True)]
        arrays = [pa.array(each, kind.type) for each, kind in zip(columns, KINDS, strict=True)]
        said = {PLAN: json.dumps(self.plan, sort_keys=True).encode()}
        data = _parquet(pa.table(arrays, schema=KINDS.with_metadata(said)))
        path = self.folder / MANIFEST
        if not path.exists():
            if any(self.folder.joinpath(PARTS).glob("*.parquet")):
                raise self._other("parts of another survey")
            write(path, data)
            return
        # Not by bytes: they also say which package wrote them.
        there = Store.opened(self.folder)
        if (there.plan, list(there.entries)) != (self.plan, list(self.entries)):
            raise self._other(_difference(there, self))

    def _other(self, found: str) -> BadParameter:
        return BadParameter(
            f"{found} in '{self.folder}'",
            "an empty folder, or the same survey, to go on with it",
            "choose another folder",
        )

    def _part(self, number: int) -> Path:
        return self.folder / PARTS / f"{number:06d}.parquet"

    def _read(self, path: Path, columns: Sequence[str]) -> pa.Table:
        try:
            # Its own error for a lack of memory is an `ArrowException` too.
            with memory_told():
                return pq.read_table(path, columns=list(columns))
        except (OSError, pa.ArrowException) as error:
            raise BadParameter(
                f"the part '{path}', which cannot be read ({short_reason(error)})",
                "a part of the survey",
                "remove it, and run the survey again: all else is kept",
            ) from error


def _column(asked: str, layers: int) -> tuple[str, pa.DataType, int]:
    """The column of what is taken of the tokens, its kind, and how many numbers a row of it has."""
    if asked == "artefacts":
        return asked, pa.int32(), layers
    # Of each pair of layers, and of each layer with itself.
    return "hsic", pa.float64(), layers * (layers + 1) // 2


def _difference(there: Store, wanted: Store) -> str:
    """What sets the survey of a folder apart from the one that is wanted."""
    if list(there.entries) != list(wanted.entries):
        return "a survey of other pictures"
    return f"a survey of the same pictures with {difference(there.plan, wanted.plan)}"


def difference(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What sets a plan apart from the one that is wanted."""
    others = {words for name, words in DEPENDS.items() if there.get(name) != wanted.get(name)}
    return " and ".join(sorted(others)) or "other settings"


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
