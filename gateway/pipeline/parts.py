"""The history of parts: a record for each part and the work on it at a machine, as a reading of a result point.

It follows which part is in work by its serial number and by conditions, captures values, lots and results meanwhile,
and keeps a part in work over a restart. It is the calculation of the kind `part`, see `calculation.py`.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from drivers.base import Group, Scan
from gateway.pipeline.calculation import Calculation
from gateway.pipeline.part_board import Board, Formula
from gateway.pipeline.part_run import PlaceRun
from gateway.pipeline.part_state import read_states, write_states

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Fault
    from gateway.pipeline.calculation import Step, Surroundings
    from gateway.settings.factory import Machine


class _Followed(NamedTuple):
    """The meaning of the scans of a group for one place.

    `triggers` says whether a change may begin or end work. `serial` says whether the serial number is in the group,
    `measured` are the positions of captured values whose points are.
    """

    run: PlaceRun
    triggers: frozenset[int]
    serial: bool
    measured: frozenset[int]


class _Plan(NamedTuple):
    """The work of a scan of a group: positions in it with places of the board, and what they mean for each place."""

    read: list[tuple[int, int]]
    triggers: frozenset[int]
    followed: list[_Followed]


class MachineParts(Calculation):
    """The parts of one machine, at all its places."""

    kind = "part"
    takes_time = True

    def __init__(
        self,
        machine: Machine,
        sink: Callable[[Scan], None],
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        save_soon: Callable[[], None],
    ) -> None:
        super().__init__(str(machine.path))
        self.group = group_of(machine)
        self._sink = sink
        self._clock = clock
        self._monotonic = monotonic
        self._save_soon = save_soon
        inputs = [
            one.name for work in machine.operations for each in work.expressions() for one in each.program.inputs
        ]
        self._places = {name: place for place, name in enumerate(dict.fromkeys(inputs))}
        self._board = Board.empty(len(self._places))
        self._runs = [
            PlaceRun(one, one.operation or machine.template, self._places, partial(self._emit, at), self._note)
            for at, one in enumerate(machine.operations)
        ]
        self._triggers = [
            frozenset().union(*(Formula(each, self._places).uses for each in one.triggers()))
            for one in machine.operations
        ]  # fmt: skip
        self._plans: dict[Group, _Plan] = {}

    @classmethod
    def of(cls, machine: Machine, surroundings: Surroundings) -> MachineParts | None:
        """Return the calculation of a machine, None if it follows no parts."""
        if not machine.operations:
            return None
        sink = surroundings.sink(group_of(machine), [one.point for one in machine.operations])
        return cls(machine, sink, surroundings.clock, surroundings.monotonic, surroundings.save_soon)

    def step(self, group: Group) -> Step | None:
        read = [(at, self._places[name]) for at, name in enumerate(group.names) if name in self._places]
        if not read or group.events or group.search:
            return None
        own = {place for _, place in read}
        followed = [
            _Followed(
                run,
                frozenset(triggers & own),
                bool(run.serial.uses & own),
                frozenset(at for at, one in enumerate(run.values) if one.is_sum and one.formula.uses & own),
            )
            for run, triggers in zip(self._runs, self._triggers, strict=True)
        ]
        triggers = frozenset().union(*(one.triggers for one in followed))
        self._plans[group] = _Plan(read, triggers, followed)
        return self._take

    def tick(self, now: float) -> None:
        for run in self._runs:
            if run.due <= now:
                run.tick(self._board, now)
        self._set_due()

    # -- a scan --

    def _take(self, scan: Scan) -> None:
        """Take a normalized scan. Late readings are left out: the parts have gone on."""
        if scan.late:
            return
        with self.guard:  # an error here must not cost the points that are read
            plan = self._plans[scan.group]
            if scan.points is None and scan.times is None:
                values, faults = scan.values, scan.faults
                self._follow(plan, [(place, values[at], faults.get(at)) for at, place in plan.read], scan.time)
            else:
                self._take_part(plan, scan)

    def _take_part(self, plan: _Plan, scan: Scan) -> None:
        """Take readings with times of their own, in the order of the times."""
        places = dict(plan.read)
        positions = scan.points if scan.points is not None else range(len(scan.values))
        times = scan.times if scan.times is not None else [scan.time] * len(scan.values)
        wanted = sorted((times[i], i) for i, position in enumerate(positions) if position in places)
        for time, together in groupby(wanted, key=itemgetter(0)):
            readings = [(places[positions[i]], scan.values[i], scan.faults.get(i)) for _, i in together]
            self._follow(plan, readings, time, whole=False)

    def _follow(
        self, plan: _Plan, readings: Sequence[tuple[int, Any, Fault | None]], time: int, *, whole: bool = True
    ) -> None:
        """Take readings of one time, those of the `whole` group or of some of its points."""
        before = self._board
        changed = self._note_readings(plan, readings)
        read = None if whole else {place for place, _, _ in readings}
        now = self._monotonic() if changed else 0.0
        for followed in plan.followed:
            run = followed.run
            if changed and not changed.isdisjoint(followed.triggers):
                run.step(time, before, self._board, now)
            elif whole and followed.serial and not run.state.unsure and run.state.shown is not None:
                run.state.seen = time
            if run.active and followed.measured:
                measured = followed.measured
                if read is not None:
                    measured = frozenset(at for at in measured if run.values[at].formula.uses & read)
                run.measure(measured, self._board)
        if changed:
            self._set_due()

    def _note_readings(self, plan: _Plan, readings: Sequence[tuple[int, Any, Fault | None]]) -> set[int]:
        """Put readings on the board; return the places of those that may begin or end work, and have changed."""
        values, faults = self._board
        changed = {
            place for place, value, _ in readings
            if place in plan.triggers and (value != values[place] or place in faults)
        }  # fmt: skip
        if changed:  # the values at the end of a part are those before
            self._board = self._board.copy()
            values, faults = self._board
        for place, value, fault in readings:
            values[place] = value
            if fault is not None:
                faults[place] = fault
            elif faults:
                faults.pop(place, None)
        return changed

    def _set_due(self) -> None:
        self.due = min((run.due for run in self._runs), default=math.inf)

    def _note(self) -> None:
        if not self.changed:
            self.changed = True
            self._save_soon()

    def _emit(self, at: int, record: dict[str, Any]) -> None:
        self._note()
        self._sink(Scan(self.group, self._clock(), [orjson.dumps(record).decode()], points=(at,)))

    # -- the states --

    def save(self) -> bytes:
        self.changed = False
        return write_states({run.operation.place: run.state for run in self._runs})

    def load(self, saved: bytes) -> tuple[list[str], list[str]]:
        now = self._monotonic()
        try:
            states = read_states(saved)
        except ValueError:
            return [], [run.operation.point.name for run in self._runs]
        found = [(run, states.get(run.operation.place)) for run in self._runs]
        other = [run.operation.point.name for run, state in found if state is not None and not run.load(state, now)]
        self._set_due()
        return other, []


def group_of(machine: Machine) -> Group:
    """Return the group of the records of a machine's parts, which no driver reads."""
    points = [one.point for one in machine.operations]
    names, sources = tuple(point.name for point in points), tuple(point.source for point in points)
    return Group(str(machine.path), machine.connection, names, sources, 1.0, events=True)
