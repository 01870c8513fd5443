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
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from vit_inspect.errors import BadImage, BadParameter, memory_told
from vit_inspect.limits import MAX_BYTES, MAX_PIXELS, MAX_READING, MAX_UNCHECKED, READING, UNCHECKED
from vit_inspect.pictures.bands import checked_bands
from vit_inspect.pictures.blocks import blocks
from vit_inspect.pictures.pieces import MAX_PIECES, TooManyPieces
from vit_inspect.pictures.planning import (
    ACCEPTED,
    MAKE_SMALLER,
    is_deep,
    plan_of,
    slow,
    too_many_pixels,
    values_of,
)
from vit_inspect.pictures.tones import picture_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_NAME = 80

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
    than 40 megapixels, 2 million px a side or 100 MB, which would take more than 800 MB of memory
    alone, or 290 MB before damage can be found, which takes too long to unpack, or with several
    bands of which nothing says which are colours.
    Raises `BadParameter` for `bands` that are not one or three numbers, and `OutOfMemory` where the
    computer has too little memory at the moment.
    """
    chosen_bands = None if bands is None else checked_bands(bands)
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    own_name = getattr(source, "name", None) if path is None else path
    name = _display_name(name if name is not None else own_name)
    with memory_told_of(name):
        data = _bytes_of(source)
        with _refusals(data, name), _quiet:
            plan = plan_of(data, name, chosen_bands)
        if plan.memory > MAX_READING:
            raise BadImage(
                f"a picture that takes about {plan.memory / 1e6:,.0f} MB of memory in '{name}'",
                f"at most {MAX_READING // 10**6} MB while it is read",
                MAKE_SMALLER,
            )
        if plan.unchecked > MAX_UNCHECKED:
            raise BadImage(
                f"a picture that takes about {plan.unchecked / 1e6:,.0f} MB of memory before it is"
                f" known whether it is damaged, in '{name}'",
                f"at most {MAX_UNCHECKED // 10**6} MB until then",
                "save it again with common settings, or make it smaller",
            )
        with READING.part(plan.memory):
            with _refusals(data, name, plan.memory), _quiet:
                with UNCHECKED.part(plan.unchecked):
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
    except TooManyPieces as error:
        raise slow(f"more than {MAX_PIECES:,} pieces of a file", name) from error
    except Image.DecompressionBombError as error:
        raise too_many_pixels(f"far more than {MAX_PIXELS // 10**6} megapixels", name) from error
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
    if is_deep(image):
        image, notices = picture_of(*values_of(image), "L")
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
        if layer.getchannel("A").getextrema() != (255, 255):
            clear = True
            layer = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        rgb.paste(layer.convert("RGB"), (0, rows.start))
    return rgb, clear


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
