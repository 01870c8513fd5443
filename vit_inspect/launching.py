"""How does a program or a notebook open the dashboard on what it has in memory?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from vit_inspect.arguments import in_words, of_kind, whole
from vit_inspect.errors import BadParameter
from vit_inspect.installed import dashboard_part
from vit_inspect.model import Model
from vit_inspect.pictures.given import Picture

FRAME_PX = 800
"""Height of the dashboard in a notebook."""


class Dashboard:
    """A dashboard that runs in this process; a notebook shows it in a frame.

    url: where a browser on this computer finds it.
    """

    def __init__(self, url: str, stop: Callable[[], None]) -> None:
        self.url = url
        self._stop = stop

    def close(self) -> None:
        """Stop it, free its port and let its model go; a second time does nothing."""
        self._stop()

    def __repr__(self) -> str:
        return f"Dashboard at {self.url}"

    def _repr_html_(self) -> str:
        url = escape(self.url)
        return (
            f'<iframe src="{url}" title="vit_inspect" width="100%" height="{FRAME_PX}" '
            'style="border:0" allow="clipboard-write"></iframe>'
            f'<p><a href="{url}" target="_blank">{url}</a></p>'
        )


def launch(
    model: Model | str | None = None,
    images: Picture | Sequence[Picture] | None = None,
    port: int = 0,
) -> Dashboard:
    """Open the dashboard on a network in memory, in this process, and return at once.

    model: what `vit_inspect.load` or `vit_inspect.wrap` returns, or a name as for `load`; it is the
        first model there. By default the bundled one. A model in memory is shared, not copied: if
        its weights change, the dashboard refuses it, and you launch it again.
    images: paths, RGB pictures of Pillow or arrays (row, column, 3), as for `capture`; they are the
        first pictures there.
    port: of this computer; 0 takes any free one.

    It can be seen from this computer alone, and ends with this process. Several can run at once.

    Raises `BadParameter` for what is no model, no picture or no free port, `BadImage` for a path
    that holds no picture, and `DashboardMissing` where the dashboard is not installed.
    """
    of_kind(model, Model | str | None, "model", "what vit_inspect.load or vit_inspect.wrap returns")
    number = whole(port)
    if number is None or not 0 <= number <= 65535:
        raise BadParameter(f"the port {in_words(port)}", "0 to 65535", "use 0 for any free one")
    found: Dashboard = dashboard_part("in_process").launch(model, images, number)
    return found
