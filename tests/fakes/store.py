"""A store in memory that does as a test asks: be away, refuse, answer before it is durable, die."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from gateway.stores.base import Rejected, Store, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.stores.base import MachineScan, Refusal


class MemoryStore(Store):
    """A kill loses `memory`, except scans that are `durable_after` seconds old; `durable` is safe."""

    def __init__(self, durable_after: float = 0.0) -> None:
        super().__init__()
        self.durable_after = durable_after
        self.durable: list[MachineScan] = []
        self.memory: list[MachineScan] = []
        self._times: list[float] = []
        self.away = ""
        self.young = False
        self.wrong = ""
        self.refusals: list[Refusal] = []
        self.writes = 0
        self.opened = self.closed = self.asked = 0
        self.go = threading.Event()
        self.go.set()
        self._instance = 1

    def open(self) -> None:
        self._answer()
        self.opened += 1

    def check(self) -> None:
        if self.wrong:
            raise Unavailable(self.wrong)

    def instance(self) -> str | None:
        self._answer()
        return None if self.young else str(self._instance)

    def write(self, batch: Sequence[MachineScan]) -> None:
        self.go.wait()
        self._answer()
        self.writes += 1
        self.memory += batch
        self._times += [time.monotonic()] * len(batch)
        if not self.durable_after:
            self.flush()
        if self.refusals:
            refusals, self.refusals = self.refusals, []
            raise Rejected(refusals)

    def close(self) -> None:
        self.closed += 1

    def flush(self) -> None:
        """Make all that it has durable."""
        self.durable += self.memory
        self.memory.clear()
        self._times.clear()

    def kill(self) -> None:
        """Die, and start again."""
        safe = time.monotonic() - self.durable_after
        self.durable += [scan for scan, when in zip(self.memory, self._times, strict=True) if when <= safe]
        self.memory.clear()
        self._times.clear()
        self._instance += 1

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable(self.away)
