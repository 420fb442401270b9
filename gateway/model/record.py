"""Records: scans of one machine made ready to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model.reading import NamedScan


@dataclass(slots=True)
class Record:
    """Scans of one machine made ready to send.

    `gateway`, `spool` and `seq` together are the permanent name of a record: `spool` is a random id of a spool, and
    `seq` increases in it. The topic names the machine. `meta` is the id of the metadata of its points at the time of
    acquisition: it has the types and units, also after the configuration has changed.
    """

    gateway: str
    spool: str
    seq: int
    scans: list[NamedScan]
    meta: str = ""

    def __len__(self) -> int:
        return sum(map(len, self.scans))
