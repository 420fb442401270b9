"""The steps of a group's scans together: scans that are the same as before give the same records and counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from points import group_of, register, whole

from drivers.base import Reason, bad
from gateway.common.clock import Clock
from gateway.model.ledger import Ledger
from gateway.model.path import MachinePath
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import TrustedTime
from gateway.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Fault
    from gateway.model.reading import NamedScan

SECOND = 1_000_000
SILENT = bad(Reason.NO_RESPONSE)
ALWAYS = [register("p", "uint16", scale=0.1, type="float"), register("q", "uint16", range=[0, 100])]
ON_CHANGE = [register("p", "uint16", scale=0.1, type="float", on_change=True), register("q", "uint16", deadband=2)]

STEPS = st.lists(
    st.tuples(st.sampled_from([1, 1, 0, -2]), st.sampled_from([718, 718, 719]), st.sampled_from([7, 7, 300, None])),
    max_size=20,
)


class Bench:
    """A pipeline with all that it writes to."""

    def __init__(self, points: Sequence[Any], clock: TrustedTime) -> None:
        self.group = group_of(points)
        self.ledger = Ledger()
        self.statuses = MachineStatuses(Clock())
        self.statuses.add(MachinePath(*"esalm"), [self.group])
        self.put: list[tuple[NamedScan, int]] = []
        self._pipeline = Pipeline(
            points,
            clock,
            self.statuses,
            self.ledger,
            lambda scan, readings: self.put.append((scan, readings)),
        )

    def take(self, time: int, values: Sequence[Any], faults: dict[str, Fault], *, same: bool) -> None:
        scan = whole(self.group, time, *values, **faults)
        scan.same = same
        self._pipeline.take(scan)


def run(points: Sequence[Any], steps: list[tuple[int, int, int | None]], fault_of_clock: Fault | None) -> None:
    clock = TrustedTime()
    hinted, plain = Bench(points, clock), Bench(points, clock)
    time, before = 10 * SECOND, None
    for number, (seconds, p, q) in enumerate(steps):
        time += seconds * SECOND
        clock.last = max(clock.last, time)
        clock.fault = fault_of_clock if number == 5 else None
        clock.era += number == 7
        faults = {"p1": SILENT} if q is None else {}
        for bench, same in ((hinted, before == (p, q) and q is not None), (plain, False)):
            bench.take(time, [p, q], faults, same=same)
        before = p, q
    assert hinted.put == plain.put
    assert hinted.ledger == plain.ledger
    assert hinted.statuses.points() == plain.statuses.points()
    assert [one.readings for one in hinted.statuses.machines] == [one.readings for one in plain.statuses.machines]


@given(STEPS, st.sampled_from([ALWAYS, ON_CHANGE]), st.sampled_from([None, bad(Reason.CLOCK)]))
def test_a_scan_that_is_the_same_as_before_has_the_same_effect(
    steps: list[tuple[int, int, int | None]], points: list[Any], fault: Fault | None
) -> None:
    """Also after faults, when the clock is doubted or set back, and beyond a range."""

    async def main() -> None:
        run(points, steps, fault)

    asyncio.run(main())


async def test_values_that_were_sent_do_not_change_with_later_scans() -> None:
    """A record may wait for its commit while the next scan is read."""
    bench = Bench(ALWAYS, TrustedTime())
    for second in range(1, 4):
        bench.take(second * SECOND, [718, 7], {}, same=second > 1)
    bench.take(5 * SECOND, [719, 8], {}, same=False)
    assert [scan.values for scan, _ in bench.put] == [{"p": 71.8, "q": 7}] * 3 + [{"p": 71.9, "q": 8}]
