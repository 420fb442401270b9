"""A worker: a process that runs the gateway service for its part of the machines, as its supervisor says.

It ends with its supervisor, however that ends: the kernel kills it then (prctl(2), PR_SET_PDEATHSIG). A supervisor
that ended before the worker could ask for this is not its parent any more, so nothing can come between.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from gateway.common.setting_types import MissingSecret
from gateway.common.tasks import BestEffort, cancel_and_wait, supervise
from gateway.gateway_service import GatewayService
from gateway.metrics.health import Pulse
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
    decode_factory,
    decode_order,
    encode_answer,
)

if TYPE_CHECKING:
    import socket

    from gateway.workers.messages import Answer

log = structlog.get_logger(__name__)

STATUS_EVERY = 1.0
"""Seconds between two reports to the supervisor."""

REFUSING = (MissingSecret, OSError, sqlite3.OperationalError)
"""Errors that are the supervisor's to report: a spool in use, a spool that can't be opened, a missing secret."""

_PR_SET_PDEATHSIG = 1


def end_with(supervisor: int) -> None:
    """Let the kernel kill this process when the process `supervisor` ends; end now if it has ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # systemd signals all processes of a unit: the supervisor says when


async def work(end: socket.socket, *, trace: bool) -> bool:
    """Run a worker on its end of the channel until the supervisor stops it; return False if it could not start."""
    channel = await Channel.open(end)
    try:
        first = decode_order(await channel.receive())
        if not isinstance(first, Configure):
            raise TypeError(f"{first} in place of a configuration")
        service = GatewayService(decode_factory(first.factory), trace=trace, part=first.part)
        await _Worker(channel, service).run()
    except REFUSING as error:
        return await _refuse(channel, error)
    except BaseExceptionGroup as group:
        refusing, others = group.split(REFUSING)
        if others is not None or refusing is None:
            raise
        return await _refuse(channel, _first(refusing))
    except ChannelClosed:
        return False
    return True


async def _refuse(channel: Channel, error: BaseException) -> bool:
    channel.send(encode_answer(Refused(error=str(error))))
    await channel.flush()
    return False


def _first(error: BaseException) -> BaseException:
    """Return the first error in a group that is not a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Worker:
    """The service of a worker, and its talk with the supervisor."""

    def __init__(self, channel: Channel, service: GatewayService) -> None:
        self._channel = channel
        self._service = service
        self._stop = asyncio.Event()
        self._changes: asyncio.Queue[Configure] = asyncio.Queue()
        self._questions: asyncio.Queue[AskMetrics] = asyncio.Queue()
        self._commands: asyncio.Queue[CarryOut] = asyncio.Queue()
        self._spool_pulse = Pulse(service.ping_spool)

    async def run(self) -> None:
        """Run until the supervisor stops this worker, or ends."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(self._listen(), name="listen to the supervisor"),
                tasks.create_task(self._apply_changes(), name="changes of the configuration"),
                tasks.create_task(self._report(), name="reports to the supervisor"),
                tasks.create_task(supervise(self._answer_metrics, BestEffort("metrics")), name="metrics"),
                tasks.create_task(supervise(self._carry_out, BestEffort("commands")), name="commands"),
            ]
            await self._service.run(self._stop)
            await cancel_and_wait(*helpers)
        self._send(Closing(report=self._service.closing_report(), processor=time.process_time()))
        await self._channel.flush()

    def _send(self, answer: Answer) -> None:
        self._channel.send(encode_answer(answer))

    async def _listen(self) -> None:
        """Follow the supervisor; its end is a reason to stop."""
        with suppress(ChannelClosed):
            while True:
                order = decode_order(await self._channel.receive())
                if isinstance(order, Configure):
                    self._changes.put_nowait(order)
                elif isinstance(order, Pause):
                    self._pause(paused=order.paused)
                elif isinstance(order, AskKnown):
                    known = self._service.knows(order.ids)
                    self._send(Known(number=order.number, ids=sorted(known)))
                elif isinstance(order, AskMetrics):
                    self._questions.put_nowait(order)
                elif isinstance(order, CarryOut):
                    self._commands.put_nowait(order)
                elif isinstance(order, Stop):
                    break
        self._stop.set()

    def _pause(self, *, paused: bool) -> None:
        self._service.pause_publishing(paused=paused)
        if paused:
            log.warning("worker.paused", hint="another gateway with this gateway.id is connected to the broker")
        else:
            log.info("worker.resumed")

    async def _apply_changes(self) -> None:
        await self._service.started.wait()
        while True:
            order = await self._changes.get()
            try:
                factory = await asyncio.to_thread(decode_factory, order.factory)
                affected = await self._service.reconfigure(factory, order.part)
            except Exception as error:
                # a driver of another package makes its own objects of a configuration: the supervisor restarts us
                log.exception("worker.not_configured")
                self._send(Applied(number=order.number, error=f"{type(error).__name__}: {error}"))
            else:
                self._send(self._status())  # the position of the spool, behind all records of removed machines
                found = {what: list(machines) for what, machines in affected.items()}
                self._send(Applied(number=order.number, affected=found))

    async def _answer_metrics(self) -> None:
        await self._service.started.wait()
        while True:
            asked = await self._questions.get()
            silence = await self._spool_pulse.silence()
            samples = await self._service.samples() if asked.samples else None
            self._send(Metrics(
                number=asked.number, samples={} if samples is None else samples.as_dict(),
                checks=self._service.checks(), machines=self._service.machine_states(), spool_silence=silence,
            ))  # fmt: skip

    async def _carry_out(self) -> None:
        await self._service.started.wait()  # the states of alarms are restored
        while True:
            order = await self._commands.get()
            self._send(CarriedOut(number=order.number, failure=await self._service.command(order.command)))

    async def _report(self) -> None:
        await self._service.started.wait()
        while True:
            self._send(self._status())
            await asyncio.sleep(STATUS_EVERY)

    def _status(self) -> Status:
        service = self._service
        machines, connections = service.size()
        return Status(
            report=service.report(),
            spool=service.spool.id,
            next=service.spool.next_seq,
            oldest=service.spool.oldest_seq,
            machines=machines,
            connections=connections,
            processor=time.process_time(),
        )
