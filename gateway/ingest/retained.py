"""Ignore retained messages on the topics of records, and clear them where the client may.

A broker sends a retained message again at every subscription, to every ingest, for as long as nobody clears it.
Records are never retained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.common.state_log import RepeatLog
from gateway.mqtt.constants import REFUSED

if TYPE_CHECKING:
    from gateway.ingest.status import IngestStatus
    from gateway.mqtt.client import MqttClient

log = structlog.get_logger(__name__)

MAX_TOPICS = 1_000
"""Topics that wait to be cleared; others are found again at the next subscription."""


class RetainedRecords:
    """The topics with a retained message that does not belong there.

    One topic is cleared at a time. The first that can't be cleared ends it for this process: usually ingest has no
    right to publish records, and some brokers close the connection of a client that publishes without the right. So
    `may_clear` is False with MQTT 3.1.1, which has no other answer.
    """

    def __init__(self, status: IngestStatus, *, may_clear: bool = False) -> None:
        self._status = status
        self._may_clear = may_clear
        self._topics: dict[str, None] = {}
        self._client: MqttClient | None = None
        self._repeats = RepeatLog(log)

    def ignore(self, topic: str) -> None:
        """Count and log a retained message."""
        self._status.retained_ignored += 1
        self._repeats.warning(
            "mqtt.retained_ignored", topic=topic, hint="publish an empty retained message there, which clears it"
        )
        if self._may_clear and len(self._topics) < MAX_TOPICS:
            self._topics[topic] = None

    def clear(self, client: MqttClient) -> None:
        """Clear the next topic over this connection. Raises `MqttError` if the connection is lost."""
        if self._client is not None and self._client is not client:  # the former ended without an answer
            self._give_up()
        if self._topics and self._client is None:
            self._client = client
            client.send(next(iter(self._topics)), b"", self._answered, retain=True)

    def _answered(self, reason: int) -> None:
        if reason >= REFUSED or self._client is None:
            self._give_up()
            return
        client, self._client = self._client, None
        del self._topics[next(iter(self._topics))]
        self.clear(client)

    def _give_up(self) -> None:
        self._may_clear, self._client = False, None
        self._topics.clear()
