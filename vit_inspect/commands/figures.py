"""`vit-inspect figures`: how do photographs become a folder of figures?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vit_inspect import typed
from vit_inspect.commands import options
from vit_inspect.commands.exits import refusing, stoppable
from vit_inspect.errors import InspectError, OutOfMemory

if TYPE_CHECKING:
    from tqdm import tqdm

    from vit_inspect.model import Model
    from vit_inspect.recording.recorder import Capture


@stoppable("No file is half-written; the same command makes the figures anew.")
def figures(
    photographs: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...",
            help="Picture files, folders of them, or samples such as chelsea.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")],
    model: options.ModelId = None,
    img_size: options.InputSize = None,
    fit: options.FitName = "crop",
    bands: Annotated[
        str | None,
        typer.Option(
            metavar="BAND,...",
            help="Bands of each file to show, counted from 0: three as red, green and blue, such "
            "as 3,2,1, or one as grey.",
        ),
    ] = None,
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
    device: options.DeviceName = "auto",
    stage: options.StageNumber = None,
    outputs: options.OutputKind = None,
    text: options.Text = None,
    template: options.Template = None,
    thorough: Annotated[
        bool,
        typer.Option("--thorough", help="Also figures that run the model many times."),
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Photographs in one forward pass.")] = 4,
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT,...",
            help="Files of each figure, some of svg,pdf,png,npz,csv; all if none are given. "
            "The report always comes.",
        ),
    ] = None,
    width_in: Annotated[
        float | None,
        typer.Option(help="Width of the figures for print in inches, such as 3.25 for a column."),
    ] = None,
    font: Annotated[
        Literal["sans", "times", "computer modern"],
        typer.Option(help="Font of the figures for print."),
    ] = "sans",
    title: Annotated[
        bool, typer.Option("--title/--no-title", help="Whether figures for print have titles.")
    ] = True,
    caption: Annotated[
        bool,
        typer.Option("--caption/--no-caption", help="Whether figures for print have captions."),
    ] = True,
) -> None:
    """Write the inspection figures of photographs into a folder.

    Attention distance, head statistics and layer similarity are averaged over all photographs;
    the others are drawn for each.
    """
    with refusing() as refused:
        # Imported here, so that --help answers at once.
        from tqdm import tqdm

        from vit_inspect.exporting.bundle import chosen_formats, export
        from vit_inspect.exporting.folders import claimed
        from vit_inspect.exporting.workers import workers_for
        from vit_inspect.figures.printing import Print
        from vit_inspect.pictures.finding import figures_in, find_photographs

        paths: list[Path] = []
        for argument in photographs:
            try:
                paths += find_photographs([argument], tell=partial(typer.echo, err=True))
            except InspectError as error:
                refused.append(error)
        if not paths:
            return
        chosen = chosen_formats(None if formats is None else typed.listed(formats))
        print = Print(width_in, font, title, caption)
        # What cannot be written is told before the model is loaded.
        with claimed(out):
            earlier = [each for each in figures_in(out) if each.exists()]
        chosen_bands = None if bands is None else typed.bands(bands)
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
        with tqdm(total=len(paths), unit="photo", disable=None) as bar:
            captures = _captures(subject, paths, batch, chosen_bands, refused, bar)
            written = export(
                captures,
                out,
                command=shlex.join(["python", "-m", "vit_inspect", *sys.argv[1:]]),
                thorough=thorough,
                formats=chosen,
                **asdict(print),
                workers=workers_for(len(paths)),
            )
        if earlier:
            typer.echo(f"They replace the {len(earlier)} files of an earlier run.", err=True)
        typer.echo(f"{len(written)} files in {out}; start with {out / 'report.html'}")


def _captures(
    model: Model,
    paths: list[Path],
    batch: int,
    bands: tuple[int, ...] | None,
    refused: list[InspectError],
    bar: tqdm[Any],
) -> Iterator[Capture]:
    """The photographs batch by batch; those that cannot be read are left out and remembered."""
    from vit_inspect.pictures.reading import read_image
    from vit_inspect.recording.recorder import capture

    for first in range(0, len(paths), batch):
        some = paths[first : first + batch]
        images = []
        for path in some:
            try:
                images.append(read_image(path, bands=bands))
            except OutOfMemory:
                # Another time, or with fewer pictures at once, it can be read.
                raise
            except InspectError as error:
                refused.append(error)
        if images:
            yield capture(model, images)
        bar.update(len(some))
    # Processes may still be drawing the last ones.
    bar.set_description("drawing")
