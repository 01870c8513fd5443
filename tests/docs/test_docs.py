"""The documentation is right: snippets run, links lead somewhere, numbers hold."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable
from functools import partial, wraps
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

import vit_inspect as vi
from tests.helpers import two_towers
from tests.helpers.made import capture_of, layout_of
from vit_inspect.commands.app import app
from vit_inspect.commands.dashboard import WEIGHTS_MB
from vit_inspect.layout import MEAN

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = {page.relative_to(DOCS).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md")
"""Pages beside the documentation, whose paths and links are asked too."""
TOLD = TEXTS | {name: (ROOT / name).read_text(encoding="utf-8") for name in OUTSIDE}
RUN = [name for name in TEXTS if name in ("index.md", "gallery.md") or name.startswith("how-to/")]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


# Snippets


SLOW: set[str] = set()
"""Pages whose snippets take more than ten seconds."""
REFUSALS = {"how-to/my-network.md": 1, "how-to/my-checkpoint.md": 1, "how-to/my-folder.md": 1}
"""How many refusals the snippets of a page print; other pages none."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=[pytest.mark.slow] if each in SLOW else [])
        for each in RUN
        if blocks(TEXTS[each], "python")
    ],
)
def test_the_snippets_of_a_page_run(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One after the other, as somebody who reads the page would run them."""
    monkeypatch.chdir(tmp_path)
    if name == "how-to/my-words.md":
        two_towers.saved(tmp_path / "clip", "CLIPModel")
    names: dict[str, object] = {"__name__": "page"}
    for snippet in blocks(TEXTS[name], "python"):
        # Annotations of its own, not those of this file.
        exec(compile(snippet, name, "exec", dont_inherit=True), names)
    assert capsys.readouterr().out.count("; expected ") == REFUSALS.get(name, 0)
    if name == "how-to/my-notebook.md":
        assert "<figcaption" in names["rollout"]._repr_html_()  # type: ignore[attr-defined]


def test_every_page_that_should_has_snippets() -> None:
    without = {name for name in RUN if not blocks(TEXTS[name], "python")}
    assert without == {"how-to/many-computers.md", "how-to/server-for-my-team.md"}


# Command lines


def command_lines(text: str) -> list[list[str]]:
    """The words of every line of a block of shell that calls this program."""
    found = []
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:3] == ["python", "-m", "vit_inspect"]:
                found.append(words[3:])
            elif words[:1] == ["vit-inspect"]:
                found.append(words[1:])
    return found


LINES = [
    pytest.param(words, id=f"{name}: {' '.join(words)}")
    for name, text in TOLD.items()
    for words in command_lines(text)
]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], list[str]]:
    """Gives words to the real program, whose commands only say that they were called."""
    called: list[str] = []
    for command in app.registered_commands:
        assert command.callback
        name = command.name or command.callback.__name__

        def told(name: str = name, **_: object) -> None:
            called.append(name)

        monkeypatch.setattr(command, "callback", wraps(command.callback)(partial(told, name)))

    def parse(words: list[str]) -> list[str]:
        called.clear()
        done = CliRunner().invoke(app, words, prog_name="vit-inspect")
        assert (done.exit_code == 0) == bool(called), done.output
        return [*called]

    return parse


@pytest.mark.parametrize("words", LINES)
def test_a_command_line_is_understood(
    words: list[str], parse: Callable[[list[str]], list[str]]
) -> None:
    assert parse(words) == [words[0]]


def test_all_commands_are_shown_and_wrong_ones_are_seen(
    parse: Callable[[list[str]], list[str]],
) -> None:
    shown = {words[0] for text in TEXTS.values() for words in command_lines(text)}
    assert shown == {"figures", "survey", "models", "dashboard"}
    for wrong in (["figure", "a.jpg"], ["figures", "a.jpg"], ["models", "--all"]):
        assert parse(wrong) == []


# Links, pictures, paths and names


@pytest.mark.parametrize("name", list(TOLD))
def test_every_relative_link_and_picture_is_there(name: str) -> None:
    folder = ((DOCS / name) if name in TEXTS else (ROOT / name)).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(TOLD[name])):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = (folder / path) if path else ((DOCS if name in TEXTS else ROOT) / name)
        assert page.is_file(), target
        if anchor:
            assert anchor in anchors(page.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links."""
    heads = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r": ([\w/-]+\.md)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(TEXTS)


# The changelog also tells of what was.
@pytest.mark.parametrize("name", [each for each in TOLD if each != "CHANGELOG.md"])
def test_every_path_of_the_project_is_there(name: str) -> None:
    roots = "vit_inspect|dashboard|tests|scripts|docs"
    made = {"vit_inspect/analyses/patch_norms.py", "vit_inspect/figures/patch_norms.py"}
    for path in set(re.findall(rf"`(?:python )?((?:{roots})/[^`\s]*)`", TOLD[name])) - made:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", list(TOLD))
def test_every_name_of_the_package_is_public(name: str) -> None:
    for word in set(re.findall(r"\bvi\.([A-Za-z]\w*)", TOLD[name])):
        assert word in vi.__all__, word


def test_every_name_of_a_record_in_the_glossary_is_a_field_or_a_method() -> None:
    pairs = set(re.findall(r"`([A-Z]\w+)\.(\w+)`", TEXTS["glossary.md"]))
    assert len(pairs) > 8
    for kind, member in pairs:
        found = getattr(vi, kind)
        assert hasattr(found, member) or member in inspect.signature(found).parameters


def test_the_reference_has_all_public_names_once() -> None:
    named = re.findall(r"^::: vit_inspect\.(\w+)$", TEXTS["reference.md"], re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == {name for name in vi.__all__ if not name.startswith("__")}


def test_the_pictures_of_the_gallery_are_those_that_are_drawn_and_small() -> None:
    script = (ROOT / "scripts" / "gallery.py").read_text(encoding="utf-8")
    drawn = set(re.findall(r'yield "(\w+)"', script))
    shown = set(re.findall(r"\(gallery/(\w+)\.png\)", TEXTS["gallery.md"]))
    files = {path.stem: path.stat().st_size for path in (DOCS / "gallery").glob("*.png")}
    assert drawn == shown == set(files)
    assert max(files.values()) <= 120_000
    assert sum(files.values()) <= 1_500_000


def test_the_citation_and_the_changelog_name_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vi.__version__
    assert vi.__version__ in TOLD["CHANGELOG.md"]


# Numbers of the definitions


def rows_of(heading: str, *columns: str) -> list[list[str]]:
    """The rows of the table with these columns that comes first below a heading."""
    text = TEXTS["definitions.md"].partition(f"# {heading}\n")[2]
    lines = text.partition("| " + " | ".join(columns) + " |\n")[2].splitlines()[1:]
    table = lines[: next(place for place, line in enumerate(lines) if not line.startswith("|"))]
    assert table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


DISTANCES = {
    pattern: number(px)
    for pattern, px in rows_of("Mean attention distance", "attention pattern", "px")
}
ROW, COLUMN = (index.ravel() for index in np.indices((14, 14)))
DOWN, RIGHT = ROW[None] - ROW[:, None], COLUMN[None] - COLUMN[:, None]
FAR = np.hypot(DOWN, RIGHT)


def pattern_of(words: str) -> np.ndarray:
    """The attention between 196 patches that a row of the table describes; rows sum to 1."""
    if found := re.fullmatch(r"Gaussian logits, s = ([\d.]+) patch(es)?", words):
        weights = np.exp(-(FAR**2) / (2 * float(found[1]) ** 2))
    elif found := re.match(r"(\d)×\1 box", words):
        weights = 1.0 * (np.maximum(abs(DOWN), abs(RIGHT)) <= int(found[1]) // 2)
    else:
        weights = {
            "uniform over the patches": np.ones_like(FAR),
            "each patch to itself": np.eye(196),
            "the 4 neighbours": 1.0 * (FAR == 1),
            "one patch to the right": np.eye(196)[14 * ROW + np.minimum(COLUMN + 1, 13)],
            "uniform in its own row": 1.0 * (DOWN == 0),
            "all to the corner": np.eye(196)[np.zeros(196, int)],
            "point reflection": np.eye(196)[::-1],
            "each to its farthest patch": np.eye(196)[FAR.argmax(axis=1)],
        }[re.split(r",|:| \(", words)[0]]
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("words", list(DISTANCES))
def test_distances_of_patterns(words: str) -> None:
    if words.startswith("uniform over 197 tokens"):
        layout = layout_of("cls", grid=(14, 14), patch_px=(16, 16))
        attention = np.full((197, 197), 1 / 197)
    else:
        layout = layout_of(grid=(14, 14), patch_px=(16, 16), readout=MEAN)
        attention = pattern_of(words)
    capture = capture_of(attention[None, None, None], layout)
    found = vi.attention_distance(capture).distance_px.item()
    assert found == pytest.approx(DISTANCES[words], abs=1e-6)


@pytest.mark.parametrize(
    ("grid", "patch", "px"), rows_of("Mean attention distance", "grid", "patch, px", "px")
)
def test_distances_of_uniform_attention(grid: str, patch: str, px: str) -> None:
    rows, columns = map(int, grid.split("×"))
    layout = layout_of(grid=(rows, columns), patch_px=(int(patch), int(patch)), readout=MEAN)
    assert layout.uniform_distance_px() == pytest.approx(number(px), abs=1e-6)


def test_the_small_numbers_of_other_figures(dinov2: vi.Model, chelsea: Image.Image) -> None:
    told = {
        (quantity, given): number(value)
        for quantity, given, value in rows_of("Other figures", "quantity", "input", "value")
    }
    layout = layout_of("cls", grid=(14, 14), patch_px=(16, 16))
    even = np.full((197, 197), 1 / 197)
    shift = np.roll(np.eye(197), 1, axis=1)
    # Every patch attends to a key of its own.
    attention = np.stack([even, shift])[None, None]
    statistics = vi.head_statistics(capture_of(attention, layout))
    (entropy,), (nmi,) = statistics.entropy[0], statistics.nmi[0]
    found = {
        ("entropy", "uniform over 197 tokens"): entropy[0],
        ("entropy", "one-hot"): entropy[1],
        ("NMI", "uniform"): nmi[0],
        ("NMI", "a permutation"): nmi[1],
        ("CKA", "a layer with itself"): vi.layer_cka(vi.capture(dinov2, chelsea)).similarity[3, 3],
    }
    for key, value in found.items():
        assert value == pytest.approx(told[key], abs=1e-6), key


@pytest.mark.parametrize(
    ("name", "architecture", "parameters"),
    rows_of("Variants", "model", "timm id", "parameters"),
)
def test_numbers_of_parameters(name: str, architecture: str, parameters: str) -> None:
    # Imported here, as most tests of this file do without.
    import timm

    with torch.device("meta"):
        network = timm.create_model(architecture.strip("`"), num_classes=1000)
    assert sum(each.numel() for each in network.parameters()) == number(parameters), name


def test_the_limits_told_are_those_of_the_code() -> None:
    from vit_inspect import limits
    from vit_inspect.loading import archives, folders, from_file, hub, pickles, weight_files
    from vit_inspect.pictures import pieces, planning
    from vit_inspect_dashboard import brought, device, kept, launch, models, pictures, quotas, texts
    from vit_inspect_dashboard import survey_own as own

    mega, strangers = 10**6, quotas.STRANGERS
    limits_of = {
        "pixels": [limits.MAX_PIXELS / mega],
        "pixels of a side": [limits.MAX_SIDE / mega],
        "bytes of its file": [limits.MAX_BYTES / mega, pictures.LARGEST_MB],
        "memory while it is read": [limits.MAX_READING / mega],
        "memory before damage can be found": [limits.MAX_UNCHECKED / mega],
        "passes over a JPEG": [planning.MAX_SCANS, planning.MAX_SCANNED / mega],
        "pieces of a file around its pixels": [pieces.MAX_PIECES],
        "pixels of a BMP packed in runs": [planning.MAX_RUNS / mega],
        "values of a PNG of 16 bits": [
            planning.MAX_DEEP / mega,
            planning.MAX_DEEP // (3 * mega),
            planning.MAX_DEEP // (4 * mega),
        ],
        "weights": [weight_files.MAX_WEIGHTS, weight_files.MAX_NAME],
        "instructions of a `.pth`": [pickles.MAX_STEPS],
        "values": [pickles.MAX_PACKING, pickles.ALWAYS_UNPACKED / mega],
        "directory of a `.pth` or `.npz`": [archives.MAX_DIRECTORY / mega],
        "header of a `.safetensors`": [weight_files.MAX_HEADER / mega],
        "settings in a folder of `transformers`": [
            folders.MAX_SETTINGS / mega,
            folders.MAX_CLASSES,
            folders.MAX_PX,
        ],
        "what an archive of `torch.save` holds beside its numbers": [
            weight_files.MAX_PICKLE / mega
        ],
        "networks in one file": [from_file.MAX_NETWORKS],
        "wait for a hub": [hub.PATIENCE_SECONDS, hub.PATIENCE_IF_CACHED_SECONDS],
        "pictures of a session": [strangers.pictures],
        "megabytes of them together": [strangers.pictures_mb],
        "jobs that wait or run": [strangers.jobs],
        "seconds of a job on the device": [strangers.job_seconds],
        "parameters of a model that a visitor names": [strangers.parameters / mega],
        "longer side of an input": [strangers.px],
        "weights that are fetched, on disk": [strangers.disk_gb],
        "words as classes": [texts.MOST, texts.LETTERS],
        "pictures of a survey in the browser": [own.MOST],
        "jobs on the device": [device.WAITING],
        "models in memory": [models.MODELS],
        "captures in memory": [kept.CAPTURE_BYTES / 2**20],
        "results in memory": [kept.RESULT_BYTES / 2**20],
        "one file of weights, with `--allow-weights`": [WEIGHTS_MB],
    }
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", TEXTS["limits.md"], re.MULTILINE))
    for row, numbers in limits_of.items():
        told = re.findall(r"\d[\d,.]*(?<!\W)", rows[row])
        assert [float(each.replace(",", "")) for each in told] == numbers, row
    assert rows["formats"].startswith("`.safetensors`")
    assert (rows["files of weights on disk"].split()[0], brought.FILES) == ("four", 4)
    assert launch.UPLOAD_MB == pictures.LARGEST_MB


def test_lines_of_docstrings_that_begin_with_a_name_become_a_list() -> None:
    pytest.importorskip("griffe")
    path = ROOT / "scripts" / "docstrings.py"
    specification = spec_from_file_location("docstrings", path)
    assert specification
    assert specification.loader
    script = module_from_spec(specification)
    specification.loader.exec_module(script)
    text = "One line.\n\nweights: of a map,\nall told.\nlow, high: ends.\n\nNote: no name of it."
    found = script.listed(text, {"weights": " (row, column)", "low": "", "high": ""})
    assert found == (
        "One line.\n\n\n- `weights` (row, column): of a map,\n    all told.\n"
        "- `low`, `high`: ends.\n\nNote: no name of it."
    )


def test_the_gallery_asks_what_its_figures_ask() -> None:
    asked = dict(re.findall(r"^### (.+)\n\n\*\*(.+?)\*\*", TEXTS["gallery.md"], re.MULTILINE))
    questions = {entry.figure.title: entry.figure.question for entry in vi.FIGURES}
    assert len(asked) > 10
    assert asked.items() <= questions.items()
