"""Run blocking calls in a daemon thread: a call that hangs does not delay the end of the process."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThread:
    """Run calls one after the other. A `ThreadPoolExecutor` is joined at exit, also if a call hangs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = 0
        self._idle = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Return True if a call runs or is queued, including a call whose caller was cancelled."""
        return self._busy > 0

    async def idle(self) -> None:
        """Wait until no call runs or is queued."""
        while self._busy:
            self._idle.clear()
            await self._idle.wait()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the thread; return its result or raise its exception. Cancelling does not stop it."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            self._busy -= 1
            if not result.done():
                if error is None:
                    result.set_result(value)  # type: ignore[arg-type] # None only where T has it
                else:
                    result.set_exception(error)
            if not self._busy:
                self._idle.set()  # those that wait for it run after the caller, which may have noted the result

        def call() -> None:
            value, error = None, None
            try:
                value = function(*args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - passed to the caller
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody awaits it
                loop.call_soon_threadsafe(settle, value, error)

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._busy += 1
        self._calls.put(call)
        return await result

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def stop(self) -> None:
        """End the thread after its last call, without waiting for it."""
        self._calls.put(None)
