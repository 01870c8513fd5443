"""What a picture takes while it is read is never more than its headers tell, alone or with others.

The lack of memory is told as such, and never as damage.
"""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.chaos.pictures import chunks_of, png
from tests.helpers.peaks import MEASURABLE, peaks_of
from tests.helpers.picture_files import damaged_at_its_end, png_of_16_bits, tiff_of
from vit_inspect.errors import BadImage, OutOfMemory
from vit_inspect.limits import MAX_READING, MAX_UNCHECKED, READING
from vit_inspect.pictures import planning, reading, tiff
from vit_inspect.pictures.given import as_picture
from vit_inspect.pictures.reading import read_image

measured = pytest.mark.skipif(not MEASURABLE, reason="this system does not tell peaks")

SIDE = 1300
TOO_LITTLE = "Found too little free memory to read 'x'; expected room for the picture; "


def colours(bands: int) -> np.ndarray:
    tile = np.random.default_rng(0).integers(0, 256, (50, 50, bands), dtype=np.uint8)
    return np.tile(tile, (SIDE // 50, SIDE // 50, 1))


def encoded(mode: str, format: str, **options: object) -> bytes:
    values = colours({"P": 1, "RGB": 3}.get(mode, 4))
    image = Image.fromarray(values[..., 0] if mode == "P" else values, mode if mode != "P" else "L")
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def column(mode: str, format: str, **options: object) -> bytes:
    """Of one column."""
    file = io.BytesIO()
    Image.new(mode, (1, SIDE**2)).save(file, format, **options)
    return file.getvalue()


def deep_png(bands: int) -> bytes:
    """Of 16 bits. Only its header is that of the helper, which filters in Python."""
    start = png_of_16_bits(np.zeros((1, 1, bands)))
    header = b"IHDR" + struct.pack(">LL", SIDE, SIDE) + start[24:29]
    rows = np.zeros((SIDE, 1 + 2 * SIDE * bands), np.uint8)
    rows[:, 1:] = np.repeat(colours(1)[..., 0], 2 * bands, axis=1)
    chunks = [header, b"IDAT" + zlib.compress(rows.tobytes(), 1), b"IEND"]
    return start[:8] + b"".join(
        struct.pack(">L", len(chunk) - 4) + chunk + struct.pack(">L", zlib.crc32(chunk))
        for chunk in chunks
    )


def real_tiff(bands: int, side: int = SIDE, **options: object) -> bytes:
    values = np.broadcast_to(np.linspace(-5, 900, side)[:, None, None], (side, side, bands))
    return tiff_of(values, "<f4", packed=True, **options)


def lzw_tiff(side: int, *, empty: bool = False) -> bytes:
    """Of 16 bits in four bands, in one strip; an empty one has nothing but its header right."""
    file = io.BytesIO()
    Image.new("L", (1 if empty else 8 * side, side)).save(
        file, "TIFF", compression="tiff_lzw", strip_size=2**30
    )
    tags, data = tiff.tags_of(file.getvalue()), file.getvalue()
    entries = {256: (side,), 257: (side,), 258: (16,) * 4, 259: (5,), 262: (2,), 277: (4,)}
    entries |= {278: (side,), 279: tags[279], 338: (2,), 273: (0,)}
    start = len(tiff._header(entries))
    (place,) = tags[273]
    return tiff._header(entries | {273: (start,)}) + data[place : place + tags[279][0]]


KINDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded("RGB", "PNG", compress_level=1),
    "png with transparency": lambda: encoded("RGBA", "PNG", compress_level=1),
    "png with a palette": lambda: encoded("P", "PNG", transparency=bytes(99), compress_level=1),
    "png of 16 bits, grey": lambda: deep_png(1),
    "png of 16 bits, grey with transparency": lambda: deep_png(2),
    "png of 16 bits, colours": lambda: deep_png(3),
    "png of 16 bits, colours with transparency": lambda: deep_png(4),
    "png of 16 bits in one row": lambda: png_of_16_bits(np.zeros((1, SIDE**2 // 9, 3))),
    "png of 16 bits in long rows": lambda: png_of_16_bits(np.zeros((4, SIDE**2 // 12, 4))),
    "png of one column": lambda: column("L", "PNG"),
    "png of one column with transparency": lambda: column("RGBA", "PNG"),
    "png of one column of 16 bits": lambda: column("I;16", "PNG"),
    "jpeg": lambda: encoded("RGB", "JPEG"),
    "jpeg of several passes": lambda: encoded("RGB", "JPEG", progressive=True, subsampling=0),
    "jpeg, cmyk": lambda: encoded("CMYK", "JPEG"),
    "jpeg, cmyk of several passes": lambda: encoded("CMYK", "JPEG", progressive=True),
    "gif": lambda: encoded("P", "GIF"),
    "gif with transparency": lambda: encoded("P", "GIF", transparency=0),
    "webp": lambda: encoded("RGB", "WEBP", method=0, quality=30),
    "webp with transparency": lambda: encoded("RGBA", "WEBP", method=0, quality=30),
    "tiff of jpeg": lambda: encoded("RGB", "TIFF", compression="jpeg"),
    "tiff of floats": lambda: real_tiff(1),
    "tiff of lzw in one strip": lambda: lzw_tiff(SIDE),
    "tiff of one column": lambda: column("L", "TIFF", strip_size=2**30),
    "tiff of one column, packed": lambda: column("RGB", "TIFF", compression="tiff_lzw"),
    "tiff of floats in strips": lambda: real_tiff(1, rows=16),
    "tiff of floats in tiles": lambda: real_tiff(1, tile=(256, 256)),
    "tiff of floats, 3 bands": lambda: real_tiff(3, photometric=2),
    "tiff of floats, 4 planes": lambda: real_tiff(4, photometric=2, planar=True, extra=(2,)),
    "tiff of floats, of 13 bands": lambda: real_tiff(13, 900),
}


@measured
@pytest.mark.slow
def test_no_picture_takes_more_than_its_headers_tell(tmp_path: Path) -> None:
    files = [tmp_path / kind for kind in KINDS]
    for file in files:
        file.write_bytes(KINDS[file.name]())
    for file, (asked, peak) in zip(files, peaks_of(files, blocks=8), strict=True):
        # Less than its pixels as RGB would mean that nothing was measured.
        pixels = 900**2 if file.name.endswith("of 13 bands") else SIDE**2
        assert 4 * pixels < peak <= asked, (file.name, peak, asked)


@measured
@pytest.mark.slow
def test_readers_at_once_stay_within_the_budget(tmp_path: Path) -> None:
    file = tmp_path / "deep.tif"
    file.write_bytes(real_tiff(1, 1700))
    [unlimited] = peaks_of([file], threads=5, budget=10**9)
    [together] = peaks_of([file], threads=5, budget=unlimited.cost)
    # The pictures themselves stay.
    kept = 5 * 4 * 1700**2
    assert together.peak <= unlimited.cost + kept
    assert together.peak < 0.8 * unlimited.peak


@measured
@pytest.mark.slow
def test_a_deep_picture_of_the_largest_size_takes_no_more_than_300_mb(tmp_path: Path) -> None:
    file = tmp_path / "deep.tif"
    file.write_bytes(real_tiff(1, 6324))
    assert file.stat().st_size < 5e6
    [alone] = peaks_of([file])
    assert alone.peak <= alone.cost < 300e6
    [together] = peaks_of([file], threads=5)
    assert together.peak <= MAX_READING + 5 * 4 * 6324**2


def test_a_picture_that_takes_too_much_is_refused_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "MAX_READING", 30_000_000)
    with pytest.raises(BadImage) as refused:
        read_image(real_tiff(1), name="x")
    assert str(refused.value) == (
        "Found a picture that takes about 65 MB of memory in 'x'; expected at most 30 MB while it "
        "is read; make it smaller first."
    )


def test_a_large_strip_is_not_counted_beside_the_values_that_it_becomes() -> None:
    pixels = 5900**2
    memory = planning.plan_of(lzw_tiff(5900, empty=True), "x", None).memory
    # The strip, and what Pillow takes to unpack it.
    assert 2 * 8 * pixels < memory < 2.2 * 8 * pixels


def lossless_webp(side: int) -> bytes:
    """Whose header is of another size."""
    data = encoded("RGB", "WEBP", lossless=True, method=0, quality=0)
    assert data[12:16] == b"VP8L"
    return data[:21] + struct.pack("<L", (side - 1) | (side - 1) << 14) + data[25:]


def jpeg_of_passes(side: int, mode: str = "CMYK") -> bytes:
    """Whose header is of another size."""
    data = encoded(mode, "JPEG", progressive=True, subsampling=0)
    place = data.index(b"\xff\xc2") + 5
    return data[:place] + struct.pack(">HH", side, side) + data[place + 4 :]


def animated_png(side: int) -> bytes:
    """Whose header is of another size."""
    file = io.BytesIO()
    frames = [Image.new("RGB", (7, 5), colour) for colour in ("red", "blue")]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    data = file.getvalue()
    return data[:16] + struct.pack(">LL", side, side) + data[24:]


LATE: dict[str, Callable[[int], bytes]] = {
    "tiff of lzw in one strip": lambda side: lzw_tiff(side, empty=True),
    "webp without loss": lossless_webp,
    "png, animated": animated_png,
    "jpeg, cmyk of several passes": jpeg_of_passes,
}
"""Whose decoders take 8 bytes for each pixel before they find damage."""


@pytest.mark.parametrize("kind", LATE)
def test_what_takes_much_before_damage_is_found_is_refused_by_its_header(kind: str) -> None:
    assert planning.plan_of(LATE[kind](5900), "x", None).unchecked <= MAX_UNCHECKED
    with pytest.raises(BadImage) as refused:
        read_image(LATE[kind](6324), name="x")
    assert re.fullmatch(
        r"Found a picture that takes about 32\d MB of memory before it is known whether it is "
        r"damaged, in 'x'; expected at most 290 MB until then; save it again with common settings, "
        r"or make it smaller\.",
        str(refused.value),
    )


@pytest.mark.parametrize(("unchecked", "most"), [(MAX_UNCHECKED // 2, 2), (MAX_UNCHECKED, 1)])
def test_pictures_that_may_be_damaged_are_counted_together(
    unchecked: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    running: list[object] = []

    def read() -> tuple[Image.Image, list[str]]:
        running.append(read)
        time.sleep(0.05)
        at_once.append(len(running))
        running.pop()
        return Image.new("RGB", (3, 2)), []

    monkeypatch.setattr(reading, "plan_of", lambda *_: planning.Plan(1, unchecked, read))
    readers = [threading.Thread(target=read_image, args=(b"x",)) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(at_once) == 4
    assert max(at_once) == most


def test_an_animation_with_a_second_header_is_damaged() -> None:
    header, *rest = chunks_of(animated_png(5))
    # Of its real size.
    header = header[:4] + struct.pack(">LL", 7, 5) + header[12:]
    assert read_image(png([header, *rest])).size == (7, 5)
    small = header[:4] + struct.pack(">LL", 1, 1) + header[12:]
    at = next(place for place, chunk in enumerate(rest) if chunk.startswith(b"acTL"))
    with pytest.raises(BadImage, match="damaged or cut off"):
        read_image(png([small, *rest[: at + 1], header, *rest[at + 1 :]]))


def test_usual_pictures_of_the_largest_size_are_not_refused_for_it() -> None:
    passes = planning.plan_of(jpeg_of_passes(6324, "RGB"), "x", None)
    assert 6 * 6324**2 < passes.unchecked <= MAX_UNCHECKED
    strips = planning.plan_of(real_tiff(1, 6324, rows=64), "x", None)
    assert strips.unchecked < 50e6


def test_a_preview_in_the_header_is_no_pass_over_the_picture() -> None:
    plain = encoded("CMYK", "JPEG")
    kept = b"preview \xff\xda\xff\xda"
    preview = plain[:2] + b"\xff\xed" + struct.pack(">H", len(kept) + 2) + kept + plain[2:]
    assert Image.open(io.BytesIO(preview)).applist[0][1] == kept
    before, after = (planning.plan_of(data, "x", None) for data in (plain, preview))
    assert after.unchecked - before.unchecked == len(preview) - len(plain)
    assert after.memory - before.memory == len(preview) - len(plain)


def test_many_values_are_written_after_all_was_unpacked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = real_tiff(1, 96, rows=16)
    damaged = damaged_at_its_end(good)
    written, numbers = [], tiff._numbers

    def write(raw: np.ndarray, *given: Any) -> np.ndarray:
        written.append(len(raw))
        return numbers(raw, *given)

    monkeypatch.setattr(tiff, "_numbers", write)
    # Each strip is unpacked alone.
    monkeypatch.setattr(tiff, "_LARGE", 1)
    pixels = read_image(good).tobytes()
    for most, seen in ((10**9, 5 * 16), (0, 0)):
        monkeypatch.setattr(tiff, "_TWICE", most)
        assert read_image(good).tobytes() == pixels
        written.clear()
        with pytest.raises(BadImage, match="a damaged or cut off picture"):
            read_image(damaged)
        assert sum(written) == seen


def no_pixels(*_: object, **__: object) -> None:
    raise AssertionError("pixels were read")


def test_a_refusal_needs_the_headers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_READING", 1000)
    kinds = ("jpeg", "gif", "png with a palette", "webp", "tiff of floats", "tiff of jpeg")
    files = [KINDS[kind]() for kind in kinds]
    for reader in ("Image.Image", "ImageFile.ImageFile", "TiffImagePlugin.TiffImageFile"):
        monkeypatch.setattr(f"PIL.{reader}.load", no_pixels)
    monkeypatch.setattr("PIL._webp.WebPAnimDecoder", no_pixels)
    monkeypatch.setattr("vit_inspect.pictures.tiff.read_values", no_pixels)
    for data in files:
        with pytest.raises(BadImage, match="MB of memory in 'x'; expected at most 0 MB"):
            read_image(data, name="x")


ERRORS = [
    MemoryError(),
    OSError("out of memory when reading image file"),
    OSError("decoder error -9"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_a_lack_of_memory_while_decoding_is_no_damage(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_png()

    def full(_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(ImageFile.ImageFile, "load", full)
        with pytest.raises(OutOfMemory) as told:
            read_image(data, name="x")
        assert str(told.value).startswith(TOO_LITTLE)
    assert read_image(data).size == (7, 5)


def small_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (7, 5)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("step", ["_as_rgb", "_pixels_sha256", "_on_white"])
def test_a_lack_of_memory_while_converting_is_told(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        # As numpy says it.
        np.empty(1 << 60, np.uint8)

    with monkeypatch.context() as patched:
        patched.setattr(reading, step, full)
        with pytest.raises(OutOfMemory) as told:
            read_image(small_png(), name="x")
        assert str(told.value).startswith(TOO_LITTLE)
    # The next one finds its memory: nothing is held.
    with READING.part(MAX_READING):
        pass


@pytest.mark.parametrize("kind", ["picture", "array"])
def test_a_lack_of_memory_for_a_picture_that_is_handed_over_is_told(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", full)
    monkeypatch.setattr("vit_inspect.pictures.given.np.ascontiguousarray", full)
    given = np.zeros((5, 7, 3), np.uint8) if kind == "array" else Image.new("RGB", (7, 5))
    with pytest.raises(OutOfMemory, match="too little free memory to read 'a picture in memory'"):
        as_picture(given)


LIMITED = """
import resource, sys
from pathlib import Path
from vit_inspect.errors import InspectError
from vit_inspect.pictures.reading import read_image
from tests.helpers.peaks import memory

for file in sys.argv[1:]:
    data = Path(file).read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + 12_000_000, hard))
    try:
        told = str(read_image(data, name="x").size)
    except InspectError as error:
        told = f"{type(error).__name__}: {error}"
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    sys.stdout.write(f"{told}\\n{read_image(data).size}\\n")
"""


@measured
@pytest.mark.slow
def test_decoders_that_report_a_lack_of_memory_as_damage_are_not_believed(tmp_path: Path) -> None:
    kinds = ["jpeg of several passes", "webp", "png", "tiff of floats"]
    for kind in kinds:
        (tmp_path / kind).write_bytes(KINDS[kind]())
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, *(str(tmp_path / kind) for kind in kinds)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    size = str((SIDE, SIDE))
    for told, again in zip(*[iter(run.stdout.splitlines())] * 2, strict=True):
        assert told.startswith(f"OutOfMemory: {TOO_LITTLE}"), told
        assert again == size
    assert run.stdout.count(size) == len(kinds), run.stderr


def test_damage_is_still_damage() -> None:
    with pytest.raises(BadImage, match="a damaged or cut off picture in 'x'"):
        read_image(KINDS["jpeg"]()[:5000], name="x")
