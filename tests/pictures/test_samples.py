from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vit_inspect.assets import FASHION_CLASSES
from vit_inspect.errors import BadImage
from vit_inspect.pictures.finding import find_photographs
from vit_inspect.pictures.reading import describe
from vit_inspect.pictures.samples import CANVASES, SAMPLES, sample


@pytest.mark.parametrize("name", list(SAMPLES))
def test_every_sample_is_a_photograph_in_a_wheel(name: str) -> None:
    picture = sample(name)
    assert min(picture.size) >= 300
    assert len(np.unique(np.asarray(picture))) > 200
    assert describe(picture).notices == ()
    assert describe(picture).name.startswith(name)
    assert SAMPLES[name].title
    assert SAMPLES[name].licence


def test_a_canvas_is_small_and_each_thing_lies_in_its_box() -> None:
    assert len(CANVASES) == 24
    labels = {thing.label for each in CANVASES.values() for thing in each.things}
    assert labels == set(FASHION_CLASSES)
    for name, told in CANVASES.items():
        pixels = np.asarray(sample(name)).copy()
        assert pixels.shape == (56, 56, 3)
        assert 1 <= len(told.things) <= 4
        for _, (left, top, right, bottom) in told.things:
            assert (right - left, bottom - top) == (28, 28)
            box = np.s_[int(top) : int(bottom), int(left) : int(right)]
            # No box overlaps another: what was in one that came before is gone.
            assert pixels[box].max() > 20
            pixels[box] = 0
        assert pixels.max() == 0, "nothing is outside of the boxes"


def test_a_sample_that_does_not_exist_names_those_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadImage, match="no sample called 'dog'; expected one of chelsea, astro"):
        sample("dog")
    monkeypatch.setattr("vit_inspect.pictures.samples.find_spec", lambda _: None)
    with pytest.raises(BadImage, match=r"no file of the sample 'china'; .* install sklearn again"):
        sample("china")


def test_words_of_a_command_line_become_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.JPG", "a.tiff", "note.txt", ".hidden.png", "c.webp"):
        (tmp_path / name).touch()
    (tmp_path / "inner.png").mkdir()
    single = tmp_path / "note.txt"
    found = find_photographs([str(single), tmp_path, "coffee"])
    assert found[:4] == [single, tmp_path / "a.tiff", tmp_path / "b.JPG", tmp_path / "c.webp"]
    assert [path.name for path in found[4:]] == ["coffee.png"]
    monkeypatch.chdir(tmp_path)
    Path("coffee").touch()
    assert find_photographs(["coffee"]) == [Path("coffee")]
    assert find_photographs([]) == []


def test_words_that_stand_for_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BadImage, match=r"nothing at 'dgo.png'; .* sample: one of chelsea, astronaut"
    ):
        find_photographs(["chelsea", "dgo.png"])
    with pytest.raises(BadImage, match=r"no picture in the folder '.*'; expected .*\.png, \.jpg"):
        find_photographs([tmp_path])


def test_a_folder_that_may_not_be_searched_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with the right to list it, but not to look at what is in it."""
    (tmp_path / "cat.png").touch()

    def fail(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(BadImage, match="no permission to read"):
        find_photographs([tmp_path])


def test_importing_it_and_opening_a_sample_import_nothing_heavy() -> None:
    code = (
        "import sys, vit_inspect.pictures.samples as samples; samples.sample('grace_hopper');"
        "samples.sample('china'); samples.sample('chelsea');"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'torch', 'skimage', 'sklearn', 'matplotlib', 'timm', 'scipy', 'plotly'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
