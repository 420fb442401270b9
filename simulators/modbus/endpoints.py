"""Endpoints of simulated Modbus devices: ports, pseudo-terminals, and connections that the devices open."""

from __future__ import annotations

import asyncio
import errno
import os
import termios
import tty
from contextlib import suppress
from typing import TYPE_CHECKING

from drivers import listening
from drivers.modbus.connection import Transport
from simulators.modbus.behaviours import Address
from simulators.modbus.server import DatagramEndpoint, RequestHandler, StreamConnection
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from simulators.modbus.registers import Unit

RECONNECT_INTERVAL = 0.5
"""Seconds from one attempt to connect to the gateway to the next."""

RESTART_SECONDS = 1.0
"""Seconds that a restarting device is unreachable."""


class Endpoint:
    """One address and the units behind it. `start` raises `OSError` if the address can't be used."""

    def __init__(self, transport: Transport, units: dict[int, Unit]) -> None:
        self.transport = transport
        self.units = units
        self._frames = transport
        self._first = b""
        self._connections: set[StreamConnection] = set()
        self._state = Address()
        self._up = self._stopped = False
        self._restarts = 0
        self._restarted_at = 0.0  # by the loop's clock: when a restarting device is reachable again

    @property
    def address(self) -> str:
        """The address as URLs have it."""
        raise NotImplementedError

    async def start(self) -> None:
        """Accept connections."""
        self._stopped = False
        await self._start()
        self._up = True

    async def stop(self) -> None:
        """Close every connection and accept no more; `start` accepts them again."""
        if self._up:
            self._up, self._stopped = False, True
            await self._stop()

    async def close(self) -> None:
        """Stop permanently, and release the address."""
        await self.stop()

    def _hang_up(self) -> None:
        for connection in tuple(self._connections):
            connection.transport.abort()

    async def apply_faults(self) -> None:
        """Stop and start as the machines' faults require; called at every step."""
        links = [outputs.network for unit in self.units.values() for outputs in unit.machines]
        restarts, now = sum(link.restarts for link in links), asyncio.get_running_loop().time()
        if restarts != self._restarts:
            self._restarts, self._restarted_at = restarts, now + RESTART_SECONDS
        away = now < self._restarted_at or any(link.refused for link in links)
        if away and self._up:
            await self.stop()
        elif not away and not self._up:
            await self.start()

    def connection(self) -> StreamConnection:
        """Return the protocol of a new connection."""
        handler = RequestHandler(self._frames, self.units, self._state)
        return StreamConnection(handler, self._connections, lambda: self._stopped, self._first)

    async def _start(self) -> None:
        raise NotImplementedError

    async def _stop(self) -> None:
        raise NotImplementedError


class ListeningPort(Endpoint):
    """A TCP port, with or without TLS, or a UDP port; port 0 selects a free port."""

    def __init__(
        self, transport: Transport, host: str, port: int, units: dict[int, Unit], tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(transport, units)
        self.host, self.port = host, port
        self._tls = tls
        self._server: asyncio.Server | asyncio.DatagramTransport

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self.transport is Transport.UDP:
                self._server, _ = await loop.create_datagram_endpoint(
                    lambda: DatagramEndpoint(self.units), local_addr=(self.host, self.port)
                )
                self.port = self._server.get_extra_info("sockname")[1]
            else:
                self._server = await loop.create_server(self.connection, self.host, self.port, ssl=self._tls)
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            raise OSError(error.errno, explain_bind_error(error, self.host, self.port)) from error

    async def _stop(self) -> None:
        if isinstance(self._server, asyncio.Server):
            await listening.close(self._server)
        else:
            self._server.close()
        self._hang_up()


def explain_bind_error(error: OSError, host: str, port: int) -> str:
    """Return why a port can't be bound, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; --ports auto finds free ports"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is for the superuser; --ports auto finds ports for all users"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; --ports auto serves its machines on {LOOPBACK}"
    return f"can't listen on port {port} of {host}: {error.strerror or error}"


class ReverseConnection(Endpoint):
    """A device that opens the connection to a gateway, which listens."""

    def __init__(
        self, host: str, port: int, units: dict[int, Unit], *, registration: bytes = b"", rtu: bool = False
    ) -> None:
        """Prepare; the device sends `registration` first, and RTU frames with `rtu`."""
        super().__init__(Transport.LISTEN, units)
        self._frames = Transport.RTU_TCP if rtu else Transport.LISTEN
        self._first = registration
        self.host, self.port = host, port or free_port()
        self._task: asyncio.Task[None]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._connect(), name=f"connecting to {self.address}")

    async def _stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._hang_up()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._connections:
                with suppress(OSError):  # the gateway is not up yet
                    await loop.create_connection(self.connection, self.host, self.port)
            await asyncio.sleep(RECONNECT_INTERVAL)


class SerialLine(Endpoint):
    """A serial line as a pseudo-terminal, which is read like any serial port.

    `link` is the path of the symbolic link to it; None uses the pseudo-terminal's own path.
    """

    def __init__(self, transport: Transport, link: Path | None, units: dict[int, Unit]) -> None:
        super().__init__(transport, units)
        self._link = link
        self._name = ""
        self._line: PseudoTerminal | None = None

    @property
    def address(self) -> str:
        return str(self._link or self._name)

    async def _start(self) -> None:
        if self._line is not None:
            self._line.start_reading()
            return
        master, slave = os.openpty()
        tty.setraw(slave)
        self._name = os.ttyname(slave)
        self._line = PseudoTerminal(master, slave, self.connection())
        if self._link is not None:
            self._make_link(self._link)

    def _make_link(self, link: Path) -> None:
        if link.is_symlink() and str(link.readlink()).startswith("/dev/pts/"):
            link.unlink()  # left by a simulator that has ended
        try:
            link.symlink_to(self._name)
        except OSError as error:
            raise OSError(
                error.errno, f"{link} can't be made: {error.strerror}; --ports auto makes serial lines elsewhere"
            ) from error

    async def _stop(self) -> None:
        if self._line is not None:
            self._line.stop_reading()

    async def close(self) -> None:
        await self.stop()
        if self._line is not None:
            self._line.abort()
            self._line = None
            if self._link is not None:
                self._link.unlink(missing_ok=True)


class PseudoTerminal(asyncio.Transport):
    """The device's end of a pseudo-terminal. The other end stays open, so that masters may open and close it."""

    def __init__(self, master: int, slave: int, protocol: StreamConnection) -> None:
        super().__init__()
        self._master, self._slave = master, slave
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closed = False
        os.set_blocking(master, False)
        protocol.connection_made(self)
        self.start_reading()

    def start_reading(self) -> None:
        """Read requests; drop those that came before."""
        termios.tcflush(self._master, termios.TCIFLUSH)
        self._loop.add_reader(self._master, self._readable)

    def stop_reading(self) -> None:
        """Read no requests, as if the cable were cut."""
        self._loop.remove_reader(self._master)

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            self._protocol.data_received(os.read(self._master, 4096))
        # tcsetattr of glibc fails if none of the requested changes was made. A pseudo-terminal has no parity, so a
        # master that changes nothing else gets an error: flip a flag without effect, so that it has one to change
        settings = termios.tcgetattr(self._slave)
        settings[0] |= termios.IXANY
        termios.tcsetattr(self._slave, termios.TCSANOW, settings)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with suppress(BlockingIOError):  # nobody reads and the line is full: the rest is lost, as on a wire
            os.write(self._master, data)

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self.stop_reading()
            os.close(self._master)
            os.close(self._slave)
            self._protocol.connection_lost(None)
