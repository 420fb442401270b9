"""`lineside spool` and `lineside ledger`: their output while the gateway works, and after it died."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from processes import write_factory
from spooling import lease

from gateway.cli import main
from gateway.codecs import CODECS
from gateway.common.dead_letters import DeadLetters, ingest_letters
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.settings.sections import SpoolSection
from gateway.spool.files import SpoolFiles
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from click.testing import Result

PRESS = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}

TIME = 1_764_000_000_123_456


class Box:
    """An edge box: a configuration, and the spool of its gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.spool = folder / "spool"
        self.config = write_factory(
            folder / "factory.yaml",
            gateway={"id": "edge-01", "spool": {"folder": str(self.spool), "max_size": "1MiB"}},
            broker={"url": "mqtt://127.0.0.1:1"},
            ingest={"folder": str(folder / "ingest")},
            lines={"line": {"area": "area", "machines": {"m-01": PRESS}}},
        )
        self.files = SpoolFiles(self.spool, "edge-01")

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[Spool]:
        async with Spool(SpoolSection(folder=self.spool, max_size=2**20), "edge-01") as spool:
            yield spool

    async def take(self, spool: Spool, records: int) -> None:
        """Spool records of two readings each."""

        def encode(seq: int, scans: list[NamedScan]) -> bytes:
            return CODECS["json"].encode(Record("edge-01", spool.id, seq, scans))

        for number in range(records):
            spool.ledger.acquired += 3
            spool.ledger.unchanged += 1
            builder = RecordBuilder("lineside/v1/plant/site/area/line/m-01/data", encode)
            scan = NamedScan(TIME + number, {"level": 20.5 + number}, {"state": "no_response"})
            spool.put(builder, scan, 2)
        assert await spool.commit()

    async def took(self, records: int) -> None:
        async with self.gateway() as spool:
            await self.take(spool, records)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, str(self.config)], catch_exceptions=False)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        ran = self.run(*arguments)
        assert ran.exit_code == 0, ran.output
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def data(self, *arguments: str) -> dict[str, Any]:
        ran = self.run(*arguments, "--format", "json")
        assert ran.exit_code == 0, ran.output
        content: dict[str, Any] = json.loads(ran.stdout)
        return content


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


async def test_the_ledger_is_printed_while_the_gateway_works(box: Box) -> None:
    """A person runs the command beside a running line, and must not disturb it."""
    async with box.gateway() as spool:
        await box.take(spool, 4)
        ledger = await asyncio.to_thread(box.data, "ledger")
        assert ledger == {
            "gateway": "edge-01", "spool": spool.id, "acquired": 12, "unchanged": 4, "dropped": {}, "pending": 8,
            "confirmed": 0, "balanced": True,
        }  # fmt: skip
        spool.confirm([(1, 3)], {2: 1})
        assert await spool.commit()
        text = (await asyncio.to_thread(box.run, "ledger")).output
        assert [line.split() for line in text.splitlines()] == [
            ["acquired", "12"], ["unchanged", "4"], ["dropped:", "rejected_by_store", "1"], ["pending", "2"],
            ["confirmed", "5"], ["every", "reading", "is", "accounted", "for"],
        ]  # fmt: skip


@pytest.mark.slow
async def test_the_ledger_is_printed_after_the_gateway_was_killed(box: Box) -> None:
    """A kill is the usual reason to ask, and the command must not change the files for the next gateway."""
    async with box.gateway() as spool:
        await box.take(spool, 4)
        killed = Box(box.folder / "killed")
        shutil.copytree(box.spool, killed.spool, ignore=shutil.ignore_patterns("*-shm"))
    before = {file: file.read_bytes() for file in (killed.files.db, killed.files.wal, killed.files.slots)}
    assert killed.data("ledger")["pending"] == 8
    assert killed.data("spool", "status")["records"] == 4
    assert len(killed.lines("spool", "export")) == 4
    assert {file: file.read_bytes() for file in before} == before


async def test_the_status_says_how_much_waits_and_since_when(box: Box) -> None:
    """It shows how long the box can go on without its broker."""
    async with box.gateway() as spool:
        await box.take(spool, 4)
        status = box.data("spool", "status")
        assert (status["records"], status["readings"], status["spool"]) == (4, 8, spool.id)
        assert status["oldest"] == {"seq": 1, "time": "2025-11-24T16:00:00.123+00:00"}
        assert status["newest"]["seq"] == 4
        assert status["bytes"] == spool.size
        assert status["bytes"] < status["on_disk"] <= status["max_size"] + status["slack"]
        text = box.run("spool", "status").output
        assert "4 records, 8 readings" in text
        assert "record 1, 2025-11-24T16:00:00.123" in text


async def test_records_are_exported_and_stay(box: Box) -> None:
    """A person can see the readings of a machine, and the store still gets them."""
    async with box.gateway() as spool:
        await box.take(spool, 250)
        found = box.lines("spool", "export")
        assert [entry["seq"] for entry in found] == list(range(1, 251))
        record = found[2]["record"]
        assert record["scans"][0]["values"] == {"level": 22.5}
        assert record["scans"][0]["bad"] == {"state": "no_response"}
        out = box.folder / "out.ndjson"
        ran = box.run("spool", "export", "--out", str(out))
        assert "250 records" in ran.output
        assert [json.loads(line) for line in out.read_text().splitlines()] == found
        assert len(await lease(spool, 300)) == 250


async def test_a_damaged_record_is_exported_as_its_bytes(box: Box) -> None:
    """It is shown as damaged bytes, and not as a reading."""
    await box.took(3)
    data = box.files.db.read_bytes()
    box.files.db.write_bytes(data.replace(b'"level":21.5', b'"level":91.5'))
    good, damaged, last = box.lines("spool", "export")
    assert "record" in good
    assert "record" in last
    assert damaged["damaged"] == "its checksum is wrong"
    assert "record" not in damaged
    assert "1 of them damaged" in box.run("spool", "export").output


async def test_messages_that_were_set_aside_are_listed_with_the_reason(box: Box) -> None:
    """A person decides what to do with them, and must find them first."""
    ran = box.run("spool", "dead-letters")
    assert (ran.exit_code, ran.output) == (0, "0 set aside\n")
    DeadLetters(ingest_letters(box.folder / "ingest", "ingest"), 10_000).add("lineside/v1/x", "is not JSON", b"{")
    await box.took(3)
    data = box.files.db.read_bytes()
    box.files.db.write_bytes(data.replace(b'"level":21.5', b'"level":91.5'))
    async with box.gateway() as spool:
        assert [record.seq for record in await lease(spool, 10)] == [1, 3]
        assert await spool.commit()
        assert spool.ledger.dropped == {"damaged": 2}
        assert spool.ledger.balanced
    first, second = box.lines("spool", "dead-letters", "--format", "json")
    assert (first["by"], first["reason"], first["payload"]) == ("ingest", "is not JSON", "{")
    assert (second["by"], second["reason"], second["seq"], second["readings"]) == (
        "gateway", "its checksum is wrong", 2, 2
    )  # fmt: skip
    text = box.run("spool", "dead-letters").output
    assert "2 set aside" in text
    assert "1 bytes  lineside/v1/x: is not JSON" in text
    assert box.data("spool", "status")["set_aside"] == {str(box.files.letters): 1}


@pytest.mark.parametrize("command", [("ledger",), ("spool", "status"), ("spool", "export")])
def test_where_there_is_no_spool_it_says_where_it_looked(box: Box, command: tuple[str, ...]) -> None:
    """The usual reason is the wrong folder."""
    ran = box.run(*command)
    assert ran.exit_code == 1
    assert f"{box.files.db} is not there: has a gateway run" in ran.output


@pytest.mark.parametrize("command", [("ledger",), ("spool", "status"), ("spool", "export")])
def test_a_file_that_is_not_a_spool_is_named(box: Box, command: tuple[str, ...]) -> None:
    """The message has no Python terms."""
    box.spool.mkdir()
    box.files.db.write_text("this is a letter to my aunt, and no database at all")
    ran = box.run(*command)
    assert ran.exit_code == 1
    assert "edge-01.spool.db" in ran.output
    assert "it does not begin as a database does" in ran.output


async def test_the_ledger_is_known_when_the_database_is_damaged(box: Box) -> None:
    """It is written twice for that."""
    await box.took(3)
    box.files.db.write_bytes(b"")
    assert box.data("ledger")["pending"] == 6
    ran = box.run("spool", "status")
    assert ran.exit_code == 1
    assert "3 records, 6 readings" in ran.output
    assert "the database is damaged: it does not begin as a database does; the gateway repairs it" in ran.output


async def test_a_ledger_that_does_not_balance_is_an_error(box: Box) -> None:
    """Lineside then has a defect, and a script that runs the command must notice it."""
    async with box.gateway() as spool:
        spool.ledger.acquired += 5
        await box.take(spool, 1)
    ran = box.run("ledger")
    assert ran.exit_code == 1
    assert "5 readings are not accounted for" in ran.output
