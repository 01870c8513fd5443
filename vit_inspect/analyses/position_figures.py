"""Which of the figures of positions has a model?"""

from __future__ import annotations

from vit_inspect.model import Model


def instead(model: Model) -> str:
    """What to look at where one of the three is asked for and is not there."""
    ways = {
        "the similarity of its position embeddings": model.positions is not None,
        "its relative position bias": model.score_bias is not None,
        "its rotary positions": model.rotation is not None,
    }
    there = " or ".join(name for name, present in ways.items() if present)
    if there:
        return f"look at {there} instead"
    return (
        "look at another figure: this model shows no position information of the kinds known here "
        "(a table of position embeddings, a bias by offset, rotations)"
    )
