"""Which pictures come with the installed packages, and of which is it known what is where?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from PIL import Image

from vit_inspect.assets import FASHION
from vit_inspect.errors import BadImage
from vit_inspect.layout import Box
from vit_inspect.pictures.reading import printable, read_image


class Thing(NamedTuple):
    """What is in a picture: its class, as the bundled classifier calls it, and its place in px."""

    label: str
    box: Box


@dataclass(frozen=True)
class Sample:
    """A picture inside an installed package.

    file: the path inside the package.
    licence: the licence, and whom to credit.
    things: all that is in it, where that is known: on the canvases of the bundled classifier.
    """

    title: str
    package: str
    file: str
    licence: str
    things: tuple[Thing, ...] = ()


def _canvases() -> dict[str, Sample]:
    """Garments that `fashion_vit` was not trained on; scripts/train_fashion_vit.py chose them."""
    told = json.loads((FASHION / "canvases.json").read_text(encoding="utf-8"))
    found = {}
    for name, things in told.items():
        title = ", ".join(each["class"] for each in things)
        found[name] = Sample(
            f"{title[0].upper()}{title[1:]}",
            "vit_inspect",
            f"assets/{FASHION.name}/{name}.png",
            "MIT, Zalando SE",
            tuple(Thing(each["class"], Box(*each["box_px"])) for each in things),
        )
    return found


SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        "chelsea": Sample(
            "Chelsea the cat", "skimage", "data/chelsea.png", "CC0, Stefan van der Walt"
        ),
        "astronaut": Sample(
            "Eileen Collins, astronaut", "skimage", "data/astronaut.png", "public domain, NASA"
        ),
        "coffee": Sample("A cup of coffee", "skimage", "data/coffee.png", "CC0, Rachel Michetti"),
        "rocket": Sample(
            "Launch of a Falcon 9", "skimage", "data/rocket.jpg", "public domain, SpaceX"
        ),
        "china": Sample(
            "A Chinese temple", "sklearn", "datasets/images/china.jpg", "CC BY 2.0, danielbuechele"
        ),
        "flower": Sample(
            "A dahlia", "sklearn", "datasets/images/flower.jpg", "CC BY 2.0, vultilion"
        ),
        "grace_hopper": Sample(
            "Grace Hopper, computer scientist",
            "matplotlib",
            "mpl-data/sample_data/grace_hopper.jpg",
            "public domain, United States Navy",
        ),
    }
)
"""The sample photographs by short name; `sample` opens one, without a download.

The files lie in packages that are installed anyway, and their names begin with the short name.
"""

CANVASES: Mapping[str, Sample] = MappingProxyType(_canvases())
"""Pictures that the bundled classifier was made for, of which it is known what lies where."""

EVERY: Mapping[str, Sample] = MappingProxyType({**SAMPLES, **CANVASES})
"""All that `sample` opens."""


def sample(name: str) -> Image.Image:
    """The sample with this short name; raises `BadImage` for any other name.

    Raises `OutOfMemory` where there is too little memory to read it.
    """
    return read_image(sample_path(name))


def in_words() -> str:
    """The short names, those of canvases by the first and the last."""
    canvases = list(CANVASES)
    return f"one of {', '.join(SAMPLES)}, or {canvases[0]} to {canvases[-1]}"


def sample_path(name: str) -> Path:
    """The path of a sample's file in the installed packages."""
    if not isinstance(name, str) or name not in EVERY:
        raise BadImage(
            f"no sample called '{printable(str(name))}'",
            in_words(),
            "choose one of these",
        )
    package = EVERY[name].package
    # find_spec finds a top-level package without importing it.
    specification = find_spec(package)
    folders = (specification and specification.submodule_search_locations) or ()
    for folder in folders:
        path = Path(folder, EVERY[name].file)
        if path.is_file():
            return path
    raise BadImage(
        f"no file of the sample '{name}'",
        f"that file in the installed package {package}",
        f"install {package} again, or choose another picture",
    )
