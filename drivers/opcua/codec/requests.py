"""Encodes frequent requests and requests for many nodes: returns type id and parameters. Pure functions.

asyncua makes an object of every node of a request, and then bytes of each object: half of the cost of a read.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_INT32 = struct.Struct("<i").pack
_ACK = struct.Struct("<II").pack
_READ = struct.Struct("<dIi").pack
_WHOLE_VALUE = struct.pack("<iHi", -1, 0, -1)
"""No index range, and the default encoding."""

_encoded = lru_cache(maxsize=1 << 17)(nodeid_to_binary)

Request = tuple[int, bytes]
"""The type id of a request's binary encoding, and its parameters, encoded."""


def read_request(nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds) -> Request:
    """Return a request to read one attribute of nodes, with both times, from no cache (Part 4, 5.11.2)."""
    behind = struct.pack("<I", attribute) + _WHOLE_VALUE
    values = b"".join(_encoded(node) + behind for node in nodes)
    head = _READ(0.0, ua.TimestampsToReturn.Both, len(nodes))
    return ua.ObjectIds.ReadRequest_Encoding_DefaultBinary, head + values


def publish_request(acknowledged: Iterable[tuple[int, int]]) -> Request:
    """Return a publish request; `acknowledged` are subscriptions and sequence numbers (Part 4, 5.14.5)."""
    packed = [_ACK(*one) for one in acknowledged]
    return ua.ObjectIds.PublishRequest_Encoding_DefaultBinary, _INT32(len(packed)) + b"".join(packed)


def republish_request(subscription: int, number: int) -> Request:
    """Return a request to send one message again (Part 4, 5.14.6)."""
    return ua.ObjectIds.RepublishRequest_Encoding_DefaultBinary, _ACK(subscription, number)
