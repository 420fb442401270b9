"""The ids of descriptions that ingest asks for, until they are answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.mqtt.messages import MAX_IDS

if TYPE_CHECKING:
    from collections.abc import Iterable

ANSWER_EVERY = 0.2
"""Seconds between two answers about wanted descriptions."""

MAX_WANTED = 1_000
"""Ids of wanted descriptions that wait for their answer; others have to be asked for again."""


class WantedIds:
    """The ids that wait for an answer, in the order of the requests."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._there = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Iterable[str]) -> None:
        """Add ids; those above `MAX_WANTED` are ignored."""
        for key in ids:
            if len(self._ids) < MAX_WANTED:
                self._ids[key] = None
        self._there.set()

    async def first(self) -> list[str]:
        """Wait for ids, and return the first, as many as fit into an answer; they stay until `answered`."""
        await self._there.wait()
        return list(self._ids)[:MAX_IDS]

    async def answered(self, ids: Iterable[str]) -> None:
        """Remove ids, and wait until the next answer may be given."""
        for key in ids:
            self._ids.pop(key, None)
        if not self._ids:
            self._there.clear()
        await asyncio.sleep(ANSWER_EVERY)
