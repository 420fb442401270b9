"""Metrics: samples and their texts, the ages of records, signs of life, and the endpoint of a service."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
import time
from concurrent.futures import Future
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self

import httpx2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from processes import free_port, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from structlog.testing import capture_logs

from drivers import extras
from drivers.secret import Secret
from gateway.cli import main
from gateway.common import listening
from gateway.common.histogram import FixedHistogram, Histogram
from gateway.common.listening import bind
from gateway.common.tasks import cancel_and_wait
from gateway.metrics import endpoint
from gateway.metrics.definitions import BUCKETS, DEFINITIONS, Kind
from gateway.metrics.endpoint import MetricsEndpoint, Sources
from gateway.metrics.exposition import SPARE_HEADS, Exposition, chosen
from gateway.metrics.gateway_metrics import Durations
from gateway.metrics.health import STALE, Pulse, alive, machines_reason, ready
from gateway.metrics.http_server import HttpServer
from gateway.metrics.samples import MetricsPart, Samples
from gateway.model.ledger import ScheduleCounts
from gateway.settings.load import load_factory
from gateway.settings.sections import Endpoint, MetricsSection, parse_endpoint
from gateway.spool.record_ages import MAX_NOTES, RecordAges
from gateway.trial.configuration import tried

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.metrics.health import Checks

OPENMETRICS = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"
SECONDS = 30.0


def example() -> Samples:
    """Return samples of each kind of metric, with a label that has to be escaped."""
    found, histogram = Samples(), Histogram()
    for seconds in (0.004, 0.004, 0.2, 100.0):
        histogram.add(seconds)
    found.set("lineside_readings_acquired_total", 2**60)
    found.set("lineside_broker_connected", True)  # noqa: FBT003 - a number
    found.set_each("lineside_readings_dropped_total", {'a"b\\c\nd': 3}, ["spool_full"])
    found.set_histogram("lineside_scan_duration_seconds", histogram)
    found.rows("lineside_machine_scan_duration_seconds").append((("curing", "curing-1", "press-01"), (1.5, 3)))
    return found


async def text(accept: str, *parts: MetricsPart) -> str:
    return (await Exposition().encode(parts, chosen(accept))).decode()


@pytest.mark.parametrize(("accept", "parse"), [("", prometheus), (OPENMETRICS, openmetrics)])
async def test_both_formats_have_all_series(accept: str, parse: Any):
    """The parsers are those of the client library."""
    written = await text(accept, MetricsPart({"gateway": "edge-01"}, example()))
    found = {
        (one.name, *sorted(one.labels.items())): one.value for family in parse(written) for one in family.samples
    }
    own = ("gateway", "edge-01")
    assert found["lineside_readings_acquired_total", own] == 2**60
    assert found["lineside_broker_connected", own] == 1
    assert found["lineside_readings_dropped_total", own, ("reason", 'a"b\\c\nd')] == 3
    assert found["lineside_readings_dropped_total", own, ("reason", "spool_full")] == 0
    assert found["lineside_scan_duration_seconds_bucket", own, ("le", "0.005")] == 2
    assert found["lineside_scan_duration_seconds_bucket", own, ("le", "30.0")] == 3
    assert found["lineside_scan_duration_seconds_bucket", own, ("le", "+Inf")] == 4
    assert found["lineside_scan_duration_seconds_sum", own] == pytest.approx(100.208)
    machine = (("area", "curing"), own, ("line", "curing-1"), ("machine", "press-01"))
    assert found["lineside_machine_scan_duration_seconds_count", *machine] == 3
    assert chosen(accept).content_type.startswith("application/openmetrics-text" if accept else "text/plain")


async def test_parts_of_one_metric_have_one_header():
    """A second header for a metric makes Prometheus refuse the scrape."""
    parts = [MetricsPart({"gateway": "edge-01", "worker": str(number)}, example()) for number in (1, 2)]
    written = await text("", *parts)
    assert written.count("# TYPE lineside_readings_acquired_total counter\n") == 1
    assert written.count("\nlineside_readings_acquired_total{") == 2


async def test_samples_are_the_same_after_the_way_from_a_worker():
    before = example()
    after = Samples.of(json.loads(json.dumps(before.as_dict())))
    assert await text("", MetricsPart({}, after)) == await text("", MetricsPart({}, before))


def test_samples_that_do_not_fit_are_left_out():
    """A worker of another version may run for a moment; a wrong series would make the whole scrape fail."""
    found = Samples.of({
        "lineside_unknown": [([], [1.0])],
        "lineside_readings_pending": [(["surplus"], [1.0]), ([], [2.0])],
        "lineside_scan_duration_seconds": [([], [1.0])],
    })  # fmt: skip
    assert found.as_dict() == {"lineside_readings_pending": [([], [2.0])]}


async def test_a_second_text_is_as_the_first_and_heads_of_removed_machines_go():
    """The heads of lines are kept, and must not be kept for all machines that there ever were."""
    maker, form = Exposition(), chosen("")
    part = MetricsPart({"gateway": "edge-01"}, example())
    assert await maker.encode([part], form) == await maker.encode([part], form)
    for generation in range(3):
        found = Samples()
        for number in range(SPARE_HEADS):
            found.set("lineside_machine_readings_total", 1, "area", "line", f"m-{generation}-{number}")
        assert (await maker.encode([MetricsPart({}, found)], form)).count(b"\n") == SPARE_HEADS + 2
    assert sum(map(len, maker._heads.values())) <= 2 * SPARE_HEADS + 10  # noqa: SLF001 - its memory


async def test_columns_are_the_same_text_as_rows():
    """The template of all machines is made once, and again when the machines change."""
    maker, form, names = (
        Exposition(),
        chosen(OPENMETRICS),
        ("lineside_machine_readings_total", "lineside_machine_state"),
    )

    def columns(*machines: str) -> Samples:
        found = Samples()
        plain = tuple(("area", "100 %", machine) for machine in machines)
        found.set_columns(names[0], plain, [7.5, 2**40][: len(machines)])
        found.set_columns(names[1], tuple((*one, "online") for one in plain), [1, 0][: len(machines)])
        return found

    for machines in (("a", "b"), ("b",), ()):
        part = MetricsPart({"gateway": "%s"}, columns(*machines))
        as_rows = MetricsPart(part.labels, Samples.of(json.loads(json.dumps(part.samples.as_dict()))))
        written = await maker.encode([part], form)
        assert written == await maker.encode([part], form)
        assert written == await maker.encode([as_rows], form)
        assert written.count(b'line="100 %"') == 2 * len(machines)


async def test_numbers_that_json_has_not_are_written_as_prometheus_reads_them():
    found = Samples()
    for reason, number in {"inf": math.inf, "nan": math.nan, "large": 2.0**70, "whole": 2**70, "small": 1e-7}.items():
        found.set("lineside_readings_dropped_total", number, reason)
    families = list(prometheus(await text("", MetricsPart({}, found))))
    read = {sample.labels["reason"]: sample.value for family in families for sample in family.samples}
    assert math.isnan(read.pop("nan"))
    assert read == {"inf": math.inf, "large": 2.0**70, "whole": 2.0**70, "small": 1e-7}


@given(st.lists(st.floats(1e-6, 1e5), max_size=50))
def test_cumulative_counts_never_make_a_duration_shorter(durations: list[float]):
    """They rise, end with all, and differ from the exact counts by durations within a tenth below the bound."""
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    bounds = (*BUCKETS["lineside_scan_duration_seconds"], math.inf)
    found = histogram.cumulative(bounds)
    assert found == sorted(found)
    assert found[-1] == len(durations)
    assert histogram.total == pytest.approx(sum(durations))
    for bound, count in zip(bounds, found, strict=True):
        assert sum(seconds <= bound / 1.1001 for seconds in durations) <= count
        assert count <= sum(seconds <= bound * 1.0001 for seconds in durations)


@given(st.lists(st.lists(st.floats(0, 1e5), max_size=20), max_size=5))
def test_fixed_buckets_count_exactly(batches: list[list[float]]):
    histogram, bounds = FixedHistogram((0.1, 1.0, 10.0)), (0.1, 1.0, 10.0, math.inf)
    durations = [seconds for batch in batches for seconds in batch]
    for batch in batches:
        histogram.add_all(batch)
    assert histogram.counts == [sum(seconds <= bound for seconds in durations) for bound in bounds]
    assert histogram.total == pytest.approx(sum(durations))
    assert not any(batches)


def test_durations_are_collected_by_the_flow_and_counted_once():
    durations = Durations()
    counts, other = ScheduleCounts(times=durations.scans), ScheduleCounts(times=durations.scans)
    counts.took(0.001, 0.02)
    counts.skipped(3)
    other.took(0.003, 5.0)
    durations.confirmations.append(0.7)
    for _ in range(2):
        found = durations.count()
        assert found["lineside_scan_lateness_seconds"].total == pytest.approx(0.004)
        assert found["lineside_scan_duration_seconds"].total == pytest.approx(5.02)
        counts = dict(
            zip(
                BUCKETS["lineside_scan_duration_seconds"],
                found["lineside_scan_duration_seconds"].counts,
                strict=False,
            )
        )
        assert (counts[0.01], counts[0.025], counts[2.5], counts[5.0]) == (0, 1, 1, 2)
        assert found["lineside_record_confirmation_seconds"].counts[-1] == 1
        assert found["lineside_record_acknowledgement_seconds"].counts[-1] == 0
    assert durations.scans == durations.confirmations == []
    assert ScheduleCounts() == ScheduleCounts(times=[1.0])


def test_the_age_of_a_record_is_the_time_since_it_was_made():
    ages = RecordAges()
    ages.note(100, 1000.0)
    assert ages.age(99, 1000.0) is None, "a former process made it"
    ages.note(100, 4600.0)  # nothing was made for an hour
    ages.note(105, 4601.0)
    assert ages.age(100, 4610.0) == 10.0
    assert ages.age(104, 4610.0) == 10.0
    assert ages.age(105, 4610.0) == 9.0
    assert ages.age(100, 4610.0) is None, "confirmed records are forgotten"


def test_the_ages_of_a_long_outage_are_bounded():
    ages = RecordAges()
    for second in range(4 * MAX_NOTES):
        ages.note(second * 10 + 1, float(second))
    assert ages.age(1, 4.0 * MAX_NOTES) == pytest.approx(4 * MAX_NOTES, rel=0.01)
    assert len(ages._notes) <= MAX_NOTES  # noqa: SLF001 - its memory is what the test is about


# -- health --


async def test_a_silent_thread_is_asked_once_and_its_silence_grows():
    """A second question would wait behind the first in the same thread."""
    answers: list[Future[bool]] = []

    def ask() -> Future[bool]:
        answers.append(Future())
        return answers[-1]

    pulse = Pulse(ask)
    first = await pulse.silence(0.01)
    second = await pulse.silence(0.01)
    assert 0 < first < second
    assert len(answers) == 1
    answers[0].set_result(True)
    assert await pulse.silence(0.01) == 0.0


async def test_a_thread_that_has_ended_is_silent():
    def ask() -> Future[bool]:
        raise RuntimeError("cannot schedule new futures after shutdown")

    assert await Pulse(ask).silence() >= STALE


def test_reasons_make_a_verdict():
    assert alive({"event_loop": 0.0, "spool": STALE - 1}).good
    assert not alive({"event_loop": 0.0, "spool": STALE}).good
    assert ready({"broker": "", "spool": ""}) == (
        True, {"ready": True, "checks": {"broker": {"ready": True}, "spool": {"ready": True}}},
    )  # fmt: skip
    verdict = ready({"broker": "not connected"})
    assert verdict == (False, {"ready": False, "checks": {"broker": {"ready": False, "reason": "not connected"}}})
    assert machines_reason({"online": 0, "degraded": 0, "offline": 0, "starting": 0}) == ""
    assert machines_reason({"online": 0, "degraded": 1, "offline": 9}) == ""
    assert machines_reason({"online": 0, "degraded": 0, "offline": 9, "starting": 1}) == (
        "no machine is read: 9 offline, 1 starting"
    )


# -- the endpoint --


def get(port: int, path: str, accept: str = "") -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


async def ask(port: int, path: str, accept: str = "") -> tuple[int, str, bytes]:
    return await asyncio.to_thread(get, port, path, accept)


class Service:
    """A service with an endpoint; its values and checks can be changed."""

    def __init__(self, token: Secret | None = None) -> None:
        self.port = free_port()
        self.reasons: dict[str, str] = {"broker": ""}
        self.collected = 0
        self.error: Exception | None = None
        self.slow: asyncio.Event | None = None
        self.asked = asyncio.Event()
        sources = Sources(self._parts, self._checks)
        self.endpoint = MetricsEndpoint(Endpoint("127.0.0.1", self.port), sources, "key", token=token)

    async def _parts(self) -> list[MetricsPart]:
        self.collected += 1
        self.asked.set()
        if self.slow is not None:
            await self.slow.wait()
        if self.error is not None:
            raise self.error
        found = example()
        found.set("lineside_scrape_collect_seconds", 0.001)
        return [MetricsPart({"gateway": "edge-01"}, found)]

    async def _checks(self) -> Checks:
        return self.reasons

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.endpoint.run())
        for _ in range(500):
            await asyncio.sleep(0.01)
            try:
                await ask(self.port, "/")
            except OSError:
                continue
            return self
        pytest.fail("the endpoint does not listen")

    async def __aexit__(self, *error: object) -> None:
        await cancel_and_wait(self.task)


TOKEN = "9s8f7g6h5j4k3l2m"


def with_token(folder: Path, token: str = TOKEN) -> Secret:
    file = folder / "metrics-token"
    file.write_text(f"{token}\n", encoding="utf-8")
    file.chmod(0o600)
    return Secret.model_validate({"file": str(file)})


async def test_metrics_need_the_token_and_probes_do_not(tmp_path: Path):
    """Prometheus sends it with `authorization`; a probe of a container has none."""
    async with Service(with_token(tmp_path)) as service, httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{service.port}"
    ) as client:  # fmt: skip
        for sent in (
            "",
            TOKEN,
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer",
            "Bearer \xff",
        ):
            headers = {"Authorization": sent.encode("latin-1")} if sent else {}
            refused = await client.get("/metrics", headers=headers)
            assert refused.status_code == 401, sent
            assert refused.headers["www-authenticate"] == 'Bearer realm="lineside"'
            assert TOKEN not in refused.text
        assert service.collected == 0
        for scheme in ("Bearer", "bearer"):
            answer = await client.get("/metrics", headers={"Authorization": f"{scheme} {TOKEN}"})
            assert answer.status_code == 200
            assert "lineside_readings_acquired_total" in answer.text
        for path in ("/healthz", "/readyz", "/"):
            assert (await client.get(path)).status_code == 200


async def test_a_token_that_is_too_short_or_missing_serves_nothing_until_it_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without it everybody could read the metrics; the service works meanwhile."""
    monkeypatch.setattr(endpoint, "LISTEN_AGAIN", 0.05)
    service = Service(with_token(tmp_path, "short"))
    with capture_logs() as logs:
        task = asyncio.create_task(service.endpoint.run())
        await until(lambda: logs, "the endpoint says why it does not listen")
        with pytest.raises(OSError, match="refused"):
            await ask(service.port, "/healthz")
        with_token(tmp_path)
        await until(lambda: logs[-1]["event"] == "metrics.listening", "the endpoint listens")
        await cancel_and_wait(task)
    assert logs[0]["event"] == "metrics.not_listening"
    assert logs[0]["error"] == "the token has 5 characters, and needs 16"
    assert logs[0]["hint"].startswith("correct the secret of key.token")


async def test_an_endpoint_that_ends_while_it_starts_leaves_its_port_free(monkeypatch: pytest.MonkeyPatch):
    """A gateway that reloads its configuration in its first moment listens again."""
    run, resume = HttpServer._run, threading.Event()  # noqa: SLF001 - its thread begins when the test says so

    def late(server: HttpServer) -> None:
        resume.wait(SECONDS)
        run(server)

    monkeypatch.setattr(HttpServer, "_run", late)
    service = Service()
    with capture_logs() as logs:
        task = asyncio.create_task(service.endpoint.run())
        await until(lambda: logs, "the endpoint listens")
        task.cancel()
        resume.set()
        await cancel_and_wait(task)
    assert [one.name for one in threading.enumerate() if one.name == "metrics"] == []
    bind(Endpoint("127.0.0.1", service.port)).close()


async def test_a_listening_socket_that_nobody_waits_for_is_closed(monkeypatch: pytest.MonkeyPatch):
    """The look-up of a name goes on in its thread after its task has ended."""
    address, resume = ("127.0.0.1", free_port()), threading.Event()
    bound: list[socket.socket] = []

    def slow(place: tuple[str, int]) -> socket.socket:
        resume.wait(10)
        bound.append(bind(place))
        return bound[0]

    monkeypatch.setattr(listening, "bind", slow)
    task = asyncio.create_task(listening.bind_in_thread(address))
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    resume.set()
    await until(lambda: bound and bound[0].fileno() == -1, "the socket is closed")


async def test_an_endpoint_answers_its_three_paths():
    async with Service() as service:
        status, kind, body = await ask(service.port, "/metrics")
        assert (status, kind.split(";")[0]) == (200, "text/plain")
        assert b'lineside_readings_acquired_total{gateway="edge-01"}' in body
        status, kind, body = await ask(service.port, "/metrics", OPENMETRICS)
        assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
        assert body.endswith(b"# EOF\n")
        status, kind, body = await ask(service.port, "/healthz")
        assert (status, kind, json.loads(body)["alive"]) == (200, "application/json", True)
        assert (await ask(service.port, "/readyz"))[0] == 200
        service.reasons = {"broker": "not connected"}
        status, _, body = await ask(service.port, "/readyz")
        assert (status, json.loads(body)["checks"]["broker"]["reason"]) == (503, "not connected")
        assert (await ask(service.port, "/other"))[0] == 404


async def test_a_flood_of_scrapes_collects_rarely():
    """The text is used again for as long as it costs little."""
    async with Service() as service:
        began = time.monotonic()
        for _ in range(100):
            assert (await ask(service.port, "/metrics"))[0] == 200
        lasted = time.monotonic() - began
        assert service.collected <= 2 + lasted / (0.001 / endpoint.COST)
        assert service.collected < 100


async def test_scrapes_that_wait_for_the_service_share_one_answer():
    """A service that does not answer gets no queue of questions."""
    async with Service() as service:
        service.slow = asyncio.Event()
        waiting = [asyncio.create_task(ask(service.port, "/metrics")) for _ in range(5)]
        await service.asked.wait()
        await asyncio.sleep(0.1)
        service.slow.set()
        assert {(await one)[0] for one in waiting} == {200}
        assert service.collected == 1


async def test_an_error_while_values_are_read_is_logged_once():
    async with Service() as service:
        service.error = ValueError("no")
        with capture_logs() as logs:
            assert [(await ask(service.port, "/metrics"))[0] for _ in range(2)] == [503, 503]
        assert [one["event"] for one in logs] == ["metrics.failed"]
        service.error = None
        assert (await ask(service.port, "/metrics"))[0] == 200


async def test_a_blocked_event_loop_is_seen(monkeypatch: pytest.MonkeyPatch):
    """The endpoint answers from its own thread, so a watchdog learns that the service hangs."""
    monkeypatch.setattr("gateway.metrics.health.STALE", 0.3)
    monkeypatch.setattr("gateway.metrics.health.PATIENCE", 0.05)
    async with Service() as service:
        found: list[tuple[int, Mapping[str, Any]]] = []

        def probe() -> None:
            for _ in range(20):
                status, _, body = get(service.port, "/healthz")
                found.append((status, json.loads(body)))
                if status == 503:
                    return
                time.sleep(0.05)

        thread = threading.Thread(target=probe)
        thread.start()
        thread.join()  # blocks the event loop
        assert found[-1][0] == 503
        assert found[-1][1]["silent_seconds"]["event_loop"] >= 0.3
        assert (await ask(service.port, "/healthz"))[0] == 200


async def test_a_port_in_use_is_logged_once_and_tried_again(monkeypatch: pytest.MonkeyPatch):
    """The service works meanwhile: `run` of the endpoint is one of its tasks."""
    monkeypatch.setattr(endpoint, "LISTEN_AGAIN", 0.05)
    service = Service()
    with capture_logs() as logs:
        with socket.create_server(("127.0.0.1", service.port)):
            service.task = asyncio.create_task(service.endpoint.run())
            await asyncio.sleep(0.5)  # some attempts, of which one is logged
            assert not service.task.done()
        await until(lambda: any(one["event"] == "metrics.listening" for one in logs), "it listens")
    assert [one["event"] for one in logs] == ["metrics.not_listening", "metrics.listening"]
    assert logs[0]["hint"] == "free the port, or write another address into key.listen"
    assert (await ask(service.port, "/"))[0] == 200
    await cancel_and_wait(service.task)


# -- configuration --


@pytest.mark.parametrize(
    ("written", "host", "port", "local"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464, True),
        ("9464", "127.0.0.1", 9464, True),
        ("[::1]:9464", "::1", 9464, True),
        ("localhost:1", "localhost", 1, True),
        ("0.0.0.0:9464", "0.0.0.0", 9464, False),  # noqa: S104 - a person may write it
        ("[::]:65535", "::", 65535, False),
        ("edge-01.plant.example:9464", "edge-01.plant.example", 9464, False),
    ],
)
def test_an_address_is_a_host_and_a_port(written: str, host: str, port: int, local: bool):  # noqa: FBT001 - a column
    found = parse_endpoint(written)
    assert (found, found.is_local) == ((host, port), local)
    assert parse_endpoint(str(found)) == found


@pytest.mark.parametrize(
    "written", ["", "127.0.0.1", "host:", ":9464", "a b:1", "h:0", "h:65536", "h:1x", "::1:9464", "h:٣"]
)
def test_another_address_is_refused_with_an_example(written: str):
    with pytest.raises(ValueError, match="write HOST:PORT"):
        parse_endpoint(written)


def test_a_port_may_be_a_number():
    assert MetricsSection.model_validate({"listen": 9464}).endpoint == ("127.0.0.1", 9464)
    assert MetricsSection().endpoint is None


def factory(folder: Path, metrics: str) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "t.yaml").write_text("format: 1\nprotocol: modbus\npoints: {p: {address: holding 0}}\n")
    file = folder / "factory.yaml"
    file.write_text(
        "format: 1\nfactory: {enterprise: e, site: s}\n"
        f"gateway:\n  id: edge-01\n  metrics: {metrics}\nbroker: {{url: mqtt://localhost}}\n"
        "lines: {line: {area: a, machines: {m: {template: t, connection: 'modbus+tcp://localhost'}}}}\n"
    )
    return file


def validate(file: Path) -> str:
    from click.testing import CliRunner

    return CliRunner().invoke(main, ["validate", str(file)]).output


def test_validate_warns_of_an_address_beyond_the_loopback(tmp_path: Path):
    """Names of machines are nobody's business outside of the plant."""
    assert "warning" not in validate(factory(tmp_path, '{listen: "127.0.0.1:9464"}'))
    found = validate(factory(tmp_path, '{listen: "0.0.0.0:9464"}'))
    assert "factory.yaml:5:13: warning: gateway.metrics.listen: anybody who reaches 0.0.0.0:9464 can read" in found
    assert "factory.yaml:5:13: gateway.metrics.listen: '0.0.0.0' is not an address; write HOST:PORT" in validate(
        factory(tmp_path, '{listen: "0.0.0.0"}')
    )


def test_a_missing_extra_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The gateway's own install stays small."""
    from click.testing import CliRunner

    file = factory(tmp_path, "{listen: 9464}")
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "prometheus_client" else object())
    done = CliRunner().invoke(main, ["run", str(file)])
    assert done.exit_code == 1
    assert done.output == f"Error: metrics needs the extra metrics; {extras.instruction('metrics')}\n"
    assert "warning: gateway.metrics.listen: metrics need the extra metrics" in validate(file)
    assert load_factory(file).gateway.metrics.machines == 1000


def test_a_trial_does_not_listen_at_the_address_of_the_box(tmp_path: Path):
    """`lineside check --simulated` runs beside the gateway of the box, and in CI without the extra."""
    file = factory(tmp_path, "{listen: 9464}")
    data = yaml.safe_load(tried(file, tmp_path, tmp_path / "readings.db", 1883))
    assert "metrics" not in data["gateway"] | data["ingest"]


def test_every_metric_is_defined_once():
    """The two services have the same metrics of builds and processes."""
    assert all(one.kind in Kind for one in DEFINITIONS.values())
    assert {name for name in DEFINITIONS if name.startswith("process_")} == {
        "process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes",
        "process_start_time_seconds", "process_open_fds", "process_max_fds",
    }  # fmt: skip
