"""How is a file of weights read safely into plain values?

The file may come from a stranger: no code in it is run, and nothing is unpacked before its header
shows that it is small enough. Its bytes decide what it is, not its name. Every problem with it
raises `WeightsUnavailable`.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import re
import stat
import sys
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from vit_inspect.errors import BadParameter, OutOfMemory, WeightsUnavailable, lacks_memory
from vit_inspect.loading import archives
from vit_inspect.loading.pickles import ALWAYS_UNPACKED, MAX_PACKING, check_pickle
from vit_inspect.pictures.reading import printable

ACCEPTED = "weights as .safetensors, .pth or .npz"

PLAIN = re.compile(
    r"(pathlib|datetime|argparse|collections|typing|enum|decimal|uuid|fractions)(\.\w+)+"
    r"|types\.SimpleNamespace|torch\.torch_version\.TorchVersion"
    r"|builtins\.(list|dict|set|frozenset|tuple|str|int|float|complex|bool|slice|range|getattr)"
)
"""Names of Python and torch that stand for plain values, such as dates and paths."""

RUNNING = frozenset({*sys.stdlib_module_names, "builtins", "torch", "timm"})
"""Packages whose other names mean a program, or a whole network."""

MAX_PASSED_OVER = 60
"""Most classes of one file that are passed over."""

MAX_HEADER = 10_000_000
"""Most bytes of a safetensors header; a weight takes about 100."""

MAX_PICKLE = 20_000_000
"""Most bytes of names, texts and single numbers of an archive of torch.save; a weight takes 100."""

MAX_WEIGHTS, MAX_NAME = 10_000, 200
"""Most weights of a stranger's file, and most letters of their names. Names are compared with each
other; the largest networks have about 1,000 weights."""

_reading = threading.Lock()
"""One file is unpacked at a time; the classes that torch reads are set for the whole process."""

CHUNK = 2**20
"""Bytes that are read at a time to compare a checksum."""

_ZIP, _PICKLE, _NUMPY = b"PK", b"\x80", b"\x93NUMPY"

_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of torch.save before they were ZIP archives."""


def read_saved(path: Path, name: str) -> object:
    """What a .safetensors, .pth (torch.save) or .npz file holds.

    name: of the file, for display.

    Raises `WeightsUnavailable` for anything else: code, objects, damaged files (also those whose
    checksums or sizes do not agree), files that unpack to far more than their size or with more
    weights than networks have. Raises `OutOfMemory` where the computer has too little memory at the
    moment. Threads wait for each other, so that one file at a time is unpacked.
    """
    head, size = _head(path, name)
    with _reading, _refusals(name):
        if head.startswith(_ZIP):
            return _from_archive(path, name, size)
        if head[8:9] == b"{":
            return _from_safetensors(path, name, size, int.from_bytes(head[:8], "little"))
        if head.startswith(_TORCH):
            with path.open("rb") as file:
                check_pickle(file, name, size)
            return _from_torch(path, name)
        raise _other(head, name)


def check_safetensors(path: Path, name: str) -> None:
    """Look whether a file is a whole .safetensors; of its weights nothing is read.

    name: of the file, for display.

    Raises `WeightsUnavailable` for any other kind of file, whatever it is called, and for a file
    that is damaged, cut off, without weights or with more of them than networks have.
    """
    head, size = _head(path, name)
    if head[8:9] != b"{":
        raise WeightsUnavailable(
            f"no .safetensors in {name!r}",
            "weights as .safetensors",
            "write them with safetensors.torch.save_file",
        )
    _check_header(name, size, int.from_bytes(head[:8], "little"))
    with _refusals(name), safe_open(path, framework="numpy") as file:
        names = file.keys()
    if not names:
        raise WeightsUnavailable(f"no weights in {name!r}", ACCEPTED, "choose another file")
    check_number(len(names), name)
    if max(map(len, names)) > MAX_NAME:
        raise WeightsUnavailable(
            f"names of weights of up to {max(map(len, names)):,} letters in {name!r}",
            f"at most {MAX_NAME}",
            "save the weights of one network",
        )


def check_torch_file(path: Path) -> None:
    """Refuse what another package is to read as torch.save's, if it is not, or claims too much.

    Raises `WeightsUnavailable` for that, and for damage.
    """
    name = printable(path.name)
    head, size = _head(path, name)
    with _reading, _refusals(name):
        if head.startswith(_ZIP):
            with archives.opened(path, name) as archive:
                members = [each for each in archive.infolist() if not each.is_dir()]
                _check_packed(members, name, size)
                _check_pickles(archive, members, name, size)
        elif head.startswith(_TORCH):
            with path.open("rb") as file:
                check_pickle(file, name, size)
        else:
            raise _other(head, name)


def check_sha256(path: Path, wanted: str) -> None:
    """Compare the SHA-256 of a file with the one that it must have, before anything is read of it.

    wanted: 64 hexadecimal digits.

    Raises `BadParameter` for other words than these, `WeightsUnavailable` for another hash.
    """
    if not isinstance(wanted, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", wanted):
        raise BadParameter(
            f"the hash sha256={wanted!r}"[:200],
            "the 64 hexadecimal digits of a SHA-256",
            "copy them from where the file is from, or run sha256sum on a file that you trust",
        )
    name = printable(path.name)
    _head(path, name)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted.lower():
        raise WeightsUnavailable(
            f"the SHA-256 {found} of {name!r}",
            wanted.lower(),
            "download the file again, or correct the hash if you trust this file",
        )


def shown(text: str) -> str:
    """Text from the file, such as the name of a weight, made printable and short."""
    text = printable(text)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _head(path: Path, name: str) -> tuple[bytes, int]:
    """The first bytes of a regular file, and its size; opening a pipe could wait forever."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise WeightsUnavailable(f"a folder at {name!r}", ACCEPTED, "name a file inside it")
        if not stat.S_ISREG(status.st_mode):
            raise WeightsUnavailable(f"a device or pipe at {name!r}", ACCEPTED, "name a file")
        with path.open("rb") as file:
            head = file.read(64)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WeightsUnavailable(f"nothing at {name!r}", ACCEPTED, "check the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise WeightsUnavailable(
            f"a checkpoint that cannot be opened, {name!r} ({printable(reason)})",
            "a readable file",
            "change its permissions or choose another file",
        ) from error
    if not head:
        raise WeightsUnavailable(f"0 bytes in {name!r}", ACCEPTED, "choose another file")
    return head, status.st_size


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turns what readers raise into `WeightsUnavailable`, and a lack of memory into `OutOfMemory`.

    Damaged bytes make them raise any error: EOFError, IndexError, zlib.error, ...
    """
    try:
        yield
    except WeightsUnavailable:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise OutOfMemory(
                f"too little free memory to read {name!r}",
                "room for its weights",
                "try again in a moment, or save the weights of the network alone",
            ) from error
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> WeightsUnavailable:
    said = " ".join(str(error).split())
    # Not the words of torch, numpy and others: they speak of code, not of files.
    reason = "it ends too early" if isinstance(error, EOFError) else "its contents cannot be read"
    if isinstance(error, SafetensorError):
        reason = shown(said.removeprefix("Error while deserializing header: "))
    if summed := re.fullmatch(r"Bad CRC-32 for file '(.*)'", said):
        reason = f"the bytes of {shown(summed[1])!r} have another checksum than it says"
    return WeightsUnavailable(
        f"a damaged or cut off checkpoint {name!r} ({reason})",
        "a complete file",
        "save or download it again",
    )


def _other(head: bytes, name: str) -> WeightsUnavailable:
    if head.startswith(_PICKLE):
        return WeightsUnavailable(
            f"a Python pickle in {name!r}, which may run code and was not opened",
            ACCEPTED,
            "save the weights with torch.save or as .safetensors",
        )
    kind = "a single array" if head.startswith(_NUMPY) else "no weights"
    return WeightsUnavailable(f"{kind} in {name!r}", ACCEPTED, "choose another file")


def _from_safetensors(path: Path, name: str, size: int, header: int) -> dict[str, Tensor]:
    _check_header(name, size, header)
    with safe_open(path, framework="pt") as file:
        check_number(len(file.keys()), name)
    return load_file(path)


def _check_header(name: str, size: int, header: int) -> None:
    """Refuse a header of a .safetensors that is larger than its file, or than any has to be."""
    if header > min(MAX_HEADER, size - 8):
        raise WeightsUnavailable(
            f"{name!r}, whose header claims {header:,} bytes of a file of {size:,}",
            f"a complete file with a header of at most {MAX_HEADER:,}",
            "save or download it again, or choose another file",
        )


def _from_archive(path: Path, name: str, size: int) -> object:
    with archives.opened(path, name) as archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        _check_packed(members, name, size)
        files = {Path(each.filename).name for each in members}
        if "constants.pkl" in files:
            raise WeightsUnavailable(
                f"a TorchScript program in {name!r}, which was not run",
                ACCEPTED,
                "save the state_dict() of its network",
            )
        if "data.pkl" in files:
            _check_pickles(archive, members, name, size)
            return _from_torch(path, name)
        if not all(each.filename.endswith(".npy") for each in members):
            raise WeightsUnavailable(
                f"an archive without weights in {name!r}", ACCEPTED, "choose another file"
            )
        check_number(len(members), name)
        return {each.filename.removesuffix(".npy"): _array(archive, each, name) for each in members}


def check_number(count: int, name: str) -> None:
    """Refuse more weights than networks have: they take seconds."""
    if count > MAX_WEIGHTS:
        raise WeightsUnavailable(
            f"{count:,} weights in {name!r}",
            f"at most {MAX_WEIGHTS:,}",
            "save the weights of one network",
        )


def _check_packed(members: list[zipfile.ZipInfo], name: str, size: int) -> None:
    """Refuse an archive that unpacks to far more than its size, or is packed as none is."""
    # Unpacking LZMA takes as much memory as its header claims.
    if any(
        each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in members
    ):
        raise WeightsUnavailable(
            f"an archive packed in another way than torch and numpy do in {name!r}",
            "one that is stored or deflated",
            "save the weights again",
        )
    unpacked = sum(each.file_size for each in members)
    if unpacked > max(MAX_PACKING * size, ALWAYS_UNPACKED):
        raise WeightsUnavailable(
            f"{unpacked:,} bytes packed into the {size:,} of {name!r}",
            f"weights at most {MAX_PACKING} times as large as their file",
            "choose another file, or save the weights without compression",
        )


def _check_pickles(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], name: str, size: int
) -> None:
    """Refuse an archive of torch.save whose pickle asks for more than there is, or with damage.

    torch compares no checksums. Those that are wrong end as an error of `zipfile`.
    """
    # torch finds names in any case, and of two of a name perhaps the other.
    records: dict[str, int] = {}
    for each in members:
        key = each.filename.lower().partition("/data/")[2]
        records[key] = min(each.file_size, records.get(key, each.file_size))
    for each in members:
        summed = each.CRC != 0
        if not summed:
            # torch writes 0 where it was told to compute no checksums; zipfile compares none then.
            each.CRC = None  # type: ignore[assignment]
        if Path(each.filename).name.lower() == "data.pkl":
            if each.file_size > MAX_PICKLE:
                raise WeightsUnavailable(
                    f"{each.file_size / 1e6:,.0f} MB beside the numbers of {name!r}",
                    f"at most {MAX_PICKLE // 10**6} MB",
                    "save the weights of the network alone",
                )
            check_pickle(archive.read(each), name, size, records)
        elif summed:
            with archive.open(each) as file:
                while file.read(CHUNK):
                    pass


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Tensor:
    """One array of an archive; numpy's own reader would reserve memory before checking the size."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        try:
            shape, columns_first, dtype = read_header(file)
        except (MemoryError, RecursionError):
            # Python says so of signs inside each other; a header has 10,000 letters at most.
            raise ValueError("a header of too many signs") from None
        if dtype.hasobject:
            raise WeightsUnavailable(
                f"Python objects in {name!r} ({shown(member.filename)}), which may run code and "
                "were not opened",
                ACCEPTED,
                "save the weights as arrays of numbers",
            )
        count = math.prod(shape)
        if min(shape, default=0) < 0 or count * dtype.itemsize != member.file_size - file.tell():
            sides = " × ".join(map(str, shape))
            raise WeightsUnavailable(
                f"an array in {name!r} ({shown(member.filename)}) that claims to be "
                f"{shown(sides)} and is not",
                "a complete file",
                "save or download it again",
            )
        values = np.frombuffer(bytearray(file.read()), dtype)
    values = values.reshape(shape, order="F" if columns_first else "C")
    # numpy has no bfloat16: JAX writes it as two bytes of no type.
    if dtype == np.dtype("V2"):
        return torch.from_numpy(values.view(np.uint16).copy()).view(torch.bfloat16)
    if dtype.kind not in "fiub":
        raise no_tensor(member.filename, name)
    return torch.from_numpy(values.astype(dtype.newbyteorder("="), copy=False))


class Unread(list[object]):
    """Stands for a value beside the weights, whose class is never imported.

    It holds what the value was made from, and what it was filled with.

    attributes: those of the value, by name, where they were saved as a dictionary.
    """

    attributes: Mapping[str, object] = MappingProxyType({})

    # A value may be the key of a dictionary.
    __hash__, __eq__ = object.__hash__, object.__eq__  # type: ignore[assignment]

    def __new__(cls, *made_from: object) -> Self:
        """An instance that holds its arguments."""
        self = super().__new__(cls)
        self.extend(made_from)
        return self

    def __init__(self, *_: object) -> None:
        """Leaves what it holds as it is."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.attributes = state
        else:
            self.append(state)


_STANDS_FOR: dict[str, Callable[..., object]] = {
    "collections.defaultdict": lambda *_: OrderedDict(),
    # Names a class inside a class.
    "builtins.getattr": lambda *_: Unread,
}


def _from_torch(path: Path, name: str) -> object:
    """The saved object, if it holds only tensors, numbers, strings, containers and plain values."""
    passed_over: dict[str, Callable[..., object]] = {}
    while True:
        allowed: list[Any] = [(kind, each) for each, kind in passed_over.items()]
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location="cpu", weights_only=True)
        # A kind of tensor of its own is no plain value: a stand-in in its place is a wrong type.
        except (pickle.UnpicklingError, TypeError) as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            mistyped = isinstance(error, TypeError) and bool(passed_over)
            if found is None and (mistyped or Unread.__name__ in str(error)):
                raise WeightsUnavailable(
                    f"objects in the checkpoint {name!r} that cannot be passed over "
                    f"({shown(', '.join(passed_over))})",
                    "tensors, numbers and texts",
                    "save the state_dict() of the network by itself, or as .safetensors",
                ) from error
            if found is None and "Unsupported operand" in str(error):
                raise WeightsUnavailable(
                    f"a checkpoint {name!r} of another pickle protocol than torch.save writes",
                    "that of torch.save, which can be read without running code",
                    "save it again without pickle_protocol",
                ) from error
            if found is None:
                raise
            # torch leaves the module's name out for what is built in.
            named = found[1] if "." in found[1] else f"builtins.{found[1]}"
            if (
                (named.partition(".")[0] in RUNNING and not PLAIN.fullmatch(named))
                or named in passed_over
                or len(passed_over) == MAX_PASSED_OVER
            ):
                raise WeightsUnavailable(
                    f"code in the checkpoint {name!r} ({shown(found[1])}), which was not run",
                    "tensors only",
                    "save the state_dict() of the network by itself, or as .safetensors",
                ) from error
            # torch fills no dictionaries but its own.
            filled = named.endswith(("Dict", "CfgNode"))
            passed_over[named] = OrderedDict if filled else _STANDS_FOR.get(named, Unread)


def no_tensor(key: str, name: str) -> WeightsUnavailable:
    """The refusal of an entry that is no dense array of numbers."""
    return WeightsUnavailable(
        f"an entry of {name!r} that is not a plain tensor of its claimed size ({shown(key)})",
        "weights as dense arrays of numbers",
        "save the weights of the network alone",
    )
