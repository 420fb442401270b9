"""Responses of services that a server gets wrong: decoded or refused, soon and in little memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from fakes.scripted_opcua import header, type_id
from opcua_fuzz import CONNECTION_STATES, DECODERS, RESPONSES, fuzz_connection, fuzz_decoder

from drivers.opcua.codec.binary import Received
from drivers.opcua.codec.values import fault_of
from drivers.opcua.errors import DecodeError, ServiceFault

TIMES = 300
"""Mutated answers of each service; `benchmarks/fuzz_opcua.py` tries millions."""


@pytest.mark.parametrize("name", [name for name in RESPONSES if name not in {"HistoryReadResponse", "CallResponse"}])
def test_right_answers_are_read_as_asyncua_reads_them(name: str) -> None:
    """Its classes are kept, so that the rest of it works on."""
    good, decode = RESPONSES[name]
    ours, theirs = decode(good), struct_from_binary(getattr(ua, name), Buffer(good))
    for field in theirs.__dataclass_fields__.keys() - {"TypeId", "ResponseHeader"}:
        assert getattr(ours, field) == getattr(theirs, field)


@pytest.mark.parametrize("name", DECODERS)
def test_malformed_answers_raise_nothing_but_decode_errors(name: str) -> None:
    """Any other error would end the gateway, or hide the fault of a server."""
    assert fuzz_decoder(name, random.Random(f"seed {name}"), TIMES) < 1.0  # noqa: S311 - seeded, and no secret


@pytest.mark.parametrize("state", CONNECTION_STATES)
async def test_no_mutated_bytes_escape_a_connection(state: str) -> None:
    """In none of its states; `benchmarks/fuzz_opcua.py` goes on for hours."""
    assert fuzz_connection(state, random.Random(f"seed {state}"), TIMES) < 1.0  # noqa: S311 - seeded, and no secret


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(header(table=struct.pack("<ii", 0x7FFFFFFF, -4)), id="strings that move backwards"),
        pytest.param(header(table=struct.pack("<i", 0x7FFFFFFF)), id="more strings than bytes"),
        pytest.param(header(diagnostics=b"\x40" * 60_000), id="endless diagnostics"),
        pytest.param(
            header(additional=b"\x01\x00\x5a\x03\x01" + struct.pack("<i", -4)), id="a header of negative length"
        ),
        pytest.param(b"", id="nothing"),
    ],
)
def test_no_header_keeps_the_gateway_busy(name: str, head: bytes) -> None:
    """About 60 bytes stopped all machines, before anything was trusted."""
    _, decode = RESPONSES[name]
    for answer in (type_id(name) + head, type_id("ServiceFault") + head):
        began = time.process_time()
        tracemalloc.start()
        with pytest.raises((DecodeError, ServiceFault)):
            decode(answer)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert time.process_time() - began < 1.0
        assert peak < 5_000_000


def test_a_count_is_checked_before_anything_is_allocated() -> None:
    """A null takes no byte, so any number of them could be claimed."""
    nulls = struct.pack("<i", 1) + struct.pack("<I", 0) + b"\xff" * 8 + struct.pack("<i", 1)
    nulls += bytes((0x80,)) + struct.pack("<i", 2**31 - 1)
    tracemalloc.start()
    [result] = RESPONSES["CallResponse"][1](type_id("CallResponse") + header() + nulls)  # type: ignore[misc] # a list
    assert [one.Value for one in result.OutputArguments] == [None]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("size", [-1, -4, -(2**31)])
def test_the_reader_never_moves_backwards(size: int) -> None:
    """The reader of asyncua does, and reads the same bytes without limit."""
    received = Received(b"12345678")
    received.read(4)
    for move in (received.read, received.skip):
        with pytest.raises(DecodeError):
            move(size)
    with pytest.raises(DecodeError):
        received.copy().read(size)
    assert received.read(4) == b"5678"


def test_invented_status_codes_take_no_memory() -> None:
    """A server may send a different status code with every value."""
    for number in range(10_000):
        fault_of(0x80000000 | number)
    assert fault_of.cache_info().currsize <= 4096
