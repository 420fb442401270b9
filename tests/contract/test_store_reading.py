"""Reading out of every store there is: series, ranges, the newest readings, and buckets."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from processes import until
from read_back import InfluxTarget, SqliteTarget, Target, VictoriaMetricsTarget, exactly

from drivers.base import Quality
from gateway.model.metadata import MachineMeta
from gateway.model.reading import NamedScan, Reading
from gateway.stores import influxql, metricsql, sqlite_reader, windows
from gateway.stores.base import END_OF_TIME, FIRST_TIME, MachineScan, Store, StoreError
from gateway.stores.buckets import MINUTE, QUARTER, SECOND, Bucket, reduce_readings, width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from servers import VictoriaMetrics

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.stores.buckets import BucketColumns
    from gateway.stores.series import Series

TIME = 1_764_000_000_123_000

META = MachineMeta(
    "curing-press",
    {"pressure": "float", "temperature": "float", "cycles": "int", "closed": "bool", "recipe": "string"},
    {"pressure": "bar", "temperature": "Cel"},
)


def scan(path: MachinePath, at: int = TIME, **values: Value) -> MachineScan:
    return MachineScan(path, META, NamedScan(at, values), 0)


def written(target: Target, batch: Sequence[MachineScan]) -> list[Reading]:
    """Write scans, and return their readings as the store keeps them, by time and name."""
    with target.store() as store:
        store.write(batch)
    if batch:
        target.settle()
    found = [reading for one in batch for reading in one.scan.readings(one.path, dict(one.meta.units))]
    kept = map(target.as_held, found)
    return sorted(kept, key=lambda one: (one.time, one.path, one.point))


def ordered(readings: Iterable[Reading]) -> list[Reading]:
    """Put readings of one time in the order of their names."""
    return sorted(readings, key=lambda one: (one.time, one.path, one.point))


def own(store: Store, press: MachinePath, pattern: str = "*") -> list[Series]:
    """Return the series of a test: some servers are shared."""
    return [one for one in store.series(pattern) if one.id.path.enterprise == press.enterprise]


def everything(store: Store, press: MachinePath, pattern: str = "*") -> list[Reading]:
    return list(store.range(own(store, press, pattern), FIRST_TIME, END_OF_TIME))


def mixed(press: MachinePath, count: int = 400, seed: int = 1) -> list[MachineScan]:
    """Return scans of two machines over hours, with gaps, faults, and all types."""
    chosen = random.Random(seed)  # noqa: S311 - to be repeated
    batch, at = [], TIME
    for number in range(count):
        at += chosen.choice([1_000_000, 1_000_000, 17_000_000, 400_000_000])
        one = scan(press._replace(machine=f"press-0{number % 2 + 1}"), at)
        values: dict[str, Value] = {
            "pressure": chosen.randint(-1000, 1000) / 8, "temperature": float(chosen.randint(0, 200)),
            "cycles": number, "closed": chosen.random() < 0.5, "recipe": f"R-{chosen.randint(1, 3)}",
        }  # fmt: skip
        for name, value in values.items():
            fate = chosen.random()
            if fate < 0.1:
                one.scan.bad[name] = "no_response"
            elif fate < 0.9:
                one.scan.values[name] = value
                if fate < 0.2:
                    one.scan.uncertain[name] = "out_of_range"
        batch.append(one)
    return batch


# -- series --


def test_series_are_the_points_with_their_units(target: Target, press: MachinePath) -> None:
    """A page can offer them without reading all readings."""
    one = scan(press, pressure=16.0, cycles=7, recipe="R-1")
    one.scan.bad["temperature"] = "refused"
    written(target, [one, scan(press._replace(machine="press-02"), pressure=1.0)])
    with target.reading() as store:
        found = [(series.id.path.machine, series.id.point, series.id.unit) for series in own(store, press)]
        some = [str(series.id).rpartition("/")[2] for series in own(store, press, "press-01/*e*")]
    assert found == [
        ("press-01", "cycles", ""), ("press-01", "pressure", "bar"), ("press-01", "recipe", ""),
        ("press-01", "temperature", "Cel"), ("press-02", "pressure", "bar"),
    ]  # fmt: skip
    assert some == ["cycles", "pressure", "recipe", "temperature"]


def test_a_point_whose_unit_was_changed_is_two_series(target: Target, press: MachinePath) -> None:
    """Bar and kilopascal have no common mean."""
    changed = MachineMeta("curing-press", META.types, META.units | {"pressure": "kPa"})
    later = MachineScan(press, changed, NamedScan(TIME + SECOND, {"pressure": 1600.0}), 0)
    written(target, [scan(press, pressure=16.0), later])
    with target.reading() as store:
        series = own(store, press)
        assert [(one.id.point, one.id.unit) for one in series] == [("pressure", "bar"), ("pressure", "kPa")]
        newest = store.newest(series)
        buckets = list(store.reduced(series, FIRST_TIME, END_OF_TIME, QUARTER))
    assert [(one.value, one.unit) for one in newest] == [(16.0, "bar"), (1600.0, "kPa")]
    assert [(one.series.id.unit, one.mean) for one in buckets] == [("bar", 16.0), ("kPa", 1600.0)]


def test_an_empty_store_has_nothing(target: Target, press: MachinePath) -> None:
    written(target, [])
    with target.reading() as store:
        assert own(store, press) == []
        assert everything(store, press) == []
        assert store.newest([]) == []
        assert list(store.reduced([], FIRST_TIME, END_OF_TIME, MINUTE)) == []


async def test_victoria_metrics_lists_a_machine_that_it_indexed_by_itself(
    victoria_metrics: VictoriaMetrics, press: MachinePath
) -> None:
    """Its flusher leaves the result of each selector as it was for up to 10 s; `settle` gets it renewed."""
    target = VictoriaMetricsTarget(victoria_metrics, press.enterprise, "curing-press")
    with target.reading() as store:
        assert not own(store, press)
    with target.store() as store:
        store.write([scan(press, pressure=1.5)])
    looks = itertools.count()

    def indexed() -> bytes:
        selector = f'{{enterprise="{press.enterprise}",machine!="look-{next(looks)}"}}'  # each unknown to its cache
        return victoria_metrics.request("GET", "/api/v1/export", **{"match[]": selector})

    await until(indexed, "the machine is in the index")
    target.settle()
    with target.reading() as store:
        assert [one.id.point for one in own(store, press)] == ["pressure"]


# -- ranges --


def test_a_range_has_all_readings_in_the_order_of_their_times(target: Target, press: MachinePath) -> None:
    kept = written(target, mixed(press))
    with target.reading() as store:
        forwards = everything(store, press)
        backwards = list(store.range(own(store, press), FIRST_TIME, END_OF_TIME, newest_first=True))
    assert [one.time for one in forwards] == sorted(one.time for one in kept)
    assert [one.time for one in backwards] == [one.time for one in reversed(forwards)]
    assert exactly(forwards) == exactly(backwards) == exactly(kept)


def test_a_range_ends_before_its_end(target: Target, press: MachinePath) -> None:
    """Two ranges, one after the other, have each reading once."""
    written(target, [scan(press, TIME + n * SECOND, cycles=n) for n in range(10)])
    with target.reading() as store:
        series = own(store, press)
        parts = [
            [one.value for one in store.range(series, TIME + a * SECOND, TIME + b * SECOND)]
            for a, b in ((0, 3), (3, 9), (9, 10), (5, 5), (10, 20))
        ]
    assert parts == [[0, 1, 2], [3, 4, 5, 6, 7, 8], [9], [], []]


def test_a_range_has_the_chosen_series_alone(target: Target, press: MachinePath) -> None:
    kept = written(target, mixed(press, 40))
    with target.reading() as store:
        found = everything(store, press, "press-02/[pr]*")
    wanted = [one for one in kept if one.path.machine == "press-02" and one.point in {"pressure", "recipe"}]
    assert exactly(found) == exactly(wanted)


def test_many_readings_come_in_parts(
    target: Target, press: MachinePath, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Memory is bounded, however long the range is."""
    monkeypatch.setattr(windows, "MAX_WINDOW", 20_000)
    for module in (influxql, metricsql):
        monkeypatch.setattr(module, "MAX_WINDOW", 20_000)
    monkeypatch.setattr(sqlite_reader, "_PAGE", 7)
    kept = written(target, mixed(press, 300))
    with target.reading() as store:
        forwards = everything(store, press)
        backwards = list(store.range(own(store, press), FIRST_TIME, END_OF_TIME, newest_first=True))
        newest = store.newest(own(store, press))
    assert exactly(forwards) == exactly(backwards) == exactly(kept)
    assert len(newest) == 10


# -- the newest --


def test_the_newest_reading_of_each_point_however_old_it_is(target: Target, press: MachinePath) -> None:
    """A recipe that was set yesterday is still the recipe."""
    batch = [
        scan(press, TIME - 90_000 * SECOND, recipe="R-1"), scan(press, TIME - 5 * SECOND, pressure=1.0, cycles=1),
        scan(press, TIME, pressure=2.0),
    ]  # fmt: skip
    batch[2].scan.bad["cycles"] = "no_response"
    kept = {one.point: one for one in written(target, batch)}
    with target.reading() as store:
        series = own(store, press)
        found = store.newest(series)
        some = store.newest([one for one in series if one.id.point == "recipe"])
    assert exactly(found) == exactly([kept["cycles"], kept["pressure"], kept["recipe"]])
    assert {one.point: one.value for one in found}["cycles"] is None
    assert [one.point for one in found] == ["cycles", "pressure", "recipe"]
    assert exactly(some) == exactly([kept["recipe"]])


# -- buckets --


def same(found: Iterable[Bucket], wanted: Iterable[Bucket]) -> None:
    """Compare buckets; sums of floats may differ in their last digits."""

    def approximate(bucket: Bucket) -> tuple[object, ...]:
        return tuple(
            pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            for value in (bucket.series.id, *bucket[1:], bucket.mean, bucket.quality)
        )

    listed = list(found)
    expected = [approximate(bucket) for bucket in wanted]
    assert [(bucket.series.id, *bucket[1:], bucket.mean, bucket.quality) for bucket in listed] == expected


def buckets_of(series: Sequence[Series], columns: Sequence[BucketColumns]) -> Iterator[Bucket]:
    for one, own in zip(series, columns, strict=True):
        yield from (Bucket(one, *row) for row in zip(*own, strict=True))


@pytest.mark.parametrize("good", [False, True])
@pytest.mark.parametrize("width", [SECOND, 7 * SECOND, MINUTE, 11 * MINUTE, QUARTER, 4 * QUARTER, 86_400 * SECOND])
def test_buckets_are_those_of_the_readings(
    target: Target, press: MachinePath, width: int, *, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store computes them, and nobody can see the difference but by the clock."""
    for module in (sqlite_reader, influxql, metricsql):
        monkeypatch.setattr(module, "MAX_BUCKETS", 2_000)
    kept = written(target, mixed(press, 120, seed=width))
    with target.reading() as store:
        series = own(store, press)
        for since, until in ((FIRST_TIME, END_OF_TIME), (TIME + 50 * SECOND + 1_000, TIME + 5_000 * SECOND + 7_000)):
            inside = [one for one in kept if since <= one.time < until]
            wanted = list(reduce_readings(inside, series, width, good=good))
            same(store.reduced(series, since, until, width, good=good), wanted)
            assert wanted
            if not good:
                found = store.reduced_columns(series, since, until, width)
                same(buckets_of(series, found), sorted(wanted, key=lambda one: series.index(one.series)))


def test_a_query_for_columns_can_be_ended(target: Target, press: MachinePath) -> None:
    """Nobody waits for the chart any more."""
    written(target, [scan(press, pressure=1.0)])

    def end() -> None:
        raise KeyError("nobody waits")

    with target.reading() as store:
        series = own(store, press)
        assert [len(one.start) for one in store.reduced_columns(series, TIME, TIME + SECOND, SECOND)] == [1]
        with pytest.raises(KeyError, match="nobody waits"):
            store.reduced_columns(series, TIME, TIME + SECOND, SECOND, end)


def test_extremes_and_gaps_stay(target: Target, press: MachinePath) -> None:
    """A peak of a second must not disappear in a picture of a day, and a gap must not be filled."""
    begin = TIME // MINUTE * MINUTE
    batch = [scan(press, begin + n * SECOND, pressure=10.0) for n in range(60)]
    batch[30].scan.values["pressure"] = 99.5
    batch += [scan(press, begin + 5 * MINUTE, pressure=-3.0)]
    written(target, batch)
    with target.reading() as store:
        found = list(store.reduced(own(store, press), begin, begin + 10 * MINUTE, MINUTE))
    assert [(one.start - begin, one.values, one.min, one.max) for one in found] == [
        (0, 60, 10.0, 99.5), (5 * MINUTE, 1, -3.0, -3.0),
    ]  # fmt: skip


def test_a_bucket_has_the_worst_quality(target: Target, press: MachinePath) -> None:
    begin = TIME // MINUTE * MINUTE
    batch = [scan(press, begin + n * MINUTE + k * SECOND, pressure=1.0) for n in range(3) for k in range(3)]
    batch[4].scan.uncertain["pressure"] = "stale"
    del batch[7].scan.values["pressure"]
    batch[7].scan.bad["pressure"] = "no_response"
    bad = scan(press, begin + 3 * MINUTE)
    bad.scan.bad["pressure"] = "refused"
    written(target, [*batch, bad])
    with target.reading() as store:
        found = list(store.reduced(own(store, press), begin, begin + 5 * MINUTE, MINUTE))
        good = list(store.reduced(own(store, press), begin, begin + 5 * MINUTE, MINUTE, good=True))
    assert [(one.quality, one.values, one.uncertain, one.bad) for one in found] == [
        (Quality.GOOD, 3, 0, 0), (Quality.UNCERTAIN, 3, 1, 0), (Quality.BAD, 2, 0, 1), (Quality.BAD, 0, 0, 1),
    ]  # fmt: skip
    assert [one.values for one in good] == [3, 2, 2]
    assert found[3].mean is found[3].min is found[3].last is None


def test_a_number_of_buckets_is_a_width() -> None:
    """Widths are those that stores keep, where that costs little."""
    day = 86_400 * SECOND
    widths = [width_of(0, span, 1000) for span in (30 * day, 14 * day, day, 3600 * SECOND, 600 * SECOND, 1)]
    assert widths == [45 * MINUTE, 30 * MINUTE, 2 * MINUTE, 3_600_000, 600_000, 1000]
    assert all(span / width_of(0, span, 1000) <= 1000 for span in range(1, 90 * day, 977 * day // 1000))


def test_a_store_that_can_only_be_written_to_says_so() -> None:
    class WriteOnly(Store):
        def open(self) -> None: ...

        def write(self, batch: Sequence[MachineScan]) -> None: ...

        def close(self) -> None: ...

    for read in (
        lambda store: store.series(),
        lambda store: list(store.range([], 0, 1)),
        lambda store: list(store.reduced([], 0, 1, 1)),
        lambda store: store.reduced_columns([], 0, 1, 1),
        lambda store: store.newest([]),
    ):
        with pytest.raises(StoreError, match="can only be written to"):
            read(WriteOnly())


def test_reading_creates_nothing(target: Target) -> None:
    """A look at a store with a wrong name must not make one of that name."""
    if isinstance(target, SqliteTarget):
        with pytest.raises(StoreError, match="there is no store yet"), target.reading():
            pass
        assert not target.file.parent.exists()
    elif isinstance(target, InfluxTarget):
        entry = target.entry["influxdb"]
        entry["database"] = f"{entry['database']}-other"
        with target.reading() as store, pytest.raises(StoreError, match="database not found"):
            store.series()
    else:
        assert isinstance(target, VictoriaMetricsTarget)
        with target.reading() as store:
            assert not store.series(f"{target.server.port}-nothing/*")
