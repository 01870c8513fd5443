"""How do texts become the classes of a network? It is compared with each, by its text tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from vit_inspect.arguments import of_kind
from vit_inspect.errors import BadParameter
from vit_inspect.loading.outputs import ONE
from vit_inspect.loading.text_towers import checked_texts, short
from vit_inspect.model import Comparison, Model, of_model

PLACE = "{}"
"""Where a template takes the text."""

TOLD = "Its classes are texts"
"""How the notice on the texts begins."""


class Scored(nn.Module):
    """Takes pixels and returns a score for each text, by a network and its text tower."""

    def __init__(self, network: nn.Module, comparison: Comparison) -> None:
        super().__init__()
        self.network = network
        self.cosines = comparison.cosines
        self.scale, self.bias = comparison.scale, comparison.bias

    def forward(self, pixels: Tensor) -> Tensor:
        """The scores (image, text) of pixels (image, channel, row, column)."""
        return self.scores(self.network(pixels))

    def scores(self, output: Tensor) -> Tensor:
        """The scores (image, text) of the network's output, (image, width)."""
        return self.cosines(output) * self.scale + self.bias


@of_model
def with_texts(model: Model, texts: Sequence[str], *, template: str = PLACE) -> Model:
    """The model with texts as its classes, one score for each; the network is shared.

    texts: 1 to 100 different texts, such as ["a red shoe", "a bag"], each of at most 300 letters
        with the template. They are the labels of the returned model.
    template: what each text is put into, at "{}", before the text tower reads it, such as
        "a photo of a {}".

    A score is the model's own logit: scale × cosine + bias, where the cosine is that of picture
    and text, and scale (the inverse of the temperature) and bias were trained with it. `outputs`
    of the returned model is "single-label" for CLIP (a softmax over the texts), "multi-label" for
    SigLIP (a sigmoid for each text), and "scores" for a single text of CLIP, whose softmax would
    always be 1. The model's `notices` say template, scale and bias.

    The text tower is loaded when it is first used, from where the model is from. Works for CLIP
    and SigLIP of transformers (SigLIP 2 of a fixed input size among them, which was trained on
    texts in lower case) and for networks of open_clip, loaded by `load` with their weights; and
    for those of open_clip in memory, by `wrap` with their tokenizer. A model that has texts gets
    these instead.

    Raises `BadParameter` for texts or a template that cannot be taken, also for a text with more
    tokens than the text tower reads; `UnsupportedModel` for a model without a text tower, and
    `WeightsUnavailable` where that cannot be loaded.
    """
    words = model.checked_words()
    texts = checked_texts(texts)
    of_kind(template, str, "template", "a text with {}, such as 'a photo of a {}'")
    if (places := template.count(PLACE)) != 1:
        raise BadParameter(
            f"{places or 'no'} places for a text in the template {short(template)}",
            "one {}, where the text goes",
            "write it like 'a photo of a {}'",
        )
    twice = next((text for place, text in enumerate(texts) if text in texts[:place]), None)
    if twice is not None:
        raise BadParameter(f"the text {short(twice)} twice", "different texts", "leave one out")
    # A template can have signs that `str.format` would follow.
    comparison = words.compare([template.replace(PLACE, text) for text in texts])
    scored = Scored(network_of(model), comparison)
    one = len(texts) == 1 and words.outputs == "single-label"
    bias = f" {'-' if comparison.bias < 0 else '+'} {abs(comparison.bias):.4g}"
    told = (
        f"{TOLD}, which its text tower reads as {template!r}. The score of a text is "
        f"{comparison.scale:.4g} × the cosine of picture and text"
        f"{bias if comparison.bias else ''}."
    )
    kept = (each for each in model.notices if each != ONE and not each.startswith(TOLD))
    return replace(
        model,
        module=scored,
        labels=texts,
        outputs="scores" if one else words.outputs,
        head=partial(_read, words.head, scored),
        notices=(*kept, told, *((ONE,) if one else ())),
    )


def network_of(model: Model) -> nn.Module:
    """The network itself, which a model shares with all models of other texts."""
    return model.module.network if isinstance(model.module, Scored) else model.module


def _read(head: Callable[[Tensor], Tensor], scored: Scored, tokens: Tensor) -> Tensor:
    """The scores of a network's last tokens, (image, token, width)."""
    return scored.scores(head(tokens))
