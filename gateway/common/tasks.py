"""Ending tasks."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN = 1.5
"""Seconds that a cancelled task has to say farewell before it is cancelled again."""


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and again, until they are done.

    Once is not enough: before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes together with
    the result it waits for, and the libraries use it.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
