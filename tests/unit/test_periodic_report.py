"""The report of an ingest never costs its connection: a broker without the right for it gets none."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from fakes.virtual_time import run

from gateway.ingest.periodic_report import PAUSE, REPORT_EVERY, SOONEST, PeriodicReport
from gateway.mqtt.messages import parse_ingest_report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COUNTS = {"config": "abc", "records": 1, "readings": 2, "dead_letters": 0, "lag_ms": None, "stored": 0, "stores": []}


class Link:
    """A connection that answers each message with a reason code, or not at all for None."""

    def __init__(self, reason: int | None) -> None:
        self.reason = reason
        self.sent: list[dict[str, Any]] = []

    def send(self, topic: str, payload: bytes, answer: Callable[[int], None], *, retain: bool) -> None:
        assert (topic, retain) == ("t/report", True)
        assert parse_ingest_report(payload).readings == 2
        self.sent.append(json.loads(payload))
        if self.reason is not None:
            answer(self.reason)


async def for_seconds(seconds: float, work: Awaitable[None]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await work


@pytest.fixture
def report() -> tuple[PeriodicReport, list[tuple[str, int]]]:
    """A report, and its noted answers."""
    noted: list[tuple[str, int]] = []
    made = PeriodicReport(
        "t/report",
        lambda: COUNTS,
        lambda topic, reason: noted.append((topic, reason)),
        lambda _, payload: payload,
    )
    return made, noted


Noted = list[tuple[str, int]]


def test_report_is_published_again_and_again(report: tuple[PeriodicReport, Noted]):
    made, noted = report

    async def main() -> None:
        link = Link(0)
        await for_seconds(3.5 * REPORT_EVERY, made.run(link))
        assert len(link.sent) == 4

    run(main())
    assert noted == [("t/report", 0)] * 4


def test_a_broker_that_refuses_gets_no_further_report_over_the_connection(report: tuple[PeriodicReport, Noted]):
    """It is asked again with the next connection: the right may have been granted."""
    made, noted = report

    async def main() -> None:
        link, following = Link(0x87), Link(0)
        await made.run(link)
        assert len(link.sent) == 1
        await for_seconds(1.5 * REPORT_EVERY, made.run(following))
        assert len(following.sent) == 2

    run(main())
    assert noted[0] == ("t/report", 0x87)


def test_a_connection_that_ends_without_an_answer_is_followed_by_a_pause(report: tuple[PeriodicReport, Noted]):
    """A broker may end the connection of a client that publishes without the right: records would never arrive."""
    made, _ = report

    async def main() -> None:
        lost, following = Link(None), Link(0)
        await for_seconds(5 * REPORT_EVERY, made.run(lost))
        assert len(lost.sent) == 1, "there is one report without an answer, not more"
        await for_seconds(PAUSE - REPORT_EVERY, made.run(following))
        assert following.sent == []
        await for_seconds(3 * REPORT_EVERY, made.run(following))
        assert following.sent

    run(main())


def test_a_change_is_reported_soon_and_many_changes_do_not_flood(report: tuple[PeriodicReport, Noted]):
    made, _ = report

    async def main() -> None:
        link = Link(0)
        asyncio.get_running_loop().call_later(0.1, made.request)
        await for_seconds(1.5 * SOONEST, made.run(link))
        assert len(link.sent) == 2

        async def change() -> None:
            for _ in range(1_000):
                made.request()
                await asyncio.sleep(0.01)

        flooded, changes = Link(0), asyncio.create_task(change())
        await for_seconds(10.5 * SOONEST, made.run(flooded))
        assert len(flooded.sent) <= 11
        await changes

    run(main())


def test_a_request_gets_no_answer_from_a_broker_that_does_not_answer(report: tuple[PeriodicReport, Noted]):
    made, _ = report

    async def main() -> None:
        link = Link(None)
        for seconds in range(30):
            asyncio.get_running_loop().call_later(seconds, made.request)
        await for_seconds(3 * REPORT_EVERY, made.run(link))
        assert len(link.sent) == 1

    run(main())
