"""Assign machines to workers by their planned cost, so that few machines move when others are added or removed.

The assignment is kept in a file beside the spools. Machines stay where they are while the gateway runs; at a start,
machines move only if one worker has much more to do than another. The same machines, costs and file always give the
same assignment.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.own_files import read_own
from gateway.acquisition.groups import groups_of
from gateway.acquisition.scheduler import SCAN_SECONDS, VALUE_SECONDS
from gateway.common.atomic_file import save_json
from gateway.model.part import MAX_WORKERS
from gateway.settings.line_inputs import tied
from gateway.settings.sections import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gateway.settings.factory import Factory, Machine

log = structlog.get_logger(__name__)

LEAST_COST = 1e-5
"""Seconds of processor time a second to plan for a connection at least: its keep-alive, and attempts to connect."""

TOLERANCE = 0.2
"""Difference between the loads of two workers, as a part of the mean, above which connections move at a start."""

MOST_OF_GAP = 0.95
"""The highest cost of a bundle that moves, as a part of the difference: a higher cost would only swap the loads."""

MAX_FILE_BYTES = 64 * 2**20
"""Bytes of the file: a hundred thousand machines."""

K = TypeVar("K")

_NONE = MAX_WORKERS + 1
"""The number of no worker."""

Assignment = dict[str, int]
"""The number of the worker that reads a machine, by machine path."""


class Bundle(NamedTuple):
    """Machines that have to be read in the same process.

    `cost` is their cost in processor seconds a second, `machines` are their paths, and `shared` are the connections,
    or the ports on which the gateway waits, that they share.
    """

    cost: float
    machines: tuple[str, ...]
    shared: frozenset[object]


def bundles(machines: Iterable[Machine]) -> list[Bundle]:
    """Return the machines that stay together.

    These are the machines of a connection, those whose devices dial in to one port, and those that derive points from
    points of one another, with all that are behind their connections.
    """
    every = list(machines)
    together: dict[object, list[Machine]] = defaultdict(list)
    for machine in every:
        together[_shared_by(machine)].append(machine)
    costs: dict[int, float] = {}  # by points, which the machines of a template share
    found = []
    for shared, behind in _merged(together, tied(every)):
        for machine in behind:
            if id(machine.points) not in costs:
                costs[id(machine.points)] = planned_cost(machine)
        cost = math.fsum(costs[id(machine.points)] for machine in behind)
        found.append(Bundle(max(cost, LEAST_COST), tuple(str(machine.path) for machine in behind), shared))
    return found


def _shared_by(machine: Machine) -> object:
    connection = machine.connection.shared()
    return connection.listening() or connection


def _merged(
    together: Mapping[object, list[Machine]], groups: Iterable[Iterable[Machine]]
) -> Iterator[tuple[frozenset[object], list[Machine]]]:
    """Yield sets of connections and ports with their machines; a group joins all that its machines use."""
    shared: dict[object, set[object]] = {key: {key} for key in together}
    for group in groups:
        keys: set[object] = set().union(*(shared[_shared_by(machine)] for machine in group))
        shared |= dict.fromkeys(keys, keys)
    merged: dict[int, list[Machine]] = defaultdict(list)
    for key, behind in together.items():
        merged[id(shared[key])] += behind
    for keys in {id(keys): keys for keys in shared.values()}.values():
        yield frozenset(keys), merged[id(keys)]


def planned_cost(machine: Machine) -> float:
    """Return the seconds of processor time a second that the scans of a machine are planned with."""
    return math.fsum(
        (SCAN_SECONDS + VALUE_SECONDS * len(group.names)) / group.every for group, _ in groups_of(machine)
    )


def worker_count(factory: Factory) -> int:
    """Return the number of workers: as configured, or one for each usable processor that has a connection to read."""
    written = factory.gateway.workers
    if written != AUTO:
        return int(written)
    return max(1, min(len(os.sched_getaffinity(0)), len(bundles(factory.machines)), MAX_WORKERS))


def assign(
    found: Iterable[Bundle], workers: int, before: Mapping[str, int], running: Mapping[object, int] | None = None
) -> Assignment:
    """Return the worker of each machine.

    While the gateway runs, `running` are the workers of the present connections, which stay; a bundle of several
    stays with the worker of most of them. Other bundles stay with the worker that read most of their machines
    `before`. The rest goes to the workers with the lowest loads, the bundles of the highest cost first.

    At a start, without `running`, bundles then move from workers with high loads to workers with low loads, until the
    loads differ by less than `TOLERANCE`.
    """
    loads = _Loads(workers)
    new = []
    for bundle in found:
        number = _most(bundle.shared, running or {}) or _most(bundle.machines, before) or _NONE
        if number <= workers:
            loads.add(number, bundle)
        else:
            new.append(bundle)
    for bundle in sorted(new, key=lambda one: (-one.cost, one.machines)):
        loads.add(loads.lowest(), bundle)
    if running is None:
        loads.balance()
    return loads.assignment()


def _most(keys: Iterable[K], workers: Mapping[K, int]) -> int | None:
    """Return the worker of most connections or machines, None if none is known."""
    known = Counter(workers[key] for key in keys if key in workers)
    return min(known, key=lambda number: (-known[number], number), default=None)


def running_in(found: Iterable[Bundle], assignment: Assignment) -> dict[object, int]:
    """Return the worker of each connection."""
    return {shared: assignment[bundle.machines[0]] for bundle in found for shared in bundle.shared}


def _cost(bundle: Bundle) -> float:
    return bundle.cost


class _Loads:
    """The bundles of each worker, lowest cost first, and the sums of their costs."""

    def __init__(self, workers: int) -> None:
        self._bundles: dict[int, list[Bundle]] = {number: [] for number in range(1, workers + 1)}
        self._sums = dict.fromkeys(self._bundles, 0.0)

    def add(self, number: int, bundle: Bundle) -> None:
        insort(self._bundles[number], bundle)
        self._sums[number] += bundle.cost

    def lowest(self) -> int:
        return min(self._sums, key=lambda number: (self._sums[number], number))

    def balance(self) -> None:
        """Move bundles until no move makes two loads that differ much more equal: each lowers the sum of squares."""
        while (move := self._move()) is not None:
            source, target, at = move
            bundle = self._bundles[source].pop(at)
            self._sums[source] -= bundle.cost
            self.add(target, bundle)

    def _move(self) -> tuple[int, int, int] | None:
        """Return the source, the target and the position of a bundle whose move helps most; None if none helps."""
        target = self.lowest()
        mean = math.fsum(self._sums.values()) / len(self._sums)
        for source in sorted(self._sums, key=lambda number: (-self._sums[number], number)):
            gap = self._sums[source] - self._sums[target]
            if gap <= TOLERANCE * mean:
                return None
            there = self._bundles[source]
            after = bisect_left(there, gap / 2, key=_cost)
            fitting = [at for at in (after - 1, after) if 0 <= at < len(there) and there[at].cost < MOST_OF_GAP * gap]
            if fitting:
                return source, target, min(fitting, key=lambda at: abs(there[at].cost - gap / 2))
        return None

    def assignment(self) -> Assignment:
        return {
            machine: number
            for number, found in self._bundles.items()
            for bundle in found
            for machine in bundle.machines
        }


class _File(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(strict=True, frozen=True)

    machines: dict[str, Annotated[int, Field(ge=1, le=MAX_WORKERS)]]


def assignment_file(folder: Path, gateway: str) -> Path:
    """Return the file with the assignment of a gateway. A gateway without it has all machines in one process."""
    return folder / f"{gateway}.workers.json"


def read_assignment(file: Path) -> Assignment | None:
    """Return the assignment of the last run, None if it had no workers. A damaged file is logged; it counts as empty.

    Then totals of counters and discovered points of some machines begin again.
    """
    try:
        return _File.model_validate_json(read_own(file, MAX_FILE_BYTES)).machines
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("assignment.unreadable", file=str(file), error=f"{error.error_count()} errors")
    except (OSError, ValueError) as error:
        log.warning("assignment.unreadable", file=str(file), error=str(error))
    return {}


def save_assignment(file: Path, assignment: Assignment) -> None:
    """Write an assignment; remove the file if the first worker reads all machines. Raises `OSError`."""
    if set(assignment.values()) <= {1}:
        file.unlink(missing_ok=True)
    else:
        save_json(file, {"machines": assignment})
