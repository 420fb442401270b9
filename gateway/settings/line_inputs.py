"""Line inputs: points of other machines of the line that the derived points of a machine name.

Machines that are tied by them belong together: one process reads them, and a trial of one needs the others.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gateway.common.by_identity import cached_by_identity
from gateway.settings.derivation import Derivation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.model.path import MachinePath
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point


@cached_by_identity()
def machines_named(derived: Sequence[Point]) -> frozenset[str]:
    """Return the names of the other machines of the line that some derived points name."""
    programs = (point.source.program for point in derived if isinstance(point.source, Derivation))
    return frozenset(one.machine for program in programs for one in program.inputs if one.machine)


def inputs_of(machine: Machine) -> list[MachinePath]:
    """Return the machines whose points the derived points of a machine name."""
    if not machine.derived:
        return []
    return [machine.path._replace(machine=name) for name in sorted(machines_named(machine.derived))]


def with_inputs(machines: Iterable[Machine], every: Iterable[Machine]) -> list[Machine]:
    """Return machines with all that they derive points from, directly or not, in the order of `every`."""
    known = {machine.path: machine for machine in every}
    found: set[MachinePath] = set()
    waiting = [machine.path for machine in machines]
    while waiting:
        path = waiting.pop()
        if path in known and path not in found:
            found.add(path)
            waiting += inputs_of(known[path])
    return [machine for path, machine in known.items() if path in found]


def tied(machines: Iterable[Machine]) -> list[list[Machine]]:
    """Return the groups of machines that are tied by line inputs, without machines that are tied to none."""
    known = {machine.path: machine for machine in machines}
    neighbours: Mapping[MachinePath, set[MachinePath]] = defaultdict(set)
    for machine in known.values():
        for other in inputs_of(machine):
            neighbours[machine.path].add(other)
            neighbours[other].add(machine.path)
    groups: list[list[Machine]] = []
    done: set[MachinePath] = set()
    for path in neighbours:
        group: set[MachinePath] = set()
        waiting = [path]
        while waiting:
            one = waiting.pop()
            if one not in done:
                done.add(one)
                group.add(one)
                waiting += neighbours[one]
        if group:
            groups.append([known[one] for one in sorted(group) if one in known])
    return groups
