"""What are query tokens called?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.made import layout_of
from vit_inspect.layout import CLS_MEAN, MEAN, POOL, READOUT, Query
from vit_inspect.records.names import query_name, special_names


@pytest.mark.parametrize(
    ("query", "readout", "name"),
    [
        ("cls", MEAN, "class token (CLS)"),
        ("reg1", MEAN, "token reg1"),
        (READOUT, "cls", "class token (CLS)"),
        (READOUT, "reg1", "token reg1"),
        (READOUT, MEAN, "mean of the patches"),
        (READOUT, CLS_MEAN, "class token and mean of the patches"),
        (READOUT, POOL, "attention pool"),
        (POOL, POOL, "attention pool"),
        ((1, 2), MEAN, "patch (1, 2)"),
    ],
)
def test_a_query_is_called_by_what_it_is(query: Query, readout: str, name: str) -> None:
    assert query_name(query, layout_of("cls", "reg1", readout=readout)) == name


def test_special_tokens_are_named_and_padding_is_told_to_count_as_one() -> None:
    assert special_names(layout_of("cls", "reg1")) == "cls, reg1"
    assert special_names(layout_of(readout=MEAN)) == "none"
    padded = replace(layout_of(readout=MEAN), padded=True)
    assert special_names(padded) == "none; the padding of windows counts as one"
