"""The messages that a gateway has once, however many processes it has: birth, death, ledger, and removed machines.

A gateway of one process publishes them over the connection of its records. The supervisor of several workers has a
connection for them, so that its end, and a second gateway with its id, are noticed as without workers.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from drivers.timer_grid import wait_for_slot
from gateway import __version__
from gateway.mqtt.session import Presence

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.session import Session
    from gateway.mqtt.topics import Topics
    from gateway.publish.retained_cleanup import RetainedCleanup
    from gateway.settings.factory import Factory

REPORT_EVERY = 1.0
"""Seconds between two reports of the ledger."""

PATIENCE = 0.9
"""Seconds that a report may wait for records of scans, to leave with them."""

RETAIN_EVERY = 10.0
"""Seconds between two reports that the broker retains: they show when a gateway was there last."""


class GatewayIdentity:
    """The birth, death and ledger of a gateway, and the retained messages of removed machines.

    `presence` is its birth and death on its state topic. `details` returns the further content of the birth, and
    `report` the payload of the ledger.
    """

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        cleanup: RetainedCleanup,
        report: Callable[[], Mapping[str, Any]],
        details: Callable[[], Mapping[str, Any]],
    ) -> None:
        own, gateway = factory.factory, factory.gateway.id
        self._state, self._ledger = (
            topics.gateway(own.enterprise, own.site, gateway, leaf) for leaf in ("state", "ledger")
        )
        self._cleanup = cleanup
        self._report = report
        self._details = details
        self._retain_at = 0.0  # a monotonic time
        self.presence = Presence(self._state, gateway)

    async def begin(self, session: Session, link: MqttClient) -> tuple[str, ...]:
        """Publish the birth on a new connection; return the filters whose subscription the broker denied."""
        # another process of this name is heard before our birth takes the place of its birth
        denied = await session.subscribe_once(link, self._state)
        await self.publish_birth(session, link)
        if session.signer is not None:
            self._cleanup.mark_again()
        return denied

    async def publish_birth(self, session: Session, link: MqttClient) -> None:
        """Publish the birth, again if its details have changed; the next ledger is retained, too."""
        self._retain_at = 0.0
        self.presence.details = self._details()
        await self.presence.publish_birth(session, link)

    def jobs(
        self, session: Session, link: MqttClient, denied: tuple[str, ...]
    ) -> dict[str, Coroutine[None, None, None]]:
        """Return the coroutines to run while a connection lasts, by task name; `denied` is the result of `begin`."""
        subscribing = {"subscribe to own state": session.subscribe(link, *denied)} if denied else {}
        return subscribing | {
            "retained cleanup": self._follow_cleanup(session, link),
            "ledger": self._publish_ledger(session, link),
        }

    def heard_state(self, session: Session, message: ReceivedMessage) -> bool:
        """Read a message of the gateway's state topic; return False for other messages."""
        if message.topic != self._state:
            return False
        self.presence.heard(message.payload, retained=message.retain, signer=session.signer)
        return True

    async def clean(self, session: Session, link: MqttClient, message: ReceivedMessage) -> None:
        """Read the state of a machine that was removed, and clear it once no record needs its description."""
        await session.deliver(link, self._cleanup.heard(message.topic, message.payload))

    async def _follow_cleanup(self, session: Session, link: MqttClient) -> None:
        subscribed: set[str] = set()
        while True:
            self._cleanup.change.clear()
            if new := self._cleanup.topics - subscribed:
                await session.subscribe(link, *sorted(new))
                subscribed |= new
            await session.deliver(link, self._cleanup.clear())
            await self._cleanup.save()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY if self._cleanup.topics else None):
                    await self._cleanup.change.wait()

    async def _publish_ledger(self, session: Session, link: MqttClient) -> None:
        while True:
            now = time.monotonic()
            if retain := now >= self._retain_at:
                self._retain_at = now + RETAIN_EVERY
            report = dict(self._report()) | {"time": time.time_ns() // 1000, "version": __version__}
            payload = session.signed(self._ledger, orjson.dumps(report))
            link.send_unacknowledged(self._ledger, payload, retain=retain, patience=PATIENCE)
            await wait_for_slot(REPORT_EVERY)
