"""Writes one node: converts a value to the node's type, and translates a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import Fault, Misconfigured, Quality, Reason, WriteFailed, bad
from drivers.opcua.codec.values import fault_of
from drivers.opcua.connection.session import WRITE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Value
    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup

_WHOLE = {
    ua.VariantType.SByte: (-(2**7), 2**7 - 1),
    ua.VariantType.Byte: (0, 2**8 - 1),
    ua.VariantType.Int16: (-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: (0, 2**16 - 1),
    ua.VariantType.Int32: (-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: (0, 2**32 - 1),
    ua.VariantType.Int64: (-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: (0, 2**64 - 1),
}
_FLOATS = {ua.VariantType.Float, ua.VariantType.Double}


async def write_point(
    session: Session, group: OpcUaGroup, position: int, node: ua.NodeId | Fault, value: Value
) -> None:
    """Write the value of a point, which is at `node`.

    Raises `Misconfigured` if it can't be written at all, `WriteFailed`, and `REQUEST_ERRORS`.
    """
    name = group.names[position]
    if not group.sources[position].whole:
        raise Misconfigured(f"{group.machine}/{name}: a part of a value can't be written")
    if isinstance(node, Fault):
        raise Misconfigured(f"{group.machine}/{name}: {node.code}")
    try:
        await write_node(session, node, value)
    except WriteFailed as error:
        raise WriteFailed(f"{group.machine}/{name}: {error}", error.fault) from error


async def write_node(session: Session, node: ua.NodeId, value: Value) -> None:
    """Write a node's value with the type of its present value, so that the server need not convert it.

    Raises `WriteFailed` if the value does not fit or the server refuses, and `REQUEST_ERRORS`.
    """
    present = await session.read_variant(node)
    fault = fault_of(present.StatusCode.value) if present.StatusCode is not None else None
    if fault is not None and fault.quality is Quality.BAD:
        raise WriteFailed(fault.code, fault)
    if present.Value is None or present.Value.VariantType is ua.VariantType.Null or present.Value.is_array:
        raise _unfit("the node has no single value with a type")
    variant = _variant(value, present.Value.VariantType)
    request = ua.WriteValue(NodeId=node, AttributeId=ua.AttributeIds.Value, Value=ua.DataValue(variant))
    [status] = await session.in_parts(WRITE, [request], lambda part: _send(session, part))
    fault = fault_of(status.value)
    if fault is not None:
        raise WriteFailed(fault.code, fault)


async def _send(session: Session, part: Sequence[ua.WriteValue]) -> list[ua.StatusCode]:
    return await session.client.uaclient.write(ua.WriteParameters(NodesToWrite=list(part)))


def _variant(value: Value, kind: ua.VariantType) -> ua.Variant:
    if kind is ua.VariantType.Boolean and isinstance(value, bool):
        return ua.Variant(value, kind)
    if kind is ua.VariantType.String and isinstance(value, str):
        return ua.Variant(value, kind)
    if kind is ua.VariantType.LocalizedText and isinstance(value, str):
        return ua.Variant(ua.LocalizedText(value), kind)
    if kind in _FLOATS and isinstance(value, int | float) and not isinstance(value, bool):
        return ua.Variant(float(value), kind)
    if kind in _WHOLE and isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        low, high = _WHOLE[kind]
        if low <= value <= high:
            return ua.Variant(int(value), kind)
        raise _unfit(f"{value} does not fit {kind.name}: {low} to {high}")
    raise _unfit(f"{value!r} is not a {kind.name}")


def _unfit(code: str) -> WriteFailed:
    return WriteFailed(code, bad(Reason.TYPE_MISMATCH, code))
