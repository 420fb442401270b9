"""From the driver to the spool: every scan of one group goes through these steps, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model.reading import NamedScan, name_scan, names_of
from gateway.pipeline.normalize import Normalizer
from gateway.pipeline.report_by_exception import ReportByException

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Scan, Value
    from gateway.model.ledger import Ledger
    from gateway.pipeline.calculation import Step
    from gateway.pipeline.machine_status import MachineStatuses
    from gateway.pipeline.normalize import Time
    from gateway.pipeline.totals import Totalize
    from gateway.settings.point import Point


class Pipeline:
    """The steps of one group's scans: totals, normalize, machine status, report by exception, and into the spool.

    `follow` takes each normalized scan after it was passed on, for the calculations of the machine; None if there are
    none.
    """

    __slots__ = (
        "_before",
        "_filter",
        "_ledger",
        "_names",
        "_normalizer",
        "_part",
        "_put",
        "_statuses",
        "_totalize",
        "follow",
    )

    def __init__(
        self,
        points: Sequence[Point],
        clock: Time,
        statuses: MachineStatuses | None,
        ledger: Ledger,
        put: Callable[[NamedScan, int], None],
        totalize: Totalize | None = None,
    ) -> None:
        """Compile the steps for a group's points.

        `statuses` are those of the machines, None for points that say nothing of the state of their machine.
        `clock` is the clock that stamps the scans. `put` takes a scan with its number of readings into a record.
        `ledger` has the counts of the spool. `totalize` turns counts into totals, if any point is a total.
        """
        self._totalize = totalize
        self._normalizer = Normalizer(points, clock)
        self._filter = ReportByException(points)
        self._statuses = statuses
        self._ledger = ledger
        self._put = put
        self.follow: Step | None = None
        self._part: Sequence[int] | None = None  # the points of the last part of the group, and their names
        self._names: Sequence[str] = ()
        self._before: list[Value | None] | None = None  # normalized values, if the last scan was whole and good

    def take(self, scan: Scan) -> None:
        """Take a scan all the way into the spool."""
        if scan.values:
            self._normalize(scan)
            if self._statuses is not None and not (scan.group.events or scan.late):
                self._statuses.note(scan)
            self._send(scan)
        if self.follow is not None:
            self.follow(scan)

    def _normalize(self, scan: Scan) -> None:
        if self._totalize is None and self._normalizer.stamp(scan):
            if scan.same and self._before is not None:
                scan.values = self._before
            else:
                self._normalizer.convert(scan)
                self._before = None if scan.faults else scan.values
        else:
            self._before = None
            if self._totalize is not None:
                self._totalize(scan)
            self._normalizer.apply(scan)

    def _send(self, scan: Scan) -> None:
        ledger, acquired = self._ledger, len(scan.values)
        plain = self._filter.sends_all and not scan.faults
        sent = scan if plain or scan.late else self._filter.keep(scan)
        if sent is None:
            ledger.acquired += acquired
            ledger.unchanged += acquired
            return
        named = name_scan(sent, self._names_of_part(sent) if type(sent.points) is tuple else None)
        # counted where nothing can fail any more: a scan that a step can't take was not acquired
        ledger.acquired += acquired
        ledger.unchanged += acquired - len(sent.values)
        self._put(named, len(sent.values))

    def _names_of_part(self, scan: Scan) -> Sequence[str]:
        """Return the names of a part of the group, which mostly is the part of the scan before."""
        if scan.points is not self._part:
            self._part, self._names = scan.points, names_of(scan)
        return self._names
