"""`vit-inspect dashboard`: how is the dashboard started, and what does it offer?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vit_inspect.commands import options
from vit_inspect.commands.exits import refusing
from vit_inspect.errors import BadParameter
from vit_inspect.installed import dashboard_part

WEIGHTS_MB = 400
"""How large a file of weights may be that is uploaded, unless it is said."""


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
    with refusing():
        if weights_mb is not None and not allow_weights:
            raise BadParameter(
                "--weights-mb without --allow-weights", "both or none", "add --allow-weights"
            )
        launch = dashboard_part("launch")
        of_checkpoint = options.said(
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
            said=of_checkpoint,
            models=models,
            metrics=metrics,
            access_log=access_log,
            strangers=strangers,
            most=options.given(parameters=max_parameters, px=max_px, disk_gb=disk_gb),
        )
