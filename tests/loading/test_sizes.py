"""Is a network or an input that takes more memory than there is refused before it is made?

One process with little memory left tries all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

import vit_inspect as vi
from vit_inspect import device

SPARE = 1_500_000_000
"""Bytes of memory that loading may take."""

LOAD_ALL = f"""
import json, resource, sys
from pathlib import Path
import timm.models._hub
import torch
import transformers
import vit_inspect as vi

folder = Path(sys.argv[1])
timm.models._hub.hf_hub_download = lambda repo_id, filename, **_: str(folder / repo_id / filename)
device = {{"device": "cpu"}}
vi.load("test_vit", pretrained=False, **device)
now = 1024 * int(Path("/proc/self/status").read_text().partition("VmSize:")[2].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (now + {SPARE},) * 2)
for name, options in json.loads((folder / "cases.json").read_text()).items():
    try:
        vi.load(**options, **device)
        said = "loaded"
    except vi.InspectError as error:
        said = f"{{type(error).__name__}}: {{error}}"
    print(json.dumps([name, said]), flush=True)
"""

VIT = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}

CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "small": ({}, "loaded"),
    "positions": (
        {"image_size": 2048, "patch_size": 1, "hidden_size": 1024},
        "OutOfMemory: Found weights of 'positions' of about 17.2 GB of memory; expected at most "
        "the 1.",
    ),
    "width": (
        {"hidden_size": 20_000, "num_attention_heads": 1},
        "OutOfMemory: Found weights of 'width' of about 12.8 GB of memory",
    ),
    "more than a number holds": (
        {"hidden_size": 10**7, "num_channels": 10**7, "image_size": 2048, "patch_size": 2048},
        "OutOfMemory: Found sizes of 'more than a number holds' whose product no computer",
    ),
    "classes": ({"num_labels": 50_000, "hidden_size": 24_576}, "weights of 'classes' of about "),
    "layers": (
        {"num_hidden_layers": 10**6},
        "BadParameter: Found 1,000,000 layers of 'layers'; expected at most 1,000; correct its",
    ),
}
HUB: dict[str, tuple[dict[str, object], str]] = {
    "deep": ({"depth": 10**6}, "BadParameter: Found 1,000,000 layers of 'hf-hub:a/deep'"),
    "wide": (
        {"embed_dim": 19_200, "depth": 1},
        "OutOfMemory: Found weights of 'hf-hub:a/wide' of about 17.",
    ),
}
OTHERS: dict[str, tuple[dict[str, object], str]] = {
    "input": (
        {"img_size": 5600},
        "OutOfMemory: Found a capture at 5,600 × 5,600 px (160,001 tokens) of about 14.7 GB of "
        "memory; expected at most the ",
    ),
    "usual input": ({"img_size": 448}, "loaded"),
    "depth": (
        {"architecture": "test_vit", "arch_options": {"depth": 10**6}},
        "BadParameter: Found 1,000,000 layers of 'test_vit'",
    ),
    "tables": (
        {
            "architecture": "beit_base_patch16_224",
            "arch_options": {"patch_size": 1, "depth": 1},
        },
        "OutOfMemory: Found tables of 'beit_base_patch16_224' with these options of about 20.",
    ),
}
SAID = {name: words for cases in (CONFIGS, HUB, OTHERS) for name, (_, words) in cases.items()}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each, by a process that could not hold it."""
    folder = tmp_path_factory.mktemp("sizes")
    cases: dict[str, dict[str, object]] = {}
    for name, (change, _) in CONFIGS.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(VIT | change))
        cases[name] = {
            "name": name,
            "checkpoint": str(folder / name),
            "architecture": "transformers",
            "pretrained": False,
        }
    for name, (change, _) in HUB.items():
        (folder / "a" / name).mkdir(parents=True)
        config = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {}}
        (folder / "a" / name / "config.json").write_text(
            json.dumps(config | {"model_args": change})
        )
        cases[name] = {"name": f"hf-hub:a/{name}", "pretrained": False}
    torch.save(timm.create_model("test_vit").state_dict(), folder / "x.pth")
    for name, (options, _) in OTHERS.items():
        cases[name] = options
        if "architecture" in options:
            cases[name] = {**options, "checkpoint": str(folder / "x.pth")}
    (folder / "cases.json").write_text(json.dumps(cases))
    ran = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, folder],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return dict(map(json.loads, ran.stdout.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_what_takes_more_memory_than_there_is_is_refused_before_it_is_made(
    said: dict[str, str], name: str
) -> None:
    assert SAID[name] in said[name]


@pytest.mark.parametrize(
    ("kinds", "files"),
    [
        ("", {"memory.max": "700", "memory.current": "500", "memory.stat": "inactive_file 100"}),
        (
            "memory",
            {
                "memory.limit_in_bytes": "700",
                "memory.usage_in_bytes": "500",
                "memory.stat": "inactive_file 1\ntotal_inactive_file 100",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
@pytest.mark.parametrize("inside", [True, False])
def test_the_memory_of_a_container_is_its_groups(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kinds: str,
    files: dict[str, str],
    inside: bool,
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8 kB\n")
    (tmp_path / "self" / "cgroup").write_text(f"7:cpu:/\n4:{kinds}:/a group\n")
    monkeypatch.setattr(device, "PROC", tmp_path)
    monkeypatch.setattr(device, "CGROUPS", tmp_path)
    assert device.memory_left() == 8 * 1024
    folder = tmp_path / kinds if inside else tmp_path / kinds / "a group"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    assert device.memory_left() == 300
    with pytest.raises(vi.OutOfMemory, match=r"a thing of about 0\.0 GB of memory; expected at"):
        device.check_memory(301, "a thing", "do without")
    device.check_memory(300, "a thing", "do without")


def test_where_the_system_says_nothing_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "PROC", tmp_path)
    monkeypatch.setattr(device, "CGROUPS", tmp_path)
    assert device.memory_left() is None
    device.check_memory(10**18, "weights", "choose others")
