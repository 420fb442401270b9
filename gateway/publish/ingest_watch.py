"""The ingests, as a gateway hears of them by their births.

A new process has none of the records that its predecessor kept in memory, and records that were sent before may have
reached nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mqtt.messages import BadMessage, parse_ingest_state

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_INGESTS = 1000
"""Ingests that are remembered."""


class IngestWatch:
    """The process behind each ingest's name.

    `came` is called when one is born, with the instance that was there before it; empty where none was, or it is the
    same process still.
    """

    def __init__(self, came: Callable[[str], None]) -> None:
        self._came = came
        self._instances: dict[str, str] = {}

    def heard(self, topic: str, payload: bytes) -> None:
        """Read the state of an ingest."""
        try:
            state = parse_ingest_state(payload)
        except BadMessage:
            return  # cleared, or by hand
        if state.state != "online":
            return
        before = self._instances.pop(topic, "")
        self._instances[topic] = state.instance
        if len(self._instances) > MAX_INGESTS:
            del self._instances[next(iter(self._instances))]
        self._came(before if before != state.instance else "")
