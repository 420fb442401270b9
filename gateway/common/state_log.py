"""Log a state once, count its repetitions, and summarise them once a minute.

A link that flaps, a device that comes and goes, a store that refuses every row: each would fill the log of a box that
nobody looks at for weeks. `StateLog` is for a subject with one state at a time, `RepeatLog` for events that repeat.

    link = StateLog(log, "mqtt.unstable")
    link.enter("mqtt.not_connected", error="timed out")          # logged: a warning
    link.enter("mqtt.not_connected", error="timed out")          # counted
    link.enter("mqtt.connected", healthy=True, broker=url)       # logged: an info

    refused = RepeatLog(log)
    refused.warning("message.set_aside", key=topic, reason=reason)  # logged once a minute, then counted

Both belong to the event loop: a summary comes at the end of its window, also when nothing happens any more. Outside
of a running loop (a command, a test) nothing is suppressed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

WINDOW = 60.0
"""Seconds between two summaries."""

CHANGES = 4
"""Changes of a state that are logged one by one within a window."""

MAX_KEYS = 1_000
"""Keys of repeating events that are kept apart; events of all other keys are counted together."""


def _later(callback: Callable[[], None]) -> asyncio.TimerHandle | None:
    """Call back at the end of a window; None where no loop runs."""
    try:
        return asyncio.get_running_loop().call_later(WINDOW, callback)
    except RuntimeError:
        return None


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


class StateLog:
    """The state of one subject: a link, a device, a store.

    Each change is logged, up to `CHANGES` in a window of `WINDOW` seconds. A subject that changes more often is
    unstable: one summary a window says how often it changed, how long it was not healthy, and its state. It is stable
    again after a window with `CHANGES` changes at most. `fields` go with every event.
    """

    def __init__(self, log: FilteringBoundLogger, summary: str, **fields: Any) -> None:  # noqa: ANN401 - as structlog has it
        """Prepare; `summary` is the event of a summary."""
        self.state = ""
        """The event of the present state; empty before the first."""
        self._log = log
        self._summary = summary
        self._fields = fields
        self._healthy = True
        self._last: dict[str, Any] = {}
        self._since = self._counted = 0.0
        self._changes = self._repeats = self._repeated = self._suppressed = 0
        self._unhealthy = 0.0
        self._unstable = False
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, event: str, *, healthy: bool = False, level: str = "", **fields: Any) -> bool:  # noqa: ANN401
        """Enter a state; the same state again is counted as a repetition. Returns whether it was logged.

        `level` is info for a healthy state and warning for another, unless said. The event that ends an unhealthy
        state has `down_seconds`, how long that lasted, and `repeated`, how often it was entered again meanwhile.
        """
        if event == self.state:
            self._repeats += 1
            self._repeated += 1
            return False
        now = _now()
        self._account(now)
        if healthy and self.state and not self._healthy:
            fields |= {"down_seconds": round(now - self._since, 1)}
            fields |= {"repeated": self._repeated} if self._repeated else {}
        if not self.state or healthy is not self._healthy:
            self._since, self._repeated = now, 0
        self.state, self._healthy, self._last = event, healthy, fields
        self._changes += 1
        if self._timer is None:
            self._timer = _later(self._end_window)
        if self._timer is not None and (self._unstable or self._changes > CHANGES):
            self._suppressed += 1
            return False
        getattr(self._log, level or ("info" if healthy else "warning"))(event, **self._fields, **fields)
        return True

    @property
    def healthy(self) -> bool:
        """Whether the present state is healthy; True before the first."""
        return self._healthy

    def _account(self, now: float) -> None:
        """Add the time since the last call to that in which the subject was not healthy."""
        if self.state and not self._healthy:
            self._unhealthy += now - self._counted
        self._counted = now

    def _end_window(self) -> None:
        self._timer = None
        self._account(_now())
        if self._suppressed:
            level = "info" if self._healthy else "warning"
            getattr(self._log, level)(
                self._summary, **self._fields, **self._last | {
                    "state": self.state, "changes": self._changes, "repeated": self._repeats,
                    "down_seconds": round(self._unhealthy, 1), "window_seconds": round(WINDOW),
                },
            )  # fmt: skip
        self._unstable = self._changes > CHANGES
        self._changes = self._repeats = self._suppressed = 0
        self._unhealthy = 0.0
        if self._unstable:
            self._timer = _later(self._end_window)


class RepeatLog:
    """Events that may repeat without end: the first of each key in a window is logged, the others are counted.

    Where there were others, the end of the window repeats the last of them with `repeated`, their number.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._keys: dict[tuple[str, str], _Repeated] = {}
        self._timer: asyncio.TimerHandle | None = None

    def info(self, event: str, *, key: str = "", **fields: Any) -> bool:  # noqa: ANN401 - as structlog has it
        """Log or count an event; see `warning`."""
        return self._note("info", event, key, fields)

    def warning(self, event: str, *, key: str = "", **fields: Any) -> bool:  # noqa: ANN401
        """Log an event, or count it where one of the same `key` was logged in this window. Returns whether logged."""
        return self._note("warning", event, key, fields)

    def error(self, event: str, *, key: str = "", **fields: Any) -> bool:  # noqa: ANN401
        """Log or count an event; see `warning`."""
        return self._note("error", event, key, fields)

    def _note(self, level: str, event: str, key: str, fields: dict[str, Any]) -> bool:
        if self._timer is None:
            self._timer = _later(self._end_window)
        known = self._keys.get((event, key))
        if known is None and len(self._keys) >= MAX_KEYS:
            known = self._keys.setdefault((event, ""), _Repeated(level))
        if known is None or self._timer is None:
            self._keys[event, key] = _Repeated(level)
            getattr(self._log, level)(event, **fields)
            return True
        known.count += 1
        known.fields = fields
        return False

    def _end_window(self) -> None:
        self._timer = None
        ended, self._keys = self._keys, {}
        for (event, key), known in ended.items():
            if known.count:
                getattr(self._log, known.level)(event, **known.fields, repeated=known.count)
                self._keys[event, key] = _Repeated(known.level)  # it goes on: the next is counted as well
        if self._keys:
            self._timer = _later(self._end_window)


class _Repeated:
    """How often an event was repeated in this window, and the fields of the last time."""

    __slots__ = ("count", "fields", "level")

    def __init__(self, level: str) -> None:
        self.level = level
        self.count = 0
        self.fields: dict[str, Any] = {}
