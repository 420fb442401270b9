"""A page over a real broker, with messages that a test makes by hand: any machine, any reading, any load."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import orjson
import paho.mqtt.client as paho
from page_link import cookie_of, start_page
from page_plant import wait_for
from processes import LOOPBACK, free_port, until, write_factory
from servers import Mosquitto
from websockets.sync.client import connect

from gateway.codecs import CODECS
from gateway.model.reading import NamedScan
from gateway.model.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.sync.client import ClientConnection

ROOT = "lineside/v1"
SITE = "acme/north"
PROBE = f"{SITE}/probe/probe/probe"
META = "5d0c9e3f7a21"
STATES = {"2": "stopped", "4": "idle", "5": "suspended", "6": "execute", "9": "aborted", "11": "held"}


def now() -> int:
    """Return the time in microseconds since the epoch."""
    return time.time_ns() // 1000


class HandMadePlant:
    """A broker, a page, and a client that publishes what gateways would. `url` is the address of the page."""

    def __init__(self, folder: Path) -> None:
        self.broker = Mosquitto(folder, scope="module")
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.config = write_factory(
            folder / "factory.yaml",
            factory={"enterprise": "acme", "site": "north"},
            gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
            broker={"url": self.broker.url},
            lines={
                "silent-1": {
                    "area": "silent",
                    "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1:502"}},
                }
            },
        )
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._seq = 0

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start broker and page."""
        plant = cls(folder)
        plant.broker.up_and_wait()
        plant._client.reconnect_delay_set(1, 2)
        plant._client.connect(LOOPBACK, plant.broker.port)
        plant._client.loop_start()
        wait_for(plant._serve())
        return plant

    async def _serve(self) -> None:
        self.page = await start_page(self.config, f"{LOOPBACK}:{self.port}")
        self.page.scope = "module"
        # readings are not retained: those before the subscription of the page are lost
        session = {"Cookie": cookie_of(self.url)}
        with connect(f"ws://{LOOPBACK}:{self.port}/api/live", max_size=None, additional_headers=session) as page:
            page.send(orjson.dumps({"open": 1, "feed": "machine", "arguments": {"path": PROBE}}).decode())
            await until(lambda: self._heard(page), "the page hears the broker")

    def _heard(self, page: ClientConnection) -> bool:
        self.scan(PROBE, NamedScan(now(), {"any": 1}))
        with suppress(TimeoutError):
            return '"machine"' in str(page.recv(0.2))
        return False

    def publish(self, topic: str, content: Any, *, retain: bool = False) -> None:
        """Publish a message; anything but bytes is encoded as JSON."""
        payload = content if isinstance(content, bytes) else orjson.dumps(content)
        message = self._client.publish(f"{ROOT}/{topic}", payload, retain=retain)
        if message.rc == paho.MQTT_ERR_NO_CONN:  # it was queued: the client connects again by itself
            wait_for(until(self._client.is_connected, "the broker is connected again"))
        else:
            message.wait_for_publish(30)

    def machine(self, path: str, points: dict[str, Any], *, state: str = "online", **more: Any) -> None:
        """Describe a machine, and say that it is online."""
        described = {name: {"every": 1.0, "unit": ""} | point for name, point in points.items()}
        meta = {"v": 1, "id": META, "template": "made-by-hand", "protocol": "modbus", "points": described} | more
        self.publish(f"{path}/meta", meta, retain=True)
        self.state(path, state)

    def state(self, path: str, state: str, reason: str = "") -> None:
        """Publish the state of a machine."""
        content = {"state": state, "reason": reason, "since": now(), "gateway": "edge-01"}
        self.publish(f"{path}/state", content, retain=True)

    def gateway(self, state: str, reason: str = "") -> None:
        """Publish the state of the gateway."""
        content = {"state": state, "reason": reason, "since": now(), "instance": "5e01c9f2", "spool": "9f2c81aa"}
        self.publish(f"{SITE}/_gateways/edge-01/state", content, retain=True)

    def record(self, *scans: NamedScan) -> bytes:
        """Return the payload of a record."""
        self._seq += 1
        return CODECS["json"].encode(Record("edge-01", "9f2c81aa", self._seq, list(scans), META))

    def scan(self, path: str, *scans: NamedScan) -> None:
        """Publish readings of a machine."""
        self.publish(f"{path}/data", self.record(*scans))

    def stop(self) -> None:
        """Close the connection; the processes end with the module."""
        self._client.loop_stop()
        self._client.disconnect()
