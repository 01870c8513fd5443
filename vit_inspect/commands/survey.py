"""`vit-inspect survey`: how do many pictures become a survey?"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from vit_inspect.commands import options
from vit_inspect.commands.exits import refusing, stoppable
from vit_inspect.errors import BadParameter

TOLD = 20
"""Pictures that cannot be read are named one by one, up to this many."""


@stoppable("What is done is kept; the same command goes on with it.")
def survey(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders with all below them, globs, lists (.txt, .csv), shards (.tar), "
            "tables (.parquet): as paths or URLs.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the survey; the same one goes on.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many pictures: the first ones.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Take those of --limit at random, by this number.")
    ] = None,
    label_from: Annotated[
        str | None,
        typer.Option(
            metavar="folder|COLUMN|SUFFIX",
            help="Where labels of pictures are: the folder they lie in, a column of a list or a "
            "table, or the suffix of files beside them in a shard.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="This computer, or the computers of a Ray cluster."),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The cluster of --engine ray.  [a new one, here]"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that read pictures; of --engine ray, models at once. The results are "
            "the same.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Photographs in one forward pass.")] = 4,
    tokens: Annotated[
        list[str] | None,
        typer.Option(
            metavar="artefacts|cka",
            help="Also take of the tokens after each block how many are artefacts, or how similar "
            "layers are; can be given twice.",
        ),
    ] = None,
    model: options.ModelId = None,
    img_size: options.InputSize = None,
    fit: options.FitName = "crop",
    checkpoint: options.Checkpoint = None,
    architecture: options.Architecture = None,
    arch_option: options.ArchOption = None,
    sha256: options.Sha256 = None,
    part: options.Part = None,
    ignore: options.Ignore = None,
    mean: options.Mean = None,
    std: options.Std = None,
    interpolation: options.Interpolation = None,
    crop_fraction: options.CropFraction = None,
    crop_mode: options.CropModeName = None,
    readout: options.Readout = None,
    labels: options.LabelFile = None,
    outputs: options.OutputKind = None,
    text: options.Text = None,
    template: options.Template = None,
    device: options.DeviceName = "auto",
    stage: options.StageNumber = None,
) -> None:
    """Take numbers of every head over many pictures, inside the forward pass.

    Pictures that cannot be read are left out and named. A survey that was stopped goes on with the
    same command.
    """
    with refusing():
        from tqdm import tqdm

        from vit_inspect.pictures.reading import printable
        from vit_inspect.surveys.survey import survey

        if engine == "ray" and device == "auto":
            # Each computer of the cluster takes the model to its own device.
            device = "cpu"
        if ray_address is not None:
            if engine != "ray":
                raise BadParameter("--ray-address without --engine ray", "both", "add --engine ray")
            os.environ["RAY_ADDRESS"] = ray_address
        subject = options.model_of(
            model,
            img_size=img_size,
            fit=fit,
            device=device,
            stage=stage,
            text=text,
            template=template,
            checkpoint=checkpoint,
            architecture=architecture,
            arch_options=arch_option,
            sha256=sha256,
            part=part,
            ignore=ignore,
            mean=mean,
            std=std,
            interpolation=interpolation,
            crop_fraction=crop_fraction,
            crop_mode=crop_mode,
            readout=readout,
            labels=labels,
            outputs=outputs,
        )
        with tqdm(unit="photo", disable=None) as bar:

            def tell(done: int, count: int) -> None:
                # What an earlier run did says nothing of the speed of this one.
                if bar.total is None:
                    bar.reset(count)
                    bar.initial = done
                bar.update(done - bar.n)

            found = survey(
                subject,
                sources,
                out,
                tokens=tokens or (),  # type: ignore[arg-type]
                label_from=label_from,
                limit=limit,
                seed=seed,
                engine=engine,
                workers=workers,
                batch=batch,
                on_progress=tell,
                tell=partial(typer.echo, err=True),
            )
        for name, reason in found.refused[:TOLD]:
            typer.echo(f"{printable(name)}: {reason}", err=True)
        if len(found.refused) > TOLD:
            typer.echo(f"and {len(found.refused) - TOLD:,} more in {out / 'survey.json'}", err=True)
        typer.echo(f"{found.count:,} of {len(found.entries):,} pictures in {out}")
        if not found.count:
            raise typer.Exit(2)
