"""A state is logged once, and repetitions are summarised. The clock of the loop jumps: the tests do not wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from fakes.virtual_time import run
from structlog.testing import capture_logs

from gateway.common.state_log import CHANGES, MAX_KEYS, WINDOW, RepeatLog, StateLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

log = structlog.get_logger()


def logged(script: Callable[[], Awaitable[None]]) -> list[MutableMapping[str, Any]]:
    async def main() -> None:
        await script()

    with capture_logs() as found:
        run(main())
    return found


def test_a_state_is_logged_when_it_is_entered_and_not_again():
    """A broker that is away for a night is one line."""

    async def script() -> None:
        link = StateLog(log, "mqtt.unstable", broker="mqtt://b")
        for _ in range(1000):
            link.enter("mqtt.not_connected", error="refused")
            await asyncio.sleep(2)
        assert link.enter("mqtt.connected", healthy=True)

    down, up = logged(script)
    assert (down["event"], down["log_level"], down["broker"]) == ("mqtt.not_connected", "warning", "mqtt://b")
    assert (up["event"], up["log_level"], up["down_seconds"]) == ("mqtt.connected", "info", 2000.0)
    assert up["repeated"] == 999


def test_a_connection_that_flaps_is_logged_a_few_times_and_then_once_a_minute():
    """The summary has the number of changes, the seconds without a connection, and the present state."""

    async def script() -> None:
        link = StateLog(log, "mqtt.unstable")
        for _ in range(150):  # five minutes
            link.enter("mqtt.not_connected", error="reset")
            await asyncio.sleep(1.5)
            link.enter("mqtt.connected", healthy=True)
            await asyncio.sleep(0.5)
        await asyncio.sleep(3 * WINDOW)
        assert link.enter("mqtt.not_connected"), "it is stable again, so a change is logged at once"

    found = [entry["event"] for entry in logged(script)]
    assert found[:CHANGES] == ["mqtt.not_connected", "mqtt.connected"] * (CHANGES // 2)
    assert found[CHANGES:] == ["mqtt.unstable"] * 5 + ["mqtt.not_connected"]
    summary = logged(script)[CHANGES + 1]
    assert summary["changes"] == 60
    assert 44 <= summary["down_seconds"] <= 46
    assert summary["state"] in {"mqtt.connected", "mqtt.not_connected"}


def test_the_last_state_of_a_flapping_connection_is_in_the_last_summary():
    """Otherwise the log of a connection that stays down would end with the state connected."""

    async def script() -> None:
        link = StateLog(log, "mqtt.unstable")
        for _ in range(20):
            link.enter("mqtt.connected", healthy=True)
            link.enter("mqtt.not_connected", error="gone")
        await asyncio.sleep(10 * WINDOW)

    *_, last = logged(script)
    assert (last["event"], last["state"], last["error"]) == ("mqtt.unstable", "mqtt.not_connected", "gone")
    assert last["log_level"] == "warning"


def test_repeats_of_an_event_are_counted_by_key():
    """Ten thousand refused rows of one field are two lines a minute, and do not hide the first of another."""

    async def script() -> None:
        repeats = RepeatLog(log)
        for number in range(10_000):
            repeats.warning("message.set_aside", key="a", number=number)
        repeats.warning("message.set_aside", key="b")
        await asyncio.sleep(WINDOW + 1)
        repeats.warning("message.set_aside", key="a", number=10_000)
        await asyncio.sleep(3 * WINDOW)
        assert repeats.warning("message.set_aside", key="a"), "after a quiet minute it is logged at once"

    found = [(entry.get("number"), entry.get("repeated")) for entry in logged(script)]
    assert found == [(0, None), (None, None), (9_999, 9_999), (10_000, 1), (None, None)]


def test_the_number_of_different_keys_is_bounded():
    """Topics come from outside."""

    async def script() -> None:
        repeats = RepeatLog(log)
        for number in range(MAX_KEYS + 500):
            repeats.error("message.set_aside", key=str(number))
        await asyncio.sleep(WINDOW + 1)

    found = logged(script)
    assert len(found) == MAX_KEYS + 1
    assert found[-1]["repeated"] == 500


def test_without_a_loop_no_event_is_delayed():
    """There is no timer there to summarise."""
    with capture_logs() as found:
        repeats, link = RepeatLog(log), StateLog(log, "mqtt.unstable")
        for _ in range(10):
            repeats.info("a.b")
            link.enter("up", healthy=True)
            link.enter("down")
    assert len(found) == 30
