"""The event that stops a service, with the reason."""

from __future__ import annotations

import asyncio


class StopEvent(asyncio.Event):
    """Set when a service has to stop; `reason` is what asked first, as in `SIGTERM`."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""

    def ask(self, reason: str) -> None:
        """Ask the service to stop."""
        self.reason = self.reason or reason
        self.set()
