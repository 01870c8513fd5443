"""What does a model's output say of a class? Its probability, or a raw score."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from vit_inspect.records.evidence import Outputs


def largest(
    output: Float[Tensor, "row class"], count: int, outputs: Outputs
) -> tuple[Float[Tensor, "row rank"], Int[Tensor, "row rank"]]:
    """What the largest outputs of each row say, and of which classes they are."""
    # On the CPU: not every device has float64, and there are few numbers.
    scores = output.cpu().double()
    best, places = scores.topk(count, dim=1)
    return output_values(best, scores, outputs), places


def output_values(
    wanted: Float[Tensor, "row rank"], scores: Float[Tensor, "row class"], outputs: Outputs
) -> Float[Tensor, "row rank"]:
    """What some outputs say: the softmax over all classes, each one's sigmoid, or raw scores.

    wanted: these outputs, out of `scores`, which are all outputs.
    """
    found = logarithms(wanted, scores, outputs)
    return found if outputs == "scores" else found.exp()


def logarithms(
    wanted: Float[Tensor, "row rank"], scores: Float[Tensor, "row class"], outputs: Outputs
) -> Float[Tensor, "row rank"]:
    """The logarithms of the probabilities in nats; raw scores as they are."""
    if outputs == "single-label":
        return wanted - scores.logsumexp(dim=1, keepdim=True)
    return logsigmoid(wanted) if outputs == "multi-label" else wanted
