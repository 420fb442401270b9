"""Gaps are filled from a server's history, in however many parts it tells it, and none is dropped in silence."""

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
    """A session with a server that records; it tells `page` values at once, and has `points` continuation points.

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
        told, rest = rest[:size], rest[size:]
        result = ua.HistoryReadResult(HistoryData=ua.HistoryData(DataValues=told))
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
    """The gaps of a group of points, each of a second, and what was read of them."""

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
async def test_all_is_read_however_many_parts_the_server_tells_it_in(page: int, size: int) -> None:
    """It ends an answer where it likes, and its continuation point says that there is more (Part 11, 6.4)."""
    historian, times = Historian(page), range(START + 1, START + 1 + size)
    bench = Bench(historian, size=3)
    for gap in bench.gaps:
        historian.record(bench.node(gap), times)
    await bench.fill()
    assert sorted(bench.late) == [(place, time, time - START) for place in range(3) for time in times], "each once"
    assert historian.open == {}, "and no continuation point is left on the server, which has but few"
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
async def test_what_is_refused_for_now_is_asked_for_again(status: int, *, raised: bool) -> None:
    """Be it the request that is refused, or the node in it. A busy server gets a pause."""
    historian = Historian(page=2)
    bench = Bench(historian)
    historian.record(bench.node(bench.gaps[0]), range(START + 1, START + 6))
    refusal = ua.UaStatusCodeError(status) if raised else status
    historian.refuse = [refusal, 0, refusal]
    await bench.fill()
    assert [time for _, time, _ in bench.late] == list(range(START + 1, START + 6)), "each once"
    assert historian.open == {}, "also of the part that was refused"
    assert bench.counters.history_refused == 0


async def test_what_is_refused_again_and_again_is_given_up_and_counted() -> None:
    """A gap that is dropped in silence is data that nobody misses."""
    historian = Historian()
    bench = Bench(historian, size=2)
    for gap in bench.gaps:
        historian.record(bench.node(gap), [START + 1])
    historian.refuse = [NO_POINTS, 0, *[NO_POINTS] * (TRIES - 1)]
    await bench.fill()
    assert bench.late == [(1, START + 1, 1)], "the other is none the worse for it"
    assert historian.asked == TRIES + 1
    assert bench.counters.history_refused == 1


@pytest.mark.parametrize(("status", "refused"), [(REFUSED, 1), (ua.StatusCodes.BadNoData, 0)])
async def test_what_will_never_be_told_is_asked_for_once(status: int, refused: int) -> None:
    """That there is nothing is an answer; that it may not be read is counted."""
    historian = Historian()
    historian.refuse = [status]
    bench = Bench(historian)
    historian.record(bench.node(bench.gaps[0]), [START + 1])
    await bench.fill()
    assert (historian.asked, bench.counters.history_refused) == (1, refused)


async def test_gaps_outlive_a_second_outage() -> None:
    """Nothing of a step that the connection did not survive was told: all of it is asked for again."""
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


async def test_what_was_missed_of_a_node_that_has_another_id_now_is_read_by_that():
    """A server may number its namespaces anew when it is started again; the gap is of the point."""
    historian = Historian()
    bench = Bench(historian)
    bench.backfill.add(bench.gaps)
    bench.backfill.forget_session()
    bench.nodes[bench.group] = [NODE]
    historian.record(NODE, [START + 1])
    bench.gaps = []
    await bench.fill()
    assert bench.late == [(0, START + 1, 1)]


async def test_what_was_missed_of_a_node_that_is_not_there_waits_until_it_is():
    """The others are read meanwhile; and of a point that nobody wants any more nothing is."""
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


async def test_of_gaps_without_end_the_oldest_are_given_up_and_counted():
    """Else a server that is lost again and again, before it tells anything, would fill the memory."""
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
    """As it is when it is pushed or polled."""
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
async def test_the_time_is_that_of_the_clock_that_counts(clock: str, expected: list[int]) -> None:
    """As it is of what is pushed: by the gateway's, when it would have arrived. Values of one time stay apart."""
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
    assert all(scan.points == [0] for scan in scans), "a scan holds a point once"
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


async def test_a_change_just_before_a_delivered_change_is_not_taken_for_it() -> None:
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
    """The row of the same time, or else the nearest."""
    assert repeated([0, 300, 900], frozenset([300, 700])) == ({1, 2}, frozenset())
    assert repeated([0], frozenset([SAME])) == (set(), frozenset([SAME]))
    assert repeated([10, 20], frozenset([15, 16, 17])) == ({0, 1}, frozenset([17]))
    assert repeated([], frozenset([1])) == (set(), frozenset([1]))
    assert repeated([100, 200], frozenset([190]), more=True) == (set(), frozenset([190])), "the row may be to come"
