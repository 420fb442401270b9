"""The contract of a store.

StoreError
├── Unavailable   write the same batch again later; none of it counts as written
└── Rejected      some rows are refused permanently; all others of the batch are written
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from gateway.stores.buckets import columns_of, reduce_readings
from gateway.stores.series import id_of
from gateway.stores.tables import TABLES, TableRow, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from types import TracebackType

    from gateway.common.setting_types import Section
    from gateway.model.metadata import MachineMeta
    from gateway.model.path import MachinePath
    from gateway.model.reading import NamedScan, Reading
    from gateway.stores.buckets import Bucket, BucketColumns
    from gateway.stores.series import Series
    from gateway.stores.tables import Cell

FIRST_TIME, END_OF_TIME = -(2**62), 2**62
"""Times before and after every reading."""

CHECK_EVERY = 256
"""Readings, or buckets, between two checks of a query."""

T = TypeVar("T")


def checked(items: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    """Yield items, and call `check` now and then; an error that it raises ends the query."""
    for number, item in enumerate(items):
        if number % CHECK_EVERY == 0:
            check()
        yield item


class MachineScan(NamedTuple):
    """A scan to be written. `record` is the position in the batch of the record that it came with."""

    path: MachinePath
    meta: MachineMeta
    scan: NamedScan
    record: int


class Refusal(NamedTuple):
    """Readings that a store does not store: `record` as in `MachineScan`, the row, and the store's message.

    `kind` is why: `refused` by the store, `expired` (older than its retention), `ignored` (a store that answers
    success drops such rows), or `not_writable` (no row of the store can hold its name or value).
    """

    record: int
    readings: int
    row: str
    message: str
    kind: str = "refused"


class StoreError(Exception):
    """Base of the errors of a store."""


class Unavailable(StoreError):
    """The store can't be reached, is busy, or is set up wrongly: write the same batch again later."""


class Rejected(StoreError):
    """The store refuses some rows permanently; the rest of the batch is written."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__(f"{sum(refusal.readings for refusal in refusals)} readings refused: {refusals[0].message}")


class Store(ABC):
    """Writes readings to one place. All methods are called from one thread, never two at once.

    A batch is written as a whole, or the store raises. Writing the same batch again changes nothing: a reading is
    identified by its machine, point and time. A store that can also writes the rows that `tables.table_rows` finds in
    the batch into tables of their own, as durable and as idempotent as the readings.
    """

    durable_after: float = 0.0
    """Seconds after the return of `write` in which a kill or a power cut may still lose the readings.

    Known once the store is checked. A batch counts as stored when they have passed and `instance` is the same as
    before the write; else the batch is written again.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Counts of rows that the store could not keep as written, for the report: `rows_ignored`, `scans_merged`,
        `contents_unreadable`.
        """

    @abstractmethod
    def open(self) -> None:
        """Connect, and create missing files or tables. Raises `Unavailable` or `MissingExtra`."""

    def check(self) -> None:  # noqa: B027 - most stores have nothing to check
        """Check, before writing, that the open store is configured to keep these promises.

        Raises `Unavailable` with the setting to change.
        """

    def instance(self) -> str | None:
        """Return an identifier of the store's server process, which changes at a restart; used with `durable_after`.

        None while the process is too young to be identified: batches written until then are written again.
        Raises `Unavailable`.
        """
        return ""

    @abstractmethod
    def write(self, batch: Sequence[MachineScan]) -> None:
        """Write every reading of the batch; when this returns they are durable, or will be `durable_after` later.

        Raises `Unavailable` or `Rejected`.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection or file."""

    # -- reading: between `open_for_query` (or `open`) and `close` --

    def open_for_query(self, templates: Collection[str] = ()) -> None:  # noqa: ARG002 - for stores that need it
        """Connect for reading alone, and create nothing. Raises `Unavailable`, also where there is no store yet.

        `templates` are names of templates, for a store that joins them with the names of points.
        """
        self.open()

    def series(self, pattern: str = "*") -> list[Series]:  # noqa: ARG002 - for stores that can
        """Return the series whose `path/point` matches a glob, in the order of their names.

        This and the methods below raise `StoreError` where the store can't be read, and `Unavailable`.
        """
        raise StoreError(f"{type(self).__name__} can only be written to; query it with its own tools")

    def range(
        self, series: Sequence[Series], since: int, until: int, *, newest_first: bool = False
    ) -> Iterator[Reading]:  # fmt: skip
        """Yield the readings of series from `since` to before `until`, in the order of their times, as they are read.

        Times are in microseconds since the epoch. Memory is bounded, however many readings there are.
        """
        del series, since, until, newest_first
        raise StoreError(f"{type(self).__name__} can only be written to; query it with its own tools")

    def newest(self, series: Sequence[Series]) -> list[Reading]:
        """Return the last reading of each series that has any, in the order of `series`."""
        missing, found = {one.id for one in series}, {}
        for reading in self.range(series, FIRST_TIME, END_OF_TIME, newest_first=True):
            if not missing:
                break
            if id_of(reading) in missing:
                missing.discard(id_of(reading))
                found[id_of(reading)] = reading
        return [found[one.id] for one in series if one.id in found]

    def reduced(
        self, series: Sequence[Series], since: int, until: int, width: int, *, good: bool = False
    ) -> Iterator[Bucket]:  # fmt: skip
        """Yield the buckets of a range by their starts, then in the order of `series`; see `buckets.py`.

        Only readings from `since` to before `until` count, and with `good` only those of good quality. `width` is in
        microseconds; `width_of` returns it for a number of buckets.
        """
        yield from reduce_readings(self.range(series, since, until), series, width, good=good)

    def reduced_columns(
        self, series: Sequence[Series], since: int, until: int, width: int, check: Callable[[], None] = lambda: None
    ) -> list[BucketColumns]:
        """Return the buckets of `reduced` as columns, for each of `series` in their order.

        `check` is called now and then; an error that it raises ends the query.
        """
        return columns_of(checked(self.reduced(series, since, until, width), check), series)

    def rows(
        self, content: str, pattern: str, since: int, until: int, *, newest_first: bool = False
    ) -> Iterator[TableRow]:  # fmt: skip
        """Yield the rows of a table of `tables.py`, in the order of their times, as they are read.

        `content` is the key of the table. `pattern` is a glob for `path/point`; it chooses points of this content
        alone. A store without such tables reads the readings, which have the same content.
        """
        table = TABLES[content]
        for one in self.range(self.series(pattern), since, until, newest_first=newest_first):
            cells = table.cells(one.value) if isinstance(one.value, str) else None
            if cells is not None:
                yield TableRow(table, one.path, one.point, one.time, cells)

    def lookup(
        self,
        content: str,
        column: str,
        values: Collection[Cell],
        entries: str = "",
        pattern: str = "*",
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[TableRow]:
        """Yield the rows of a table with one of some values in a column, in no order.

        The table is that of `content`, or of its list `entries`. The column is one that is `looked_up`, or `time`.
        `pattern` is a glob for `path/point`, for a store without an index: it looks at all readings of these points.
        `check` is called now and then; what it raises ends the look-up.
        """
        table, wanted = table_of(content, entries), set(values)
        times = [value for value in wanted if isinstance(value, int)] if column == "time" else []
        since, until = (min(times), max(times) + 1) if times else (FIRST_TIME, END_OF_TIME)
        at = next((i for i, one in enumerate(table.columns) if one.name == column), None)
        series = [one for one in self.series(pattern) if one.type in {"json", "string", ""}]
        for one in checked(self.range(series, since, until), check):
            if not isinstance(one.value, str) or (times and one.time not in wanted):
                continue
            for of, cells in TABLES[content].all_cells(one.value):
                if of is table and (at is None or cells[at] in wanted):
                    yield TableRow(table, one.path, one.point, one.time, cells)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store: its configuration section, and its constructor."""

    name: str
    settings: type[Section]
    make: Callable[[Any], Store]
