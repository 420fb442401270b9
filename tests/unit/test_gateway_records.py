"""Records of all machines of a gateway: encoded, split, published, and placed with their machines by ingest."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scans import facts, scans

from drivers.base import Reason
from gateway.codecs import CODECS, Undecodable
from gateway.ingest.batch import Batch
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.status import IngestStatus
from gateway.ingest.tail import RecordReader
from gateway.model.metadata import MachineMeta, write_meta
from gateway.model.path import GatewayPath, MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import GatewayRecord, PlacedScan, Record
from gateway.mqtt.messages import encode_metadata
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics
from gateway.spool.files import Spooled
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.renumber import renumber
from gateway.spool.splitter import Splitter, halve

CODEC = CODECS["json"]
ROOT = "lineside/v1"
TOPICS = Topics(ROOT)
DATA = f"{ROOT}/e/s/_gateways/edge/data"
PRESS, DRUM = MachinePath("e", "s", "a", "l", "press"), MachinePath("e", "s", "a", "l", "drum")
BAR, METRE = MachineMeta("press", {"p": "float"}, {"p": "bar"}), MachineMeta("drum", {"d": "float"}, {"d": "m"})

PLACED = st.builds(PlacedScan, st.sampled_from([PRESS, DRUM]), st.sampled_from(["", BAR.id, METRE.id]), scans())
RECORDS = st.builds(GatewayRecord, st.just("edge"), st.just("9f2c"), st.integers(1, 2**63 - 1), st.lists(PLACED))


def record(*placed: PlacedScan, gateway: str = "edge") -> bytes:
    return CODEC.encode(GatewayRecord(gateway, "9f2c", 7, list(placed)))


def placed(path: MachinePath, meta: str, time: int = 5, **values: float) -> PlacedScan:
    return PlacedScan(path, meta, NamedScan(time, cast("dict[str, Any]", values)))


def all_facts(found: GatewayRecord) -> list[tuple[MachinePath, str, set[tuple[Any, ...]]]]:
    return [(one.path, one.meta, facts(one.scan)) for one in found.scans]


# -- the codec --


@pytest.mark.slow
@given(RECORDS)
def test_an_encoded_record_is_decoded_again(written: GatewayRecord) -> None:
    """With the types of its values, and late scans."""
    for one in written.scans[::2]:
        one.scan.late = True
    found = CODEC.decode(CODEC.encode(written))
    assert found == written
    assert isinstance(found, GatewayRecord)
    types = [[type(value) for value in one.scan.values.values()] for one in found.scans]
    assert types == [[type(value) for value in one.scan.values.values()] for one in written.scans]


def test_a_record_looks_as_documented() -> None:
    """Names are written once for all scans that have them, machines once for all their scans."""
    shared = ("pressure", "state")
    scan = NamedScan.of_columns(5, shared, [16.02, 4])
    faulty = NamedScan(6, {"state": 4}, {"pressure": Reason.REFUSED}, {"state": "clock"}, {"pressure": "exception 2"})
    data = record(
        PlacedScan(PRESS, "5d0c", scan), PlacedScan(DRUM, "5d0c", NamedScan.of_columns(5, shared, [1.5, 6])),
        PlacedScan(PRESS, "5d0c", faulty),
    )  # fmt: skip
    assert data == (
        b'{"v":1,"gateway":"edge","spool":"9f2c","seq":7,"machines":[["e/s/a/l/press","5d0c"],["e/s/a/l/drum","5d0c"]],'
        b'"names":[["pressure","state"],["state"]],"scans":[{"m":0,"n":0,"t":5,"v":[16.02,4]},'
        b'{"m":1,"n":0,"t":5,"v":[1.5,6]},'
        b'{"m":0,"n":1,"t":6,"v":[4],"bad":{"pressure":"refused"},"uncertain":{"state":"clock"},'
        b'"codes":{"pressure":"exception 2"}}]}'
    )


def changed(*path: Any, to: Any = KeyError) -> bytes:
    data: Any = orjson.loads(record(placed(PRESS, "5d0c", p=1.5), placed(DRUM, "5d0c", d=2, q=True)))
    place = data
    for step in path[:-1]:
        place = place[step]
    if to is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return orjson.dumps(data)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (changed("machines", to=5), "machines is 5"),
        (changed("machines", 0, to="press"), "a machine is 'press'"),
        (changed("machines", 0, to=["e/s/a/l/press"]), "its metadata id belong"),
        (changed("machines", 0, 0, to="e/s/a/press"), "is not the path of a machine"),
        (changed("machines", 0, 0, to="e/s/a//press"), "is not the path of a machine"),
        (changed("machines", 0, 0, to="e/s/a/l/#"), "is not the path of a machine"),
        (changed("machines", 0, 0, to="e/s/a/l/x\n"), "a line feed"),
        (changed("machines", 0, 1, to=7), "its metadata id belong"),
        (changed("names"), "names is None"),
        (changed("names", 0, to="p"), "names are 'p'"),
        (changed("names", 0, to=[1]), "a list of names belongs"),
        (changed("names", 1, to=["d", "d"]), "'d' is there twice"),
        (changed("names", 0, to=[""]), "the name of a point is empty"),
        (changed("names", 0, to=["p\x7f"]), "a control character"),
        (changed("scans", 0, to=[]), "a scan is []"),
        (changed("scans", 0, "m", to=2), "m is 2, where a position in a list of 2 belongs"),
        (changed("scans", 0, "m", to=-1), "m is -1"),
        (changed("scans", 0, "n", to=True), "n is True"),
        (changed("scans", 0, "v", to=[]), "a scan has 0 values for 1 names"),
        (changed("scans", 0, "v", to=[None]), "the value of 'p' is None"),
        (changed("scans", 0, "v", to=[[1]]), "the value of 'p' is [1]"),
        (changed("scans", 0, "v", to=[1e19]), ""),
        (changed("scans", 0, "t", to=-1), "a time is -1"),
        (changed("scans", 0, "bad", to={"p": "stale"}), "'p' is bad, and has a value"),
        (changed("scans", 0, "times", to={"p": 2**62}), "a time is"),
        (changed("scans", 0, "late", to=1), "late is 1"),
        (changed("seq", to=0), "seq is 0"),
    ],
)
def test_a_wrong_record_is_refused_with_the_reason(payload: bytes, reason: str) -> None:
    if not reason:  # a float beyond 64 bits is a number that stores can hold
        assert CODEC.decode(payload)
        return
    with pytest.raises(Undecodable) as error:
        CODEC.decode(payload)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    "payload",
    [
        changed("seq", to=7).replace(b'"t":5', b'"t":5,"t":6', 1),
        changed("seq", to=7).replace(b'"machines":', b'"machines":[],"machines":', 1),
        changed("scans", 0, "v", to=[1]).replace(b'"v":[1]', b'"v":[18446744073709551616]', 1),
    ],
)
def test_a_repeated_key_or_a_number_beyond_64_bits_is_refused(payload: bytes) -> None:
    """The parser keeps the last of two keys, and the first digits of a number."""
    with pytest.raises(Undecodable):
        CODEC.decode(payload)


def test_records_have_the_names_of_their_points_in_common() -> None:
    """Stores keep tables by the names of a scan."""
    first, second = (cast("GatewayRecord", CODEC.decode(record(placed(PRESS, "m", p=1.0)))) for _ in range(2))
    assert first.scans[0].scan.columns[0] is second.scans[0].scan.columns[0]
    assert first.scans[0].path is second.scans[0].path


# -- the spool --


@pytest.mark.slow
@given(RECORDS)
@example(GatewayRecord("edge", "9f2c", 1, [placed(PRESS, "m", **{f"p{i}": i / 7 for i in range(200)})]))
def test_a_large_record_is_built_in_parts_that_have_all_readings(written: GatewayRecord) -> None:
    built = RecordBuilder(
        DATA, lambda seq, items: CODEC.encode(GatewayRecord("edge", "9f2c", seq, items)), halve, 1024
    )
    for one in written.scans:
        if len(one):
            built.add(one, len(one))
    made = [cast("GatewayRecord", CODEC.decode(spooled.payload)) for spooled in built.close(1)]
    assert all(len(CODEC.encode(one)) <= 1024 or len(one) == 1 for one in made)
    together = [(path, meta, fact) for one in made for path, meta, some in all_facts(one) for fact in some]
    expected = [(path, meta, fact) for path, meta, some in all_facts(written) for fact in some]
    assert sorted(together, key=repr) == sorted(expected, key=repr)
    assert [one.seq for one in made] == list(range(1, len(made) + 1))


def test_a_record_that_the_broker_refuses_is_split() -> None:
    replaced: list[Any] = []

    class Spool:
        def replace(self, seq: int, topic: str, pieces: Any, too_large: int) -> None:
            replaced.append((seq, topic, [CODEC.decode(encode(seq)) for encode, _ in pieces], too_large))

    whole = GatewayRecord("edge", "9f2c", 7, [placed(PRESS, "m", t, p=t / 7, q=t / 3) for t in range(1, 40)])
    Splitter(Spool(), CODEC, cast("Any", None))(Spooled(7, DATA, CODEC.encode(whole), len(whole)), 700)
    [(seq, topic, pieces, too_large)] = replaced
    assert (seq, topic, too_large) == (7, DATA, 0)
    assert [one for piece in pieces for one in piece.scans] == whole.scans
    assert all(len(CODEC.encode(piece)) <= 700 for piece in pieces)


def test_an_adopted_record_is_renumbered_and_sent_as_a_record_of_this_gateway() -> None:
    payload = renumber(CODEC, "edge-2", record(placed(PRESS, "m", p=1.0)), "77aa", 9)
    found = CODEC.decode(payload)
    assert (found.gateway, found.spool, found.seq, len(found)) == ("edge-2", "77aa", 9, 1)
    assert TOPICS.rebase("old/root/e/s/_gateways/edge/data", "edge-2") == f"{ROOT}/e/s/_gateways/edge-2/data"
    assert TOPICS.rebase(f"old/{PRESS}/data", "edge-2") == f"{ROOT}/{PRESS}/data"
    assert TOPICS.rebase("_gateways/edge/data", "edge-2") == "_gateways/edge/data"


# -- ingest --


class Intake:
    """A decoder with all that it writes to."""

    def __init__(self, *, gateway_resends: bool = True) -> None:
        self.now = 1000.0
        self.metadata, self.status = MetadataRegistry(), IngestStatus()
        self.requests = MetadataRequests(lambda: self.now)
        self.batch = Batch(cast("Any", None))
        self.decoder = MessageDecoder(
            TOPICS, self.metadata, self.requests, self.status, gateway_resends=gateway_resends
        )

    def add(self, topic: str, payload: bytes) -> None:
        self.decoder.add(self.batch, ReceivedMessage(topic, payload, qos=1, mid=1))

    @property
    def placed(self) -> list[tuple[MachinePath, str, int, int]]:
        return [(one.path, one.meta.template, one.scan.time, one.record) for one in self.batch.scans]

    @property
    def letters(self) -> list[str]:
        return [one.reason for letters in (self.batch.other_letters, *self.batch.letters.values()) for one in letters]


MIXED = record(placed(PRESS, BAR.id, p=1.5), placed(DRUM, METRE.id, d=0.5), placed(PRESS, BAR.id, 6, p=2.5))


def test_each_scan_goes_to_its_machine_with_its_metadata() -> None:
    intake = Intake()
    intake.metadata.add(PRESS, [BAR])
    intake.metadata.add(DRUM, [METRE])
    intake.add(DATA, MIXED)
    intake.add(DATA, MIXED)
    expected = [(PRESS, "press", 5), (DRUM, "drum", 5), (PRESS, "press", 6)]
    assert intake.placed == [(*one, n) for n in (0, 1) for one in expected]
    assert (intake.batch.readings, intake.letters) == (6, [])


def test_a_record_waits_until_the_metadata_of_all_its_machines_is_known() -> None:
    intake = Intake()
    gateway = GatewayPath("e", "s", "edge")
    intake.add(DATA, MIXED)
    assert intake.requests.due() == {gateway: [BAR.id]}
    intake.add(f"{ROOT}/{PRESS}/meta", orjson.dumps(write_meta(BAR)))
    assert (intake.placed, len(intake.batch.waiting)) == ([], 2)
    assert intake.requests.due() == {gateway: [METRE.id]}
    for payload in encode_metadata({METRE.id: (DRUM, METRE)}, ()):
        intake.add(f"{ROOT}/e/s/_gateways/edge/metadata", payload)
    assert [one[:2] for one in intake.placed] == [(PRESS, "press"), (DRUM, "drum"), (PRESS, "press")]
    assert len(intake.requests) == 0


@pytest.mark.parametrize("gateway_resends", [True, False])
def test_readings_without_metadata_are_set_aside_and_all_others_stored(gateway_resends: bool) -> None:  # noqa: FBT001
    """A machine that nobody knows must not cost the other machines of its gateway."""
    intake = Intake(gateway_resends=gateway_resends)
    intake.metadata.add(PRESS, [BAR])
    intake.add(DATA, MIXED)
    if gateway_resends:
        assert intake.requests.due() != {}
        for payload in encode_metadata({}, (METRE.id,)):
            intake.add(f"{ROOT}/e/s/_gateways/edge/metadata", payload)
    assert [one[:2] for one in intake.placed] == [(PRESS, "press"), (PRESS, "press")]
    assert [(one.seq, one.set_aside) for one in intake.batch.confirmations()] == [(7, 1)]
    [letter] = intake.batch.letters[0]
    lost = CODEC.decode(letter.payload)
    assert isinstance(lost, GatewayRecord)
    assert [(one.path, one.scan.values) for one in lost.scans] == [(DRUM, {"d": 0.5})]
    assert sum(intake.status.not_stored.values()) == 1


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (DATA, CODEC.encode(Record("edge", "9f2c", 1, [NamedScan(5, {"p": 1.0})])), "is a record of a machine on"),
        (f"{ROOT}/{PRESS}/data", MIXED, "is a record of a gateway on the topic of a machine"),
        (f"{ROOT}/e/s/_gateways/other/data", MIXED, "is a record of gateway edge on the topic of other"),
        (f"{ROOT}/e/t/_gateways/edge/data", MIXED, "which is a machine of another site"),
        (f"{ROOT}/e/s/_gateways/ed\nge/data", MIXED, "a level of the topic contains a line feed"),
        (f"{ROOT}/e/s/_gateways//data", MIXED, "no machine has this topic"),
    ],
)
def test_a_record_of_another_source_is_set_aside(topic: str, payload: bytes, reason: str) -> None:
    """A gateway can't write for the machines of another site, nor in the name of another gateway."""
    intake = Intake()
    intake.add(topic, payload)
    assert intake.placed == []
    [found] = intake.letters
    assert reason in found


def test_tail_shows_the_readings_with_their_units() -> None:
    reader = RecordReader(TOPICS)
    reader.metadata.add(PRESS, [BAR])
    found = reader.readings(ReceivedMessage(DATA, MIXED))
    assert [(one.path, one.point, one.value, one.unit) for one in found] == [
        (PRESS, "p", 1.5, "bar"), (DRUM, "d", 0.5, ""), (PRESS, "p", 2.5, "bar"),
    ]  # fmt: skip
