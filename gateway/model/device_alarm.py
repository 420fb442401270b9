"""Alarms that devices report as events (OPC 10000-9), read from the JSON text of an event of docs/schema.md. Pure."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from gateway.model.text import clean_text

MAX_EVENT = 64 * 2**10
"""Characters of an event that are read."""

MAX_KEY, MAX_SHOWN = 250, 500
"""Characters of the identity and of a text of an alarm."""


class DeviceAlarm(NamedTuple):
    """The state of an alarm as its device reports it.

    `key` identifies the condition and its branch: by the node id of the condition, or else by its name and the node
    id of its source, since several sources may have conditions of one name (OPC 10000-9, 5.5.2). `severity` is 0 if
    the device says none from 1 to 1000. `state` and `previous` are the states of an alarm of a gateway, now and
    before; they are empty for one of a device.
    """

    key: str
    type: str
    source: str
    condition: str
    condition_id: str
    branch_id: str | None
    severity: int
    message: str
    active: bool
    acknowledged: bool
    state: str = ""
    previous: str = ""

    @property
    def standing(self) -> bool:
        """Whether it still needs attention."""
        return self.active or not self.acknowledged


def priority_of(severity: int) -> int:
    """Return the priority, 1 being the highest of four (ISA-18.2), of a severity (OPC 10000-9, 5.5.2)."""
    return 1 if severity > 800 else 2 if severity > 600 else 3 if severity > 300 else 4  # noqa: PLR2004 - equal parts


def read_device_alarm(text: object) -> DeviceAlarm | None:
    """Return the alarm of an event, None for an event of no alarm. Raises `ValueError` if it is not an event."""
    if not isinstance(text, str) or len(text) > MAX_EVENT:
        raise ValueError(f"an event is text of at most {MAX_EVENT:,} characters")
    event = orjson.loads(text)
    if not isinstance(event, dict) or not isinstance(event.get("active"), bool | None):
        raise ValueError("not an event of docs/schema.md")  # noqa: TRY004 - the one error of this reader
    if event.get("active") is None:
        return None
    condition_id, branch, severity = event.get("condition_id"), event.get("branch_id"), event.get("severity")
    source, condition = _text(event, "source"), _text(event, "condition") or _text(event, "type")
    of = _text(event, "source_node") or source
    known = condition_id if isinstance(condition_id, str) and condition_id else f"{of}/{condition}"
    branch_id = branch if isinstance(branch, str) and branch else None
    # the last event of a branch, an earlier state, says by `retain` alone that it is over (OPC 10000-9, 5.5.2)
    is_over = branch_id is not None and event.get("retain") is False
    return DeviceAlarm(
        clean_text(f"{known} {branch_id}" if branch_id else known, MAX_KEY), _text(event, "type"), source, condition,
        known, branch_id, min(max(severity, 0), 1000) if type(severity) is int else 0, _text(event, "message"),
        event["active"] and not is_over, event.get("acknowledged") is True or is_over,
        _text(event, "state"), _text(event, "previous"),
    )  # fmt: skip


def _text(event: dict[str, object], key: str) -> str:
    value = event.get(key)
    return clean_text(value, MAX_SHOWN) if isinstance(value, str) else ""
