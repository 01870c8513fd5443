"""Does every page tell a lack of memory in one sentence, and is it whole once there is some?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.figure
import plotly.graph_objects as go
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest
from timm.models import VisionTransformer

from tests.dashboard.apps import VIEWS, opened, refusals

GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
FAULTS: dict[str, list[tuple[type, str]]] = {
    "the forward pass": [(VisionTransformer, "forward")],
    # Each ends in arrays.
    "an analysis": [(torch.Tensor, "numpy")],
    "what is drawn": [(go.Figure, "__init__"), (matplotlib.figure.Figure, "savefig")],
}
LONG = "It takes seconds to minutes."
"""What buttons say that begin work."""

pytestmark = pytest.mark.usefixtures("random_weights")


@contextmanager
def failing(fault: str) -> Iterator[list[str]]:
    """What has too little memory, and a list of those that asked for it."""
    asked: list[str] = []

    def full(*_: object, **__: object) -> None:
        asked.append(fault)
        raise (GPU, CPU, MemoryError())[len(asked) // 2 % 3]

    with pytest.MonkeyPatch.context() as patch:
        for kind, name in FAULTS[fault]:
            patch.setattr(kind, name, full)
        yield asked


def begun(app: AppTest) -> AppTest:
    """The page, with the work begun that waits for a click."""
    for button in [each for each in app.button if each.proto.help == LONG]:
        button.click().run()
    return app


def check(view: str, fault: str) -> bool:
    """Open a page without memory, and again with it; whether it asked for what was missing."""
    st.cache_resource.clear()
    with failing(fault) as asked:
        app = begun(opened(view, over="this picture"))
        told = refusals(app)
        assert not app.exception, (view, app.exception)
        assert len(told) == bool(asked), (view, told, asked)
        for sentence in told:
            assert sentence.startswith("Found no memory left"), (view, sentence)
            assert sentence.count(";") == 2, "what was found, what was expected, what to do"
    begun(app.run())
    assert not app.exception, (view, app.exception)
    assert refusals(app) == [], view
    return bool(asked)


def test_a_page_without_memory_says_so_and_is_whole_again() -> None:
    assert check("explore", "the forward pass")


@pytest.mark.slow
@pytest.mark.usefixtures("numbers_only")
@pytest.mark.parametrize("fault", FAULTS)
def test_every_page_says_so_and_is_whole_again(fault: str) -> None:
    asked = [view for view in VIEWS if check(view, fault)]
    # Not all pages do each of these.
    assert len(asked) >= len(VIEWS) // 2, asked
