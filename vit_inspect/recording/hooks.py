"""Which block of a network is running in this thread, and which functions does it call?

These are the only hooks that stay. They are set once, when a model is loaded, and look up the
watch of the calling thread: a model shared by several threads holds no state of any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Self

from torch import nn
from torch.overrides import TorchFunctionMode


class CallWatch(TorchFunctionMode):
    """Sees every torch function that this thread calls inside its `with` block."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the function returns."""
        return function(*args, **kwargs)

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """Called when a function has returned `output`; the return value replaces it."""
        raise NotImplementedError

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return self.called(func, args, kwargs, self.call(func, args, kwargs))


class Watch(CallWatch):
    """Sees every torch function, and which block of a network calls it.

    block: the one that is running; None before the first, after the last and in between.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = set(blocks)
        self.block: nn.Module | None = None

    def __enter__(self) -> Self:
        self._token: Token[Watch | None] = _running.set(self)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        _running.reset(self._token)

    def enter(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Called when a block starts; a returned tuple replaces its arguments."""
        self.block = block
        return None

    def leave(self, block: nn.Module, output: Any) -> None:
        """Called when a block ends."""
        self.block = None


def instrument(blocks: Iterable[nn.Module]) -> None:
    """Set the hooks that tell a watch which block is running; a second call changes nothing."""
    for block in blocks:
        if _enter not in block._forward_pre_hooks.values():
            block.register_forward_pre_hook(_enter)
            block.register_forward_hook(_leave)


_running: ContextVar[Watch | None] = ContextVar("watch of this thread", default=None)


def _enter(block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    watch = _running.get()
    return watch.enter(block, args) if watch and block in watch.blocks else None


def _leave(block: nn.Module, args: tuple[Any, ...], output: object) -> None:
    watch = _running.get()
    if watch and block in watch.blocks:
        watch.leave(block, output)
