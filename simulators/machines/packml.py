"""The transitions of the PackML state model (ANSI/ISA-TR88.00.02, OPC 30050), with the states of `drivers.packml`."""

from __future__ import annotations

from collections import deque
from functools import cache

from drivers.packml import State

AUTOMATIC_TRANSITIONS = {
    State.CLEARING: State.STOPPED,
    State.RESETTING: State.IDLE,
    State.STARTING: State.EXECUTE,
    State.COMPLETING: State.COMPLETE,
    State.HOLDING: State.HELD,
    State.UNHOLDING: State.EXECUTE,
    State.SUSPENDING: State.SUSPENDED,
    State.UNSUSPENDING: State.EXECUTE,
    State.STOPPING: State.STOPPED,
    State.ABORTING: State.ABORTED,
}
"""Acting state -> the state that follows when it is complete (SC)."""

COMMANDS = {
    State.STOPPED: {"reset": State.RESETTING},
    State.IDLE: {"start": State.STARTING},
    State.EXECUTE: {"hold": State.HOLDING, "suspend": State.SUSPENDING, "complete": State.COMPLETING},
    State.COMPLETE: {"reset": State.RESETTING},
    State.HELD: {"unhold": State.UNHOLDING},
    State.SUSPENDED: {"unsuspend": State.UNSUSPENDING},
    State.ABORTED: {"clear": State.CLEARING},
}
"""State -> command -> next state. `stop` and `abort` are in `TRANSITIONS`."""

_NOT_STOPPED = frozenset({State.STOPPED, State.STOPPING, State.CLEARING, State.ABORTED, State.ABORTING})
_NOT_ABORTED = frozenset({State.ABORTED, State.ABORTING})


def _transitions(state: State) -> frozenset[State]:
    following = set(COMMANDS.get(state, {}).values())
    if state in AUTOMATIC_TRANSITIONS:
        following.add(AUTOMATIC_TRANSITIONS[state])
    if state not in _NOT_STOPPED:
        following.add(State.STOPPING)
    if state not in _NOT_ABORTED:
        following.add(State.ABORTING)
    return frozenset(following)


TRANSITIONS: dict[State, frozenset[State]] = {state: _transitions(state) for state in State if state}
"""State -> the states that may follow it."""

AFTER_WAIT = AUTOMATIC_TRANSITIONS | {
    State.STOPPED: State.RESETTING,
    State.IDLE: State.STARTING,
    State.COMPLETE: State.RESETTING,
    State.HELD: State.UNHOLDING,
    State.ABORTED: State.CLEARING,
}
"""State -> the state that a simulated machine enters after a time, as if an operator gave the command."""


@cache
def next_state(state: State, target: State) -> State:
    """Return the first state on the shortest way from `state` to `target`; `target` where both are the same."""
    first = {following: following for following in sorted(TRANSITIONS[state])}
    queue = deque(first)
    while target not in first and queue:
        here = queue.popleft()
        for following in sorted(TRANSITIONS[here] - first.keys()):
            first[following] = first[here]
            queue.append(following)
    return target if state is target else first[target]
