"""What the variables of machines hold in a running OPC UA server, since when, and who is told when that changes.

A value is looked at when somebody reads it, or when a monitored item is due; nothing is written while nobody looks.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from simulators.opcua.server import REFRESH
from simulators.opcua.variables import Following, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from drivers.base import Value
    from simulators.machines.outputs import MachineOutputs

    Plain = tuple[int, Callable[..., bytes], int, Callable[[Value], Value]]
    """A variable of one number: its point's position, what packs a change, the number of its type, and what makes of
    a point's value what the device holds."""

    class Watch(Protocol):
        """Who is told: `dirty` gets the numbers of variables that have changed since the last sample."""

        dirty: set[int]

        def due(self, look: int) -> bool:
            """Return whether the look of that number is one to sample at."""

        async def sample(self, look: int) -> None:
            """Tell what has changed."""


TICKS = 10_000_000
"""Of the clock of OPC UA in a second; it counts from 1601 (OPC 10000-6, clause 5.2.2.5)."""

ILLEGAL: Final = object()
"""Stands where a value would, of a node that the device does not have."""

GOOD = 0x0D
"""What a good change tells of itself: a value and both times follow, and no status (OPC 10000-6, clause 5.2.2.17)."""


def ticks() -> int:
    """Return the time now, as messages have it."""
    return time.time_ns() // 100 + ua.uatypes.EPOCH_AS_FILETIME


class Layout:
    """The variables of machines of one template, by number: those of points, then those that follow from these."""

    def __init__(self, variables: Sequence[Variable], following: Sequence[Following]) -> None:
        self.variables: list[Variable | Following] = [*variables, *following]
        self.of_points, self.following = variables, following
        self.names = [point.name for variable in variables for point in variable.points]
        self.owners = [number for number, variable in enumerate(variables) for _ in variable.points]
        self.first = [self.owners.index(number) for number in range(len(variables))]
        self.plain = [self._plain(number) for number in range(len(self.variables))]
        self.get = _getter(self.names)

    def _plain(self, number: int) -> Plain | None:
        """Return how a variable of one number is told of."""
        variable = self.variables[number]
        if not isinstance(variable, Variable) or variable.form is None:
            return None
        return self.first[number], variable.form.pack, variable.code, variable.raw


class VariableValues:
    """What the variables of one machine hold.

    `seen`    what each point showed when it was looked at last; None where a sensor is broken, `ILLEGAL` no node
    `source`, `server`  when that of each variable was first seen, by the machine's clock and by the server's
    """

    def __init__(self, shown: MachineOutputs, layout: Layout) -> None:
        self.shown, self.layout = shown, layout
        self.watches: list[Watch] = []
        self._stamp: object = None
        self._looked = -REFRESH
        self.seen: tuple[Any, ...] = (ILLEGAL,) * len(layout.names)
        self._follows: list[Any] = [ILLEGAL] * len(layout.following)
        self.source = [0] * len(layout.variables)
        self.server = [0] * len(layout.variables)

    def look(self, *, on_time: bool = False) -> None:
        """Look at what the machine shows, unless that was done a moment ago; note what has changed since.

        Who reads between the looks that are `on_time` for who samples is told what was seen then: else one would be
        told of a value that the others never meet.
        """
        shown, layout, clock = self.shown, self.layout, time.monotonic()
        recent = 2 * REFRESH if self.watches and not on_time else REFRESH / 2
        if (stamp := shown.stamp) == self._stamp or clock - self._looked < recent:
            return
        self._stamp, self._looked = stamp, clock
        values, illegal = shown.values(), shown.link.illegal
        seen = layout.get(values)
        if illegal:
            seen = tuple(ILLEGAL if name in illegal else one for name, one in zip(layout.names, seen, strict=True))
        before, self.seen, owners = self.seen, seen, layout.owners
        changed = {
            owners[i]
            for i, (now, then) in enumerate(zip(seen, before, strict=True))
            if now is not then and now != then
        }
        for i, one in enumerate(layout.following):
            follows = one.value(values).Value
            if follows != self._follows[i]:
                self._follows[i] = follows
                changed.add(len(layout.of_points) + i)
        at = ticks()
        own = at + round(shown.link.clock * TICKS)
        for number in changed:
            self.source[number], self.server[number] = own, at
        for watch in self.watches:
            watch.dirty |= changed

    async def sample(self, look: int) -> None:
        """Tell what has changed to whom that look is one to sample at."""
        due = [watch for watch in self.watches if watch.due(look)]
        if due:
            self.look(on_time=True)
            for watch in due:
                await watch.sample(look)

    def content(self, number: int) -> Any:  # noqa: ANN401 - a value, several, None where a sensor is broken, or ILLEGAL
        """Return what tells one state of a variable from another."""
        of_points = self.layout.of_points
        if number >= len(of_points):
            return self._follows[number - len(of_points)]
        first, held = self.layout.first[number], len(of_points[number].points)
        return self.seen[first] if held == 1 else self.seen[first : first + held]

    def limits(self, number: int) -> ua.Range | None:
        """Return the range of a variable, None where it has none."""
        variable = self.layout.variables[number]
        return variable.limits if isinstance(variable, Variable) else None

    def size(self, number: int) -> float | None:
        """Return a good number as the device holds it, for deadbands; None for anything else."""
        variable, content = self.layout.variables[number], self.content(number)
        if isinstance(variable, Variable) and variable.form is not None and isinstance(content, int | float):
            return float(cast("float", variable.raw(content)))
        return None

    def data(self, number: int) -> ua.DataValue:
        """Return what a variable holds, as it is read."""
        content, variable = self.content(number), self.layout.variables[number]
        if content is ILLEGAL or (isinstance(content, tuple) and ILLEGAL in content):
            return ua.DataValue(StatusCode=_status(ua.StatusCodes.BadNodeIdUnknown))
        status = ua.StatusCodes.Good
        if isinstance(variable, Following):
            value: ua.Variant | None = ua.Variant(content, variable.kind)
        else:
            value = variable.value(dict(zip(self.layout.names, self.seen, strict=True)))
            status = ua.StatusCodes.BadSensorFailure if value is None else status
        return ua.DataValue(
            value,
            _status(status),
            SourceTimestamp=_moment(self.source[number]),
            ServerTimestamp=_moment(self.server[number]),
        )

    def change(self, number: int, handle: int) -> bytes:
        """Return a MonitoredItemNotification (OPC 10000-4, clause 7.25.2) of what a variable holds."""
        plain = self.layout.plain[number]
        if plain is not None:
            position, pack, code, raw = plain
            content = self.seen[position]
            if content is not None and content is not ILLEGAL:
                return pack(handle, GOOD, code, raw(content), self.source[number], self.server[number])
        return struct_to_binary(ua.MonitoredItemNotification(ua.IntegerId(handle), self.data(number)))


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Value | None]], tuple[Any, ...]]:
    """Return what picks so many values at once."""
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return cast("Any", itemgetter)(*names)  # type: ignore[no-any-return]


def _moment(at: int) -> ua.DateTime:
    return cast("ua.DateTime", datetime.fromtimestamp((at - ua.uatypes.EPOCH_AS_FILETIME) / TICKS, UTC))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
