"""Whether a service is alive, and whether it is ready, with reasons.

Alive means that its event loop and the thread of its spool have turns: a service that hangs is to be started again.
Ready means that it can do its work now: a start does not help a service that is not ready.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

STALE = 15.0
"""Seconds without a sign of life after which a service hangs, as for the heartbeat file."""

PATIENCE = 0.5
"""Seconds to wait for a sign of life: probes of Kubernetes wait for a second."""

Checks = dict[str, str]
"""The needs of a service, by name, with the reason why each is not met; empty where it is."""


class Pulse:
    """Asks a thread or an event loop for a sign of life, one question at a time.

    `ask` returns a future that it fulfils when it has its next turn. Nothing happens while nobody wants to know.
    """

    def __init__(self, ask: Callable[[], Future[Any]]) -> None:
        self._ask = ask
        self._answer: Future[Any] | None = None
        self._asked = 0.0

    async def silence(self, wait: float = PATIENCE) -> float:
        """Return 0 if there is a sign of life within `wait` seconds, else the seconds since the question."""
        if self._answer is None:
            try:
                self._answer = self._ask()
            except RuntimeError:  # it has ended
                return STALE
            self._asked = time.monotonic()
        answer = asyncio.wrap_future(self._answer)
        await asyncio.wait({asyncio.ensure_future(asyncio.shield(answer))}, timeout=wait)
        if not self._answer.done():
            return time.monotonic() - self._asked
        self._answer = None
        return 0.0


class Verdict(NamedTuple):
    """The answer to a probe: whether all is well, and the reasons as JSON."""

    good: bool
    content: dict[str, Any]


def alive(silence: Mapping[str, float]) -> Verdict:
    """Return whether all parts of a service gave a sign of life within `STALE` seconds; `silence` is by part."""
    good = all(seconds < STALE for seconds in silence.values())
    return Verdict(good, {"alive": good, "silent_seconds": {part: round(s, 1) for part, s in silence.items()}})


def ready(checks: Checks) -> Verdict:
    """Return whether nothing is missing."""
    good = not any(checks.values())
    found = {
        name: {"ready": False, "reason": reason} if reason else {"ready": True} for name, reason in checks.items()
    }
    return Verdict(good, {"ready": good, "checks": found})


def machines_reason(by_state: Mapping[str, int]) -> str:
    """Return why no machine is read; empty where some are. Others may be switched off intentionally."""
    machines = sum(by_state.values())
    if not machines or by_state.get("online") or by_state.get("degraded"):
        return ""
    listed = ", ".join(f"{number} {state}" for state, number in by_state.items() if number)
    return f"no machine is read: {listed}"
