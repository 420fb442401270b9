"""The subscriber of the benchmarks: MQTT packets, the messages of each product, and the ages of their scans."""

from __future__ import annotations

import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure.modbus_machines import Connection, images
from measure.plant import ModbusPlant
from measure.subscriber import FORMATS, Decoded, Packets, Receiver, Seen, percentile, publication


def packet(head: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        length.append(rest % 128 | (0x80 if rest > 127 else 0))
        rest //= 128
        if not rest:
            return bytes([head]) + bytes(length) + body


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_packets_are_found_however_the_stream_is_cut(bodies: list[bytes], size: int):
    """TCP keeps no boundaries: a packet may arrive in parts, or with others."""
    stream = b"".join(packet(0x30, body) for body in bodies)
    packets = Packets()
    found = [one for at in range(0, len(stream), size) for one in packets.feed(stream[at : at + size])]
    assert found == [(0x30, body) for body in bodies]


@pytest.mark.parametrize(("head", "extra"), [(0x30, b""), (0x31, b""), (0x32, b"\0\7")])
def test_the_packet_id_is_not_part_of_the_payload(head: int, extra: bytes):
    """Only QoS 1 and 2 have one."""
    assert publication(head, b"\0\3a/b" + extra + b"payload") == ("a/b", b"payload")


def test_every_product_is_decoded_to_values_and_times_in_microseconds():
    """The figures of different products are comparable only if a value is the same thing in all of them."""
    record = {
        "spool": "s",
        "seq": 7,
        "scans": [{"t": 5, "values": {"a": 1.0}, "bad": {"b": "refused"}}, {"t": 6, "values": {}}],
    }
    metric = {"name": "m", "tags": {}, "fields": {"a": 1, "b": 2}, "timestamp": 5}
    change = {"fields": {"value_0001": 1.0, "Quality": "The operation succeeded. StatusGood (0x0)"}, "timestamp": 6}
    telemetry = {"m0": [{"ts": 5, "values": {"a": 1, "b": 2}}], "m1": [{"ts": 6, "values": {"a": 1}}]}
    decode = {name: form.decode for name, form in FORMATS.items()}
    assert decode["lineside"](orjson.dumps(record)) == Decoded(2, [5, 6], ("s", 7))
    assert decode["telegraf"](orjson.dumps(metric)) == Decoded(2, [5])
    assert decode["telegraf"](orjson.dumps({"metrics": [metric, change]})) == Decoded(3, [5, 6])
    assert decode["thingsboard"](orjson.dumps(telemetry)) == Decoded(3, [5000, 6000])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_percentiles_are_values_that_were_measured(share: float, expected: float):
    """With few values the highest percentile is the largest of them."""
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected
    assert percentile([], share) is None


def test_a_window_has_only_the_messages_that_arrived_in_it():
    """The warm-up does not count."""
    seen = Seen()
    for now in (1.0, 2.0, 3.0):
        seen.add(now, Decoded(10, [int(now * 1e6) - 50_000]), confirmable=False)
    found = seen.window(2.0, 3.0)
    assert found["published"] == {
        "messages": 1,
        "values": 10,
        "p50": pytest.approx(0.05),
        "p99": pytest.approx(0.05),
        "most": pytest.approx(0.05),
    }
    assert found["stored"]["values"] == 0
    assert found["first"] == 1.0


def test_the_age_of_a_stored_scan_ends_with_its_first_confirmation():
    """Confirmations come as ranges, and may come twice."""
    receiver = Receiver("lineside", confirmable=True)
    for seq in (1, 2, 3):
        record = {"spool": "s", "seq": seq, "scans": [{"t": 1_000_000, "values": {"a": 1}}]}
        receiver.add(1.1, "lineside/v1/e/s/a/l/m/data", orjson.dumps(record))
    for now in (1.5, 9.0):
        confirmation = {"spool": "s", "ranges": [[1, 2]]}
        receiver.add(now, "lineside/v1/e/s/_gateways/g/confirmed", orjson.dumps(confirmation))
    receiver.add(2.0, "lineside/v1/e/s/_gateways/g/ledger", orjson.dumps({"ledger": {"acquired": 3}}))
    found = receiver.seen.window(0.0, 10.0)
    assert found["stored"] == {"messages": 2, "values": 2, "p50": 0.5, "p99": 0.5, "most": 0.5}
    assert found["ledgers"] == [(2.0, {"ledger": {"acquired": 3}})]


def request(transaction: int, first: int, count: int) -> bytes:
    return struct.pack(">HHHBBHH", transaction, 0, 6, 1, 3, first, count)


def test_the_machines_answer_requests_that_arrive_in_parts_and_together():
    """A client with several requests in flight sends them in one segment."""
    plant = ModbusPlant(1, 10, changing=False)
    states = images(plant)
    both = request(1, 0, 4) + request(2, 4, 3)
    connection = Connection(states)
    assert connection.answer(both[:15]) + connection.answer(both[15:]) == b"".join([
        struct.pack(">HHHBBB", 1, 0, 11, 1, 3, 8), states[0][:8],
        struct.pack(">HHHBBB", 2, 0, 9, 1, 3, 6), states[0][8:14],
    ])  # fmt: skip


def test_every_point_of_a_changing_machine_differs_from_scan_to_scan():
    """Else report by exception, or a cache, would make the measured gateway look better."""
    plant = ModbusPlant(1, 100)
    states = images(plant)
    assert len(states[0]) == 250
    for before, after in zip(states, states[1:] + states[:1], strict=True):
        for register in plant.registers():
            span = slice(2 * register.address, 2 * register.address + (4 if register.raw == "float32" else 2))
            assert before[span] != after[span]
