"""Settings of OPC UA connections, and of the nodes of points."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, InstanceOf, model_validator

from drivers.base import Flag, Group, Seconds, Source, ValueType
from drivers.exposure import is_loopback, readable_text
from drivers.opcua.node_address import BrowsePath, Node, parse_node
from drivers.opcua.security.settings import Policy, SecureConnection
from drivers.peer import peer_network
from drivers.url import check_host, split_url

REVERSE = "opc.tcp+reverse"
"""The scheme of an address at which a server dials in."""

PORT = 4840
"""The default port of OPC UA (Part 6, 7.4)."""


class Mode(StrEnum):
    """How a point is acquired."""

    SUBSCRIBE = "subscribe"
    POLL = "poll"
    EVENTS = "events"


class Discard(StrEnum):
    """The change that a server's full queue of a monitored item drops (Part 4, 7.21)."""

    OLDEST = "oldest"
    NEWEST = "newest"


class Enumeration(StrEnum):
    """The form of the values of an enumeration."""

    NUMBER = "number"
    NAME = "name"


class Trigger(StrEnum):
    """The change of a value that makes a server send it (Part 4, 7.22.2)."""

    VALUE = "value"
    TIMESTAMP = "timestamp"


class Time(StrEnum):
    """The clock that determines the time of a value."""

    SOURCE = "source"
    SERVER = "server"
    GATEWAY = "gateway"


def _event_fields(written: object) -> object:
    """Parse browse names, and paths of them, into paths that begin at an event: `BatchId`, `Limits/2:High`."""
    if isinstance(written, str):
        written = [written]
    if not isinstance(written, list):
        return written
    return tuple(parse_node(f"/{one.strip().lstrip('/')}") if isinstance(one, str) else one for one in written)


def _nodes(written: object) -> object:
    """Parse one node id, or a list of them."""
    if isinstance(written, str):
        written = [written]
    return tuple(map(parse_node, written)) if isinstance(written, list) else written


def _field(written: object) -> object:
    """Split `Torque.Value` into the names of fields."""
    return tuple(written.split(".")) if isinstance(written, str) else written


class OpcUaSource(Source):
    """The node of a point, and whether the server sends its changes or is polled.

    `sampling`, `queue` and `discard` belong to the monitored item; `time` selects a clock. `field` selects a field of
    a structure, `element` an element of an array (from 0), and `count` makes points of the first `count` elements.
    `enum` selects numbers or names of an enumeration. `match` makes points of all matching variables below the node.
    `event_types`, `event_fields` and `severity` select events.
    """

    node: Annotated[InstanceOf[Node] | InstanceOf[BrowsePath], BeforeValidator(parse_node)]
    """A node id with the URI or index of its namespace, or a path of browse names, as in
    `nsu=urn:press;s=Drum.Speed` or `s=Drum.Speed` or `ns=2;i=17`.
    """
    mode: Annotated[Mode, Field(strict=False)] = Mode.SUBSCRIBE
    """The server sends changes, or is polled, every `every`; or, with `events`, it sends the events and alarms of an
    object, each as JSON text, as in `poll`.
    """
    sampling: Annotated[Seconds, Field(ge=0, le=3600)] | None = None
    """How often the server samples its device, as in `100ms`."""
    queue: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Changes that the server keeps between two messages, as in `10`."""
    discard: Annotated[Discard, Field(strict=False)] = Discard.OLDEST
    """The change that a server's full queue drops, as in `newest`."""
    trigger: Annotated[Trigger, Field(strict=False)] = Trigger.VALUE
    """The server sends a value when it or its status changes; or, with `timestamp`, also when its source time does:
    a weighing that repeats the value before is a new reading, as in `timestamp`.
    """
    time: Annotated[Time, Field(strict=False)] | None = None
    """The clock that determines the time of a value, as in `server`."""
    field: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_field)] = ()
    """A field of a structure, as in `Torque.Value`."""
    element: Annotated[int, Field(ge=0)] | None = None
    """An element of an array, from 0, as in `0`."""
    count: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many elements of an array: points name_0, name_1 and so on, as in `4`."""
    enum: Annotated[Enumeration, Field(strict=False)] = Enumeration.NUMBER
    """Whether a value of an enumeration is its number, or the name that the server gives it, as in `name`."""
    match: Annotated[str, Field(min_length=1)] | None = None
    """All variables below the node whose path from there matches this, each a point name_variable, as in
    `"*Temperature"` or `Zones/*/Actual`.
    """

    event_types: Annotated[tuple[InstanceOf[Node], ...], BeforeValidator(_nodes)] = ()
    """The types of events to report, with their subtypes, as in `nsu=urn:press;i=1005` or
    `[i=1005, "ns=0;i=2915"]`.
    """
    event_fields: Annotated[
        tuple[InstanceOf[BrowsePath], ...], Field(max_length=100), BeforeValidator(_event_fields)
    ] = ()
    """Further fields of events, by their browse names, as in `BatchId` or `[BatchId, "Limits/High"]`."""
    severity: Annotated[int, Field(ge=1, le=1000)] = 1
    """The least severity of events to report, 1 to 1000, as in `500`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.count is not None and self.element is not None:
            raise ValueError("element selects a single element, count makes points of many: write element or count")
        if self.match is not None and not (self.whole and self.count is None and not self.events):
            raise ValueError(
                "match selects whole variables: it can't be combined with field, element, count or events"
            )
        if (self.event_types or self.event_fields or self.severity > 1) and not self.events:
            raise ValueError("event_types, event_fields and severity select events: write mode: events")
        if self.trigger is Trigger.TIMESTAMP and self.mode is not Mode.SUBSCRIBE:
            raise ValueError(
                "trigger: timestamp is for subscribed points; with mode: poll write time: source instead"
            )
        if self.events and not (self.whole and self.count is None):
            raise ValueError("an event has no field, element or count: it is published as a whole")
        if self.events and self.named:
            raise ValueError("an event has no enum: its values are as in the event")
        return self

    def sampling_in(self, every: float) -> float:
        """Return the requested sampling interval of a point in a group that is published `every` so many seconds."""
        return every if self.sampling is None else self.sampling

    @classmethod
    def expand(cls, name: str, keys: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Make N points, `name_0` and so on, for the elements of an array, of a point with `count: N`."""
        count = keys.get("count")
        if type(count) is not int or count < 1 or "element" in keys:
            return {name: keys}  # the next validation reports all problems
        one = {key: value for key, value in keys.items() if key != "count"}
        return {f"{name}_{i}": one | {"element": i} for i in range(count)}

    def written(self) -> dict[str, Any]:
        keys = super().written()
        if self.field:
            keys["field"] = ".".join(self.field)
        if self.event_types:
            keys["event_types"] = list(map(str, self.event_types))
        if self.event_fields:
            keys["event_fields"] = [str(path).removeprefix("/") for path in self.event_fields]
        return keys

    @property
    def whole(self) -> bool:
        """True if the point is the whole value of its node."""
        return not self.field and self.element is None

    @cached_property
    def plain(self) -> bool:
        """True if a value of a built-in type is the value of the point, without a conversion."""
        return self.whole and not self.named

    @property
    def named(self) -> bool:
        """True if values of an enumeration become names."""
        return self.enum is Enumeration.NAME

    @property
    def structured(self) -> bool:
        return not self.events

    @property
    def search(self) -> bool:
        return self.match is not None

    @property
    def pushed(self) -> bool:
        return self.mode is not Mode.POLL

    @property
    def knows_range(self) -> bool:
        return self.mode is Mode.SUBSCRIBE

    @property
    def events(self) -> bool:
        return self.mode is Mode.EVENTS

    @property
    def repeats(self) -> bool:
        return self.trigger is Trigger.TIMESTAMP

    @property
    def value_type(self) -> ValueType | None:
        return ValueType.STRING if self.events or self.named else None


def _seconds(written: object) -> object:
    """Parse the text of a URL's query (`1.5`) into seconds."""
    return float(written) if isinstance(written, str) else written


def _port(parts: SplitResult, example: str) -> int | None:
    """Return the port of an address, None without a port."""
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        written = parts.netloc.rpartition(":")[2]
        raise ValueError(f"port {written:.20} is not a number from 1 to 65535; write {example}") from None
    return port


def _addresses(written: object) -> object:
    """Split `10.0.0.2:4840, 10.0.0.3` into addresses."""
    if isinstance(written, str):
        written = [part.strip() for part in written.split(",")]
    if not isinstance(written, list):
        return written
    for address in written:
        parts = urlsplit(f"//{address}")
        if not parts.hostname or "@" in parts.netloc or parts.path:
            raise ValueError("a backup is not an address; write HOST or HOST:PORT")
        _port(parts, "HOST:4840")
    return tuple(written)


class OpcUaConnection(SecureConnection):
    """An OPC UA server, and the namespace of the machine in it.

    `backup`     addresses (HOST:PORT) of the same or a redundant server, tried when the previous does not respond
    `namespace`  URI that nodes without a namespace belong to: one server can serve many machines of a type
    `timeout`    seconds to wait for a connection, or for one response
    `keep_alive` seconds of silence after which the server sends a sign of life; the connection ends after three times
    `publishing` publish requests that wait at the server for changes
    `time`       the clock that determines the time of a value, unless a point has its own setting
    `server_uri`, `endpoint`, `peer`, `dial_in`  the server that dials in, and how long to wait for it
    `retry_missing`  seconds after which nodes that were missing, or not good, are looked up again
    """

    schemes: ClassVar[tuple[str, ...]] = ("opc.tcp", REVERSE)

    url: str
    """The address of the server, as in `opc.tcp://10.20.2.21:4840`; or that at which the server dials in, as in
    `opc.tcp+reverse://0.0.0.0:4841`.
    """
    namespace: str | None = None
    """URI that nodes without a namespace belong to, as in `urn:acme:press-01`."""
    timeout: Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=60)] = 4.0
    """Seconds to wait for a connection, or for one response, as in `4`."""
    keep_alive: Annotated[float, BeforeValidator(_seconds), Field(ge=1, le=60)] = 5.0
    """Seconds of silence after which the server sends a sign of life, as in `5`."""
    backup: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = ()
    """Addresses of the same or a redundant server, tried when the first does not respond, as in `10.20.2.22:4840` or
    `[10.20.2.22:4840, 10.20.2.23]`.
    """
    publishing: Annotated[int, Field(ge=1, le=20, strict=False)] = 3
    """Publish requests that wait at the server for changes, as in `3`."""
    retry_missing: Annotated[Seconds, Field(ge=1)] = 30.0
    """Time after which missing nodes are looked up again, as in `30s`."""
    server_uri: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """The application URI of the server that dials in, as in `urn:acme:press-01`."""
    endpoint: Annotated[str, Field(pattern=r"^opc\.tcp://", max_length=4096)] | None = None
    """The endpoint URL that the server must name when it dials in, as in `opc.tcp://10.20.2.21:4840`."""
    peer: str | None = None
    """The address or network from which the server dials in, as in `10.20.2.0/24`."""
    dial_in: Annotated[Seconds, Field(ge=1, le=600)] = 30.0
    """Time to wait until the server dials in, as in `30s`."""
    writable: Flag = False
    """Whether nodes may be written; Lineside never writes automatically, as in `true`."""
    time: Annotated[Time, Field(strict=False)] = Time.SOURCE
    """The clock that determines the time of a value, as in `server`."""

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> Self:
        parts = split_url(url)
        if not parts.hostname or "@" in parts.netloc:
            # the URL is not repeated, since it may contain a password
            raise ValueError("write opc.tcp://HOST:4840, without a user in it")
        check_host(parts.hostname)
        _port(parts, "opc.tcp://HOST:4840")
        return cls.model_validate(options | {"url": parts._replace(query="", fragment="").geturl()})

    @model_validator(mode="after")
    def _dials(self) -> Self:
        if self.reverse:
            if self.server_uri is None:
                raise ValueError("server_uri is missing: write the application URI of the server that dials in")
            if self.backup:
                raise ValueError("a server that dials in has no backup")
            if self.peer is not None:
                peer_network(self.peer)
            return self
        wrong = self.model_fields_set & {"server_uri", "endpoint", "peer", "dial_in"}
        if wrong:
            raise ValueError(f"{min(wrong)} is for a server that dials in; write {REVERSE}://0.0.0.0:4841")
        return self

    @property
    def reverse(self) -> bool:
        """True if the server dials in."""
        return self.url.startswith(f"{REVERSE}:")

    @property
    def patience(self) -> float:
        calls = 1 if self.unprotected else 2  # the first is asked for endpoints
        return calls * self.dial_in if self.reverse else 0.0

    @property
    def tcp_port(self) -> int | None:
        return None if self.reverse else urlsplit(self.url).port or PORT

    @property
    def exposure(self) -> str:
        if self.security is not Policy.NONE or self.insecure:
            return ""
        hosts = [urlsplit(url).hostname or "" for url in self.urls()]
        remote = next((host for host in hosts if not is_loopback(host)), None)
        secure = "security: auto (or leave it out), and trust the server's certificate with lineside certs trust"
        return "" if remote is None else readable_text("messages", remote, secure)

    @property
    def unauthenticated(self) -> str:
        return "opc.tcp without security" if self.security is Policy.NONE else ""

    def listening(self) -> object | None:
        return ("tcp", urlsplit(self.url).port or PORT) if self.reverse else None

    def time_of(self, *, pushed: bool) -> Time:
        """Return the clock of a point without its own setting: polled values have the time of the read."""
        return self.time if pushed or "time" in self.model_fields_set else Time.GATEWAY

    def hosts(self) -> list[str]:
        return [f"peer://{self.peer or '*'}"] if self.reverse else self.urls()

    def urls(self) -> list[str]:
        """Return the URL of the server, then those of its backups."""
        parts = urlsplit(self.url)
        there = [f"{address}:{parts.port or PORT}" if urlsplit(f"//{address}").port is None else address
                 for address in self.backup]  # fmt: skip
        return [self.url, *(parts._replace(netloc=address).geturl() for address in there)]

    def shared(self) -> OpcUaConnection:
        return self.model_copy(update={"namespace": None, "writable": False, "insecure": False, "time": Time.SOURCE})

    def __str__(self) -> str:
        return self.url


OpcUaGroup = Group[OpcUaConnection, OpcUaSource]
"""The points of one machine that are read together."""
