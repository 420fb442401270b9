"""An MQTT subscriber of the benchmarks, in a process of its own: counts values, and measures their age at the broker.

It speaks only as much MQTT 3.1.1 as is needed to receive with QoS 0. A general client library needs some 100 µs a message, and would be
the busiest process of a measurement with a thousand records a second. Nothing of the measured products is used.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson

from measure.processes import SPAWN, Failed
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from types import TracebackType

CONNECT_SECONDS = 20.0
KEEP_ALIVE = 0
PUBLISH, SUBACK = 3, 9
RECEIVED = 1 << 20


class Packets:
    """Split a stream of bytes into MQTT control packets (MQTT 3.1.1, 2.2)."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, received: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the first byte and the rest of each complete packet."""
        data = self._data + received if self._data else received
        at, size = 0, len(data)
        while size - at >= 2:
            length, shift, body = 0, 0, at + 1
            while body < size:
                byte = data[body]
                length |= (byte & 0x7F) << shift
                shift += 7
                body += 1
                if not byte & 0x80:
                    break
            else:
                break
            if size - body < length:
                break
            yield data[at], data[body : body + length]
            at = body + length
        self._data = data[at:]


def publication(head: int, body: bytes) -> tuple[str, bytes]:
    """Return the topic and the payload of a PUBLISH packet."""
    length = int.from_bytes(body[:2], "big")
    start = 2 + length + (2 if head & 0x06 else 0)  # a packet id with QoS 1 and 2
    return body[2 : 2 + length].decode(), body[start:]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message as the measurement needs it: the number of its values, and the times of its scans in µs."""

    values: int
    times: list[int]
    key: tuple[str, int] | None = None
    """Spool and sequence number of a record of Lineside."""


def lineside(payload: bytes) -> Decoded:
    """Decode a record of Lineside, of a machine or of a gateway."""
    record = orjson.loads(payload)
    scans = record["scans"]
    values = sum(len(scan["v"] if "v" in scan else scan["values"]) + len(scan.get("bad", ())) for scan in scans)
    return Decoded(values, [scan["t"] for scan in scans], (record["spool"], record["seq"]))


def telegraf(payload: bytes) -> Decoded:
    """Decode a metric of Telegraf, or a batch of them, as JSON with times in µs. The quality of a value is not a value."""
    document = orjson.loads(payload)
    metrics = document.get("metrics", [document])
    values = sum(len(one["fields"]) - ("Quality" in one["fields"]) for one in metrics)
    return Decoded(values, [one["timestamp"] for one in metrics])


def thingsboard(payload: bytes) -> Decoded:
    """Decode a message of the ThingsBoard gateway: devices with lists of values, whose times are in ms."""
    scans = [scan for scans in orjson.loads(payload).values() for scan in scans]
    return Decoded(sum(len(scan["values"]) for scan in scans), [scan["ts"] * 1000 for scan in scans])


@dataclass(frozen=True, slots=True)
class Format:
    """Where a product publishes values, and how they are decoded."""

    topics: tuple[str, ...]
    decode: Callable[[bytes], Decoded]


FORMATS = {
    "lineside": Format(("lineside/v1/+/+/+/+/+/data", "lineside/v1/+/+/_gateways/+/data"), lineside),
    "telegraf": Format(("telegraf/#",), telegraf),
    "thingsboard": Format(("v1/gateway/telemetry",), thingsboard),
}

CONFIRMED = "lineside/v1/+/+/_gateways/+/confirmed"
LEDGER = "lineside/v1/+/+/_gateways/+/ledger"


def percentile(ordered: list[float], share: float) -> float | None:
    """Return the value below which a part of a sorted list is, None if it is empty."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass(slots=True)
class Seen:
    """The received messages. Arrival times are of the wall clock, in seconds."""

    records: list[tuple[float, int, list[float]]] = field(default_factory=list)
    """Arrival, number of values, and the age of each scan in seconds."""
    stored: list[tuple[float, int, list[float]]] = field(default_factory=list)
    """The same for records that ingest confirms as stored."""
    ledgers: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    _unconfirmed: dict[tuple[str, int], Decoded] = field(default_factory=dict)

    def add(self, now: float, decoded: Decoded, *, confirmable: bool) -> None:
        """Add a record; with `confirmable` its confirmation is expected."""
        self.records.append((now, decoded.values, [now - t / 1e6 for t in decoded.times]))
        if confirmable and decoded.key is not None:
            self._unconfirmed[decoded.key] = decoded

    def confirm(self, now: float, confirmation: dict[str, Any]) -> None:
        """Add a confirmation: its ranges are stored."""
        for first, last in confirmation["ranges"]:
            for seq in range(first, last + 1):
                decoded = self._unconfirmed.pop((confirmation["spool"], seq), None)
                if decoded is not None:
                    self.stored.append((now, decoded.values, [now - t / 1e6 for t in decoded.times]))

    def window(self, began: float, ended: float) -> dict[str, Any]:
        """Return counts and percentiles (seconds) of the messages that arrived in a window of the wall clock."""
        result: dict[str, Any] = {}
        for name, messages in (("published", self.records), ("stored", self.stored)):
            within = [one for one in messages if began <= one[0] < ended]
            ages = sorted(age for _, _, of in within for age in of)
            result[name] = {
                "messages": len(within),
                "values": sum(one[1] for one in within),
                "p50": percentile(ages, 0.5),
                "p99": percentile(ages, 0.99),
                "most": ages[-1] if ages else None,
            }
        result["first"] = self.records[0][0] if self.records else None
        result["first_stored"] = self.stored[0][0] if self.stored else None
        result["ledgers"] = [one for one in self.ledgers if began <= one[0] < ended]
        return result


class Client:
    """The receiving side of one connection."""

    def __init__(self, port: int, topics: list[str]) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), timeout=CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"benchmark-{os.getpid()}-{time.monotonic_ns()}".encode()
        connect = struct.pack(">H4sBBH", 4, b"MQTT", 4, 2, KEEP_ALIVE) + struct.pack(">H", len(name)) + name
        self._send(0x10, connect)
        filters = b"".join(struct.pack(">H", len(one)) + one.encode() + b"\0" for one in topics)
        self._send(0x82, b"\0\1" + filters)
        self.packets = Packets()

    def _send(self, head: int, body: bytes) -> None:
        length, rest = bytearray(), len(body)
        while True:
            length.append(rest % 128 | (0x80 if rest > 127 else 0))
            rest //= 128
            if not rest:
                break
        self.socket.sendall(bytes([head]) + bytes(length) + body)


class Receiver:
    """Add the received messages of one product to `seen`."""

    def __init__(self, product: str, *, confirmable: bool) -> None:
        self.seen = Seen()
        self._decode = FORMATS[product].decode
        self._own = product == "lineside"
        self._confirmable = confirmable

    def add(self, now: float, topic: str, payload: bytes) -> None:
        """Add a message that arrived at a time of the wall clock."""
        if self._own and topic.endswith("/ledger"):
            self.seen.ledgers.append((now, orjson.loads(payload)))
        elif self._own and topic.endswith("/confirmed"):
            self.seen.confirm(now, orjson.loads(payload))
        else:
            self.seen.add(now, self._decode(payload), confirmable=self._confirmable)


def receive(port: int, product: str, *, records: bool, confirmations: bool, requests: Connection) -> None:
    """Receive until the process is killed; answer each request `(began, ended)` with a window of the messages."""
    topics = [*FORMATS[product].topics] if records else []
    if product == "lineside":
        topics += [LEDGER, CONFIRMED] if confirmations else [LEDGER]
    client, receiver = Client(port, topics), Receiver(product, confirmable=confirmations)
    poll = select.poll()
    poll.register(client.socket, select.POLLIN)
    poll.register(requests, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if client.socket.fileno() in ready:
            received = client.socket.recv(RECEIVED)
            if not received:
                return
            now = time.time()
            for head, body in client.packets.feed(received):
                if head >> 4 == SUBACK:
                    requests.send("subscribed")
                elif head >> 4 == PUBLISH:
                    receiver.add(now, *publication(head, body))
        if requests.fileno() in ready:
            requests.send(receiver.seen.window(*requests.recv()))


class Subscriber:
    """The receiving process; use it as a context.

    `records` is whether records are received and decoded: at a million values a second that would disturb the measurement.
    `confirmations` is whether the confirmations of ingest are received, from which the age of stored readings follows.
    """

    def __init__(self, port: int, product: str, *, records: bool = True, confirmations: bool = False) -> None:
        self._ours, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(
            target=receive,
            args=(port, product),
            kwargs={"records": records, "confirmations": confirmations, "requests": theirs},
            daemon=True,
        )

    def __enter__(self) -> Self:
        self._process.start()
        if self._answer() != "subscribed":
            raise Failed("the subscriber did not subscribe")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()

    def window(self, began: float, ended: float) -> dict[str, Any]:
        """Return the counts and ages of a window of the wall clock; see `Seen.window`."""
        self._ours.send((began, ended))
        return self._answer()

    def _answer(self) -> Any:
        if not self._ours.poll(CONNECT_SECONDS):
            raise Failed(f"the subscriber does not answer within {CONNECT_SECONDS:g} s")
        try:
            return self._ours.recv()
        except EOFError:
            raise Failed("the subscriber lost its connection to the broker") from None
