"""Alarms as notification gets them: one step of the escalation of one annunciation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.settings.alarm_set import Priority


class NotifyStep(NamedTuple):
    """A step of the escalation of an alarm: the seconds from its annunciation, and the target that is notified."""

    after: float
    target: str

    def __str__(self) -> str:
        return f"{self.after:g}s {self.target}"


class AlarmNotice(NamedTuple):
    """An alarm that a target is to be notified of.

    `since` is the time of the annunciation, microseconds since the epoch, UTC. Texts are as configured, or as a
    device reports them: they may contain anything.
    """

    machine: str
    alarm: str
    since: int
    step: NotifyStep
    priority: Priority
    category: str
    message: str
    consequence: str = ""
    response: str = ""

    @property
    def key(self) -> tuple[str, str, int, NotifyStep]:
        """The identity: one annunciation of one alarm, for one step."""
        return self.machine, self.alarm, self.since, self.step
