"""Derived points: calculated when an input was read, from the latest readings of all inputs.

A derived reading takes the time of its newest input. It has a value where the expression has one: a bad input makes
it bad, an uncertain one uncertain, and each names the input. Readings that a device delivers late are not used: the
states of the functions have gone on.

It is the calculation of the kind `derive`, see `calculation.py`. `line_derivation.py` connects machines of a line
that use points of one another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson

from drivers.base import Fault, Group, Quality, Reason, Scan, ValueType, bad
from gateway.common.by_identity import cached_by_identity
from gateway.pipeline.calculation import Calculation
from gateway.pipeline.step_functions import Failed, make
from gateway.settings.expressions.check import LATE
from gateway.settings.expressions.program import key_of
from gateway.settings.expressions.runtime import NoValue, OutsideTable, careful, quick

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from drivers.base import Connection, Value
    from gateway.pipeline.calculation import Step as ScanStep
    from gateway.pipeline.calculation import Surroundings
    from gateway.pipeline.step_functions import StepFunction
    from gateway.settings.derivation import Derivation
    from gateway.settings.expressions.program import Code, Program, Step
    from gateway.settings.expressions.runtime import Function
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

PENDING = bad(Reason.NOT_AVAILABLE, "not read yet")
"""The fault of a value that is not there yet; nothing is reported of it."""

_INT_MAX = 2**63 - 1


@dataclass(slots=True)
class Node:
    """One calculation: of a step's argument, or of the result of the derived point at `point`.

    `place` is that of its result in the list of values. `careful` is compiled when it is needed first. `uses` are
    the places of the values that the code uses. `period` is that of a point that is sent less often than its inputs
    are read, in microseconds; `feeds` says whether another calculation uses the result.
    """

    quick: Function
    code: Code
    places: dict[int, int]
    place: int
    uses: frozenset[int]
    step: Step | None = None
    point: int = -1
    convert: Callable[[Any], str] | None = None
    limits: tuple[float, float] | None = None
    period: int = 0
    feeds: bool = False
    _careful: Function | None = field(default=None, repr=False)

    def careful(self, values: list[Any]) -> Any:  # noqa: ANN401 - of the type of the expression
        if self._careful is None:
            self._careful = careful(self.code, self.places)
        return self._careful(values)


class _Layout:
    """The calculations of the derived points of a template, in order, compiled once for all its machines.

    `inputs` maps the key of each point that is read, or that another machine derives, to its place in the list of
    values, `size` is its length. `sources` are these points, `names` their names in the codes of faults, and
    `foreign` those of other machines, whose names are in `machines`, with an empty name for the machine itself.
    `results` are the places of the derived points.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        own = {point.name for point in points}
        programs = [cast("Derivation", point.source).program for point in points]
        inputs = {one.key: one for program in programs for one in program.inputs if one.key not in own}
        self.inputs = {key: place for place, key in enumerate(inputs)}
        self.sources = list(inputs.values())
        self.names = [one.shown for one in self.sources]
        self.foreign = frozenset(one.shown for one in self.sources if one.machine)
        self.machines = frozenset(one.machine for one in self.sources)
        self.results: dict[str, int] = {}
        self.late = [0 if one.pushed else round(one.every * LATE * 1_000_000) for one in inputs.values()]
        """Microseconds after which each input is stale, 0 for never."""
        self.identities = [program.identity for program in programs]
        """For each point, the identity of its states."""
        self.nodes: list[Node] = []
        self.steps: list[list[int]] = []
        """For each point, the places of its steps."""
        places = dict(self.inputs)
        self.size = len(places)
        for number, (point, program) in enumerate(zip(points, programs, strict=True)):
            self._add(number, point, program, places)
        self.used = frozenset[int]().union(*(node.uses for node in self.nodes))
        for node in self.nodes:
            node.feeds = node.place in self.used

    def _add(self, number: int, point: Point, program: Program, places: dict[str, int]) -> None:
        local = {i: places[one.key] for i, one in enumerate(program.inputs)}
        self.steps.append([])
        for step in program.steps:
            local[len(local)] = self.size
            self.steps[-1].append(self.size)
            self.nodes.append(self._node(step.argument, local, step=step))
        node = self._node(program.result, local, point=number)
        if point.labels and point.type is ValueType.STRING:
            node.convert = partial(_label, point.labels)
        node.limits = point.range
        if point.every > min(one.every for one in program.inputs):
            node.period = round(point.every * 1_000_000)
        self.nodes.append(node)
        places[point.name] = self.results[point.name] = node.place

    def _node(self, code: Code, local: dict[int, int], **what: Any) -> Node:  # noqa: ANN401 - fields
        uses = frozenset(local[one] for one in code.uses)
        node = Node(quick(code, local), code, dict(local), self.size, uses, **what)
        self.size += 1
        return node

    def after(self, places: Collection[int]) -> list[Node]:
        """Return the calculations that depend on some values, in order."""
        changed = set(places)
        found = []
        for node in self.nodes:
            if not changed.isdisjoint(node.uses):
                changed.add(node.place)
                found.append(node)
        return found

    def others(self, nodes: Iterable[Node], read: Collection[int]) -> list[tuple[int, int]]:
        """Return the inputs of some calculations that are not read with them, with the time until each is stale."""
        used = {place for node in nodes for place in node.uses}
        return [(place, late) for place, late in enumerate(self.late) if late and place in used.difference(read)]


_layout = cached_by_identity()(_Layout)


def _label(labels: Mapping[int, str], value: Any) -> str:  # noqa: ANN401 - a bool or an int
    if value not in labels:
        raise Failed(Reason.OUT_OF_RANGE, f"{value!r:.40} has no label")
    return labels[value]


class _Plan(NamedTuple):
    """The work of a whole scan of a group.

    `read` are positions in the group and places of values. `others` are the inputs of other groups, with the time
    after which each is stale.
    """

    read: list[tuple[int, int]]
    nodes: list[Node]
    others: list[tuple[int, int]]


class _Columns(NamedTuple):
    """Derived readings: their positions in the group, values, faults by place, and times."""

    points: list[int]
    values: list[Value | None]
    faults: dict[int, Fault]
    times: list[int]

    def add(self, point: int, value: Value | None, fault: Fault | None, time: int) -> None:
        if fault is not None:
            self.faults[len(self.values)] = fault
        self.points.append(point)
        self.values.append(value)
        self.times.append(time)


class MachineDerivation(Calculation):
    """The derived points of one machine: their latest inputs, and the states of their functions."""

    kind = "derive"

    def __init__(
        self,
        group: Group,
        points: Sequence[Point],
        sink: Callable[[Scan], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; `group` is the group of the derived points, and `sink` takes its scans.

        `on_change` is called when a state differs from the one that was saved.
        """
        super().__init__(group.machine)
        self._on_change = on_change
        self.group = group
        self.points = points
        self.sink = sink
        self.layout = _layout(points)
        size = self.layout.size
        self._values: list[Any] = [None] * size
        self._times = [0] * size
        self._faults: dict[int, Fault] = dict.fromkeys(self.layout.used, PENDING)
        self._names = self.layout.names
        self._newest = 0
        self._slots: dict[int, int] = {}
        self._plans: dict[Group, _Plan] = {}
        self._functions: dict[int, StepFunction] = {
            node.place: make(node.step) for node in self.layout.nodes if node.step is not None
        }

    @classmethod
    def of(cls, machine: Machine, surroundings: Surroundings) -> MachineDerivation | None:
        """Return the calculation of a machine's derived points, None if it has none."""
        if not machine.derived:
            return None
        group = group_of(str(machine.path), machine.connection, machine.derived)
        sink = surroundings.sink(group, machine.derived)
        return cls(group, machine.derived, sink, surroundings.save_soon)

    @property
    def name(self) -> str:
        """The name of the machine on its line."""
        return self.machine.rpartition("/")[2]

    @property
    def has_state(self) -> bool:
        return bool(self._functions)

    def step(self, group: Group) -> ScanStep | None:
        read = self.places_in(group)
        if not read:
            return None
        own = {place for _, place in read}
        nodes = self.layout.after(own)
        self._plans[group] = _Plan(read, nodes, self.layout.others(nodes, own))
        return self.take

    def places_in(self, group: Group, machine: str = "") -> list[tuple[int, int]]:
        """Return the positions in a group of this machine, or of another, that are inputs, and the inputs' places."""
        if group.events or group.search or machine not in self.layout.machines:
            return []
        keys = (key_of(name, machine) for name in group.names)
        return [(at, self.layout.inputs[key]) for at, key in enumerate(keys) if key in self.layout.inputs]

    # -- a scan --

    def take(self, scan: Scan) -> None:
        """Take a normalized scan, and pass on the readings that are derived from it."""
        if not scan.late:
            with self.guard:  # an error here must not cost the points that are read
                self._take(scan)

    def _take(self, scan: Scan) -> None:
        plan = self._plans[scan.group]
        if scan.points is None and scan.times is None:
            self.read_whole(scan, plan.read)
            self.doubt_old(plan.others, scan.time)
            if (derived := self.calculate(plan.nodes, scan.time)) is not None:
                self.sink(derived)
        else:
            for derived in self._of_part(scan, plan):
                self.sink(derived)

    def read_whole(self, scan: Scan, read: Sequence[tuple[int, int]]) -> None:
        """Take the values of a whole scan, given the positions in it and their places here."""
        values, times, faults, now = self._values, self._times, self._faults, scan.time
        for at, place in read:
            values[place] = scan.values[at]
            times[place] = now
        if scan.faults or faults:
            for at, place in read:
                self._note_fault(place, scan.faults.get(at))

    def read_one(self, place: int, value: Value | None, time: int, fault: Fault | None) -> None:
        """Take one reading of an input."""
        self._values[place], self._times[place] = value, time
        self._note_fault(place, fault)

    def doubt_old(self, others: Iterable[tuple[int, int]], now: int) -> None:
        """Mark inputs of other groups that were not read for a long time."""
        for place, late in others:
            if now - self._times[place] > late and place not in self._faults:
                self._faults[place] = Fault(Quality.UNCERTAIN, Reason.STALE, self._names[place])

    def _note_fault(self, place: int, fault: Fault | None) -> None:
        if fault is None:
            self._faults.pop(place, None)
        elif fault.quality is Quality.BAD:
            self._faults[place] = bad(Reason.BAD_INPUT, f"{self._names[place]} {fault.reason}")
        else:
            self._faults[place] = Fault(Quality.UNCERTAIN, fault.reason, self._names[place])

    def _of_part(self, scan: Scan, plan: _Plan) -> Iterable[Scan]:
        """Yield the derived readings of a scan with different times, as one scan for each time."""
        places = dict(plan.read)
        positions = scan.points if scan.points is not None else range(len(scan.values))
        times = scan.times if scan.times is not None else [scan.time] * len(scan.values)
        wanted = sorted((times[i], i) for i, position in enumerate(positions) if position in places)
        for now, together in groupby(wanted, key=_time_of):
            read = []
            for _, i in together:
                place = places[positions[i]]
                self.read_one(place, scan.values[i], now, scan.faults.get(i))
                read.append(place)
            self.doubt_old(plan.others, now)
            if (derived := self.calculate(self.layout.after(read), now)) is not None:
                yield derived

    # -- the calculation --

    def result(self, place: int) -> tuple[Value | None, int, Fault | None]:
        """Return the last result of a calculation that feeds others: value, time and fault."""
        return self._values[place], self._times[place], self._faults.get(place)

    def take_result(self, place: int, value: Value | None, time: int, fault: Fault | None) -> None:
        """Take a point that another machine has derived."""
        self._values[place], self._times[place] = value, time
        self._newest = max(self._newest, time)
        if fault is not None:
            self._faults[place] = fault
        else:
            self._faults.pop(place, None)

    def calculate(self, nodes: Sequence[Node], now: int) -> Scan | None:
        """Return the scan of derived readings after some calculations, None if there is none."""
        values, times, faults = self._values, self._times, self._faults
        if now < self._newest:  # an input of another group is newer, or was until its clock was set back
            self._newest = max(times[: len(self.layout.inputs)])
        is_newest = now >= self._newest
        self._newest = max(now, self._newest)
        found = _Columns([], [], {}, [])
        time = now
        for node in nodes:
            place = node.place
            if not is_newest:
                time = max(map(times.__getitem__, node.uses))
            value, fault = self._value(node)
            if node.step is not None:
                value, fault = self._stepped(place, value, fault, time)
            elif fault is not PENDING:
                if not node.period or self._is_due(node, time):
                    found.add(node.point, value, fault, time)
                if not node.feeds:
                    continue
                value, fault = _as_input(node, value, fault, self.points)
            values[place], times[place] = value, time
            if fault is not None:
                faults[place] = fault
            elif faults:
                faults.pop(place, None)
        return self._scan(found, now, same=is_newest) if found.values else None

    def _scan(self, found: _Columns, now: int, *, same: bool) -> Scan:
        points = None if len(found.values) == len(self.points) else found.points
        return Scan(self.group, now, found.values, found.faults, points, None if same else found.times)

    def _value(self, node: Node) -> tuple[Value | None, Fault | None]:
        """Return the value of a calculation, and its fault."""
        faults = self._faults
        if not faults or faults.keys().isdisjoint(node.uses):
            try:
                return node.quick(self._values), None
            except (ArithmeticError, ValueError):
                pass  # one side of && or || may decide alone
        try:
            return self._carefully(node)
        except (ArithmeticError, ValueError) as error:
            return None, fault_of(error)

    def _is_due(self, node: Node, time: int) -> bool:
        """Return whether a reading is the first of a period of its point."""
        before, self._slots[node.point] = self._slots.get(node.point), time // node.period
        return before != self._slots[node.point]

    def _carefully(self, node: Node) -> tuple[Value | None, Fault | None]:
        """Calculate with values of which some are missing or uncertain."""
        used = [self._faults[place] for place in sorted(node.uses) if place in self._faults]
        if PENDING in used:
            return None, PENDING
        try:
            value = node.careful(self._values)
        except NoValue as missing:
            return None, self._faults[missing.place]
        return value, next((fault for fault in used if fault.quality is Quality.UNCERTAIN), None)

    def _stepped(
        self, place: int, value: Value | None, fault: Fault | None, time: int
    ) -> tuple[Value | None, Fault | None]:
        """Let a function take a step with the value of its argument."""
        function = self._functions[place]
        if not self.changed:
            self.changed = True
            self._on_change()
        if value is not None and not is_sane(value):
            reason = Reason.NOT_A_NUMBER if isinstance(value, float) else Reason.OVERFLOW
            value, fault = None, bad(reason)
        if value is None:
            if fault is not PENDING:
                function.miss()
            return None, fault
        try:
            value = function.step(value, time)
        except ArithmeticError as error:
            return None, fault_of(error)
        return (None, PENDING) if value is None else (value, fault)

    # -- the states --

    def save(self) -> bytes:
        self.changed = False
        content = {}
        for point, identity, places in zip(self.points, self.layout.identities, self.layout.steps, strict=True):
            if places:
                content[point.name] = [identity, [self._functions[place].save() for place in places]]
        return orjson.dumps(content)

    def load(self, saved: bytes) -> tuple[list[str], list[str]]:
        other: list[str] = []
        damaged: list[str] = []
        try:
            content = orjson.loads(saved)
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            return [], [point.name for point, places in zip(self.points, self.layout.steps, strict=True) if places]
        for point, own, places in zip(self.points, self.layout.identities, self.layout.steps, strict=True):
            if not places or point.name not in content:
                continue
            try:
                identity, states = content[point.name]
                if identity != own:
                    other.append(point.name)
                    continue
                for place, state in zip(places, states, strict=True):
                    self._functions[place].load(state)
            except (TypeError, ValueError):
                damaged.append(point.name)
                for place in places:
                    self._functions[place] = self._new(place)
        return other, damaged

    def _new(self, place: int) -> StepFunction:
        step = next(node.step for node in self.layout.nodes if node.place == place)
        assert step is not None  # noqa: S101 - the place is that of a step
        return make(step)


def _time_of(reading: tuple[int, int]) -> int:
    return reading[0]


def is_sane(value: Value) -> bool:
    """Return whether a number can be written: it is finite, and an int fits into 64 bits."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is not int or -_INT_MAX <= value <= _INT_MAX


def fault_of(error: Exception) -> Fault:
    """Return the fault of a calculation that has no result."""
    if isinstance(error, Failed):
        return bad(error.reason, error.text)
    if isinstance(error, ZeroDivisionError):
        return bad(Reason.NOT_A_NUMBER, "division by zero")
    if isinstance(error, OverflowError):
        return bad(Reason.OVERFLOW, str(error))
    return bad(Reason.OUT_OF_RANGE if isinstance(error, OutsideTable) else Reason.NOT_A_NUMBER, str(error))


def _as_input(
    node: Node, value: Value | None, fault: Fault | None, points: Sequence[Point]
) -> tuple[Value | None, Fault | None]:
    """Return a derived reading as further derived points see it: normalized, as their types say."""
    if value is None:
        known = fault is not None and fault.reason is Reason.BAD_INPUT
        return None, fault if known or fault is None else bad(
            Reason.BAD_INPUT, f"{points[node.point].name} {fault.reason}"
        )
    if node.convert is not None:
        try:
            return node.convert(value), fault
        except Failed as error:
            return None, bad(Reason.BAD_INPUT, f"{points[node.point].name} {error.reason}")
    if not is_sane(value):
        return None, bad(Reason.BAD_INPUT, f"{points[node.point].name} {Reason.NOT_A_NUMBER}")
    if fault is None and node.limits is not None and not node.limits[0] <= cast("float", value) <= node.limits[1]:
        return value, Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE, points[node.point].name)
    return value, fault


def group_of(machine: str, connection: Connection, points: Sequence[Point]) -> Group:
    """Return the group of a machine's derived points, which no driver reads."""
    every = min(point.every for point in points)
    return Group(machine, connection, tuple(point.name for point in points), (), every)
