"""Settings of a connection: address, serial line, TLS, and limits of the device."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, InstanceOf, model_validator

from drivers.base import Connection, Flag, Seconds
from drivers.modbus.address import Table


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


_PORTS = {Transport.TLS: 802}  # Modbus/TCP Security V2.1, clause 4


class Span(NamedTuple):
    """Entries of a table that must not be read, `first` to `last`."""

    table: Table
    first: int
    last: int


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


def _path(written: object) -> object:
    return Path(written) if isinstance(written, str) else written


File = Annotated[Path | None, BeforeValidator(_path)]


class ModbusConnection(Connection):
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
    baud: Annotated[int, Field(ge=300, le=4_000_000, strict=False)] = 19200
    """Speed of the serial line, as in `9600`."""
    parity: Literal["none", "even", "odd"] = "even"
    """Of the serial line, as in `none`."""
    stop_bits: Annotated[int, Field(ge=1, le=2, strict=False)] = 1
    """Of the serial line, as in `1`."""
    data_bits: Annotated[int, Field(ge=7, le=8, strict=False)] = 8
    """Of a character in ASCII mode, as in `7`."""
    rs485: Flag = False
    """Let the serial driver switch the direction, as in `true`."""
    # TLS
    ca: File = None
    """TLS: the certificate of the authority to trust, as in `/etc/lineside/plant-ca.pem`."""
    certificate: File = None
    """TLS: our certificate, as in `/etc/lineside/edge-01.pem`."""
    key: File = None
    """TLS: the key of our certificate, as in `/etc/lineside/edge-01.key`."""
    server_name: str | None = None
    """TLS: the name in the device's certificate, as in `press-01.plant`."""
    # limits of the device
    max_registers: Annotated[int, Field(ge=1, le=125, strict=False)] = 125
    """The most registers in one request, as in `60`."""
    max_gap: Annotated[int, Field(ge=0, le=124, strict=False)] = 16
    """Entries between two points that may be read to save a request, as in `0`."""
    even: Flag = False
    """Request only even numbers of registers, as in `true`."""
    forbidden: Annotated[tuple[InstanceOf[Span], ...], BeforeValidator(_spans)] = ()
    """Entries that must not be read, as in `[holding 100..119, input 7]` or `holding 100..119`."""
    retries: Annotated[int, Field(ge=0, le=5, strict=False)] = 1
    """Times that a request is repeated within a scan after a time-out or a temporary exception, as in `0`."""
    in_flight: Annotated[int, Field(ge=1, le=16, strict=False)] = 1
    """Requests that may be in flight at once, as in `4`."""
    pause_after_connect: Annotated[Seconds, Field(ge=0, le=60)] = 0.0
    """Time to wait after connecting, as in `500ms`."""
    pause: Annotated[Seconds, Field(ge=0, le=10)] = 0.0
    """Time to wait between two requests, as in `20ms`."""
    close_after_scan: Flag = False
    """Close the connection after each scan, as in `true`."""
    discard_after_connect: Annotated[int, Field(ge=0, le=10, strict=False)] = 0
    """Scans to discard after connecting, as in `1`."""
    retry_refused: Annotated[Seconds, Field(ge=1)] = 60.0
    """Time after which points that the device refused are read again, as in `5m`."""
    writable: Flag = False
    """Allow writing; Lineside never writes automatically, as in `false`."""

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> Self:
        parts = urlsplit(url)
        transport = Transport(parts.scheme)
        if transport.serial:
            if not parts.path:
                raise ValueError(
                    f"{url!r} names no serial port; write {transport}:///dev/serial/by-id/NAME?baud=19200"
                )
            usual = {"data_bits": 7} if transport is Transport.ASCII else {}
            return cls.model_validate({"transport": transport, "device": parts.path} | usual | options)
        if not parts.hostname:
            raise ValueError(f"{url!r} names no host; write {transport}://HOST:502?unit=1")
        port = _port(parts)
        port = _PORTS.get(transport, 502) if port is None else port
        return cls.model_validate({"transport": transport, "host": parts.hostname, "port": port} | options)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate")
        if (self.ca or self.certificate or self.server_name) and self.transport is not Transport.TLS:
            raise ValueError("ca, certificate, key and server_name are for modbus+tls alone")
        if self.in_flight > 1 and self.transport in {Transport.RTU, Transport.ASCII, Transport.RTU_TCP}:
            raise ValueError(f"{self.transport} has no transaction ids, so only one request can be in flight")
        if self.data_bits != 8 and self.transport is not Transport.ASCII:  # noqa: PLR2004 - bits of a byte
            raise ValueError("data_bits of 7 are for modbus+ascii alone: other frames are whole bytes")
        if self.backup is not None and (self.transport.serial or self.transport is Transport.LISTEN):
            raise ValueError("a backup address is for a device that is reached over a network")
        if not all(host for host, _ in self.addresses()[1:]):  # a wrong port raises ValueError
            raise ValueError(f"backup {self.backup!r} names no host; write HOST or HOST:PORT")
        if self.transport.serial and self.unit == 0:
            raise ValueError("unit 0 on a serial line is for broadcasts, which no device answers; write 1 to 247")
        if self.even and self.max_registers == 1:
            raise ValueError("even reads need max_registers of 2 or more")
        return self

    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of the device, then those of its backup, if it has one."""
        found = [(self.host, self.port)]
        if self.backup is not None:
            parts = urlsplit(f"//{self.backup}")
            found.append((parts.hostname or "", _port(parts) or self.port))
        return found

    @property
    def tcp_port(self) -> int | None:
        return self.port if self.transport in {Transport.TCP, Transport.RTU_TCP, Transport.TLS} else None

    def anywhere(self) -> ModbusConnection:
        return self.model_copy(update={"host": "", "port": 502, "device": "", "backup": None, "unit": 0})

    def shared(self) -> ModbusConnection:
        # the unit and the settings of its requests may differ behind one connection
        own = {"unit": 0, "max_registers": 125, "max_gap": 0, "even": False, "forbidden": (), "retry_refused": 60.0}
        return self.model_copy(update=own | {"discard_after_connect": 0, "writable": False, "retries": 1})

    def __str__(self) -> str:
        return f"{self.transport}://{self.device}" if self.device else f"{self.transport}://{self.host}:{self.port}"
