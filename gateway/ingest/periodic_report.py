"""Publish the report of an ingest from time to time, retained: others see its lag, and when it was there last."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from gateway import __version__
from gateway.mqtt.constants import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mqtt.client import MqttClient

REPORT_EVERY = 10.0
"""Seconds between two reports."""

SOONEST = 1.0
"""Seconds between a report and one that is requested: a store that comes and goes does not flood the broker."""

PAUSE = 600.0
"""Seconds without reports after a connection that ended while a report was not acknowledged.

Some brokers end the connection of a client that publishes where it has no right to. That must not cost records.
"""


class PeriodicReport:
    """The report of an ingest on its topic. A broker that refuses it gets no further report over the connection."""

    def __init__(
        self,
        topic: str,
        report: Callable[[], Mapping[str, Any]],
        note: Callable[[str, int], None],
        sign: Callable[[str, bytes], bytes],
    ) -> None:
        """Prepare; `note` is called with the topic and the reason code of each acknowledgement.

        `sign` returns a message for a topic as it is to be published.
        """
        self._topic = topic
        self._sign = sign
        self._report = report
        self._note = note
        self._unanswered = self._refused = False
        self._not_before = 0.0
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Have the next report published soon: a state of it has changed."""
        self._requested.set()

    async def run(self, link: MqttClient) -> None:
        """Publish over a connection until cancelled."""
        now = asyncio.get_running_loop().time
        if self._unanswered:
            self._not_before = now() + PAUSE
        self._refused = self._unanswered = False
        while not self._refused:
            if not self._unanswered and now() >= self._not_before:
                self._requested.clear()
                report = {"time": time.time_ns() // 1000, "version": __version__} | dict(self._report())
                self._unanswered = True
                payload = self._sign(self._topic, orjson.dumps(report))
                link.send(self._topic, payload, self._answered, retain=True)
            await asyncio.sleep(SOONEST)
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY - SOONEST):
                    await self._requested.wait()

    def _answered(self, reason: int) -> None:
        self._unanswered = False
        self._refused = reason >= REFUSED
        self._note(self._topic, reason)
