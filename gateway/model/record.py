"""Records: scans made ready to send, of one machine or of all machines of a gateway."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.model.path import MachinePath
    from gateway.model.reading import NamedScan


@dataclass(slots=True)
class Record:
    """Scans of one machine made ready to send.

    `gateway`, `spool` and `seq` together are the permanent name of a record: `spool` is a random id of a spool, and
    `seq` increases in it. The topic names the machine. `meta` is the id of the metadata of its points at the time of
    acquisition: it has the types and units, also after the configuration has changed. `tag` is random, so that nobody
    can guess the encoded record, see `gateway.model.receipt`; records of earlier versions have none.
    """

    gateway: str
    spool: str
    seq: int
    scans: list[NamedScan]
    meta: str = ""
    tag: str = ""

    def __len__(self) -> int:
        return sum(map(len, self.scans))

    def times(self) -> list[int]:
        """Return the times of the scans, in microseconds since the epoch, UTC."""
        return [scan.time for scan in self.scans]

    def with_scans(self, scans: list[Any]) -> Record:
        """Return the record with other scans."""
        return replace(self, scans=scans)


@dataclass(slots=True)
class PlacedScan:
    """A scan in a record of a gateway: its machine, and the id of the metadata as in `Record`."""

    path: MachinePath
    meta: str
    scan: NamedScan

    def __len__(self) -> int:
        return len(self.scan)


@dataclass(slots=True)
class GatewayRecord:
    """Scans of the machines of a gateway made ready to send, named as `Record` is. The topic names the gateway."""

    gateway: str
    spool: str
    seq: int
    scans: list[PlacedScan]
    tag: str = ""

    def __len__(self) -> int:
        return sum(map(len, self.scans))

    def times(self) -> list[int]:
        """Return the times of the scans, in microseconds since the epoch, UTC."""
        return [placed.scan.time for placed in self.scans]

    def with_scans(self, scans: list[Any]) -> GatewayRecord:
        """Return the record with other scans."""
        return replace(self, scans=scans)


AnyRecord = Record | GatewayRecord
