"""One worker process, as the supervisor sees it: start, configure, watch, start again, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

import gateway
from gateway.common.backoff import Backoff
from gateway.common.state_log import StateLog
from gateway.common.tasks import cancel_and_wait
from gateway.model.part import Part
from gateway.workers.channel import Channel, ChannelClosed
from gateway.workers.messages import (
    Applied,
    AskKnown,
    AskMetrics,
    CarriedOut,
    CarryOut,
    Closing,
    Configure,
    Known,
    Metrics,
    Pause,
    Refused,
    Status,
    Stop,
    decode_answer,
    encode_order,
)
from gateway.workers.reports import at_rest, past_of, summed_past

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from gateway.model.command import Command
    from gateway.workers.messages import Answer, Order
    from gateway.workers.reports import Report

log = structlog.get_logger(__name__)

RESTART_FIRST, RESTART_MAX = 0.5, 15.0
"""Seconds between the end of a worker and its next start: the first, and the longest."""

STEADY = 60.0
"""Seconds for which a worker has to run before the next back-off starts again at the first."""

SILENT, SILENT_AT_START = 30, 180
"""Seconds without a message after which a worker hangs, and is killed: once it runs, and while it starts."""

APPLY_SECONDS = 20.0
"""Seconds in which a worker has to apply a configuration; then it is started again with it."""

KNOWN_SECONDS = 3.0
"""Seconds in which a worker has to say which metadata ids it knows."""

METRICS_SECONDS = 3.0
"""Seconds in which a worker has to return its metrics."""

COMMAND_SECONDS = 5.0
"""Seconds in which a worker has to carry out a command."""

ON_END_SECONDS = 5.0
"""Seconds for which the next start waits for the supervisor to publish that the machines are not read."""

END_SECONDS = 2.0
"""Seconds in which a worker that has closed its channel has to end before it is killed."""


class Launch(NamedTuple):
    """How a worker is started: the arguments of `lineside`, with the command and its options."""

    arguments: Sequence[str]

    def command(self, number: int, channel: int) -> list[str]:
        """Return the command of a worker that finds its end of the channel at a file descriptor."""
        # without the working directory (-P), which may contain something of our name
        own = ["--number", str(number), "--channel", str(channel), "--supervisor", str(os.getpid())]
        return [sys.executable, "-P", "-m", "gateway", *self.arguments, *own]

    @staticmethod
    def environment() -> dict[str, str]:
        """Return the environment of a worker: it imports the packages of this process, and no others."""
        here = str(Path(gateway.__file__).parent.parent)
        before = os.environ.get("PYTHONPATH", "")
        return os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{before}" if before else here}


class WorkerRefused(OSError):
    """A worker can't start, as a gateway without workers could not: the text says why."""


class WorkerProcess:
    """A worker, over all of its processes.

    `number`     its number, from 1
    `status`     its last report; None before the first
    `closing`    its closing report, once it has stopped
    `past`       the counts of its former processes
    `settled`    set when it has reported for the first time, or has failed
    `refused`    why it can't start, if it says so
    `restarts`   the number of its starts after the first
    `paused`     whether it stays away from the broker
    """

    def __init__(self, number: int, launch: Launch, on_end: Callable[[int], Awaitable[None]]) -> None:
        """Prepare; call `configure` before `run`.

        `on_end` is called with the number when a process has ended that was not stopped, and awaited before the next
        is started, but no longer than `ON_END_SECONDS`.
        """
        self.number = number
        self.status: Status | None = None
        self.closing: Report | None = None
        self.past: list[Report] = []
        self.settled = asyncio.Event()
        self.refused = ""
        self.restarts = 0
        self.values_per_second = 0.0
        self.paused = False
        self._launch = launch
        self._on_end = on_end
        self._factory = b""
        self._inherited: Mapping[str, str] = {}
        self._elsewhere: frozenset[str] = frozenset()
        self._begun_with: Mapping[str, str] = {}
        self._state = StateLog(log, "worker.unstable", worker=number)
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._requests: dict[int, asyncio.Future[Answer | None]] = {}
        self._next_request = 1
        self._processor = self._past_processor = 0.0
        self._seen = 0.0  # the monotonic time of the last status
        self._silent = 0
        self._refusal = ""  # why the present process can't start
        self._ended = ""  # why the supervisor has ended it
        self._stop = asyncio.Event()
        self._reported = asyncio.Event()

    @property
    def processor(self) -> float:
        """Seconds of processor time of all its processes."""
        return self._past_processor + self._processor

    @property
    def last_report(self) -> Report | None:
        """The report of its last status; None before the first."""
        return None if self.status is None else self.status.report

    # -- the life of its processes --

    async def run(self) -> None:
        """Keep a process running until `stop`; one that ends is started again after a back-off."""
        backoff = Backoff(RESTART_FIRST, RESTART_MAX)
        since: float | None = None
        while True:
            began = time.monotonic()
            reason = await self._run_once(since)
            if self._stop.is_set():
                return
            self._note_end(reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(ON_END_SECONDS):
                    await self._on_end(self.number)
            if time.monotonic() - began > STEADY:
                backoff.reset()
            if await self._stops_while(backoff.wait()):
                return
            self.restarts += 1
            since = self._seen or None

    async def _stops_while(self, waiting: Coroutine[Any, Any, None]) -> bool:
        """Wait; return True at once if the worker is stopped meanwhile."""
        tasks = [asyncio.create_task(waiting), asyncio.create_task(self._stop.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*tasks)
        return self._stop.is_set()

    async def _run_once(self, since: float | None) -> str:
        """Run a process to its end; return the reason of its end."""
        ours, theirs = socket.socketpair()
        self._refusal, self._ended, self._silent = "", "", 0
        with theirs:
            try:
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._launch.command(self.number, theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=self._launch.environment(),
                    start_new_session=True,  # Ctrl-C reaches the supervisor alone
                )
            except OSError as error:
                ours.close()
                return f"can't be started: {error}"
        watching = asyncio.create_task(self._watch(), name=f"watch worker {self.number}")
        try:
            self._channel = channel = await Channel.open(ours)
            self._begun_with = self._inherited
            first = Configure(0, self._factory, Part(self.number, self._inherited, since, self._elsewhere))
            channel.send(encode_order(first))
            if self.paused:
                channel.send(encode_order(Pause(paused=True)))
            if self._stop.is_set():
                channel.send(encode_order(Stop()))
            await self._listen(channel)
            return await self._reason(process)
        finally:
            await cancel_and_wait(watching)
            _kill(process)
            await process.wait()
            if self._channel is not None:
                self._channel.close()
            self._channel = self._process = None

    async def _listen(self, channel: Channel) -> None:
        """Take the messages of a process until it closes its channel."""
        while True:
            try:
                answer = decode_answer(await channel.receive())
            except ChannelClosed:
                return
            except ValueError as error:
                self._end(f"sends no valid message: {error}")
                return
            self._silent = 0
            if isinstance(answer, Status):
                self._take_status(answer)
            elif isinstance(answer, Refused):
                self.refused = self._refusal = answer.error
            elif isinstance(answer, Closing):
                self.closing = answer.report
                self._processor = answer.processor
            elif (request := self._requests.get(answer.number)) is not None and not request.done():
                request.set_result(answer)

    def _take_status(self, status: Status) -> None:
        now = time.monotonic()
        before = self.status
        if before is not None and self._seen and now > self._seen:
            new = status.report["ledger"]["acquired"] - before.report["ledger"]["acquired"]
            self.values_per_second = round(max(0, new) / (now - self._seen), 1)
        self.status, self._processor, self._seen, self.refused = status, status.processor, now, ""
        # the machines that it has begun with are in its own files now
        self._inherited = {path: name for path, name in self._inherited.items() if path not in self._begun_with}
        if self._state.state:
            self._state.enter("worker.running", healthy=True)
        self.settled.set()
        self._reported.set()

    async def next_status(self) -> Status | None:
        """Wait for the next report, and return it."""
        self._reported.clear()
        await self._reported.wait()
        return self.status

    async def _reason(self, process: asyncio.subprocess.Process) -> str:
        """Wait for the end of a process that has closed its channel; return the reason of its end."""
        try:
            async with asyncio.timeout(END_SECONDS):
                code = await process.wait()
        except TimeoutError:
            _kill(process)
            code = await process.wait()
        if self._ended or self._refusal:
            return self._ended or self._refusal
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def _watch(self) -> None:
        """Kill a process that sends nothing. Only seconds of a running supervisor count: both may be suspended."""
        while True:
            await asyncio.sleep(1.0)
            self._silent += 1
            if self._silent > (SILENT if self.status is not None else SILENT_AT_START):
                self._end(f"no sign of life for {self._silent} s")

    def _end(self, reason: str) -> None:
        """Kill the present process."""
        self._ended = self._ended or reason
        if self._process is not None:
            _kill(self._process)

    def _note_end(self, reason: str) -> None:
        """Log the end of a process, and keep its counts; its machines are not read until the next one runs."""
        self._state.enter("worker.failed", level="error", error=reason)
        for request in self._requests.values():
            if not request.done():
                request.set_result(None)
        self.values_per_second = 0.0
        self._past_processor += self._processor
        self._processor = 0.0
        if self.status is not None:
            self.past.append(past_of(self.status.report))
            self.past[:] = [summed_past(self.past)]
            self.status = self.status.model_copy(update={"report": at_rest(self.status.report)})
        self.settled.set()

    # -- requests --

    def configure(
        self, factory: bytes, inherited: Mapping[str, str], elsewhere: frozenset[str] = frozenset()
    ) -> None:
        """Set the configuration of the next process; see `encode_factory` and `Part`."""
        self._factory = factory
        self._elsewhere = elsewhere
        self._inherited = dict(self._inherited) | dict(inherited)

    async def reconfigure(
        self, factory: bytes, inherited: Mapping[str, str], elsewhere: frozenset[str] = frozenset()
    ) -> dict[str, list[str]]:
        """Let the process go on with another configuration; return the affected machines.

        A process that does not is ended: the next starts with this configuration.
        """
        self.configure(factory, inherited, elsewhere)
        if self._channel is None:
            return {}
        number = self._new_request()
        order = Configure(number, factory, Part(self.number, self._inherited, elsewhere=self._elsewhere))
        answer = await self._ask(number, order, APPLY_SECONDS)
        if isinstance(answer, Applied) and not answer.error:
            self._inherited = {}
            return answer.affected
        error = answer.error if isinstance(answer, Applied) else f"no answer within {APPLY_SECONDS:g} s"
        self._end(f"has not applied the configuration: {error}")
        return {}

    async def known(self, ids: list[str]) -> set[str] | None:
        """Return those of some metadata ids that the worker knows; None if it does not answer."""
        number = self._new_request()
        answer = await self._ask(number, AskKnown(number, ids), KNOWN_SECONDS)
        return set(answer.ids) if isinstance(answer, Known) else None

    async def metrics(self, *, samples: bool, seconds: float = METRICS_SECONDS) -> Metrics | None:
        """Return the state of the worker, and with `samples` its metrics; None if it does not answer in time."""
        number = self._new_request()
        answer = await self._ask(number, AskMetrics(number, samples), seconds)
        return answer if isinstance(answer, Metrics) else None

    async def command(self, command: Command) -> str | None:
        """Let the worker carry out a command for an alarm, see `Commands`."""
        number = self._new_request()
        seconds = 0.0 if self.hangs else COMMAND_SECONDS  # further commands wait meanwhile
        answer = await self._ask(number, CarryOut(number, command), seconds)
        if isinstance(answer, CarriedOut):
            return answer.failure
        return "the worker that reads the machine did not answer: look at the alarm before you send the command again"

    @property
    def hangs(self) -> bool:
        """Whether it has sent nothing for longer than a command takes, though it sends a report each second."""
        return self._silent >= COMMAND_SECONDS

    @property
    def silence(self) -> float:
        """Seconds since the last message of the present process."""
        return float(self._silent)

    def pause(self, *, paused: bool) -> None:
        """Let the worker stay away from the broker, or connect again."""
        self.paused = paused
        self._send(Pause(paused))

    def stop(self) -> None:
        """Let the worker end in the order of the flow; then `run` returns."""
        self._stop.set()
        self._send(Stop())

    def kill(self) -> None:
        """End the worker at once; then `run` returns."""
        self._stop.set()
        self._end("stopped")

    def _new_request(self) -> int:
        self._next_request += 1
        return self._next_request

    async def _ask(self, number: int, order: Order, seconds: float) -> Answer | None:
        """Send a message, and return the answer; None if there is none in time."""
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._requests[number] = answer
        try:
            if not self._send(order):
                return None
            await asyncio.wait({answer}, timeout=seconds)
            return answer.result() if answer.done() else None  # None, too, if the process ends
        finally:
            del self._requests[number]

    def _send(self, order: Order) -> bool:
        return self._channel is not None and self._channel.send(encode_order(order))


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it has ended in this moment
            process.kill()
