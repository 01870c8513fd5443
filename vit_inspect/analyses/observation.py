"""What do the heads do, where only numbers of them are wanted?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from jaxtyping import Float
from torch import Tensor

from vit_inspect.analyses.head_statistics import HeadReduction, Statistic
from vit_inspect.errors import BadParameter
from vit_inspect.model import Model, of_model
from vit_inspect.recording.inputs import Given, input_of
from vit_inspect.recording.observer import Pass, TokenSums, observed
from vit_inspect.records.evidence import Observation


@of_model
def observe(
    model: Model,
    image: Given | None = None,
    *,
    pixels: Tensor | Sequence[Tensor] | None = None,
    statistics: Sequence[Statistic] = ("distance", "masses", "entropy"),
) -> Observation:
    """Numbers of every head on a picture or a batch of pictures, in a single forward pass.

    They are those of `head_statistics` of a capture, and take less time and memory: each row of
    attention is added while it is computed, and nothing of it is kept.

    image, pixels: as for `capture`.
    statistics: "distance" is `distance_px`; "masses" are `prefix_mass`, `self_mass` and
        `local_mass`; "entropy" is `entropy` and `effective_tokens`; "nmi" is `nmi`.

    Sums are in float32, of a float64 model in float64. Raises what `capture` raises, and
    `BadParameter` for other statistics.
    """
    seen = observe_heads(model, input_of(model, image, pixels), statistics)
    return Observation(model.id, model.layout, seen.error, **seen.sums.means())


def observe_heads(
    model: Model,
    pixels: Float[Tensor, "image channel row column"],
    statistics: Sequence[Statistic],
    tokens: TokenSums | None = None,
) -> Pass[HeadReduction]:
    """The pass that `observe` makes, whose `pixels` are the model's input.

    tokens: is given those after each block too.
    """
    known = get_args(Statistic)
    if isinstance(statistics, str) or not statistics or not set(statistics) <= set(known):
        raise BadParameter(
            f"the statistics {statistics!r}",
            f"a list of {', '.join(map(repr, known))}",
            "choose one of these, or some",
        )
    return observed(
        model,
        pixels,
        lambda heads: HeadReduction(heads, statistics),
        tokens=tokens,
    )
