"""What docs/stores.md shows is so: rows look like that, and the queries find them."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from read_back import InfluxTarget, SqliteTarget, VictoriaMetricsTarget

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan
from gateway.stores.line_protocol import LineWriter

if TYPE_CHECKING:
    from servers import Influxd, VictoriaMetrics

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "stores.md"

PRESS = MachinePath("doublestar", "huangdao", "curing", "curing-1", "press-01")
META = MachineMeta(
    "curing-press",
    {"bladder_pressure_left": "float", "hydraulic_pressure": "float", "cycle_count": "int", "press_closed": "bool"},
    {"bladder_pressure_left": "bar", "hydraulic_pressure": "bar", "mould_temperature_left": "Cel"},
)
VALUES = {
    "bladder_pressure_left": 16.02, "hydraulic_pressure": 180.0, "cycle_count": 7, "press_closed": True,
    "recipe": "R-100",
}  # fmt: skip


def scan(at: int, path: MachinePath = PRESS) -> MachineScan:
    named = NamedScan(at, dict(VALUES), {"mould_temperature_left": "refused"})
    named.codes["mould_temperature_left"] = "exception 2 illegal data address"
    return MachineScan(path, META, named, 0)


def queries(section: str, language: str) -> list[str]:
    """Return the contents of the fenced blocks of a section, query by query, without the comments."""
    [text] = re.findall(
        rf"^## {section}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    plain = [re.sub(r"^(--|#).*\n", "", block, flags=re.MULTILINE) for block in blocks]
    return [query.strip() for block in plain for query in re.split(r";\n|\n\n", block) if query.strip()]


def test_lines_are_as_shown() -> None:
    shown = [line for block in queries("InfluxDB", "text") for line in block.splitlines() if line.endswith("123456")]
    assert shown == [str(line) for line in LineWriter(labels=False).lines(scan(1_764_000_000_123_456), [])]


def test_sqlite_answers_the_queries_shown(tmp_path: Path) -> None:
    file = tmp_path / "readings.db"
    with SqliteTarget(file).store() as store:
        store.write([scan(time.time_ns() // 1000)])
    shown = queries("SQLite", "sql")
    assert len(shown) == 3
    db = sqlite3.connect(file)
    for query in shown:
        assert db.execute(query).fetchall(), query
    db.close()


def test_influxdb_answers_the_queries_shown(influxd: Influxd, influx_database: str) -> None:
    with InfluxTarget(influxd, influx_database).store() as store:
        store.write([scan(time.time_ns() // 1000)])
    shown = queries("InfluxDB", "sql")
    assert len(shown) == 3
    for query in shown:
        assert influxd.query(influx_database, query), query


def test_victoria_metrics_answers_the_queries_shown(victoria_metrics: VictoriaMetrics, enterprise: str) -> None:
    path = PRESS._replace(enterprise=enterprise)
    now = time.time_ns() // 1000
    with VictoriaMetricsTarget(victoria_metrics, enterprise, "curing-press").store() as store:
        store.write([scan(now - 2_000_000, path), scan(now - 1_000_000, path)])
    victoria_metrics.request("GET", "/internal/force_flush")
    shown = queries("VictoriaMetrics", "promql")
    assert len(shown) == 4
    for query in shown:
        answer = json.loads(victoria_metrics.request("GET", "/api/v1/query", query=query))
        assert answer["data"]["result"], query


@pytest.mark.parametrize("flag", ["-dedup.minScrapeInterval=1ms", "-retentionPeriod"])
def test_the_flags_shown_are_those_tested_with(victoria_metrics: VictoriaMetrics, flag: str) -> None:
    """Without them VictoriaMetrics breaks the contract of a store."""
    assert flag in DOCUMENT.read_text(encoding="utf-8")
    assert any(argument.startswith(flag) for argument in victoria_metrics.command())
