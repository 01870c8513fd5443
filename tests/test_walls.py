"""Does every room import only what it may? Each check is shown to fail on a planted violation."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vit_inspect

ROOT = Path(__file__).parents[1]


def imported(code: str) -> set[str]:
    """Modules and names that a file imports anywhere in it, with dots, such as 'torch.nn'."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    return names


def called(code: str) -> set[str]:
    """Last names of everything that a file calls."""
    calls = (node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    return {ast.unparse(function).rpartition(".")[2] for function in calls}


def files(root: Path) -> Iterator[tuple[str, str]]:
    """Path and code of every source file of the package and of the dashboard."""
    for folder in ("vit_inspect", "dashboard"):
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def importers(root: Path, module: str) -> set[str]:
    """Files that import the module or anything in it."""
    return {
        path
        for path, code in files(root)
        if any(f"{name}.".startswith(f"{module}.") for name in imported(code))
    }


def outside(paths: set[str], *allowed: str) -> set[str]:
    return {path for path in paths if not path.startswith(allowed)}


def violations(root: Path) -> set[str]:
    """Everything that breaks a wall, as 'path: what'."""
    found = {
        f"{path}: {module}"
        for module, allowed in (
            ("timm", ("vit_inspect/loading/anatomy.py", "vit_inspect/loading/models.py")),
            ("transformers", ("vit_inspect/loading/huggingface.py",)),
            ("plotly", ("vit_inspect/figures/", "vit_inspect/exporter.py", "dashboard/")),
            ("matplotlib", ("vit_inspect/figures/", "vit_inspect/exporter.py")),
            ("matplotlib.pyplot", ()),
            ("streamlit", ("dashboard/",)),
        )
        for path in outside(importers(root, module), *allowed)
    }
    for path, code in files(root):
        if path.startswith("vit_inspect/figures/") and any(
            f"{name}.".startswith("torch.") for name in imported(code)
        ):
            found.add(f"{path}: torch in a figure")
        if path != "vit_inspect/attention.py" and called(code) & {"softmax", "log_softmax"}:
            found.add(f"{path}: softmax")
    return found


def test_the_walls_stand() -> None:
    assert violations(ROOT) == set()


def test_the_files_were_found() -> None:
    paths = {path for path, _ in files(ROOT)}
    assert {"vit_inspect/attention.py", "vit_inspect/figures/style.py"} <= paths
    assert importers(ROOT, "timm") == {
        "vit_inspect/loading/anatomy.py",
        "vit_inspect/loading/models.py",
    }
    assert importers(ROOT, "transformers") == {"vit_inspect/loading/huggingface.py"}


PLANTED = (
    ("vit_inspect/recorder.py", "import timm.layers", "timm"),
    ("vit_inspect/recorder.py", "def late():\n    from timm import create_model", "timm"),
    ("vit_inspect/loading/wrapping.py", "from transformers import PreTrainedModel", "transformers"),
    ("vit_inspect/results.py", "import plotly.graph_objects as go", "plotly"),
    ("vit_inspect/analyses/readout.py", "from matplotlib.figure import Figure", "matplotlib"),
    ("vit_inspect/figures/style.py", "from matplotlib import pyplot", "matplotlib.pyplot"),
    ("dashboard/app.py", "import matplotlib.pyplot as plt", "matplotlib.pyplot"),
    ("vit_inspect/figures/style.py", "import streamlit as st", "streamlit"),
    ("vit_inspect/figures/style.py", "from torch import nn", "torch in a figure"),
    ("vit_inspect/analyses/readout.py", "weights = torch.softmax(q @ k, -1)", "softmax"),
    ("vit_inspect/recorder.py", "weights = (q @ k.mT).softmax(dim=-1)", "softmax"),
    (
        "vit_inspect/figures/a.py",
        "from importlib import import_module\nimport_module('timm')",
        "timm",
    ),
)


@pytest.mark.parametrize(("path", "code", "wall"), PLANTED)
def test_a_breach_is_seen(tmp_path: Path, path: str, code: str, wall: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(code, encoding="utf-8")
    assert f"{path}: {wall}" in violations(tmp_path)


def loaded_by(statement: str) -> set[str]:
    """Heavy packages that a fresh process has loaded after the statement."""
    heavy = "{'torch', 'timm', 'transformers', 'plotly', 'matplotlib', 'streamlit'}"
    code = f"import sys\n{statement}\nprint(*({heavy} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import vit_inspect") == set()


def test_figures_load_neither_torch_nor_streamlit() -> None:
    modules = sorted(path.stem for path in (ROOT / "vit_inspect" / "figures").glob("*.py"))
    names = ", ".join(f"vit_inspect.figures.{name}" for name in modules if name != "__init__")
    assert loaded_by(f"import {names}") == {"plotly", "matplotlib"}


def test_transformers_is_loaded_for_its_own_models_only() -> None:
    load = "vi.load('vit_tiny_patch16_224', pretrained=False, device='cpu')"
    assert "transformers" not in loaded_by(f"import vit_inspect as vi\nvi.wrap\n{load}")


def test_a_heavy_import_is_seen() -> None:
    assert "torch" in loaded_by("import vit_inspect.recorder")


def test_the_public_names_are_there_and_no_others() -> None:
    for name in vit_inspect.__all__:
        assert getattr(vit_inspect, name) is not None
    assert set(vit_inspect.__all__) == set(vit_inspect._HOME)
    with pytest.raises(AttributeError, match="no attribute 'imshow'"):
        vit_inspect.imshow  # noqa: B018
