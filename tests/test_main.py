"""The command line as a person uses it: real processes, exit codes, sentences."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers import two_towers
from tests.helpers.picture_files import tiff_of
from vit_inspect import typed
from vit_inspect.commands.app import app
from vit_inspect.commands.exits import EXITS
from vit_inspect.pictures.finding import find_photographs

pytestmark = pytest.mark.slow

HEAD = [sys.executable, "-m", "vit_inspect"]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEAD, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[arg-type]
    )


def invoke(*arguments: object) -> Result:
    """The same without a process of its own, which takes seconds to import everything."""
    return CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False
    )


def bomb() -> bytes:
    """A small PNG whose header promises 9000 × 9000 px."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(9001 * 9000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_help_names_the_commands_and_loads_no_torch() -> None:
    code = (
        "import sys\nfrom vit_inspect.__main__ import main\nsys.argv = ['x', '--help']\n"
        "try: main()\nfinally: sys.stderr.write(str('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "figures" in done.stdout
    assert "models" in done.stdout
    assert done.stderr == "False"


def test_models_lists_what_can_be_loaded_and_what_for() -> None:
    done = run("models")
    assert done.returncode == 0
    for words in ("dinov2_small", "all figures, offline", "vit_large_patch32_224.orig_in21k"):
        assert words in done.stdout


@pytest.mark.slow
def test_bad_photographs_are_refused_and_the_others_done(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    noise((60, 40), 0).save(photographs / "good.png")
    noise((30, 50), 1).convert("CMYK").save(photographs / "print.jpg")
    Image.new("RGB", (1, 1), "red").save(photographs / "dot.png")
    noise((10_000, 3), 2).save(photographs / "stripe.png")
    cut = io.BytesIO()
    noise((60, 40), 3).save(cut, "JPEG")
    (photographs / "cut.jpg").write_bytes(cut.getvalue()[:-200])
    (photographs / "empty.png").touch()
    (photographs / "text.png").write_text("no picture")
    (photographs / "bomb.png").write_bytes(bomb())

    out = tmp_path / "out"
    done = run(
        "figures",
        photographs,
        "missing.png",
        "--out",
        out,
        "--img-size",
        56,
        "--batch",
        2,
        "--formats",
        "npz",
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("Found ")]
    assert len(sentences) == 5
    for words in (
        "nothing at 'missing.png'",
        "0 bytes in 'empty.png'",
        "text in 'text.png'",
        "9000 × 9000 px in 'bomb.png'",
        "cut off picture in 'cut.jpg'",
    ):
        assert any(words in sentence for sentence in sentences), words
    facts = json.loads((out / "provenance.json").read_text())
    assert [each["folder"] for each in facts["photographs"]] == ["dot", "good", "print", "stripe"]
    assert facts["command"].startswith("python -m vit_inspect figures ")
    assert "--img-size 56" in facts["command"]
    assert (out / "report.html").exists()
    assert (out / "stripe" / "attention_rollout.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "vit_bse_patch16_224"), "the unknown model 'vit_bse_patch16_224'"),
        (("--img-size", "225"), "an input of 225 × 225 px"),
        (("--img-size", "wide"), "the input size 'wide'"),
        (("--device", "abacus"), "the device 'abacus'"),
        (("--checkpoint", "x.pth"), "nothing at 'x.pth'"),
        (("--outputs", "scores"), "outputs='scores' for dinov2_small, which has no known classes"),
        (("--stage", "1"), "stage 0, the only one of dinov2_small"),
        (("--bands", "red"), "the bands 'red'"),
        (("--bands", "2,1"), "[2, 1] as bands"),
    ],
)
def test_wrong_arguments_get_one_sentence(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = invoke("figures", "chelsea", "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


@pytest.mark.usefixtures("numbers_only")
@pytest.mark.parametrize(("options", "fit"), [((), "crop"), (("--fit", "whole"), "whole")])
def test_the_fit_is_told_in_the_provenance(
    options: tuple[str, ...], fit: str, tmp_path: Path
) -> None:
    noise((90, 40), 0).save(tmp_path / "wide.png")
    out = tmp_path / "out"
    done = invoke("figures", tmp_path / "wide.png", "--out", out, "--img-size", 56, *options)
    assert done.exit_code == 0
    facts = json.loads((out / "provenance.json").read_text())
    assert facts["input"]["preprocessing"]["fit"] == fit
    whole = {"left": 0, "top": 0, "right": 90, "bottom": 40}
    assert (facts["photographs"][0]["seen_px"] == whole) == (fit == "whole")


@pytest.mark.usefixtures("numbers_only")
def test_bands_of_a_picture_can_be_chosen(tmp_path: Path) -> None:
    six = np.random.default_rng(0).integers(0, 60_000, (40, 60, 6))
    (tmp_path / "six.tif").write_bytes(tiff_of(six, "<u2"))
    arguments = ("figures", tmp_path / "six.tif", "--img-size", 56, "--out")
    done = invoke(*arguments, tmp_path / "refused")
    assert done.exit_code == 2
    assert "6 bands of 16 bits in 'six.tif'" in done.stderr
    assert "--bands 3,2,1" in done.stderr
    done = invoke(*arguments, tmp_path / "out", "--bands", "3,2,1")
    assert done.exit_code == 0
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    [notice] = facts["photographs"][0]["notices"]
    assert notice.startswith("Bands 3, 2 and 1 of its 6")


def test_another_fit_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    done = invoke("figures", "chelsea", "--out", tmp_path / "out", "--fit", "stretch")
    assert done.exit_code == 2
    assert all(word in done.stderr for word in ("--fit", "stretch", "crop", "whole"))
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = invoke("figures", "chelsea", "--out", tmp_path / "file")
    assert done.exit_code == 2
    assert "expected a folder that may be written" in done.stderr


def test_a_folder_that_another_run_fills_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.loading.load.load", pytest.fail)
    with FileLock(tmp_path / ".lock"):
        done = invoke("figures", "chelsea", "--out", tmp_path)
    assert done.exit_code == 2
    assert "which another process is filling" in done.stderr


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (KeyboardInterrupt, 130),
        (lambda: os.kill(os.getpid(), signal.SIGINT), 130),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143),
        (lambda: os.kill(os.getpid(), signal.SIGHUP), 129),
        # So does the handler of Ray.
        (lambda: sys.exit(signal.SIGTERM), 143),
    ],
)
@pytest.mark.parametrize("command", ["figures", "survey"])
def test_a_signal_ends_a_command_with_a_line_and_a_code_of_its_own(
    command: str, stop: Callable[[], object], code: int, tmp_path: Path, monkeypatch: Any
) -> None:
    def load(*_: object, **__: object) -> None:
        if error := stop():
            raise error
        time.sleep(1)

    monkeypatch.setattr("vit_inspect.loading.load.load", load)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    done = invoke(command, "chelsea", "--out", tmp_path)
    assert done.exit_code == code
    assert done.stderr.startswith("Stopped. ")
    assert done.stderr.count("\n") == 1
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("code", ["0", "1", "2", "130", "143", "129"])
def test_every_exit_code_of_the_help_is_in_the_documentation(code: str) -> None:
    page = Path(__file__).parents[1] / "docs/how-to/my-folder.md"
    assert re.search(rf"\b{code}\b", EXITS)
    assert f"\n| {code} | " in page.read_text()


def test_only_bad_photographs_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    done = invoke("figures", tmp_path / "empty.png", "--out", tmp_path / "out", "--img-size", 56)
    assert done.exit_code == 2
    assert "0 bytes in 'empty.png'" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("true", True),
        ("False", False),
        ("1e-5", 1e-5),
        ("[2, 5]", [2, 5]),
        ("2,5", [2, 5]),
        ("(2, 5)", [2, 5]),
        ("token", "token"),
        ("a,b", "a,b"),
    ],
)
def test_options_of_an_architecture_are_numbers_lists_or_words(text: str, value: object) -> None:
    assert typed.options([f"each={text}"]) == {"each": value}


def test_a_survey_takes_of_the_tokens_what_is_asked_for(tmp_path: Path) -> None:
    noise((60, 60), 1).save(tmp_path / "a.png")
    words = "survey", tmp_path / "a.png", "--out", tmp_path / "out", "--img-size", 56
    assert invoke(*words, "--tokens", "cka", "--tokens", "artefacts").exit_code == 0
    found = vi.open_survey(tmp_path / "out")
    assert (found.cka().similarity.shape, found.artefacts().count) == ((12, 12), 1)


def test_texts_are_classes_of_figures_and_of_a_survey(tmp_path: Path) -> None:
    two_towers.saved(tmp_path / "clip", "CLIPModel")
    noise((60, 60), 1).save(tmp_path / "a.png")
    model = "--checkpoint", tmp_path / "clip", "--architecture", "transformers"
    words = *model, "--text", "a cat", "--text", "red shoe", "--template", "my {}"
    expected = vi.predictions(
        vi.capture(
            vi.with_texts(
                two_towers.load(tmp_path / "clip"), ["a cat", "red shoe"], template="my {}"
            ),
            tmp_path / "a.png",
        )
    )
    found = tmp_path / "figures"
    done = invoke("figures", tmp_path / "a.png", "--out", found, "--formats", "npz", *words)
    assert done.exit_code == 0, done.output
    assert "reads as 'my {}'" in done.stderr
    told = json.loads((found / "provenance.json").read_text())
    assert "reads as 'my {}'" in " ".join(told["model"]["notices"])
    [lens] = found.rglob("*logit_lens.npz")
    best = expected.labels[0][0]
    assert np.load(lens)["labels"].tolist() == [best]
    survey = tmp_path / "survey"
    assert invoke("survey", tmp_path / "a.png", "--out", survey, *words).exit_code == 0
    assert set(vi.open_survey(survey).classes().class_names) <= {"a cat", "red shoe"}
    done = invoke("figures", tmp_path / "a.png", "--out", found, *model, "--template", "my {}")
    assert done.exit_code == 2
    assert "add --text TEXT" in done.stderr


@pytest.mark.usefixtures("unplotted")
def test_figures_that_a_run_wrote_beside_its_photographs_are_no_photographs(
    tmp_path: Path,
) -> None:
    for number in range(2):
        noise((60, 60), number).save(tmp_path / f"{number}.png")
    words = "figures", tmp_path, "--out", tmp_path, "--model", "fashion_vit", "--formats", "png"
    first = invoke(*words)
    assert first.exit_code == 0
    assert "left out" not in first.stderr
    made = sorted(tmp_path.glob("*.png"))
    second = invoke(*words)
    assert second.exit_code == 0
    assert f"{len(made) - 2} figures of an earlier run in '{tmp_path}' are left out." in (
        second.stderr
    )
    assert sorted(tmp_path.glob("*.png")) == made
    told = json.loads((tmp_path / "provenance.json").read_text())
    assert [each["name"] for each in told["photographs"]] == ["0.png", "1.png"]
    for number in range(2):
        (tmp_path / f"{number}.png").unlink()
    third = invoke(*words)
    assert third.exit_code == 2
    assert "but figures of an earlier run" in third.stderr
    # Who names a figure wants it.
    assert find_photographs([made[-1]]) == [made[-1]]


def test_the_folder_of_one_photograph_in_a_bundle_has_no_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    noise((60, 60), 0).save(folder / "map.png")
    (tmp_path / "provenance.json").write_text(json.dumps({"files": ["0/map.png"]}))
    monkeypatch.chdir(folder)
    for argument in (folder, "."):
        with pytest.raises(vi.BadImage, match="but figures of an earlier run"):
            find_photographs([argument])


@pytest.mark.parametrize("listed", ['["../a.png"]', '["/a.png"]', '[""]', "[3]", "{", '"a.png"'])
def test_a_strange_provenance_hides_no_picture(tmp_path: Path, listed: str) -> None:
    noise((60, 60), 1).save(tmp_path / "a.png")
    (tmp_path / "provenance.json").write_text(f'{{"files": {listed}}}')
    assert find_photographs([tmp_path]) == [tmp_path / "a.png"]
