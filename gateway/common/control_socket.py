"""A socket between a service and the commands on the same machine: one JSON line asks, one JSON line answers.

The kernel names the process at the other end (`SO_PEERCRED`, see unix(7)), so neither side trusts a file with a
process id, and nothing is signalled. The socket is in the folder of the service, for its user and root alone.

A path of a socket has at most 107 bytes; longer folders are named by a descriptor of theirs.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import stat
import struct
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

log = structlog.get_logger(__name__)

LONGEST_REQUEST, LONGEST_ANSWER = 2**16, 2**26
"""Bytes of a line: a request names a file, an answer every machine that was affected."""

REQUEST_SECONDS = 5.0
"""Seconds that a client has to send its request."""

MOST_CLIENTS = 8
"""Clients at the same time; others are refused, and may try again."""

_LONGEST_NAME = 64
"""Characters of a service's name that are a part of the socket's name."""

_CREDENTIALS = struct.Struct("3i")


class NotListening(Exception):
    """No service listens at the socket: it is stopped, stops or starts, or its version has no socket."""


class NotTheService(Exception):
    """The process at the other end is not the service; the text says why."""


class Peer(NamedTuple):
    """The process at the other end of a connection."""

    pid: int
    uid: int

    @property
    def user(self) -> str:
        """The name of its user."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def socket_file(folder: Path, name: str) -> Path:
    """Return the socket of a service."""
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:8]}"
    return folder / f"{name}.sock"


class ControlSocket:
    """Answers commands until cancelled. The caller has the lock of the folder: a socket that is there is stale."""

    def __init__(self, file: Path, answer: Callable[[dict[str, Any], Peer], Awaitable[dict[str, Any]]]) -> None:
        """Prepare; `answer` gets a request and who asks."""
        self._file = file
        self._answer = answer
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen and answer. Raises `OSError` if the folder can't have a socket."""
        with _short(self._file) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            _remove_stale(self._file)
            # the rights from the first moment on; the umask is that of all threads, who may make folders now
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(path)
            listening.listen(MOST_CLIENTS)
            listening.setblocking(False)  # noqa: FBT003 - of the library
            server = await asyncio.start_unix_server(self._accept, sock=listening, limit=LONGEST_REQUEST)
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                server.close()
                for task in self._serving:  # a service that stops waits for no client
                    task.cancel()
                with suppress(OSError):
                    self._file.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "the server makes a task for each connection"  # noqa: S101 - for the type checker
        self._serving.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _peer_of(writer.get_extra_info("socket"))
        try:
            if peer.uid not in {0, os.geteuid()} or len(self._serving) > MOST_CLIENTS:
                log.warning("control.refused", user=peer.user, pid=peer.pid)
                return
            async with asyncio.timeout(REQUEST_SECONDS):
                request = orjson.loads(await reader.readline())
            if isinstance(request, dict):
                writer.write(orjson.dumps(await self._answer(request, peer), option=orjson.OPT_APPEND_NEWLINE))
                await writer.drain()
        except (OSError, ValueError) as error:  # also `TimeoutError`, and a line that is too long
            log.warning("control.failed", user=peer.user, pid=peer.pid, error=repr(error))


def ask(file: Path, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the answer of the service to a request.

    Raises `NotListening`, `NotTheService`, `TimeoutError`, or another `OSError`.
    """
    try:
        found = file.lstat()
        owner = file.parent.stat().st_uid
    except FileNotFoundError:
        raise NotListening(f"{file} does not exist") from None
    trusted = {0, os.geteuid(), owner}
    if not stat.S_ISSOCK(found.st_mode):
        raise NotTheService(f"{file} is not a socket; remove it, and restart the service")
    if found.st_uid not in trusted:
        raise NotTheService(f"{file} belongs to user id {found.st_uid}; remove it, and restart the service")
    with _short(file) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            raise NotListening(f"no process listens at {file}") from None
        peer = _peer_of(connection)
        if peer.uid not in trusted:
            raise NotTheService(f"process {peer.pid} of user {peer.user} listens at {file}")
        try:
            connection.sendall(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
            with connection.makefile("rb") as lines:
                line = lines.readline(LONGEST_ANSWER)
        except (BrokenPipeError, ConnectionResetError):
            line = b""
    if not line:
        raise NotListening(f"process {peer.pid} has ended the connection")
    try:
        answer = orjson.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise NotTheService(f"process {peer.pid} at {file} answers nothing that is understood")
    return answer


def _peer_of(connection: socket.socket) -> Peer:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return Peer(pid, uid)


def _remove_stale(file: Path) -> None:
    """Remove a file or socket with the name of the socket, but never a folder. Raises `OSError`."""
    if os.path.lexists(file):
        file.unlink()


@contextmanager
def _short(file: Path) -> Iterator[str]:
    """Give a path of a socket that is short enough."""
    folder = os.open(file.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)
