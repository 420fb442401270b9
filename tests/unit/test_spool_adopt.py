"""A gateway whose id was changed with a backlog: its old spool is named, and its records are adopted."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from processes import write_factory
from spooling import lease
from structlog.testing import capture_logs

from gateway.cli import main
from gateway.codecs import CODECS
from gateway.model.ledger import Ledger
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.settings.sections import SMALLEST_SPOOL, SpoolSection
from gateway.spool.adopt import Adopted, adopt, other_spools
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import SpoolFiles
from gateway.spool.inspect import NotReadable, inspect, records
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.spool.batch import Batch, CommitResult

CODEC = CODECS["json"]
TOPIC = "lineside/v1/plant/site/area/line/m-01/data"
TIME = 1_764_000_000_000_000


async def fill(folder: Path, gateway: str, times: range, text: str = "") -> str:
    """Spool a record of two readings for each time; returns the name of the spool."""
    async with Spool(SpoolSection(folder=folder), gateway) as spool:

        def encode(seq: int, scans: list[NamedScan]) -> bytes:
            return CODEC.encode(Record(gateway, spool.id, seq, scans, "meta"))

        for time in times:
            spool.ledger.acquired += 2
            builder = RecordBuilder(TOPIC, encode)
            spool.put(builder, NamedScan(TIME + time, {"a": time, "b": text}), 2)
            spool.close_record(builder)
        return spool.id


def times_in(folder: Path, gateway: str) -> list[int]:
    """Return the times of all records that wait, each of which has to name the gateway, its spool and its number."""
    files = SpoolFiles(folder, gateway)
    name, found = inspect(files).state.spool, []
    for row in records(files):
        assert row.is_right
        record = CODEC.decode(row.payload)
        assert (record.gateway, record.spool, record.seq, record.meta) == (gateway, name, row.seq, "meta")
        assert row.topic == TOPIC
        found += [scan.time - TIME for scan in record.scans]
    return found


def ledger_of(folder: Path, gateway: str) -> Ledger:
    state = inspect(SpoolFiles(folder, gateway)).state
    ledger = Ledger.of(state.counts, state.readings)
    assert ledger.balanced, ledger
    return ledger


async def test_records_are_adopted_under_the_new_id(tmp_path: Path) -> None:
    """Otherwise they would stay there permanently: no gateway sends the records of an unused id."""
    settings = SpoolSection(folder=tmp_path)
    await fill(tmp_path, "old", range(250))
    await fill(tmp_path, "new", range(1000, 1005))
    assert adopt(settings, "new", "old", CODEC) == Adopted(250, 500, 0, 0)
    assert times_in(tmp_path, "new") == [*range(1000, 1005), *range(250)]
    assert times_in(tmp_path, "old") == []
    assert ledger_of(tmp_path, "old").dropped == {"adopted": 500}
    new = ledger_of(tmp_path, "new")
    assert (new.acquired, new.pending) == (510, 510)
    assert adopt(settings, "new", "old", CODEC) == Adopted(0, 0, 0, 0), "once more changes nothing"
    async with Spool(settings, "new") as spool:
        assert len(await lease(spool, 1000)) == 255
        spool.confirm([(1, 255)])
        await spool.commit()
        assert spool.ledger.confirmed == 510


class _Killed(Exception):
    pass


@pytest.mark.slow
@given(st.integers(1, 8), st.integers(1, 4))
def test_a_takeover_that_is_killed_anywhere_is_completed_by_the_next(
    tmp_path_factory: pytest.TempPathFactory, kill_at: int, second: int
) -> None:
    """No record may be lost, and none may be there twice: its readings would be counted twice."""
    folder = tmp_path_factory.mktemp("spool")
    asyncio.run(fill(folder, "old", range(250)))
    settings = SpoolSection(folder=folder)
    real, left = SpoolDatabase.write, 0

    def write(self: SpoolDatabase, batch: Batch) -> CommitResult:
        nonlocal left
        left -= 1
        if left == 0:
            raise _Killed
        return real(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpoolDatabase, "write", write)
        for left in (kill_at, second):  # noqa: B007 - counted down by `write`
            try:
                adopt(settings, "new", "old", CODEC)
            except _Killed:
                ledger_of(folder, "old")
                ledger_of(folder, "new")
    adopt(settings, "new", "old", CODEC)
    assert times_in(folder, "new") == list(range(250))
    assert ledger_of(folder, "new").acquired == 500
    assert ledger_of(folder, "old").dropped == {"adopted": 500}


async def test_a_spool_in_use_is_not_touched(tmp_path: Path) -> None:
    """Two would send the same records, under two names."""
    await fill(tmp_path, "old", range(5))
    settings = SpoolSection(folder=tmp_path)
    for used in ("old", "new"):
        async with Spool(settings, used):
            with pytest.raises(BlockingIOError, match=f"{used}.spool.db is in use by another gateway"):
                await asyncio.to_thread(adopt, settings, "new", "old", CODEC)
    assert times_in(tmp_path, "old") == list(range(5))
    with pytest.raises(NotReadable, match="gateway older has no spool in this folder"):
        adopt(settings, "new", "older", CODEC)
    assert not SpoolFiles(tmp_path, "older").lock.exists()


async def test_records_that_do_not_fit_stay(tmp_path: Path) -> None:
    """They must not displace records of the new spool, and must not be dropped."""
    await fill(tmp_path, "old", range(30), "x" * 30_000)
    small = SpoolSection(folder=tmp_path, max_size=SMALLEST_SPOOL)
    moved = adopt(small, "new", "old", CODEC)
    assert 3 < moved.records < 10
    assert moved.no_room == 30 - moved.records
    assert sorted([*times_in(tmp_path, "new"), *times_in(tmp_path, "old")]) == list(range(30))
    assert not ledger_of(tmp_path, "new").dropped


async def test_records_of_another_codec_stay(tmp_path: Path) -> None:
    """Their id can't be changed, and they stay for a gateway that has the codec."""
    async with Spool(SpoolSection(folder=tmp_path), "old") as spool:
        spool.ledger.acquired += 1
        spool.put(RecordBuilder[None](TOPIC, lambda *_: b"\x00\x01"), None, 1)
    await fill(tmp_path, "old", range(3))
    assert adopt(SpoolSection(folder=tmp_path), "new", "old", CODEC) == Adopted(3, 6, 1, 0)
    assert ledger_of(tmp_path, "old").pending == 1


async def test_a_gateway_that_starts_names_the_spools_of_other_ids(tmp_path: Path) -> None:
    """A gateway with a changed id seems to have no backlog, so nobody would look for the old spool."""
    await fill(tmp_path, "old", range(5))
    await fill(tmp_path, "drained", range(0))
    settings = SpoolSection(folder=tmp_path)
    async with Spool(settings, "running"):
        with capture_logs() as logs:
            async with Spool(settings, "new"):
                pass
    [warning] = [entry for entry in logs if entry["event"] == "spool.other_gateway"]
    assert (warning["gateway"], warning["records"], warning["readings"]) == ("old", 5, 10)
    assert "lineside spool adopt CONFIG --from old" in warning["hint"]
    assert [other.gateway for other in other_spools(tmp_path, "new")] == ["old"]


@pytest.mark.slow
async def test_the_commands_name_and_adopt_the_other_spool(tmp_path: Path) -> None:
    """A person who finds the warning runs them."""
    await fill(tmp_path / "spool", "edge-00", range(5))
    meta = {"template": "press", "points": {"a": {"type": "int", "unit": "1"}}}
    (tmp_path / "spool" / "edge-00.metas.json").write_text(json.dumps({"plant/site/area/line/m-01": [meta]}))
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}},
            }
        },
    )
    await fill(tmp_path / "spool", "edge-01", range(100, 101))

    def run(*arguments: str) -> str:
        ran = CliRunner().invoke(main, ["spool", arguments[0], str(config), *arguments[1:]], catch_exceptions=False)
        return f"{ran.exit_code} {ran.output}"

    assert json.loads(run("status", "--format", "json")[2:])["other_gateways"] == [
        {"gateway": "edge-00", "records": 5, "readings": 10}
    ]
    assert "5 records, 10 readings of gateway edge-00" in run("status")
    assert run("adopt", "--from", "edge-01").startswith("1 lineside: edge-01 is the id of this gateway")
    assert "1 lineside: '../x' is not the id of a gateway" in run("adopt", "--from", "../x")
    assert "records of other gateways wait here: edge-00" in run("adopt", "--from", "edge-0")
    assert run("adopt", "--from", "edge-00") == "0 5 records, 10 readings of edge-00 are now records of edge-01\n"
    assert json.loads(run("status", "--format", "json")[2:])["other_gateways"] == []
    assert times_in(tmp_path / "spool", "edge-01") == [100, *range(5)]
    kept = json.loads((tmp_path / "spool" / "edge-01.metas.json").read_text())
    assert kept == {"plant/site/area/line/m-01": [meta]}
    assert Counter(ledger_of(tmp_path / "spool", "edge-00").dropped) == {"adopted": 10}
