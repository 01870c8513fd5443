"""How do open_clip's text towers compare texts with pictures?

CLIP (Radford et al. 2021, 2103.00020) and SigLIP (Zhai et al. 2023, 2303.15343) as open_clip has
them. Nothing here imports that package.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Int
from torch import Tensor

from vit_inspect.errors import BadParameter, WeightsUnavailable
from vit_inspect.loading.open_clip_anatomy import WHOLE, kind_of
from vit_inspect.loading.text_towers import Tower, compared, refused_mark, short
from vit_inspect.model import Words

TOKENIZERS = ("SimpleTokenizer", "HFTokenizer", "SigLipTokenizer")
"""The classes of what `open_clip.get_tokenizer` returns."""

WIDE = 2**14
"""More tokens than a text of the most letters can have."""


def checked_tower(module: Any, tokenizer: Any, *, name: str) -> Tower:
    """The text tower of a whole network of open_clip.

    tokenizer: that of its weights.

    Raises `BadParameter` for a network without a text tower and for another kind of tokenizer,
    and `WeightsUnavailable` for a tokenizer of other tokens.
    """
    if kind_of(module) not in WHOLE:
        raise BadParameter(
            f"a tokenizer for {name}, which has no text tower",
            f"the {' or '.join(WHOLE)} of open_clip",
            "wrap the whole network, or leave out tokenizer",
        )
    kind, mode = kind_of(tokenizer), getattr(tokenizer, "tokenizer_mode", None)
    if kind not in TOKENIZERS or mode:
        raise BadParameter(
            f"a tokenizer that is a {type(tokenizer).__name__}"
            + (f" of the mode {mode!r}" if mode else ""),
            f"the {', '.join(TOKENIZERS)} of open_clip",
            "give tokenizer=open_clip.get_tokenizer(NAME), with the name of the model",
        )
    if kind == "SimpleTokenizer":
        fits = tokenizer.vocab_size == module.vocab_size
    else:
        # Many networks have more places than such a tokenizer has tokens, and some fewer.
        fits = 2 * len(tokenizer.tokenizer) >= module.vocab_size
    if not fits:
        raise _no_tokenizer(module, name)
    return Tower(module, tokenizer)


def words_of(
    module: Any, tower: Callable[[], Tower], head: Callable[[Tensor], Tensor], *, name: str
) -> Words:
    """The text tower of a whole network of open_clip.

    tower: loads the text tower, or returns it again. head: as in `Words`.
    """
    return Words(
        compare=partial(compared, tower, _features, name=name),
        outputs="single-label" if module.logit_bias is None else "multi-label",
        head=head,
    )


def _features(tower: Tower, texts: tuple[str, ...], *, name: str) -> Tensor:
    network = tower.network
    tokens = _tokens(network, tower.tokenizer, texts, name=name)
    return network.encode_text(tokens.to(network.logit_scale.device))


def _tokens(
    network: Any, tokenizer: Any, texts: tuple[str, ...], *, name: str
) -> Int[Tensor, "text token"]:
    """The tokens of the texts, as the network was trained to read them."""
    tower = getattr(network, "text", network)
    # The towers of transformers take any number of tokens up to their own, and mask the padding.
    foreign = kind_of(tower) == "HFTextEncoder"
    most = tokenizer.context_length if foreign else network.context_length
    marks, end = _marks(tokenizer), _end(tower)
    # open_clip cuts what is too long, and does not say so.
    tokens, wide = (tokenizer(list(texts), context_length=each) for each in (most, WIDE))
    for text, ids, whole in zip(texts, tokens, wide, strict=True):
        words = _words(tokenizer, text)
        if marks & {*words}:
            raise refused_mark(text)
        if not words:
            raise BadParameter(
                f"the text {short(text)}, of which the tokenizer of {name} leaves nothing",
                "words such as 'a cat'",
                "write letters",
            )
        if not _is_all(ids, whole):
            raise BadParameter(
                f"the text {short(text)}, of which {name} would read only a part",
                f"at most {most} tokens, with those that mark its start and end",
                "make it shorter",
            )
        # On a GPU, such a token would stop all work until the program ends.
        if int(ids.max()) >= network.vocab_size or (end is not None and end not in ids):
            raise _no_tokenizer(network, name)
    return tokens


def _is_all(ids: Int[Tensor, "token"], wide: Int[Tensor, "wide"]) -> bool:
    """Whether tokens are all of a text that was filled up, on either side, to be `wide`."""
    most = len(ids)
    right = (wide[:most] == ids).all() and (wide[most:] == wide[-1]).all()
    left = (wide[-most:] == ids).all() and (wide[:-most] == wide[0]).all()
    return bool(right or left)


def _end(tower: Any) -> int | None:
    """The token whose features are those of the text; None if a tower finds it by its place."""
    # A CLIP holds its text tower in parts, with other names.
    of_clip = hasattr(tower, "text_pool_type")
    pool, end = (f"{'text_' if of_clip else ''}{each}" for each in ("pool_type", "eos_id"))
    return getattr(tower, end) if getattr(tower, pool, None) == "eos" else None


def _marks(tokenizer: Any) -> set[int]:
    """The tokens that mark the start and the end of a text, and the padding."""
    if kind_of(tokenizer) == "SimpleTokenizer":
        return {tokenizer.sot_token_id, tokenizer.eot_token_id}
    inner = tokenizer.tokenizer
    names = ("bos", "eos", "pad", "cls", "sep")
    found = (getattr(inner, f"{each}_token_id", None) for each in names)
    return {each for each in found if each is not None}


def _words(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text alone, without marks."""
    if kind_of(tokenizer) == "SimpleTokenizer":
        return tokenizer.encode(text)
    clean = getattr(tokenizer, "clean_fn", None)
    text = text if clean is None else clean(text)
    return tokenizer.tokenizer(text, add_special_tokens=False)["input_ids"]


def _no_tokenizer(module: Any, name: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"no tokenizer that fits the text tower of {name!r}",
        f"one of {module.vocab_size:,} tokens",
        "give tokenizer=open_clip.get_tokenizer(NAME), with the name that its weights have",
    )
