"""Subscriptions of one session: monitored items, the publishing that carries their changes, and what it loses.

A publishing that stays silent beyond three keep-alives is dead, whatever TCP says. Sequence numbers are watched: what
is missing between two messages is asked for again (Part 4, 5.14.1.4), and delivered in its place.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import NotConnected
from drivers.opcua.decode import DecodeError, Notifications, publish_response, republish_response
from drivers.opcua.requests import publish_request, republish_request
from drivers.opcua.values import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncua.common.utils import Buffer

    from drivers.opcua.session import Session

WAITING = 1000
"""Messages that may wait for the gateway. When it can't keep up, nothing more is asked for, and the server queues."""

LIFETIMES = 6
"""Keep-alives without a publish request that end a subscription on the server; 3 at least (Part 4, 5.14.2)."""

_LAST_NUMBER = 0xFFFFFFFF
_SILENCE = 3
"""Keep-alives without a sign of life that mean death."""

_NO_MESSAGE = ua.StatusCodes.BadMessageNotAvailable
_TOO_MANY = ua.StatusCodes.BadTooManyPublishRequests
_TIMED_OUT = ua.StatusCodes.BadTimeout


@dataclass(slots=True)
class _Subscription:
    """What is known of one subscription on the server: the number that its next message must have."""

    expected: int = 1


class Publishing:
    """The publish requests of a session, and the messages that answer them, in their order."""

    def __init__(self, session: Session, keep_alive: float, outstanding: int, counts: Counter[str]) -> None:
        """Prepare. `keep_alive` in seconds; `counts` gets `republished` and `lost_messages`."""
        self._session = session
        self._keep_alive = keep_alive
        self._wanted = outstanding
        self._counts = counts
        self._outstanding: set[asyncio.Future[Buffer]] = set()
        self._known: dict[int, _Subscription] = {}
        self._acknowledged: list[tuple[int, int]] = []
        self._messages: deque[tuple[int, Notifications]] = deque()
        self._news = asyncio.Event()
        self._lost: NotConnected | None = None
        self._heard = 0.0

    async def subscribe(self, interval: float) -> int:
        """Make a subscription, return its id; `interval` is in seconds. Raises what a session's requests raise."""
        keep_alives = max(1, round(self._keep_alive / interval))
        request = ua.CreateSubscriptionRequest()
        request.Parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Duration(interval * 1000),
            RequestedMaxKeepAliveCount=ua.Counter(keep_alives),
            RequestedLifetimeCount=ua.Counter(keep_alives * LIFETIMES),
            PublishingEnabled=True,
        )
        created = await self._session.create_subscription(request)
        if created.RevisedPublishingInterval / 1000 * created.RevisedMaxKeepAliveCount > self._keep_alive * _SILENCE:
            # a server with keep-alives of its own mind is not dead for that
            self._keep_alive = created.RevisedPublishingInterval / 1000 * created.RevisedMaxKeepAliveCount
        self._known[created.SubscriptionId] = _Subscription()
        return int(created.SubscriptionId)

    def begin(self) -> None:
        """Begin to publish, once there are subscriptions."""
        self._heard = asyncio.get_running_loop().time()
        self._refill()

    def end(self) -> None:
        """Ask for nothing more."""
        self._lost = self._lost or NotConnected("closed")
        self._news.set()
        for answer in tuple(self._outstanding):
            answer.cancel()

    # -- requests --

    def _refill(self) -> None:
        if self._lost is not None or not self._known:
            return
        try:
            while len(self._outstanding) < self._wanted and len(self._messages) < WAITING:
                kind, parameters = publish_request(self._acknowledged)
                answer = self._session.client.begin(kind, parameters)
                self._acknowledged.clear()
                self._outstanding.add(answer)
                answer.add_done_callback(self._answered)
        except (OSError, ua.UaError) as error:
            self._fail(str(error))

    def _answered(self, answer: asyncio.Future[Buffer]) -> None:
        self._outstanding.discard(answer)
        if answer.cancelled() or self._lost is not None:
            return
        self._heard = asyncio.get_running_loop().time()
        try:
            body = answer.result()
            self._session.client.check(body)
            published = publish_response(bytes(body))
        except ua.UaStatusCodeError as error:
            if error.code == _TOO_MANY and self._outstanding:
                self._wanted = len(self._outstanding)  # more than it takes
            elif error.code != _TIMED_OUT:
                self._fail(f"publishing: {error}")
        except (OSError, ua.UaError, DecodeError) as error:
            self._fail(str(error) or type(error).__name__)
        else:
            message, subscription = published.message, published.subscription_id
            if message.changes.handles or message.events or message.status_change is not None:
                self._acknowledged.append((subscription, message.sequence_number))
            self._messages.append((subscription, message))
            self._news.set()
        self._refill()

    def _fail(self, reason: str) -> None:
        if self._lost is None:
            self._lost = NotConnected(f"{self._session.url}: {reason}")
            self._news.set()

    # -- messages --

    async def receive(self, until: float) -> list[Notifications]:
        """Wait for the next message, and return it behind those that were missing before it.

        Returns nothing where none has come `until` then, by the event loop's clock.
        Raises `NotConnected` where the connection, or a subscription, is lost, or silent for too long.
        """
        loop = asyncio.get_running_loop()
        while not self._messages:
            if self._lost is not None:
                raise self._lost
            left = self._heard + _SILENCE * self._keep_alive - loop.time()
            if loop.time() >= until:
                return []
            if left <= 0:
                raise NotConnected(f"{self._session.url}: no sign of life for {_SILENCE * self._keep_alive:g} s")
            self._news.clear()
            alarm = loop.call_at(min(until, loop.time() + left), self._news.set)
            try:
                await self._news.wait()
            finally:
                alarm.cancel()
        subscription, message = self._messages.popleft()
        self._refill()
        known = self._known.get(subscription)
        if known is None:
            return []  # of one that was deleted
        if message.status_change is not None and (fault := fault_of(message.status_change)) is not None:
            raise NotConnected(f"{self._session.url}: the server ended the subscription", fault.code)
        if not (message.changes.handles or message.events or message.status_change is not None):
            # a keep-alive tells the number of the message to come (Part 4, 5.14.1.1)
            missing = [await self._again(subscription, n) for n in _between(known.expected, message.sequence_number)]
            known.expected = message.sequence_number
        elif _behind(message.sequence_number, known.expected):
            return []  # sent twice
        else:
            missing = [await self._again(subscription, n) for n in _between(known.expected, message.sequence_number)]
            missing.append(message)
            known.expected = _next(message.sequence_number)
        return [one for one in missing if one is not None]

    async def _again(self, subscription: int, number: int) -> Notifications | None:
        """Ask for a message again; None, and counted, where the server does not have it any more."""
        try:
            body = await self._session.client.ask(*republish_request(subscription, number))
            message = republish_response(body)
        except ua.UaStatusCodeError as error:
            if error.code != _NO_MESSAGE:
                raise NotConnected(f"{self._session.url}: {error}") from error
            self._counts["lost_messages"] += 1
            return None
        except (OSError, ua.UaError, DecodeError) as error:
            raise NotConnected(f"{self._session.url}: {error}") from error
        self._counts["republished"] += 1
        return message


def _next(number: int) -> int:
    return number + 1 if number < _LAST_NUMBER else 1  # 0 is never used (Part 4, 7.8)


def _behind(number: int, expected: int) -> bool:
    return (expected - number) % _LAST_NUMBER < _LAST_NUMBER // 2 and number != expected


def _between(expected: int, number: int) -> Iterator[int]:
    """Yield the numbers that were skipped. A server that begins anew, or jumps wildly, has skipped none."""
    if (number - expected) % _LAST_NUMBER > WAITING:
        return
    while expected != number:
        yield expected
        expected = _next(expected)
