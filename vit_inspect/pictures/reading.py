"""How is a file or its bytes read safely into an upright RGB picture?

A picture that would fill the memory or take minutes is refused by its header. Any other is turned
upright, converted to sRGB, put on white where it is transparent, and scaled to 8 bits. Every
problem with a picture raises `BadImage`. Readers wait until there is memory for what their pictures
take, as their headers tell; memory that is missing all the same raises `OutOfMemory`.

Pictures are plain Pillow images. Their origin is stored in `image.info["origin"]`, because copies
of an image keep its `info`. `describe` reads it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Shaped
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError
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

from vit_inspect.errors import BadImage, BadParameter, memory_told
from vit_inspect.limits import MAX_BYTES, MAX_PIXELS, MAX_READING, READING
from vit_inspect.pictures import tiff
from vit_inspect.pictures.bands import Chosen, Layout, checked_bands, choose
from vit_inspect.pictures.blocks import blocks
from vit_inspect.pictures.cost import (
    memory_before_opening,
    memory_for_file,
    memory_for_tiff,
    size_before_opening,
)
from vit_inspect.pictures.deep_png import read_deep_png
from vit_inspect.pictures.tones import picture_of

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_NAME = 80

MAX_SCANS = 100
"""Most passes over a JPEG; cameras and web sites write about 10."""

MAX_SCANNED = 10 * MAX_PIXELS
"""Most pixels of all these passes together; of 60 bytes, one over 40 megapixels takes 0.1 s."""

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

_MAGIC = rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|BM[^\0]*\0"
"""First bytes of files in the accepted formats."""

_KINDS = (
    (rb"....ftyp(heic|heix|mif1|msf1)", "a HEIC picture"),
    (rb"....ftypavi[fs]", "an AVIF picture"),
    (rb"....ftyp", "a video"),
    (rb"%PDF", "a PDF document"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"[^\0]*<svg", "an SVG drawing"),
    (rb"[^\0-\x08\x0e-\x1f]+\Z", "text"),
)
"""First bytes of files that people mistake for pictures, the most certain first."""

_MAKE_SMALLER = "make it smaller first"
_SEVERAL_FRAMES = "It has several frames; the first one is shown."

_NO_MEMORY = r"out of memory|decoder error -9\b"
"""What Pillow says where a decoder got no memory."""

# At run time an io.BytesIO is not a BinaryIO.
BinaryFile = BinaryIO | io.BufferedIOBase


@dataclass(frozen=True)
class ImageOrigin:
    """Where a picture came from.

    name: file name without folders, for display; untrusted text without control characters.
    sha256: of the file's bytes; of size and pixels for a picture that came from no file.
    source: the path as it was given, or None for bytes.
    notices: sentences for the user about what was changed when the picture was read.
    pixels_sha256: of size and pixels; shows `describe` whether the picture was edited later.
    """

    name: str
    sha256: str
    source: str | None
    notices: tuple[str, ...]
    pixels_sha256: str


def read_image(
    source: str | os.PathLike[str] | bytes | BinaryFile,
    *,
    name: str | None = None,
    bands: Sequence[int] | None = None,
) -> Image.Image:
    """The upright RGB picture in a file, in bytes or in an open binary file (from its start).

    name: the name in figures, by default the file's own name.
    bands: which bands of the file to show, counted from 0: three as red, green and blue, such as
        (3, 2, 1), or one as grey. Three bands have one scale. The colour profile and the
        transparency of the file are then ignored.

    Transparency is replaced by white, values of more than 8 bits are scaled to 8 bits, colour
    profiles are applied, and the first of several frames is used. `describe(image).notices` tells
    what was assumed or left out. Safe to call from any thread.

    All threads together take at most 800 MB of memory while they read: where it could be more, they
    wait for each other.

    Raises `BadImage` for a file that cannot be shown: one that is damaged, of another kind, of more
    than 40 megapixels or 100 MB, which would take more than 800 MB of memory alone, or with several
    bands of which nothing says which are colours. Raises `BadParameter` for `bands` that are not
    one or three numbers, and `OutOfMemory` where the computer has too little memory at the moment.
    """
    chosen_bands = None if bands is None else checked_bands(bands)
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    own_name = getattr(source, "name", None) if path is None else path
    name = _display_name(name if name is not None else own_name)
    with memory_told_of(name):
        data = _bytes_of(source)
        with _refusals(data, name), _quiet:
            plan = _plan(data, name, chosen_bands)
        if plan.memory > MAX_READING:
            raise BadImage(
                f"a picture that takes about {plan.memory / 1e6:,.0f} MB of memory in '{name}'",
                f"at most {MAX_READING // 10**6} MB while it is read",
                _MAKE_SMALLER,
            )
        with READING.part(plan.memory):
            with _refusals(data, name, plan.memory), _quiet:
                image, file_notices = plan.read()
                # It holds the file as Pillow opened it, with its pixels and its decoder.
                del plan
                image, pixel_notices = _as_rgb(image)
            image.info = {}
            image.info["origin"] = ImageOrigin(
                name=name,
                sha256=hashlib.sha256(data).hexdigest(),
                source=path,
                notices=(*file_notices, *pixel_notices),
                pixels_sha256=_pixels_sha256(image),
            )
    return image


def describe(image: Image.Image) -> ImageOrigin:
    """Where a picture came from, for any Pillow image.

    A picture that was edited after `read_image`, for example cropped, keeps its name, but its
    sha256 is that of its pixels, and a notice says so.
    """
    pixels = _pixels_sha256(image)
    origin = image.info.get("origin")
    if not isinstance(origin, ImageOrigin):
        return ImageOrigin("image", pixels, None, (), pixels)
    if origin.pixels_sha256 == pixels:
        return origin
    edited = (*origin.notices, "The picture was changed after it was read.")
    return replace(origin, sha256=pixels, source=None, notices=edited, pixels_sha256=pixels)


def _bytes_of(source: str | os.PathLike[str] | bytes | BinaryFile) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _file_bytes(os.fspath(source))
    return _stream_bytes(source)


def _file_bytes(path: str) -> bytes:
    """The bytes of a regular file; opening a pipe could wait forever."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise BadImage(
                f"a folder at '{printable(path)}'", "a picture file", "name a file inside it"
            )
        if not stat.S_ISREG(status.st_mode):
            raise BadImage(
                f"a device or pipe at '{printable(path)}'", "a picture file", "name a file"
            )
        with open(path, "rb") as file:
            return _stream_bytes(file)
    except (OSError, ValueError) as error:
        raise unopened(path, error) from error


def _stream_bytes(file: BinaryFile) -> bytes:
    """All bytes, but at most one more than is accepted."""
    try:
        if file.seekable():
            file.seek(0)
        return file.read(MAX_BYTES + 1)
    except AttributeError:
        raise BadParameter(
            f"an object of type {type(file).__name__} in place of a file",
            "a path, bytes or an open file",
            "name a picture file",
        ) from None
    except (OSError, ValueError) as error:
        raise unopened(getattr(file, "name", None) or "the open file", error) from error


def unopened(
    path: object, error: OSError | ValueError, *, remedy: str = "check the path"
) -> BadImage:
    """The error for a file that cannot be read at all."""
    where = f"'{printable(str(path))}'"
    if isinstance(error, PermissionError):
        return BadImage(
            f"no permission to read {where}",
            "a readable file",
            "change its permissions or choose another file",
        )
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return BadImage(
            f"nothing at {where}",
            "a picture file",
            remedy,
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return BadImage(
        f"a file that cannot be opened at {where} ({printable(reason)})",
        "a readable file",
        "choose another file",
    )


@dataclass(frozen=True)
class _Plan:
    """What the headers say.

    memory: bytes that are taken at most until the picture is RGB, with those of the file.
    read: gives the first frame, loaded and upright, in the file's own colours; and notices.
    """

    memory: int
    read: Callable[[], tuple[Image.Image, list[str]]]

    def __post_init__(self) -> None:
        # In a damaged file, a width can be a fraction, or less than 0.
        if not isinstance(self.memory, int) or self.memory < 0:
            raise ValueError(f"{self.memory} bytes of memory")


def memory_told_of(name: str) -> AbstractContextManager[None]:
    """Turns a lack of memory into an `OutOfMemory` that says which picture it was."""
    return memory_told(
        f"too little free memory to read '{name}'",
        "room for the picture",
        "try again in a moment, or make the picture smaller",
    )


@contextmanager
def _refusals(data: bytes, name: str, memory: int = 0) -> Iterator[None]:
    """Turns what Pillow raises into `BadImage`, and a lack of memory into `MemoryError`."""
    try:
        yield
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        # Pillow also raises this for its own formats when their headers are damaged.
        if re.match(_MAGIC, data, re.DOTALL):
            raise _damaged(name) from error
        raise BadImage(f"{_kind(data)} in '{name}'", ACCEPTED, "choose another file") from error
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(f"far more than {MAX_PIXELS // 10**6} megapixels", name) from error
    # Damaged bytes make Pillow's plugins raise almost any error: no list of them is complete.
    except Exception as error:
        if isinstance(error, OSError) and re.search(_NO_MEMORY, str(error)):
            raise MemoryError from error
        # Some decoders report a lack of memory as damage. So this asks for it all at once: it costs
        # nothing, because nothing is written there.
        np.empty(memory, np.uint8)
        raise _damaged(name) from error


class _Quiet:
    """Hides Pillow's warnings while anybody reads.

    Warning filters belong to the whole process: if two threads changed them at once, they would
    stay changed. So the first one changes them, and the last one changes them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._before.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._before.close()


_quiet = _Quiet()


def _plan(data: bytes, name: str, bands: tuple[int, ...] | None) -> _Plan:
    """What the headers say; raises `BadImage` for what they say is no picture to read."""
    if not data:
        raise BadImage(f"0 bytes in '{name}'", ACCEPTED, "choose another file")
    if len(data) > MAX_BYTES:
        raise BadImage(f"more than {MAX_BYTES // 10**6} MB in '{name}'", ACCEPTED, _MAKE_SMALLER)
    tags = None
    # These two bytes cannot follow each other in a JPEG's compressed pixels.
    scans = data.count(b"\xff\xda") if data.startswith(b"\xff\xd8") else 0
    if scans > MAX_SCANS:
        raise _slow(f"a JPEG of {scans} passes", name)
    if tiff.is_tiff(data):
        tags = tiff.tags_of(data)
        _refuse_slow_tiff(tags, name)
        layout = tiff.layout_of(tags, name)
        if layout is not None:
            return _plan_of_tiff(data, tags, layout, bands, name)
    if size := size_before_opening(data):
        _refuse_large(*size, name)
        memory = memory_before_opening(data, size, chosen=bands is not None)
        return _Plan(memory, partial(_first_of_unopened, data, bands, name))
    try:
        file = _opened(data)
    except UnidentifiedImageError as error:
        if tags is not None and tiff.is_complete(tags):
            raise tiff.unsupported(tags, name) from error
        raise
    _refuse_large(file.width, file.height, name)
    if scans > 1 and scans * file.width * file.height > MAX_SCANNED:
        raise _slow(f"a JPEG of {scans} passes over {file.width} × {file.height} px", name)
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
    return _Plan(memory, partial(_first_frame, file, data, bands, name, told))


def _opened(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _first_of_unopened(
    data: bytes, bands: tuple[int, ...] | None, name: str
) -> tuple[Image.Image, list[str]]:
    file = _opened(data)
    _refuse_large(file.width, file.height, name)
    return _first_frame(file, data, bands, name, [])


def _first_frame(
    file: ImageFile.ImageFile,
    data: bytes,
    bands: tuple[int, ...] | None,
    name: str,
    told: list[str],
) -> tuple[Image.Image, list[str]]:
    frame, notices = _frame_of(file, data, bands, name)
    notices += told
    try:
        orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:
        # The pixels are complete, and most pictures with such data are upright.
        orientation = 1
        notices.append("Its EXIF data is damaged, so it may not be upright.")
    # Not the number of frames: counting reads a whole animation. The extra pictures in a
    # phone's MPO (previews, depth) are not frames.
    if file.format != "MPO" and getattr(file, "is_animated", False):
        notices.append(_SEVERAL_FRAMES)
    return _upright(frame, orientation), notices


def _plan_of_tiff(
    data: bytes,
    tags: ImageFileDirectory_v2,
    layout: Layout,
    bands: tuple[int, ...] | None,
    name: str,
) -> _Plan:
    _refuse_large(tags[IMAGEWIDTH], tags[IMAGELENGTH], name)
    chosen = choose(layout, bands, name)
    memory = memory_for_tiff(data, tags, layout, chosen, name)
    return _Plan(memory, partial(_first_of_tiff, data, tags, layout, bands, chosen))


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


def _frame_of(
    file: ImageFile.ImageFile, data: bytes, bands: tuple[int, ...] | None, name: str
) -> tuple[Image.Image, list[str]]:
    """The first frame of an opened picture in 8 bits, or its chosen bands; and notices."""
    deep = read_deep_png(file, data)
    if deep is None and bands is None:
        file.load()
        return file, []
    values, layout = deep or _values_of(file)
    chosen = choose(layout, bands, name)
    if chosen.bands != tuple(range(layout.bands)):
        deep, values = None, values[..., list(chosen.bands)]
    frame, notices = _shown(values, layout, chosen)
    if bands is None:
        frame.info["icc_profile"] = file.info.get("icc_profile")
    return frame, notices


def _values_of(image: Image.Image) -> tuple[Shaped[np.ndarray, "row column band"], Layout]:
    """The values of a picture of Pillow; palettes and other colour spaces become RGB first."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK") and not _is_deep(image):
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


def _shown(
    values: Shaped[np.ndarray, "row column band"], layout: Layout, chosen: Chosen
) -> tuple[Image.Image, list[str]]:
    image, notices = picture_of(values, layout, chosen.mode)
    return image, [*chosen.notices, *notices]


def _upright(image: Image.Image, orientation: Any) -> Image.Image:
    # Not ImageOps.exif_transpose: it also rewrites the EXIF data, which is not needed here, and
    # therefore fails on good pictures with one invalid tag.
    turn = _UPRIGHT.get(orientation)
    return image.copy() if turn is None else image.transpose(turn)


def _refuse_slow_tiff(tags: ImageFileDirectory_v2, name: str) -> None:
    """Refuse small files that would keep Pillow busy for minutes or fill the memory."""
    # Pillow makes an object for each strip or tile before it reports the picture's size, and a
    # buffer for a whole tile even if the picture is small.
    parts = max(len(tags.get(tag, ())) for tag in (STRIPOFFSETS, TILEOFFSETS))
    if parts > MAX_TIFF_PARTS:
        raise _slow(f"a TIFF of {parts} strips or tiles", name)
    width, height = tags.get(TILEWIDTH), tags.get(TILELENGTH)
    if isinstance(width, int) and isinstance(height, int) and width * height > MAX_PIXELS:
        raise _slow(f"a TIFF with tiles of {width} × {height} px", name)


def _slow(found: str, name: str) -> BadImage:
    return BadImage(f"{found} in '{name}'", ACCEPTED, "save it again with common settings")


def _refuse_large(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width} × {height} px", name)


def _too_many_pixels(size: str, name: str) -> BadImage:
    return BadImage(f"{size} in '{name}'", ACCEPTED, _MAKE_SMALLER)


def _damaged(name: str) -> BadImage:
    return BadImage(
        f"a damaged or cut off picture in '{name}'",
        "a complete file",
        "save or download it again, or choose another file",
    )


def _kind(data: bytes) -> str:
    """The kind of a file that Pillow does not know, by its first bytes."""
    for pattern, kind in _KINDS:
        if re.match(pattern, data[:512], re.DOTALL):
            return kind
    return "a file of another kind"


def _as_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Any loaded picture as 8-bit sRGB on white; and notices."""
    profile = image.info.get("icc_profile")
    notices: list[str] = []
    if _is_deep(image):
        image, notices = picture_of(*_values_of(image), "L")
    elif image.has_transparency_data:
        image, clear = _on_white(image)
        if clear:
            notices.append("Its transparency was replaced by white.")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile is not None:
        try:
            image = _in_srgb(image, profile)
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            notices.append("Its colour profile could not be applied.")
    elif image.mode == "CMYK":
        notices.append("Its print colours (CMYK) were converted without a profile.")
    return image if image.mode == "RGB" else image.convert("RGB"), notices


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """A picture with transparency on white; and whether any of it is to be seen."""
    rgb, clear = Image.new("RGB", image.size), False
    for rows, part in blocks(image):
        layer = part.convert("RGBA")
        clear = clear or layer.getchannel("A").getextrema() != (255, 255)
        white = Image.new("RGBA", layer.size, "white")
        rgb.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, rows.start))
    return rgb, clear


def _is_deep(image: Image.Image) -> bool:
    """Whether a picture of Pillow has grey values of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    # A conversion from sRGB to sRGB would only change some pixels by a rounding error.
    if image.mode != "CMYK" and "sRGB" in ImageCms.getProfileDescription(given):
        return image
    to_srgb = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    return to_srgb.apply(image)


def _pixels_sha256(image: Image.Image) -> str:
    rgb = image if image.mode == "RGB" else _as_rgb(image)[0]
    digest = hashlib.sha256(f"{rgb.width} x {rgb.height}:".encode())
    for _, part in blocks(rgb):
        digest.update(part.tobytes())
    return digest.hexdigest()


def _display_name(name: object) -> str:
    """A file name for display, without the folders of any operating system."""
    last = re.split(r"[/\\]", name)[-1] if isinstance(name, str) else ""
    return printable(last).strip()[:MAX_NAME] or "image"


def printable(text: str) -> str:
    """Untrusted text without control characters."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))
