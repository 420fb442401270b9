"""Records of anybody, through the decoder into real stores: each store has exactly its readings, and no other.

A publisher has the right to one machine's topic. One record from there must not change another machine's readings,
nor make any row that is not its own.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from read_back import InfluxTarget, Target, VictoriaMetricsTarget

from gateway.ingest.batch import Batch
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.status import IngestStatus
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics
from gateway.stores.base import Refusal, Rejected

if TYPE_CHECKING:
    from gateway.model.path import MachinePath
    from gateway.stores.base import Store

TIME = 1_764_000_000_000_000

PIECES = [
    "a", "b", "x=1", ",", "=", " ", "\\", '"', "\n", "\r", "\t", "\0", "#", "i", "t", "{", "}", "'", "/", ";", "\x7f",
    "é", "轮", "\u2028", "\x85", "1764000000000000", "machine=press-01", "\n#",
    "\npress,machine=press-01 pressure=99.9 1764000000000000\n", "value", "unit", "time", "level", "_field",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=12)
NAMES = TEXT.filter(bool)
VALUES = TEXT | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5)


@st.composite
def stories(draw: st.DrawFn) -> dict[str, Any]:
    """Return metadata and a scan made with it, of which any text may be anything."""
    points = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    values = {name: draw(VALUES) for name in points}
    kinds = {str: "string", bool: "bool", int: "int", float: "float"}
    described = {name: {"type": kinds[type(value)], "unit": draw(TEXT)} for name, value in values.items()}
    bad = {name: draw(TEXT) for name in draw(st.lists(NAMES, max_size=2)) if name not in values}
    marked = {name: draw(TEXT) for name in points if draw(st.booleans())}
    codes = {name: draw(TEXT) for name in (*bad, *marked)}
    return {
        "machine": draw(NAMES), "template": draw(NAMES), "points": described,
        "scan": {"values": values, "bad": bad, "uncertain": marked, "codes": codes, "late": draw(st.booleans())},
        "described": draw(st.booleans()),
    }  # fmt: skip


INJECTION = {
    "machine": "m", "template": "t", "points": {}, "described": False,
    "scan": {"values": {"a\\,b": "x=1\npress,machine=press-01 pressure=99.9 1764000000000000\n#"}},
}  # fmt: skip
IN_A_TEXT = INJECTION | {
    "scan": {"values": {"a": '\\"\npress,machine=press-01 p=99.9 1764000000000000\n#', "b": "\\"}}
}


class Plant:
    """A store and all that should be in it."""

    def __init__(self, target: Target, enterprise: str) -> None:
        self.target = target
        self.expected: set[tuple[MachinePath, str, int]] = set()
        self._enterprise = enterprise
        self._numbers = count()
        self._types: dict[str, type] = {}

    def publish(self, store: Store, story: dict[str, Any]) -> None:
        """Let the decoder and the store have a record; what neither refuses is expected."""
        number = next(self._numbers)
        topic = f"lineside/v1/{self._enterprise}/s/a/l/{story['machine']}"
        registry, status = MetadataRegistry(), IngestStatus()
        requests = MetadataRequests(lambda: 0.0)
        decoder = MessageDecoder(Topics("lineside/v1"), registry, requests, status, gateway_resends=True)
        batch = Batch(cast("Any", None))
        meta = {"template": story["template"], "points": story["points"]}
        # machines without valid metadata share a measurement, in which a field of InfluxDB has one type
        values = story["scan"]["values"].items()
        if any(self._types.setdefault(name, type(one)) is not type(one) for name, one in values):
            return
        if story["described"]:
            self._add(decoder, batch, f"{topic}/meta", orjson.dumps(meta))
        scan = {"t": TIME + number * 1_000_000, **story["scan"]}
        record = {"v": 1, "gateway": "g", "spool": "s", "seq": number + 1, "scans": [scan]}
        self._add(decoder, batch, f"{topic}/data", orjson.dumps(record))
        refused: list[Refusal] = []
        try:
            store.write(batch.scans)
        except Rejected as error:
            refused += error.refusals
        assert {one.kind for one in refused} <= {"not_writable"}  # the server itself never has to refuse a row
        rows = [(one.path, name, one.scan.time) for one in batch.scans for name in (*one.scan.values, *one.scan.bad)]
        gone = sum(one.readings for one in refused)
        if gone < len(rows):
            assert gone == 0
            self.expected |= {(path, "time_" if name == "time" else name, time) for path, name, time in rows}

    @staticmethod
    def _add(decoder: MessageDecoder, batch: Batch, topic: str, payload: bytes) -> None:
        decoder.add(batch, ReceivedMessage(topic, payload))


class VictoriaRows(VictoriaMetricsTarget):
    """The rows of all templates: how many series and samples there are."""

    def rows(self) -> int:
        series = self.server.export(f'{{enterprise="{self._enterprise}",__name__!="quality_level"}}')
        return sum(len(one["values"]) for one in series)


def test_influxdb_has_the_readings_of_hostile_records_and_no_other(influxd: Any, influx_database: str) -> None:
    target = InfluxTarget(influxd, influx_database)
    plant = Plant(target, "e")

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @example(INJECTION)
    @example(IN_A_TEXT)
    @given(stories())
    def publish(story: dict[str, Any]) -> None:
        with target.store() as store:
            plant.publish(store, story)

    publish()
    found = [(one.reading.path, one.reading.point, one.reading.time) for one in target.held()]
    assert len(found) == len(set(found))
    assert set(found) == plant.expected


def test_victoria_metrics_has_the_readings_of_hostile_records_and_no_other(
    victoria_metrics: Any, enterprise: str
) -> None:
    target = VictoriaRows(victoria_metrics, enterprise)
    plant = Plant(target, enterprise)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @example(INJECTION)
    @example(IN_A_TEXT)
    @given(stories())
    def publish(story: dict[str, Any]) -> None:
        story["scan"]["bad"] = {}  # they are in a measurement of their own, and counted apart
        story["scan"]["values"] = {name: value for name, value in story["scan"]["values"].items() if value != ""}
        with target.store() as store:
            plant.publish(store, story)

    publish()
    assert victoria_metrics.export('{enterprise=""}') == []  # of a line that a text has become
    assert target.rows() == len(plant.expected)


@pytest.mark.parametrize("text", ["\\", "x=1\n#", '"', '\\"', "a\\"])
def test_texts_come_back_as_they_were(influxd: Any, influx_database: str, text: str) -> None:
    """They are escaped, not refused: an operator may type anything."""
    target = InfluxTarget(influxd, influx_database)
    plant = Plant(target, "e")
    with target.store() as store:
        plant.publish(store, INJECTION | {"scan": {"values": {"a": text}}})
    assert [one.reading.value for one in target.held()] == [text]
