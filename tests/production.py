"""A machine with a production for tests: built from text as a file has it, and fed with scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from derived import MACHINE, SECOND
from points import register

from drivers.base import Connection, Group, Scan
from gateway.model.path import MachinePath
from gateway.model.production import Tally, TimeState
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.production import MachineProduction
from gateway.settings.calendar import CalendarSection
from gateway.settings.document import Document
from gateway.settings.factory import Machine, Place
from gateway.settings.point_builder import Written
from gateway.settings.production import Planned, build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Value
    from gateway.settings.point import Point
    from gateway.settings.production import Production

LABELS = {
    1: "clearing",
    2: "stopped",
    4: "idle",
    5: "suspended",
    6: "execute",
    9: "aborted",
    11: "held",
    16: "completing",
}
NAMES = ("state", "good", "reject", "cycle_time", "recipe", "reason")
KEYS: dict[str, Any] = {
    "state": "state", "good": "good", "reject": "reject", "cycle_time": "cycle_time", "recipe": "recipe",
    "reason": "reason", "planned_cycle_time": {"A": "10s", "B": "20s"}, "micro_stop": "30s",
}  # fmt: skip

DAY = 1_764_547_200 * SECOND
"""2025-12-01, a Monday, at 00:00 UTC."""

SHIFTS = {
    "early": {"begin": "06:00", "end": "14:00", "breaks": ["09:00-09:15"]},
    "late": {"begin": "14:00", "end": "22:00"},
}

RUN, WAIT, HOLD = 6, 5, 11


def points() -> list[Point]:
    return [
        register("state", labels=LABELS), register("good", raw="uint32"), register("reject", raw="uint32"),
        register("cycle_time", raw="float32", unit="s"), register("recipe", raw="string"),
        register("reason", labels={0: "none", 7: "no material", 8: "jam"}),
    ]  # fmt: skip


def production(of: Sequence[Point] | None = None, **keys: Any) -> Production:
    """Return a production of these keys. Raises `AssertionError` with the problems."""
    found, problems = built(of, **keys)
    assert found is not None, problems
    return found


def built(of: Sequence[Point] | None = None, **keys: Any) -> tuple[Production | None, str]:
    """Return a production, or None, and the problems."""
    document = Document(Path("t.yaml"), {"production": keys})
    place = Place(document, ("production",))
    found = build(Written({}, {}, place).over(keys, place), points() if of is None else of, ())
    return found, "\n".join(map(str, document.problems))


class Plant:
    """A production on a bench: `rows` and `stops` are written rows, `figures` the last key figures."""

    def __init__(
        self, keys: dict[str, Any] | None = None, calendar: dict[str, Any] | None = None,
        of: Sequence[Point] | None = None, *, pushed: bool = False,
    ) -> None:  # fmt: skip
        self.points = list(points() if of is None else of)
        self.rows: list[dict[str, Any]] = []
        self.stops: list[dict[str, Any]] = []
        self.figures: dict[str, Value | None] = {}
        self.saves = 0
        self.now = DAY
        self._production = production(self.points, **(KEYS if keys is None else keys))
        section = CalendarSection.model_validate_json(
            orjson.dumps({"shifts": SHIFTS} if calendar is None else calendar)
        )
        self._planned = Planned(self._production, section)
        self._pushed = pushed
        self.restart(None)

    def restart(self, saved: bytes | None) -> None:
        """Go on in another process, with a saved state."""
        path = MachinePath(*MACHINE.split("/"))
        machine: Any = Machine(path, "t", None, Connection(), tuple(self.points), production=self._planned)  # type: ignore[arg-type]
        around = Surroundings(self._sink, lambda: self.now, lambda: self.now / SECOND, self._save)
        self.calculation = MachineProduction(machine, self._planned, around)
        if self._pushed:
            self.calculation._pushed, self.calculation._hold = True, float("inf")  # noqa: SLF001 - as of a subscription
        names, sources = tuple(one.name for one in self.points), tuple(one.source for one in self.points)
        self.group = Group(MACHINE, Connection(), names, sources, 1.0)
        step = self.calculation.step(self.group)
        assert step is not None
        self._step = step
        if saved is not None:
            if self._pushed:  # its own process is another
                saved = saved.replace(b'"process":"', b'"process":"x')
            assert self.calculation.load(saved) == ([], [])

    def _save(self) -> None:
        self.saves += 1

    def _sink(self, group: Group, of: Sequence[Point]) -> Callable[[Scan], None]:
        del of

        def take(scan: Scan) -> None:
            positions = scan.points if scan.points is not None else range(len(scan.values))
            found = {group.names[at]: value for at, value in zip(positions, scan.values, strict=True)}
            if not group.events:
                self.figures = found
            for name, value in found.items() if group.events else ():
                assert isinstance(value, str)
                (self.rows if name == "production" else self.stops).append(orjson.loads(value))

        return take

    def take(self, second: float, *values: Value | None) -> None:
        """Take a scan of all points, some seconds after midnight."""
        self.now = max(self.now, DAY + round(second * SECOND))
        self._step(Scan(self.group, DAY + round(second * SECOND), list(values)))

    def push(self, second: float, **values: Value | None) -> None:
        """Take a scan of some points."""
        self.now = max(self.now, DAY + round(second * SECOND))
        positions = [NAMES.index(name) for name in values]
        self._step(Scan(self.group, DAY + round(second * SECOND), list(values.values()), points=positions))

    def tick(self, second: float) -> None:
        self.now = DAY + round(second * SECOND)
        self.calculation.tick(self.now / SECOND)

    def run(self, begin: int, end: int, state: int, good: int = 0, reject: int = 0, **more: Any) -> None:
        """Take a scan in each second, all with the same values."""
        values = more.get("cycle_time", 10.0), more.get("recipe", "A"), more.get("reason", 0)
        for second in range(begin, end):
            self.take(second, state, good, reject, *values)

    def shift(self, name: str = "early") -> dict[str, Any]:
        [row] = [one for one in self.rows if one["kind"] == "shift" and one["shift"].endswith(f"/{name}")]
        return row


def times(row: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of the categories of a row that are not 0."""
    return {state: row[f"{state}_time"] for state in TimeState if row[f"{state}_time"]}


def whole(rows: Sequence[dict[str, Any]]) -> Tally:
    """Return the sum of rows."""
    found = Tally()
    for row in rows:
        found.add(Tally.of_row(row))
    return found
