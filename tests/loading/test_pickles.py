"""Is a `.pth` refused that asks torch for far more memory or time than its file has bytes?

The pickles are written here by hand. One process without memory to spare reads them all.
"""

from __future__ import annotations

import collections
import datetime
import json
import pickle
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

import vit_inspect as vi
from vit_inspect.loading.weight_files import check_torch_file
from vit_inspect.loading.wrappers import read_weights

SPARE = 1_500_000_000
"""Bytes of memory that reading may take."""

READ_ALL = f"""
import json, resource, sys
from pathlib import Path
from vit_inspect.errors import WeightsUnavailable
from vit_inspect.loading.weight_files import check_torch_file
from vit_inspect.loading.wrappers import read_weights

now = 1024 * int(Path("/proc/self/status").read_text().partition("VmSize:")[2].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (now + {SPARE},) * 2)
for path in map(Path, sys.argv[1:]):
    try:
        read_weights(path)
        said = "read"
    except WeightsUnavailable as error:
        said = str(error)
    print(json.dumps([path.name, said]), flush=True)
"""


def value(of: object) -> bytes:
    """The instructions that make a plain value."""
    return pickle.dumps(of, 2)[2:-1]


def named(name: str) -> bytes:
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def together(*parts: bytes) -> bytes:
    """A tuple of values."""
    return b"(" + b"".join(parts) + b"t"


def called(name: str, *arguments: bytes) -> bytes:
    return named(name) + together(*arguments) + b"R"


def stored(elements: int, *, last: bytes = b"") -> bytes:
    where = value("storage"), named("torch.FloatStorage"), value("0"), value("cpu")
    return together(*where, value(elements), last) + b"Q"


def tensor(elements: int, shape: object, strides: object, *, last: bytes = b"") -> bytes:
    return called(
        "torch._utils._rebuild_tensor_v2",
        stored(elements, last=last),
        *map(value, (0, shape, strides, False)),
        called("collections.OrderedDict"),
    )


def archive(path: Path, made: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x/data.pkl", b"\x80\x02" + made + b".")
        file.writestr("x/byteorder", "little")
        file.writestr("x/data/0", bytes(4))
        file.writestr("x/version", "3\n")


def packed(path: Path, made: bytes) -> None:
    archive(path, made, zipfile.ZIP_DEFLATED)


def old(path: Path, made: bytes) -> None:
    """A file from before torch wrote archives, with a storage of one element."""
    magic, version = torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION
    first = b"".join(pickle.dumps(each, 2) for each in (magic, version, {}))
    keys = pickle.dumps(["0"], 2) + (1).to_bytes(8, "little") + bytes(4)
    path.write_bytes(first + b"\x80\x02" + made + b"." + keys)


HUGE = value(4_800_000_000)
DOUBLED = b"N" + b"q\x00h\x00\x86" * 60
LAYERS = b"".join(b"](" + b"h\x00" * 1000 + b"eq\x00" for _ in range(6))
LIST = b"](" + b"N" * 100_000 + b"eq\x00"

BOMBS: Mapping[str, tuple[Callable[[Path, bytes], None], bytes, str]] = {
    "bytearray": (
        archive,
        called("builtins.bytearray", HUGE),
        "a bytearray of 4,800,000,000 bytes, in a file of ",
    ),
    "bytearray of Python 2": (
        archive,
        called("__builtin__.bytearray", HUGE),
        "a bytearray of 4,800,000,000 bytes",
    ),
    "number of many digits": (
        archive,
        called("builtins.bytearray", value(10**600)),
        "a bytearray of over 10^18 bytes",
    ),
    "shape of many digits": (
        archive,
        called("somebodys.Settings", tensor(1, (10**600,) * 9, (0,) * 9)),
        "values that take over 10^18 bytes",
    ),
    "name in other lines": (
        old,
        tensor(1, (10**9,), (1,), last=b"N").replace(
            b"torch._utils\n_rebuild", b"torch\n_utils._rebuild"
        ),
        "a tensor of 1,000,000,000 that reaches over 4,000,000,000 bytes",
    ),
    "class of tensors": (
        archive,
        called("torch.FloatTensor", HUGE),
        "a FloatTensor of 4,800,000,000 elements",
    ),
    "new tensor": (
        archive,
        named("torch.Tensor") + together(HUGE) + b"\x81",
        "a Tensor of 4,800,000,000 elements",
    ),
    "class of storages": (
        archive,
        called("torch.storage.UntypedStorage", HUGE),
        "a UntypedStorage of 4,800,000,000 elements",
    ),
    "call in a call": (
        archive,
        called(
            "torch._tensor._rebuild_from_type_v2",
            named("builtins.bytearray"),
            named("torch.Tensor"),
            together(HUGE),
            b"}",
        ),
        "a bytearray of 4,800,000,000 bytes",
    ),
    "storage": (old, stored(1_200_000_000, last=b"N"), "a storage of 4,800,000,000 bytes, of whi"),
    "storage of an archive": (archive, stored(2), "a storage of 8 bytes, of which at most 4 are"),
    "shape": (
        old,
        tensor(1, (60_000, 20_000), (20_000, 1), last=b"N"),
        "a tensor of 60,000 × 20,000 that reaches over 4,800,000,000 bytes of the 4 that",
    ),
    "set on a tensor": (
        old,
        called("torch.FloatTensor")
        + together(stored(1, last=b"N"), value(0), value((10**9,)), value((1,)))
        + b"b",
        "a tensor of 1,000,000,000 that reaches over 4,000,000,000 bytes of the 4",
    ),
    "quantised": (
        archive,
        called(
            "torch._utils._rebuild_qtensor",
            stored(1),
            *map(value, (0, (10**10,), (0,))),
            together(named("torch.per_tensor_affine"), value(1.0), value(0)),
            value(False),
            called("collections.OrderedDict"),
        ),
        "a quantised tensor of 10,000,000,000 over 4 bytes",
    ),
    "copy of a view": (
        archive,
        called(
            "torch._utils._rebuild_device_tensor_from_cpu_tensor",
            tensor(1, (10**9,), (0,)),
            named("torch.float64"),
            value("cpu"),
            value(False),
        ),
        "values that take 16,",
    ),
    "size that is a tensor": (
        old,
        called(
            "torch._utils._rebuild_tensor_v2",
            stored(1, last=b"N"),
            value(0),
            together(tensor(1, (), (), last=b"N")),
            value((1,)),
        ),
        "a tensor whose sizes are no numbers",
    ),
    "doubled key": (
        archive,
        b"}" + DOUBLED + b"Ns",
        "containers inside each other that unfold to ",
    ),
    "nested key": (archive, b"}N" + b"\x85" * 100_000 + b"Ns", "501 tuples inside each other"),
    "lists of lists": (
        archive,
        value(1) + b"q\x00" + LAYERS.join([b"(", b"t"]),
        "containers inside each other that unfold to ",
    ),
    "copied list": (
        archive,
        b"(" + LIST + called("somebodys.Settings", b"h\x00") * 1000 + b"t",
        "values that take 64,",
    ),
    "empty containers": (packed, b"(" + b"}" * 19_000_000 + b"t", "values that take 64,000,"),
    "encoding": (
        archive,
        called("_codecs.encode", value("a" * 1000), value("punycode")),
        "a text of an encoding that no pickle uses",
    ),
    "text": (old, b"X\xff\xff\xff\xffabc", "a text of 4,294,967,295 bytes"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each file, by a process that could not hold what they claim."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (write, made, _) in BOMBS.items():
        write(folder / name, made)
    ran = subprocess.run(
        [sys.executable, "-c", READ_ALL, *(folder / name for name in BOMBS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return dict(map(json.loads, ran.stdout.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_what_claims_more_than_its_file_is_refused_before_it_is_made(
    refusals: dict[str, str], name: str
) -> None:
    assert refusals[name].startswith(f"Found a damaged or cut off checkpoint {name!r} (it claims ")
    assert BOMBS[name][2] in refusals[name]


@pytest.mark.parametrize(
    ("architecture", "config", "weights"),
    [
        ("transformers", "config.json", "pytorch_model.bin"),
        ("open_clip", "open_clip_config.json", "open_clip_pytorch_model.bin"),
    ],
)
def test_what_another_package_would_read_is_refused_too(
    tmp_path: Path, architecture: str, config: str, weights: str
) -> None:
    write, made, words = BOMBS["bytearray"]
    (tmp_path / config).write_text("{}")
    write(tmp_path / weights, made)
    with pytest.raises(vi.WeightsUnavailable, match=words):
        vi.load(checkpoint=tmp_path, architecture=architecture, device="cpu")


class Unusual:
    """An object that a training program leaves in a file."""

    def __init__(self) -> None:
        self.views = (torch.zeros(2), [1, 2])


Unusual.__module__ = "somebodys"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("new", [True, False])
def test_what_torch_saves_is_followed_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bool
) -> None:
    monkeypatch.setitem(sys.modules, "somebodys", SimpleNamespace(Unusual=Unusual))  # type: ignore[arg-type]
    large = torch.arange(1000.0)
    weights = {
        "parameter": torch.nn.Parameter(large.clone()),
        "part": large[500:],
        "columns": large.reshape(10, 100).t(),
        "half": large.half(),
        "brain": large.bfloat16(),
        "scalar": torch.tensor(3),
    }
    beside = {
        "bytes": (b"\xff" * 99, bytearray(b"abc"), bytearray(b"\xff" * 300)),
        "sets": ({1, 2}, frozenset({3}), collections.Counter("aab"), 3j, torch.Size([2, 3])),
        "numbers": [2**70, -1, 1.5, True, None, list(range(1000))],
        "objects": (Unusual(), datetime.datetime(2024, 1, 1), Path("a"), SimpleNamespace(a=1)),
        "wide": large[:1].expand(10**6, 10**6),
        "sparse": torch.eye(3).to_sparse(),
        "rows": torch.eye(3).to_sparse_csr(),
        "quantised": torch.quantize_per_tensor(large, 1.0, 0, torch.qint8),
        "nowhere": torch.empty(10**9, device="meta"),
        "complex": torch.zeros(3, dtype=torch.complex128),
        "empty": torch.zeros(0, 10**9),
        "twice": [large, large],
        "text": "a" * 100_000,
    }
    path = tmp_path / "x.pth"
    torch.save({"model": weights, "beside": beside}, path, _use_new_zipfile_serialization=new)
    read = read_weights(path).weights
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], each.detach()) for name, each in weights.items())


def test_what_takes_long_to_follow_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.loading.pickles.MAX_STEPS", 1000)
    path = tmp_path / "x.pth"
    packed(path, b"](" + b"N" * 2000 + b"e")
    with pytest.raises(vi.WeightsUnavailable, match="claims more than 1,000 instructions"):
        read_weights(path)


def test_more_weights_than_networks_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.loading.weight_files.MAX_WEIGHTS", 20)
    weights = {f"a{place}": torch.zeros(0) for place in range(21)}
    one, two, three = (tmp_path / str(each) for each in range(3))
    torch.save(weights, one)
    two.write_bytes(save(weights))
    with zipfile.ZipFile(three, "w") as file:
        for name in weights:
            file.writestr(f"{name}.npy", b"")
    for path in (one, two, three):
        with pytest.raises(
            vi.WeightsUnavailable, match=r"21 weights in '\d'; expected at most 20;"
        ):
            read_weights(path)


@pytest.mark.parametrize("door", [read_weights, check_torch_file])
def test_an_archive_of_a_long_directory_is_refused_before_it_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: Callable[[Path], object]
) -> None:
    path = tmp_path / "x.pth"
    torch.save({f"a{place}": torch.zeros(1) for place in range(20)}, path)
    door(path)
    monkeypatch.setattr("vit_inspect.loading.archives.MAX_DIRECTORY", 1000)
    monkeypatch.setattr("zipfile.ZipInfo", None)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        door(path)
    assert re.fullmatch(r"a directory of \d,\d+ bytes in the archive 'x\.pth'", refusal.value.found)


@pytest.mark.slow
def test_averages_of_many_callbacks_take_no_time(tmp_path: Path) -> None:
    own = {"blocks.0.norm1.weight": torch.ones(2)}
    callbacks = {f"EMA{place}": {"ema": own} for place in range(2000)}
    path = tmp_path / "x.pth"
    torch.save({"model": own, "callbacks": {"Timer": 3, **callbacks}}, path)
    start = time.process_time()
    read = read_weights(path)
    assert len(read.weights) == 2001
    assert read.left_out["callbacks"] == {"Timer": 3}
    assert time.process_time() - start < 3


def test_an_archive_of_another_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    archive(path, value({}), zipfile.ZIP_LZMA)
    with pytest.raises(vi.WeightsUnavailable, match="packed in another way than torch and numpy"):
        read_weights(path)


def test_damage_is_told_without_words_of_code(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    archive(path, named("torch._utils._rebuild_tensor_v2") + together(value(1)) + b"R")
    with pytest.raises(vi.WeightsUnavailable, match=r"'x\.pth' \(its contents cannot be read\);"):
        read_weights(path)


def test_more_than_numbers_in_an_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    archive(path, bytes(20_000_001))
    with pytest.raises(vi.WeightsUnavailable, match=r"20 MB beside the numbers of 'x\.pth'"):
        read_weights(path)


def test_a_header_that_python_cannot_read_is_damage_and_no_lack_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    header = b"-" * 9_000 + b"1"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(vi.WeightsUnavailable, match="its contents cannot be read"):
        read_weights(path)


LACKS = [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]


@pytest.mark.parametrize("error", LACKS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("door", [read_weights, check_torch_file])
def test_a_lack_of_memory_is_no_damage(
    door: Callable[[Path], object],
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(2)}, path)

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vit_inspect.loading.weight_files.check_pickle", full)
    with pytest.raises(vi.OutOfMemory, match=r"too little free memory to read 'x\.pth'"):
        door(path)
