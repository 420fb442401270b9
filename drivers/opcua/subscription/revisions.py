"""Collects differences between requested and revised parameters, by point."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from drivers.base import DeviceWarning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivers.opcua.settings import OpcUaGroup


NO_DEADBAND = "the server refuses their deadbands: it sends all changes, and the gateway filters them"
NO_PERCENT = (
    "the server refuses a deadband in percent, as where it knows no range, so every change is sent; write range: "
    "[lowest, highest] in the template, and the gateway filters them"
)
SLOWER = "the server samples them every {:g} ms instead of {:g} ms: faster changes are not seen"
SHORTER = "the server queues {} changes instead of {}: with more between two messages some are lost"
SINGLE = "the server queues {} change instead of {}: with more between two messages some are lost, and not reported"
PUBLISHES = "the server publishes them every {:g} ms instead of {:g} ms: readings come later"
SLACK = 1.01
"""A revised interval up to this multiple of the requested interval is the same: servers count in their own ticks."""

LEGACY = (
    "allow_insecure_legacy is set: the connection has the policy {}, and may be protected by SHA-1 or a short key, "
    "which others can forge; let the device get a newer policy and certificate, and remove the option"
)
NO_ITEM = "the server has no room for more monitored items: they are read instead, at their rate"
NO_EVENTS = "the server has no room for more monitored items: their events are missed until it has"
NO_TRIGGER = "the server refuses trigger: timestamp: a value that is equal to the value before is not sent"
NO_FIELDS = "the server refuses the filter of their events: all events are sent, without fields of other types"


class Revisions:
    """Collects remarks until the gateway reads them, and the revised parameters of the present session."""

    def __init__(self) -> None:
        self._names: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)  # in order, once each
        self._revised: defaultdict[tuple[OpcUaGroup, int], dict[str, float]] = defaultdict(dict)

    def note(self, group: OpcUaGroup, positions: Iterable[int], text: str) -> None:
        """Add a remark on points of a group."""
        names = dict.fromkeys(group.names[position] for position in positions)
        if names:
            self._names[group.machine, text] |= names

    def note_legacy(self, groups: Iterable[OpcUaGroup], policy: str) -> None:
        """Add a remark on all points, which have a connection that others may forge."""
        for group in groups:
            self.note(group, range(len(group.names)), LEGACY.format(policy))

    def revise(self, group: OpcUaGroup, positions: Iterable[int], parameter: str, value: float) -> None:
        """Store the revised value of a parameter of points; times are in seconds."""
        for position in positions:
            self._revised[group, position][parameter] = value

    def forget_session(self) -> None:
        """Prepare for another session, whose parameters may differ."""
        self._revised.clear()

    def of(self, group: OpcUaGroup, position: int) -> dict[str, float]:
        """Return the revised parameters of a point that differ from the requested parameters."""
        return dict(self._revised.get((group, position), {}))

    def take(self) -> list[DeviceWarning]:
        """Return the remarks since the last call."""
        noted, self._names = self._names, defaultdict(dict)
        return [DeviceWarning(machine, tuple(names), text) for (machine, text), names in noted.items()]
