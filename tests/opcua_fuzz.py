"""Malformed answers of an OPC UA server: right ones with seeded changes, tried on decoders and on the driver."""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from fakes.scripted_opcua import NAMESPACE, NONCE, SERVICES, ScriptedServer

from drivers.base import DriverError, Group
from drivers.opcua.codec import services
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.errors import DecodeError, ServiceFault
from drivers.opcua.settings import OpcUaConnection, OpcUaSource

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

LENGTHS = (-(2**31), -1000, -4, -2, -1, 0, 1, 255, 65535, 2**31 - 1)

SECONDS = 30.0
"""What takes longer hangs."""

STATES = ("Hello", "OpenSecureChannel", *SERVICES)


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
"""Right answers by the name of their class, and what decodes them."""


def fuzz_decoder(name: str, rng: random.Random, times: int) -> float:
    """Decode mutated answers; return the longest processor time of one. Raises what a decoder must not raise."""
    good, decode = RESPONSES[name]
    longest = 0.0
    for _ in range(times):
        data = mutated(rng, good)
        began = time.process_time()
        with suppress(DecodeError, ServiceFault):
            decode(data)
        longest = max(longest, time.process_time() - began)
    return longest


async def fuzz_driver(state: str, rng: random.Random) -> str:
    """Connect the driver to a server that mutates its answers of one service, and receive what comes.

    Returns what came of it. Raises what is no `DriverError`, and `TimeoutError` for what hangs.
    """

    def script(service: str, answer: bytes) -> bytes:
        return mutated(rng, answer) if service == state and rng.random() < 0.7 else answer

    async with ScriptedServer(script) as server:
        options = {"security": "none", "namespace": NAMESPACE, "timeout": "0.3", "keep_alive": 1.0}
        connection = OpcUaConnection.from_url(server.url, options)
        sources = tuple(OpcUaSource.model_validate({"node": node}) for node in ("s=Drum", "/Press/Drum"))
        group = Group("press", connection, ("a", "b"), sources, 0.1, pushed=True)
        driver = OpcUaDriver(connection, [group], lambda: time.time_ns() // 1000)
        try:
            async with asyncio.timeout(SECONDS), driver:
                await driver.receive()
                await driver.describe(group)
        except DriverError as error:
            return type(error).__name__
        return "connected"
