"""An OPC UA server at almost no cost: it replays encoded changes over a real socket.

It has no address space, no security and one kind of node, a Double that counts. Its messages are complete: chunks and
subscriptions with sequence numbers, one message for each publish request, and both times of each change. So a benchmark
measures the client, and not the server. An item queues some changes; a full queue drops the oldest and sets the
overflow bit, as a server has to (`replayed_changes.py`).
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary, uatcp_to_binary
from replayed_changes import QUEUE, Subscription, header, ticks

from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

CHUNK = 64 * 1024
HEAD = 24
"""Bytes of a chunk before its part of the message."""

_IDS = ua.ObjectIds
_POLICY = ua.SecurityPolicyType.NoSecurity
_NO_SECURITY = "http://opcfoundation.org/UA/SecurityPolicy#None"


class Client(asyncio.Protocol):
    """One client: its connection, channel, session and subscriptions."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.subscriptions: dict[int, Subscription] = {}
        self._publishes: deque[tuple[int, int, int]] = deque()  # request id, handle, acknowledgements
        self._half = b""
        self._parts: list[bytes] = []
        self._sequence = 0
        self._reads: dict[bytes, bytes] = {}
        self._services: dict[int, Callable[[ua.RequestHeader, Buffer], Any]] = {
            _IDS.GetEndpointsRequest_Encoding_DefaultBinary: self._get_endpoints,
            _IDS.CreateSessionRequest_Encoding_DefaultBinary: self._create_session,
            _IDS.ActivateSessionRequest_Encoding_DefaultBinary: lambda _, __: ua.ActivateSessionResponse(),
            _IDS.CreateSubscriptionRequest_Encoding_DefaultBinary: self._subscribe,
            _IDS.CreateMonitoredItemsRequest_Encoding_DefaultBinary: self._monitor,
            _IDS.CloseSessionRequest_Encoding_DefaultBinary: lambda _, __: ua.CloseSessionResponse(),
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment] # of TCP
        self.nodes.clients.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.nodes.clients.remove(self)

    # -- chunks --

    def data_received(self, data: bytes) -> None:
        data = self._half + data
        at = 0
        while len(data) - at >= 8:
            size = int.from_bytes(data[at + 4 : at + 8], "little")
            if len(data) - at < size:
                break
            self._chunk(data[at : at + 4], data[at + 8 : at + size])
            at += size
        self._half = data[at:]

    def _chunk(self, kind: bytes, content: bytes) -> None:
        if kind == b"HELF":
            hello = ua.Acknowledge(0, CHUNK, CHUNK, 0, 0)
            self.transport.write(uatcp_to_binary(ua.MessageType.Acknowledge, hello))
        elif kind == b"OPNF":
            self._open(Buffer(content))
        elif kind[:3] == b"MSG":
            request = int.from_bytes(content[12:16], "little")
            self._parts.append(content[16:])
            if kind == b"MSGF":
                whole, self._parts = b"".join(self._parts), []
                self._asked(request, whole)
        else:
            self.transport.close()

    def _send(self, request: int, message: bytes) -> None:
        chunks = []
        for at in range(0, len(message), CHUNK - HEAD):
            part = message[at : at + CHUNK - HEAD]
            self._sequence += 1
            last = b"F" if at + len(part) == len(message) else b"C"
            chunks.append(
                struct.pack("<4sIIIII", b"MSG" + last, len(part) + HEAD, 1, 1, self._sequence, request) + part
            )
        self.transport.write(b"".join(chunks))

    def _open(self, content: Buffer) -> None:
        content.skip(4)
        struct_from_binary(ua.AsymmetricAlgorithmHeader, content)
        request = struct_from_binary(ua.SequenceHeader, content).RequestId
        nodeid_from_binary(content)
        asked = struct_from_binary(ua.RequestHeader, content)
        response = ua.OpenSecureChannelResponse()
        response.ResponseHeader.RequestHandle = asked.RequestHandle
        response.Parameters.SecurityToken = ua.ChannelSecurityToken(1, 1, datetime.now(UTC), 3_600_000)
        self._sequence += 1
        message = (
            struct_to_binary(ua.AsymmetricAlgorithmHeader(_NO_SECURITY))
            + struct.pack("<II", self._sequence, request)
            + struct_to_binary(response)
        )
        self.transport.write(struct.pack("<4sII", b"OPNF", len(message) + 12, 1) + message)

    # -- services --

    def _asked(self, request: int, message: bytes) -> None:
        content = Buffer(message)
        kind = nodeid_from_binary(content).Identifier
        asked = struct_from_binary(ua.RequestHeader, content)
        if kind == _IDS.PublishRequest_Encoding_DefaultBinary:
            self._publishes.append(
                (request, asked.RequestHandle, max(0, int.from_bytes(content.read(4), "little", signed=True)))
            )
            self.publish()
            return
        if kind == _IDS.ReadRequest_Encoding_DefaultBinary:
            self._send(
                request, header(_IDS.ReadResponse_Encoding_DefaultBinary, asked.RequestHandle) + self._read(content)
            )
            return
        service = self._services.get(kind)
        response = ua.ServiceFault() if service is None else service(asked, content)
        response.ResponseHeader.RequestHandle = asked.RequestHandle
        if service is None:
            response.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadServiceUnsupported)
        self._send(request, struct_to_binary(response))

    def _endpoint(self) -> ua.EndpointDescription:
        return ua.EndpointDescription(
            EndpointUrl=self.nodes.url,
            SecurityMode=ua.MessageSecurityMode.None_,
            SecurityPolicyUri=_NO_SECURITY,
            UserIdentityTokens=[ua.UserTokenPolicy("anonymous", ua.UserTokenType.Anonymous)],
        )

    def _get_endpoints(self, _: ua.RequestHeader, __: Buffer) -> ua.GetEndpointsResponse:
        response = ua.GetEndpointsResponse()
        response.Endpoints = [self._endpoint()]
        return response

    def _create_session(self, _: ua.RequestHeader, __: Buffer) -> ua.CreateSessionResponse:
        response = ua.CreateSessionResponse()
        response.Parameters = ua.CreateSessionResult(
            ua.NodeId(1, 1), ua.NodeId(2, 1), 3_600_000, b"", None, [self._endpoint()]
        )
        return response

    def _subscribe(self, _: ua.RequestHeader, content: Buffer) -> ua.CreateSubscriptionResponse:
        wanted = struct_from_binary(ua.CreateSubscriptionParameters, content)
        made = Subscription(len(self.subscriptions) + 1)
        self.subscriptions[made.number] = made
        response = ua.CreateSubscriptionResponse()
        response.Parameters = ua.CreateSubscriptionResult(
            made.number,
            wanted.RequestedPublishingInterval,
            wanted.RequestedLifetimeCount,
            wanted.RequestedMaxKeepAliveCount,
        )
        return response

    def _monitor(self, _: ua.RequestHeader, content: Buffer) -> ua.CreateMonitoredItemsResponse:
        wanted = struct_from_binary(ua.CreateMonitoredItemsParameters, content)
        handles = [int(one.RequestedParameters.ClientHandle) for one in wanted.ItemsToCreate]
        self.subscriptions[wanted.SubscriptionId].add(handles, self.nodes.turn)
        response = ua.CreateMonitoredItemsResponse()
        good = ua.StatusCode(ua.StatusCodes.Good)
        response.Results = [ua.MonitoredItemCreateResult(good, handle + 1, 0.0, QUEUE) for handle in handles]
        return response

    def publish(self) -> None:
        """Answer publish requests as far as there are changes."""
        for one in self.subscriptions.values():
            while one.waiting and self._publishes:
                request, handle, acknowledged = self._publishes.popleft()
                more = len(one.waiting) > 1
                self._send(request, b"".join((
                    header(_IDS.PublishResponse_Encoding_DefaultBinary, handle),
                    struct.pack("<Ii?", one.number, -1, more),
                    one.notification(),
                    struct.pack(f"<i{acknowledged}Ii", acknowledged, *[0] * acknowledged, -1),
                )))  # fmt: skip

    def _read(self, content: Buffer) -> bytes:
        """Return the values of the requested nodes; the same request is decoded only once."""
        asked = bytes(content)
        form = self._reads.get(asked)
        if form is None:
            wanted = struct_from_binary(ua.ReadParameters, content).NodesToRead
            form = b"".join(self._value(one) for one in wanted)
            self._reads[asked] = form = struct.pack("<i", len(wanted)) + form + struct.pack("<i", -1)
        return form

    def _value(self, one: ua.ReadValueId) -> bytes:
        value = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadAttributeIdInvalid))
        if one.AttributeId == ua.AttributeIds.Value:
            known = {
                _IDS.Server_NamespaceArray: self.nodes.uris,
                _IDS.Server_ServerStatus_CurrentTime: datetime.now(UTC),
            }
            if one.NodeId.NamespaceIndex:
                now = datetime.now(UTC)
                value = ua.DataValue(
                    ua.Variant(float(self.nodes.turn), ua.VariantType.Double),
                    SourceTimestamp=now,
                    ServerTimestamp=now,
                )
            elif one.NodeId.Identifier in known:
                value = ua.DataValue(ua.Variant(known[one.NodeId.Identifier]))
        return struct_to_binary(value)


class Nodes:
    """Count all nodes together at the given rate, for all clients."""

    def __init__(self, port: int, namespace: str) -> None:
        self.url = f"opc.tcp://{LOOPBACK}:{port}"
        self.uris = ["http://opcfoundation.org/UA/", "urn:replayed", namespace]
        self.clients: list[Client] = []
        self.turn = 0

    async def count(self, rate: float, lost: Synchronized[int]) -> None:
        due = time.monotonic()
        while True:
            self.turn += 1
            for client in self.clients:
                for one in client.subscriptions.values():
                    if one.handles:
                        lost.value += one.put(self.turn, ticks())
                client.publish()
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def serve(port: int, namespace: str, rate: float, ready: Event, lost: Synchronized[int]) -> None:
    """Serve until killed; `rate` is in changes per second of every node, `lost` counts dropped changes."""

    async def main() -> None:
        nodes = Nodes(port, namespace)
        await asyncio.get_running_loop().create_server(lambda: Client(nodes), LOOPBACK, port)
        ready.set()
        await nodes.count(rate, lost)

    asyncio.run(main())
