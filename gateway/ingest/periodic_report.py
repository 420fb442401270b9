"""Publish the report of an ingest from time to time, retained: others see its lag, and when it was there last."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson

from gateway import __version__
from gateway.mqtt.constants import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mqtt.client import MqttClient

REPORT_EVERY = 10.0
"""Seconds between two reports."""

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

    async def run(self, link: MqttClient) -> None:
        """Publish over a connection until cancelled."""
        now = asyncio.get_running_loop().time
        if self._unanswered:
            self._not_before = now() + PAUSE
        self._refused = self._unanswered = False
        while not self._refused:
            if not self._unanswered and now() >= self._not_before:
                report = {"time": time.time_ns() // 1000, "version": __version__} | dict(self._report())
                self._unanswered = True
                payload = self._sign(self._topic, orjson.dumps(report))
                link.send(self._topic, payload, self._answered, retain=True)
            await asyncio.sleep(REPORT_EVERY)

    def _answered(self, reason: int) -> None:
        self._unanswered = False
        self._refused = reason >= REFUSED
        self._note(self._topic, reason)
