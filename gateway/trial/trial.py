"""A trial: its processes, their order, and their closing reports."""

from __future__ import annotations

import asyncio
import fcntl
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import orjson

from gateway.settings.load import load_factory
from gateway.trial.configuration import tried
from gateway.trial.listening import listening, wait_for_servers
from gateway.trial.processes import Service
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.settings.factory import Factory
    from gateway.trial.configuration import Change

SIMULATOR_NICE = 5
"""Niceness of the simulators, below the services."""

BROKER_LOG, PAGE_LOG = "broker.log", "dashboard.log"

PAGE_NICE = 3
"""Niceness of the page: it must not delay the services."""

START_SECONDS = 120.0
"""Seconds after which a server that does not listen has failed. OPC UA servers load for seconds, some in parallel."""


class TrialFailed(Exception):
    """A service ended, or never started; the text shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a trial differs from the default.

    `seed`     of the simulated machines
    `truth`    whether the values that the machines show are written to a file beside the store
    `patient`  whether reading starts only when every machine's server listens
    `change`   changes to a configuration before it is used, beside those of every trial
    `page`     the port of the loopback at which the page is served; None for no page
    """

    seed: str = "1"
    truth: bool = False
    patient: bool = False
    change: Change | None = None
    page: int | None = None


class Trial:
    """One run of some factories. `folder` contains the store, the spools, the logs and the configurations in use.

    The configured broker, stores, spools and machines are left alone, and no secret of theirs is needed. A folder of
    an earlier trial may be used again: its store and spools are kept, its logs and reports are replaced.
    """

    def __init__(self, folder: Path, configs: Sequence[Path], options: Options | None = None) -> None:
        """Prepare to run factories, whose files have different names; start nothing."""
        self.folder = folder
        self.store = folder / "readings.db"
        self.factories: list[Factory] = []
        self._options = options or Options()
        self._configs = {config.stem: config for config in configs}
        self._running = AsyncExitStack()
        self._services: list[Service] = []
        self._gateways: list[Service] = []
        self._ingest: Service

    async def __aenter__(self) -> Self:
        """Start everything. Raises `TrialFailed`, at once if another trial uses the folder, and `OSError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._claim()
            await self._start()
        except BaseException:
            await self._running.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop in the order of the flow, so that every reading is sent and stored."""
        try:
            # until it has started, a signal ends a service without a report
            await asyncio.gather(*(gateway.logged("gateway.started", START_SECONDS) for gateway in self._gateways))
            await self._ingest.logged("ingest.started", START_SECONDS)
            await asyncio.gather(*(gateway.stop() for gateway in self._gateways))
            await self._ingest.stop()
        finally:
            await self._running.aclose()

    def _claim(self) -> None:
        """Lock the folder, and remove the files between processes of an earlier trial. Raises `TrialFailed`."""
        lock = self._running.enter_context((self.folder / "trial.lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrialFailed(f"{self.folder} is in use by another demo: stop it, or choose another folder") from None
        written = [self.folder / BROKER_LOG, self.folder / PAGE_LOG, self._ingest_report]
        for name in self._configs:
            written += [self._moved(name), self._report(name), self.truth(name)]
            written += [self.log(command, name) for command in ("simulate", "run", "ingest")]
        for file in written:
            file.unlink(missing_ok=True)

    async def _start(self) -> None:
        # in a process of its own, so that a test's process is not delayed and keeps no state
        port = free_port()
        await self._begin(Service("broker", self.folder / BROKER_LOG, "embedded-broker", "--port", str(port)))
        simulators = {name: await self._begin(self._simulator(name)) for name in self._configs}
        for name, simulator in simulators.items():
            await self._wait_for(self._moved(name), simulator)
            self.factories.append(self._configure(name, port))
        await self.hold(self._listens(port))
        if self._options.patient:
            await self.hold(self.served())
        first = next(iter(self._configs))
        self._ingest = await self._begin(self._service("ingest", first, "--report", str(self._ingest_report)))
        for name in self._configs:
            self._gateways.append(await self._begin(self._service("run", name, "--report", str(self._report(name)))))
        if self._options.page is not None:
            # not one of the services: a trial goes on without its page
            await self._running.enter_async_context(self._page(self._options.page))

    def _page(self, port: int) -> Service:
        first, *others = (str(self.folder / f"{name}.yaml") for name in self._configs)
        listen = f"{LOOPBACK}:{port}"
        log = self.folder / PAGE_LOG
        return Service("dashboard", log, "dashboard", first, *others, "--listen", listen, nice=PAGE_NICE)

    async def _begin(self, service: Service) -> Service:
        self._services.append(service)
        return await self._running.enter_async_context(service)

    def _simulator(self, name: str) -> Service:
        options = ["--ports", "auto", "--write", str(self._moved(name)), "--seed", self._options.seed]
        if self._options.truth:
            options += ["--truth", str(self.truth(name))]
        # real machines use no processor of the gateway, so simulated machines get a lower priority
        return Service(
            f"simulate {name}", self.log("simulate", name), "simulate", str(self._configs[name]), *options,
            nice=SIMULATOR_NICE,
        )  # fmt: skip

    def _service(self, command: str, name: str, *options: str) -> Service:
        config = str(self.folder / f"{name}.yaml")
        return Service(f"{command} {name}", self.log(command, name), command, config, *options)

    def log(self, command: str, name: str) -> Path:
        """Return the log of a service: of `simulate`, `run`, or, with the first factory, `ingest`."""
        return self.folder / f"{command}-{name}.log"

    def _moved(self, name: str) -> Path:
        return self.folder / f"{name}.simulated.yaml"

    def _report(self, name: str) -> Path:
        return self.folder / f"run-{name}.report.json"

    @property
    def _ingest_report(self) -> Path:
        return self.folder / f"ingest-{next(iter(self._configs))}.report.json"

    def truth(self, name: str) -> Path:
        """Return the truth log of a factory; it exists with the option `truth`."""
        return self.folder / f"{name}.truth.jsonl"

    async def _wait_for(self, file: Path, service: Service) -> None:
        """Wait until a simulator has written its configuration."""
        deadline = time.monotonic() + START_SECONDS
        while not await asyncio.to_thread(file.exists):
            if service.exit_code is not None or time.monotonic() > deadline:
                raise TrialFailed(f"{service.name} did not start:\n{service.last_words()}")
            await asyncio.sleep(0.02)

    def _configure(self, name: str, port: int) -> Factory:
        """Write the configuration that this trial uses."""
        file = self.folder / f"{name}.yaml"
        file.write_text(tried(self._moved(name), self.folder, self.store, port, self._options.change), "utf-8")
        return load_factory(file)

    async def served(self) -> None:
        """Wait until every machine's server listens. Raises `TrialFailed`."""
        await _in_time(wait_for_servers(self.factories, START_SECONDS))

    @staticmethod
    async def _listens(port: int) -> None:
        await _in_time(listening(port, time.monotonic() + START_SECONDS))

    async def hold(self, *ends: Awaitable[Any]) -> None:
        """Run until the first of `ends` is done. Raises `TrialFailed` if a service ends before."""
        gone: dict[asyncio.Task[int], Service] = {
            asyncio.create_task(service.ended(), name=service.name): service for service in self._services
        }
        wanted = [asyncio.ensure_future(end) for end in ends]
        try:
            done, _ = await asyncio.wait({*wanted, *gone}, return_when=asyncio.FIRST_COMPLETED)
            for task, service in gone.items():
                if task in done:
                    raise TrialFailed(f"{service.name} ended with {task.result()}:\n{service.last_words()}")
        finally:
            for task in (*wanted, *gone):
                task.cancel()
            await asyncio.gather(*wanted, *gone, return_exceptions=True)
        for end in wanted:
            if end in done:
                end.result()

    def reports(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Return the closing reports of the gateways, by the names of their factories, and that of ingest."""
        gateways = {name: orjson.loads(self._report(name).read_bytes()) for name in self._configs}
        return gateways, orjson.loads(self._ingest_report.read_bytes())


async def _in_time(waiting: Awaitable[None]) -> None:
    try:
        await waiting
    except TimeoutError as error:
        raise TrialFailed(f"{error} after {START_SECONDS:g} s") from None
