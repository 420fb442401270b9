"""What people write for the types and byte orders of raw values, and what it is here."""

from __future__ import annotations

import re

from drivers.modbus.raw_types import Order, Raw

_TYPES = {
    Raw.BOOL: "boolean bit", Raw.INT8: "sint i8 s8", Raw.UINT8: "usint byte u8",
    Raw.INT16: "int integer short i16 s16", Raw.UINT16: "uint word unsigned ushort u16",
    Raw.INT32: "dint long i32 s32", Raw.UINT32: "udint dword ulong u32",
    Raw.INT64: "lint longlong i64 s64", Raw.UINT64: "ulint lword ulonglong u64",
    Raw.FLOAT32: "real float single f32 float32be ieee754", Raw.FLOAT64: "lreal double f64",
    Raw.STRING: "str text char chars ascii", Raw.BCD16: "bcd",
}  # fmt: skip

TYPES = {name: raw for raw, names in _TYPES.items() for name in names.split()}
"""The types of IEC 61131-3, C and other gateways -> the raw type."""

_ORDERS = {
    Order.ABCD: "big bigendian be msb normal none 1234 0123",
    Order.CDAB: "swap swapped wordswap wordswapped swapwords littleendianbyteswap 3412 2301",
    Order.BADC: "byteswap byteswapped swapbytes bigendianbyteswap 2143 1032",
    Order.DCBA: "4321 3210",
}

ORDERS = {name: order for order, names in _ORDERS.items() for name in names.split()}
"""The byte orders of other gateways -> the order."""

_LITTLE = frozenset({"little", "littleendian", "le", "lsb"})


_RAW, _ORDER = frozenset(map(str, Raw)), frozenset(map(str, Order))


def _letters(written: str) -> str:
    return re.sub(r"[^a-z0-9]", "", written.lower())


def raw_type(written: object) -> object:
    """Let through a raw type. Raises `ValueError` for the name of another convention."""
    if isinstance(written, str) and written not in _RAW and (raw := TYPES.get(_letters(written))) is not None:
        raise ValueError(f"{written!r} is not a raw type; write {raw}")
    return written


def byte_order(written: object) -> object:
    """Let through a byte order. Raises `ValueError` for the name of another convention."""
    if not isinstance(written, str | int) or isinstance(written, bool) or written in _ORDER:
        return written
    text = _letters(str(written))
    if text in _LITTLE:
        raise ValueError(
            f"{written!r} is not a byte order; write CDAB where the two registers are swapped, or DCBA where all "
            "bytes are reversed"
        )
    order = ORDERS.get(text) or (Order(text.upper()) if text.upper() in _ORDER else None)
    if order is not None:
        raise ValueError(f"{written!r} is not a byte order; write {order}")
    return written
