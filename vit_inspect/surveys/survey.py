"""How is a survey made? What is wanted is checked, an engine fills a folder, and parts merge."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import torch

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.analyses.observation import observe_heads
from vit_inspect.analyses.token_sums import TokenReduction, TokenStatistic, check_statistics
from vit_inspect.arguments import at_least_one, in_words, of_kind, several
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.exporting.files import write
from vit_inspect.model import Model, of_model
from vit_inspect.surveys import parts
from vit_inspect.surveys.engine_local import local
from vit_inspect.surveys.engine_ray import on_ray
from vit_inspect.surveys.parts import Progress, Store
from vit_inspect.surveys.results import SUMMARY, Survey, merged, written
from vit_inspect.surveys.sources import Entry, Source, entries
from vit_inspect.surveys.work import Engine, versions_of

BATCH = 4
"""Pictures in one forward pass, unless it is said."""

EngineName = Literal["local", "ray"]
ENGINES = {"local": local, "ray": on_ray}

VERSIONS = ("torch", "timm", "numpy", "pillow")
"""Packages that numbers depend on."""


@of_model
def survey(
    model: Model,
    source: Source,
    out: str | os.PathLike[str] | None = None,
    *,
    statistics: Sequence[Statistic] = get_args(Statistic),
    tokens: Sequence[TokenStatistic] = (),
    label_from: str | None = None,
    limit: int | None = None,
    seed: int | None = None,
    engine: EngineName = "local",
    workers: int | None = None,
    batch: int = BATCH,
    resume: bool = True,
    on_progress: Progress = lambda done, count: None,
    tell: Callable[[str], object] = lambda sentence: None,
) -> Survey:
    """Numbers of every head over the pictures of a source, as `observe` takes them.

    source: files, folders, globs, lists, `.tar` shards, `.parquet` tables, as paths or URLs of
        fsspec; one or several.
    out: a folder for the results, of Parquet parts with one row a picture, which other programs
        read too; without it they are kept as long as the survey is used.
    statistics: as for `observe`.
    tokens: what is taken of the tokens after each block too, which takes more time: "artefacts",
        how many there are as `token_norms` finds them, and "cka", the similarity of layers.
    label_from: where the label of a picture stands: "folder", or the name of a column, or the
        suffix of the files beside it in a shard.
    limit, seed: at most so many pictures: the first ones, or with a seed some at random.
    engine: "local" for this computer, or "ray" for a cluster: the one that was joined by
        `ray.init`, or the one at the environment's RAY_ADDRESS.
    workers: of the engine "local", processes that read and prepare pictures; one is this process
        alone. More start the program's main module again, so it must do nothing when it is
        imported. Of the engine "ray", models at once; without a number as many as there is room
        for. The results are the same, on computers of one kind.
    batch: pictures in one forward pass. Rounding depends on it.
    resume: go on with the parts that are in `out`; without it, a folder with parts is refused.
    on_progress: is told how many pictures are done, of how many.
    tell: is told in a sentence what of the source was left out.

    A picture that cannot be read is left out and named. A survey that was stopped goes on where it
    was left, with the same call, but for a part that was open: what is there is whole, and the
    result is the same to the byte, whatever the number of workers or of attempts.

    Raises what `observe` raises, `BadImage` for a source without pictures, `Unreachable` where a
    place cannot be read at the moment, `BadParameter` for a folder with another survey, and
    `OutputFailed` where a file cannot be written or another process fills the folder.
    """
    batch = at_least_one(batch, "pictures in a batch")
    if workers is not None:
        workers = at_least_one(workers, "workers")
    if engine not in ENGINES:
        raise BadParameter(
            f"the engine {in_words(engine)}", f"one of {', '.join(ENGINES)}", "choose one of these"
        )
    if limit is not None:
        limit = at_least_one(limit, "pictures")
    of_kind(out, str | os.PathLike | None, "out", "a path")
    kept = None
    if out is None:
        kept = TemporaryDirectory(prefix="survey-", ignore_cleanup_errors=True)
        out = kept.name
    pictures = entries(
        source, label_from=label_from, limit=limit, seed=seed, without=out, tell=tell
    )
    found = survey_of(
        model,
        pictures,
        out,
        statistics=statistics,
        tokens=tokens,
        engine=ENGINES[engine](model, workers),
        batch=batch,
        resume=resume,
        on_progress=on_progress,
    )
    return replace(found, _kept=kept)


def survey_of(
    model: Model,
    pictures: Sequence[Entry],
    out: str | os.PathLike[str],
    *,
    statistics: Sequence[Statistic],
    tokens: Sequence[TokenStatistic] = (),
    engine: AbstractContextManager[Engine],
    batch: int = BATCH,
    resume: bool = True,
    on_progress: Progress = lambda done, count: None,
) -> Survey:
    """The same of pictures that were found already."""
    if "://" in os.fspath(out):
        raise BadParameter(
            f"the folder {os.fspath(out)!r}, which is a URL",
            "a folder of this computer",
            "copy the survey from there when it is done",
        )
    # What a model knows of its weights, such as their hash, it knows for good; they may have
    # changed since.
    model = replace(model)
    wanted = several(statistics, "statistics", "['distance']")
    taken = several(tokens, "tokens", "['artefacts']")
    with engine as engaged:
        plan = engaged.run(_plan, model, wanted, taken, batch, engaged.device)
        store = Store(Path(out), plan, pictures)
        with store.claimed():
            if not resume and len(store.missing()) < len(store.chunks()):
                raise BadParameter(
                    f"a survey that was begun in '{store.folder}'",
                    "an empty folder",
                    "choose another one, or leave out resume=False to go on",
                )
            engaged.fill(store, model, wanted, on_progress)
            found = merged(store)
            write(store.folder / SUMMARY, written(found))
    return found


def _plan(
    model: Model,
    statistics: Sequence[Statistic],
    tokens: Sequence[TokenStatistic],
    batch: int,
    device: str,
) -> dict[str, Any]:
    """What the numbers depend on; raises what `observe` raises, before any picture is read."""
    check_statistics(tokens)
    recipe = model.recipe
    if "cka" in tokens and recipe.fit == "crop" and recipe.crop_mode == "pad":
        raise UnsupportedModel(
            f"the similarity of layers of {model.id}, whose pictures do not fill its input",
            "pictures that fill the input",
            "load the model with fit='whole', or leave out 'cka'",
        )
    rows, columns = model.layout.input_px
    blank = torch.zeros(1, model.channels, rows, columns, dtype=model.dtype, device=model.device)
    of_tokens = TokenReduction(model, 1, tokens) if tokens else None
    means = observe_heads(model, blank, statistics, of_tokens).sums.means()
    [(layers, heads)] = {values.shape[1:] for values in means.values()}
    [dtype] = {values.dtype.name for values in means.values()}
    classes = None if model.outputs == "scores" else model.labels
    processor = model.recipe.processor
    plan = {
        "model": model.id,
        "weights": model.source,
        "weights_sha256": model.weights_sha256,
        "stage": model.stage,
        "device": device,
        "precision": str(model.dtype).removeprefix("torch."),
        "layout": asdict(model.layout),
        "recipe": asdict(replace(model.recipe, processor=None))
        | {"processor": processor and _settings(processor)},
        "statistics": sorted(set(statistics)),
        "tokens": sorted(set(tokens)),
        "numbers": list(means),
        "layers": layers,
        "heads": heads,
        "dtype": dtype,
        "labels": classes,
        "batch": batch,
        "chunk": parts.CHUNK,
        "versions": versions_of(
            [
                "vit_inspect",
                *VERSIONS,
                *(["scikit-learn"] if "artefacts" in tokens else []),
                *(["transformers"] if processor else []),
            ]
        ),
    }
    # As it is read again from a file.
    return json.loads(json.dumps(plan))


def _settings(processor: Any) -> str:
    """What an image processor of transformers does."""
    told = getattr(processor, "to_json_string", None)
    return str(told()) if told else type(processor).__name__
