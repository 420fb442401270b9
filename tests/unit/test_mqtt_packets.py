"""Packets of the data path: equal to those of paho, whatever the pieces in which they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.packets import (
    PUBACK,
    PUBLISH,
    MalformedPacket,
    PacketReader,
    ReceivedMessage,
    decode_puback,
    decode_publish,
    encode_puback,
    encode_publish,
    message_id,
)

TOPICS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=50)
MIDS = st.integers(1, 0xFFFF)


def decoded(stream: bytes, *, five: bool = True, size: int = 0) -> list[ReceivedMessage]:
    """Return the messages in a stream that comes in pieces of so many bytes."""
    reader = PacketReader()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)] if size else [stream]
    packets = [packet for piece in pieces for packet in reader.feed(piece)]
    return [decode_publish(first, body, five=five) for first, body in packets if first & 0xF0 == PUBLISH]


@given(
    st.lists(st.tuples(TOPICS, st.binary(max_size=300), st.just(0) | MIDS, st.booleans()), max_size=5),
    st.booleans(),
    st.integers(0, 7),
)
def test_encoded_messages_are_decoded_in_pieces_of_any_size(
    sent: list[tuple[str, bytes, int, bool]],
    five: bool,  # noqa: FBT001 - drawn
    size: int,
) -> None:
    """A socket cuts a stream anywhere."""
    stream = b"".join(
        part
        for topic, payload, mid, retain in sent
        for part in encode_publish(topic.encode(), payload, mid, retain=retain, five=five)
    )
    expected = [ReceivedMessage(topic, payload, int(mid > 0), retain, mid) for topic, payload, mid, retain in sent]
    assert decoded(stream, five=five, size=size) == expected


@pytest.mark.parametrize("length", [0, 1, 110, 111, 112, 16_000, 16_400, 2_097_000, 2_097_152])
def test_lengths_of_one_to_four_bytes_are_right(length: int) -> None:
    """The remaining length is a variable byte integer (MQTT 5, 1.5.5)."""
    header, payload = encode_publish(b"t" * 10, bytes(length), 7, retain=False, five=True)
    assert decoded(header + payload, size=70_000) == [ReceivedMessage("t" * 10, bytes(length), 1, False, 7)]  # noqa: FBT003 - retain


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        ("30 07 0003 612f62 00 78", ReceivedMessage("a/b", b"x")),
        ("33 0e 0003 612f62 0102 05 02 0000000a 79", ReceivedMessage("a/b", b"y", 1, True, 0x0102)),  # noqa: FBT003 - retain
        ("3a 09 0003 612f62 0001 00 7a", ReceivedMessage("a/b", b"z", 1, False, 1)),  # noqa: FBT003 - sent again
    ],
)
def test_packets_of_the_specification_are_read(packet: str, message: ReceivedMessage) -> None:
    """With and without an identifier, with properties (message expiry) and the flags of 3.3.1."""
    assert decoded(bytes.fromhex(packet)) == [message]


def test_acknowledgements_have_a_reason_code_where_it_is_not_success() -> None:
    """MQTT 5, 3.4.2.1: the reason code may be left out if it is 0."""
    assert decode_puback(bytes.fromhex("1234")) == (0x1234, 0)
    assert decode_puback(bytes.fromhex("123410")) == (0x1234, 0x10)
    assert decode_puback(bytes.fromhex("12348700")) == (0x1234, 0x87)
    [(first, body)] = PacketReader().feed(encode_puback(0x1234))
    assert (first, decode_puback(body)) == (PUBACK, (0x1234, 0))


@pytest.mark.parametrize("stream", ["30 ff ff ff ff 01", "30 80 80 80 80 00"])
def test_a_length_of_five_bytes_is_refused(stream: str) -> None:
    """MQTT 5, 1.5.5: four bytes at the most."""
    with pytest.raises(MalformedPacket):
        list(PacketReader().feed(bytes.fromhex(stream)))


@pytest.mark.parametrize(
    "body", ["", "00", "0005 6162", "0001 61 00", "0001 61 0001", "0001 61 0001 05 00", "0001 61 0001 ff"]
)
def test_a_message_that_is_cut_is_refused(body: str) -> None:
    """No length in a packet may point behind its end."""
    with pytest.raises(MalformedPacket):
        decode_publish(0x32, bytes.fromhex(body), five=True)


def test_a_message_with_an_invalid_topic_has_an_identifier_to_acknowledge() -> None:
    """MQTT 5, 1.5.4: a broker must not forward it; without an acknowledgement it would come again and again."""
    body = bytes.fromhex("0002 fffe 0042 00 78")
    with pytest.raises(UnicodeDecodeError):
        decode_publish(0x32, body, five=True)
    assert message_id(0x32, body) == 0x42


@given(st.binary(max_size=60), st.booleans())
def test_bytes_of_any_kind_raise_nothing_else(stream: bytes, five: bool) -> None:  # noqa: FBT001 - drawn
    """A server that is not a broker must not end a gateway."""
    try:
        for first, body in PacketReader().feed(stream):
            if first & 0xF0 == PUBACK:
                decode_puback(body)
            elif first & 0xF0 == PUBLISH:
                decode_publish(first, body, five=five)
    except (MalformedPacket, UnicodeDecodeError):
        pass


def test_a_large_packet_in_small_pieces_is_put_together_once() -> None:
    """Each piece must not cost a copy of all before it: 64 MiB would take minutes."""
    header, payload = encode_publish(b"t", bytes(8 * 2**20), 1, retain=False, five=True)
    assert [len(message.payload) for message in decoded(header + payload, size=1460)] == [8 * 2**20]


@given(st.lists(MIDS, min_size=1))
def test_the_answers_to_a_wave_of_records_are_read_together(mids: list[int]) -> None:
    """A broker answers hundreds of records in one segment."""
    stream = b"".join(map(encode_puback, mids))
    reader = PacketReader()
    assert reader.accepted(stream) == mids
    assert [decode_puback(body) for _, body in reader.feed(stream)] == [(mid, 0) for mid in mids]


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\x40\x02\0",
        b"\x40\x02\0\1\x40",
        b"\x40\x03\0\1\x10\x40\x02\0",
        b"\x40\x02\0\1\xd0\0\x40\x02",
        b"\x40\x02\0\1\x40\x03\0\2",
    ],
)
def test_other_packets_than_whole_plain_answers_are_left_to_the_general_reader(stream: bytes) -> None:
    """A refusal has a reason code, and the socket cuts a stream anywhere."""
    assert PacketReader().accepted(stream) == []


def test_the_rest_of_a_packet_is_not_taken_for_an_answer() -> None:
    """The last bytes of a message may look like an answer."""
    reader = PacketReader()
    assert list(reader.feed(b"\x30\x08\0\1t\0")) == []
    assert reader.accepted(b"\x40\x02\0\1") == []
