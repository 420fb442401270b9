"""The states of derived points are on the disk with the records that were made from them, and never without."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from derived import MACHINE, SECOND, START, Bench
from hypothesis import given, settings
from hypothesis import strategies as st
from points import register

from drivers.base import Connection, Scan
from gateway.common.clock import Clock
from gateway.model.path import MachinePath
from gateway.pipeline.calculations import Calculations
from gateway.pipeline.derive import MachineDerivation, group_of
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import TrustedTime
from gateway.pipeline.pipeline import Pipeline
from gateway.settings.sections import SMALLEST_SPOOL, SpoolSection
from gateway.spool.calculations import saved_states
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.spool import Spool
from gateway.spool.write_queue import MOST_STATES

if TYPE_CHECKING:
    from gateway.model.reading import NamedScan

MEMORY = Path("/dev/shm")  # noqa: S108 - the tests kill processes, and not the power

KEYS = {"total": "total(x, 100)", "edges": "edges(x > 50)", "time": "time_in(x > 50)", "energy": "integral(x)"}


def encode(seq: int, scans: list[NamedScan]) -> bytes:
    return f"{seq}|{[(scan.time, dict(scan.values)) for scan in scans]!r}".encode()


class Gateway:
    """The flow of one machine from its scans into the spool, that can be killed."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        points = [register("x")]
        bench = Bench(points, **(keys or KEYS))
        self.calculations = Calculations()
        self.spool = Spool(SpoolSection(folder=folder), "edge", None, self.calculations.take_changed)
        statuses = MachineStatuses(Clock())
        group = group_of(MACHINE, Connection(), bench.points)
        statuses.add(MachinePath(*MACHINE.split("/")), bench.groups, group)
        builder = RecordBuilder("topic", encode)
        self.builder = builder

        def put(scan: NamedScan, readings: int) -> None:
            self.spool.put(builder, scan, readings)

        def pipeline(points: Any) -> Pipeline:
            return Pipeline(points, TrustedTime(), statuses, self.spool.ledger, put)

        self.group = bench.groups[0]
        self._pipeline = pipeline(points)
        derivation = MachineDerivation(group, bench.points, pipeline(bench.points).take)
        self.calculations.configure(MACHINE, [derivation])
        self._pipeline.follow = derivation.step(self.group)

    async def open(self) -> None:
        await self.spool.__aenter__()
        self.calculations.restore(self.spool.states)

    def take(self, second: int, value: int) -> None:
        self._pipeline.take(Scan(self.group, START + second * SECOND, [value]))

    async def kill(self) -> None:
        """End without a commit: close the files as the end of a process does."""
        await self.spool._in_thread(self.spool._database.close)  # noqa: SLF001 - nothing else may be written
        self.spool._thread.shutdown()  # noqa: SLF001 - see above


def stored(folder: Path) -> dict[tuple[str, int], Any]:
    """Return all readings in the spool, by point and time."""
    with closing(sqlite3.connect(folder / "edge.spool.db")) as db:
        payloads = [payload for (payload,) in db.execute("select payload from records order by seq")]
    found: dict[tuple[str, int], Any] = {}
    for payload in payloads:
        _, _, scans = payload.decode().partition("|")
        for time, values in eval(scans):  # noqa: S307 - written above
            for name, value in values.items():
                assert (name, time) not in found, "no reading is made twice"
                found[name, time] = value
    return found


async def run(folder: Path, values: list[int], kills: set[int], commits: set[int]) -> dict[tuple[str, int], Any]:
    """Run a gateway over values; it is killed and started again before some of them.

    The machine goes on from the value that was committed last: the readings after it were never sent.
    """
    gateway = Gateway(folder)
    await gateway.open()
    at = committed = 0
    left = set(kills)
    while at < len(values):
        if at in left:
            left.remove(at)
            await gateway.kill()
            gateway = Gateway(folder)
            await gateway.open()
            at = committed
            continue
        gateway.take(at, values[at])
        at += 1
        if at in commits:
            assert await gateway.spool.commit()
            committed = at
    await gateway.spool.commit()
    await gateway.kill()
    return stored(folder)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=25), st.sets(st.integers(1, 24), max_size=4),
    st.sets(st.integers(1, 24), max_size=12),
)  # fmt: skip
def test_a_run_with_kills_gives_the_same_readings_as_one_without(
    values: list[int], kills: set[int], commits: set[int]
) -> None:
    """Totals, counts of edges, times and integrals continue from the state of the last record that may be sent."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        straight = asyncio.run(run(folder / "straight", values, set(), commits))
        killed = asyncio.run(run(folder / "killed", values, kills, commits))
    finally:
        shutil.rmtree(folder)
    assert killed == straight


async def test_a_state_is_not_ahead_of_its_records(tmp_path: Path) -> None:
    """A batch that leaves records in memory has no states of these; they are committed with the last of them."""
    gateway = Gateway(tmp_path)
    await gateway.open()
    gateway.spool._database.limits = type(gateway.spool._database.limits)(SMALLEST_SPOOL)  # noqa: SLF001 - one record a batch
    for second, value in enumerate((60, 10, 60)):
        gateway.take(second, value)
        gateway.spool.close_record(gateway.builder)
        gateway.spool._write_queue.note_states(gateway.spool.next_seq, gateway.calculations.take_changed())  # noqa: SLF001
    queue = gateway.spool._write_queue  # noqa: SLF001 - what the next commits have
    first = queue.next_batch(gateway.spool.ledger.counts(), gateway.spool.next_seq, 1)
    assert [record.seq for record in first.puts] == [1]
    assert b'"edges":["' in first.states[MACHINE]
    assert b"[[true,0]]" in first.states[MACHINE]
    queue.give_back(first, confirms=True)
    whole = queue.next_batch(gateway.spool.ledger.counts(), gateway.spool.next_seq, 10**6)
    assert [record.seq for record in whole.puts] == [1, 2, 3]
    assert b"[[true,1]]" in whole.states[MACHINE]
    await gateway.kill()


async def test_a_batch_ends_where_a_state_is_known(tmp_path: Path) -> None:
    """Of three records that belong to one state, two alone are not committed with it."""
    gateway = Gateway(tmp_path)
    await gateway.open()
    queue = gateway.spool._write_queue  # noqa: SLF001 - see above
    for second in range(4):
        gateway.take(second, second)
        gateway.spool.close_record(gateway.builder)
        if second in {0, 3}:
            queue.note_states(gateway.spool.next_seq, gateway.calculations.take_changed())
    size = sum(len(record.payload) for record in queue.puts[:3])
    batch = queue.next_batch(gateway.spool.ledger.counts(), gateway.spool.next_seq, size)
    assert [record.seq for record in batch.puts] == [1]
    batch = queue.next_batch(gateway.spool.ledger.counts(), gateway.spool.next_seq, size)
    assert [record.seq for record in batch.puts] == [2, 3, 4]
    assert list(batch.states) == [MACHINE]
    await gateway.kill()


async def test_states_that_wait_for_a_disk_are_bounded(tmp_path: Path) -> None:
    """During an outage of hours each attempt has new states; the last of them, and some between, are enough."""
    gateway = Gateway(tmp_path)
    await gateway.open()
    queue = gateway.spool._write_queue  # noqa: SLF001 - see above
    for number in range(1, 1001):
        queue.note_states(number, {MACHINE: b"%d" % number, f"m-{number}": b"%d" % number})
    assert len(queue._states) <= MOST_STATES  # noqa: SLF001 - see above
    batch = queue.next_batch(gateway.spool.ledger.counts(), 1001, 10**6)
    assert batch.states == {MACHINE: b"1000"} | {f"m-{number}": b"%d" % number for number in range(1, 1001)}
    await gateway.kill()


async def test_states_survive_a_damaged_database(tmp_path: Path) -> None:
    """It is built again from its records; the states that can be read are kept."""
    gateway = Gateway(tmp_path)
    await gateway.open()
    for second, value in enumerate((10, 60, 10, 60)):
        gateway.take(second, value)
    await gateway.spool.commit()
    await gateway.kill()
    with closing(sqlite3.connect(tmp_path / "edge.spool.db")) as db:
        db.execute("update records set head = head + 1")
        db.commit()
    again = Gateway(tmp_path)
    await again.open()
    again.take(4, 10)
    again.take(5, 60)
    await again.spool.commit()
    await again.kill()
    assert stored(tmp_path)["edges", START + 5 * SECOND] == 3
    assert b"[[true,3]]" in saved_states(tmp_path, "edge")[MACHINE]


async def test_another_worker_reads_the_states(tmp_path: Path) -> None:
    """A spool that is not there, or damaged, has none."""
    assert saved_states(tmp_path, "edge") == {}
    gateway = Gateway(tmp_path)
    async with gateway.spool:
        gateway.take(0, 60)
        committing = asyncio.create_task(gateway.spool.run())
        await gateway.spool.flush()
        assert list(saved_states(tmp_path, "edge")) == [MACHINE]
        committing.cancel()
    (tmp_path / "edge.spool.db").write_bytes(b"x" * 10_000)
    assert saved_states(tmp_path, "edge") == {}


async def test_states_need_no_record(tmp_path: Path) -> None:
    """A state that changed is saved soon, though every reading was unchanged and none was put."""
    gateway = Gateway(tmp_path, n={"expression": "edges(x > 50)", "on_change": True})
    async with gateway.spool:
        gateway.take(0, 10)
        await gateway.spool.commit()
        before = saved_states(tmp_path, "edge")[MACHINE]
        gateway.take(1, 60)
        gateway.spool._open_builders.clear()  # noqa: SLF001 - as if nothing was put
        assert await gateway.spool.commit()
        assert saved_states(tmp_path, "edge")[MACHINE] != before


async def test_an_older_database_has_no_states(tmp_path: Path) -> None:
    """Its schema is the same, so that an older version can read this spool as well."""
    gateway = Gateway(tmp_path)
    async with gateway.spool:
        gateway.take(0, 10)
    with closing(sqlite3.connect(tmp_path / "edge.spool.db")) as db:
        assert [row for (row,) in db.execute("select id from state order by id")] == [1, 16]
        db.execute("delete from state where id > 1")
        db.commit()
    again = Gateway(tmp_path)
    async with again.spool:
        assert again.spool.states == {}


def test_the_ledger_counts_derived_readings() -> None:
    """They are acquired as all readings are, so the ledger accounts for each."""

    async def story() -> None:
        with tempfile.TemporaryDirectory() as folder:
            gateway = Gateway(Path(folder))
            async with gateway.spool:
                gateway.take(0, 10)
                assert gateway.spool.ledger.acquired == gateway.spool.ledger.pending == 1 + len(KEYS)

    asyncio.run(story())


@pytest.mark.parametrize("name", ["x", "machine/with/levels"])
def test_states_have_their_names(name: str, tmp_path: Path) -> None:
    """A state belongs to the machine that it is of, also where several machines have one."""

    async def story() -> None:
        changed: list[dict[str, bytes]] = [{name: b"1", "other": b"2"}, {"other": b"3\n4"}]
        async with Spool(
            SpoolSection(folder=tmp_path), "edge", None, lambda: changed.pop(0) if changed else {}
        ) as spool:
            await spool.commit()
            await spool.commit()
        async with Spool(SpoolSection(folder=tmp_path), "edge") as spool:
            assert spool.states == {name: b"1", "other": b"3\n4"}

    asyncio.run(story())
