"""The report of reading real machines: by machines, with hints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivers.base import Quality, Reason
from gateway.acquisition.device_clock import CLOCKS_APART
from gateway.check.devices import devices_of, read_devices
from gateway.check.flags import decisive, flags
from gateway.check.hints import why_not_connected, why_not_read
from gateway.check.results import Checked, CheckedMachine, Report, doubt, wrong
from gateway.common.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import DeviceWarning
    from drivers.trace import Tracer
    from gateway.check.devices import Device, GroupTaken, Patience
    from gateway.check.flags import Taken
    from gateway.check.results import Finding
    from gateway.settings.factory import Machine


async def check_machines(
    file: str,
    machines: Sequence[Machine],
    patience: Patience,
    progress: Callable[[int, int], None],
    tracer: Tracer | None = None,
) -> Report:
    """Read all points of machines, and return the report.

    `progress` gets the counts of finished and all devices, `tracer` the messages on the wire.
    """
    began = time.monotonic()
    devices = devices_of(machines)
    done = 0

    def finished() -> None:
        nonlocal done
        done += 1
        progress(done, len(devices))

    progress(0, len(devices))
    await read_devices(devices, patience, finished, tracer)
    found = {one.path: _machine(device, one, taken) for device in devices for one, taken in device.machines}
    return Report(file, time.monotonic() - began, [found[machine.path] for machine in machines])


def _machine(device: Device, machine: Machine, groups: Sequence[GroupTaken]) -> CheckedMachine:
    checked = CheckedMachine(machine.path, machine.template, _reached(machine))
    warnings = [warning for warning in device.warnings if warning.machine == str(machine.path)]
    if device.error:
        checked.absent = True
        checked.findings.append(_absent("not_connected", device.error, why_not_connected(device.error)))
    elif groups and all(_silent(one) for taken in groups for one in taken.readings):
        fault = next(one[-1].fault for taken in groups for one in taken.readings)
        checked.absent = True
        reason = fault.reason if fault is not None else Reason.NO_RESPONSE
        said = f"{reason.replace('_', ' ')} {fault.code if fault is not None else ''}".strip()
        hint = why_not_connected(said) if reason is Reason.NOT_CONNECTED else ""
        hint = hint or why_not_read(reason, machine.protocol.explore)
        seen = "; ".join(dict.fromkeys(warning.text for warning in warnings))
        checked.findings.append(_absent(reason, said, seen or hint))
    if not checked.absent:
        checked.findings += [doubt("device", _warned(warning, machine)) for warning in warnings]
    checked.findings += device.searched.get(str(machine.path), [])
    if device.ahead is not None and abs(device.ahead) > CLOCKS_APART:
        checked.findings.append(doubt("clock", _clock(device.ahead)))
    for taken in groups:
        checked.points += _points(taken, machine, checked, warnings)
        checked.findings += [] if checked.absent else _slow(taken)
        checked.notes += _pace(taken)
    if machine.derived:
        checked.notes.append(
            f"{counted(len(machine.derived), 'derived point')} not checked: the gateway derives them"
        )
    in_order = {point.name: i for i, point in enumerate(machine.points)}
    checked.points.sort(key=lambda point: in_order[point.name])
    return checked


def _absent(kind: str, said: str, hint: str) -> Finding:
    return wrong(kind, f"{said}: {hint}" if hint else said)


def _warned(warning: DeviceWarning, machine: Machine) -> str:
    """Return the text of a warning, with the points that it concerns unless it concerns all."""
    if {point.name for point in machine.points} <= set(warning.points):
        return warning.text
    return f"{listed(warning.points)}: {warning.text}"


def _silent(readings: Sequence[Taken]) -> bool:
    """Return whether nothing was ever heard of a point."""
    gone = {Reason.NO_RESPONSE, Reason.NOT_CONNECTED}
    return bool(readings) and all(one.fault is not None and one.fault.reason in gone for one in readings)


def _points(
    taken: GroupTaken, machine: Machine, checked: CheckedMachine, warnings: Sequence[DeviceWarning]
) -> list[Checked]:
    found = []
    warned = {name for warning in warnings for name in warning.points}
    for i, point in enumerate(taken.points):
        readings = taken.readings[i] if taken.readings else []
        one = Checked(point.name, point.unit)
        if taken.held:
            one.where, one.raw = taken.held[i].where, taken.held[i].raw
        if readings:
            _fill(one, readings)
        if checked.absent:
            one.findings.append(checked.findings[0])
        elif readings:
            one.findings += flags(point, readings)
            hint = "" if point.name in warned else _hint(one.reason, machine, checked)
            _add_hint(one, readings, hint)
        found.append(one)
    return found


def _hint(reason: str, machine: Machine, checked: CheckedMachine) -> str:
    return why_not_read(reason, machine.protocol.explore, others_read=not checked.absent)


def _fill(one: Checked, readings: Sequence[Taken]) -> None:
    """Show the reading that the findings are about."""
    last = decisive(readings)
    one.value = last.value
    one.quality = Quality.GOOD if last.fault is None else last.fault.quality
    if last.fault is not None:
        one.reason, one.code = last.fault.reason.value, last.fault.code
    numbers = [reading.value for reading in readings if isinstance(reading.value, int | float)]
    if numbers and min(numbers) != max(numbers):
        one.more["span"] = f"{min(numbers):.6g}..{max(numbers):.6g}"


def _add_hint(one: Checked, readings: Sequence[Taken], hint: str) -> None:
    """Add a hint to the finding about a missing value."""
    if hint and one.quality is Quality.BAD and one.findings:
        one.findings[0] = one.findings[0]._replace(text=f"{one.findings[0].text}: {hint}")
    failed = sum(reading.fault is not None for reading in readings)
    if 0 < failed < len(readings) and one.findings:
        one.findings[0] = one.findings[0]._replace(
            text=f"{one.findings[0].text} (in {failed} of {len(readings)} readings)"
        )


def _slow(taken: GroupTaken) -> list[Finding]:
    longest = max(taken.took, default=0.0)
    if longest <= taken.group.every or taken.group.events:
        return []
    period = f"{taken.group.every:g} s"
    text = f"a scan of {len(taken.points)} points took {longest:.2f} s, and they are to be read every {period}"
    return [doubt("slow", text)]


def _pace(taken: GroupTaken) -> list[str]:
    """Return how evenly the device answered, where it was read more than once."""
    if not taken.late:
        return []
    took, late = sorted(taken.took), max(taken.late)
    spread = f"{took[0] * 1000:.0f} to {took[-1] * 1000:.0f} ms, {took[len(took) // 2] * 1000:.0f} ms in the middle"
    what = f"{len(taken.points)} points every {taken.group.every:g} s"
    return [f"{what}: {len(took)} scans of {spread}; begun {late * 1000:.0f} ms late at most"]


def _clock(ahead: float) -> str:
    return f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's: set it by NTP"


def _reached(machine: Machine) -> str:
    written = machine.written.get("connection", "")
    return written if isinstance(written, str) else str(written.get("url", machine.connection))
