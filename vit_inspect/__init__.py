"""A microscope for vision transformers: the inspection figures of the ViT paper, for any model.

    model = vit_inspect.load("dinov2_small")
    image = vit_inspect.read_image("photo.jpg")
    capture = vit_inspect.capture(model, image)
    vit_inspect.attention_rollout(capture).relevance

The public names are listed once, in `__init__.pyi`, and imported when they are first used, so that
importing the package stays quick.
"""

import lazy_loader

from vit_inspect.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
