"""A service manager for tests: a socket that receives the messages of sd_notify(3)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class Notified:
    """Receives the reports of a service; `messages` has all of them so far, a mapping for each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify.socket"
        self._messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def __enter__(self) -> Self:
        self._socket.bind(str(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def environment(self, watchdog: float | None = None) -> dict[str, str]:
        """Return the variables that systemd sets; `watchdog` is in seconds."""
        seconds = {} if watchdog is None else {"WATCHDOG_USEC": str(round(watchdog * 1e6))}
        return {"NOTIFY_SOCKET": str(self.path)} | seconds

    @property
    def messages(self) -> list[dict[str, str]]:
        while True:
            try:
                data = self._socket.recv(4096)
            except BlockingIOError:
                return self._messages
            self._messages.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def count(self, name: str) -> int:
        """Return the number of messages with a name so far."""
        return sum(name in message for message in self.messages)
