"""Machine status: the state of each machine, derived from its points, so that a good group can't hide a bad group.

The state of a machine is published retained; each change is logged once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from drivers.base import Quality, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from drivers.base import Fault, Group, Scan
    from gateway.model.path import MachinePath

log = structlog.get_logger(__name__)

SIZES = 1000
"""Sizes of groups whose sets of all positions are kept."""


class State(StrEnum):
    """The state of a machine as the gateway sees it."""

    STARTING = "starting"  # nothing was read yet
    ONLINE = "online"  # every point is read
    DEGRADED = "degraded"  # some points are bad
    OFFLINE = "offline"  # every point is bad


@dataclass(slots=True)
class MachineStatus:
    """The state of one machine, its reason, and its beginning (microseconds since the epoch, UTC)."""

    path: MachinePath
    points: int
    state: State = State.STARTING
    reason: str = ""
    since: int = 0
    readings: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the state message."""
        return {"state": self.state.value, "reason": self.reason, "since": self.since}


class PointCounts(NamedTuple):
    """Points of a machine: how many are configured, and how many have a last reading, by its quality."""

    configured: int
    good: int
    uncertain: int
    bad: int


class _GroupState:
    """The points of a group that are bad or uncertain now, and those that were good or read before.

    Derived points do not decide on the state of their machine: a bad input does.
    """

    __slots__ = ("bad", "derived", "heard", "machine", "once_good", "uncertain")

    def __init__(self, machine: MachineStatus, *, derived: bool) -> None:
        self.machine = machine
        self.derived = derived
        self.bad: dict[int, Fault] = {}
        self.uncertain: set[int] = set()
        self.once_good: AbstractSet[int] = set()
        self.heard: AbstractSet[int] = set()


class MachineStatuses:
    """The states of all machines of one gateway."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._machines: dict[MachinePath, MachineStatus] = {}
        self._groups: dict[Group, _GroupState] = {}
        self._together: dict[MachinePath, dict[Group, _GroupState]] = {}
        self._changed: set[MachinePath] = set()
        self._to_judge: set[MachinePath] = set()
        self.change = asyncio.Event()

    def add(self, path: MachinePath, groups: Iterable[Group], derived: Group | None = None) -> None:
        """Add a machine with its groups, or change its groups; those that stay keep their state.

        `derived` is the group of its derived points.
        """
        groups = [*groups, *([] if derived is None else [derived])]
        points = sum(len(group.names) for group in groups)
        machine = self._machines.setdefault(path, MachineStatus(path, points, since=self._clock()))
        machine.points = points
        before = self._together.get(path, {})
        self._forget(before.keys() - groups)
        self._together[path] = {
            group: before.get(group) or _GroupState(machine, derived=group is derived) for group in groups
        }
        self._groups |= self._together[path]
        self._judge(machine)
        self._changed.add(path)
        self.change.set()

    def remove(self, path: MachinePath) -> None:
        """Remove a machine."""
        self._forget(self._together.pop(path))
        del self._machines[path]
        self._changed.discard(path)
        self._to_judge.discard(path)

    def _forget(self, groups: Iterable[Group]) -> None:
        for group in groups:
            del self._groups[group]

    @property
    def machines(self) -> Iterable[MachineStatus]:
        """All machines."""
        return self._machines.values()

    def take_changed(self) -> list[MachineStatus]:
        """Return the machines that changed since the last call."""
        changed, self._changed = self._changed, set()
        self.change.clear()
        return [self._machines[path] for path in changed]

    def points(self) -> dict[str, int]:
        """Return the numbers of points that are configured, and that are good, uncertain and bad now."""
        configured = sum(len(group.names) for group in self._groups)
        bad = sum(len(state.bad) for state in self._groups.values())
        uncertain = sum(len(state.uncertain) for state in self._groups.values())
        heard = sum(len(state.heard) for state in self._groups.values())
        good = heard - bad - uncertain
        return {"configured": configured, "good": good, "uncertain": uncertain, "bad": bad}

    def points_of(self, path: MachinePath) -> PointCounts:
        """Return the numbers of points of one machine."""
        bad = uncertain = heard = 0
        for state in self._together[path].values():
            bad += len(state.bad)
            uncertain += len(state.uncertain)
            heard += len(state.heard)
        return PointCounts(self._machines[path].points, heard - bad - uncertain, uncertain, bad)

    def qualities(self, path: MachinePath) -> Iterator[tuple[str, Quality]]:
        """Yield the name of each point of a machine that was read, and the quality of its last reading."""
        for group, state in self._together[path].items():
            for position in sorted(state.heard):
                bad, uncertain = position in state.bad, position in state.uncertain
                yield group.names[position], Quality.BAD if bad else Quality.UNCERTAIN if uncertain else Quality.GOOD

    def never_good(self) -> list[str]:
        """Return the paths of the points that were never good."""
        return [
            f"{state.machine.path}/{name}"
            for group, state in self._groups.items()
            for i, name in enumerate(group.names)
            if i not in state.once_good
        ]

    def note(self, scan: Scan) -> None:
        """Update the state of a machine from a normalized scan, before the filter."""
        known = self._groups[scan.group]
        known.machine.readings += len(scan.values)
        size = len(scan.group.names)
        if not scan.faults and len(known.once_good) == size and not known.bad:
            if scan.points is None:
                known.uncertain.clear()
            if not known.uncertain:
                return
        for i, position in enumerate(scan.points if scan.points is not None else range(size)):
            fault = scan.faults.get(i)
            if position not in known.heard:
                known.heard = _with(known.heard, position, size)
            if fault is None and position not in known.once_good:
                known.once_good = _with(known.once_good, position, size)
            known.bad.pop(position, None)
            known.uncertain.discard(position)
            if fault is not None and fault.quality is Quality.BAD:
                known.bad[position] = fault
            elif fault is not None:
                known.uncertain.add(position)
        if not self._to_judge:
            # judged once all that was delivered together is known: an outage is one change, not one a group
            asyncio.get_running_loop().call_soon(self._judge_all)
        self._to_judge.add(known.machine.path)

    def _judge_all(self) -> None:
        paths, self._to_judge = self._to_judge, set()
        for path in paths:
            self._judge(self._machines[path])

    def _judge(self, machine: MachineStatus) -> None:
        groups = {group: state for group, state in self._together[machine.path].items() if not state.derived}
        states, points = groups.values(), sum(len(group.names) for group in groups)
        faults = [fault for state in states for fault in state.bad.values()]
        if not faults:
            heard = sum(len(state.heard) for state in states)
            # points that were never heard of (a subscription that is still being made) are not online yet
            state, reason = (State.ONLINE, "") if heard == points else (machine.state, machine.reason)
        else:
            state = State.OFFLINE if len(faults) == points else State.DEGRADED
            reason = _common_reason(faults)
        if (state, reason) == (machine.state, machine.reason):
            return
        level = log.info if state is State.ONLINE else log.warning
        level(f"machine.{state.value}", machine=str(machine.path), reason=reason, was=machine.state.value)
        machine.state, machine.reason, machine.since = state, reason, self._clock()
        self._changed.add(machine.path)
        self.change.set()


def _with(positions: AbstractSet[int], position: int, size: int) -> AbstractSet[int]:
    """Return the positions of some points of a group of `size` points, with one more."""
    if len(positions) == size - 1:
        return _all(size)
    assert isinstance(positions, set)  # noqa: S101 - those of all points have each position
    positions.add(position)
    return positions


@lru_cache(SIZES)
def _all(size: int) -> frozenset[int]:
    """Return the positions of all points of a group, one object for all groups of this size."""
    return frozenset(range(size))


def _common_reason(faults: list[Fault]) -> str:
    """Return the reason that all faults have, or `other`."""
    reasons = {fault.reason for fault in faults}
    return next(iter(reasons)).value if len(reasons) == 1 else Reason.OTHER.value
