"""Is a new figure complete after the steps that the docs name, and nothing more?

The steps of `docs/how-to/new-figure.md`, done here in a copy of the source:

1. a record: a class in `vit_inspect/records/evidence.py`;
2. an analysis: a file in `vit_inspect/analyses/`;
3. a figure: a file in `vit_inspect/figures/`, with `FIGURE = FigureSpec(...)`;
4. an entry in `FIGURES` of `vit_inspect/catalog.py`, and its two imports;
5. the public names, of the analysis and the record, in `vit_inspect/__init__.pyi`;
6. a made record: a function in `tests/helpers/records.py`, and a line in its `MAKERS`.

The figure is then in the bundle, in its report, in Python, in the contract tests and in the menu.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow

RECORD = '''

@dataclass(frozen=True, eq=False)
class PatchNorms(Result):
    """How long the patches' tokens are after one layer.

    norm: L2 norm of each token, in units of the residual stream.
    """

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    layer: int
    norm: Float[np.ndarray, "image row column"]
'''

ANALYSIS = '''"""How long is the token of each patch?"""

from __future__ import annotations

import torch

from vit_inspect.analyses.tokens import block_tokens
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.evidence import PatchNorms


def patch_norms(capture: Capture, *, layer: int = 0) -> PatchNorms:
    """L2 norm of the token of each patch after a layer, from 0.

    Norms are not negative. Raises `BadParameter` for a layer that is not there.
    """
    capture.check_layer(layer)
    layout = capture.layout
    norm = torch.linalg.vector_norm(block_tokens(capture)[layer][:, layout.prefix_count :], dim=2)
    return PatchNorms(
        model=capture.model.id,
        layout=layout,
        photographs=capture.photographs,
        layer=layer,
        norm=norm.reshape(-1, *layout.grid).cpu().numpy(),
    )
'''

FIGURE = '''"""Which patches have long tokens? A map over the photograph."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    draw_map,
    draw_photograph,
    draw_scale,
    plot_map,
    plot_sheet,
)
from vit_inspect.records.evidence import PatchNorms

UNIT = "L2 norm in the residual stream"


def draw(result: PatchNorms, *, width_in: float | None = None, image: int = 0) -> Figure:
    """The map over the photograph."""
    photograph = result.photographs[image]
    wide = width_in or print_sheet.COLUMN_IN
    aspect = photograph.size_px[1] / photograph.size_px[0]
    height = min((wide - 0.1) / aspect, 1.4 * wide, 7.5)
    width = height * aspect
    sheet = print_sheet.page(wide, height + 1.0)
    axes = print_sheet.place(sheet, left=0.05, top=0.5, width=width, height=height)
    limits = limits_of(result, image)
    draw_photograph(axes, photograph)
    draw_map(axes, photograph, result.norm[image], limits)
    place = {"left": 0.05, "top": height + 0.58, "width": max(width, 1.6)}
    draw_scale(sheet, limits, name=UNIT, above=False, **place)
    print_sheet.write_head(sheet, _title(result), _words(result, image))
    return sheet


def plot(result: PatchNorms, *, image: int = 0, width: int = 720) -> go.Figure:
    """The same for the screen."""
    photograph = result.photographs[image]
    sheet = plot_sheet(_title(result), _words(result, image), photograph, width=width)
    limits = limits_of(result, image)
    return plot_map(sheet, photograph, result.norm[image], limits, unit=UNIT, percent=False)


def limits_of(result: PatchNorms, image: int = 0) -> looks.Limits:
    """The ends of the colour scale."""
    return 0.0, float(result.norm[image].max()) or 1.0


def _title(result: PatchNorms) -> str:
    return f"{result.model}: token norms after layer {result.layer}"


def _words(result: PatchNorms, image: int) -> str:
    return f"Median {np.median(result.norm[image]):.3g}."


FIGURE = FigureSpec(
    record=PatchNorms,
    slug="patch_norms",
    title="Patch norms",
    question="Which patches have long tokens?",
    reading="Patches high on the scale, pale yellow, have long tokens. The scale begins at 0.",
    caveat="A long token does not show that the model uses it, nor what it holds of its patch.",
    formula="|token|",
    source="Darcet et al., arXiv 2309.16588",
    draw=draw,
    plot=plot,
)
'''

MAKER = """

def patch_norms(size: Size, random: np.random.Generator) -> PatchNorms:
    norm = random.uniform(1, 2, (size.images, *size.grid))
    return PatchNorms("toy", layout_of(size), (photograph(),) * size.images, 0, norm)

"""

USE = """
import json, sys

from vit_inspect import catalog

every = catalog.FIGURES
# The others are drawn elsewhere.
catalog.FIGURES = tuple(each for each in every if each.figure.slug == "patch_norms")
import vit_inspect as vi

model = vi.load("vit_tiny_patch16_224", img_size=32, pretrained=False, device="cpu")
capture = vi.capture(model, vi.sample("chelsea"))
vi.export(capture, "bundle")
record = vi.patch_norms(capture, layer=1)

catalog.FIGURES = every
sys.path.insert(0, "dashboard")
from vit_inspect_dashboard import places

from tests.helpers import records

del records.MAKERS[vi.PatchNorms]
try:
    import tests.figures.test_every_figure
except LookupError as error:
    missing = str(error)
print(json.dumps({
    "drawings": [type(vi.plot(record)).__module__, type(vi.draw(record)).__module__],
    "name": vi.PatchNorms.__name__,
    "letters": len(record._repr_html_()),
    "menu": [title for place in places.PLACES for title in place.views.values()],
    "missing": missing,
}))
"""
"""What a user does with it; and what a developer is told who leaves out the last step."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source in which the steps are done."""
    root = tmp_path_factory.mktemp("house")
    left_out = shutil.ignore_patterns("__pycache__", "dino*.safetensors", "browser*", "data")
    for folder in ("vit_inspect", "dashboard", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", root)
    for weights in (ROOT / "vit_inspect" / "assets").glob("*.safetensors"):
        (root / "vit_inspect" / "assets" / weights.name).symlink_to(weights)
    core = root / "vit_inspect"
    _insert(core / "records" / "evidence.py", RECORD)
    (core / "analyses" / "patch_norms.py").write_text(ANALYSIS, encoding="utf-8")
    (core / "figures" / "patch_norms.py").write_text(FIGURE, encoding="utf-8")
    _insert(
        core / "catalog.py",
        "from vit_inspect.analyses.patch_norms import patch_norms\n"
        "from vit_inspect.figures.patch_norms import FIGURE as PATCH_NORMS\n",
        before="from vit_inspect.model import",
    )
    _insert(
        core / "catalog.py",
        '    CaptureFigure(PATCH_NORMS, patch_norms, group="evidence"),\n',
        before=")\n\nUNBUNDLED",
    )
    _insert(
        core / "__init__.pyi",
        "from .analyses.patch_norms import patch_norms as patch_norms\n"
        "from .records.evidence import PatchNorms as PatchNorms\n",
        before="\n__version__",
    )
    made = root / "tests" / "helpers" / "records.py"
    _insert(made, "    PatchNorms,\n", before="    Predictions,\n    TokenNorms,")
    _insert(made, MAKER, before="\nMAKERS:")
    _insert(made, "    PatchNorms: patch_norms,\n", before='}\n"""Who makes')
    return root


def _insert(path: Path, text: str, *, before: str = "") -> None:
    """Writes a text into a file, before the words that stand there once, or at its end."""
    content = path.read_text(encoding="utf-8")
    head, found, tail = content.partition(before) if before else (content, "", "")
    assert bool(found) == bool(before), f"{path.name} has no {before!r}"
    path.write_text(head + text + found + tail, encoding="utf-8")


def run(house: Path, *arguments: str) -> str:
    """What a Python process in the copy prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=house, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def used(house: Path) -> dict[str, Any]:
    """What `USE` tells, in one process: most of its time goes into imports."""
    told: dict[str, Any] = json.loads(run(house, "-c", USE).splitlines()[-1])
    return told


def test_it_is_in_the_bundle_the_report_and_python(house: Path, used: dict[str, Any]) -> None:
    for kind in ("svg", "pdf", "png", "npz", "csv"):
        assert (house / "bundle" / "chelsea" / f"patch_norms.{kind}").stat().st_size > 0
    report = (house / "bundle" / "report.html").read_text(encoding="utf-8")
    assert "Which patches have long tokens?" in report
    assert "A long token does not show that the model uses it" in report
    plotted, drawn = used["drawings"]
    assert plotted.startswith("plotly.graph_objs")
    assert drawn.startswith("matplotlib.figure")
    assert used["name"] == "PatchNorms"
    assert used["letters"] < 600_000


def test_the_contract_tests_draw_it_and_accept_it(house: Path) -> None:
    contract = (
        "tests/test_catalog.py",
        "tests/test_drawing.py",
        "tests/figures/test_every_figure.py",
        "tests/figures/test_numbers.py",
    )
    told = run(
        house, "-m", "pytest", "-n", "0", *contract, "-k", "patch_norms or PatchNorms", "-vv"
    )
    passed = re.findall(r"::(test_\w+)\[.*(?:patch_norms|PatchNorms).*\] PASSED", told)
    assert {
        "test_every_figure_is_drawn_and_plotted",
        "test_every_figure_explains_itself",
        "test_every_record_is_plotted_and_drawn",
        "test_a_print_fits_its_page_and_words_can_be_read_and_lie_on_nothing_else",
        "test_print_counts_from_0",
        "test_the_screen_counts_from_0",
    } <= set(passed)


def test_without_a_made_record_the_contract_says_what_to_add(used: dict[str, Any]) -> None:
    assert "There is no made record of PatchNorms: add a function" in used["missing"]


def test_it_is_in_the_menu_on_a_page_of_its_own_without_a_file_for_it(
    used: dict[str, Any],
) -> None:
    assert "Patch norms" in used["menu"]
