"""What goes when sessions keep too much together? Each has a fair share, so none empties the rest.

A session is a Streamlit session: a tab of a browser. Whoever opens many tabs has many shares.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

NOBODY = ""
"""Holds what a thread without a page made, and what was held by sessions that ended."""


def session() -> str:
    """The session that runs here; `NOBODY` in a thread without a page."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context else NOBODY


def has_ended(session: str) -> bool:
    """Whether nobody looks at the pages of a session any more."""
    return runtime.exists() and not runtime.get_instance().is_active_session(session)


class Shares:
    """Who holds which things, by when each session used them last; up to a limit in all.

    A thing goes once no session holds it. While there is too much, what nobody holds goes first;
    then, of the sessions with more than the limit divided by their number, the one that holds most
    lets go of what it used longest ago. So a session with no more than that loses nothing, and what
    is kept is never more than the limit and the newest thing.

    It has no lock of its own.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sizes: OrderedDict[Hashable, int] = OrderedDict()
        """By thing, those used last at the end."""
        self.held: dict[str, OrderedDict[Hashable, None]] = {}
        """The things of each session, those it used last at the end."""

    def use(self, thing: Hashable, by: str) -> None:
        """A session uses a thing that is kept, and holds it from now on."""
        self.sizes.move_to_end(thing)
        if by != NOBODY:
            things = self.held.setdefault(by, OrderedDict())
            things[thing] = None
            things.move_to_end(thing)

    def add(self, thing: Hashable, size: int, by: str) -> list[Hashable]:
        """Keep a thing that a session is about to use; returns what goes, which is never this."""
        self.forget(thing)
        self.sizes[thing] = size
        self.use(thing, by)
        for ended in filter(has_ended, list(self.held)):
            del self.held[ended]
        gone = []
        while sum(self.sizes.values()) > self.limit:
            of_nobody = self.sizes.keys() - set().union(*self.held.values()) - {thing}
            if of_nobody:
                gone.append(next(each for each in self.sizes if each in of_nobody))
                self.forget(gone[-1])
            elif not self._let_go(thing):
                break
        return gone

    def forget(self, thing: Hashable) -> None:
        """Keep a thing no longer."""
        self.sizes.pop(thing, None)
        for by in list(self.held):
            self._drop(thing, by)

    def of_others(self, by: str) -> set[Hashable]:
        """What other sessions hold whose pages are open."""
        return {
            thing
            for session, things in self.held.items()
            if session != by and not has_ended(session)
            for thing in things
        }

    def _let_go(self, newest: Hashable) -> bool:
        """Whether a session has more than its share, and so has let go of one thing."""
        places = {thing: place for place, thing in enumerate(self.sizes)}
        most = (0, 0, NOBODY, newest)
        for by, things in self.held.items():
            burden = sum(map(self.sizes.__getitem__, things))
            oldest = next((each for each in things if each != newest), newest)
            if oldest != newest and burden * len(self.held) > self.limit:
                # Of equals, the one whose thing has rested longest.
                most = max(most, (burden, -places[oldest], by, oldest))
        self._drop(most[3], most[2])
        return most[2] != NOBODY

    def _drop(self, thing: Hashable, by: str) -> None:
        things = self.held.get(by, OrderedDict())
        things.pop(thing, None)
        if not things:
            self.held.pop(by, None)
