"""A simulation: steps the machines, applies their faults, writes the truth log, and runs the servers."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from simulators.faults.catalogue import parse_fault, random_faults
from simulators.faults.control_file import ControlFile
from simulators.faults.injector import Injector
from simulators.machines.plant import Plant
from simulators.opcua.discoverable_points import with_examples
from simulators.relocation import relocated_configuration
from simulators.servers import Servers
from simulators.truth import TruthLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)

STEP = 0.2
"""Seconds between two steps of the machines."""

HORIZON = 7 * 86_400.0
"""Simulated seconds for which random faults are drawn."""


@dataclass(frozen=True)
class Options:
    """Options of a simulation.

    `speed`       simulated seconds per second
    `truth`       file of the truth log: see `simulators.truth`
    `faults`      faults to inject, in the syntax of `simulators.faults.catalogue`
    `random_faults`  mean simulated seconds between two random faults, None for no random faults
    `control`     file whose lines begin and end faults while the simulation runs
    `history`     values that OPC UA servers keep of each measured node
    """

    speed: float = 1.0
    truth: Path | None = None
    faults: Sequence[str] = ()
    random_faults: float | None = None
    control: Path | None = None
    history: int = 0

    @property
    def faulty(self) -> bool:
        """Whether there may be faults."""
        return bool(self.faults) or self.random_faults is not None or self.control is not None


class Simulation:
    """The servers of one configuration, and the loop that steps the machines behind them."""

    def __init__(
        self, factory: Factory, seed: str, *, free_ports: bool = False, options: Options | None = None
    ) -> None:
        """Prepare; `free_ports` listens on free ports of the loopback instead of the configured addresses.

        Raises `InvalidFault` for a fault that can't be parsed, `CannotServe` for machines that can't be served.
        """
        self.started = asyncio.Event()
        self._factory = factory
        self._options = options = options or Options()
        served = with_examples(factory)
        self._plant = Plant(served, seed)
        self._outputs = [outputs for _, outputs in self._plant.machines]
        faults = [parse_fault(text, self._outputs, seed) for text in options.faults]
        if options.random_faults is not None:
            faults += random_faults(self._outputs, seed, options.random_faults, HORIZON)
        self._injector = Injector(faults)
        self._control = ControlFile(options.control, self._injector, self._outputs) if options.control else None
        self._servers = Servers(
            served, self._plant, free_ports=free_ports, faulty=options.faulty, history=options.history
        )

    async def run(self, stop: asyncio.Event, write: Path | None = None) -> None:
        """Serve until `stop` is set; write the configuration that points to these servers to the file `write`.

        Raises `OSError` if a port is taken or a file can't be written.
        """
        truth = self._options.truth
        with ExitStack() as stack:
            truth_log = stack.enter_context(TruthLog(truth, self._outputs)) if truth is not None else None
            self._step(truth_log)  # a client that is early reads values of the log, too
            try:
                await self._servers.start(write or Path("simulated.yaml"))
                if write is not None:
                    await asyncio.to_thread(
                        write_atomically, write, relocated_configuration(self._factory, self._servers)
                    )
                log.info("simulation.started", machines=len(self._outputs), **self._servers.counts())
                self.started.set()
                await self._step_until(stop, truth_log)
            finally:
                await self._servers.stop()
        log.info("simulation.stopped")

    async def _step_until(self, stop: asyncio.Event, truth_log: TruthLog | None) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            self._step(truth_log)
            self._servers.check()
            if self._options.faulty:
                await self._servers.apply_faults()
            due = max(due + STEP, loop.time())
            try:
                async with asyncio.timeout_at(due):
                    await stop.wait()
            except TimeoutError:
                continue

    def _step(self, truth_log: TruthLog | None) -> None:
        """Step the machines, apply the faults that are due, and log the values; servers wait meanwhile."""
        with self._plant.lock:
            self._plant.step(STEP * self._options.speed)
            if self._control is not None:
                self._control.poll(self._plant.clock)
            changed = self._injector.step(self._plant.clock)
        if truth_log is not None:
            truth_log.write(self._plant.clock, time.time_ns() // 1000, changed)


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that no reader sees a part of it."""
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
