"""The command line: `python -m vit_inspect`."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from vit_inspect import typed
from vit_inspect.errors import BadParameter, InspectError
from vit_inspect.exits import EXITS, stoppable
from vit_inspect.installed import dashboard_part

if TYPE_CHECKING:
    from tqdm import tqdm

    from vit_inspect.model import Model
    from vit_inspect.recording.recorder import Capture

app = typer.Typer(
    help="A microscope for vision transformers.",
    epilog=EXITS,
    no_args_is_help=True,
    add_completion=False,
)

TOLD = 20
"""Pictures that cannot be read are named one by one, up to this many."""

WEIGHTS_MB = 400
"""How large a file of weights may be that is uploaded, unless it is said."""

# What is said of a model, to each command that runs one.
ModelId = Annotated[
    str | None,
    typer.Option(help="A timm id or hf-hub:organisation/name; dinov2_small if none is given."),
]
InputSize = Annotated[
    str | None,
    typer.Option(metavar="N|ROWSxCOLUMNS", help="Model input in px; a multiple of the patch."),
]
FitName = Annotated[
    Literal["crop", "whole"],
    typer.Option(
        help="What the model sees: its own crop, or the whole photograph squeezed to the input."
    ),
]
DeviceName = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
StageNumber = Annotated[
    int | None, typer.Option(help="Of a hierarchical model, the stage to look at, from 0.")
]

# What is said of a checkpoint, to each command that loads one.
Checkpoint = Annotated[
    Path | None, typer.Option(help="Weights in a file or a folder, for --architecture.")
]
Architecture = Annotated[
    str | None,
    typer.Option(
        help="The checkpoint's timm id, if its settings do not say it; transformers for a folder."
    ),
]
ArchOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="What the checkpoint's network was made with, such as num_heads=12; may be repeated.",
    ),
]
Sha256 = Annotated[
    str | None,
    typer.Option(metavar="HEX", help="The SHA-256 that the checkpoint's file must have."),
]
Part = Annotated[
    str | None,
    typer.Option(help="Which network of the checkpoint, such as teacher or student."),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(help="A weight of the checkpoint that may go unused; may be repeated."),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER,...",
        help="The mean that the model subtracts, of values in 0..1; one for each channel.",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER,...",
        help="The standard deviation that it divides by; one for each channel.",
    ),
]
Interpolation = Annotated[
    str | None, typer.Option(help="How pictures are resized: bicubic, bilinear, ...")
]
CropFraction = Annotated[
    float | None, typer.Option(help="Share of the picture's side that the crop keeps.")
]
CropModeName = Annotated[
    Literal["center", "squash", "pad"] | None,
    typer.Option(help="Cut the middle out of a picture, stretch it, or fill up what it lacks."),
]
Readout = Annotated[
    str | None,
    typer.Option(help="How the model reads its tokens: cls or 'mean of the patches'."),
]
LabelFile = Annotated[
    Path | None,
    typer.Option("--labels", help="A text file of the model's classes, one name on each line."),
]
OutputKind = Annotated[
    Literal["single-label", "multi-label", "scores"] | None,
    typer.Option(help="What the outputs are: classes (softmax), labels (sigmoids) or raw numbers."),
]

Text = Annotated[
    list[str] | None,
    typer.Option(help="A text as a class, of a model with a text tower; may be repeated."),
]
Template = Annotated[
    str | None, typer.Option(help="What each text is put into, at {}, such as 'a photo of a {}'.")
]


@app.command(epilog=EXITS)
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
    model: ModelId = None,
    img_size: InputSize = None,
    fit: FitName = "crop",
    bands: Annotated[
        str | None,
        typer.Option(
            metavar="BAND,...",
            help="Bands of each file to show, counted from 0: three as red, green and blue, such "
            "as 3,2,1, or one as grey.",
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    architecture: Architecture = None,
    arch_option: ArchOption = None,
    sha256: Sha256 = None,
    part: Part = None,
    ignore: Ignore = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    crop_fraction: CropFraction = None,
    crop_mode: CropModeName = None,
    readout: Readout = None,
    labels: LabelFile = None,
    device: DeviceName = "auto",
    stage: StageNumber = None,
    outputs: OutputKind = None,
    text: Text = None,
    template: Template = None,
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
    # Imported here, so that --help answers at once.
    from tqdm import tqdm

    from vit_inspect.exporting.bundle import chosen_formats, export
    from vit_inspect.exporting.folders import claimed
    from vit_inspect.exporting.workers import workers_for
    from vit_inspect.figures.printing import Print
    from vit_inspect.loading.load import load
    from vit_inspect.pictures.finding import figures_in, find_photographs

    # What is imported stays: the collector of garbage need not look at it again and again.
    gc.freeze()
    refused: list[InspectError] = []
    paths: list[Path] = []
    for argument in photographs:
        try:
            paths += find_photographs([argument], tell=partial(typer.echo, err=True))
        except InspectError as error:
            refused.append(error)
    if not paths:
        _stop(refused)
    try:
        chosen = chosen_formats(None if formats is None else typed.listed(formats))
        print = Print(width_in, font, title, caption)
        # What cannot be written is told before the model is loaded.
        with claimed(out):
            earlier = [each for each in figures_in(out) if each.exists()]
        chosen_bands = None if bands is None else typed.bands(bands)
        subject = load(
            model,
            img_size=None if img_size is None else typed.size(img_size),
            fit=fit,
            device=device,
            stage=stage,
            **_said(
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
            ),
        )
        subject = _with_words(subject, text, template)
        for notice in subject.notices:
            typer.echo(notice, err=True)
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
    except InspectError as error:
        _stop([*refused, error])
    if earlier:
        typer.echo(f"They replace the {len(earlier)} files of an earlier run.", err=True)
    typer.echo(f"{len(written)} files in {out}; start with {out / 'report.html'}")
    if refused:
        _stop(refused)


@app.command(epilog=EXITS)
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
    model: ModelId = None,
    img_size: InputSize = None,
    fit: FitName = "crop",
    checkpoint: Checkpoint = None,
    architecture: Architecture = None,
    arch_option: ArchOption = None,
    sha256: Sha256 = None,
    part: Part = None,
    ignore: Ignore = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    crop_fraction: CropFraction = None,
    crop_mode: CropModeName = None,
    readout: Readout = None,
    labels: LabelFile = None,
    outputs: OutputKind = None,
    text: Text = None,
    template: Template = None,
    device: DeviceName = "auto",
    stage: StageNumber = None,
) -> None:
    """Take numbers of every head over many pictures, inside the forward pass.

    Pictures that cannot be read are left out and named. A survey that was stopped goes on with the
    same command.
    """
    from tqdm import tqdm

    from vit_inspect.loading.load import load
    from vit_inspect.pictures.reading import printable
    from vit_inspect.surveys.survey import survey

    gc.freeze()
    try:
        if engine == "ray" and device == "auto":
            # Each computer of the cluster takes the model to its own device.
            device = "cpu"
        if ray_address is not None:
            if engine != "ray":
                raise BadParameter("--ray-address without --engine ray", "both", "add --engine ray")
            os.environ["RAY_ADDRESS"] = ray_address
        subject = load(
            model,
            img_size=None if img_size is None else typed.size(img_size),
            fit=fit,
            device=device,
            stage=stage,
            **_said(
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
            ),
        )
        subject = _with_words(subject, text, template)
        for notice in subject.notices:
            typer.echo(notice, err=True)
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
            )
    except InspectError as error:
        _stop([error])
    for name, reason in found.refused[:TOLD]:
        typer.echo(f"{printable(name)}: {reason}", err=True)
    if len(found.refused) > TOLD:
        typer.echo(f"and {len(found.refused) - TOLD:,} more in {out / 'survey.json'}", err=True)
    typer.echo(f"{found.count:,} of {len(found.entries):,} pictures in {out}")
    if not found.count:
        raise typer.Exit(2)


def _with_words(model: Model, texts: list[str] | None, template: str | None) -> Model:
    """The model with texts as its classes, where some are given."""
    from vit_inspect.loading.words import PLACE, with_texts

    if not texts:
        if template is not None:
            raise BadParameter("--template without --text", "both", "add --text TEXT")
        return model
    return with_texts(model, texts, template=template or PLACE)


@app.command()
def models() -> None:
    """List models worth a look, and what for."""
    from vit_inspect.loading.recommended import ZOO

    width = max(len(each.name) for each in ZOO)
    for each in ZOO:
        typer.echo(f"{each.name:<{width}}  {each.shows}\n{'':<{width}}  {each.why}")
    typer.echo(
        "\nEvery other vision transformer of timm loads by its id, or from a hub by "
        "hf-hub:organisation/name,\none of transformers by transformers:organisation/name, one of "
        "open_clip by open_clip:organisation/name.\n"
        "Weights in a file: --checkpoint FILE --architecture ID."
    )


@app.command()
def dashboard(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen at; 0 takes any free one.  [8501]"),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at; 0.0.0.0 lets others in.  [localhost]"),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the dashboard in a browser.")
    ] = True,
    checkpoint: Checkpoint = None,
    architecture: Architecture = None,
    arch_option: ArchOption = None,
    sha256: Sha256 = None,
    part: Part = None,
    ignore: Ignore = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    crop_fraction: CropFraction = None,
    crop_mode: CropModeName = None,
    readout: Readout = None,
    labels: LabelFile = None,
    outputs: OutputKind = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="A folder whose checkpoints are offered; each is loaded when chosen."),
    ] = None,
    surveys: Annotated[
        Path | None,
        typer.Option(help="A folder whose surveys are shown, as vit-inspect survey writes them."),
    ] = None,
    allow_weights: Annotated[
        bool,
        typer.Option("--allow-weights", help="Let visitors upload weights, as .safetensors files."),
    ] = False,
    weights_mb: Annotated[
        int | None,
        typer.Option(
            min=1, help="How large a file of weights may be that is uploaded, in MB.  [400]"
        ),
    ] = None,
    models: Annotated[
        Literal["listed", "cached", "any"] | None,
        typer.Option(
            help="Which models visitors may open: those that you offer and the bundled ones; also "
            "what is on this machine; or any of a hub.  [any; cached for strangers]"
        ),
    ] = None,
    strangers: Annotated[
        bool | None,
        typer.Option(
            "--strangers/--no-strangers",
            help="Give each visitor a quota of uploads and of work; say so behind a proxy.  "
            "[if others can connect]",
        ),
    ] = None,
    max_parameters: Annotated[
        float | None,
        typer.Option(
            min=1, help="Most parameters of a model that visitors name.  [5e8 for strangers]"
        ),
    ] = None,
    max_px: Annotated[
        int | None,
        typer.Option(min=1, help="Longest side of a model input in px.  [640 for strangers]"),
    ] = None,
    disk_gb: Annotated[
        float | None,
        typer.Option(
            min=0, help="Most GB of weights that are fetched and kept.  [20 for strangers]"
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="PORT",
            help="Serve counts for Prometheus at this port of this computer; ADDRESS:PORT lets "
            "others read them.",
        ),
    ] = None,
    access_log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write a line for each job to this file: what, when, how long; - is the standard "
            "error. It holds nothing that visitors name.",
        ),
    ] = None,
) -> None:
    """Start the dashboard, and open it in a browser. A checkpoint is the first model there."""
    try:
        if weights_mb is not None and not allow_weights:
            raise BadParameter(
                "--weights-mb without --allow-weights", "both or none", "add --allow-weights"
            )
        launch = dashboard_part("launch")
        said = _said(
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
        launch.serve(
            port=port,
            host=host,
            browser=browser,
            folder=checkpoints,
            surveys=surveys,
            weights_mb=(weights_mb or WEIGHTS_MB) if allow_weights else None,
            said=said,
            models=models,
            metrics=metrics,
            access_log=access_log,
            strangers=strangers,
            most=_given(parameters=max_parameters, px=max_px, disk_gb=disk_gb),
        )
    except InspectError as error:
        _stop([error])


def _said(**said: Any) -> dict[str, Any]:
    """What was said of a checkpoint, as `vit_inspect.load` takes it, without what was not said."""
    said["arch_options"] = typed.options(said["arch_options"] or ())
    for name in ("mean", "std"):
        if said[name] is not None:
            said[name] = typed.numbers(name, said[name])
    return _given(**said)


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not empty."""
    return {name: value for name, value in values.items() if value not in (None, (), {}, [])}


def _sleep_while_waiting() -> None:
    """Has threads sleep when they wait for work, before the libraries that start them are loaded.

    By default those of OpenMP and OpenBLAS ask again and again whether there is something to do,
    which wins microseconds on an idle machine; on a busy one it takes most of its time. Numbers
    do not depend on it. What the user has set is left as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Two to the power of this many cycles; the least that there is.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


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
            except InspectError as error:
                refused.append(error)
        if images:
            yield capture(model, images)
        bar.update(len(some))
    # Processes may still be drawing the last ones.
    bar.set_description("drawing")


def _stop(refused: list[InspectError]) -> NoReturn:
    """Tell what was wrong, and leave as for wrong arguments."""
    for error in refused:
        typer.echo(str(error), err=True)
    raise typer.Exit(2)


def main() -> None:
    """Run the command line."""
    _sleep_while_waiting()
    app(prog_name="python -m vit_inspect")


if __name__ == "__main__":
    main()
