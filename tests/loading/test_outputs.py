"""Are a model's outputs those that the user or the configuration names, or a sensible guess?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import transformers as hf

import vit_inspect as vi
from tests.helpers.made import RECIPE, layout_of, model_of
from vit_inspect.loading.outputs import GUESSED, ONE, with_labels, with_outputs
from vit_inspect.records.evidence import Outputs

NAMES = ("cat", "dog", "emu")
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}


def named(*labels: str) -> vi.Model:
    return replace(model_of(layout_of("cls")), labels=labels or None, notices=("Before.",))


@pytest.mark.parametrize(
    ("labels", "given", "configured", "outputs", "noticed"),
    [
        (NAMES, None, None, "single-label", False),
        (NAMES, None, "multi-label", "multi-label", False),
        (NAMES, "scores", "multi-label", "scores", False),
        (("age",), None, None, "scores", True),
        (("age",), None, "scores", "scores", False),
        (("ill",), None, "multi-label", "multi-label", False),
        (("ill",), "multi-label", None, "multi-label", False),
        # A softmax over one output is always 1: nobody means that.
        (("age",), None, "single-label", "scores", True),
    ],
)
def test_by_hand_goes_before_the_configuration_and_that_before_the_number(
    labels: tuple[str, ...],
    given: Outputs | None,
    configured: Outputs | None,
    outputs: Outputs,
    noticed: bool,
) -> None:
    found = with_outputs(named(*labels), given, configured)
    assert found.outputs == outputs
    assert found.labels == labels
    assert found.notices == ("Before.", *(ONE,) * noticed)


def test_what_is_said_later_replaces_what_was_assumed() -> None:
    assumed = with_outputs(named("class 0"))
    assert (assumed.labels, assumed.notices) == (("output 0",), ("Before.", ONE))
    said = with_outputs(assumed, "multi-label")
    assert (said.labels, said.notices) == (("class 0",), ("Before.",))


@pytest.mark.usefixtures("unchecked")
def test_a_word_that_is_none_of_them_is_refused() -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        with_outputs(named(*NAMES), "nonsense")
    assert str(refusal.value) == (
        "Found the outputs 'nonsense'; expected one of single-label, multi-label, scores; choose "
        "one of these."
    )


@pytest.mark.parametrize(
    ("labels", "given", "words"),
    [
        ((), "scores", "outputs='scores' for toy, which has no known classes; expected"),
        (("age",), "single-label", "which has one output: its softmax is always 1; expected 'mul"),
    ],
)
def test_what_does_not_fit_is_refused(labels: tuple[str, ...], given: Outputs, words: str) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        with_outputs(named(*labels), given)
    assert words in str(refusal.value)


def test_features_stay_features(dinov2: vi.Model) -> None:
    assert dinov2.labels is None
    assert ONE not in dinov2.notices
    with pytest.raises(vi.BadParameter, match="outputs='multi-label' for dinov2_small, which has"):
        vi.load("dinov2_small", outputs="multi-label", device="cpu")


@pytest.mark.parametrize(
    ("problem", "count", "outputs", "noticed"),
    [
        ("single_label_classification", 3, "single-label", False),
        ("multi_label_classification", 3, "multi-label", False),
        ("regression", 3, "scores", False),
        (None, 3, "single-label", False),
        ("regression", 1, "scores", False),
        (None, 1, "scores", True),
        ("multi_label_classification", 1, "multi-label", False),
    ],
)
def test_a_model_of_transformers_says_it_by_its_problem(
    problem: str | None, count: int, outputs: Outputs, noticed: bool
) -> None:
    config = hf.ViTConfig(**SIZE, num_labels=count, problem_type=problem)
    network = hf.ViTForImageClassification._from_config(config, attn_implementation="sdpa").eval()
    model = vi.wrap(network, transform=RECIPE)
    assert model.outputs == outputs
    assert (ONE in model.notices) == noticed
    word = "output" if outputs == "scores" else "class"
    assert model.labels == tuple(f"{word} {index}" for index in range(count))
    assert vi.wrap(network, transform=RECIPE, outputs="scores").outputs == "scores"


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[int], Path]:
    """Writes a checkpoint with so many outputs."""

    def save(count: int) -> Path:
        network = timm.create_model("test_vit", num_classes=count)
        torch.save(network.state_dict(), tmp_path / "run.pth")
        return tmp_path / "run.pth"

    return save


@pytest.mark.parametrize(
    ("count", "given", "outputs"),
    [(1, None, "scores"), (1, "multi-label", "multi-label"), (3, "multi-label", "multi-label")],
)
def test_a_checkpoint_is_read_as_it_is_said(
    saved: Callable[[int], Path], count: int, given: Outputs | None, outputs: Outputs
) -> None:
    model = vi.load(checkpoint=saved(count), architecture="test_vit", outputs=given, device="cpu")
    assert model.outputs == outputs
    assert (ONE in model.notices) == (given is None)
    heads = "one output" if count == 1 else f"{count} classes"
    assert f"Classifier of {heads} taken from the file." in model.notices


def test_a_network_in_memory_is_read_as_it_is_said() -> None:
    network = timm.create_model("test_vit", num_classes=3).eval()
    assert vi.wrap(network).outputs == "single-label"
    model = vi.wrap(network, labels=NAMES, outputs="multi-label")
    assert (model.outputs, model.labels) == ("multi-label", NAMES)


def test_names_are_given_as_a_list_or_as_a_file_with_one_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffa\u00efoli\r\nDarjeeling\x07 tea\r\n emu \r\n\r\n".encode())
    before = replace(named("class 0", "class 1", "class 2"), outputs="multi-label")
    found = with_labels(before, file)
    assert found.labels == ("a\u00efoli", "Darjeeling tea", "emu")
    assert found.outputs == "multi-label"
    assert with_labels(before, NAMES).labels == NAMES
    assert with_labels(before, list(NAMES)).module is before.module


def test_names_that_are_given_end_the_notice_on_those_that_were_guessed() -> None:
    guessed = replace(named(*NAMES), notices=("Before.", f"Its 3 classes {GUESSED}, so."))
    assert with_labels(guessed, NAMES).notices == ("Before.",)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a\nb", "2 labels in 'names.txt' for the 3 outputs"),
        ("a\nb\nc\nd", "4 labels in 'names.txt' for the 3 outputs"),
        ("a\n\nc", "an empty line 2 in 'names.txt'"),
        ("", "0 labels in 'names.txt' for the 3 outputs"),
        (b"\xff\xfe\x00a", "no names of classes that can be read in 'names.txt'"),
        (None, "no names of classes that can be read in 'names.txt'"),
    ],
)
def test_a_file_of_names_that_does_not_fit_is_refused(
    tmp_path: Path, lines: str | bytes | None, words: str
) -> None:
    file = tmp_path / "names.txt"
    if lines is not None:
        file.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    with pytest.raises(vi.BadParameter, match=words):
        with_labels(named(*NAMES), file)


def test_a_feature_vector_has_no_names() -> None:
    with pytest.raises(vi.BadParameter, match=r"2 labels for .* whose output is a feature vector"):
        with_labels(named(), ["a", "b"])


def test_the_classes_of_a_checkpoint_get_names(tmp_path: Path) -> None:
    network = timm.create_model(
        "vit_tiny_patch16_224", depth=1, embed_dim=24, num_heads=2, num_classes=3
    )
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    model = vi.load(
        checkpoint=tmp_path / "mine.pth",
        architecture="vit_tiny_patch16_224",
        arch_options={"depth": 1, "embed_dim": 24, "num_heads": 2},
        img_size=32,
        labels=NAMES,
        outputs="scores",
    )
    assert (model.labels, model.outputs) == (NAMES, "scores")
