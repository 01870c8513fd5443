"""Which patterns does a patch embedding detect? Components of its filters (ViT, Fig. 7 left)."""

from __future__ import annotations

import numpy as np
import torch

from vit_inspect.arguments import at_least_one
from vit_inspect.errors import UnsupportedModel
from vit_inspect.model import Model, of_model
from vit_inspect.records.paper import EmbeddingFilters


@of_model
def embedding_filters(model: Model, *, count: int = 28) -> EmbeddingFilters:
    """The first `count` principal components of the filters, and the variance that each explains.

    The filters are taken as the network applies them: in a hybrid, after standardisation. Samples
    are the filters, features their pixel weights. Components are orthonormal. Their signs are
    arbitrary and fixed so that the largest weight is positive. There are at most
    min(filters - 1, weights) components; `explained_variance_ratio` has all of them. Raises
    `UnsupportedModel` where the network applies no convolution to the pixels.
    """
    count = at_least_one(count, "components")
    if model.filters is None:
        raise UnsupportedModel(
            f"{model.id} without a convolution on its pixels",
            "a patch embedding or a convolutional stem",
            "look at another figure: no filters of this model can be shown as pictures",
        )
    # Imported here because it takes seconds, and most figures do not need it.
    from sklearn.decomposition import PCA

    filters = model.filters.detach().to("cpu", torch.float64).permute(0, 2, 3, 1).numpy()
    samples = filters.reshape(len(filters), -1)
    rank = min(len(samples) - 1, samples.shape[1])
    # Both solvers are exact; the covariance is cheaper unless there are more weights than filters.
    solver = "covariance_eigh" if samples.shape[1] <= len(samples) else "full"
    pca = PCA(n_components=rank, svd_solver=solver).fit(samples)
    components = pca.components_[:count]
    peaks = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(len(components)), peaks])[:, None]
    height, width = filters.shape[1:3]
    return EmbeddingFilters(
        model=model.id,
        source=f"{model.filters_name}, {len(filters)} filters of {height} × {width} px",
        components=components.reshape(-1, *filters.shape[1:]).astype(np.float32),
        explained_variance_ratio=pca.explained_variance_ratio_,
    )
