"""How are texts compared with a network's output? By the text tower that was trained with it.

CLIP (Radford et al. 2021, 2103.00020) and SigLIP (Zhai et al. 2023, 2303.15343) of `transformers`.
SigLIP 2 of a fixed input size has SigLIP's classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple
from unicodedata import category

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vit_inspect.arguments import of_kind, several
from vit_inspect.errors import BadParameter, WeightsUnavailable, lacks_memory, short_reason
from vit_inspect.model import Comparison, Words
from vit_inspect.records.evidence import Outputs

MAX_TEXTS = 100
"""Most texts that can be classes."""

MAX_LETTERS = 300
"""Most letters of a text, with its template."""

OUTPUTS: Mapping[str, Outputs] = MappingProxyType(
    {"CLIPModel": "single-label", "SiglipModel": "multi-label"}
)
"""The networks with a text tower, and what the scores of their texts were trained to be."""


class Tower(NamedTuple):
    """A network with a text tower, and its tokenizer."""

    network: Any
    tokenizer: Any


class Lazy:
    """Loads a text tower when it is first called, and returns the same one after that."""

    def __init__(self, load: Callable[[], Tower]) -> None:
        self._load = load
        self._tower: Tower | None = None

    def __call__(self) -> Tower:
        """The tower; raises what loading it raises, and tries again at the next call."""
        if self._tower is None:
            self._tower = self._load()
        return self._tower

    def __deepcopy__(self, memo: object) -> Lazy:
        # A copy of the network takes the same texts.
        return self

    def __reduce__(self) -> tuple[type[Lazy], tuple[Callable[[], Tower]]]:
        # Another process loads its own, if it needs one.
        return Lazy, (self._load,)


class Cosines(nn.Module):
    """Takes a network's output and returns its cosine with each of some texts."""

    units: Tensor

    def __init__(self, projection: nn.Module, units: Float[Tensor, "text width"]) -> None:
        super().__init__()
        self.projection = projection
        # A buffer is no weight: it stays where weights are permuted.
        self.register_buffer("units", units)

    def forward(self, output: Float[Tensor, "image width"]) -> Float[Tensor, "image text"]:
        """The cosines, in -1..1."""
        return normalize(self.projection(output), dim=-1) @ self.units.T


def checked_tower(network: Any, tokenizer: Any, *, name: str) -> Tower:
    """The tower; raises `WeightsUnavailable` for a tokenizer that is none."""
    # Where the files of a tokenizer are missing, transformers makes one without words.
    config = network.config.text_config
    if 2 * len(tokenizer) < config.vocab_size:
        raise _no_tokenizer(config, name)
    return Tower(network, tokenizer)


def has_words(config: Any) -> bool:
    """Whether a network of this configuration has a text tower that is known."""
    kind = (config.architectures or ["no class"])[0]
    # Without its attention pool, SigLIP compares nothing with texts.
    return kind in OUTPUTS and getattr(config.vision_config, "vision_use_head", True)


def words_of(config: Any, network: Any, tower: Callable[[], Tower], *, name: str) -> Words:
    """The text tower of a network.

    config: of both towers. network: takes pixels; its `network` is the image encoder.
    tower: loads the text tower, or returns it again.
    """
    kind = config.architectures[0]
    return Words(
        compare=partial(compared, tower, _features, name=name),
        outputs=OUTPUTS[kind],
        # A partial, not a closure: a deep copy of it uses the copied network.
        head=partial(_read_token if kind == "CLIPModel" else _read_pool, network.network),
    )


def _read_token(encoder: Any, tokens: Float[Tensor, "image token width"]) -> Tensor:
    """CLIP's last steps, from the class token."""
    return encoder.post_layernorm(tokens[:, 0])


def _read_pool(encoder: Any, tokens: Float[Tensor, "image token width"]) -> Tensor:
    """SigLIP's last steps, from all tokens."""
    return encoder.head(encoder.post_layernorm(tokens))


def _features(tower: Tower, texts: tuple[str, ...], *, name: str) -> Tensor:
    given = _tokens(tower.network, tower.tokenizer, texts, name=name)
    return tower.network.get_text_features(**given).pooler_output


def compared(
    tower: Callable[[], Tower],
    features: Callable[..., Float[Tensor, "text width"]],
    texts: Sequence[str],
    *,
    name: str,
) -> Comparison:
    """How the output of a network is compared with these texts.

    features: function of tower, texts and name that returns what the text tower makes of them.
    """
    texts = checked_texts(texts)
    # Tensors made in inference mode cannot be part of a graph.
    with torch.inference_mode(False), torch.no_grad():
        held = tower()
        try:
            units = normalize(features(held, texts, name=name), dim=-1)
        except (BadParameter, WeightsUnavailable):
            raise
        # Tokenizers and networks of others fail in any way.
        except Exception as error:
            if lacks_memory(error):
                raise
            raise WeightsUnavailable(
                f"a text tower of {name!r} that fails on texts ({short_reason(error)})",
                "the tokenizer that its weights were trained with",
                "choose another model with a text tower, such as a CLIP of its authors",
            ) from error
        network = held.network
        bias = getattr(network, "logit_bias", None)
        return Comparison(
            cosines=Cosines(getattr(network, "visual_projection", nn.Identity()), units),
            scale=network.logit_scale.exp().item(),
            bias=0.0 if bias is None else bias.item(),
        )


def checked_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts; raises `BadParameter` for none, too many, and one that is none or too long."""
    texts = several(texts, "texts", "['a cat', 'a dog']")
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise BadParameter(
            f"{len(texts):,} texts", f"1 to {MAX_TEXTS}", "give fewer" if texts else "give a text"
        )
    for text in texts:
        of_kind(text, str, "a text", "words such as 'a cat'")
        if not text.strip():
            raise BadParameter("an empty text", "words such as 'a cat'", "write what you look for")
        if len(text) > MAX_LETTERS:
            raise BadParameter(
                f"a text of {len(text):,} letters, {short(text)}",
                f"at most {MAX_LETTERS} letters, with the template",
                "make it shorter",
            )
        # Half of an emoji would stop the tokenizer, and a line break would spoil a figure.
        if any(category(letter) in ("Cs", "Cc") for letter in text):
            raise BadParameter(
                f"a text with signs that cannot be printed, {short(text)}",
                "letters of any language on one line",
                "leave them out",
            )
    return texts


def _tokens(
    network: Any, tokenizer: Any, texts: tuple[str, ...], *, name: str
) -> Mapping[str, Tensor]:
    """The tokens of the texts, as the network was trained to read them."""
    config = network.config.text_config
    most = config.max_position_embeddings
    plain = {"padding": False, "truncation": False}
    # A mark of an end that a visitor writes would cut the text there.
    marks = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    inner = tokenizer(list(texts), add_special_tokens=False, **plain)["input_ids"]
    whole = tokenizer(list(texts), **plain)["input_ids"]
    for text, words, ids in zip(texts, inner, whole, strict=True):
        if marks & {*words}:
            raise refused_mark(text)
        if len(ids) > most:
            raise BadParameter(
                f"the text {short(text)} of {len(ids)} tokens",
                f"at most {most} tokens, the most that {name} reads",
                "make it shorter",
            )
        # On a GPU, such a token would stop all work until the program ends.
        if not words or max(ids) >= config.vocab_size:
            raise _no_tokenizer(config, name)
    if hasattr(network, "logit_bias"):
        # SigLIP was trained on texts filled up to its length, and sees the padding: it takes no
        # mask.
        padded = tokenizer(list(texts), padding="max_length", max_length=most, return_tensors="pt")
        return {"input_ids": padded["input_ids"].to(network.device)}
    return tokenizer(list(texts), padding=True, return_tensors="pt").to(network.device)


def refused_mark(text: str) -> BadParameter:
    """The error for a text with a mark of its start or end inside."""
    return BadParameter(
        f"the text {short(text)}, in which the tokenizer finds the start or end of a text",
        "words such as 'a cat'",
        "leave out signs such as '<|endoftext|>' and '</s>'",
    )


def _no_tokenizer(config: Any, name: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"no tokenizer that fits the text tower of {name!r}",
        f"one of {config.vocab_size:,} tokens, with at least one for each text",
        "put the files of the tokenizer that its weights were trained with beside them",
    )


def short(text: str) -> str:
    """The start of a text, in quotes."""
    return repr(text if len(text) <= 40 else f"{text[:40]} ...")
