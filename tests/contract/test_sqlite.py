"""The embedded store: its view, its retention, and queries of other processes."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from read_back import SqliteTarget

from drivers.base import Quality
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores import sqlite
from gateway.stores.base import END_OF_TIME, MachineScan, StoreError, Unavailable
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drivers.base import Value
    from gateway.model.reading import Reading

TIME = 1_764_000_000_123_456
SECOND, DAY = 1_000_000, 86_400_000_000

META = MachineMeta(
    "press",
    {"pressure": "float", "count": "int", "closed": "bool", "recipe": "string"},
    {"pressure": "bar"},
)
PRESS = MachinePath("doublestar", "huangdao", "curing", "curing-1", "press-01")

READER = """
import sys, pathlib
from gateway.stores.sqlite import SqliteSettings, SqliteStore
with SqliteStore(SqliteSettings(path=pathlib.Path(sys.argv[1]))) as store:
    print(*sorted(reading.value for reading in store.range(store.series(), 0, 2**62)))
"""

WRITER = """
import sys, pathlib
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore
store = SqliteStore(SqliteSettings(path=pathlib.Path(sys.argv[1])))
store.open()
path = MachinePath("e", "s", "a", "l", "m")
for number in range(10_000):
    store.write([MachineScan(path, MachineMeta("t"), NamedScan(number + 1, {"count": number}), 0)])
    print(number, flush=True)
"""


def store_at(file: Path, **settings: Any) -> SqliteStore:
    return SqliteStore(SqliteSettings.model_validate({"path": str(file)} | settings))


def stored(store: SqliteStore, pattern: str = "*", since: int = 0) -> Iterator[Reading]:
    """Yield the readings of matching points, the newest first."""
    return store.range(store.series(pattern), since, END_OF_TIME, newest_first=True)


def scan(at: int = TIME, path: MachinePath = PRESS, meta: MachineMeta = META, **values: Value) -> MachineScan:
    return MachineScan(path, meta, NamedScan(at, values), 0)


def times(file: Path) -> list[int]:
    return sorted(one.reading.time for one in SqliteTarget(file).held())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "readings.db"


# -- the view --


def test_the_view_shows_a_reading_in_plain_words(file: Path) -> None:
    """The sqlite3 shell is enough to query readings; `docs/stores.md` names the columns."""
    one = scan(pressure=16.0, count=7, closed=True, recipe="R-100")
    one.scan.uncertain["count"] = "out_of_range"
    one.scan.bad["mould"] = "refused"
    one.scan.codes["mould"] = "exception 2"
    with store_at(file) as store:
        store.write([one])
        db = sqlite3.connect(file)
        db.row_factory = sqlite3.Row
        rows = {row["point"]: dict(row) for row in db.execute("select * from readings")}
        db.close()
    assert list(rows["pressure"].items()) == [
        ("time", "2025-11-24T16:00:00.123456Z"),
        ("enterprise", "doublestar"), ("site", "huangdao"), ("area", "curing"), ("line", "curing-1"),
        ("machine", "press-01"), ("point", "pressure"), ("value", 16.0), ("unit", "bar"),
        ("quality", "good"), ("reason", None), ("code", None), ("type", "float"),
        ("microseconds", TIME), ("late", 0),
    ]  # fmt: skip
    found = {point: tuple(row[key] for key in ("value", "quality", "reason", "code")) for point, row in rows.items()}
    assert found == {
        "pressure": (16.0, "good", None, None),
        "count": (7, "uncertain", "out_of_range", None),
        "closed": ("true", "good", None, None),
        "recipe": ("R-100", "good", None, None),
        "mould": (None, "bad", "refused", "exception 2"),
    }


def test_a_query_of_the_newest_reads_no_more_than_it_shows(file: Path) -> None:
    """The view orders by `microseconds` as rows lie; by `time`, a text, it would sort gigabytes."""
    with store_at(file) as store:
        store.write([scan(count=1)])
        db = sqlite3.connect(file)
        for query in (
            "select * from readings order by microseconds desc limit 20",
            "select * from readings where machine = 'press-01' and microseconds > 1000 order by microseconds",
        ):
            plan = [row[3] for row in db.execute(f"explain query plan {query}")]
            assert not [step for step in plan if "TEMP B-TREE" in step]
        db.close()


# -- the identity of a reading --


def test_a_reading_is_known_by_machine_point_and_time_alone(file: Path) -> None:
    """It may come again after its unit was configured differently; it is still the same reading."""
    changed = MachineMeta("press", META.types | {"count": "float"}, {"pressure": "kPa"})
    with store_at(file) as store:
        store.write([scan(pressure=16.0, count=7)])
        store.write([scan(pressure=16.0, count=7, meta=changed)])
        store.write([scan(TIME + 1, pressure=1600.0, count=8.0, meta=changed)])
        store.write([scan(TIME + 2, pressure=17.0, count=9)])
    held = {(one.reading.point, one.reading.time): one for one in SqliteTarget(file).held()}
    found = {key: (one.reading.value, one.type, one.reading.unit) for key, one in held.items()}
    assert found == {
        ("pressure", TIME): (16.0, float, "bar"), ("count", TIME): (7, int, ""),
        ("pressure", TIME + 1): (1600.0, float, "kPa"), ("count", TIME + 1): (8.0, float, ""),
        ("pressure", TIME + 2): (17.0, float, "bar"), ("count", TIME + 2): (9, int, ""),
    }  # fmt: skip


# -- pruning --


def test_readings_older_than_keep_are_deleted(file: Path) -> None:
    now = time.time_ns() // 1000
    with store_at(file, keep="7d") as store:
        store.write([scan(now - day * DAY, count=day) for day in range(20)])
        store.prune()
        assert times(file) == sorted(now - day * DAY for day in range(8))


def test_readings_go_while_others_are_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody calls `prune` on an edge box."""
    monkeypatch.setattr(sqlite, "PRUNE_EVERY", 0.0)
    now = time.time_ns() // 1000
    with store_at(file, keep="1h") as store:
        store.write([scan(now, count=2)])
        store.write([scan(now - DAY, count=1)])
    assert times(file) == [now]


def test_a_clock_that_jumps_ahead_deletes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was 30 days ahead for a minute once emptied a store; nor may a restart meanwhile do that."""
    now = time.time_ns() // 1000
    with store_at(file, keep="7d") as store:
        store.write([scan(now - n * DAY, count=n) for n in range(6)])
        monkeypatch.setattr(sqlite, "PRUNE_EVERY", 0.0)  # the clock jumps before it first looks for old readings
        monkeypatch.setattr(time, "time_ns", lambda: (now + 30 * DAY) * 1000)
        store.write([scan(now + 30 * DAY, count=7)])
    with store_at(file, keep="7d") as store:
        store.write([scan(now + 30 * DAY + n * SECOND, count=7) for n in range(1, 5)])
        monkeypatch.undo()
        store.write([scan(now + SECOND, count=8)])
        store.prune()
    assert len([at for at in times(file) if at <= now + SECOND]) == 7


@pytest.mark.parametrize("reference", ["text", b"", 0, -1, 2**62, 1.5])
def test_a_damaged_reference_of_ages_stops_nothing(file: Path, reference: Any) -> None:
    now = time.time_ns() // 1000
    with store_at(file, keep="7d") as store:
        store.write([scan(now - 8 * DAY, count=1)])
        store.prune()
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("update retention set reference = ?", (reference,))
    db.close()
    with store_at(file, keep="7d") as store:
        store.write([scan(now, count=2)])
        store.prune()
        store.write([scan(now + 1, count=3)])
    assert {now, now + 1} <= set(times(file))


def test_a_jump_that_lasts_is_believed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was off for a month goes on to delete readings that are too old."""
    clock = {"monotonic": 0.0}
    monkeypatch.setattr(time, "monotonic", lambda: clock["monotonic"])
    now = time.time_ns() // 1000
    with store_at(file, keep="7d") as store:
        store.write([scan(now - 30 * DAY, count=1)])
        for _ in range(5 * 60):
            clock["monotonic"] += 60.0
            store.write([scan(now, count=2)])
        store.prune()
    assert times(file) == [now]


def test_age_is_not_measured_by_a_clock_that_went_wrong(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is at 2099 for a minute must not delete the week; nor may a reading from 2099 do that."""
    now = time.time_ns() // 1000
    with store_at(file, keep="7d") as store:
        store.write([scan(now - day * DAY, count=day) for day in range(3)])
        monkeypatch.setattr(time, "time_ns", lambda: (now + 70 * 365 * DAY) * 1000)
        store.prune()
        monkeypatch.undo()
        store.write([scan(now + 70 * 365 * DAY, count=9)])
        store.prune()
    assert len(times(file)) == 4


@pytest.mark.parametrize("known", [True, False], ids=["a store that was there", "a new store"])
def test_a_box_without_a_time_deletes_nothing_for_a_reading_of_the_future(
    file: Path, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """Its clock does not say which reading is of the future; after four hours all others were deleted."""
    now, clock = time.time_ns() // 1000, {"monotonic": 0.0}
    if known:
        with store_at(file, keep="7d") as store:
            store.write([scan(now - DAY, count=0)])
    monkeypatch.setattr(time, "monotonic", lambda: clock["monotonic"])
    monkeypatch.setattr(time, "time_ns", lambda: round(clock["monotonic"] * 1e9))
    with store_at(file, keep="7d") as store:
        store.write([scan(now, count=1), scan(now + 7_000 * 365 * DAY, count=2)])
        for minute in range(1, 5 * 60):
            clock["monotonic"] += 60.0
            store.write([scan(now + minute * 60 * SECOND, count=3)])
        store.prune()
    assert len(times(file)) == 5 * 60 + 1 + known


def test_readings_of_a_clock_that_was_not_set_do_not_age(file: Path) -> None:
    """They were acquired, confirmed and marked; a box that had no time yet must not lose them once it has."""
    now, unset = time.time_ns() // 1000, 60 * SECOND
    with store_at(file) as store:
        store.write([scan(unset + n * SECOND, count=n) for n in range(3)])
        store.write([scan(now - 8 * DAY, count=3), scan(now, count=4)])
        store.prune()
    assert times(file) == [unset, unset + SECOND, unset + 2 * SECOND, now]


def test_readings_of_a_clock_that_was_not_set_make_room_first(file: Path) -> None:
    """A reading without an age still takes space, and a box that never gets a time must not fill its disk."""
    size = 2**20
    with store_at(file, max_size=f"{size}B") as store:
        store.write([scan(n * SECOND, recipe="x" * 200, count=n) for n in range(5_000)])
        store.prune()
        alone = times(file)
        store.write([scan(TIME + n * SECOND, recipe="x" * 200, count=n) for n in range(1_000)])
        store.prune()
    assert 2 * 1_000 < len(alone) < 2 * 5_000
    assert alone[-1] == 4_999 * SECOND
    assert {stamp for stamp in times(file) if stamp >= TIME} == {TIME + n * SECOND for n in range(1_000)}
    assert file.stat().st_size <= size


def test_the_file_is_no_larger_than_max_size_and_keeps_the_newest(file: Path) -> None:
    """A full disk stops more than the store."""
    size = 2**20
    many = MachineMeta("many", {f"p{n}": "float" for n in range(50)})
    with store_at(file, max_size=f"{size}B") as store:
        for start in range(0, 1000, 500):
            batch = [
                scan(TIME + n * SECOND, meta=many, **{f"p{i}": n + i / 7 for i in range(50)})
                for n in range(start, start + 500)
            ]
            store.write(batch)
        store.prune()
    assert file.stat().st_size <= size
    left = sorted(set(times(file)))
    assert len(left) < 1000
    assert left == [TIME + n * SECOND for n in range(1000 - len(left), 1000)]
    assert file.stat().st_size > 0.8 * size


def test_a_reading_from_the_future_does_not_crowd_out_the_present(file: Path) -> None:
    """The oldest go first, and how many must not depend on a wrong time."""
    size = 2**20
    far = time.time_ns() // 1000 + 70 * 365 * DAY
    with store_at(file, max_size=f"{size}B") as store:
        store.write([scan(TIME + n * SECOND, recipe="x" * 200, count=n) for n in range(5_000)])
        store.write([scan(far, count=1)])
        store.prune()
    left = sorted(set(times(file)))
    assert left[-1] == far
    assert left[-2] == TIME + 4_999 * SECOND
    assert 3_000 < len(left) < 5_001


# -- query --


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["press-01/count", "press-01/pressure", "press-02/count", "press-02/pressure"]),
        ("press-01/*", ["press-01/count", "press-01/pressure"]),
        ("pressure", ["press-01/pressure", "press-02/pressure"]),
        ("press*", ["press-01/count", "press-01/pressure", "press-02/count", "press-02/pressure"]),
        ("pres*e", ["press-01/pressure", "press-02/pressure"]),
        ("curing-1/*/count", ["press-01/count", "press-02/count"]),
        ("doublestar/huangdao/curing/curing-1/press-02/count", ["press-02/count"]),
        ("press-0[2-9]/count", ["press-02/count"]),
        ("mould", []),
    ],
)
def test_a_pattern_picks_points(file: Path, pattern: str, found: list[str]) -> None:
    with store_at(file) as store:
        for machine in ("press-01", "press-02"):
            store.write([scan(path=PRESS._replace(machine=machine), pressure=1.5, count=2)])
        queried = sorted(f"{one.path.machine}/{one.point}" for one in stored(store, pattern))
    assert queried == found


def test_a_query_gives_the_newest_first_and_no_more_than_asked_for(file: Path) -> None:
    with store_at(file) as store:
        store.write([scan(TIME + n, count=n) for n in range(100)])
        assert [one.value for one in islice(stored(store, "count", TIME), 3)] == [99, 98, 97]
        assert [one.value for one in stored(store, "count", TIME + 98)] == [99, 98]


@pytest.mark.parametrize("late", [False, True])
def test_a_query_gives_readings_as_they_were(file: Path, *, late: bool) -> None:
    one = scan(pressure=16.0, closed=False, count=3, recipe="R")
    one.scan.uncertain["count"] = "stale"
    one.scan.bad["mould"] = "refused"
    one.scan.codes["mould"] = "exception 2"
    one.scan.late = late
    with store_at(file) as store:
        store.write([one])
        queried = {reading.point: reading for reading in stored(store)}
    assert queried == {reading.point: reading for reading in one.scan.readings(PRESS, dict(META.units))}
    assert queried["closed"].value is False
    assert queried["mould"].quality is Quality.BAD


def test_a_file_from_before_late_readings_were_marked_gets_the_mark(file: Path) -> None:
    with store_at(file) as store:
        store.write([scan(TIME, pressure=1.0)])
    db = sqlite3.connect(file)
    db.executescript("drop view readings; create view readings as select quality from samples")
    db.close()
    late = scan(TIME + 1, pressure=2.0)
    late.scan.late = True
    with store_at(file) as store:
        store.write([late])
    assert [(one.reading.value, one.reading.late) for one in SqliteTarget(file).held()] == [(1.0, False), (2.0, True)]


def test_looking_creates_nothing(tmp_path: Path) -> None:
    """A look by root made a store that ingest could not write to."""
    store = store_at(tmp_path / "folder" / "readings.db")
    with pytest.raises(Unavailable, match="there is no store yet"):
        store.open_for_query()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "other.db").touch()
    with pytest.raises(Unavailable, match="is not a store of readings"):
        store_at(tmp_path / "other.db").open_for_query()
    assert [(one.name, one.stat().st_size) for one in tmp_path.iterdir()] == [("other.db", 0)]


def test_a_store_whose_writer_was_killed_can_be_queried(file: Path) -> None:
    """A query still finds the readings in its write-ahead log."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout as output:
        next(output)
        os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    store = store_at(file)
    store.open_for_query()
    assert next(stored(store)).point == "count"
    with pytest.raises(Unavailable, match="readonly"):
        store.check()
    store.close()


def test_a_query_undoes_the_transaction_of_a_killed_process(tmp_path: Path) -> None:
    """A kill while SQLite switches to WAL leaves a rollback journal, which a read-only connection can't apply."""
    begun, killed = tmp_path / "begun.db", tmp_path / "killed.db"
    with store_at(begun) as store:
        store.write([scan(TIME + n, count=n) for n in range(3)])
    db = sqlite3.connect(begun, isolation_level=None)
    for statement in ("pragma journal_mode = delete", "pragma cache_size = 1", "begin", "delete from samples"):
        db.execute(statement)
    db.execute("create table large as select zeroblob(100000)")  # more than the cache: a part is in the file
    for suffix in ("", "-journal"):
        shutil.copy(f"{begun}{suffix}", f"{killed}{suffix}")
    db.close()
    store = store_at(killed)
    store.open_for_query()
    assert [reading.value for reading in stored(store)] == [2, 1, 0]
    store.close()


def test_a_query_of_a_broken_file_says_so(file: Path) -> None:
    store = store_at(file)
    store.open()
    store.close()
    with pytest.raises(StoreError, match=r"readings\.db"):
        list(stored(store))


def test_a_damaged_schema_is_an_error_of_the_store(file: Path) -> None:
    """SQLite quotes the schema, whose bytes are not UTF-8 then: rows were refused for it, and thrown away."""
    with store_at(file) as store:
        store.write([scan(count=1)])
    intact = file.read_bytes()
    begin = intact.index(b"CREATE TABLE series")
    end = intact.index(b"CREATE VIEW readings") + 150
    damaged = [*range(begin, begin + 60), *range(end - 150, end)]
    errors: list[str] = []
    for at in damaged:
        file.write_bytes(intact[:at] + bytes((intact[at] | 0x80,)) + intact[at + 1 :])
        for use in (read, written):
            for other in (file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")):
                other.unlink(missing_ok=True)
            try:
                use(store_at(file))
            except Unavailable as error:
                errors.append(str(error))
    assert all(error.startswith(f"{file}: ") for error in errors)
    assert sum("not UTF-8" in error for error in errors) > len(damaged) / 2, "it quotes the schema"


def read(store: SqliteStore) -> None:
    store.open_for_query()
    try:
        list(stored(store))
        store.series()
    finally:
        store.close()


def written(store: SqliteStore) -> None:
    with store:
        store.check()
        store.write([scan(TIME + 1, count=2)])


# -- others, and mishaps --


def test_others_read_while_one_writes(file: Path) -> None:
    """`lineside query`, a dashboard and a person may all look at once, and nobody sees half a batch."""
    with store_at(file) as store:
        store.write([scan(TIME + n, count=n) for n in range(3)])
        writer = sqlite3.connect(file, isolation_level=None)
        writer.execute("begin immediate")
        writer.execute("update samples set value = value + 100")
        readers = [
            subprocess.Popen([sys.executable, "-c", READER, str(file)], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        assert [reader.communicate()[0].split() for reader in readers] == [["0", "1", "2"]] * 2
        writer.execute("commit")
        writer.close()
        assert sorted(str(one.value) for one in stored(store)) == ["100", "101", "102"]


def test_written_readings_survive_a_kill(file: Path) -> None:
    """When `write` returns, ingest confirms, and the gateway deletes its records."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout as output:
        for line in output:
            last = int(line)
            if last == 20:
                break
        os.kill(writer.pid, signal.SIGKILL)
        last = max([last, *map(int, output.read().split())])
    assert writer.wait() == -signal.SIGKILL
    values = [one.reading.value for one in SqliteTarget(file).held()]
    assert values[: last + 1] == list(range(last + 1))


def test_each_write_is_on_the_disk_when_it_returns(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill shows nothing of a power cut: in WAL mode SQLite syncs each commit only with synchronous=FULL."""
    connect, connections = sqlite3.connect, []

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", connected)
    with store_at(file) as store:
        store.write([scan(count=1)])
        levels = [connections[0].execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert levels == ["wal", 2]


def test_a_folder_that_can_not_be_made_yet_is_worth_another_try(tmp_path: Path) -> None:
    """The disk for it may be mounted late."""
    (tmp_path / "mount").write_text("a file where a folder belongs")
    store = store_at(tmp_path / "mount" / "folder" / "readings.db")
    with pytest.raises(Unavailable, match="mount"):
        store.open()
    (tmp_path / "mount").unlink()
    with store:
        store.write([scan(count=1)])
    assert times(tmp_path / "mount" / "folder" / "readings.db") == [TIME]


def test_a_file_that_is_not_a_database_is_left_alone(file: Path) -> None:
    """It is somebody's, and a spelling mistake in a path must not cost it."""
    file.write_text("shift report\n" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        store_at(file).open()
    assert file.read_text() == "shift report\n" * 100


def test_a_folder_that_goes_and_comes_back_is_followed(tmp_path: Path) -> None:
    """A disk that was away for a moment had the store say from then on that its database was closed."""
    data = tmp_path / "data"
    with store_at(data / "readings.db") as store:
        store.write([scan(TIME, count=1)])
        data.rename(tmp_path / "away")
        data.write_text("")
        for _ in range(2):
            with pytest.raises(Unavailable, match="data"):
                store.write([scan(TIME + 1, count=2)])
        data.unlink()
        (tmp_path / "away").rename(data)
        store.write([scan(TIME + 1, count=2)])
    assert times(data / "readings.db") == [TIME, TIME + 1]


def test_a_locked_file_is_worth_another_try(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with store_at(file) as store:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(Unavailable, match="locked"):
            store.write([scan(count=1)])
        other.execute("rollback")
        other.close()
        store.write([scan(count=1)])
    assert times(file) == [TIME]


def test_a_file_that_can_not_be_written_is_reported_before_there_is_anything_to_lose(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody looked at it as root, and now root owns it. A query works all the same."""
    with store_at(file) as store:
        store.write([scan(count=1)])
    connect = sqlite3.connect

    def read_only(*args: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*args, **options)
        db.execute("pragma query_only = on")  # root, who runs tests in containers, may write to any file
        return db

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with store_at(file) as store:
        with pytest.raises(Unavailable, match=r"readings\.db: attempt to write a readonly database"):
            store.check()
        assert [one.value for one in stored(store, "count")] == [1]


def test_a_journal_that_is_not_wal_is_reported(file: Path) -> None:
    """On a network drive there is no WAL: readers would block writers, and damage is a matter of time."""
    with store_at(file):
        pass
    db = sqlite3.connect(file)
    db.execute("pragma journal_mode = delete")
    db.close()
    with store_at(file) as store, pytest.raises(Unavailable, match="its journal is delete, where wal is needed"):
        store.check()


def test_batches_of_any_size_are_stored_whole(file: Path) -> None:
    """Rows go in statements of many: none may fall between two of them."""
    sizes = [1, 4, 5, 49, 50, 51, 499, 500, 501, 1234]
    names = [f"p{n}" for n in range(max(sizes))]
    meta = MachineMeta("many", dict.fromkeys(names, "float"))
    with store_at(file) as store:
        for number, size in enumerate(sizes):
            values: dict[str, Value] = {name: n if n % 3 else n / 7 for n, name in enumerate(names[:size])}
            store.write([scan(TIME + number, meta=meta, **values)])
    held = SqliteTarget(file).held()
    assert len(held) == sum(sizes)
    assert {one.type for one in held} == {float}
    assert sum(float(one.reading.value or 0) for one in held) == pytest.approx(
        sum(n if n % 3 else n / 7 for size in sizes for n in range(size))
    )


def test_scans_of_ever_other_points_are_stored(file: Path) -> None:
    """Points that are sent on change come in any set."""
    meta = MachineMeta("many", {f"p{n}": "int" for n in range(30)})
    with store_at(file) as store:
        for number in range(200):
            names = [f"p{n}" for n in range(30) if (number * 7919 >> n % 13) & 1]
            store.write([scan(TIME + number, meta=meta, **dict.fromkeys(names, number))])
    held = SqliteTarget(file).held()
    assert len(held) == sum((number * 7919 >> n % 13) & 1 for number in range(200) for n in range(30))
    assert all(one.reading.value == one.reading.time - TIME for one in held)


def test_a_file_that_was_removed_is_made_again(file: Path) -> None:
    """Somebody makes room with rm; SQLite would go on writing where nobody finds it."""
    with store_at(file) as store:
        store.write([scan(count=1)])
        for part in file.parent.glob("readings.db*"):
            part.unlink()
        store.write([scan(TIME + 1, count=2)])
        assert times(file) == [TIME + 1]
        assert [one.value for one in stored(store, "count")] == [2]
