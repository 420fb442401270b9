"""The demo: which processes, in which order, and the report at the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import yaml

from gateway.demo.broker import embedded_broker
from gateway.demo.processes import Service
from gateway.settings.document import read_document
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from gateway.settings.factory import Factory

PLANTS = ("tire-plant", "appliance-plant")
"""The bundled configurations that the demo runs."""

SIMULATOR_NICE = 5
"""How far the simulators step back behind the services."""

START_SECONDS = 30.0
"""A simulator that has not said where it listens by then has failed."""


class DemoFailed(Exception):
    """A service ended, or never started; the text shows the end of its log."""


class Demo:
    """One run of the demo. `folder` holds the store, the spools, the logs and the configurations in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.factories: list[Factory] = []
        self.store = folder / "readings.db"
        self._began = time.monotonic()
        self._began_wall = time.time()

    async def run(
        self,
        stop: asyncio.Event,
        seconds: float | None,
        watch: Callable[[list[Factory]], Coroutine[Any, Any, None]] | None,
    ) -> dict[str, Any]:
        """Run until `stop` is set or every machine has been served for `seconds`, then stop in order and report.

        `watch` shows what happens meanwhile, given the factories in use.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as running:
            port = await running.enter_async_context(embedded_broker())
            simulators = [self._service("simulate", plant, "--ports", "auto", "--write", str(self._moved(plant)))
                          for plant in PLANTS]  # fmt: skip
            for service in simulators:
                await running.enter_async_context(service)
            for service, plant in zip(simulators, PLANTS, strict=True):
                await self._wait_for(self._moved(plant), service)
                self.factories.append(self._configure(plant, port))
            ingest = self._service("ingest", PLANTS[0], "--report", str(self.folder / "ingest.report.json"))
            gateways = [self._service("run", plant, "--report", str(self._report_of(plant))) for plant in PLANTS]
            await running.enter_async_context(ingest)
            for gateway in gateways:
                await running.enter_async_context(gateway)
            await self._wait(stop, seconds, [*simulators, ingest, *gateways], watch)
            # in the order of the flow: what is read is sent, what is sent is stored
            await asyncio.gather(*(gateway.stop() for gateway in gateways))
            await ingest.stop()
        return self._report()

    def _service(self, command: str, plant: str, *options: str) -> Service:
        config = bundled_config() / f"{plant}.yaml" if command == "simulate" else self.folder / f"{plant}.yaml"
        name = f"{command} {plant}"
        log = self.folder / f"{name.replace(' ', '-')}.log"
        # machines are elsewhere: simulated ones shall not take the gateway's processor while they load
        nice = SIMULATOR_NICE if command == "simulate" else 0
        return Service(name, log, command, str(config), *options, nice=nice)

    def _moved(self, plant: str) -> Path:
        return self.folder / f"{plant}.simulated.yaml"

    def _report_of(self, plant: str) -> Path:
        return self.folder / f"{plant}.report.json"

    async def _wait_for(self, file: Path, service: Service) -> None:
        """Wait until a simulator has written where it listens."""
        deadline = time.monotonic() + START_SECONDS
        while not await asyncio.to_thread(file.exists):
            if service.exit_code is not None or time.monotonic() > deadline:
                raise DemoFailed(f"{service.name} did not start:\n{service.last_words()}")
            await asyncio.sleep(0.02)

    def _configure(self, plant: str, port: int) -> Factory:
        """Write the configuration that this run uses: the bundled one, with broker, spool and store of this run."""
        data = read_document(self._moved(plant)).data
        data["broker"] = {"url": f"mqtt://{LOOPBACK}:{port}", "version": "3.1.1"}
        data["gateway"]["spool"] = {"folder": str(self.folder / "spool"), "max_size": "1GiB"}
        data["ingest"] = {"folder": str(self.folder)}
        data["stores"] = [{"sqlite": {"path": str(self.store)}}]
        file = self.folder / f"{plant}.yaml"
        file.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return load_factory(file)

    async def _wait(
        self,
        stop: asyncio.Event,
        seconds: float | None,
        services: list[Service],
        watch: Callable[[list[Factory]], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Wait for the end: asked for, timed, or because a service is gone."""
        stopped: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
        ends: dict[asyncio.Task[Any], Service] = {
            asyncio.create_task(service.ended(), name=service.name): service for service in services
        }
        showing = [asyncio.create_task(watch(self.factories), name="watch")] if watch else []
        timed = [] if seconds is None else [asyncio.create_task(self._served_for(seconds), name="time")]
        try:
            done, _ = await asyncio.wait({stopped, *timed, *ends}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & set(ends):
                service = ends[task]
                raise DemoFailed(f"{service.name} ended with {task.result()}:\n{service.last_words()}")
        finally:
            for task in [stopped, *timed, *ends, *showing]:
                task.cancel()
            await asyncio.gather(*showing, *timed, return_exceptions=True)
        for task in timed:
            if not task.cancelled():
                task.result()

    async def _served_for(self, seconds: float) -> None:
        """Wait until every machine's server listens (an OPC UA server loads for seconds), then `seconds` more."""
        served = {urlsplit(str(machine.connection)).port for one in self.factories for machine in one.machines}
        deadline = time.monotonic() + START_SECONDS
        for port in served:
            while not await _listens(port):
                if time.monotonic() > deadline:
                    raise DemoFailed(f"nothing listens on port {port} after {START_SECONDS:g} s")
                await asyncio.sleep(0.1)
        await asyncio.sleep(seconds)

    def _report(self) -> dict[str, Any]:
        gateways = [orjson.loads(self._report_of(plant).read_bytes()) for plant in PLANTS]
        ingest = orjson.loads((self.folder / "ingest.report.json").read_bytes())
        first = ingest["first_stored"]
        dropped: dict[str, int] = {}
        for gateway in gateways:
            for reason, n in gateway["ledger"]["dropped"].items():
                dropped[reason] = dropped.get(reason, 0) + n
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "ledger": _sum(gateways, "ledger", ("acquired", "unchanged"))
            | {"dropped": dropped}
            | _sum(gateways, "ledger", ("pending", "confirmed")),
            "schedule": _sum(gateways, "schedule", ("due", "taken", "missed")),
            "points": _sum(gateways, "points", ("configured", "good", "uncertain", "bad")),
            "stored_readings": ingest["stored_readings"],
            "latency_ms": ingest["latency_ms"],
            "first_stored_after": None if first is None else round(first - self._began_wall, 2),
            "balanced": all(gateway["balanced"] for gateway in gateways),
            "never_good": [point for gateway in gateways for point in gateway["never_good"]],
            "machines": {path: machine for gateway in gateways for path, machine in gateway["machines"].items()},
        }


async def _listens(port: int | None) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


def _sum(reports: list[Mapping[str, Any]], part: str, keys: tuple[str, ...]) -> dict[str, int]:
    return {key: sum(report[part][key] for report in reports) for key in keys}
