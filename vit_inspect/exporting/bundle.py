"""All figures of photographs in one folder, or one archive, with provenance."""

from __future__ import annotations

import io
import itertools
import json
import os
import platform
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unicodedata import normalize

from vit_inspect.analyses.spread import spread_of
from vit_inspect.arguments import at_least_one, of_kind, several
from vit_inspect.catalog import FIGURES, CaptureFigure, ModelFigure, analyse
from vit_inspect.errors import BadParameter, InspectError, UnsupportedModel, memory_told
from vit_inspect.exporting.folders import Together, claimed
from vit_inspect.exporting.render import BUNDLE_FORMATS, Drawn, drawn, home_of
from vit_inspect.exporting.report import REPORT_PHOTOGRAPHS, Section, report
from vit_inspect.exporting.workers import InOrder
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect.figures.printing import USUAL, Font, Print
from vit_inspect.figures.spread import FIGURE as SPREAD
from vit_inspect.model import Model
from vit_inspect.pictures.finding import PROVENANCE, figures_in
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.base import Photograph, Result, join
from vit_inspect.records.paper import AttentionDistance
from vit_inspect.version import __version__

REPORT = "report.html"
LONGEST = 60
"""Letters of a folder's name: disks take 255 bytes, and Windows 260 letters of a whole path."""
DEVICES = re.compile("con|prn|aux|nul|(com|lpt)[0-9¹²³]", re.IGNORECASE)
"""What Windows has no file or folder of."""
PACKAGES = ("torch", "timm", "numpy", "scikit-learn", "pillow", "matplotlib", "plotly")


@memory_told()
def export(
    captures: Capture | Iterable[Capture],
    folder: str | os.PathLike[str],
    *,
    command: str | None = None,
    thorough: bool = False,
    formats: Iterable[str] | None = None,
    width_in: float | None = None,
    font: Font = "sans",
    title: bool = True,
    caption: bool = True,
    workers: int = 1,
    on_figure: Callable[[str], object] = lambda title: None,
) -> list[Path]:
    """Write the bundle of figures into a folder; returns the files.

    captures: one, or batches of the same model, such as a generator that runs it batch by batch;
    attention distance, head statistics and CKA are averaged over all their images, and of several
    the spread of attention distance is shown. Figures of single images go into a folder each, named
    like the photograph. A figure that the model has not is left out, and the report says why.
    folder: gets all files in the end, in place of those that an earlier bundle wrote there, and no
        other file is removed. A bundle that is stopped before leaves it as it was.
    command: repeats the export, for its provenance.
    thorough: also make the figures that run the model many times.
    formats: some of `BUNDLE_FORMATS`; None for all. The report always comes.
    width_in, font, title, caption: of all figures for print, as for `vit_inspect.draw`.
    workers: processes that draw the figures; 1 is this one alone. The files are the same. More
        processes start the program's main module again, so it must do nothing when it is imported.
    on_figure: is told the title of each figure when its turn has come, for a sign of progress.

    Raises `BadParameter` for no capture, for captures of several models, for an unknown format and
    for a width or a font that `vit_inspect.draw` refuses, `OutputFailed` where a file cannot be
    written.
    """
    of_kind(folder, str | os.PathLike, "folder", "a path")
    workers = at_least_one(workers, "workers")
    root, chosen = Path(folder), chosen_formats(formats)
    print = Print(width_in, font, title, caption)
    # What is no capture at all is refused before there is a folder.
    given = captures if isinstance(captures, Iterable) else [_captured(captures)]
    with claimed(root), Together(root) as files, InOrder(workers) as calls:
        bundle = _Bundle(files, thorough, chosen, print, calls, on_figure)
        for capture in given:
            bundle.add(_captured(capture))
        bundle.finish(command)
    return [root / name for name in files.names]


def chosen_formats(formats: Iterable[str] | None) -> tuple[str, ...]:
    """The formats of a bundle in their order, each once; all where None is given.

    Raises `BadParameter` for a format that a bundle has not.
    """
    if formats is None:
        return BUNDLE_FORMATS
    asked = {formats} if isinstance(formats, str) else set(several(formats, "formats", "['svg']"))
    if unknown := sorted(asked - set(BUNDLE_FORMATS)):
        raise BadParameter(
            f"the format {', '.join(map(repr, unknown))}",
            f"some of {', '.join(BUNDLE_FORMATS)}",
            "leave it out or choose another",
        )
    return tuple(kind for kind in BUNDLE_FORMATS if kind in asked)


def bundle(
    captures: Capture | Iterable[Capture],
    *,
    command: str | None = None,
    formats: Iterable[str] | None = None,
    print: Print = USUAL,
    on_figure: Callable[[str], object] = lambda title: None,
) -> bytes:
    """The same as one ZIP archive; the same captures give the same bytes."""
    options: dict[str, Any] = {"command": command, "formats": formats, "on_figure": on_figure}
    archive = io.BytesIO()
    with (
        tempfile.TemporaryDirectory(prefix="vit_inspect-") as folder,
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        written = export(captures, folder, **options, **asdict(print))
        for path in written:
            # An entry's date would differ from run to run; this is the earliest there is.
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, path.read_bytes())
    return archive.getvalue()


def _captured(given: Capture) -> Capture:
    """The same; raises `BadParameter` for anything else."""
    of_kind(given, Capture, "capture", "what vit_inspect.capture(model, picture) returns")
    return given


class _Bundle:
    """Writes figures as they come, and remembers what the report and the provenance tell."""

    def __init__(
        self,
        files: Together,
        thorough: bool,
        formats: tuple[str, ...],
        print: Print,
        calls: InOrder,
        on_figure: Callable[[str], object],
    ) -> None:
        self.files = files
        self.on_figure = on_figure
        self.calls = calls
        self.formats = formats
        self.print = print
        self.thorough = thorough
        self.model: Model | None = None
        self.error = 0.0
        self.photographs: dict[str, Photograph] = {}
        self.joint: dict[str, list[Any]] = {}
        self.sections: list[Section] = []
        self.figures: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, str] = {}

    def add(self, capture: Capture) -> None:
        """Write the figures of a batch's single images; keep what is averaged over all."""
        if self.model not in (None, capture.model):
            raise BadParameter(
                f"captures of {self.model.id if self.model else ''} and of {capture.model.id}",
                "captures of one model at one input size",
                "export each model into a folder of its own",
            )
        self.model, self.error = capture.model, max(self.error, capture.error)
        found = analyse(capture, thorough=self.thorough)
        results = {slug: each for slug, each in found.items() if isinstance(each, Result)}
        for slug, each in found.items():
            if isinstance(each, InspectError):
                self.refused[slug] = str(each)
        shown = [
            (entry, results[entry.figure.slug])
            for entry in FIGURES
            if isinstance(entry, CaptureFigure) and entry.figure.slug in results
        ]
        for entry, result in shown:
            if entry.averaged:
                self.joint.setdefault(entry.figure.slug, []).append(result)
        for index, photograph in enumerate(capture.photographs):
            folder = self._folder(photograph)
            self.photographs[folder] = photograph
            for entry, result in shown:
                if not entry.averaged:
                    self._put_figure(entry.figure, result.of_image(index), folder)

    def finish(self, command: str | None) -> None:
        """Write the figures of the model and of all images, the report and the provenance."""
        if self.model is None:
            raise BadParameter("no photograph", "at least one", "give a picture that can be read")
        for entry in FIGURES:
            slug = entry.figure.slug
            if isinstance(entry, ModelFigure):
                try:
                    record = entry.analyse(self.model)
                except UnsupportedModel as refusal:
                    self.refused[slug] = str(refusal)
                else:
                    self._put_figure(entry.figure, record)
            elif slug in self.joint:
                joined = join(self.joint[slug])
                self._put_figure(entry.figure, joined)
                if isinstance(joined, AttentionDistance) and len(joined.distance_px) > 1:
                    named = joined.model, joined.layout, "distance_px"
                    self._put_figure(SPREAD, spread_of(*named, joined.distance_px))
        # What follows tells of all that was written.
        self.calls.take_all()
        facts = self._provenance(self.model, command)
        page = report(self.sections, list(self.photographs.values()), facts)
        self.files.put(REPORT, page.encode())
        self.files.put(PROVENANCE, (json.dumps(facts, indent=2) + "\n").encode())
        self.files.arrive(_earlier_files(self.files.folder))

    def _put_figure(self, figure: FigureSpec[Record], record: Record, folder: str = "") -> None:
        """Have a figure drawn, and written in its turn."""
        self.on_figure(figure.title)
        photograph = self.photographs.get(folder)
        plotted = photograph is None or len(self.photographs) <= REPORT_PHOTOGRAPHS
        self.figures[Path(folder, figure.slug).as_posix()] = {
            name: value for name, value in record.words().items() if name != "model"
        }

        def take(made: Drawn) -> None:
            for kind, data in made.files.items():
                self.files.put(Path(folder, f"{figure.slug}.{kind}").as_posix(), data)
            if made.plot is not None:
                self.sections.append(Section(figure, photograph, made.plot))

        asked = home_of(figure), record, self.formats, self.print, folder, plotted
        self.calls.call(take, drawn, *asked)

    def _folder(self, photograph: Photograph) -> str:
        """A folder of its own, named like the photograph, whose name may come from a stranger."""
        return folder_name(photograph.name, self.photographs)

    def _provenance(self, model: Model, command: str | None) -> dict[str, Any]:
        """Everything that the figures depend on."""
        layout, processor = model.layout, model.recipe.processor
        preprocessing = asdict(replace(model.recipe, processor=None))
        return {
            "command": command,
            "model": {
                "id": model.id,
                "weights": model.source,
                "notices": model.notices,
                "outputs": "features" if model.labels is None else model.outputs,
                "weights_sha256": model.weights_sha256,
                "parameters": model.parameter_count,
                **({"stage": model.stage} if model.stage_count > 1 else {}),
                "device": str(model.device),
                "dtype": str(model.dtype).removeprefix("torch."),
            },
            "input": {
                "size_px": layout.input_px,
                "patch_px": layout.patch_px,
                "stride_px": layout.cell_px,
                "margin_px": layout.margin_px,
                "grid": layout.grid,
                "prefix_tokens": layout.prefix,
                "padded": layout.padded,
                "readout": layout.readout,
                "preprocessing": preprocessing
                | {"processor": processor and type(processor).__name__},
            },
            "photographs": [
                {
                    "folder": folder,
                    "name": photograph.name,
                    "sha256": photograph.sha256,
                    "size_px": photograph.picture_px,
                    "seen_px": photograph.seen._asdict(),
                    "notices": photograph.notices,
                }
                for folder, photograph in self.photographs.items()
            ],
            "print": asdict(self.print),
            "figures": self.figures,
            "refused": self.refused,
            "files": list(self.files.names),
            "largest_verified_error": self.error,
            "versions": {
                "vit_inspect": __version__,
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
        }


def folder_name(name: str, taken: Iterable[str]) -> str:
    """A folder's name like that of a photograph, and unlike those taken, for any system."""
    # On a Mac a letter and its accent are the same name as the letter with the accent.
    stem = re.sub(r"[^\w-]+", "_", normalize("NFC", Path(name).stem))
    stem = stem.strip("_")[:LONGEST] or "image"
    if DEVICES.fullmatch(stem):
        stem += "_"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    # On some disks "Cat" and "cat" are one folder.
    folded = {each.casefold() for each in taken}
    return next(each for each in names if each.casefold() not in folded)


def _earlier_files(root: Path) -> set[str]:
    """The figures that an earlier bundle in this folder says it wrote, and the report."""
    slugs = {entry.figure.slug for entry in FIGURES} | {SPREAD.slug}
    # Nothing else is ever removed.
    return {REPORT} | {
        path.relative_to(root).as_posix()
        for path in figures_in(root)
        if path.stem in slugs and path.suffix[1:] in BUNDLE_FORMATS
    }
