"""Which bias does an offset of key and query add to the scores? (Shaw et al. 2018, BEiT, Swin)"""

from __future__ import annotations

import numpy as np
import torch

from vit_inspect.analyses.position_figures import instead
from vit_inspect.device import memory_refusal
from vit_inspect.errors import UnsupportedModel
from vit_inspect.model import Model, of_model
from vit_inspect.records.paper import PositionBias


@of_model
def position_bias(model: Model) -> PositionBias:
    """The bias that every layer and head adds to its scores, by the offset of key minus query.

    It comes from a learned table or a small network, as the model computes it for its input size.
    Raises `UnsupportedModel` for a model without such a bias.
    """
    if model.score_bias is None:
        raise UnsupportedModel(
            f"{model.id} without a bias by offset",
            "a number that is added to the score of each key by its offset from the query",
            instead(model),
        )
    with torch.inference_mode(), memory_refusal(1, model.layout.token_count, model.device):
        bias = model.score_bias(model.blocks)
    rows, columns = (size // 2 for size in bias.shape[2:])
    return PositionBias(
        model=model.id,
        bias=bias.to("cpu", torch.float32).numpy(),
        row_offset=np.arange(-rows, rows + 1),
        column_offset=np.arange(-columns, columns + 1),
    )
