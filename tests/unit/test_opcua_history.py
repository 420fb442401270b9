"""Gaps are filled from a server's history, whatever its page size, and every gap that is dropped is counted."""

from __future__ import annotations

import struct
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from asyncua import ua

from drivers.base import Fault, Group, NotConnected, ReadFailed, Reason, Scan, bad
from drivers.opcua.codec.data_changes import DataChanges
from drivers.opcua.codec.structures import Member, Structure, Structures
from drivers.opcua.codec.values import EPOCH, microseconds
from drivers.opcua.counters import Counters
from drivers.opcua.errors import translated
from drivers.opcua.history.backfill import MOST, NODES_AT_ONCE, SAME, TRIES, Backfill, Gap, repeated
from drivers.opcua.settings import OpcUaConnection, OpcUaSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.connection.session import Session

START = 1_764_000_000_000_000
NOW = START + 10**9
READABLE = 0x05
SETTINGS = OpcUaConnection.from_url("opc.tcp://127.0.0.1", {"security": "none"})
NO_POINTS, REFUSED = ua.StatusCodes.BadNoContinuationPoints, ua.StatusCodes.BadUserAccessDenied


class Historian:
    """A session with a server that records; it returns `page` values at once, and has `points` continuation points.

    `values`  by node: source time, server time and value; `refuse` has the next statuses of results, 0 for none, or
    errors that are raised instead
    """

    def __init__(self, page: int = 1000, points: int = 1) -> None:
        self.page = page
        self.points = points
        self.values: dict[ua.NodeId, list[ua.DataValue]] = {}
        self.refuse: list[int | Exception] = []
        self.open: dict[bytes, list[ua.DataValue]] = {}
        self.asked = 0
        self.client = SimpleNamespace(uaclient=self)

    def record(self, node: ua.NodeId, times: Sequence[int], kind: ua.VariantType = ua.VariantType.Int64) -> None:
        self.values[node] = [value_of(time, ua.Variant(time - START, kind)) for time in times]

    async def read(self, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds) -> DataChanges:
        assert attribute == ua.AttributeIds.UserAccessLevel
        return DataChanges(values=[READABLE] * len(nodes))

    def translated(self, error: BaseException) -> NotConnected | ReadFailed:
        return translated(error, "opc.tcp://historian", SETTINGS)

    async def history_read(self, parameters: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        [node] = parameters.NodesToRead
        if parameters.ReleaseContinuationPoints:
            del self.open[node.ContinuationPoint]
            return [ua.HistoryReadResult()]
        self.asked += 1
        refused = self.refuse.pop(0) if self.refuse else 0
        if isinstance(refused, Exception):
            raise refused
        if refused:
            return [ua.HistoryReadResult(ua.StatusCode(ua.UInt32(refused)))]
        details = cast("ua.ReadRawModifiedDetails", parameters.HistoryReadDetails)
        if node.ContinuationPoint:
            rest = self.open.pop(node.ContinuationPoint)
        else:
            first, end = (microseconds(time) for time in (details.StartTime, details.EndTime))
            rest = [one for one in self.values[node.NodeId] if first <= microseconds(one.SourceTimestamp) < end]
        size = min(self.page, details.NumValuesPerNode)
        returned, rest = rest[:size], rest[size:]
        result = ua.HistoryReadResult(HistoryData=ua.HistoryData(DataValues=returned))
        if rest:
            if len(self.open) >= self.points:
                return [ua.HistoryReadResult(ua.StatusCode(ua.UInt32(NO_POINTS)))]
            result.ContinuationPoint = ua.ContinuationPoint(b"%d" % self.asked)
            self.open[result.ContinuationPoint] = rest
        return [result]


def value_of(time: int, variant: ua.Variant, behind: int = 0) -> ua.DataValue:
    """Return a value of a source time, which has come to the server a while later."""
    source, server = (EPOCH + timedelta(microseconds=one) for one in (time, time + behind))
    return ua.DataValue(
        variant, SourceTimestamp=cast("ua.DateTime", source), ServerTimestamp=cast("ua.DateTime", server)
    )


def group(*names: str, **keys: Any) -> Group:
    sources = tuple(OpcUaSource.model_validate({"node": f"s={name}"} | keys) for name in names)
    return Group("press", SETTINGS, names, sources, 1.0, pushed=True)


NODE = ua.NodeId("any", 2)


class Bench:
    """The gaps of a group of points, each of a second, and the readings that fill them."""

    structures: Structures | None = None
    ahead = 0

    def __init__(self, historian: Historian, size: int = 1, end: int = START + 10_000) -> None:
        self.historian = historian
        self.counters = Counters()
        self.backfill = Backfill(self.counters)
        self.late: list[tuple[int, int, Any]] = []
        self.group = group(*(f"p{i}" for i in range(size)))
        self.nodes: dict[Group, list[ua.NodeId | Fault]] = {self.group: [ua.NodeId(i, 2) for i in range(size)]}
        self.gaps = [Gap(self.group, i, START, end) for i in range(size)]

    def node(self, gap: Gap) -> ua.NodeId:
        return cast("ua.NodeId", self.nodes[gap.group][gap.position])

    def regroup(self, other: Group) -> None:
        """Let the gaps be of another group, with the same nodes."""
        self.nodes = {other: self.nodes[self.group]}
        self.gaps = [gap._replace(group=other) for gap in self.gaps]

    async def step(self) -> list[Scan]:
        scans = await self.backfill.step(
            cast("Session", self.historian), self.nodes, self.structures, self.ahead, NOW
        )
        for scan in scans:
            assert scan.late
            self.late += zip(cast("Any", scan.points), cast("Any", scan.times), scan.values, strict=True)
        return scans

    async def fill(self) -> None:
        self.backfill.add(self.gaps)
        while self.backfill.due < float("inf"):
            await self.step()


@pytest.mark.parametrize(("page", "size"), [(100, 300), (1000, 3500), (1, 7), (999, 2500)])
async def test_all_values_are_read_whatever_the_number_of_responses(page: int, size: int) -> None:
    """The server ends a response anywhere; a continuation point says that more values follow (Part 11, 6.4)."""
    historian, times = Historian(page), range(START + 1, START + 1 + size)
    bench = Bench(historian, size=3)
    for gap in bench.gaps:
        historian.record(bench.node(gap), times)
    await bench.fill()
    assert sorted(bench.late) == [(place, time, time - START) for place in range(3) for time in times], "each once"
    assert historian.open == {}, "every continuation point is released: the server has few"
    assert bench.counters == Counters(backfilled=3 * size)


async def test_values_of_one_time_that_fill_an_answer_do_not_end_it() -> None:
    """Where a server pages by single values, only its continuation point gets on."""
    historian = Historian(page=2)
    bench = Bench(historian)
    historian.record(bench.node(bench.gaps[0]), [START, START, START, START + 5])
    await bench.fill()
    assert bench.late == [(0, START + 5, 5)]


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("status", [NO_POINTS, ua.StatusCodes.BadTooManyOperations, ua.StatusCodes.BadServerTooBusy])
async def test_a_temporary_refusal_is_retried(status: int, *, raised: bool) -> None:
    """The server refuses the request, or the node in it. A busy server gets a pause."""
    historian = Historian(page=2)
    bench = Bench(historian)
    historian.record(bench.node(bench.gaps[0]), range(START + 1, START + 6))
    refusal = ua.UaStatusCodeError(status) if raised else status
    historian.refuse = [refusal, 0, refusal]
    await bench.fill()
    assert [time for _, time, _ in bench.late] == list(range(START + 1, START + 6)), "each once"
    assert historian.open == {}, "also of the part that was refused"
    assert bench.counters.history_refused == 0


async def test_a_repeatedly_refused_gap_is_given_up_and_counted() -> None:
    """Without the count, nobody would notice the missing data."""
    historian = Historian()
    bench = Bench(historian, size=2)
    for gap in bench.gaps:
        historian.record(bench.node(gap), [START + 1])
    historian.refuse = [NO_POINTS, 0, *[NO_POINTS] * (TRIES - 1)]
    await bench.fill()
    assert bench.late == [(1, START + 1, 1)], "the other gap is still read"
    assert historian.asked == TRIES + 1
    assert bench.counters.history_refused == 1


@pytest.mark.parametrize(("status", "refused"), [(REFUSED, 1), (ua.StatusCodes.BadNoData, 0)])
async def test_a_permanently_unavailable_gap_is_requested_once(status: int, refused: int) -> None:
    """An empty history is a valid response; a refused history is counted."""
    historian = Historian()
    historian.refuse = [status]
    bench = Bench(historian)
    historian.record(bench.node(bench.gaps[0]), [START + 1])
    await bench.fill()
    assert (historian.asked, bench.counters.history_refused) == (1, refused)


async def test_gaps_outlive_a_second_outage() -> None:
    """A step that the connection did not survive reported no value: all of it is requested again."""
    historian, times = Historian(page=3), range(START + 1, START + 11)
    bench = Bench(historian, size=NODES_AT_ONCE + 2)
    for gap in bench.gaps:
        historian.record(bench.node(gap), times)
    bench.backfill.add(bench.gaps)
    historian.refuse = [0] * 6 + [ua.UaStatusCodeError(ua.StatusCodes.BadSessionIdInvalid)]
    with pytest.raises(ua.UaStatusCodeError):
        await bench.step()
    bench.backfill.forget_session()
    historian.open.clear()
    bench.gaps = []
    await bench.fill()
    assert sorted(bench.late) == [(place, time, time - START) for place in range(NODES_AT_ONCE + 2) for time in times]


async def test_a_gap_of_a_node_with_a_new_id_is_read_under_the_new_id():
    """A server may renumber its namespaces at a restart; the gap belongs to the point."""
    historian = Historian()
    bench = Bench(historian)
    bench.backfill.add(bench.gaps)
    bench.backfill.forget_session()
    bench.nodes[bench.group] = [NODE]
    historian.record(NODE, [START + 1])
    bench.gaps = []
    await bench.fill()
    assert bench.late == [(0, START + 1, 1)]


async def test_a_gap_of_a_missing_node_waits_until_the_node_is_back():
    """Other gaps are read meanwhile; the gap of a removed point is dropped."""
    historian = Historian()
    bench = Bench(historian, size=2)
    other = Gap(group("gone"), 0, START, NOW)
    bench.nodes[bench.group][0] = bad(Reason.NOT_FOUND)
    historian.record(bench.node(bench.gaps[1]), [START + 1])
    bench.gaps.append(other)
    await bench.fill()
    assert bench.late == [(1, START + 1, 1)]
    assert historian.asked == 1
    bench.nodes[bench.group][0] = NODE
    historian.record(NODE, [START + 2])
    bench.backfill.look_again()
    bench.gaps = []
    await bench.fill()
    assert bench.late == [(1, START + 1, 1), (0, START + 2, 2)]
    assert bench.counters == Counters(backfilled=2)


@pytest.mark.slow
async def test_the_oldest_of_too_many_gaps_are_given_up_and_counted():
    """Otherwise a server that disconnects repeatedly before it returns a value would fill the memory."""
    historian = Historian()
    bench = Bench(historian)
    historian.record(bench.node(bench.gaps[0]), [START + 1, START + 2])
    [gap] = bench.gaps
    bench.gaps = [gap._replace(start=START + 1), *[gap._replace(end=START) for _ in range(MOST - 1)]]
    bench.backfill.add(bench.gaps)
    bench.backfill.add([gap])
    assert bench.counters == Counters(history_refused=1)
    assert len(bench.backfill) == MOST


async def test_a_field_of_a_structure_of_the_servers_own_is_read_from_its_history() -> None:
    """The field is decoded as in a data change or a read response."""
    encoding, data_type = ua.NodeId(5000, 2), ua.NodeId(3000, 2)
    historian = Historian()
    bench = Bench(historian)
    bench.structures = Structures(
        {data_type: Structure(ua.StructureType.Structure, (Member("Low", ua.VariantType.Double),))},
        {encoding: data_type},
    )
    bench.regroup(group("low", field="Low"))
    body = ua.ExtensionObject(encoding, struct.pack("<d", 1.5))
    historian.values[bench.node(bench.gaps[0])] = [
        value_of(START + 1, ua.Variant(body, ua.VariantType.ExtensionObject)),
    ]
    await bench.fill()
    assert bench.late == [(0, START + 1, 1.5)]


@pytest.mark.parametrize(
    ("clock", "expected"), [("source", [1, 2, 3]), ("server", [11, 11, 13]), ("gateway", [6, 6, 8])]
)
async def test_the_time_comes_from_the_configured_clock(clock: str, expected: list[int]) -> None:
    """The gateway clock gives the time at which a change would have arrived. Values of one time stay separate."""
    historian = Historian()
    bench = Bench(historian)
    bench.ahead = 5
    bench.regroup(group("a", time=clock))
    historian.values[bench.node(bench.gaps[0])] = [
        value_of(START + at, ua.Variant(at, ua.VariantType.Int64), behind)
        for at, behind in ((1, 10), (2, 9), (3, 10))
    ]
    bench.backfill.add(bench.gaps)
    scans = await bench.step()
    assert all(scan.points == [0] for scan in scans), "a scan contains a point once"
    assert bench.late == [(0, START + time, at) for time, at in zip(expected, (1, 2, 3), strict=True)]


def rounded(times: Sequence[int], unit: int, how: str) -> list[int]:
    """Return times as a database keeps them."""
    return [time // unit * unit if how == "cut" else round(time / unit) * unit for time in times]


@pytest.mark.parametrize("page", [1, 3, 100])
@pytest.mark.parametrize("how", ["cut", "rounded", "late"])
async def test_changes_that_a_history_keeps_with_other_digits_are_not_stored_twice(how: str, page: int) -> None:
    """A historian counts milliseconds, or stamps a row some microseconds later than the server sent it."""
    changes = [START + 123 + i * 40_333 for i in range(20)]
    kept = [time + 17 for time in changes] if how == "late" else rounded(changes, 1000, how)
    historian = Historian(page)
    bench = Bench(historian)
    delivered = frozenset([changes[2], *changes[10:14], changes[17]])
    bench.gaps = [Gap(bench.group, 0, changes[2], changes[17], delivered)]
    historian.record(bench.node(bench.gaps[0]), kept)
    await bench.fill()
    assert [time for _, time, _ in bench.late] == [*kept[3:10], *kept[14:17]]


async def test_a_change_shortly_before_a_delivered_change_is_kept() -> None:
    """A fast signal changes twice within a millisecond, and the history has both."""
    historian = Historian()
    bench = Bench(historian)
    end = START + 10_000
    bench.gaps = [Gap(bench.group, 0, START, end, frozenset([START, end]))]
    times = [START, START + 400, end - 300, end]
    historian.record(bench.node(bench.gaps[0]), times)
    await bench.fill()
    assert [time for _, time, _ in bench.late] == times[1:3]


def test_one_row_repeats_one_change() -> None:
    """It is the row of the same time, or the nearest row."""
    assert repeated([0, 300, 900], frozenset([300, 700])) == ({1, 2}, frozenset())
    assert repeated([0], frozenset([SAME])) == (set(), frozenset([SAME]))
    assert repeated([10, 20], frozenset([15, 16, 17])) == ({0, 1}, frozenset([17]))
    assert repeated([], frozenset([1])) == (set(), frozenset([1]))
    assert repeated([100, 200], frozenset([190]), more=True) == (set(), frozenset([190])), "the row may be to come"
