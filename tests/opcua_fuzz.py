"""Malformed messages of an OPC UA server: valid messages with seeded changes, for the decoders and the driver.

Three layers, from the fastest to the most complete: the decoders alone, a connection without a socket that is in one
of its states, and the driver on a connection in memory.
"""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from asyncua import ua
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import struct_to_binary
from fakes.scripted_opcua import (
    CHANNEL,
    NAMESPACE,
    NONCE,
    NONE,
    SERVICES,
    TOKEN,
    ScriptedServer,
    header,
    text,
    type_id,
)

from drivers.base import DriverError, Group
from drivers.opcua.codec import services
from drivers.opcua.codec.change_layouts import ChangeLayouts
from drivers.opcua.codec.data_changes import DataChanges, read_changes
from drivers.opcua.codec.json_text import json_text
from drivers.opcua.codec.publish_response import publish_response, read_response, republish_response
from drivers.opcua.codec.reverse_hello import reverse_hello
from drivers.opcua.codec.structures import Member, Structure, Structures
from drivers.opcua.codec.texts import Unfit
from drivers.opcua.codec.type_dictionary import read_dictionary
from drivers.opcua.codec.values import reading
from drivers.opcua.codec.variant import variant
from drivers.opcua.connection.reverse import DialledIn
from drivers.opcua.connection.transport import Limits, Protocol
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.errors import MALFORMED, DecodeError, ServiceFault
from drivers.opcua.limits import MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE
from drivers.opcua.settings import OpcUaConnection, OpcUaSource

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

LENGTHS = (-(2**31), -1000, -4, -2, -1, 0, 1, 255, 65535, 2**31 - 1)

SECONDS = 30.0
"""The time limit of one run of the driver."""

STATES = ("Hello", "OpenSecureChannel", *SERVICES)

REVERSE_HELLO = b"RHEF" + struct.pack("<Ii15si", 55, 15, b"urn:test:server", 24) + b"opc.tcp://plc:4840/press"

DICTIONARY = b"""<?xml version="1.0" encoding="utf-8"?>
<opc:TypeDictionary xmlns:opc="http://opcfoundation.org/BinarySchema/" xmlns:ua="http://opcfoundation.org/UA/"
 xmlns:tns="urn:test:dictionary" DefaultByteOrder="LittleEndian" TargetNamespace="urn:test:dictionary">
 <opc:Import Namespace="http://opcfoundation.org/UA/"/>
 <opc:EnumeratedType Name="Mode" LengthInBits="32">
  <opc:EnumeratedValue Name="Manual" Value="0"/><opc:EnumeratedValue Name="Automatic" Value="1"/>
 </opc:EnumeratedType>
 <opc:StructuredType Name="Limits" BaseType="ua:ExtensionObject">
  <opc:Field Name="Low" TypeName="opc:Double"/><opc:Field Name="High" TypeName="opc:Double"/>
 </opc:StructuredType>
 <opc:StructuredType Name="Recipe" BaseType="ua:ExtensionObject">
  <opc:Field Name="Name" TypeName="opc:CharArray"/>
  <opc:Field Name="NoOfSteps" TypeName="opc:Int32"/>
  <opc:Field Name="Steps" TypeName="opc:Double" LengthField="NoOfSteps"/>
  <opc:Field Name="Mode" TypeName="tns:Mode"/>
  <opc:Field Name="Limits" TypeName="tns:Limits"/>
 </opc:StructuredType>
 <opc:StructuredType Name="Optional" BaseType="ua:ExtensionObject">
  <opc:Field Name="SometimesSpecified" TypeName="opc:Bit"/>
  <opc:Field Name="Reserved1" TypeName="opc:Bit" Length="31"/>
  <opc:Field Name="Always" TypeName="opc:Int32"/>
  <opc:Field Name="Sometimes" TypeName="ua:LocalizedText" SwitchField="SometimesSpecified"/>
 </opc:StructuredType>
 <opc:StructuredType Name="Either" BaseType="ua:Union">
  <opc:Field Name="SwitchField" TypeName="opc:UInt32"/>
  <opc:Field Name="Number" TypeName="opc:Double" SwitchField="SwitchField" SwitchValue="1"/>
  <opc:Field Name="Text" TypeName="opc:String" SwitchField="SwitchField" SwitchValue="2"/>
 </opc:StructuredType>
</opc:TypeDictionary>
"""
"""A type dictionary with everything that is understood."""


def mutated(rng: random.Random, good: bytes) -> bytes:
    """Return bytes with one to four changes: a byte, a length, something left out, doubled, or cut off."""
    data = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, len(data)))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes((rng.randrange(256),))
            case 1:
                data[at : at + 4] = struct.pack("<i", rng.choice(LENGTHS))
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case 3:
                data[at:at] = data[at : at + rng.randint(1, 64)]
            case 4:
                del data[at:]
            case _:
                data += rng.randbytes(rng.randint(1, 32))
    return bytes(data)


# -- decoders --


def _good() -> Iterator[tuple[type, object]]:
    token = ua.UserTokenPolicy(PolicyId="a")
    endpoint = ua.EndpointDescription(
        EndpointUrl="opc.tcp://x:1", ServerCertificate=b"c" * 20, SecurityPolicyUri="p", UserIdentityTokens=[token] *
        2, TransportProfileUri="t", Server=ua.ApplicationDescription(DiscoveryUrls=["opc.tcp://x:1", "y"]),
    )  # fmt: skip
    reference = ua.ReferenceDescription(BrowseName=ua.QualifiedName("x"), NodeId=ua.ExpandedNodeId(5, 1))
    target = ua.BrowsePathTarget(TargetId=ua.ExpandedNodeId("x", 1))
    session = ua.CreateSessionResult(
        ServerEndpoints=[endpoint], ServerNonce=NONCE, AuthenticationToken=ua.NodeId(7, 1)
    )
    yield ua.CreateSessionResponse, ua.CreateSessionResponse(Parameters=session)
    yield (
        ua.ActivateSessionResponse,
        ua.ActivateSessionResponse(Parameters=ua.ActivateSessionResult(ServerNonce=NONCE, Results=[ua.StatusCode()])),
    )
    yield ua.CloseSessionResponse, ua.CloseSessionResponse()
    yield ua.GetEndpointsResponse, ua.GetEndpointsResponse(Endpoints=[endpoint] * 2)
    yield ua.FindServersResponse, ua.FindServersResponse(Servers=[endpoint.Server])
    yield (
        ua.OpenSecureChannelResponse,
        ua.OpenSecureChannelResponse(Parameters=ua.OpenSecureChannelResult(ServerNonce=NONCE)),
    )
    yield ua.CreateSubscriptionResponse, ua.CreateSubscriptionResponse()
    yield ua.DeleteSubscriptionsResponse, ua.DeleteSubscriptionsResponse(Results=[ua.StatusCode()])
    yield (
        ua.CreateMonitoredItemsResponse,
        ua.CreateMonitoredItemsResponse(Results=[ua.MonitoredItemCreateResult()] * 3),
    )
    yield ua.DeleteMonitoredItemsResponse, ua.DeleteMonitoredItemsResponse(Results=[ua.StatusCode()])
    yield ua.BrowseResponse, ua.BrowseResponse(Results=[ua.BrowseResult(References=[reference] * 2)])
    yield (
        ua.BrowseNextResponse,
        ua.BrowseNextResponse(Parameters=ua.BrowseNextResult(Results=[ua.BrowseResult(References=[reference])])),
    )
    yield (
        ua.TranslateBrowsePathsToNodeIdsResponse,
        ua.TranslateBrowsePathsToNodeIdsResponse(Results=[ua.BrowsePathResult(Targets=[target])]),
    )
    yield ua.WriteResponse, ua.WriteResponse(Results=[ua.StatusCode()])
    yield ua.ReadResponse, ua.ReadResponse(Results=[ua.DataValue(ua.Variant([1, 2, 3]))])


def _notification() -> ua.NotificationMessage:
    changes = [
        ua.DataValue(ua.Variant(1.5)),
        ua.DataValue(ua.Variant("a")),
        ua.DataValue(ua.Variant([ua.Range(0, 1)])),
    ]
    items = [ua.MonitoredItemNotification(handle, value) for handle, value in enumerate(changes * 4)]
    event = ua.EventFieldList(7, [ua.Variant(1), ua.Variant(ua.LocalizedText("x"))])
    return ua.NotificationMessage(
        SequenceNumber=7,
        NotificationData=[ua.DataChangeNotification(items), ua.EventNotificationList([event])],
    )


def _publish() -> bytes:
    result = ua.PublishResult(
        SubscriptionId=3, AvailableSequenceNumbers=[7], NotificationMessage=_notification(), Results=[ua.StatusCode()]
    )
    return struct_to_binary(ua.PublishResponse(Parameters=result))


def _values() -> bytes:
    """Return a variant of structures of the server's own, in an array, and a matrix."""
    frame = b"\1\2" + struct.pack("<HBi", 5000, 1, len(_RECIPE)) + _RECIPE
    return bytes([0x80 | 22]) + struct.pack("<i", 2) + frame * 2


_RECIPE = struct.pack("<Ii2si2hIHdd", 1, 2, b"B7", 2, 5, 6, 1, 4, 1.5, 2.5)
_OUTER, _INNER = ua.NodeId(3000, 2), ua.NodeId(3001, 2)
_STRUCTURES = Structures(
    {
        _OUTER: Structure(
            ua.StructureType.StructureWithOptionalFields,
            (
                Member("Name", int(ua.VariantType.String)),
                Member("Steps", int(ua.VariantType.Int16), 1),
                Member("Either", _INNER),
                Member("Low", int(ua.VariantType.Double)),
                Member("High", int(ua.VariantType.Double), optional=True),
            ),
        ),
        _INNER: Structure(
            ua.StructureType.Union,
            (Member("Mode", int(ua.VariantType.UInt16), names={4: "four"}), Member("Matrix", _OUTER, 2)),
        ),
    },
    {ua.NodeId(5000, 2): _OUTER},
)


def _as_json(data: bytes) -> None:
    """Decode a value with structures, and make JSON of it, as a point of type `json` does."""
    try:
        found, _ = variant(data, 0)
    except MALFORMED as error:  # which decoders of messages translate
        raise DecodeError(str(error)) from error
    reading(found.Value, 0, found, (), None, _STRUCTURES, json=True, labels={})
    with suppress(Unfit):
        json_text(found.Value)


def _columns(data: bytes) -> None:
    try:
        read_changes(data, 0, DataChanges())
    except MALFORMED as error:
        raise DecodeError(str(error)) from error


_LAYOUTS = ChangeLayouts()


def _as_known(data: bytes) -> None:
    """Decode changes with the layouts of the messages before; the columns are those that are decoded without them."""
    found = []
    for layouts in (_LAYOUTS, None):
        changes = DataChanges()
        try:
            end = read_changes(data, 0, changes, layouts)
        except MALFORMED as error:
            found.append(repr(type(error)))
        else:
            changes.layout = None
            found.append(repr((end, changes)))
    assert found[0] == found[1]


RESPONSES: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    kind.__name__: (struct_to_binary(good), lambda data, kind=kind: services.response(kind, data))  # type: ignore[misc] # bound
    for kind, good in _good()
} | {
    "HistoryReadResponse": (
        struct_to_binary(
            ua.HistoryReadResponse(
                Results=[ua.HistoryReadResult(HistoryData=ua.HistoryData(DataValues=[ua.DataValue(ua.Variant(1.5))]))]
            )
        ),
        services.history_read_response,
    ),
    "CallResponse": (
        struct_to_binary(ua.CallResponse(Results=[ua.CallMethodResult(OutputArguments=[ua.Variant([1.5])])])),
        services.call_response,
    ),
}
"""Right answers by the name of their class, and their decoders."""

DECODERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = RESPONSES | {
    "PublishResponse": (_publish(), publish_response),
    "RepublishResponse": (
        struct_to_binary(ua.RepublishResponse(NotificationMessage=_notification())),
        republish_response,
    ),
    "ReadResponse of values": (
        struct_to_binary(ua.ReadResponse(Results=[ua.DataValue(ua.Variant(1.5)), ua.DataValue(ua.Variant("a"))])),
        lambda data: read_response(data, 2),
    ),
    "DataChangeNotification": (
        struct.pack("<i", 20) + b"".join(struct.pack("<IBBdq", n, 5, 11, 1.5, 1 << 57) for n in range(20)),
        _columns,
    ),
    "DataChangeNotification of a known layout": (
        struct.pack("<i", 20) + b"".join(struct.pack("<IBBdq", n, 5, 11, 1.5, 1 << 57) for n in range(20)),
        _as_known,
    ),
    "structures as JSON": (_values(), _as_json),
    "type dictionary": (DICTIONARY, read_dictionary),
    "ReverseHello": (REVERSE_HELLO, reverse_hello),
}
"""Right answers and other bytes of a server, and their decoders."""


def fuzz_decoder(name: str, rng: random.Random, times: int) -> float:
    """Decode mutated responses; return the longest processor time. Raise errors that a decoder must not raise."""
    good, decode = DECODERS[name]
    longest = 0.0
    for _ in range(times):
        data = mutated(rng, good)
        began = time.process_time()
        with suppress(DecodeError, ServiceFault):
            decode(data)
        longest = max(longest, time.process_time() - began)
    return longest


# -- a connection without a socket --


class NoSocket(asyncio.Transport):
    """A transport that sends nothing, and remembers whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send nothing."""

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", 8 + len(body)) + body


def _message(body: bytes, sequence: int, request: int, form: bytes = b"F") -> bytes:
    return _chunk(b"MSG" + form, struct.pack("<4I", CHANNEL, TOKEN, sequence, request) + body)


_OPENED = _chunk(
    b"OPNF",
    struct.pack("<I", CHANNEL) + text(NONE) + text(None) + text(None) + struct.pack("<II", 1, 1)
    + type_id("OpenSecureChannelResponse") + header()
    + struct.pack("<IIIqI", 0, CHANNEL, TOKEN, 0x01D9000000000000, 3_600_000) + text(b""),
)  # fmt: skip
_ERROR = _chunk(b"ERRF", struct.pack("<Ii", 0x80010000, 2) + b"no")

_READ = DECODERS["ReadResponse"][0]

CONNECTION_STATES: dict[str, bytes] = {
    "hello": _chunk(b"ACKF", struct.pack("<5I", 0, 65536, 65536, 0, 0)),
    "opening": _OPENED,
    "refused": _ERROR,
    "open": _message(_READ, 2, 1) + _message(DECODERS["PublishResponse"][0], 3, 2),
    "chunks": _message(_READ[:40], 2, 1, b"C") + _message(_READ[40:], 3, 1)
    + _message(struct.pack("<Ii", 0x80010000, 2) + b"no", 4, 2, b"A"),
}  # fmt: skip
"""States of a connection, and the bytes that a server sends in them."""


def fuzz_connection(state: str, rng: random.Random, times: int) -> float:
    """Receive mutated bytes on connections in one state; return the longest processor time. Raise other errors.

    A connection ends with the first malformed chunk; all of its requests then have an error of the contract.
    """
    longest = 0.0
    loop = asyncio.get_running_loop()
    for _ in range(times):
        protocol = _protocol(state)
        requests = [loop.create_future() for _ in range(2)]
        protocol._callbackmap = dict(enumerate(requests, 0 if state in {"hello", "refused"} else 1))  # noqa: SLF001 - what was asked
        data = mutated(rng, CONNECTION_STATES[state])
        parts = [data] if rng.random() < 0.7 else [data[: len(data) // 2], data[len(data) // 2 :]]
        began = time.process_time()
        for part in parts:
            if not cast("NoSocket", protocol.transport).closed:
                protocol.data_received(part)
        longest = max(longest, time.process_time() - began)
        for request in requests:
            if request.done() and not request.cancelled():
                request.exception()
    return longest


def _protocol(state: str) -> Protocol:
    """Return a connection in a state."""
    protocol = Protocol(1.0, SecurityPolicyNone(), Limits(MAX_CHUNK, MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE))
    protocol.connection_made(NoSocket())
    if state == "opening":
        protocol._open_secure_channel_exchange = ua.OpenSecureChannelParameters()  # noqa: SLF001 - what was asked
    if state in {"open", "chunks"}:
        protocol._open_secure_channel_exchange = ua.OpenSecureChannelParameters()  # noqa: SLF001 - as above
        protocol._callbackmap = {1: asyncio.get_running_loop().create_future()}  # noqa: SLF001 - as above
        protocol.data_received(_OPENED)
    return protocol


# -- the driver --


class _Writer:
    """The server's end of a connection in memory."""

    def __init__(self, receive: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._receive, self._end = receive, end

    def write(self, data: bytes) -> None:
        self._receive(data)

    def close(self) -> None:
        self._end()

    async def wait_closed(self) -> None:
        """Return at once."""


class InMemory(NoSocket):
    """The client's end of a connection in memory, to a scripted server."""

    def __init__(self, server: ScriptedServer) -> None:
        super().__init__()
        self._protocol: asyncio.Protocol
        self._loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader()
        writer = cast("asyncio.StreamWriter", _Writer(self._send, self.close))
        self.task = self._loop.create_task(server.serve(self._reader, writer))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def _send(self, data: bytes) -> None:
        self._loop.call_soon(self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if not self.closed:
            self._protocol.data_received(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            self._reader.feed_data(bytes(data))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._reader.feed_eof()
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


class _Lease:
    """Gives connections in memory to a driver, as if its server had dialled in."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self.opened: list[InMemory] = []

    async def next(self) -> DialledIn:
        self.opened.append(InMemory(self._server))
        return DialledIn(self.opened[-1], "opc.tcp://127.0.0.1:4840")

    def close(self) -> None:
        """Do nothing; `end` closes the connections."""

    async def end(self) -> None:
        for one in self.opened:
            one.abort()
        await asyncio.gather(*(one.task for one in self.opened))


async def fuzz_driver(state: str, rng: random.Random) -> str:
    """Connect the driver to a server that mutates its responses of one service, and receive once.

    Returns the outcome. Raises an error that is not a `DriverError`, and `TimeoutError` if something hangs.
    """

    def script(service: str, answer: bytes) -> bytes:
        return mutated(rng, answer) if service == state and rng.random() < 0.7 else answer

    lease = _Lease(ScriptedServer(script))

    async def lease_of(*_: Any) -> _Lease:
        return lease

    options = {
        "security": "none", "namespace": NAMESPACE, "timeout": "0.3", "keep_alive": 1.0, "server_uri": "urn:test",
    }  # fmt: skip
    connection = OpcUaConnection.from_url("opc.tcp+reverse://127.0.0.1:4840", options)
    sources = tuple(OpcUaSource.model_validate({"node": node}) for node in ("s=Drum", "/Press/Drum"))
    group = Group("press", connection, ("a", "b"), sources, 0.1, pushed=True)
    driver = OpcUaDriver(connection, [group], lambda: time.time_ns() // 1000)
    with patch("drivers.opcua.connection.session.lease_of", lease_of):
        try:
            async with asyncio.timeout(SECONDS), driver:
                await driver.receive()
                await driver.describe(group)
        except DriverError as error:
            return type(error).__name__
        finally:
            await lease.end()
        return "connected"
