"""The states of an alarm, after the state diagram of ISA-18.2 (5.4, figure 4; IEC 62682, 5.4). Pure.

The letters in the comments are those of the diagram. A condition that is active raises an alarm, one that is not lets
it return. In the last three states the condition is followed, and nothing is annunciated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AlarmState(StrEnum):
    """The state of an alarm."""

    NORMAL = "normal"  # A
    UNACKNOWLEDGED = "unacknowledged"  # B: active
    ACKNOWLEDGED = "acknowledged"  # C: active
    RETURNED = "returned_unacknowledged"  # D: not active any more, and nobody has acknowledged it
    LATCHED_UNACKNOWLEDGED = "latched_unacknowledged"  # E: not active any more, and to be acknowledged and reset
    LATCHED = "latched"  # F: not active any more, acknowledged, and to be reset
    SHELVED = "shelved"  # G: removed from the list by a person, for a time
    SUPPRESSED = "suppressed"  # H: by design, while it means nothing
    OUT_OF_SERVICE = "out_of_service"  # I: by a person, until it is returned to service


class AlarmEvent(StrEnum):
    """An event that may change the state of an alarm."""

    RAISE = "raise"  # the condition has become active, after the on-delay
    RETURN = "return"  # the condition has ended, after the off-delay
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"  # of a latched alarm
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    EXPIRE = "expire"  # the time of a shelved alarm is over
    SUPPRESS = "suppress"  # the condition of suppression has become true
    UNSUPPRESS = "unsuppress"
    REMOVE = "remove_from_service"
    RESTORE = "return_to_service"


_S, _E = AlarmState, AlarmEvent

ANNUNCIATED = frozenset({_S.UNACKNOWLEDGED, _S.ACKNOWLEDGED, _S.RETURNED, _S.LATCHED_UNACKNOWLEDGED, _S.LATCHED})
"""States in which an alarm is on the list of operators: it is standing."""

IN_SERVICE = frozenset({_S.NORMAL, *ANNUNCIATED})
"""States that follow the condition."""

NOT_ACKNOWLEDGED = frozenset({_S.UNACKNOWLEDGED, _S.RETURNED, _S.LATCHED_UNACKNOWLEDGED})
"""States that wait for an acknowledgement."""

ESCALATED = frozenset({_S.UNACKNOWLEDGED, _S.LATCHED_UNACKNOWLEDGED})
"""States in which an alarm is escalated: nobody has acknowledged it, and it stays until somebody acts."""

TRANSITIONS: dict[tuple[AlarmState, AlarmEvent], AlarmState] = {
    (_S.NORMAL, _E.RAISE): _S.UNACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, _E.ACKNOWLEDGE): _S.ACKNOWLEDGED,
    (_S.UNACKNOWLEDGED, _E.RETURN): _S.RETURNED,
    (_S.ACKNOWLEDGED, _E.RETURN): _S.NORMAL,
    (_S.RETURNED, _E.ACKNOWLEDGE): _S.NORMAL,
    (_S.RETURNED, _E.RAISE): _S.UNACKNOWLEDGED,
    (_S.LATCHED_UNACKNOWLEDGED, _E.ACKNOWLEDGE): _S.LATCHED,
    (_S.LATCHED_UNACKNOWLEDGED, _E.RAISE): _S.UNACKNOWLEDGED,
    (_S.LATCHED, _E.RESET): _S.NORMAL,
    (_S.LATCHED, _E.RAISE): _S.UNACKNOWLEDGED,
    **{(state, _E.SHELVE): _S.SHELVED for state in IN_SERVICE | {_S.SUPPRESSED}},
    **{(state, _E.SUPPRESS): _S.SUPPRESSED for state in IN_SERVICE},
    **{(state, _E.REMOVE): _S.OUT_OF_SERVICE for state in IN_SERVICE | {_S.SHELVED, _S.SUPPRESSED}},
}
"""State and event -> the next state, of an alarm without a latch. An event that is missing changes nothing."""

LATCHING: dict[tuple[AlarmState, AlarmEvent], AlarmState] = {
    (_S.UNACKNOWLEDGED, _E.RETURN): _S.LATCHED_UNACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _E.RETURN): _S.LATCHED,
}
"""The transitions that differ for an alarm with a latch."""

BACK: dict[tuple[AlarmState, AlarmEvent], None] = dict.fromkeys((
    (_S.SHELVED, _E.UNSHELVE),
    (_S.SHELVED, _E.EXPIRE),
    (_S.SUPPRESSED, _E.UNSUPPRESS),
    (_S.OUT_OF_SERVICE, _E.RESTORE),
))  # fmt: skip
"""The transitions back into service: the next state follows from the condition, and from that of suppression."""


@dataclass(slots=True)
class AlarmStates:
    """The state of one alarm, with its condition and that of its suppression, which go on in each state.

    `state` is that of the diagram; `active` and `suppressed` are the two conditions.
    """

    latch: bool = False
    state: AlarmState = AlarmState.NORMAL
    active: bool = False
    suppressed: bool = False

    def apply(self, event: AlarmEvent) -> AlarmState | None:
        """Apply an event; return the state before if the state has changed, else None."""
        before = self.state
        match event:
            case _E.RAISE:
                self.active = True
            case _E.RETURN:
                self.active = False
            case _E.SUPPRESS:
                self.suppressed = True
            case _E.UNSUPPRESS:
                self.suppressed = False
        key = before, event
        if key in BACK:
            self.state = self._in_service()
        else:
            self.state = (LATCHING.get(key) if self.latch else None) or TRANSITIONS.get(key, before)
        return None if self.state is before else before

    def allows(self, event: AlarmEvent) -> bool:
        """Return whether an event changes the present state."""
        return (self.state, event) in TRANSITIONS or (self.state, event) in BACK

    def _in_service(self) -> AlarmState:
        if self.suppressed:
            return _S.SUPPRESSED
        return _S.UNACKNOWLEDGED if self.active else _S.NORMAL
