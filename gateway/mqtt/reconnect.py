"""The time between two attempts to reach the broker.

An attempt that nobody answers costs nobody anything, so the broker is looked for every other second: what comes back
is found within that. A broker that answers and says no (a wrong password, too many clients) has work with each
attempt, so it is asked less and less often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.common.backoff import Backoff
from gateway.mqtt.connection import Refused

if TYPE_CHECKING:
    from aiomqtt import MqttError

FIRST, MOST, MOST_REFUSED = 0.3, 2.0, 15.0
"""Seconds between two attempts: the first, and the ceilings while nobody answers and while the broker says no."""

STEADY = 10.0
"""Seconds after which a connection counts as one that lasts: the next attempt after it comes soon."""


class ReconnectDelay:
    """The waits of one client."""

    def __init__(self) -> None:
        self._unanswered = Backoff(FIRST, MOST)
        self._refused = Backoff(FIRST, MOST_REFUSED)

    async def wait(self, error: MqttError | None, lasted: float) -> None:
        """Wait, after an error, at the end of an attempt or connection that lasted so many seconds."""
        if isinstance(error, Refused):
            await self._refused.wait()
            return
        self._refused.reset()
        if lasted > STEADY:
            self._unanswered.reset()
        await self._unanswered.wait()
