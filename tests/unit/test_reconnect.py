"""How often a broker is looked for."""

from __future__ import annotations

import asyncio

import pytest
from aiomqtt import MqttError

from gateway.common import backoff
from gateway.mqtt.client import ConnectionRefused
from gateway.mqtt.session import RETRY_FIRST, RETRY_MAX, RETRY_REFUSED_MAX, STEADY, ReconnectDelay

AWAY = MqttError("connection refused")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of waits; the test does not wait."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(backoff.asyncio, "sleep", sleep)
    return found


def attempts(reconnect: ReconnectDelay, error: MqttError, count: int = 30, lasted: float = 0.0) -> None:
    async def main() -> None:
        for _ in range(count):
            await reconnect.wait(error, lasted)

    asyncio.run(main())


def test_a_broker_that_is_away_is_found_within_two_seconds_of_its_return(waits: list[float]):
    """This is true however long it was away: an attempt without a response costs little."""
    attempts(ReconnectDelay(), AWAY)
    assert waits[0] <= RETRY_FIRST
    assert max(waits) <= RETRY_MAX == 2.0
    assert min(waits[-10:]) >= RETRY_MAX / 2


def test_a_broker_that_says_no_is_asked_less_and_less(waits: list[float]):
    """A hundred boxes with a password that has ended must not keep it busy with saying so."""
    attempts(ReconnectDelay(), ConnectionRefused("not authorized"))
    assert max(waits[-10:]) <= RETRY_REFUSED_MAX
    assert min(waits[-10:]) >= RETRY_REFUSED_MAX / 2


def test_a_broker_that_comes_up_after_it_said_no_is_looked_for_soon(waits: list[float]):
    """It was restarted, with the right password this time."""
    reconnect = ReconnectDelay()
    attempts(reconnect, ConnectionRefused("not authorized"))
    attempts(reconnect, AWAY, 1)
    attempts(reconnect, ConnectionRefused("not authorized"), 1)
    assert waits[-2] <= RETRY_FIRST
    assert waits[-1] <= RETRY_FIRST


def test_after_a_connection_that_lasted_the_next_attempt_comes_soon(waits: list[float]):
    """An hour with it outweighs the outage before."""
    reconnect = ReconnectDelay()
    attempts(reconnect, AWAY)
    attempts(reconnect, AWAY, 1, lasted=STEADY + 1)
    assert waits[-1] <= RETRY_FIRST
