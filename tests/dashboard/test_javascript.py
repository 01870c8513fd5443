"""Is the JavaScript of the dashboard typed and tidy, and does it compute what Python does?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dashboard.conftest import missing
from tests.dashboard.serving import ROOT
from tests.dashboard.test_explorer import LOOK, PHOTOGRAPH, made
from tests.helpers.made import layout_of
from vit_inspect.figures import looks
from vit_inspect.layout import MEAN
from vit_inspect_dashboard.components.explorer import LOOKS, SCALES, pack
from vit_inspect_dashboard.sheets import CLIPS, Sheet, still

TOOLS = ROOT / "node_modules" / ".bin"


def run(*command: str, **variables: str) -> None:
    """Runs a command of Node in the project's folder; what it says is the reason of a failure."""
    if shutil.which("node") is None:
        missing("no Node: install the packages nodejs and npm")
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", ["types", "lint"])
def test_scripts_are_typed_and_tidy(script: str) -> None:
    if not TOOLS.is_dir():
        missing("no tools for JavaScript: run npm install")
    run("npm", "run", "--silent", script)


def packed(random: np.random.Generator) -> dict[str, Sheet]:
    """Attention with and without special tokens, signed values, colours, and maps that are odd."""
    layout = layout_of("cls", "reg1", grid=(4, 5))
    signed = random.normal(size=(3, 4, 5)).astype(np.float32)
    # One map of one value, one of zeros, and one whose single bright patch some clips leave out.
    odd, wide = np.zeros((3, 6, 7), np.float32), layout_of("cls", grid=(6, 7))
    odd[0], odd[2, 1, 3] = 0.25, 0.9
    colours = random.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    patches = layout_of(readout=MEAN, grid=(4, 5))
    return {
        "attention": made(layout),
        "patches": made(patches),
        "signed": still("Similarity", "cosine similarity", PHOTOGRAPH, layout, signed, 1),
        "odd": still("Norm", "L2 norm", PHOTOGRAPH, wide, odd, 0, from_zero=True),
        "odd_from_least": still("Norm", "L2 norm", PHOTOGRAPH, wide, odd, 0),
        "coloured": still("Features", "", PHOTOGRAPH, layout, signed, 2, colours=colours),
    }


def expected(sheet: Sheet, data: bytes) -> dict[str, Any]:
    """What the browser should make of a sheet, computed from its values alone."""
    count, keys = sheet.layout.patch_count, sheet.prefix.shape[2]
    rows = sheet.rows.values
    maps = sheet.values.reshape(-1, count)
    masses = sheet.prefix.reshape(len(maps), keys)
    header = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
    ends = [
        {"map": index, "scale": scale, "clip": f"{clip:g}", **ends_of(sheet, values, scale, clip)}
        for index, values in enumerate(maps)
        for scale in SCALES
        for clip in CLIPS
    ]
    shown = [
        {**ends_of(sheet, values, "own", 100.0), "map": index, "look": look}
        for index, values in enumerate(maps)
        for look in LOOKS
    ]
    for each in shown:
        span = each["high"] - each["low"]
        shares = (maps[each["map"]] - each["low"]) / span if span else np.zeros(count)
        each["pixels"] = np.rint(255 * looks.lit(shares, each["look"])).ravel().tolist()
    ramp = looks.colour(np.linspace(0, 1, 256), looks.WEIGHT_MAP, (0.0, 1.0))[:, :3]
    return {
        "header": header,
        "maps": [
            {"values": values.tolist(), "prefix": mass.tolist()}
            for values, mass in zip(maps, masses, strict=True)
        ],
        "rows": [{"values": row[keys:].tolist(), "prefix": row[:keys].tolist()} for row in rows],
        "mean": {
            "values": rows[:, keys:].mean(axis=0).tolist() if len(rows) else [],
            "prefix": rows[:, :keys].mean(axis=0).tolist() if len(rows) else [],
        },
        "colours": [] if sheet.colours is None else sheet.colours.ravel().tolist(),
        "ramp": ramp.ravel().tolist(),
        "ends": ends,
        "shown": shown,
    }


def ends_of(sheet: Sheet, values: np.ndarray, scale: str, clip: float) -> dict[str, Any]:
    """Where the colours of a map end."""
    low = 0.0 if sheet.from_zero else float(values.min())
    high = float(np.percentile(values.astype(np.float64), clip))
    if scale == "shared":
        low, high = sheet.limits[clip]
    elif high <= low:
        high = float(values.max())
    return {"low": low, "high": high, "above": bool(values.max() > high)}


def test_the_browser_reads_and_colours_maps_as_numpy_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sheets = {}
    for name, sheet in packed(random).items():
        data = pack(sheet, LOOK)
        (tmp_path / name).write_bytes(data)
        sheets[name] = expected(sheet, data)
    percentiles = [
        {
            "values": values.tolist(),
            "percent": percent,
            "expected": float(np.percentile(values, percent)),
        }
        for count in (1, 2, 7, 256, 1369)
        for values in [random.integers(0, 65_536, count)]
        for percent in (0, 33.3, *CLIPS)
    ]
    cases = {"sheets": sheets, "percentiles": percentiles}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    run("node", "--test", "tests/dashboard/maps.test.js", CASES=str(tmp_path))
