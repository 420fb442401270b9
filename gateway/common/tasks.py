"""Tasks: ending them, and helpers whose failure must not end a service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType

log = structlog.get_logger(__name__)

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

CANCEL_AGAIN = 1.5
"""Seconds that a cancelled task has to end before it is cancelled again."""

RESTART_AFTER = 5.0
"""Seconds after which a helper that failed is started again."""


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and again, until they are done.

    Once is not enough: before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes together with
    the result it waits for, and the libraries use it.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN)


async def within(seconds: float, work: Coroutine[Any, Any, None], name: str) -> None:
    """Await work in a task of its own, which is cancelled and left alone when it takes longer.

    Unlike `asyncio.timeout` this returns in time also where the work does not end when it is cancelled. Raises
    `TimeoutError`, and what the work raises.
    """
    task = asyncio.create_task(work, name=name)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_ignore_result)
    if not task.done():
        raise TimeoutError(f"not within {seconds:g} s")
    task.result()


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> list[T]:
    """Return the result of work in a list, empty if `stop` is set before: then work is cancelled once, and awaited.

    Raises the error of work that fails before `stop` is set.
    """
    task, stopped = asyncio.create_task(work, name="work"), asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return [task.result()]
    task.cancel()
    await asyncio.wait({task})
    _ignore_result(task)
    return []


def errors_of(group: BaseExceptionGroup[BaseException], kind: type[E]) -> list[E]:
    """Return the errors of a task group if all of them are of one kind, nested or not; else none.

    For a handler that raises one of them, or another error. `except*` would find them as well, but before Python
    3.11.4 an error that its handler raises is in a group again (CPython gh-103590).
    """
    found: list[E] = []
    for error in group.exceptions:
        nested = errors_of(error, kind) if isinstance(error, BaseExceptionGroup) else [error]
        if not nested or not all(isinstance(one, kind) for one in nested):
            return []
        found += cast("list[E]", nested)
    return found


def _ignore_result(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


class BestEffort:
    """A context for work that may fail: the error is counted, logged once until the work succeeds, and swallowed.

    Used with `with`, also around awaits. Cancellation passes through.
    """

    __slots__ = ("_failing", "_fields", "_passing", "failures")

    def __init__(self, helper: str, passing: tuple[type[Exception], ...] = (), **fields: object) -> None:
        """Name the helper; errors of the kinds `passing` pass through, and `fields` are in its log events."""
        self.failures = 0
        self._passing = passing
        self._fields = {"helper": helper, **fields}
        self._failing = ""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            if self._failing:
                log.info("helper.recovered", **self._fields, failures=self.failures)
                self._failing = ""
            return False
        if not isinstance(error, Exception) or isinstance(error, self._passing):
            return False
        self.failures += 1
        if (failing := repr(error)) != self._failing:
            self._failing = failing
            # an error of the system says all in a line; where anything else comes from, only its traceback says
            details = {} if isinstance(error, OSError) else {"exc_info": error}
            log.warning("helper.failed", **self._fields, error=failing, **details)
        return True


async def supervise(
    run: Callable[[], Awaitable[None]], helper: BestEffort, restart_after: float = RESTART_AFTER
) -> None:
    """Run a helper until it returns or is cancelled; start it again when it fails."""
    while True:
        with helper:
            await run()
            return
        await asyncio.sleep(restart_after)
