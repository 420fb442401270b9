"""Takes over a session of a lost connection: activates it on the next channel, fetches its messages, and closes it.

Until the session's time-out the server queues changes for it, and counts it against its limit of sessions. Another
channel of the same client can activate it again (Part 4, 5.7.3). The driver does not use it further: nodes may have
other ids by then, and the items of a new session send the present values.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import NotConnected
from drivers.opcua.codec.publish_response import Notifications, publish_response, republish_response
from drivers.opcua.codec.requests import publish_request, republish_request
from drivers.opcua.errors import DecodeError, ServiceFault

if TYPE_CHECKING:
    from asyncua.common.utils import Buffer

    from drivers.opcua.connection.client import Client, SessionState

PATIENCE = 0.25
"""Seconds beyond a publishing interval to wait for queued messages of a subscription."""

LONGEST = 1.0
"""Longest publishing interval to wait for, in seconds, because the new session waits for it."""

MOST = 1000
"""Maximum number of messages to fetch."""

_CLOSE = ua.ObjectIds.CloseSessionRequest_Encoding_DefaultBinary, struct.pack("<?", True)  # noqa: FBT003 - type id and content


@dataclass(slots=True)
class SessionTakeover:
    """A session that was not closed.

    `until`     event loop time of the session's time-out on the server
    `expected`  sequence number of the next message, by subscription (Part 4, 5.14.1.1)
    `interval`  longest publishing interval, in seconds
    `messages`  messages that were not processed, by subscription and sequence number
    `taken`     True after the only attempt to take over the session
    """

    state: SessionState
    until: float
    expected: dict[int, int] = field(default_factory=dict)
    interval: float = 0.0
    messages: dict[tuple[int, int], Notifications] = field(default_factory=dict)
    taken: bool = False

    async def take_over(self, client: Client) -> None:
        """Fetch the messages of the session and close it, over a client's channel without a session.

        Does nothing if the server no longer knows the session. Raises the errors of a lost connection.
        """
        if self.taken or asyncio.get_running_loop().time() > self.until:
            return
        self.taken = True
        try:
            await client.adopt_session(self.state)
            try:
                await self._fetch(client)
            finally:
                await client.ask(*_CLOSE)
        except (ua.UaStatusCodeError, NotConnected):
            pass  # the session timed out, or the server restarted
        finally:
            client.leave_session()

    def in_order(self) -> list[Notifications]:
        """Return the messages of each subscription in the order of their numbers."""
        return [self.messages[key] for key in sorted(self.messages)]

    async def _fetch(self, client: Client) -> None:
        for subscription in self.expected:
            with suppress(ua.UaStatusCodeError, DecodeError, ServiceFault):  # no more messages
                while len(self.messages) < MOST:
                    await self._republish(client, subscription)
        waiting = set(self.expected)
        acknowledged = list(self.messages)
        with suppress(TimeoutError, ua.UaStatusCodeError, DecodeError, ServiceFault):
            while waiting and len(self.messages) < MOST:
                answer = client.begin(*publish_request(acknowledged), client.timeout)
                answer.add_done_callback(_retrieve)
                async with asyncio.timeout(min(self.interval, LONGEST) + PATIENCE):
                    body = await answer
                client.check(body)
                published = publish_response(bytes(body))
                key = published.subscription_id, published.message.sequence_number
                acknowledged = []
                if published.message.has_notifications and published.subscription_id in self.expected:
                    acknowledged = [key]
                    self.messages[key] = published.message
                if not published.more_notifications:
                    waiting.discard(published.subscription_id)

    async def _republish(self, client: Client, subscription: int) -> None:
        """Fetch the next message that the server sent and that did not arrive."""
        number = self.expected[subscription]
        message = republish_response(await client.ask(*republish_request(subscription, number)))
        if message.sequence_number != number:
            raise DecodeError("an empty message instead of a refusal")
        self.messages[subscription, number] = message
        self.expected[subscription] = number + 1


class AbandonedSessions:
    """The sessions of a driver that may still exist on a server."""

    def __init__(self) -> None:
        self._sessions: list[SessionTakeover] = []

    def add(self, session: SessionTakeover | None) -> None:
        """Keep a session that was not closed; None is ignored."""
        if session is not None:
            self._sessions.append(session)

    async def take_over(self, client: Client) -> None:
        """Take over the sessions at the client's server. Raises the errors of a lost connection."""
        url = client.server_url.geturl()
        for session in self._sessions:
            if session.state.url == url:
                await session.take_over(client)

    def take_messages(self) -> list[Notifications]:
        """Return the messages of all sessions, and forget the sessions."""
        sessions, self._sessions = self._sessions, []
        return [message for session in sessions for message in session.in_order()]


def _retrieve(answer: asyncio.Future[Buffer]) -> None:
    """Retrieve the exception of a response that is no longer awaited."""
    if not answer.cancelled():
        answer.exception()
