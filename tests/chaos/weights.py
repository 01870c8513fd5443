"""Which files of weights does a stranger send? Hostile ones of all accepted formats, by number."""

from __future__ import annotations

import ast
import copy
import io
import json
import pickle
import pickletools
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from tests.chaos.accidents import COUNTS, polyglot, struck

KINDS = ("pth", "old pth", "safetensors", "npz")

ARCHITECTURE = "vit_tiny_patch16_224"
OPTIONS = {"depth": 1, "embed_dim": 12, "num_heads": 1, "patch_size": 4}
INPUT = (8, 8)
"""The network whose weights the files hold, if they are good."""

Member = tuple[str, bytes]


@cache
def _network() -> dict[str, torch.Tensor]:
    import timm

    torch.manual_seed(0)
    made = timm.create_model(
        ARCHITECTURE, pretrained=False, img_size=INPUT, num_classes=3, **OPTIONS
    )
    return {name: each.half() for name, each in made.state_dict().items()}


def _saved(value: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def _archived(arrays: dict[str, np.ndarray], *, packed: bool = True) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@cache
def seeds(kind: str) -> tuple[bytes, ...]:
    """Good files of this kind."""
    weights = _network()
    arrays = {name: each.numpy() for name, each in weights.items()}
    training = {
        "epoch": 3,
        "args": {"lr": 1e-3, "name": "run", "betas": (0.9, 0.99)},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1.0}]},
        "model": weights,
        "model_ema": OrderedDict(weights),
    }
    parameters = {name: torch.nn.Parameter(each) for name, each in weights.items()}
    return {
        "pth": lambda: (_saved(weights), _saved(training), _saved(parameters)),
        "old pth": lambda: tuple(
            _saved(each, _use_new_zipfile_serialization=False)
            for each in (weights, training, parameters)
        ),
        "safetensors": lambda: (save(weights), save(weights, metadata={"format": "pt"})),
        "npz": lambda: (
            _archived(arrays),
            _archived(arrays, packed=False),
            _archived({f"model.{name}": each for name, each in arrays.items()}),
        ),
    }[kind]()


def hostile(draw: random.Random, kind: str) -> bytes:
    """A file that begins as one of this kind, most often after accidents."""
    if draw.random() < 0.05:
        data = BOMBS[draw.choice([each for each in BOMBS if each.startswith(kind)])]()
        return data if draw.random() < 0.4 else struck(draw, data, seeds(kind), 40)
    return damaged(draw, kind, draw.choice(seeds(kind)))


def damaged(draw: random.Random, kind: str, data: bytes) -> bytes:
    """A file of this kind after accidents to its parts, to any of its bytes, or as a polyglot."""
    way = draw.choices(("inside", "bytes", "both", "polyglot"), (55, 20, 12, 8))[0]
    if way in ("inside", "both"):
        data = _INSIDE[kind](draw, data)
    if way in ("bytes", "both"):
        data = struck(draw, data, seeds(kind))
    if way == "polyglot":
        data = polyglot(draw, data, seeds("npz"))
    return data


def _members(data: bytes) -> list[Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(each.filename, archive.read(each)) for each in archive.infolist()]


def _zipped(members: list[Member], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            # A name may be there twice, of which `zipfile` warns.
            archive.NameToInfo.pop(name, None)
            archive.writestr(zipfile.ZipInfo(name), content, compression, compresslevel=1)
    return file.getvalue()


def _zip_header(draw: random.Random, data: bytes) -> bytes:
    """A number of the directory, of a member's header or of the archive's end is another."""
    starts = {b"PK\1\2": range(4, 46, 2), b"PK\3\4": range(4, 30, 2), b"PK\5\6": range(4, 22, 2)}
    start = draw.choice([each for each in starts if each in data])
    places = [place for place in range(len(data) - 3) if data[place : place + 4] == start]
    place = draw.choice(places) + draw.choice(starts[start])
    form = draw.choice(("<H", "<L"))
    new = struct.pack(form, draw.choice(COUNTS) & (1 << 8 * struct.calcsize(form)) - 1)
    return data[:place] + new + data[place + len(new) :]


def in_archive(draw: random.Random, data: bytes, inner: Callable[[bytes], bytes], of: str) -> bytes:
    """An archive whose members, names or headers are others; `inner` changes those of this name."""
    if draw.random() < 0.25:
        return _zip_header(draw, data)
    members = _members(data)
    place = draw.randrange(len(members))
    match draw.choice(("inner", "inner", "inner", "name", "twice", "out", "content")):
        case "inner":
            places = [each for each, (name, _) in enumerate(members) if name.endswith(of)]
            place = draw.choice(places)
            members[place] = members[place][0], inner(members[place][1])
        case "name":
            name = draw.choice(
                (
                    *("../../evil", "", "/etc/passwd", "x/data.pkl", "DATA.PKL", "x/constants.pkl"),
                    *("x.npy/", "a\0b", "\u202e.npy", "n" * 65000, "x/data/0", "x/.format_version"),
                )
            )
            members[place] = name, members[place][1]
        case "twice":
            members.insert(draw.randrange(len(members)), (members[place][0], b"x"))
        case "out":
            members.pop(place)
        case _:
            members[place] = members[place][0], struck(draw, members[place][1], [data], 0)
    return _zipped(members, draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA)))


_OPCODES = [each.code.encode("latin1") for each in pickletools.opcodes]

_VALUES = [
    pickle.dumps(each, 2)[2:-1]
    for each in (0, -1, 2**31, 2**62, 10**40, 1e308, "", "a" * 99, b"x", None, True, (), [], {}, 3j)
]
_VALUES += [
    *(f"c{name}\n".encode() for name in ("os\nsystem", "builtins\neval", "torch\nload")),
    *(f"c{name}\n".encode() for name in ("builtins\nbytearray", "torch\nFloatStorage")),
    *(f"c{name}\n".encode() for name in ("torch\nTensor", "torch\nSize", "numpy\nndarray")),
    *(f"c{name}\n".encode() for name in ("torch._utils\n_rebuild_tensor_v2", "a.b\nC")),
    *(f"c{name}\n".encode() for name in ("_codecs\nencode", "collections\nOrderedDict")),
    b"2" * 50,
    b"\x86" * 9,
    b"((((((tttttt",
    b"]" + b"2a" * 20,
]
"""Instructions: numbers, texts, containers, names, and copies of what is there."""


def _pickle(draw: random.Random, data: bytes) -> bytes:
    """Some instructions of a pickle are others, missing, more or in another order."""
    places = []
    try:
        places = [place for _, _, place in pickletools.genops(data) if place is not None]
    except Exception:
        # What is no pickle any more is damaged as any other bytes.
        return struck(draw, data, _VALUES, 2)
    parts = [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(1, len(parts))
        match draw.randrange(6):
            case 0:
                parts.insert(place, draw.choice(_VALUES))
            case 1:
                parts[place] = draw.choice(_VALUES)
            case 2:
                parts[place] = draw.choice(_OPCODES) + parts[place][1:]
            case 3:
                parts[place : place + draw.randint(1, 4)] = []
                parts = parts if len(parts) > 1 else [*parts, b"."]
            case 4:
                other = draw.randrange(len(parts))
                parts[place], parts[other] = parts[other], parts[place]
            case _:
                # A number: a side, a stride, a start, a place in the memo.
                new = draw.choice(COUNTS)
                numbers = [each for each, part in enumerate(parts) if part[:1] in b"KMJ"]
                if numbers:
                    parts[draw.choice(numbers)] = pickle.dumps(new, 2)[2:-1]
    return b"".join(parts)


def _old(draw: random.Random, data: bytes) -> bytes:
    """The pickles of an old file lie behind each other: here in the fourth, the object."""
    start = end = 0
    for _ in range(4):
        start = end
        # Nothing is loaded: a file that was damaged before may ask for code.
        *_, (*_, place) = pickletools.genops(data[start:])
        end = start + (place or 0) + 1
    return data[:start] + _pickle(draw, data[start:end]) + data[end:]


def _safetensors(draw: random.Random, data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice(names)
        entry = header[name] = copy.deepcopy(header[name])
        match draw.randrange(6):
            case 0:
                entry["shape"] = _shape(draw, entry.get("shape", [1]))
            case 1:
                places = entry.setdefault("data_offsets", [0, 0])
                places[draw.randrange(2)] = draw.choice((-1, 0, 1, 1e9, 2**63, "0"))
            case 2:
                kinds = ("F64", "I8", "BOOL", "F8_E4M3", "C64", "F4", "U16", "X9", "", None, 3)
                entry["dtype"] = draw.choice(kinds)
            case 3:
                header[draw.choice(("", "a" * 9999, "\0", "\u202e", "blocks.0.", name.upper()))] = (
                    header.pop(name)
                )
                names = list(header)
            case 4:
                entry.pop(draw.choice(list(entry)))
                header[name] = entry if draw.random() < 0.5 else draw.choice((None, [], 1, {}))
                break
            case _:
                header["__metadata__"] = draw.choice(({}, {"a": 1}, {"a": "b" * 99}, [], None, "x"))
    text = json.dumps(header).encode()
    if draw.random() < 0.1:
        text = draw.choice((b"{" + b'"a":[' * 9999, b"{" * 999, text[:-1], text + b" " * 99, b"{}"))
    told = len(text) if draw.random() < 0.9 else draw.choice((*COUNTS, 2**63, 2**64 - 1))
    return struct.pack("<Q", told) + text + body


def _shape(draw: random.Random, shape: Any) -> Any:
    new = list(shape)
    if new and draw.random() < 0.6:
        new[draw.randrange(len(new))] = draw.choice((-1, 0, 1, 5, 2**31, 2**63, 10**30))
        return new
    return draw.choice(([], [0], [2**62, 4], new[::-1], [*new, 1], [1] * 90, [0, 2**63], [1.5]))


def _npy(draw: random.Random, data: bytes) -> bytes:
    """The header of an array says another type, shape or order."""
    length = int.from_bytes(data[8:10], "little")
    header: dict[str, Any] = ast.literal_eval(data[10 : 10 + length].decode())
    match draw.randrange(5):
        case 0 | 1:
            header["shape"] = tuple(_shape(draw, header["shape"]))
        case 2:
            kinds = ("|O", "<f8", ">f2", "<U9", "|V2", "<M8[s]", "<c16", "|b1", "x", "", "<f16")
            header["descr"] = draw.choice((*kinds, "<U999999999", "V2147483647", [("a", "<f2")], 3))
        case 3:
            header["fortran_order"] = draw.choice((True, 1, None))
        case _:
            header.pop(draw.choice(list(header)))
    text = repr(header).encode()
    if draw.random() < 0.15:
        text = draw.choice((b"(" * 900, b"[" * 60_000, b"9" * 9000, b"{}", b"\xff", b"-" * 9000))
    version = draw.choice((b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\0\0", b"\xff\xff"))
    size = struct.pack("<L" if version > b"\1\0" else "<H", min(len(text), 65535))
    return b"\x93NUMPY" + version + size + text + data[10 + length :]


_INSIDE: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "pth": lambda draw, data: in_archive(draw, data, partial(_pickle, draw), "data.pkl"),
    "old pth": _old,
    "safetensors": _safetensors,
    "npz": lambda draw, data: in_archive(draw, data, partial(_npy, draw), ".npy"),
}


def _array(count: int) -> bytes:
    """A .npy of zeros."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": (count,)}).encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(4 * count)


@cache
def _npz_of(megabytes: int, members: int = 1) -> bytes:
    array = _array(250_000 * megabytes // members)
    return _zipped(
        [(f"{place}/blocks.0.norm1.weight.npy", array) for place in range(members)],
        zipfile.ZIP_DEFLATED,
    )


@cache
def _pth_of(made: bytes, *, zeros: int = 4) -> bytes:
    """An archive of a pickle of these instructions, packed."""
    return _zipped(
        [
            ("x/data.pkl", b"\x80\x02" + made + b"."),
            ("x/byteorder", b"little"),
            ("x/data/0", bytes(zeros)),
            ("x/version", b"3\n"),
        ],
        zipfile.ZIP_DEFLATED,
    )


@cache
def _networks(count: int, *, old: bool = False) -> bytes:
    """A file of many networks in the averages of callbacks."""
    own = {"blocks.0.norm1.weight": torch.ones(2), "cls_token": torch.ones(1, 1, 2)}
    callbacks = {f"EMA{place}": {"ema": dict(own)} for place in range(count)}
    value = {"model": own, "callbacks": callbacks}
    return _saved(value, _use_new_zipfile_serialization=not old)


@cache
def _weights(count: int, *, old: bool = False) -> bytes:
    """A file of many weights over one storage."""
    whole = torch.ones(count)
    value = {f"blocks.{place}.norm1.weight": whole[place : place + 2] for place in range(count - 1)}
    return _saved(value, _use_new_zipfile_serialization=not old)


@cache
def _many_tensors(count: int) -> bytes:
    header = {
        f"{place}.blocks.0.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        for place in range(count)
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


BOMBS: dict[str, Callable[[], bytes]] = {
    "npz of 60 MB": lambda: _npz_of(60),
    "npz of 250 MB": lambda: _npz_of(250),
    "npz of 250 MB, many arrays": lambda: _npz_of(250, 50),
    "npz of 300 MB": lambda: _npz_of(300),
    "npz of many members": lambda: _npz_of(20, 20_000),
    "pth of 250 MB": lambda: _pth_of(b"}", zeros=250_000_000),
    "pth of a long pickle": lambda: _pth_of(b"N0" * 30_000_000 + b"}"),
    "pth of a long list": lambda: _pth_of(b"](" + b"N" * 3_000_000 + b"e"),
    "pth of many dictionaries": lambda: _pth_of(b"](" + b"}" * 1_200_000 + b"e"),
    "pth of a long text": lambda: _pth_of(b"X" + struct.pack("<L", 60_000_000) + bytes(60_000_000)),
    "pth of many networks": lambda: _networks(3000),
    "pth of many weights": lambda: _weights(20_000),
    "old pth of many networks": lambda: _networks(3000, old=True),
    "old pth of many weights": lambda: _weights(20_000, old=True),
    "safetensors of many tensors": lambda: _many_tensors(50_000),
    "safetensors of a long header": lambda: struct.pack("<Q", 9_000_000) + b"{" * 9_000_000,
    "safetensors of spaces": lambda: struct.pack("<Q", 9_000_000) + b'{"":0' + b" " * 8_999_995,
}
"""Small files of large values, or of many; they are made when they are asked for."""
