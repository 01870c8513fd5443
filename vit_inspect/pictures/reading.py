"""How is a file or its bytes read safely into an upright RGB picture?

A picture that could do harm is refused by its header. Any other is converted: upright, in sRGB, on
white, with its whole range of tones. Every problem with a picture raises `BadImage`.

The origin of a picture is stored in `image.info["origin"]`, because pictures are plain Pillow
images, whose copies keep `info`. `describe` reads it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import threading
import warnings
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import (
    PREFIXES,
    STRIPOFFSETS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    ImageFileDirectory_v2,
)

from vit_inspect.errors import BadImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 40_000_000
MAX_BYTES = 100_000_000
MAX_NAME = 80

MAX_SCANS = 100
"""Most passes over a JPEG; cameras and web sites write about 10. Each can take 60 bytes, 40 ms."""

MAX_TIFF_PARTS = 100_000
"""Most strips or tiles of a TIFF; with one strip for each row, a square picture has about 6,000."""

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

_WARNINGS = threading.Lock()

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
    source: str | os.PathLike[str] | bytes | BinaryFile, *, name: str | None = None
) -> Image.Image:
    """The upright RGB picture in a file, in bytes or in an open binary file (from its start).

    name: the name in figures, by default the file's own name.

    Transparency is replaced by white, pixels of more than 8 bits are scaled to 8 bits, colour
    profiles are applied, and the first of several frames is used; `describe(image).notices` says
    so. Raises `BadImage` for everything else, such as a damaged file or more than 40 megapixels or
    100 MB. Safe to call from any thread.
    """
    path = None
    if isinstance(source, bytes):
        data, own_name = source, None
    elif isinstance(source, (str, os.PathLike)):
        path = own_name = os.fspath(source)
        data = _file_bytes(path)
    else:
        data, own_name = _stream_bytes(source), getattr(source, "name", None)
    name = _display_name(name if name is not None else own_name)
    image, file_notices = _decoded(data, name)
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
    """All bytes, up to one more than is accepted."""
    try:
        if file.seekable():
            file.seek(0)
        return file.read(MAX_BYTES + 1)
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


def _decoded(data: bytes, name: str) -> tuple[Image.Image, list[str]]:
    """The first frame, loaded and upright, in the file's own mode; and notices."""
    if not data:
        raise BadImage(f"0 bytes in '{name}'", ACCEPTED, "choose another file")
    if len(data) > MAX_BYTES:
        raise BadImage(f"more than {MAX_BYTES // 10**6} MB in '{name}'", ACCEPTED, _MAKE_SMALLER)
    try:
        # Warning filters belong to the whole process: if two threads changed them at once, they
        # would stay changed. The lock also limits memory: one file is decoded at a time.
        with _WARNINGS, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return _first_frame(data, name)
    except BadImage:
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
        raise _damaged(name) from error


def _first_frame(data: bytes, name: str) -> tuple[Image.Image, list[str]]:
    _refuse_slow(data, name)
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        if file.width * file.height > MAX_PIXELS:
            raise _too_many_pixels(f"{file.width} x {file.height} px", name)
        file.load()
        notices = []
        try:
            orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:
            # The pixels are complete, and most pictures with such data are upright.
            orientation = 1
            notices.append("Its EXIF data is damaged, so it may not be upright.")
        # Not ImageOps.exif_transpose: it also rewrites the EXIF data, which is not needed here,
        # and therefore fails on good pictures with one invalid tag.
        turn = _UPRIGHT.get(orientation)
        frame = file.copy() if turn is None else file.transpose(turn)
        # Not the number of frames: counting reads a whole animation. The extra pictures in a
        # phone's MPO (previews, depth) are not frames.
        if file.format != "MPO" and getattr(file, "is_animated", False):
            notices.append("It has several frames; the first one is shown.")
        return frame, notices


def _refuse_slow(data: bytes, name: str) -> None:
    """Refuse small files that would keep Pillow busy for minutes or fill the memory."""
    found = None
    # These two bytes cannot follow each other in a JPEG's compressed pixels.
    if data.startswith(b"\xff\xd8") and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
        found = f"a JPEG of {scans} passes"
    elif data.startswith(tuple(PREFIXES)):
        # Pillow makes an object for each strip or tile before it reports the picture's size, and
        # a buffer for a whole tile even if the picture is small.
        tags = _tiff_tags(data)
        parts = max(len(tags.get(tag, ())) for tag in (STRIPOFFSETS, TILEOFFSETS))
        if parts > MAX_TIFF_PARTS:
            found = f"a TIFF of {parts} strips or tiles"
        width, height = tags.get(TILEWIDTH), tags.get(TILELENGTH)
        if isinstance(width, int) and isinstance(height, int) and width * height > MAX_PIXELS:
            found = f"a TIFF with tiles of {width} x {height} px"
    if found:
        raise BadImage(f"{found} in '{name}'", ACCEPTED, "save it again with common settings")


def _tiff_tags(data: bytes) -> ImageFileDirectory_v2:
    """The tags of a TIFF's first picture; BigTIFF's header is twice as long."""
    tags = ImageFileDirectory_v2(data[: 16 if data[2] == 43 else 8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


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
    if image.mode == "F" or image.mode.startswith("I"):
        image, notices = _as_grey(image)
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            notices.append("Its transparency was replaced by white.")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile is not None:
        try:
            image = _in_srgb(image, profile)
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            notices.append("Its colour profile could not be applied.")
    elif image.mode == "CMYK":
        notices.append("Its print colours (CMYK) were converted without a profile.")
    return image.convert("RGB"), notices


def _as_grey(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A picture of more than 8 bits, scaled: 16 bits by 1/257, others by their own range.

    Infinite values get the end of the range, NaN becomes black. A constant picture is black.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8)), []
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scaled = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled -= low
    if high > low:
        scaled *= 255 / (high - low)
    notice = f"Its values, {low:g} to {high:g}, were scaled to the range from black to white."
    return Image.fromarray(np.rint(scaled).astype(np.uint8)), [notice]


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
    digest.update(rgb.tobytes())
    return digest.hexdigest()


def _display_name(name: object) -> str:
    """A file name for display, without the folders of any operating system."""
    last = re.split(r"[/\\]", name)[-1] if isinstance(name, str) else ""
    return printable(last).strip()[:MAX_NAME] or "image"


def printable(text: str) -> str:
    """Untrusted text without control characters."""
    return "".join(character for character in text if character.isprintable())
