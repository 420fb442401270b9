"""Cut received bytes into answers, for each framing: in pieces, with noise, and from bytes other than Modbus."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.framing import Ascii, Frame, LostSync, Mbap, MbapDatagram, Rtu, crc, lrc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivers.modbus.framing import Framing

REQUEST = bytes.fromhex("03 0005 0002")  # of unit 7: the answer that is awaited
ANSWER = bytes.fromhex("03 04 0005 0006")

ANSWERS = {
    "coils": "01 03 CD 6B 05",
    "discrete inputs": "02 03 AC DB 35",
    "holding registers": "03 06 02 2B 00 00 00 64",
    "input registers": "04 02 00 0A",
    "125 registers": "03 FA" + "AB CD" * 125,
    "one coil": "05 00 AC FF 00",
    "one register": "06 00 01 00 03",
    "exception status": "07 6D",
    "diagnostics": "08 00 00 A5 37",
    "event counter": "0B FF FF 01 08",
    "event log": "0C 08 00 00 01 08 01 21 20 00",
    "several coils": "0F 00 13 00 0A",
    "several registers": "10 00 01 00 02",
    "server id": "11 03 11 FF 07",
    "file record": "14 0C 05 06 0D FE 00 20 05 06 33 CD 00 40",
    "file written": "15 0D 06 00 04 00 07 00 03 06 AF 04 BE 10 0D",
    "mask": "16 00 04 00 F2 00 25",
    "read and write": "17 0C 00 FE 0A CD 00 01 00 03 00 0D 00 FF",
    "queue": "18 00 06 00 02 01 B8 12 84",
    "identification": "2B 0E 01 01 00 00 03 00 02 41 42 01 01 43 02 03 44 45 46",
    "no identification": "2B 0E 01 01 00 00 00",
    **{f"exception of {function}": f"{function | 0x80:02X} 02" for function in (1, 2, 3, 4, 5, 6, 8, 15, 16, 43)},
}  # fmt: skip
"""Most are the examples of clauses 6.1 to 6.21."""


def rtu(pdu: bytes, unit: int = 7) -> bytes:
    return bytes((unit,)) + pdu + crc(bytes((unit,)) + pdu)


def ascii_(pdu: bytes, unit: int = 7) -> bytes:
    body = bytes((unit,)) + pdu
    return b":" + (body + lrc(body)).hex().upper().encode() + b"\r\n"


def fed(framing: Framing, pieces: Iterable[bytes]) -> list[Frame]:
    return [frame for piece in pieces for frame in framing.feed(piece)]


def waiting(framing: Framing) -> Framing:
    """Return a framing after a request."""
    framing.pack(1, 7, REQUEST)
    return framing


# -- checks --


@pytest.mark.parametrize(
    ("frame", "check"),
    [
        ("02 07", "41 12"),  # Serial Line V1.02, appendix B
        ("01 03 00 00 00 0A", "C5 CD"),
        ("01 03 02 00 01", "79 84"),
        ("11 03 00 6B 00 03", "76 87"),
        ("11 05 00 AC FF 00", "4E 8B"),
        ("0A 81 02", "B0 53"),
        ("31 32 33 34 35 36 37 38 39", "37 4B"),  # the check value of CRC-16/MODBUS, 0x4B37
        ("", "FF FF"),
    ],
)
def test_the_crc_is_that_of_the_specification(frame: str, check: str) -> None:
    """Low byte first."""
    assert crc(bytes.fromhex(frame)) == bytes.fromhex(check)


@pytest.mark.parametrize(
    ("frame", "check"), [("11 03 00 6B 00 03", "7E"), ("01 03 00 00 00 0A", "F2"), ("", "00")]
)  # fmt: skip
def test_the_lrc_is_that_of_the_specification(frame: str, check: str) -> None:
    """All bytes of a frame and its check add up to 0."""
    assert lrc(bytes.fromhex(frame)) == bytes.fromhex(check)


def test_requests_are_packed_as_other_implementations_expect() -> None:
    """Known frames, byte by byte."""
    pdu = bytes.fromhex("03 006B 0003")
    assert Rtu().pack(5, 0x11, pdu) == bytes.fromhex("11 03 006B 0003 7687")
    assert Ascii().pack(5, 0x11, pdu) == b":1103006B00037E\r\n"
    assert Mbap().pack(0x1501, 0xFF, pdu) == bytes.fromhex("1501 0000 0006 FF 03 006B 0003")


# -- RTU and ASCII --


@pytest.mark.parametrize("pdu", [pytest.param(bytes.fromhex(text), id=name) for name, text in ANSWERS.items()])
@pytest.mark.parametrize("make", [Rtu, Ascii])
def test_every_answer_is_found_split_anywhere_and_two_at_once(make: type[Framing], pdu: bytes) -> None:
    """Only the function code gives the length of an RTU frame, and USB adapters split frames anywhere."""
    one = rtu(pdu) if make is Rtu else ascii_(pdu)
    frame = Frame(None, 7, pdu)
    for cut in range(len(one) + 1):
        framing = waiting(make())
        assert fed(framing, [one[:cut], one[cut:] + one[:cut], one[cut:]]) == [frame, frame]
        assert framing.discarded == 0
    assert fed(make(), [bytes((byte,)) for byte in one * 3]) == [frame] * 3


@pytest.mark.parametrize(
    "noise",
    ["00", "FF", "00 00 00", "07", "03", "FF 03 FF", "2B 0E 00", "55 2B 0E 01", "01 18", "63 03 00 05 00 02 C1 6C"],
)
def test_noise_before_an_answer_does_not_hide_it(noise: str) -> None:
    """An RS-485 line that turns round is often read as a byte or two; some adapters repeat our own request."""
    for unit in (*range(25), 43, 131, 247):
        for pdu in (ANSWER, bytes.fromhex("03 02 0005"), bytes.fromhex("83 02")):
            framing = Rtu()
            framing.pack(1, unit, REQUEST)
            sent = bytes.fromhex(noise) + rtu(pdu, unit)
            if sent.startswith(bytes((unit, 3))):
                continue  # looks like the beginning of the answer
            assert fed(framing, [sent]) == [Frame(None, unit, pdu)]


def test_noise_that_begins_like_the_answer_costs_one_answer() -> None:
    """The received bytes may be the answer, so no other answer is looked for in the middle of them."""
    framing = waiting(Rtu())
    assert fed(framing, [b"\x07\x03\xf0", rtu(ANSWER)]) == []
    framing.forget()
    assert fed(framing, [rtu(ANSWER)]) == [Frame(None, 7, ANSWER)]


def test_noise_between_answers_is_counted() -> None:
    """Noise is a sign of a bad cable."""
    framing = waiting(Rtu())
    assert fed(framing, [b"\0" + rtu(ANSWER) + b"\xff\xff\xff" + rtu(ANSWER) + b"\0"]) == [Frame(None, 7, ANSWER)] * 2
    assert framing.discarded == 4
    framing.forget()
    assert framing.discarded == 5


@pytest.mark.parametrize("make", [Rtu, Ascii])
def test_a_frame_with_a_flipped_bit_is_not_an_answer(make: type[Framing]) -> None:
    """This holds for each bit; the next right frame is found, at the latest after the next request."""
    right = rtu(ANSWER) if make is Rtu else ascii_(ANSWER)
    for at in range(len(right) * 8):
        wrong = bytearray(right)
        wrong[at // 8] ^= 1 << at % 8
        if make is Ascii and bytes(wrong).lower().strip() == right.lower().strip():
            continue  # upper and lower case are the same digit
        framing = waiting(make())
        assert fed(framing, [bytes(wrong)]) == []
        framing.forget()
        assert fed(framing, [right]) == [Frame(None, 7, ANSWER)]


def test_ascii_is_read_in_lower_case_and_with_noise_between() -> None:
    """A colon always begins a new frame."""
    framing = Ascii()
    frame = Frame(None, 7, ANSWER)
    assert fed(framing, [ascii_(ANSWER).lower()]) == [frame]
    assert fed(framing, [b"\xff\x00noise\r\n" + ascii_(ANSWER)]) == [frame]
    assert fed(framing, [b"\xff\x00:0703" + ascii_(ANSWER) + b"\n\n\r\n", ascii_(ANSWER)]) == [frame, frame]
    assert fed(framing, [ascii_(ANSWER).replace(b"\r", b"")]) == [frame]


@pytest.mark.parametrize(
    "line",
    [b":\r\n", b":07\r\n", b":0703F6\r\n", b":07030400050006E\r\n", b":07 03 04 00 05 00 06 E7\r\n", b"\r\n",
     b"07030400050006E7\r\n", b":07030400050006E8\r\n", b":070304\r00050006E7\r\n", b":\xb20703\r\n"],
)  # fmt: skip
def test_an_invalid_ascii_frame_is_dropped(line: bytes) -> None:
    """Too short, an odd digit, blanks, no colon, a wrong check."""
    framing = Ascii()
    assert fed(framing, [line]) == []
    assert framing.discarded == len(line)
    assert fed(framing, [ascii_(ANSWER)]) == [Frame(None, 7, ANSWER)]


def kept(framing: Framing) -> int:
    """Drop the buffered bytes of an incomplete frame; return their number."""
    before = framing.discarded
    framing.forget()
    return framing.discarded - before


@pytest.mark.parametrize("first", [b"", b":"])
def test_an_over_long_line_takes_no_memory(first: bytes) -> None:
    """A port that sends noise for days must not fill the memory, nor hide the frames after it."""
    framing = Ascii()
    assert fed(framing, [first, *[b"0123456789" * 10] * 100]) == []
    assert kept(framing) <= 513
    assert fed(framing, [b"00" + ascii_(ANSWER)]) == [Frame(None, 7, ANSWER)]
    body = bytes(300)
    assert fed(framing, [b":" + (body + lrc(body)).hex().encode() + b"\r\n"]) == []


# -- Modbus TCP and UDP --


def mbap(pdu: bytes, transaction: int = 1, unit: int = 7) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def test_tcp_answers_are_found_split_anywhere_and_two_at_once() -> None:
    """TCP is a stream."""
    two = mbap(ANSWER) + mbap(ANSWER, 2, 9)
    for cut in range(len(two) + 1):
        assert fed(Mbap(), [two[:cut], two[cut:]]) == [Frame(1, 7, ANSWER), Frame(2, 9, ANSWER)]


def test_an_answer_before_garbage_is_found() -> None:
    """The stream is given up only after it."""
    framing = Mbap()
    frames = framing.feed(mbap(ANSWER) + b"\xff" * 7)
    assert next(frames) == Frame(1, 7, ANSWER)
    with pytest.raises(LostSync, match="garbage received: protocol id 65535"):
        next(frames)


@pytest.mark.parametrize("pdu", [b"", b"\x03", b"\x83\x02", ANSWER, bytes(253), bytes(254)])
def test_a_whole_response_is_read_alone_only_if_the_stream_accepts_it(pdu: bytes) -> None:
    """The short way must not accept a response that the long way refuses, such as a function code alone."""
    frame = mbap(pdu)
    try:
        [expected] = [(found.transaction, found.unit) for found in Mbap().feed(frame)]
    except LostSync:
        assert Mbap().single(frame) is None
    else:
        assert Mbap().single(frame) == expected


def test_a_datagram_is_a_whole_frame_or_nothing() -> None:
    """Half a datagram does not belong to the next datagram, which may be an old answer."""
    framing = MbapDatagram()
    for at in range(len(mbap(ANSWER))):
        assert fed(framing, [mbap(ANSWER)[:at]]) == []
        assert fed(framing, [mbap(ANSWER)[at:]]) == ([Frame(1, 7, ANSWER)] if at == 0 else [])
        assert fed(framing, [mbap(ANSWER)]) == [Frame(1, 7, ANSWER)]
    assert fed(framing, [b"\xff" * 2000, mbap(ANSWER)]) == [Frame(1, 7, ANSWER)]


# -- any bytes at all --

pdus = st.sampled_from([bytes.fromhex(text) for text in ANSWERS.values()])
units = st.sampled_from([7, 7, 3, 8, 131])
parts = (
    st.builds(rtu, pdus, units)
    | st.builds(ascii_, pdus, units)
    | st.builds(mbap, pdus, st.integers(0, 3), units)
    | st.binary(max_size=12)
    | st.sampled_from([b":", b"\r\n", b"\x07\x03", b"\x07\x03\x04", b"\x00", b"\x07\x2b\x0e"])
)
streams = st.lists(parts, max_size=6).map(b"".join)


@given(
    st.sampled_from([Rtu, Ascii, Mbap, MbapDatagram]),
    streams,
    st.lists(st.integers(0, 300), max_size=6),
    st.booleans(),
)
def test_any_bytes_give_only_frames_that_were_sent_whole(
    make: type[Framing],
    stream: bytes,
    cuts: list[int],
    asked: bool,  # noqa: FBT001
) -> None:
    """Nothing but `LostSync` is raised, and every frame was in the stream with its check."""
    framing = waiting(make()) if asked else make()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    frames = []
    try:
        for first, last in pairwise(places):
            frames += framing.feed(stream[first:last])
    except LostSync:
        assert make is Mbap
    at = 0
    for transaction, unit, pdu in frames:
        if make is Rtu:
            whole = rtu(pdu, unit)
            at = stream.find(whole, at)
        elif make is Ascii:
            whole = ascii_(pdu, unit).rstrip()
            at = stream.upper().find(whole, at)
        else:
            whole = mbap(pdu, transaction or 0, unit)
            at = stream.find(whole, at)
        assert at >= 0, "in this order, and none of it twice"
        at += len(whole)
    if make is not Mbap:
        assert kept(framing) <= 520


@given(st.sampled_from([Rtu, Ascii]), pdus, units, st.binary(max_size=40))
def test_after_any_bytes_the_next_answer_is_found(make: type[Framing], pdu: bytes, unit: int, noise: bytes) -> None:
    """A new request discards the bytes before it."""
    framing = waiting(make())
    fed(framing, [noise])
    framing.forget()
    assert fed(framing, [rtu(pdu, unit) if make is Rtu else ascii_(pdu, unit)]) == [Frame(None, unit, pdu)]
