"""How does the dashboard start? A Streamlit server with this package's settings.

The settings that make it safe to share are in `.streamlit/config.toml` beside `app.py`, where
Streamlit looks for them whatever the current folder is.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamlit.web import cli

import vit_inspect as vi
from vit_inspect.errors import BadParameter

if TYPE_CHECKING:
    from vit_inspect_dashboard.allowed import Allowed

CONTEXT = "streamlit.runtime.scriptrunner_utils.script_run_context"
UPLOAD_MB = 20
"""The size of an upload in `.streamlit/config.toml`, in MB."""
APP = Path(__file__).with_name("app.py")
APP_MODULE = "vit_inspect_dashboard.app"
OF_ONE = ("checkpoint", "sha256")
"""What is said of one checkpoint, and not of a folder of them."""


def options(
    *, port: int | None, host: str | None, browser: bool, weights_mb: int | None = None
) -> list[str]:
    """What `streamlit run` is told beyond the settings; None leaves a setting as it is."""
    told = [f"--server.headless={'false' if browser else 'true'}"]
    if port is not None:
        told.append(f"--server.port={port}")
    if host is not None:
        told.append(f"--server.address={host}")
    if weights_mb is not None:
        # Of all uploads; pictures have a limit of their own, which is no larger.
        told.append(f"--server.maxUploadSize={max(weights_mb, UPLOAD_MB)}")
    return told


def serve(
    *,
    port: int | None = None,
    host: str | None = None,
    browser: bool = True,
    said: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    surveys: Path | None = None,
    weights_mb: int | None = None,
    models: Allowed | None = None,
    strangers: bool | None = None,
    most: Mapping[str, float] | None = None,
    metrics: str | None = None,
    access_log: str | None = None,
) -> None:
    """Serve the dashboard until it is stopped, by Ctrl-C for example.

    port: 0 takes any free one; None takes 8501, or the next free one after it.
    host: the address to listen at; None is this computer alone.
    browser: whether to open the dashboard in a browser.
    said: of a checkpoint that is offered as the first model, as `vit_inspect.load` takes it.
    folder: whose checkpoints are offered too; what is said holds for them, but for `OF_ONE`.
    surveys: a folder of surveys that are shown.
    weights_mb: how large the files of weights may be that visitors bring; None allows none.
    models: which models visitors may name, as in `Allowed`; None allows any where visitors are no
        strangers, and else those on this machine.
    strangers: whether each visitor is given a quota; None means where others can connect.
    most: fields of `quotas.Quotas` that are otherwise.
    metrics: where counts are served, as `operating.serve_counts` takes it; None serves none.
    access_log: the file that gets a line for each job, as for `operating.write_to`; None is none.

    Raises `BadParameter` for a host that has no address, for metrics and for a log that have no
    place, and what `vit_inspect.load` raises.
    """
    if host is not None:
        try:
            socket.getaddrinfo(host, port or 0)
        except OSError as error:
            raise BadParameter(
                f"the host {host!r}, which has no address",
                "an address of this computer, such as localhost or 0.0.0.0",
                "check the spelling",
            ) from error
    if said or folder is not None:
        # Imported here, so that a dashboard without a checkpoint is up before torch is loaded.
        from vit_inspect_dashboard import offers

        said = dict(said or {})
        if folder is not None:
            of_all = {name: value for name, value in said.items() if name not in OF_ONE}
            offers.offer_folder(folder, of_all)
        if folder is None or not said.keys().isdisjoint(OF_ONE):
            offers.offer(said)
    if surveys is not None:
        from vit_inspect_dashboard import surveyed

        surveyed.offer(surveys)
    if weights_mb is not None:
        from vit_inspect_dashboard import brought

        brought.allow(weights_mb)
    if models is not None or host is not None or strangers or most:
        from vit_inspect_dashboard import allowed, quotas

        if strangers is None:
            strangers = allowed.others_can_connect(host)
        allowed.choose(models or ("cached" if strangers else "any"))
        usual = quotas.STRANGERS if strangers else quotas.ALONE
        quotas.choose(usual._replace(**(most or {})))
    if access_log is not None or metrics is not None:
        from vit_inspect_dashboard import operating

        if access_log is not None:
            operating.write_to(access_log)
        if metrics is not None:
            operating.serve_counts(metrics)
    # Whoever opens a browser at once need not wait for libraries and weights one after the other.
    threading.Thread(target=warm, kwargs={"own": True}, daemon=True).start()
    cli.main(
        ["run", str(APP), *options(port=port, host=host, browser=browser, weights_mb=weights_mb)],
        prog_name="vit-inspect dashboard",
    )


def import_app() -> None:
    """Import what a page needs, once, in a process that is the dashboard's own.

    Libraries bring half a million objects that stay. Python would look through them for garbage
    again and again while they are imported, and after every click.
    """
    if APP_MODULE in sys.modules:
        return
    was = gc.isenabled()
    gc.disable()
    try:
        import_module(APP_MODULE)
    finally:
        gc.freeze()
        if was:
            gc.enable()


def warm(name: str | None = None, *, own: bool = False) -> None:
    """Load what the first page, the list of models, token norms and the model's page need.

    What goes wrong here, the page meets and tells itself.

    name: of the model that is opened first; None for the first one of the list.
    own: whether the process does nothing else, as `import_app` has to know.
    """
    # Streamlit warns of whoever uses its caches without a page.
    mine = threading.get_ident()
    logging.getLogger(CONTEXT).addFilter(lambda record: record.thread != mine)
    with contextlib.suppress(Exception):
        import_app() if own else import_module(APP_MODULE)
        first = import_module("vit_inspect_dashboard.sidebar").load_first(name)
        # The list of models opens at once.
        import_module("vit_inspect.loading.timm_names").served()
        # Half a second of the first visit of token norms, and a third of one of the model's page.
        import_module("sklearn.mixture")
        import_module("vit_inspect_dashboard.records").of_model(vi.anatomy, first)
