"""Which patch tokens are artefacts, a few with norms far above all others? (Darcet 2309.16588)"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.analyses.attention_rollout import RolloutReduction
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.layer import compute_type
from vit_inspect.attention.sweep import Reduction, sweep
from vit_inspect.errors import UnsupportedModel
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import TokenNorms
from vit_inspect.records.paper import AttentionRollout

RATIO = 2.0
"""Least ratio of the artefacts' norms to the others', by geometric means.

Darcet et al. report about ten. Ordinary tokens also differ, by their content: in the bundled
model the two groups of its seven samples are up to 1.6 times apart, in any of the last layers.
"""

SEPARATION = 5.0
"""Least distance between the means of the two groups, in standard deviations: they overlap by 1.2%.

Ashman, Bird and Zepf (astro-ph/9408030) call two groups clean above 2. The limit here is higher
because a fit to a single normal group gives up to 4.4 in one of a hundred samples of 36 to 5,000
tokens.
"""

SHARE = 0.1
"""Largest share of patches that can be artefacts; Darcet et al. found 2.4% in DINOv2-g."""

BORDERLINE = 0.25
"""Most patches within one standard deviation of the threshold, as a share of those above it.

Two groups have a gap between them. A single group with a heavy tail has none.
"""


@of_capture
def token_norms(
    capture: Capture, *, layer: int | None = None, rollout: AttentionRollout | None = None
) -> TokenNorms:
    """Norms of the tokens after every block, and which patches are artefacts in `layer`.

    layer: by default the last one.
    rollout: the plain rollout of this capture, if it is known; then no attention is computed for
        images without artefacts.

    Two normal distributions with the same variance are fitted to the logarithms of each image's
    patch norms. The patches above the crossing of the two are marked as artefacts if the upper
    group is far from the lower one (`RATIO`, `SEPARATION`), small (`SHARE`) and separated by a gap
    (`BORDERLINE`). Otherwise no patch is marked, and `reason` says why. With fewer than ten
    patches nothing can be found.

    The record also has the attention from all patches to the artefacts, and rollout with and
    without them. Raises `BadParameter` for a layer that does not exist, `UnsupportedModel` where
    blocks do not return one row for each token, and where rollout is not possible.
    """
    norms = TokenNormsReduction(capture, layer=layer)
    if norms.found or rollout is None:
        sweep(capture.layers, norms)
    return norms.result(rollout)


class Groups(NamedTuple):
    """Two groups fitted to some norms.

    threshold: the norm above which a token is an artefact; infinite if there is none.
    separation: distance between the means of the logarithms, in standard deviations.
    ratio: ratio of the geometric means.
    reason: why there is no artefact; empty if there are some.
    """

    threshold: float
    separation: float
    ratio: float
    reason: str


def find_artefacts(norms: Float[np.ndarray, "token"]) -> Groups:
    """Split norms into two groups, and decide whether the upper one is a group of artefacts."""
    # Imported here because it takes seconds, and most figures do not need it.
    from sklearn.mixture import GaussianMixture

    # A norm of 0 has no logarithm; such a token is not an artefact.
    logs = np.log(norms[norms > 0].astype(np.float64))
    if logs.size * SHARE < 1:
        return Groups(
            np.inf, 0.0, 1.0, f"{logs.size} norms above 0 are too few to find a small group"
        )
    # Both groups have one variance, so that there is one crossing: with two variances, the wider
    # group would also get the smallest norms. The fit starts from a small group at the largest
    # norm: from a random start, it can split the ordinary tokens and miss a single artefact.
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
    none = partial(Groups, np.inf, separation, ratio)
    if ratio < RATIO:
        return none(
            f"the two groups that the norms fall into differ by a factor of {ratio:.2f}; "
            f"artefacts would differ by {RATIO:g} or more"
        )
    if separation < SEPARATION:
        return none(
            f"the two groups that the norms fall into are {separation:.2f} standard deviations "
            f"apart; artefacts would be {SEPARATION:g} or more apart"
        )
    odds = np.log(np.divide(*mixture.weights_[order]))
    crossing = (lower + upper) / 2 + odds * deviation / separation
    above = int((logs > crossing).sum())
    if not above:
        return none("no norm lies above the crossing of the two groups")
    if above > SHARE * norms.size:
        return none(
            f"{above / norms.size:.0%} of the patches are in the group of larger norms; "
            f"artefacts would be {SHARE:.0%} at most"
        )
    near = int((np.abs(logs - crossing) < deviation).sum())
    if near > BORDERLINE * above:
        return none(f"no gap separates the norms: {near} near the threshold, {above} above it")
    return Groups(float(np.exp(crossing)), separation, ratio, "")


def count_artefacts(norms: Float[np.ndarray, "token"]) -> int:
    """How many tokens are above the threshold of `find_artefacts`.

    The means of two groups lie between the smallest and the largest norm. Where these differ by
    less than `RATIO`, nothing is fitted, which takes most of the time.
    """
    positive = norms[norms > 0]
    if not positive.size or positive.max() < RATIO * positive.min():
        return 0
    return int((norms > find_artefacts(norms).threshold).sum())


def norms_of(tokens: Float[Tensor, "image token width"]) -> Float[Tensor, "image token"]:
    """The norm of each token, in a type that holds it."""
    return torch.linalg.vector_norm(tokens, dim=-1, dtype=compute_type(tokens.dtype))


class TokenNormsReduction(Reduction):
    """Finds the artefacts, then sums the attention to them over all attention rows."""

    def __init__(self, capture: Capture, *, layer: int | None = None) -> None:
        layout = capture.layout
        self.capture = capture
        last = capture.layer_count - 1
        self.layer = last if layer is None else capture.check_layer(layer)
        self.plain = RolloutReduction(capture)
        if not capture.tokens:
            raise UnsupportedModel(
                f"blocks of {capture.model.id} that do not return their tokens",
                "one row for each token from every block",
                "choose a plain vision transformer of timm or transformers",
            )
        norms = torch.stack([norms_of(tokens) for tokens in capture.tokens], dim=1)
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
        """Add the rows of one block."""
        self.plain.add(layer, block)
        if not self.found:
            return
        self.without.add(layer, block)
        first = max(self.capture.layout.prefix_count - block.queries.start, 0)
        marked = self.marked[block.images, None, :, None].to(block.weights.dtype)
        drawn = block.weights[:, :, first:, int(self.capture.layout.padded) :] @ marked
        self.drawn[block.images, layer] += drawn.mean(dim=1).sum(dim=(1, 2)).to(self.drawn.dtype)

    def result(self, rollout: AttentionRollout | None = None) -> TokenNorms:
        """The record, after all blocks were added.

        rollout: the plain one; with it, blocks are needed only if artefacts were found.
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
