"""What does a survey say? How each number is spread over its pictures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vit_inspect.analyses.layer_cka import same_places
from vit_inspect.analyses.spread import fields_of
from vit_inspect.arguments import one_of, several
from vit_inspect.errors import BadParameter
from vit_inspect.layout import TokenLayout
from vit_inspect.records.evidence import LayerCka
from vit_inspect.records.survey import QUANTILES, ArtefactRate, ChosenClasses, HeadValues, Spread
from vit_inspect.surveys.labels import class_of
from vit_inspect.surveys.parts import Store
from vit_inspect.surveys.sources import Entry

SUMMARY = "survey.json"
"""The file of the merge, beside the parts."""

READ_BYTES = 2**28
"""About the most bytes of numbers that are read at once; the merge takes six times as much.

Of a million pictures every part is read a few times for each statistic.
"""

MOST_LABELS = 10_000
"""The most labels whose classes are counted: more than any set of classes has."""

Numbers = Sequence[int] | Int[np.ndarray, "picture"] | Int[np.ndarray, "other_picture"]

MEANS = re.compile(r'\n  "(\w+)": \{\n   "count": \d+,\n   "mean": ')
"""Where the means of a statistic begin in that file. No text in it can hold a new line."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Numbers of every head over many pictures.

    model: the name that loads the model.
    count: of the pictures that have numbers.
    refused: the name of each picture that has none, and the reason.
    statistics: how each number is spread, by its name in `HeadStatistics`.
    plan: what the numbers depend on, but for the pictures: weights, input, versions.
    """

    model: str
    layout: TokenLayout
    count: int
    refused: tuple[tuple[str, str], ...]
    statistics: Mapping[str, Spread] = field(repr=False)
    plan: Mapping[str, Any] = field(repr=False)
    _store: Store = field(repr=False)
    # A survey that nobody wanted on disk lies there as long as it is used.
    _kept: TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def entries(self) -> Sequence[Entry]:
        """All pictures, in order: the numbers of pictures count them from 0."""
        return self._store.entries

    def values(self, statistic: str, layer: int, head: int) -> Float[np.ndarray, "picture"]:
        """A statistic of one head for every picture, NaN for those without numbers.

        Raises `BadParameter` for a statistic, a layer or a head that is not there.
        """
        layers, heads = self._shape(statistic)
        layer, head = one_of(layer, layers, "layer"), one_of(head, heads, "head")
        found = np.full(len(self.entries), np.nan)
        found[_numbered(self._store)] = self._store.numbers(statistic, slice(layer, layer + 1))[
            :, 0, head
        ]
        return found

    def by_layers(self, statistic: str) -> Iterator[Float[np.ndarray, "picture layer head"]]:
        """The same of all heads, of as many layers at a time as memory holds, in order."""
        layers, heads = self._shape(statistic)
        numbered = _numbered(self._store)
        for some in _steps(layers, heads, len(self.entries)):
            numbers = self._store.numbers(statistic, some)
            found = np.full((len(self.entries), *numbers.shape[1:]), np.nan)
            found[numbered] = numbers
            yield found

    def of_head(
        self,
        statistic: str,
        layer: int,
        head: int,
        *,
        pictures: Numbers | None = None,
        over: str | None = None,
    ) -> HeadValues:
        """The same as `values` without the pictures that have no number, as a record.

        pictures: numbers of some pictures; over: what they are called. Raises what `values` raises,
        and `BadParameter` for a picture that is not there.
        """
        values = self.values(statistic, layer, head)
        if pictures is not None:
            values = values[numbers_of(pictures, len(values))]
        return HeadValues(
            self.model,
            self.layout,
            statistic,
            layer,
            head,
            over or self.name,
            values[~np.isnan(values)],
        )

    def chosen(self) -> tuple[Int[np.ndarray, "picture"], Float[np.ndarray, "picture"]]:
        """The class of each picture's largest output and its probability; -1 and NaN for none."""
        count = len(self.entries)
        if self.plan["labels"] is None:
            return np.full(count, -1), np.full(count, np.nan)
        table = self._store.table(["class", "confidence"])
        return (
            table["class"].fill_null(-1).to_numpy().astype(np.int64),
            table["confidence"].fill_null(np.nan).to_numpy(),
        )

    def classes(self) -> ChosenClasses:
        """Which classes were chosen, and how surely, by the labels of the pictures.

        Raises `BadParameter` for a survey of a model that has no classes, where no picture could be
        read, and for more than `MOST_LABELS`, which are no classes but texts.
        """
        if self.plan["labels"] is None:
            raise BadParameter(
                f"the classes of {self.model}, which has none with a probability",
                "a survey of a classifier",
                "use its statistics",
            )
        chosen, confidence = self.chosen()
        numbered = chosen >= 0
        _any_of(chosen[numbered])
        labels = [self.entries[each].label or "" for each in np.flatnonzero(numbered).tolist()]
        names = sorted(set(labels))
        if len(names) > MOST_LABELS:
            raise BadParameter(
                f"{len(names):,} labels",
                f"at most {MOST_LABELS:,}, one for many pictures",
                "make the survey with labels that are classes",
            )
        place = {name: row for row, name in enumerate(names)}
        rows = np.array([place[each] for each in labels])
        own = np.array([*map(class_of(self.plan["labels"]), names)])
        index = np.union1d(chosen[numbered], own[own >= 0])
        shape = len(names), len(index)
        cells = rows * shape[1] + np.searchsorted(index, chosen[numbered])
        pictures = np.bincount(cells, minlength=shape[0] * shape[1])
        sums = np.bincount(cells, confidence[numbered], minlength=shape[0] * shape[1])
        return ChosenClasses(
            self.model,
            self.name,
            tuple(names),
            tuple(self.plan["labels"][each] for each in index),
            index,
            pictures.reshape(shape),
            (sums / np.maximum(pictures, 1)).reshape(shape),
            np.where(own < 0, -1, np.searchsorted(index, own)),
        )

    def artefacts(self) -> ArtefactRate:
        """How many artefacts the pictures have in each layer.

        Raises `BadParameter` for a survey that was made without `tokens=["artefacts"]`, and where
        no picture could be read.
        """
        found = _any_of(np.concatenate(list(self._store.of_tokens("artefacts"))))
        return ArtefactRate(
            self.model,
            self.layout,
            self.name,
            len(found),
            (found > 0).mean(axis=0),
            found.mean(axis=0),
            found.max(axis=0),
        )

    def cka(self) -> LayerCka:
        """How similar the layers are; each picture is a minibatch of its own, as in `layer_cka`.

        Patches are taken on a regular raster over the input. Raises `BadParameter` for a survey
        that was made without `tokens=["cka"]`, and where no picture could be read.
        """
        parts = [part.sum(axis=0) for part in self._store.of_tokens("cka") if len(part)]
        layers = self.plan["layers"]
        hsic = np.zeros((layers, layers))
        hsic[np.triu_indices(layers)] = np.sum(_any_of(np.array(parts)), axis=0) / self.count
        hsic = np.triu(hsic) + np.triu(hsic, 1).T
        (places,) = same_places(self.layout.input_px, (self.layout, self.layout.mapped))
        return LayerCka(
            self.model,
            self.model,
            np.array([len(places)]),
            hsic[None],
            hsic.diagonal()[None].copy(),
            hsic.diagonal()[None].copy(),
            f"{'One picture' if self.count == 1 else f'{self.count:,} pictures'} of {self.name}",
        )

    @property
    def name(self) -> str:
        """What it is called: as its folder, if it was given one."""
        return self._store.folder.resolve().name if self._kept is None else "a survey"

    def _shape(self, statistic: str) -> tuple[int, int]:
        if statistic not in self.statistics:
            raise BadParameter(
                f"the statistic {statistic!r}",
                f"one of {', '.join(self.statistics)}",
                "choose one of these",
            )
        layers, heads = self.statistics[statistic].mean.shape
        return layers, heads


def open_survey(folder: str | os.PathLike[str]) -> Survey:
    """The survey in a folder; raises `BadParameter` where there is none, or it is not done."""
    store = Store.opened(Path(folder))
    if missing := store.missing():
        raise BadParameter(
            f"a survey in '{folder}' of which {len(missing)} of {len(store.chunks())} parts are "
            "missing",
            "a survey that is done",
            "run it again to go on with it",
        )
    path = store.folder / SUMMARY
    if not path.exists():
        return merged(store)
    try:
        said = json.loads(path.read_text())
        spreads = {name: _spread(store, name, each) for name, each in said["statistics"].items()}
        refused = tuple((name, reason) for name, reason in said["refused"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadParameter(
            f"the file '{path}', which is damaged",
            "what vit_inspect.survey wrote",
            "remove it: it is made again from the parts",
        ) from error
    return _of(store, refused, spreads)


def numbers_of(given: Numbers, count: int, where: str = "") -> Int[np.ndarray, "picture"]:
    """The numbers of pictures, each once; raises `BadParameter` for what is none, said of where."""
    if isinstance(given, np.ndarray) and given.dtype == bool:
        raise BadParameter(
            f"a mask of pictures{where}", "their numbers", "give numpy.flatnonzero(mask)"
        )
    chosen = [one_of(each, count, "picture", where) for each in several(given, "pictures", "[0]")]
    return np.unique(np.array(chosen, dtype=np.int64))


def _any_of(found: np.ndarray) -> np.ndarray:
    """The same; raises `BadParameter` where there is nothing."""
    if not len(found):
        raise BadParameter(
            "a survey without a picture that could be read",
            "one picture or more",
            "look at why each was refused",
        )
    return found


def _numbered(store: Store) -> np.ndarray:
    """The numbers of the pictures that were not refused."""
    refused = store.table(["refused"])["refused"]
    return np.flatnonzero(refused.is_null().to_numpy())


def merged(store: Store) -> Survey:
    """How each number is spread over all pictures.

    Every number is there, in the order of the manifest: quantiles are exact, and nothing depends on
    who made which part. Of many pictures a few layers at a time are in memory.
    """
    table = store.table(["name", "refused"])
    refused = tuple(
        (name, reason)
        for name, reason in zip(
            table["name"].to_pylist(), table["refused"].to_pylist(), strict=True
        )
        if reason is not None
    )
    numbered = _numbered(store)
    if not len(numbered):
        return _of(store, refused, {})
    layers, heads = store.plan["layers"], store.plan["heads"]
    spreads = {}
    for name in store.plan["numbers"]:
        found = [
            fields_of(store.numbers(name, some), numbered)
            for some in _steps(layers, heads, len(numbered))
        ]
        joined = {
            each: np.concatenate(
                [part[each] for part in found], axis=int(each == "quantiles")
            ).tolist()
            for each in found[0]
        }
        spreads[name] = _spread(store, name, joined | {"count": len(numbered)})
    return _of(store, refused, spreads)


def _steps(layers: int, heads: int, pictures: int) -> Iterator[slice]:
    """The layers whose numbers are in memory at once."""
    step = max(1, READ_BYTES // (pictures * heads * np.dtype(np.float64).itemsize))
    return (slice(first, first + step) for first in range(0, layers, step))


def _spread(store: Store, name: str, said: Mapping[str, Any]) -> Spread:
    fields = {each: values for each, values in said.items() if each != "count"}
    return Spread(
        model=store.plan["model"],
        layout=layout_of(store.plan),
        statistic=name,
        count=said["count"],
        **{each: np.array(values) for each, values in fields.items()},
    )


def _of(
    store: Store, refused: tuple[tuple[str, str], ...], spreads: Mapping[str, Spread]
) -> Survey:
    count = len(store.entries) - len(refused)
    return Survey(
        store.plan["model"], layout_of(store.plan), count, refused, spreads, store.plan, store
    )


def layout_of(plan: Mapping[str, Any]) -> TokenLayout:
    """The layout that a plan says."""
    # A file knows lists alone.
    said: Any = {
        name: tuple(each) if isinstance(each, list) else each
        for name, each in plan["layout"].items()
    }
    return TokenLayout(**said)


def written(found: Survey) -> bytes:
    """The file of a survey's provenance and merge."""
    said: dict[str, Any] = {
        "plan": found.plan,
        "pictures": len(found.entries),
        "pictures_sha256": sha256(json.dumps(list(found.entries)).encode()).hexdigest(),
        "count": found.count,
        "refused": found.refused,
        "quantiles": QUANTILES,
    }
    if found.count and (asked := found.plan.get("tokens")):
        said["tokens"] = {each: _of_tokens(found, each) for each in sorted(asked)}
    # Last, so that `means_of` can leave most of it unread.
    said["statistics"] = {
        name: {"count": spread.count}
        | {each: values.tolist() for each, values in spread.arrays().items()}
        for name, spread in found.statistics.items()
    }
    return (json.dumps(said, indent=1) + "\n").encode()


def _of_tokens(found: Survey, asked: str) -> dict[str, Any]:
    """What the file says of numbers of the tokens."""
    if asked == "artefacts":
        return {name: each.tolist() for name, each in found.artefacts().arrays().items()}
    return {"similarity": found.cka().similarity.tolist()}


def means_of(text: str) -> dict[str, Any]:
    """What `written` wrote, with the "means" of each statistic in place of all that is said of it.

    The rest is nine tenths of the file: to leave it unread takes a fifth of the time, where
    thousands of surveys are read. Raises `ValueError` for a text of another form.
    """
    head, _, numbers = text.partition('\n "statistics": ')
    said: dict[str, Any] = json.loads(head.rstrip(",") + "}")
    decode = json.JSONDecoder().raw_decode
    means = {each[1]: decode(numbers, each.end())[0] for each in MEANS.finditer(numbers)}
    wanted = said["plan"]["numbers"] if said["count"] else []
    if set(means) != set(wanted):
        raise ValueError(f"the means of {', '.join(means) or 'nothing'}")
    return said | {"means": means}
