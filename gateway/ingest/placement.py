"""Find the machines of a record: its topic names one machine, or a gateway whose record names its machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.codecs.base import Undecodable
from gateway.model.path import GatewayPath, MachinePath
from gateway.model.record import GatewayRecord, PlacedScan
from gateway.model.text import MAX_NAME, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.record import AnyRecord
    from gateway.mqtt.topics import Topics

RECORDS = ("data", "event")
"""The last levels of the topics of a machine's records."""

Source = MachinePath | GatewayPath
"""The machine or the gateway that a topic of records names."""


def source_of(topics: Topics, topic: str) -> Source | None:
    """Return the machine or the gateway of a topic of records; None for any other topic.

    Raises `Undecodable` if a level of the topic is not a name.
    """
    source: Source | None = None
    if (machine := topics.machine_of(topic)) is not None and machine[1] in RECORDS:
        source = machine[0]
    elif (gateway := topics.gateway_of(topic)) is not None and gateway[1] == "data":
        source = gateway[0]
    check_levels(source or ())
    return source


def check_levels(levels: Iterable[str]) -> None:
    """Raise `Undecodable` if a level of a topic is not a name."""
    for level in levels:
        if not level:
            raise Undecodable("no machine has this topic")
        try:
            check_text(level, MAX_NAME)
        except ValueError as error:
            raise Undecodable(f"a level of the topic {error}") from None


def placed_scans(source: Source, record: AnyRecord) -> list[PlacedScan]:
    """Return the scans of a record with their machines. Raises `Undecodable` if the record is of another source."""
    if isinstance(source, MachinePath):
        if isinstance(record, GatewayRecord):
            raise Undecodable("is a record of a gateway on the topic of a machine")
        return [PlacedScan(source, record.meta, scan) for scan in record.scans]
    if not isinstance(record, GatewayRecord):
        raise Undecodable("is a record of a machine on the topic of a gateway")
    if record.gateway != source.gateway:
        raise Undecodable(f"is a record of gateway {record.gateway} on the topic of {source.gateway}")
    for placed in record.scans:
        if placed.path[:2] != source[:2]:
            raise Undecodable(f"names {placed.path}, which is a machine of another site")
    return record.scans
