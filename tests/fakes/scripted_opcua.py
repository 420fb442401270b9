"""An OPC UA server without security that answers every service rightly, unless a script changes an answer.

    async with ScriptedServer(lambda service, answer: answer) as server:
        ...  # connect to server.port

A script gets the name of a service ("Browse", "Publish" ...; "Hello" and "OpenSecureChannel" too) and the body of the
right answer, from its type id on; it returns the body to send, None for silence, or `CLOSE`.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

HOST = "127.0.0.1"
NAMESPACE = "urn:test:machine"
CLOSE = b""
"""In place of an answer: the server closes the connection."""

NONE = b"http://opcfoundation.org/UA/SecurityPolicy#None"
CHANNEL, TOKEN = 7, 1
NONCE = bytes(range(32))

Script = Callable[[str, bytes], bytes | None]

SERVICES = (
    "GetEndpoints", "FindServers", "CreateSession", "ActivateSession", "CloseSession", "Read", "Browse", "BrowseNext",
    "TranslateBrowsePathsToNodeIds", "CreateSubscription", "DeleteSubscriptions", "CreateMonitoredItems",
    "DeleteMonitoredItems", "Publish", "Republish", "Call", "HistoryRead", "Write",
)  # fmt: skip
_BY_ID = {getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"): name for name in SERVICES}


def right(service: str, answer: bytes) -> bytes:
    """Answer as a server should."""
    del service
    return answer


def header(
    status: int = 0, diagnostics: bytes = b"\0", table: bytes = b"\xff\xff\xff\xff", additional: bytes = b"\0\0\0"
) -> bytes:
    """Return a response header (Part 4, 7.33) with parts as they are given."""
    return struct.pack("<qII", 0x01D9000000000000, 1, status) + diagnostics + table + additional


def type_id(name: str) -> bytes:
    """Return the type id of a response by its name."""
    return struct.pack("<BBH", 1, 0, getattr(ua.ObjectIds, f"{name}_Encoding_DefaultBinary"))


def text(raw: bytes | None) -> bytes:
    return struct.pack("<i", -1) if raw is None else struct.pack("<i", len(raw)) + raw


class ScriptedServer:
    """The server. `asked` names the services that were requested, in order."""

    def __init__(self, script: Script = right) -> None:
        self.script = script
        self.asked: list[str] = []
        self.urls: list[str] = []  # that clients said hello to
        self.path = ""  # of its endpoint
        self.namespaces = ["http://opcfoundation.org/UA/", NAMESPACE]
        self.lifetime = 3_600_000  # of its channels, in milliseconds
        self.port = 0
        self._server: asyncio.Server
        self._connections: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self._items = 0
        self._published = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self.serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        connections = dict(self._connections)
        for writer in connections.values():
            writer.close()
        await asyncio.gather(*(task for task in connections if task is not None))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"opc.tcp://{HOST}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self._published = 0
        sequence = itertools.count()
        self._connections[asyncio.current_task()] = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, size = struct.unpack("<4sI", await reader.readexactly(8))
                data = await reader.readexactly(size - 8)
                if kind[:3] == b"CLO" or not self._answer(kind, data, sequence, writer):
                    break
        del self._connections[asyncio.current_task()]
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def _answer(self, kind: bytes, data: bytes, sequence: Iterator[int], writer: asyncio.StreamWriter) -> bool:
        """Send the answer of a message; return False to close the connection."""
        if kind[:3] == b"HEL":
            service, body = "Hello", struct.pack("<5I", 0, 65536, 65536, 0, 0)
            frame = b"ACKF"
            self.urls.append(data[24:].decode())
        elif kind[:3] == b"OPN":
            service, frame = "OpenSecureChannel", b"OPNF"
            body = type_id("OpenSecureChannelResponse") + header() + struct.pack("<I", 0)
            body += struct.pack("<IIqI", CHANNEL, TOKEN, 0x01D9000000000000, self.lifetime) + text(b"")
        else:
            service, frame = self._service(data), b"MSGF"
            response = self._response(service, data)
            if response is None:
                return True
            body = struct_to_binary(response)
        self.asked.append(service)
        sent = self.script(service, body)
        if sent is None:
            return True
        if sent == CLOSE:
            return False
        if frame == b"MSGF":
            request = struct.unpack_from("<4I", data, 0)[3]
            sent = struct.pack("<4I", CHANNEL, TOKEN, next(sequence), request) + sent
        elif frame == b"OPNF":
            request = struct.unpack_from("<I", data, _opn_request_at(data))[0]
            head = struct.pack("<I", CHANNEL) + text(NONE) + text(None) + text(None)
            sent = head + struct.pack("<II", next(sequence), request) + sent
        writer.write(frame + struct.pack("<I", len(sent) + 8) + sent)
        return True

    def _service(self, data: bytes) -> str:
        return _BY_ID[struct.unpack_from("<H", data, 18)[0]]

    def _response(self, service: str, data: bytes) -> Any:
        buffer = Buffer(data[16:])
        nodeid_from_binary(buffer)
        request = struct_from_binary(getattr(ua, f"{service}Request"), Buffer(data[16:]))
        return getattr(self, f"_{service}", self._other)(service, request)

    def _other(self, service: str, request: Any) -> Any:
        del request
        return getattr(ua, f"{service}Response")()

    def _endpoint(self) -> ua.EndpointDescription:
        return ua.EndpointDescription(
            EndpointUrl=self.url + self.path,
            Server=ua.ApplicationDescription(ApplicationUri="urn:test", DiscoveryUrls=[self.url]),
            SecurityMode=ua.MessageSecurityMode.None_,
            SecurityPolicyUri=NONE.decode(),
            UserIdentityTokens=[ua.UserTokenPolicy(PolicyId="anonymous")],
            TransportProfileUri="http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary",
        )

    def _GetEndpoints(self, service: str, request: ua.GetEndpointsRequest) -> Any:  # noqa: ARG002, N802
        return ua.GetEndpointsResponse(Endpoints=[self._endpoint()])

    def _FindServers(self, service: str, request: ua.FindServersRequest) -> Any:  # noqa: ARG002, N802
        return ua.FindServersResponse(Servers=[self._endpoint().Server])

    def _CreateSession(self, service: str, request: ua.CreateSessionRequest) -> Any:  # noqa: ARG002, N802
        result = ua.CreateSessionResult(
            SessionId=ua.NodeId(1, 1),
            AuthenticationToken=ua.NodeId(2, 1),
            RevisedSessionTimeout=30_000.0,
            ServerNonce=NONCE,
            ServerEndpoints=[self._endpoint()],
        )
        return ua.CreateSessionResponse(Parameters=result)

    def _Read(self, service: str, request: ua.ReadRequest) -> Any:  # noqa: ARG002, N802
        return ua.ReadResponse(Results=[self._value(one) for one in request.Parameters.NodesToRead])

    def _value(self, asked: ua.ReadValueId) -> ua.DataValue:
        node, number = asked.NodeId, asked.NodeId.Identifier
        if asked.AttributeId != ua.AttributeIds.Value:
            values = {
                ua.AttributeIds.DataType: ua.Variant(ua.NodeId(11), ua.VariantType.NodeId),
                ua.AttributeIds.BrowseName: ua.Variant(ua.QualifiedName("Drum", 1), ua.VariantType.QualifiedName),
                ua.AttributeIds.NodeClass: ua.Variant(2, ua.VariantType.Int32),
                ua.AttributeIds.UserAccessLevel: ua.Variant(5, ua.VariantType.Byte),
            }
            missing = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadAttributeIdInvalid))
            found = values.get(asked.AttributeId)
            return missing if found is None else ua.DataValue(found)
        if node.NamespaceIndex == 0 and number == ua.ObjectIds.Server_NamespaceArray:
            return ua.DataValue(ua.Variant(self.namespaces, ua.VariantType.String))
        if node.NamespaceIndex == 0 and number == ua.ObjectIds.Server_ServerStatus_CurrentTime:
            return ua.DataValue(ua.Variant(datetime.now(UTC), ua.VariantType.DateTime))
        if node.NamespaceIndex == 0:
            return ua.DataValue(ua.Variant(0, ua.VariantType.UInt32))
        return ua.DataValue(ua.Variant(1.5), SourceTimestamp=datetime.now(UTC), ServerTimestamp=datetime.now(UTC))

    def _Browse(self, service: str, request: ua.BrowseRequest) -> Any:  # noqa: ARG002, N802
        reference = ua.ReferenceDescription(
            ReferenceTypeId=ua.NodeId(35),
            NodeId=ua.ExpandedNodeId("Drum", 1),
            BrowseName=ua.QualifiedName("Drum", 1),
            DisplayName=ua.LocalizedText("Drum"),
            NodeClass=ua.NodeClass.Variable,
            TypeDefinition=ua.ExpandedNodeId(63),
        )
        return ua.BrowseResponse(
            Results=[ua.BrowseResult(References=[reference]) for _ in request.Parameters.NodesToBrowse]
        )

    def _TranslateBrowsePathsToNodeIds(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        target = ua.BrowsePathTarget(TargetId=ua.ExpandedNodeId("Drum", 1), RemainingPathIndex=0xFFFFFFFF)
        paths = request.Parameters.BrowsePaths
        return ua.TranslateBrowsePathsToNodeIdsResponse(
            Results=[ua.BrowsePathResult(Targets=[target]) for _ in paths]
        )

    def _CreateSubscription(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        asked = request.Parameters
        result = ua.CreateSubscriptionResult(
            3, asked.RequestedPublishingInterval, asked.RequestedLifetimeCount, asked.RequestedMaxKeepAliveCount
        )
        return ua.CreateSubscriptionResponse(Parameters=result)

    def _CreateMonitoredItems(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        items = request.Parameters.ItemsToCreate
        self._items += len(items)
        return ua.CreateMonitoredItemsResponse(
            Results=[
                ua.MonitoredItemCreateResult(
                    MonitoredItemId=number,
                    RevisedSamplingInterval=one.RequestedParameters.SamplingInterval,
                    RevisedQueueSize=one.RequestedParameters.QueueSize,
                )
                for number, one in enumerate(items, 1)
            ]
        )

    def _DeleteMonitoredItems(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        return ua.DeleteMonitoredItemsResponse(Results=[ua.StatusCode() for _ in request.Parameters.MonitoredItemIds])

    def _Write(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        return ua.WriteResponse(Results=[ua.StatusCode() for _ in request.Parameters.NodesToWrite])

    def _Call(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        return ua.CallResponse(Results=[ua.CallMethodResult() for _ in request.Parameters.MethodsToCall])

    def _HistoryRead(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        return ua.HistoryReadResponse(
            Results=[
                ua.HistoryReadResult(HistoryData=ua.HistoryData(DataValues=[ua.DataValue(ua.Variant(1.5))]))
                for _ in request.Parameters.NodesToRead
            ]
        )

    def _Publish(self, service: str, request: Any) -> Any:  # noqa: ARG002, N802
        """Answer the first three requests with the values of all items, and hold the others."""
        self._published += 1
        if self._published > 3:
            return None
        now = datetime.now(UTC)
        values = [
            ua.MonitoredItemNotification(handle, ua.DataValue(ua.Variant(1.5), SourceTimestamp=now))
            for handle in range(self._items)
        ]
        message = ua.NotificationMessage(
            SequenceNumber=self._published, PublishTime=now, NotificationData=[ua.DataChangeNotification(values)]
        )
        return ua.PublishResponse(Parameters=ua.PublishResult(SubscriptionId=3, NotificationMessage=message))


def _opn_request_at(data: bytes) -> int:
    """Return where an OpenSecureChannel message has its request id: behind three strings and a sequence number."""
    at = 4
    for _ in range(3):
        at += 4 + max(struct.unpack_from("<i", data, at)[0], 0)
    return at + 4
