"""Stop to work for a browser that has gone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive


class Gone(Exception):
    """The browser has closed the connection."""


@asynccontextmanager
async def until_gone(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the browser closes the connection. Raises `Gone` then."""
    task = asyncio.current_task()
    noticed = False

    async def watch() -> None:
        nonlocal noticed
        while not (await receive())["type"].endswith("disconnect"):
            pass
        noticed = True
        if task is not None:
            task.cancel()

    watching = asyncio.create_task(watch(), name="browser")
    try:
        yield
    except asyncio.CancelledError:
        # a cancellation from outside goes on
        if noticed and task is not None and task.uncancel() == 0:
            raise Gone from None
        raise
    finally:
        watching.cancel()
