"""What was the softmax of an `nn.MultiheadAttention` computed from?

Its kernel runs inside one torch function, and a function mode sees only that function's arguments
and output. So the tokens are projected to queries, keys and values again, with the same weights;
the result is verified after the function's own output projection.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, multi_head_attention_forward

from vit_inspect.attention.layer import LayerAttention
from vit_inspect.errors import UnsupportedModel

_SIGNATURE = signature(multi_head_attention_forward)

_OTHERWISE = (
    ("attn_mask", "a mask"),
    ("key_padding_mask", "a mask of padding"),
    ("bias_k", "a learned key for all tokens"),
    ("add_zero_attn", "a key of zeros"),
    ("static_k", "keys from outside"),
    ("use_separate_proj_weight", "keys of another width than the queries"),
)
"""Arguments that make it more than attention of tokens to tokens, and what each means."""


def multihead_attention(
    *args: Any, **kwargs: Any
) -> tuple[LayerAttention, Callable[[Tensor], Tensor]]:
    """The attention and the output projection of a call of `multi_head_attention_forward`.

    The projection turns (image, head, token, width) into the function's output, with the image
    axis before the token axis. Raises `UnsupportedModel` where masks, extra keys or dropout are
    used.
    """
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    found = [
        words for name, words in _OTHERWISE if not (given[name] is None or given[name] is False)
    ]
    if given["training"] and given["dropout_p"]:
        found.append("dropout")
    if found or given["query"].dim() != 3:
        raise UnsupportedModel(
            f"nn.MultiheadAttention with {', '.join(found) or 'tokens that have no image axis'}",
            "plain attention of all tokens to all tokens, in evaluation mode",
            "choose a model in which every token attends to all tokens",
        )
    weights, heads = given["in_proj_weight"].chunk(3), given["num_heads"]
    biases = (None,) * 3 if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)
    queries, keys, values = (
        linear(given[name], weight, bias).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True)
    )

    def project(
        rows: Float[Tensor, "image head token width"],
    ) -> Float[Tensor, "image token all_widths"]:
        weight, bias = given["out_proj_weight"], given["out_proj_bias"]
        return linear(
            rows.transpose(1, 2).flatten(2),
            weight.to(rows.dtype),
            None if bias is None else bias.to(rows.dtype),
        )

    layer = LayerAttention(queries, keys, values, bias=None, scale=queries.shape[-1] ** -0.5)
    return layer, project
