"""Records as bytes: an encoded record is decoded again, here and by a decoder that knows the document only."""

from __future__ import annotations

import math
import re
import struct
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.base import Reason
from gateway.codecs import CODECS, Codec, Undecodable, binary, codec_of, decode
from gateway.ingest.batch import Batch
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.status import IngestStatus
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import AnyRecord, GatewayRecord, PlacedScan, Record
from gateway.model.text import FORBIDDEN_TEXT
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.spool.renumber import renumber

CODEC, JSON = CODECS["binary"], CODECS["json"]
ROOT = Path(__file__).parents[2]
PRESS, DRUM = MachinePath("e", "s", "a", "l", "press"), MachinePath("e", "s", "a", "l", "drum")

WORDS = st.text("abcXYZ019_.-", min_size=1, max_size=8)
POINTS = st.text(min_size=1, max_size=8).filter(lambda name: not FORBIDDEN_TEXT.search(name))
TIMES = st.integers(0, 253_402_300_799_999_999)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SINGLES = st.floats(allow_nan=False, allow_infinity=False, width=32)
WHOLE = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-(2**31), 2**31 - 1)
ANY = st.one_of(st.booleans(), WHOLE, FLOATS, st.text())


@st.composite
def columns(draw: st.DrawFn) -> tuple[tuple[str, ...], list[Any]]:
    """Draw names with values of any types, or of few: those have runs of their own kind."""
    kinds = draw(st.lists(st.sampled_from([ANY, FLOATS, SINGLES, SMALL, st.booleans(), st.text()]), max_size=2))
    values = [value for kind in kinds for value in draw(st.lists(kind, max_size=40))]
    return tuple(f"p{place}" for place in range(len(values))), values


@st.composite
def scans(draw: st.DrawFn) -> NamedScan:
    texts = st.dictionaries(POINTS, st.sampled_from([*Reason]) | st.text(), max_size=3)
    names, values = draw(
        columns() | st.dictionaries(POINTS, ANY, max_size=5).map(lambda d: (tuple(d), [*d.values()]))
    )
    scan = NamedScan.of_columns(draw(TIMES), names, values, late=draw(st.booleans()))
    if draw(st.booleans()):
        scan.bad = {name: reason for name, reason in draw(texts).items() if name not in names}
        scan.uncertain, scan.codes = draw(texts), draw(texts)
        scan.times = draw(st.dictionaries(POINTS, TIMES, max_size=3))
    return scan


PLACED = st.builds(PlacedScan, st.sampled_from([PRESS, DRUM]), st.just("") | WORDS, scans())
SEQS = st.integers(1, 2**63 - 1)
TAGS = st.just("") | st.binary(min_size=8, max_size=8).map(bytes.hex)
RECORDS = st.builds(Record, WORDS, WORDS, SEQS, st.lists(scans(), max_size=4), st.just("") | WORDS, TAGS) | st.builds(
    GatewayRecord, WORDS, WORDS, SEQS, st.lists(PLACED, max_size=4), TAGS
)


YES = (True,)


def shape(record: AnyRecord) -> list[list[tuple[str, type, str]]]:
    """Return names, types and digits of all values: 1, 1.0 and true are equal, as are 0.0 and -0.0."""
    found = [one.scan if isinstance(one, PlacedScan) else one for one in record.scans]
    return [[(name, type(value), repr(value)) for name, value in scan.values.items()] for scan in found]


def of(*values: Any, names: tuple[str, ...] | None = None, **parts: Any) -> Record:
    scan = NamedScan.of_columns(5, names or tuple(f"p{place}" for place in range(len(values))), values)
    for part, content in parts.items():
        setattr(scan, part, content)
    return Record("edge", "9f2c", 7, [scan], "5d0c")


# -- a decoder written from docs/schema.md alone --


def documented(payload: bytes) -> dict[str, Any]:  # noqa: C901 - a whole decoder
    """Return the record that these bytes are, according to the document."""

    def take(form: str) -> tuple[Any, ...]:
        nonlocal body
        size = struct.calcsize("<" + form)
        taken, body = struct.unpack("<" + form, body[:size]), body[size:]
        return taken

    def text(position: int) -> str:
        return entries[position].decode()

    def names(position: int) -> list[str]:
        return text(position).split("\n") if entries[position] else []

    def part() -> dict[str, int]:
        listed = names(*take("I"))
        [kind] = take("c")
        return dict(zip(listed, take(f"{len(listed)}{kind.decode()}"), strict=True))

    first, version, bits, seq = struct.unpack("<BBBQ", payload[:11])
    assert (first, version) == (0xB1, 1)
    body = zstandard.decompress(payload[11:]) if bits & 1 else payload[11:]
    of_gateway = bool(bits & 2)
    time, count, number = take("qII")
    lengths = take(f"{count}I")
    entries = [cast("bytes", take(f"{length}s")[0]) for length in lengths]
    rows = [take("qIIIIB" if of_gateway else "qIIB") for _ in range(number)]
    record: dict[str, Any] = {"gateway": text(0), "spool": text(1), "seq": seq, "scans": []}
    if not of_gateway:
        record["meta"] = text(2)
    for row in rows:
        difference, *place, listed, layout, parts = row
        time += difference
        values: list[Any] = []
        bools: list[int] = []
        for kind, many in struct.iter_unpack("<cH", entries[layout]):
            if kind == b"?":
                bools += range(len(values), len(values) + many)
                values += many * [None]
            elif kind == b"s":
                values += map(text, take(f"{many}I"))
            else:
                values += take(f"{many}{kind.decode()}")
        packed = int.from_bytes(take(f"{(len(bools) + 7) // 8}s")[0], "little")
        for bit, position in enumerate(bools):
            values[position] = bool(packed >> bit & 1)
        scan = {"time": time, "values": dict(zip(names(listed), values, strict=True)), "late": bool(parts & 16)}
        for bit, name in ((1, "bad"), (2, "uncertain"), (4, "codes")):
            scan[name] = {point: text(position) for point, position in part().items()} if parts & bit else {}
        scan["times"] = {point: time + ahead for point, ahead in part().items()} if parts & 8 else {}
        record["scans"].append((*map(text, place), scan))
    assert not body
    return record


def expected(record: AnyRecord) -> dict[str, Any]:
    head: dict[str, Any] = {"gateway": record.gateway, "spool": record.spool, "seq": record.seq}
    if isinstance(record, GatewayRecord):
        return head | {"scans": [(str(one.path), one.meta, one.scan.as_dict()) for one in record.scans]}
    return head | {"scans": [(scan.as_dict(),) for scan in record.scans], "meta": record.meta}


# -- round trips --


@pytest.mark.slow
@given(RECORDS)
@example(of())
@example(Record("g", "g", 1, [], "g"))
@example(GatewayRecord("g", "g", 2**63 - 1, []))
@example(of(*[1.5] * 70_000, names=tuple(f"p{place}" for place in range(70_000))))
@example(of(*YES, 1.5, "a", 7, *[*YES, 1.5, "a", 7] * 30))
@example(of(*[0.1] * 40, 1))
@example(of(0.1, 0.2, 1, 0.2, 0.3))
@example(of(0.1, 0.2, *YES, 0.2, 0.3))
@example(of(0.5, 2**62, 0.5, 2**53 + 1, 0.5))
@example(of(0.1, "text", 0.2, "text", 0.3))
@example(of(-0.0, 0.0, 5e-324, 1.7976931348623157e308, 3.4028235677973366e38))
@example(of(1.7976931348623157e308, 1.7976931348623157e308))
@example(of(2**63 - 1, -(2**63), 0, *YES))
def test_an_encoded_record_is_decoded_again(record: AnyRecord) -> None:
    """With every type and digit, and by every program that follows the document."""
    payload = CODEC.encode(record)
    found = CODEC.decode(payload)
    assert found == record
    assert type(found) is type(record)
    assert shape(found) == shape(record)
    assert documented(payload) == expected(record)


def test_a_record_looks_as_documented() -> None:
    """Others read it, too; these are the bytes of the example in docs/schema.md."""
    record = of(16.02, 4, names=("pressure", "state"), bad={"platen": Reason.REFUSED})
    document = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```hex\n(.*?)```", document, re.DOTALL)
    written = bytes.fromhex("".join(line.split("#")[0] for line in example.splitlines()))
    assert CODEC.encode(record) == written
    assert documented(written) == expected(record)


def test_floats_that_fit_into_four_bytes_need_no_more() -> None:
    """OPC UA servers send many of them, and JSON writes them with 17 digits."""
    single = [struct.unpack("<f", struct.pack("<f", place / 7))[0] for place in range(15)]
    double = [place / 7 for place in range(15)]
    assert len(CODEC.encode(of(*double))) - len(CODEC.encode(of(*single))) == 15 * 4
    assert shape(CODEC.decode(CODEC.encode(of(*single, 1)))) == shape(of(*single, 1))


def test_names_are_written_once_for_all_scans_that_have_them() -> None:
    names = tuple(f"pressure_{place}" for place in range(5))
    one, two = ([NamedScan.of_columns(t, names, [0.1] * 5) for t in range(n)] for n in (1, 2))
    sizes = [len(CODEC.encode(Record("edge", "9f2c", 7, found, "m"))) for found in (one, two)]
    assert sizes[1] - sizes[0] == 17 + 5 * 8


def test_a_large_record_is_compressed_and_a_small_one_is_not() -> None:
    small, large = of(*[1.1] * 8), of(*[float(place) + 0.1 for place in range(500)])
    assert CODEC.encode(small)[2] == 0
    assert CODEC.encode(large)[2] == 1
    assert len(CODEC.encode(large)) < 500 * 8
    assert CODEC.decode(CODEC.encode(large)) == large


def test_a_record_does_not_grow_with_its_sequence_number() -> None:
    """The splitter measures pieces under a number that they do not get."""
    record = of(*[place / 7 for place in range(300)])
    assert len({len(CODEC.encode(Record("edge", "9f2c", seq, record.scans))) for seq in (1, 255, 10**18)}) == 1


@pytest.mark.parametrize("kind", [Record, GatewayRecord])
def test_records_have_the_names_of_their_points_in_common(kind: type) -> None:
    """Stores keep tables by the names of a scan, whatever the codec of a record."""
    scan = NamedScan(5, {"p": 1.0, "q": 2})
    record: AnyRecord = (
        Record("edge", "9f2c", 7, [scan])
        if kind is Record
        else GatewayRecord("edge", "9f2c", 7, [PlacedScan(PRESS, "m", scan)])
    )
    places: list[Any] = [CODEC.decode(CODEC.encode(record)).scans[0] for _ in range(2)]
    found = [one.scan if kind is GatewayRecord else one for one in places]
    assert found[0].columns[0] is found[1].columns[0]
    if kind is GatewayRecord:
        [other] = cast("GatewayRecord", JSON.decode(JSON.encode(record))).scans
        assert other.scan.columns[0] is found[0].columns[0]
        assert other.path is places[0].path is places[1].path


@pytest.mark.parametrize(
    "record",
    [
        of(math.nan), of(math.inf), of(1.5, -math.inf, 2.5), of(1, math.nan), of("a", math.nan, 1), of(2**63),
        of(1.5, -(2**63) - 1), of(1.5, names=("a\nb",)), of(1.5, names=("",)), of("\ud800"), of(None), of([1]),
        of("x" * 2**12, *["x" * 2**12] * 3000), of(*[True] * (2**18 + 1)),
        Record("edge", "9f2c", 7, [NamedScan(5)] * (2**16 + 1)),
    ],
)  # fmt: skip
def test_what_no_decoder_would_accept_is_not_encoded(record: Record) -> None:
    """The gateway counts it as not encodable, or halves the record; nothing else of the record is lost."""
    with pytest.raises((ValueError, struct.error)):
        CODEC.encode(record)


# -- both codecs side by side --


def test_the_first_byte_says_the_codec() -> None:
    """A plant changes one gateway after the other, and a spool may have records of the codec before."""
    record = of(1.5, 2, *YES, "a")
    assert decode(JSON.encode(record)) == decode(CODEC.encode(record)) == record
    assert codec_of(JSON.encode(record)) is JSON
    assert codec_of(CODEC.encode(record)) is CODEC
    again = renumber(CODEC, "edge-2", JSON.encode(record), "77aa", 9)
    assert codec_of(again) is CODEC
    assert replace(decode(again), tag="") == Record("edge-2", "77aa", 9, record.scans, record.meta)
    for payload in (b"", b"\xb1", b"\xb2", b"?"):
        with pytest.raises(Undecodable):
            decode(payload)


@pytest.mark.parametrize("codec", [JSON, CODEC], ids=["json", "binary"])
def test_ingest_takes_records_of_every_codec(codec: Codec) -> None:
    """Readings without metadata are set aside as a record of the codec that they came with."""
    topics, metadata, batch = Topics("root"), MetadataRegistry(), Batch(cast("Any", None))
    known = MachineMeta("press", {"p": "float"}, {"p": "bar"})
    metadata.add(PRESS, [known])
    decoder = MessageDecoder(topics, metadata, MetadataRequests(lambda: 0.0), IngestStatus(), gateway_resends=False)
    scans = [PlacedScan(PRESS, known.id, NamedScan(5, {"p": 1.5})), PlacedScan(DRUM, "lost", NamedScan(5, {"d": 2}))]
    payload = codec.encode(GatewayRecord("edge", "9f2c", 7, scans))
    decoder.add(batch, ReceivedMessage("root/e/s/_gateways/edge/data", payload, qos=1, mid=1))
    assert [(one.path, one.meta, one.scan.values) for one in batch.scans] == [(PRESS, known, {"p": 1.5})]
    [letter] = batch.letters[0]
    assert codec_of(letter.payload) is codec
    assert decode(letter.payload) == GatewayRecord("edge", "9f2c", 7, scans[1:])


def test_without_its_extra_the_codec_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A configuration ends with one line, and a compressed record is set aside with the reason."""
    record = of(*[1.1] * 500)
    compressed = CODEC.encode(record)
    file = tmp_path / "factory.yaml"
    file.write_text("format: 1\nfactory: {enterprise: e, site: s}\ngateway: {id: edge, codec: binary}\n")
    binary._zstd.cache_clear()  # noqa: SLF001 - as in a new process
    request.addfinalizer(binary._zstd.cache_clear)  # noqa: SLF001 - as in a new process
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    lines = [str(problem) for problem in caught.value.problems if "codec" in str(problem)]
    assert len(lines) == 1
    assert "needs the extra zstd; install it with: " in lines[0]
    with pytest.raises(Undecodable, match=r"is compressed; to read it, install it with: .*zstandard>=0\.23"):
        CODEC.decode(compressed)
    assert CODEC.decode(CODEC.encode(record)) == record, "uncompressed records need no extra"


# -- hostile input --


def decodes_or_refuses(payload: bytes, *, encode_again: bool = True) -> None:
    try:
        record = decode(payload)
    except Undecodable:
        return
    if encode_again:
        assert decode(CODEC.encode(record)) == record
    assert all(kind in {bool, int, float, str} for scan in shape(record) for _, kind, _ in scan)


def body(
    *entries: bytes, rows: tuple[tuple[int, int, int, int], ...] = (), data: bytes = b"", time: int = 5
) -> bytes:
    """Return a record of a machine with these entries, of the form of the document."""
    written = (b"edge", b"9f2c", b"5d0c", *entries)
    head = struct.pack("<BBBQqII", 0xB1, 1, 0, 7, time, len(written), len(rows))
    return b"".join((
        head, struct.pack(f"<{len(written)}I", *map(len, written)), *written,
        *(struct.pack("<qIIB", *row) for row in rows), data,
    ))  # fmt: skip


ONE_DOUBLE = b"d\x01\x00"


def double(value: float) -> bytes:
    return struct.pack("<d", value)


def part(names: int, kind: bytes = b"b", *numbers: int) -> bytes:
    return struct.pack("<I", names) + kind + struct.pack(f"<{len(numbers)}{kind.decode()}", *numbers)


VALID = body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 0),), data=double(1.5))


def framed(content: bytes, **options: Any) -> bytes:
    return b"\xb1\x01\x01" + VALID[3:11] + zstandard.ZstdCompressor(**options).compress(content)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xb1\x01\x00", "is not a binary record"),
        (VALID.replace(b"\xb1\x01", b"\xb1\x02", 1), "is not a binary record of version 1"),
        (VALID[:2] + b"\x04" + VALID[3:], "is not a binary record of version 1"),
        (VALID[:2] + b"\x01" + VALID[3:], "can't be decompressed"),
        (VALID[:3] + bytes(8) + VALID[11:], "seq is 0"),
        (VALID[:3] + b"\xff" * 8 + VALID[11:], "seq is 18446744073709551615"),
        (VALID[:-1], "ends after"), (VALID + b"x", "has 1 bytes after its last scan"),
        (VALID.replace(b"edge", b"a/bc"), "which can't be a level of a topic"),
        (VALID.replace(b"9f2c", b"9f\n2"), "spool contains a line feed"),
        (VALID.replace(b"9f2c", b"9f\xff2"), "is not UTF-8"),
        (VALID.replace(b"5d0c", b"5d\xff0"), "is not UTF-8"),
        (VALID[:19] + struct.pack("<I", 2**32 - 1) + VALID[23:], "entries and"),
        (VALID[:23] + struct.pack("<I", 2**32 - 1) + VALID[27:], "scans, where"),
        (VALID[:27] + struct.pack("<I", 2**32 - 1) + VALID[31:], "ends after"),
        (body(b"p", ONE_DOUBLE, rows=((-6, 3, 4, 0),), data=double(1.5)), "a time is -1"),
        (body(b"p", ONE_DOUBLE, rows=((2**62, 3, 4, 0),), data=double(1.5)), "a time is"),
        (body(b"p", ONE_DOUBLE, rows=((0, 5, 4, 0),), data=double(1.5)), "a position is 5 in a table of 5 entries"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 9, 0),), data=double(1.5)), "a position is 9"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 32),), data=double(1.5)), "unknown parts 0x20"),
        (body(b"p\np", b"d\x02\x00", rows=((0, 3, 4, 0),), data=2 * double(1.5)), "'p' is there twice"),
        (body(b"p\n", b"d\x02\x00", rows=((0, 3, 4, 0),), data=2 * double(1.5)), "the name of a point is empty"),
        (body(b"p\x7f", ONE_DOUBLE, rows=((0, 3, 4, 0),), data=double(1.5)), "a control character"),
        (body(b"p\xff", ONE_DOUBLE, rows=((0, 3, 4, 0),), data=double(1.5)), "is not UTF-8"),
        (body(b"p" * 257, ONE_DOUBLE, rows=((0, 3, 4, 0),), data=double(1.5)), "is 257 characters long"),
        (body(b"p\nq", ONE_DOUBLE, rows=((0, 3, 4, 0),), data=double(1.5)), "a layout is of 1 values for 2 names"),
        (body(b"p", b"d\x01", rows=((0, 3, 4, 0),), data=double(1.5)), "a layout is of 2 bytes for 1 values"),
        (body(b"p", b"x\x01\x00", rows=((0, 3, 4, 0),), data=double(1.5)), "1 values of type 'x'"),
        (body(b"p", b"\xff\x01\x00", rows=((0, 3, 4, 0),), data=double(1.5)), "1 values of type"),
        (body(b"p", b"d\x00\x00", rows=((0, 3, 4, 0),), data=double(1.5)), "a run of 0 values"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 0),), data=double(math.nan)), "NaN or infinite"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 0),), data=double(-math.inf)), "NaN or infinite"),
        (body(b"p", b"f\x01\x00", rows=((0, 3, 4, 0),), data=struct.pack("<f", math.nan)), "NaN or infinite"),
        (body(b"p\nq", b"d\1\0?\1\0", rows=((0, 3, 4, 0),), data=double(math.inf) + b"\1"), "NaN or infinite"),
        (body(b"p", b"s\x01\x00", rows=((0, 3, 4, 0),), data=b"\x09\0\0\0"), "a position is 9"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 1),), data=double(1.5) + part(3, b"b", 0)), "'p' is bad, and has"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 2),), data=double(1.5) + part(3, b"x")[:4] + b"x"), "a column is of"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 2),), data=double(1.5) + part(3, b"b", -1)), "a position is -1"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 8),), data=double(1.5) + part(3, b"b", -6)), "a time is -1"),
        (body(b"p", ONE_DOUBLE, rows=((0, 3, 4, 8),), data=double(1.5) + part(3, b"q", 2**62)), "a time is"),
        (framed(bytes(9 * 2**20)), "where 8388608 are the most"),
        (framed(VALID[11:], write_content_size=False), "where 8388608 are the most"),
        (framed(VALID[11:]) + b"x", "can't be decompressed"),
        (framed(VALID[11:])[:-3], "can't be decompressed"),
        (b"\xb1\x01\x01" + VALID[3:11], "can't be decompressed"),
        (b"\xb1" * (8 * 2**20 + 1), "bytes, where 8388608 are the most"),
    ],
)  # fmt: skip
def test_a_payload_that_is_not_a_record_is_refused_with_the_reason(payload: bytes, reason: str) -> None:
    """It goes into a file for a person to look at, with the reason beside it."""
    with pytest.raises(Undecodable) as caught:
        CODEC.decode(payload)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_a_record_by_hand_is_a_record() -> None:
    """The payloads above differ from it in one detail each."""
    assert CODEC.decode(VALID) == Record("edge", "9f2c", 7, [NamedScan(5, {"p": 1.5})], "5d0c")
    assert CODEC.decode(framed(VALID[11:])) == CODEC.decode(VALID)
    smaller = body(b"p\nq", b"h\1\0b\1\0", rows=((0, 3, 4, 0),), data=struct.pack("<hb", -300, 7))
    assert decode(smaller).scans[0].values == {"p": -300, "q": 7}  # type: ignore[union-attr] # of a machine


def names_of(number: int) -> bytes:
    return b"\n".join(b"p%d" % place for place in range(number))


MANY = names_of(1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "payload",
    [
        # few bytes that stand for many readings, names or characters
        body(MANY, b"?\xe8\x03", rows=((1, 3, 4, 0),) * 51_000, data=bytes(51_000 * 125)),
        body(b"x" * 2**20, MANY, b"s\xe8\x03", rows=((1, 4, 5, 0),), data=struct.pack("<1000I", *[3] * 1000)),
        body(b"", b"", rows=((0, 3, 3, 0),) * 2**16),
        body(*[b""] * (2**18 - 3)),
        body(b"", b"?\xff\xff" * 2**20, rows=((0, 3, 4, 0),)),
        body(b"", b"d\1\0f\1\0" * 2**19, rows=((0, 3, 4, 0),)),
        body(names_of(2**17), b"d\1\0f\1\0" * 2**16, rows=((0, 3, 4, 0),), data=bytes(12 * 2**16)),
        framed(bytes(8 * 2**20)),
    ],
    ids=["bools", "text", "empty scans", "empty entries", "long runs", "runs", "layout", "compressed zeros"],
)  # fmt: skip
def test_no_payload_costs_more_memory_than_a_large_record(payload: bytes) -> None:
    """Ingest decodes 500 at a time; 128 MB is what eight MiB of JSON cost."""
    tracemalloc.start()
    try:
        decodes_or_refuses(payload, encode_again=False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 128 * 2**20


@given(RECORDS, st.data())
def test_no_damage_trips_the_decoder(record: AnyRecord, data: st.DataObject) -> None:
    """Flipped, cut, inserted and repeated bytes, in the body and in its compressed form."""
    payload = bytearray(CODEC.encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(payload)))
        change = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if change == "flip" and place < len(payload):
            payload[place] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "cut":
            del payload[place : place + data.draw(st.integers(1, 8))]
        elif change == "insert":
            payload[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            payload[place:place] = payload[place : place + data.draw(st.integers(1, 30))]
    decodes_or_refuses(bytes(payload))
    if payload[:1] == b"\xb1" and len(payload) > 11:
        decodes_or_refuses(b"\xb1\x01\x01" + bytes(payload[3:11]) + zstandard.compress(bytes(payload[11:])))


POSITIONS = st.integers(0, 7)
RUNS = st.builds(
    lambda kind, count: struct.pack("<cH", kind.encode(), count), st.sampled_from("dfqihb?sx"), st.integers(0, 3)
)
ENTRIES = st.one_of(
    st.binary(max_size=4), st.sampled_from([b"p", b"p\nq", b"p\nq\nr", b"", b"stale"]),
    st.lists(RUNS, max_size=3).map(b"".join),
)  # fmt: skip


@given(
    st.lists(ENTRIES, max_size=5),
    st.lists(st.tuples(st.integers(-2, 2), POSITIONS, POSITIONS, st.integers(0, 32)), max_size=4),
    st.lists(
        st.one_of(st.binary(max_size=9), st.builds(part, POSITIONS, st.just(b"b"), POSITIONS), FLOATS.map(double))
    ),
)
def test_nothing_that_is_nearly_a_record_trips_the_decoder(
    entries: list[bytes], rows: list[tuple[int, int, int, int]], data: list[bytes]
) -> None:
    """One message must not end the ingest of all others."""
    decodes_or_refuses(body(*entries, rows=tuple(rows), data=b"".join(data)))


@given(st.binary(max_size=200))
def test_no_bytes_trip_the_decoder(noise: bytes) -> None:
    decodes_or_refuses(noise)
    decodes_or_refuses(b"\xb1\x01\x00" + noise)
    decodes_or_refuses(b"\xb1\x01\x01" + noise)
