"""Which block of a network is running in this thread, and what does it call?

The only lasting hooks. They are set once, when a model is loaded, and look up what the calling
thread watches: a model that several threads share holds no state of anyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Self

from torch import nn
from torch.overrides import TorchFunctionMode


class CallWatch(TorchFunctionMode):
    """Sees every function of torch that this thread calls while it is entered."""

    def called(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """A function has returned `output`; what this returns takes its place."""
        raise NotImplementedError

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return self.called(func, args, kwargs, func(*args, **kwargs))


class Watch(CallWatch):
    """Knows also which block of a network calls them.

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
        """A block begins; what is returned takes the place of its arguments."""
        self.block = block
        return None

    def leave(self, block: nn.Module, output: Any) -> None:
        """A block ends."""
        self.block = None


def instrument(blocks: Iterable[nn.Module]) -> None:
    """Set the hooks that tell a watch which block is running; again, they change nothing."""
    for block in blocks:
        if _enter not in block._forward_pre_hooks.values():
            block.register_forward_pre_hook(_enter)
            block.register_forward_hook(_leave)


_running: ContextVar[Watch | None] = ContextVar("what watches this thread", default=None)


def _enter(block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    watch = _running.get()
    return watch.enter(block, args) if watch and block in watch.blocks else None


def _leave(block: nn.Module, args: tuple[Any, ...], output: object) -> None:
    watch = _running.get()
    if watch and block in watch.blocks:
        watch.leave(block, output)
