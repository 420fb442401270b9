"""Listen to a broker for the page, and never be a burden to it.

The page is a guest: it subscribes with QoS 0 and without a session, so that the broker queues nothing for it, and a
page that is stopped, frozen or slow delays no gateway and no ingest.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from aiomqtt import MqttError

from gateway.mqtt.session import Session
from gateway.mqtt.topics import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.dashboard.live.plant import Plant
    from gateway.mqtt.client import MqttClient

AT_ONCE = 200
"""Messages that are read before other tasks get the event loop."""


class Listener:
    """Keeps a plant up to date. Without `sites`, pairs of enterprise and site, it listens to all of the broker."""

    def __init__(self, plant: Plant, sites: Iterable[tuple[str, str]] = ()) -> None:
        self._plant = plant
        self._sites = sorted(set(sites)) or [EVERYWHERE]
        self.commands = False
        """Whether answers of gateways to commands are listened to."""
        self._link: MqttClient | None = None
        self._session = Session(plant.broker, f"lineside-page-{secrets.token_hex(4)}", changed=self._changed)

    async def run(self) -> None:
        """Connect, listen, and connect again, until cancelled."""
        await self._session.run(self._serve)

    def _changed(self, error: str | None) -> None:
        link = self._session.link
        self._plant.connection_changed(link if error is None else link._replace(connected=False, error=error))

    async def _serve(self, link: MqttClient) -> None:
        self._plant.gateway_alarms.clear()
        self._plant.subscriptions_denied(await link.subscribe_to(*self._filters(), qos=0))
        self._link = link
        while True:
            for _ in range(AT_ONCE):
                message = await link.receive()
                link.acknowledge(message)
                self._plant.take(message)
            await asyncio.sleep(0)

    def send(self, topic: str, payload: bytes, sent: Callable[[int], None]) -> None:
        """Publish with QoS 1; `sent` is called with the reason code. Raises `MqttError` without a connection."""
        if self._link is None:
            raise MqttError("not sent: there was no connection yet")
        self._link.send(topic, payload, sent)

    def _filters(self) -> Iterator[str]:
        """Yield the topic filters, descriptions first, so that these retained messages come before the readings."""
        topics = self._plant.topics
        for site in self._sites:
            yield from (topics.all_machines(leaf, site) for leaf in ("meta", "state", "alarm/+"))
            if self.commands:
                yield topics.all_gateways("answer", site)
            yield from (topics.all_gateways(leaf, site) for leaf in ("state", "ledger", "data"))
            yield from (topics.all_ingests(leaf, site) for leaf in ("state", "report"))
            yield from (topics.all_machines(leaf, site) for leaf in ("event", "data"))
