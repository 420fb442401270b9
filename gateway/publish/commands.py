"""Commands of people over MQTT: checked, carried out once, answered, and journaled.

A command is refused if it is not for this gateway, not signed by a known key, names a person that the key does not
permit, has expired, or was here before. The ids of
commands are remembered until they expire. After a restart they are not: a command that was issued before the start is
refused, so nobody can repeat it.

Each command that is carried out is journaled. Of those that are refused or fail, which anyone with the right to
publish may send, `MOST_ENTRIES` a minute are, and one entry has the number of the others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, NamedTuple, Self

import structlog

from gateway.common.public_keys import public_key
from gateway.common.state_log import RepeatLog
from gateway.model.command import (
    GIVE_REASON,
    LONGEST_SHELF,
    MAX_STOP_REASON,
    BadCommand,
    encode_answer,
    is_signed,
    parse_command,
)
from gateway.model.text import MAX_NAME, clean_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from gateway.model.command import Approval, Command
    from gateway.settings.commands_section import CommandsSection

log = structlog.get_logger(__name__)

AHEAD = 30_000_000
"""Microseconds by which the clock of a sender may be ahead of ours."""

MOST_IDS = 10_000
"""Ids that are remembered; while so many have not expired, further commands are refused."""

MOST_ENTRIES, WINDOW = 20, 60.0
"""Entries in the audit log of commands that were not carried out, in so many seconds."""

DONE, REFUSED, FAILED = "done", "refused", "failed"


class Result(NamedTuple):
    """The result of a command: `DONE`, `REFUSED` or `FAILED`, and why."""

    outcome: str
    text: str = ""


class Journal(NamedTuple):
    """The audit log `log` of commands.

    `record` writes a command with its result, and `record_more` the number of commands that were not carried out, and
    have no entries of their own.
    """

    log: AbstractAsyncContextManager[object]
    record: Callable[[Command, Result], object]
    record_more: Callable[[int], object]


class Commands:
    """The commands of one gateway.

    `execute` carries out a command for an alarm or a stop; it returns why that failed, empty if it is done, and None
    if the gateway has no such machine with alarms, or with a production. `async with` opens and closes the journal.
    """

    def __init__(
        self,
        settings: CommandsSection,
        gateway: str,
        execute: Callable[[Command], Awaitable[str | None]],
        journal: Journal,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._gateway = gateway
        self._execute = execute
        self._journal = journal
        self._clock = clock
        self._monotonic = monotonic
        self._began = monotonic()
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._repeated = RepeatLog(log)
        self._entries = self._left_out = 0  # in the present window
        self._window: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._journal.log.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._window is not None:
            self._window.cancel()
            self._end_window()
        await self._journal.log.__aexit__(kind, error, trace)

    async def take(self, topic: str, payload: bytes) -> bytes | None:
        """Carry out the command of a message; return the answer, None for a message that gets none."""
        try:
            command = parse_command(payload)
        except BadCommand as error:
            self.counts["malformed"] += 1
            self._repeated.warning("mqtt.message_ignored", key=topic, topic=topic, error=str(error))
            return None
        result = await self._result(command)
        self.counts[result.outcome] += 1
        self._note(self._identified(command), result)
        if result.outcome == REFUSED:
            self._repeated.warning(
                "command.refused", key=result.text, user=command.user, action=command.action, reason=result.text
            )
        return encode_answer(command, result.outcome, result.text, self._clock())

    def _note(self, command: Command, result: Result) -> None:
        if result.outcome != DONE:
            if self._window is None:
                self._window = asyncio.get_running_loop().call_later(WINDOW, self._end_window)
            if self._entries >= MOST_ENTRIES:
                self._left_out += 1
                return
            self._entries += 1
        self._journal.record(command, result)

    def _end_window(self) -> None:
        self._window = None
        left_out, self._entries, self._left_out = self._left_out, 0, 0
        if left_out:
            self._journal.record_more(left_out)

    async def _result(self, command: Command) -> Result:
        if problem := self._problem(command):
            return Result(REFUSED, problem)
        if not command.spares_machine:
            return Result(REFUSED, self._write_problem(command) or "this gateway does not write to machines")
        if misfit := _misfit(command):
            return Result(REFUSED, misfit)
        self._ids[command.id] = command.expires
        failure = await self._execute(self._identified(command))
        if failure is None:
            what = "alarms" if command.is_of_alarm else "a production"
            return Result(FAILED, f"this gateway has no such machine with {what}")
        return Result(FAILED, failure) if failure else Result(DONE)

    def _identified(self, command: Command) -> Command:
        """Return a command with who is known to have sent it: the key, where its configuration names no people."""
        if not command.signature:
            return command.model_copy(update={"key": ""})  # it is a statement that nothing proves
        key = self.settings.keys.get(command.key)
        if key is None or key.people:
            return command
        return command.model_copy(update={"user": clean_text(f"{command.key} ({command.user})", MAX_NAME)})

    def _problem(self, command: Command) -> str:
        """Return why a command may not be carried out, empty if it may."""
        now = self._clock()
        started = now - round((self._monotonic() - self._began) * 1e6)  # by the present clock: it may have been set
        self._expire(now)
        longest = self.settings.longest
        checks = (
            (command.gateway != self._gateway, f"it is for gateway {command.gateway}"),
            (
                not command.issued <= command.expires <= command.issued + round(longest * 1e6),
                f"it may be valid for {longest:g} s at most",
            ),
            (command.issued > now + AHEAD, "it was issued in the future: compare the clocks"),
            (command.expires < now, "it has expired"),
            (command.issued < started - AHEAD, "it was issued before the gateway started"),
            (command.id in self._ids, "it was carried out before"),
            (len(self._ids) >= MOST_IDS, "too many commands"),
        )
        problem = next((text for wrong, text in checks if wrong), "")
        if problem or (self.settings.unsigned_alarms and command.spares_machine and not command.signature):
            return problem
        return self._signature_problem(command, command)

    def _expire(self, now: int) -> None:
        for id_ in [id_ for id_, expires in self._ids.items() if expires < now]:
            del self._ids[id_]

    def _signature_problem(self, command: Command, by: Command | Approval) -> str:
        """Return why the signature of a person over a command does not count, empty if it does."""
        if not by.signature:
            return "it is not signed"
        known = self.settings.keys.get(by.key)
        if known is None:
            return "its key is not known here"
        if not is_signed(command, by.signature, public_key(known.key)):
            return "its signature is wrong"
        # after the signature: only who has the key learns the names that it permits
        return "" if known.permits(by.user) else f"the key {by.key} does not speak for {by.user}"

    def _write_problem(self, command: Command) -> str:
        """Return why a value may not be written, by the limits that are configured."""
        path, value = command.target.path, command.arguments.get("value")
        limits = self.settings.writable.get(f"{path.line}/{path.machine}/{command.target.point}")
        if limits is None:
            return "the point is not writable"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "the argument value is not a number"
        if not limits.range[0] <= value <= limits.range[1]:
            return f"the value is not within {limits.range[0]:g} to {limits.range[1]:g}"
        approved = {
            (one.user, one.key)
            for one in command.approvals
            if one.user != command.user and one.key != command.key and not self._signature_problem(command, one)
        }
        if min(len({user for user, _ in approved}), len({key for _, key in approved})) < limits.approvals:
            return f"it needs the approval of {limits.approvals} other person(s), with keys of their own"
        return ""


def _misfit(command: Command) -> str:
    """Return why the arguments of a command do not fit its action, empty if they do."""
    if command.action == "shelve" and command.shelf is None:
        return f"the argument seconds is a number from 1 to {LONGEST_SHELF:.0f}"
    if command.action == GIVE_REASON and command.stop_reason is None:
        return (
            "the arguments are begin, the time of the stop in microseconds, reason, a text of 1 to "
            f"{MAX_STOP_REASON} characters, and comment, a text"
        )
    return ""
