"""Records as JSON: an encoded record is decoded again, and any other payload is refused with a reason."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from points import group_of, node, whole

from drivers.base import Fault, Quality, Reason, bad
from gateway.codecs import CODECS, Undecodable
from gateway.model.reading import NamedScan, name_scan
from gateway.model.record import Record
from gateway.model.text import FORBIDDEN_TEXT

CODEC = CODECS["json"]

NAMES = st.text("abcXYZ019_.-", min_size=1, max_size=8)
POINTS = st.text(min_size=1, max_size=8).filter(lambda name: not FORBIDDEN_TEXT.search(name))
TIMES = st.integers(1, 253_402_300_799_999_999)
VALUES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
WORDS = st.dictionaries(POINTS, st.sampled_from([*Reason]) | st.text(), max_size=3)
OWN_TIMES = st.dictionaries(POINTS, TIMES, max_size=3)
SCANS = st.builds(
    NamedScan, TIMES, st.dictionaries(POINTS, VALUES, max_size=5), WORDS, WORDS, WORDS, OWN_TIMES
).filter(lambda scan: scan.bad.keys().isdisjoint(scan.values))
TAGS = st.just("") | st.binary(min_size=8, max_size=8).map(bytes.hex)
RECORDS = st.builds(
    Record, NAMES, NAMES, st.integers(1, 2**63 - 1), st.lists(SCANS, max_size=3), st.just("") | NAMES, TAGS
)


def shape(record: Record) -> list[list[tuple[str, type]]]:
    return [[(name, type(value)) for name, value in scan.values.items()] for scan in record.scans]


@given(RECORDS)
def test_an_encoded_record_is_decoded_again(record: Record) -> None:
    """With every type: 1, 1.0 and true are not the same to a store."""
    found = CODEC.decode(CODEC.encode(record))
    assert found == record
    assert shape(found) == shape(record)


def test_a_record_looks_as_documented() -> None:
    """Others read it, too: empty parts are left out, and a fault is a reason of the list."""
    points = [node("pressure", type="float"), node("state", type="int"), node("platen", type="float")]
    scan = whole(
        group_of(points), 1764000000123456, 16.02, 4, None,
        p1=Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE), p2=bad(Reason.REFUSED, "exception 2"),
    )  # fmt: skip
    record = Record("edge-1", "a1b2", 48211, [name_scan(scan), NamedScan(1, {"state": 5})], "5d0c9e3f7a21")
    assert CODEC.encode(record) == (
        b'{"v":1,"gateway":"edge-1","spool":"a1b2","seq":48211,"meta":"5d0c9e3f7a21","scans":['
        b'{"t":1764000000123456,"values":{"pressure":16.02,"state":4},"bad":{"platen":"refused"},'
        b'"uncertain":{"state":"out_of_range"},"codes":{"platen":"exception 2"}},'
        b'{"t":1,"values":{"state":5}}]}'
    )
    assert CODEC.decode(CODEC.encode(record)) == record


def changed(*path: Any, to: Any = None) -> bytes:
    """Return a record with every part, but for one."""
    scan = {"t": 5, "values": {"a": 1, "b": 1.5}, "bad": {"c": "stale"}, "uncertain": {"a": "x"}, "codes": {"a": "y"},
            "times": {"a": 4}}  # fmt: skip
    data: Any = {"v": 1, "gateway": "g", "spool": "s", "seq": 1, "scans": [scan]}
    if not path:
        return orjson.dumps(data)
    place = data
    for step in path[:-1]:
        place = place[step]
    if to is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return orjson.dumps(data)


def text(values: str) -> bytes:
    """Return a record with this text as its values, which no encoder would write."""
    return f'{{"v":1,"gateway":"g","spool":"s","seq":1,"scans":[{{"t":5,"values":{values}}}]}}'.encode()


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ('{"a": 1, "b" : 2.5}', {"a": 1, "b": 2.5}),
        ('{\n"a":\t1}', {"a": 1}),
        ('{"a":"\\":"}', {"a": '":'}),
        ('{"a":1e300,"b":-1e300}', {"a": 1e300, "b": -1e300}),
        ('{"a":9223372036854775807,"b":-9223372036854775808}', {"a": 2**63 - 1, "b": -(2**63)}),
        ('{"a":"line\\nfeed","b":"\\u0000"}', {"a": "line\nfeed", "b": "\0"}),
        ('{"\\u0061\\u00e9 \\u03a9":true}', {"aé \u03a9": True}),
    ],
)  # fmt: skip
def test_other_forms_of_json_are_records_too(written: str, values: dict[str, Any]) -> None:
    """JSON has blanks, escapes and exponents; another publisher need not write as ours does."""
    [scan] = CODEC.decode(text(written)).scans
    assert scan.values == values


@pytest.mark.slow
def test_a_payload_that_is_too_large_is_not_even_parsed() -> None:
    """One message of 65 MB would take a second of every other machine's, and ten times its size of memory."""
    with pytest.raises(Undecodable, match="bytes, where 8388608 are the most"):
        CODEC.decode(text('{"a":"' + "x" * 65_000_000 + '"}'))


def test_unknown_keys_are_for_later_versions() -> None:
    """A newer gateway may add keys; the known keys keep their meaning."""
    assert CODEC.decode(changed("later", to={"a": 1})) == CODEC.decode(changed())


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"null", b"[]", b"1", b'"v"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 5000, b'{"v":1}', b"NaN",
        changed("v", to=2), changed("v", to=True), changed("v", to=1.0), changed("v", to="1"),
        changed("v", to=KeyError),
        changed("gateway", to=5), changed("spool", to=None), changed("spool", to=KeyError),
        changed("seq", to="1"), changed("seq", to=1.0), changed("seq", to=True), changed("seq", to=2**63),
        changed("scans", to={}), changed("scans", to=[None]), changed("scans", to=[[]]),
        changed("scans", to=KeyError),
        changed("scans", 0, "t", to=KeyError), changed("scans", 0, "t", to=1.5), changed("scans", 0, "t", to=-1),
        changed("scans", 0, "t", to=2**63), changed("scans", 0, "t", to=253_402_300_800_000_000),
        changed("scans", 0, "values", to=KeyError), changed("scans", 0, "values", to=[1]),
        changed("scans", 0, "values", "a", to=None), changed("scans", 0, "values", "a", to=[1]),
        changed("scans", 0, "values", "a", to={}), changed("scans", 0, "values", "a", to=2**63),
        changed("scans", 0, "bad", to=None), changed("scans", 0, "bad", to=[]), changed("scans", 0, "bad", "c", to=1),
        changed("scans", 0, "uncertain", "a", to=None), changed("scans", 0, "codes", to="x"),
        changed("scans", 0, "times", "a", to=1.5), changed("scans", 0, "times", "a", to=-1),
        changed("scans", 0, "times", "a", to=2**63), changed("scans", 0, "times", "a", to=True),
        changed("meta", to=5), changed("meta", to=None), changed("scans", 0, "bad", "a", to="both bad and a value"),
        changed("gateway", to=""), changed("gateway", to="a/b"), changed("gateway", to="a+"),
        changed("spool", to="#"),
        changed("gateway", to="a\n"), changed("gateway", to="a" * 300),
        changed("scans", 0, "values", "", to=1), changed("scans", 0, "values", "a\nb", to=1),
        changed("scans", 0, "values", "a\x7f", to=1), changed("scans", 0, "bad", "", to="refused"),
        changed("scans", 0, "codes", "a\0", to="x"), changed("scans", 0, "values", "a\\", to=1),
        changed("scans", 0, "values", 'say "a"', to=1), changed("scans", 0, "values", "a\u2028b", to=1),
        changed("scans", 0, "values", "a\x9bb", to=1), changed("scans", 0, "bad", "a\u202eb", to="refused"),
        changed("scans", 0, "values", "a" * 257, to=1), changed("gateway", to="a\\"), changed("spool", to='"'),
        changed("seq", to=0), changed("seq", to=-1),
        changed("scans", 0, "values", "a", to=2**64 - 1),
        text('{"a":18446744073709551616}'), text('{"a":-9223372036854775809}'), text('{"a":1e999}'),
        text('{"a":-9223372036854775809,"b":1.5}'), text('{"a":' + "9" * 5000 + "}"), text('{"a":NaN}'),
        text('{"a":-Infinity}'), text('{"a":"\\ud800"}'), text('{"a":1,"a":2}'), text('{"a":1,"\\u0061":2}'),
        text('{"a":1,"a" :2}'), text('{"a":1,"a"\n:2}'), text('{"a":"x\\":","a":"y"}'),
        text('{"a":1},"values":{"b":1}'),
        text('{"a":1},"more":{"b":1,"b":2}'), text('{"a":1}').replace(b'"seq":1', b'"seq":1,"seq":2'),
        text('{"a":1},"more":' + '{"a":' * 1100 + "1" + "}" * 1100), text('{"a":1},"bad":' + "[" * 1000 + "]" * 1000),
        text("[" * 1000 + "]" * 1000),
    ],
)  # fmt: skip
def test_a_payload_that_is_not_a_record_is_refused_in_one_line(payload: bytes) -> None:
    """It goes into a file for a person to look at, with the reason beside it."""
    with pytest.raises(Undecodable) as caught:
        CODEC.decode(payload)
    assert 0 < len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
PATHS = [
    ("v",), ("gateway",), ("spool",), ("seq",), ("scans",), ("scans", 0), ("scans", 0, "t"), ("scans", 0, "values"),
    ("scans", 0, "values", "a"), ("scans", 0, "bad"), ("scans", 0, "bad", "c"), ("scans", 0, "uncertain"),
    ("scans", 0, "codes"), ("scans", 0, "times"), ("scans", 0, "times", "a"),
]  # fmt: skip


def decodes_or_refuses(payload: bytes) -> None:
    try:
        record = CODEC.decode(payload)
    except Undecodable:
        return
    assert CODEC.decode(CODEC.encode(record)) == record
    assert all(type(value) in {bool, int, float, str} for scan in record.scans for value in scan.values.values())


@given(st.sampled_from(PATHS), JSON.filter(lambda data: not isinstance(data, int) or data >= -(2**63)))
@example(("scans", 0, "values", "a"), -(2**63))
@example(("scans", 0, "t"), 0)
def test_nothing_that_is_nearly_a_record_trips_the_decoder(path: tuple[Any, ...], to: Any) -> None:
    """One message must not end the ingest of all others; an accepted record can be encoded again."""
    try:
        payload = changed(*path, to=to)
    except TypeError:  # whole numbers deeper inside that JSON has no room for
        return
    decodes_or_refuses(payload)


@pytest.mark.parametrize("depth", [10, 500, 900, 990, 1000, 1010, 1020, 1100, 100_000])
def test_no_depth_trips_the_decoder(depth: int) -> None:
    """Keys of later versions may be nested; nesting beyond the limit of the parsers is refused without a crash."""
    decodes_or_refuses(text('{"a":1},"more":' + '{"a":' * depth + "1" + "}" * depth))
    decodes_or_refuses(text('{"a":1},"more":' + "[" * depth + "]" * depth))


@given(st.binary(max_size=200), st.integers(0, 10**6), st.integers(0, 255))
def test_no_bytes_trip_the_decoder(payload: bytes, place: int, byte: int) -> None:
    """This holds for noise, for a record with a changed byte, and for a record that was cut off."""
    decodes_or_refuses(payload)
    right = bytearray(changed())
    right[place % len(right)] = byte
    decodes_or_refuses(bytes(right))
    decodes_or_refuses(bytes(right[: place % len(right)]))


def test_a_reading_that_was_missed_and_read_later_is_marked():
    """A live view must not show it as the present value; a count of readings must include it."""
    record = Record("edge-1", "a1b2", 7, [NamedScan(1000, {"speed": 4.5}, times={"speed": 900}, late=True)])
    encoded = CODEC.encode(record)
    assert orjson.loads(encoded)["scans"][0]["late"] is True
    assert CODEC.decode(encoded) == record
    with pytest.raises(Undecodable, match="late is 'yes', where true or false belongs"):
        CODEC.decode(encoded.replace(b'"late":true', b'"late":"yes"'))
