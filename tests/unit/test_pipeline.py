"""The steps of a group's scans together: scans that are the same as before give the same records and counts."""

from __future__ import annotations

import asyncio
import math
import sys
from itertools import permutations
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from points import group_of, node, register, whole

from drivers.base import Reason, Scan, bad
from gateway.common.clock import Clock
from gateway.model.ledger import Ledger
from gateway.model.path import MachinePath
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import MAX_PARTS, TrustedTime
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
        self.pipeline = Pipeline(
            points,
            clock,
            self.statuses,
            self.ledger,
            lambda scan, readings: self.put.append((scan, readings)),
        )

    def take(self, time: int, values: Sequence[Any], faults: dict[str, Fault], *, same: bool) -> None:
        scan = whole(self.group, time, *values, **faults)
        scan.same = same
        self.push(scan)

    def push(self, scan: Scan) -> None:
        self.pipeline.take(scan)


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


# -- parts of a group, as a server pushes them --

PUSHED = [
    node("p", type="float", range=[0, 100]), register("q", "uint16", scale=0.1, type="float", range=[0, 50]),
    node("r", type="int", scale=10), node("s", type="string", on_change=True),
]  # fmt: skip
PARTS = [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3), *permutations(range(4), 2)]
RAW = st.one_of(
    st.integers(-10, 700), st.floats(-10, 700), st.sampled_from([math.nan, math.inf, 2**64, None, "on", "off", True])
)
PUSHES = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 2, *range(len(PARTS))]), st.lists(RAW, min_size=4, max_size=4),
        st.lists(st.sampled_from([SECOND, SECOND, SECOND + 1, 0, -SECOND]), min_size=4, max_size=4),
    ),
    max_size=30,
)  # fmt: skip


def pushed(bench: Bench, positions: Sequence[int], values: list[Any], times: list[int], time: int) -> None:
    faults = {place: SILENT for place, value in enumerate(values) if value is None}
    bench.push(Scan(bench.group, time, values, faults, positions, times))


@given(PUSHES)
def test_a_part_that_comes_again_has_the_same_effect(story: list[tuple[int, list[Any], list[int]]]) -> None:
    """A driver that gives the same positions again, as the same tuple, saves the steps most of their work."""

    async def main() -> None:
        known, plain = Bench(PUSHED, TrustedTime()), Bench(PUSHED, TrustedTime())
        time = 10 * SECOND
        for part, values, moves in story:
            time += SECOND
            size = len(PARTS[part])
            times = [time + move for move in moves[:size]]
            pushed(known, PARTS[part], values[:size], times[:], time)
            pushed(plain, list(PARTS[part]), values[:size], times[:], time)
        assert known.put == plain.put
        assert known.ledger == plain.ledger
        assert known.statuses.points() == plain.statuses.points()

    asyncio.run(main())


async def test_a_part_of_a_group_has_its_own_ranges_and_types_whenever_it_comes() -> None:
    """Tables are compiled when a part comes for the second time."""
    bench = Bench(PUSHED, TrustedTime())
    first, second = (1, 0), (2, 1)
    for turn in range(1, 5):
        time = turn * 10 * SECOND
        pushed(bench, first, [600, 5.5], [time, time], time)
        pushed(bench, first, [100, 500.0], [time + SECOND] * 2, time)
        pushed(bench, second, [3, 200], [time + 2 * SECOND] * 2, time)
    scans = [scan for scan, _ in bench.put]
    assert [scan.values for scan in scans] == [
        {"q": 60.0, "p": 5.5},
        {"q": 10.0, "p": 500.0},
        {"r": 30, "q": 20.0},
    ] * 4
    assert [list(scan.uncertain) for scan in scans] == [["q"], ["p"], []] * 4


async def test_parts_without_end_cost_no_memory() -> None:
    """A driver may make new positions for each scan."""
    bench = Bench(PUSHED, TrustedTime())
    parts = [(turn % 4, (turn + 1) % 4) for turn in range(3 * MAX_PARTS)]
    for turn, positions in enumerate(parts):
        for half in range(2):
            time = (2 * turn + half + 1) * SECOND
            pushed(bench, positions, [7, 7], [time, time], time)
    alone = (0, 1)
    assert sum(sys.getrefcount(positions) > sys.getrefcount(alone) for positions in parts) <= MAX_PARTS + 2
