"""What does the operator of a server see of its work? Counts for Prometheus, and a line per job.

Neither holds what visitors write: no name of a picture or a model, no text, no address. Kinds of
work are names in this code, and a session has a number that is of no use elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from logging.handlers import WatchedFileHandler
from typing import Any

import click
import streamlit as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.stats import ACTIVE_SESSIONS_FAMILY, GaugeStat

from vit_inspect.errors import BadParameter

HERE = "127.0.0.1"
"""Where counts are served unless it is said: this computer alone can read them."""

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300)
"""Upper edges of the bins of seconds."""

REGISTRY = CollectorRegistry()
JOBS = Counter("vit_inspect_jobs", "Jobs that ended", ["kind", "outcome"], registry=REGISTRY)
WAITING = Gauge("vit_inspect_jobs_waiting", "Jobs that wait for the device", registry=REGISTRY)
WAITED = Histogram(
    "vit_inspect_job_wait_seconds",
    "How long jobs waited for the device",
    buckets=SECONDS,
    registry=REGISTRY,
)
WORKED = Histogram(
    "vit_inspect_job_work_seconds",
    "How long jobs held the device",
    ["kind"],
    buckets=SECONDS,
    registry=REGISTRY,
)
KEPT = Gauge("vit_inspect_kept_bytes", "Bytes that are kept", ["what"], registry=REGISTRY)
SESSIONS = Gauge("vit_inspect_open_sessions", "Pages that are open", registry=REGISTRY)
LOST = Counter(
    "vit_inspect_access_log_lost_lines",
    "Lines that the access log could not be given",
    registry=REGISTRY,
)
ProcessCollector(registry=REGISTRY)

_own = logging.getLogger(__name__)
_access = logging.getLogger("vit_inspect_dashboard.access")
_secret = secrets.token_bytes(16)
_VIEW = "open_view"


@contextmanager
def job(work: Callable[..., Any]) -> Iterator[Callable[[], None]]:
    """Counts a job, and writes its line at its end; what this gives is called when it begins.

    Its outcome is "done", "left" if its visitor went, or what kind of error it ended with.
    """
    kind, outcome = _kind(work), "done"
    came = time.perf_counter()
    began: list[float] = []

    def begin() -> None:
        began.append(time.perf_counter())
        WAITING.dec()

    WAITING.inc()
    try:
        yield begin
    except BaseException as error:
        # Streamlit ends the run of a page by an exception that is no error.
        outcome = type(error).__name__ if isinstance(error, Exception) else "left"
        raise
    finally:
        ended = time.perf_counter()
        waited = (began[0] if began else ended) - came
        worked = ended - came - waited
        WAITED.observe(waited)
        if began:
            WORKED.labels(kind).observe(worked)
        else:
            WAITING.dec()
        JOBS.labels(kind, outcome).inc()
        if _access.isEnabledFor(logging.INFO):
            session, view = _visitor()
            _access.info(
                "session=%s view=%s job=%s waited=%.3f worked=%.3f outcome=%s",
                *(session, view, kind, waited, worked, outcome),
            )


def came_to(view: str) -> None:
    """Remember which view this session has open; `view` is one of `places.VIEW_NAMES`."""
    st.session_state[_VIEW] = view


def write_to(path: str) -> None:
    """Write a line for each job to the end of a file; "-" is the standard error.

    Raises `BadParameter` for a file that cannot be written.
    """
    try:
        handler = logging.StreamHandler(sys.stderr) if path == "-" else _File(path)
    except OSError as error:
        raise BadParameter(
            f"the access log {path!r}, which cannot be written ({error.strerror})",
            "a file in a folder that is there",
            "choose another file, or - for the standard error",
        ) from error
    form = logging.Formatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    _access.addHandler(handler)
    _access.setLevel(logging.INFO)
    _access.propagate = False


def serve_counts(place: str) -> int:
    """Serve what is counted at a port of its own, for Prometheus; returns the port.

    place: the port, or an address and the port such as "0.0.0.0:9464"; port 0 is any free one.

    Raises `BadParameter` for a place that is none or taken.
    """
    host, _, port = place.rpartition(":")
    host = host.strip("[]") or HERE
    try:
        server, _ = start_http_server(int(port), host, REGISTRY)
    except (OSError, OverflowError, ValueError) as error:
        raise BadParameter(
            f"{place!r} as the place of metrics, which is taken or none",
            "a free port, or an address of this computer and a port, such as 0.0.0.0:9464",
            "choose another port",
        ) from error
    where = f"[{host}]" if ":" in host else host
    click.echo(f"Metrics: http://{where}:{server.server_port}/metrics")
    return server.server_port


class _File(WatchedFileHandler):
    """A file that may be moved away, or be full; the pages go on."""

    told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, if that is possible."""
        try:
            super().emit(record)
        except OSError:
            # A file that was moved away and cannot be made again.
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Count a line that was lost; of the first one the operator is told."""
        LOST.inc()
        if not self.told:
            self.told = True
            _own.warning("The access log cannot be written; lines are lost.")


def _kind(work: Callable[..., Any]) -> str:
    """What work is called in this code."""
    while isinstance(work, partial):
        work = work.func
    name: str = getattr(work, "__qualname__", type(work).__qualname__)
    return name.partition(".<locals>")[0].lstrip("_")


def _visitor() -> tuple[str, str]:
    """A number for the session that asks, and what it has open; dashes where none does."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:
        return "-", "-"
    number = hashlib.blake2b(context.session_id.encode(), key=_secret, digest_size=6).hexdigest()
    return number, st.session_state.get(_VIEW, "-")


def _open_sessions() -> float:
    if not runtime.exists():
        return 0
    found = runtime.get_instance().stats_mgr.get_stats([ACTIVE_SESSIONS_FAMILY]).values()
    return sum(each.value for stats in found for each in stats if isinstance(each, GaugeStat))


def _uploaded() -> float:
    """Bytes of the files that sessions have uploaded, which Streamlit holds."""
    manager = runtime.get_instance().uploaded_file_mgr if runtime.exists() else None
    found = manager.get_stats().values() if isinstance(manager, MemoryUploadedFileManager) else ()
    return sum(each.byte_length for stats in found for each in stats)


SESSIONS.set_function(_open_sessions)
KEPT.labels("uploads").set_function(_uploaded)
