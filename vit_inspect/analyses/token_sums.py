"""What do the tokens of every layer say, where no more than numbers of a picture are kept?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vit_inspect.analyses.layer_cka import centred_gram, same_places
from vit_inspect.analyses.token_norms import count_artefacts, norms_of
from vit_inspect.errors import BadParameter
from vit_inspect.model import Model

TokenStatistic = Literal["artefacts", "cka"]
"""What can be taken of the tokens after each block: how many are artefacts, and how similar two
layers are."""


def check_statistics(asked: Collection[str]) -> None:
    """Raises `BadParameter` for what is none."""
    known = get_args(TokenStatistic)
    if isinstance(asked, str) or not set(asked) <= set(known):
        raise BadParameter(
            f"tokens={asked!r}", f"a list of {', '.join(map(repr, known))}", "choose one of these"
        )


class TokenReduction:
    """Takes numbers of a batch of pictures from the tokens after each block, the first one first.

    statistics: those that are wanted.
    """

    def __init__(self, model: Model, images: int, statistics: Collection[TokenStatistic]) -> None:
        self.layout, self.statistics = model.layout, statistics
        self.artefacts: list[list[int]] = [[] for _ in range(images)]
        self.grams: list[list[np.ndarray]] = [[] for _ in range(images)]
        if "cka" in statistics:
            # As of a picture that is the input itself: places do not depend on the picture.
            whole = model.layout.input_px, (model.layout, model.layout.mapped)
            (self.places,) = same_places(*whole)

    def add(self, layer: int, tokens: Float[Tensor, "image token width"]) -> None:
        """Take the tokens after a block."""
        patches = tokens[:, self.layout.prefix_count :]
        if "artefacts" in self.statistics:
            norms = norms_of(patches).cpu().numpy()
            for counts, each in zip(self.artefacts, norms, strict=True):
                counts.append(count_artefacts(each))
        if "cka" in self.statistics:
            for grams, each in zip(self.grams, patches, strict=True):
                grams.append(centred_gram(each[self.places]))

    def numbers(self) -> dict[str, np.ndarray]:
        """What was asked for, after all blocks, the pictures on the first axis.

        artefacts: how many there are in each layer. hsic: between two layers, as `layer_cka` takes
            it, of all pairs in the order of `numpy.triu_indices`.
        """
        found: dict[str, np.ndarray] = {}
        if "artefacts" in self.statistics:
            found["artefacts"] = np.array(self.artefacts, dtype=np.int32)
        if "cka" in self.statistics:
            count = len(self.places)
            found["hsic"] = np.stack([_upper(np.stack(each)) for each in self.grams]) / (
                count * (count - 3)
            )
        return found


def _upper(grams: Float[np.ndarray, "layer pair"]) -> Float[np.ndarray, "layers"]:
    """The products of all pairs of layers, each pair once."""
    products = grams @ grams.T
    return np.asarray(products[np.triu_indices(len(grams))])
