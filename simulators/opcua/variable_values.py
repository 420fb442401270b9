"""The values that the variables of a machine hold in a running OPC UA server, and the samplers that report changes.

A value is computed when a client reads it or when a monitored item is due. Nothing is computed while nobody reads.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from simulators.opcua.variables import DerivedVariable, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from drivers.base import Value
    from simulators.machines.outputs import MachineOutputs

    NumberEncoding = tuple[int, Callable[..., bytes], int, Callable[[Value], Value]]
    """How a variable of one number is encoded: its point's position, what packs a change, the built-in type's number,
    and the function from the point's value to the device's."""

    class Sampler(Protocol):
        """Reports changes; `dirty` collects the numbers of variables that have changed since the last sample."""

        dirty: set[int]

        def due(self, sample: int) -> bool:
            """Return True if the server's sample of that number is one to report at."""

        async def sample(self, sample: int) -> None:
            """Report what has changed."""


SAMPLING_INTERVAL = 0.5
"""Seconds between two samples of the machines: the fastest sampling interval of a monitored item."""

TICKS_PER_SECOND = 10_000_000
"""Of a DateTime, which counts from 1601 (OPC 10000-6, clause 5.2.2.5)."""

ILLEGAL: Final = object()
"""The content of a node that the device does not have."""

GOOD_ENCODING_MASK = 0x0D
"""DataValue with a value and both timestamps, and no status (OPC 10000-6, clause 5.2.2.17)."""


class Layout:
    """The variables of machines of one template, by number: those of points first, then derived variables."""

    def __init__(self, variables: Sequence[Variable], derived: Sequence[DerivedVariable]) -> None:
        self.variables: list[Variable | DerivedVariable] = [*variables, *derived]
        self.of_points, self.derived = variables, derived
        self.names = [point.name for variable in variables for point in variable.points]
        self.owners = [number for number, variable in enumerate(variables) for _ in variable.points]
        self.first = [self.owners.index(number) for number in range(len(variables))]
        self.numbers = [self._number_encoding(number) for number in range(len(self.variables))]
        self.get = _getter(self.names)

    def _number_encoding(self, number: int) -> NumberEncoding | None:
        variable = self.variables[number]
        if not isinstance(variable, Variable) or variable.form is None:
            return None
        return self.first[number], variable.form.pack, variable.code, variable.raw


class VariableValues:
    """The values of the variables of one machine.

    `current`  value of each point when it was sampled last; None for a broken sensor, `ILLEGAL` for a missing node
    `source_time`, `server_time`  DateTime of each variable's last change, by the machine's clock and by the server's
    """

    def __init__(self, outputs: MachineOutputs, layout: Layout) -> None:
        self.outputs, self.layout = outputs, layout
        self.samplers: list[Sampler] = []
        self._revision: object = None
        self._sampled_at = -SAMPLING_INTERVAL
        self.current: tuple[Any, ...] = (ILLEGAL,) * len(layout.names)
        self._derived: list[Any] = [ILLEGAL] * len(layout.derived)
        self.source_time = [0] * len(layout.variables)
        self.server_time = [0] * len(layout.variables)

    def refresh(self, *, on_time: bool = False) -> None:
        """Take the machine's values, unless that was done a moment ago, and mark the variables that have changed.

        A read between two samples (`on_time`) of monitored items returns the values of the last sample. Otherwise a
        reader would see values that no subscriber ever gets.
        """
        outputs, layout, now = self.outputs, self.layout, time.monotonic()
        recent = 2 * SAMPLING_INTERVAL if self.samplers and not on_time else SAMPLING_INTERVAL / 2
        if outputs.revision == self._revision or now - self._sampled_at < recent:
            return
        with outputs.lock:
            self._revision, self._sampled_at = outputs.revision, now
            values, illegal = outputs.values(), outputs.network.illegal
        current = layout.get(values)
        if illegal:
            current = tuple(
                ILLEGAL if name in illegal else value for name, value in zip(layout.names, current, strict=True)
            )
        before, self.current, owners = self.current, current, layout.owners
        changed = {
            owners[i]
            for i, (value, last) in enumerate(zip(current, before, strict=True))
            if value is not last and value != last
        }
        for i, variable in enumerate(layout.derived):
            derived = variable.value(values).Value
            if derived != self._derived[i]:
                self._derived[i] = derived
                changed.add(len(layout.of_points) + i)
        server_time = _now()
        source_time = server_time + round(outputs.network.clock * TICKS_PER_SECOND)
        for number in changed:
            self.source_time[number], self.server_time[number] = source_time, server_time
        for sampler in self.samplers:
            sampler.dirty |= changed

    async def sample(self, sample: int) -> None:
        """Let the samplers that are due report what has changed."""
        due = [sampler for sampler in self.samplers if sampler.due(sample)]
        if due:
            self.refresh(on_time=True)
            for sampler in due:
                await sampler.sample(sample)

    def content(self, number: int) -> Any:  # noqa: ANN401 - a value, a tuple of values, None, or ILLEGAL
        """Return the content of a variable, which differs from one of its states to another."""
        of_points = self.layout.of_points
        if number >= len(of_points):
            return self._derived[number - len(of_points)]
        first, points = self.layout.first[number], len(of_points[number].points)
        return self.current[first] if points == 1 else self.current[first : first + points]

    def limits(self, number: int) -> ua.Range | None:
        """Return the range of a variable, None if it has none."""
        variable = self.layout.variables[number]
        return variable.limits if isinstance(variable, Variable) else None

    def device_number(self, number: int) -> float | None:
        """Return a good number as the device holds it, for deadbands; None for anything else."""
        variable, content = self.layout.variables[number], self.content(number)
        if isinstance(variable, Variable) and variable.form is not None and isinstance(content, int | float):
            return float(cast("float", variable.raw(content)))
        return None

    def data_value(self, number: int) -> ua.DataValue:
        """Return the DataValue of a variable."""
        content, variable = self.content(number), self.layout.variables[number]
        if content is ILLEGAL or (isinstance(content, tuple) and ILLEGAL in content):
            return ua.DataValue(StatusCode=_status(ua.StatusCodes.BadNodeIdUnknown))
        status = ua.StatusCodes.Good
        if isinstance(variable, DerivedVariable):
            value: ua.Variant | None = ua.Variant(content, variable.kind)
        else:
            value = variable.value(dict(zip(self.layout.names, self.current, strict=True)))
            status = ua.StatusCodes.BadSensorFailure if value is None else status
        return ua.DataValue(
            value,
            _status(status),
            SourceTimestamp=_datetime(self.source_time[number]),
            ServerTimestamp=_datetime(self.server_time[number]),
        )

    def encoded_change(self, number: int, handle: int) -> bytes:
        """Return a MonitoredItemNotification (OPC 10000-4, clause 7.25.2) of a variable, encoded."""
        encoding = self.layout.numbers[number]
        if encoding is not None:
            position, pack, code, raw = encoding
            content = self.current[position]
            if content is not None and content is not ILLEGAL:
                times = self.source_time[number], self.server_time[number]
                return pack(handle, GOOD_ENCODING_MASK, code, raw(content), *times)
        return struct_to_binary(ua.MonitoredItemNotification(ua.IntegerId(handle), self.data_value(number)))


def _now() -> int:
    """Return the time as the ticks of a DateTime."""
    return time.time_ns() // 100 + ua.uatypes.EPOCH_AS_FILETIME


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Value | None]], tuple[Any, ...]]:
    """Return a function that picks the values of these names."""
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return cast("Any", itemgetter)(*names)  # type: ignore[no-any-return]


def _datetime(ticks: int) -> ua.DateTime:
    return cast("ua.DateTime", datetime.fromtimestamp((ticks - ua.uatypes.EPOCH_AS_FILETIME) / TICKS_PER_SECOND, UTC))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
