"""A plant as the page knows it, fed with messages as a broker delivers them, for tests without a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.codecs import CODECS
from gateway.dashboard.live.journal import Journal
from gateway.dashboard.live.plant import Plant
from gateway.dashboard.plants import Plants
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.packets import ReceivedMessage
from gateway.settings.sections import BrokerSection

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = "lineside/v1"
PRESS = MachinePath("acme", "north", "curing", "curing-1", "press-01")
SECOND = 1_000_000
T0 = 1_764_000_000_000_000

STATES = {"2": "stopped", "4": "idle", "5": "suspended", "6": "execute", "9": "aborted", "11": "held"}

POINTS: dict[str, dict[str, Any]] = {
    "state": {"type": "int", "unit": "", "every": 1.0, "labels": STATES},
    "pressure": {"type": "float", "unit": "bar", "every": 1.0, "range": [0, 30], "description": "Bladder"},
    "good_count": {"type": "int", "unit": "", "every": 1.0},
    "serial_number": {"type": "string", "unit": "", "every": 1.0},
}


def plants(*brokers: Plant) -> Plants:
    """Return plants of the page without a configuration."""
    found = Plants(())
    found.plants += brokers
    return found


class FedPlant(Plant):
    """A plant that is fed with messages."""

    def __init__(self) -> None:
        super().__init__(BrokerSection.model_validate({"url": "mqtt://127.0.0.1:1"}), Journal())

    def hear(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        """Deliver a message; anything but bytes is encoded as JSON."""
        content = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        self.take(ReceivedMessage(f"{ROOT}/{topic}", content, retain=retain))

    def meta(self, path: MachinePath = PRESS, points: dict[str, Any] | None = None, **changes: Any) -> None:
        """Deliver the description of a machine."""
        content = {
            "v": 1,
            "id": "5d0c9e3f7a21",
            "template": "press",
            "protocol": "modbus",
            "points": points or POINTS,
        }
        self.hear(f"{path}/meta", content | changes, retain=True)

    def state(self, state: str, path: MachinePath = PRESS, since: int = T0, **more: Any) -> None:
        """Deliver the state of a machine."""
        self.hear(f"{path}/state", {"state": state, "since": since, "gateway": "edge-01"} | more, retain=True)

    def scan(
        self, *scans: NamedScan, path: MachinePath = PRESS, meta: str = "5d0c9e3f7a21", leaf: str = "data"
    ) -> None:
        """Deliver a record."""
        record = Record("edge-01", "9f2c81aa", 1, list(scans), meta)
        self.hear(f"{path}/{leaf}", CODECS["json"].encode(record))

    def values(self, at: int, path: MachinePath = PRESS, **values: Any) -> None:
        """Deliver a scan of good readings."""
        self.scan(NamedScan(at, values), path=path)

    def gateway(self, state: str, since: int = T0, **more: Any) -> None:
        """Deliver the state of the gateway."""
        content = {"state": state, "since": since, "instance": "5e01c9f2", "spool": "9f2c81aa"} | more
        self.hear("acme/north/_gateways/edge-01/state", content, retain=True)


def events_of(plant: Plant, kind: str) -> Sequence[tuple[str, str]]:
    """Return the subjects and the events of a kind in the journal, oldest first."""
    return [(one.subject, one.event) for one in plant.journal.since(0) if one.kind == kind][::-1]
