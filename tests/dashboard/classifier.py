"""Serves the dashboard with a classifier whose weights are random, as no hub can be reached.

`python -m tests.dashboard.classifier`, with options of `streamlit run`. The product is as it is,
but what loads a model of this name makes one instead of asking for its weights.
"""

from __future__ import annotations

import sys

import torch

import vit_inspect as vi
from tests.helpers.oracle import sharpen

NAME = "vit_tiny_patch16_224"
"""A class token, positions in a table, twelve layers of three heads, the classes of ImageNet."""


def main(*options: str) -> None:
    """Runs the dashboard as `streamlit run` does."""
    from streamlit.web import cli

    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        if name != NAME:
            return real(name, img_size=img_size)
        torch.manual_seed(0)
        model = real(name, img_size=img_size, pretrained=False)
        sharpen(model.module)
        return model

    vi.load = load
    sys.argv = ["streamlit", "run", "dashboard/app.py", "--server.headless=true", *options]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
