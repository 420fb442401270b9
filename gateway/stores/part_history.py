"""The way of a part through the plant, and the parts that a lot went into, out of the rows of a store.

A pure module: `find` looks rows up, by an index where the store has one. The command `trace` and the page use it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.model.path import MachinePath
    from gateway.stores.tables import Cell, TableRow

CONTENT = "part"
"""The content of the points with the records of parts."""

PATTERN = "*/part*"
"""The points of the records of parts, for a store that looks at readings."""

MOST_LEVELS = 20
"""Levels from a lot to the last part that it went into."""

MOST_USES = 10_000
"""Parts that are looked for."""

MOST_RECORDS = 5_000
"""Records of a serial number: a machine may give all its parts the same."""

MOST_MEMBERS = 50
"""Parts of a lot whose history is shown together."""


class Find(Protocol):
    """Yield the rows with one of some values in a column: of `Store.lookup`."""

    def __call__(
        self, content: str, column: str, values: Collection[Cell], entries: str = "", pattern: str = "*"
    ) -> Iterable[TableRow]: ...


class PartValue(NamedTuple):
    """A captured value: a number, a text (or the label of a number), or the reason why there is none."""

    name: str
    value: float | None
    text: str | None
    unit: str | None
    quality: str | None
    reason: str | None
    code: str | None


class Material(NamedTuple):
    """A lot that went into a part."""

    name: str
    lot: str


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """The work on a part at a machine. Times are in microseconds since the epoch, UTC; `time` is that of the record.

    `run` counts the times that this operation was done on the part, from 1, over all machines.
    """

    path: MachinePath
    point: str
    time: int
    serial: str
    operation: str
    place: str
    began: int | None
    ended: int | None
    result: str | None
    missing: str | None
    lot: str | None
    tool: str | None
    recipe: str | None
    operator: str | None
    curves: tuple[str, ...]
    run: int = 1
    values: tuple[PartValue, ...] = ()
    materials: tuple[Material, ...] = ()

    @property
    def order(self) -> tuple[int, int]:
        """The place in the history of the part."""
        return self.began or self.ended or self.time, self.time


class Use(NamedTuple):
    """A part that a lot went into, `level` 1 directly; `lot` is the lot or part of the level above in it."""

    level: int
    serial: str
    material: str
    lot: str
    operation: str
    path: MachinePath
    time: int


@dataclass(slots=True)
class Uses:
    """All parts that a lot went into, by levels; `cut` says that there are more than were looked for."""

    lot: str
    found: list[Use] = field(default_factory=list)
    cut: bool = False

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the uses by the names of their fields."""
        return [one._asdict() for one in self.found]


def history(find: Find, serial: str) -> list[OperationRecord]:
    """Return the work on a part, in its order; for a lot or a carton that of its parts, one part after another.

    Raises `StoreError` as `find` does.
    """
    rows = list(islice(find(CONTENT, "serial", [serial], pattern=PATTERN), MOST_RECORDS))
    if not rows:
        members = sorted(
            {row.as_dict()["serial"] for row in find(CONTENT, "lot", [serial], pattern=PATTERN)}, key=str
        )
        rows = list(islice(find(CONTENT, "serial", members[:MOST_MEMBERS], pattern=PATTERN), MOST_RECORDS))
    return _numbered(_with_entries(find, rows))


def where_used(find: Find, lot: str, levels: int = MOST_LEVELS, most: int = MOST_USES) -> Uses:
    """Return the parts that a lot, or a part, went into, directly or through others.

    A lot that went into itself ends there: each is looked up once. Raises `StoreError` as `find` does.
    """
    uses = Uses(lot)
    seen = {lot}
    names = [lot, *_lots_of(find, [lot], seen)]
    for level in range(1, levels + 1):
        rows = list(find(CONTENT, "lot", names, "materials", PATTERN)) if names else []
        serials = []
        for row in sorted(rows, key=lambda one: (one.time, one.path, one.point)):
            cells = row.as_dict()
            serial, material, used = (str(cells[key] or "") for key in ("serial", "name", "lot"))
            if len(uses.found) == most:
                uses.cut = True
                return uses
            uses.found.append(Use(level, serial, material, used, str(cells["operation"] or ""), row.path, row.time))
            if serial and serial not in seen:
                seen.add(serial)
                serials.append(serial)
        names = [*serials, *_lots_of(find, serials, seen)]
    uses.cut = bool(names)
    return uses


def _lots_of(find: Find, serials: Collection[str], seen: set[str]) -> list[str]:
    """Return the lots that parts belong to and that were not seen yet."""
    found = []
    for row in find(CONTENT, "serial", serials, pattern=PATTERN) if serials else ():
        lot = row.as_dict()["lot"]
        if isinstance(lot, str) and lot and lot not in seen:
            seen.add(lot)
            found.append(lot)
    return found


def _with_entries(find: Find, rows: list[TableRow]) -> list[OperationRecord]:
    """Return records with their values and materials."""
    times = [row.time for row in rows]
    values: dict[tuple[MachinePath, str, int], list[PartValue]] = defaultdict(list)
    materials: dict[tuple[MachinePath, str, int], list[Material]] = defaultdict(list)
    if times:
        for row in find(CONTENT, "time", times, "values", PATTERN):
            cells = row.as_dict()
            values[row.path, row.point, row.time].append(PartValue(*(cells[name] for name in PartValue._fields)))  # type: ignore[arg-type] # as the columns are
        for row in find(CONTENT, "time", times, "materials", PATTERN):
            cells = row.as_dict()
            materials[row.path, row.point, row.time].append(Material(*(cells[name] for name in Material._fields)))  # type: ignore[arg-type] # as the columns are
    found = []
    for row in rows:
        key = row.path, row.point, row.time
        found.append(_record(row, tuple(sorted(values[key], key=itemgetter(0))), tuple(sorted(materials[key]))))
    return found


def _record(row: TableRow, values: tuple[PartValue, ...], materials: tuple[Material, ...]) -> OperationRecord:
    cells = row.as_dict()

    def text(name: str) -> str | None:
        return None if cells[name] is None else str(cells[name])

    def moment(name: str) -> int | None:
        cell = cells[name]
        return cell if isinstance(cell, int) else None

    return OperationRecord(
        row.path, row.point, row.time, text("serial") or "", text("operation") or "", text("place") or "",
        moment("began"), moment("ended"), text("result"), text("missing"), text("lot"), text("tool"), text("recipe"),
        text("operator"), _names(cells["curves"]), values=values, materials=materials,
    )  # fmt: skip


def _names(written: Cell) -> tuple[str, ...]:
    """Return the names of points in a JSON list."""
    try:
        found = orjson.loads(written) if isinstance(written, str) else []
    except orjson.JSONDecodeError:
        found = []
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def _numbered(records: list[OperationRecord]) -> list[OperationRecord]:
    """Return records in their order, the runs of an operation of a part numbered."""
    runs: Counter[tuple[str, str]] = Counter()
    found = []
    for one in sorted(records, key=lambda record: (record.serial, record.order)):
        runs[one.serial, one.operation] += 1
        found.append(replace(one, run=runs[one.serial, one.operation]))
    return found
