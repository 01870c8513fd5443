"""Do the lines that a page offers make the picture that it exports?"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.dashboard.apps import APP, subject
from vit_inspect.exporting.saving import save
from vit_inspect_dashboard import as_python, offers

pytestmark = pytest.mark.slow

LOOK = {"look": "spotlight", "edges": "blocks", "clip": "95"}
PATCH = {"query": "Patch (7, 5)", "layer": "8"}
VIEWS: dict[str, tuple[str, dict[str, str]]] = {
    "head": ("explore", PATCH | LOOK | {"head": "4"}),
    "region, for a column": (
        "explore",
        {"query": "Region (2, 1) to (4, 5)", "layer": "8", "head": "4"}
        | {"width": "3.25", "font": "times", "caption": "False"},
    ),
    "mean of heads, one scale": ("explore", {"layer": "7", "head": "mean", "scale": "shared"}),
    "similar patches, whole": ("token_similarity", PATCH | {"fit": "whole"}),
    "rollout": ("attention_rollout", {"start": "5", "fusion": "max", "discard": "40"}),
    "relevance for a picture": (
        "attention_relevance",
        LOOK | {"target": "another picture", "like_image": "coffee"},
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_the_lines_make_the_exported_picture(
    name: str,
    files: dict[str, Callable[[], bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view, said = VIEWS[name]
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params.update({"at": view, "size": "112", **said})
    app.run()
    assert not app.exception
    assert not app.error
    exported = next(make for name, make in files.items() if name.endswith("_patch_map.png"))
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(app.code[0].value, scope)
    assert (tmp_path / "map.pdf").stat().st_size > 10_000
    drawn = save(scope["figure"], ["png"], title="")["png"]
    pixels = [
        np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), float)
        for each in (exported(), drawn)
    ]
    assert pixels[0].shape == pixels[1].shape
    # Rollout from a layer may be rounded otherwise than as a part of the whole one.
    assert np.abs(pixels[0] - pixels[1]).max() <= 2
    assert pixels[0].std() > 10


def test_what_is_said_of_a_checkpoint_stands_in_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {
        "checkpoint": Path("/secret/run.pth"),
        "architecture": "vit_tiny_patch16_224",
        "arch_options": {"num_heads": 4},
        "part": None,
        "ignore": (),
    }
    monkeypatch.setattr(offers, "_files", {"run": offers.File(offered, None)})
    here = subject(model="run", size=64, stage=1, said=(("mean", (0.5, 0.5, 0.5)),))
    lines = as_python.capture_lines(here)
    control = as_python.capture_lines(here._replace(randomised=True))
    [loaded] = (line for line in lines if line.startswith("model = "))
    assert loaded.replace("model = ", "model = vi.randomised(") + ")" in control
    assert lines[2:] == [
        "model = vi.load(checkpoint='run.pth', architecture='vit_tiny_patch16_224', "
        "arch_options={'num_heads': 4}, mean=(0.5, 0.5, 0.5), img_size=64, stage=1)",
        "capture = vi.capture(model, vi.sample('chelsea'))",
    ]
