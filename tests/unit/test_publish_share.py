"""The share of the backlog follows what the way to the store can carry, without holding up what is fresh."""

from __future__ import annotations

from collections import deque

import pytest

from gateway.publish.congestion import LEAST, MOST, TARGET, BacklogLimit

RECORD = 2_000


def drained(rate: float, base: float, seconds: float = 20.0) -> tuple[float, float]:
    """Send a backlog over a way of `rate` bytes/s with a delay of its own; returns bytes/s and delay at the end."""
    share, now, step = BacklogLimit(), 0.0, 0.001
    under_way: deque[tuple[float, float]] = deque()  # sent, will be confirmed
    free_at, done, delays = 0.0, 0, [0.0]
    while now < seconds:
        while len(under_way) * RECORD < share.size:
            free_at = max(free_at, now) + RECORD / rate
            under_way.append((now, free_at + base))
        while under_way and under_way[0][1] <= now:
            sent, confirmed = under_way.popleft()
            share.learn(confirmed - sent, RECORD, (len(under_way) + 1) * RECORD, now)
            if now > seconds / 2:
                done += RECORD
                delays.append(confirmed - sent)
        now += step
    return done / (seconds / 2), max(delays)


@pytest.mark.parametrize("base", [0.005, 0.05, 0.6], ids=["near", "usual", "satellite"])
@pytest.mark.parametrize("rate", [100_000, 2_000_000], ids=["mobile", "wired"])
def test_the_way_is_used_and_its_queue_stays_short(rate: float, base: float):
    """Neither an idle line while a shift waits in the spool, nor fresh readings that stand in a queue for seconds."""
    reached, delay = drained(rate, base)
    assert reached > 0.8 * rate
    assert delay < base + 0.4


def test_the_share_is_bounded():
    """Memory is, so it has to be; and with nothing at all there would be no measuring."""
    fast, slow = BacklogLimit(), BacklogLimit()
    for _ in range(10_000):
        fast.learn(0.0, RECORD, fast.size, 1.0)
        slow.learn(5.0, RECORD, slow.size, 1.0)
    slow.learn(0.01, RECORD, 0, 1.0)
    for _ in range(1_000):
        slow.learn(50.0, RECORD, slow.size, 1.0)
    assert fast.size == MOST
    assert slow.size == LEAST


def test_a_share_that_is_not_used_does_not_grow():
    """It would let a sudden backlog out at once."""
    share = BacklogLimit()
    before = share.size
    for _ in range(1_000):
        share.learn(0.01, RECORD, RECORD, 1.0)
    assert share.size == before


def test_a_way_that_became_longer_is_learnt():
    """A store may be moved to another town while the gateway runs."""
    share, now = BacklogLimit(), 0.0
    for _ in range(100):
        now += 0.1
        share.learn(0.01, RECORD, share.size, now)
    for _ in range(2_000):
        now += 0.1
        share.learn(1.0, RECORD, share.size, now)
    assert share.size > LEAST
    learnt = share.size
    share.learn(1.0 + 0.9 * TARGET, RECORD, share.size, now)
    assert share.size > learnt
    longer = share.size
    share.learn(1.0 + 1.1 * TARGET, RECORD, share.size, now)
    assert share.size < longer, "the way itself takes a second"
    assert TARGET < 0.5
