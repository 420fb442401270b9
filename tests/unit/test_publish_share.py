"""The congestion window follows the capacity of the network path to the store, and does not delay fresh records."""

from __future__ import annotations

from collections import deque

import pytest

from gateway.publish.congestion import LEAST, MOST, TARGET, BacklogLimit

RECORD = 2_000


def drained(rate: float, base: float, seconds: float = 20.0) -> tuple[float, float]:
    """Send a backlog over a path of `rate` bytes/s with a delay of `base`; return bytes/s and delay at the end."""
    window, now, step = BacklogLimit(), 0.0, 0.001
    under_way: deque[tuple[float, float]] = deque()  # sent, will be confirmed
    free_at, done, delays = 0.0, 0, [0.0]
    while now < seconds:
        while len(under_way) * RECORD < window.size:
            free_at = max(free_at, now) + RECORD / rate
            under_way.append((now, free_at + base))
        while under_way and under_way[0][1] <= now:
            sent, confirmed = under_way.popleft()
            window.learn(confirmed - sent, RECORD, (len(under_way) + 1) * RECORD, now)
            if now > seconds / 2:
                done += RECORD
                delays.append(confirmed - sent)
        now += step
    return done / (seconds / 2), max(delays)


@pytest.mark.parametrize("base", [0.005, 0.05, 0.6], ids=["near", "usual", "satellite"])
@pytest.mark.parametrize("rate", [100_000, 2_000_000], ids=["mobile", "wired"])
def test_the_network_path_is_used_and_its_queue_stays_short(rate: float, base: float):
    """No line is idle while a shift waits in the spool, and fresh readings do not wait in a queue for seconds."""
    reached, delay = drained(rate, base)
    assert reached > 0.8 * rate
    assert delay < base + 0.4


def test_the_congestion_window_is_bounded():
    """Memory is bounded; and with an empty window no delay could be measured."""
    fast, slow = BacklogLimit(), BacklogLimit()
    for _ in range(10_000):
        fast.learn(0.0, RECORD, fast.size, 1.0)
        slow.learn(5.0, RECORD, slow.size, 1.0)
    slow.learn(0.01, RECORD, 0, 1.0)
    for _ in range(1_000):
        slow.learn(50.0, RECORD, slow.size, 1.0)
    assert fast.size == MOST
    assert slow.size == LEAST


def test_an_unused_congestion_window_does_not_grow():
    """It would let a sudden backlog out at once."""
    window = BacklogLimit()
    before = window.size
    for _ in range(1_000):
        window.learn(0.01, RECORD, RECORD, 1.0)
    assert window.size == before


def test_a_longer_delay_of_the_network_path_is_learnt():
    """A store may be moved to another town while the gateway runs."""
    window, now = BacklogLimit(), 0.0
    for _ in range(100):
        now += 0.1
        window.learn(0.01, RECORD, window.size, now)
    for _ in range(2_000):
        now += 0.1
        window.learn(1.0, RECORD, window.size, now)
    assert window.size > LEAST
    learnt = window.size
    window.learn(1.0 + 0.9 * TARGET, RECORD, window.size, now)
    assert window.size > learnt
    longer = window.size
    window.learn(1.0 + 1.1 * TARGET, RECORD, window.size, now)
    assert window.size < longer, "the path itself has a delay of a second"
    assert TARGET < 0.5
