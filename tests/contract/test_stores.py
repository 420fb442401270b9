"""The contract of a store, checked with every store there is, with real servers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from read_back import InfluxTarget, SqliteTarget, Target, VictoriaMetricsTarget
from servers import Influxd, VictoriaMetrics

from gateway.model.metadata import MachineMeta
from gateway.model.reading import NamedScan
from gateway.stores import STORES
from gateway.stores.base import MachineScan, Refusal, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading

TIME = 1_764_000_000_123_456

META = MachineMeta(
    "curing-press",
    {
        "pressure": "float",
        "temperature": "float",
        "cycles": "int",
        "closed": "bool",
        "recipe": "string",
        "curve": "json",
    },
    {"pressure": "bar", "temperature": "Cel"},
)

ODD = [
    "", " ", " a  b ", "x=1", "a,b", 'say "so"', "it's", "a\\b", "a\\", "\\", "a\\,b", "\\\\", "#1", "50 %",
    "{count}/h", "m³/h", "°C", "轮胎", "ü\u0301", "😀", "\t", "two\nlines", "end\n", "a\r\nb", "1i", "true",
]  # fmt: skip


def readings(batch: Sequence[MachineScan]) -> list[Reading]:
    return [reading for one in batch for reading in one.scan.readings(one.path, dict(one.meta.units))]


def scan(press: MachinePath, number: int = 0, **values: Value) -> MachineScan:
    """Return a scan, a second after the scan with the number before it."""
    return MachineScan(press, META, NamedScan(TIME + number * 1_000_000, values), number)


def test_every_kind_of_store_is_checked_against_the_contract() -> None:
    """A new store belongs into `target`."""
    assert set(STORES) == {"sqlite", "influxdb"}


def test_written_readings_can_be_read_back(target: Target, press: MachinePath) -> None:
    """Value, type, unit and time of every reading: a store is for that."""
    batch = [
        scan(press, 0, pressure=16.02, temperature=171.8, cycles=7, closed=True, recipe="R-100"),
        scan(press, 1, pressure=16.0, temperature=-0.1, cycles=0, closed=False, recipe="R 101"),
        scan(press._replace(machine="press-02"), 2, pressure=0.0, cycles=-1),
    ]
    with target.store() as store:
        store.write(batch)
        assert target.held() == target.expected(readings(batch))


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ("pressure", 16), ("pressure", 16.0), ("pressure", 1e300), ("pressure", -1e-300), ("pressure", 0.1 + 0.2),
        ("cycles", 0), ("cycles", -5), ("cycles", 2**53), ("cycles", 2**63 - 1), ("cycles", -(2**63)),
        ("closed", True), ("closed", False), ("recipe", "7"), ("recipe", "true"),
    ],
)  # fmt: skip
def test_the_declared_type_decides(target: Target, press: MachinePath, point: str, value: Value) -> None:
    """A whole number of a float point is a float, and a string of digits is a string."""
    batch = [scan(press, **{point: value})]
    declared = {"pressure": float, "cycles": int, "closed": bool, "recipe": str}[point]
    with target.store() as store:
        store.write(batch)
        assert target.held() == target.expected(replace(one, value=declared(one.value)) for one in readings(batch))


def test_json_is_stored_as_the_text_that_it_is(target: Target, press: MachinePath) -> None:
    """A reader gets the structure that the device sent, with all quotes and backslashes."""
    curve = '{"Name":"a \\"b\\" \\\\ c","Steps":[[1.5,"NaN"],[]],"Bytes":"AP8Q","轮":true}'
    batch = [scan(press, 0, curve=curve, cycles=1), scan(press, 1, curve="[]"), scan(press, 2, curve='"text"')]
    with target.store() as store:
        store.write(batch)
        store.write(batch)
        assert target.held() == target.expected(readings(batch))


def test_a_text_of_the_largest_size_is_stored_whole_or_refused(target: Target, press: MachinePath) -> None:
    """A text that was cut would be another value."""
    batch = [scan(press, 0, curve=f'"{"x" * 65_533}"'), scan(press, 1, curve=f'"{"é" * 2047}"', cycles=7)]
    with target.store() as store:
        if isinstance(target, VictoriaMetricsTarget):
            with pytest.raises(Rejected) as caught:
                store.write(batch)
            [refusal] = caught.value.refusals
            assert (refusal.record, refusal.readings, refusal.kind) == (0, 1, "not_writable")
            assert len(refusal.row) < 400
            batch = batch[1:]
        else:
            store.write(batch)
        assert target.held() == target.expected(readings(batch))


def test_a_float_point_that_began_with_a_whole_number_takes_fractions(target: Target, press: MachinePath) -> None:
    """InfluxDB gives a field the type of its first value, and refuses the other permanently."""
    batch = [scan(press, 0, pressure=16), scan(press, 1, pressure=16.5)]
    with target.store() as store:
        for one in batch:
            store.write([one])
        assert [one.reading.value for one in target.held()] == [16.0, 16.5]


def test_writing_the_same_again_changes_nothing(target: Target, press: MachinePath) -> None:
    """A broker delivers at least once, and a gateway sends unconfirmed records again."""
    batch = [scan(press, number, pressure=number / 3, cycles=number, recipe=f"R{number}") for number in range(50)]
    batch[3].scan.bad["temperature"] = "refused"
    with target.store() as store:
        store.write(batch)
        store.write(batch)
    with target.store() as again:
        again.write(batch[20:] + batch[:30])
    assert target.held() == target.expected(readings(batch))


def test_a_bad_reading_has_a_reason_and_no_value(target: Target, press: MachinePath) -> None:
    """The last value is not repeated as if it were new, and an error is not a value."""
    one = scan(press, cycles=7)
    one.scan.bad |= {"pressure": "no_response", "recipe": "refused"}
    one.scan.codes["recipe"] = 'exception 2, "illegal data address"'
    with target.store() as store:
        store.write([one])
    assert target.held() == target.expected(readings([one]))
    assert [held.reading.value for held in target.held()].count(None) == 2


def test_an_uncertain_reading_has_both_value_and_reason(target: Target, press: MachinePath) -> None:
    """Whether it is good enough is decided by who reads it."""
    one = scan(press, pressure=99.0, cycles=7, recipe="R-1")
    one.scan.uncertain |= {"pressure": "out_of_range", "recipe": "stale"}
    one.scan.codes["pressure"] = "0x40940000 UncertainEngineeringUnitsExceeded"
    with target.store() as store:
        store.write([one])
    assert target.held() == target.expected(readings([one]))


def test_readings_fetched_after_an_outage_are_marked(target: Target, press: MachinePath) -> None:
    """A chart of the shift has them; a report of the values that were known at a time can leave them out."""
    late, fresh = scan(press, 0, pressure=16.0, temperature=99.0, recipe="R-1"), scan(press, 9, pressure=16.5)
    late.scan.late = True
    late.scan.uncertain["temperature"] = "out_of_range"
    late.scan.bad["cycles"] = "device_fault"
    with target.store() as store:
        store.write([late, fresh])
        store.write([late, fresh])
    assert target.held() == target.expected(readings([late, fresh]))
    assert [held.reading.late for held in target.held()].count(True) == 4


def test_readings_of_a_scan_keep_their_own_times(target: Target, press: MachinePath) -> None:
    """An OPC UA server pushes a source time with each value."""
    one = scan(press, pressure=1.5, temperature=2.5, cycles=3)
    one.scan.bad["recipe"] = "not_found"
    one.scan.times |= {"pressure": TIME - 5_000, "recipe": TIME - 7_000_000}
    with target.store() as store:
        store.write([one])
    assert target.held() == target.expected(readings([one]))


def test_odd_characters_in_strings_come_back(target: Target, press: MachinePath) -> None:
    """Operators type anything, and a character read as syntax would cost its neighbours."""
    batch = [scan(press, number, recipe=text, cycles=number) for number, text in enumerate(ODD)]
    with target.store() as store:
        store.write(batch)
    assert target.held() == target.expected(readings(batch))


def test_odd_characters_in_units_come_back(target: Target, press: MachinePath) -> None:
    """A unit is free text in a template."""
    batch = []
    for number, unit in enumerate(text for text in ODD if not set(text) & {*map(chr, range(32)), "\\"}):
        meta = MachineMeta("curing-press", {"pressure": "float"}, {"pressure": unit})
        one = NamedScan(TIME + number * 1_000_000, {"pressure": 1.5}, {"cycles": "refused"})
        batch.append(MachineScan(press._replace(machine=f"press-{number}"), meta, one, number))
    with target.store() as store:
        store.write(batch)
    assert target.held() == target.expected(readings(batch))


def test_odd_characters_in_codes_and_names_come_back(target: Target, press: MachinePath) -> None:
    """Names and codes of a foreign gateway were never checked here."""
    odd = press._replace(line='a line, "1"=x/y', machine="ü 1")
    one = MachineScan(odd, META, NamedScan(TIME, {"a point, 1=2": 1.5, "é": 2.5, "#": 1}, {'b"=': "refused"}), 0)
    one.scan.codes['b"='] = 'a "code", with\\ two\nlines'
    with target.store() as store:
        store.write([one])
    held = [replace(one.reading, point=one.reading.point.rstrip(" ")) for one in target.held()]
    assert sorted(map(str, held)) == sorted(str(target.as_held(reading)) for reading in readings([one]))


@pytest.mark.parametrize("text", ["a\\", "a\\,b", "\\", "a\nb", "\x00", "\r"])
@pytest.mark.parametrize("kind", ["machine", "template", "unit", "point", "bad point"])
def test_a_name_that_no_line_can_hold_costs_no_other_reading(
    target: Target, press: MachinePath, kind: str, text: str
) -> None:
    """Decoders let none through; a store that got one all the same must neither mangle it nor jam."""
    good = scan(press, 0, cycles=1)
    names = {"machine": "press-02", "template": META.template, "unit": "bar", "point": "level"} | {kind: text}
    meta = MachineMeta(names["template"], {names["point"]: "float"}, {names["point"]: names["unit"]})
    values, bad = {names["point"]: 1.5}, {"other": "refused"}
    if kind == "bad point":
        values, bad = {}, {text: "refused"}
    odd = MachineScan(press._replace(machine=names["machine"]), meta, NamedScan(TIME, values, bad), 1)
    refused: list[Refusal] = []
    with target.store() as store:
        try:
            store.write([good, odd])
        except Rejected as error:
            refused += error.refusals
    if isinstance(target, SqliteTarget):
        assert not refused
        assert len(target.held()) == 1 + len(odd.scan)
        return
    assert {(one.record, one.kind) for one in refused} == {(1, "not_writable")}
    held = [one.reading.point for one in target.held()]
    assert len(held) + sum(one.readings for one in refused) == 1 + len(odd.scan)
    assert "cycles" in held


def test_a_machine_that_has_sent_no_meta_is_stored(target: Target, enterprise: str, press: MachinePath) -> None:
    """Its units are not known; its readings are worth keeping all the same."""
    if isinstance(target, VictoriaMetricsTarget):
        target = VictoriaMetricsTarget(target.server, enterprise, "unknown")
    values = {"a": 1, "b": 1.5, "c": True, "d": "text"}
    one = MachineScan(press, MachineMeta("unknown"), NamedScan(TIME, values, {"e": "refused"}), 0)
    with target.store() as store:
        store.write([one])
    assert target.held() == target.expected(readings([one]))


def test_a_number_that_no_store_can_hold_is_refused_alone(target: Target, press: MachinePath) -> None:
    """JSON has numbers of more than 64 bits with a sign; they must neither stop nor lose the rest of the batch."""
    batch = [scan(press, number, cycles=number, pressure=1.5, recipe="R") for number in range(20)]
    batch[7].scan.values["cycles"] = 2**63
    with target.store() as store, pytest.raises(Rejected) as refused:
        store.write(batch)
    [refusal] = refused.value.refusals
    assert (refusal.record, refusal.readings) == (7, 1)
    assert "press-01" in refusal.row
    assert str(2**63) in refusal.row
    del batch[7].scan.values["cycles"]
    assert target.held() == target.expected(readings(batch))


def test_an_empty_batch_and_an_empty_scan_are_nothing(target: Target, press: MachinePath) -> None:
    with target.store() as store:
        store.write([])
        store.write([scan(press)])
        store.write([scan(press, cycles=1)])
    assert len(target.held()) == 1


# -- a store that is away --


@pytest.mark.parametrize("server_class", [Influxd, VictoriaMetrics])
def test_a_server_may_come_later_and_go_and_come(
    server_class: type[Influxd | VictoriaMetrics], tmp_path: Path, press: MachinePath, enterprise: str
) -> None:
    """Nobody starts a plant in order; a batch that is written while the store is away is tried again as a whole."""
    server = server_class(tmp_path)
    target: Target
    if isinstance(server, Influxd):
        target = InfluxTarget(server, "plant")
    else:
        target = VictoriaMetricsTarget(server, enterprise, "curing-press")
    store = target.store()
    batch = [scan(press, 0, cycles=1, recipe="R"), scan(press, 1, cycles=2, recipe="S")]
    with pytest.raises(Unavailable):
        store.open()
    server.up_and_wait()
    if isinstance(server, Influxd):
        server.create("plant")
    with store:
        store.write(batch[:1])
        target.held()  # VictoriaMetrics keeps rows that it has shown; see docs/stores.md
        server.terminate()
        with pytest.raises(Unavailable):
            store.write(batch)
        server.up_and_wait()
        store.write(batch)
        assert target.held() == target.expected(readings(batch))


def test_rows_that_influxdb_accepted_survive_its_death(tmp_path: Path, press: MachinePath) -> None:
    """When `write` returns, ingest confirms, and the gateway deletes its records."""
    server = Influxd(tmp_path)
    server.up_and_wait()
    server.create("plant")
    target = InfluxTarget(server, "plant")
    batch = [scan(press, number, cycles=number) for number in range(10)]
    with target.store() as store:
        store.write(batch)
    server.kill()
    server.up_and_wait()
    assert target.held() == target.expected(readings(batch))


def test_a_database_that_is_not_there_yet_is_worth_another_try(influxd: Influxd, press: MachinePath) -> None:
    """A wrong name is logged; the readings wait in the spools until it is put right."""
    name = f"late-{press.enterprise}"
    target = InfluxTarget(influxd, name)
    with target.store() as store:
        with pytest.raises(Unavailable, match="database not found"):
            store.write([scan(press, cycles=1)])
        influxd.create(name)
        store.write([scan(press, cycles=1)])
    assert len(target.held()) == 1
