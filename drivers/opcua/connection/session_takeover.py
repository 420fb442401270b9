"""What a session that was cut off leaves on its server: taken over on the next channel, emptied, and closed.

The server goes on to queue changes for it, and counts it among the sessions it has room for, until its time-out. Over
another channel of the same client it can be activated again (Part 4, 5.7.3): what it has queued is fetched, and it
ends at once. It is not kept for what follows: nodes may have other ids by then, and what a server holds after an
outage has to be told anew in any case, which is what another session's items do by themselves.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import NotConnected
from drivers.opcua.codec.publish_response import (
    DecodeError,
    Notifications,
    ServiceFault,
    publish_response,
    republish_response,
)
from drivers.opcua.codec.requests import publish_request, republish_request

if TYPE_CHECKING:
    from asyncua.common.utils import Buffer

    from drivers.opcua.connection.client import Client

PATIENCE = 0.25
"""Seconds beyond a publishing interval that are waited for what a subscription has queued."""

LONGEST = 1.0
"""Seconds of a publishing interval that are waited for at the most: the others wait for this one."""

MOST = 1000
"""Messages that are fetched at the most."""

_CLOSE = ua.ObjectIds.CloseSessionRequest_Encoding_DefaultBinary, struct.pack("<?", True)  # noqa: FBT003 - and what is in it


@dataclass(slots=True)
class SessionTakeover:
    """A session that was not closed.

    `certificate` is the server's, for whom a user's secret is encrypted, and `users` how it takes them.

    `expected`  by subscription, the number of the message that is to come next (Part 4, 5.14.1.1)
    `interval`  the longest publishing interval, in seconds
    `until`     when the server has forgotten it, by the event loop's clock
    `messages`  by subscription and number, what was not handed on
    `taken`     whether the server has been asked for it
    """

    url: str
    token: ua.NodeId
    nonce: bytes | None
    users: list[ua.UserTokenPolicy]
    certificate: bytes | None
    until: float
    expected: dict[int, int] = field(default_factory=dict)
    interval: float = 0.0
    messages: dict[tuple[int, int], Notifications] = field(default_factory=dict)
    taken: bool = False

    async def take_over(self, client: Client) -> None:
        """Fetch what the session has, and close it, over a client's channel that has no session yet.

        A server that does not know it any more says so, and that is all. Raises what lost connections raise.
        """
        if self.taken or asyncio.get_running_loop().time() > self.until:
            return
        self.taken = True
        try:
            await client.adopt_session(self)
            try:
                await self._empty(client)
            finally:
                await client.ask(*_CLOSE)
        except (ua.UaStatusCodeError, NotConnected):
            pass  # it has ended by itself, or with the server
        finally:
            client.leave_session()

    def in_order(self) -> list[Notifications]:
        """Return the messages of each subscription in the order of their numbers."""
        return [self.messages[key] for key in sorted(self.messages)]

    async def _empty(self, client: Client) -> None:
        for subscription in self.expected:
            with suppress(ua.UaStatusCodeError, DecodeError, ServiceFault):  # it has no more of them
                while len(self.messages) < MOST:
                    await self._again(client, subscription)
        waiting = set(self.expected)
        acknowledged = list(self.messages)
        with suppress(TimeoutError, ua.UaStatusCodeError, DecodeError, ServiceFault):
            while waiting and len(self.messages) < MOST:
                answer = client.begin(*publish_request(acknowledged), client.timeout)
                answer.add_done_callback(_look_at)
                async with asyncio.timeout(min(self.interval, LONGEST) + PATIENCE):
                    body = await answer
                client.check(body)
                published = publish_response(bytes(body))
                key = published.subscription_id, published.message.sequence_number
                acknowledged = []
                if published.message.tells and published.subscription_id in self.expected:
                    acknowledged = [key]
                    self.messages[key] = published.message
                if not published.more_notifications:
                    waiting.discard(published.subscription_id)

    async def _again(self, client: Client, subscription: int) -> None:
        """Fetch the next message that was sent and has not arrived."""
        number = self.expected[subscription]
        message = republish_response(await client.ask(*republish_request(subscription, number)))
        if message.sequence_number != number:
            raise DecodeError("an empty message instead of a refusal")
        self.messages[subscription, number] = message
        self.expected[subscription] = number + 1


def _look_at(answer: asyncio.Future[Buffer]) -> None:
    """Look at an answer that may come when nobody waits any more."""
    if not answer.cancelled():
        answer.exception()
