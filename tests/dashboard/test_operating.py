"""Does the operator see what the server did, and nothing that a visitor wrote?"""

from __future__ import annotations

import logging
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlparse

import pytest
from prometheus_client.parser import text_string_to_metric_families
from streamlit.runtime.scriptrunner import StopException
from typer.testing import CliRunner

import vit_inspect as vi
from tests.dashboard.apps import at_once, opened, png
from tests.dashboard.serving import started
from tests.dashboard.visitors import visitor
from vit_inspect.commands.app import app
from vit_inspect.errors import BadImage
from vit_inspect_dashboard import device, launch, operating

HOSTILE = 'mallory"} 1\nvit_inspect_jobs_total{kind="x"} 7\r\n\x1b[31m<script>.png'
LINE = (
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z session=(-|[0-9a-f]{12}) view=(-|[a-z_]+) "
    r"job=[\w.]+ waited=\d+\.\d{3} worked=\d+\.\d{3} outcome=\w+"
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """An access log, until the test ends."""
    file = tmp_path / "access.log"
    operating.write_to(str(file))
    yield file
    closed()


def files() -> list[logging.Handler]:
    return [each for each in operating._access.handlers if isinstance(each, operating._File)]


def closed() -> None:
    for handler in files():
        operating._access.removeHandler(handler)
        with suppress(OSError):
            handler.close()
    operating._access.setLevel(logging.NOTSET)
    operating._access.propagate = True


def count(name: str, **labels: str) -> float:
    return operating.REGISTRY.get_sample_value(f"vit_inspect_{name}", labels) or 0


def work() -> None:
    pass


def refused() -> None:
    raise BadImage("a", "b", "c")


def left() -> None:
    raise StopException


@pytest.mark.parametrize(
    ("job", "outcome"), [(work, "done"), (refused, "BadImage"), (left, "left")]
)
def test_a_job_is_counted_and_told_whatever_becomes_of_it(
    job: Callable[[], None], outcome: str, log: Path
) -> None:
    kind = job.__name__
    before = [count("jobs_total", kind=kind, outcome=outcome), count("job_wait_seconds_count")]
    with suppress(BadImage, StopException):
        device.on_device(job)
    after = [count("jobs_total", kind=kind, outcome=outcome), count("job_wait_seconds_count")]
    assert after == [each + 1 for each in before]
    assert count("job_work_seconds_count", kind=kind) >= 1
    assert count("jobs_waiting") == 0
    [line] = log.read_text().splitlines()
    assert re.fullmatch(LINE, line), line
    assert f" job={kind} " in line
    assert line.endswith(f" outcome={outcome}")


def test_who_never_had_a_turn_did_no_work(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    monkeypatch.setattr(device, "WAITING", -1)
    with pytest.raises(device.Busy):
        device.on_device(test_who_never_had_a_turn_did_no_work)
    assert "worked=0.000 outcome=Busy\n" in log.read_text()
    assert count("jobs_waiting") == 0
    assert count("job_work_seconds_count", kind="test_who_never_had_a_turn_did_no_work") == 0


def test_seconds_of_waiting_are_not_seconds_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 15.0])
    monkeypatch.setattr(operating.time, "perf_counter", lambda: next(clock))
    before = count("job_wait_seconds_sum")
    with operating.job(clock_work) as begin:
        assert count("jobs_waiting") == 1
        begin()
        assert count("jobs_waiting") == 0
    assert count("job_wait_seconds_sum") - before == 2
    assert count("job_work_seconds_sum", kind="clock_work") == 3


def clock_work() -> None:
    pass


def test_no_job_is_lost_where_many_end_at_once() -> None:
    before = count("jobs_total", kind="work", outcome="done")

    def some(_: int) -> None:
        for _ in range(200):
            with operating.job(work) as begin:
                begin()

    at_once(4, some)
    assert count("jobs_total", kind="work", outcome="done") - before == 800
    assert count("jobs_waiting") == 0


def test_kinds_of_work_are_names_in_the_code() -> None:
    def within() -> None:
        pass

    assert operating._kind(vi.attention_rollout) == "attention_rollout"
    assert operating._kind(partial(partial(vi.load, HOSTILE), img_size=64)) == "load"
    assert operating._kind(within) == "test_kinds_of_work_are_names_in_the_code"
    assert operating._kind(Path().exists) == "Path.exists"
    assert operating._kind(device.Line) == "Line"


@pytest.mark.slow
def test_a_page_tells_its_view_and_a_session_that_is_not_the_one_of_streamlit(log: Path) -> None:
    page = opened("attention_rollout", model="fashion_vit")
    assert not page.exception
    lines = log.read_text().splitlines()
    assert all(re.fullmatch(LINE, line) for line in lines)
    assert any(" view=attention_rollout job=attention_rollout " in line for line in lines)
    assert any(" job=capture " in line for line in lines), "work that a page counts has its name"
    assert count("kept_bytes", what="captures") > 0
    assert count("kept_bytes", what="results") > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_stops_no_page(caplog: pytest.LogCaptureFixture) -> None:
    before = count("access_log_lost_lines_total")
    operating.write_to("/dev/full")
    try:
        device.on_device(work)
        device.on_device(work)
    finally:
        closed()
    assert count("access_log_lost_lines_total") - before == 2
    assert [each.message for each in caplog.records] == [
        "The access log cannot be written; lines are lost."
    ]


def test_a_log_that_is_moved_away_begins_anew_and_where_it_cannot_no_page_stops(log: Path) -> None:
    device.on_device(work)
    log.rename(log.with_suffix(".1"))
    device.on_device(work)
    assert len(log.read_text().splitlines()) == 1
    before = count("access_log_lost_lines_total")
    for file in list(log.parent.iterdir()):
        file.unlink()
    log.parent.rmdir()
    device.on_device(work)
    assert count("access_log_lost_lines_total") - before == 1


@pytest.mark.parametrize("place", ["http", "70000", "-1", "0.0.0.0:", "nonsense.invalid:0", "{}"])
def test_a_place_of_metrics_that_is_none_or_taken_is_refused(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.cli, "main", lambda *_, **__: pytest.fail("started"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = place.format(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["dashboard", "--no-browser", "--metrics", place])
    assert done.exit_code == 2
    assert f"Found '{place}' as the place of metrics" in done.output


def test_a_log_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.cli, "main", lambda *_, **__: pytest.fail("started"))
    for path in (tmp_path, tmp_path / "none" / "access.log"):
        done = CliRunner().invoke(app, ["dashboard", "--no-browser", "--access-log", str(path)])
        assert done.exit_code == 2
        assert "Found the access log" in done.output
    assert not files()


def test_metrics_are_for_this_computer_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served = []
    real = operating.start_http_server
    monkeypatch.setattr(
        operating, "start_http_server", lambda *given: served.append(given[:2]) or real(*given)
    )
    for place in ("0", "0.0.0.0:0"):
        port = operating.serve_counts(place)
        assert f":{port}/metrics\n" in capsys.readouterr().out
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            list(text_string_to_metric_families(answer.read().decode()))
    assert served == [(0, "127.0.0.1"), (0, "0.0.0.0")]


@pytest.mark.slow
def test_a_server_counts_what_visitors_do_and_never_what_they_write(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "access.log"

    def scraped() -> tuple[str, dict[tuple[str, str], float]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        return text, {
            (each.name.removeprefix("vit_inspect_"), "/".join(each.labels.values())): each.value
            for each in samples
        }

    with (
        started("--metrics", str(port), "--access-log", str(log), "--allow-weights") as address,
        visitor(urlparse(address).port or 0) as window,
    ):
        _, before = scraped()
        assert ("jobs_total", "attention_rollout/done") not in before
        window.open("attention_rollout")
        window.upload(HOSTILE, png())
        window.open(HOSTILE, model=HOSTILE, image=HOSTILE, text=HOSTILE)
        text, after = scraped()
    assert after["jobs_total", "attention_rollout/done"] >= 1
    assert after["jobs_total", "capture/done"] >= 1
    assert after["job_wait_seconds_count", ""] >= 2
    assert after["job_work_seconds_sum", "capture"] > 0
    assert after["jobs_waiting", ""] == 0
    assert after["open_sessions", ""] == 1
    assert after["kept_bytes", "captures"] > 10**6
    assert after["kept_bytes", "results"] > 0
    assert after["kept_bytes", "uploads"] == len(png())
    assert after["kept_bytes", "weights"] == 0
    assert after["process_resident_memory_bytes", ""] > 10**8
    lines = log.read_text()
    assert all(re.fullmatch(LINE, line) for line in lines.splitlines()), lines
    assert " view=attention_rollout job=attention_rollout " in lines
    for told in (text, lines):
        assert not re.search("mallory|<script|chelsea|fashion|dinov2|[0-9a-f]{8}-|x1b", told)
