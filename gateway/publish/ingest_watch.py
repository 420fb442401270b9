"""The ingests as a gateway hears of them: by their births.

A new one has nothing of what the one before it held in memory; and what was sent before may have reached nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import structlog
from paho.mqtt.reasoncodes import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import MQTTMessage

    from gateway.mqtt.client import MqttClient

log = structlog.get_logger()

MAX_INGESTS = 1000
"""Ingests that are kept in mind."""


class IngestWatch:
    """Which process is behind each ingest's name.

    `came` is called when one is born, with the instance that was there before it; empty where none was, or it is the
    same process still.
    """

    def __init__(self, topics: str, came: Callable[[str], None]) -> None:
        """Prepare; `topics` is the filter of their states."""
        self._topics = topics
        self._came = came
        self._instances: dict[str, str] = {}
        self._told = False

    async def listen(self, link: MqttClient) -> None:
        """Subscribe; where the broker does not let us, resends wait for their time-outs as ever."""
        answers = await link.subscribe([(self._topics, 0)])
        answer = answers[0]
        if isinstance(answer, ReasonCode) and answer.is_failure and not self._told:
            self._told = True
            log.warning(
                "ingests.not_heard", topic=self._topics, error=str(answer), hint="may this gateway subscribe?"
            )

    def heard(self, message: MQTTMessage) -> None:
        """Read the state of an ingest."""
        try:
            told = orjson.loads(message.payload)
            state, instance = str(told["state"]), str(told["instance"])
        except (ValueError, TypeError, KeyError):
            return  # cleared, or by hand
        if state != "online":
            return
        before = self._instances.pop(message.topic, "")
        self._instances[message.topic] = instance
        if len(self._instances) > MAX_INGESTS:
            del self._instances[next(iter(self._instances))]
        self._came(before if before != instance else "")
