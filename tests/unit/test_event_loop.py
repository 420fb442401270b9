"""The event loop collects events in a burst, and neither delays single events nor misses timers."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from typing import TYPE_CHECKING

import pytest

from drivers.timer_grid import ORIGIN, on_grid, wait_for_slot
from gateway.common import event_loop
from gateway.common.event_loop import FEW, MANY, PAUSE, SHORTEST, SLACK, BatchingSelector, new_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """A clock that only moves when something sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(event_loop, "time", moved)
    monkeypatch.setattr(BatchingSelector, "_sleep", lambda _, seconds: moved.sleep(seconds))
    return moved


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[float | None]:
    """Return the time-outs that reach the operating system; each wait lasts as long as it may, at most 1 ms."""
    asked: list[float | None] = []

    def select(_: object, timeout: float | None = None) -> list[object]:
        asked.append(timeout)
        clock.now += min(0.001, timeout if timeout is not None else 0.001)
        return found

    found: list[object] = ["event"]
    monkeypatch.setattr(selectors.EpollSelector, "select", select)
    return asked


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(5)]
    yield made
    for pair in made:
        for one in pair:
            one.close()


def test_the_first_event_after_a_silence_is_returned_at_once(waits: list[float | None], clock: Clock) -> None:
    selector = BatchingSelector()
    assert selector.select(None) == ["event"]
    assert (waits, clock.slept) == ([None], [])
    selector.close()


def test_events_of_a_burst_are_collected(clock: Clock, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """From the third wake-up on it sleeps first, and finds all that has come meanwhile."""
    selector = BatchingSelector()
    for ours, _ in pairs:
        selector.register(ours, selectors.EVENT_READ)
    pairs[0][1].send(b"x")
    assert [len(selector.select(None)) for _ in range(2)] == [1, 1]
    assert clock.slept == []
    for _, theirs in pairs[1:]:
        theirs.send(b"x")
    assert len(selector.select(None)) == len(pairs)
    assert clock.slept == [PAUSE]
    selector.close()


def test_a_dialogue_with_one_device_is_not_delayed(waits: list[float | None], clock: Clock) -> None:
    """Pauses that collect a single event become rare."""
    selector = BatchingSelector()
    for _ in range(500):
        selector.select(None)
    assert len(clock.slept) < 10
    assert len(waits) == 500
    selector.close()


def test_work_that_lasts_is_followed_by_no_pause(waits: list[float | None], clock: Clock) -> None:
    """A wake-up costs little beside it, and events have come meanwhile."""
    selector = BatchingSelector()
    for _ in range(50):
        selector.select(None)
        clock.now += 2 * event_loop.BUSY
    assert clock.slept == []
    assert waits
    selector.close()


def test_pauses_are_short_while_many_events_come_without_end(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Devices that are read all out wait for the gateway, which must not sleep; a wave of scans has fewer answers."""
    found: list[object] = []
    monkeypatch.setattr(selectors.EpollSelector, "select", lambda *_: list(found))
    selector = BatchingSelector()

    def pause_with(events: int) -> float:
        found[:] = ["event"] * events
        selector._woken = selector._woken_before = clock.now  # noqa: SLF001 - a burst
        selector.select(None)
        return clock.slept[-1]

    assert [pause_with(MANY) for _ in range(5)] == [PAUSE, PAUSE / 2, SHORTEST, SHORTEST, SHORTEST]
    assert [pause_with(0), pause_with(FEW), pause_with(MANY - 1)] == [SHORTEST] * 3
    assert [pause_with(FEW - 1) for _ in range(4)] == [SHORTEST, PAUSE / 2, PAUSE, PAUSE]
    selector.close()


def test_a_pause_never_exceeds_the_time_until_the_next_timer(clock: Clock) -> None:
    selector = BatchingSelector()
    selector._woken = selector._woken_before = clock.now  # noqa: SLF001 - a burst
    assert selector.select(PAUSE / 4) == []
    assert clock.slept == [PAUSE / 4]
    selector.close()


@pytest.mark.parametrize("due", [0.02, 0.5, 3.0071])
def test_timers_that_are_due_at_nearly_the_same_time_fire_together(waits: list[float | None], due: float) -> None:
    selector = BatchingSelector()
    selector.select(due)
    [asked] = waits
    assert asked is not None
    assert due - 1e-9 <= asked <= due + SLACK
    assert (1000.0 + asked) / SLACK == pytest.approx(round((1000.0 + asked) / SLACK))
    selector.close()


def test_a_timer_that_is_due_soon_is_exact(waits: list[float | None], clock: Clock) -> None:
    """The silence between two frames of a serial line is 1.75 ms."""
    selector = BatchingSelector()
    selector.select(0.00175)
    assert waits == [0.00175]
    assert clock.slept == []
    selector.close()


def test_nothing_is_waited_for_while_there_is_work(waits: list[float | None], clock: Clock) -> None:
    selector = BatchingSelector()
    for _ in range(5):
        selector.select(0)
    assert waits == [0] * 5
    assert clock.slept == []
    selector.close()


def test_a_loop_reads_sockets_and_keeps_its_timers() -> None:
    """Timers fire in their order, none before its time, and every byte arrives."""

    async def main() -> list[float]:
        loop, fired = asyncio.get_running_loop(), []
        began = loop.time()
        for delay in (0.05, 0.001, 0.021, 0.02):
            loop.call_later(delay, lambda delay=delay: fired.append((delay, loop.time() - began)))
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        for _ in range(20):
            theirs.send(b"x")
            await asyncio.sleep(0.001)
        assert await reader.readexactly(20) == b"x" * 20
        writer.close()
        theirs.close()
        await asyncio.sleep(0.06)
        assert [delay for delay, _ in fired] == sorted(delay for delay, _ in fired)
        return [at - delay for delay, at in fired]

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        late = runner.run(main())
    assert len(late) == 4
    assert min(late) >= -0.001


@pytest.mark.parametrize("spacing", [0.25, 1.0, 60.0])
def test_slots_are_on_one_grid(spacing: float) -> None:
    now = time.monotonic()
    due = on_grid(now, spacing)
    assert now <= due < now + spacing + 1e-6
    assert (due - ORIGIN) / spacing == pytest.approx(round((due - ORIGIN) / spacing), abs=1e-6)
    assert on_grid(now + 2 * spacing, spacing) == pytest.approx(due + 2 * spacing)


async def test_two_waits_for_a_slot_end_together() -> None:
    loop, ended = asyncio.get_running_loop(), []

    async def wait(before: float) -> None:
        await asyncio.sleep(before)
        await wait_for_slot(0.2)
        ended.append(loop.time())

    await asyncio.sleep(on_grid(loop.time(), 0.2) - loop.time() + 0.01)  # both begin between the same two slots
    await asyncio.gather(wait(0.0), wait(0.01))
    assert abs(ended[1] - ended[0]) < 0.15
