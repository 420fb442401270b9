"""Notifies people of alarms: takes alarms from the gateway, and sends each target few messages about all that wait.

It never delays the gateway: taking an alarm is a step of microseconds, all waiting is bounded, and messages are
delivered in other processes. A target that does not answer is tried again with growing pauses, and given up for
alarms that have waited for `give_up`. Its first failure is logged, and the end of the failures; others are counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import structlog

from gateway.common.backoff import Backoff
from gateway.common.state_log import RepeatLog, StateLog
from gateway.common.tasks import BestEffort, supervise
from gateway.notify.courier import Courier
from gateway.notify.message import message_of
from gateway.notify.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.alarm_notice import AlarmNotice
    from gateway.notify.outbox import Waiting
    from gateway.settings.notify_section import Limits, NotifySection, NotifyTarget

log = structlog.get_logger(__name__)

GATHER = 1.0
"""Seconds from the first alarm that waits to its message: alarms that come together share it."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds between two attempts."""

COUNTS = ("sent", "failed", "dropped", "given_up")
"""The counts of a target: messages that were sent, attempts that failed, alarms without room and given up."""


class TargetNotifier:
    """Notifies one target."""

    def __init__(
        self,
        name: str,
        target: NotifyTarget,
        limits: Limits,
        courier: Courier,
        gateway: str,
        settle: Callable[[AlarmNotice], None],
        backoff: Backoff,
    ) -> None:
        """Prepare; `settle` is called with each alarm that nothing more is done about."""
        self.box = Outbox()
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self._name, self._target, self._limits = name, target, limits
        self._courier, self._gateway, self._settle = courier, gateway, settle
        self._backoff = backoff
        self._sent: deque[float] = deque(maxlen=limits.messages)
        self._log = StateLog(log, "notify.unstable", target=name)
        self._repeated = RepeatLog(log)

    def put(self, notice: AlarmNotice) -> None:
        """Take an alarm."""
        dropped = self.box.put(notice, time.monotonic())
        if dropped is not None:
            self.counts["dropped"] += 1
            self._repeated.warning("notify.dropped", key=self._name, target=self._name, alarm=dropped.alarm,
                                   machine=dropped.machine)  # fmt: skip
            self._settle(dropped)

    async def run(self) -> None:
        """Send messages until cancelled."""
        while True:
            await self.box.change.wait()
            await asyncio.sleep(GATHER)
            await self._wait_for_allowance()
            if waiting := self.box.take():
                await self._send(waiting)

    async def _wait_for_allowance(self) -> None:
        """Wait until another message is within the limit."""
        if len(self._sent) == self._limits.messages:
            await asyncio.sleep(max(0.0, self._sent[0] + self._limits.per - time.monotonic()))

    async def _send(self, waiting: list[Waiting]) -> None:
        notices = [one.notice for one in waiting]
        left_out = self.box.left_out
        delivered = False
        try:
            answer = await self._courier.send(self._target, message_of(notices, left_out, self._gateway, None))
            delivered = answer.delivered
        finally:
            given_up = [] if delivered else self.box.give_back(time.monotonic() - self._limits.give_up)
        if delivered:
            self.box.sent(left_out)
            self._sent.append(time.monotonic())
            self.counts["sent"] += 1
            self._backoff.reset()
            if self._log.state:
                self._log.enter("notify.delivered", healthy=True)
            for one in notices:
                self._settle(one)
            return
        self.counts["failed"] += 1
        hint: dict[str, Any] = {"hint": answer.hint} if answer.hint else {}
        self._log.enter("notify.not_delivered", error=answer.text, **hint)
        if given_up:
            self.counts["given_up"] += len(given_up)
            self._repeated.error("notify.given_up", key=self._name, target=self._name, alarms=len(given_up),
                                 error=answer.text)  # fmt: skip
            for one in given_up:
                self._settle(one)
        await self._backoff.wait()


class Notifier:
    """Notifies all targets of a gateway, or of one of its workers."""

    def __init__(
        self,
        section: NotifySection,
        limits: Limits,
        gateway: str,
        settle: Callable[[AlarmNotice], None],
        pauses: tuple[float, float] = (FIRST_PAUSE, LONGEST_PAUSE),
    ) -> None:
        """Prepare; `settle` is called with each alarm that nothing more is done about.

        `pauses` are the first and the longest pause between two attempts, in seconds.
        """
        courier = Courier()
        self._targets = {
            name: TargetNotifier(name, target, limits, courier, gateway, settle, Backoff(*pauses))
            for name, target in section.targets.items()
        }

    def put(self, notice: AlarmNotice) -> None:
        """Notify the target of an alarm. Returns at once."""
        self._targets[notice.step.target].put(notice)

    def withdraw(self, notice: AlarmNotice) -> None:
        """Escalate an alarm no more: somebody has acknowledged it, or it is over."""
        self._targets[notice.step.target].box.withdraw(notice)

    def forget(self, machine: str) -> None:
        """Drop the alarms of a machine that is gone, or that another worker reads now."""
        for one in self._targets.values():
            one.box.forget(machine)

    async def run(self) -> None:
        """Send messages until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, one in self._targets.items():
                run = supervise(one.run, BestEffort("notify", target=name))
                tasks.create_task(run, name=f"notify {name}")

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the counts of each target, and the alarms that wait (`waiting`)."""
        return {name: {**one.counts, "waiting": len(one.box)} for name, one in self._targets.items()}
