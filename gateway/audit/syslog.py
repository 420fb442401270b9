"""The follower of an audit log: copies entries to a syslog server (RFC 5424), in a thread that nobody waits for.

TLS and TCP frame messages by their length (RFC 5425, clause 4.3; RFC 6587, clause 3.4.1). Entries wait in a bounded
queue while the server does not answer; those beyond are dropped and counted.
"""

from __future__ import annotations

import os
import queue
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog

from drivers.tls import TlsFiles, client_context, revocation_problem
from gateway.audit.entry import line_of
from gateway.common.state_log import StateLog

log = structlog.get_logger(__name__)

MOST_WAITING = 1_000
"""Entries that wait for the server."""

TIMEOUT = 5.0
"""Seconds for a connection, and for a message."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between attempts to connect; each failure doubles them."""

CLOSE_SECONDS = 2.0
"""Seconds that entries have to be sent when the follower is closed."""

PRIORITY = 13 * 8 + 5
"""Facility 13 (log audit) and severity 5 (notice); RFC 5424, clause 6.2.1."""

_PORTS = {"tls": 6514, "tcp": 601, "udp": 514}
_EPOCH = datetime.fromtimestamp(0, UTC)


def syslog_message(entry: dict[str, Any], host: str, pid: int) -> bytes:
    """Return an entry as a message of RFC 5424; its text is the line of the entry, in UTF-8."""
    moment = (
        (_EPOCH + timedelta(microseconds=entry["time"])).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )
    kind = "".join(character for character in entry["action"] if "!" <= character <= "~")[:32] or "-"
    head = f"<{PRIORITY}>1 {moment} {host} lineside {pid} {kind} - "
    return head.encode() + b"\xef\xbb\xbf" + line_of(entry).rstrip(b"\n")


class SyslogFollower:
    """Sends entries to one server."""

    def __init__(self, url: str, files: TlsFiles = TlsFiles()) -> None:  # noqa: B008 - it is immutable
        """Prepare; no I/O before `start`. `files` are those of TLS, which are read at each connection."""
        self.dropped = 0
        """Entries that the server did not get."""
        parts = urlsplit(url)
        self._scheme = parts.scheme
        self._address = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._files = files
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(MOST_WAITING)
        self._state = StateLog(log, "syslog.unstable", server=url)
        self._socket: socket.socket | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit syslog", daemon=True)
        self._host = (socket.gethostname().encode("ascii", "replace").decode().replace(" ", "-") or "-")[:255]

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def send(self, entry: dict[str, Any]) -> None:
        """Queue an entry; returns at once."""
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Send the entries that wait, for `CLOSE_SECONDS` at the most, and end."""
        self._closing.set()
        self.send_end()
        self._thread.join(CLOSE_SECONDS)

    def send_end(self) -> None:
        """Queue the mark of the end; without room for it the thread finds `_closing`."""
        with suppress(queue.Full):
            self._queue.put_nowait(None)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            entry = self._queue.get()
            while entry is not None and not self._sent(syslog_message(entry, self._host, os.getpid())):
                if self._closing.wait(pause):
                    self.dropped += 1 + self._waiting()
                    return
                pause = min(LONGEST_PAUSE, 2 * pause)
            if entry is None or (self._closing.is_set() and self._queue.empty()):
                break
            pause = FIRST_PAUSE
        if self._socket is not None:
            self._socket.close()

    def _waiting(self) -> int:
        """Return the number of entries that wait, without the mark of the end."""
        return sum(entry is not None for entry in list(self._queue.queue))

    def _sent(self, message: bytes) -> bool:
        """Send a message, on a new connection if there is none; returns whether that worked."""
        try:
            if self._socket is None:
                self._socket = self._connect()
            framed = message if self._scheme == "udp" else f"{len(message)} ".encode() + message
            self._socket.sendall(framed)
        except (OSError, ValueError) as error:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            self._state.enter("syslog.not_connected", error=str(error))
            return False
        self._state.enter("syslog.connected", healthy=True)
        return True

    def _connect(self) -> socket.socket:
        if self._scheme == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            found = socket.socket(family, kind, protocol)
            found.connect(address)
            return found
        plain = socket.create_connection(self._address, TIMEOUT)
        if self._scheme == "tcp":
            return plain
        try:
            context = client_context(self._files, "dashboard.audit.syslog_")
            return context.wrap_socket(plain, server_hostname=self._address[0])
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise OSError(revocation_problem(error, self._files.crl) or str(error)) from None
        except BaseException:
            plain.close()
            raise
