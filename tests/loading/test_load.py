"""Do models load offline, right and safely, or say in a sentence why not?"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import socket
import sys
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import huggingface_hub.constants
import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from PIL import Image
from typer.testing import CliRunner

import vit_inspect as vi
from vit_inspect.commands.app import app
from vit_inspect.layout import MEAN, MEAN_ALL, MEAN_PREFIX, NONLINEAR, POOL
from vit_inspect.loading.bundled import FASHION
from vit_inspect.loading.recommended import DEFAULT, ZOO
from vit_inspect.loading.timm_anatomy import _imagenet_names, model_of
from vit_inspect.loading.wrappers import WeightFile, read_weights

TINY = "vit_tiny_patch16_224"


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket, "socket", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket, "create_connection", fail)


@pytest.fixture(scope="module")
def tiny() -> vi.Model:
    torch.manual_seed(0)
    return vi.load(TINY, pretrained=False, device="cpu")


@pytest.mark.usefixtures("no_sockets")
def test_the_bundled_model_loads_without_a_network() -> None:
    model = vi.load(img_size=28, device="cpu")
    assert model.id == "dinov2_small"
    assert model.source == "bundled file"
    assert model.layout.prefix == ("cls",)
    assert model.layout.patch_px == (14, 14)
    assert model.positions.shape == (37, 37, 384)


def test_a_model_without_weights_says_so(tiny: vi.Model) -> None:
    assert (tiny.id, tiny.source) == (TINY, "random weights")


def test_the_bundled_model_without_its_weights_is_random() -> None:
    model = vi.load("dinov2_small", img_size=28, pretrained=False, device="cpu")
    assert model.source == "random weights"
    assert model.weights_sha256 != vi.load(img_size=28, device="cpu").weights_sha256


@pytest.mark.parametrize(
    ("name", "similar"),
    [("dinov2_smal", "'dinov2_small'"), ("vit_bas_patch16_224", "'vit_base_patch16_224'")],
)
def test_an_unknown_name_is_refused_with_similar_ones(name: str, similar: str) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(name)
    assert refusal.value.found == f"the unknown model '{name}'"
    assert similar in refusal.value.remedy
    assert "'hf-hub:organisation/name'" in refusal.value.expected


def test_an_unknown_name_that_resembles_nothing_says_so() -> None:
    with pytest.raises(vi.BadParameter, match="choose one from the list of models"):
        vi.load("qqqqqqqqqqqqqqqqqqqqqqqqq", pretrained=False)


def test_an_unknown_tag_is_refused_with_those_that_exist() -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load("vit_base_patch16_224.foo")
    assert refusal.value.found == "the unknown tag 'foo' of 'vit_base_patch16_224'"
    assert "'vit_base_patch16_224.augreg_in21k_ft_in1k'" in refusal.value.expected
    assert "'vit_base_patch16_224.mae'" in refusal.value.expected
    assert refusal.value.remedy == "choose one of these"


@pytest.mark.usefixtures("no_sockets")
def test_a_repository_without_its_prefix_is_told_to_add_it() -> None:
    with pytest.raises(vi.BadParameter, match=r"use 'hf-hub:timm/vit_base_patch16_224\.mae'"):
        vi.load("timm/vit_base_patch16_224.mae")


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("name", ["hf-hub:a/b@c@d", "hf-hub:a@b@c", "hf-hub:", "hf-hub:a"])
def test_a_hub_name_that_names_no_repository_is_refused(name: str) -> None:
    with pytest.raises(vi.BadParameter, match=f"the hub name '{name}'; expected 'hf-hub:org"):
        vi.load(name)


def test_an_unreachable_hub_is_explained_with_both_remedies(unreachable: list[str]) -> None:
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.load("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    words = str(refusal.value)
    name = "'vit_tiny_patch16_224.augreg_in21k_ft_in1k'"
    assert f"no weights for {name} (" in words
    assert "connect to the hub, or give a downloaded file" in words
    assert f"checkpoint=FILE, architecture={name}" in words
    assert "'dinov2_small' works without a connection" in words
    # One question and no second try, which is what makes the answer quick.
    assert len(unreachable) == 1
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(("pretrained", "missing"), [(True, "weights"), (False, "configuration")])
def test_a_hub_model_that_cannot_be_reached_is_explained(
    unreachable: list[str], pretrained: bool, missing: str
) -> None:
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.load("hf-hub:someone/something@main", pretrained=pretrained)
    assert f"no {missing} for 'hf-hub:someone/something@main' (" in refusal.value.found
    assert "checkpoint=FILE, architecture=ID, its timm id" in refusal.value.remedy
    assert len(unreachable) == 1
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize(
    ("files", "found", "remedy"),
    [
        (
            {"config.json": {"model_type": "vit", "architectures": ["ViTModel"]}},
            "no model of timm in 'hf-hub:a/b@c', but one of transformers",
            "use 'transformers:a/b@c'",
        ),
        (
            {"open_clip_config.json": {"model_cfg": {}}},
            "no model of timm in 'hf-hub:a/b@c', but one of open_clip",
            "use 'open_clip:a/b'",
        ),
        ({"config.json": {"a": 1}}, "whose config.json names no architecture", "check the name"),
        ({"config.json": [1]}, "whose config.json names no architecture", "check the name"),
        ({"config.json": {"architecture": 3}}, "names no architecture of it", "check the name"),
        ({}, "whose config.json names no architecture of it", "check the name"),
        (None, "no model 'a/b@c' on the hub, or none that you may read", "check the name; for a"),
    ],
)
@pytest.mark.parametrize("pretrained", [True, False])
def test_a_repository_that_is_not_of_timm_says_whose_it_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, object] | None,
    found: str,
    remedy: str,
    pretrained: bool,
) -> None:
    for file, content in (files or {}).items():
        (tmp_path / file).write_text(json.dumps(content))

    def fetched(repo_id: str, filename: str, *, revision: str | None, **_: object) -> str:
        assert (repo_id, revision) == ("a/b", "c")
        if files is None:
            answer = SimpleNamespace(headers={}, request=None, status_code=404)
            raise RepositoryNotFoundError("404", response=answer)  # type: ignore[arg-type]
        if not (tmp_path / filename).exists():
            raise EntryNotFoundError("404")
        return str(tmp_path / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", fetched)
    monkeypatch.setattr("vit_inspect.loading.hub.hf_hub_download", fetched)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.load("hf-hub:a/b@c", pretrained=pretrained, device="cpu")
    assert found in refusal.value.found
    assert refusal.value.remedy.startswith(remedy)


def test_an_architecture_without_pretrained_weights_says_so() -> None:
    with pytest.raises(vi.WeightsUnavailable, match="no weights for 'vit_small_patch16_36x1_224'"):
        vi.load("vit_small_patch16_36x1_224")


def test_a_checkpoint_needs_its_architecture(tmp_path: Path) -> None:
    torch.save({"blocks.0.attn.qkv.weight": torch.ones(1)}, tmp_path / "mine.pth")
    with pytest.raises(vi.BadParameter, match="add architecture=ID, such as"):
        vi.load("mine", checkpoint=tmp_path / "mine.pth")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("checkpoint", "kind"),
    [({"w": torch.ones(1)}, "dictionary"), (io.BytesIO(b"PK"), "BytesIO"), (b"run.pth", "bytes")],
)
@pytest.mark.parametrize("architecture", [TINY, "transformers", None])
def test_a_checkpoint_is_a_path(checkpoint: object, kind: str, architecture: str | None) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(checkpoint=checkpoint, architecture=architecture)
    assert refusal.value.found == f"a checkpoint that is a {kind}"
    assert refusal.value.expected == "the path of a file"


def test_a_checkpoint_is_read_only_if_it_has_the_hash_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    right, other = hashlib.sha256(path.read_bytes()).hexdigest(), "0" * 63 + "A"
    options = {"checkpoint": path, "architecture": "test_vit", "device": "cpu"}
    assert vi.load(**options, sha256=right.upper()).source == "file x.pth, as test_vit"
    monkeypatch.setattr("vit_inspect.loading.from_file.read_weights", None)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.load(**options, sha256=other)
    assert str(refusal.value) == (
        f"Found the SHA-256 {right} of 'x.pth'; expected {other.lower()}; download the file again, "
        "or correct the hash if you trust this file."
    )
    said = "--checkpoint", path, "--architecture", "test_vit", "--sha256", other
    done = CliRunner().invoke(
        app, [str(each) for each in ("survey", "chelsea", "--out", tmp_path / "out", *said)]
    )
    assert done.exit_code == 2
    assert done.stderr == f"{refusal.value}\n"


def test_the_weights_of_one_file_at_a_time_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    torch.save({"weight": torch.ones(1)}, path)
    held: list[object] = []
    two = threading.Event()

    def read(*given: object) -> WeightFile:
        held.append(file := read_weights(*given))
        if len(held) > 1:
            two.set()
        return file

    def refuse(file: WeightFile, *_: object) -> NoReturn:
        # Time for the other one to read.
        two.wait(0.3)
        held.remove(file)
        raise vi.WeightsUnavailable("no weights", "some", "choose another file")

    monkeypatch.setattr("vit_inspect.loading.from_file.read_weights", read)
    monkeypatch.setattr("vit_inspect.loading.from_file._check_count", refuse)
    load = partial(vi.load, checkpoint=path, architecture="test_vit", device="cpu")
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(load) for _ in range(2)]
    assert [str(each.exception())[:16] for each in jobs] == ["Found no weights"] * 2
    assert not two.is_set()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "without a file of weights"),
        ({"checkpoint": "."}, "without a file of weights"),
        ({"checkpoint": "x", "architecture": "transformers"}, "without a file of weights"),
        ({"checkpoint": "x", "sha256": "abc"}, "the hash sha256='abc'"),
        ({"checkpoint": "x", "sha256": "\uff11" * 64}, "the hash sha256='"),
    ],
)
def test_a_hash_is_of_a_file(options: dict[str, str], found: str) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(**{"sha256": "0" * 64, **options})  # type: ignore[arg-type]
    assert found in refusal.value.found
    assert refusal.value.found.startswith("the hash sha256='")


def test_an_architecture_needs_its_checkpoint() -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(architecture=TINY)
    assert refusal.value.found == f"the architecture '{TINY}' without a checkpoint"
    assert refusal.value.remedy == f"add checkpoint=FILE, or load '{TINY}' by its name"


@pytest.mark.usefixtures("unchecked", "no_sockets")
@pytest.mark.parametrize(
    "img_size", [0, -16, (224,), (224, 0), (224, 224, 3), 224.0, (224.0, 224), "224"]
)
@pytest.mark.parametrize("pretrained", [True, False])
def test_what_is_no_size_is_refused_before_anything_is_made(
    img_size: object, pretrained: bool
) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load("vit_relpos_small_patch16_224", pretrained=pretrained, img_size=img_size)
    assert refusal.value.found == f"the input size {img_size!r}"
    assert refusal.value.expected == "a positive number of px, or two of them as (rows, columns)"
    assert refusal.value.remedy == "use 224 or (224, 448), for example"


@pytest.mark.parametrize(
    ("img_size", "found", "remedy"),
    [
        (100, "an input of 100 × 100 px", "use 96 × 96"),
        ((33, 47), "an input of 33 × 47 px", "use 32 × 48"),
        (7, "an input of 7 × 7 px", "use 16 × 16"),
    ],
)
def test_an_input_that_patches_do_not_tile_is_refused_with_the_nearest(
    img_size: int | tuple[int, int], found: str, remedy: str
) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(TINY, pretrained=False, img_size=img_size, device="cpu")
    assert refusal.value.found == found
    assert refusal.value.expected == "multiples of the patch, 16 × 16 px"
    assert refusal.value.remedy == remedy


def test_random_weights_never_send_to_the_hub() -> None:
    """Its table of relative positions cannot be made for less than a patch."""
    with pytest.raises(vi.BadParameter, match=r"an input size that .* cannot take") as refusal:
        vi.load("vit_relpos_small_patch16_224", pretrained=False, img_size=7, device="cpu")
    assert refusal.value.remedy == "leave out img_size, or choose another size"


@pytest.mark.parametrize("architecture", [TINY, "vit_relpos_small_patch16_224"])
def test_rectangles_are_rows_then_columns(architecture: str, chelsea: Image.Image) -> None:
    model = vi.load(architecture, pretrained=False, img_size=(32, 80), device="cpu")
    assert model.layout.grid == (2, 5)
    assert model.prepare(chelsea).shape == (1, 3, 32, 80)
    assert vi.capture(model, chelsea).layers[0].queries.shape[2] == model.layout.token_count


def test_the_size_is_the_trained_one_by_default(tiny: vi.Model) -> None:
    assert tiny.layout.input_px == (224, 224)
    assert vi.load(device="cpu").layout.input_px == (518, 518)


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says that there are three, and MPS too."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize("device", ["xpu", "meta", "cpu:foo", "", "cpu:1", "cuda:3", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(TINY, pretrained=False, device=device)
    assert refusal.value.found == f"the device '{device}', which is not present"
    assert refusal.value.expected == "cpu, cuda:0..2, mps"
    assert refusal.value.remedy == "use device='auto'"


def test_cuda_without_a_driver_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(vi.BadParameter, match="the device 'cuda', which is not present"):
        vi.load(TINY, pretrained=False, device="cuda")
    assert vi.load(TINY, pretrained=False, device="cpu:0").device.type == "cpu"


@pytest.mark.usefixtures("three_gpus")
def test_a_type_that_mps_has_not_is_refused() -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.load(TINY, pretrained=False, device="mps", dtype=torch.float64)
    assert refusal.value.found == "float64 on MPS, which has no such type"
    assert refusal.value.remedy == "use dtype=torch.float32 or device='cpu'"


def test_the_recipe_is_the_models_own() -> None:
    clip = vi.load("vit_xsmall_patch16_clip_224", pretrained=False, device="cpu").recipe
    plain = vi.load("vit_tiny_patch16_224", pretrained=False, device="cpu").recipe
    assert plain.mean == (0.5, 0.5, 0.5)
    assert plain.crop_fraction == 0.9
    assert clip != plain


def test_a_crop_that_is_not_ours_is_refused() -> None:
    overlay = {"crop_mode": "border"}
    module = timm.create_model(TINY, depth=1, pretrained_cfg_overlay=overlay)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        model_of("toy", module, source="", img_size=None)
    assert refusal.value.found == "'toy', whose pictures are cropped by 'border'"
    assert refusal.value.expected == "'center' or 'squash'"


def test_a_family_that_nobody_named_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit_inspect.loading.timm_anatomy.OTHER_FAMILIES", {})
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.load("resnet18", pretrained=False, device="cpu")
    assert refusal.value.found == "'resnet18', which is not a plain vision transformer"
    assert "choose a ViT" in refusal.value.remedy


@pytest.mark.parametrize(
    ("options", "readout"),
    [
        ({}, "cls"),
        ({"global_pool": "avg"}, MEAN),
        ({"global_pool": "avg", "pool_include_prefix": True}, MEAN_ALL),
        ({"global_pool": "max"}, NONLINEAR),
        ({"global_pool": "avgmax"}, NONLINEAR),
        ({"global_pool": "map"}, POOL),
        ({"global_pool": "avg", "class_token": False}, MEAN),
    ],
)
def test_the_readout_is_what_the_model_pools(options: dict[str, object], readout: str) -> None:
    module = timm.create_model(TINY, pretrained=False, depth=1, **options)
    assert model_of("toy", module, source="", img_size=None).layout.readout == readout


def test_a_distilled_model_reads_the_mean_of_its_two_tokens() -> None:
    """With the same head on both, its answer is that head's of the mean token."""
    torch.manual_seed(0)
    module = timm.create_model("deit_tiny_distilled_patch16_224", depth=1).eval()
    layout = model_of("toy", module, source="", img_size=None).layout
    assert layout.readout == MEAN_PREFIX
    module.head_dist = module.head
    tokens = torch.randn(1, layout.token_count, 192)
    mean = torch.from_numpy(layout.readout_weights()).float() @ tokens
    torch.testing.assert_close(module.forward_head(tokens), module.head(mean))


@pytest.mark.parametrize(
    ("architecture", "count"),
    [
        ("vit_tiny_patch16_224", 5_717_416),
        ("vit_small_patch16_224", 22_050_664),
        ("vit_small_patch32_224", 22_878_952),
        ("vit_base_patch32_224", 88_224_232),
        ("vit_base_patch16_224", 86_567_656),
        ("vit_base_patch8_224", 86_576_872),
        ("vit_large_patch32_224", 306_535_400),
        ("vit_large_patch16_224", 304_326_632),
        ("vit_small_r26_s32_224", 36_431_912),
    ],
)
def test_parameter_counts_are_the_published_ones(architecture: str, count: int) -> None:
    with torch.device("meta"):
        module = timm.create_model(architecture, pretrained=False, num_classes=1000)
    assert model_of(architecture, module, source="", img_size=None).parameter_count == count


def labels_of(architecture: str, **options: object) -> tuple[str, ...] | None:
    """The class names of a network without weights."""
    with torch.device("meta"):
        module = timm.create_model(architecture, **options)
    return model_of(architecture, module, source="", img_size=None).labels


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (1000, {0: "tench", 207: "golden retriever", 281: "tabby", 999: "toilet tissue"}),
        (11221, {0: "benthos", 4999: "military vehicle", 11220: "knothole"}),
        (11821, {0: "benthos", 4999: "lever", 11820: "knothole"}),
        (21841, {0: "organism", 4999: "boxcar", 21840: "knothole"}),
        (21843, {0: "organism", 4999: "boxcar", 21842: "knothole"}),
    ],
)
def test_the_classes_of_imagenet_are_known_by_their_number(
    count: int, names: dict[int, str]
) -> None:
    labels = labels_of(TINY, num_classes=count)
    assert len(labels) == count
    assert {index: labels[index] for index in names} == names


def test_classes_of_an_unknown_set_are_numbered() -> None:
    labels = labels_of(TINY, num_classes=200)
    assert (len(labels), labels[0], labels[123]) == (200, "class 0", "class 123")


@pytest.mark.parametrize(
    ("told", "labels"),
    [
        ({"label_names": ["cat", "dog", "emu"]}, ("cat", "dog", "emu")),
        ({"label_names": {"0": "cat", "2": "emu"}}, ("cat", "class 1", "emu")),
        (
            {"label_names": ["n1", "n2", "n3"], "label_descriptions": {"n2": "dog"}},
            ("n1", "dog", "n3"),
        ),
    ],
)
@pytest.mark.parametrize("architecture", [TINY, "vit_xsmall_patch16_clip_224"])
def test_names_that_come_with_the_weights_are_kept(
    architecture: str, told: dict[str, object], labels: tuple[str, ...]
) -> None:
    overlay = {"num_classes": 3, **told}
    assert labels_of(architecture, pretrained_cfg_overlay=overlay) == labels


def test_a_thousand_classes_with_names_are_not_taken_for_imagenets() -> None:
    told = [f"street {number}" for number in range(1000)]
    assert labels_of(TINY, pretrained_cfg_overlay={"label_names": told}) == tuple(told)


@pytest.mark.parametrize(
    ("architecture", "outputs"),
    [
        ("vit_small_patch14_dinov2", 0),
        ("vit_base_patch16_siglip_224", 0),
        ("vit_xsmall_patch16_clip_224", 512),
        ("eva02_base_patch16_clip_224", 512),
        ("vit_pe_core_tiny_patch16_384", 512),
        ("vit_base_mci_224", 512),
        ("vitamin_small_224", 768),
    ],
)
def test_outputs_that_are_no_classes_have_no_names(architecture: str, outputs: int) -> None:
    assert timm.get_pretrained_cfg(architecture).num_classes == outputs
    assert labels_of(architecture) is None


def test_a_tower_that_learned_classes_has_their_names() -> None:
    assert labels_of("vit_base_patch16_clip_224.openai_ft_in1k")[0] == "tench"


def test_names_that_nobody_needs_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    _imagenet_names.cache_clear()
    monkeypatch.setattr("vit_inspect.loading.timm_anatomy.ImageNetInfo", None)
    assert labels_of("vit_small_patch14_dinov2") is None


def test_hybrids_show_the_filters_of_their_stem() -> None:
    model = vi.load("vit_small_r26_s32_224", pretrained=False, img_size=64, device="cpu")
    assert model.filters_name == "ResNet stem convolution"
    assert model.filters.shape == (64, 3, 7, 7)


def test_the_zoo_is_in_timm_or_bundled() -> None:
    names = [checkpoint.name for checkpoint in ZOO]
    assert names[0] == DEFAULT
    assert len(set(names)) == len(names)
    assert names[1] == FASHION
    assert set(names[2:]) <= set(timm.list_pretrained())
    assert all(checkpoint.shows and checkpoint.why for checkpoint in ZOO)


def test_the_hash_identifies_the_weights(tiny: vi.Model) -> None:
    torch.manual_seed(1)
    other = vi.load(TINY, pretrained=False, device="cpu")
    assert len(tiny.weights_sha256) == 64
    assert other.weights_sha256 != tiny.weights_sha256


def test_what_fetches_the_weights_is_required() -> None:
    """Its own imports, not only what others happen to bring along."""
    root = Path(vi.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    required = {re.match(r"\w+", each)[0] for each in project["dependencies"]}
    imported: set[str] = set()
    for path in (root / "vit_inspect/loading").glob("*.py"):
        tree = ast.parse(path.read_text())
        imported |= {
            alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
        }
        imported |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0].replace("PIL", "pillow") for name in imported}
    packages -= sys.stdlib_module_names | {"transformers", "open_clip"}
    assert packages - {"vit_inspect"} <= required
