"""Accept devices that dial in, and give each connection to the device that it belongs to.

Several devices may dial in to one port. A device is identified by its peer address (`peer`), by the packet that it
sends first (`registration`), or by its unit answering (`by_unit`). Other connections are refused and counted.

Without any of these options a port serves a single device. If a second device answers while the first is connected,
nothing distinguishes them: both are refused, since values of one would be stored as values of the other.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, cast
from weakref import WeakKeyDictionary

from drivers import listening
from drivers.base import NotConnected
from drivers.modbus.address import Table
from drivers.modbus.framing import LostSync, MbapInNoise, Rtu
from drivers.modbus.pdu import read
from drivers.modbus.transport import TransportProtocol
from drivers.peer import peer_address, peer_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from drivers.modbus.connection import ModbusConnection
    from drivers.modbus.framing import Framing

DIAL_WAIT = 20.0
"""Seconds to wait for a device after the first attempt: the port is closed between two attempts, and a modem may dial
once a minute."""

MAX_PARKED = 4
"""Connections of one device that are not in use; a further connection closes the oldest."""

MAX_IDENTIFYING = 32
"""Connections of a port that are being identified; further connections are refused."""

REGISTRATION_WAIT = 10.0
"""Seconds in which a device sends its registration packet."""

MAX_FIRST = 512
"""Bytes that are kept of a connection that is not in use."""

MOST_REMARKS = 64
"""Texts about refused devices that are kept for the driver's warnings."""

SHOWN = 24
"""Bytes of a refused device that a warning shows."""

AMBIGUOUS = (
    "several devices dial in to {0}:{1} from {2}, and nothing distinguishes them: write peer, registration or "
    "by_unit, so that no value of another device is stored"
)

_QUESTION = 0xFFFF  # transaction id of the request that asks for a unit


class DialledConnection(asyncio.Protocol):
    """An accepted connection until a client uses it."""

    def __init__(self, port: ListeningPort) -> None:
        self._port = port
        self.transport: asyncio.Transport
        self.peer = ""
        self.first = bytearray()  # received bytes that nobody has read yet
        self.arrived = asyncio.Event()
        self.answers = False  # whether the unit of its claim answered on it
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.peer = str((transport.get_extra_info("peername") or ("",))[0])
        self._port.accepted(self)

    def data_received(self, data: bytes) -> None:
        self.first += data[: MAX_FIRST - len(self.first)]
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.open = False
        self.arrived.set()
        self._port.dropped(self)

    def abort(self) -> None:
        """Close the connection at once."""
        self.open = False
        self.transport.abort()

    async def more(self) -> bool:
        """Wait for more bytes; return False if the connection has ended."""
        self.arrived.clear()
        await self.arrived.wait()
        return self.open

    async def registers(self, packets: AbstractSet[bytes]) -> bytes | None:
        """Return the packet with which the device registers, None if it sends none of `packets` in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REGISTRATION_WAIT):
                while True:
                    for packet in sorted(packets, key=len, reverse=True):
                        if (at := self.first.find(packet)) >= 0:
                            del self.first[: at + len(packet)]
                            return packet
                    if len(self.first) >= MAX_FIRST or not await self.more():
                        return None
        return None

    async def asks(self, unit: int, framing: Framing, seconds: float) -> bool:
        """Return True if a unit answers on this connection."""
        self.transport.write(framing.pack(_QUESTION, unit, read(Table.HOLDING, 0, 1)))
        with suppress(TimeoutError, LostSync):
            async with asyncio.timeout(seconds):
                while self.open:
                    data = bytes(self.first)
                    self.first.clear()
                    if any(frame.unit == unit for frame in framing.feed(data)):
                        return True
                    await self.more()
        return False


class _UsedConnection(TransportProtocol):
    """The connection that a client uses; the listener sees when bytes arrive, and when it ends."""

    def __init__(self, listener: Listener, used: TransportProtocol) -> None:
        super().__init__(used.data_received, used.report_lost)
        self._listener = listener

    def data_received(self, data: bytes) -> None:
        self._listener.heard(self, data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.ended(self)
        super().connection_lost(exc)


class Listener:
    """The place of one device at a port: gets the connections that belong to it."""

    def __init__(
        self, connection: ModbusConnection, make: Callable[[], TransportProtocol], units: AbstractSet[int]
    ) -> None:
        """Prepare; `make` makes the protocol of a connection, `units` are the unit ids behind it."""
        self.settings = connection
        self._make = make
        self._units = units
        self._port: ListeningPort | None = None
        self._parked: list[DialledConnection] = []
        self._used: tuple[_UsedConnection, DialledConnection] | None = None
        self._arrival = asyncio.Event()
        self._ambiguous = ""
        self._tried = False
        self._heard = False  # whether bytes came over the used connection
        self._refused = 0
        self.remarks: dict[str, None] = {}  # texts about refused devices

    @property
    def identified(self) -> bool:
        """Whether the configuration says how to recognize the device."""
        own = self.settings
        return own.peer is not None or own.registration is not None or own.by_unit

    @property
    def refused(self) -> int:
        """Refused connections; those that belong to no device of a port are counted for its first device."""
        port = self._port
        return self._refused + (port.refused if port is not None and port.listeners[:1] == [self] else 0)

    async def open(self) -> asyncio.Transport:
        """Return the connection of the device.

        Raises `NotConnected` if it does not dial in: within the time-out at first, then within `DIAL_WAIT`.
        """
        host, port = self.settings.host, self.settings.port
        if self._port is None:
            self._port = await ListeningPort.join(self)
        self._used = None
        if self._ambiguous:
            for parked in tuple(self._parked):
                self._refuse(parked, "")
            raise NotConnected(AMBIGUOUS.format(host, port, self._ambiguous))
        wait = max(self.settings.timeout, DIAL_WAIT) if self._tried else self.settings.timeout
        self._tried = True
        try:
            async with asyncio.timeout(wait):
                while not self._parked:
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            refused = f"; {self.refused} connections of others were refused" if self.refused else ""
            raise NotConnected(f"no device has dialled in to {host}:{port}{refused}") from None
        chosen = self._parked.pop()
        self._abort_parked()
        used = _UsedConnection(self, self._make())
        self._heard = False
        self._used = used, chosen
        chosen.transport.set_protocol(used)
        if chosen.first:
            used.data_received(bytes(chosen.first))
        return chosen.transport

    # -- connections that dial in --

    def admits(self, peer: str) -> bool:
        """Return True if a device of this address may be this device."""
        wanted = self.settings.peer
        if wanted is None:
            return True
        address = peer_address(peer)
        return address is not None and address in peer_network(wanted)

    def offer(self, connection: DialledConnection) -> None:
        """Keep a connection until it is needed."""
        self._parked.append(connection)
        if len(self._parked) > MAX_PARKED:
            self._parked.pop(0).abort()
        self._arrival.set()

    async def examine(self, connection: DialledConnection) -> None:
        """Find out whether a connection that arrived beside the used connection is that of a Modbus device."""
        if self._used is None or self.identified or connection not in self._parked:
            return
        unit = min(self._units, default=1)
        connection.answers = await connection.asks(unit, self.framing(), self.settings.timeout)
        if not connection.answers and connection in self._parked and self._used is not None:
            self._parked.remove(connection)
            self._refuse(connection, f"{connection.peer} dialled in, and unit {unit} did not answer there")

    def heard(self, used: _UsedConnection, data: bytes) -> None:
        """Note that the used connection is alive: a later connection is that of another device."""
        if not self._heard:
            self._heard = True
            self._note_registration(data)
        if not self._parked or self._used is None or self._used[0] is not used:
            return
        mine = self._used[1]
        for connection in [one for one in self._parked if one.answers or self.identified]:
            self._parked.remove(connection)
            if self.identified:
                text = f"another device, from {connection.peer}, dialled in with the same identity and was refused"
                self._refuse(connection, text)
                continue
            self._ambiguous = " and ".join(dict.fromkeys((mine.peer, connection.peer)))
            text = AMBIGUOUS.format(self.settings.host, self.settings.port, self._ambiguous)
            self._refuse(connection, text)
            used.lost(text)  # the reason of the outage, before the end of the connection
            self._refuse(mine, "")

    def _note_registration(self, first: bytes) -> None:
        """Note a registration packet that the configuration does not name."""
        if self.settings.registration is None and self.settings.framing == "tcp" and first[2:4] != b"\0\0":
            packet = _shown(first[:SHOWN])
            self.remark(
                f"the device sends {packet} when it dials in: write registration={packet}, so that no other device "
                "is mistaken for it"
            )

    def ended(self, used: _UsedConnection) -> None:
        """Forget the used connection."""
        if self._used is not None and self._used[0] is used:
            self._used = None

    def dropped(self, connection: DialledConnection) -> None:
        """Forget a connection that ended before it was used."""
        if connection in self._parked:
            self._parked.remove(connection)

    def framing(self) -> Framing:
        """Return the framing of a connection that is being identified."""
        return Rtu() if self.settings.framing == "rtu" else MbapInNoise()

    def _refuse(self, connection: DialledConnection, text: str) -> None:
        self._refused += 1
        connection.abort()
        if text:
            self.remark(text)

    def remark(self, text: str) -> None:
        """Add a text for the driver's warnings."""
        if len(self.remarks) < MOST_REMARKS:
            self.remarks[text] = None

    def _abort_parked(self) -> None:
        for connection in self._parked:
            connection.abort()
        self._parked.clear()

    def close(self) -> None:
        """Leave the port, and close all unused connections."""
        self._used = None
        self._abort_parked()
        if self._port is not None:
            self._port.leave(self)
            self._port = None


class ListeningPort:
    """A port with the devices that dial in to it."""

    _open: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], ListeningPort]]] = (
        WeakKeyDictionary()
    )

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self.listeners: list[Listener] = []
        self.refused = 0
        self._server: asyncio.Server | None = None
        self._closed: asyncio.Future[None] | None = None  # done when an earlier server has left the port
        self._identifying: dict[DialledConnection, asyncio.Task[None]] = {}
        self._listening = asyncio.Lock()

    @classmethod
    async def join(cls, listener: Listener) -> ListeningPort:
        """Add a device to its port, and listen there. Raises `NotConnected` if the port can't be used."""
        host, port = where = listener.settings.host, listener.settings.port
        ports = cls._open.setdefault(asyncio.get_running_loop(), {})
        found = ports.setdefault(where, cls(host, port))
        await found.add(listener)
        return found

    async def add(self, listener: Listener) -> None:
        """Add a device; the first opens the port. Raises `NotConnected`."""
        self.listeners.append(listener)
        try:
            async with self._listening:
                await self._listen()
        except BaseException:
            self.leave(listener)
            raise

    async def _listen(self) -> None:
        host, port = self._where
        if self._server is not None:
            return
        if self._closed is not None:
            await asyncio.shield(self._closed)
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: DialledConnection(self), host, port)
        except (OSError, ValueError) as error:
            raise NotConnected(f"can't listen on {host}:{port}: {error}") from error

    def leave(self, listener: Listener) -> None:
        """Remove a device; the last closes the port."""
        self.listeners.remove(listener)
        if self.listeners:
            return
        for connection, task in self._identifying.items():
            task.cancel()
            connection.abort()
        self._identifying.clear()
        self.refused = 0
        if self._server is None:
            self._forget()
            return
        self._closed, self._server = listening.close_soon(self._server), None
        self._closed.add_done_callback(self._forget)

    def _forget(self, _: object = None) -> None:
        """Leave the table of ports, unless a device has come back."""
        if not self.listeners:
            self._open.get(asyncio.get_running_loop(), {}).pop(self._where, None)

    def accepted(self, connection: DialledConnection) -> None:
        """Begin to identify a new connection, which is dropped if the last device has left in the meantime."""
        if not self.listeners:
            connection.abort()
            return
        if len(self._identifying) >= MAX_IDENTIFYING:
            self._refuse(connection)
            return
        alone = self.listeners[0] if len(self.listeners) == 1 else None
        if alone is not None and not alone.identified:
            alone.offer(connection)
        task = asyncio.create_task(self._identify(connection, alone), name=f"identify {connection.peer}")
        self._identifying[connection] = task
        task.add_done_callback(lambda _: self._identifying.pop(connection, None))

    async def _identify(self, connection: DialledConnection, alone: Listener | None) -> None:
        if alone is not None and not alone.identified:
            await alone.examine(connection)
            return
        listener = await self._listener_of(connection)
        if not connection.open:
            return
        if listener is None:
            self._refuse(connection)
            return
        listener.offer(connection)
        await listener.examine(connection)

    async def _listener_of(self, connection: DialledConnection) -> Listener | None:
        """Return the device that a connection belongs to, the most specific identity first."""
        candidates = [one for one in self.listeners if one.admits(connection.peer)]
        packets = {one.settings.registration_packet: one for one in candidates if one.settings.registration_packet}
        if packets and (packet := await connection.registers(packets.keys())) is not None:
            return packets[packet]
        for one in candidates:
            if one.settings.by_unit and one.settings.registration is None:
                unit = one.settings.unit
                if await connection.asks(unit, one.framing(), one.settings.timeout):
                    return one
        others = [one for one in candidates if not (one.settings.by_unit or one.settings.registration)]
        others.sort(key=lambda one: one.settings.peer is None)
        return others[0] if others else None

    def _refuse(self, connection: DialledConnection) -> None:
        self.refused += 1
        first = bytes(connection.first[:SHOWN])
        sent = f"; it sent {_shown(first)}" if first else ""
        if self.listeners:
            text = f"a device from {connection.peer} dialled in and was refused{sent}"
            self.listeners[0].remark(f"{text}: write peer or registration if it belongs here")
        connection.abort()

    def dropped(self, connection: DialledConnection) -> None:
        """Forget a connection that ended before it was used."""
        for listener in self.listeners:
            listener.dropped(connection)


def _shown(data: bytes) -> str:
    """Return a packet as the option `registration` has it."""
    text = re.match(rb"[!-~]{3,}", data)
    return text[0].decode() if text is not None else f"0x{data.hex()}"
