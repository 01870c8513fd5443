"""How much does the pickle of a `.pth` ask for, before torch makes anything of it?

torch's reader runs no code, but it trusts sizes: `bytearray(10**10)` is 40 bytes of a pickle, and a
tensor may claim any shape. `check_pickle` follows the same instructions without making the values,
and refuses what takes far more memory, or time, than the file has bytes. What it cannot follow ends
the check: torch stops at the same instruction.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping, Sequence
from struct import unpack
from typing import Literal, NoReturn, cast

import torch

from vit_inspect.errors import WeightsUnavailable

MAX_PACKING = 20
"""How many times larger than their file its values may be; trained weights compress to half at
best.

Values of at most `ALWAYS_UNPACKED` bytes have no such limit.
"""

ALWAYS_UNPACKED = 64_000_000

MAX_STEPS = 300_000
"""Most instructions of a file; each takes microseconds here and in torch. A tensor takes about 35,
so that a network of 1,000 weights with its average and the state of its optimiser has 140,000."""

MAX_NESTED = 500
"""Most tuples inside each other; Python computes their hash by recursion."""

MAX_PATHS = 1_000_000
"""Ways through the containers of a file beyond ten times its instructions: where one container
lies in another twice, and so on, each doubles them."""

PATH = 6
"""Steps of the ways that are counted; nobody here looks deeper."""

CONTAINER, VALUE = 400, 32
"""About how many bytes of memory a container and another value take."""

ENCODINGS = ("latin1", "latin-1", "utf-8", "ascii")
"""Those by which pickles write bytes; some others take far longer than their text has letters."""

Kind = Literal["global", "tuple", "container", "call", "storage", "tensor", "text"]


class _Made:
    """What stands for a value: what lies in it, and how much memory it says that it takes.

    name: of a class or a function.
    size: bytes of a text, a storage or a tensor.
    item: bytes of each element of a storage.
    nested: how many tuples lie inside each other.
    paths: how many values its tuples unfold to.
    """

    __slots__ = ("item", "kind", "members", "name", "nested", "paths", "size")

    def __init__(
        self,
        kind: Kind,
        members: Sequence[object] = (),
        *,
        name: str = "",
        size: int = 0,
        item: int = 1,
    ) -> None:
        self.kind, self.members, self.name, self.size, self.item = kind, members, name, size, item
        self.nested, self.paths = 0, 1
        if kind == "tuple":
            inner = [each for each in members if isinstance(each, _Made) and each.kind == "tuple"]
            self.nested = 1 + max((each.nested for each in inner), default=0)
            self.paths = 1 + len(members) + sum(each.paths for each in inner)


class _Unfollowed(Exception):
    """torch refuses this instruction."""


def check_pickle(
    content: bytes | io.BufferedIOBase,
    name: str,
    size: int,
    records: Mapping[str, int] | None = None,
) -> None:
    """Refuse the pickles of a file of torch.save that ask for more than their file can hold.

    content: the pickle of an archive, or a file of torch.save from before there were archives.
    name: of the file, for display.
    size: bytes of the file.
    records: bytes of each storage of the archive, by its key; None for a file without an archive.

    Raises `WeightsUnavailable` with the size that is claimed.
    """
    reader = _Reader(
        io.BytesIO(content) if isinstance(content, bytes) else content, name, size, records
    )
    try:
        # Without an archive: a number, a version, the system, the object and the storages' keys.
        for _ in range(1 if records is not None else 5):
            reader.follow()
    # Where bytes end too early, are no text or find no value, torch says so.
    except (_Unfollowed, LookupError, ValueError, EOFError, ArithmeticError):
        return


class _Reader:
    """Follows the instructions that torch's reader knows."""

    def __init__(
        self, file: io.BufferedIOBase, name: str, size: int, records: Mapping[str, int] | None
    ) -> None:
        self.file, self.name, self.size, self.records = file, name, size, records
        self.room = max(MAX_PACKING * size, ALWAYS_UNPACKED)
        self.taken, self.held, self.steps = 0, 0, 0
        self.storages: dict[object, _Made] = {}

    def follow(self) -> None:
        """Follow one pickle to its end."""
        self.stack: list[object] = []
        outer: list[list[object]] = []
        memo: dict[int, object] = {}
        while True:
            self.steps += 1
            if self.steps > MAX_STEPS:
                self._refuse(f"more than {MAX_STEPS:,} instructions")
            code = self._read(1)
            stack = self.stack
            if code in _PUSHED:
                stack.append(_PUSHED[code])
                self._take(VALUE)
            elif code in (pickle.BINPUT, pickle.LONG_BINPUT):
                memo[self._number(code == pickle.LONG_BINPUT)] = stack[-1]
                self._take(VALUE)
            elif code in (pickle.BINGET, pickle.LONG_BINGET):
                stack.append(memo[self._number(code == pickle.LONG_BINGET)])
                self._take(VALUE)
            elif code == pickle.BINUNICODE:
                stack.append(self._text(unpack("<I", self._read(4))[0]))
            elif code == pickle.SHORT_BINSTRING:
                stack.append(self._text(self._read(1)[0]))
            elif code in _NUMBERS:
                form, length = _NUMBERS[code]
                stack.append(unpack(form, self._read(length))[0])
                self._take(VALUE)
            elif code == pickle.LONG1:
                stack.append(pickle.decode_long(self._read(self._read(1)[0])))
                self._take(VALUE)
            elif code == pickle.MARK:
                outer.append(stack)
                self.stack = []
                self._take(CONTAINER)
            elif code in (pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET):
                stack.append(_Made("container", []))
                self._take(CONTAINER)
            elif code in _TUPLES:
                count = _TUPLES[code]
                members = [stack.pop() for _ in range(count)][::-1]
                stack.append(self._tuple(members))
            elif code == pickle.TUPLE:
                members, self.stack = stack, outer.pop()
                self.stack.append(self._tuple(members))
            elif code in (pickle.APPEND, pickle.SETITEM):
                count = 1 if code == pickle.APPEND else 2
                self._put([stack.pop() for _ in range(count)])
            elif code in (pickle.APPENDS, pickle.SETITEMS):
                members, self.stack = stack, outer.pop()
                self._put(members)
            elif code == pickle.GLOBAL:
                # torch joins both lines: "torch", "_utils.x" is "torch._utils", "x".
                lines = [self.file.readline()[:-1].decode() for _ in range(2)]
                stack.append(_Made("global", name=".".join(lines)))
                self._take(CONTAINER)
            elif code in (pickle.REDUCE, pickle.NEWOBJ):
                arguments = stack.pop()
                stack[-1] = self._called(stack[-1], arguments)
            elif code == pickle.BUILD:
                self._fill(stack.pop())
            elif code == pickle.BINPERSID:
                stack.append(self._storage(stack.pop()))
            elif code == pickle.PROTO:
                self._read(1)
            elif code == pickle.STOP:
                self._check_paths(stack.pop())
                return
            else:
                raise _Unfollowed

    def _read(self, count: int) -> bytes:
        if count > self.size + ALWAYS_UNPACKED:
            self._refuse(f"a text of {count:,} bytes")
        found = self.file.read(count)
        if len(found) < count:
            raise EOFError
        return found

    def _number(self, long: bool) -> int:
        return int.from_bytes(self._read(4 if long else 1), "little")

    def _text(self, length: int) -> object:
        if self.records is None and length > self.size:
            self._refuse(f"a text of {length:,} bytes")
        found = self._read(length)
        self._take(VALUE + 4 * length)
        # Only short ones are keys, words and encodings.
        return found.decode("utf-8", "surrogatepass") if length < 256 else _text_of(length)

    def _tuple(self, members: list[object]) -> _Made:
        self._take(CONTAINER + 8 * len(members))
        made = _Made("tuple", members)
        if made.nested > MAX_NESTED:
            self._refuse(f"{made.nested:,} tuples inside each other")
        self._check_count(made.paths)
        return made

    def _put(self, members: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, _Made) or target.kind not in ("container", "call"):
            raise _Unfollowed
        cast("list[object]", target.members).extend(members)
        self._take(16 * len(members))

    def _called(self, function: object, given: object) -> object:
        """What a call makes of its arguments; sizes among them are checked."""
        if not isinstance(function, _Made):
            raise _Unfollowed
        if not isinstance(given, _Made) or given.kind not in ("tuple", "container"):
            self._refuse("a call without a tuple")
        arguments = given.members
        last = function.name.rpartition(".")[2]
        ours = function.kind == "global" and "torch" in function.name
        if last == "bytearray":
            for each in arguments[:1]:
                if not isinstance(each, str | _Made):
                    self._refuse(f"a bytearray of {_shown(each)} bytes")
        if last == "encode" and len(arguments) > 1 and arguments[1] not in ENCODINGS:
            self._refuse("a text of an encoding that no pickle uses")
        if ours and last == "_rebuild_from_type_v2":
            return self._called(arguments[0], arguments[2])
        if ours and last in ("_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter"):
            found = arguments[0] if arguments else None
            return found if isinstance(found, _Made) else _Made("tensor")
        if ours and last in _REBUILT:
            return self._tensor(arguments, quantised="qtensor" in last)
        if ours and last == "_rebuild_tensor_v3":
            return self._tensor(arguments, dtype=arguments[6])
        if ours and last.endswith(("Tensor", "Storage")):
            if arguments:
                self._refuse(
                    f"a {last} of {', '.join(map(_shown, arguments[:3]))} elements without values"
                )
            return _Made("tensor")
        self._take(CONTAINER + sum(map(_bytes_of, arguments)))
        members = [inner for each in arguments for inner in _inside(each)]
        if ours and last == "Size":
            return _Made("tuple", members)
        return _Made("call", [*arguments, *members])

    def _tensor(
        self, arguments: Sequence[object], *, quantised: bool = False, dtype: object = None
    ) -> _Made:
        """A tensor over a storage; torch would enlarge the storage of an old file for it."""
        storage, start, sides, strides = arguments[:4]
        if not isinstance(storage, _Made) or storage.kind != "storage":
            self._refuse("a tensor without a storage")
        item = storage.item if dtype is None else _item(dtype)
        shape, steps = self._numbers(sides), self._numbers(strides)
        count = math.prod(shape)
        (first,) = self._numbers(_Made("tuple", [start]))
        reached = (
            first + 1 + sum((side - 1) * step for side, step in zip(shape, steps, strict=False))
        )
        named = " × ".join(map(_shown, shape)) or "1"
        if count and (reached * item > storage.size or len(shape) != len(steps)):
            self._refuse(
                f"a tensor of {named} that reaches over {_shown(reached * item)} bytes of the "
                f"{storage.size:,} that it has"
            )
        if quantised and count * item > storage.size:
            self._refuse(f"a quantised tensor of {named} over {storage.size:,} bytes")
        self._take(CONTAINER)
        return _Made("tensor", size=count * item)

    def _numbers(self, given: object) -> list[int]:
        members = given.members if isinstance(given, _Made) else [given]
        numbers = [each for each in members if isinstance(each, int)]
        if len(numbers) != len(members) or min(numbers, default=0) < 0:
            self._refuse("a tensor whose sizes are no numbers from 0")
        return numbers

    def _fill(self, state: object) -> None:
        """What is set on a value; tensors of the first versions got their storage so."""
        target = self.stack[-1]
        members = state.members if isinstance(state, _Made) else ()
        if isinstance(target, _Made):
            first = members[0] if members else None
            if target.kind == "tensor" and isinstance(first, _Made) and len(members) != 5:
                if first.kind in ("storage", "tensor") and len(members) > 1:
                    self._tensor(members)
            elif target.kind == "call":
                cast("list[object]", target.members).append(state)
        self._take(16 * len(members))

    def _storage(self, given: object) -> _Made:
        """The bytes of tensors, of which the pickle says how many there are."""
        if not isinstance(given, _Made) or given.kind != "tuple" or len(given.members) < 5:
            raise _Unfollowed
        kind, key, _, count = given.members[1:5]
        if not isinstance(key, str) or not isinstance(kind, _Made):
            self._refuse("a storage without a name")
        if key not in self.storages:
            item = _item(kind)
            (elements,) = self._numbers(_Made("tuple", [count]))
            claimed = elements * item
            there = self.size if self.records is None else self.records.get(key.lower(), 0)
            self.held += claimed
            if claimed > there or self.held > self.room:
                self._refuse(
                    f"a storage of {_shown(claimed)} bytes, of which at most {there:,} are there"
                )
            if self.records is None and self.held > self.size:
                self._refuse(f"storages of {_shown(self.held)} bytes in all")
            self.storages[key] = _Made("storage", size=claimed, item=item)
        whole = self.storages[key]
        view = given.members[5] if self.records is None and len(given.members) > 5 else None
        if not isinstance(view, _Made):
            return whole
        offset, count = self._numbers(_Made("tuple", view.members[1:3]))
        size = min(count * whole.item, max(0, whole.size - offset * whole.item))
        return _Made("storage", size=size, item=whole.item)

    def _take(self, count: int) -> None:
        self.taken += count
        if self.taken > self.room:
            self._refuse(f"values that take {_shown(self.taken)} bytes or more")

    def _check_count(self, paths: int) -> None:
        if paths > MAX_PATHS + 10 * self.steps:
            self._refuse(f"containers inside each other that unfold to {_shown(paths)} values")

    def _check_paths(self, root: object) -> None:
        """Count the ways from the outermost container to values, without going them."""
        ways: dict[int, tuple[_Made, int]] = (
            {id(root): (root, 1)} if isinstance(root, _Made) else {}
        )
        for _ in range(PATH):
            further: dict[int, tuple[_Made, int]] = {}
            for made, count in ways.values():
                for each in made.members:
                    if isinstance(each, _Made) and each.members:
                        further[id(each)] = each, further.get(id(each), (each, 0))[1] + count
            self._check_count(sum(len(made.members) * count for made, count in further.values()))
            ways = further

    def _refuse(self, claimed: str) -> NoReturn:
        raise WeightsUnavailable(
            f"a damaged or cut off checkpoint {self.name!r} (it claims {claimed}, in a file of "
            f"{self.size:,} bytes)",
            "a complete file, whose values are not larger than it",
            "save or download it again, or choose another file",
        )


_REBUILT = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_qtensor")

_PUSHED: Mapping[bytes, object] = {
    pickle.NONE: None,
    pickle.NEWFALSE: False,
    pickle.NEWTRUE: True,
    pickle.EMPTY_TUPLE: _Made("tuple"),
}

_NUMBERS = {
    pickle.BININT: ("<i", 4),
    pickle.BININT1: ("<B", 1),
    pickle.BININT2: ("<H", 2),
    pickle.BINFLOAT: (">d", 8),
}

_ITEMS = {
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
"""Bytes of an element of the kinds of storages that have more than one."""

_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


def _text_of(length: int) -> _Made:
    return _Made("text", size=length)


def _inside(value: object) -> Sequence[object]:
    return value.members if isinstance(value, _Made) else ()


def _bytes_of(value: object) -> int:
    """About how many bytes a copy of a value takes."""
    if isinstance(value, _Made):
        return 4 * value.size + 16 * len(value.members)
    return 4 * len(value) if isinstance(value, str) else VALUE


def _item(kind: object) -> int:
    """Bytes of an element of a storage or a type of torch, such as "torch.FloatStorage"."""
    last = kind.name.rpartition(".")[2] if isinstance(kind, _Made) else ""
    dtype = getattr(torch, last, None)
    if isinstance(dtype, torch.dtype):
        return dtype.itemsize
    return _ITEMS.get(last.removesuffix("Storage"), 1)


def _shown(value: object) -> str:
    """A number in digits; Python writes none of more than 4,300."""
    if not isinstance(value, int):
        return "unknown"
    return f"{value:,}" if abs(value) < 10**18 else "over 10^18"
