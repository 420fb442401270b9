"""A small plant with its page, for the tests in a browser: simulated machines, broker, gateway, ingest, store.

The tests in a browser share one for each worker. A test that stops one of its processes starts it again.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from page_link import cookie_of, start_page
from processes import LOOPBACK, Lineside, free_port, until, write_factory
from servers import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from processes import Scope

T = TypeVar("T")

ZONE = f"Etc/GMT{time.gmtime().tm_hour - 12:+}"
"""The zone of the plant's shifts: it is noon there, and a shift without a name has lasted for half a day."""

SITE = "acme/north"
PRESS_1, PRESS_2 = (f"{SITE}/curing/curing-1/press-0{number}" for number in (1, 2))
MIXER = f"{SITE}/mixing/mixing/mixer-01"


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also beside the event loop that Playwright has in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class PlantWithPage:
    """A mixer and two presses on two lines. `url` is the address of the page."""

    def __init__(self, folder: Path, scope: Scope = "function") -> None:
        self.folder, self.scope = folder, scope
        self.broker = Mosquitto(folder, scope=scope)
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.config = folder / "factory.yaml"

    @classmethod
    def start(cls, folder: Path, scope: Scope = "function") -> Self:
        """Start all processes, and wait until readings are stored and the page is served."""
        plant = cls(folder, scope)
        plant.broker.up_and_wait()  # in this thread: the server ends with the thread that started it
        return wait_for(plant._start())

    async def _start(self) -> Self:
        source = self.folder / "simulated.yaml"
        self._write(source)
        self.machines = await Lineside.simulate(source, self.config)
        self.gateway = await Lineside.start("run", self.config)
        self.ingest = await Lineside.start("ingest", self.config)
        self.page = await self.serve()
        for process in (self.machines, self.gateway, self.ingest, self.page):
            process.scope = self.scope
        await until(lambda: self.stored() > 0, "readings are stored")
        return self

    async def serve(self, *options: str, config: Path | None = None, port: int | None = None) -> Lineside:
        """Start another page, by default with this plant's configuration and at its address."""
        listen = f"{LOOPBACK}:{port or self.port}"
        return await start_page(config or self.config, listen, *options)

    def _write(self, file: Path) -> None:
        def press(unit: int) -> dict[str, str]:
            return {"template": "curing-press", "connection": f"modbus+tcp://10.0.0.1:502?unit={unit}"}

        mixer = {"template": "internal-mixer", "connection": "modbus+tcp://10.0.0.2:502?unit=1"}
        write_factory(
            file,
            factory={"enterprise": "acme", "site": "north"},
            gateway={"id": "edge-01", "spool": {"folder": str(self.folder / "spool")}},
            ingest={"folder": str(self.folder)},
            broker={"url": self.broker.url},
            calendar={"zone": ZONE},
            stores=[{"sqlite": {"path": str(self.folder / "readings.db")}}],
            lines={
                "mixing": {"area": "mixing", "machines": {"mixer-01": mixer}},
                "curing-1": {"area": "curing", "machines": {"press-01": press(1), "press-02": press(2)}},
            },
        )

    def stored(self) -> int:
        """Return the number of readings that ingest has stored, after its report; 0 before the first."""
        try:
            report = json.loads((self.folder / "ingest.status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        return int(report["report"]["readings"])

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the body of a page or an answer."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Cookie": cookie_of(self.url)})
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()
