from __future__ import annotations

from dataclasses import replace

import numpy as np

from vit_inspect.figures.layer_cka import draw, plot


def test_the_map_is_the_ratio_of_means_from_zero_to_one(cka):
    image = draw(cka).axes[0].images[0]
    assert np.allclose(image.get_array(), cka.hsic.mean(axis=0))
    assert image.get_clim() == (0, 1)
    cells = plot(cka).data[0]
    assert np.allclose(cells.z, cka.hsic.mean(axis=0))
    assert (cells.zmin, cells.zmax) == (0, 1)
    halved = replace(cka, self_hsic=4 * cka.self_hsic)
    assert np.allclose(draw(halved).axes[0].images[0].get_array(), cka.similarity / 2)


def test_rows_are_the_layers_of_the_first_model(cka):
    axes = draw(cka).axes[0]
    assert axes.get_ylabel() == "Layer of toy"
    assert axes.get_xlabel() == "Layer of other toy"
    assert (len(axes.get_yticks()), len(axes.get_xticks())) == (3, 4)
    layout = plot(cka).layout
    assert layout.yaxis.title.text == "Layer of toy"
    assert layout.annotations[-1].text == "Layer of other toy"
    alone = replace(cka, other_model="toy")
    assert draw(alone).axes[0].get_xlabel() == "Layer"


def test_models_images_and_patches_are_told(cka):
    assert draw(cka).texts[0].get_text() == "toy and other toy\n2 images, 6 patches in each."
    some = replace(cka, other_model="toy", samples=np.array([4, 6]))
    assert draw(some).texts[0].get_text() == "toy\n2 images, 4 to 6 patches in each."
    assert "One image" in plot(cka.of_image(0)).layout.meta[2]


def test_long_names_are_shortened_on_the_axes(cka):
    long = replace(cka, other_model="organisation/a_name_that_goes_on_and_on")
    wanted = "Layer of organisation…s_on_and_on"
    assert draw(long).axes[0].get_xlabel() == wanted
    assert plot(long).layout.annotations[-1].text == wanted
    assert long.other_model in draw(long).texts[0].get_text()
