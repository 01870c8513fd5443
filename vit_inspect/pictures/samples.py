"""Which photographs come with the installed packages?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from vit_inspect.errors import BadImage
from vit_inspect.pictures.reading import printable, read_image


@dataclass(frozen=True)
class Sample:
    """A photograph inside an installed package.

    file: the path inside the package.
    licence: the licence, and whom to credit.
    """

    title: str
    package: str
    file: str
    licence: str


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


def sample(name: str) -> Image.Image:
    """The sample photograph with this short name; raises `BadImage` for any other name."""
    return read_image(sample_path(name))


def sample_path(name: str) -> Path:
    """The path of a sample's file in the installed packages."""
    if not isinstance(name, str) or name not in SAMPLES:
        raise BadImage(
            f"no sample called '{printable(str(name))}'",
            f"one of {', '.join(SAMPLES)}",
            "choose one of these",
        )
    package = SAMPLES[name].package
    # find_spec finds a top-level package without importing it.
    specification = find_spec(package)
    folders = (specification and specification.submodule_search_locations) or ()
    for folder in folders:
        path = Path(folder, SAMPLES[name].file)
        if path.is_file():
            return path
    raise BadImage(
        f"no file of the sample '{name}'",
        f"that file in the installed package {package}",
        f"install {package} again, or choose another picture",
    )
