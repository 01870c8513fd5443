"""Is a network surveyed while it is trained, and does training not notice?"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vit_inspect as vi
from tests.conftest import noise

Make = Callable[..., vi.Model]


@pytest.fixture
def model(small: Make) -> vi.Model:
    """With dropout, in training."""
    made = small("vit_tiny_patch16_224", (32, 48), dtype=torch.float32)
    for block in made.blocks:
        block.mlp.drop1.p = 0.5
    made.module.train().requires_grad_(True)
    return made


def trained(model: vi.Model, steps: int, after: Callable[[int], object]) -> dict[str, Any]:
    """The weights and the gradients after some steps of training; the random numbers, too."""
    torch.manual_seed(1)
    optimiser = torch.optim.SGD(model.module.parameters(), lr=0.1)
    for step in range(steps):
        optimiser.zero_grad()
        model.module(torch.randn(2, 3, 32, 48)).square().mean().backward()
        optimiser.step()
        after(step)
    return {
        "weights": {name: each.clone() for name, each in model.module.state_dict().items()},
        "gradients": {name: each.grad for name, each in model.module.named_parameters()},
        "modes": [each.training for each in model.module.modules()],
        "random": torch.get_rng_state(),
    }


def test_training_goes_on_as_if_nothing_had_been(
    model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    # A part of it is frozen in evaluation, and stays so.
    model.blocks[1].eval()
    other = copy.deepcopy(model)
    tracker = vi.Tracker(model, photos, tmp_path / "run", every=2)
    with_it, without = trained(model, 5, tracker), trained(other, 5, lambda step: None)
    for kind in ("weights", "gradients"):
        for name, values in without[kind].items():
            assert (values is None) == (with_it[kind][name] is None)
            assert values is None or torch.equal(values, with_it[kind][name]), name
    assert with_it["modes"] == without["modes"]
    assert torch.equal(with_it["random"], without["random"])
    steps = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert steps == ["step-00000000", "step-00000002", "step-00000004"]


def test_each_survey_is_of_the_weights_of_its_step(
    model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    tracker = vi.Tracker(model, photos, tmp_path / "run", statistics=["entropy"])
    first = tracker(0)
    assert first
    alone = vi.survey(copy.deepcopy(model_in_evaluation(model)), photos, statistics=["entropy"])
    np.testing.assert_array_equal(
        first.statistics["entropy"].mean, alone.statistics["entropy"].mean
    )
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight.mul_(2)
    second = tracker(1)
    assert second
    assert first.plan["weights_sha256"] != second.plan["weights_sha256"]
    assert not np.array_equal(first.statistics["entropy"].mean, second.statistics["entropy"].mean)
    assert vi.open_survey(tmp_path / "run" / "step-00000001").count == 6


def model_in_evaluation(model: vi.Model) -> vi.Model:
    found = copy.deepcopy(model)
    found.module.eval()
    return found


def test_what_a_network_keeps_of_its_first_pass_can_be_trained_with(
    model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    class Lazy(nn.Module):
        """A table that is made in the first pass, as many rotary embeddings are."""

        table: torch.Tensor | None = None

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            if self.table is None:
                self.table = torch.ones_like(tokens[:1])
            return tokens * self.table

    model.module.norm_pre = Lazy()
    vi.Tracker(model, photos, tmp_path / "run")(0)
    trained(model, 1, lambda step: None)


def test_modes_are_restored_of_modules_that_do_more_when_they_change(
    model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    class Merging(nn.Identity):
        """Merges weights for evaluation, as adapters do."""

        merged = False

        def train(self, mode: bool = True) -> Merging:
            self.merged = not mode
            return super().train(mode)

    model.module.norm_pre = merging = Merging()
    tracker = vi.Tracker(model, photos, tmp_path / "run", statistics=["nmi"])
    tracker(0)
    assert (merging.training, merging.merged) == (True, False)
    # The pictures are those of the beginning.
    noise((30, 30), 99).save(photos / "cats" / "new.png")
    second = tracker(1)
    assert second
    assert len(second.entries) == 6


def test_a_writer_is_given_the_means_of_each_layer_and_one_image(
    model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    writer = Recorder()
    tracker = vi.Tracker(model, photos, tmp_path / "run", every=5, writer=writer)
    found, _ = tracker(5), tracker(6)
    assert found
    layers = len(model.blocks)
    wanted = {
        (f"heads_{name}/layer_{layer:02d}", 5): spread.mean[layer].mean()
        for name, spread in found.statistics.items()
        for layer in range(layers)
    }
    assert len(wanted) == 7 * layers
    assert writer.scalars == pytest.approx(wanted)
    [(tag, pixels, step)] = writer.images
    assert (tag, step) == ("heads/statistics", 5)
    # A page of panels, in colours on white.
    assert (pixels.dtype, pixels.shape[1:]) == (np.uint8, (1035, 3))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.ptp(pixels.astype(int), axis=2).max() > 100


def test_a_writer_of_few_statistics_and_what_is_none(
    model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    writer = Recorder()
    vi.Tracker(model, photos, tmp_path / "run", statistics=["nmi"], writer=writer)(0)
    assert {tag.partition("/")[0] for tag, _ in writer.scalars} == {"heads_nmi"}
    assert len(writer.images) == 1
    with pytest.raises(vi.BadParameter, match=r"type list as writer.*add_scalar and add_image"):
        vi.Tracker(model, photos, tmp_path / "other", writer=[])


class Recorder:
    """What TensorBoard's writer has, and nothing else of it."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}
        self.images: list[tuple[str, np.ndarray, int]] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars[tag, step] = value

    def add_image(self, tag: str, pixels: np.ndarray, step: int, *, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images.append((tag, pixels, step))


def test_a_callback_for_transformers_sees_the_steps_of_the_optimiser(
    model: vi.Model, photos: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    callback = vi.Tracker(model, photos, tmp_path / "run", every=10).for_transformers()
    assert isinstance(callback, transformers.TrainerCallback)
    # One of several processes surveys.
    other = SimpleNamespace(global_step=0, is_world_process_zero=False)
    callback.on_train_begin(None, other, None)
    assert not list(tmp_path.glob("run/step-*"))
    for step in (0, 1, 10, 11, 20):
        state = SimpleNamespace(global_step=step, is_world_process_zero=step < 20)
        event = callback.on_step_end if step else callback.on_train_begin
        event(None, state, None, model=None)
    steps = sorted(path.name for path in tmp_path.glob("run/step-*"))
    assert steps == ["step-00000000", "step-00000010"]


@pytest.mark.slow
def test_a_real_training_of_transformers_comes_to_the_same_weights(
    photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification
    from transformers import ViTImageProcessorFast as Processor

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "image_size": 32, "patch_size": 16, "num_labels": 3}
    config = ViTConfig(**sizes, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    # Two batches to a step of the optimiser.
    options: dict[str, Any] = {"max_steps": 3, "gradient_accumulation_steps": 2}
    options |= {"per_device_train_batch_size": 1, "use_cpu": True, "report_to": []}
    options |= {"save_strategy": "no", "disable_tqdm": True}
    values = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    data = [{"pixel_values": each, "labels": place % 3} for place, each in enumerate(values)]

    def trained_weights(tracked: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = ViTForImageClassification(config).eval()
        callbacks = []
        if tracked:
            processor = Processor(size={"height": 32, "width": 32})
            model = vi.wrap(network, transform=processor)
            tracker = vi.Tracker(model, photos, tmp_path / "run", statistics=["nmi"])
            callbacks.append(tracker.for_transformers())
        arguments = TrainingArguments(output_dir=str(tmp_path / "out"), **options)
        Trainer(network, arguments, train_dataset=data, callbacks=callbacks).train()
        return network.state_dict()

    with_it, without = trained_weights(True), trained_weights(False)
    assert all(torch.equal(with_it[name], values) for name, values in without.items())
    hashes = [
        vi.open_survey(each).plan["weights_sha256"] for each in sorted(tmp_path.glob("run/*"))
    ]
    assert vi.open_steps(tmp_path / "run")["nmi"].step.tolist() == [0, 1, 2, 3]
    assert len(set(hashes)) == 4


def test_a_callback_for_lightning_sees_a_step_once(
    model: vi.Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its base class is all that is needed of the package.
    package = ModuleType("lightning.pytorch")
    package.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", package)
    seen: list[int] = []
    monkeypatch.setattr(vi.Tracker, "__call__", lambda self, step: seen.append(step))
    callback = vi.Tracker(model, photos, tmp_path / "run").for_lightning()
    trainer = SimpleNamespace(global_step=0, is_global_zero=True)
    callback.on_train_start(trainer, None)
    for step in (0, 1, 1, 2):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None, None, None, 0)
    assert seen == [0, 1, 2]
