"""The errors of a query, named after the next action of the page.

TrendError
├── BadRequest      change the request; the text says what would be right
├── NoStore         show live values only: no store of this factory can be read
├── StoreDown       show live values only, and ask again later
├── Busy            ask again in a moment
└── TimedOut        ask for less
"""

from __future__ import annotations

from gateway.dashboard.texts.text import ReaderError, _


class TrendError(ReaderError):
    """Base of the errors of a query. `status` is that of HTTP, `kind` the name of the error for the page."""

    status = 500
    kind = "failed"


class BadRequest(TrendError):
    """The request can't be understood, or asks for too much."""

    status = 400
    kind = "bad_request"


class NoStore(TrendError):
    """The factory has no store that can be read."""

    status = 404
    kind = "no_store"

    def __init__(self) -> None:
        super().__init__(_("this factory has no store that can be read"))


class StoreDown(TrendError):
    """The store can't be read now."""

    status = 503
    kind = "store_unavailable"

    def __init__(self, store: str, problem: object) -> None:
        super().__init__(_("the store {store} is unavailable: {problem}", store=store, problem=problem))


class Busy(TrendError):
    """Too many queries wait."""

    status = 503
    kind = "busy"

    def __init__(self) -> None:
        super().__init__(_("too many queries are waiting for the store; ask again in a moment"))


class TimedOut(TrendError):
    """The query took too long."""

    status = 504
    kind = "timed_out"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            _("the store did not answer within {seconds} s; choose fewer points, or a shorter time", seconds=seconds)
        )
