"""All calculations of a gateway's machines: their order, their saved states, and their time.

The states are saved with the records that were made from them, see `Calculations.take_changed`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.common.state_log import RepeatLog
from gateway.model.alarm_state import ANNUNCIATED
from gateway.pipeline.alarms import MachineAlarms
from gateway.pipeline.derive import MachineDerivation
from gateway.pipeline.line_derivation import LineDerivation
from gateway.pipeline.parts import MachineParts
from gateway.pipeline.production import MachineProduction
from gateway.settings.alarm_set import Priority
from gateway.settings.line_inputs import tied

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from drivers.base import Group, Scan
    from gateway.model.alarm_notice import AlarmNotice
    from gateway.model.command import Command
    from gateway.pipeline.calculation import Calculation, Step, Surroundings
    from gateway.settings.factory import Machine

    Make = Callable[[Machine, Surroundings], Calculation | None]
    """Returns the calculation of a machine, None if the machine has none of this kind."""

log = structlog.get_logger(__name__)

KINDS: tuple[Make, ...] = (MachineDerivation.of, MachineProduction.of, MachineAlarms.of, MachineParts.of)
"""The kinds of calculations, in the order in which they take a scan."""

TICK = 0.1
"""Seconds between two looks for calculations that are due."""


def calculations_of(machine: Machine, surroundings: Surroundings) -> list[Calculation]:
    """Return the calculations of a machine, in their order."""
    return [one for make in KINDS if (one := make(machine, surroundings)) is not None]


def follow(calculations: Iterable[Calculation], group: Group) -> Step | None:
    """Return the function that passes the scans of a group to all calculations that need them, None without any."""
    return _joined([step for one in calculations if (step := one.step(group)) is not None])


def _joined(steps: Sequence[Step]) -> Step | None:
    if len(steps) > 1:
        return partial(_each, tuple(steps))
    return steps[0] if steps else None


def _each(steps: tuple[Step, ...], scan: Scan) -> None:
    for step in steps:
        step(scan)


def saved_name(kind: str, machine: str) -> str:
    """Return the name of a saved state. That of derived points is the machine's path, as in older spools."""
    return machine if kind == MachineDerivation.kind else f"{kind}:{machine}"


def _machine_of(name: str) -> str:
    return name.rpartition(":")[2]  # a name of a machine contains no colon


class Calculations:
    """The calculations of a gateway's machines, and their saved states, by the names of the states."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._machines: dict[str, list[Calculation]] = {}
        self._steps: dict[str, dict[Group, list[tuple[str, Step]]]] = {}
        self._lines: dict[str, LineDerivation] = {}
        self._named: dict[str, Calculation] = {}
        self._timed: dict[str, Calculation] = {}
        self._has_timed = asyncio.Event()
        self._saved: dict[str, bytes] = {}
        self._inherited: set[str] = set()
        self._left: dict[str, bytes] = {}
        self._past: Counter[int] = Counter()  # annunciations of calculations that were replaced
        self._log = RepeatLog(log)

    def of(self, machine: str) -> Sequence[Calculation]:
        """Return the calculations of a machine."""
        return self._machines.get(machine, ())

    def tie(self, machines: Iterable[Machine]) -> set[str]:
        """Connect the derived points of machines that use points of one another; `machines` are all.

        Returns the machines that are tied now, or were before: `follow` returns other functions for these.
        """
        before, self._lines = self._lines, {}
        for together in tied(machines):
            paths = [str(machine.path) for machine in together]
            derivations = (one for path in paths for one in self.of(path) if isinstance(one, MachineDerivation))
            self._lines |= dict.fromkeys(paths, LineDerivation(derivations))
        return {*before, *self._lines}

    def follow(self, machine: str, group: Group) -> Step | None:
        """Return the function that passes the scans of a group to all calculations that need them, None without any.

        These are the calculations of its machine, and derived points of machines that are tied to it.
        """
        line = self._lines.get(machine)
        first = None if line is None else line.step(machine, group)
        if not (own := self.of(machine)):
            return first
        known = self._steps.setdefault(machine, {})  # a calculation is asked for its step once
        if group not in known:
            known[group] = [(one.kind, step) for one in own if (step := one.step(group)) is not None]
        if first is None:
            return _joined([step for _, step in known[group]])
        return _joined([first, *(step for kind, step in known[group] if kind != MachineDerivation.kind)])

    def command(self, command: Command) -> str | None:
        """Carry out a command for an alarm or a stop; return why that failed, empty if it is done.

        None means that there is no such machine here.
        """
        given = command.stop_reason
        for calculation in self.of(command.target.machine):
            if given is not None and isinstance(calculation, MachineProduction):
                return calculation.give_reason(given, command.user)
            if command.is_of_alarm and isinstance(calculation, MachineAlarms):
                return calculation.command(
                    command.action, command.target.alarm, command.user, command.reason, command.shelf or 0.0
                )
        return None

    def settle(self, notice: AlarmNotice) -> None:
        """Note that nothing more is done about a notification: it was delivered, or given up."""
        for calculation in self.of(notice.machine):
            if isinstance(calculation, MachineAlarms):
                calculation.settle(notice)

    def count_alarms(self) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        """Return the alarms that are not normal, by priority and state, and the annunciations by priority."""
        standing: Counter[tuple[str, str]] = Counter()
        annunciations = self._past.copy()
        for calculation in self._timed.values():
            if isinstance(calculation, MachineAlarms):
                annunciations.update(calculation.annunciations)
                for live in calculation.standing():
                    state = live.states.state
                    shown = "standing" if state in ANNUNCIATED else state.value
                    standing[live.text.priority.shown, shown] += 1
        return standing, Counter({Priority(one).shown: number for one, number in annunciations.items()})

    def restore(self, saved: Mapping[str, bytes]) -> None:
        """Continue with the saved states of an earlier run, by their names."""
        self._saved |= {name: state for name, state in saved.items() if name not in self._inherited}
        for name, calculation in self._named.items():
            self._load(name, calculation)

    def inherit(self, saved: Mapping[str, bytes], machines: Collection[str]) -> None:
        """Use the states that another worker saved, for machines that are added next."""
        found = {name: state for name, state in saved.items() if _machine_of(name) in machines}
        self._saved |= found
        self._inherited |= found.keys()

    def configure(self, machine: str, calculations: Sequence[Calculation]) -> None:
        """Use the calculations of a machine, or none; parts with the same meaning keep their states."""
        self._steps.pop(machine, None)
        for before in self._machines.pop(machine, ()):
            name = saved_name(before.kind, machine)
            del self._named[name]
            self._timed.pop(name, None)
            if isinstance(before, MachineAlarms):
                self._past.update(before.annunciations)
            if before.has_state and (state := self._encoded(before)) is not None:
                self._saved[name] = self._left[name] = state
        if calculations:
            self._machines[machine] = list(calculations)
        for one in calculations:
            name = saved_name(one.kind, machine)
            self._named[name] = one
            if one.takes_time:
                self._timed[name] = one
                self._has_timed.set()
            self._load(name, one)

    def _load(self, name: str, calculation: Calculation) -> None:
        saved = self._saved.pop(name, None)
        if saved is None:
            return
        other, damaged = calculation.load(saved)
        calculation.changed = calculation.has_state  # another worker may have saved it elsewhere
        fields = {"machine": calculation.machine, "calculation": calculation.kind}
        if other:
            log.info("calculation.state_reset", **fields, parts=other, reason="the configuration has changed")
        if damaged:
            log.warning("calculation.state_reset", **fields, parts=damaged, reason="the saved state is damaged")

    def take_changed(self) -> dict[str, bytes]:
        """Return the states that have changed since the last call, by their names.

        They belong to all scans that were taken until now. A state that can't be written is logged, and left out.
        """
        changed, self._left = self._left, {}
        for name, calculation in self._named.items():
            if calculation.changed and (state := self._encoded(calculation)) is not None:
                changed[name] = state
        return changed

    def _encoded(self, calculation: Calculation) -> bytes | None:
        """Return the state of a calculation, or None after logging that it can't be written."""
        try:
            return calculation.save()
        except (TypeError, ValueError) as error:
            fields = {"machine": calculation.machine, "calculation": calculation.kind}
            self._log.error(
                "calculation.state_not_saved", key=f"{calculation.kind}:{calculation.machine}", **fields,
                error=str(error),
            )  # fmt: skip
            return None

    async def run(self) -> None:
        """Let time pass for the calculations that need it, until cancelled; without any, wait for the first."""
        while True:
            await self._has_timed.wait()
            self.tick(self._monotonic())
            if not self._timed:
                self._has_timed.clear()
            await asyncio.sleep(TICK)

    def tick(self, now: float) -> None:
        """Let all calculations do the work that is due at a monotonic time."""
        for calculation in list(self._timed.values()):
            if calculation.due <= now:
                with calculation.guard:
                    calculation.tick(now)
