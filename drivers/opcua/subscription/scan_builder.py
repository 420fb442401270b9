"""Makes scans of data changes: determines the time of each reading, and leaves out readings that are not new."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from drivers.base import Scan
from drivers.opcua.codec.change_layouts import MAX_LAYOUTS
from drivers.opcua.codec.data_changes import microseconds
from drivers.opcua.codec.values import OVERFLOW, point_reading
from drivers.opcua.errors import NO_NODE
from drivers.opcua.history.backfill import SAME, Gap
from drivers.opcua.settings import Time
from drivers.opcua.subscription.client_handles import ClientHandles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drivers.base import Value
    from drivers.opcua.codec.change_layouts import ChangeLayout
    from drivers.opcua.codec.data_changes import DataChanges
    from drivers.opcua.codec.structures import Structures
    from drivers.opcua.counters import Counters
    from drivers.opcua.settings import OpcUaGroup

    Latest = dict[OpcUaGroup, dict[int, int]]
    """The newest source times that were delivered, by group and position, over all connections."""

_PLAIN = {bool, int, float}
"""Types of values that become readings without a conversion."""


OVERTAKEN = 10_000_000
"""Microseconds for which changes that are older than a value that was read come late."""

SAMPLED = 60_000_000
"""Microseconds before now in which the server may have sampled the first value after an outage."""


class _Plan(NamedTuple):
    """The scans of changes of one layout: the handles of the items, and the part of each group."""

    handles: frozenset[int]
    parts: list[_Part]


class _Part(NamedTuple):
    """The changes of a layout that belong to one group: the positions of its points, and the way to pick a column."""

    group: OpcUaGroup
    positions: tuple[int, ...]
    pick: Callable[[list[Any]], list[Any]]


class ScanBuilder(ClientHandles):
    """Makes scans of the changes of a session's points; `structures` are the server's structure definitions.

    Plain good values are processed by columns, all others one by one. `ahead` is the lead of the server's clock over
    ours in microseconds, and `clock_error` the largest possible error of it.
    """

    def __init__(self, counters: Counters, latest: Latest, *, interrupted: bool = False, connected: int = 0) -> None:
        """Prepare; `counters` counts `overflows`; `interrupted` is True if the points were bad until `connected`."""
        super().__init__()
        self.structures: Structures | None = None
        self.ahead = 0
        self.clock_error = 0
        self._counters = counters
        self._latest = latest
        self._interrupted = interrupted
        self._connected = connected
        self._gaps: list[Gap] = []
        self._gone: set[int] = set()  # handles of nodes that were removed
        self._past = False  # True while changes of an earlier session are processed
        self._overtaken: dict[int, tuple[int, int]] = {}  # handle -> source ticks that were read, time to forget it
        self._plans: dict[ChangeLayout, _Plan | None] = {}

    def take_gone(self) -> dict[int, list[tuple[OpcUaGroup, int]]]:
        """Return the points whose nodes were removed from the server, by client handle, once."""
        gone, self._gone = self._gone, set()
        return {handle: self.of(handle) for handle in gone}

    def take_gaps(self) -> list[Gap]:
        """Return the new gaps in which changes were missed, once."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def newer(self, changes: DataChanges) -> DataChanges:
        """Return the read values that are, or may be, others than the delivered values of their items."""
        kept = []
        for place, (handle, source) in enumerate(zip(changes.handles, changes.source_times, strict=True)):
            if source is None or source != self._newest(handle):
                kept.append(place)
        return changes.chosen(kept)

    def present(self, group: OpcUaGroup, now: int) -> int:
        """Return the present time by the clock that stamps a group's values; `now` is by the gateway's clock."""
        return now if group.connection.time_of(pushed=True) is Time.GATEWAY else now + self.ahead

    def overtake(self, changes: DataChanges, now: int) -> list[Scan]:
        """Return the scans of values that were read, while changes before them may wait in the server's queues.

        These changes come late, and the values that were read are left out when they come once more.
        """
        scans = self.scans(changes, now)
        until = now + OVERTAKEN
        ticks = zip(changes.handles, changes.source_ticks, strict=True)
        self._overtaken |= {handle: (source, until) for handle, source in ticks if source > 0}
        return scans

    def _overtaken_by_read(self, changes: DataChanges, now: int) -> tuple[DataChanges, DataChanges]:
        """Return the changes after the values that were read, and those before them."""
        after, before = [], []
        for place, (handle, source) in enumerate(zip(changes.handles, changes.source_ticks, strict=True)):
            read, until = self._overtaken.get(handle, (0, 0))
            if 0 < source < read and now < until:
                before.append(place)
                continue
            if source != read or not read:
                after.append(place)
            self._overtaken.pop(handle, None)
        return changes.chosen(after), changes.chosen(before)

    def _newest(self, handle: int) -> int | None:
        return self._latest[self._groups[handle]].get(self._positions[handle])

    def missed(self, parts: Sequence[DataChanges], now: int) -> list[Scan]:
        """Return late scans of changes from the server's queue of an earlier session, with their own times.

        Times without changes in between become gaps. Changes without a source time, and values that were delivered
        before, are left out: some servers send all values again after a session takeover.
        """
        self._fresh.clear()
        self._past = True
        before: dict[int, int | None] = {}
        delivered: defaultdict[int, set[int]] = defaultdict(set)
        scans = []
        for changes in map(self._ours, parts):
            kept = []
            for place, (handle, source) in enumerate(zip(changes.handles, changes.source_times, strict=True)):
                newest = before.setdefault(handle, self._newest(handle))
                if source is not None and source != newest and source not in delivered[handle]:
                    delivered[handle].add(source)
                    kept.append(place)
            scans += self.scans(changes.chosen(kept), now) if kept else []
        for handle, start in before.items():
            if start is not None and delivered[handle]:
                self._add_gap(handle, start, max(delivered[handle]), frozenset(delivered[handle]))
        for scan in scans:
            scan.late = True
        return scans

    def _add_gap(self, handle: int, start: int, end: int, delivered: frozenset[int] = frozenset()) -> None:
        known = delivered | {start, end}
        self._gaps += [Gap(*point, start, end, known) for point in self.of(handle)]

    # -- scans --

    def scans(self, changes: DataChanges, now: int) -> list[Scan]:
        """Return the changes as scans: one for each group, or several if a point changed several times.

        The first value of an item after a reconnection is the present value: if it was delivered before the outage,
        it is delivered again with the present time, since its point was bad meanwhile.
        """
        plan = None if changes.layout is None else self._plan(changes.layout)
        if plan is not None and min(changes.source_ticks) > 0 and self._expects_nothing_of(plan.handles):
            return self._planned(plan, changes, now)
        changes, queued = self._ours(changes), None
        if self._overtaken and not self._overtaken.keys().isdisjoint(changes.handles):
            changes, queued = self._overtaken_by_read(changes, now)
        late = self._late_scans(queued, now) if queued is not None and queued.handles else []
        return self._scans_of(changes, now, late)

    def _plan(self, layout: ChangeLayout) -> _Plan | None:
        """Return where the changes of a layout belong; None if some of them are processed one by one."""
        if layout not in self._plans:
            if len(self._plans) >= MAX_LAYOUTS:
                del self._plans[next(iter(self._plans))]
            self._plans[layout] = self._compiled(layout.handles)
        return self._plans[layout]

    def _compiled(self, handles: list[int]) -> _Plan | None:
        distinct = frozenset(handles)
        if max(handles) >= self.size or len(distinct) < len(handles) or not self._special.isdisjoint(distinct):
            return None
        parts = [
            _Part(group, tuple(self._positions[handles[place]] for place in places), _picker(places, len(handles)))
            for (group, _), places in self._places(handles, distinct=True).items()
        ]
        return _Plan(distinct, parts)

    def _expects_nothing_of(self, handles: frozenset[int]) -> bool:
        """Return True if all changes of these items are new values: none is a first value, or one that was read."""
        return (
            self._fresh.isdisjoint(handles)
            and self._read.keys().isdisjoint(handles)
            and self._overtaken.keys().isdisjoint(handles)
        )

    def _planned(self, plan: _Plan, changes: DataChanges, now: int) -> list[Scan]:
        """Return scans of changes that are plain and good, and have source times."""
        sources = changes.source_times
        times = self._times(changes, sources, now)
        scans = []
        for group, positions, pick in plan.parts:
            self._latest[group].update(zip(positions, cast("list[int]", pick(sources)), strict=True))
            scans.append(Scan(group, now, pick(changes.values), {}, positions, cast("list[int]", pick(times))))
        return scans

    def _scans_of(self, changes: DataChanges, now: int, late: list[Scan]) -> list[Scan]:
        """Return scans of changes of the present items, and behind them those that are `late`."""
        if not changes.handles:
            return late
        handles, sources = changes.handles, changes.source_times
        distinct = len(set(handles)) == len(handles)
        odd = self._odd(changes, sources, distinct=distinct)
        following = {} if distinct or self._fresh.isdisjoint(handles) else self._following(changes, sources)
        times = self._times(changes, sources, now)
        scans: dict[tuple[OpcUaGroup, int], Scan] = {}
        for key, places in self._places(handles, distinct=distinct).items():
            group, _ = key
            scan = Scan(group, now, [], {}, [], [])
            plain = places
            if odd:
                plain = [place for place in places if place not in odd]
                for place in filter(odd.__contains__, places):
                    late += self._take(changes, place, sources[place], scan, following)
            if len(plain) == len(handles):
                scan = self._columns(group, now, handles, changes.values, sources, times)
            elif plain:
                columns: list[list[Any]] = [handles, changes.values, sources, times]
                more = self._columns(group, now, *(_picked(column, plain) for column in columns))
                for column, values in (
                    (scan.values, more.values),
                    (scan.points, more.points),
                    (scan.times, more.times),
                ):
                    cast("list[Any]", column).extend(cast("list[Any]", values))
            scans[key] = scan
        return [*scans.values(), *late]

    def _late_scans(self, changes: DataChanges, now: int) -> list[Scan]:
        """Return late scans of changes that values were read after."""
        newest = {handle: self._newest(handle) for handle in set(changes.handles)}
        scans = self._scans_of(changes, now, [])
        for handle, source in newest.items():
            if source is not None:
                self._latest[self._groups[handle]].update(dict.fromkeys(self.positions(handle), source))
        for scan in scans:
            scan.late = True
        return scans

    def _following(self, changes: DataChanges, sources: Sequence[int | None]) -> dict[int, int]:
        """Return the earliest time of all but the first change of each item, by the clock of its point."""
        servers = changes.server_times
        seen: set[int] = set()
        found: dict[int, int] = {}
        for place, handle in enumerate(changes.handles):
            time = sources[place] if self._modes[handle] is Time.SOURCE else servers[place]
            if handle in seen and time is not None:
                found[handle] = min(time, found.get(handle, time))
            seen.add(handle)
        return found

    def _odd(self, changes: DataChanges, sources: Sequence[int | None], *, distinct: bool) -> set[int]:
        """Return the places of changes that are processed one by one."""
        handles = changes.handles
        odd: set[int] = set()
        if any(changes.statuses):
            odd.update(place for place, status in enumerate(changes.statuses) if status)
        if not _PLAIN.issuperset(map(type, changes.values)):
            odd.update(place for place, value in enumerate(changes.values) if type(value) not in _PLAIN)
        if None in sources:
            odd.update(place for place, source in enumerate(sources) if source is None)
        for some in (self._special, self._fresh):
            if some and not some.isdisjoint(handles):
                odd.update(place for place, handle in enumerate(handles) if handle in some)
        if odd and not distinct:  # all changes of such a point, so that they keep their order
            whose = {handles[place] for place in odd}
            odd.update(place for place, handle in enumerate(handles) if handle in whose)
        return odd

    def _places(self, handles: Sequence[int], *, distinct: bool) -> dict[tuple[OpcUaGroup, int], Sequence[int]]:
        """Return the places of each scan's changes, by group and number of earlier changes of its points.

        A scan contains a point once: the second change of a node goes into the group's second scan.
        """
        groups = [self._groups[handle] for handle in handles]
        if distinct and groups.count(groups[0]) == len(groups):
            return {(groups[0], 0): range(len(groups))}
        places: defaultdict[tuple[OpcUaGroup, int], list[int]] = defaultdict(list)
        turns: Counter[int] = Counter()
        turn = 0
        for place, (group, handle) in enumerate(zip(groups, handles, strict=True)):
            if not distinct:
                turn = turns[handle]
                turns[handle] += 1
            places[group, turn].append(place)
        return dict(places)

    def _times(self, changes: DataChanges, sources: list[int | None], now: int) -> list[int | None]:
        """Return the times of values by the clock that most points use."""
        match self._modes[0]:
            case Time.SOURCE:
                return sources
            case Time.SERVER:
                return [now if time is None else time for time in changes.server_times]
            case Time.GATEWAY if not self._past:
                return [now] * len(sources)
            case Time.GATEWAY:
                return [self._arrived(server, now) for server in changes.server_times]

    def _columns(
        self, group: OpcUaGroup, now: int, handles: list[int], values: list[Value | None], sources: list[int | None],
        times: list[int | None],
    ) -> Scan:  # fmt: skip
        """Return a scan of plain changes, which all have source times."""
        positions = list(map(self._positions.__getitem__, handles))
        self._latest[group].update(zip(positions, cast("list[int]", sources), strict=True))
        return Scan(group, now, values, {}, positions, cast("list[int]", times))

    def _take(
        self, changes: DataChanges, place: int, source: int | None, scan: Scan, following: Mapping[int, int]
    ) -> list[Scan]:
        """Add one change to its scan; return additional late scans of the change."""
        handle, value, status = changes.handles[place], changes.values[place], changes.statuses[place]
        variant = changes.variants.get(place)
        [server] = microseconds(changes.server_ticks[place : place + 1])
        time, since = self._when(handle, source, server, scan.time, following.get(handle))
        if status & OVERFLOW == OVERFLOW:
            self._counters.overflows += 1
        if status in NO_NODE:
            self._gone.add(handle)
        late = []
        for position in self.positions(handle):
            found, fault = point_reading(self._groups[handle], position, value, status, variant, self.structures)
            if fault is not None:
                scan.faults[len(scan.values)] = fault
            if since is not None:
                late.append(_late(scan, found, position, since))
            scan.values.append(found)
            cast("list[int]", scan.points).append(position)
            cast("list[int]", scan.times).append(time)
        return late

    def _when(
        self, handle: int, source: int | None, server: int | None, now: int, following: int | None = None
    ) -> tuple[int, int | None]:
        """Return the time of a value; and for a value that changed during an outage, the time of that change.

        The first value after an outage is valid from the time at which the server sampled it, or from now on, and
        never from a time after `following`, the time of the next change in the queue.
        """
        mode, newest = self._modes[handle], self._latest[self._groups[handle]]
        before = newest.get(self._positions[handle])
        time = source if mode is Time.SOURCE else server if mode is Time.SERVER else self._arrived(server, now)
        if time is None:
            time = server if server is not None else now
        if source is not None:
            newest.update(dict.fromkeys(self.positions(handle), source))
        if handle not in self._fresh:
            return time, None
        self._fresh.discard(handle)
        if before is None and not self._interrupted:
            return time, None
        present = self._present(mode, source, server, now, self._created.pop(handle, now))
        if following is not None and mode is not Time.GATEWAY:
            present = min(present, following - 1)
        if source is not None and before is not None and source > before:
            self._add_gap(handle, before, source)
        if source is not None and mode is Time.SOURCE and present - source < SAME:
            return source, None  # one reading shows the change and the presence
        if source is None or (before is not None and source <= before):
            return present, None
        if mode is not Time.SOURCE:  # the expected arrival time, by the gateway's clock
            since = source if server is None else server
            return present, since if mode is Time.SERVER else since - self.ahead
        return present, source

    def _present(self, mode: Time, source: int | None, server: int | None, now: int, created: int) -> int:
        """Return the time from which the first value after an outage is valid; its item was created after `created`.

        It is never late: a change that follows in another message would come before it.
        """
        if mode is Time.GATEWAY:
            return now
        present = created + self.ahead - self.clock_error
        since = self._connected + self.ahead  # until then the point was bad
        sampled = source is not None and server is not None and max(source + 1, since) <= server <= present
        return server if sampled and server is not None and present - server < SAMPLED else present

    def _arrived(self, server: int | None, now: int) -> int:
        """Return the actual or expected arrival time of a value."""
        return server - self.ahead if self._past and server is not None else now


def _picker(places: Sequence[int], size: int) -> Callable[[list[Any]], list[Any]]:
    """Return the function that returns the part of a column of this size at these places, in a list."""
    if len(places) == size:
        return _whole
    return partial(_picked, places=places)


def _whole(column: list[Any]) -> list[Any]:
    return column


def _picked(column: list[Any], places: Sequence[int]) -> list[Any]:
    return list(itemgetter(*places)(column)) if len(places) > 1 else [column[places[0]]]


def _late(scan: Scan, value: Value | None, position: int, time: int) -> Scan:
    """Return a late scan of one reading with its own time."""
    fault = scan.faults.get(len(scan.values))
    return Scan(scan.group, scan.time, [value], {} if fault is None else {0: fault}, [position], [time], late=True)
