"""The stored readings of a point match its configuration: tables of readings and of expected findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from points import node, register

from drivers.base import Quality
from drivers.opcua.node_address import Node
from drivers.opcua.settings import Mode, OpcUaSource
from gateway.check.judge import Circumstances, judged
from gateway.check.results import Verdict
from gateway.check.simulated import of_all, period
from gateway.check.tally import Tally, Window, tallies
from gateway.model.path import MachinePath
from gateway.model.reading import Reading
from gateway.settings.point import Point

if TYPE_CHECKING:
    from gateway.check.results import Checked

PATH = MachinePath("acme", "north", "curing", "curing-1", "press-01")
SECOND = 1_000_000
WINDOW = Window(10 * SECOND, 20 * SECOND)
PRESSURE = register("pressure", type="float", scale=0.01, unit="bar", range=[0, 30])


class Shows:
    """A machine that showed one value, in the last `age` seconds before any time."""

    def __init__(self, value: Any, age: float = 0.0) -> None:
        self._value, self._age = value, age

    def agrees(self, machine: str, point: str, value: Any, time: int, within: int) -> bool:
        assert (machine, point) == ("curing/curing-1/press-01", "pressure")
        assert time > 0
        return value == self._value and self._age * SECOND <= within

    def values_between(self, machine: str, point: str, since: int, until: int) -> list[Any]:
        raise NotImplementedError


def read(second: float, value: Any = 16.0, reason: str = "", **keys: Any) -> Reading:
    quality = Quality.GOOD if not reason else Quality.BAD if value is None else Quality.UNCERTAIN
    usual = {"unit": "bar", "quality": quality, "reason": reason, "code": ""}
    return Reading(PATH, "pressure", round(second * SECOND), value, **(usual | keys))


def judge(
    *readings: Reading,
    point: Point = PRESSURE,
    shows: Any = None,
    missed: bool = False,
    changes: int | None = None,
    late: float = 0.0,
) -> Checked:
    truth = shows if shows is None or isinstance(shows, Shows) else Shows(shows)
    delays = {str(PATH): round(late * SECOND)}
    [tally] = tallies(readings, WINDOW, truth, late=delays).values() or [Tally()]
    circumstances = Circumstances("modbus", WINDOW, point.every, missed, changes, truth is not None)
    return judged(point, tally, circumstances)


def kinds(one: Checked) -> list[str]:
    return [finding.kind for finding in one.findings]


EACH_SECOND = [read(second) for second in range(9, 21)]


def test_a_point_that_is_read_each_second_is_good() -> None:
    """Its rate is shown beside the requested rate."""
    one = judge(*EACH_SECOND, shows=16.0)
    assert (one.verdict, one.value, one.quality) == (Verdict.GOOD, 16.0, Quality.GOOD)
    assert one.more == {"stored": 12, "rate": "1.10/s of 1.00/s", "truth": "equal"}


@pytest.mark.parametrize(
    ("readings", "kind", "words"),
    [
        pytest.param([], "missing", "no reading of it came within 10 s", id="nothing came"),
        pytest.param(
            [read(5, None, "refused", code="exception 2")], "refused", "refused (exception 2)", id="refused"
        ),
        pytest.param([*EACH_SECOND, read(15.5, None, "no_response")], "no_response", "(in 1 of 12", id="once silent"),
        pytest.param([*EACH_SECOND, read(20.5, None, "no_response")], "no_response", "no response", id="silent now"),
        pytest.param([*EACH_SECOND, read(15.5, 41.0, "out_of_range")], "out_of_range", "[0, 30]", id="out of range"),
        pytest.param([read(15, unit="kPa")], "unit", "'kPa', and it is 'bar'", id="another unit"),
        pytest.param([read(15, value=16)], "type", "stored as int, and it is float", id="another type"),
    ],
)
def test_each_fault_is_reported_with_its_readings(readings: list[Reading], kind: str, words: str) -> None:
    """The finding describes the readings that show the fault."""
    one = judge(*readings)
    assert kinds(one) == [kind]
    assert words in one.findings[0].text
    assert one.verdict is Verdict.WRONG


def test_a_bad_reading_before_all_machines_answered_is_not_a_fault() -> None:
    """The first scan may meet a server that is still loading."""
    assert judge(read(3, None, "not_connected"), *EACH_SECOND).verdict is Verdict.GOOD


def test_a_reading_that_the_machine_did_not_show_is_found() -> None:
    """This finds a swapped register, or the unit id of another machine."""
    one = judge(*EACH_SECOND, read(15.5, 7.0), shows=16.0)
    assert kinds(one) == ["differs"]
    assert one.findings[0].text.startswith(
        "1 of 13 good readings differ from the value of the machine: 7.0 was stored"
    )
    assert one.more["truth"] == "differs"


def test_a_first_response_may_be_old_while_everything_starts() -> None:
    """A server that loads fifty machines sends the first value of one of them seconds after it was sampled."""
    assert kinds(judge(read(3), *EACH_SECOND, shows=Shows(16.0, age=4))) == ["differs"]
    assert kinds(judge(read(3), shows=Shows(16.0, age=4))) == []
    assert kinds(judge(read(3), shows=Shows(16.0, age=60))) == ["differs"]


def test_a_value_of_before_is_right_where_scans_were_missed():
    """A suspended computer finds a response in its buffer, and gives it the time at which it goes on."""
    assert kinds(judge(*EACH_SECOND, shows=Shows(16.0, age=4), late=3)) == []
    assert kinds(judge(*EACH_SECOND, shows=Shows(16.0, age=4), late=2)) == ["differs"]
    assert kinds(judge(*EACH_SECOND, shows=7.0, late=60)) == ["differs"], "a wrong place is wrong at any time"


@pytest.mark.parametrize(
    ("point", "count", "missed", "found"),
    [
        pytest.param(PRESSURE, 4, True, ["rate"], id="half of them missing, and scans missed"),
        pytest.param(PRESSURE, 4, False, [], id="the device's own times: no newer readings came"),
        pytest.param(PRESSURE, 9, True, [], id="one short"),
        pytest.param(PRESSURE.model_copy(update={"on_change": True}), 1, True, [], id="only changes are sent"),
        pytest.param(PRESSURE.model_copy(update={"every": 2.0}), 4, True, [], id="a slower point"),
        pytest.param(node("pressure", type="float", unit="bar"), 1, True, [], id="pushed"),
    ],
)
def test_a_rate_that_is_not_kept_is_found(point: Point, count: int, found: list[str], *, missed: bool) -> None:
    """It is a fault only if every reading is sent, and only if scans were missed."""
    assert kinds(judge(*(read(10.5 + i) for i in range(count)), point=point, missed=missed)) == found


@pytest.mark.parametrize(("changes", "found"), [(50, ["still"]), (3, []), (None, [])])
def test_a_changing_point_that_was_stored_once_is_found(changes: int | None, found: list[str]) -> None:
    """Otherwise a subscription that sends only its first value looks good."""
    assert kinds(judge(read(12), point=node("pressure", type="float", unit="bar"), changes=changes)) == found


def test_events_are_not_waited_for() -> None:
    """Perhaps no event has happened; if the simulated machine offers none, only the real machine can show events."""
    source = OpcUaSource(node=Node(None, "s=Press"), mode=Mode.EVENTS)
    point = Point.model_validate({"name": "pressure", "source": source, "type": "string"})
    assert judge(point=point).verdict is Verdict.NOT_SEEN
    refused = judge(read(12, None, "other", code="0x80350000 BadAttributeIdInvalid"), point=point)
    assert (refused.verdict, kinds(refused)) == (Verdict.DOUBTFUL, ["events"])
    assert judge(read(12, '{"message": "alarm"}', unit=""), point=point).verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("ledger", "changes", "rows", "found"),
    [
        pytest.param({}, {}, 900, [], id="all of it is stored"),
        pytest.param({}, {}, 899, [("stored", "wrong")], id="one is not"),
        pytest.param({}, {}, 901, [("stored", "wrong")], id="one is stored twice"),
        pytest.param({"pending": 5, "confirmed": 895}, {}, 897, [("pending", "doubt")], id="the last are on the way"),
        pytest.param({"pending": 500, "confirmed": 400}, {}, 400, [("pending", "wrong")], id="it does not keep up"),
        pytest.param({"dropped": {"full": 3}}, {}, 900, [("dropped", "wrong")], id="some were dropped"),
        pytest.param({}, {"balanced": False}, 900, [("not_balanced", "wrong")], id="the ledger is wrong"),
        pytest.param({}, {"schedule": {"due": 90, "missed": 2}}, 900, [("missed", "doubt")], id="missed scans"),
    ],
)
def test_a_whole_run_is_judged_by_its_ledger(
    ledger: dict[str, Any], changes: dict[str, Any], rows: int, found: list[tuple[str, str]]
) -> None:
    """Good points are not enough: nothing may be lost on the way, or stored twice."""
    usual = {"acquired": 1000, "unchanged": 100, "dropped": {}, "pending": 0, "confirmed": 900}
    gateway = {"ledger": usual | ledger, "balanced": True, "schedule": {"due": 90, "missed": 0}} | changes
    assert [(finding.kind, finding.severity.value) for finding in of_all(gateway, rows)] == found


@pytest.mark.parametrize(("every", "seconds", "here"), [(1.0, 10.0, 1.0), (5.0, 10.0, 5.0), (3600.0, 10.0, 2.5)])
def test_a_point_with_a_long_period_is_read_sooner(every: float, seconds: float, here: float) -> None:
    """Nobody waits an hour for one value; all others keep their own period."""
    assert period(every, seconds) == here
