"""What is said of a model on the command line, and which model is it?"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vit_inspect import typed
from vit_inspect.errors import BadParameter

if TYPE_CHECKING:
    from vit_inspect.model import Model

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

# What is said of the texts that are a model's classes.
Text = Annotated[
    list[str] | None,
    typer.Option(help="A text as a class, of a model with a text tower; may be repeated."),
]
Template = Annotated[
    str | None, typer.Option(help="What each text is put into, at {}, such as 'a photo of a {}'.")
]


def model_of(
    model: str | None,
    *,
    img_size: str | None,
    fit: Literal["crop", "whole"],
    device: str,
    stage: int | None,
    text: list[str] | None,
    template: str | None,
    **of_checkpoint: Any,
) -> Model:
    """The model that is said; what there is to know of it is told."""
    from vit_inspect.loading.load import load

    # What is imported stays: the collector of garbage need not look at it again and again.
    gc.freeze()
    found = load(
        model,
        img_size=None if img_size is None else typed.size(img_size),
        fit=fit,
        device=device,
        stage=stage,
        **said(**of_checkpoint),
    )
    found = _with_words(found, text, template)
    for notice in found.notices:
        typer.echo(notice, err=True)
    return found


def said(**of_checkpoint: Any) -> dict[str, Any]:
    """What was said of a checkpoint, as `vit_inspect.load` takes it, without what was not said."""
    found = dict(of_checkpoint)
    found["arch_options"] = typed.options(found["arch_options"] or ())
    for name in ("mean", "std"):
        if found[name] is not None:
            found[name] = typed.numbers(name, found[name])
    return given(**found)


def given(**values: Any) -> dict[str, Any]:
    """Those that are not empty."""
    return {name: value for name, value in values.items() if value not in (None, (), {}, [])}


def _with_words(model: Model, texts: list[str] | None, template: str | None) -> Model:
    """The model with texts as its classes, where some are given."""
    from vit_inspect.loading.words import PLACE, with_texts

    if not texts:
        if template is not None:
            raise BadParameter("--template without --text", "both", "add --text TEXT")
        return model
    return with_texts(model, texts, template=template or PLACE)
