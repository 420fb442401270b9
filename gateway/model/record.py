"""Records: scans of one machine made ready to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model.reading import NamedScan


@dataclass(slots=True)
class Record:
    """Scans of one machine made ready to send.

    `gateway`, `spool` and `seq` together name a record for ever: `spool` is drawn when a spool is made, and
    `seq` counts on in it. The machine is told by the topic. `meta` is the id of the description of its points that
    the record was made with: types and units are looked up there, also after they were configured anew.
    """

    gateway: str
    spool: str
    seq: int
    scans: list[NamedScan]
    meta: str = ""

    def __len__(self) -> int:
        return sum(map(len, self.scans))
