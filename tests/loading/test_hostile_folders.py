"""Is a folder that a stranger wrote refused at once, in plain words, or loaded rightly?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vit_inspect as vi
from tests.loading.test_from_transformers import saved
from vit_inspect.loading.folders import check_folder

SECONDS, MEGABYTES = 2, 300
"""What a folder may take."""

LOAD_ALL = """
import json, os, sys, time
from pathlib import Path
import vit_inspect as vi

def memory(line):
    return int(Path("/proc/self/status").read_text().partition(line)[2].split()[0]) / 1024

first, *others = map(Path, sys.argv[1:])
load = lambda folder: vi.load("mine", checkpoint=folder, architecture="transformers", device="cpu")
load(first)
for folder in others:
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = memory("VmRSS:"), time.monotonic()
    try:
        load(folder)
        said = "loaded"
    except vi.InspectError as error:
        said = str(error)
    took = time.monotonic() - begun, memory("VmHWM:") - before
    print(json.dumps([folder.name, said, *took]), flush=True)
"""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
RUNS = b"cos\nsystem\n(S'touch ran'\ntR."
"""A pickle that would run a program."""

Change = Callable[[Path], object]


def config(**said: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | said))

    return change


def file(name: str, words: str | bytes) -> Change:
    def change(folder: Path) -> None:
        data = words if isinstance(words, bytes) else words.encode()
        (folder / name).write_bytes(data)

    return change


def large(name: str) -> Change:
    def change(folder: Path) -> None:
        with (folder / name).open("ab") as opened:
            opened.truncate(200_000_000)

    return change


def link(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return change


def sharded(place: object, *, more: int = 0, pickle: bool = False, **said: object) -> Change:
    """An index that says of all weights that they are in this place."""

    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "a.safetensors")
        (folder / "a.bin").write_bytes(RUNS)
        names = json.loads((folder / "names.json").read_text())
        places = dict.fromkeys([*names, *(f"more{each}" for each in range(more))], place)
        index = {"metadata": {}, "weight_map": places} | said
        name = INDEX.replace("model.safetensors", "pytorch_model.bin") if pickle else INDEX
        (folder / name).write_text(json.dumps(index))

    return change


def doubled(folder: Path) -> None:
    """Of a key that is there twice, the last counts."""
    path = folder / "config.json"
    path.write_text(path.read_text().rstrip()[:-1] + ', "hidden_size": "64"}')


NESTED = "[" * 100_000
UNREADABLE = "Found no settings that can be read in"
ELSEWHERE = "expected files of weights in the same folder"
LARGE = "Found 200 MB in"

REFUSED: dict[str, tuple[Change, str]] = {
    "no patches": (config(patch_size=0), "Found patch_size 0 of 'mine'"),
    "no pixels": (config(image_size=[32, 0]), "Found image_size 0"),
    "less than nothing": (config(hidden_size=-32), "Found hidden_size -32"),
    "no heads": (config(num_attention_heads=0), "Found num_attention_heads 0"),
    "more heads than width": (
        config(num_attention_heads=33),
        "Found num_attention_heads 33 of 'mine'; expected at most hidden_size 32",
    ),
    "endless heads": (
        config(num_attention_heads=10**12),
        "Found num_attention_heads 1000000000000",
    ),
    "a list of kinds": (config(model_type=["vit"]), "Found model_type ['vit'] of 'mine'; expected"),
    "endless pixels": (config(image_size=10**12), "Found image_size 1000000000000 of 'mine'"),
    "many pixels": (
        config(image_size=[32, 2049]),
        "Found image_size 2049 of 'mine'; expected at most 2,048 px; correct its config.json",
    ),
    "negative heads": (config(num_attention_heads=-2), "Found num_attention_heads -2"),
    "a word": (
        config(num_hidden_layers="2"),
        "Found num_hidden_layers '2' of 'mine'; expected whole",
    ),
    "a tower": (config(vision_config={"num_channels": True}), "Found num_channels True"),
    "classes": (
        config(id2label={str(each): "a" for each in range(50_001)}),
        "Found 50,001 classes of 'mine'; expected at most 50,000",
    ),
    "claimed classes": (config(num_labels=10**9), "Found 1,000,000,000 classes"),
    "a class that is no list": (config(architectures={"a": 1}), "expected a list of names"),
    "a key twice": (doubled, "Found hidden_size '64'"),
    "nested": (file("config.json", NESTED), f"{UNREADABLE} 'config.json' of 'mine'"),
    "nested processor": (file("preprocessor_config.json", NESTED), UNREADABLE),
    "nested adapter": (file("adapter_config.json", NESTED), UNREADABLE),
    "nested index": (file(INDEX, NESTED), UNREADABLE),
    "no text": (file("config.json", b"\xff\xfe\x00"), UNREADABLE),
    "a list": (file("config.json", "[]"), UNREADABLE),
    "large": (large("config.json"), f"{LARGE} 'config.json' of 'mine'; expected at most 10 MB"),
    "large processor": (large("preprocessor_config.json"), LARGE),
    "large adapter": (large("adapter_config.json"), LARGE),
    "another file's words": (link("config.json", "/etc/passwd"), UNREADABLE),
    "weights above": (sharded("../../../../etc/passwd"), ELSEWHERE),
    "weights anywhere": (sharded("/etc/passwd"), ELSEWHERE),
    "weights beside": (sharded("../good/model.safetensors"), ELSEWHERE),
    "weights in itself": (sharded(INDEX), f"Found weights in '{INDEX}', by '{INDEX}' of 'mine'"),
    "weights nowhere": (sharded("b.safetensors"), "Found weights in 'b.safetensors'"),
    "weights in a number": (sharded(1), ELSEWHERE),
    "weights in a folder": (sharded("."), ELSEWHERE),
    "weights in a program": (sharded("a.bin", pickle=True), "Found no weights in 'a.bin'"),
    "many weights": (sharded("a.safetensors", more=20_000), "weights in 'model.safetensors.index"),
    "no weights": (sharded("a", weight_map={}), UNREADABLE),
    "a list of weights": (sharded("a", weight_map=["a"]), UNREADABLE),
    "a list about weights": (sharded("a.safetensors", metadata=[1]), UNREADABLE),
    "a program": (file("pytorch_model.bin", RUNS), "Found no weights in 'pytorch_model.bin'"),
    "a device": (link("pytorch_model.bin", "/dev/zero"), "Found a device or pipe at"),
}
"""What is done to a good folder, and how it is refused before `transformers` is asked."""

LATER: dict[str, tuple[Change, str]] = {
    "a million weights": (sharded("a.safetensors", more=10**6), "at most 10 MB"),
    "many classes": (
        config(id2label={str(each): "a" for each in range(300_000)}),
        "Found 300,000 classes of 'mine'",
    ),
    "patches": (
        config(image_size=2048, patch_size=2048, num_channels=10**7, hidden_size=10**7),
        "Found sizes of 'mine' whose product no computer can",
    ),
    "endless layers": (config(num_hidden_layers=10**7), "Found 10,000,000 layers"),
    "pixels": (
        config(image_size=2048, patch_size=1, hidden_size=10**6),
        "Found weights of 'mine' of about",
    ),
    "channels": (config(num_channels=10**7), "Found weights of 'mine' of about"),
    "code": (
        config(model_type="own", auto_map={"AutoConfig": "own.Config"}),
        "Found no model of transformers for 'mine'",
    ),
    "code of a processor": (
        file(
            "preprocessor_config.json",
            json.dumps({"auto_map": {"AutoImageProcessor": "own.Config"}}),
        ),
        # By the processor of its family.
        "loaded",
    ),
    "a configuration without end": (link("config.json", "/dev/zero"), "Found no config.json in"),
    "a link to itself": (link("config.json", "config.json"), "Found no config.json in"),
    "weights without end": (link(WEIGHTS, "/dev/zero"), "Found no model of transformers"),
    "weights that are none": (link(WEIGHTS, "/etc/passwd"), "Found no model of transformers"),
    "weights in parts": (sharded("a.safetensors"), "loaded"),
    # As a hub's cache has them.
    "a link to weights": (link(WEIGHTS, "../good/model.safetensors"), "loaded"),
}
"""The same of what takes a second to write, what it refuses itself, and what is loaded."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that loads, with the names of its weights and code of its own."""
    folder = tmp_path_factory.mktemp("folders") / "good"
    names = list(saved(folder).state_dict())
    (folder / "names.json").write_text(json.dumps(names))
    (folder / "own.py").write_text("open('ran', 'w'); raise SystemExit('it ran')")
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_is_refused_before_another_package_reads_it(good: Path, name: str) -> None:
    change, words = REFUSED[name]
    folder = good.with_name(name)
    shutil.copytree(good, folder)
    change(folder)
    with pytest.raises(vi.InspectError) as refusal:
        check_folder(folder, "mine")
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_a_good_folder_is_let_through(good: Path) -> None:
    check_folder(good, "mine")
    large = good.with_name("21k")
    shutil.copytree(good, large)
    config(id2label={str(each): "a" * 60 for each in range(21_841)})(large)
    check_folder(large, "mine")
    # Weights that are not read need not be there.
    sharded("b.safetensors")(large)
    check_folder(large, "mine", weights=False)


@pytest.mark.slow
def test_hostile_folders_take_neither_time_nor_memory(good: Path, tmp_path: Path) -> None:
    cases = REFUSED | LATER
    for name, (change, _) in cases.items():
        shutil.copytree(good, tmp_path / name)
        change(tmp_path / name)
    shutil.copytree(good, tmp_path / "good")
    run = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, str(good), *(str(tmp_path / each) for each in cases)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    told = {name: took for name, *took in map(json.loads, run.stdout.splitlines())}
    assert set(told) == set(cases), run.stderr
    for name, (said, seconds, megabytes) in told.items():
        assert cases[name][1] in said, (name, said)
        assert seconds < SECONDS, (name, seconds)
        assert megabytes < MEGABYTES, (name, megabytes)
    assert not list(tmp_path.rglob("ran"))
