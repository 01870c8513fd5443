"""Is a survey that a cluster makes the one that this process makes, also when a worker dies?"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.surveys.test_survey import bytes_of
from vit_inspect.surveys import engine_ray, parts
from vit_inspect.surveys.sources import Entry
from vit_inspect.surveys.work import versions_of

Make = Callable[..., vi.Model]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes, and this process in it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    made.add_node(num_cpus=2)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def model_processes() -> dict[int, int]:
    """The processes of this computer that hold a model for Ray, and the node that began each."""
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::MapWorker(Map(_Worker))" in each.joinpath("cmdline").read_bytes():
                found[int(each.name)] = int(each.joinpath("stat").read_text().split()[-49])
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_two_nodes_make_the_same_bytes_as_one_process_also_when_a_worker_is_killed(
    cluster: Any, small: Make, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CHUNK", 4)
    for index in range(6, 41):
        noise((40, 36), index).save(photos / "dogs" / f"{index}.png")
    (photos / "bad.png").write_bytes(b"no picture")
    model = small("vit_tiny_patch16_224", (32, 48))
    asked: dict[str, Any] = {"batch": 2, "tokens": ("artefacts", "cka")}
    vi.survey(model, photos, tmp_path / "alone", **asked)
    with pytest.raises(vi.BadParameter, match="3 workers on a Ray cluster that has room for 2"):
        vi.survey(model, photos, tmp_path / "crowded", engine="ray", workers=3, **asked)
    nodes: set[int] = set()
    killed: list[int] = []

    def kill_one(done: int, count: int) -> None:
        if not done:
            return
        there = model_processes()
        nodes.update(there.values())
        if not killed:
            killed.append(min(there))
            os.kill(killed[0], signal.SIGKILL)

    found = vi.survey(
        model,
        photos,
        tmp_path / "cluster",
        engine="ray",
        workers=2,
        on_progress=kill_one,
        **asked,
    )
    assert killed
    assert len(nodes) == 2, "one node did it all"
    assert [name for name, _ in found.refused] == ["bad.png"]
    assert bytes_of(tmp_path / "cluster") == bytes_of(tmp_path / "alone")


def test_without_the_package_it_is_said_how_to_install_it(
    small: Make, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(vi.BadParameter, match=r"without the package ray.*vit-inspect\[ray\]"):
        vi.survey(small("vit_tiny_patch16_224", (32, 48)), photos, tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


def test_where_models_run_a_processor_is_left_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)

    def room(*computers: dict[str, int]) -> tuple[int, int, int]:
        return engine_ray._room([{"Alive": True, "Resources": each} for each in computers])

    # Processors and GPUs of a model, and how many models there are.
    assert room({"CPU": 2}) == (1, 0, 1)
    assert room({"CPU": 2}, {"CPU": 2}) == (1, 0, 2)
    assert room({"CPU": 16}, {}) == (3, 0, 5)
    assert room({"CPU": 1}, {"CPU": 1}) == (1, 0, 1)
    assert room({"CPU": 8, "GPU": 8}, {"CPU": 1}) == (0, 1, 8)
    for none in ({}, {"CPU": 1}, {"GPU": 1}):
        with pytest.raises(vi.Unreachable, match="without a processor that could read"):
            room(none)


def test_a_computer_with_other_versions_is_told() -> None:
    here = versions_of(["torch", "numpy"])
    engine_ray._check_versions(here)
    with pytest.raises(vi.BadParameter, match=r"torch \S+ on the computer .*expected torch 1\.0;"):
        engine_ray._check_versions(here | {"torch": "1.0"})


def test_a_picture_that_another_computer_does_not_see_is_not_refused_but_said() -> None:
    model = vi.load("dinov2_small", img_size=28)
    batch = {"pictures": pickle.dumps([Entry("mine.png", "/nowhere/mine.png")])}
    read = engine_ray._read(batch, model.recipe, model.layout.input_px)
    with pytest.raises(vi.Unreachable, match=r"'mine.png'.*does not see.*all computers"):
        raise pickle.loads(read["inputs"])
