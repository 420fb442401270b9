"""Alarms for tests: built from keys as a template has them, and fed with scans under a clock of the test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from derived import MACHINE, START

from drivers.base import Connection, Group, Scan, bad
from drivers.quality import Reason
from gateway.pipeline.alarms import MachineAlarms
from gateway.pipeline.calculation import Notify, Surroundings
from gateway.settings.alarms import ALARM_POINTS, AlarmTable
from gateway.settings.document import Document
from gateway.settings.factory import Place
from gateway.settings.point_builder import Written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivers.base import Value
    from gateway.model.alarm_notice import AlarmNotice
    from gateway.model.alarm_state import AlarmState
    from gateway.settings.alarm_set import AlarmSet
    from gateway.settings.notify_section import NotifySection
    from gateway.settings.point import Point

SILENT = bad(Reason.NO_RESPONSE, "")


def alarm_set(
    points: Sequence[Point],
    alarms: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any] | None = None,
    off: Sequence[str] = (),
) -> AlarmSet:
    """Return alarms. Raises `AssertionError` with the problems."""
    document = Document(Path("t.yaml"), {})
    place = Place(document, ())
    written = {name: Written({}, {}, place).over(dict(keys), place) for name, keys in alarms.items()}
    found = AlarmTable(written, {}).build(points, off, values or {})
    assert not document.problems, "\n".join(one.message for one in document.problems)
    return found


class AlarmBench:
    """The alarms of a machine with one group of points, and their transitions; time is that of the test."""

    def __init__(
        self,
        points: Sequence[Point],
        *,
        rules: NotifySection | None = None,
        begin: float = 0.0,
        **alarms: Mapping[str, Any],
    ) -> None:
        self.seconds = begin
        self.notices: list[AlarmNotice] = []
        self.withdrawn: list[str] = []
        self.scans: list[Scan] = []
        self.retained: dict[str, bytes] = {}
        self.saves = 0
        self.points = points
        names, sources = tuple(point.name for point in points), tuple(point.source for point in points)
        self.group = Group(MACHINE, Connection(), names, sources, 1.0)
        result = Group(MACHINE, Connection(), ("alarms",), (ALARM_POINTS[0].source,), 1.0, events=True)
        surroundings = Surroundings(
            lambda _, __: self.scans.append, self.now, lambda: self.seconds, self._save, self._retain,
            None if rules is None else Notify(rules.steps, self.notices.append, self._withdraw),
        )  # fmt: skip
        self.alarms = MachineAlarms(result, alarm_set(points, alarms), self.scans.append, surroundings)
        self.step = self.alarms.step(self.group)

    def _save(self) -> None:
        self.saves += 1

    def _withdraw(self, notice: AlarmNotice) -> None:
        self.withdrawn.append(f"{notice.step.target} {notice.alarm}")

    def notified(self) -> list[str]:
        """Return the notifications since the last look, as `target alarm`."""
        found = [f"{one.step.target} {one.alarm}" for one in self.notices]
        self.notices.clear()
        return found

    def _retain(self, leaf: str, payload: bytes) -> None:
        if payload:
            self.retained[leaf] = payload
        else:
            self.retained.pop(leaf, None)

    def now(self) -> int:
        """Return microseconds since the epoch."""
        return START + round(self.seconds * 1_000_000)

    def take(self, seconds: float, *values: Value | None) -> list[str]:
        """Take a whole scan at a time, after the ticks until then.

        Returns the transitions since the last look, as `name state`.
        """
        self._pass(seconds)
        assert self.step is not None
        faults = {i: SILENT for i, value in enumerate(values) if value is None}
        self.step(Scan(self.group, self.now(), list(values), faults))
        return self.news()

    def wait(self, seconds: float) -> list[str]:
        """Let time pass to `seconds`, a tick each tenth of a second; return the transitions since the last look."""
        self._pass(seconds)
        return self.news()

    def _pass(self, seconds: float) -> None:
        while self.seconds < seconds - 1e-9:
            self.seconds = round(min(seconds, self.seconds + 0.1), 6)
            if self.alarms.due <= self.seconds:
                self.alarms.tick(self.seconds)

    def news(self) -> list[str]:
        """Return the transitions since the last look."""
        found = [f"{one['alarm']} {one['state']}" for one in self.records()]
        self.scans.clear()
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return the transitions since the last look, as objects."""
        return [orjson.loads(str(scan.values[0])) for scan in self.scans]

    def states(self) -> dict[str, AlarmState]:
        """Return the states of alarms that are not normal."""
        return {live.text.name: live.states.state for live in self.alarms.standing()}
