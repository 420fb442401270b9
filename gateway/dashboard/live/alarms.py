"""The alarms that machines report as events (OPC 10000-9), as the page shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.model.text import clean_text

if TYPE_CHECKING:
    from gateway.model.path import MachinePath

ALARMS = 10_000
"""Alarms that are remembered."""

MAX_EVENT = 64 * 2**10
"""Characters of an event that are read."""

MAX_SHOWN = 500
"""Characters of a text of an event that are shown."""


class _Event(BaseModel):
    """The keys of an event that are shown, see docs/schema.md."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    type: str = ""
    source: str = ""
    condition: str | None = None
    severity: Annotated[int, Field(ge=0, le=1000)] = 0
    message: str = ""
    active: bool | None = None
    acknowledged: bool | None = None
    condition_id: str | None = None
    branch_id: str | None = None


class Alarm(NamedTuple):
    """An alarm of a machine; `since` is when it became active, `time` when it last changed."""

    path: MachinePath
    key: str
    source: str
    name: str
    severity: int
    message: str
    active: bool
    acknowledged: bool
    since: int
    time: int

    @property
    def standing(self) -> bool:
        """Whether it still needs attention."""
        return self.active or not self.acknowledged

    @property
    def priority(self) -> int:
        """The priority, 1 being the highest, of four (ISA-18.2), out of the severity (OPC 10000-9, 5.5.2)."""
        return 1 if self.severity > 800 else 2 if self.severity > 600 else 3 if self.severity > 300 else 4  # noqa: PLR2004


class Alarms:
    """The standing alarms, by machine and condition; `version` grows with each change, `ignored` counts bad events.

    `dropped` counts those for which there was no room.
    """

    def __init__(self) -> None:
        self.version = self.ignored = self.dropped = 0
        self.by_key: dict[tuple[MachinePath, str], Alarm] = {}

    def take(self, path: MachinePath, time: int, text: object) -> Alarm | None:
        """Read an event; return the alarm that it changes, None where it is of none."""
        if not isinstance(text, str) or len(text) > MAX_EVENT:
            self.ignored += 1
            return None
        try:
            event = _Event.model_validate_json(text)
        except (ValidationError, RecursionError):
            self.ignored += 1
            return None
        if event.active is None:
            return None
        key = f"{event.condition_id or event.source + '/' + (event.condition or '')} {event.branch_id or ''}"[
            :MAX_SHOWN
        ]
        before = self.by_key.get((path, key))
        if before is not None and time < before.time:
            return None
        alarm = Alarm(
            path, key, clean_text(event.source, MAX_SHOWN), clean_text(event.condition or event.type, MAX_SHOWN),
            event.severity, clean_text(event.message, MAX_SHOWN), event.active, bool(event.acknowledged),
            before.since if before is not None and before.active and event.active else time, time,
        )  # fmt: skip
        return self._keep(alarm)

    def _keep(self, alarm: Alarm) -> Alarm:
        place = alarm.path, alarm.key
        self.version += 1
        if not alarm.standing:
            self.by_key.pop(place, None)
        elif place in self.by_key or len(self.by_key) < ALARMS:
            self.by_key[place] = alarm
        else:
            self.dropped += 1
        return alarm

    def of(self, path: MachinePath) -> list[Alarm]:
        """Return the standing alarms of a machine, the worst first."""
        found = [alarm for (owner, _), alarm in self.by_key.items() if owner == path]
        return sorted(found, key=lambda alarm: (alarm.priority, -alarm.time))
