"""Is a lack of memory one sentence, wherever in a public function it comes?

Memory ends at some call of torch, and stays at its end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.figure
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers import two_towers
from vit_inspect.arguments import takes
from vit_inspect.errors import lacks_memory
from vit_inspect.pictures.given import as_pictures

LACKS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)."),
    "CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "Windows": RuntimeError(
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."
    ),
    "Python": MemoryError(),
}


class Full(TorchFunctionMode):
    """Memory ends after so many calls of torch; without a number it only counts them."""

    def __init__(self, after: float = float("inf"), error: Exception | None = None) -> None:
        super().__init__()
        self.after, self.error, self.calls = after, error, 0

    def __torch_function__(
        self, function: Any, types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        # To look at a shape, to name a device or to leave `torch.no_grad` takes no memory.
        free = ("__get__", "__set__", "device", "_set_grad_enabled", "set_grad_enabled")
        if function.__name__ not in free:
            self.calls += 1
            if self.error is not None and self.calls > self.after:
                raise self.error
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("error", LACKS.values(), ids=LACKS)
def test_every_way_to_say_that_memory_ended_is_known(error: Exception) -> None:
    assert lacks_memory(error)

    @takes(int, "a number")
    def work(number: int) -> None:
        raise error

    with pytest.raises(vi.OutOfMemory, match=r"^Found no memory left; expected room for this work"):
        work(1)


def test_those_of_torch_and_numpy_as_they_are_today_are_known() -> None:
    for make in (torch.empty, np.empty):
        with pytest.raises((RuntimeError, MemoryError)) as told:
            make(10**15)
        assert lacks_memory(told.value)
    assert not lacks_memory(RuntimeError("The size of tensor a (3) must match that of tensor b"))
    assert not lacks_memory(ValueError("out of memory"))


ELSEWHERE = {
    # They run no network, and take what a program has in memory already.
    *("compare_groups", "compare_surveys", "correct", "difference", "head_groups", "mass_mask"),
    *("open_layer_steps", "open_steps", "open_survey", "rank_correlation", "launch"),
    # tests/pictures/test_cost.py
    *("read_image", "sample"),
    # Below.
    *("draw", "html", "plot"),
}


@pytest.fixture(scope="module")
def calls(
    small: Callable[..., vi.Model], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Callable[[], object]]:
    """A call of every public function that takes memory of torch; its name is the first word."""
    root = tmp_path_factory.mktemp("memory")
    noise((40, 40), 1).save(root / "1.png")
    reading = two_towers.load(two_towers.saved(root / "clip", "CLIPModel"))
    classifier, biased, rotated = (
        small(name, 48 if name[0] == "v" else 112, dtype=torch.float32, depth=2)
        for name in ("vit_tiny_patch16_224", "beit_base_patch16_224", "eva02_tiny_patch14_224")
    )
    picture, other = noise((60, 50), 0), noise((60, 50), 1)
    seen, read = vi.capture(classifier, picture), vi.capture(reading, picture)
    plain = ("attention_maps", "attention_rollout", "faithfulness", "feature_pca", "layer_cka")
    of_classes = ("head_importance", "logit_lens", "predictions", "token_norms")
    of_model = ("capture", "observe", "attention_distance", "head_statistics")
    return {
        **{name: partial(getattr(vi, name), seen) for name in (*plain, *of_classes)},
        **{f"{name} of a capture": partial(getattr(vi, name), seen) for name in of_model[2:]},
        **{name: partial(getattr(vi, name), classifier, picture) for name in of_model},
        "ablate": lambda: vi.ablate(seen, heads=[(0, 0)]),
        "anatomy": lambda: vi.anatomy(classifier),
        "attention_relevance": lambda: vi.attention_relevance(seen),
        "attention_relevance to": lambda: vi.attention_relevance(classifier, picture, target=other),
        "cka": lambda: vi.cka(seen, seen),
        "embedding_filters": lambda: vi.embedding_filters(classifier),
        "export": lambda: vi.export(seen, root / "out", formats=["npz"]),
        "load": lambda: vi.load("fashion_vit", device="cpu"),
        "load a folder": lambda: two_towers.load(root / "clip"),
        "localisation": lambda: vi.localisation(seen, [(0, 0, 30, 30)]),
        "paper_figure": lambda: vi.paper_figure(7, seen),
        "position_bias": lambda: vi.position_bias(biased),
        "position_similarity": lambda: vi.position_similarity(classifier),
        "randomised": lambda: vi.randomised(classifier),
        "rotary_similarity": lambda: vi.rotary_similarity(rotated),
        "survey": lambda: vi.survey(classifier, str(root / "1.png")),
        "text_similarity": lambda: vi.text_similarity(read, "cat"),
        "token_similarity": lambda: vi.token_similarity(seen, patch=(0, 0)),
        "with_texts": lambda: vi.with_texts(reading, ["cat", "dog"]),
        "wrap": lambda: vi.wrap(
            classifier.module,
            blocks=classifier.blocks,
            layout=classifier.layout,
            transform=classifier.recipe,
        ),
    }


def check(call: Callable[[], object], name: str, moments: int) -> None:
    """Let memory end at so many moments of the work, the first and the last of them too."""
    # What is known of a model for good is found out once.
    call()
    with Full() as counted:
        call()
    assert counted.calls, name
    for number in range(moments):
        after = (counted.calls - 1) * number // max(1, moments - 1)
        error = [*LACKS.values()][number % len(LACKS)]
        with pytest.raises(vi.OutOfMemory), Full(after, error):  # noqa: PT012
            call()
            pytest.fail(f"{name} went on without memory, after {after} calls of {counted.calls}")
    # Nothing stayed of it.
    call()


@pytest.mark.usefixtures("unchecked")
def test_a_pass_without_memory_is_a_sentence(small: Callable[..., vi.Model]) -> None:
    model, picture = small("vit_tiny_patch16_224", 48, depth=2), noise((60, 50), 0)
    for work in (vi.capture, vi.observe, vi.attention_relevance):
        check(partial(work, model, picture), work.__name__, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked", "unplotted")
def test_every_public_function_tells_it_wherever_it_comes(
    calls: dict[str, Callable[[], object]],
) -> None:
    functions = {name for name in vi.__all__ if inspect.isfunction(getattr(vi, name))}
    assert functions == {name.split()[0] for name in calls} | ELSEWHERE
    for name, call in calls.items():
        check(call, name, 5)


@pytest.mark.usefixtures("unchecked")
def test_drawings_and_pictures_without_memory_are_sentences(
    monkeypatch: pytest.MonkeyPatch, small: Callable[..., vi.Model]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    record = vi.embedding_filters(small("vit_tiny_patch16_224", 48, dtype=torch.float32, depth=1))
    monkeypatch.setattr(matplotlib.figure.Figure, "__init__", full)
    monkeypatch.setattr(go.Figure, "__init__", full)
    for draw in (vi.draw, vi.plot, vi.html):
        with pytest.raises(vi.OutOfMemory):
            draw(record)
    picture = noise((8, 8), 0)
    monkeypatch.setattr(Image, "fromarray", full)
    monkeypatch.setattr(Image.Image, "load", full)
    for given in (picture, np.zeros((8, 8, 3))):
        with pytest.raises(
            vi.OutOfMemory, match=r"to read 'a picture in memory'; .* make the pict"
        ):
            as_pictures(given)
