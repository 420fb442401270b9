"""The event that stops a service, with the reason."""

from __future__ import annotations

import asyncio
import time


class StopEvent(asyncio.Event):
    """Set when a service has to stop, first at the monotonic time `asked`; `reason` is the first, as in `SIGTERM`."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""
        self.asked = 0.0

    def set(self) -> None:
        """Let the service stop."""
        self.asked = self.asked or time.monotonic()
        super().set()

    def ask(self, reason: str) -> None:
        """Ask the service to stop."""
        self.reason = self.reason or reason
        self.set()
