"""Which of the three figures of positions does a model have?"""

from __future__ import annotations

from vit_inspect.model import Model


def instead(model: Model) -> str:
    """The remedy for a model without one of the three figures: the others, if it has them."""
    ways = {
        "the similarity of its position embeddings": model.positions is not None,
        "its relative position bias": model.score_bias is not None,
        "its rotary positions": model.rotation is not None,
    }
    there = " or ".join(name for name, present in ways.items() if present)
    if there:
        return f"look at {there} instead"
    return (
        "look at another figure: this model has no position information of the known kinds "
        "(a table of position embeddings, a bias by offset, rotary positions)"
    )
