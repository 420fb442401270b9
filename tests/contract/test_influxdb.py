"""The InfluxDB store: its requests, and its handling of the answers."""

from __future__ import annotations

import gzip
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from influxdb_client._sync.api_client import ApiClient
from processes import LOOPBACK, free_port, until
from pydantic import ValidationError
from read_back import InfluxTarget, VictoriaMetricsTarget
from servers import VictoriaMetrics

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan, Rejected, Unavailable
from gateway.stores.influxdb import InfluxSettings, InfluxStore
from gateway.stores.victoria_metrics import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers import Influxd

    from drivers.base import Value
    from gateway.model.reading import Reading
    from gateway.stores.base import Store

TIME = 1_764_000_000_123_456

META = MachineMeta("press", {"a": "int", "b": "float", "text": "string"}, {"b": "bar"})
FLOAT_META = MachineMeta("press", {"a": "float", "b": "float"}, {"b": "bar"})


def scan(machine: str, number: int, meta: MachineMeta = META, **values: Value) -> MachineScan:
    path = MachinePath("plant", "site", "area", "line", machine)
    return MachineScan(path, meta, NamedScan(TIME + number * 1_000_000, values), number)


def without(batch: list[MachineScan], *refused: tuple[int, str]) -> list[Reading]:
    """Return the readings of a batch but for some, given by record and point."""
    return [
        reading
        for one in batch
        for reading in one.scan.readings(one.path, dict(one.meta.units))
        if (one.record, reading.point) not in refused
    ]


class Recorder:
    """A server that records every request, and answers with `answer`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, list[str]], dict[str, str], bytes]] = []
        self.answer: Callable[[bytes], tuple[int, str]] = lambda _: (204, "")
        self.port = free_port()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(204)
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                parts = urlsplit(self.path)
                recorder.requests.append((parts.path, parse_qs(parts.query), dict(self.headers), body))
                status, words = recorder.answer(gzip.decompress(body))
                with suppress(ConnectionError):  # who asked may have given up
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(words.encode())))
                    self.end_headers()
                    self.wfile.write(words.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    yield server
    server.close()


def store_at(url: str, /, **settings: Any) -> InfluxStore:
    return InfluxStore(InfluxSettings.model_validate({"url": url, "bucket": "telemetry", "org": "plant"} | settings))


# -- requests --


def test_a_scan_is_one_line_for_each_unit_gzipped(recorder: Recorder) -> None:
    """Half a plant's uplink is saved by packing, and a line for each reading would be ten times the text."""
    with store_at(recorder.url) as store:
        store.write([scan("m-1", 0, a=7, b=16.0, text='say "so"')])
    [(path, query, headers, body)] = recorder.requests
    assert (path, query) == ("/api/v2/write", {"org": ["plant"], "bucket": ["telemetry"], "precision": ["us"]})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body).decode().splitlines() == [
        r'press,area=area,enterprise=plant,line=line,machine=m-1,site=site a=7i,text="say \"so\"" 1764000000123456',
        "press,area=area,enterprise=plant,line=line,machine=m-1,site=site,unit=bar b=16.0 1764000000123456",
    ]


def test_a_token_is_sent_and_never_shown(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_SECRET_INFLUX_TOKEN", "hush")
    recorder.answer = lambda _: (401, "unauthorized")
    with store_at(recorder.url, token={"secret": "influx_token"}) as store, pytest.raises(Unavailable) as error:
        store.write([scan("m-1", 0, a=7)])
    assert recorder.requests[0][2]["Authorization"] == "Token hush"
    assert "hush" not in str(error.value)


def test_a_password_is_in_no_url_and_no_error(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers, proxies and errors show URLs."""
    monkeypatch.setenv("LINESIDE_SECRET_INFLUX_PASSWORD", "hush")
    settings: dict[str, Any] = {"api": "v1", "database": "plant", "username": "lineside", "org": "", "bucket": ""}
    store = store_at(recorder.url, password={"secret": "influx_password"}, **settings)
    with store:
        store.write([scan("m-1", 0, a=7)])
        [(path, query, headers, _)] = recorder.requests
        assert (path, query) == ("/write", {"db": ["plant"], "precision": ["u"]})
        assert headers["Authorization"] == "Basic bGluZXNpZGU6aHVzaA=="
        recorder.close()
        with pytest.raises(Unavailable, match="Connection refused") as error:
            store.write([scan("m-1", 0, a=7)])
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"url": "http://user:hush@tsdb:8086"}, "not into the url"),
        ({"url": "tsdb:8086"}, "write http://HOST:8086"),
        ({"bucket": ""}, "api v2 takes org, bucket and token"),
        ({"api": "v1"}, "api v1 takes database"),
        ({"api": "v1", "bucket": "", "org": "", "database": "d", "password": {"secret": "p"}}, "without a username"),
        ({"strings": "tag"}, "'field' or 'label'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        store_at("http://tsdb:8086", **written)


# -- answers --


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "<html><title>Log in</title>"), (200, ""), (200, '{"ok":true}'), (201, ""), (202, "accepted"),
        (206, ""), (301, "moved"), (302, ""), (307, ""), (400, "<html>bad request</html>"), (400, "no"),
        (401, "unauthorized"), (402, "pay"), (403, "forbidden"), (404, "page not found"), (405, ""), (406, ""),
        (408, ""), (409, ""), (410, ""), (411, ""), (415, ""), (418, ""), (421, ""), (422, "<html>"), (426, ""),
        (429, ""), (431, ""), (451, ""), (500, "some words\nmore words"), (501, ""), (502, ""), (503, ""), (504, ""),
        (511, "<html>network login</html>"),
    ],
)  # fmt: skip
def test_only_documented_answers_are_success_or_a_refusal(recorder: Recorder, status: int, words: str) -> None:
    """A captive portal answers 200 with a login page; readings were confirmed, or thrown away, for such an answer."""
    recorder.answer = lambda _: (status, words)
    with store_at(recorder.url) as store, pytest.raises(Unavailable) as error:
        store.write([scan("m-1", 0, a=7)])
    assert f"{status} {words.splitlines()[0] if words else ''}" in str(error.value)
    assert "more words" not in str(error.value)


def test_an_answer_is_logged_without_its_control_characters(recorder: Recorder) -> None:
    """A server, or who pretends to be one, must not write to somebody's terminal."""
    recorder.answer = lambda _: (500, "\x1b]0;owned\x07" + "x" * 5_000)
    with store_at(recorder.url) as store, pytest.raises(Unavailable) as error:
        store.write([scan("m-1", 0, a=7)])
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_batch_that_is_too_large_is_sent_in_parts(recorder: Recorder) -> None:
    """A limit of a proxy on the way is not a fault of the rows."""
    recorder.answer = lambda body: (413, "too large") if body.count(b"\n") >= 10 else (204, "")
    with store_at(recorder.url) as store:
        store.write([scan("m-1", number, a=number) for number in range(100)])
    sent = [gzip.decompress(body).decode() for *_, body in recorder.requests]
    written = {line.split()[1] for body in sent if body.count("\n") < 10 for line in body.splitlines()}
    assert written == {f"a={number}i" for number in range(100)}


def test_an_answer_that_never_comes_ends_with_the_timeout(recorder: Recorder) -> None:
    answered = threading.Event()
    recorder.answer = lambda _: (204, "") if answered.wait(10) else (500, "")
    with store_at(recorder.url, timeout="100ms") as store, pytest.raises(Unavailable, match="timed out"):
        store.write([scan("m-1", 0, a=7)])
    answered.set()


def test_rows_that_are_refused_are_found_by_halving(recorder: Recorder) -> None:
    """Not every server says which row it means."""
    error = "partial write: no"
    recorder.answer = lambda body: (400, error) if b"machine=m-13," in body or b"a=77i" in body else (204, "")
    batch = [scan(f"m-{number}", number, a=number, b=number / 2) for number in range(100)]
    with store_at(recorder.url) as store, pytest.raises(Rejected) as refused:
        store.write(batch)
    assert sorted((refusal.record, refusal.readings) for refusal in refused.value.refusals) == [
        (13, 1), (13, 1), (77, 1),
    ]  # fmt: skip
    assert all(refusal.message == "400 partial write: no" for refusal in refused.value.refusals)


def test_a_limit_that_no_reading_passes_is_not_a_fault_of_the_readings(recorder: Recorder) -> None:
    """A proxy with a limit of nothing must not have all readings thrown away."""
    recorder.answer = lambda _: (413, "too large")
    with store_at(recorder.url) as store, pytest.raises(Unavailable, match="413 too large"):
        store.write([scan("m-1", number, a=number, b=1.5) for number in range(10)])


def test_a_reading_that_is_too_large_is_refused_alone(recorder: Recorder) -> None:
    recorder.answer = lambda body: (413, "too large") if len(body) > 10_000 else (204, "")
    batch = [scan("m-1", number, a=number) for number in range(50)]
    batch[7].scan.values["text"] = "x" * 20_000
    with store_at(recorder.url) as store, pytest.raises(Rejected) as refused:
        store.write(batch)
    assert [(one.record, one.readings) for one in refused.value.refusals] == [(7, 1)]


def test_the_search_for_refused_rows_is_bounded(recorder: Recorder) -> None:
    """A server that refuses everything, and does not say which, must not be asked for each row."""
    recorder.answer = lambda _: (400, "partial write: no")
    batch = [scan("m-1", number, a=number) for number in range(1_000)]
    with store_at(recorder.url) as store, pytest.raises(Rejected) as refused:
        store.write(batch)
    assert {one.record for one in refused.value.refusals} == set(range(1_000))
    assert len(recorder.requests) < 150


def test_rows_that_a_server_names_by_number_take_two_requests(recorder: Recorder) -> None:
    """InfluxDB 3 does."""

    def answer(body: bytes) -> tuple[int, str]:
        bad = [at for at, line in enumerate(body.decode().splitlines(), 1) if "a=7i" in line or "a=70i" in line]
        data = [{"original_line": "x", "line_number": at, "error_message": "invalid column type"} for at in bad]
        text = {"error": "partial write of line protocol occurred", "data": data}
        return (400, json.dumps(text)) if bad else (204, "")

    recorder.answer = answer
    with store_at(recorder.url) as store, pytest.raises(Rejected) as refused:
        store.write([scan("m-1", number, a=number) for number in range(100)])
    assert [one.record for one in refused.value.refusals] == [7, 70]
    assert len(recorder.requests) == 2


# -- rows that are too old --


def test_a_batch_beyond_the_retention_takes_one_request(recorder: Recorder) -> None:
    """A backlog older than the bucket's retention cost two requests for each of its readings."""

    def answer(body: bytes) -> tuple[int, str]:
        text = "failure writing points to database: partial write: points beyond retention policy dropped=%d"
        return 422, json.dumps({"code": "unprocessable entity", "message": text % len(body.splitlines())})

    recorder.answer = answer
    batch = [scan("m-1", number, a=number, b=1.5) for number in range(200)]
    with store_at(recorder.url) as store, pytest.raises(Rejected) as refused:
        store.write(batch)
    assert sum(one.readings for one in refused.value.refusals) == 400
    assert {one.kind for one in refused.value.refusals} == {"expired"}
    assert len(recorder.requests) == 1


def test_the_rows_that_influxdb_keeps_of_a_batch_are_known(influxd: Influxd, influx_database: str) -> None:
    """A batch across the edge of the retention: stored rows are not set aside, and rows set aside are not stored."""
    influxd.query("", f'alter retention policy "autogen" on "{influx_database}" duration 2h shard duration 1h')
    now = time.time_ns() // 1000
    batch = [scan("m-1", number, a=number, b=number / 2) for number in range(100)]
    for number, one in enumerate(batch):
        one.scan.time = now - (100 - number) * 3 * 60_000_000
    target = InfluxTarget(influxd, influx_database)
    with target.store() as store, pytest.raises(Rejected) as refused:
        store.write(batch)
    expired = {one.record for one in refused.value.refusals if one.kind == "expired"}
    assert expired == {one.record for one in refused.value.refusals}
    stored = {one.reading.value for one in target.held() if one.reading.point == "a"}
    assert expired
    assert stored | expired == set(range(100))
    assert stored & expired == set()


# -- field types --


def test_a_row_of_another_type_is_refused_alone(influxd: Influxd, influx_database: str) -> None:
    """One machine on an old template must not cost the others, nor its own other points, their readings."""
    target = InfluxTarget(influxd, influx_database)
    first = [scan("m-0", 0, a=1)]
    batch = [scan(f"m-{number}", number, a=number, b=number / 2) for number in range(1, 200)]
    batch[76] = scan("m-77", 77, FLOAT_META, a=7.5, b=38.5)
    with target.store() as store:
        store.write(first)
        with pytest.raises(Rejected) as refused:
            store.write(batch)
        [refusal] = refused.value.refusals
        assert (refusal.record, refusal.readings) == (77, 1)
        assert "machine=m-77," in refusal.row
        assert " a=7.5 " in refusal.row
        assert "is type float, already exists as type integer" in refusal.message
        stored = without([*first, *batch], (77, "a"))
        assert target.held() == target.expected(stored)
        with pytest.raises(Rejected):
            store.write(batch)
        assert target.held() == target.expected(stored)


def test_a_point_of_another_type_costs_few_requests(
    influxd: Influxd, influx_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a template is changed every batch is full of such rows; one request for each would be a standstill."""
    target = InfluxTarget(influxd, influx_database)
    batch = [
        scan(f"m-{number}", number, FLOAT_META, a=number / 2, b=number / 2, **{f"p{n}": n for n in range(20)})
        for number in range(1, 300)
    ]
    requests = []
    call = ApiClient.call_api

    def counted(client: ApiClient, *args: Any, **kwargs: Any) -> Any:
        requests.append(args)
        return call(client, *args, **kwargs)

    monkeypatch.setattr(ApiClient, "call_api", counted)
    with target.store() as store:
        store.write([scan("m-0", 0, a=1, p3=1.5)])
        requests.clear()
        with pytest.raises(Rejected) as refused:
            store.write(batch)
    points = ("a", "p3")
    assert len(refused.value.refusals) == len(batch) * len(points)
    assert sum(refusal.readings for refusal in refused.value.refusals) == len(batch) * len(points)
    stored = {(one.reading.path.machine, one.reading.point) for one in target.held()}
    kept = {"b", *(f"p{n}" for n in range(20))} - set(points)
    assert stored == {("m-0", "a"), ("m-0", "p3"), *((f"m-{n}", name) for n in range(1, 300) for name in kept)}
    assert len(requests) < 10


def test_a_point_that_goes_on_conflicting_costs_one_more_request_a_batch(
    influxd: Influxd, influx_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so until somebody renames it; meanwhile the other points must not wait for it."""
    target = InfluxTarget(influxd, influx_database)
    requests = []
    call = ApiClient.call_api

    def counted(client: ApiClient, *args: Any, **kwargs: Any) -> Any:
        requests.append(args)
        return call(client, *args, **kwargs)

    monkeypatch.setattr(ApiClient, "call_api", counted)
    names = [f"p{number}" for number in range(10)]
    with target.store() as store:
        store.write([scan("m-0", 0, b=0.5, **dict.fromkeys(names, "text"))])
        for number in range(1, 5):
            requests.clear()
            with pytest.raises(Rejected) as refused:
                store.write([scan("m-0", number * 100 + n, b=0.5, **dict.fromkeys(names, n)) for n in range(50)])
            assert sum(one.readings for one in refused.value.refusals) == 50 * len(names)
    assert len(requests) == 2
    assert len([one for one in target.held() if one.reading.point == "b"]) == 1 + 4 * 50


def test_a_batch_may_hold_both_types_of_a_new_point(influxd: Influxd, influx_database: str) -> None:
    """Whichever the server takes, all readings are either stored or named."""
    batch = [scan(f"m-{number}", number, META, a=number) for number in range(0, 40, 2)]
    batch += [scan(f"m-{number}", number, FLOAT_META, a=number + 0.5) for number in range(1, 40, 2)]
    target = InfluxTarget(influxd, influx_database)
    with target.store() as store, pytest.raises(Rejected) as refused:
        store.write(batch)
    named = {refusal.record for refusal in refused.value.refusals}
    stored = {int(one.reading.path.machine.removeprefix("m-")) for one in target.held()}
    assert named & stored == set()
    assert named | stored == set(range(40))


def test_a_point_may_be_called_time(influxd: Influxd, influx_database: str) -> None:
    """InfluxDB drops a field of that name and answers that all is well."""
    target = InfluxTarget(influxd, influx_database)
    with target.store() as store:
        store.write([scan("m-1", 0, a=7, time=5)])
    assert {one.reading.point: one.reading.value for one in target.held()} == {"a": 7, "time_": 5}


# -- strings, and servers without --


def test_victoria_metrics_gets_strings_as_labels(victoria_metrics: VictoriaMetrics, enterprise: str) -> None:
    """It takes a string field and stores a 0, which nobody has measured."""
    batch = [scan("m-1", number, text=text) for number, text in enumerate(["R-100", "R-101", "R-100"])]
    batch = [one._replace(path=one.path._replace(enterprise=enterprise)) for one in batch]
    target = VictoriaMetricsTarget(victoria_metrics, enterprise, "press")
    with target.store() as store:
        store.write(batch)
    series = victoria_metrics.export(f'{{enterprise="{enterprise}"}}')
    found = {one["metric"]["value"]: (one["metric"]["__name__"], one["values"]) for one in series}
    assert found == {"R-100": ("press_text", [1, 1]), "R-101": ("press_text", [1])}


@pytest.mark.parametrize(("strings", "line"), [("field", ' text="R-1" '), ("label", ",value=R-1 text=1i ")])
def test_the_place_of_strings_can_be_configured(recorder: Recorder, strings: str, line: str) -> None:
    """A proxy may hide the server behind it."""
    with store_at(recorder.url, strings=strings) as store:
        store.write([scan("m-1", 0, text="R-1")])
    [(*_, body)] = recorder.requests
    assert line in gzip.decompress(body).decode()


# -- rows that VictoriaMetrics ignores --


def ignored(server: VictoriaMetrics) -> int:
    process = read_metrics(server.request("GET", "/metrics").decode())
    assert process is not None
    return sum(process.ignored.values())


def test_rows_that_victoria_metrics_would_ignore_are_refused(
    victoria_metrics: VictoriaMetrics, enterprise: str
) -> None:
    """It answers success to rows of a clock that is days ahead, and drops them: they were confirmed, and lost."""
    now = time.time_ns() // 1000
    batch = [scan("m-1", number, a=number) for number in range(4)]
    batch = [one._replace(path=one.path._replace(enterprise=enterprise)) for one in batch]
    for one, hours in zip(batch, (-1, 47, 49, 30 * 24), strict=True):
        one.scan.time = now // 1000 * 1000 + hours * 3_600_000_000
    before = ignored(victoria_metrics)
    target = VictoriaMetricsTarget(victoria_metrics, enterprise, "press")
    with target.store() as store:
        store.check()
        with pytest.raises(Rejected) as refused:
            store.write(batch)
    assert [(one.record, one.kind) for one in refused.value.refusals] == [(2, "ignored"), (3, "ignored")]
    assert "2 days ahead" in refused.value.refusals[0].message
    assert [one.reading.value for one in target.held()] == [0.0, 1.0]
    assert ignored(victoria_metrics) == before


def test_rows_that_are_older_than_the_retention_of_victoria_metrics_are_refused(
    tmp_path: Path, enterprise: str
) -> None:
    server = flagged(tmp_path, "-dedup.minScrapeInterval=1ms", "-retentionPeriod=30d")
    now = time.time_ns() // 1000
    batch = [scan("m-1", number, a=number) for number in range(3)]
    batch = [one._replace(path=one.path._replace(enterprise=enterprise)) for one in batch]
    for one, days in zip(batch, (1, 29, 31), strict=True):
        one.scan.time = now // 1000 * 1000 - days * 86_400_000_000
    target = VictoriaMetricsTarget(server, enterprise, "press")
    with target.store() as store:
        store.check()
        with pytest.raises(Rejected) as refused:
            store.write(batch)
    assert [(one.record, one.kind) for one in refused.value.refusals] == [(2, "ignored")]
    assert sorted(one.reading.value for one in target.held()) == [0.0, 1.0]


async def test_rows_that_victoria_metrics_ignores_all_the_same_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page of metrics says so, by reason: the report and the log have it."""
    monkeypatch.setattr("gateway.stores.victoria_metrics.FUTURE_DEFAULT", 100 * 86400.0)  # as it is not
    server = flagged(tmp_path, "-dedup.minScrapeInterval=1ms", "-retentionPeriod=5y")
    one = scan("m-1", 0, a=1)
    one.scan.time = time.time_ns() // 1000 + 30 * 86_400_000_000
    with VictoriaMetricsTarget(server, "e", "press").store() as store, structlog.testing.capture_logs() as logs:
        store.check()
        store.write([one])

        def counted() -> bool:
            store.instance()
            return store.counts["rows_ignored"] > 0

        await until(counted, "its page of metrics, which may be a second old, has the row")
        assert store.counts == {"rows_ignored": 1}
    assert [(log["event"], log["reason"]) for log in logs] == [("store.rows_ignored", "big_timestamp")]


def test_scans_that_victoria_metrics_merges_are_counted(victoria_metrics: VictoriaMetrics) -> None:
    """It keeps one sample a millisecond: two scans within it become a mixture that nobody has acquired."""
    first, second, third = (scan("m-1", 0, a=number) for number in range(3))
    second.scan.time += 400
    third.scan.time += 1_400
    with VictoriaMetricsTarget(victoria_metrics, "e", "press").store() as store:
        with structlog.testing.capture_logs() as logs:
            store.write([first, second, third])
            store.write([first])
        assert store.counts == {"scans_merged": 1}
    assert [log["event"] for log in logs] == ["store.scans_merged"]


# -- settings that a server needs --


DEDUPLICATED = 'flag{name="dedup.minScrapeInterval", value="1ms", is_set="true"} 1\n'


class Flagged(VictoriaMetrics):
    """One with other flags."""

    flags: tuple[str, ...] = ()

    def command(self) -> list[str]:
        rest = [argument for argument in super().command() if not argument.startswith(("-dedup", "-retention"))]
        return [*rest, *self.flags]


def flagged(folder: Path, *flags: str) -> Flagged:
    server = Flagged(folder)
    server.flags = flags
    server.up_and_wait()
    return server


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "it stores rows twice that are written twice; start it with -dedup.minScrapeInterval=1ms"),
        (("-dedup.minScrapeInterval=30s",), "it keeps one reading of each 30 s and drops the others"),
        (
            ("-dedup.minScrapeInterval=1m30s",),
            "it keeps one reading of each 90 s and drops the others",
        ),
    ],
)
def test_victoria_metrics_without_the_right_deduplication_is_not_written_to(
    tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    """Readings doubled, or thinned out, are not noticed before a person calculates with them."""
    with VictoriaMetricsTarget(flagged(tmp_path, *flags), "e", "press").store() as store:
        with pytest.raises(Unavailable) as error:
            store.check()
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("flags", "days"),
    [((), "31"), (("-retentionPeriod=6",), "186"), (("-retentionPeriod=30w",), "210"), (("-retentionPeriod=12",), ""),
     (("-retentionPeriod=365d",), ""), (("-retentionPeriod=1y6w",), "")],
    ids=lambda one: "-".join(one) if isinstance(one, tuple) else one or "right",
)  # fmt: skip
def test_a_victoria_metrics_with_a_retention_below_a_year_is_logged_and_written_to(
    tmp_path: Path, flags: tuple[str, ...], days: str
) -> None:
    """It accepts readings that it then drops; a plant that wants a month only may have it so."""
    server = flagged(tmp_path, "-dedup.minScrapeInterval=1ms", *flags)
    fresh = scan("m-1", 0, a=1)
    fresh.scan.time = time.time_ns() // 1000
    with VictoriaMetricsTarget(server, "e", "press").store() as store, structlog.testing.capture_logs() as logs:
        store.check()
        store.write([fresh])
    found = [(log["event"], log["log_level"], log["hint"]) for log in logs]
    hint = f"it drops readings older than {days} days without an error; start it with -retentionPeriod=5y"
    assert found == ([("store.short_retention", "warning", hint)] if days else [])


def test_a_month_of_newer_releases_is_not_a_minute() -> None:
    """They write it as M."""
    page = DEDUPLICATED + "process_start_time_seconds 1764000000\n"
    found = {}
    for written in ("11M", "12M"):
        running = read_metrics(f'{page}flag{{name="retentionPeriod", value="{written}", is_set="true"}} 1\n')
        assert running is not None
        found[written] = "341 days" in running.short_retention, bool(running.short_retention)
    assert found == {"11M": (True, True), "12M": (False, False)}


def test_victoria_metrics_says_when_a_write_is_safe(victoria_metrics: VictoriaMetrics) -> None:
    """It answers up to ten seconds before the accepted rows are on its disk."""
    with VictoriaMetricsTarget(victoria_metrics, "e", "press").store() as store:
        store.check()
        assert store.durable_after == 15.0


@pytest.mark.parametrize(("uptime", "young"), [(0, True), (2, True), (3, False), (4000, False)])
def test_a_run_has_a_name_of_its_own_only_after_some_seconds(uptime: int, *, young: bool) -> None:
    """It reports its start in whole seconds: two starts within a second would look the same."""
    page = f"{DEDUPLICATED}process_start_time_seconds 1764000000\nvm_app_uptime_seconds {uptime}\n"
    running = read_metrics(page)
    assert running is not None
    assert running.young is young


async def identified(store: Store) -> str:
    """Return a server's instance, as soon as it is known."""

    def look() -> str:
        try:
            return store.instance()
        except Unavailable:
            return ""

    return await until(look, "the server is old enough to be identified")


async def test_a_restart_of_victoria_metrics_is_seen(tmp_path: Path) -> None:
    """Also where it takes but a moment."""
    server = flagged(tmp_path, "-dedup.minScrapeInterval=1ms")
    with VictoriaMetricsTarget(server, "e", "press").store() as store:
        store.check()
        instance = await identified(store)
        server.kill()
        with pytest.raises(Unavailable, match="Connection refused"):
            store.instance()
        await server.up()
        assert await identified(store) != instance
        assert await identified(store) == await identified(store)


def test_a_server_that_does_not_show_itself_is_written_to_with_a_warning(tmp_path: Path) -> None:
    """An administrator may have closed the page; a warning says that losses of the server are not noticed."""
    server = flagged(tmp_path, "-metricsAuthKey=hush")
    with VictoriaMetricsTarget(server, "e", "press").store() as store, structlog.testing.capture_logs() as logs:
        store.check()
        assert store.durable_after == 15.0
        assert store.instance() == ""
    assert [log["event"] for log in logs] == ["store.not_watched"]


@pytest.mark.parametrize(
    ("interval", "seconds"), [("5s", 15.0), ("1s", 7.0), ("1m0s", 125.0), ("1m30s", 185.0), ("", 15.0)]
)
def test_the_flush_interval_decides_when_a_write_is_safe(interval: str, seconds: float) -> None:
    """Newer releases have a flag for it, and show it."""
    running = read_metrics(
        DEDUPLICATED
        + (f'flag{{name="inmemoryDataFlushInterval", value="{interval}", is_set="true"}} 1\n' if interval else "")
        + "process_start_time_seconds 1764000000\n"
    )
    assert running is not None
    assert (running.durable_after, running.started, running.misconfiguration()) == (seconds, "1764000000", "")


def test_influxdb_is_safe_when_it_answers(influxd: Influxd, influx_database: str) -> None:
    """Its write-ahead log is on disk by then."""
    with InfluxTarget(influxd, influx_database).store() as store:
        store.check()
        assert store.durable_after == 0.0


def test_a_missing_database_is_reported_before_there_is_anything_to_lose(influxd: Influxd) -> None:
    with InfluxTarget(influxd, "missing").store() as store, pytest.raises(Unavailable, match="database not found"):
        store.check()


@pytest.mark.parametrize(("status", "fine"), [(204, True), (200, False), (400, True), (401, False), (404, False)])
def test_an_empty_write_shows_whether_the_bucket_is_there(recorder: Recorder, status: int, *, fine: bool) -> None:
    """InfluxDB 2 says 400 to it once it has let us in; any other refusal is about us."""
    recorder.answer = lambda _: (status, "words")
    with store_at(recorder.url) as store:
        if fine:
            store.check()
        else:
            with pytest.raises(Unavailable, match=f"{status} words"):
                store.check()
    [(_, query, _, body)] = recorder.requests
    assert query["bucket"] == ["telemetry"]
    assert gzip.decompress(body).strip() == b""
