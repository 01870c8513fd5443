"""How much may one visitor take of a server? Less where visitors are strangers to each other.

Who is alone on a computer is limited by nothing here. A session is a Streamlit session: a tab of a
browser. Whoever opens many tabs has as many quotas; what all sessions take together is bounded by
`kept`, `brought` and `device`. What a program sends past the pages, such as files that no page ever
reads, is bounded by Streamlit's own limit of one upload and ends with the session: the number of
connections is the proxy's to limit.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from vit_inspect.loading.ceiling import Ceiling

MB, GB = 2**20, 10**9
"""Bytes: of uploads as Streamlit counts them, of disks as their makers do."""


class Quotas(NamedTuple):
    """What is allowed; infinity is no limit.

    pictures, pictures_mb: uploads of a session, and megabytes of them together.
    jobs: of a session that wait for the device or run there.
    job_seconds: that a job may hold the device.
    parameters, px, disk_gb: of models that visitors may name, as in `Ceiling`; not of those that
        the operator offers.
    """

    pictures: float = inf
    pictures_mb: float = inf
    jobs: float = inf
    job_seconds: float = inf
    parameters: float = inf
    px: float = inf
    disk_gb: float = inf

    @property
    def ceiling(self) -> Ceiling:
        """The same for who loads a model."""
        return Ceiling(self.parameters, self.px, self.disk_gb * GB)


ALONE = Quotas()
STRANGERS = Quotas(
    pictures=100,
    pictures_mb=200,
    jobs=3,
    job_seconds=300,
    # 2 GB of weights: two models are kept while a third one is loaded. A ViT-L has 304 million.
    parameters=500e6,
    # More than the sidebar offers, and the 518 px of DINOv2; not the 1024 px of SAM.
    px=640,
    disk_gb=20,
)

_chosen = ALONE


def choose(quotas: Quotas) -> None:
    """Allow so much from now on."""
    global _chosen
    _chosen = quotas


def let_go_of_upload(file: Any) -> None:
    """Free the bytes of an upload, which Streamlit would hold until the session ends."""
    context = get_script_run_ctx()
    if context and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def now() -> Quotas:
    """What is allowed on this server."""
    return _chosen
