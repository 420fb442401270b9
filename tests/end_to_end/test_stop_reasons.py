"""Reasons that people give for stops: as commands to the gateway, and as its records to the store, over an outage."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import yaml
from chaos.machines import Machines
from page_plant import ZONE
from processes import Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60.0

TEMPLATE: dict[str, Any] = {
    "format": 1,
    "protocol": "modbus",
    "points": {
        "count": {"address": "holding 0", "raw": "uint32", "every": "50ms"},
        "third": {"address": "holding 4", "raw": "float64", "every": "50ms"},
    },
    "derive": {
        "state": {"expression": "count % 40 < 20 ? 6 : 9", "labels": {6: "execute", 9: "aborted"}},
        "order": {"expression": "count % 40 < 20 ? 1 : 2"},
    },
    "production": {"state": "state", "order": "order", "micro_stop": "500ms", "reasons": ["bladder", "no material"]},
}
"""A machine that runs for twenty readings, and is down for twenty; with each order its row is closed."""


def write(folder: Path, broker: Mosquitto, machines: Machines) -> Path:
    (folder / "machines").mkdir()
    (folder / "machines" / "press.yaml").write_text(yaml.safe_dump(TEMPLATE))
    url = f"modbus+tcp://127.0.0.1:{machines.port}?timeout=20&unit=1"
    return write_factory(
        folder / "factory.yaml",
        gateway={
            "id": "edge-01", "spool": {"folder": str(folder / "spool")}, "commands": {"unsigned_alarms": True},
        },
        broker={"url": broker.url},
        calendar={"zone": ZONE},
        ingest={"folder": str(folder)},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"press-01": {"template": "press", "connection": url}}}},
    )  # fmt: skip


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table of the store, in the order of their times."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(folder / "readings.db")) as db,
    ):
        db.row_factory = sqlite3.Row
        return [dict(one) for one in db.execute(f"select * from {table} order by time")]  # noqa: S608 - a constant
    return []


def reasons_in_spool(folder: Path) -> int:
    """Return the number of reasons in the records of the spool."""
    with closing(sqlite3.connect(f"file:{folder / 'spool' / 'edge-01.spool.db'}?mode=ro", uri=True)) as db:
        return sum(payload.count(b"stop_reasons") for (payload,) in db.execute("select payload from records"))


async def document(config: Path, *arguments: str) -> Any:
    return json.loads((await lineside("oee", str(config), "--format", "json", *arguments)).text)


async def test_a_reason_survives_an_outage_and_counts_in_the_losses(tmp_path: Path):
    """It is given while ingest is down and the gateway is killed after it; the last of two counts."""
    broker = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        config = write(tmp_path, broker, machines)
        ingest = await Lineside.start("ingest", config)
        gateway = await Lineside.start("run", config)
        await until(lambda: len(rows(tmp_path, "stops")) >= 2, "two stops in the store", SECONDS)
        stop = next(one for one in rows(tmp_path, "stops") if one["state"] == "down")
        shift = str(stop["shift"])
        found = await document(config, "--shift", shift, "--stops")
        listed = next(one for one in found["stops"] if one["state"] == "down")
        assert (listed["label"], listed["reason"], listed["given"]) == ("aborted", "", "")
        give = ("oee", "reason", str(config), "press-01", listed["begin"])
        missing, unknown = await asyncio.gather(
            lineside(*give[:-1], "2001-01-01T06:00Z", "bladder"), lineside(*give, "gremlins")
        )
        assert missing.code == 2
        assert "no stop of" in missing.error
        assert (unknown.code, unknown.text) == (1, "failed: the reason is not one of bladder, no material\n")
        await ingest.stop()
        for reason in ("no material", "bladder"):
            done = await lineside(*give, reason, "--user", "anna", "--comment", "burst at the <b>left</b> mould")
            assert (done.code, done.text) == (0, "done\n")
        await until(lambda: reasons_in_spool(tmp_path) == 2, "both reasons in the spool", SECONDS)
        gateway.kill()
        gateway = await Lineside.start("run", config, "--report", tmp_path / "run.json")
        ingest = await Lineside.start("ingest", config)
        await until(lambda: len(rows(tmp_path, "stop_reasons")) >= 2, "both reasons in the store", SECONDS)
        begin = int(stop["begin"])
        await until(lambda: any(one["begin"] > begin for one in rows(tmp_path, "production")), "its row", SECONDS)
        found, totals, entries = await asyncio.gather(
            document(config, "--shift", shift, "--stops"),
            document(config, "--shift", shift),
            lineside("audit", "show", str(config)),
        )
        assert next(one for one in found["stops"] if one["begin"] == listed["begin"])["given"] == "bladder"
        losses = totals["lines"][0]["machines"][0]["losses"]
        await gateway.stop()
        await ingest.stop()
    assert [(one["begin"], one["reason"], one["by"]) for one in rows(tmp_path, "stop_reasons")] == [
        (begin, "no material", "anna"), (begin, "bladder", "anna")
    ]  # fmt: skip
    assert rows(tmp_path, "stop_reasons")[0]["comment"] == "burst at the <b>left</b> mould"
    assert ("down", "bladder") in {(one["kind"], one["reason"]) for one in losses}
    assert "no material" not in {one["reason"] for one in losses}
    assert report(tmp_path / "run.json")["balanced"]
    assert entries.text.count("command.give_reason") == 3
