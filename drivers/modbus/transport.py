"""Open connections that carry frames: TCP, TLS, UDP, or a serial line. `listener` has devices that dial in.

Each is an asyncio transport with a `TransportProtocol`. `framing` has the frames.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from drivers.base import Misconfigured, NotConnected
from drivers.extras import MissingExtra, require
from drivers.modbus.connection import BAUD, Transport
from drivers.modbus.tcp import TcpTransport, open_tcp
from drivers.secret import MissingSecret
from drivers.tls import TlsFileError, client_context, revocation_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.modbus.connection import ModbusConnection

_ASCII_BITS = 7
"""Data bits of a character in ASCII mode (Serial Line V1.02, clause 2.5.2); some devices use 8."""

AnyTransport = asyncio.Transport | asyncio.DatagramTransport


class TransportProtocol(asyncio.Protocol, asyncio.DatagramProtocol):
    """Forwards received bytes, of a stream or of datagrams, and the loss of the connection."""

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self.received = received
        self.lost = lost

    def disarm(self) -> None:
        """Forward nothing from now on."""
        self.received = self.lost = _ignore

    def data_received(self, data: bytes) -> None:
        """Forward a part of a stream."""
        self.received(data)

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401, ARG002 - asyncio's signature
        """Forward a datagram."""
        self.received(data)

    def error_received(self, exc: Exception) -> None:
        """Report that no process listens at the address."""
        self.report_lost(f"{exc}")

    def report_lost(self, reason: str) -> None:
        """Report the loss of the connection."""
        self.lost(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection."""
        self.report_lost(f"connection lost: {exc}" if exc else "the device closed the connection")


def _ignore(*values: object) -> None:
    del values


async def open_transport(
    connection: ModbusConnection, make: Callable[[], TransportProtocol], turn: int = 0
) -> AnyTransport:
    """Connect to the first address that accepts, starting with number `turn` and wrapping around.

    Raises `NotConnected` or `Misconfigured`.
    """
    if connection.transport.serial:
        return open_serial(connection, make())
    failures = []
    addresses = connection.addresses()
    turn %= len(addresses)
    for host, port in addresses[turn:] + addresses[:turn]:
        try:
            async with asyncio.timeout(connection.timeout):
                return await _connect(connection, host, port, make)
        except TimeoutError:
            failures.append(f"{host}:{port} does not answer")
        except ssl.SSLCertVerificationError as error:
            revoked = revocation_problem(error, connection.crl)
            failures.append(f"{host}:{port}: {revoked or f'its certificate is not trusted: {error.verify_message}'}")
        except (ssl.SSLError, OSError) as error:
            failures.append(f"{host}:{port}: {error.strerror or error}")
        except ValueError as error:  # the host is not a valid DNS name
            failures.append(f"{host}:{port}: {error}")
    raise NotConnected("; ".join(failures))


async def _connect(
    connection: ModbusConnection, host: str, port: int, make: Callable[[], TransportProtocol]
) -> AnyTransport:
    loop = asyncio.get_running_loop()
    if connection.transport is Transport.UDP:
        datagrams, _ = await loop.create_datagram_endpoint(make, remote_addr=(host, port))
        return datagrams
    if connection.transport is not Transport.TLS:
        return TcpTransport(await open_tcp(host, port), make())
    context, name = tls_context(connection), connection.server_name or host
    stream, _ = await loop.create_connection(make, host, port, ssl=context, server_hostname=name)
    return stream


def tls_context(connection: ModbusConnection) -> ssl.SSLContext:
    """Return a context that verifies the device, and sends our certificate if there is one.

    Modbus/TCP Security V2.1 asks for TLS 1.2 or newer, and for certificates on both sides.
    """
    try:
        return client_context(connection.tls_files)
    except TlsFileError as error:
        raise (NotConnected if error.is_away else Misconfigured)(f"TLS files: {error}") from error
    except MissingSecret as error:
        raise NotConnected(f"TLS files: {error}") from None


class SerialTransport(asyncio.Transport):
    """A serial port in the event loop, which watches its file descriptor like a socket."""

    def __init__(self, port: Any, protocol: TransportProtocol) -> None:  # noqa: ANN401 - a serial.Serial
        super().__init__()
        self._port = port
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(port.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._port.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._end(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a request. Bytes that do not fit the port's buffer are dropped, since the port is blocked then."""
        if not self._port.is_open:
            return
        try:
            os.write(self._port.fileno(), data)  # pyserial would wait until all is written
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError | None) -> None:
        if self._port.is_open:
            self._loop.remove_reader(self._port.fileno())
            with suppress(OSError, termios.error):
                self._port.reset_output_buffer()  # else closing may wait until all bytes are sent
            self._port.close()
            self._loop.call_soon(self._protocol.connection_lost, error)

    def abort(self) -> None:
        """Close the port."""
        self._end(None)


def open_serial(connection: ModbusConnection, protocol: TransportProtocol) -> SerialTransport:
    """Open a serial port exclusively. Raises `NotConnected` or `Misconfigured`."""
    try:
        require("serial")
    except MissingExtra as error:
        raise Misconfigured(str(error)) from None
    import serial  # noqa: PLC0415 - an extra
    from serial import rs485  # noqa: PLC0415 - an extra

    bits = serial.SEVENBITS if connection.data_bits == _ASCII_BITS else serial.EIGHTBITS
    parity = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}[connection.parity]
    port = serial.Serial(None, connection.baud or BAUD, bits, parity, connection.stop_bits, timeout=0, exclusive=True)
    port.port = connection.device
    try:
        port.open()
        if connection.rs485:
            port.rs485_mode = rs485.RS485Settings()
        port.reset_input_buffer()
    except (OSError, ValueError, termios.error) as error:
        port.close()
        raise NotConnected(f"{connection.device}: {error}") from error
    return SerialTransport(port, protocol)
