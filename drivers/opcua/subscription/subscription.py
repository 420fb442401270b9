"""Creates the subscriptions of one session, and sends the publish requests that carry their notifications.

A subscription that is silent for three keep-alive periods ends the connection, even if TCP reports no error. Missing
sequence numbers are requested again (Part 4, 5.14.1.4), and messages are delivered in order.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import NotConnected
from drivers.opcua.codec.change_layouts import ChangeLayouts
from drivers.opcua.codec.publish_response import Notifications, publish_response, republish_response
from drivers.opcua.codec.requests import publish_request, republish_request
from drivers.opcua.codec.values import fault_of
from drivers.opcua.connection.keep_alive import SILENCE
from drivers.opcua.errors import DecodeError, ServiceFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncua.common.utils import Buffer

    from drivers.opcua.connection.session import Session
    from drivers.opcua.connection.session_takeover import SessionTakeover
    from drivers.opcua.counters import Counters

WAITING = 1000
"""Maximum messages that wait for the gateway; beyond that it sends no publish requests, and the server queues."""

LIFETIMES = 6
"""Keep-alives without a publish request that end a subscription on the server; 3 at least (Part 4, 5.14.2)."""

_LAST_NUMBER = 0xFFFFFFFF
_NO_MESSAGE = ua.StatusCodes.BadMessageNotAvailable
_TOO_MANY = ua.StatusCodes.BadTooManyPublishRequests
_NO_SUBSCRIPTION = ua.StatusCodes.BadNoSubscription
_TIMED_OUT = ua.StatusCodes.BadTimeout


@dataclass(slots=True)
class _Subscription:
    """One subscription on the server.

    `interval` is the revised publishing interval in seconds, `expected` the sequence number of its next message. The
    subscription is lost `patience` seconds after `last_message`.
    """

    interval: float
    patience: float
    last_message: float
    expected: int = 1


class Publishing:
    """The publish requests of a session, and their messages in order."""

    def __init__(self, session: Session, keep_alive: float, outstanding: int, counters: Counters) -> None:
        """Prepare. `keep_alive` in seconds; `counters` counts `republished`, `lost_messages` and `undecodable`."""
        self._session = session
        self._keep_alive = keep_alive
        self._wanted = outstanding
        self._counters = counters
        self._outstanding: dict[asyncio.Future[Buffer], list[tuple[int, int]]] = {}  # with their acknowledgements
        self._known: dict[int, _Subscription] = {}
        self._acknowledged: list[tuple[int, int]] = []
        self._messages: deque[tuple[int, Notifications]] = deque()
        self._news = asyncio.Event()
        self._woken = False
        self._layouts = ChangeLayouts()
        self._orphaned: set[asyncio.Future[Buffer]] = set()
        self._with_losses: set[int] = set()
        self._lost: NotConnected | None = None

    async def subscribe(self, interval: float, keep_alive: float) -> int:
        """Create a subscription, and return its id. Raises `REQUEST_ERRORS`.

        `interval` and `keep_alive` are in seconds. With a short `keep_alive` a message comes often, and the
        subscription lives as long as others of the connection.
        """
        keep_alives = max(1, round(keep_alive / interval))
        lifetime = LIFETIMES * max(keep_alives, round(self._keep_alive / interval))
        request = ua.CreateSubscriptionRequest()
        request.Parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Duration(interval * 1000),
            RequestedMaxKeepAliveCount=ua.Counter(keep_alives),
            RequestedLifetimeCount=ua.Counter(lifetime),
            PublishingEnabled=True,
        )
        created = await self._session.create_subscription(request)
        # the server may revise the keep-alive period
        revised = created.RevisedPublishingInterval / 1000 * created.RevisedMaxKeepAliveCount
        patience = SILENCE * max(self._keep_alive, revised)
        self._known[created.SubscriptionId] = _Subscription(
            created.RevisedPublishingInterval / 1000, patience, asyncio.get_running_loop().time()
        )
        return int(created.SubscriptionId)

    def interval(self, subscription: int) -> float:
        """Return the revised publishing interval of a subscription in seconds."""
        return self._known[subscription].interval

    def heard(self, subscription: int) -> float:
        """Return the event loop time up to which all changes of a subscription are delivered."""
        if self._messages:
            return 0.0  # they are delivered first
        return self._known[subscription].last_message

    async def unsubscribe(self, subscription: int) -> None:
        """Delete a subscription. Raises `REQUEST_ERRORS`."""
        self._known.pop(subscription, None)
        if not self._known:
            self._orphaned = set(self._outstanding)  # a server responds to these when it has no subscriptions
        await self._session.delete_subscription(subscription)

    def wake(self) -> None:
        """Make `receive` return at once."""
        self._woken = True
        self._news.set()

    def begin(self) -> None:
        """Start to publish, after subscriptions are created."""
        now = asyncio.get_running_loop().time()
        for subscription in self._known.values():
            subscription.last_message = now
        self._refill()

    def end(self) -> None:
        """Cancel all publish requests."""
        self._lost = self._lost or NotConnected("closed")
        self._news.set()
        for answer in tuple(self._outstanding):
            answer.cancel()

    def hand_over(self, abandoned: SessionTakeover) -> None:
        """Record the subscriptions, and the messages that were not received, for a later takeover."""
        abandoned.expected = {subscription: known.expected for subscription, known in self._known.items()}
        abandoned.interval = max((known.interval for known in self._known.values()), default=0.0)
        for subscription, message in self._messages:
            if message.has_notifications and not _behind(
                message.sequence_number, abandoned.expected.get(subscription, 0)
            ):
                abandoned.messages[subscription, message.sequence_number] = message

    # -- requests --

    def _refill(self) -> None:
        if self._lost is not None or not self._known:
            return
        try:
            while len(self._outstanding) < self._wanted and len(self._messages) < WAITING:
                kind, parameters = publish_request(self._acknowledged)
                answer = self._session.client.begin(kind, parameters)
                self._outstanding[answer], self._acknowledged = self._acknowledged, []
                answer.add_done_callback(self._answered)
        except (OSError, ua.UaError) as error:
            self._fail(str(error))

    def _answered(self, answer: asyncio.Future[Buffer]) -> None:
        acknowledged = self._outstanding.pop(answer)
        if answer.cancelled() or (self._lost is not None and _retrieved(answer)):
            return
        try:
            body = answer.result()
            self._session.client.check(body)
            published = publish_response(bytes(body), self._layouts)
        except ua.UaStatusCodeError as error:
            if error.code == _TOO_MANY and self._outstanding:
                self._wanted = len(self._outstanding)  # more than the server queues
                self._acknowledged += acknowledged
            elif error.code != _TIMED_OUT and not (error.code == _NO_SUBSCRIPTION and answer in self._orphaned):
                self._fail(f"publishing: {error}")
        except (OSError, ua.UaError) as error:
            self._fail(str(error) or type(error).__name__)
        except (DecodeError, ServiceFault):
            self._counters.undecodable += 1  # the next sequence number shows the missing message
        else:
            message, subscription = published.message, published.subscription_id
            if subscription in self._known:
                self._known[subscription].last_message = asyncio.get_running_loop().time()
            if message.has_notifications:
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
        """Wait for the next message; return it after the missing messages before it.

        Returns an empty list at the event loop time `until`, and when woken. Raises `NotConnected` if the connection
        or a subscription is lost, or silent for too long.
        """
        loop = asyncio.get_running_loop()
        while not self._messages:
            if self._lost is not None:
                raise self._lost
            if loop.time() >= until or self._woken:
                self._woken = False
                return []
            for one in self._known.values():
                if loop.time() > one.last_message + one.patience:
                    raise NotConnected(f"{self._session.url}: nothing was published for {one.patience:g} s")
            self._news.clear()
            death = min((one.last_message + one.patience for one in self._known.values()), default=math.inf)
            alarm = loop.call_at(min(until, death + 0.001), self._news.set)
            try:
                await self._news.wait()
            finally:
                alarm.cancel()
        subscription, message = self._messages.popleft()
        self._refill()
        known = self._known.get(subscription)
        return [] if known is None else await self._in_order(subscription, known, message)

    async def _in_order(self, subscription: int, known: _Subscription, message: Notifications) -> list[Notifications]:
        """Return a message after the missing messages before it; nothing for a duplicate."""
        number, expected = message.sequence_number, known.expected
        if message.status_change is not None and (fault := fault_of(message.status_change)) is not None:
            raise NotConnected(f"{self._session.url}: the server ended the subscription", fault.code)
        if _behind(number, expected):
            return []  # a duplicate; or a keep-alive with the last number
        found = [await self._republish(subscription, missing) for missing in _between(expected, number)]
        known.expected = number  # a keep-alive has the number of the next message (Part 4, 5.14.1.1)
        if message.has_notifications:
            known.expected = _next(number)
            found.append(message)
        return [one for one in found if one is not None]

    async def _republish(self, subscription: int, number: int) -> Notifications | None:
        """Request a message again; return None, and count it, if the server no longer has it."""
        try:
            body = await self._session.client.ask(*republish_request(subscription, number))
            message = republish_response(body)
        except ua.UaStatusCodeError as error:
            if error.code != _NO_MESSAGE:
                raise NotConnected(f"{self._session.url}: {error}") from error
            self._count_lost(subscription)
            return None
        except (OSError, ua.UaError) as error:
            raise NotConnected(f"{self._session.url}: {error}") from error
        except (DecodeError, ServiceFault):
            self._count_lost(subscription)
            return None
        if message.sequence_number != number:  # an empty message instead of a refusal
            self._count_lost(subscription)
            return None
        self._counters.republished += 1
        self._acknowledged.append((subscription, number))
        return message

    def _count_lost(self, subscription: int) -> None:
        self._counters.lost_messages += 1
        self._with_losses.add(subscription)

    def take_losses(self) -> set[int]:
        """Return the subscriptions with lost messages since the last call."""
        losses, self._with_losses = self._with_losses, set()
        return losses


def _next(number: int) -> int:
    return number + 1 if number < _LAST_NUMBER else 1  # 0 is never used (Part 4, 7.8)


def _behind(number: int, expected: int) -> bool:
    return (expected - number) % _LAST_NUMBER < _LAST_NUMBER // 2 and number != expected


def _between(expected: int, number: int) -> Iterator[int]:
    """Yield the skipped numbers; none if the server restarted, or skipped more than it can queue."""
    if (number - expected) % _LAST_NUMBER > WAITING:
        return
    while expected != number:
        yield expected
        expected = _next(expected)


def _retrieved(answer: asyncio.Future[Buffer]) -> bool:
    """Retrieve the exception of a response that is no longer needed, or asyncio logs it; return True."""
    answer.exception()
    return True
