"""Which record does a page show? Computed on the device in its turn, once for all sessions.

Nothing here reads the session that calls: all that a record depends on is passed in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec

import vit_inspect as vi
from vit_inspect.analyses.faithfulness import Map, default_maps
from vit_inspect.analyses.tokens import concatenate
from vit_inspect.catalog import FIGURES
from vit_inspect.errors import OutOfMemory
from vit_inspect.exporting.bundle import bundle
from vit_inspect.figures.figure import Record
from vit_inspect.figures.printing import Print
from vit_inspect.records.base import join
from vit_inspect_dashboard import kept, models, sheets
from vit_inspect_dashboard.device import on_device, timed_on_device
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.sheets import Rows, Sheet
from vit_inspect_dashboard.state import Subject

BATCH = 4
"""Pictures in one forward pass where a figure is of many."""

IN_THE_PASS = (vi.attention_distance, vi.head_statistics)
"""Analyses of one model that sum inside its forward pass: of many pictures no capture is made."""

Given = ParamSpec("Given")


def of_model(
    analyse: Callable[Concatenate[vi.Model, Given], Record],
    subject: Subject,
    *given: Given.args,
    **parameters: Given.kwargs,
) -> Record:
    """The record of an analysis of the model alone; raises `InspectError` where there is none."""
    key = analyse, subject.model_key, _primitive(given, parameters)
    record: Record = kept.results().get(
        key, lambda: on_device(analyse, models.model(subject), *given, **parameters)
    )
    return record


def of_capture(
    analyse: Callable[Concatenate[vi.Capture, Given], Record],
    subject: Subject,
    *given: Given.args,
    **parameters: Given.kwargs,
) -> Record:
    """The record of an analysis of the picture; raises `InspectError` where there is none."""
    key = analyse, subject.key, _primitive(given, parameters)
    record: Record = kept.results().get(
        key, lambda: timed_on_device(analyse, models.capture(subject), *given, **parameters)
    )
    return record


def of_pictures(
    analyse: Callable[..., Record],
    subjects: Sequence[Subject],
    pictures: Sequence[Picture],
    on_progress: Callable[[int], object],
    **parameters: Any,
) -> Record:
    """The record of an analysis over many pictures; `on_progress` hears how many are done.

    subjects: the model, or all those that the analysis compares, whatever their own picture is.
    What is done is kept for a while, so that cancelled work goes on where it was left.
    """
    asked = "pictures", analyse, _primitive((), parameters)
    keys: dict[Picture, Hashable] = {
        picture: (*asked, *(each._replace(picture=picture).key for each in subjects))
        for picture in pictures
    }
    found: dict[Picture, Record] = {
        picture: record
        for picture, key in keys.items()
        if (record := kept.results().peek(key)) is not None
    }
    missing = [picture for picture in pictures if picture not in found]
    size = BATCH
    while missing:
        on_progress(len(pictures) - len(missing))
        some = missing[:size]
        try:
            if analyse in IN_THE_PASS:
                images = [each.read() for each in some]
                record = on_device(analyse, models.model(subjects[0]), images, **parameters)
            else:
                seen = [models.batch(each, some) for each in subjects]
                record = on_device(analyse, *seen, **parameters)
        except OutOfMemory:
            if size == 1:
                raise
            size //= 2
            continue
        for index, picture in enumerate(some):
            found[picture] = kept.results().get(keys[picture], partial(record.of_image, index))
        missing = missing[len(some) :]
    on_progress(len(pictures))
    return join([found[picture] for picture in pictures])


def beside(
    analyse: Callable[..., Record],
    subject: Subject,
    other: Picture,
    *,
    layer: int,
    **parameters: Any,
) -> Record:
    """The record of an analysis of one layer's tokens, over the picture and another one."""

    def joint(here: vi.Capture, there: vi.Capture) -> Record:
        return analyse(concatenate([here, there], layer=layer), layer=layer, **parameters)

    key = "beside", analyse, subject.key, other.key, layer, _primitive((), parameters)
    pair = subject, subject._replace(picture=other)
    record: Record = kept.results().get(key, lambda: on_device(joint, *map(models.capture, pair)))
    return record


def relevance_to(subject: Subject, other: Picture) -> vi.AttentionRelevance:
    """Which patches make the picture similar to another one, for the model."""
    key = "relevance to", subject.key, other.key
    record: vi.AttentionRelevance = kept.results().get(
        key,
        lambda: timed_on_device(
            vi.attention_relevance, models.capture(subject), target=other.read()
        ),
    )
    return record


def token_norms(subject: Subject, layer: int) -> vi.TokenNorms:
    """Which tokens are artefacts by a layer; rollout is the same for all layers, and kept."""

    def norms() -> vi.TokenNorms:
        plain = of_capture(vi.attention_rollout, subject)
        return on_device(vi.token_norms, models.capture(subject), layer=layer, rollout=plain)

    record: vi.TokenNorms = kept.results().get(("token norms", subject.key, layer), norms)
    return record


def attention_sheet(subject: Subject, query: sheets.Query, layer: int, column: int) -> Sheet:
    """The attention of a query in all layers and heads; `column` is a head, or beyond the last."""
    maps = of_capture(vi.attention_maps, subject, query=query)
    readout = of_capture(vi.attention_maps, subject)
    # Where the rows of all tokens travel at once, they are the same whichever is pinned.
    every = query in sheets.all_queries(maps.layout) and sheets.all_rows_fit(maps.layout)
    key = "attention rows", subject.key, None if every else query, layer, column
    rows: Rows = kept.results().get(
        key,
        lambda: on_device(
            sheets.attention_rows, models.capture(subject), maps, query, layer, column
        ),
    )
    return sheets.attention(maps, readout, query, (layer, column), rows)


def similarity_sheet(subject: Subject, patch: tuple[int, int], layer: int) -> Sheet:
    """The similarity of a patch's token to those of all patches, after every layer."""
    layers = range(models.capture(subject).layer_count)
    each = [of_capture(vi.token_similarity, subject, patch=patch, layer=at) for at in layers]
    every = sheets.all_rows_fit(each[0].layout)
    key = "similarity rows", subject.key, None if every else patch, layer
    rows: Rows = kept.results().get(
        key,
        lambda: on_device(
            sheets.similarity_rows, models.capture(subject), None if every else patch, layer
        ),
    )
    return sheets.similarity(each, layer, rows)


def features_sheet(subject: Subject, layer: int) -> Sheet:
    """The tokens of every layer as colours."""
    layers = range(models.capture(subject).layer_count)
    return sheets.features([of_capture(vi.feature_pca, subject, layer=at) for at in layers], layer)


def paper_figure(
    number: int, subjects: Sequence[Subject], pictures: Sequence[Picture]
) -> vi.PaperFigure:
    """A figure of the ViT paper, of some models on the same pictures."""
    asked = tuple(each.model_key for each in subjects), tuple(each.key for each in pictures)

    def make() -> vi.PaperFigure:
        return on_device(
            vi.paper_figure, number, *(models.batch(each, pictures) for each in subjects)
        )

    record: vi.PaperFigure = kept.results().get(("paper figure", number, asked), make)
    return record


def tested_maps(subject: Subject, target: int | None) -> dict[str, Map]:
    """The maps whose faithfulness is tested; those of a class are of the `target`."""
    found: dict[str, Map] = kept.results().get(
        ("maps", subject.key, target),
        lambda: timed_on_device(default_maps, models.capture(subject), target),
    )
    return found


def kept_archive(subject: Subject, print: Print) -> bytes | None:
    """The archive of a selection, if it was made and is still kept."""
    found: bytes | None = kept.results().peek(("archive", subject.key, print))
    return found


def archive(subject: Subject, print: Print, on_progress: Callable[[float, str], object]) -> bytes:
    """The bundle of all figures, printed so, as a ZIP archive."""
    count = sum(not entry.thorough for entry in FIGURES)
    done = itertools.count()

    def begun(title: str) -> None:
        # A model may lack some figures, and then it ends earlier.
        # It begins again with less memory, where the device had too little.
        on_progress(min(next(done) / count, 1.0), f"Drawing: {title}")

    def make() -> bytes:
        capture = models.capture(subject)
        on_progress(0.0, "Computing")
        return on_device(bundle, capture, print=print, on_figure=begun)

    found: bytes = kept.results().get(("archive", subject.key, print), make)
    return found


def _primitive(given: tuple[object, ...], parameters: dict[str, Any]) -> Hashable:
    """The arguments of an analysis as a key: words, numbers and tuples of them."""
    return given, tuple(sorted(parameters.items()))
