"""Derived points of machines of one line that use points of one another.

A scan of one of the machines is read into the derivation of each machine that uses its points. Then all that depends
on it is calculated, on all machines, each calculation once and after those that it uses. So a derived reading never
mixes the new value of a point with a value that was calculated before it.

Each machine keeps its own calculations, states and readings, see `derive.py`. This file connects them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from heapq import heapify, heappop, heappush
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Fault
from gateway.pipeline.derive import PENDING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from drivers.base import Group, Scan
    from gateway.pipeline.calculation import Step
    from gateway.pipeline.derive import MachineDerivation, Node


class _Segment(NamedTuple):
    """Calculations of one machine that run one after another, and their results that other machines use.

    `exports` are places of results, with the machines that use them and the places there. Machines are numbers.
    """

    machine: int
    nodes: list[Node]
    exports: list[tuple[int, int, int]]


class _Plan(NamedTuple):
    """All that follows some inputs: segments in order, and for each machine its inputs that may be stale."""

    segments: list[_Segment]
    others: list[tuple[int, list[tuple[int, int]]]]


class _Source(NamedTuple):
    """A group whose scans are read: positions in it, and places of inputs, for each machine.

    `places` are the machines and places of each position. `plan` is that of a whole scan.
    """

    reads: list[tuple[int, list[tuple[int, int]]]]
    places: Mapping[int, list[tuple[int, int]]]
    plan: _Plan


class LineDerivation:
    """The derivations of machines that are tied by line inputs."""

    def __init__(self, derivations: Iterable[MachineDerivation]) -> None:
        """Connect derivations of machines of one line, in which no point is derived from itself."""
        self._derivations = list(derivations)
        self._numbers = {one.name: number for number, one in enumerate(self._derivations)}
        self._exports = self._exported()
        self._nodes = [
            [
                replace(node, feeds=True) if (number, node.place) in self._exports else node
                for node in one.layout.nodes
            ]
            for number, one in enumerate(self._derivations)
        ]
        self._users = self._used()
        self._levels = self._leveled()
        self._sources: dict[Group, _Source] = {}

    def step(self, machine: str, group: Group) -> Step | None:
        """Return the step that takes the scans of a group of a machine, None if they do not matter here.

        `machine` is the path of a machine that is tied to the others, with derived points or without.
        """
        if not group.sources:
            return None  # derived points are passed on where they are calculated
        name = machine.rpartition("/")[2]
        found = (
            (number, one.places_in(group, "" if one.name == name else name))
            for number, one in enumerate(self._derivations)
        )
        reads = [(number, read) for number, read in found if read]
        if not reads:
            return None
        plan = self._plan({number: {place for _, place in read} for number, read in reads})
        places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, read in reads:
            for position, place in read:
                places[position].append((number, place))
        self._sources[group] = _Source(reads, dict(places), plan)
        return self.take

    # -- a scan --

    def take(self, scan: Scan) -> None:
        """Take a normalized scan, and pass on the readings that are derived from it. Late scans are not used."""
        if scan.late:
            return
        source = self._sources[scan.group]
        if scan.points is not None or scan.times is not None:
            self._take_part(scan, source)
            return
        for number, read in source.reads:
            self._derivations[number].read_whole(scan, read)
        self._calculate(source.plan, scan.time)

    def _take_part(self, scan: Scan, source: _Source) -> None:
        """Take readings with times of their own, in the order of the times."""
        positions = scan.points if scan.points is not None else range(len(scan.values))
        times = scan.times if scan.times is not None else [scan.time] * len(scan.values)
        places = source.places
        wanted = sorted((times[i], i) for i, position in enumerate(positions) if position in places)
        for now, together in groupby(wanted, key=lambda one: one[0]):
            read_now: dict[int, set[int]] = defaultdict(set)
            for _, i in together:
                for number, place in places[positions[i]]:
                    self._derivations[number].read_one(place, scan.values[i], now, scan.faults.get(i))
                    read_now[number].add(place)
            self._calculate(self._plan(read_now), now)

    def _calculate(self, plan: _Plan, now: int) -> None:
        """Calculate all that follows some inputs, and then pass on the derived readings."""
        for number, others in plan.others:
            self._derivations[number].doubt_old(others, now)
        found: list[tuple[MachineDerivation, Scan]] = []
        for number, nodes, exports in plan.segments:
            derivation = self._derivations[number]
            with derivation.guard:  # an error here must not cost the readings of other machines
                if (derived := derivation.calculate(nodes, now)) is not None:
                    found.append((derivation, derived))
                for place, other, there in exports:
                    self._pass_on(derivation, place, self._derivations[other], there)
        for derivation, derived in found:
            with derivation.guard:
                derivation.sink(derived)

    @staticmethod
    def _pass_on(source: MachineDerivation, place: int, target: MachineDerivation, there: int) -> None:
        value, time, fault = source.result(place)
        if fault is not None and fault is not PENDING:
            fault = Fault(fault.quality, fault.reason, _code_at(target, source, fault.code))
        target.take_result(there, value, time, fault)

    # -- plans --

    def _exported(self) -> Mapping[tuple[int, int], list[tuple[int, int]]]:
        """Return the results that other machines use: machine and place, with the machines and places there."""
        found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for number, one in enumerate(self._derivations):
            for place, used in enumerate(one.layout.sources):
                source = self._numbers.get(used.machine)
                result = None if source is None else self._derivations[source].layout.results.get(used.name)
                if source is not None and result is not None:
                    found[source, result].append((number, place))
        return dict(found)

    def _used(self) -> list[Mapping[int, list[int]]]:
        """Return for each machine the calculations that use a place, as positions in its list."""
        found: list[Mapping[int, list[int]]] = []
        for nodes in self._nodes:
            users: dict[int, list[int]] = defaultdict(list)
            for at, node in enumerate(nodes):
                for place in node.uses:
                    users[place].append(at)
            found.append(dict(users))
        return found

    def _following(self, number: int, place: int) -> Iterable[tuple[int, int]]:
        """Yield the calculations that use a result: on the same machine first."""
        for at in self._users[number].get(place, ()):
            yield number, at
        for other, there in self._exports.get((number, place), ()):
            for at in self._users[other].get(there, ()):
                yield other, at

    def _leveled(self) -> list[list[int]]:
        """Return the level of each calculation: one more than that of a calculation of another machine that it uses.

        Within a level each machine's calculations are independent of those of the others.
        """
        levels = [[0] * len(nodes) for nodes in self._nodes]
        waits = [[0] * len(nodes) for nodes in self._nodes]
        every = [(number, at) for number, nodes in enumerate(self._nodes) for at in range(len(nodes))]
        for number, at in every:
            for other, there in self._following(number, self._nodes[number][at].place):
                waits[other][there] += 1
        ready = [(number, at) for number, at in every if not waits[number][at]]
        while ready:
            number, at = ready.pop()
            for other, there in self._following(number, self._nodes[number][at].place):
                level = levels[number][at] + (other != number)
                levels[other][there] = max(levels[other][there], level)
                waits[other][there] -= 1
                if not waits[other][there]:
                    ready.append((other, there))
        return levels

    def _plan(self, read: Mapping[int, Collection[int]]) -> _Plan:
        """Return all that follows inputs that are read, given by machine and place."""
        after = {(number, at) for number, places in read.items() for place in places
                 for at in self._users[number].get(place, ())}  # fmt: skip
        todo = [(self._levels[number][at], number, at) for number, at in after]
        heapify(todo)
        segments: list[_Segment] = []
        last = (-1, -1)
        new = {number: set(places) for number, places in read.items()}
        nodes: dict[int, list[Node]] = defaultdict(list)
        while todo:
            level, number, at = heappop(todo)
            node = self._nodes[number][at]
            if last != (level, number):
                segments.append(_Segment(number, [], []))
                last = level, number
            segments[-1].nodes.append(node)
            nodes[number].append(node)
            for other, there in self._exports.get((number, node.place), ()):
                segments[-1].exports.append((node.place, other, there))
                new.setdefault(other, set()).add(there)
            for other, there in self._following(number, node.place):
                if (other, there) not in after:
                    after.add((other, there))
                    heappush(todo, (self._levels[other][there], other, there))
        others = ((number, self._stale(number, own, new.get(number, ()))) for number, own in nodes.items())
        return _Plan(segments, [(number, found) for number, found in others if found])

    def _stale(self, number: int, nodes: Sequence[Node], read: Collection[int]) -> list[tuple[int, int]]:
        return self._derivations[number].layout.others(nodes, read)


def _code_at(target: MachineDerivation, source: MachineDerivation, code: str) -> str:
    """Return the code of a fault, which begins with the name of an input, with the name as the target has it."""
    name, blank, reason = code.partition(" ")
    if name not in source.layout.foreign:
        name = f"{source.name}.{name}"
    return f"{name.removeprefix(f'{target.name}.')}{blank}{reason}"
