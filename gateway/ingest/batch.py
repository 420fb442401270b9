"""The records that ingest writes to the stores together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

    from gateway.model.record import Record
    from gateway.mqtt.client import MqttClient
    from gateway.stores.base import MachineScan


class Sender(NamedTuple):
    """The spool of a gateway: its records are confirmed together."""

    enterprise: str
    site: str
    gateway: str
    spool: str


@dataclass(slots=True)
class Batch:
    """Messages of one connection that are written together, and the records in them.

    Records are referred to by their position in `records`. `refused` counts the readings of a record that a store
    refused; `unconfirmed` are the records that must not be confirmed, since their refused readings could not be set
    aside. `instances` are the stores' server processes before the write, in the order of the writers;
    `durable_at` is the time of the event loop at which the write is durable.
    """

    client: MqttClient
    messages: list[MQTTMessage] = field(default_factory=list)
    records: list[tuple[Sender, Record]] = field(default_factory=list)
    scans: list[MachineScan] = field(default_factory=list)
    readings: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    unconfirmed: set[int] = field(default_factory=set)
    instances: list[str | None] = field(default_factory=list)
    durable_at: float = 0.0
