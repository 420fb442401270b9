"""Describe requests and responses in a few words, for traces and diagnoses."""

from __future__ import annotations

from drivers.modbus.pdu import EXCEPTION, EXCEPTIONS, TABLES, read_request

_FUNCTIONS = {
    5: "write coil", 6: "write register", 7: "read exception status", 8: "echo", 11: "read event counter",
    15: "write coils", 16: "write registers", 17: "report server id", 20: "read file record", 22: "mask register",
    23: "read and write registers", 24: "read FIFO queue", 43: "identify",
}  # fmt: skip
"""Names of the functions that do not read a table (clause 6)."""


def request_text(unit: int, pdu: bytes) -> str:
    """Return a request as in `unit 1: read holding 0..9`."""
    request = read_request(pdu)
    if request is None:
        return f"unit {unit}: {_function(pdu[0])}"
    table, first, count = request
    return f"unit {unit}: read {table} {first}" + (f"..{first + count - 1}" if count > 1 else "")


def response_text(unit: int, pdu: bytes) -> str:
    """Return a response as in `unit 1: holding, 20 bytes` or `unit 1: exception 2 illegal data address`."""
    if not pdu:
        return f"unit {unit}: no function code"
    if pdu[0] & EXCEPTION:
        code = pdu[1] if len(pdu) > 1 else 0
        return f"unit {unit}: exception {code} {EXCEPTIONS.get(code, 'unknown')}"
    table = TABLES.get(pdu[0])
    if table is None:
        return f"unit {unit}: {_function(pdu[0])}"
    size = max(0, len(pdu) - 2)
    return f"unit {unit}: {table}, {size} {'byte' if size == 1 else 'bytes'}"


def _function(code: int) -> str:
    return _FUNCTIONS.get(code, f"function {code}")
