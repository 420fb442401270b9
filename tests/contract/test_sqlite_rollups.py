"""The buckets that the embedded store keeps agree with its samples, whatever happens."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from processes import until

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores import sqlite, sqlite_reader, sqlite_rollups
from gateway.stores.base import END_OF_TIME, FIRST_TIME, MachineScan, Unavailable
from gateway.stores.buckets import MINUTE, QUARTER, SECOND, reduce_readings
from gateway.stores.sqlite import SqliteSettings, SqliteStore
from gateway.stores.sqlite_rollups import BLOCK, roll_up

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Value

BEGIN = 1_764_000_000_000_000 // BLOCK * BLOCK

META = MachineMeta("press", {"pressure": "float", "count": "int", "recipe": "string"}, {"pressure": "bar"})
PRESS = MachinePath("doublestar", "huangdao", "curing", "curing-1", "press-01")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "readings.db"


def store_at(file: Path, **settings: Any) -> SqliteStore:
    return SqliteStore(SqliteSettings.model_validate({"path": str(file)} | settings))


def scan(at: int, **values: Value) -> MachineScan:
    return MachineScan(PRESS, META, NamedScan(at, values), 0)


def hours(count: int = 3) -> list[MachineScan]:
    """Return a scan every ten seconds."""
    return [
        scan(BEGIN + n * 10 * SECOND, pressure=n / 8, count=n, recipe=f"R-{n // 100}") for n in range(count * 360)
    ]


def marks(file: Path) -> dict[int, int]:
    with closing(sqlite3.connect(file)) as db:
        return dict(db.execute("select block, mark from unrolled").fetchall())


def rows(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        return int(db.execute("select count(*) from rollups").fetchone()[0])


def roll_up_all(file: Path, but: int = 0) -> None:
    """Compute the buckets of all blocks but the newest."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        for block, mark in sorted(marks(file).items())[: -but or None]:
            assert roll_up(db, block, mark)


def assert_buckets_agree(file: Path) -> None:
    """Compare buckets of several widths and ranges with those of the readings."""
    store = store_at(file)
    store.open_for_query()
    with closing(store):
        series = store.series()
        readings = list(store.range(series, FIRST_TIME, END_OF_TIME))
        for since, until in ((FIRST_TIME, END_OF_TIME), (BEGIN + 7 * SECOND, BEGIN + 3 * BLOCK + 11 * SECOND)):
            for width in (MINUTE, 7 * MINUTE, QUARTER, 4 * QUARTER):
                inside = [one for one in readings if since <= one.time < until]
                assert list(store.reduced(series, since, until, width)) == list(
                    reduce_readings(inside, series, width)
                )  # fmt: skip
        last = {(one.path, one.point): one for one in readings}
        assert store.newest(series) == [last[one.id.path, one.id.point] for one in series]
        for one in series:
            times = [reading.time for reading in readings if reading.point == one.id.point]
            assert (one.first, one.last) == (min(times), max(times))


@pytest.mark.parametrize("but", [0, 1, 5, 100])
def test_buckets_agree_with_samples(file: Path, but: int) -> None:
    """A reader combines computed buckets with the samples of marked blocks."""
    batch = hours()
    batch[5].scan.uncertain["count"] = "stale"
    batch[400].scan.bad["pressure"] = batch[401].scan.bad["pressure"] = "no_response"
    for number in (400, 401):
        del batch[number].scan.values["pressure"]
    with store_at(file) as store:
        store.write(batch)
    roll_up_all(file, but)
    assert len(marks(file)) == min(but, 12)
    assert_buckets_agree(file)


@pytest.mark.parametrize("most", [1, 7, 100, 50_000])
def test_buckets_that_are_computed_need_no_samples(file: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart of many points must not read all samples of each of its parts."""
    monkeypatch.setattr(sqlite_reader, "MAX_BUCKETS", most)
    with store_at(file) as store:
        store.write([scan(BEGIN + n * 10 * SECOND, pressure=n / 8, count=n) for n in range(3 * 360)])
        roll_up_all(file)
        series = store.series()
        readings = list(store.range(series, FIRST_TIME, END_OF_TIME))
        with closing(sqlite3.connect(file)) as db:
            db.execute("delete from samples where time > ? and time < ?", (BEGIN, readings[-1].time))
            db.commit()
        for width in (MINUTE, 7 * MINUTE, QUARTER, 4 * QUARTER):
            wanted = [
                one for one in reduce_readings(readings, series, width) if one.start + width < readings[-1].time
            ]
            found = list(store.reduced(series, BEGIN, readings[-1].time, width))
            assert found[: len(wanted)] == wanted


def test_a_late_reading_is_in_its_bucket(file: Path) -> None:
    """A backlog of an outage comes hours after the readings around it."""
    with store_at(file) as store:
        store.write(hours())
        roll_up_all(file)
        late = scan(BEGIN + 2 * BLOCK + 5 * SECOND, pressure=1e6)
        late.scan.times["pressure"] = BEGIN + 4 * BLOCK + 5 * SECOND
        store.write([late])
        assert set(marks(file)) == {BEGIN // BLOCK + 2, BEGIN // BLOCK + 4}
        assert_buckets_agree(file)
        roll_up_all(file)
    assert_buckets_agree(file)


def test_a_write_during_the_computation_keeps_the_mark(file: Path) -> None:
    """Otherwise the reading would be in no bucket."""
    with store_at(file) as store:
        store.write(hours(1))
        [block, mark] = min(marks(file).items())
        store.write([scan(BEGIN + SECOND, pressure=99.0)])
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            assert not roll_up(db, block, mark)
        assert block in marks(file)
    assert_buckets_agree(file)


def test_a_repeated_write_changes_no_bucket(file: Path) -> None:
    with store_at(file) as store:
        store.write(hours(1))
        roll_up_all(file)
        store.write(hours(1))
        assert_buckets_agree(file)
        roll_up_all(file)
    assert_buckets_agree(file)


def test_deleted_readings_are_in_no_bucket(file: Path) -> None:
    """A chart must not show what the file no longer has."""
    now = time.time_ns() // 1000
    with store_at(file, keep="1h") as store:
        store.write([scan(now - n * 60 * SECOND, count=n) for n in range(300)])
        roll_up_all(file)
        store.prune()
        assert_buckets_agree(file)
        roll_up_all(file)
        assert_buckets_agree(file)
        oldest = store.series()[0].first
    assert oldest is not None
    assert now - 3600 * SECOND - BLOCK < oldest <= now - 3600 * SECOND


def test_buckets_agree_after_the_oldest_made_room(file: Path) -> None:
    with store_at(file, max_size="256KiB") as store:
        store.write([scan(BEGIN + n * SECOND, count=n, recipe="x" * 200) for n in range(3_000)])
        roll_up_all(file)
        store.prune()
        first = store.series()[0].first
        assert first is not None
        assert first > BEGIN
        assert_buckets_agree(file)
        roll_up_all(file)
    assert_buckets_agree(file)


async def test_blocks_are_computed_while_others_are_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody calls a function for it on an edge box."""
    monkeypatch.setattr(sqlite_rollups, "LOOK_EVERY", 0.01)
    with store_at(file) as store:
        store.write(hours())
        await until(lambda: not marks(file), "all blocks are computed")
        assert rows(file)
    assert_buckets_agree(file)


def test_a_store_that_is_closed_stops_to_compute(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the service would not end."""
    monkeypatch.setattr(sqlite_rollups, "LOOK_EVERY", 0.0)
    for _ in range(5):
        with store_at(file) as store:
            store.write(hours())
    assert_buckets_agree(file)


# -- files of other releases --


def make_old(file: Path) -> None:
    """Make a file as releases without buckets had it."""
    with closing(sqlite3.connect(file)) as db:
        db.executescript("drop table rollups; drop table unrolled; pragma user_version = 0;")


def test_a_file_of_an_older_release_can_be_read_as_it_is(file: Path) -> None:
    """Only ingest changes a file."""
    with store_at(file) as store:
        store.write(hours())
    make_old(file)
    before = file.read_bytes()
    assert_buckets_agree(file)
    assert file.read_bytes() == before


def test_a_file_of_an_older_release_gets_its_buckets(file: Path) -> None:
    """The readings that it has are worth a fast chart, too."""
    with store_at(file) as store:
        store.write([*hours(), scan(BEGIN - 1000 * BLOCK, pressure=0.5), scan(60 * SECOND, count=1)])
    make_old(file)
    with store_at(file) as store:
        assert len(marks(file)) == 14
        assert_buckets_agree(file)
        roll_up_all(file)
        store.write([scan(BEGIN - 1000 * BLOCK + 1, count=1)])
    assert_buckets_agree(file)
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("pragma user_version").fetchone() == (sqlite.FORMAT,)


def test_a_file_with_readings_of_a_clock_that_was_not_set_alone_gets_its_buckets(file: Path) -> None:
    """They are of 1970, whose first block has the number 0."""
    with store_at(file) as store:
        store.write([scan(60 * SECOND, count=1)])
    make_old(file)
    for _ in range(2):
        with store_at(file):
            assert set(marks(file)) == {0}
    assert_buckets_agree(file)
    roll_up_all(file)
    assert_buckets_agree(file)


def test_readings_of_a_release_that_marks_nothing_are_found(file: Path) -> None:
    """A downgrade for a day, and the upgrade after it, must not hide that day."""
    with store_at(file) as store:
        store.write(hours())
        roll_up_all(file)
    with closing(sqlite3.connect(file)) as db:
        db.execute(
            "insert into samples select place, time + ?, series, value, quality, reason, code from samples",
            (40 * BLOCK,),
        )
        db.commit()
    with store_at(file):
        assert len(marks(file)) == 12
    assert_buckets_agree(file)


def test_a_file_of_a_newer_release_is_left_alone(file: Path) -> None:
    with store_at(file) as store:
        store.write(hours(1))
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"pragma user_version = {sqlite.FORMAT + 1}")
    for way in ("open", "open_for_query"):
        with pytest.raises(Unavailable, match="format 2, and this release knows format 1"):
            getattr(store_at(file), way)()
