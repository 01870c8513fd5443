"""Are tokens that go around the blocks followed, and given up where they cannot be told?"""

from __future__ import annotations

import torch
from torch import Tensor

from vit_inspect.recording.hooks import CallWatch
from vit_inspect.recording.stream import Stream


class Watching(CallWatch):
    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def called(
        self, function: object, args: tuple[object, ...], kwargs: object, output: Tensor
    ) -> Tensor:
        self.stream.called(function, args, output)
        return output


def run(*layers: str) -> tuple[list[Tensor], list[Tensor]]:
    """The tokens that are found, and those after each layer, which is a row of steps.

    A step is "+" (something is added to the tokens) or "*" (they are multiplied).
    """
    stream, after = Stream(), []
    with Watching(stream):
        tokens = torch.ones(2)
        for steps in layers:
            stream.enter((tokens,))
            for step in steps:
                part = tokens * 2
                tokens = part + tokens if step == "+" else part
            after.append(tokens)
    return stream.tokens(), after


def test_tokens_are_what_the_sums_make_of_them() -> None:
    for layers in (("++", "++", "++"), ("+", "+"), ("+++", "+++")):
        found, after = run(*layers)
        assert len(found) == len(layers)
        assert all(one is other for one, other in zip(found, after, strict=True))


def test_a_sum_after_the_last_layer_is_no_part_of_it() -> None:
    found, after = run("++", "++", "+++")
    assert found[1] is after[1]
    assert torch.equal(found[2] * 3, after[2])


def test_tokens_that_cannot_be_told_are_none() -> None:
    for layers in (("++",), ("++*", "++"), ("*++", "++"), ("++", "+", "++"), ("++", "+"), ("", "")):
        assert run(*layers)[0] == []
