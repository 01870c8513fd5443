"""Shared by the tests of the analyses: block sizes at which a streamed sum could go wrong."""

from __future__ import annotations

import numpy as np
import pytest

from vit_inspect.attention import blocks


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(params=[1, 800, 3 * 2**20], ids=["single rows", "some rows", "all images"])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Size of the blocks that attention rows come in."""
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", request.param)
    return request.param
