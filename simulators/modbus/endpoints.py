"""Where simulated Modbus devices are reached: ports, pseudo-terminals, and connections that they open themselves."""

from __future__ import annotations

import asyncio
import errno
import os
import termios
import tty
from contextlib import suppress
from typing import TYPE_CHECKING

from drivers.modbus.connection import Transport
from simulators.modbus.server import Answering, Conversation, Datagrams
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from simulators.modbus.registers import Unit

REDIAL = 0.5
"""Seconds from one attempt to dial in to the next."""

DOWN = 1.0
"""Seconds that a device which is started anew is away."""


class Endpoint:
    """One address and the units behind it. `open` raises `OSError` where it can't be had."""

    def __init__(self, transport: Transport, units: dict[int, Unit]) -> None:
        self.transport = transport
        self.units = units
        self._open: set[Conversation] = set()
        self._up = False
        self._restarts = 0
        self._back = 0.0  # by the loop's clock: when a device that starts anew is there again

    @property
    def address(self) -> str:
        """Where it is reached, as a URL has it."""
        raise NotImplementedError

    async def start(self) -> None:
        """Be there."""
        await self._start()
        self._up = True

    async def stop(self) -> None:
        """Be gone, with every connection, perhaps to come back."""
        if self._up:
            self._up = False
            await self._stop()

    async def close(self) -> None:
        """Be gone for good."""
        await self.stop()

    def _hang_up(self) -> None:
        for conversation in tuple(self._open):
            conversation.transport.abort()
        self._open.clear()

    async def attend(self) -> None:
        """Go and come back as faults say; called again and again."""
        links = [shown.link for unit in self.units.values() for shown in unit.machines]
        restarts, now = sum(link.restarts for link in links), asyncio.get_running_loop().time()
        if restarts != self._restarts:
            self._restarts, self._back = restarts, now + DOWN
        away = now < self._back or any(link.refused for link in links)
        if away and self._up:
            await self.stop()
        elif not away and not self._up:
            await self.start()

    def conversation(self) -> Conversation:
        """Return a new conversation with somebody who reads."""
        return Conversation(Answering(self.transport, self.units), self._open)

    async def _start(self) -> None:
        raise NotImplementedError

    async def _stop(self) -> None:
        raise NotImplementedError


class Port(Endpoint):
    """A port of TCP, with TLS or without, or of UDP; 0 takes a free one."""

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
                    lambda: Datagrams(self.units), local_addr=(self.host, self.port)
                )
                self.port = self._server.get_extra_info("sockname")[1]
            else:
                self._server = await loop.create_server(self.conversation, self.host, self.port, ssl=self._tls)
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            raise OSError(error.errno, refusal(error, self.host, self.port)) from error

    async def _stop(self) -> None:
        self._server.close()
        self._hang_up()


def refusal(error: OSError, host: str, port: int) -> str:
    """Return why nobody can listen there, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; --ports auto finds free ones"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is for the superuser; --ports auto finds one for all"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; --ports auto serves its machines on {LOOPBACK}"
    return f"can't listen on port {port} of {host}: {error.strerror or error}"


class Dialling(Endpoint):
    """A device that dials in to a gateway, which listens."""

    def __init__(self, host: str, port: int, units: dict[int, Unit]) -> None:
        super().__init__(Transport.LISTEN, units)
        self.host, self.port = host, port or free_port()
        self._task: asyncio.Task[None]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._dial(), name=f"dialling {self.address}")

    async def _stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._hang_up()

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._open:
                with suppress(OSError):  # the gateway is not up yet
                    await loop.create_connection(self.conversation, self.host, self.port)
            await asyncio.sleep(REDIAL)


class SerialLine(Endpoint):
    """A serial line, as a pseudo-terminal: what is at its other end is read like any serial port.

    `link` is where it shall be found, None where any name will do.
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
            self._line.listen()
            return
        master, slave = os.openpty()
        tty.setraw(slave)
        self._name = os.ttyname(slave)
        self._line = PseudoTerminal(master, slave, self.conversation())
        if self._link is not None:
            self._make_link(self._link)

    def _make_link(self, link: Path) -> None:
        if link.is_symlink() and str(link.readlink()).startswith("/dev/pts/"):
            link.unlink()  # of a simulator that is gone
        try:
            link.symlink_to(self._name)
        except OSError as error:
            raise OSError(
                error.errno, f"{link} can't be made: {error.strerror}; --ports auto makes serial lines elsewhere"
            ) from error

    async def _stop(self) -> None:
        if self._line is not None:
            self._line.deafen()

    async def close(self) -> None:
        await self.stop()
        if self._line is not None:
            self._line.abort()
            self._line = None
            if self._link is not None:
                self._link.unlink(missing_ok=True)


class PseudoTerminal(asyncio.Transport):
    """Our end of a pseudo-terminal, in the event loop. The other end stays open, so that readers may come and go."""

    def __init__(self, master: int, slave: int, protocol: Conversation) -> None:
        super().__init__()
        self._master, self._slave = master, slave
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closed = False
        os.set_blocking(master, False)
        protocol.connection_made(self)
        self.listen()

    def listen(self) -> None:
        """Hear what is asked from now on."""
        termios.tcflush(self._master, termios.TCIFLUSH)
        self._loop.add_reader(self._master, self._readable)

    def deafen(self) -> None:
        """Hear nothing any more, as if the cable were cut."""
        self._loop.remove_reader(self._master)

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            self._protocol.data_received(os.read(self._master, 4096))
        # who opens the port with settings of which nothing is left to change but parity, which a pseudo-terminal does
        # not have, is told that they are wrong (tcsetattr of glibc): leave something that means nothing
        settings = termios.tcgetattr(self._slave)
        settings[0] |= termios.IXANY
        termios.tcsetattr(self._slave, termios.TCSANOW, settings)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with suppress(
            BlockingIOError
        ):  # nobody reads, and the line is full of answers: the rest is lost, as on a wire
            os.write(self._master, data)

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self.deafen()
            os.close(self._master)
            os.close(self._slave)
            self._protocol.connection_lost(None)
