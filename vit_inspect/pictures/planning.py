"""What do the headers of a picture tell: is it refused, what does it take, how is it read?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import (
    ICCPROFILE,
    IMAGELENGTH,
    IMAGEWIDTH,
    SAMPLESPERPIXEL,
    STRIPOFFSETS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    ImageFileDirectory_v2,
)

from vit_inspect.errors import BadImage
from vit_inspect.limits import MAX_BYTES, MAX_PIXELS, MAX_SIDE
from vit_inspect.pictures import tiff
from vit_inspect.pictures.bands import Chosen, Layout, choose
from vit_inspect.pictures.blocks import blocks
from vit_inspect.pictures.cost import (
    memory_before_opening,
    memory_for_file,
    memory_for_tiff,
    size_before_opening,
    unchecked_before_opening,
    unchecked_of_file,
    unchecked_of_tiff,
)
from vit_inspect.pictures.deep_png import deep_bands, read_deep_png
from vit_inspect.pictures.pieces import Pieces
from vit_inspect.pictures.tones import picture_of

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

_PASS = b"\xff\xda"
"""What begins a pass of a JPEG; these two bytes cannot follow each other in compressed pixels."""

MAX_SCANS = 100
"""Most passes over a JPEG; cameras and web sites write about 10."""

MAX_SCANNED = 20 * MAX_PIXELS
"""Most pixels of all these passes together: a progressive JPEG in CMYK has 18 passes. Of 60 bytes,
one over 40 megapixels takes 0.1 s."""

MAX_RUNS = 3_000_000
"""Most pixels of a BMP packed in runs, which Pillow unpacks in Python: at 0.2 µs for a pixel."""

MAX_DEEP = 80_000_000
"""Most values of a PNG of 16 bits, which take 2 s to read."""

MAX_TIFF_PARTS = 100_000
"""Most strips or tiles of a TIFF. If each row is a strip, the largest square has about 6,000."""

ACCEPTED = (
    f"a PNG, JPEG, WebP, BMP, GIF or TIFF picture of at most {MAX_PIXELS // 10**6} megapixels"
    f" and {MAX_BYTES // 10**6} MB"
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that undoes each EXIF orientation; 1 and unknown values are upright."""

MAKE_SMALLER = "make it smaller first"
_SEVERAL_FRAMES = "It has several frames; the first one is shown."


@dataclass(frozen=True)
class Plan:
    """What the headers say.

    memory: bytes that are taken at most until the picture is RGB, with those of the file.
    unchecked: those of them that are taken at most before damage can be found.
    read: gives the first frame, loaded and upright, in the file's own colours; and notices.
    """

    memory: int
    unchecked: int
    read: Callable[[], tuple[Image.Image, list[str]]]

    def __post_init__(self) -> None:
        # In a damaged file, a width can be a fraction, or less than 0.
        if not isinstance(self.memory, int) or self.memory < 0:
            raise ValueError(f"{self.memory} bytes of memory")


def plan_of(data: bytes, name: str, bands: tuple[int, ...] | None) -> Plan:
    """What the headers say; raises `BadImage` for what they say is no picture to read."""
    if not data:
        raise BadImage(f"0 bytes in '{name}'", ACCEPTED, "choose another file")
    if len(data) > MAX_BYTES:
        raise BadImage(f"more than {MAX_BYTES // 10**6} MB in '{name}'", ACCEPTED, MAKE_SMALLER)
    tags = None
    scans = data.count(_PASS) if data.startswith(b"\xff\xd8") else 0
    if scans > MAX_SCANS:
        raise slow(f"a JPEG of {scans} passes", name)
    if tiff.is_tiff(data):
        tags = tiff.tags_of(data)
        _refuse_slow_tiff(tags, name)
        layout = tiff.layout_of(tags, name)
        if layout is not None:
            return _plan_of_tiff(data, tags, layout, bands, name)
    if size := size_before_opening(data):
        _refuse_large(*size, name)
        memory = memory_before_opening(data, size, chosen=bands is not None)
        unchecked = unchecked_before_opening(data, size)
        return Plan(memory, unchecked, partial(_first_of_unopened, data, size, bands, name))
    try:
        file = _opened(data)
    except UnidentifiedImageError as error:
        if tags is not None and tiff.is_complete(tags):
            raise tiff.unsupported(tags, name) from error
        raise
    _refuse_large(file.width, file.height, name)
    _refuse_slow_png(file, name)
    # Those of a preview in its header are no passes over the picture.
    scans -= sum(part.count(_PASS) for _, part in getattr(file, "applist", ()))
    if scans > 1 and scans * file.width * file.height > MAX_SCANNED:
        raise slow(f"a JPEG of {scans} passes over {file.width} × {file.height} px", name)
    in_runs = any(part.codec_name == "bmp_rle" for part in file.tile)
    if in_runs and file.width * file.height > MAX_RUNS:
        raise slow(f"a BMP of {file.width} × {file.height} px packed in runs", name)
    shown = len(file.getbands())
    stored = shown if tags is None else tags.get(SAMPLESPERPIXEL, 1)
    if tags is not None and bands is not None and stored > shown:
        raise BadImage(
            f"{stored} bands in '{name}', of which only {shown} can be read",
            "a TIFF whose bands can all be read, to choose among them",
            "save it again without JPEG compression and palette, or leave out the bands",
        )
    told = [f"Only {shown} of its {stored} bands are shown."] if stored > shown else []
    memory = memory_for_file(file, data, scans=scans, chosen=bands is not None)
    unchecked = unchecked_of_file(file, data, scans=scans)
    return Plan(memory, unchecked, partial(_first_frame, file, data, bands, name, told))


def _opened(data: bytes) -> ImageFile.ImageFile:
    return Image.open(Pieces(data), formats=FORMATS)


def _first_of_unopened(
    data: bytes, size: tuple[int, int], bands: tuple[int, ...] | None, name: str
) -> tuple[Image.Image, list[str]]:
    file = _opened(data)
    if file.size != size:
        # A second header; the memory was asked for the first one.
        raise ValueError(f"{file.size} px, and {size} px at the start")
    _refuse_slow_png(file, name)
    return _first_frame(file, data, bands, name, [])


def _first_frame(
    file: ImageFile.ImageFile,
    data: bytes,
    bands: tuple[int, ...] | None,
    name: str,
    told: list[str],
) -> tuple[Image.Image, list[str]]:
    deep = read_deep_png(file, data)
    if deep is None:
        file.load()
    try:
        orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:
        # The pixels are complete, and most pictures with such data are upright.
        orientation = 1
        told = [*told, "Its EXIF data is damaged, so it may not be upright."]
    # Not the number of frames: counting reads a whole animation. The extra pictures in a
    # phone's MPO (previews, depth) are not frames.
    if file.format != "MPO" and getattr(file, "is_animated", False):
        told = [*told, _SEVERAL_FRAMES]
    if deep is None and bands is None:
        return _upright(file, orientation), told
    values, layout = deep or values_of(file)
    profile = file.info.get("icc_profile")
    # The values are enough now: this frees its pixels.
    file.close()
    chosen = choose(layout, bands, name)
    if chosen.bands != tuple(range(layout.bands)):
        deep, values = None, values[..., list(chosen.bands)]
    frame, notices = _shown(values, layout, chosen)
    if bands is None:
        frame.info["icc_profile"] = profile
    return _upright(frame, orientation), [*notices, *told]


def _plan_of_tiff(
    data: bytes,
    tags: ImageFileDirectory_v2,
    layout: Layout,
    bands: tuple[int, ...] | None,
    name: str,
) -> Plan:
    _refuse_large(tags[IMAGEWIDTH], tags[IMAGELENGTH], name)
    chosen = choose(layout, bands, name)
    memory = memory_for_tiff(data, tags, layout, chosen, name)
    unchecked = unchecked_of_tiff(data, tags, layout, chosen)
    read = partial(_first_of_tiff, data, tags, layout, bands, chosen)
    return Plan(memory, unchecked, read)


def _first_of_tiff(
    data: bytes,
    tags: ImageFileDirectory_v2,
    layout: Layout,
    bands: tuple[int, ...] | None,
    chosen: Chosen,
) -> tuple[Image.Image, list[str]]:
    frame, notices = _shown(tiff.read_values(data, tags, layout, chosen.bands), layout, chosen)
    if bands is None:
        frame.info["icc_profile"] = tags.get(ICCPROFILE)
    if layout.first_page:
        notices.append(_SEVERAL_FRAMES)
    return _upright(frame, tags.get(ExifTags.Base.Orientation, 1)), notices


def values_of(image: Image.Image) -> tuple[Shaped[np.ndarray, "row column band"], Layout]:
    """The values of a picture of Pillow; palettes and other colour spaces become RGB first."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK") and not is_deep(image):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    values = np.concatenate(
        [np.asarray(part).reshape(part.height, part.width, -1) for _, part in blocks(image)]
    )
    layout = Layout(
        "CMYK" if image.mode == "CMYK" else "RGB" if values.shape[2] > 2 else "L",
        values.shape[2],
        8 * values.dtype.itemsize,
        values.dtype.kind,
    )
    return values, layout


def is_deep(image: Image.Image) -> bool:
    """Whether a picture of Pillow has grey values of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _shown(
    values: Shaped[np.ndarray, "row column band"], layout: Layout, chosen: Chosen
) -> tuple[Image.Image, list[str]]:
    image, notices = picture_of(values, layout, chosen.mode)
    return image, [*chosen.notices, *notices]


def _upright(image: Image.Image, orientation: Any) -> Image.Image:
    # Not ImageOps.exif_transpose: it also rewrites the EXIF data, which is not needed here, and
    # therefore fails on good pictures with one invalid tag.
    turn = _UPRIGHT.get(orientation)
    if turn is not None:
        return image.transpose(turn)
    # A copy of a file that Pillow opened is a picture without a decoder.
    return image.copy() if isinstance(image, ImageFile.ImageFile) else image


def _refuse_slow_tiff(tags: ImageFileDirectory_v2, name: str) -> None:
    """Refuse small files that would keep Pillow busy for minutes or fill the memory."""
    # Pillow makes an object for each strip or tile before it reports the picture's size, and a
    # buffer for a whole tile even if the picture is small.
    parts = max(len(tags.get(tag, ())) for tag in (STRIPOFFSETS, TILEOFFSETS))
    if parts > MAX_TIFF_PARTS:
        raise slow(f"a TIFF of {parts} strips or tiles", name)
    width, height = tags.get(TILEWIDTH), tags.get(TILELENGTH)
    if isinstance(width, int) and isinstance(height, int) and width * height > MAX_PIXELS:
        raise slow(f"a TIFF with tiles of {width} × {height} px", name)


def _refuse_slow_png(file: ImageFile.ImageFile, name: str) -> None:
    if (values := deep_bands(file) * file.width * file.height) > MAX_DEEP:
        raise BadImage(
            f"{values:,} values of 16 bits in '{name}', a PNG of {file.width} × {file.height} px",
            f"at most {MAX_DEEP:,}",
            "save it with 8 bits, or make it smaller first",
        )


def slow(found: str, name: str) -> BadImage:
    """What to raise of a picture that common programs do not write, and that takes too long."""
    return BadImage(f"{found} in '{name}'", ACCEPTED, "save it again with common settings")


def _refuse_large(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise too_many_pixels(f"{width} × {height} px", name)
    if max(width, height) > MAX_SIDE:
        raise BadImage(
            f"{width} × {height} px in '{name}'",
            f"sides of at most {MAX_SIDE:,} px",
            "cut it into pieces first",
        )


def too_many_pixels(size: str, name: str) -> BadImage:
    """The error for a picture of this size."""
    return BadImage(f"{size} in '{name}'", ACCEPTED, MAKE_SMALLER)
