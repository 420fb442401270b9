"""The states of an alarm are those of the diagram of ISA-18.2, in any order of events."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.model.alarm_state import (
    ANNUNCIATED,
    BACK,
    IN_SERVICE,
    LATCHING,
    NOT_ACKNOWLEDGED,
    TRANSITIONS,
    AlarmEvent,
    AlarmState,
    AlarmStates,
)

DIAGRAM = """
A raise B
B acknowledge C
B return D
C return A
D acknowledge A
D raise B
E acknowledge F
E raise B
F reset A
F raise B
"""
"""The transitions of the diagram between the states that an operator sees, without latches."""

LETTERS = dict(zip("ABCDEFGHI", AlarmState, strict=True))


def test_the_table_is_the_diagram() -> None:
    """Each arrow of the standard is a line, and there are no others."""
    shown = {state: letter for letter, state in LETTERS.items()}
    operator = {
        f"{shown[state]} {event} {shown[after]}" for (state, event), after in TRANSITIONS.items()
        if after in IN_SERVICE
    }  # fmt: skip
    assert operator == set(DIAGRAM.split("\n")) - {""}
    assert LATCHING == {
        (AlarmState.UNACKNOWLEDGED, AlarmEvent.RETURN): AlarmState.LATCHED_UNACKNOWLEDGED,
        (AlarmState.ACKNOWLEDGED, AlarmEvent.RETURN): AlarmState.LATCHED,
    }
    for letter, event in (("G", "shelve"), ("H", "suppress"), ("I", "remove_from_service")):
        into = {state for (state, name), after in TRANSITIONS.items() if after is LETTERS[letter] and name == event}
        assert into >= IN_SERVICE
    assert {state for state, _ in BACK} == {LETTERS[letter] for letter in "GHI"}


class Alarm(RuleBasedStateMachine):
    """Any events; the expected state follows from the text of the standard, and not from the table."""

    def __init__(self) -> None:
        super().__init__()
        self.states = AlarmStates()
        self.active = self.suppressed = False
        self.acknowledged = True  # since it was annunciated

    def check(self, event: AlarmEvent) -> None:
        allowed, before = self.states.allows(event), self.states.state
        changed = self.states.apply(event)
        assert changed in {None, before}
        assert (changed is None) == (self.states.state is before)
        if event not in {AlarmEvent.RAISE, AlarmEvent.RETURN}:
            assert allowed or changed is None
        if before in IN_SERVICE | {AlarmState.SUPPRESSED} and self.states.state is AlarmState.UNACKNOWLEDGED:
            self.acknowledged = False

    @rule()
    def condition_begins(self) -> None:
        before, self.active = self.states.state, True
        self.check(AlarmEvent.RAISE)
        if before in IN_SERVICE and before is not AlarmState.ACKNOWLEDGED:
            assert self.states.state is AlarmState.UNACKNOWLEDGED, "it is annunciated, again if it had returned"

    @rule()
    def condition_ends(self) -> None:
        before, self.active = self.states.state, False
        self.check(AlarmEvent.RETURN)
        if before is AlarmState.UNACKNOWLEDGED:
            assert self.states.state in NOT_ACKNOWLEDGED, "it waits for a person"
        if before is AlarmState.ACKNOWLEDGED:
            assert self.states.state is (AlarmState.LATCHED if self.states.latch else AlarmState.NORMAL)

    @rule()
    def acknowledge(self) -> None:
        before = self.states.state
        self.check(AlarmEvent.ACKNOWLEDGE)
        assert self.states.state not in NOT_ACKNOWLEDGED
        if before not in NOT_ACKNOWLEDGED:
            assert self.states.state is before

    @rule()
    def reset(self) -> None:
        before = self.states.state
        self.check(AlarmEvent.RESET)
        assert (self.states.state is AlarmState.NORMAL) == (before in {AlarmState.LATCHED, AlarmState.NORMAL})

    @rule()
    def shelve(self) -> None:
        out = self.states.state is AlarmState.OUT_OF_SERVICE
        self.check(AlarmEvent.SHELVE)
        assert self.states.state is (AlarmState.OUT_OF_SERVICE if out else AlarmState.SHELVED)

    @rule(event=st.sampled_from((AlarmEvent.UNSHELVE, AlarmEvent.EXPIRE)))
    def unshelve(self, event: AlarmEvent) -> None:
        before = self.states.state
        self.check(event)
        if before is AlarmState.SHELVED:
            self.is_back()
        else:
            assert self.states.state is before

    @rule(suppress=st.booleans())
    def design(self, suppress: bool) -> None:  # noqa: FBT001 - drawn
        before, self.suppressed = self.states.state, suppress
        self.check(AlarmEvent.SUPPRESS if suppress else AlarmEvent.UNSUPPRESS)
        if before in {AlarmState.SHELVED, AlarmState.OUT_OF_SERVICE}:
            assert self.states.state is before, "a person decides over the design"
        elif suppress:
            assert self.states.state is AlarmState.SUPPRESSED
        elif before is AlarmState.SUPPRESSED:
            self.is_back()

    @rule()
    def out_of_service(self) -> None:
        self.check(AlarmEvent.REMOVE)
        assert self.states.state is AlarmState.OUT_OF_SERVICE

    @rule()
    def into_service(self) -> None:
        before = self.states.state
        self.check(AlarmEvent.RESTORE)
        if before is AlarmState.OUT_OF_SERVICE:
            self.is_back()

    def is_back(self) -> None:
        """An alarm whose condition lasts is annunciated as a new alarm when it comes back."""
        expected = AlarmState.UNACKNOWLEDGED if self.active else AlarmState.NORMAL
        assert self.states.state is (AlarmState.SUPPRESSED if self.suppressed else expected)

    @invariant()
    def conditions_are_followed_in_every_state(self) -> None:
        assert (self.states.active, self.states.suppressed) == (self.active, self.suppressed)

    @invariant()
    def an_active_condition_is_never_normal(self) -> None:
        if self.active:
            assert self.states.state is not AlarmState.NORMAL

    @invariant()
    def only_a_latch_latches(self) -> None:
        latched = {AlarmState.LATCHED, AlarmState.LATCHED_UNACKNOWLEDGED}
        assert self.states.latch or self.states.state not in latched


class LatchingAlarm(Alarm):
    """An alarm that stays until it was acknowledged and reset."""

    def __init__(self) -> None:
        super().__init__()
        self.states.latch = True

    @invariant()
    def it_never_returns_alone(self) -> None:
        assert self.states.state is not AlarmState.RETURNED


TestAlarm = Alarm.TestCase
TestLatchingAlarm = LatchingAlarm.TestCase


@pytest.mark.parametrize("state", AlarmState)
def test_standing_alarms_are_those_that_operators_see(state: AlarmState) -> None:
    """Shelved, suppressed and removed alarms are on lists of their own."""
    assert (state in ANNUNCIATED) == (state.value not in {"normal", "shelved", "suppressed", "out_of_service"})
