"""Settings of a connection: address, serial line, TLS, and limits of the device."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, InstanceOf, model_validator

from drivers.base import Connection, File, Flag, Seconds
from drivers.exposure import ACCEPT, is_everywhere
from drivers.modbus.address import Table
from drivers.modbus.raw_types import absent_values
from drivers.peer import peer_network
from drivers.secret import Secret  # noqa: TC001 - pydantic looks it up
from drivers.tls import WithTlsFiles, check_pair
from drivers.url import check_host, split_url


class Transport(StrEnum):
    """The carrier of frames; the values are URL schemes."""

    TCP = "modbus+tcp"
    TLS = "modbus+tls"
    UDP = "modbus+udp"
    RTU = "modbus+rtu"
    ASCII = "modbus+ascii"
    RTU_TCP = "modbus+rtutcp"
    LISTEN = "modbus+listen"

    @property
    def serial(self) -> bool:
        """Whether it is a serial line."""
        return self in {Transport.RTU, Transport.ASCII}


BAUD = 19200
"""The usual speed of a serial line (Serial Line V1.02, clause 3.2)."""

_PORTS = {Transport.TLS: 802}  # Modbus/TCP Security V2.1, clause 4


class Span(NamedTuple):
    """Entries of a table that must not be read, `first` to `last`."""

    table: Table
    first: int
    last: int


def _absent(written: object) -> object:
    """Turn `sunspec`, or the values of each type, into pairs of a type and its values."""
    return written if isinstance(written, tuple) else tuple(absent_values(written).items())


def _spans(written: object) -> object:
    """Turn `[holding 100..119, input 7]` into spans."""
    if isinstance(written, str):
        written = [part.strip() for part in written.split(",")]
    if not isinstance(written, list):
        return written
    spans = []
    for item in written:
        match = re.fullmatch(r"(coil|discrete|holding|input)\s+(\d+)(?:\s*\.\.\s*(\d+))?", str(item).strip())
        if not match or int(match[3] or match[2]) < int(match[2]):
            raise ValueError(f"{item!r} is not a range of a table; write 'holding 100..119', counted from 0")
        spans.append(Span(Table(match[1]), int(match[2]), int(match[3] or match[2])))
    return tuple(spans)


def _port(parts: SplitResult) -> int | None:
    """Return the port of an address, None if it has none. Raises `ValueError` if it is not a port number."""
    try:
        return parts.port
    except ValueError:
        written = parts.netloc.rpartition(":")[2]
        raise ValueError(f"{written!r} is not a port; write a number from 1 to 65535") from None


class ModbusConnection(WithTlsFiles, Connection):
    """Settings of a Modbus device and its unit; docs/modbus.md explains each key."""

    schemes: ClassVar[tuple[str, ...]] = tuple(Transport)
    of_url: ClassVar[tuple[str, ...]] = ("transport", "host", "port", "device")

    transport: Annotated[Transport, Field(strict=False)] = Transport.TCP
    """The carrier of the frames; the URL's scheme."""
    host: str = ""
    """The device's host; from the URL."""
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    """The device's port; from the URL."""
    device: str = ""
    """The serial port; from the URL."""
    backup: str | None = None
    """HOST:PORT that is tried when the first address does not answer, as in `10.20.1.22:502`."""
    unit: Annotated[int, Field(ge=0, le=255, strict=False)] = 1
    """Unit id, as in `1`."""
    timeout: Annotated[Seconds, Field(gt=0, le=60)] = 1.0
    """Time to wait for a connection, or for a response, as in `0.5` or `500ms`."""
    # the serial line
    baud: Annotated[int, Field(ge=300, le=4_000_000, strict=False)] | None = None
    """Speed of the serial line, also of the line behind a gateway, as in `9600`."""
    parity: Literal["none", "even", "odd"] = "even"
    """Of the serial line, as in `none`."""
    stop_bits: Annotated[int, Field(ge=1, le=2, strict=False)] = 1
    """Of the serial line, as in `1`."""
    data_bits: Annotated[int, Field(ge=7, le=8, strict=False)] = 8
    """Of a character in ASCII mode, as in `7`."""
    rs485: Flag = False
    """Let the serial driver switch the direction, as in `true`."""
    # a device that dials in
    framing: Literal["tcp", "rtu"] = "tcp"
    """Frames of a device that dials in, as in `rtu`."""
    peer: str | None = None
    """Address or network from which the device dials in, as in `10.20.1.0/24`."""
    registration: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Packet that the device sends when it dials in, as text or bytes after 0x, as in `DTU-0086`."""
    by_unit: Flag = False
    """Recognize the device that dials in by its unit id: a request to it is answered, as in `true`."""
    insecure: Flag = False
    """Whether the port of a device that dials in may be open on all networks of this machine, as in `true`."""
    # TLS
    ca: File = None
    """TLS: the certificate of the authority to trust, as in `/etc/lineside/plant-ca.pem`."""
    crl: File = None
    """TLS: the revocation lists of the authorities, as in `/etc/lineside/plant-ca.crl.pem`."""
    certificate: File = None
    """TLS: our certificate, as in `/etc/lineside/edge-01.pem`."""
    key: File = None
    """TLS: the key of our certificate, as in `/etc/lineside/edge-01.key`."""
    key_password: Secret | None = None
    """TLS: the name of the key's password, as in `{secret: edge_key}`."""
    server_name: str | None = None
    """TLS: the name in the device's certificate, as in `press-01.plant`."""
    # limits of the device
    max_registers: Annotated[int, Field(ge=1, le=125, strict=False)] = 125
    """The most registers in one request, as in `60`."""
    max_bits: Annotated[int, Field(ge=1, le=2000, strict=False)] = 2000
    """The most coils or discrete inputs in one request, as in `64`."""
    max_gap: Annotated[int, Field(ge=0, le=124, strict=False)] = 16
    """Entries between two points that may be read to save a request, as in `0`."""
    even: Flag = False
    """Request only even numbers of registers, as in `true`."""
    forbidden: Annotated[tuple[InstanceOf[Span], ...], BeforeValidator(_spans)] = ()
    """Entries that must not be read, as in `[holding 100..119, input 7]` or `holding 100..119`."""
    wide: Annotated[tuple[InstanceOf[Span], ...], BeforeValidator(_spans)] = ()
    """Registers of 32 bits, not 16, as in `[holding 5000..7999]`."""
    any_transaction: Flag = False
    """Accept responses with a wrong transaction id, as in `true`."""
    any_unit: Flag = False
    """Accept responses with a wrong unit id, as in `true`."""
    surplus: Flag = False
    """Accept responses with more bytes than were requested, as in `true`."""
    retries: Annotated[int, Field(ge=0, le=5, strict=False)] = 1
    """Times that a request is repeated within a scan after a time-out or a temporary exception, as in `0`."""
    in_flight: Annotated[int, Field(ge=1, le=16, strict=False)] = 1
    """Requests that may be in flight at once, as in `4`."""
    pause_after_connect: Annotated[Seconds, Field(ge=0, le=60)] = 0.0
    """Time to wait after connecting, as in `500ms`."""
    pause: Annotated[Seconds, Field(ge=0, le=10)] = 0.0
    """Time to wait between two requests, as in `20ms`."""
    pause_between_units: Annotated[Seconds, Field(ge=0, le=10)] = 0.0
    """Time to wait between requests to two units, as in `100ms`."""
    busy_pause: Annotated[Seconds, Field(ge=0, le=10)] = 0.02
    """Time to wait before a request is repeated to a device that is busy, as in `200ms`."""
    close_after_scan: Flag = False
    """Close the connection after each scan, as in `true`."""
    discard_after_connect: Annotated[int, Field(ge=0, le=10, strict=False)] = 0
    """Scans to discard after connecting, as in `1`."""
    retry_refused: Annotated[Seconds, Field(ge=1)] = 60.0
    """Time after which points that the device refused are read again, as in `5m`."""
    not_available: Annotated[
        tuple[tuple[str, tuple[int | float | Literal["nan"], ...]], ...], BeforeValidator(_absent)
    ] = ()
    """Raw values that mean "not available", by type, for points that name none, as in `sunspec` or
    `{int16: 0x8000, uint16: 0xFFFF}`.
    """
    writable: Flag = False
    """Allow writing; Lineside never writes automatically, as in `false`."""

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> Self:
        parts = split_url(url)
        transport = Transport(parts.scheme)
        if transport.serial:
            if not parts.path:
                raise ValueError(
                    f"{url!r} names no serial port; write {transport}:///dev/serial/by-id/NAME?baud=19200"
                )
            usual: dict[str, Any] = {"baud": BAUD} | ({"data_bits": 7} if transport is Transport.ASCII else {})
            return cls.model_validate({"transport": transport, "device": parts.path} | usual | options)
        if not parts.hostname:
            raise ValueError(f"{url!r} names no host; write {transport}://HOST:502?unit=1")
        check_host(parts.hostname)
        port = _port(parts)
        port = _PORTS.get(transport, 502) if port is None else port
        usual = {"baud": BAUD} if transport is Transport.RTU_TCP else {}
        where = {"transport": transport, "host": parts.hostname, "port": port}
        return cls.model_validate(where | usual | options)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_pair(self.certificate, self.key, self.key_password)
        if (self.ca or self.crl or self.certificate or self.server_name) and self.transport is not Transport.TLS:
            raise ValueError("ca, crl, certificate, key and server_name are for modbus+tls alone")
        if self.in_flight > 1 and self.transport in {Transport.RTU, Transport.ASCII, Transport.RTU_TCP}:
            raise ValueError(f"{self.transport} has no transaction ids, so only one request can be in flight")
        if self.data_bits != 8 and self.transport is not Transport.ASCII:  # noqa: PLR2004 - bits of a byte
            raise ValueError("data_bits of 7 are for modbus+ascii alone: other frames are whole bytes")
        if self.backup is not None and (self.transport.serial or self.transport is Transport.LISTEN):
            raise ValueError("a backup address is for a device that is reached over a network")
        if not all(host for host, _ in self.addresses()[1:]):  # a wrong port raises ValueError
            raise ValueError(f"backup {self.backup!r} names no host; write HOST or HOST:PORT")
        self._check_dialling()
        self._check_tolerances()
        if self.transport.serial and self.unit == 0:
            raise ValueError("unit 0 on a serial line is for broadcasts, which no device answers; write 1 to 247")
        if self.even and self.max_registers == 1:
            raise ValueError("even reads need max_registers of 2 or more")
        return self

    def _check_dialling(self) -> None:
        """Check the options of a device that dials in. Raises `ValueError`."""
        if self.transport is not Transport.LISTEN:
            if self.framing != "tcp" or self.peer or self.registration or self.by_unit or self.insecure:
                raise ValueError("framing, peer, registration, by_unit and insecure are for modbus+listen alone")
            return
        if self.framing == "rtu" and self.in_flight > 1:
            raise ValueError("RTU frames have no transaction ids, so only one request can be in flight")
        if self.peer is not None:
            peer_network(self.peer)
        if self.registration is not None and re.fullmatch("0[xX].*", self.registration):
            try:
                bytes.fromhex(self.registration[2:])
            except ValueError:
                raise ValueError(
                    f"registration {self.registration!r} is not a number of whole bytes; write 0xA55A01, or text"
                ) from None

    def _check_tolerances(self) -> None:
        """Check the options that accept odd responses. Raises `ValueError`."""
        if self.any_transaction and self.transport not in {Transport.TCP, Transport.TLS}:
            raise ValueError("any_transaction is for modbus+tcp and modbus+tls, whose frames have transaction ids")
        if self.any_transaction and self.in_flight > 1:
            raise ValueError("with any_transaction only one request can be in flight")
        matched = self.transport in {Transport.TCP, Transport.TLS, Transport.UDP, Transport.LISTEN}
        if self.surplus and (not matched or self.framing == "rtu" or self.any_transaction):
            raise ValueError(
                "surplus needs transaction ids: it is for modbus+tcp, modbus+tls, modbus+udp and modbus+listen, "
                "without any_transaction; a response on a serial line is recognized by its length"
            )
        if any(span.table.bits for span in self.wide):
            raise ValueError("only holding and input registers can be wide")

    @property
    def registration_packet(self) -> bytes:
        """The registration packet, empty if there is none."""
        written = self.registration or ""
        return bytes.fromhex(written[2:]) if written[:2] in {"0x", "0X"} else written.encode()

    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of the device, then those of its backup, if it has one."""
        found = [(self.host, self.port)]
        if self.backup is not None:
            parts = urlsplit(f"//{self.backup}")
            found.append((parts.hostname or "", _port(parts) or self.port))
        return found

    @property
    def line_rate(self) -> int | None:
        """The speed of the serial line that carries the requests, None if no serial line is known."""
        on_line = self.transport.serial or self.transport is Transport.RTU_TCP
        return self.baud or (BAUD if on_line else None)

    @property
    def tcp_port(self) -> int | None:
        return self.port if self.transport in {Transport.TCP, Transport.RTU_TCP, Transport.TLS} else None

    def hosts(self) -> list[str]:
        if self.transport.serial:
            return []
        if self.transport is Transport.LISTEN:
            return [f"peer://{self.peer or '*'}"]
        named = ((f"[{host}]" if ":" in host else host, port) for host, port in self.addresses())
        return [f"{self.transport}://{host}:{port}" for host, port in named]

    @property
    def exposure(self) -> str:
        # Modbus to a device is plain in most plants and has no alternative there: only a listener is a choice
        if self.transport is not Transport.LISTEN or self.insecure or not is_everywhere(self.host):
            return ""
        return (
            f"every network of this machine reaches port {self.port}, and a device that dials in proves nothing; "
            f"write the address of this machine in the network of the devices in place of {self.host}, and peer: "
            f"ADDRESS or NETWORK; {ACCEPT}"
        )

    @property
    def unauthenticated(self) -> str:
        return "" if self.transport is Transport.TLS else str(self.transport)

    def listening(self) -> object | None:
        return ("tcp", self.port) if self.transport is Transport.LISTEN else None

    def anywhere(self) -> ModbusConnection:
        return self.model_copy(update={"host": "", "port": 502, "device": "", "backup": None, "unit": 0})

    def exclusive_address(self) -> object:
        if self.transport.serial:
            return self.device
        identity = (self.peer, self.registration, self.by_unit and self.unit)
        return self.transport is Transport.UDP, self.host.lower(), self.port, identity

    def shared(self) -> ModbusConnection:
        # the unit and the settings of its requests may differ behind one connection
        own = {
            "unit": self.unit if self.by_unit else 0, "max_registers": 125, "max_bits": 2000, "max_gap": 0,
            "even": False, "forbidden": (), "wide": (), "retries": 1, "busy_pause": 0.02, "retry_refused": 60.0,
            "discard_after_connect": 0, "not_available": (), "writable": False, "insecure": False,
        }  # fmt: skip
        return self.model_copy(update=own)

    def __str__(self) -> str:
        if self.device:
            return f"{self.transport}://{self.device}"
        identity = {"peer": self.peer, "registration": self.registration, "unit": self.unit if self.by_unit else None}
        query = "&".join(f"{key}={value}" for key, value in identity.items() if value is not None)
        return f"{self.transport}://{self.host}:{self.port}" + (f"?{query}" if query else "")
