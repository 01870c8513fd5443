"""What the README promises runs as it stands there."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from typer.testing import CliRunner

import vit_inspect as vi
from scripts.readme_tables import figure_table
from tests.conftest import noise
from vit_inspect.commands.app import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@cache
def narrow(*size: int) -> vi.Model:
    """Twelve layers of random weights, with so few channels that a pass takes no time."""
    torch.manual_seed(0)
    options = {"img_size": size if len(size) > 1 else size[0], "embed_dim": 48}
    return vi.wrap(timm.create_model("vit_tiny_patch16_224", **options).eval())


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.usefixtures("numbers_only")
def test_the_python_api_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow model of as many layers and patches as the one that is named."""
    monkeypatch.chdir(tmp_path)
    named, layout = vi.load("dinov2_small", img_size=224), narrow(256).layout
    assert (named.layout.grid, named.layout.prefix) == (layout.grid, layout.prefix)
    assert len(named.module.blocks) == len(narrow(256).module.blocks)
    asked: list[object] = []
    real = vi.load

    def load(name: str, **options: object) -> vi.Model:
        asked.append((name, options))
        if name == "fashion_vit":
            return real(name)
        return narrow(256)

    monkeypatch.setattr(vi, "load", load)
    names: dict[str, object] = {}
    lines: list[str] = []
    for snippet in blocks("python"):
        exec(snippet, names)
        lines += snippet.splitlines()
    assert asked == [("dinov2_small", {"img_size": 224}), ("fashion_vit", {})]
    assert (tmp_path / "out" / "report.html").exists()
    for line in lines:
        if match := re.match(r"(vi\.\w+\(.*\)\.\w+) +# \((.*?)\)(;.*)?$", line):
            assert eval(match[1], names).ndim == len(match[2].split(","))


def test_the_two_commands_are_those_of_ci_and_of_the_first_picture() -> None:
    run, test = (block.strip() for block in blocks("sh")[:2])
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == test
    install = (
        "python -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/python -m "
    )
    assert run == install + "streamlit run dashboard/app.py"
    assert test == install + "pytest"


@pytest.mark.usefixtures("numbers_only")
def test_the_command_lines_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed and run as printed, on a small random model in place of the weights they name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    for name in ("photo.jpg", "photographs/a.png", "photographs/b.png"):
        noise((60, 40), 0).save(name)
    asked: list[dict[str, object]] = []

    def load(name: str | None, **options: object) -> vi.Model:
        asked.append({"name": name, **options})
        return narrow(32, 48)

    monkeypatch.setattr("vit_inspect.loading.load.load", load)
    # Drawing is tested elsewhere; here the words must lead to it.
    lines = blocks("sh")[3].strip().splitlines()
    assert len(lines) == 8
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[:3] == ["python", "-m", "vit_inspect"]
        done = CliRunner().invoke(app, words[3:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert asked[2]["img_size"] == (224, 448)
    assert asked[3]["name"] == "vit_base_patch16_224.augreg_in21k_ft_in1k"
    assert asked[4]["architecture"] == "vit_base_patch16_224"


def test_every_link_and_picture_is_there() -> None:
    targets = re.findall(r'(?:src="|\]\()((?!http)[^")]+)', README)
    assert len(targets) >= 6
    for target in targets:
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("group", ["paper", "evidence"])
def test_the_tables_of_figures_are_those_of_the_catalogue(group: str) -> None:
    (table,) = re.findall(rf"<!-- {group} -->\n(.*?)\n<!-- /{group} -->", README, re.DOTALL)
    assert table == figure_table(group)
    assert table.count("\n") == 1 + sum(entry.group == group for entry in vi.FIGURES)
