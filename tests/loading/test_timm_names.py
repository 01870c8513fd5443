"""Do names and timm's list tell what the loaded network turns out to be?"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import timm

import vit_inspect as vi
from tests.helpers.windowed import WINDOWED
from tests.helpers.zoo import SERVED, Served
from vit_inspect.loading.bundled import FASHION
from vit_inspect.loading.recommended import DEFAULT, ZOO
from vit_inspect.loading.timm_names import Named, is_here, named, served

GIVEN = "vit_base_patch16_224.mae"


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the hub and of torch, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return tmp_path


def put(folder: Path, name: str, *, file: str, commit: str = "c0ffee") -> None:
    """A file of a repository as the hub's library keeps it."""
    repository = folder / "hub" / f"models--timm--{name}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / file).write_bytes(b"weights")


@pytest.mark.parametrize("each", SERVED, ids=lambda each: each.architecture)
def test_facts_are_those_of_the_golden_table(each: Served) -> None:
    found = named(each.architecture)
    assert found is not None
    family = each.family.partition(",")[0]
    # Without a tag timm takes its newest weights, of SigLIP 2.
    assert found.family == family or (found.family, family) == ("SigLIP 2", "SigLIP")
    assert found.patch_px == each.patch
    # The table has the size that whole patches make up.
    assert tuple(side // each.patch * each.patch for side in found.input_px) == each.default


def test_families_with_windows_are_named_too() -> None:
    found = [named(each.architecture) for each in WINDOWED]
    assert [each and each.family for each in found] == [each.family for each in WINDOWED]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (DEFAULT, ("DINOv2", "small", 14, (518, 518), 0)),
        # Narrower than the architecture that it was made of: no size has its name.
        (FASHION, ("ViT", None, 7, (56, 56), 10)),
        ("vit_large_patch32_224.orig_in21k", ("ViT", "large", 32, (224, 224), 0)),
        ("vit_base_patch16_224.augreg_in21k", ("ViT", "base", 16, (224, 224), 21843)),
        ("vit_so400m_patch14_siglip_384.webli", ("SigLIP", "so400m", 14, (384, 384), 0)),
        ("vit_base_patch16_siglip_224.v2_webli", ("SigLIP 2", "base", 16, (224, 224), 0)),
        # The outputs of CLIP are features, until it is tuned to ImageNet.
        ("vit_base_patch16_clip_224.openai", ("CLIP", "base", 16, (224, 224), 0)),
        ("vit_base_patch16_clip_224.openai_ft_in1k", ("CLIP", "base", 16, (224, 224), 1000)),
        ("vit_huge_plus_patch16_dinov3.lvd1689m", ("DINOv3", "huge plus", 16, (256, 256), 0)),
        ("vit_huge_patch14_gap_224.in1k_ijepa", ("I-JEPA", "huge", 14, (224, 224), 0)),
        ("vit_small_patch8_224.dino", ("DINO", "small", 8, (224, 224), 0)),
        ("eva02_tiny_patch14_336.mim_in22k_ft_in1k", ("EVA-02", "tiny", 14, (336, 336), 1000)),
        (
            "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k",
            ("Swin", "tiny", 4, (224, 224), 1000),
        ),
    ],
)
def test_a_name_tells_family_size_patch_input_and_classes(name: str, expected: tuple) -> None:
    assert named(name) == Named(name, *expected)


@pytest.mark.parametrize(
    "name",
    [
        "resnet50.a1_in1k",
        "xcit_nano_12_p16_224.fb_in1k",
        # Refused for their blocks, and for how their pictures are cut.
        "vit_dlittle_patch16_reg1_gap_256.sbb_nadamuon_in1k",
        "deepseek_vit_412m",
        "nonsense",
        "vit_base_patch16_224.nonsense",
        "hf-hub:timm/vit_base_patch16_224.mae",
        "",
    ],
)
def test_what_is_not_served_has_no_facts(name: str) -> None:
    assert named(name) is None
    assert not is_here(name)
    assert name not in {each.name for each in served()}


def test_the_list_has_every_recommended_model_and_all_are_told() -> None:
    listed = {each.name: each for each in served()}
    assert {each.name for each in ZOO} - set(listed) == {DEFAULT, FASHION}
    assert len(listed) > 400
    assert all(each.patch_px and each.size for name, each in listed.items() if "test_" not in name)
    assert set(listed) <= set(timm.list_models(pretrained=True))


def test_refused_names_are_refused_for_their_blocks() -> None:
    with pytest.raises(vi.UnsupportedModel, match="subtracts one softmax"):
        vi.load("vit_dwee_patch16_reg1_gap_256", pretrained=False)


def test_weights_are_here_once_their_file_is_complete(caches: Path) -> None:
    assert is_here(DEFAULT)
    assert is_here(f"{FASHION}@400")
    assert not is_here(GIVEN)
    put(caches, GIVEN, file="config.json")
    assert not is_here(GIVEN)
    (caches / "hub" / f"models--timm--{GIVEN}/snapshots/c0ffee/model.safetensors").touch()
    assert is_here(GIVEN)
    # Without a tag it is another one.
    assert is_here("vit_base_patch16_224") is False
    # Of this one nobody has given weights away.
    assert is_here("vit_giant_patch14_224") is None


def test_a_file_of_another_revision_is_not_what_would_be_loaded(caches: Path) -> None:
    put(caches, GIVEN, file="model.safetensors", commit="badc0de")
    assert not is_here(GIVEN)


def test_weights_from_an_address_are_looked_for_where_torch_keeps_them(caches: Path) -> None:
    name = "vit_huge_patch14_gap_224.in1k_ijepa"
    assert not is_here(name)
    file = Path(timm.get_pretrained_cfg(name).url).name
    (caches / "torch" / "checkpoints").mkdir(parents=True)
    (caches / "torch" / "checkpoints" / file).touch()
    assert is_here(name)


def test_facts_of_all_need_no_connection(caches: Path) -> None:
    served.cache_clear()
    named.cache_clear()
    assert not any(is_here(each.name) for each in served())


def test_what_is_cut_in_a_way_that_is_not_known_is_not_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vit_inspect.loading.timm_names.SERVED_CROPS", ("squash",))
    named.cache_clear()
    assert named(GIVEN) is None
    named.cache_clear()
