"""Is every picture of a source found, once, in an order of its own, with its label?"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.surveys.sources import Entry, entries, read

NAMES = ["cats/0.png", "cats/1.png", "dogs/2.png", "dogs/3.png", "dogs/4.png", "dogs/5.png"]


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def shard(path: Path, count: int = 3) -> list[Image.Image]:
    """A WebDataset shard with a class beside each picture, and what is no picture."""
    images = [noise((30, 30 + index), index) for index in range(count)]
    with tarfile.open(path, "w") as file:
        for index, image in enumerate(images):
            for name, data in (
                (f"a/{index:03d}.png", encoded(image)),
                (f"a/{index:03d}.cls", f"{index * 7}\n".encode()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))
    return images


def table(path: Path, *, as_hugging_face: bool, rows: int = 5) -> list[Image.Image]:
    """A table of pictures in groups of two rows."""
    images = [noise((30, 30 + index), index) for index in range(rows)]
    data = [encoded(each) for each in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = (
        pa.array([{"bytes": each, "path": None} for each in data], kind)
        if as_hugging_face
        else pa.array(data, pa.binary())
    )
    labels = pa.array([index % 2 for index in range(rows)])
    pq.write_table(pa.table({"image": column, "label": labels}), path, row_group_size=2)
    return images


def assert_read(found: list[Entry], images: list[Image.Image]) -> None:
    assert len(found) == len(images)
    # From the last one, as another process may.
    for entry, image in reversed(list(zip(found, images, strict=True))):
        assert np.array_equal(np.asarray(read(entry)), np.asarray(image)), entry


def test_a_folder_stands_for_all_pictures_below_it(photos: Path) -> None:
    found = entries(photos)
    assert [entry.name for entry in found] == NAMES
    assert {entry.label for entry in found} == {None}
    labelled = entries(photos, label_from="folder")
    assert [entry.label for entry in labelled] == ["cats"] * 2 + ["dogs"] * 4
    assert_read(found, [vi.read_image(photos / name) for name in NAMES])


def test_a_glob_a_file_and_a_sample_are_sources(photos: Path) -> None:
    assert [each.name for each in entries(f"{photos}/*/[1-3].png")] == [
        "cats/1.png",
        "dogs/2.png",
        "dogs/3.png",
    ]
    found = entries([photos / "dogs" / "4.png", "chelsea"])
    assert [each.name for each in found] == ["4.png", "chelsea"]
    assert read(found[1]).size == vi.sample("chelsea").size


def test_lists_name_pictures_beside_them(photos: Path) -> None:
    (photos / "list.txt").write_text("dogs/5.png\n\ncats/0.png\n")
    found = entries(photos / "list.txt", label_from="folder")
    assert [(each.name, each.label) for each in found] == [
        ("dogs/5.png", "dogs"),
        ("cats/0.png", "cats"),
    ]
    (photos / "list.csv").write_text("file,kind\ndogs/5.png,a dog\ncats/0.png,a cat\n")
    found = entries(photos / "list.csv", label_from="kind")
    assert [each.label for each in found] == ["a dog", "a cat"]
    assert_read(found, [vi.read_image(photos / each.name) for each in found])
    with pytest.raises(vi.BadParameter, match=r"no column 'breed' .*one of file, kind"):
        entries(photos / "list.csv", label_from="breed")


def test_a_shard_is_read_in_place(tmp_path: Path) -> None:
    images = shard(tmp_path / "000.tar")
    found = entries(tmp_path, label_from="cls")
    assert [(each.name, each.label) for each in found] == [
        ("000.tar/a/000.png", "0"),
        ("000.tar/a/001.png", "7"),
        ("000.tar/a/002.png", "14"),
    ]
    assert_read(found, images)


@pytest.mark.parametrize("as_hugging_face", [True, False])
def test_a_table_is_read_group_by_group(tmp_path: Path, as_hugging_face: bool) -> None:
    images = table(tmp_path / "train.parquet", as_hugging_face=as_hugging_face)
    found = entries(tmp_path / "train.parquet", label_from="label")
    assert [(each.name, each.label) for each in found] == [
        (f"train.parquet#{row}", str(row % 2)) for row in range(5)
    ]
    assert_read(found, images)


def test_a_table_without_one_column_of_pictures_is_refused(tmp_path: Path) -> None:
    one = pa.array([b"x"], pa.binary())
    pq.write_table(pa.table({"left": one, "right": one}), tmp_path / "two.parquet")
    with pytest.raises(vi.BadImage, match=r"columns of bytes left, right"):
        entries(tmp_path / "two.parquet")
    (tmp_path / "two.parquet").unlink()
    # One of numbers is refused where it is asked for, and passed over in a folder of pictures.
    pq.write_table(pa.table({"number": [1]}), tmp_path / "numbers.parquet")
    noise((30, 20), 1).save(tmp_path / "a.png")
    assert [each.name for each in entries(tmp_path)] == ["a.png"]
    with pytest.raises(vi.BadImage, match=r"columns of bytes \(none\)"):
        entries(tmp_path / "numbers.parquet")


def test_any_url_of_fsspec_is_a_place(tmp_path: Path) -> None:
    memory: Any = fsspec.filesystem("memory")
    image = noise((30, 20), 1)
    memory.pipe("/bucket/far/one.png", encoded(image))
    shard(tmp_path / "x.tar")
    memory.pipe("/bucket/far/two.tar", (tmp_path / "x.tar").read_bytes())
    found = entries("memory://bucket/far")
    assert [each.name for each in found] == ["one.png", *(f"two.tar/a/00{n}.png" for n in range(3))]
    assert_read(found, [image, *(noise((30, 30 + index), index) for index in range(3))])
    assert_read(entries("memory://bucket/far/one.png"), [image])


def test_a_limit_takes_the_first_or_with_a_seed_some_at_random(photos: Path) -> None:
    assert [each.name for each in entries(photos, limit=2)] == NAMES[:2]
    some = [each.name for each in entries(photos, limit=3, seed=1)]
    assert some == [each.name for each in entries(photos, limit=3, seed=1)]
    assert some == sorted(some)
    assert (
        len({tuple(each.name for each in entries(photos, limit=3, seed=s)) for s in range(9)}) > 2
    )


def test_pictures_of_one_name_are_told_apart_and_none_is_taken_twice(photos: Path) -> None:
    (photos / "dogs" / "0.png").write_bytes((photos / "cats" / "0.png").read_bytes())
    found = entries([photos / "cats", photos / "dogs"])
    assert len({each.name for each in found}) == len(found) == 7
    with pytest.raises(vi.BadParameter, match="twice"):
        entries([photos / "cats", photos / "cats"])


@pytest.mark.parametrize(
    ("name", "message"), [("none", "no picture in"), ("away/there.tar", "cannot be read")]
)
def test_a_source_without_pictures_is_refused_in_a_sentence(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(vi.BadImage, match=message):
        entries(tmp_path / name)


def test_a_damaged_shard_or_table_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for name in ("a.tar", "a.parquet"):
        (tmp_path / name).write_bytes(b"no such thing" * 100)
        with pytest.raises(vi.BadImage, match="cannot be read"):
            entries(tmp_path / name)


def test_a_picture_that_is_gone_is_refused_by_its_name_alone(photos: Path) -> None:
    found = entries(photos)
    (photos / found[0].name).unlink()
    with pytest.raises(vi.BadImage, match=r"cats/0\.png.*cannot be read") as refusal:
        read(found[0])
    assert str(photos) not in str(refusal.value)


def test_a_shard_that_is_gone_is_no_fault_of_its_pictures(tmp_path: Path) -> None:
    shard(tmp_path / "000.tar")
    found = entries(tmp_path / "000.tar")
    (tmp_path / "000.tar").unlink()
    with pytest.raises(vi.Unreachable, match=r"000\.tar.*try again later") as refusal:
        read(found[0])
    assert str(tmp_path) not in str(refusal.value)


def test_names_of_a_list_do_not_say_where_it_lies(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{photos}/dogs/5.png\n{photos}/cats/0.png\n")
    found = entries(tmp_path / "list.txt")
    assert [each.name for each in found] == ["dogs/5.png", "cats/0.png"]
    assert_read(found, [vi.read_image(photos / each.name) for each in found])


def test_a_list_without_names_of_columns_is_refused(photos: Path) -> None:
    (photos / "list.csv").write_text("dogs/5.png\ncats/0.png\n")
    with pytest.raises(vi.BadParameter, match="no names of columns"):
        entries(photos / "list.csv")


def test_hidden_files_of_a_shard_are_passed_over(tmp_path: Path) -> None:
    data = encoded(noise((30, 20), 1))
    with tarfile.open(tmp_path / "mac.tar", "w") as file:
        for name in ("./a/cat.png", "./a/._cat.png"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    assert [each.name for each in entries(tmp_path)] == ["mac.tar/./a/cat.png"]


def test_a_table_of_paths_alone_is_refused(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": None, "path": "x.png"}], kind)
    pq.write_table(pa.table({"image": column}), tmp_path / "paths.parquet")
    [entry] = entries(tmp_path)
    with pytest.raises(vi.BadImage, match=r"no bytes in 'paths\.parquet#0'"):
        read(entry)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.png"
    with open(path, "wb") as file:
        file.write(encoded(noise((30, 20), 1)))
    with pytest.raises(vi.BadParameter, match="whose name is no text"):
        entries(tmp_path)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("source", [None, 3, [Image.new("RGB", (2, 2))]])
def test_what_is_no_source_is_refused(source: Any) -> None:
    with pytest.raises(vi.BadParameter, match="source"):
        entries(source)


def test_a_folder_inside_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("a.png", encoded(noise((30, 20), 1)))
    with pytest.raises(vi.BadParameter, match="inside an archive"):
        entries(f"zip://::{tmp_path}/all.zip")
    assert_read(entries(f"zip://a.png::{tmp_path}/all.zip"), [noise((30, 20), 1)])
