"""A session with a bounded rate of small requests, to explore a machine in production."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from drivers.opcua.connection.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.opcua.settings import OpcUaConnection

T = TypeVar("T")
R = TypeVar("R")

SMALL = 200
"""Nodes in one request; a server responds within milliseconds."""


class PacedSession(Session):
    """Wraps an open session, with a pause between requests."""

    def __init__(self, session: Session, settings: OpcUaConnection, per_second: float) -> None:
        """Wrap a session; `per_second` bounds its requests."""
        super().__init__(session.client, settings)
        self.uris = session.uris
        self.limits = {service: min(limit, SMALL) for service, limit in session.limits.items()}
        self._gap = 1.0 / per_second
        self._next = 0.0

    async def in_parts(
        self, service: str, items: Sequence[T], send: Callable[[Sequence[T]], Awaitable[Sequence[R]]]
    ) -> list[R]:
        async def in_turn(part: Sequence[T]) -> Sequence[R]:
            await self._turn()
            return await send(part)

        return await super().in_parts(service, items, in_turn)

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._next - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        self._next = loop.time() + self._gap
