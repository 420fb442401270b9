"""Messages to the service manager, in the protocol of sd_notify(3): ready, reloading, stopping, status and watchdog.

systemd names its socket in `NOTIFY_SOCKET` and the time of its watchdog in `WATCHDOG_USEC`. Without them, nothing is
sent. The protocol is a datagram of lines `NAME=value`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

STATUS_EVERY = 5.0
"""Seconds between two messages, at most: of the status, and to the watchdog."""

OF_THE_TIME = 0.25
"""Part of the watchdog's time after which it is fed: two messages may be late before it acts."""


class ServiceManager:
    """The service manager that has started this process, if one has."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        """Name the socket of the service manager and the seconds of its watchdog; None if there is none."""
        # a name that begins with @ is in the abstract namespace, which begins with a zero byte (unix(7))
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address
        self.watchdog = watchdog

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the service manager that the variables of this process name."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        seconds = int(microseconds) / 1e6 if for_us and microseconds.isdecimal() else 0.0
        return cls(environment.get("NOTIFY_SOCKET") or None, seconds or None)

    def ready(self) -> None:
        """Report that the service has started, or has applied a changed configuration."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that the service applies a changed configuration; call `ready` afterwards."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the service stops."""
        self._send("STOPPING=1")

    async def keep_informed(self, status: Callable[[], str], progress: Callable[[], Awaitable[object]]) -> None:
        """Send the status, and feed the watchdog each time `progress` has returned, until cancelled.

        `progress` returns if the other threads of the service work too; this task itself shows that the event loop
        does. While one of them is frozen, nothing is sent, and the watchdog ends the process.
        """
        if self._address is None:
            return
        every = STATUS_EVERY if self.watchdog is None else min(STATUS_EVERY, self.watchdog * OF_THE_TIME)
        while True:
            await progress()
            self._send(*(["WATCHDOG=1"] if self.watchdog else []), f"STATUS={' '.join(status().split())}")
            await asyncio.sleep(every)

    def _send(self, *lines: str) -> None:
        """Send a message; a service manager that does not receive it must not hurt the service."""
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end:
            end.connect(self._address)
            end.send("\n".join(lines).encode())


def gateway_status(report: Mapping[str, Any]) -> str:
    """Return the line that `systemctl status` shows of a gateway, from its report."""
    points, schedule, pending = report["points"], report["schedule"], report["ledger"]["pending"]
    return (
        f"{points['good']:,} of {points['configured']:,} points good, {pending:,} readings pending, "
        f"{schedule['missed']:,} scans missed"
    )
