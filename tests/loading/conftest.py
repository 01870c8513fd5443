"""Networks of every family, made soon: no test here looks at single values of random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from timm.layers import weight_init
from torch import Tensor, nn

DRAWN = 2**16
"""Random numbers that are drawn for a tensor, about."""


@pytest.fixture(scope="package", autouse=True)
def soon_random() -> Iterator[None]:
    """Large random weights repeat a smaller part of them: to draw them all takes most of the time.

    They are of the same distribution, and different for another seed.
    """

    def repeated(init: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def fill(tensor: Tensor, *said: Any, **named: Any) -> Tensor:
            if tensor.is_meta:
                return tensor
            rows = 1 + DRAWN // max(1, tensor[:1].numel())
            if len(tensor) <= rows:
                return init(tensor, *said, **named)
            # One less than whole rows: no row is the same as another.
            part = init(torch.empty_like(tensor[:rows]), *said, **named).flatten()[1:]
            for each in tensor.detach().view(-1).split(len(part)):
                each.copy_(part[: len(each)])
            return tensor

        return fill

    with (
        patch.object(weight_init, "_trunc_normal_", repeated(weight_init._trunc_normal_)),
        patch.object(nn.init, "kaiming_uniform_", repeated(nn.init.kaiming_uniform_)),
    ):
        yield
