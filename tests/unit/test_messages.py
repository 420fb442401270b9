"""A message that arrives over MQTT soon becomes either a bounded value or a `BadMessage`."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.mqtt import messages
from gateway.mqtt.messages import (
    MAX_IDS,
    MAX_NAME,
    MAX_RANGES,
    MAX_SEQ,
    BadMessage,
    encode_metadata,
    encode_wanted,
    parse_confirmation,
    parse_gateway_state,
    parse_ingest_state,
    parse_ledger,
    parse_machine_state,
    parse_meta,
    parse_metadata,
    parse_wanted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 5.0
"""Of processor time, far beyond the half second that the largest payload takes."""

PATH = MachinePath("acme", "north", "curing", "line-1", "press-01")
META = MachineMeta("press", {"pressure": "float", "state": "int"}, {"pressure": "bar", "state": ""})

DESCRIPTION = {
    "template": "press",
    "points": {"pressure": {"type": "float", "unit": "bar"}, "state": {"type": "int"}},
}
VALID: dict[Callable[[bytes], Any], dict[str, Any]] = {
    parse_confirmation: {
        "spool": "9f2c81aa", "by": "ingest", "ranges": [[1, 5], [7, 7]], "set_aside": {"7": 2}, "taken": [[8, 9]],
        "instance": "c03f77de",
    },
    parse_gateway_state: {
        "state": "online", "spool": "9f2c81aa", "config": "3f9a", "instance": "5e01c9f2", "host": "box-17", "birth": 1
    },
    parse_ingest_state: {"state": "offline", "reason": "stopped", "instance": "5e01c9f2", "birth": 1},
    parse_machine_state: {"state": "degraded", "reason": "refused", "since": 1764000000123456, "gateway": "edge-01"},
    parse_ledger: {
        "gateway": "edge-01", "balanced": True, "spool_bytes": 0,
        "ledger": {"acquired": 5, "unchanged": 1, "dropped": {"spool_full": 1}, "pending": 0, "confirmed": 3},
        "schedule": {
            "due": 3, "taken": 3, "missed": 0, "late_ms": {"mean": 0.4, "most": 2.1},
            "lasted_ms": {"mean": 1.9, "most": 6.0},
        },
        "seconds": 12.0, "oldest_seconds": 0.4, "broker": {"again": 0, "nobody": 1, "refused": 0},
        "clock": {"trusted": True, "steps": 0, "ahead_ms": 0.0}, "drivers": {"connects": 2, "requests": 128},
        "workers": [{"worker": 1, "machines": 2, "connections": 2, "restarts": 0, "values_per_second": 12.5}],
    },
    parse_meta: {"v": 1, "id": META.id, "protocol": "modbus", "earlier": [DESCRIPTION], **DESCRIPTION},
    parse_wanted: {"v": 1, "ids": [META.id]},
    parse_metadata: {"v": 1, "known": {META.id: {"path": str(PATH), **DESCRIPTION}}, "unknown": ["0a"]},
}  # fmt: skip

HOSTILE = [
    b"", b"\x00", b"\xff\xfe", b"null", b"true", b"7", b"[]", b"{}", b'"x"', b"NaN",
    b"[" * 100_000, b'{"a":' * 100_000,
    b"9" * 5_000, b'{"v":' + b"9" * 5_000 + b"}", b'{"v":1e400}', b'{"v":true}', b'{"v":"1"}', b'{"v":1.0}',
    b'{"v":"\\ud800"}', b'{"v":1,"v":2}', b'{"spool":"a","ranges":[[1,18446744073709551616]]}',
]  # fmt: skip

ODD: list[Any] = [
    None, True, 0, -1, 1.5, 1e300, 2**63, 2**64, "7", "", "x" * 5_000, "a\nb", 'a"b', "a\\b", "\u2028", "\u202e",
    [], [[]], {}, {"": 1}, [[1, 2**63]], [[2, 1]], [[0, 1]], [[1, True]], [[1, "7"]], [[1, 2, 3]], {"7": -1},
    {"+7": 1}, {"07": 1}, {" 7": 1}, {"7.0": 1}, {"1_0": 1}, {"9" * 5_000: 1}, {"9223372036854775808": 1},
]  # fmt: skip
"""Values that some field must refuse, and that no field may stumble over."""

JSON = st.recursive(
    st.sampled_from([odd for odd in ODD if not isinstance(odd, list | dict)])
    | st.integers()
    | st.floats()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def outcome(parse: Callable[[bytes], Any], payload: bytes) -> object:
    """Return the message or the `BadMessage`; any other exception fails the test."""
    began = time.process_time()
    try:
        found = parse(payload)
    except BadMessage as error:
        found = error
    assert len(str(found)) < 2_000 or not isinstance(found, BadMessage)
    assert time.process_time() - began < SECONDS
    return found


@pytest.mark.parametrize("parse", VALID, ids=lambda parse: parse.__name__)
def test_a_message_as_it_is_sent_is_read(parse: Callable[[bytes], Any]):
    """Also with keys that a newer peer has added."""
    assert parse(json.dumps(VALID[parse]).encode()) == parse(json.dumps(VALID[parse] | {"new": [1]}).encode())


@pytest.mark.parametrize("parse", VALID, ids=lambda parse: parse.__name__)
@given(payload=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_and_json_of_any_kind_raise_nothing_but_bad_message(parse: Callable[[bytes], Any], payload: bytes):
    """Another exception would end the task that reads, and with it the service."""
    outcome(parse, payload)


@pytest.mark.parametrize("parse", VALID, ids=lambda parse: parse.__name__)
@given(data=st.data())
def test_a_field_of_any_value_raises_nothing_but_bad_message(parse: Callable[[bytes], Any], data: st.DataObject):
    """A message that is almost right passes more checks than random data."""
    message = VALID[parse]
    field = data.draw(st.sampled_from(sorted(message)))
    outcome(parse, json.dumps(message | {field: data.draw(st.sampled_from(ODD) | JSON)}).encode())


@pytest.mark.parametrize("parse", VALID, ids=lambda parse: parse.__name__)
@pytest.mark.parametrize("payload", HOSTILE, ids=lambda payload: repr(payload[:20]))
def test_hostile_payloads_are_bad_messages(parse: Callable[[bytes], Any], payload: bytes):
    """Each of them has ended a similar program."""
    assert isinstance(outcome(parse, payload), BadMessage)


def list_of(count: int, item: bytes) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


@pytest.mark.parametrize(
    ("parse", "payload"),
    [
        (parse_confirmation, lambda: b'{"spool":"a","ranges":' + list_of(MAX_RANGES + 1, b"[1,1]") + b"}"),
        (parse_confirmation, lambda: b'{"spool":"a","ranges":' + list_of(50_000, b'["",true]') + b"}"),
        (parse_confirmation, lambda: b'{"spool":"a","ranges":' + list_of(10**6, b"[1,1]") + b"}"),
        (
            parse_meta,
            lambda: (
                b'{"template":"a","points":{},"earlier":' + list_of(60_000, b'{"template":"a","points":{}}') + b"}"
            ),
        ),
        (
            parse_meta,
            lambda: orjson.dumps({"template": "a", "points": {f"p{i}": {"type": "int"} for i in range(150_000)}}),
        ),
        (parse_meta, lambda: orjson.dumps({"template": "a", "points": {f"p{i}": [] for i in range(250_000)}})),
        (parse_wanted, lambda: b'{"v":1,"ids":' + list_of(MAX_IDS + 1, b'"a"') + b"}"),
        (parse_metadata, lambda: b'{"v":1,"known":{},"unknown":' + list_of(MAX_IDS + 1, b'"a"') + b"}"),
        (parse_gateway_state, lambda: orjson.dumps({"state": "online", "instance": "a", "host": "x" * 10**6})),
    ],
    ids=[
        "few too many ranges", "wrong ranges", "a million ranges", "earlier metadata", "points", "wrong points",
        "ids", "metadata ids", "a long name",
    ],
)  # fmt: skip
def test_a_message_that_is_too_long_is_refused_soon(
    parse: Callable[[bytes], Any], payload: Callable[[], bytes]
) -> None:
    """A list without a limit would stop the event loop, and fill the memory."""
    assert isinstance(outcome(parse, payload()), BadMessage)


@pytest.mark.parametrize("key", ["+7", "07", " 7", "7 ", "7.0", "1_0", "0", "-1", "", "x", "9223372036854775808"])
def test_only_a_sequence_number_is_a_key_of_set_aside(key: str):
    """Python and pydantic read many of these as numbers, and two of them as the same number."""
    with pytest.raises(BadMessage, match="set_aside"):
        parse_confirmation(json.dumps({"spool": "a", "ranges": [], "set_aside": {key: 1}}).encode())


def test_a_confirmation_says_how_far_it_reaches():
    """The last number shows whether it confirms sequence numbers that were never used."""
    read = parse_confirmation(json.dumps(VALID[parse_confirmation]).encode())
    assert (read.ranges, read.taken, read.set_aside, read.last) == (((1, 5), (7, 7)), ((8, 9),), {7: 2}, 9)
    assert parse_confirmation(b'{"spool":"a","ranges":[]}').last == 0
    assert parse_confirmation(b'{"spool":"a","ranges":[[1,%d]]}' % MAX_SEQ).last == MAX_SEQ


@pytest.mark.parametrize("name", ["a\\", 'a"', "a\nb", "\x7f", "\u2028", "", "x" * (MAX_NAME + 1)])
def test_names_that_could_break_a_store_are_refused(name: str):
    """They are written as tags of the line protocol."""
    for wrong in ({"template": name}, {"points": {name: {"type": "int"}}}):
        with pytest.raises(BadMessage):
            parse_meta(json.dumps(DESCRIPTION | wrong).encode())


def test_a_description_is_listed_under_its_own_id():
    """Otherwise any client could give the records of others another unit."""
    answer = {"v": 1, "known": {"000000000000": {"path": str(PATH), **DESCRIPTION}}, "unknown": []}
    with pytest.raises(BadMessage, match="id"):
        parse_metadata(json.dumps(answer).encode())


@example(ids=[f"{i:012x}" for i in range(250)])
@given(ids=st.lists(st.from_regex(r"[0-9a-f]{12}", fullmatch=True), unique=True, max_size=30))
def test_wanted_ids_are_read_as_they_were_written(ids: list[str]):
    """They are split into as many messages as necessary."""
    assert [key for payload in encode_wanted(ids) for key in parse_wanted(payload).ids] == ids


def test_an_answer_is_split_where_it_is_large():
    """Brokers take messages up to a size."""
    metas = [
        MachineMeta(
            f"t{i}", {f"point_{p:04d}": "float" for p in range(2000)}, {f"point_{p:04d}": "bar" for p in range(2000)}
        )
        for i in range(5)
    ]
    written = list(encode_metadata({meta.id: (PATH, meta) for meta in metas}, ["0a"]))
    assert len(written) == 5
    read = [parse_metadata(payload) for payload in written]
    found = {key: known for answer in read for key, known in answer.known.items()}
    assert [(known.machine, known.meta) for known in found.values()] == [(PATH, meta) for meta in metas]
    assert [answer.unknown for answer in read if answer.unknown] == [("0a",)]


def test_an_answer_without_anything_known_is_one_message():
    """Ingest sets the records aside by it."""
    [written] = encode_metadata({}, ["0a"])
    assert parse_metadata(written).unknown == ("0a",)


def test_meta_is_read_in_the_words_of_stores():
    """The present description first."""
    read = parse_meta(json.dumps(VALID[parse_meta]).encode())
    assert read.metas == [META, META]


def mutated(payload: bytes, chance: random.Random) -> bytes:
    """Return a payload with some bytes changed, cut out or doubled."""
    made = bytearray(payload)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(made) + 1)
        cut = chance.choice((0, 0, 1, 5, 40))
        put = chance.choice(
            (b"", bytes([chance.randrange(256)]), b"9" * 30, b"[" * 300, b"1e300", b"true", b"{", b'"')
        )
        made[at : at + cut] = put
    return bytes(made)


@pytest.mark.parametrize("parse", VALID, ids=lambda parse: parse.__name__)
def test_messages_with_some_bytes_changed_raise_nothing_but_bad_message(parse: Callable[[bytes], Any]):
    """A failing box sends messages that are close to valid messages."""
    chance = random.Random(parse.__name__)  # noqa: S311 - damage, not secrets
    payload = json.dumps(VALID[parse]).encode()
    for _ in range(2_000):
        outcome(parse, mutated(payload, chance))


def test_an_error_repeats_nothing_of_the_payload():
    """It goes into a log."""
    with pytest.raises(BadMessage) as raised:
        parse_confirmation(
            b'{"spool":"a","ranges":[],"set_aside":{"\x1b[31msecret":"secret"}}'.replace(b"\x1b", b"\\u001b")
        )
    assert "secret" not in str(raised.value)
    assert len(str(raised.value)) <= messages.MAX_TEXT
