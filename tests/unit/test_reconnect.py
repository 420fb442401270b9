"""How often a broker is looked for."""

from __future__ import annotations

import asyncio

import pytest
from aiomqtt import MqttError

from gateway.common import backoff
from gateway.mqtt.connection import Refused
from gateway.mqtt.reconnect import FIRST, MOST, MOST_REFUSED, STEADY, ReconnectDelay

AWAY = MqttError("connection refused")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waits, which take no time."""
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
    """However long it was away; a try that nobody answers costs nobody anything."""
    attempts(ReconnectDelay(), AWAY)
    assert waits[0] <= FIRST
    assert max(waits) <= MOST == 2.0
    assert min(waits[-10:]) >= MOST / 2


def test_a_broker_that_says_no_is_asked_less_and_less(waits: list[float]):
    """A hundred boxes with a password that has ended must not keep it busy with saying so."""
    attempts(ReconnectDelay(), Refused("not authorized"))
    assert max(waits[-10:]) <= MOST_REFUSED
    assert min(waits[-10:]) >= MOST_REFUSED / 2


def test_a_broker_that_comes_up_after_it_said_no_is_looked_for_soon(waits: list[float]):
    """It was restarted, with the right password this time."""
    reconnect = ReconnectDelay()
    attempts(reconnect, Refused("not authorized"))
    attempts(reconnect, AWAY, 1)
    attempts(reconnect, Refused("not authorized"), 1)
    assert waits[-2] <= FIRST
    assert waits[-1] <= FIRST


def test_after_a_connection_that_lasted_the_next_attempt_comes_soon(waits: list[float]):
    """An hour with it outweighs the outage before."""
    reconnect = ReconnectDelay()
    attempts(reconnect, AWAY)
    attempts(reconnect, AWAY, 1, lasted=STEADY + 1)
    assert waits[-1] <= FIRST
