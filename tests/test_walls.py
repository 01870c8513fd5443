"""Does every room import only what it may? Each wall is shown to fail on a planted breach."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import vit_inspect

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
NAMES = [contract["name"] for contract in CONTRACTS["contracts"]]
BREACHES = {
    "A room imports only from floors below it": (
        "analyses/readout.py",
        "import vit_inspect.loading.load",
    ),
    "No circle among the files of a room": (
        "attention/layer.py",
        "def late():\n    import vit_inspect.attention.sweep",
    ),
    "Figures know arrays, not tensors": ("figures/looks.py", "from torch import nn"),
    "The core knows no Streamlit": ("drawing.py", "import streamlit"),
    "timm is known in three files": ("recording/recorder.py", "import timm.layers"),
    "transformers is known in two files": (
        "loading/from_module.py",
        "from transformers import PreTrainedModel",
    ),
    "open_clip is known in one file": (
        "loading/open_clip_words.py",
        "from open_clip import tokenize",
    ),
    "Only figures and files are drawn with plotly and matplotlib": (
        "recording/hooks.py",
        "import plotly",
    ),
}
"""A line that breaks each contract, and where it stands."""


CORE_ONLY = {"timm", "transformers", "open_clip", "matplotlib"}
"""Packages that no page imports."""


def linted(root: Path) -> str:
    """What import-linter says of the package in this folder."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join(run.stdout.split())


def test_the_contracts_of_imports_are_kept() -> None:
    said = linted(ROOT)
    for name in NAMES:
        assert f"{name} KEPT" in said, said


def test_each_contract_is_broken_by_its_breach(tmp_path: Path) -> None:
    assert set(BREACHES) == set(NAMES)
    shutil.copytree(
        ROOT / "vit_inspect", tmp_path / "vit_inspect", ignore=lambda _, names: outside_code(names)
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, line in BREACHES.values():
        with (tmp_path / "vit_inspect" / path).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    said = linted(tmp_path)
    for name in NAMES:
        assert f"{name} BROKEN" in said, said


def outside_code(names: list[str]) -> set[str]:
    return {name for name in names if Path(name).suffix not in ("", ".py", ".pyi")}


def called(code: str) -> set[str]:
    """Last names of everything that a file calls."""
    calls = (node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    return {ast.unparse(function).rpartition(".")[2] for function in calls}


def imported(code: str) -> set[str]:
    """The packages that a file imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def files(root: Path) -> Iterator[tuple[str, str]]:
    """Path and code of every source file of the package and of the dashboard."""
    for folder in ("vit_inspect", "dashboard"):
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def violations(root: Path) -> set[str]:
    """What no contract of imports sees, as 'path: what'."""
    found = set()
    for path, code in files(root):
        # Pages show what the core computes and draws.
        if path.startswith("dashboard/"):
            found |= {f"{path}: {name}" for name in imported(code) & CORE_ONLY}
        # Where queries meet keys, attention weights are made; nobody makes them elsewhere.
        softmax = called(code) & {"softmax", "log_softmax"}
        if softmax and not path.startswith("vit_inspect/attention/"):
            found.add(f"{path}: softmax")
        # Its current figure is one for all threads.
        if "pyplot" in code:
            found.add(f"{path}: pyplot")
    return found


def test_attention_is_made_in_one_room_and_no_figure_is_global() -> None:
    assert violations(ROOT) == set()
    paths = {path for path, _ in files(ROOT)}
    assert "vit_inspect/attention/rows.py" in paths
    assert any(path.startswith("dashboard/") for path in paths)


@pytest.mark.parametrize(
    ("path", "code", "what"),
    [
        ("vit_inspect/analyses/readout.py", "weights = torch.softmax(q @ k, -1)", "softmax"),
        ("vit_inspect/recording/a.py", "weights = (q @ k.mT).softmax(dim=-1)", "softmax"),
        ("dashboard/a.py", "from timm import create_model", "timm"),
        ("dashboard/a.py", "def late():\n    import matplotlib.cm", "matplotlib"),
        ("vit_inspect/figures/a.py", "from matplotlib import pyplot", "pyplot"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, path: str, code: str, what: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(code, encoding="utf-8")
    assert violations(tmp_path) == {f"{path}: {what}"}


def loaded_by(*statements: str) -> list[set[str]]:
    """Heavy packages that one fresh process has loaded after each of the statements."""
    heavy = "{'torch', 'timm', 'transformers', 'open_clip', 'plotly', 'matplotlib', 'streamlit'}"
    code = "import sys\n" + "".join(
        f"{statement}\nprint(*({heavy} & set(sys.modules)))\n" for statement in statements
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [set(line.split()) for line in run.stdout.splitlines()]


@pytest.mark.slow
def test_what_is_heavy_is_loaded_when_it_is_needed() -> None:
    """The package alone loads nothing; figures no torch; timm's models no transformers."""
    modules = sorted(path.stem for path in (ROOT / "vit_inspect" / "figures").glob("*.py"))
    figures = ", ".join(f"vit_inspect.figures.{name}" for name in modules if name != "__init__")
    package, drawn, loaded = loaded_by(
        "import vit_inspect as vi",
        f"import {figures}",
        "vi.wrap; vi.load('vit_tiny_patch16_224', pretrained=False, device='cpu')",
    )
    assert package == set()
    assert drawn == {"plotly", "matplotlib"}
    assert {"torch", "timm"} <= loaded
    assert not {"transformers", "open_clip"} & loaded


def test_every_public_name_is_there() -> None:
    for name in vit_inspect.__all__:
        assert getattr(vit_inspect, name) is not None
    assert {"load", "capture", "plot", "draw", "AttentionMaps"} <= set(vit_inspect.__all__)
    with pytest.raises(AttributeError, match="No vit_inspect attribute imshow"):
        vit_inspect.imshow  # noqa: B018
