"""The embedded MQTT broker: amqtt, in this process, on a free port of the loopback. For trials."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from amqtt.broker import Broker

from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def embedded_broker(port: int | None = None) -> AsyncIterator[int]:
    """Run an MQTT 3.1.1 broker; yield its port, a free port unless `port` is given."""
    port = port or free_port()
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    try:
        yield port
    finally:
        await broker.shutdown()
