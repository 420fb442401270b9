"""Blocking calls in a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading

import pytest
from processes import until

from gateway.common.worker_thread import WorkerThread


async def test_calls_run_one_after_the_other_and_return_or_raise():
    thread, seen = WorkerThread("test"), []

    def note(number: int) -> int:
        seen.append((number, threading.current_thread().name))
        if number == 3:
            raise ValueError("three")
        return number * 2

    assert await asyncio.gather(*(thread.run(note, number) for number in range(3))) == [0, 2, 4]
    with pytest.raises(ValueError, match="three"):
        await thread.run(note, 3)
    assert seen == [(number, "test") for number in range(4)]
    thread.stop()


async def test_a_call_that_nobody_awaits_any_more_keeps_the_thread_busy():
    """A disk that hangs must not have one call after the other wait for it."""
    thread, go = WorkerThread("test"), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await thread.run(go.wait)
    assert thread.busy
    waiting = asyncio.create_task(thread.idle())
    await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    await waiting
    assert not thread.busy
    await thread.idle()
    assert await thread.run(int, "7") == 7
    thread.stop()


async def test_a_call_that_hangs_does_not_hold_up_the_end():
    """The threads of a `ThreadPoolExecutor` would be joined; a process ends without its daemons."""
    thread, go = WorkerThread("hangs"), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await thread.run(go.wait)
    thread.stop()
    [hanging] = [one for one in threading.enumerate() if one.name == "hangs"]
    assert hanging.daemon
    go.set()
    await until(lambda: not hanging.is_alive(), "the thread has ended")
