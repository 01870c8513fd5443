"""How do figures leave the program? One in any format, or the bundle of all, with provenance.

Nothing is left half-written under a final name, and the same input gives the same bytes: no
dates, no random identifiers.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import platform
import re
import tempfile
import threading
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs

import vit_inspect
from vit_inspect.catalog import FIGURES, FigureSpec, analyse
from vit_inspect.errors import BadParameter, InspectError, OutputFailed, UnsupportedModel
from vit_inspect.model import Model
from vit_inspect.recorder import VERIFIED_ROWS, Capture
from vit_inspect.results import Photograph, Result, join

BUNDLE_FORMATS = ("svg", "pdf", "png", "npz", "csv")
"""Formats of every figure of the bundle; the report shows them all as HTML."""

FORMATS = (*BUNDLE_FORMATS, "html")

REPORT_PHOTOGRAPHS = 12
"""Photographs that the report shows; the others' figures are in their folders."""

PLOTLY_CONFIG = {"displaylogo": False, "showSendToCloud": False, "responsive": True}

PACKAGES = ("torch", "timm", "numpy", "scikit-learn", "pillow", "matplotlib", "plotly")

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><script>{plotly}</script></head>
<body>
{body}
</body>
</html>
"""

# matplotlib's settings are global: whoever renders must not meet another's.
_rendering = threading.Lock()


def render(spec: FigureSpec, result: Result, format: str, *, image: int = 0, **look: Any) -> bytes:
    """One figure of the catalogue as the bytes of a file.

    svg, pdf and png are drawn for print; html is interactive and self-contained; npz holds the
    whole record, its words as arrays of text; csv the plotted arrays in long form (quantity, one
    column per axis, value).
    `image` picks one of a batch for figures of single images; `look` goes to the drawing, such as
    the `scale` of attention maps, and leaves the numbers as they are.
    """
    if format not in FORMATS:
        raise BadParameter(f"the format {format!r}", ", ".join(FORMATS), "choose one of these")
    if spec.scope == "image":
        result = result.of_image(image)
    if format == "npz":
        buffer = io.BytesIO()
        words = {name: np.array(value) for name, value in result.words().items()}
        np.savez_compressed(buffer, **result.written(), **words)  # type: ignore[arg-type]
        return buffer.getvalue()
    if format == "csv":
        return _table(result, spec.shown(result)).encode()
    if format == "html":
        plots = _interactive(spec, result, **look)
        return _PAGE.format(
            title=escape(_title(spec, result)), body=plots, plotly=get_plotlyjs()
        ).encode()
    return _drawing(spec.draw(result, **look), format, _title(spec, result))


def write(path: Path, data: bytes) -> None:
    """Put a file in its place whole, or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        # Where the folder itself cannot be written there is nothing to remove.
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputFailed:
    return OutputFailed(
        f"'{path}' cannot be written ({error.strerror or error})",
        "a folder that may be written and a disk with room",
        "free some space or choose another folder",
    )


def ensure_folder(folder: Path) -> None:
    """Make the folder, and see that files can be put there, before any long work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def export(
    captures: Capture | Iterable[Capture],
    folder: str | os.PathLike[str],
    *,
    command: str | None = None,
    thorough: bool = False,
) -> list[Path]:
    """Write the bundle of figures into a folder; returns the files.

    captures: one, or batches of the same model, such as a generator that runs it batch by batch;
    attention distance, head statistics and CKA are averaged over all their images. Figures of
    single images go into a folder each, named like the photograph. A figure that the model has not
    is left out, and the report says why. What an earlier bundle wrote there and this one does not,
    is removed.
    command: repeats the export, for its provenance.
    thorough: also make the figures that run the model many times.

    Raises `BadParameter` for no capture and for captures of several models, `OutputFailed` where a
    file cannot be written.
    """
    bundle = _Bundle(Path(folder), thorough)
    for capture in [captures] if isinstance(captures, Capture) else captures:
        bundle.add(capture)
    bundle.finish(command)
    return bundle.written


def bundle(captures: Capture | Iterable[Capture], *, command: str | None = None) -> bytes:
    """The same as one ZIP archive; the same captures give the same bytes."""
    archive = io.BytesIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for path in export(captures, folder, command=command):
            # An entry's date would differ from run to run; this is the earliest there is.
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, path.read_bytes())
    return archive.getvalue()


class _Bundle:
    """Writes figures as they come, and remembers what the report and the provenance tell."""

    def __init__(self, root: Path, thorough: bool) -> None:
        self.root = root
        self.thorough = thorough
        self.written: list[Path] = []
        self.model: Model | None = None
        self.error = 0.0
        self.photographs: dict[str, Photograph] = {}
        self.joint: dict[str, list[Any]] = {}
        self.sections: list[dict[str, Any]] = []
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
        for spec in FIGURES:
            if spec.scope == "images" and spec.slug in results:
                self.joint.setdefault(spec.slug, []).append(results[spec.slug])
        for index, photograph in enumerate(capture.photographs):
            folder = self._folder(photograph)
            self.photographs[folder] = photograph
            for spec in FIGURES:
                if spec.scope == "image" and spec.slug in results:
                    self._put_figure(spec, results[spec.slug].of_image(index), folder)

    def finish(self, command: str | None) -> None:
        """Write the figures of the model and of all images, the report and the provenance."""
        if self.model is None:
            raise BadParameter("no photograph", "at least one", "give a picture that can be read")
        earlier = _earlier_files(self.root)
        for spec in FIGURES:
            if spec.scope == "model":
                try:
                    self._put_figure(spec, spec.analyse(self.model))
                except UnsupportedModel as refusal:
                    self.refused[spec.slug] = str(refusal)
            elif spec.slug in self.joint:
                self._put_figure(spec, join(self.joint[spec.slug]))
        facts = self._provenance(self.model, command)
        self._put("provenance.json", (json.dumps(facts, indent=2) + "\n").encode())
        self._put("report.html", _report(self, facts).encode())
        for left_over in earlier - set(self.written):
            try:
                left_over.unlink(missing_ok=True)
            except OSError as error:
                raise _unwritable(left_over, error) from error
            with suppress(OSError):
                left_over.parent.rmdir()

    def _put_figure(self, spec: FigureSpec, result: Result, folder: str = "") -> None:
        for kind in BUNDLE_FORMATS:
            self._put(Path(folder, f"{spec.slug}.{kind}"), render(spec, result, kind))
        self.figures[Path(folder, spec.slug).as_posix()] = {
            name: value for name, value in result.words().items() if name != "model"
        }
        photograph = self.photographs.get(folder)
        if photograph is None or len(self.photographs) <= REPORT_PHOTOGRAPHS:
            plot = _interactive(spec, result, folder)
            self.sections.append({"spec": spec, "photograph": photograph, "plot": plot})

    def _put(self, name: str | Path, data: bytes) -> None:
        path = self.root / name
        write(path, data)
        self.written.append(path)

    def _folder(self, photograph: Photograph) -> str:
        """A folder of its own, named like the photograph, whose name may come from a stranger."""
        stem = re.sub(r"[^\w-]+", "_", Path(photograph.name).stem).strip("_") or "image"
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        # On some disks "Cat" and "cat" are one folder.
        taken = {name.casefold() for name in self.photographs}
        return next(name for name in names if name.casefold() not in taken)

    def _provenance(self, model: Model, command: str | None) -> dict[str, Any]:
        """Everything that the figures depend on."""
        layout = model.layout
        return {
            "command": command,
            "model": {
                "id": model.id,
                "weights": model.source,
                "notices": model.notices,
                "weights_sha256": model.weights_sha256,
                "parameters": model.parameter_count,
                **({"stage": model.stage} if model.stages else {}),
                "device": str(model.device),
                "dtype": str(model.dtype).removeprefix("torch."),
            },
            "input": {
                "size_px": layout.input_px,
                "patch_px": layout.patch_px,
                "grid": layout.grid,
                "prefix_tokens": layout.prefix,
                "readout": layout.readout,
                "preprocessing": asdict(model.recipe),
            },
            "photographs": [
                {
                    "folder": folder,
                    "name": photograph.name,
                    "sha256": photograph.sha256,
                    "size_px": photograph.size_px,
                    "seen_px": photograph.seen._asdict(),
                    "notices": photograph.notices,
                }
                for folder, photograph in self.photographs.items()
            ],
            "figures": self.figures,
            "refused": self.refused,
            "files": [path.relative_to(self.root).as_posix() for path in self.written],
            "largest_verified_error": self.error,
            "versions": {
                "vit_inspect": vit_inspect.__version__,
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
        }


def _earlier_files(root: Path) -> set[Path]:
    """The figures that an earlier bundle in this folder says it wrote."""
    try:
        names = json.loads((root / "provenance.json").read_text())["files"]
        parts = [Path(name).parts for name in names]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    slugs = {spec.slug for spec in FIGURES}
    # The file may be anybody's: nothing but a figure is ever removed, in no other folder.
    return {
        root.joinpath(*part)
        for part in parts
        if len(part) <= 2
        and ".." not in part
        and Path(part[-1]).stem in slugs
        and Path(part[-1]).suffix[1:] in BUNDLE_FORMATS
        and not Path(*part).is_absolute()
    }


def _title(spec: FigureSpec, result: Result) -> str:
    return f"{spec.title}: {result.model}"


def _interactive(spec: FigureSpec, result: Result, folder: str = "", **look: Any) -> str:
    """All plotly figures of a record for a page, each with words for those who do not see it."""
    parts = []
    for number, figure in enumerate((spec.plot(result, **look), *spec.plots(result)), start=1):
        plot = figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            config=PLOTLY_CONFIG,
            # The number first: a folder may end in one.
            div_id=f"{spec.slug}-{number}-{folder}",
        )
        words = escape(". ".join(figure.layout.meta[:2]))
        parts.append(f'<div role="img" aria-label="{words}">{plot}</div>')
    return "\n".join(parts)


def _drawing(figure: Figure, kind: str, title: str) -> bytes:
    """A matplotlib figure as a file, without dates or random identifiers."""
    told: dict[str, dict[str, Any]] = {
        "svg": {"Title": title, "Date": None},
        "pdf": {"Title": title, "CreationDate": None},
        "png": {},
    }
    buffer = io.BytesIO()
    # TrueType fonts in a PDF stay text that an editor can change.
    settings: Any = {"svg.hashsalt": "vit_inspect", "pdf.fonttype": 42}
    with _rendering, matplotlib.rc_context(settings):
        figure.savefig(buffer, format=kind, metadata=told[kind])
    return buffer.getvalue()


def _table(result: Result, shown: dict[str, list[int]]) -> str:
    """The arrays in long form: quantity, one column per axis, by name where it has some, value."""
    axes, names = result.axes(), result.names()
    columns = list(dict.fromkeys(axis for names in axes.values() for axis in names))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["quantity", *columns, "value"])
    for quantity, array in result.written().items():
        sizes = dict(zip(axes[quantity], array.shape, strict=True))
        picked = [shown.get(axis, range(size)) for axis, size in sizes.items()]
        places = [columns.index(axis) for axis in axes[quantity]]
        values = array[np.ix_(*picked)].ravel().tolist()
        for index, value in zip(itertools.product(*picked), values, strict=True):
            row: list[object] = [""] * len(columns)
            for axis, place, number in zip(sizes, places, index, strict=True):
                row[place] = names[axis][number] if axis in names else number
            writer.writerow([quantity, *row, f"{value:.7g}"])
    return text.getvalue()


def _report(bundle: _Bundle, facts: dict[str, Any]) -> str:
    """All figures with their explanations on one page that needs nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vit_inspect", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    order = [spec.slug for spec in FIGURES]
    photographs = [None, *bundle.photographs.values()]
    sections = sorted(
        bundle.sections,
        key=lambda section: (
            photographs.index(section["photograph"]),
            order.index(section["spec"].slug),
        ),
    )
    return environment.get_template("report.html").render(
        sections=sections,
        facts=facts,
        provenance=json.dumps(facts, indent=2),
        shown=REPORT_PHOTOGRAPHS,
        verified_rows=VERIFIED_ROWS,
        plotly=get_plotlyjs(),
    )
