"""Which patch tokens are artefacts: few, with norms far above all others? (Darcet 2309.16588)"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from vit_inspect.analyses.attention_rollout import RolloutReduction
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.layer import compute_type
from vit_inspect.attention.sweep import sweep
from vit_inspect.errors import UnsupportedModel
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.evidence import TokenNorms
from vit_inspect.records.paper import AttentionRollout

RATIO = 2.0
"""How many times larger the artefacts' norms are, at least: by their geometric means.

Darcet et al. report about ten times. Ordinary tokens differ too, by what they show: in the bundled
model the two groups of its seven samples are up to 1.6 times apart, in any of the last layers.
"""

SEPARATION = 5.0
"""Standard deviations between the means of the two groups, at least: they overlap by 1.2%.

Ashman, Bird and Zepf (astro-ph/9408030) call two groups clean above 2. More is asked because the
fit to a single normal group gives up to 4.4 in one sample of a hundred, of 36 to 5,000 tokens.
"""

SHARE = 0.1
"""Artefacts are at most so many of the patches; Darcet et al. found 2.4% in DINOv2-g."""

BORDERLINE = 0.25
"""Patches within one standard deviation of the threshold, at most, as a share of those above it.

Two groups leave a gap between them. A heavy tail thins out steadily, wherever it is cut.
"""


def token_norms(
    capture: Capture, *, layer: int | None = None, rollout: AttentionRollout | None = None
) -> TokenNorms:
    """Norms of the tokens after every block, and which patches are artefacts by those of `layer`.

    layer: by default the last one. Two normal distributions of one variance are fitted to the
    logarithms of each image's patch norms. Only where the upper one is far from the lower one
    (`RATIO`, `SEPARATION`), small (`SHARE`) and behind a gap (`BORDERLINE`) are the patches above
    the crossing of the two marked; otherwise none is, and `reason` tells why. In fewer than ten
    patches nothing can be found.

    Also the attention that the patches pay to those marked, and rollout with and without them.
    rollout: the plain one of this capture, if it is known: where no patch is marked, no attention
    is needed then.

    Raises `BadParameter` for a layer that is not there, `UnsupportedModel` where blocks return no
    row for each token, and where there is no rollout.
    """
    norms = TokenNormsReduction(capture, layer=layer)
    if norms.found or rollout is None:
        sweep(capture.layers, norms)
    return norms.result(rollout)


class Groups(NamedTuple):
    """What a mixture of two groups says of some norms.

    threshold: the norm above which a token is an artefact; infinite where none is.
    separation: between the means of the logarithms, in standard deviations.
    ratio: of the geometric means.
    reason: why none is an artefact; empty where some are.
    """

    threshold: float
    separation: float
    ratio: float
    reason: str


def find_artefacts(norms: Float[np.ndarray, "token"]) -> Groups:
    """Split norms in two groups, and see whether the upper one is one of artefacts."""
    # Imported here: it takes seconds, and a dashboard opens on another figure.
    from sklearn.mixture import GaussianMixture

    # A token that is zero has no logarithm, and is no artefact.
    logs = np.log(norms[norms > 0].astype(np.float64))
    if logs.size * SHARE < 1:
        return Groups(
            np.inf, 0.0, 1.0, f"{logs.size} norms above 0 are too few to hold a small group"
        )
    # One variance for both, so that there is one crossing: with two, the wider group would also
    # hold the smallest norms. The start is the question, whether few are far above the others: from
    # a random one, the fit may split the ordinary tokens and never see a single artefact.
    floor = 1e-6
    mixture = GaussianMixture(
        2,
        covariance_type="tied",
        weights_init=[0.95, 0.05],
        means_init=[[np.median(logs)], [logs.max()]],
        precisions_init=[[1 / (logs.var() + floor)]],
        reg_covar=floor,
        tol=1e-6,
        max_iter=1000,
        random_state=0,
    ).fit(logs[:, None])
    order = mixture.means_.ravel().argsort()
    lower, upper = mixture.means_.ravel()[order]
    deviation = float(np.sqrt(mixture.covariances_.item()))
    separation, ratio = float(upper - lower) / deviation, float(np.exp(upper - lower))

    def none(reason: str) -> Groups:
        return Groups(np.inf, separation, ratio, reason)

    if ratio < RATIO:
        return none(f"the larger group of norms is {ratio:.2f} times the other, below {RATIO:g}")
    if separation < SEPARATION:
        return none(
            f"two groups of norms are {separation:.2f} standard deviations apart, "
            f"below {SEPARATION:g}"
        )
    odds = np.log(np.divide(*mixture.weights_[order]))
    crossing = (lower + upper) / 2 + odds * deviation / separation
    above = int((logs > crossing).sum())
    if not above:
        return none("no norm lies above the crossing of the two groups")
    if above > SHARE * norms.size:
        return none(
            f"{above / norms.size:.0%} of the patches are in the larger group, above {SHARE:.0%}"
        )
    near = int((np.abs(logs - crossing) < deviation).sum())
    if near > BORDERLINE * above:
        return none(f"no gap parts the norms: {near} near the threshold, {above} above it")
    return Groups(float(np.exp(crossing)), separation, ratio, "")


class TokenNormsReduction:
    """Finds the artefacts, then sums what every attention row gives them."""

    def __init__(self, capture: Capture, *, layer: int | None = None) -> None:
        layout = capture.layout
        self.capture = capture
        self.layer = capture.layer_count - 1 if layer is None else layer
        capture.check_layer(self.layer)
        self.plain = RolloutReduction(capture)
        if not capture.tokens:
            raise UnsupportedModel(
                f"blocks of {capture.model.id} that do not return their tokens",
                "a row for each token from every block",
                "choose a plain vision transformer of timm or transformers",
            )
        norms = torch.stack(
            [
                torch.linalg.vector_norm(tokens, dim=-1, dtype=compute_type(tokens.dtype))
                for tokens in capture.tokens
            ],
            dim=1,
        )
        self.norms = norms.cpu().numpy()
        patches = self.norms[:, self.layer, layout.prefix_count :]
        self.groups = [find_artefacts(each) for each in patches]
        self.threshold = np.array([each.threshold for each in self.groups])
        self.artefact = patches > self.threshold[:, None]
        marked = np.pad(self.artefact, ((0, 0), (layout.prefix_count, 0)))
        self.marked = torch.from_numpy(marked).to(norms.device)
        self.found = bool(marked.any())
        self.without = RolloutReduction(capture, without=self.marked) if self.found else self.plain
        self.drawn = norms.new_zeros(norms.shape[:2])

    def add(self, layer: int, block: RowBlock) -> None:
        """Take in the rows of one block."""
        self.plain.add(layer, block)
        if not self.found:
            return
        self.without.add(layer, block)
        first = max(self.capture.layout.prefix_count - block.queries.start, 0)
        marked = self.marked[block.images, None, :, None].to(block.weights.dtype)
        drawn = block.weights[:, :, first:] @ marked
        self.drawn[block.images, layer] += drawn.mean(dim=1).sum(dim=(1, 2)).to(self.drawn.dtype)

    def result(self, rollout: AttentionRollout | None = None) -> TokenNorms:
        """The record, once all blocks are in.

        rollout: the plain one; with it, blocks are only needed where something was found.
        """
        plain = rollout or self.plain.result()
        without = self.without.result() if self.found else plain
        layout, prefix = self.capture.layout, self.capture.layout.prefix_count
        norm = self.norms[..., prefix:]
        return TokenNorms(
            model=self.capture.model.id,
            layout=layout,
            photographs=self.capture.photographs,
            layer=self.layer,
            reason=tuple(each.reason for each in self.groups),
            norm=norm.reshape(*norm.shape[:2], *layout.grid),
            prefix_norm=self.norms[..., :prefix].copy(),
            artefact=self.artefact.reshape(-1, *layout.grid),
            threshold=self.threshold,
            separation=np.array([each.separation for each in self.groups]),
            ratio=np.array([each.ratio for each in self.groups]),
            drawn=(self.drawn / layout.patch_count).cpu().numpy(),
            rollout=plain.relevance,
            rollout_without=without.relevance.copy(),
        )
