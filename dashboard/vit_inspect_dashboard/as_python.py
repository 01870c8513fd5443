"""Which lines of Python make what is shown? They run as they are, but for a user's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import vit_inspect as vi
from vit_inspect.figures.printing import Print
from vit_inspect.loading.words import PLACE
from vit_inspect.pictures.samples import EVERY
from vit_inspect_dashboard import models, offers
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Subject


def capture_lines(subject: Subject) -> list[str]:
    """The model and the capture of a selection."""
    return [
        "import vit_inspect as vi",
        "",
        *_given([subject], [subject.picture]),
        f"model = {_loaded(subject)}",
        f"capture = vi.capture(model, {picture(subject.picture)})",
    ]


def paper_lines(
    number: int, subjects: Sequence[Subject], pictures: Sequence[Picture], look: Mapping[str, Any]
) -> str:
    """The lines that draw a figure of the paper, of some models on the same pictures."""
    listed = ", ".join(picture(each) for each in pictures)
    names = [f"capture_{place}" for place, _ in enumerate(subjects)]
    options = "".join(f", {name}={value!r}" for name, value in look.items())
    lines = [
        "import vit_inspect as vi",
        "",
        *_given(subjects, pictures),
        f"pictures = [{listed}]",
        *(
            f"{name} = vi.capture({_loaded(each)}, pictures)"
            for name, each in zip(names, subjects, strict=True)
        ),
        f"found = vi.paper_figure({number}, {', '.join(names)})",
        f"figure = vi.draw(found{options})",
        'figure.savefig("figure.pdf")',
    ]
    return "\n".join(lines)


def _given(subjects: Sequence[Subject], pictures: Sequence[Picture]) -> list[str]:
    """A comment on what only the program has that launched the dashboard."""
    given = ["model"] if any(offers.is_in_memory(each.model) for each in subjects) else []
    given += ["images"] if any(each.written for each in pictures) else []
    return [f"# {' and '.join(given)}: what you gave to vi.launch"] if given else []


def _loaded(subject: Subject) -> str:
    """The call that loads the model, or that brings one in memory to what is looked at."""
    if subject.texts and models.model(subject).words is not None:
        template = "" if subject.template == PLACE else f", template={subject.template!r}"
        without = _loaded(subject._replace(texts=()))
        return f"vi.with_texts({without}, {list(subject.texts)!r}{template})"
    if subject.randomised:
        return f"vi.randomised({_loaded(subject._replace(randomised=False))})"
    if offers.is_in_memory(subject.model):
        recipe = {"fit": subject.fit, **models.said(subject)}
        # What the outputs are, vi.wrap is told.
        recipe.pop("outputs", None)
        fields = ", ".join(f"{name}={value!r}" for name, value in recipe.items())
        stage = "" if subject.stage is None else f".at_stage({subject.stage})"
        return f"model.with_recipe({fields}){stage}"
    said = {
        name: value for name, value in models.said(subject).items() if value not in (None, (), {})
    }
    positional = [] if "checkpoint" in said else [repr(subject.model)]
    given = said | {
        name: value
        for name, value, usual in (
            ("img_size", subject.size, None),
            ("fit", subject.fit, "crop"),
            ("stage", subject.stage, None),
        )
        if value != usual
    }
    # Of a path on the server a visitor sees the file's name alone.
    words = [f"{name}={_written(value)}" for name, value in given.items()]
    return f"vi.load({', '.join([*positional, *words])})"


def picture(given: Picture) -> str:
    """A picture as an argument: a sample, or the name of the user's file."""
    if given.key in EVERY:
        return f"vi.sample({given.key!r})"
    return given.written or repr(given.name)


def map_lines(
    subject: Subject, analysis: str, values: str, kind: str, look: Mapping[str, Any]
) -> str:
    """The lines that draw one map.

    analysis: the call of the analysis; values: the map in its record, which is called `found`.
    kind, look: as for `PatchMap` and for its drawing.
    """
    options = ", ".join(
        f"{name}={_written(value)}" for name, value in look.items() if value not in (None, [])
    )
    lines = [
        *capture_lines(subject),
        f"found = {analysis}",
        f"shown = vi.PatchMap(found.model, found.layout, found.photographs, {kind!r}, {values})",
        f"figure = vi.draw(shown, {options})",
        'figure.savefig("map.pdf")',
    ]
    return "\n".join(lines)


def figure_lines(subject: Subject, analysis: str, look: Mapping[str, Any]) -> str:
    """The lines that draw the whole figure of an analysis."""
    options = "".join(f", {name}={value!r}" for name, value in look.items())
    lines = [
        *capture_lines(subject),
        f"figure = vi.draw({analysis}{options})",
        'figure.savefig("figure.pdf")',
    ]
    return "\n".join(lines)


def print_options(print: Print) -> dict[str, Any]:
    """What `vi.draw` is told, beside what a figure shows."""
    return {
        each.name: value
        for each in fields(print)
        if (value := getattr(print, each.name)) != each.default
    }


def print_words(print: Print) -> list[str]:
    """The same as options of the command line."""
    words: list[str] = []
    for name, value in print_options(print).items():
        option = name.replace("_", "-")
        words += [f"--no-{option}"] if value is False else [f"--{option}", str(value)]
    return words


def _written(value: object) -> str:
    if isinstance(value, vi.Region):
        return f"vi.{value}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value.name if isinstance(value, Path) else value)
