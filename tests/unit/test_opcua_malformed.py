"""Publish responses that are malformed: any message is decoded or refused, quickly and in little memory."""

from __future__ import annotations

import itertools
import struct
import time
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary
from hypothesis import example, given
from hypothesis import strategies as st
from opcua_messages import RESPONSES, envelope, of_raw_items, rich_message

from drivers.opcua.codec.publish_response import Published, publish_response
from drivers.opcua.codec.variant import MAX_NESTING, _is_plain, variant
from drivers.opcua.errors import MALFORMED, DecodeError, ServiceFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HUGE, NEGATIVE = b"\xff\xff\xff\x7f", b"\xfe\xff\xff\xff"
RICH = rich_message()


@pytest.mark.parametrize("status", [0x80790000, 0x80250000, 0x80770000])
def test_a_service_fault_is_raised_with_its_status(status: int) -> None:
    """Whether there is no subscription or no session decides what to do next."""
    fault = ua.ServiceFault(ResponseHeader=ua.ResponseHeader(ServiceResult=ua.StatusCode(status)))
    answer = ua.PublishResponse(ResponseHeader=ua.ResponseHeader(ServiceResult=ua.StatusCode(status)))
    for message in (struct_to_binary(fault), struct_to_binary(answer)):
        with pytest.raises(ServiceFault, match=f"0x{status:08X} Bad") as raised:
            publish_response(message)
        assert raised.value.status == status


def test_a_service_fault_with_a_good_status_is_raised() -> None:
    """There is nothing in it to be read, whatever its status says."""
    with pytest.raises(ServiceFault, match="0x00000000 Good"):
        publish_response(struct_to_binary(ua.ServiceFault()))


def test_an_answer_to_something_else_is_refused() -> None:
    """It is named: a server that mixes up its answers is hard to find."""
    with pytest.raises(DecodeError, match="type 634; expected is 829"):
        publish_response(struct_to_binary(ua.ReadResponse()))


def decoded(message: bytes) -> Published | None:
    """Decode whatever it is; None where it is refused as it should be."""
    began = time.process_time()
    try:
        return publish_response(message)
    except (DecodeError, ServiceFault):
        return None
    finally:
        assert time.process_time() - began < 5


def test_every_message_that_ends_early_is_refused() -> None:
    """The beginning of an incomplete message can't be trusted, at whatever byte it ends."""
    assert decoded(RICH) is not None
    for size in range(len(RICH)):
        with pytest.raises(DecodeError):
            publish_response(RICH[:size])


def test_bytes_after_the_response_are_refused() -> None:
    """Some count or length before it is a lie."""
    with pytest.raises(DecodeError, match=f"the response ends at byte {len(RICH)}"):
        publish_response(RICH + b"\x00")


@pytest.mark.slow
def test_no_count_makes_it_run_or_grow() -> None:
    """A huge or negative count is detected before memory is allocated for it, at every position."""
    tracemalloc.start()
    try:
        for at in range(len(RICH) - 3):
            for count in (HUGE, NEGATIVE, b"\x00\x00\x10\x00"):
                decoded(RICH[:at] + count + RICH[at + 4 :])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


ITEM = struct.pack("<IBB", 1, 1, 0x0B) + struct.pack("<d", 1.5)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (of_raw_items(ITEM, count=2), "a notification ends at byte"),
        (of_raw_items(ITEM, ITEM, count=1), "a notification ends at byte"),
        (of_raw_items(count=-2), "-2 elements"),
        (of_raw_items(ITEM, count=2**31 - 1), "2147483647 elements can't be in the"),
        (of_raw_items(struct.pack("<IB", 1, 0x40)), "0x40 is not a mask of a data value"),
        (of_raw_items(struct.pack("<IBBi", 1, 1, 12, -2)), "-2 bytes"),
        (of_raw_items(struct.pack("<IBBi", 1, 1, 12, 99) + b"short"), "99 bytes can't be in the"),
        (of_raw_items(struct.pack("<IBB", 1, 1, 0x20)), "32 is not the number of a type"),
        (of_raw_items(struct.pack("<IBB", 1, 1, 0x46)), "0x46 has dimensions but is not an array"),
        (of_raw_items(struct.pack("<IBBB", 1, 1, 21, 4)), "0x04 is not a mask of a localized text"),
        (of_raw_items(struct.pack("<IBBB", 1, 1, 25, 0x80)), "0x80 is not a mask of diagnostics"),
        (of_raw_items(struct.pack("<IBBBB", 1, 1, 22, 0, 0) + b"\x03"), None),
        (of_raw_items(struct.pack("<IBBBBBi", 1, 1, 22, 0, 1, 1, -1)), "length of an extension object is missing"),
        (of_raw_items(struct.pack("<IBBiBBii", 1, 1, 0xC3, 2, 1, 2, 1, 3)), r"2 elements with dimensions \[3\]"),
        (of_raw_items(struct.pack("<IBBiBii", 1, 1, 0xC3, 1, 1, 2, -1) + b"\1\0\0\0"), "1 elements with dimensions"),
        (of_raw_items(struct.pack("<IBBiBiii", 1, 1, 0xC3, 1, 1, 2, -1, -1)), "1 elements with dimensions"),
        (of_raw_items(struct.pack("<IBBBi", 1, 1, 21, 2, -4)), "a length of -4"),
        (of_raw_items(struct.pack("<IBBBHi", 1, 1, 17, 3, 0, -4)), "a length of -4"),
        (of_raw_items(struct.pack("<IBBiBi9i", 1, 1, 0xC3, 1, 1, 9, *[1] * 9)), "9 dimensions; at most 8"),
        (envelope(b"\x01\x00" + struct.pack("<HBi", 812, 1, 0)), "812 is not a notification type"),
        (envelope(b"\x01\x02" + struct.pack("<HBi", 811, 1, 0)), "None is not a notification type"),
        (envelope(b"\x01\x00" + struct.pack("<HB", 811, 0)), "binary, not 0"),
        (envelope(b"\x01\x00" + struct.pack("<HBi", 811, 3, 0)), "encoded as 0, 1 or 2, not 3"),
        (envelope(b"\x01\x00" + struct.pack("<HBi", 811, 1, -2)), "a body of -2 bytes"),
        (envelope(b"\x01\x00" + struct.pack("<HBiii", 811, 1, 7, 0, 0)), "a notification ends at byte"),
    ],
    ids=lambda part: part if isinstance(part, str) else "message",
)
def test_an_error_names_the_malformed_part(message: bytes, words: str | None) -> None:
    """The error names the byte and the expected form: the supplier of the server will ask."""
    with pytest.raises(DecodeError, match=words):
        publish_response(message)


def test_an_array_of_nothing_is_nothing() -> None:
    """Its elements take no bytes, so that no message would be too short for any number of them."""
    changes = publish_response(of_raw_items(struct.pack("<IBB", 1, 1, 0x80) + HUGE)).message.changes
    assert changes.values == [None]
    assert changes.variants[0].is_array


def test_variants_are_followed_a_hundred_deep() -> None:
    """Every decoder must support this depth (Part 6, 5.1.8); a deeper value is refused: the stack is finite."""

    def nested(depth: int) -> bytes:
        return of_raw_items(struct.pack("<IB", 1, 1) + struct.pack("<Bi", 0x98, 1) * (depth - 1) + b"\x01\x01")

    value = publish_response(nested(MAX_NESTING)).message.changes.values[0]
    for _ in range(MAX_NESTING - 1):
        value = value[0].Value
    assert value is True
    with pytest.raises(DecodeError, match="nested more than 100 deep"):
        publish_response(nested(MAX_NESTING + 1))


def test_diagnostics_are_followed_ten_deep() -> None:
    """No server needs more (Part 6, 5.2.2.12)."""

    def nested(depth: int) -> bytes:
        return of_raw_items(struct.pack("<IBB", 1, 1, 25) + b"\x40" * (depth - 1) + b"\x00")

    assert len(publish_response(nested(10)).message.changes.values) == 1
    with pytest.raises(DecodeError, match="nested more than 10 deep"):
        publish_response(nested(11))


@dataclass
class Nothing:
    """A structure that takes no bytes."""


@dataclass
class Nothings:
    """One that could claim any number of those."""

    Size: ua.Byte
    Items: list[Nothing]


@dataclass
class Chain:
    """One that goes on in itself."""

    Size: ua.Byte
    Next: list[Chain]


@dataclass
class Reading:
    """One with a value of any type."""

    Value: ua.Variant


@pytest.mark.parametrize("structure", [Nothing, Nothings, Chain, Reading, ua.KeyValuePair, ua.DataChangeNotification])
def test_asyncua_decodes_no_structure_that_nests_or_has_no_size(structure: type) -> None:
    """It would follow any count inside; about forty bytes can make it run without limit."""
    assert not _is_plain(structure)


def test_no_structure_leads_asyncua_astray() -> None:
    """Whatever is inside of one that asyncua decodes: it ends, soon, and in an object or in its bytes."""
    bodies = [word * 16 for word in (b"\x00" * 4, HUGE, NEGATIVE, b"\xff" * 4, b"\x01\x00\x00\x00", b"\x80" * 4)]
    plain = {node: kind for node, kind in ua.extension_objects_by_typeid.items() if _is_plain(kind)}
    assert {ua.Range, ua.EUInformation, ua.ServerStatusDataType} <= set(plain.values())
    began = time.process_time()
    for node, body in itertools.product(plain, bodies):
        raw = b"\x16" + nodeid_to_binary(node) + struct.pack("<Bi", 1, len(body)) + body
        found, end = variant(raw, 0)
        assert end == len(raw)
        assert isinstance(found.Value, plain[node] | ua.ExtensionObject)
    assert time.process_time() - began < 30


@given(st.binary(max_size=80))
@example(b"")
@example(b"\x01\x00\x3d\x03")
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    """The bytes replace every part that can have any type."""
    decoded(raw)
    decoded(struct.pack("<BBH", 1, 0, 829) + raw)
    decoded(of_raw_items(raw))
    decoded(of_raw_items(struct.pack("<IB", 1, 1) + raw))
    try:
        _, end = variant(raw, 0)
    except MALFORMED:
        return
    assert end <= len(raw)


EDITS: Sequence[Callable[[bytes, int, bytes], bytes]] = (
    lambda message, at, raw: message[:at] + raw + message[at + len(raw) :],
    lambda message, at, raw: message[:at] + raw + message[at:],
    lambda message, at, raw: message[:at] + message[at + len(raw) :],
    lambda message, at, raw: message[:at] + message[max(0, at - len(raw)) :],
)


@given(
    st.just(RICH) | RESPONSES.map(struct_to_binary),
    st.lists(
        st.tuples(st.sampled_from(EDITS), st.integers(0, 2000), st.binary(min_size=1, max_size=8) | st.just(HUGE)),
        min_size=1,
        max_size=4,
    ),
)
def test_a_message_with_faults_is_decoded_or_refused(message: bytes, edits: list[tuple[Any, int, bytes]]) -> None:
    """A message from a bad line must not stop the gateway."""
    for edit, at, raw in edits:
        message = edit(message, at % (len(message) + 1), raw)
    found = decoded(message)
    if found is not None:
        changes = found.message.changes
        columns = (changes.values, changes.statuses, changes.source_times, changes.server_times)
        assert [len(column) for column in columns] == [len(changes.handles)] * 4
        assert len(changes.handles) * 5 < len(message)
