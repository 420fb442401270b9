"""The contract of a calculation that follows the scans of a machine, such as that of its derived points.

A calculation belongs to one machine. It takes the normalized scans of the machine's groups, keeps a state, and writes
readings: of points, or of result points, whose readings are events with JSON text (`settings/results.py`). The states
are committed with the records that were made until then, so that both survive a kill together; see `calculations.py`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from gateway.common.tasks import BestEffort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Group, Scan
    from gateway.model.alarm_notice import AlarmNotice, NotifyStep
    from gateway.settings.alarm_set import Priority
    from gateway.settings.point import Point

    Step = Callable[[Scan], None]
    """Takes a normalized scan of one group. It changes nothing of the scan."""


def _nothing(leaf: str, payload: bytes) -> None:
    del leaf, payload


class Notify(NamedTuple):
    """Notification of the alarms of machines.

    `steps`     returns the escalation of an alarm: of its machine, given by the path, priority and class
    `put`       notifies a target of an alarm. `MachineAlarms.settle` is called when nothing more is done about it
    `withdraw`  takes an alarm back that needs no escalation any more
    """

    steps: Callable[[str, Priority, str], Sequence[NotifyStep]]
    put: Callable[[AlarmNotice], None]
    withdraw: Callable[[AlarmNotice], None]


class Surroundings(NamedTuple):
    """The parts of the gateway that a calculation uses.

    `sink`       returns the function that takes the readings of a group of results all the way into the spool. Each
                 calculation calls it once for each of its groups, when it is made. Later calculations follow these
                 scans, too
    `clock`      returns unique microseconds since the epoch, UTC
    `monotonic`  returns seconds that no step of a clock changes
    `save_soon`  is called when a state differs from the saved state
    `retain`     publishes a message below the topic of the machine, which the broker retains: the end of the topic,
                 and the payload, empty to clear the message
    `notify`     notifies people of alarms, None where nobody is notified
    """

    sink: Callable[[Group, Sequence[Point]], Callable[[Scan], None]]
    clock: Callable[[], int]
    monotonic: Callable[[], float]
    save_soon: Callable[[], None]
    retain: Callable[[str, bytes], None] = _nothing
    notify: Notify | None = None


class Calculation(ABC):
    """One kind of calculation, of one machine.

    Order: a scan of a group is passed on first. Then each calculation of the machine takes it, in the order of the
    table `KINDS`. Readings that a calculation writes meanwhile go through later calculations before the scan does.

    Errors: a step and a tick run within `guard`: an error in Lineside costs neither readings nor other calculations.

    All methods run in the event loop. None of them waits or reads a file.
    """

    kind: ClassVar[str]
    """The name of the kind: in the names of saved states, and in log events."""

    takes_time: ClassVar[bool] = False
    """Whether `due` and `tick` are used: something happens while there are no scans, such as the end of a delay."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.guard = BestEffort(self.kind, machine=machine)
        self.changed = False
        """Whether a state has changed since it was saved."""
        self.due = math.inf
        """The monotonic time in seconds from which on `tick` has work; infinite if only scans matter."""

    @abstractmethod
    def step(self, group: Group) -> Step | None:
        """Return the step that takes the scans of a group, None if they do not matter here.

        Called once for each group of the machine that is read, and of the results of all calculations, its own
        included. Groups of events and of searches are among them. A step gets late scans, too.
        """

    def tick(self, now: float) -> None:
        """Do the work that is due at a monotonic time.

        Called some time after `due`, `TICK` at most on a healthy gateway.
        """
        del now

    # -- the state --

    @property
    def has_state(self) -> bool:
        """Whether there is any state to save."""
        return True

    @abstractmethod
    def save(self) -> bytes:
        """Return the state, and set `changed` to False. Raises `TypeError` or `ValueError`."""

    @abstractmethod
    def load(self, saved: bytes) -> tuple[list[str], list[str]]:
        """Continue with a state that `save` returned, perhaps of another configuration.

        Returns the names of the parts that begin without a state: those whose meaning has changed, and those whose
        state is damaged. Raises nothing: the file of the state may contain anything.
        """
